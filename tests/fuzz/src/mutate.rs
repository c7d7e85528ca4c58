//! Mutations that keep an input nearly right, so that it comes past the first check: of JSON trees, of lines, of words.

use crate::{Target, corpus};
use fastrand::Rng;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What inputs look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Bytes,
    Words,
    Url,
    Lines,
    Json,
    /// HTTP requests with bodies of JSON.
    Requests,
}

/// A changed copy of the input.
pub fn mutate(target: &Target, input: &[u8], random: &mut Rng) -> Vec<u8> {
    let words = words(target.name);
    let mut output = match target.shape {
        Shape::Bytes => bytes(input, words, random),
        Shape::Words | Shape::Url => word(input, words, random),
        Shape::Lines => match random.bool() {
            true => lines(input, random),
            false => word(input, words, random),
        },
        Shape::Json => json(input, words, random).unwrap_or_else(|| bytes(input, words, random)),
        Shape::Requests => requests(input, words, random),
    };
    output.truncate(target.length_max);
    output
}

fn words(target: &'static str) -> &'static [String] {
    static WORDS: LazyLock<Mutex<HashMap<&str, &[String]>>> = LazyLock::new(Mutex::default);
    let mut all = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(target)
        .or_insert_with(|| corpus::words(target).leak())
}

fn pick<'w>(words: &'w [String], random: &mut Rng) -> &'w str {
    random.choice(words).map_or("", String::as_str)
}

fn bytes(input: &[u8], words: &[String], random: &mut Rng) -> Vec<u8> {
    let mut output = input.to_vec();
    let at = random.usize(..=output.len());
    let end = random.usize(at..=output.len().min(at + 32));
    match random.u8(..5) {
        0 => drop(output.drain(at..end)),
        1 => drop(output.splice(at..end, pick(words, random).bytes())),
        2 => drop(output.splice(at..at, input[at..end].to_vec())),
        3 => output.insert(at, random.u8(..)),
        _ => {
            if let Some(byte) = output.get_mut(at) {
                *byte ^= 1 << random.u8(..8);
            }
        }
    }
    output
}

/// Changes one word; a word is letters and digits, or one other character.
fn word(input: &[u8], words: &[String], random: &mut Rng) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(input) else {
        return bytes(input, words, random);
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first.is_alphanumeric() {
            true => rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    if parts.is_empty() {
        return pick(words, random).as_bytes().to_vec();
    }
    let (at, other) = (random.usize(..parts.len()), random.usize(..parts.len()));
    match random.u8(..6) {
        0 => drop(parts.remove(at)),
        1 => parts[at] = pick(words, random),
        2 => parts.insert(at, pick(words, random)),
        3 => parts[at] = parts[other],
        4 => {
            let end = parts.len().min(at + 1 + random.usize(..8));
            let copy = parts[at..end].to_vec();
            drop(parts.splice(other..other, copy));
        }
        _ => {
            let end = parts.len().min(at + 1 + random.usize(..8));
            drop(parts.drain(at..end));
        }
    }
    parts.concat().into_bytes()
}

fn lines(input: &[u8], random: &mut Rng) -> Vec<u8> {
    let end = if input.contains(&b'\r') { b'\r' } else { b'\n' };
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == end).collect();
    let (at, other) = (random.usize(..lines.len()), random.usize(..lines.len()));
    match random.u8(..4) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[other]),
        2 => lines.swap(at, other),
        _ => lines[at] = lines[other],
    }
    lines.join(&end)
}

/// Changes one value of a JSON tree, or gives it a member.
fn json(input: &[u8], words: &[String], random: &mut Rng) -> Option<Vec<u8>> {
    let mut tree: Value = serde_json::from_slice(input).ok()?;
    let all = count(&tree);
    let other = nth(&mut tree, &mut random.usize(..all))?.clone();
    let place = nth(&mut tree, &mut random.usize(..all))?;
    match (place, random.u8(..6)) {
        (Value::Object(object), 0..=3) => member(object, other, words, random),
        (Value::Array(items), 0..=3) if !items.is_empty() => {
            let at = random.usize(..items.len());
            match random.u8(..4) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.insert(at, other),
                _ => items[at] = Value::Null,
            }
        }
        (Value::String(text), 0..=2) => {
            let changed = word(text.as_bytes(), words, random);
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        (place, 4) => *place = other,
        (place, _) => *place = simple(words, random),
    }
    Some(tree.to_string().into_bytes())
}

fn member(object: &mut Map<String, Value>, other: Value, words: &[String], random: &mut Rng) {
    let names: Vec<String> = object.keys().cloned().collect();
    let own = pick(&names, random).to_owned();
    let (name, value) = match random.u8(..6) {
        0 => {
            object.shift_remove(&own);
            return;
        }
        1 => (
            format!("_{own}"),
            serde_json::json!({"extension": [{"url": "u", "valueCode": "x"}]}),
        ),
        2 => (own, other),
        3 => (pick(words, random).to_owned(), other),
        4 => (pick(words, random).to_owned(), simple(words, random)),
        _ => {
            let value = object.shift_remove(&own).unwrap_or_default();
            (pick(words, random).to_owned(), value)
        }
    };
    object.insert(name, value);
}

fn simple(words: &[String], random: &mut Rng) -> Value {
    match random.u8(..7) {
        0 => Value::Null,
        1 => Value::Bool(random.bool()),
        2 => Value::from(random.i64(-2..1 << 33)),
        3 => serde_json::from_str(
            random
                .choice(["1.50", "1e-3", "-0.0", "0.000", "1E+30"])
                .unwrap_or("1"),
        )
        .unwrap_or_default(),
        4 => Value::Array(Vec::new()),
        5 => serde_json::json!([{}]),
        _ => Value::from(pick(words, random)),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(object) => object.values().map(count).sum(),
        _ => 0,
    }
}

/// The value that comes after `left` others.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(object) => object.values_mut().find_map(|item| nth(item, left)),
        _ => None,
    }
}

fn requests(input: &[u8], words: &[String], random: &mut Rng) -> Vec<u8> {
    let text = String::from_utf8_lossy(input);
    let mut requests: Vec<String> = text.split("\n---\n").map(str::to_owned).collect();
    let at = random.usize(..requests.len());
    match random.u8(..8) {
        0 => requests.push(requests[at].clone()),
        1 if requests.len() > 1 => drop(requests.remove(at)),
        choice => {
            let (head, body) = match requests[at].split_once("\n\n") {
                Some((head, body)) => (head, Some(body)),
                None => (requests[at].as_str(), None),
            };
            let changed = body.and_then(|body| json(body.as_bytes(), words, random));
            requests[at] = match changed {
                Some(body) if choice > 3 => format!("{head}\n\n{}", String::from_utf8_lossy(&body)),
                _ => {
                    let head = word(head.as_bytes(), words, random);
                    let head = String::from_utf8_lossy(&head).into_owned();
                    body.map_or(head.clone(), |body| format!("{head}\n\n{body}"))
                }
            };
        }
    }
    requests.join("\n---\n").into_bytes()
}
