//! A URL: path, parameters, and the search they ask for.
//!
//! What is decoded can be written and decoded again; the `self` link of a search asks for the same; lenient handling ignores nothing
//! of a search that strict handling takes.

use crate::shared::{BASE, DEFINITIONS, NOW_MICROS};
use fhir_model::{Decimal, PartialDate, Reference, Severity, is_id};
use fhir_search::document::STRING_MAX;
use fhir_search::parse::Context;
use fhir_search::string::normalise;
use fhir_search::{Candidate, Handling, Query, parse};
use fhir_server::config::Config;
use fhir_server::{router, url};
use http::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The defaults.
static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config::read(&HashMap::new()).expect("the defaults can be read"));

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let found = router::find(&DEFINITIONS, &CONFIG, &Method::GET, path);
    let resource_type = match &found {
        Ok(found) if !found.resource_type.is_empty() => found.resource_type.as_str(),
        _ => "Patient",
    };
    let Ok(parameters) = url::parameters(query) else {
        return;
    };
    let again = url::parameters(&url::query(&parameters)).ok();
    assert_eq!(again.as_ref(), Some(&parameters));
    for (name, value) in &parameters {
        values(name);
        values(value);
    }
    let strict = search(resource_type, &parameters, Handling::Strict);
    let lenient = search(resource_type, &parameters, Handling::Lenient);
    match (strict, lenient) {
        (Ok(query), Ok(lenient)) => {
            assert_eq!(meaning(&query), meaning(&lenient));
            holds(resource_type, &query);
        }
        (Ok(_), Err(issues)) => panic!("strict takes it, lenient refuses it: {issues:?}"),
        (Err(_), Ok(query)) => {
            let warned = |issue: &fhir_model::Issue| issue.severity == Severity::Warning;
            assert!(!query.issues.is_empty() && query.issues.iter().all(warned));
            holds(resource_type, &query);
        }
        (Err(strict), Err(_)) => assert!(!strict.is_empty()),
    }
}

fn holds(resource_type: &str, query: &Query) {
    let applied = search(resource_type, &query.applied, Handling::Strict);
    let applied = applied.expect("what was applied can be applied again");
    assert_eq!(meaning(query), meaning(&applied));
    assert!(query.count >= 1);
    assert!(query.atoms().is_sorted());
    for resource in RESOURCES.iter() {
        let candidate = Candidate::read(&DEFINITIONS, resource, Some(BASE));
        candidate.map(|candidate| candidate.matches(query));
    }
}

pub fn search(
    resource_type: &str,
    parameters: &[(String, String)],
    handling: Handling,
) -> Result<Query, Vec<fhir_model::Issue>> {
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: None,
        base: Some(BASE),
        handling,
        now_micros: NOW_MICROS,
        count_default: 20,
        count_max: 1000,
    };
    parse(&context, &[resource_type], parameters)
}

/// All of a query that decides its answer.
fn meaning(query: &Query) -> String {
    let Query {
        types,
        filter,
        sort,
        count,
        includes,
        total,
        summary,
        ..
    } = query;
    format!("{types:?} {filter:?} {sort:?} {count} {includes:?} {total:?} {summary:?}")
}

/// The texts that values consist of.
fn values(text: &str) {
    if let Some(date) = PartialDate::parse(text) {
        assert!(date.range.lo < date.range.hi, "{text} covers no time");
    }
    if let Some(decimal) = Decimal::parse(text) {
        let plain = decimal.to_plain();
        assert_eq!(decimal.add(&decimal).sub(&decimal), decimal, "{plain}");
        assert!(plain.len() < 1_000, "{} characters", plain.len());
    }
    if let Reference::Local { key, .. } = Reference::parse(text, Some(BASE)) {
        assert!(is_id(&key.id));
        let short = key.to_string();
        let again = Reference::parse(&short, Some(BASE));
        assert_eq!(again, Reference::Local { key, version: None });
    }
    let normal = normalise(text);
    // Longer ones are cut somewhere behind what is stored.
    if normal.chars().count() < STRING_MAX {
        assert_eq!(normalise(&normal), normal, "normal text is normal");
    }
}

pub static RESOURCES: LazyLock<Vec<Value>> = LazyLock::new(|| vec![patient(), observation()]);

pub fn patient() -> Value {
    json!({"resourceType": "Patient", "id": "a", "active": true,
        "identifier": [{"system": "http://records.example.org/mrn", "value": "100001",
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}}],
        "name": [{"family": "Zewde", "given": ["Amina", "Chloé"], "text": "Amina Zewde"}],
        "telecom": [{"system": "phone", "value": "+243 555 0123", "use": "mobile"}],
        "gender": "female", "birthDate": "1980-02-29", "deceasedDateTime": "2026-01-01T08:00:00+01:00",
        "address": [{"line": ["Section 4"], "city": "Bidibidi", "country": "UG", "period": {"start": "2025"}}],
        "generalPractitioner": [{"reference": "Practitioner/p"}],
        "managingOrganization": {"reference": "Organization/o"}})
}

pub fn observation() -> Value {
    let quantity = json!({"value": 12.50, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"});
    json!({"resourceType": "Observation", "id": "o", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin"}], "text": "Hb"},
        "subject": {"reference": "Patient/a"}, "encounter": {"reference": "Encounter/e"},
        "effectivePeriod": {"start": "2026-01-01T08:30:00+02:00"}, "valueQuantity": quantity,
        "component": [{"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
            "valueQuantity": {"value": 1e2, "comparator": "<", "unit": "mm[Hg]"}}]})
}
