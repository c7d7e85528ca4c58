//! Orders, results, schedules and documents through the real maps, as data: what a message says and where it stands afterwards.

use super::*;

/// The resource type, which of them, a pointer into it, what stands there (null: nothing).
type Expected = (&'static str, usize, &'static str, Json);

#[test]
fn messages_become_resources() {
    let mappings = real();
    let mut wrong = Vec::new();
    for (text, expected) in cases() {
        let converted =
            convert(&mappings, &text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        if !converted.unplaced.is_empty() {
            wrong.push(format!("{text}\nunplaced {:?}", converted.unplaced));
        }
        wrong.extend(differences(&converted, &expected).map(|one| format!("{text}\n{one}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// An analyzer that says in MSH-16 what its sample is, and whose barcode is OBR-2.
#[test]
fn a_control_of_an_analyzer_is_nobodys() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
    let mut files = read_folder(&folder).unwrap();
    files.push(File {
        path: "senders/BC.LAB.yaml".into(),
        bytes: b"set: { msh16: sample, barcode: OBR-2 }\n".to_vec(),
    });
    let mappings = Mappings::load(&files).unwrap();
    for (kind, people, category) in [
        ("0", 1, json!(null)),
        (
            "1",
            0,
            json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0369", "code": "C"}]}]),
        ),
        (
            "2",
            0,
            json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0369", "code": "Q"}]}]),
        ),
    ] {
        let text = format!(
            "MSH|^~\\&|BC|LAB|||20260301||ORU^R01|1|P|2.3.1||||{kind}||ASCII\rPID|1||7^^^A^MR\r\
             OBR|1|TUBE9||1^count^99\rOBX|1|NM|1^WBC^99||5|10*9/L|||||F"
        );
        let converted = convert(&mappings, &text).unwrap();
        let expected = [
            ("Observation", 0, "/category", category),
            ("Observation", 0, "/valueQuantity/value", json!(5)),
            ("Specimen", 0, "/identifier/0/value", json!("TUBE9")),
            ("ServiceRequest", 0, "", json!(null)),
        ];
        let wrong: Vec<String> = differences(&converted, &expected).collect();
        assert!(wrong.is_empty(), "{kind}: {}", wrong.join("\n"));
        assert_eq!(drafts(&converted, "Patient").len(), people, "{kind}");
    }
}

/// Without OBR-25 a report is what its results are.
#[test]
fn a_report_without_status_is_what_its_results_are() {
    let mappings = real();
    for (report, results, expect) in [
        ("", "F F", json!("final")),
        ("", "F P", json!("partial")),
        ("", "P I", json!("preliminary")),
        ("", "I", json!("registered")),
        ("", "F C", json!("corrected")),
        ("", "F A", json!("amended")),
        ("", "F X", json!("final")),
        ("", "X", json!("cancelled")),
        ("", "D", json!("entered-in-error")),
        ("", "", json!(null)),
        ("P", "F F", json!("preliminary")),
    ] {
        let mut text = message(
            "ORU^R01^ORU_R01",
            &format!("OBR|1||F1^L|1^a^L|||||||||||||||||||||{report}"),
        );
        for (index, status) in results.split_whitespace().enumerate() {
            text.push_str(&format!("\rOBX|1|NM|{index}^a^L||1||||||{status}"));
        }
        let converted = convert(&mappings, &text).unwrap();
        let report = converted.drafts.iter().map(|draft| &draft.body);
        let mut report = report.filter(|body| body["resourceType"] == "DiagnosticReport");
        let status = report.next().unwrap().get("status").cloned();
        assert_eq!(status.unwrap_or_default(), expect, "{text}");
    }
}

fn differences<'c>(
    converted: &'c Converted,
    expected: &'c [Expected],
) -> impl Iterator<Item = String> + 'c {
    expected.iter().filter_map(|(kind, which, pointer, value)| {
        let found = drafts(converted, kind);
        let got = found.get(*which).and_then(|body| body.pointer(pointer));
        let got = got.cloned().unwrap_or_default();
        (got != *value).then(|| format!("{kind} {which} {pointer}: {got}, not {value}"))
    })
}

fn message(trigger: &str, segments: &str) -> String {
    format!("{MSH}{trigger}|1|P|2.5.1\rPID|1||1^^^A^MR||X^Y\r{segments}")
}

fn cases() -> Vec<(String, Vec<Expected>)> {
    vec![
        (
            message(
                "OML^O21^OML_O21",
                "ORC|NW|P1^H|F1^L||||||20260301080000+0100|||7^WHO^ANNA^^^^^^H\rTQ1|1||BID||||20260301080000+0100|20260308080000+0100|S||with food\r\
                 OBR|1|P1^H|F1^L|718-7^Hb^LN|||||||G\rNTE|1||fasting\rDG1|1||D64^Anaemia^I10\rOBX|1|ST|1^q^99||yes\r\
                 SPM|1|S1&H^T1&L||BLD^Blood^HL70487|||||||||||||20260301|||Y",
            ),
            vec![
                ("ServiceRequest", 0, "/status", json!("active")),
                ("ServiceRequest", 0, "/intent", json!("reflex-order")),
                ("ServiceRequest", 0, "/priority", json!("stat")),
                (
                    "ServiceRequest",
                    0,
                    "/occurrenceTiming/repeat",
                    json!({"boundsPeriod": {"start": "2026-03-01T08:00:00+01:00", "end": "2026-03-08T08:00:00+01:00"},
                        "frequency": 2, "period": 1, "periodUnit": "d"}),
                ),
                (
                    "ServiceRequest",
                    0,
                    "/note",
                    json!([{"text": "fasting"}, {"text": "with food"}]),
                ),
                ("ServiceRequest", 0, "/requester/display", json!("ANNA WHO")),
                ("Practitioner", 0, "/identifier/0/value", json!("7")),
                ("Specimen", 0, "/status", json!("available")),
                ("Specimen", 0, "/identifier/0/value", json!("T1")),
                ("Specimen", 0, "/request/0/reference", json!("urn:draft:4")),
                ("Condition", 0, "/code/coding/0/code", json!("D64")),
            ],
        ),
        // What was observed of a container does not end the order; the next one is no result of before.
        (
            message(
                "OML^O21^OML_O21",
                "ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\rSPM|1|S1&H||BLD\rSAC|||BC77\rOBX|1|ST|3^full^L||yes\rORC|NW|P2^H\rOBR|2|P2^H||2^b^L\rSPM|1|S2&H||BLD",
            ),
            vec![
                (
                    "ServiceRequest",
                    2,
                    "/code/concept/coding/0/code",
                    json!("2"),
                ),
                ("Specimen", 1, "/identifier/0/value", json!("S2")),
                (
                    "Observation",
                    0,
                    "/specimen/reference",
                    json!("urn:draft:3"),
                ),
            ],
        ),
        // Where somebody read it is a place (NDL.4 to .11 are a PL).
        (
            message(
                "ORU^R01^ORU_R01",
                "OBR|1|P1^H|F1^L|718-7^Hb^LN|||||||||||||||||||||F|||||||7&WHO&ANNA^20260301^^W1^2^3^H",
            ),
            vec![
                (
                    "PractitionerRole",
                    0,
                    "/location/0/display",
                    json!("W1 2 3"),
                ),
                ("Location", 3, "/name", json!("3")),
            ],
        ),
        (
            message(
                "OML^O33^OML_O33",
                "SPM|1|S1&H||BLD\rSAC|||BC77\rORC|NW|P1^H\rOBR|1|P1^H||1^a^L\rORC|NW|P2^H\rOBR|2|P2^H||2^b^L",
            ),
            vec![
                (
                    "ServiceRequest",
                    1,
                    "/code/concept/coding/0/code",
                    json!("2"),
                ),
                (
                    "ServiceRequest",
                    0,
                    "/specimen/0/reference",
                    json!("urn:draft:2"),
                ),
                (
                    "ServiceRequest",
                    1,
                    "/specimen/0/reference",
                    json!("urn:draft:2"),
                ),
                ("Device", 0, "/identifier/0/value", json!("BC77")),
            ],
        ),
        (
            message(
                "OUL^R22^OUL_R22",
                "SPM|1|S1&H||BLD|||||||Q\rOBR|1|||1^a^L\rORC|OK\rOBX|1|NM|1^a^L||5|mg^mg^UCUM|||||F|||20260301080000||||AN1^LAB\rNTE|1||x",
            ),
            vec![
                (
                    "Observation",
                    0,
                    "/specimen/reference",
                    json!("urn:draft:1"),
                ),
                ("Observation", 0, "/valueQuantity/value", json!(5)),
                ("Observation", 0, "/device/reference", json!("urn:draft:2")),
                ("Specimen", 0, "/role/0/coding/0/code", json!("Q")),
                (
                    "DiagnosticReport",
                    0,
                    "/result/0/reference",
                    json!("urn:draft:3"),
                ),
            ],
        ),
        (
            message(
                "ORU^W01^ORU_W01",
                "OBR|1||F1^L|1^ecg^L\rOBX|1|NA|2^lead^L||1^-2^^4.5|mV",
            ),
            vec![(
                "Observation",
                0,
                "/valueSampledData",
                json!({"origin": {"value": 0, "unit": "mV"}, "intervalUnit": "1", "dimensions": 1, "data": "1 -2 E 4.5"}),
            )],
        ),
        (
            message(
                "RDE^O11^RDE_O11",
                "ORC|NW|P1^H\rRXE||N1^Drug^NDC|5||mg^mg^UCUM|TAB^Tablet||||10|TAB|3\rTQ1|1||TID\rRXR|PO^Oral\rRXC|B|W1^Water^99|100|ml",
            ),
            vec![
                ("MedicationRequest", 0, "/status", json!("active")),
                ("MedicationRequest", 0, "/intent", json!("filler-order")),
                (
                    "MedicationRequest",
                    0,
                    "/medication/concept/coding/0/code",
                    json!("N1"),
                ),
                (
                    "MedicationRequest",
                    0,
                    "/dosageInstruction/0/timing/repeat/frequency",
                    json!(3),
                ),
                (
                    "MedicationRequest",
                    0,
                    "/dosageInstruction/0/doseAndRate/0/doseQuantity/value",
                    json!(5),
                ),
                (
                    "MedicationRequest",
                    0,
                    "/dosageInstruction/0/route/coding/0/code",
                    json!("PO"),
                ),
                (
                    "MedicationRequest",
                    0,
                    "/dispenseRequest/numberOfRepeatsAllowed",
                    json!(3),
                ),
                (
                    "Medication",
                    0,
                    "/ingredient/0/strengthQuantity",
                    json!({"value": 100, "unit": "ml"}),
                ),
            ],
        ),
        (
            message(
                "RDS^O13^RDS_O13",
                "ORC|RE|P1^H\rRXE||N1^Drug^NDC|5||mg\rRXD|1|N1^Drug^NDC|20260301090000|10|TAB||RX7",
            ),
            vec![
                ("MedicationDispense", 0, "/status", json!("completed")),
                (
                    "MedicationDispense",
                    0,
                    "/authorizingPrescription/0/reference",
                    json!("urn:draft:1"),
                ),
                (
                    "MedicationDispense",
                    0,
                    "/quantity",
                    json!({"value": 10, "unit": "TAB"}),
                ),
            ],
        ),
        (
            message(
                "RAS^O17^RAS_O17",
                "ORC|RE|P1^H\rRXA|0|1|20260301090000||N1^Drug^NDC|5|mg|||||||||||||RE\rRXA|0|2|20260301210000||N1^Drug^NDC|5|mg",
            ),
            vec![
                ("MedicationAdministration", 0, "/status", json!("not-done")),
                ("MedicationAdministration", 1, "/status", json!("completed")),
                (
                    "MedicationAdministration",
                    1,
                    "/occurencePeriod/start",
                    json!("2026-03-01T21:00:00Z"),
                ),
                (
                    "MedicationAdministration",
                    1,
                    "/dosage/dose/value",
                    json!(5),
                ),
            ],
        ),
        (
            format!(
                "{MSH}SIU^S12^SIU_S12|1|P|2.5.1\rSCH|A1^H|B2^L|||||CHECKUP^Checkup^HL70276|NORMAL|30|min|^^^20260310090000+0100||||||||||||||Booked\r\
                 NTE|1||bring papers\rPID|1||1^^^A^MR\rRGS|1|A\rAIS|1|A|S1^Scan^99|20260310090000+0100|||30|min\rNTE|1||not the left arm\r\
                 AIL|1|A|R1^^^GH\rAIP|1|A|7^WHO^ANNA^^^^^^H|D^Doctor\rAIP|2|D|8^GONE"
            ),
            vec![
                ("Appointment", 0, "/status", json!("booked")),
                (
                    "Appointment",
                    0,
                    "/start",
                    json!("2026-03-10T09:00:00+01:00"),
                ),
                ("Appointment", 0, "/end", json!("2026-03-10T09:30:00+01:00")),
                ("Appointment", 0, "/minutesDuration", json!(30)),
                (
                    "Appointment",
                    0,
                    "/serviceType/0/concept/coding/0/code",
                    json!("S1"),
                ),
                (
                    "Appointment",
                    0,
                    "/participant/1/actor/display",
                    json!("ANNA WHO"),
                ),
                (
                    "Appointment",
                    0,
                    "/participant/2/actor/display",
                    json!("R1"),
                ),
                ("Appointment", 0, "/participant/3", json!(null)),
                ("Appointment", 0, "/note/1/text", json!("not the left arm")),
            ],
        ),
        (
            format!(
                "{MSH}SIU^S15^SIU_S12|1|P|2.5.1\rSCH|A1^H||||||||||||||||||||||||Booked\rPID|1||1^^^A^MR"
            ),
            vec![
                ("Appointment", 0, "/status", json!("cancelled")),
                ("Appointment", 0, "/participant/0/status", json!("declined")),
            ],
        ),
        (
            format!(
                "{MSH}SIU^S23^SIU_S12|1|P|2.5.1\rSCH|A1^H|||||STAFF^Meeting\rRGS|1\rAIL|1|A|R1^^^GH|||20260310090000+0100|||2|h"
            ),
            vec![
                ("Slot", 0, "/status", json!("busy-unavailable")),
                ("Slot", 0, "/end", json!("2026-03-10T11:00:00+01:00")),
                ("Schedule", 0, "/actor/0/display", json!("R1")),
            ],
        ),
        (
            message(
                "MDM^T10^MDM_T02",
                "EVN|T10|20260301\rPV1|1|O\rTXA|1|CN^Consultation|TX||||||7^WHO^ANNA^^^^^^H|||D2^H|D1^H||||LA\rOBX|1|TX|1^n^L||first line\rOBX|2|TX|1^n^L||a^b",
            ),
            vec![
                ("DocumentReference", 0, "/status", json!("superseded")),
                ("DocumentReference", 1, "/status", json!("current")),
                ("DocumentReference", 1, "/docStatus", json!("final")),
                (
                    "DocumentReference",
                    1,
                    "/relatesTo/0/code/coding/0/code",
                    json!("replaces"),
                ),
                (
                    "DocumentReference",
                    1,
                    "/content",
                    json!([{"attachment": {"contentType": "text/plain", "data": "Zmlyc3QgbGluZQphXmI="}}]),
                ),
            ],
        ),
        (
            message(
                "MDM^T01^MDM_T02",
                "EVN|T01|20260301\rPV1|1|O\rTXA|1|CN||||||||||D2^H",
            ),
            vec![(
                "DocumentReference",
                0,
                "/content/0/attachment/title",
                json!("D2"),
            )],
        ),
        (
            message("ORM^O01^ORM_O01", "ORC|DC|P1^H\rRXO|N1^Drug^NDC|5||mg"),
            vec![
                ("MedicationRequest", 0, "/status", json!("stopped")),
                ("ServiceRequest", 0, "", json!(null)),
            ],
        ),
        (
            message(
                "ORU^R01^ORU_R01",
                "OBR|1||F1^L|1^a^L||||||||||20260301|||||||||||F\rOBX|1|TX|||line 1~line 2||||||F\rOBX|2|NM|2^b^L||5~6|mg|1-9|||||F",
            ),
            vec![
                ("Observation", 0, "/code/text", json!("not coded")),
                ("Observation", 0, "/valueString", json!("line 1\nline 2")),
                ("Observation", 1, "/valueQuantity", json!(null)),
                (
                    "Observation",
                    1,
                    "/component/0/valueQuantity/value",
                    json!(5),
                ),
                (
                    "Observation",
                    1,
                    "/component/1/valueQuantity/value",
                    json!(6),
                ),
                (
                    "Observation",
                    1,
                    "/component/1/referenceRange/0/text",
                    json!("1-9"),
                ),
                ("Observation", 1, "/referenceRange", json!(null)),
                // When a specimen came, without what it is: the report's alone.
                ("Specimen", 0, "/receivedTime", json!("2026-03-01")),
                (
                    "DiagnosticReport",
                    0,
                    "/specimen/0/reference",
                    json!("urn:draft:2"),
                ),
                ("Observation", 1, "/specimen", json!(null)),
            ],
        ),
        (
            message(
                "ORU^R01^ORU_R01",
                "OBR|1|||1^a^L||||||||||||^WHO^ANNA||||||||||||||||7&READ&RAY^20260301\r\
                 OBX|1|NM|2^b^L||5||||||F||||||||||||LAB A|1 MAIN^^LYON|^BOSS^BO",
            ),
            vec![
                (
                    "DiagnosticReport",
                    0,
                    "/basedOn/0/reference",
                    json!("urn:draft:2"),
                ),
                ("ServiceRequest", 0, "/identifier", json!(null)),
                ("ServiceRequest", 0, "/requester/display", json!("ANNA WHO")),
                ("Organization", 0, "/name", json!("LAB A")),
                (
                    "Observation",
                    0,
                    "/performer/0",
                    json!({"reference": "urn:draft:3", "display": "LAB A"}),
                ),
                ("Organization", 0, "/contact/0/address/city", json!("LYON")),
                (
                    "PractitionerRole",
                    0,
                    "/code/0/coding/0/code",
                    json!("MDIR"),
                ),
                ("PractitionerRole", 1, "/period/start", json!("2026-03-01")),
                (
                    "PractitionerRole",
                    1,
                    "/practitioner/display",
                    json!("RAY READ"),
                ),
            ],
        ),
        (
            message(
                "ORM^O01^ORM_O01",
                "ORC|RP|P1^H\rOBR|1|P1^H||1^a^L\rORC|RO|P2^H\rOBR|1|P2^H||2^b^L||||||||||||||placer 1\rCTI|T7",
            ),
            vec![
                ("ServiceRequest", 0, "/status", json!("revoked")),
                (
                    "ServiceRequest",
                    1,
                    "/replaces/0/reference",
                    json!("urn:draft:1"),
                ),
                (
                    "ServiceRequest",
                    1,
                    "/note",
                    json!([{"authorString": "Placer Field 1", "text": "placer 1"}]),
                ),
                ("ResearchStudy", 0, "/identifier/0/value", json!("T7")),
            ],
        ),
        (
            message(
                "OML^O21^OML_O21",
                "ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\rSPM|1|S1&H|S0&H~S9&H|BLD||EDTA^EDTA|||||||||AMB^Ambient||||||||||||T1^Tube",
            ),
            vec![
                ("Specimen", 0, "/parent/1/identifier/value", json!("S9")),
                (
                    "Specimen",
                    0,
                    "/collection/extension/0/valueCodeableConcept/coding/0/code",
                    json!("AMB"),
                ),
                ("Substance", 0, "/code/concept/coding/0/code", json!("EDTA")),
                ("Device", 0, "/type/0/coding/0/code", json!("T1")),
            ],
        ),
        (
            format!(
                "{MSH}OUL^R22^OUL_R22|1|P|2.5.1\rSPM|1|Q1&L||CTRL|||||||Q\rINV|M1^Control A||CO^Control|||||||||20270101||||LOT7\r\
                 OBR|1|||1^a^L\rOBX|1|NM|1^a^L||5||||||F"
            ),
            vec![
                ("Specimen", 0, "/subject/reference", json!("urn:draft:0")),
                ("Substance", 0, "/identifier/0/value", json!("LOT7")),
                ("Substance", 0, "/expiry", json!("2027-01-01")),
            ],
        ),
        (
            message(
                "RDE^O11^RDE_O11",
                "ORC|NW|P1^H\rRXO|N0^Asked^NDC|2||mg||||||||||||||||||||||||5\rRXR|PO^Oral\rRXE||N1^Given^NDC|5||mg\rRXR|IV^Intravenous",
            ),
            vec![
                ("MedicationRequest", 0, "/intent", json!("original-order")),
                (
                    "MedicationRequest",
                    0,
                    "/medication/concept/coding/0/code",
                    json!("N0"),
                ),
                (
                    "MedicationRequest",
                    0,
                    "/dispenseRequest/dispenseInterval/value",
                    json!(5),
                ),
                ("MedicationRequest", 1, "/intent", json!("filler-order")),
                (
                    "MedicationRequest",
                    1,
                    "/basedOn/0/reference",
                    json!("urn:draft:1"),
                ),
                (
                    "MedicationRequest",
                    1,
                    "/dosageInstruction/0/route/coding/0/code",
                    json!("IVINJ"),
                ),
            ],
        ),
        (
            message(
                "ORM^O01^ORM_O01",
                "ORC|CA|P1^H||||||||||7^WHO^ANNA^^^^^^H\rRQD|1|||I4^Implant|2|EA|||W1^Ward|20260302\rDG1|1||D64^Anaemia^I10",
            ),
            vec![
                ("ServiceRequest", 0, "", json!(null)),
                ("SupplyRequest", 0, "/status", json!("cancelled")),
                (
                    "SupplyRequest",
                    0,
                    "/quantity",
                    json!({"value": 2, "unit": "EA"}),
                ),
                (
                    "SupplyRequest",
                    0,
                    "/reason/0/reference/reference",
                    json!("urn:draft:1"),
                ),
                ("SupplyRequest", 0, "/deliverTo/display", json!("Ward")),
            ],
        ),
        (
            message(
                "ORU^R01^ORU_R01",
                "PV1|1|O|W1^^^GH\rOBR|1||F1^L|1^a^L\rOBX|1|NM|1^a^L||5||||||F",
            ),
            vec![
                (
                    "DiagnosticReport",
                    0,
                    "/encounter/reference",
                    json!("urn:draft:3"),
                ),
                ("Encounter", 0, "/class/0/coding/0/code", json!("AMB")),
                ("Observation", 0, "/encounter", json!(null)),
            ],
        ),
        (
            message(
                "OML^O21^OML_O21",
                "ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\rPV1|1|O|||||||||||||||||V7^^^H\rORC|RE|P0^H\rOBR|1|P0^H||2^b^L\rOBX|1|NM|2^b^L||5||||||F",
            ),
            vec![
                ("Encounter", 0, "/identifier/0/value", json!("V7")),
                ("Encounter", 0, "/status", json!("unknown")),
                ("ServiceRequest", 1, "/identifier/0/value", json!("P0")),
                ("ServiceRequest", 1, "/status", json!("completed")),
                ("ServiceRequest", 2, "", json!(null)),
                ("DiagnosticReport", 0, "/code/coding/0/code", json!("2")),
            ],
        ),
        (
            message(
                "ORM^O01^ORM_O01",
                "ORC|NW|P1^H\rOBR|1|P1^H||1^a^L\rBLG|||AC9^^^H",
            ),
            vec![("Account", 0, "/identifier/0/value", json!("AC9"))],
        ),
    ]
}
