//! What a registration desk and a laboratory send, and what must come of it.

use crate::mllp::message;
use serde_json::{Value, json};

/// Registrations, stays, orders and results of four persons in October 2026 (and one visit in November), in the order they are sent.
pub fn messages() -> Vec<String> {
    let send = |kind: &str, id: &str, lines: &str| message(kind, id, lines);
    vec![
        // A girl of three: a visit, with all that a registration may tell.
        send(
            "ADT^A04^ADT_A01",
            "B1",
            "EVN|A04|20261005
             PID|1||G1^^^CAMP4^MR||Abebe^Sara||20230502|F|||Block 3^^Camp 4^^^ET
             NK1|1|Abebe^Hana|MTH||+251900000001
             PV1|1|O|OPD^^^CAMP4||||||||||||||||VG1^^^CAMP4^VN|||||||||||||||||||||||||20261005081500
             AL1|1|DA|7980^Penicillin^RXNORM|MO|Rash
             DG1|1||B50.9^Malaria^I10|||W
             ZPV|arrived on foot|2",
        ),
        // A man: two visits.
        send(
            "ADT^A04^ADT_A01",
            "B2",
            "EVN|A04|20261006
             PID|1||M1^^^CAMP4^MR||Tesfaye^Dawit||19850101|M
             PV1|1|O|OPD^^^CAMP4||||||||||||||||VM1^^^CAMP4^VN|||||||||||||||||||||||||20261006090000",
        ),
        send(
            "ADT^A04^ADT_A01",
            "B3",
            "EVN|A04|20261020
             PID|1||M1^^^CAMP4^MR||Tesfaye^Dawit||19850101|M
             PV1|1|O|OPD^^^CAMP4||||||||||||||||VM2^^^CAMP4^VN|||||||||||||||||||||||||20261020090000",
        ),
        // A woman: admitted, moved house, discharged.
        send(
            "ADT^A01^ADT_A01",
            "B4",
            "EVN|A01|20261007
             PID|1||W1^^^CAMP4^MR||Bekele^Meron||19900310|F|||Block 1^^Camp 4^^^ET||+251900000002
             PV1|1|I|WARD^1^2^CAMP4||||||||||||||||VW1^^^CAMP4^VN|||||||||||||||||||||||||20261007100000",
        ),
        send(
            "ADT^A08^ADT_A01",
            "B5",
            "EVN|A08|20261008
             PID|1||W1^^^CAMP4^MR||Bekele^Meron^Alem||19900310|F|||Block 9^^Camp 4^^^ET
             PV1|1|I|WARD^1^2^CAMP4||||||||||||||||VW1^^^CAMP4^VN|||||||||||||||||||||||||20261007100000",
        ),
        send(
            "ADT^A03^ADT_A03",
            "B6",
            "EVN|A03|20261009120000
             PID|1||W1^^^CAMP4^MR||Bekele^Meron^Alem||19900310|F|||Block 9^^Camp 4^^^ET
             PV1|1|I|WARD^1^2^CAMP4||||||||||||||||VW1^^^CAMP4^VN|||||||||||||||||||||||||20261007100000|20261009120000",
        ),
        // The girl's test is ordered, and is positive. The laboratory spells her name its own way.
        send(
            "ORM^O01^ORM_O01",
            "B7",
            "PID|1||G1^^^CAMP4^MR||ABEBE^SARA
             PV1|1|O|||||||||||||||||VG1^^^CAMP4^VN
             ORC|NW|PL1^DESK|||SC||||20261005083000
             OBR|1|PL1^DESK||70569-9^Malaria RDT^LN|||20261005083000
             NTE|1||Fever for two days",
        ),
        send(
            "ORU^R01^ORU_R01",
            "B8",
            "PID|1||G1^^^CAMP4^MR||ABEBE^S.||2023|F|||elsewhere
             ORC|RE|PL1^DESK|FL1^LAB||CM
             OBR|1|PL1^DESK|FL1^LAB|70569-9^Malaria RDT^LN|||20261005090000|||||||||||||||20261005091500||LAB|F
             NTE|1||Read after 15 minutes
             OBX|1|CWE|70569-9^Malaria RDT^LN||10828004^Positive^SCT||||||F|||20261005091500
             NTE|1||Faint line
             SPM|1|^SP1&LAB||BLDC^Capillary blood^HL70487|||||||||||||20261005090000",
        ),
        // The man's is negative: preliminary, final, and a preliminary one that comes late.
        send("ORU^R01^ORU_R01", "B9", &man_result("P", "10828004^Positive^SCT", "0930")),
        send("ORU^R01^ORU_R01", "B10", &man_result("F", "260385009^Negative^SCT", "0945")),
        send("ORU^R01^ORU_R01", "B11", &man_result("P", "10828004^Positive^SCT", "0935")),
        // The woman's haemoglobin, corrected.
        send("ORU^R01^ORU_R01", "B12", &haemoglobin("F", "9.1", "|L")),
        send("ORU^R01^ORU_R01", "B13", &haemoglobin("C", "12.40", "|")),
        // A visit of the next period.
        send(
            "ADT^A04^ADT_A01",
            "B14",
            "EVN|A04|20261101
             PID|1||N1^^^CAMP4^MR||Haile^Liya||20000101|F
             PV1|1|O|OPD^^^CAMP4||||||||||||||||VN1^^^CAMP4^VN|||||||||||||||||||||||||20261101000000",
        ),
    ]
}

fn man_result(status: &str, value: &str, time: &str) -> String {
    format!(
        "PID|1||M1^^^CAMP4^MR||Tesfaye^Dawit
         ORC|RE||FL2^LAB
         OBR|1||FL2^LAB|70569-9^Malaria RDT^LN|||20261006092000|||||||||||||||20261006{time}00||LAB|{status}
         OBX|1|CWE|70569-9^Malaria RDT^LN||{value}||||||{status}|||20261006092000"
    )
}

fn haemoglobin(status: &str, value: &str, flag: &str) -> String {
    let time = if status == "C" { "1300" } else { "1200" };
    format!(
        "PID|1||W1^^^CAMP4^MR||Bekele^Meron
         ORC|RE||FL3^LAB
         OBR|1||FL3^LAB|718-7^Hemoglobin^LN|||20261007110000|||||||||||||||20261007{time}00||LAB|{status}
         OBX|1|NM|718-7^Hemoglobin^LN||{value}|g/dL^^UCUM|12-16{flag}|||{status}|||20261007110000"
    )
}

/// What was sent becomes what REST search finds.
pub const END_STATE: &[(&str, &str, &str)] = &[
    ("GET Patient?_summary=count", "", "200 ; /total = 4"),
    ("GET Encounter?_summary=count", "", "200 ; /total = 5"),
    ("GET Observation?_summary=count", "", "200 ; /total = 3"),
    (
        "GET DiagnosticReport?_summary=count",
        "",
        "200 ; /total = 3",
    ),
    ("GET ServiceRequest?_summary=count", "", "200 ; /total = 3"),
    // A result tells nothing about who somebody is.
    (
        "GET Patient?identifier=G1",
        "",
        "200 ; /total = 1 ; /entry/0/resource/name/0/family = Abebe ; /entry/0/resource/birthDate = \"2023-05-02\" \
         ; /entry/0/resource/address/0/line/0 = Block 3 ; /entry/0/resource/contact/0/name/0/family absent \
         ; /entry/0/resource/contact/0/name/family = Abebe",
    ),
    // A08 tells what is new; what it does not tell stays.
    (
        "GET Patient?identifier=W1",
        "",
        "200 ; /total = 1 ; /entry/0/resource/name/0/given = [\"Meron\", \"Alem\"] ; /entry/0/resource/address/0/line/0 = Block 9 \
         ; /entry/0/resource/telecom/0/value = +251900000002",
    ),
    (
        "GET Encounter?patient.identifier=W1",
        "",
        "200 ; /total = 1 ; /entry/0/resource/status = completed \
         ; /entry/0/resource/actualPeriod/end = \"2026-10-09T12:00:00Z\"",
    ),
    (
        "GET Encounter?identifier=VM2",
        "",
        "200 ; /total = 1 ; /entry/0/resource/status = in-progress",
    ),
    (
        "GET AllergyIntolerance?patient.identifier=G1&code=7980",
        "",
        "200 ; /total = 1",
    ),
    (
        "GET Condition?patient.identifier=G1&code=B50.9",
        "",
        "200 ; /total = 1",
    ),
    ("GET Specimen?patient.identifier=G1", "", "200 ; /total = 1"),
    (
        "GET Observation?patient.identifier=G1&code=http://loinc.org|70569-9",
        "",
        "200 ; /total = 1 ; /entry/0/resource/status = final ; /entry/0/resource/note/0/text = Faint line \
         ; /entry/0/resource/valueCodeableConcept/coding/0/code = \"10828004\"",
    ),
    // The report answers the order that was placed.
    (
        "GET DiagnosticReport?patient.identifier=G1&based-on:ServiceRequest.identifier=PL1",
        "",
        "200 ; /total = 1",
    ),
    // A late preliminary result is no news.
    (
        "GET Observation?patient.identifier=M1&code=70569-9",
        "",
        "200 ; /total = 1 ; /entry/0/resource/status = final \
         ; /entry/0/resource/valueCodeableConcept/coding/0/code = \"260385009\"",
    ),
    // A correction takes the place of what it corrects, and of its flag.
    (
        "GET Observation?patient.identifier=W1&code=718-7",
        "",
        "200 ; /total = 1 ; /entry/0/resource/status = corrected ; /entry/0/resource/interpretation absent \
         ; /entry/0/resource/meta/versionId = \"2\" ; ~\"value\": 12.40",
    ),
];

/// What `dhis2 plan --period 2026-10` must say of these messages.
pub fn figures() -> Value {
    let value = |element: &str, combo: Option<&str>, value: &str| match combo {
        None => json!({"dataElement": element, "value": value}),
        Some(combo) => {
            json!({"dataElement": element, "categoryOptionCombo": combo, "value": value})
        }
    };
    json!([
        value("MALARIA_RDT_DONE", None, "2"),
        value("MALARIA_RDT_POSITIVE", None, "1"),
        value("OUTPATIENTS", None, "2"),
        value("OUTPATIENT_VISITS", Some("FEMALE_UNDER_5"), "1"),
        value("OUTPATIENT_VISITS", Some("MALE_5_AND_OVER"), "2"),
    ])
}

/// Messages that cannot be taken: what is sent, MSA-1, and where ERR says it is wrong.
pub fn broken() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let whole = message(
        "ADT^A04^ADT_A01",
        "X1",
        "PID|1||X1^^^CAMP4^MR||X^Y\nPV1|1|O",
    );
    let without_pid = message("ADT^A04^ADT_A01", "X2", "EVN|A04|2026\nPV1|1|O");
    let result_without_order = message(
        "ORU^R01^ORU_R01",
        "X3",
        "PID|1||X1^^^CAMP4^MR\nOBX|1|NM|1^a||1",
    );
    vec![
        (without_pid.into(), "AE", "|PID^1|"),
        (result_without_order.into(), "AE", "|OBR^1|"),
        (
            whole.replace("MSH|^~\\&", "MSH|^^\\&").into(),
            "AR",
            "|MSH^1^2|",
        ),
        (whole.replace("|X1|P|", "||P|").into(), "AR", "|MSH^1^10|"),
        (whole.replace("|2.5.1", "|3.0").into(), "AR", "|MSH^1^12|"),
        (
            whole.replace("|2.5.1", "|2.5.1||||||KLINGON").into(),
            "AR",
            "|MSH^1^18|",
        ),
        (vec![0xFF, 0x00, 0x9C, b'x', 0x80], "AR", "|MSH^1|"),
    ]
}
