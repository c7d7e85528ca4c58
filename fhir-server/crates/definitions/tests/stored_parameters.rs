//! SearchParameter resources that are stored: what they change, and which are refused, with the place and the reason.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::{Definitions, IndexState, State};
use serde_json::{Value, json};
use std::sync::LazyLock;

static CORE: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());

fn parameter(id: &str, changes: Value) -> Value {
    let mut parameter = json!({
        "resourceType": "SearchParameter", "id": id, "url": format!("urn:x:{id}"), "name": "p", "status": "active", "description": "d",
        "code": id, "base": ["Patient"], "type": "token", "expression": "Patient.maritalStatus", "processingMode": "normal"
    });
    for (name, value) in changes.as_object().unwrap() {
        parameter[name] = value.clone();
    }
    parameter
}

const NAME: &str = "http://hl7.org/fhir/SearchParameter/Patient-name";

#[test]
fn what_cannot_be_searched_is_refused() {
    let stored = parameter("there", json!({}));
    let (definitions, refused) = CORE.with_stored(&[stored]);
    assert_eq!(refused, []);
    let of_name = json!({"definition": NAME, "expression": "name"});
    for (changes, expect) in [
        (json!({}), vec![]),
        (
            json!({"status": "draft", "expression": "nonsense("}),
            vec![],
        ),
        (json!({"status": "unknown", "code": "name"}), vec![]),
        (
            json!({"status": "retired", "expression": "nonsense("}),
            vec![],
        ),
        (
            json!({"base": ["Patient", "Person"], "expression": "Patient.maritalStatus | Person.maritalStatus"}),
            vec![],
        ),
        (
            json!({"base": ["Resource"], "expression": "Resource.language"}),
            vec![],
        ),
        (
            json!({"expression": "Patient.extension('urn:x').value.ofType(CodeableConcept)"}),
            vec![],
        ),
        (json!({"code": "name"}), vec![("code", "Patient-name")]),
        (json!({"code": "there"}), vec![("code", "urn:x:there")]),
        (json!({"code": "_x"}), vec![("code", "begin")]),
        (json!({"code": "a.b"}), vec![("code", "letters")]),
        (
            json!({"url": "urn:x:there"}),
            vec![("url", "SearchParameter/there")],
        ),
        (json!({"type": "special"}), vec![("type", "cannot be told")]),
        (json!({"type": "date"}), vec![("type", "CodeableConcept")]),
        (
            json!({"expression": "Patient.martialStatus"}),
            vec![("expression", "for Patient")],
        ),
        (
            json!({"expression": "Patient.name.matches('x')"}),
            vec![("expression", "for Patient")],
        ),
        (
            json!({"derivedFrom": "urn:x:none"}),
            vec![("derivedFrom", "no search parameter")],
        ),
        (json!({"derivedFrom": NAME}), vec![]),
        // The same parameter again, as guides write them down.
        (
            json!({"derivedFrom": format!("{NAME}|5.0.0"), "code": "name", "type": "string", "expression": "Patient.name"}),
            vec![],
        ),
        (
            json!({"derivedFrom": NAME, "code": "name"}),
            vec![("derivedFrom", "another type")],
        ),
        (
            json!({"type": "composite"}),
            vec![("component", "two or more")],
        ),
        (
            json!({"type": "composite", "expression": "Patient", "component": [of_name, {"definition": "urn:x:there", "expression": "gender"}]}),
            vec![],
        ),
        (
            json!({"type": "composite", "expression": "Patient", "component": [of_name, {"definition": "urn:x:none", "expression": "gender"}]}),
            vec![("component[1].definition", "no search parameter")],
        ),
        // Those of R5 may be stored as they are, and retired, but for those of every type.
        (
            json!({"url": NAME, "code": "name", "type": "string", "expression": "Patient.name"}),
            vec![],
        ),
        (
            json!({"url": NAME, "code": "name", "type": "string", "expression": "Patient.contact.name"}),
            vec![("expression", "otherwise")],
        ),
        (json!({"url": NAME, "status": "retired"}), vec![]),
        (
            json!({"url": "http://hl7.org/fhir/SearchParameter/Resource-id", "status": "retired"}),
            vec![("status", "cannot be retired")],
        ),
    ] {
        let resource = parameter("p", changes);
        assert_eq!(definitions.validate(&resource), [], "{resource}");
        let issues = definitions.check_parameter(&resource, None, true);
        assert_eq!(issues.len(), expect.len(), "{resource}: {issues:?}");
        for (issue, (place, reason)) in issues.iter().zip(expect) {
            assert_eq!(issue.expression, Some(format!("SearchParameter.{place}")));
            assert!(issue.diagnostics.contains(reason), "{issue:?}");
        }
    }
    // The resource that has the url may change it, whatever else it says.
    let changed = parameter("there", json!({"expression": "Patient.gender"}));
    for (id, new, refused) in [
        (Some("there"), false, 0),
        (None, false, 0),
        (Some("other"), false, 1),
        (None, true, 1),
    ] {
        let issues = definitions.check_parameter(&changed, id, new);
        assert_eq!(issues.len(), refused, "{id:?} {new}");
    }
}

#[test]
fn what_is_stored_changes_the_definitions() {
    let state = |definitions: &Definitions, code: &str| {
        let found = definitions.search_parameter("Patient", code);
        found.map(|found| definitions.state(found))
    };
    let stored = [
        parameter("mark", json!({})),
        parameter("draft", json!({"status": "draft"})),
        parameter("retired", json!({"status": "retired"})),
        parameter("r5", json!({"url": NAME, "status": "retired"})),
        parameter("twice", json!({"url": "urn:x:mark"})),
        parameter("broken", json!({"expression": "Patient.nme"})),
    ];
    let (definitions, refused) = CORE.with_stored(&stored);
    let refused: Vec<&str> = refused.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(refused, ["twice", "broken"]);
    for (code, expect) in [
        ("mark", Some(State::Answers)),
        ("draft", None),
        ("retired", None),
        ("broken", None),
        ("name", Some(State::Retired)),
        ("family", Some(State::Answers)),
    ] {
        assert_eq!(state(&definitions, code), expect, "{code}");
    }
    let own: Vec<_> = definitions.own_parameters().collect();
    assert_eq!(own.len(), 1);
    let key = own[0].0.key;
    let indexing = definitions.with_index(IndexState {
        parameters: [(key, 40)].into(),
        ..IndexState::default()
    });
    assert_eq!(state(&indexing, "mark"), Some(State::Indexing(40)));
    assert_eq!(state(&indexing, "family"), Some(State::Answers));

    // A retirement changes what is searched, not what is indexed.
    assert_ne!(CORE.fingerprint(), definitions.fingerprint());
    assert_eq!(CORE.core_fingerprint(), definitions.core_fingerprint());
    let asked = |name: &str, value: &str| definitions.may_name_own(&[(name.into(), value.into())]);
    assert!(asked("mark:not", "x") && asked("_sort", "-mark") && asked("a.mark", "x"));
    assert!(!asked("name", "mark") && !asked("_sort", "name"));
    assert!(!CORE.may_name_own(&[("mark".into(), "x".into())]));
}
