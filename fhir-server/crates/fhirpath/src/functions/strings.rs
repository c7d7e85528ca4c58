//! <https://hl7.org/fhirpath/#string-manipulation>. Positions count characters. Regular expressions are those of the `regex` crate: linear
//! time, no look-around and no back references; `.` matches a line break.

use super::{Call, Function, function, one, text};
use crate::error::{Fault, Result};
use crate::evaluate::Evaluator;
use crate::item::{Collection, Item, System};
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::rc::Rc;

pub(super) const FUNCTIONS: &[Function] = &[
    function("length", 0, 0, |_, call| {
        one(text(call.input)?.map(|t| Item::integer(t.chars().count() as i64)))
    }),
    function("indexOf", 1, 1, |e, call| {
        position(e, call, |text, part| text.find(part))
    }),
    function("lastIndexOf", 1, 1, |e, call| {
        position(e, call, |text, part| text.rfind(part))
    }),
    function("substring", 1, 2, substring),
    function("startsWith", 1, 1, |e, call| {
        test(e, call, |text, part| text.starts_with(part))
    }),
    function("endsWith", 1, 1, |e, call| {
        test(e, call, |text, part| text.ends_with(part))
    }),
    function("contains", 1, 1, |e, call| {
        test(e, call, |text, part| text.contains(part))
    }),
    function("upper", 0, 0, |e, call| {
        map(e, call, |text| text.to_uppercase())
    }),
    function("lower", 0, 0, |e, call| {
        map(e, call, |text| text.to_lowercase())
    }),
    function("trim", 0, 0, |e, call| {
        map(e, call, |text| text.trim().to_owned())
    }),
    function("replace", 2, 2, replace),
    function("matches", 1, 2, |e, call| matches(e, call, false)),
    function("matchesFull", 1, 2, |e, call| matches(e, call, true)),
    function("replaceMatches", 2, 3, replace_matches),
    function("toChars", 0, 0, |e, call| {
        let text = text(call.input)?.unwrap_or_default();
        e.budget.spend(text.len())?;
        Ok(text.chars().map(|c| Item::string(c.to_string())).collect())
    }),
    function("split", 1, 1, split),
    function("join", 0, 1, join),
];

/// Input and argument; `None` where one is empty.
fn pair<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
) -> Result<Option<(Cow<'a, str>, Cow<'a, str>)>> {
    let part = e.text_argument(&call, 0)?;
    let text = text(call.input)?;
    e.budget
        .spend(text.as_ref().map_or(0, |text| text.len()) / 64)?;
    Ok(text.zip(part))
}

fn test<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    test: fn(&str, &str) -> bool,
) -> Result<Collection<'a>> {
    one(pair(e, call)?.map(|(text, part)| Item::boolean(test(&text, &part))))
}

fn position<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    find: fn(&str, &str) -> Option<usize>,
) -> Result<Collection<'a>> {
    one(pair(e, call)?.map(|(text, part)| {
        let bytes = find(&text, &part);
        Item::integer(bytes.map_or(-1, |bytes| text[..bytes].chars().count() as i64))
    }))
}

fn map<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    map: fn(&str) -> String,
) -> Result<Collection<'a>> {
    let mapped = text(call.input)?.map(|text| Item::string(map(&text)));
    e.bounded(mapped)
}

fn substring<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let start = e.integer_argument(&call, 0)?;
    let length = e.integer_argument(&call, 1)?.unwrap_or(i64::MAX);
    let (Some(text), Some(start)) = (text(call.input)?, start) else {
        return Ok(Vec::new());
    };
    let Some(start) = usize::try_from(start)
        .ok()
        .filter(|start| *start < text.chars().count())
    else {
        return Ok(Vec::new());
    };
    let part = text.chars().skip(start).take(length.max(0) as usize);
    let item = Item::string(part.collect::<String>());
    e.bounded(Some(item))
}

fn replace<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let pattern = e.text_argument(&call, 0)?;
    let with = e.text_argument(&call, 1)?;
    let (Some(text), Some(pattern), Some(with)) = (text(call.input)?, pattern, with) else {
        return Ok(Vec::new());
    };
    let count = match pattern.is_empty() {
        true => text.len() + 1,
        false => text.matches(&*pattern).count(),
    };
    room(
        e,
        text.len().saturating_add(count.saturating_mul(with.len())),
    )?;
    let item = Item::string(text.replace(&*pattern, &with));
    e.bounded(Some(item))
}

/// Refuses a result of so many bytes before it is made.
fn room(e: &mut Evaluator<'_>, bytes: usize) -> Result<()> {
    match bytes > e.context.limits.string_bytes {
        true => Err(Fault::limit("a string is too long")),
        false => e.budget.spend(bytes / 64),
    }
}

fn regex<'a>(e: &mut Evaluator<'a>, pattern: &str, flags: &str, full: bool) -> Result<Rc<Regex>> {
    let key = format!("{flags}/{full}/{pattern}");
    if let Some(regex) = e.regexes.get(&key) {
        return Ok(Rc::clone(regex));
    }
    if pattern.len() > e.context.limits.regex_bytes {
        return Err(Fault::limit("a regular expression is too long"));
    }
    e.budget.spend(1_000 + pattern.len())?;
    let whole = match full {
        true => Cow::Owned(format!("^(?:{pattern})$")),
        false => Cow::Borrowed(pattern),
    };
    let mut builder = RegexBuilder::new(&whole);
    builder.dot_matches_new_line(true).size_limit(1 << 20);
    builder.dfa_size_limit(1 << 20).nest_limit(64);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            _ => return Err(Fault::invalid("a regular expression has the flags i and m")),
        };
    }
    let regex = builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Fault::limit("a regular expression is too large"),
        _ => Fault::invalid("not a regular expression that is supported here"),
    })?;
    let regex = Rc::new(regex);
    if e.regexes.len() < 64 {
        e.regexes.insert(key, Rc::clone(&regex));
    }
    Ok(regex)
}

/// What a search in so long a text costs.
fn search_cost(e: &mut Evaluator<'_>, text: &str, pattern: &str) -> Result<()> {
    e.budget.spend(text.len() * (1 + pattern.len() / 16) / 16)
}

fn matches<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>, full: bool) -> Result<Collection<'a>> {
    let pattern = e.text_argument(&call, 0)?;
    let flags = e.text_argument(&call, 1)?.unwrap_or_default();
    let (Some(text), Some(pattern)) = (text(call.input)?, pattern) else {
        return Ok(Vec::new());
    };
    search_cost(e, &text, &pattern)?;
    let regex = regex(e, &pattern, &flags, full)?;
    Ok(vec![Item::boolean(regex.is_match(&text))])
}

fn replace_matches<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let pattern = e.text_argument(&call, 0)?;
    let with = e.text_argument(&call, 1)?;
    let flags = e.text_argument(&call, 2)?.unwrap_or_default();
    let (Some(text), Some(pattern), Some(with)) = (text(call.input)?, pattern, with) else {
        return Ok(Vec::new());
    };
    if pattern.is_empty() {
        return Ok(vec![Item::string(text)]);
    }
    search_cost(e, &text, &pattern)?;
    let regex = regex(e, &pattern, &flags, false)?;
    let mut out = String::new();
    let mut at = 0;
    for found in regex.captures_iter(&text) {
        let whole = found.get_match();
        out.push_str(&text[at..whole.start()]);
        found.expand(&with, &mut out);
        at = whole.end();
        e.budget.spend(1)?;
        room(e, out.len())?;
    }
    out.push_str(&text[at..]);
    e.bounded(Some(Item::string(out)))
}

fn split<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let Some((text, separator)) = pair(e, call)? else {
        return Ok(Vec::new());
    };
    e.budget.spend(text.len())?;
    if separator.is_empty() {
        return Ok(text.chars().map(|c| Item::string(c.to_string())).collect());
    }
    let parts = text.split(&*separator);
    Ok(parts.map(|part| Item::string(part.to_owned())).collect())
}

/// Items without a value are left out; without strings it is empty.
fn join<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let separator = e.text_argument(&call, 0)?.unwrap_or_default();
    let mut out = String::new();
    let mut count = 0;
    for item in &call.input {
        let part = match item.system() {
            Some(System::String(part)) => part,
            None if matches!(item, Item::Element(e) if e.value.is_none()) => continue,
            _ => return Err(Fault::invalid("join() takes strings")),
        };
        if count > 0 {
            out.push_str(&separator);
        }
        count += 1;
        out.push_str(&part);
        e.budget.spend((part.len() + separator.len()) / 64)?;
        if out.len() > e.context.limits.string_bytes {
            return Err(Fault::limit("a string is too long"));
        }
    }
    one((count > 0).then(|| Item::string(out)))
}
