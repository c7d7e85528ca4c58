//! The resources of the cases.

use serde_json::{Value, json};

/// The first is the latest updated, so that the default order is the one below.
pub fn resources() -> Vec<Value> {
    let subject = |reference: &str| json!({"reference": reference});
    let concept = |system: &str, code: &str| json!({"coding": [{"system": system, "code": code}]});
    let quantity = |value: Value, unit: &str| json!({"value": value, "unit": unit, "system": "ucum", "code": unit});
    vec![
        json!({"resourceType": "Patient", "id": "p1", "active": true, "gender": "female", "birthDate": "1980-05-12",
            "name": [{"family": "Müller", "given": ["Anna-Maria", "Eva"]}, {"text": "Aunt Polly"}],
            "identifier": [{"system": "mrn", "value": "1"}], "managingOrganization": subject("Organization/o1"),
            "generalPractitioner": [subject("Practitioner/d1")], "address": [{"city": "Ñandú", "country": "PY"}],
            "telecom": [{"system": "phone", "value": "555-1"}], "meta": {"tag": [{"system": "tags", "code": "vip"}], "profile": ["http://x/profile|1"]}}),
        json!({"resourceType": "Patient", "id": "p2", "gender": "male", "birthDate": "1980",
            "name": [{"family": "Muller", "given": ["Bob"]}], "identifier": [{"system": "mrn", "value": "2"}, {"system": "other", "value": "1"}],
            "managingOrganization": subject("Organization/o2")}),
        json!({"resourceType": "Patient", "id": "p3", "gender": "female", "birthDate": "1990-01", "deceasedBoolean": true,
            "name": [{"family": "O'Brien", "given": ["Carla"]}], "managingOrganization": {"identifier": {"system": "orgs", "value": "o9"}}}),
        json!({"resourceType": "Patient", "id": "p4", "gender": "unknown", "identifier": [{"value": "X"}],
            "link": [{"other": subject("Patient/p1"), "type": "seealso"}], "managingOrganization": subject("http://elsewhere/Organization/o1")}),
        json!({"resourceType": "Patient", "id": "p5", "active": false, "gender": "male", "birthDate": "2000-02-29",
            "name": [{"family": "van der Smith", "given": ["Chris"]}]}),
        json!({"resourceType": "Observation", "id": "ob1", "status": "final", "subject": subject("Patient/p1"),
            "code": {"coding": [{"system": "loinc", "code": "718-7"}, {"system": "local", "code": "hb"}]},
            "category": [concept("cat", "laboratory")], "effectiveDateTime": "2024-01-15T10:00:00Z", "valueQuantity": quantity(json!(12.5), "g/dL")}),
        json!({"resourceType": "Observation", "id": "ob2", "status": "final", "subject": subject("Patient/p2"),
            "code": concept("loinc", "718-7"), "category": [concept("cat", "laboratory")], "effectiveDateTime": "2024-02", "valueQuantity": quantity(json!(9), "g/dL")}),
        json!({"resourceType": "Observation", "id": "ob3", "status": "preliminary", "subject": subject("http://localhost/fhir/Patient/p1"),
            "code": concept("loinc", "85354-9"), "effectivePeriod": {"start": "2024-03-01", "end": "2024-03-10"}, "component": [
            {"code": concept("loinc", "8480-6"), "valueQuantity": quantity(json!(120), "mm[Hg]")},
            {"code": concept("loinc", "8462-4"), "valueQuantity": quantity(json!(80), "mm[Hg]")}]}),
        json!({"resourceType": "Observation", "id": "ob4", "status": "entered-in-error", "subject": subject("Patient/p3"),
            "code": {"coding": [{"code": "x"}]}, "effectivePeriod": {"start": "2024-05-01"}, "valueCodeableConcept": concept("s", "pos")}),
        json!({"resourceType": "Observation", "id": "ob5", "status": "final", "code": {"text": "free"},
            "effectiveInstant": "2024-04-01T08:30:15.250+02:00", "valueQuantity": {"value": 5, "comparator": "<", "unit": "mg/L"}}),
        json!({"resourceType": "Observation", "id": "ob6", "status": "final", "subject": subject("Patient/absent"),
            "code": concept("loinc", "718-7"), "valueQuantity": quantity(json!(100), "g/dL")}),
        json!({"resourceType": "Observation", "id": "ob7", "status": "final", "subject": subject("Group/g1"), "hasMember": [subject("Observation/ob1")],
            "code": concept("loinc", "718-7")}),
        json!({"resourceType": "Organization", "id": "o1", "name": "Ministry of Health", "partOf": subject("Organization/o2")}),
        json!({"resourceType": "Organization", "id": "o2", "name": "Regional Office", "partOf": subject("Organization/o3")}),
        json!({"resourceType": "Organization", "id": "o3", "name": "World"}),
        json!({"resourceType": "Practitioner", "id": "d1", "name": [{"family": "House"}]}),
        json!({"resourceType": "Group", "id": "g1", "type": "person", "membership": "enumerated", "name": "all"}),
        json!({"resourceType": "Condition", "id": "c1", "subject": subject("Patient/p1"), "code": concept("snomed", "1"),
            "clinicalStatus": concept("clin", "active"), "encounter": subject("Encounter/e1"), "onsetDateTime": "2023"}),
        json!({"resourceType": "Encounter", "id": "e1", "status": "completed", "subject": subject("Patient/p1"), "class": [concept("class", "AMB")],
            "actualPeriod": {"start": "2024-01-10T08:00:00Z", "end": "2024-01-12T12:00:00Z"}}),
        json!({"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": subject("Patient/p1"), "code": concept("loinc", "1"),
            "result": [subject("Observation/ob1"), subject("Observation/ob3"), subject("Observation/gone")]}),
        json!({"resourceType": "RiskAssessment", "id": "k1", "status": "final", "subject": subject("Patient/p1"), "prediction": [{"probabilityDecimal": 0.25}]}),
        json!({"resourceType": "RiskAssessment", "id": "k2", "status": "final", "subject": subject("Patient/p2"), "prediction": [{"probabilityDecimal": 0.5}, {"probabilityDecimal": 0.9}]}),
        json!({"resourceType": "ValueSet", "id": "v1", "status": "active", "url": "http://x/vs", "version": "1"}),
        json!({"resourceType": "ValueSet", "id": "v2", "status": "active", "url": "http://x/vs/2"}),
    ]
}
