//! `$meta`, `$meta-add` and `$meta-delete` (<https://hl7.org/fhir/R5/resource-operation-meta.html>): profiles, tags and security labels as
//! sets. A label is its system and code, a profile its whole URL. Nothing else of a Meta is added or taken away.
//!
//! Refuses nothing itself; a summary over more than the storage gathers is `too-costly`.

use crate::app::App;
use crate::failure::Failure;
use crate::interaction::read::present;
use crate::operation::{Answer, Call, Level};
use fhir_model::IssueKind;
use fhir_storage::{Change, Outcome, Program, Target};
use serde_json::{Map, Value, json};

/// The members of a Meta that are sets.
const SETS: [&str; 3] = ["profile", "security", "tag"];

/// Of an instance its Meta; of a type or the system what is in use there.
pub async fn meta(app: &App, call: Call) -> Result<Answer, Failure> {
    if call.level() == Level::Instance {
        let key = call.request.key();
        let reply = present(&key, app.store.read(&key).await?)?;
        return meta_of(reply.body.as_deref());
    }
    let definitions = app.store.definitions();
    let types = match call.request.resource_type.as_str() {
        "" => definitions.resource_types().to_vec(),
        resource_type => vec![resource_type.to_string()],
    };
    let mut meta = Map::new();
    let mut snapshot = app.store.snapshot().await?;
    let labels = snapshot.labels(&types).await?;
    snapshot.close().await?;
    for (name, value) in labels {
        if let Value::Array(set) = meta.entry(name).or_insert_with(|| json!([])) {
            set.push(value);
        }
    }
    Ok(match meta.is_empty() {
        // FHIR has no empty objects.
        true => Answer::Parameters(Vec::new()),
        false => Answer::Value(Value::Object(meta)),
    })
}

pub fn add(call: Call) -> Result<Change, Failure> {
    changed(call, |resource, given| {
        let meta = resource.entry("meta").or_insert_with(|| json!({}));
        for name in SETS {
            for item in items(given, name) {
                let set = meta[name].as_array().map_or(&[][..], Vec::as_slice);
                if !set.iter().any(|there| is_same(there, item)) {
                    insert(meta, name, item.clone());
                }
            }
        }
    })
}

pub fn delete(call: Call) -> Result<Change, Failure> {
    changed(call, |resource, given| {
        let Some(Value::Object(meta)) = resource.get_mut("meta") else {
            return;
        };
        for name in SETS {
            let taken: Vec<&Value> = items(given, name).collect();
            remove(meta, name, |there| {
                taken.iter().any(|item| is_same(there, item))
            });
        }
    })
}

/// The Meta that a change has left.
pub fn of_outcome(outcome: Outcome) -> Result<Answer, Failure> {
    meta_of(outcome.body.as_deref())
}

fn changed(
    call: Call,
    change: impl Fn(&mut Map<String, Value>, &Value) + Send + Sync + 'static,
) -> Result<Change, Failure> {
    let given = call.value("meta").cloned().unwrap_or_default();
    let version = call.request.version_match()?;
    Ok(Change::Patch {
        target: Target::Id(call.request.key()),
        program: Program::new(move |mut resource| {
            if let Value::Object(members) = &mut resource {
                change(members, &given);
            }
            Ok(resource)
        }),
        version,
    })
}

fn meta_of(body: Option<&str>) -> Result<Answer, Failure> {
    let resource: Option<Value> = body.and_then(|text| serde_json::from_str(text).ok());
    let meta = resource.and_then(|mut resource| resource.get_mut("meta").map(Value::take));
    meta.map(Answer::Value)
        .ok_or_else(|| Failure::new(IssueKind::Exception, "the stored resource has no meta"))
}

fn items<'a>(meta: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    meta.get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Of two labels or two profiles.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => ["system", "code"]
            .iter()
            .all(|name| one.get(*name) == other.get(*name)),
        _ => one == other,
    }
}

fn insert(meta: &mut Value, name: &str, item: Value) {
    let Value::Object(meta) = meta else {
        return;
    };
    if let Value::Array(set) = meta.entry(name).or_insert_with(|| json!([])) {
        set.push(item);
    }
    // Ids and extensions of the profiles that were there stand beside them, place by place.
    if let Some(Value::Array(beside)) = meta.get_mut(&format!("_{name}")) {
        beside.push(Value::Null);
    }
}

fn remove(meta: &mut Map<String, Value>, name: &str, is_taken: impl Fn(&Value) -> bool) {
    let Some(Value::Array(set)) = meta.get_mut(name) else {
        return;
    };
    let keep: Vec<bool> = set.iter().map(|item| !is_taken(item)).collect();
    for name in [name.to_string(), format!("_{name}")] {
        let Some(Value::Array(set)) = meta.get_mut(&name) else {
            continue;
        };
        let mut places = keep.iter();
        set.retain(|_| *places.next().unwrap_or(&true));
        if set.iter().all(Value::is_null) {
            meta.shift_remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let labels = json!({
            "profile": ["http://a"],
            "_profile": [{"id": "x"}],
            "tag": [{"system": "s", "code": "1", "display": "one"}, {"code": "1"}],
        });
        for (taken, left) in [
            (json!({"profile": ["http://b"]}), labels.clone()),
            (
                json!({"profile": ["http://a"]}),
                json!({"tag": labels["tag"]}),
            ),
            (
                json!({"tag": [{"system": "s", "code": "1", "version": "9"}]}),
                json!({"profile": ["http://a"], "_profile": [{"id": "x"}], "tag": [{"code": "1"}]}),
            ),
        ] {
            let mut meta = labels.as_object().unwrap().clone();
            for name in SETS {
                let taken: Vec<&Value> = items(&taken, name).collect();
                remove(&mut meta, name, |there| {
                    taken.iter().any(|item| is_same(there, item))
                });
            }
            assert_eq!(Value::Object(meta), left, "{taken}");
        }
        let mut meta = labels.clone();
        insert(&mut meta, "profile", json!("http://c"));
        assert_eq!(meta["_profile"], json!([{"id": "x"}, null]));
    }
}
