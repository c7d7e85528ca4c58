//! What extraction costs: `cargo test --release -p fhir-search --test extraction_cost -- --ignored --nocapture`.

use fhir_definitions::Definitions;
use fhir_search::search_document;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

/// A Patient of about 2.5 kB.
fn patient() -> Value {
    let name = |family: &str, given: [&str; 2]| json!({"use": "official", "family": family, "given": given, "text": format!("{} {family}", given.join(" "))});
    let identifier = |system: &str, value: &str| json!({"use": "usual", "system": system, "value": value, "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR", "display": "Medical record number"}]}, "assigner": {"display": "District Hospital"}});
    json!({
        "resourceType": "Patient",
        "id": "0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a01",
        "meta": {"versionId": "3", "lastUpdated": "2026-01-01T00:00:00.123Z", "source": "urn:source", "profile": ["http://example.org/fhir/StructureDefinition/patient"], "tag": [{"system": "http://example.org/tags", "code": "camp-4"}]},
        "identifier": [identifier("http://example.org/mrn", "MRN0012345"), identifier("http://example.org/national-id", "19741225-0042"), identifier("http://example.org/unhcr", "UNHCR-77-1234567")],
        "active": true,
        "name": [name("Chalmers", ["Peter", "James"]), name("Windsor Smith", ["Peter", "J."])],
        "telecom": [{"system": "phone", "value": "+243 555 0123", "use": "mobile", "rank": 1}, {"system": "email", "value": "peter@example.org"}],
        "gender": "male",
        "birthDate": "1974-12-25",
        "deceasedBoolean": false,
        "address": [
            {"use": "home", "type": "both", "text": "534 Erewhon St, PleasantVille 3999", "line": ["534 Erewhon St"], "city": "PleasantVille", "district": "Rainbow", "state": "Vic", "postalCode": "3999", "country": "AU", "period": {"start": "1974-12-25"}},
            {"use": "temp", "line": ["Section 4", "Shelter 112"], "city": "Bidibidi", "country": "UG"}
        ],
        "maritalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"}]},
        "contact": [{"relationship": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0131", "code": "N"}]}], "name": {"family": "du Marché", "given": ["Bénédicte"]}, "telecom": [{"system": "phone", "value": "+33 (237) 998327"}], "gender": "female"}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "fr"}]}, "preferred": true}],
        "generalPractitioner": [{"reference": "Practitioner/0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a02"}],
        "managingOrganization": {"reference": "Organization/0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a03"}
    })
}

/// A laboratory result of about 1.3 kB.
fn observation() -> Value {
    let coding = |system: &str, code: &str| json!({"system": system, "code": code, "display": "Hemoglobin [Mass/volume] in Blood"});
    json!({
        "resourceType": "Observation",
        "id": "0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a04",
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.123Z"},
        "identifier": [{"system": "http://example.org/filler", "value": "L-2026-000123-1"}],
        "basedOn": [{"reference": "ServiceRequest/0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a05"}],
        "status": "final",
        "category": [{"coding": [coding("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")]}],
        "code": {"coding": [coding("http://loinc.org", "718-7"), coding("http://example.org/lab", "HGB")], "text": "Hemoglobin"},
        "subject": {"reference": "Patient/0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a01"},
        "encounter": {"reference": "Encounter/0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a06"},
        "effectiveDateTime": "2026-01-01T08:30:00+02:00",
        "issued": "2026-01-01T09:00:00.000+02:00",
        "performer": [{"reference": "Organization/0198f3c2-7d3a-7c11-9a54-2f6f0f7c1a03"}],
        "valueQuantity": {"value": 12.50, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"},
        "interpretation": [{"coding": [coding("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "L")]}],
        "referenceRange": [{"low": {"value": 13.5, "unit": "g/dL"}, "high": {"value": 17.5, "unit": "g/dL"}}]
    })
}

#[test]
#[ignore = "measures; meaningful in a release build"]
fn cost() {
    let definitions = Definitions::load(&[]).unwrap();
    for resource in [patient(), observation()] {
        measure(&definitions, &resource);
    }
}

fn measure(definitions: &Definitions, resource: &Value) {
    let programs: Vec<_> = definitions
        .search_parameters(resource["resourceType"].as_str().unwrap_or_default())
        .iter()
        .filter_map(|parameter| parameter.program.as_ref())
        .collect();
    const ROUNDS: u32 = 20_000;
    let mut nodes = Vec::with_capacity(64);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        nodes.clear();
        for program in &programs {
            program.run(black_box(resource), &mut nodes);
        }
        black_box(&nodes);
    }
    let paths = start.elapsed() / ROUNDS;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(search_document(definitions, black_box(resource), None));
    }
    let document = search_document(definitions, resource, None);
    eprintln!(
        "{} bytes: {} paths select {} nodes in {paths:?}; document ({} tokens, {} references, {} dates, {} quantities, {} strings) in {:?}",
        resource.to_string().len(),
        programs.len(),
        nodes.len(),
        document.tokens.len(),
        document.references.len(),
        document.dates.len(),
        document.quantities.len(),
        document.strings.len(),
        start.elapsed() / ROUNDS,
    );
}
