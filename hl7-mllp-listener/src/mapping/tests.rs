//! The language's mistakes as data, and whole messages through the real maps.

use super::*;
use crate::message::TextOptions;
use serde_json::{Value as Json, json};

fn real() -> Mappings {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
    match Mappings::load(&read_folder(&folder).unwrap()) {
        Ok(mappings) => mappings,
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        }
    }
}

fn convert(mappings: &Mappings, text: &str) -> Result<Converted, ConvertError> {
    let message = Message::parse(text.as_bytes(), &TextOptions::default()).unwrap();
    mappings.convert(&message, mappings.sender(text.as_bytes()))
}

/// The drafts of one type.
fn drafts(converted: &Converted, kind: &str) -> Vec<Json> {
    let bodies = converted.drafts.iter().map(|draft| {
        let mut body = draft.body.clone();
        for (name, value) in &draft.new {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        Json::Object(body)
    });
    bodies.filter(|body| body["resourceType"] == kind).collect()
}

const MSH: &str = "MSH|^~\\&|HIS|GH|FHIR|HUB|20260301080000+0100||";

#[test]
fn an_admission() {
    let text = format!(
        "{MSH}ADT^A01^ADT_A01|1|P|2.5.1\rEVN|A01|20260301080000+0100\r\
         PID|1||100001^^^GH&1.2.3.4&ISO^MR||TEST^ALICE^Q||198002290930|F|||1 MAIN ST^^LYON^^69001^FRA^H||^PRN^PH^^33^4^70000001|||M\r\
         NK1|1|TEST^BOB|SPO\rPV1|1|I|W1^101^A^GH||||D10^HOUSE^GREG||||||||||||V9^^^GH&1.2.3.4&ISO^VN|||||||||||||||||||||||||20260301080000+0100\r\
         AL1|1|DA|123^Penicillin^99X|SV|rash\rZZZ|kept"
    );
    let mappings = real();
    let converted = convert(&mappings, &text).unwrap();
    assert_eq!(converted.unplaced, [6]);
    assert_eq!(converted.notices, []);
    let patient = &drafts(&converted, "Patient")[0];
    assert_eq!(
        *patient,
        json!({
            "resourceType": "Patient",
            "identifier": [{
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": "urn:oid:1.2.3.4", "value": "100001"}],
            "active": true,
            "name": [{"family": "TEST", "given": ["ALICE", "Q"]}],
            "gender": "female",
            "birthDate": "1980-02-29",
            "address": [{"use": "home", "line": ["1 MAIN ST"], "city": "LYON", "postalCode": "69001", "country": "FRA"}],
            "telecom": [{"system": "phone", "value": "+33 4 70000001", "use": "home"}],
            "maritalStatus": {"coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M", "display": "Married"},
                {"system": "http://terminology.hl7.org/CodeSystem/v2-0002", "code": "M"}]},
            "contact": [{
                "relationship": [{"coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": "SPS", "display": "spouse"},
                    {"system": "http://terminology.hl7.org/CodeSystem/v2-0063", "code": "SPO"}]}],
                "name": {"family": "TEST", "given": ["BOB"]}}],
            "_birthDate": {"extension": [{
                "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime",
                "valueDateTime": "1980-02-29T09:30:00Z"}]},
        })
    );
    let encounter = &drafts(&converted, "Encounter")[0];
    assert_eq!(encounter["status"], "in-progress");
    assert_eq!(encounter["class"][0]["coding"][0]["code"], "IMP");
    assert_eq!(encounter["subject"], json!({"reference": "urn:draft:0"}));
    assert_eq!(
        encounter["actualPeriod"],
        json!({"start": "2026-03-01T08:00:00+01:00"})
    );
    assert_eq!(
        encounter["location"][0]["location"]["identifier"]["value"],
        "W1/101/A"
    );
    assert_eq!(
        encounter["participant"][0]["actor"]["display"],
        "GREG HOUSE"
    );
    assert_eq!(
        converted.drafts[1].identifiers,
        [("urn:oid:1.2.3.4".to_owned(), "V9".to_owned())]
    );
    let allergy = &drafts(&converted, "AllergyIntolerance")[0];
    assert_eq!(allergy["criticality"], "high");
    assert_eq!(
        allergy["reaction"][0]["manifestation"][0]["concept"]["text"],
        "rash"
    );
    assert_eq!(converted.drafts[0].lines.iter().max(), Some(&3));
}
