//! What a difference says, and that a FHIRPath Patch makes it true.

use super::*;
use crate::patch::Patch;

/// `type path [name] [index] [value]`, one operation after the other.
fn check(from: &str, to: &str, expect: &[&str]) {
    let read = |members: &str| {
        let comma = if members.is_empty() { "" } else { "," };
        let text = format!(r#"{{"resourceType":"Patient"{comma}{members}}}"#);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let found: Vec<String> = difference(&read(from), &read(to))
        .iter()
        .map(|operation| {
            let parts = operation["part"].as_array().unwrap();
            let texts = parts.iter().map(|part| {
                let members = part
                    .as_object()
                    .unwrap()
                    .iter()
                    .filter(|(name, _)| *name != "name");
                let texts = members.map(|(name, value)| match (name.as_str(), value) {
                    ("valueCode" | "valueString", Value::String(text)) => text.clone(),
                    (_, value) => value.to_string(),
                });
                texts.collect::<Vec<_>>().join(" ")
            });
            texts.collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(found, expect, "{from} => {to}");
}

#[test]
fn single_elements() {
    check("", "", &[]);
    check(r#""active":true"#, r#""active":true"#, &[]);
    check(
        r#""active":true"#,
        r#""active":false"#,
        &["replace Patient.active false"],
    );
    check("", r#""active":false"#, &["add Patient active false"]);
    check(r#""active":false"#, "", &["delete Patient.active"]);
    check(
        r#""deceasedBoolean":true"#,
        r#""deceasedDateTime":"2020""#,
        &[r#"replace Patient.deceased "2020""#],
    );
    check(
        r#""birthDate":"1970""#,
        r#""birthDate":"1970","_birthDate":{"id":"x"}"#,
        &[r#"replace Patient.birthDate {"id":"x"} "1970""#],
    );
    check(
        r#""maritalStatus":{"text":"a"}"#,
        r#""maritalStatus":{"coding":[{"code":"b"}]}"#,
        &[
            r#"add Patient.maritalStatus coding {"code":"b"}"#,
            "delete Patient.maritalStatus.text",
        ],
    );
    check(
        r#""text":{"status":"empty","div":"<div/>"}"#,
        r#""text":{"status":"empty","div":"<div>x</div>"}"#,
        &["replace Patient.text.`div` <div>x</div>"],
    );
}

#[test]
fn lists() {
    let names = |names: &[&str]| {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"text":"{name}"}}"#))
            .collect();
        match names.is_empty() {
            true => String::new(),
            false => format!(r#""name":[{}]"#, names.join(",")),
        }
    };
    for (from, to, expect) in [
        (
            &["a"][..],
            &["a", "b"][..],
            &[r#"add Patient name {"text":"b"}"#][..],
        ),
        (
            &["a"],
            &["b", "a"],
            &[r#"insert Patient.name 0 {"text":"b"}"#],
        ),
        (&["a", "b", "c"], &["a", "c"], &["delete Patient.name[1]"]),
        (&["a", "b"], &["b"], &["delete Patient.name[0]"]),
        (
            &["a", "b"],
            &[],
            &["delete Patient.name[0]", "delete Patient.name[0]"],
        ),
        (
            &["a", "b", "c"],
            &["a", "x", "c"],
            &["replace Patient.name[1].text x"],
        ),
        (
            &["a", "b", "c", "d"],
            &["c", "a", "d", "e"],
            &[
                "delete Patient.name[0]",
                "delete Patient.name[0]",
                r#"insert Patient.name 1 {"text":"a"}"#,
                r#"add Patient name {"text":"e"}"#,
            ],
        ),
    ] {
        check(&names(from), &names(to), expect);
    }
    check(
        r#""name":[{"given":["a","b"],"_given":[null,{"id":"x"}]}]"#,
        r#""name":[{"given":["a","b"],"_given":[null,{"id":"y"}]}]"#,
        &[r#"replace Patient.name[0].given[1] {"id":"y"} b"#],
    );
    // A backbone element and an extension come in parts.
    check(
        "",
        r#""contact":[{"gender":"male"}],"extension":[{"url":"u","valueInteger":1}]"#,
        &[
            r#"add Patient extension [{"name":"url","valueUri":"u"},{"name":"value","valueInteger":1}]"#,
            r#"add Patient contact [{"name":"gender","valueCode":"male"}]"#,
        ],
    );
    check(
        "",
        r#""contained":[{"resourceType":"Basic","id":"b"}]"#,
        &[r#"add Patient contained {"resourceType":"Basic","id":"b"}"#],
    );
}

#[test]
fn what_the_server_sets() {
    check(
        r#""id":"1","meta":{"versionId":"1"}"#,
        r#""id":"2","meta":{"versionId":"2","tag":[{"code":"t"}]}"#,
        &[r#"add Patient.meta tag {"code":"t"}"#],
    );
    check(
        r#""meta":{"versionId":"1","source":"s"}"#,
        "",
        &["delete Patient.meta.source"],
    );
    check("", r#""meta":{"versionId":"1"}"#, &[]);
    check(
        "",
        r#""meta":{"source":"s"}"#,
        &[r#"add Patient meta {"source":"s"}"#],
    );
}

const OBSERVATION: &str = r##"{"resourceType":"Observation","meta":{"tag":[{"code":"t"},{"code":"u"}]},
        "text":{"status":"empty","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>"},
        "contained":[{"resourceType":"Patient","id":"p"},{"resourceType":"Basic","id":"b","code":{"text":"x"}}],
        "extension":[{"url":"http://a","valueString":"x"},{"url":"http://b","extension":[{"url":"c","valueInteger":1}]}],
        "identifier":[{"system":"s","value":"1"},{"system":"s","value":"2"}],
        "status":"final","_status":{"id":"s"},"category":[{"coding":[{"code":"a"},{"code":"b"},{"code":"c"}],"text":"x"}],
        "code":{"coding":[{"system":"l","code":"1"}]},"subject":{"reference":"#p"},"effectiveDateTime":"2020-01","valueQuantity":{"value":1.50,"unit":"mg"},
        "note":[{"text":"one"},{"text":"two","authorString":"me"}],
        "referenceRange":[{"low":{"value":1},"text":"r","appliesTo":[{"text":"q"}]},{"text":"s"}],
        "component":[{"code":{"text":"a"},"valueInteger":1},{"code":{"text":"b"},"valueBoolean":true,"interpretation":[{"text":"H"}]}],
        "triggeredBy":[{"observation":{"reference":"Observation/1"},"type":"reflex","reason":"r"}]}"##;
const PATIENT: &str = r#"{"resourceType":"Patient","active":true,"_birthDate":{"extension":[{"url":"u","valueCode":"x"}]},
        "name":[{"family":"F","given":["a","b","c"],"_given":[null,{"id":"x"},null],"period":{"start":"2001"}},{"text":"n"}],
        "telecom":[{"system":"phone","value":"1"},{"value":"2"}],"deceasedBoolean":false,"address":[{"line":["1","2"],"city":"C"}],
        "contact":[{"relationship":[{"text":"r"}],"name":{"family":"K"}}],"multipleBirthInteger":2,
        "communication":[{"language":{"text":"fr"},"preferred":true},{"language":{"text":"en"}}],
        "link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}"#;

/// The same resource with one thing in it gone, doubled, moved or other.
fn mutate(value: &mut Value, random: &mut impl FnMut(usize) -> usize, depth: usize) {
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members
                .keys()
                .filter(|name| *name != "resourceType")
                .cloned()
                .collect();
            if names.is_empty() {
                return;
            }
            let name = &names[random(names.len())];
            let beside = format!("_{name}");
            match random(5) {
                0 if depth > 0 && names.len() > 1 && !name.starts_with('_')
                    || depth == 0 && name != "code" =>
                {
                    members.shift_remove(name);
                    members.shift_remove(&beside);
                }
                1 if name == "valueQuantity" => {
                    members.shift_remove(name);
                    members.insert("valueString".into(), "v".into());
                }
                // Its items have places beside it.
                _ if members.contains_key(&beside) && members[name].is_array() => {
                    let count = members[name].as_array().map_or(0, Vec::len);
                    mutate(&mut members[name][random(count)], random, depth + 1);
                }
                _ => mutate(&mut members[name], random, depth + 1),
            }
        }
        Value::Array(items) if items.iter().any(Value::is_null) => {}
        Value::Array(items) => {
            let at = random(items.len());
            match random(5) {
                0 if items.len() > 1 => drop(items.remove(at)),
                1 => items.insert(random(items.len() + 1), items[at].clone()),
                2 => items.rotate_left(at),
                _ => mutate(&mut items[at], random, depth + 1),
            }
        }
        Value::String(text) if text.starts_with('<') => *text = text.replace("a<", "b<"),
        Value::String(text) => text.push('x'),
        Value::Bool(yes) => *yes = !*yes,
        Value::Number(number) => *value = json!(number.to_string().len()),
        Value::Null => {}
    }
}

#[test]
fn the_patch_makes_the_other_of_the_one() {
    for (text, seeds) in [(OBSERVATION, 0..1500_u64), (PATIENT, 1500..3000)] {
        for seed in seeds {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut random = |below: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) as usize) % below.max(1)
            };
            let from: Value = serde_json::from_str(text).unwrap();
            let mut to = from.clone();
            for _ in 0..=random(5) {
                mutate(&mut to, &mut random, 0);
            }
            let operations = difference(&from, &to);
            let patch = json!({ "resourceType": "Parameters", "parameter": operations });
            let made = match operations.is_empty() {
                true => Ok(from.clone()),
                false => Patch::of_parameters(&patch)
                    .unwrap_or_else(|failure| panic!("{failure:?} {patch}"))
                    .program()
                    .apply(from.clone()),
            };
            assert_eq!(made, Ok(to), "{seed}: {patch:#}");
            assert_eq!(operations.is_empty(), made.unwrap() == from, "{seed}");
        }
    }
}
