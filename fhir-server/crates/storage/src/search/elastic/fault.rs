//! Mistakes planted in requests to the index, for tests: the comparison with the oracle finds every kind of them.

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    /// The mistake of the task at hand.
    pub static FAULT: Fault;
}

#[derive(Clone)]
pub struct Fault {
    plant: Plant,
    planted: Arc<AtomicBool>,
}

impl Fault {
    pub fn new(plant: Plant) -> Fault {
        Fault {
            plant,
            planted: Arc::default(),
        }
    }

    /// Whether a request had something of the kind.
    pub fn is_planted(&self) -> bool {
        self.planted.load(Ordering::Relaxed)
    }
}

/// The request with the mistake.
pub fn planted(body: &Value) -> Value {
    let mut body = body.clone();
    let _ = FAULT.try_with(|fault| {
        if (fault.plant)(&mut body) {
            fault.planted.store(true, Ordering::Relaxed);
        }
    });
    body
}

/// Makes a request wrong; whether there was anything in it to.
pub type Plant = fn(&mut Value) -> bool;

/// What is wrong, and what makes it wrong; false where a request has nothing of the kind.
pub const FAULTS: &[(&str, Plant)] = &[
    ("a date that begins with the range is not in it", |body| {
        renamed(body, "dates.lo", "gte", "gt")
    }),
    ("a date that begins behind the range is in it", |body| {
        renamed(body, "dates.lo", "lt", "lte")
    }),
    ("the end of dates is not looked at", |body| {
        replaced(body, "dates.hi", json!({"match_all": {}}))
    }),
    ("the end of dates is never right", |body| {
        replaced(body, "dates.hi", json!({"match_none": {}}))
    }),
    ("a number at the lower end is not in the range", |body| {
        renamed(body, "quantities.lo", "gte", "gt")
    }),
    ("a number at the upper end is in the range", |body| {
        renamed(body, "quantities.lo", "lt", "lte")
    }),
    ("open ends are none", |body| {
        replaced(body, "quantities.open", json!({"match_none": {}}))
    }),
    ("units are not looked at", |body| {
        replaced(body, "quantities.units", json!({"match_all": {}}))
    }),
    ("text that goes on is not found", |body| {
        each(body, &mut |query| {
            let Some(range) = query.pointer_mut("/range/strings.value") else {
                return false;
            };
            let Some(start) = range
                .get("gte")
                .cloned()
                .filter(|_| range.get("lt").is_some())
            else {
                return false;
            };
            *query = json!({"term": {"strings.value": start}});
            true
        })
    }),
    ("a list ends too early", |body| {
        each(body, &mut |query| {
            let lists = ["tokens", "refs", "pk"];
            let list = lists.iter().find_map(|field| {
                Some(
                    query
                        .get_mut("terms")?
                        .get_mut(field)?
                        .as_array_mut()?
                        .pop(),
                )
            });
            list.flatten().is_some()
        })
    }),
    ("not is not said", |body| {
        each(body, &mut |query| {
            let only = query.pointer("/bool/must_not/0").cloned();
            let is_only = query["bool"].as_object().is_some_and(|it| it.len() == 1);
            match only.filter(|_| is_only) {
                Some(only) => {
                    *query = only;
                    true
                }
                None => false,
            }
        })
    }),
    ("one of several is enough for none", |body| {
        each(body, &mut |query| {
            let should = query.pointer_mut("/bool/should");
            let should = should.and_then(Value::as_array_mut);
            should.is_some_and(|should| should.pop().is_some())
        })
    }),
    ("pending rows are believed", |body| {
        each(body, &mut |query| {
            let none = query.pointer_mut("/bool/must_not");
            let Some(none) = none.and_then(Value::as_array_mut) else {
                return false;
            };
            let before = none.len();
            none.retain(|query| query.pointer("/terms/pk").is_none());
            none.len() < before
        })
    }),
    ("what is deleted is found", |body| {
        replaced(body, "deleted", json!({"match_none": {}}))
    }),
    (
        "the other one of several values counts in the order",
        |body| sorted(body, &mut |sort| exchanged(sort, "mode", "min", "max")),
    ),
    ("what has no value comes first", |body| {
        sorted(body, &mut |sort| {
            exchanged(sort, "missing", "_first", "_last")
        })
    }),
    ("the order is turned around", |body| {
        body["size"] != 0 && sorted(body, &mut |sort| exchanged(sort, "order", "asc", "desc"))
    }),
    ("one match less is asked for", |body| {
        let size = body["size"].as_u64().unwrap_or_default();
        body["size"] = size.saturating_sub(1).into();
        size > 0 && size < 1_000
    }),
    ("words are not looked for", |body| {
        let content = replaced(body, "content", json!({"match_all": {}}));
        replaced(body, "narrative", json!({"match_all": {}})) || content
    }),
    ("words that go on are not found", |body| {
        each(body, &mut |query| match query.get("prefix").cloned() {
            Some(beginning) => {
                *query = json!({"term": beginning});
                true
            }
            None => false,
        })
    }),
    ("the first of several words is enough", |body| {
        each(body, &mut |query| {
            let Some(phrase) = query.get("match_phrase").and_then(Value::as_object) else {
                return false;
            };
            let first = phrase.iter().map(|(field, words)| {
                let first = words.as_str().and_then(|words| words.split(' ').next());
                (field.clone(), first.unwrap_or_default().into())
            });
            *query = json!({"term": first.collect::<serde_json::Map<_, _>>()});
            true
        })
    }),
    ("circles are larger", |body| {
        resized(body, |metres| metres * 2.0)
    }),
    ("circles are smaller", |body| {
        resized(body, |metres| metres / 2.0)
    }),
    (
        "what is at the edge of circles is believed, of another globe",
        |body| without_edges(body) || another_globe(body),
    ),
    ("a page begins one row early", |body| {
        let after = body.get_mut("search_after").and_then(Value::as_array_mut);
        after.is_some_and(|after| after.pop().map(|_| after.push(0.into())).is_some())
    }),
];

/// Documents of later writes are believed.
pub fn later_writes_are_believed(body: &mut Value) -> bool {
    replaced(body, "written", json!({"match_none": {}}))
}

/// Nothing is at the edge of a circle.
pub fn without_edges(body: &mut Value) -> bool {
    let edges = |query: &Value| query.pointer("/bool/must_not/0/geo_distance").is_some();
    each(body, &mut |query| {
        let is_edge = edges(query);
        if is_edge {
            *query = json!({"match_none": {}});
        }
        is_edge
    })
}

/// Distances as an index may have them whose arithmetic is less exact than that of Elasticsearch.
pub fn another_globe(body: &mut Value) -> bool {
    resized(body, |metres| metres + 1.5)
}

fn resized(body: &mut Value, size: fn(f64) -> f64) -> bool {
    each(body, &mut |query| {
        let distance = query.pointer_mut("/geo_distance/distance");
        let Some(distance) = distance else {
            return false;
        };
        let metres = distance.as_str().and_then(|it| it.strip_suffix('m'));
        let Some(metres) = metres.and_then(|it| it.parse::<f64>().ok()) else {
            return false;
        };
        *distance = format!("{:.3}m", size(metres)).into();
        true
    })
}

/// Changes every query for which `change` says so.
fn each(value: &mut Value, change: &mut dyn FnMut(&mut Value) -> bool) -> bool {
    let mut changed = change(value);
    match value {
        Value::Object(members) => {
            for (_, value) in members.iter_mut() {
                changed |= each(value, change);
            }
        }
        Value::Array(items) => {
            for value in items {
                changed |= each(value, change);
            }
        }
        _ => {}
    }
    changed
}

fn renamed(body: &mut Value, field: &str, from: &str, to: &str) -> bool {
    each(body, &mut |query| {
        let range = query
            .get_mut("range")
            .and_then(|range| range.get_mut(field));
        let Some(range) = range.and_then(Value::as_object_mut) else {
            return false;
        };
        match range.remove(from) {
            Some(bound) => range.insert(to.to_owned(), bound).is_none(),
            None => false,
        }
    })
}

/// Another query in the place of those on the field.
fn replaced(body: &mut Value, field: &str, by: Value) -> bool {
    each(body, &mut |query| {
        let of_field = |kind: &str| query.get(kind).is_some_and(|it| it.get(field).is_some());
        let is_meant = of_field("range") || of_field("term");
        if is_meant {
            *query = by.clone();
        }
        is_meant
    })
}

fn sorted(body: &mut Value, change: &mut dyn FnMut(&mut Value) -> bool) -> bool {
    let Some(keys) = body.get_mut("sort").and_then(Value::as_array_mut) else {
        return false;
    };
    let mut changed = false;
    for (_, key) in keys.iter_mut().filter_map(Value::as_object_mut).flatten() {
        changed |= change(key);
    }
    changed
}

fn exchanged(sort: &mut Value, name: &str, one: &str, other: &str) -> bool {
    let now = sort[name].as_str().map(str::to_owned);
    match now.as_deref() {
        Some(now) => {
            sort[name] = if now == one { other } else { one }.into();
            true
        }
        None => false,
    }
}
