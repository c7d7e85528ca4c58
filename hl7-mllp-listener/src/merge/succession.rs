//! A list of stays that follow each other, such as Encounter.location: every item has a status (`planned`, `active`, `completed`) and a
//! period. What a message says is active follows what was active; what it says of the same place again changes that item.

use fhir_model::PartialDate;
use serde_json::{Value as Json, json};

const PLANNED: &str = "planned";
const ACTIVE: &str = "active";
const COMPLETED: &str = "completed";
const RESERVED: &str = "reserved";

/// The list after a message. `back` is the status of the item that the message takes back. Once the whole is over (not `is_open`),
/// nothing begins or goes on: an update that still says where it was changes nothing.
pub(super) fn followed(
    before: Vec<Json>,
    told: Json,
    back: Option<&str>,
    is_open: bool,
) -> Vec<Json> {
    let Json::Array(told) = told else {
        return before;
    };
    let is_new = before.is_empty();
    let mut items = before;
    if back == Some(ACTIVE) {
        take_back(&mut items, &told);
    }
    if back == Some(PLANNED) || told.iter().any(|item| item["status"] == PLANNED) {
        items.retain(|item| item["status"] != PLANNED);
    }
    let goes_on = told.iter().any(|item| item["status"] == ACTIVE);
    for mut item in told {
        match item["status"].as_str() {
            Some(ACTIVE) if !is_open && !is_new => {}
            Some(ACTIVE) if !is_open => {
                item["status"] = COMPLETED.into();
                items.push(item);
            }
            Some(ACTIVE) => active(&mut items, item),
            Some(COMPLETED) => completed(&mut items, item, goes_on),
            Some(PLANNED) if back == Some(PLANNED) => {}
            Some(PLANNED) => items.push(item),
            _ => kept_free(&mut items, item),
        }
    }
    items
}

/// Stays after the one the message goes back to never were. Where it goes to a place of which nothing is known, only the last stay falls.
fn take_back(items: &mut Vec<Json>, told: &[Json]) {
    let Some(place) = told.iter().find(|item| item["status"] == ACTIVE) else {
        return;
    };
    match items.iter().rposition(|item| is_same(item, place)) {
        Some(at) => items.truncate(at + 1),
        None => drop(items.pop()),
    }
}

fn active(items: &mut Vec<Json>, item: Json) {
    for own in items.iter_mut() {
        if own["status"] == RESERVED && is_same(own, &item) {
            own["status"] = COMPLETED.into();
        }
    }
    items.retain(|own| !(own["status"] == PLANNED && is_same(own, &item)));
    let Some(at) = items.iter().rposition(|own| own["status"] != PLANNED) else {
        items.push(item);
        return;
    };
    if is_same(&items[at], &item) {
        // The same stay: it began when it began, and goes on.
        items[at]["status"] = ACTIVE.into();
        set_period(&mut items[at], "end", None);
        return;
    }
    let start = item["period"]["start"].clone();
    if is_before(&start, &items[at]["period"]["start"]) {
        // Told late: the visit has moved on since.
        return;
    }
    if items[at]["status"] == ACTIVE {
        end(&mut items[at], &start);
    }
    items.insert(at + 1, item);
}

/// The stay has ended; one that is not known yet is kept as it is told, before the one that goes on.
fn completed(items: &mut Vec<Json>, item: Json, goes_on: bool) {
    let ended = item["period"]["end"].clone();
    let known = items.iter().rposition(|own| is_same(own, &item));
    match known {
        // Where the visit was before.
        Some(_) if goes_on && ended.is_null() => {}
        Some(at) => end(&mut items[at], &ended),
        None => {
            let at = items.iter().rposition(|own| own["status"] == ACTIVE);
            match at {
                Some(at) if goes_on => items.insert(at, item),
                Some(at) => {
                    end(&mut items[at], &ended);
                    items.insert(at + 1, item);
                }
                None => items.push(item),
            }
        }
    }
}

/// `reserved`: the visit comes back to it.
fn kept_free(items: &mut Vec<Json>, item: Json) {
    match items.iter_mut().rfind(|own| is_same(own, &item)) {
        Some(own) => {
            own["status"] = item["status"].clone();
            set_period(own, "end", None);
        }
        None => items.insert(0, item),
    }
}

fn end(item: &mut Json, at: &Json) {
    item["status"] = COMPLETED.into();
    if !at.is_null() {
        set_period(item, "end", Some(at.clone()));
    }
}

/// FHIR has no empty objects: a period without ends is none.
fn set_period(item: &mut Json, name: &str, value: Option<Json>) {
    let mut period = match &item["period"] {
        Json::Object(period) => period.clone(),
        _ => serde_json::Map::new(),
    };
    match value {
        Some(value) => drop(period.insert(name.to_owned(), value)),
        None => drop(period.remove(name)),
    }
    match (period.is_empty(), item.as_object_mut()) {
        (true, Some(item)) => drop(item.remove("period")),
        (false, Some(item)) => drop(item.insert("period".to_owned(), json!(period))),
        (_, None) => {}
    }
}

/// The same place: equal but for status and period.
fn is_same(a: &Json, b: &Json) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return false;
    };
    let names = a.keys().chain(b.keys());
    names
        .filter(|name| !matches!(name.as_str(), "status" | "period" | "id"))
        .all(|name| a.get(name) == b.get(name))
}

fn is_before(a: &Json, b: &Json) -> bool {
    let time = |text: &Json| PartialDate::parse(text.as_str()?).map(|date| date.range.lo);
    matches!((time(a), time(b)), (Some(a), Some(b)) if a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: &str, status: &str, start: &str, end: &str) -> Json {
        let mut item = json!({"location": {"display": place}, "status": status});
        for (name, time) in [("start", start), ("end", end)] {
            if !time.is_empty() {
                item["period"][name] = format!("2026-03-{time}").into();
            }
        }
        item
    }

    #[test]
    fn stays() {
        let w1 = || at("W1", "active", "01", "");
        let w1_left = || at("W1", "completed", "01", "02");
        let w2 = || at("W2", "active", "02", "");
        for (why, before, told, back, expect) in [
            ("first", vec![], vec![w1()], None, vec![w1()]),
            (
                "again",
                vec![w1()],
                vec![at("W1", "active", "02", "")],
                None,
                vec![w1()],
            ),
            ("moves", vec![w1()], vec![w2()], None, vec![w1_left(), w2()]),
            (
                "late",
                vec![w1_left(), w2()],
                vec![w1()],
                None,
                vec![w1_left(), w2()],
            ),
            (
                "moves back",
                vec![w1_left(), w2()],
                vec![at("W1", "active", "03", "")],
                None,
                vec![
                    w1_left(),
                    at("W2", "completed", "02", "03"),
                    at("W1", "active", "03", ""),
                ],
            ),
            (
                "taken back",
                vec![w1_left(), w2()],
                vec![at("W1", "active", "03", "")],
                Some("active"),
                vec![w1()],
            ),
            (
                "taken back twice",
                vec![w1()],
                vec![at("W1", "active", "03", "")],
                Some("active"),
                vec![w1()],
            ),
            (
                "back to the unknown",
                vec![w2()],
                vec![w1()],
                Some("active"),
                vec![w1()],
            ),
            (
                "ended",
                vec![w1()],
                vec![at("W1", "completed", "", "02")],
                None,
                vec![w1_left()],
            ),
            (
                "ended elsewhere",
                vec![w1()],
                vec![at("W2", "completed", "", "02")],
                None,
                vec![w1_left(), at("W2", "completed", "", "02")],
            ),
            (
                "ended, who knows when",
                vec![w1()],
                vec![at("W1", "completed", "", "")],
                None,
                vec![at("W1", "completed", "01", "")],
            ),
            (
                "goes on",
                vec![w1_left()],
                vec![at("W1", "active", "03", "")],
                None,
                vec![w1()],
            ),
            (
                "was before",
                vec![w2()],
                vec![w2(), at("W0", "completed", "", "")],
                None,
                vec![at("W0", "completed", "", ""), w2()],
            ),
            (
                "was before, known",
                vec![w1_left(), w2()],
                vec![w2(), at("W1", "completed", "", "")],
                None,
                vec![w1_left(), w2()],
            ),
            (
                "away for a while",
                vec![w1()],
                vec![w2(), at("W1", "reserved", "", "")],
                None,
                vec![at("W1", "reserved", "01", ""), w2()],
            ),
            (
                "away, told again",
                vec![at("W1", "reserved", "01", ""), w2()],
                vec![w2(), at("W1", "reserved", "", "")],
                None,
                vec![at("W1", "reserved", "01", ""), w2()],
            ),
            (
                "back again",
                vec![at("W1", "reserved", "01", ""), w2()],
                vec![at("W1", "active", "03", "")],
                None,
                vec![
                    at("W1", "completed", "01", ""),
                    at("W2", "completed", "02", "03"),
                    at("W1", "active", "03", ""),
                ],
            ),
            (
                "planned",
                vec![w1()],
                vec![w1(), at("W2", "planned", "", "")],
                None,
                vec![w1(), at("W2", "planned", "", "")],
            ),
            (
                "as planned",
                vec![w1(), at("W2", "planned", "", "")],
                vec![w2()],
                None,
                vec![w1_left(), w2()],
            ),
            (
                "not planned any more",
                vec![w1(), at("W2", "planned", "", "")],
                vec![w1(), at("W2", "planned", "", "")],
                Some("planned"),
                vec![w1()],
            ),
        ] {
            let found = followed(before, Json::Array(told), back, true);
            assert_eq!(found, expect, "{why}");
        }
        for (before, expect) in [
            (vec![w1_left()], vec![w1_left()]),
            (vec![], vec![at("W1", "completed", "01", "")]),
        ] {
            let found = followed(before, json!([w1()]), None, false);
            assert_eq!(found, expect, "over");
        }
    }
}
