//! The stored text of a resource: as it was sent, with id, meta.versionId and meta.lastUpdated set (design invariant 1).

use fhir_model::date::instant_text;
use serde_json::{Map, Value};

/// What the server decides about a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    pub id: &'a str,
    pub version: i32,
    pub last_updated_ms: i64,
}

/// The JSON text without resourceType; and whether JSONB would rewrite a number literal in it, so that the text must be kept as well.
pub(super) fn text(resource: &Map<String, Value>, stamp: Stamp<'_>) -> (String, bool) {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(head(stamp.id, stamp.version).as_bytes());
    text.extend_from_slice(instant_text(stamp.last_updated_ms).as_bytes());
    text.push(b'"');
    let meta = resource.get("meta").and_then(Value::as_object);
    for (name, value) in meta.into_iter().flatten() {
        if name != "versionId" && name != "lastUpdated" {
            push_member(&mut text, name, value);
        }
    }
    text.push(b'}');
    for (name, value) in resource {
        if !matches!(name.as_str(), "resourceType" | "id" | "meta") {
            push_member(&mut text, name, value);
        }
    }
    text.push(b'}');
    let text = String::from_utf8(text).expect("JSON is written in UTF-8");
    let rewritten = resource.values().any(jsonb_rewrites);
    (text, rewritten)
}

/// Where the text of a version has its lastUpdated, in bytes.
pub(super) fn instant_at(id: &str, version: i32) -> usize {
    head(id, version).len()
}

/// Puts another time in the place of the one at byte `at`: instants are all of the same length.
pub(super) fn set_instant(text: &mut String, at: usize, last_updated_ms: i64) {
    let instant = instant_text(last_updated_ms);
    text.replace_range(at..at + instant.len(), &instant);
}

/// The text up to its lastUpdated. A legal id needs no escapes.
fn head(id: &str, version: i32) -> String {
    format!(r#"{{"id":"{id}","meta":{{"versionId":"{version}","lastUpdated":""#)
}

/// Whether two bodies say the same: everything but resourceType, id and what [`Stamp`] sets, whatever the order of names; numbers as text.
pub(super) fn same(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    fn own(name: &&String) -> bool {
        !matches!(name.as_str(), "resourceType" | "id" | "meta")
    }
    fn meta(resource: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
        let members = resource.get("meta").and_then(Value::as_object);
        let all = members.into_iter().flatten();
        all.filter(|(name, _)| *name != "versionId" && *name != "lastUpdated")
    }
    fn equal<'a>(
        a: impl Iterator<Item = (&'a String, &'a Value)> + Clone,
        b: impl Iterator<Item = (&'a String, &'a Value)>,
        get: impl Fn(&str) -> Option<&'a Value>,
    ) -> bool {
        let mut count = 0;
        for (name, value) in b {
            count += 1;
            if get(name) != Some(value) {
                return false;
            }
        }
        a.count() == count
    }
    let old_meta: Vec<_> = meta(old).collect();
    let get_meta = |name: &str| {
        let found = old_meta.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    };
    equal(
        old.iter().filter(|(name, _)| own(name)),
        new.iter().filter(|(name, _)| own(name)),
        |name| old.get(name),
    ) && equal(old_meta.iter().copied(), meta(new), get_meta)
}

/// Whether some number is written with an exponent.
pub(super) fn has_exponents(resource: &Map<String, Value>) -> bool {
    fn below(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.as_str().contains(['e', 'E']),
            Value::Array(items) => items.iter().any(below),
            Value::Object(members) => members.values().any(below),
            _ => false,
        }
    }
    resource.values().any(below)
}

/// JSONB prints a numeric: exponents are written out and a negative zero loses its sign. All else, trailing zeros too, it keeps.
fn jsonb_rewrites(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            let text = number.as_str();
            let zero = || text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.'));
            text.contains(['e', 'E']) || (text.starts_with('-') && zero())
        }
        Value::Array(items) => items.iter().any(jsonb_rewrites),
        Value::Object(members) => members.values().any(jsonb_rewrites),
        _ => false,
    }
}

fn push_member(text: &mut Vec<u8>, name: &str, value: &Value) {
    text.push(b',');
    serde_json::to_writer(&mut *text, name).expect(WRITTEN);
    text.push(b':');
    serde_json::to_writer(text, value).expect(WRITTEN);
}

const WRITTEN: &str = "a JSON value is written to memory";

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn stored_text() {
        let stamp = Stamp {
            id: "a",
            version: 2,
            last_updated_ms: 1_764_000_000_123,
        };
        for (sent, stored, rewritten) in [
            (r#"{"resourceType":"Basic"}"#, "", false),
            (
                r#"{"meta":{"tag":[{"code":"x"}],"versionId":"9"},"resourceType":"Basic","id":"z"}"#,
                "",
                false,
            ),
            (
                r#"{"v":1.50,"_v":{"id":"q"}}"#,
                r#","v":1.50,"_v":{"id":"q"}"#,
                false,
            ),
            (r#"{"v":1.20e3}"#, r#","v":1.20e+3"#, true),
            (r#"{"v":[-0.0]}"#, r#","v":[-0.0]"#, true),
            (r#"{"v":-0.5,"w":0.0}"#, r#","v":-0.5,"w":0.0"#, false),
        ] {
            let tag = if sent.contains("tag") {
                r#","tag":[{"code":"x"}]"#
            } else {
                ""
            };
            let expect = format!(
                r#"{{"id":"a","meta":{{"versionId":"2","lastUpdated":"2025-11-24T16:00:00.123Z"{tag}}}{stored}}}"#
            );
            let (text, kept) = text(&object(sent), stamp);
            assert_eq!(text.replace("1.20e3", "1.20e+3"), expect);
            assert_eq!(kept, rewritten, "{sent}");
        }
    }

    #[test]
    fn no_op() {
        for (old, new, expect) in [
            (
                r#"{"a":1,"b":[2]}"#,
                r#"{"resourceType":"Basic","b":[2],"a":1}"#,
                true,
            ),
            (
                r#"{"id":"1","meta":{"versionId":"1"},"a":1}"#,
                r#"{"a":1}"#,
                true,
            ),
            (
                r#"{"meta":{"versionId":"1","source":"s"}}"#,
                r#"{"meta":{"source":"s"}}"#,
                true,
            ),
            (
                r#"{"meta":{"versionId":"1","source":"s"}}"#,
                r#"{"meta":{}}"#,
                false,
            ),
            (
                r#"{"meta":{"versionId":"1"}}"#,
                r#"{"meta":{"source":"s"}}"#,
                false,
            ),
            (r#"{"a":1.5}"#, r#"{"a":1.50}"#, false),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, false),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, false),
            (r#"{"a":1,"b":1}"#, r#"{"a":1}"#, false),
            (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2,"x":1}}"#, true),
        ] {
            assert_eq!(same(&object(old), &object(new)), expect, "{old} {new}");
        }
    }
}
