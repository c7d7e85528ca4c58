//! Tags, security labels and profiles of an update, where a site has them joined to those that are there
//! (<https://hl7.org/fhir/R5/resource.html#meta>).

use serde_json::{Map, Value};

/// The sets in meta.
const SETS: [&str; 3] = ["profile", "security", "tag"];

/// The resource with what `old` has in meta and it has not; `None` where it has it all.
pub(super) fn merged(
    resource: &Map<String, Value>,
    old: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let mut merged = None;
    for name in SETS {
        let there = set(resource, name);
        for item in set(old, name) {
            if there.iter().any(|other| is_same(other, item)) {
                continue;
            }
            let merged = merged.get_or_insert_with(|| resource.clone());
            let meta = merged
                .entry("meta")
                .or_insert_with(|| Value::Object(Map::new()));
            match meta.get_mut(name).and_then(Value::as_array_mut) {
                Some(items) => items.push(item.clone()),
                None => meta[name] = Value::Array(vec![item.clone()]),
            }
            // Ids and extensions of the profiles that were sent stand beside them, place by place.
            let beside = meta.get_mut(format!("_{name}"));
            if let Some(beside) = beside.and_then(Value::as_array_mut) {
                beside.push(Value::Null);
            }
        }
    }
    merged
}

fn set<'r>(resource: &'r Map<String, Value>, name: &str) -> &'r [Value] {
    let items = resource
        .get("meta")
        .and_then(|meta| meta.get(name)?.as_array());
    items.map_or(&[], Vec::as_slice)
}

/// Codings are the same by system and code, profiles by their text.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.get("system") == b.get("system") && a.get("code") == b.get("code")
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging() {
        for (new, old, expect) in [
            (r#"{}"#, r#"{"meta":{"versionId":"1"}}"#, ""),
            (
                r#"{}"#,
                r#"{"meta":{"tag":[{"code":"a"}]}}"#,
                r#"{"meta":{"tag":[{"code":"a"}]}}"#,
            ),
            (
                r#"{"meta":{"tag":[{"code":"a","display":"A"}],"profile":["p"]}}"#,
                r#"{"meta":{"tag":[{"code":"a"}],"profile":["p"]}}"#,
                "",
            ),
            (
                r#"{"meta":{"source":"s","tag":[{"code":"b"}],"profile":["q"]}}"#,
                r#"{"meta":{"tag":[{"code":"a"},{"code":"b","system":"s"}],"profile":["p"],"security":[{"code":"R"}]}}"#,
                r#"{"meta":{"source":"s","tag":[{"code":"b"},{"code":"a"},{"code":"b","system":"s"}],"profile":["q","p"],"security":[{"code":"R"}]}}"#,
            ),
            (
                r#"{"meta":{"profile":["q"],"_profile":[{"id":"x"}]}}"#,
                r#"{"meta":{"profile":["p"]}}"#,
                r#"{"meta":{"profile":["q","p"],"_profile":[{"id":"x"},null]}}"#,
            ),
        ] {
            let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
            let found = merged(&object(new).unwrap(), &object(old).unwrap());
            assert_eq!(found, object(expect), "{new} {old}");
        }
    }
}
