//! What path programs select, over a small model of types.

use fhirpath::{ElementType, PathProgram, TypeModel};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Model;

const ELEMENTS: &[(&str, &str, &str)] = &[
    ("Patient", "name", "HumanName"),
    ("Patient", "telecom", "ContactPoint"),
    ("Patient", "birthDate", "date"),
    ("Patient", "gender", "code"),
    ("Patient", "deceased[x]", "boolean dateTime"),
    ("Patient", "link", "Patient.link"),
    ("Patient", "extension", "Extension"),
    ("Patient", "subject", "Reference"),
    ("Patient.link", "other", "Reference"),
    ("HumanName", "family", "string"),
    ("HumanName", "given", "string"),
    ("ContactPoint", "system", "code"),
    ("ContactPoint", "value", "string"),
    ("Extension", "url", "uri"),
    ("Extension", "value[x]", "string Reference Quantity Age"),
    ("date", "extension", "Extension"),
    ("Bundle", "entry", "Bundle.entry"),
    ("Bundle.entry", "resource", "Resource"),
    ("Other", "start", "dateTime"),
    ("Other", "period", "Period"),
    ("Period", "start", "dateTime"),
    ("Resource", "id", "id"),
];

impl TypeModel for Model {
    fn element(&self, type_name: &str, name: &str) -> Option<ElementType<'_>> {
        ELEMENTS
            .iter()
            .find(|(t, n, _)| *t == type_name && n.trim_end_matches("[x]") == name)
            .map(|(_, n, types)| ElementType {
                types: types.split(' ').collect(),
                choice: n.ends_with("[x]"),
                array: ["name", "telecom", "link", "extension", "given", "entry"].contains(&name),
            })
    }

    fn is_a(&self, type_name: &str, ancestor: &str) -> bool {
        type_name == ancestor
            || (type_name, ancestor) == ("Age", "Quantity")
            || (ancestor == "Resource" && ["Patient", "Bundle", "Other"].contains(&type_name))
    }

    fn code_system(&self, type_name: &str, name: &str) -> Option<String> {
        ((type_name, name) == ("Patient", "gender")).then(|| "urn:gender".to_owned())
    }
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient",
        "contained": [{"resourceType": "Group", "id": "g"}],
        "name": [{"family": "A", "given": ["B", null, "C"]}, {"given": ["D"]}],
        "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}, {"value": "3"}],
        "birthDate": "1970",
        "_birthDate": {"extension": [{"url": "u", "valueString": "late"}]},
        "gender": "male",
        "deceasedBoolean": false,
        "link": [
            {"other": {"reference": "Patient/1"}},
            {"other": {"reference": "http://x/y/Group/2/_history/1"}},
            {"other": {"reference": "#g"}},
            {"other": {"type": "Group", "identifier": {"value": "7"}}},
            {"other": {"reference": "urn:uuid:1"}},
            {"other": {"reference": 5}},
            {"other": "odd"},
            "odd",
            null
        ],
        "extension": [{"url": "u", "valueAge": {"value": 1}}, {"url": "v", "valueReference": {"reference": "#"}}],
        "subject": {"reference": "#"}
    })
}

fn select(expression: &str, base: &str, resource: &Value) -> Vec<(String, String)> {
    let program = PathProgram::compile(expression, base, &Model)
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut out = Vec::new();
    program.run(resource, &mut out);
    out.iter()
        .map(|node| (node.type_name.to_owned(), node.value.to_string()))
        .collect()
}

#[test]
fn selects() {
    for (expression, expect) in [
        (
            "Patient.name.where(given.first()='B').family",
            r#"string "A""#,
        ),
        ("Patient.name.where(given='B').family", ""),
        ("Patient.name.family", r#"string "A""#),
        ("Patient.name.given", r#"string "B";string "C";string "D""#),
        ("name.given.first()", r#"string "B""#),
        ("Patient.name[0].given", r#"string "B";string "C""#),
        ("Patient.name.first().given.first()", r#"string "B""#),
        (
            "Patient.name.where(family.exists()).given",
            r#"string "B";string "C""#,
        ),
        (
            "Patient.telecom.where(system='email').value",
            r#"string "2""#,
        ),
        (
            "Patient.telecom.where(system='email' or system='phone').value",
            r#"string "1";string "2""#,
        ),
        (
            "Patient.telecom.where(system!='email').value",
            r#"string "1""#,
        ),
        ("Patient.name.where(given='D').given", r#"string "D""#),
        (
            "Patient.gender | Other.start | Bundle.entry",
            r#"code "male""#,
        ),
        (
            "(start | period.start).first() | Patient.gender",
            r#"code "male""#,
        ),
        ("Patient.deceased", "boolean false"),
        ("Patient.deceased.ofType(boolean)", "boolean false"),
        ("(Patient.deceased as dateTime)", ""),
        (
            "Patient.deceased.exists() and Patient.deceased != false",
            "boolean false",
        ),
        ("Patient.deceased.exists()", "boolean true"),
        (
            "Patient.extension('u').value.ofType(Quantity)",
            r#"Age {"value":1}"#,
        ),
        (
            "Patient.extension('v').value",
            r##"Reference {"reference":"#"}"##,
        ),
        ("Patient.birthDate.extension('u').value", r#"string "late""#),
        (
            "Patient.link.other.where(resolve() is Patient)",
            r#"Reference {"reference":"Patient/1"}"#,
        ),
        (
            "Patient.link.other.where(resolve() is Group)",
            r##"Reference {"reference":"http://x/y/Group/2/_history/1"};Reference {"reference":"#g"};Reference {"type":"Group","identifier":{"value":"7"}}"##,
        ),
        (
            "Patient.subject.where(resolve() is Patient)",
            r##"Reference {"reference":"#"}"##,
        ),
        (
            "Patient.link.where(other.exists()).other.where($this.resolve() is Patient)",
            "ERR",
        ),
    ] {
        if expect == "ERR" {
            assert!(PathProgram::compile(expression, "Patient", &Model).is_err());
            continue;
        }
        let got = select(expression, "Patient", &patient());
        let shown: Vec<_> = got.iter().map(|(t, v)| format!("{t} {v}")).collect();
        assert_eq!(shown.join(";"), expect, "{expression}");
    }
}

#[test]
fn other_bases() {
    let other = json!({"resourceType": "Other", "period": {"start": "2020"}});
    for (expression, expect) in [
        ("(start | period.start).first()", r#"dateTime "2020""#),
        ("Patient.name | Other.period", r#"Period {"start":"2020"}"#),
    ] {
        let got = select(expression, "Other", &other);
        assert_eq!(format!("{} {}", got[0].0, got[0].1), expect);
        assert_eq!(got.len(), 1);
    }
    let both = json!({"start": "2019", "period": {"start": "2020"}});
    assert_eq!(
        select("(start | period.start).first()", "Other", &both).len(),
        1
    );
    let bundle = json!({"entry": [{"resource": {"resourceType": "Patient", "id": "p"}}, {"resource": {"resourceType": "Other"}}]});
    for (expression, count) in [
        ("Bundle.entry[0].resource as Patient", 1),
        ("Bundle.entry[0].resource as Other", 0),
        ("Bundle.entry.resource.ofType(Other)", 1),
        ("Bundle.entry.resource", 2),
        ("Bundle.entry.resource.id", 1),
    ] {
        assert_eq!(
            select(expression, "Bundle", &bundle).len(),
            count,
            "{expression}"
        );
    }
}

#[test]
fn at_most_one() {
    for (expression, base, expect) in [
        ("Patient.birthDate", "Patient", true),
        ("Patient.name.where(family = 'x')", "Patient", false),
        ("Patient.birthDate | Other.start", "Patient", true),
        ("Patient.birthDate | Patient.gender", "Patient", false),
        ("Patient.deceased", "Patient", true),
        ("Patient.deceased.ofType(dateTime)", "Patient", true),
        (
            "Patient.deceased.ofType(dateTime) | Patient.deceased.ofType(boolean)",
            "Patient",
            true,
        ),
        (
            "Patient.deceased.ofType(dateTime) | Patient.birthDate",
            "Patient",
            false,
        ),
        ("Patient.name", "Patient", false),
        ("Patient.name.family", "Patient", false),
        ("Patient.name[0]", "Patient", true),
        ("Patient.name[0].family", "Patient", true),
        ("Patient.name.first().given", "Patient", false),
        ("Patient.name.given.first()", "Patient", true),
        ("Patient.extension('urn:x').value", "Patient", false),
        ("Patient.deceased.exists()", "Patient", true),
        ("Other.period.start", "Other", true),
        ("start | period.start", "Other", false),
        ("(start | period.start).first()", "Other", true),
    ] {
        let program = PathProgram::compile(expression, base, &Model).unwrap();
        assert_eq!(program.at_most_one(), expect, "{expression}");
    }
}

#[test]
fn implied_system() {
    let program = PathProgram::compile("Patient.gender", "Patient", &Model).unwrap();
    let patient = patient();
    let mut out = Vec::new();
    program.run(&patient, &mut out);
    assert_eq!(out[0].system, Some("urn:gender"));
    assert_eq!(program.types(), ["code"]);
}

#[test]
fn refuses() {
    for (expression, message, position) in [
        ("Patient.nothing", "Patient has no such element or type", 0),
        (
            "Other.start",
            "the path starts at Other, and Patient is none",
            0,
        ),
        (
            "Patient.gender | Patient.x",
            "Patient has no such element or type",
            17,
        ),
        (
            "Patient.name.resolve()",
            "resolve() with 0 arguments cannot be used in a search parameter here",
            0,
        ),
        (
            "Patient.name[1]",
            "an index other than 0 cannot be used in a search parameter here",
            0,
        ),
        ("Patient.name.where(family)", "a condition was expected", 19),
        (
            "Patient.gender.ofType(HumanName)",
            "code has no such element or type",
            0,
        ),
        (
            "'a'",
            "a literal cannot be used in a search parameter here",
            0,
        ),
        ("", "a path, a literal or '(' was expected", 0),
    ] {
        let error = PathProgram::compile(expression, "Patient", &Model).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.position),
            (message, position),
            "{expression}"
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let names = "(name|given|link|other|reference|extension|url|valueString|telecom|system|contained|id)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn run_never_panics(resource in any_json()) {
        for expression in [
            "Patient.name.given", "Patient.link.other.where(resolve() is Patient)", "Patient.extension('u').value",
            "Patient.telecom.where(system='x').first()", "Patient.deceased.exists() and Patient.deceased != false",
        ] {
            let _ = select(expression, "Patient", &resource);
        }
    }
}
