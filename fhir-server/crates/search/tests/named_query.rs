//! What a named query of the site stands for, and what of it is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fhir_definitions::{DataFile, Definitions};
use fhir_search::named_query::SEARCH;
use fhir_search::parse::Context;
use fhir_search::{Handling, Query, parse};
use serde_json::json;
use std::sync::LazyLock;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    let query = |code: &str, search: &str, types: serde_json::Value| {
        let definition = json!({
            "resourceType": "OperationDefinition", "url": format!("http://x/OperationDefinition/{code}"),
            "extension": [{"url": SEARCH, "valueString": search}],
            "name": "Query", "status": "active", "kind": "query", "code": code, "affectsState": false,
            "resource": types, "system": false, "type": true, "instance": false,
            "parameter": [
                {"name": "from", "use": "in", "min": 1, "max": "1", "type": "string", "searchType": "date"},
                {"name": "of", "use": "in", "min": 0, "max": "1", "type": "string", "searchType": "reference"}
            ]
        });
        DataFile {
            path: format!("{code}.json"),
            bytes: definition.to_string().into_bytes(),
        }
    };
    Definitions::load(&[
        query(
            "since",
            "status=final,amended&date=ge{from}&patient={of}&_sort=-date",
            json!(["Observation"]),
        ),
        query(
            "of-kind",
            "code:in=http://x/ValueSet/kinds&date=ge{from}",
            json!(["Observation"]),
        ),
        query(
            "wrong",
            "_summary=count&date={from}",
            json!(["Observation"]),
        ),
    ])
    .unwrap()
});

fn search(resource_type: &str, url: &str, handling: Handling) -> Result<Query, Vec<String>> {
    let pairs = url.split('&').filter_map(|pair| pair.split_once('='));
    let parameters: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: None,
        base: None,
        handling,
        now_micros: 1_800_000_000_000_000,
        count_default: 20,
        count_max: 100,
    };
    parse(&context, &[resource_type], &parameters)
        .map_err(|issues| issues.into_iter().map(|issue| issue.diagnostics).collect())
}

#[test]
fn stands_for_a_search() {
    for (url, same) in [
        (
            "_query=since&from=2024",
            "status=final,amended&date=ge2024&_sort=-date",
        ),
        (
            "from=2024&_query=since&of=p1",
            "status=final,amended&date=ge2024&patient=p1&_sort=-date",
        ),
        (
            "_query=since&from=2024&code=x&_sort=_id&_count=5",
            "code=x&_sort=_id&_count=5&status=final,amended&date=ge2024",
        ),
    ] {
        let named = search("Observation", url, Handling::Strict).unwrap();
        let plain = search("Observation", same, Handling::Strict).unwrap();
        let shown = |query: &Query| format!("{:?} {:?} {}", query.filter, query.sort, query.count);
        assert_eq!(shown(&named), shown(&plain), "{url}");
        let applied: Vec<String> = named
            .applied
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(applied.join("&"), url);
    }
}

#[test]
fn refuses() {
    for (resource_type, url, expect) in [
        (
            "Observation",
            "_query=nosuch",
            "there is no named query nosuch",
        ),
        (
            "Patient",
            "_query=since&from=2024",
            "there is no named query since",
        ),
        ("Observation", "_query=since", "needs the parameter from"),
        (
            "Observation",
            "_query=since&from=2024&from=2025",
            "once only",
        ),
        (
            "Observation",
            "_query=since&_query=since&from=2024",
            "_query may be given once only",
        ),
        ("Observation", "_query=since&from=99", "must be a date"),
        (
            "Observation",
            "_query=wrong&from=2024",
            "which cannot stand there",
        ),
        ("Observation", "from=2024", "no search parameter from"),
    ] {
        let issues = search(resource_type, url, Handling::Strict).unwrap_err();
        assert!(issues[0].contains(expect), "{url}: {issues:?}");
        if url.contains("_query") {
            assert!(
                search(resource_type, url, Handling::Lenient).is_err(),
                "{url}"
            );
        }
    }
}

/// What it names, a caller looks up before it parses.
#[test]
fn names_value_sets() {
    let parameters = [("_query", "of-kind"), ("from", "2026")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (resource_type, value_sets) in [
        ("Observation", vec!["http://x/ValueSet/kinds".to_owned()]),
        ("Patient", Vec::new()),
    ] {
        let named = fhir_search::named(&DEFINITIONS, &[resource_type], &parameters);
        assert_eq!(named.value_sets, value_sets, "{resource_type}");
    }
}
