//! Validation as data: small resources, and for each what is wrong with it and where. Long because it is one table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::Definitions;
use fhir_model::IssueKind::{self, *};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::OnceLock;

fn definitions() -> &'static Definitions {
    static DEFINITIONS: OnceLock<Definitions> = OnceLock::new();
    DEFINITIONS.get_or_init(|| Definitions::load(&[]).unwrap())
}

/// Checks the kinds and places of all issues, in any order.
fn check(resource: Value, expect: &[(IssueKind, &str)]) {
    let mut found: Vec<(String, String)> = definitions()
        .validate(&resource)
        .into_iter()
        .map(|issue| (format!("{:?}", issue.kind), issue.expression.unwrap()))
        .collect();
    let mut expect: Vec<(String, String)> = expect
        .iter()
        .map(|(kind, place)| (format!("{kind:?}"), (*place).to_owned()))
        .collect();
    found.sort();
    expect.sort();
    assert_eq!(found, expect, "{resource}");
}

/// A Patient with these elements.
fn patient(elements: Value, expect: &[(IssueKind, &str)]) {
    let mut resource = json!({"resourceType": "Patient"});
    for (name, value) in elements.as_object().unwrap() {
        resource[name] = value.clone();
    }
    check(resource, expect);
}

/// An Observation with what it must have and these elements.
fn observation(elements: Value, expect: &[(IssueKind, &str)]) {
    let mut resource =
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}});
    for (name, value) in elements.as_object().unwrap() {
        match value {
            Value::Null => drop(resource.as_object_mut().unwrap().remove(name)),
            _ => resource[name] = value.clone(),
        }
    }
    check(resource, expect);
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const DATA_ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

fn absent() -> Value {
    json!({"extension": [{"url": DATA_ABSENT, "valueCode": "unknown"}]})
}

#[test]
fn types() {
    check(json!({"resourceType": "Patient"}), &[]);
    check(json!({"resourceType": "Parameters", "id": "p"}), &[]);
    check(
        json!({"resourceType": "Patent"}),
        &[(UnknownType, "Resource")],
    );
    check(
        json!({"resourceType": "DomainResource"}),
        &[(UnknownType, "Resource")],
    );
    check(
        json!({"resourceType": "HumanName"}),
        &[(UnknownType, "Resource")],
    );
    check(
        json!({"resourceType": "Patient.contact"}),
        &[(UnknownType, "Resource")],
    );
    check(json!({"resourceType": 1}), &[(Structure, "Resource")]);
    check(json!({"id": "x"}), &[(Required, "Resource")]);
    check(json!({}), &[(Required, "Resource")]);
    check(json!([]), &[(Structure, "Resource")]);
    check(json!("Patient"), &[(Structure, "Resource")]);
    check(json!(null), &[(Structure, "Resource")]);
}

#[test]
fn names() {
    patient(json!({"famly": "x"}), &[(Structure, "Patient.famly")]);
    patient(
        json!({"name": [{"famly": "x"}]}),
        &[(Structure, "Patient.name[0].famly")],
    );
    patient(json!({"Jane Doe": 1}), &[(Structure, "Patient")]);
    patient(
        json!({"deceased": true}),
        &[(Structure, "Patient.deceased")],
    );
    patient(
        json!({"deceasedString": "x"}),
        &[(Structure, "Patient.deceasedString")],
    );
    patient(
        json!({"_name": [{"id": "a"}]}),
        &[(Structure, "Patient._name")],
    );
    patient(
        json!({"fhir_comments": ["x"]}),
        &[(Structure, "Patient.fhir_comments")],
    );
    patient(
        json!({"a": 1, "b": 2}),
        &[(Structure, "Patient.a"), (Structure, "Patient.b")],
    );
    patient(
        json!({"contact": [{"name": {"resourceType": "HumanName"}}]}),
        &[(Structure, "Patient.contact[0].name.resourceType")],
    );
}

#[test]
fn json_types() {
    patient(json!({"active": "true"}), &[(Structure, "Patient.active")]);
    patient(json!({"active": 1}), &[(Structure, "Patient.active")]);
    patient(json!({"active": null}), &[(Structure, "Patient.active")]);
    patient(
        json!({"birthDate": 1970}),
        &[(Structure, "Patient.birthDate")],
    );
    patient(
        json!({"name": {"family": "x"}}),
        &[(Structure, "Patient.name")],
    );
    patient(json!({"name": ["x"]}), &[(Structure, "Patient.name[0]")]);
    patient(json!({"name": [null]}), &[(Structure, "Patient.name[0]")]);
    patient(
        json!({"gender": ["male"]}),
        &[(Structure, "Patient.gender")],
    );
    patient(
        json!({"maritalStatus": "M"}),
        &[(Structure, "Patient.maritalStatus")],
    );
    patient(
        json!({"maritalStatus": [{"text": "M"}]}),
        &[(Structure, "Patient.maritalStatus")],
    );
    patient(
        json!({"name": [{"given": "x"}]}),
        &[(Structure, "Patient.name[0].given")],
    );
    patient(
        json!({"name": [{"given": ["x", 1]}]}),
        &[(Structure, "Patient.name[0].given[1]")],
    );
    patient(
        json!({"name": [{"given": [["x"]]}]}),
        &[(Structure, "Patient.name[0].given[0]")],
    );
    patient(
        json!({"_birthDate": "x"}),
        &[(Structure, "Patient.birthDate")],
    );
    observation(
        json!({"valueQuantity": {"value": "1.5"}}),
        &[(Structure, "Observation.value.ofType(Quantity).value")],
    );
}

#[test]
fn nothing_is_empty() {
    patient(json!({"name": []}), &[(Structure, "Patient.name")]);
    patient(json!({"name": [{}]}), &[(Structure, "Patient.name[0]")]);
    patient(
        json!({"name": [{"given": []}]}),
        &[(Structure, "Patient.name[0].given")],
    );
    patient(
        json!({"maritalStatus": {}}),
        &[(Structure, "Patient.maritalStatus")],
    );
    patient(
        json!({"name": [{"family": ""}]}),
        &[(Value, "Patient.name[0].family")],
    );
    patient(
        json!({"name": [{"family": "  "}]}),
        &[(Value, "Patient.name[0].family")],
    );
    patient(
        json!({"_birthDate": {}}),
        &[(Structure, "Patient.birthDate")],
    );
    patient(
        json!({"name": [{"_given": [{}]}]}),
        &[(Structure, "Patient.name[0].given[0]")],
    );
}

#[test]
fn formats() {
    for (value, valid) in [
        (json!("1970"), true),
        (json!("1970-02"), true),
        (json!("1970-02-28"), true),
        (json!("1970-02-29"), false),
        (json!("1970-2-1"), false),
        (json!("1970-02-01T00:00:00Z"), false),
        (json!("01.02.1970"), false),
    ] {
        let issues: &[_] = if valid {
            &[]
        } else {
            &[(Value, "Patient.birthDate")]
        };
        patient(json!({"birthDate": value}), issues);
    }
    for (value, valid) in [
        ("1970-02-01T00:00:00Z", true),
        ("1970-02-01T23:59:60+14:00", true),
        ("1970-02-01", true),
        ("1970-02-01T00:00:00", false),
        ("1970-02-01T24:00:00Z", false),
        ("1970-02-01T10:00Z", false),
    ] {
        let issues: &[_] = if valid {
            &[]
        } else {
            &[(Value, "Patient.deceased.ofType(dateTime)")]
        };
        patient(json!({"deceasedDateTime": value}), issues);
    }
    for (value, kind) in [
        ("0", None),
        ("-3", None),
        ("2147483647", None),
        ("2147483648", Some(Value)),
        ("3000000000000000000000000", Some(Value)),
        ("1.0", Some(Value)),
        ("1e0", Some(Value)),
        ("1.5", Some(Structure)),
        ("\"1\"", Some(Structure)),
    ] {
        let resource = json!({"resourceType": "Patient", "multipleBirthInteger": number(value)});
        let issues = definitions().validate(&resource);
        assert_eq!(issues.first().map(|i| i.kind), kind, "{value}");
        assert!(
            issues
                .iter()
                .all(|i| i.expression.as_deref() == Some("Patient.multipleBirth.ofType(integer)"))
        );
    }
    patient(json!({"id": "a_b"}), &[(Value, "Patient.id")]);
    patient(json!({"id": "a".repeat(65)}), &[(Value, "Patient.id")]);
    patient(
        json!({"implicitRules": "http://a b"}),
        &[(Value, "Patient.implicitRules")],
    );
    patient(
        json!({"meta": {"lastUpdated": "2026-01-01"}}),
        &[(Value, "Patient.meta.lastUpdated")],
    );
    patient(
        json!({"telecom": [{"rank": 0}]}),
        &[(Value, "Patient.telecom[0].rank")],
    );
    patient(
        json!({"photo": [{"data": "YQ="}]}),
        &[(Value, "Patient.photo[0].data")],
    );
    patient(json!({"photo": [{"size": "12"}]}), &[]);
    patient(
        json!({"photo": [{"size": 12}]}),
        &[(Structure, "Patient.photo[0].size")],
    );
    patient(
        json!({"photo": [{"size": "1.2"}]}),
        &[(Value, "Patient.photo[0].size")],
    );
    patient(
        json!({"contact": [{"id": "an id of an element may be any string"}]}),
        &[],
    );
    observation(
        json!({"valueTime": "25:00:00"}),
        &[(Value, "Observation.value.ofType(time)")],
    );
    observation(json!({"valueQuantity": {"value": number("1.50e3")}}), &[]);
}

#[test]
fn required_elements() {
    observation(json!({"status": null}), &[(Required, "Observation.status")]);
    observation(
        json!({"status": null, "code": null}),
        &[
            (Required, "Observation.status"),
            (Required, "Observation.code"),
        ],
    );
    observation(json!({"status": null, "_status": absent()}), &[]);
    observation(
        json!({"component": [{"valueString": "x"}]}),
        &[(Required, "Observation.component[0].code")],
    );
    observation(
        json!({"extension": [{"valueString": "x"}]}),
        &[(Required, "Observation.extension[0].url")],
    );
    patient(
        json!({"link": [{"other": {"reference": "Patient/1"}}]}),
        &[(Required, "Patient.link[0].type")],
    );
    patient(
        json!({"text": {"status": "generated"}}),
        &[(Required, "Patient.text.div")],
    );
    check(
        json!({"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/1"}}),
        &[(Required, "MedicationRequest.medication")],
    );
    // A required choice: any of its types does.
    check(
        json!({"resourceType": "Patient", "extension": [{"url": "http://x", "valueUsageContext": {"code": {"code": "a"}}}]}),
        &[(
            Required,
            "Patient.extension[0].value.ofType(UsageContext).value",
        )],
    );
}

#[test]
fn choices() {
    patient(json!({"deceasedBoolean": true}), &[]);
    patient(
        json!({"deceasedBoolean": true, "deceasedDateTime": "2020"}),
        &[(Structure, "Patient.deceased")],
    );
    patient(
        json!({"deceasedBoolean": true, "_deceasedDateTime": {"id": "a"}}),
        &[(Structure, "Patient.deceased")],
    );
    patient(
        json!({"deceasedBoolean": true, "_deceasedBoolean": {"id": "a"}}),
        &[],
    );
    observation(
        json!({"valueString": "a", "component": [{"code": {"text": "x"}, "valueInteger": 1, "valueBoolean": true}]}),
        &[(Structure, "Observation.component[0].value")],
    );
    // Each repetition chooses for itself.
    observation(
        json!({"component": [{"code": {"text": "x"}, "valueInteger": 1}, {"code": {"text": "x"}, "valueBoolean": true}]}),
        &[],
    );
}

#[test]
fn null_padding() {
    let name = |name: Value, expect: &[(IssueKind, &str)]| patient(json!({"name": [name]}), expect);
    name(
        json!({"given": ["a", null], "_given": [null, absent()]}),
        &[],
    );
    name(
        json!({"given": ["a", "b"], "_given": [null, absent()]}),
        &[],
    );
    name(json!({"_given": [absent()]}), &[]);
    name(json!({"given": ["a"], "_given": [null, absent()]}), &[]);
    name(
        json!({"given": ["a", null]}),
        &[(Structure, "Patient.name[0].given[1]")],
    );
    name(
        json!({"given": [null], "_given": [null]}),
        &[
            (Structure, "Patient.name[0].given[0]"),
            (Structure, "Patient.name[0].given[0]"),
        ],
    );
    name(
        json!({"_given": [null, absent()]}),
        &[(Structure, "Patient.name[0].given[0]")],
    );
    name(
        json!({"given": ["a"], "_given": absent()}),
        &[(Structure, "Patient.name[0].given")],
    );
    name(
        json!({"_family": {"extension": [{"url": "http://x", "valueFoo": 1}]}}),
        &[(Structure, "Patient.name[0].family.extension[0].valueFoo")],
    );
    name(
        json!({"_given": [{"value": "x"}]}),
        &[(Structure, "Patient.name[0].given[0].value")],
    );
    patient(json!({"_id": {"id": "a"}}), &[(Structure, "Patient._id")]);
}

#[test]
fn bindings() {
    patient(json!({"gender": "male"}), &[]);
    patient(
        json!({"gender": "Male"}),
        &[(CodeInvalid, "Patient.gender")],
    );
    patient(
        json!({"gender": " male"}),
        &[(Value, "Patient.gender"), (CodeInvalid, "Patient.gender")],
    );
    patient(json!({"language": "pt-BR"}), &[]);
    patient(
        json!({"language": "Portuguese (Brazil)"}),
        &[(CodeInvalid, "Patient.language")],
    );
    patient(
        json!({"link": [{"other": {"reference": "Patient/1"}, "type": "twin"}]}),
        &[(CodeInvalid, "Patient.link[0].type")],
    );
    patient(
        json!({"name": [{"use": "nick"}]}),
        &[(CodeInvalid, "Patient.name[0].use")],
    );
    // extensible and preferred bindings take any code
    patient(
        json!({"maritalStatus": {"coding": [{"system": "http://x", "code": "y"}]}}),
        &[],
    );
    observation(
        json!({"status": "done"}),
        &[(CodeInvalid, "Observation.status")],
    );
    // Condition.clinicalStatus: a CodeableConcept with a required binding
    let condition = |status: Value, expect: &[(IssueKind, &str)]| {
        check(
            json!({"resourceType": "Condition", "subject": {"reference": "Patient/1"}, "clinicalStatus": status}),
            expect,
        );
    };
    let system = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    condition(
        json!({"coding": [{"system": system, "code": "active"}]}),
        &[],
    );
    condition(
        json!({"coding": [{"system": "http://x", "code": "y"}, {"system": system, "code": "active"}]}),
        &[],
    );
    condition(
        json!({"coding": [{"system": system, "code": "live"}]}),
        &[(CodeInvalid, "Condition.clinicalStatus")],
    );
    condition(
        json!({"coding": [{"code": "active"}]}),
        &[(CodeInvalid, "Condition.clinicalStatus")],
    );
    condition(json!({"text": "active"}), &[]);
}

#[test]
fn resources_inside() {
    patient(
        json!({"contained": [{"resourceType": "Organization", "id": "o", "name": "x"}]}),
        &[],
    );
    patient(
        json!({"contained": [{"resourceType": "Organization", "nam": "x"}]}),
        &[(Structure, "Patient.contained[0].nam")],
    );
    patient(
        json!({"contained": [{"resourceType": "Org"}]}),
        &[(UnknownType, "Patient.contained[0]")],
    );
    patient(
        json!({"contained": [{"id": "x"}]}),
        &[(Required, "Patient.contained[0]")],
    );
    patient(
        json!({"contained": [{"resourceType": "Organization", "contained": [{"resourceType": "Patient"}]}]}),
        &[(Structure, "Patient.contained[0].contained")],
    );
    let bundle = |resource: Value, expect: &[(IssueKind, &str)]| {
        check(
            json!({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource}]}),
            expect,
        );
    };
    bundle(
        json!({"resourceType": "Patient", "gender": "x"}),
        &[(CodeInvalid, "Bundle.entry[0].resource.gender")],
    );
    bundle(
        json!({"resourceType": "Patient", "contained": [{"resourceType": "Patient"}]}),
        &[],
    );
    bundle(
        json!("Patient/1"),
        &[(Structure, "Bundle.entry[0].resource")],
    );
    check(
        json!({"resourceType": "Parameters", "parameter": [{"name": "a", "resource": {"resourceType": "Patient", "x": 1}}]}),
        &[(Structure, "Parameters.parameter[0].resource.x")],
    );
    check(
        json!({"resourceType": "Parameters", "parameter": [{"name": "a", "part": [{"name": "b", "valueFoo": 1}]}]}),
        &[(Structure, "Parameters.parameter[0].part[0].valueFoo")],
    );
}

#[test]
fn limits() {
    let mut extension = json!({"url": "http://x", "valueString": "x"});
    for _ in 0..200 {
        extension = json!({"url": "http://x", "extension": [extension]});
    }
    let deep = json!({"resourceType": "Patient", "extension": [extension]});
    let issues = definitions().validate(&deep);
    assert_eq!(
        issues.iter().map(|i| i.kind).collect::<Vec<_>>(),
        [TooCostly]
    );

    let many: Vec<Value> = (0..10_000).map(|_| json!({"famly": 1})).collect();
    let issues = definitions().validate(&json!({"resourceType": "Patient", "name": many}));
    assert_eq!(issues.len(), fhir_definitions::ISSUES_MAX);
}

#[test]
fn values_are_never_repeated() {
    let secret = "Nakamura";
    for resource in [
        json!({"resourceType": "Patient", "gender": secret, "birthDate": secret, "active": secret, "id": "Nakamura_1"}),
        json!({"resourceType": "Patient", "name": secret, "maritalStatus": [secret], "Nakamura ": 1}),
        json!({"resourceType": secret}),
        json!({"resourceType": "Patient", "name": [{"use": secret, "given": [1, [secret]]}]}),
    ] {
        for issue in definitions().validate(&resource) {
            assert!(!format!("{issue:?}").contains(secret), "{issue:?}");
        }
    }
}

/// JSON of any shape, with names that occur in resources.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("Patient")),
        Just(json!("2020-01-01")),
    ];
    let name = prop_oneof![
        Just("resourceType"),
        Just("name"),
        Just("_given"),
        Just("given"),
        Just("extension"),
        Just("contained"),
        Just("url"),
        Just("valueCoding"),
        Just("deceasedBoolean"),
        Just("contact"),
        Just("id"),
        Just("x"),
        Just("coding"),
        Just("meta"),
        Just("/~0"),
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(mut resource in any_json()) {
        definitions().validate(&resource);
        if let Some(object) = resource.as_object_mut() {
            object.insert("resourceType".to_owned(), json!("Patient"));
        }
        definitions().validate(&resource);
    }

    /// A valid resource with one value replaced: no panic, and every issue has a place in a Patient.
    #[test]
    fn mutations_have_places(path in 0usize..14, value in any_json()) {
        let mut resource = json!({
            "resourceType": "Patient", "id": "a", "active": true, "name": [{"family": "x", "given": ["a", "b"], "period": {"start": "2020"}}],
            "contact": [{"relationship": [{"coding": [{"system": "http://x", "code": "y"}]}]}], "deceasedBoolean": false,
            "extension": [{"url": "http://x", "valueCoding": {"code": "a"}}], "contained": [{"resourceType": "Organization", "name": "x"}],
        });
        let pointers = ["/id", "/active", "/name", "/name/0", "/name/0/given", "/name/0/given/1", "/name/0/period", "/name/0/period/start",
            "/contact/0/relationship/0/coding/0", "/contact/0", "/deceasedBoolean", "/extension/0/valueCoding", "/contained/0", "/contained"];
        *resource.pointer_mut(pointers[path]).unwrap() = value;
        for issue in definitions().validate(&resource) {
            let place = issue.expression.unwrap();
            prop_assert!(place.starts_with("Patient."), "{}", place);
        }
    }
}
