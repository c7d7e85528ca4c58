//! What the definitions cost: time to load, resident memory, time to validate. `cargo run --release -p fhir-definitions --example cost`.

use fhir_definitions::Definitions;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let before = resident_kb();
    let start = Instant::now();
    let definitions = Definitions::load(&[]).map_err(|_| std::io::Error::other("core"))?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    writeln!(
        out,
        "load: {load_ms:.1} ms, {} kB resident",
        resident_kb() - before
    )?;
    let start = Instant::now();
    Definitions::load(&[]).map_err(|_| std::io::Error::other("core"))?;
    writeln!(
        out,
        "load again: {:.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    )?;

    for (name, resource) in [("Patient", patient()), ("Bundle of 100", bundle())] {
        let start = Instant::now();
        let issues = definitions.validate(&resource);
        let first_us = start.elapsed().as_secs_f64() * 1e6;
        let rounds = 2_000;
        let start = Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(definitions.validate(std::hint::black_box(&resource)));
        }
        let each_us = start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
        writeln!(
            out,
            "{name} ({} bytes, {} issues): first {first_us:.0} us, then {each_us:.1} us",
            resource.to_string().len(),
            issues.len()
        )?;
    }
    // Every structure compiled: the most that validation can hold.
    for resource_type in definitions.resource_types() {
        definitions.validate(&json!({"resourceType": resource_type}));
    }
    writeln!(
        out,
        "all 157 resource types validated once: {} kB resident",
        resident_kb() - before
    )
}

fn resident_kb() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: i64 = statm
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse().ok())
        .unwrap_or_default();
    pages * 4
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient", "id": "0198c2a0-0000-7000-8000-000000000001",
        "meta": {"versionId": "1", "lastUpdated": "2026-11-24T08:00:00.123Z", "profile": ["http://example.org/StructureDefinition/p"]},
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">A patient</div>"},
        "identifier": [
            {"use": "official", "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}, "system": "urn:oid:1.2.36.146.595.217.0.1", "value": "12345", "period": {"start": "2001-05-06"}},
            {"system": "http://example.org/national", "value": "998877"}
        ],
        "active": true,
        "name": [
            {"use": "official", "family": "Chalmers", "given": ["Peter", "James"]},
            {"use": "usual", "given": ["Jim"]},
            {"use": "maiden", "family": "Windsor", "given": ["Peter", "James"], "period": {"end": "2002"}}
        ],
        "telecom": [
            {"system": "phone", "value": "(03) 5555 6473", "use": "work", "rank": 1},
            {"system": "phone", "value": "(03) 3410 5613", "use": "mobile", "rank": 2}
        ],
        "gender": "male", "birthDate": "1974-12-25", "_birthDate": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "1974-12-25T14:35:45-05:00"}]},
        "deceasedBoolean": false,
        "address": [{"use": "home", "type": "both", "text": "534 Erewhon St", "line": ["534 Erewhon St"], "city": "PleasantVille", "district": "Rainbow", "state": "Vic", "postalCode": "3999", "period": {"start": "1974-12-25"}}],
        "contact": [{
            "relationship": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0131", "code": "N"}]}],
            "name": {"family": "du Marché", "given": ["Bénédicte"]}, "telecom": [{"system": "phone", "value": "+33 (237) 998327"}],
            "gender": "female", "period": {"start": "2012"}
        }],
        "managingOrganization": {"reference": "Organization/1"}
    })
}

fn bundle() -> Value {
    let entry = json!({"fullUrl": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "resource": patient(), "request": {"method": "POST", "url": "Patient"}});
    json!({"resourceType": "Bundle", "type": "transaction", "entry": vec![entry; 100]})
}
