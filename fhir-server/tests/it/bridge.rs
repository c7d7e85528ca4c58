//! From MLLP to a DHIS2 figure, with the program itself and the maps of this repository: what a registration desk and a laboratory send
//! is acknowledged, accounted for line by line, found by search, and counted.

use crate::mllp::{Sender, message, msa};
use crate::process::{command, directory, mappings, serve, terminate};
use crate::site::Site;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Registrations, stays, orders and results of four persons in October 2026 (and one visit in November), in the order they are sent.
fn messages() -> Vec<String> {
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
const END_STATE: &[(&str, &str, &str)] = &[
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
fn figures() -> Value {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mllp_to_a_figure() {
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let site = running.site.clone();
    let mut sender = Sender::connect(&running.mllp_addr).await.unwrap();
    let messages = messages();
    for message in &messages {
        accepted(&mut sender, message).await;
    }
    for message in &messages {
        check_lines(&site, message).await;
    }
    site.table(END_STATE).await;

    let before = site.resources().await;
    for message in &messages {
        accepted(&mut sender, message).await;
    }
    let after = site.resources().await;
    for (key, resource) in &after {
        assert_eq!(before.get(key), Some(resource), "{key} is not as it was");
    }
    assert_eq!(before.len(), after.len());

    check_figures(&data_dir);
    terminate(&running.child);
    running.child.wait().unwrap();
}

async fn accepted(sender: &mut Sender, message: &str) {
    let acknowledgement = sender.send(message).await.unwrap();
    let control_id = message.split('|').nth(9).unwrap();
    assert_eq!(
        msa(&acknowledgement),
        ("AA", control_id),
        "{acknowledgement}"
    );
}

/// Every line of a message is in a resource, or named as kept.
async fn check_lines(site: &Site, message: &str) {
    let control_id = message.split('|').nth(9).unwrap();
    let task = journal_entry(site, control_id, "applied").await;
    let numbers = |code: &str| -> Vec<usize> {
        let texts = outputs(&task, code).filter_map(|output| output["valueString"].as_str());
        let lines = texts.flat_map(|text| text.split(", "));
        lines
            .map(|line| line.split(' ').next().unwrap().parse().unwrap())
            .collect()
    };
    let mut lines = numbers("lines-mapped");
    let kept: Vec<_> = outputs(&task, "lines-kept")
        .filter_map(|output| output["valueString"].as_str())
        .flat_map(|text| text.split(", "))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    // A line that no map knows is kept and named; EVN-2 is used only where a stay ends.
    assert!(
        kept.iter().all(|name| matches!(*name, "EVN" | "ZPV")),
        "{control_id}: {kept:?}"
    );
    lines.extend(numbers("lines-kept"));
    lines.sort_unstable();
    let all: Vec<usize> = (1..=message.trim().split('\r').count()).collect();
    assert_eq!(lines, all, "{control_id}");
}

fn outputs<'a>(task: &'a Value, code: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = task["output"].as_array().into_iter().flatten();
    all.filter(move |output| output["type"]["coding"][0]["code"] == code)
}

/// The one Task of a message, and that it ended so.
async fn journal_entry(site: &Site, control_id: &str, ending: &str) -> Value {
    let request = format!("GET Task?identifier=urn:hl7v2:message|DESK:CAMP4%23{control_id}");
    let expect =
        format!("200 ; /total = 1 ; /entry/0/resource/businessStatus/coding/0/code = {ending}");
    let found = site.check(&request, "", &expect).await.json();
    found["entry"][0]["resource"].clone()
}

fn check_figures(data_dir: &Path) {
    let output = command(data_dir)
        .args(["dhis2", "plan", "--period", "2026-10"])
        .args(&mappings()[2..])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, expect) in [
        ("dataSet", "OPD_MONTHLY"),
        ("period", "202610"),
        ("orgUnit", "THIS_SITE"),
    ] {
        assert_eq!(planned[name], expect, "{planned:#}");
    }
    assert_eq!(planned["dataValues"], figures(), "{planned:#}");
}

/// Messages that cannot be taken: what is sent, MSA-1, and where ERR says it is wrong.
fn broken() -> Vec<(Vec<u8>, &'static str, &'static str)> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_messages_and_replay() {
    let (_kept, data_dir) = directory();
    let mut arguments = mappings();
    arguments.extend(["--mllp-message-max-bytes", "20000"].map(str::to_string));
    let mut running = serve(&data_dir, &arguments);
    let site = running.site.clone();
    let mut sender = Sender::connect(&running.mllp_addr).await.unwrap();
    for (message, code, place) in broken() {
        let acknowledgement = sender.send(&message).await.unwrap();
        assert_eq!(msa(&acknowledgement).0, code, "{acknowledgement}");
        assert!(acknowledgement.contains(place), "{acknowledgement}");
    }
    // What is too long is not kept; what comes after it is served, on the same connection or the next.
    let long = message(
        "ADT^A04^ADT_A01",
        "X9",
        &format!("PID|1||X9^^^CAMP4^MR||{}", "X".repeat(30_000)),
    );
    let mut other = Sender::connect(&running.mllp_addr).await.unwrap();
    let acknowledgement = other.send(&long).await.unwrap();
    assert_eq!(msa(&acknowledgement).0, "AR", "{acknowledgement}");
    let count = broken().len();
    let failed = format!("200 ; /total = {count}");
    site.table(&[
        ("GET Task?status=failed&_summary=count", "", &failed),
        ("GET Binary?_summary=count", "", &failed),
        ("GET Patient?_summary=count", "", "200 ; /total = 0"),
    ])
    .await;

    // One visit was registered twice; a message that names both numbers cannot be placed until one is gone.
    let visit = |id: &str, number: &str, alternate: &str| {
        let lines = format!(
            "PID|1||R1^^^CAMP4^MR||Abebe^Sara
             PV1|1|O|||||||||||||||||{number}^^^CAMP4^VN|||||||||||||||||||||||||20261005||||||{alternate}"
        );
        message("ADT^A04^ADT_A01", id, &lines)
    };
    accepted(&mut sender, &visit("R1", "V1", "")).await;
    accepted(&mut sender, &visit("R2", "V2", "")).await;
    let both = visit("R3", "V1", "V2^^^CAMP4^VN");
    let acknowledgement = sender.send(&both).await.unwrap();
    assert_eq!(msa(&acknowledgement), ("AE", "R3"), "{acknowledgement}");
    assert!(acknowledgement.contains("205^"), "{acknowledgement}");
    let task = journal_entry(&site, "R3", "refused").await;
    let task_id = task["id"].as_str().unwrap();
    let replay = || {
        let output = command(&data_dir)
            .args(["hl7v2", "replay", task_id])
            .args(&mappings()[2..])
            .output();
        output.unwrap()
    };
    assert!(!replay().status.success());
    journal_entry(&site, "R3", "refused").await;

    let second = site
        .check("GET Encounter?identifier=V2", "", "200 ; /total = 1")
        .await;
    let second = second.json()["entry"][0]["resource"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    site.check(&format!("DELETE Encounter/{second}"), "", "204")
        .await;
    let replayed = replay();
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&replayed.stdout), "AA\n");
    check_lines(&site, &both).await;
    site.table(&[
        ("GET Encounter?_summary=count", "", "200 ; /total = 1"),
        (
            "GET Encounter?identifier=V1&identifier=V2",
            "",
            "200 ; /total = 1",
        ),
    ])
    .await;
    // The sender who sends it again hears that it is done.
    accepted(&mut sender, &both).await;
    assert!(
        !replay().status.success(),
        "an applied message is not run again"
    );
    terminate(&running.child);
    running.child.wait().unwrap();
}

/// A client of others, where `make clients` has installed it.
fn third_party(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../.cache/clients")
        .join(path);
    path.exists().then_some(path)
}

/// Every message of this file through the clients of PyPI `hl7` and npm `simple-hl7`, which share no code with ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_others() {
    let (Some(mllp_send), Some(simple_hl7)) = (
        third_party("venv/bin/mllp_send"),
        third_party("node_modules/simple-hl7"),
    ) else {
        println!("skipped: the third-party clients are not installed (make clients)");
        return;
    };
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let port = running.mllp_addr.rsplit(':').next().unwrap().to_owned();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), messages().concat().replace('\r', "\r\n")).unwrap();
    let mut python = Command::new(mllp_send);
    python
        .args(["-p", &port, "--loose", "-f"])
        .arg(file.path())
        .arg("127.0.0.1");
    check_answers(&mut python);
    running.site.table(END_STATE).await;

    let script = r"
        const hl7 = require(process.argv[1]);
        const text = require('fs').readFileSync(process.argv[3], 'latin1');
        const messages = text.replaceAll('\n', '').split(/(?=MSH\|)/);
        const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port: Number(process.argv[2]), keepalive: true });
        const parser = new hl7.Parser({ segmentSeperator: '\r' });
        const next = () => {
            if (!messages.length) return client.close();
            client.send(parser.parse(messages.shift().trim()), (error, ack) => {
                console.log(error || ack.toString());
                setImmediate(next);
            });
        };
        next();
    ";
    let mut node = Command::new("node");
    node.args(["-e", script])
        .arg(simple_hl7)
        .arg(&port)
        .arg(file.path());
    check_answers(&mut node);
    running.site.table(END_STATE).await;
    terminate(&running.child);
    running.child.wait().unwrap();
}

/// The client prints an AA for each message, in order.
fn check_answers(client: &mut Command) {
    let output = client.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{said}");
    let answers: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("MSA"))
        .collect();
    let expect: Vec<_> = (1..=messages().len())
        .map(|n| format!("MSA|AA|B{n}"))
        .collect();
    assert_eq!(answers, expect);
}
