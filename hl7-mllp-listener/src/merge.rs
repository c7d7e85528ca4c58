//! What a draft may change of a resource that exists: authority (`write`), the order of a status (`order`), what it takes back, what
//! follows what (`succession`), and the rule that absent keeps (or deletes, where a message always tells everything) and `""` deletes.
//! Pure: two JSON objects in, one out.

mod succession;

use crate::mapping::Draft;
use crate::mapping::program::{Map, Order, Succession, Write};
use fhir_model::PartialDate;
use serde_json::{Map as Object, Value as Json};

/// What became of a resource.
#[derive(Debug, PartialEq)]
pub enum Merged {
    /// To be written; whether it differs from what is there, the server knows.
    Changed(Object<String, Json>),
    /// Read and left alone; it still stands in the transaction, so that the decision holds.
    Kept,
    /// Left alone because the message is older than what is known.
    Stale,
    /// Left alone because what the message takes back is not so.
    NotSo,
}

/// A resource that does not exist yet.
pub fn create(map: &Map, draft: Draft) -> Object<String, Json> {
    let mut body = draft.body;
    for (name, value) in draft.new {
        body.entry(name).or_insert(value);
    }
    if let Some(own) = &map.succession
        && let Some(told) = body.remove(&own.element)
    {
        follow(own, told, draft.back.as_deref(), &mut body);
    }
    body
}

/// What the message tells of a succession, into the body whose status is decided.
fn follow(own: &Succession, told: Json, back: Option<&str>, body: &mut Object<String, Json>) {
    let status = body.get("status").and_then(Json::as_str);
    let is_open = own.open.is_empty() || own.open.iter().any(|open| status == Some(open));
    let before = match body.remove(&own.element) {
        Some(Json::Array(before)) => before,
        _ => Vec::new(),
    };
    let items = succession::followed(before, told, back, is_open);
    if !items.is_empty() {
        body.insert(own.element.clone(), Json::Array(items));
    }
}

/// Applies a draft to the current resource. `message_type` is MSH-9.1.
pub fn merge(
    map: &Map,
    message_type: &str,
    draft: &Draft,
    current: &Object<String, Json>,
) -> Merged {
    if map.write(message_type) == Write::Create {
        return Merged::Kept;
    }
    let mut keep_status = false;
    if let Some(order) = &map.order {
        match compare(order, draft, current) {
            Standing::NotSo => return Merged::NotSo,
            Standing::Lower if order.skip_lower => return Merged::Stale,
            Standing::Older => return Merged::Stale,
            Standing::Lower => keep_status = true,
            Standing::Fine => {}
        }
    }
    let mut next = current.clone();
    for path in &draft.deletes {
        delete(&mut next, path);
    }
    for name in &map.snapshot {
        let is_told = |own: &String| own == name || choice_base(own) == Some(name);
        if !draft.body.keys().any(is_told) {
            delete(&mut next, name);
        }
    }
    let mut told = None;
    for (name, value) in &draft.body {
        let is_kept = keep_status
            && map
                .order
                .as_ref()
                .is_some_and(|order| order.element == *name);
        if is_kept || matches!(name.as_str(), "resourceType" | CONTAINED) {
            continue;
        }
        if map
            .succession
            .as_ref()
            .is_some_and(|own| own.element == *name)
        {
            told = Some(value);
            continue;
        }
        match map.union.contains(name) {
            true => unite(&mut next, name, value),
            false => replace(&mut next, name, value, &draft.body),
        }
    }
    if let (Some(own), Some(told)) = (&map.succession, told) {
        follow(own, told.clone(), draft.back.as_deref(), &mut next);
    }
    settle(&mut next, draft, current);
    Merged::Changed(next)
}

/// Adds to a resource what it lacks: for a message that is run again after others have changed the resource. `earlier` is what the message made
/// of it then: what was there and is not any more was deleted since, and stays so.
pub fn fill(
    map: &Map,
    message_type: &str,
    draft: &Draft,
    current: &Object<String, Json>,
    earlier: &Object<String, Json>,
) -> Merged {
    if map.write(message_type) == Write::Create {
        return Merged::Kept;
    }
    let mut next = current.clone();
    for (name, value) in &draft.body {
        let is_there =
            |body: &Object<String, Json>| body.keys().any(|own| is_same_choice(own, name));
        if name != CONTAINED && !is_there(current) && !is_there(earlier) {
            next.insert(name.clone(), value.clone());
        }
    }
    settle(&mut next, draft, current);
    Merged::Changed(next)
}

const CONTAINED: &str = "contained";

/// What a resource contains goes with what refers to it: what the draft brings for its references comes in, what the last reference
/// has left goes.
fn settle(next: &mut Object<String, Json>, draft: &Draft, current: &Object<String, Json>) {
    let (had, brought) = (contained(current), contained(&draft.body));
    let mut all = had.to_vec();
    let is_known = |all: &[Json], own: &Json| all.iter().any(|other| other["id"] == own["id"]);
    for own in brought {
        if !is_known(&all, own) {
            all.push(own.clone());
        }
    }
    if all.is_empty() {
        return;
    }
    let (before, after) = (referred(current, &all), referred(next, &all));
    all.retain(|own| {
        let is_in = |ids: &[String]| ids.iter().any(|id| own["id"] == **id);
        let is_of_others = is_known(had, own) && !is_in(&before);
        is_in(&after) || is_of_others
    });
    match all.is_empty() {
        true => drop(next.remove(CONTAINED)),
        false => drop(next.insert(CONTAINED.to_owned(), Json::Array(all))),
    }
}

fn contained(body: &Object<String, Json>) -> &[Json] {
    let items = body.get(CONTAINED).and_then(Json::as_array);
    items.map_or(&[], Vec::as_slice)
}

/// Ids of contained resources that a body refers to, also by way of one another.
fn referred(body: &Object<String, Json>, contained: &[Json]) -> Vec<String> {
    let mut found = Vec::new();
    let members = body.iter().filter(|(name, _)| *name != CONTAINED);
    members.for_each(|(_, value)| references(value, &mut found));
    let mut next = 0;
    while let Some(id) = found.get(next).cloned() {
        next += 1;
        let own = contained.iter().find(|own| own["id"] == *id);
        own.into_iter().for_each(|own| references(own, &mut found));
    }
    found
}

fn references(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Object(object) => {
            let reference = object.get("reference").and_then(Json::as_str);
            if let Some(id) = reference.and_then(|text| text.strip_prefix('#'))
                && !found.iter().any(|own| own == id)
            {
                found.push(id.to_owned());
            }
            object.values().for_each(|child| references(child, found));
        }
        Json::Array(items) => items.iter().for_each(|child| references(child, found)),
        _ => {}
    }
}

enum Standing {
    Fine,
    /// The status would go back.
    Lower,
    /// The same status, from an earlier time.
    Older,
    /// What is taken back is not so.
    NotSo,
}

fn compare(order: &Order, draft: &Draft, current: &Object<String, Json>) -> Standing {
    let (from, draft) = (&draft.from, &draft.body);
    if !from.is_empty() {
        let old = current.get(&order.element);
        let is_so = old == draft.get(&order.element)
            || old.is_some_and(|old| from.iter().any(|own| *old == **own));
        return match is_so {
            true => Standing::Fine,
            false => Standing::NotSo,
        };
    }
    let rank = |body: &Object<String, Json>| {
        let code = body.get(&order.element)?.as_str()?;
        order
            .ranks
            .iter()
            .position(|rank| rank.iter().any(|own| own == code))
    };
    let (Some(new), Some(old)) = (rank(draft), rank(current)) else {
        return Standing::Fine;
    };
    let time = |body: &Object<String, Json>| {
        let text = body.get(order.newer.as_deref()?)?.as_str()?;
        PartialDate::parse(text).map(|date| date.range.lo)
    };
    match (new.cmp(&old), time(draft), time(current)) {
        (std::cmp::Ordering::Less, ..) => Standing::Lower,
        (std::cmp::Ordering::Equal, Some(new), Some(old)) if new < old => Standing::Older,
        _ => Standing::Fine,
    }
}

/// A new value takes the place of the old one, of its other types when it is a choice, and of what was said about it (`_name`).
fn replace(
    next: &mut Object<String, Json>,
    name: &str,
    value: &Json,
    draft: &Object<String, Json>,
) {
    if let Some(base) = choice_base(name) {
        next.retain(|other, _| {
            let other = other.strip_prefix('_').unwrap_or(other);
            other == name || choice_base(other) != Some(base) || draft.contains_key(other)
        });
    }
    let sibling = format!("_{name}");
    if !draft.contains_key(&sibling) {
        next.remove(&sibling);
    }
    next.insert(name.to_owned(), value.clone());
}

/// Whether both are one element: the same name, or types of one choice.
pub fn is_same_choice(a: &str, b: &str) -> bool {
    a == b || choice_base(a).is_some_and(|base| choice_base(b) == Some(base))
}

/// `effectiveDateTime` -> `effective`.
fn choice_base(name: &str) -> Option<&str> {
    const TYPES: [&str; 16] = [
        "DateTime",
        "Period",
        "Timing",
        "Instant",
        "Age",
        "Range",
        "String",
        "Quantity",
        "CodeableConcept",
        "Boolean",
        "Integer",
        "Ratio",
        "Time",
        "Attachment",
        "SampledData",
        "Reference",
    ];
    TYPES
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .filter(|base| !base.is_empty())
        .min_by_key(|base| base.len())
}

/// Lists keep what they have and gain what is new (identifiers by system and value); objects gain or change single elements.
fn unite(next: &mut Object<String, Json>, name: &str, value: &Json) {
    match (next.get_mut(name), value) {
        (Some(Json::Array(old)), Json::Array(new)) => {
            for item in new {
                match old.iter_mut().find(|own| is_same(own, item)) {
                    // An identifier that was given up does not come back by being told again.
                    Some(own) if own["use"] == "old" && item.get("use").is_none() => {}
                    Some(own) => *own = item.clone(),
                    None => old.push(item.clone()),
                }
            }
        }
        (Some(Json::Object(old)), Json::Object(new)) => {
            for (name, value) in new {
                replace(old, name, value, new);
            }
        }
        _ => {
            next.insert(name.to_owned(), value.clone());
        }
    }
}

fn is_same(a: &Json, b: &Json) -> bool {
    a == b || (a["value"].is_string() && a["value"] == b["value"] && a["system"] == b["system"])
}

fn delete(body: &mut Object<String, Json>, path: &str) {
    match path.split_once('.') {
        None => {
            let name = path.strip_suffix("[x]").unwrap_or(path);
            body.retain(|own, _| {
                let own = own.strip_prefix('_').unwrap_or(own);
                own != name && choice_base(own) != Some(name)
            });
        }
        Some((first, rest)) => {
            if let Some(Json::Object(inner)) = body.get_mut(first) {
                delete(inner, rest);
                if inner.is_empty() {
                    body.remove(first);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
