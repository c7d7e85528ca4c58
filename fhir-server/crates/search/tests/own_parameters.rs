//! A site's own search parameters in URLs: what they allow is held to, and they answer only when they can.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::{Definitions, IndexState};
use fhir_search::parse::Context;
use fhir_search::{Handling, parse};
use serde_json::json;

fn definitions() -> Definitions {
    let parameter = |id: &str, more: serde_json::Value| {
        let mut parameter = json!({
            "resourceType": "SearchParameter", "id": id, "url": format!("urn:x:{id}"), "status": "active", "code": id, "base": ["Observation"],
        });
        for (name, value) in more.as_object().unwrap() {
            parameter[name] = value.clone();
        }
        parameter
    };
    let stored = [
        parameter(
            "at",
            json!({"type": "date", "expression": "Observation.issued", "multipleOr": false, "multipleAnd": false, "comparator": ["ge", "lt"]}),
        ),
        parameter(
            "method-of",
            json!({"type": "token", "expression": "Observation.method", "modifier": ["missing"]}),
        ),
        parameter(
            "of",
            json!({"type": "reference", "expression": "Observation.subject", "target": ["Patient"], "chain": ["name"]}),
        ),
        parameter(
            "late",
            json!({"type": "token", "expression": "Observation.method"}),
        ),
        json!({"resourceType": "SearchParameter", "url": "http://hl7.org/fhir/SearchParameter/Observation-method", "status": "retired"}),
    ];
    let (definitions, refused) = Definitions::load(&[]).unwrap().with_stored(&stored);
    assert_eq!(refused, []);
    let late = definitions.search_parameter("Observation", "late").unwrap();
    let late = late.key;
    definitions.with_index(IndexState {
        parameters: [(late, 40)].into(),
        ..IndexState::default()
    })
}

#[test]
fn limits_and_states() {
    let definitions = definitions();
    for (url, handling, expect) in [
        ("at=ge2020&at:missing=false", Handling::Strict, "once"),
        ("at=ge2020", Handling::Strict, ""),
        ("at=2020", Handling::Strict, ""),
        ("at=gt2020", Handling::Strict, "prefix"),
        ("at=ge2020,lt2019", Handling::Strict, "one value"),
        ("at=ge2020&at=lt2021", Handling::Strict, "once"),
        ("method-of=x&method-of:missing=false", Handling::Strict, ""),
        ("method-of:not=x", Handling::Strict, "modifier"),
        ("of.name=x", Handling::Strict, ""),
        ("of:Patient.name=x", Handling::Strict, ""),
        ("of.name:exact=x", Handling::Strict, ""),
        ("of.birthdate=2020", Handling::Strict, "cannot be chained"),
        ("of:Group.name=x", Handling::Strict, "refer"),
        ("late=x", Handling::Strict, "being indexed, 40 %"),
        ("late:missing=true", Handling::Strict, "being indexed, 40 %"),
        ("_sort=late", Handling::Strict, "being indexed, 40 %"),
        // Ignored it would find what it should leave out.
        ("late=x", Handling::Lenient, "being indexed, 40 %"),
        ("method=x", Handling::Strict, "retired"),
        ("method=x", Handling::Lenient, ""),
    ] {
        let parameters: Vec<(String, String)> = url
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let context = Context {
            definitions: &definitions,
            terminology: None,
            base: None,
            handling,
            now_micros: 0,
            count_default: 20,
            count_max: 500,
        };
        let said = match parse(&context, &["Observation"], &parameters) {
            Ok(_) => String::new(),
            Err(issues) => issues[0].diagnostics.clone(),
        };
        assert!(said.contains(expect), "{url}: {said}");
        assert_eq!(said.is_empty(), expect.is_empty(), "{url}: {said}");
    }
}
