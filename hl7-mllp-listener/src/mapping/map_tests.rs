//! What the maps of persons, visits, accounts and care make of messages: one value of each that a mistake would change.

use super::draft_index;
use super::tests::{convert, drafts, real};
use serde_json::{Value as Json, json};

/// Event, segments after EVN, resource type, which of that type, JSON pointer, value.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    usize,
    &'static str,
    Json,
);

const PID: &str = "PID|1||7^^^GH&1.2.3&ISO^MR||DOE^ANN";

fn cases() -> Vec<Case> {
    vec![
        (
            "ADT^A05",
            "PV1|1|P|W",
            "Encounter",
            0,
            "/status",
            json!("planned"),
        ),
        (
            "ADT^A21",
            "PV1|1|I|W",
            "Encounter",
            0,
            "/status",
            json!("on-hold"),
        ),
        (
            "ADT^A23",
            "PV1|1|I|W",
            "Encounter",
            0,
            "/status",
            json!("entered-in-error"),
        ),
        ("ADT^A29", "PV1|1|N", "Patient", 0, "/active", json!(false)),
        ("ADT^A31", "", "Patient", 0, "/active", json!(true)),
        (
            "ADT^A31",
            "PD1|||||||Y^Yes",
            "Observation",
            0,
            "/code/coding/0/code",
            json!("75320-2"),
        ),
        (
            "ADT^A31",
            "NK1|1|DOE^BOB|SPO||5551||||||||||M",
            "RelatedPerson",
            0,
            "/relationship/0/coding/0/code",
            json!("SPS"),
        ),
        (
            "ADT^A31",
            "NK1|1|DOE^BOB|SPO||5551||||||||||M",
            "RelatedPerson",
            0,
            "/patient/reference",
            json!("->Patient"),
        ),
        (
            "ADT^A04",
            "ROL|1|AD|PP|D1^HOUSE^GREG\rPV1|1|O|W",
            "Patient",
            0,
            "/generalPractitioner/0/reference",
            json!("->PractitionerRole"),
        ),
        (
            "ADT^A04",
            "PV1|1|O|W\rROL|1|AD|AT|D1^HOUSE^GREG",
            "Encounter",
            0,
            "/participant/0/actor/reference",
            json!("->PractitionerRole"),
        ),
        (
            "ADT^A04",
            "PV1|1|O|W|||||||||||||||||||||||||||||||||||||||||||||||||||E5",
            "EpisodeOfCare",
            0,
            "/identifier/0/value",
            json!("E5"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rDG1|1||I10^Pain^I10\rDG1|2||I11^Ache^I10",
            "Encounter",
            2,
            "/diagnosis/0/condition/0/reference/reference",
            json!("->Condition"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rDG1|1||I10^Pain^I10|||A",
            "Encounter",
            1,
            "/diagnosis/0/use/0/coding/0",
            json!({"system": "http://terminology.hl7.org/CodeSystem/diagnosis-role", "code": "AD", "display": "Admission diagnosis"}),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W|||||||||||||||||||||||||||||||||||||||||||||||||||E5\rDG1|1||I10^Pain^I10|||F",
            "EpisodeOfCare",
            1,
            "/diagnosis/0/use/coding/0/code",
            json!("final"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rPRT|1|AD||AT|||||^^^W9^2",
            "Encounter",
            0,
            "/participant/0/actor/reference",
            json!("->PractitionerRole"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rPR1|1||1^Look^L\rPRT|1|AD||PP|D1^HOUSE^GREG",
            "Procedure",
            0,
            "/performer/0/actor/reference",
            json!("->PractitionerRole"),
        ),
        (
            "BAR^P01",
            "PV1|1|I|W\rOBX|1|ST|1^a^L||yes\rPRT|1|AD||RO|D1^HOUSE^GREG",
            "Observation",
            0,
            "/performer/0/reference",
            json!("->PractitionerRole"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rACC|20260301||Crossing||||||||^^LYON",
            "Location",
            1,
            "/address/city",
            json!("LYON"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC||Payer||||||G1^^^H\rIN2|||||||||||||||||||||||||||||||||||||||||||||||||Boss^Ann",
            "Organization",
            0,
            "/contact/0/name/0/family",
            json!("Boss"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC\rIN2||||||1EG4",
            "Patient",
            1,
            "/identifier/0/type/coding/0/code",
            json!("MC"),
        ),
        (
            "REF^I12",
            "PR1|1||1^Look^L\rAUT|PLAN|P1^^L|Payer|20260301|20260401|A7|175",
            "ClaimResponse",
            0,
            "/total/0/amount/value",
            json!(175),
        ),
        (
            "MDM^T02",
            "PV1|1|I|W\rTXA|1|DI|TX|||||||||D1^H\rCON|1|001|||yes||||||R|20260301||||||||||||DOE^BOB|2",
            "Consent",
            0,
            "/decision",
            json!("deny"),
        ),
        (
            "MDM^T02",
            "PV1|1|I|W\rTXA|1|DI|TX|||||||||D1^H\rCON|1|001|||yes||||||R|20260301||||||||||||DOE^BOB|2",
            "Consent",
            0,
            "/grantor/0/reference",
            json!("->RelatedPerson"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rDG1|1||I10^Pain^I10||||||||||||||||||D",
            "Condition",
            0,
            "/verificationStatus/coding/0/code",
            json!("entered-in-error"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rPR1|1||123^Cut^SCT||20260301||||||S1^SMITH",
            "Procedure",
            0,
            "/performer/0/function/coding/0/code",
            json!("304292004"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rGT1|1||ROE^RICK||||||M||BRO",
            "RelatedPerson",
            0,
            "/relationship/1/coding/0/code",
            json!("GUAR"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic||||||||||||||ROE^RICK|SPO",
            "Coverage",
            0,
            "/subscriber/reference",
            json!("->RelatedPerson"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic||||||||||||||DOE^ANN|SEL",
            "Coverage",
            0,
            "/subscriber/reference",
            json!("->Patient"),
        ),
        (
            "ADT^A60",
            "IAM|1|DA|P^Penicillin^99X|SV|rash|D|A7",
            "AllergyIntolerance",
            0,
            "/verificationStatus/coding/0/code",
            json!("entered-in-error"),
        ),
        (
            "ADT^A60",
            "IAM|1|DA|P^Penicillin^99X|SV|rash|A|A7",
            "AllergyIntolerance",
            0,
            "/clinicalStatus/coding/0/code",
            json!("active"),
        ),
        (
            "VXU^V04",
            "RXA|0|1|20260301||207^Moderna^CVX|999",
            "Immunization",
            0,
            "/occurrenceString",
            Json::Null,
        ),
        (
            "VXU^V04",
            "RXA|0|1|unknown||207^Moderna^CVX|999",
            "Immunization",
            0,
            "/occurrenceString",
            json!("not told"),
        ),
        (
            "VXU^V04",
            "ORC|RE||9\rRXA|0|1|20260301||207^Moderna^CVX|0.5|mL^^UCUM||01^Historical^NIP001|||||||||||CP|A",
            "Immunization",
            0,
            "/primarySource",
            json!(false),
        ),
        (
            "VXU^V04",
            "RXA|0|1|20260301||207^Moderna^CVX|999|||00|||||||||||RE",
            "Immunization",
            0,
            "/status",
            json!("not-done"),
        ),
        (
            "VXU^V04",
            "RXA|0|1|20260301||207^Moderna^CVX|999\rOBX|1|CE|30963-3^Funding^LN||X",
            "Observation",
            0,
            "/partOf/0/reference",
            json!("->Immunization"),
        ),
        (
            "DFT^P03",
            "FT1|1|C1||20260301|20260302|CG|99213^Visit^C4|||2|100&USD",
            "ChargeItem",
            0,
            "/totalPriceComponent/amount/currency",
            json!("USD"),
        ),
        (
            "BAR^P01",
            "PV1|1|I|W\rDG1|1||I10^Pain^I10",
            "Condition",
            0,
            "/code/coding/0/code",
            json!("I10"),
        ),
        (
            "PPR^PC1",
            "PRB|AD|20260301|44054006^Diabetes^SCT|P1||||||||||C",
            "Condition",
            0,
            "/category/0/coding/0/code",
            json!("problem-list-item"),
        ),
        (
            "PPR^PC3",
            "PRB|DE|20260301|44054006^Diabetes^SCT|P1",
            "Condition",
            0,
            "/verificationStatus/coding/0/code",
            json!("entered-in-error"),
        ),
        (
            "MFN^M02",
            "MFI|STF\rMFE|MDC|||S1^^99H\rSTF|S1^^99H||DOE^JOHN",
            "Practitioner",
            0,
            "/active",
            json!(false),
        ),
        (
            "MFN^M05",
            "MFI|LOC\rMFE|MAD|||W^1\rLOC|W^1|Ward one",
            "Location",
            0,
            "/name",
            json!("Ward one"),
        ),
        (
            "ADT^A11",
            "PV1|1|I|W",
            "Encounter",
            0,
            "/status",
            json!("cancelled"),
        ),
        (
            "ADT^A38",
            "PV1|1|I|W",
            "Encounter",
            0,
            "/status",
            json!("cancelled"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic||||||||||||||||||||||||||||||||||P1\rIN2||||||MC1||MA1",
            "Coverage",
            0,
            "/identifier/0",
            json!({"system": "urn:hl7v2:authority:GH:-", "value": "P1"}),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic||||||||||||||||||||||||||||||||||P1\rIN2||||||MC1||MA1",
            "Coverage",
            0,
            "/identifier/1/type/coding/0/code",
            json!("MC"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic||||||||||||||||||||||||||||||||||P1\rIN2||||||MC1||MA1",
            "Coverage",
            0,
            "/identifier/2/type/coding/0/code",
            json!("MA"),
        ),
        (
            "DFT^P03",
            "FT1|1|C1||20260301||CG|99213^Visit^C4|||||||||||||||50&USD",
            "ChargeItem",
            0,
            "/totalPriceComponent",
            json!(null),
        ),
        (
            "DFT^P03",
            "FT1|1|C1||20260301||CG|99213^Visit^C4|||||||||||||||50&USD",
            "ChargeItem",
            0,
            "/unitPriceComponent/amount/currency",
            json!("USD"),
        ),
        (
            "ORM^O01",
            "ORC|NW|P1^H\rOBR|1|P1^H||1-1^a^LN\rFT1|1|C1||20260301||CG|99213^Visit^C4",
            "ChargeItem",
            0,
            "/supportingInformation/0/reference",
            json!("->ServiceRequest"),
        ),
        (
            "ORM^O01",
            "ORC|NW|P1^H\rRXO|D^Drug\rFT1|1|C1||20260301||CG|99213^Visit^C4",
            "ChargeItem",
            0,
            "/supportingInformation/0/reference",
            json!("->MedicationRequest"),
        ),
        (
            "RDE^O11",
            "ORC|NW|P1^H\rRXE||D^Drug|||||||||||||RX1\rFT1|1|C1||20260301||CG|99213^Visit^C4",
            "ChargeItem",
            0,
            "/supportingInformation/0/reference",
            json!("->MedicationRequest"),
        ),
        (
            "RDE^O11",
            "ORC|NW|P1^H\rRXE||D^Drug|||||||||||||RX1",
            "MedicationRequest",
            0,
            "/identifier/1",
            json!({"system": "urn:hl7v2:authority:GH:-", "value": "RX1"}),
        ),
        (
            "RDS^O13",
            "ORC|NW|P1^H\rRXD||D^Drug|||||RX1",
            "MedicationDispense",
            0,
            "/identifier/0",
            json!({"system": "urn:hl7v2:authority:GH:-", "value": "RX1"}),
        ),
        (
            "MFN^M02",
            "MFI|STF\rMFE|MAD|||S1^^99H\rSTF|S1^^99H||DOE^JOHN\rPRA|S1^^99H||MD|||77^SL^^20270101",
            "PractitionerRole",
            0,
            "/identifier/0/period",
            json!({"end": "2027-01-01"}),
        ),
        (
            "ADT^A31",
            "PD1|||HOSPITAL^^7^^^GH",
            "Patient",
            0,
            "/identifier/0/assigner/reference/resourceType",
            json!("Organization"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W||||||||||||||||V9^^^GH^AM",
            "Encounter",
            0,
            "/identifier/0/type/text",
            json!("visit number"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W||||||||||||||||V9^^^GH^AM",
            "Encounter",
            0,
            "/identifier/0/type/coding/1/code",
            json!("VN"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W&1.9&ISO^101^A",
            "Location",
            0,
            "/identifier/1/value",
            json!("urn:oid:1.9"),
        ),
        (
            "ADT^A31",
            "DB1|1|PT|D5^^^GH^MR",
            "Patient",
            0,
            "/identifier/1/value",
            json!("D5"),
        ),
        (
            "ADT^A31",
            "DB1|1|GT|D5^^^GH^MR",
            "Patient",
            0,
            "/identifier/1/value",
            Json::Null,
        ),
        (
            "ADT^A31",
            "NK1|1|DOE^BOB|||||||||||MILL^^M1|||||||||||||||||ROE^RICK",
            "Organization",
            0,
            "/contact/0/name/0/family",
            json!("ROE"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic|I7^^^GH|Insurance|1 STREET^^LYON",
            "Coverage",
            0,
            "/insurer/reference",
            json!("->Organization"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic|I7^^^GH|Insurance|1 STREET^^LYON",
            "Organization",
            0,
            "/contact/0/address/city",
            json!("LYON"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC^Basic|||||||||MILL",
            "Coverage",
            0,
            "/policyHolder/reference",
            json!("->Organization"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rACC|20260301|||||||fell",
            "Observation",
            0,
            "/valueString",
            json!("fell"),
        ),
        (
            "ADT^A03",
            "PV1|1|I|W\rPDA|I21^Infarction^I10||Y|20260301|D1^HOUSE^GREG",
            "Procedure",
            0,
            "/reason/0/reference/reference",
            json!("->Condition"),
        ),
        (
            "ADT^A03",
            "PV1|1|I|W\rPDA|I21^Infarction^I10|||||Y|20260301^20260302",
            "Procedure",
            0,
            "/occurrencePeriod/end",
            json!("2026-03-02"),
        ),
        (
            "ADT^A03",
            "PV1|1|I|W\rPDA|I21^Infarction^I10||||||||N",
            "Observation",
            0,
            "/valueCodeableConcept/coding/0/code",
            json!("N"),
        ),
        (
            "ADT^A01",
            "PV1|1|I|W\rIN1|1|BASIC\rRF1|P|S|MED|||R1^EPIC||||||||why",
            "ServiceRequest",
            0,
            "/reason/0/concept/text",
            json!("why"),
        ),
        (
            "VXU^V04",
            "RXA|0|1|20260301||207^Moderna^CVX|999|||||||||||||||||||||C^1|1 STREET^^LYON",
            "Location",
            2,
            "/address/city",
            json!("LYON"),
        ),
    ]
}

#[test]
fn maps_of_persons_visits_accounts_and_care() {
    let mappings = real();
    for (event, segments, kind, index, pointer, expect) in cases() {
        let pid = if event.starts_with("MFN") { "" } else { PID };
        let text = format!(
            "MSH|^~\\&|HIS|GH|||20260301080000+0100||{event}|1|P|2.5.1\rEVN||20260301\r{pid}\r{segments}"
        );
        let converted = convert(&mappings, &text).unwrap();
        let found = drafts(&converted, kind);
        let value = found.get(index).and_then(|body| body.pointer(pointer));
        // A reference is told by the type it leads to.
        let value = match value.and_then(Json::as_str).and_then(draft_index) {
            Some(draft) => Some(json!(format!(
                "->{}",
                converted.drafts[draft].body["resourceType"]
                    .as_str()
                    .unwrap()
            ))),
            None => value.cloned(),
        };
        assert_eq!(
            value.unwrap_or_default(),
            expect,
            "{event} {segments}: {found:#?}"
        );
    }
}

#[test]
fn a_referral_names_who_refers_and_who_is_referred_to() {
    let text = format!(
        "MSH|^~\\&|HIS|GH|||20260301080000+0100||REF^I14|1|P|2.5.1\rRF1|A|S|MED|||R1^EPIC\rPRD|RP|HOUSE^GREG|||||N1^NPI\rPRD|RT|WILSON^JIM|||||N2^NPI\r{PID}"
    );
    let converted = convert(&real(), &text).unwrap();
    let referral = &drafts(&converted, "ServiceRequest")[0];
    assert_eq!(referral["status"], "revoked");
    assert_eq!(referral["priority"], "stat");
    let roles: Vec<Option<usize>> = [&referral["requester"], &referral["performer"][0]]
        .into_iter()
        .map(|reference| draft_index(reference["reference"].as_str().unwrap()))
        .collect();
    assert!(roles[0] < roles[1]);
}

#[test]
fn a_substitution_is_told_where_its_code_tells_it() {
    let mappings = real();
    for (code, expect) in [
        ("G", Some(true)),
        ("T", Some(true)),
        ("N", Some(false)),
        ("0", Some(false)),
        ("1", Some(false)),
        ("7", Some(false)),
        ("3", None),
        ("", None),
    ] {
        let text = format!(
            "MSH|^~\\&|HIS|GH|||20260301080000+0100||RDS^O13|1|P|2.5.1\r{PID}\rORC|RE|P1^H\rRXD||D^Drug|||||||||{code}"
        );
        let dispense = &drafts(&convert(&mappings, &text).unwrap(), "MedicationDispense")[0];
        let told = dispense.pointer("/substitution/wasSubstituted");
        assert_eq!(told.and_then(Json::as_bool), expect, "{code}");
    }
}

/// What is booked, and where those who speak for it are, has no record of its own: the appointment contains it.
#[test]
fn an_appointment_names_its_services_and_contacts() {
    let text = format!(
        "MSH|^~\\&|HIS|GH|||20260301080000+0100||SIU^S15|1|P|2.5.1\rSCH|A1^GH|||||||||||1^CLERK^ANN|5551||^^^NORTH\r{PID}\r\
         RGS|1\rAIS|1||76164006^Biopsy^SCT|202603020800|||30|min\rAIP|1||7^HOUSE^GREG^^^^^^GH"
    );
    let converted = convert(&real(), &text).unwrap();
    let appointment = &drafts(&converted, "Appointment")[0];
    let named = |pointer: &str| {
        let reference = appointment.pointer(pointer).and_then(Json::as_str);
        let draft = draft_index(reference.unwrap()).unwrap();
        Json::Object(converted.drafts[draft].body.clone())
    };
    let service = named("/basedOn/0/reference");
    assert_eq!(service["status"], "revoked");
    assert_eq!(service["code"]["concept"]["coding"][0]["code"], "76164006");
    assert_eq!(service["performer"][0]["display"], "GREG HOUSE");
    let role = named("/supportingInformation/0/reference");
    assert_eq!(role["code"][0]["coding"][0]["code"], "placer-contact");
    assert_eq!(role["location"][0]["display"], "NORTH");
}

/// What a message tells of itself: who sent it, who did it, when and why.
#[test]
fn every_message_tells_of_itself() {
    let text = format!(
        "MSH|^~\\&|HIS^1.2^ISO|GH^1.2.3^ISO|HUB|OTHER|20260301080000+0100||ADT^A31^ADT_A05|1|P|2.5.1|||||||UNICODE UTF-8\rSFT|Maker|1.0|Product|7\r\
         EVN||20260301||01|9^CLERK^ANN|20260228|WARD^1.2.4^ISO\r{PID}"
    );
    let converted = convert(&real(), &text).unwrap();
    let provenance = &drafts(&converted, "Provenance")[0];
    assert_eq!(provenance["occurredDateTime"], "2026-02-28");
    assert_eq!(
        provenance["authorization"][0]["concept"]["coding"][0]["code"],
        "PATRQT"
    );
    assert_eq!(provenance["activity"]["coding"][0]["code"], "A31");
    // EVN-2 is a day: when the message was made is told to the second.
    assert_eq!(provenance["recorded"], "2026-03-01T08:00:00+01:00");
    let named = |pointer: &str| {
        let reference = provenance.pointer(pointer).and_then(Json::as_str);
        let draft = draft_index(reference.unwrap()).unwrap();
        Json::Object(converted.drafts[draft].body.clone())
    };
    assert_eq!(named("/location/reference")["name"], "WARD");
    assert_eq!(
        named("/agent/0/who/reference")["identifier"][1]["value"],
        "urn:oid:1.2.3"
    );
    assert_eq!(
        named("/agent/1/who/reference")["name"][0]["family"],
        "CLERK"
    );
    let header = named("/entity/0/what/reference");
    assert_eq!(header["source"]["name"], "HIS");
    // A character set where the language should be is none.
    assert!(header["language"].is_null());
    assert_eq!(header["source"]["endpointUrl"], "urn:oid:1.2");
    // A name is no address.
    let to = &header["destination"][0];
    assert_eq!(to["name"], "HUB");
    assert!(to["endpointUrl"].is_null());
    assert_eq!(to["_endpointUrl"]["extension"][0]["valueCode"], "unknown");
    assert_eq!(
        named("/entity/1/what/reference")["identifier"][0]["value"],
        "HIS"
    );
    assert_eq!(
        named("/entity/2/what/reference")["name"][0]["value"],
        "Product"
    );
}
