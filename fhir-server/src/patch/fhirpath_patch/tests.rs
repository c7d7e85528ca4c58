use super::FhirpathPatch;
use crate::patch::Patch;
use crate::xml;
use fhir_model::{IssueKind, json};
use serde_json::{Value, json};
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/r5-patch");

/// The official tests (`fhir-patch-tests.xml` of `org.hl7.fhir.testcases:fhir-test-cases`).
#[test]
fn official_suite() {
    let Ok(text) = std::fs::read_to_string(Path::new(FOLDER).join("fhir-patch-tests.xml")) else {
        eprintln!("skipped: no .cache/r5-patch, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    // One case gives a reference in an attribute that FHIR has not.
    let text = text
        .replace("<reference reference=", "<reference value=")
        .replace("\r\n", "\n");
    // Of a narrative's quotes, some are references in one place and not in the other.
    let plain = |resource: &Value| resource.to_string().replace("&quot;", "\\\"");
    let in_order = |resource: &Value| json::parse(plain(resource).as_bytes()).unwrap();
    let mut failed = Vec::new();
    let cases: Vec<&str> = text.split("<case name=\"").skip(1).collect();
    for case in &cases {
        let name = case.split('"').next().unwrap();
        let between = |tag: &str| {
            let (_, rest) = case.split_once(&format!("<{tag}>"))?;
            let (inside, _) = rest.split_once(&format!("</{tag}>"))?;
            Some(xml::read(inside.trim().as_bytes()).expect(name))
        };
        let patch = Patch::of_parameters(&between("diff").unwrap()).expect(name);
        let found = patch.program().apply(between("input").unwrap());
        let is_right = match (between("output"), &found) {
            (Some(expected), Ok(found)) => in_order(found) == in_order(&expected),
            (None, found) => found.is_err() && case.contains("<error"),
            (Some(_), Err(_)) => false,
        };
        if !is_right {
            failed.push(format!("{name}: {found:?}"));
        }
    }
    assert_eq!(cases.len(), 34);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// An operation, from `type path name=…|index=…` and the JSON of its value part without its name.
fn operation(text: &str, value: Option<Value>) -> Value {
    let mut words = text.split(' ');
    let (kind, path) = (words.next().unwrap(), words.next().unwrap());
    let mut parts = vec![
        json!({"name": "type", "valueCode": kind}),
        json!({"name": "path", "valueString": path.replace('+', " ")}),
    ];
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        parts.push(match value.parse::<i64>() {
            Ok(number) => json!({"name": name, "valueInteger": number}),
            Err(_) => json!({"name": name, "valueString": value}),
        });
    }
    if let Some(Value::Object(mut value)) = value {
        value.insert("name".into(), "value".into());
        parts.push(Value::Object(value));
    }
    json!({"name": "operation", "part": parts})
}

fn patched(before: &Value, operations: Vec<Value>) -> Result<Value, IssueKind> {
    let parameters = json!({"resourceType": "Parameters", "parameter": operations});
    let now = "2026-01-01T00:00:00.000Z".to_owned();
    let patch = FhirpathPatch::read(&parameters, now).map_err(|issue| issue.kind)?;
    let mut after = before.clone();
    patch.apply(&mut after).map_err(|issue| issue.kind)?;
    Ok(after)
}

fn check(before: &Value, text: &str, value: Value, expect: Result<&str, IssueKind>) {
    let value = (!value.is_null()).then_some(value);
    let after = patched(before, vec![operation(text, value)]);
    let expect = expect.map(|expect| {
        let mut whole: Value = serde_json::from_str(&format!("{{{expect}}}")).expect(text);
        whole["resourceType"] = before["resourceType"].clone();
        whole
    });
    assert_eq!(after, expect, "{text}");
}

fn resource(resource_type: &str, members: &str) -> Value {
    let text = format!(r#"{{"resourceType":"{resource_type}",{members}}}"#);
    json::parse(text.as_bytes()).unwrap()
}

#[test]
fn places() {
    let patient = resource(
        "Patient",
        r#""contained":[{"resourceType":"Basic","id":"b","code":{"text":"x"}}],"active":true,"name":[{"given":["a","b",null],"_given":[null,{"id":"i"},{"extension":[{"url":"u","valueCode":"c"}]}]},{"family":"f"}],"_birthDate":{"extension":[{"url":"u","valueCode":"c"}]}"#,
    );
    let with = |changed: &str| {
        let mut whole = patient.clone();
        for (pointer, value) in serde_json::from_str::<Value>(changed)
            .unwrap()
            .as_object()
            .unwrap()
        {
            match (pointer.rsplit_once('/').unwrap(), value) {
                ((parent, name), Value::Null) => {
                    let parent = whole.pointer_mut(parent).unwrap().as_object_mut();
                    parent.unwrap().remove(name);
                }
                ((parent, name), value) => match whole.pointer_mut(pointer) {
                    Some(place) => *place = value.clone(),
                    None => whole.pointer_mut(parent).unwrap()[name] = value.clone(),
                },
            }
        }
        let text = whole.to_string();
        text[1..text.len() - 1].to_owned()
    };
    let none = Value::Null;
    for (text, value, expect) in [
        (
            "replace Patient.active",
            json!({"valueBoolean": false}),
            r#"{"/active": false}"#,
        ),
        (
            "replace active",
            json!({"valueBoolean": false}),
            r#"{"/active": false}"#,
        ),
        (
            "delete Patient.name[1].family",
            none.clone(),
            r#"{"/name/1": {}}"#,
        ),
        (
            "delete Patient.name.given[2]",
            none.clone(),
            r#"{"/name/0/given": ["a", "b"], "/name/0/_given": [null, {"id": "i"}]}"#,
        ),
        (
            "delete Patient.name.given[0]",
            none.clone(),
            r#"{"/name/0/given": ["b", null], "/name/0/_given": [{"id": "i"}, {"extension": [{"url": "u", "valueCode": "c"}]}]}"#,
        ),
        (
            "delete Patient.name.given.where(id='i')",
            none.clone(),
            r#"{"/name/0/given": ["a", null], "/name/0/_given": [null, {"extension": [{"url": "u", "valueCode": "c"}]}]}"#,
        ),
        ("delete Patient.nonsense", none.clone(), "{}"),
        ("delete Patient.deceased", none.clone(), "{}"),
        (
            "insert Patient.name[0].given index=1",
            json!({"valueString": "n"}),
            r#"{"/name/0/given": ["a", "n", "b", null], "/name/0/_given": [null, null, {"id": "i"}, {"extension": [{"url": "u", "valueCode": "c"}]}]}"#,
        ),
        (
            "insert Patient.name[0].given index=0",
            json!({"_valueString": {"id": "j"}}),
            r#"{"/name/0/given": [null, "a", "b", null], "/name/0/_given": [{"id": "j"}, null, {"id": "i"}, {"extension": [{"url": "u", "valueCode": "c"}]}]}"#,
        ),
        (
            "move Patient.name[0].given source=2 destination=0",
            none.clone(),
            r#"{"/name/0/given": [null, "a", "b"], "/name/0/_given": [{"extension": [{"url": "u", "valueCode": "c"}]}, null, {"id": "i"}]}"#,
        ),
        // A list that is not there yet.
        (
            "insert Patient.name[1].given index=0",
            json!({"valueString": "n"}),
            r#"{"/name/1": {"family": "f", "given": ["n"]}}"#,
        ),
        (
            "insert Patient.telecom index=0",
            json!({"valueContactPoint": {"value": "1"}}),
            r#"{"/telecom": [{"value": "1"}]}"#,
        ),
        // Beside primitives.
        (
            "delete Patient.birthDate.extension[0]",
            none.clone(),
            r#"{"/_birthDate": {}}"#,
        ),
        (
            "replace Patient.birthDate",
            json!({"valueDate": "2000-01-01"}),
            r#"{"/_birthDate": null, "/birthDate": "2000-01-01"}"#,
        ),
        (
            "replace Patient.birthDate.extension('u').value",
            json!({"valueString": "s"}),
            r#"{"/_birthDate": {"extension": [{"url": "u", "valueString": "s"}]}}"#,
        ),
        (
            "add Patient.birthDate name=extension",
            json!({"part": [{"name": "url", "valueUri": "v"}]}),
            r#"{"/_birthDate": {"extension": [{"url": "u", "valueCode": "c"}, {"url": "v"}]}}"#,
        ),
        (
            "add Patient.active name=extension",
            json!({"part": [{"name": "url", "valueUri": "v"}, {"name": "value", "valueInteger": 1}]}),
            r#"{"/_active": {"extension": [{"url": "v", "valueInteger": 1}]}}"#,
        ),
        (
            "add Patient.name.given[0] name=id",
            json!({"valueString": "j"}),
            r#"{"/name/0/_given": [{"id": "j"}, {"id": "i"}, {"extension": [{"url": "u", "valueCode": "c"}]}]}"#,
        ),
        // Within a contained resource.
        (
            "replace Patient.contained[0].code.text",
            json!({"valueString": "y"}),
            r#"{"/contained/0/code": {"text": "y"}}"#,
        ),
        (
            "add Patient name=contained",
            json!({"resource": {"resourceType": "Basic"}}),
            r#"{"/contained": [{"resourceType": "Basic", "id": "b", "code": {"text": "x"}}, {"resourceType": "Basic"}]}"#,
        ),
        // Choices.
        (
            "add Patient name=deceased",
            json!({"valueBoolean": true}),
            r#"{"/deceasedBoolean": true}"#,
        ),
        (
            "add Patient name=deceased[x]",
            json!({"valueDateTime": "2020"}),
            r#"{"/deceasedDateTime": "2020"}"#,
        ),
        (
            "add Patient name=deceasedBoolean",
            json!({"valueBoolean": true}),
            r#"{"/deceasedBoolean": true}"#,
        ),
        // Parts, also of a type that has a value[x] of its own, and of a primitive.
        (
            "add Patient name=telecom",
            json!({"part": [{"name": "value", "valueString": "1"}, {"name": "rank", "valuePositiveInt": 1}]}),
            r#"{"/telecom": [{"value": "1", "rank": 1}]}"#,
        ),
        (
            "add Patient name=gender",
            json!({"part": [{"name": "value", "valueCode": "male"}, {"name": "id", "valueString": "g"}]}),
            r#"{"/gender": "male", "/_gender": {"id": "g"}}"#,
        ),
        // Types that are text of each other.
        (
            "add Patient name=gender",
            json!({"valueString": "male"}),
            r#"{"/gender": "male"}"#,
        ),
        (
            "add Patient.name[1] name=text",
            json!({"valueMarkdown": "t"}),
            r#"{"/name/1": {"family": "f", "text": "t"}}"#,
        ),
        // The time is known.
        (
            "delete Patient.name.where(today()=@2026-01-01+and+family='f')",
            none.clone(),
            r#"{"/name": [{"given": ["a", "b", null], "_given": [null, {"id": "i"}, {"extension": [{"url": "u", "valueCode": "c"}]}]}]}"#,
        ),
    ] {
        check(&patient, text, value, Ok(&with(expect)));
    }
    for (text, value) in [
        ("replace Patient.gender", json!({"valueCode": "male"})),
        (
            "replace Patient",
            json!({"resource": {"resourceType": "Patient"}}),
        ),
        ("delete Patient", none.clone()),
        ("delete Patient.name", none.clone()),
        ("replace Patient.name.given", json!({"valueString": "x"})),
        ("delete Patient.name.count()", none.clone()),
        ("delete Patient.active.value", none.clone()),
        ("delete Patient.name[0]+|+'x'", none.clone()),
        (
            "add Patient.gender name=extension",
            json!({"part": [{"name": "url", "valueUri": "v"}]}),
        ),
        ("add Patient name=active", json!({"valueBoolean": true})),
        ("add Patient name=birthDate", json!({"valueDate": "2000"})),
        ("add Patient name=gender", json!({"valueInteger": 1})),
        (
            "add Patient name=gender",
            json!({"valueCoding": {"code": "male"}}),
        ),
        ("add Patient name=deceased", json!({"valueString": "true"})),
        (
            "add Patient name=deceasedBoolean",
            json!({"valueDateTime": "2020"}),
        ),
        (
            "add Patient name=deceased",
            json!({"part": [{"name": "value", "valueBoolean": true}]}),
        ),
        (
            "add Patient name=resourceType",
            json!({"valueString": "Basic"}),
        ),
        ("add Patient name=nonsense", json!({"valueString": "x"})),
        (
            "add Patient name=telecom",
            json!({"part": [{"name": "nonsense", "valueString": "1"}]}),
        ),
        (
            "add Patient name=telecom",
            json!({"part": [{"name": "value", "valueString": "1"}, {"name": "value", "valueString": "2"}]}),
        ),
        (
            "insert Patient.name[1].given index=1",
            json!({"valueString": "n"}),
        ),
        (
            "insert Patient.name.given index=0",
            json!({"valueString": "n"}),
        ),
        (
            "insert Patient.active index=0",
            json!({"valueBoolean": true}),
        ),
        (
            "insert Patient.resourceType index=0",
            json!({"valueString": "x"}),
        ),
        ("move Patient.name source=0 destination=2", none.clone()),
        ("move Patient.name source=2 destination=0", none.clone()),
        ("move Patient.active source=0 destination=0", none.clone()),
    ] {
        check(&patient, text, value, Err(IssueKind::BusinessRule));
    }
}

#[test]
fn choices_may_change_their_type() {
    let observation = resource(
        "Observation",
        r#""valueQuantity":{"value":1.50},"component":[{"valueString":"a"}]"#,
    );
    for (text, value, expect) in [
        (
            "replace Observation.value",
            json!({"valueString": "s"}),
            r#""valueString":"s","component":[{"valueString":"a"}]"#,
        ),
        (
            "replace Observation.value.value",
            json!({"valueDecimal": 2}),
            r#""valueQuantity":{"value":2},"component":[{"valueString":"a"}]"#,
        ),
        (
            "replace Observation.component.value",
            json!({"valueInteger": 2}),
            r#""valueQuantity":{"value":1.50},"component":[{"valueInteger":2}]"#,
        ),
        (
            "delete Observation.valueQuantity",
            Value::Null,
            r#""component":[{"valueString":"a"}]"#,
        ),
    ] {
        check(&observation, text, value, Ok(expect));
    }
}

#[test]
fn what_is_no_patch() {
    let patient = resource("Patient", r#""active":true"#);
    let value = || json!({"valueBoolean": true});
    for (text, value) in [
        ("change Patient.active", value()),
        ("replace Patient.active", Value::Null),
        ("replace Patient.active name=x", value()),
        ("add Patient", value()),
        ("insert Patient.name", value()),
        ("insert Patient.name index=-1", value()),
        ("insert Patient.name[0] index=0", value()),
        ("move Patient.name source=0", Value::Null),
        ("delete Patient.", Value::Null),
        ("delete Patient.nosuch()", Value::Null),
        ("replace Patient.active", json!({"valueNosuch": true})),
        (
            "replace Patient.active",
            json!({"valueBoolean": true, "valueString": "x"}),
        ),
        ("replace Patient.active", json!({"id": "x"})),
        (
            "replace Patient.active",
            json!({"part": [{"valueBoolean": true}]}),
        ),
    ] {
        check(&patient, text, value, Err(IssueKind::Syntax));
    }
    for operations in [
        json!([{"name": "operation"}]),
        json!([{"name": "patch", "part": []}]),
        json!([{"name": "operation", "part": [{"name": "type", "valueCode": "delete"}, {"name": "type", "valueCode": "delete"}, {"name": "path", "valueString": "active"}]}]),
        json!([1]),
    ] {
        let operations = operations.as_array().unwrap().clone();
        assert_eq!(patched(&patient, operations), Err(IssueKind::Syntax));
    }
}

#[test]
fn limits() {
    let patient = resource("Patient", r#""name":[{"given":["a"]}]"#);
    // Each operation nests a little deeper: refused long before any stack ends.
    let mut nested = json!({"part": [{"name": "url", "valueUri": "http://a"}]});
    for _ in 0..40 {
        nested = json!({"part": [
            {"name": "url", "valueUri": "http://a"},
            {"name": "extension", "part": nested["part"]},
        ]});
    }
    let first = operation("add Patient name=extension", Some(nested.clone()));
    let deeper = || {
        operation(
            "add Patient.descendants().where($this+is+Extension).last() name=extension",
            Some(nested.clone()),
        )
    };
    let deep: Vec<Value> = std::iter::once(first)
        .chain((0..100).map(|_| deeper()))
        .collect();
    assert_eq!(patched(&patient, deep), Err(IssueKind::BusinessRule));
    let delete = || operation("delete Patient.active", None);
    let many = |count: usize| (0..count).map(|_| delete()).collect();
    assert_eq!(patched(&patient, many(1000)), Ok(patient.clone()));
    assert_eq!(patched(&patient, many(1001)), Err(IssueKind::TooCostly));
    // What is found is looked for: the more there is, the less often.
    let names: Vec<Value> = (0..20_000)
        .map(|n| json!({"family": n.to_string()}))
        .collect();
    let large = json!({"resourceType": "Patient", "name": names});
    let last = || {
        operation(
            "replace Patient.name.last().family",
            Some(json!({"valueString": "x"})),
        )
    };
    let ended = patched(&large, (0..200).map(|_| last()).collect());
    assert_eq!(ended, Err(IssueKind::TooCostly));
    // The more operations, the fewer steps each may take.
    let searching = || operation("delete Patient.name.where(family='x')", None);
    let of = |count: usize| patched(&large, (0..count).map(|_| searching()).collect());
    assert_eq!(of(1), Ok(large.clone()));
    assert_eq!(of(1000), Err(IssueKind::TooCostly));
}
