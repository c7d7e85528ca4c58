//! Whole messages against a server in memory: end states, repeats, order, conflicts, refusals.

use super::*;
use crate::fake_server::{FakeServer, put};
use crate::replay::ReplayError;
use serde_json::{Value as Json, json};
use std::path::Path;

#[path = "known_tests.rs"]
mod known;
#[path = "relation_tests.rs"]
mod relations;
#[path = "replay_tests.rs"]
mod replays;
#[path = "specimen_process_tests.rs"]
mod specimens;

fn processor(server: &FakeServer) -> Processor {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
    let files = crate::mapping::read_folder(&folder).unwrap();
    let mappings = Arc::new(Mappings::load(&files).unwrap());
    Processor::new(server.submit(), mappings, SiteSecret::new([3; 32]).unwrap())
}

fn msh(kind: &str, control: &str) -> String {
    format!("MSH|^~\\&|HIS|GH|FHIR|HUB|20260301080000+0100||{kind}|{control}|P|2.5.1\r")
}

const PID: &str = "PID|1||100001^^^GH&1.2.3.4&ISO^MR||TEST^ALICE||19800229|F\r";

fn adt(event: &str, control: &str, rest: &str) -> String {
    format!(
        "{}EVN|{event}|20260301080000+0100\r{PID}PV1|1|I|W1^101^A||||||||||||||||V9^^^GH&1.2.3.4&ISO^VN{rest}",
        msh(&format!("ADT^{event}"), control)
    )
}

fn oru(control: &str, hour: &str, report: &str, results: &[(&str, &str, &str)]) -> String {
    let mut text = format!(
        "{}{PID}ORC|RE|O1^HIS|F1^LAB\rOBR|1|O1^HIS|F1^LAB|24320-4^Chem^LN|||20260301083000+0100|||||||||||||||202603011{hour}0000+0100||CH|{report}\r",
        msh("ORU^R01", control)
    );
    for (code, value, status) in results {
        text.push_str(&format!(
            "OBX|1|NM|{code}^x^LN||{value}|mmol/L^^UCUM|3.5-5.1|H|||{status}\r"
        ));
    }
    text
}

/// Sends messages and says the codes.
async fn send(processor: &Processor, messages: &[String]) -> Vec<&'static str> {
    let mut codes = Vec::new();
    for message in messages {
        codes.push(processor.answer(message.as_bytes()).await.code.code());
    }
    codes
}

#[tokio::test]
async fn a_visit_from_admission_to_discharge() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let admitted = "|||||||||||||||||||||||||20260301080000+0100";
    let codes = send(
        &processor,
        &[
            adt("A01", "1", admitted),
            adt("A03", "2", &format!("{admitted}|20260305120000+0100")),
            // Neither an update nor a late admission opens the visit again.
            adt("A08", "3", admitted),
            adt("A01", "4", admitted).replace("ALICE", "ALICIA"),
        ],
    )
    .await;
    assert_eq!(codes, ["AA"; 4]);
    let patients = server.all("Patient");
    assert_eq!(
        (patients.len(), &patients[0]["name"][0]["given"]),
        (1, &json!(["ALICIA"]))
    );
    let encounters = server.all("Encounter");
    assert_eq!(encounters.len(), 1);
    assert_eq!(encounters[0]["status"], "completed");
    assert_eq!(
        encounters[0]["actualPeriod"],
        json!({"start": "2026-03-01T08:00:00+01:00", "end": "2026-03-05T12:00:00+01:00"})
    );
    assert_eq!(
        encounters[0]["subject"]["reference"],
        format!("Patient/{}", patients[0]["id"].as_str().unwrap())
    );
    assert_eq!(
        (server.all("Task").len(), server.all("Binary").len()),
        (4, 4)
    );
}

#[tokio::test]
async fn a_repeat_needs_nothing_but_the_journal() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let messages = [adt("A01", "1", ""), adt("A01", "2", "")];
    assert_eq!(send(&processor, &messages[..1]).await, ["AA"]);
    *server.cannot_search.lock().unwrap() = Some("Patient");
    assert_eq!(send(&processor, &messages).await, ["AA", "AR"]);
}

#[tokio::test]
async fn results_are_corrected_and_never_go_back() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let codes = send(
        &processor,
        &[
            oru("1", "0", "P", &[("2823-3", "5.9", "P")]),
            oru(
                "2",
                "1",
                "F",
                &[("2823-3", "5.8", "F"), ("2951-2", "139", "F")],
            ),
            oru(
                "3",
                "2",
                "C",
                &[("2823-3", "4.80", "C"), ("2951-2", "139", "D")],
            )
            .replace("|H|", "||"),
        ],
    )
    .await;
    assert_eq!(codes, ["AA"; 3]);
    let late = processor
        .answer(oru("4", "0", "P", &[("2823-3", "5.9", "P")]).as_bytes())
        .await;
    assert_eq!(late.code, AckCode::AA);
    assert!(late.errors.iter().any(|error| error.text.contains("older")));
    let reports = server.all("DiagnosticReport");
    assert_eq!(
        (reports.len(), &reports[0]["status"]),
        (1, &json!("corrected"))
    );
    assert_eq!(reports[0]["meta"]["versionId"], "3");
    assert_eq!(reports[0]["result"].as_array().unwrap().len(), 2);
    let observations = server.all("Observation");
    let of = |code: &str| {
        let found = observations
            .iter()
            .find(|o| o["code"]["coding"][0]["code"] == code);
        found.unwrap().clone()
    };
    assert_eq!(observations.len(), 2);
    assert_eq!(of("2823-3")["valueQuantity"]["value"].to_string(), "4.80");
    assert_eq!(
        of("2823-3")["valueQuantity"]["system"],
        "http://unitsofmeasure.org"
    );
    assert_eq!(of("2951-2")["status"], "entered-in-error");
    // The corrected value is normal: the flag of the old one is gone.
    assert_eq!(of("2823-3").get("interpretation"), None);
    assert_eq!(server.all("ServiceRequest").len(), 1);
}

#[tokio::test]
async fn a_repeat_gets_the_stored_answer_and_writes_nothing() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let message = adt("A01", "1", "").replace("|F\r", "|Q\r");
    let first = processor.answer(message.as_bytes()).await;
    assert_eq!(first.errors.len(), 1, "{first:?}");
    let before = server.rows.lock().unwrap().clone();
    let again = message.replace("|20260301080000+0100||ADT", "|20260301090000+0100||ADT");
    assert_eq!(processor.answer(again.as_bytes()).await, first);
    assert_eq!(*server.rows.lock().unwrap(), before);
    let other = processor.answer(adt("A01", "1", "").as_bytes()).await;
    assert!(
        other
            .errors
            .iter()
            .any(|error| error.code == ErrorCode::DuplicateKey)
    );
    let tasks = server.all("Task");
    let entries = tasks.iter().filter(|task| ending(task).is_some());
    assert_eq!(entries.count(), 2);
}

#[tokio::test]
async fn results_change_no_demographics_and_follow_a_merge() {
    let server = FakeServer::default();
    let processor = processor(&server);
    send(&processor, &[adt("A01", "1", "")]).await;
    let patient = server.all("Patient")[0].clone();
    let id = patient["id"].as_str().unwrap().to_owned();
    send(
        &processor,
        &[oru("2", "0", "F", &[("1-1", "5", "F")]).replace("ALICE", "OTHER")],
    )
    .await;
    assert_eq!(server.all("Patient")[0], patient);

    // The patient is merged away between our read and our write.
    server.meanwhile.lock().unwrap().push(Box::new(move |rows| {
        let mut merged = patient;
        merged["active"] = json!(false);
        merged["link"] =
            json!([{"other": {"reference": "Patient/survivor"}, "type": "replaced-by"}]);
        put(rows, &format!("Patient/{id}"), merged);
        put(
            rows,
            "Patient/survivor",
            json!({"resourceType": "Patient", "id": "survivor"}),
        );
    }));
    let codes = send(
        &processor,
        &[oru("3", "0", "F", &[("2-2", "5", "F")])
            .replace("F1^", "F2^")
            .replace("O1^", "O2^")],
    )
    .await;
    assert_eq!(codes, ["AA"]);
    let observations = server.all("Observation");
    let late = observations
        .iter()
        .find(|o| o["code"]["coding"][0]["code"] == "2-2")
        .unwrap();
    assert_eq!(late["subject"]["reference"], "Patient/survivor");
}

#[tokio::test]
async fn nothing_without_identity_stands_alone() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let message = oru("1", "0", "F", &[("1-1", "5", "F"), ("1-1", "6", "F")])
        .replace("100001^^^GH&1.2.3.4&ISO^MR", "");
    assert_eq!(send(&processor, &[message]).await, ["AA"]);
    assert_eq!(server.all("Patient").len(), 0);
    let observations = server.all("Observation");
    // The same code twice is two results.
    assert_eq!(observations.len(), 2);
    let inside = &observations[0]["contained"][0];
    assert_eq!(
        (&inside["resourceType"], &inside["name"][0]["family"]),
        (&json!("Patient"), &json!("TEST"))
    );
    assert_eq!(
        observations[0]["subject"]["reference"],
        format!("#{}", inside["id"].as_str().unwrap())
    );
}

/// A message of nobody is told of as any other: from whom, about what.
#[tokio::test]
async fn a_message_that_writes_nothing_has_a_provenance() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let message = format!("{}PID|1\rNK1|1|DOE^BOB\r", msh("ORU^R01", "1"));
    assert_eq!(send(&processor, &[message]).await, ["AA"]);
    assert_eq!(server.all("Patient").len(), 0);
    let (told, tasks) = (server.all("Provenance"), server.all("Task"));
    assert_eq!((told.len(), tasks.len()), (1, 1));
    let task = format!("Task/{}", tasks[0]["id"].as_str().unwrap());
    let target = told[0]["target"][0]["reference"].as_str().unwrap();
    assert!(target.starts_with(&task), "{target}");
    assert_eq!(told[0]["activity"]["coding"][0]["code"], "R01");
}

/// Who ordered has no number: the order contains them, for as long as it names them.
#[tokio::test]
async fn who_has_no_number_stays_with_the_order() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let orm = |control: &str, orderer: &str| {
        format!(
            "{}{PID}ORC|XO|O1^HIS||||||||||{orderer}\rOBR|1|O1^HIS||1-1^x^LN",
            msh("ORM^O01", control)
        )
    };
    let mut told = Vec::new();
    for (control, orderer) in [
        ("1", "^WHO^ANNA"),
        ("2", ""),
        ("3", "^WHO^ANNA"),
        ("4", "^NEW^NOEL"),
    ] {
        assert_eq!(send(&processor, &[orm(control, orderer)]).await, ["AA"]);
        let order = &server.all("ServiceRequest")[0];
        let inside = order["contained"].as_array().unwrap();
        let reference = format!("#{}", inside[0]["id"].as_str().unwrap());
        assert_eq!(order["requester"]["reference"], reference);
        told.push((
            inside.len(),
            inside[0]["name"][0]["family"].clone(),
            reference,
        ));
    }
    assert_eq!((told[0].0, &told[0].1), (1, &json!("WHO")));
    assert_eq!((&told[1], &told[2]), (&told[0], &told[0]));
    assert_eq!((told[3].0, &told[3].1), (1, &json!("NEW")));
    assert_eq!(server.all("Practitioner").len(), 0);
}

/// The specimens of an order stand behind it, also of one without a number.
#[tokio::test]
async fn an_order_and_its_specimens_know_each_other() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let oml = format!(
        "{}{PID}ORC|NW|O1^HIS\rOBR|1|O1^HIS||1-1^x^LN\rSPM|1|S1&HIS||BLD\rORC|NW\rOBR|2|||2-2^y^LN\rSPM|1|S2&HIS||BLD",
        msh("OML^O21", "1")
    );
    assert_eq!(send(&processor, &[oml]).await, ["AA"]);
    let orders = server.all("ServiceRequest");
    assert_eq!(orders.len(), 2);
    for specimen in server.all("Specimen") {
        let name = |resource: &Json| {
            let text = |key: &str| resource[key].as_str().unwrap().to_owned();
            format!("{}/{}", text("resourceType"), text("id"))
        };
        let order = &specimen["request"][0]["reference"];
        let order = orders.iter().find(|&own| *order == name(own)).unwrap();
        assert_eq!(order["specimen"], json!([{"reference": name(&specimen)}]));
    }
}

#[tokio::test]
async fn null_deletes_and_absent_keeps() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let with = |control: &str, sex: &str| {
        adt("A08", control, "").replace("|F\r", &format!("|{sex}|||1 MAIN^^LYON\r"))
    };
    let without = |control: &str, tail: &str| adt("A08", control, "").replace("|F\r", tail);
    send(&processor, &[with("1", "F"), without("2", "|\r")]).await;
    let patient = &server.all("Patient")[0];
    assert_eq!(
        (&patient["gender"], &patient["address"][0]["city"]),
        (&json!("female"), &json!("LYON"))
    );
    send(&processor, &[without("3", "|\"\"|||\"\"\r")]).await;
    let patient = &server.all("Patient")[0];
    assert_eq!(
        (patient.get("gender"), patient.get("address")),
        (None, None)
    );
}

#[tokio::test]
async fn identifiers_of_two_patients() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let with = |control: &str, ids: &str| {
        adt("A08", control, "").replace("100001^^^GH&1.2.3.4&ISO^MR", ids)
    };
    let both = "7^^^N&1.9&ISO^NI~1^^^GH&1.2.3.4&ISO^MR~1^^^GH&1.2.3.4&ISO^MR";
    send(
        &processor,
        &[
            with("1", "1^^^GH&1.2.3.4&ISO^MR"),
            with("2", "7^^^N&1.9&ISO^NI"),
        ],
    )
    .await;
    let answer = processor
        .answer(with("3", both).replace("ALICE", "ALICIA").as_bytes())
        .await;
    assert_eq!(
        (answer.code, answer.errors[0].code),
        (AckCode::AA, ErrorCode::DuplicateKey)
    );
    let changed: Vec<Json> = server
        .all("Patient")
        .into_iter()
        .filter(|patient| patient["name"][0]["given"][0] == "ALICIA")
        .collect();
    // The record number of the hospital is preferred; the same number twice is one.
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0]["identifier"][0]["value"], "1");
    assert_eq!(changed[0]["identifier"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_update_activates_nobody() {
    let server = FakeServer::default();
    let processor = processor(&server);
    send(&processor, &[adt("A01", "1", "")]).await;
    let mut patient = server.all("Patient")[0].clone();
    assert_eq!(patient["active"], true);
    patient["active"] = json!(false);
    let url = format!("Patient/{}", patient["id"].as_str().unwrap());
    put(&mut server.rows.lock().unwrap(), &url, patient);
    send(
        &processor,
        &[adt("A08", "2", "").replace("ALICE", "ALICIA")],
    )
    .await;
    let patient = &server.all("Patient")[0];
    assert_eq!(
        (&patient["active"], &patient["name"][0]["given"][0]),
        (&json!(false), &json!("ALICIA"))
    );
}

#[tokio::test]
async fn every_line_is_mapped_or_kept() {
    let server = FakeServer::default();
    let message = format!("{}\rZPD|1|x\rNTE|1||left", adt("A01", "1", ""));
    send(&processor(&server), &[message]).await;
    let task = &server.all("Task")[0];
    let lines = |code: &str| {
        let outputs = task["output"].as_array().unwrap().iter();
        let own = outputs.filter(|o| o["type"]["coding"][0]["code"] == code);
        own.map(|o| o["valueString"].as_str().unwrap_or_default().to_owned())
            .collect::<String>()
    };
    assert_eq!(lines("lines-mapped"), "1, 2, 3, 4");
    assert_eq!(lines("lines-kept"), "5 ZPD, 6 NTE");
}

#[tokio::test]
async fn refused_messages_are_kept_and_run_again() {
    let server = FakeServer::default();
    let processor = processor(&server);
    for (message, code, error, status) in [
        (
            msh("ADT^A01", "1"),
            AckCode::AE,
            ErrorCode::SegmentSequence,
            "refused",
        ),
        (
            msh("ADT^A01", ""),
            AckCode::AR,
            ErrorCode::RequiredField,
            "refused",
        ),
        (
            msh("", "3"),
            AckCode::AR,
            ErrorCode::UnsupportedMessageType,
            "refused",
        ),
        (
            msh("ZZZ^Z01", "4"),
            AckCode::AA,
            ErrorCode::UnsupportedMessageType,
            "unmapped",
        ),
        (
            msh("ADT^Z01", "6"),
            AckCode::AA,
            ErrorCode::UnsupportedEvent,
            "unmapped",
        ),
        (
            format!("{}{PID}OBX|1|NM|1^x||5", msh("ORU^R01", "5")),
            AckCode::AE,
            ErrorCode::SegmentSequence,
            "refused",
        ),
        (
            "garbage".to_owned(),
            AckCode::AR,
            ErrorCode::SegmentSequence,
            "refused",
        ),
    ] {
        server.rows.lock().unwrap().clear();
        for _ in 0..2 {
            let answer = processor.answer(message.as_bytes()).await;
            assert_eq!(
                (answer.code, answer.errors[0].code),
                (code, error),
                "{message}"
            );
        }
        let tasks = server.all("Task");
        assert_eq!(
            (tasks.len(), ending(&tasks[0])),
            (1, Some(status)),
            "{message}"
        );
        assert_eq!(server.rows.lock().unwrap().len(), 2, "{message}");
        let again = processor.replay(tasks[0]["id"].as_str().unwrap()).await;
        assert_eq!(again.unwrap().code, code, "{message}");
    }
}

/// A test message that came in where only production is taken is kept, and applied where it belongs.
#[tokio::test]
async fn what_is_not_taken_here_may_be_taken_elsewhere() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let raw = adt("A01", "1", "");
    let why = AnswerError::error(ErrorCode::UnsupportedProcessingId, None, "not here");
    for _ in 0..2 {
        let outcome = processor.not_taken(raw.as_bytes(), None, why.clone()).await;
        assert_eq!(outcome.answer, Answer::refuse(AckCode::AR, why.clone()));
        assert!(outcome.is_kept);
    }
    assert_eq!(server.written().len(), 2);
    assert_eq!(ending(&server.all("Task")[0]), Some("refused"));
    assert_eq!(processor.answer(raw.as_bytes()).await, Answer::accept());
    assert_eq!(server.all("Patient").len(), 1);
    assert_eq!(server.all("Task").len(), 2);
}

#[tokio::test]
async fn one_result_in_two_types_has_the_first() {
    let server = FakeServer::default();
    let obx = |kind, value| format!("OBX|1|{kind}|2823-3^x^LN||{value}||||||F||||||||||R1^LAB\r");
    let message = oru("1", "0", "F", &[]) + &obx("NM", "5.9") + &obx("ST", "high");
    assert_eq!(send(&processor(&server), &[message]).await, ["AA"]);
    let observations = server.all("Observation");
    assert_eq!(observations.len(), 1);
    let value = &observations[0]["valueQuantity"]["value"];
    assert_eq!(value.to_string(), "5.9");
    assert_eq!(observations[0].get("valueString"), None);
}

/// A server would refuse the code, and with it the journal entry.
#[tokio::test]
async fn an_event_of_any_text_is_a_code() {
    let server = FakeServer::default();
    let codes = send(&processor(&server), &[msh("ADT^A  1", "1")]).await;
    assert_eq!(codes, ["AA"]);
    assert_eq!(server.all("Task")[0]["code"]["coding"][0]["code"], "A 1");
}

/// FHIR has no empty strings: a server would refuse `"data": ""`, and with it the journal entry.
#[tokio::test]
async fn an_empty_message_is_kept_without_data() {
    let server = FakeServer::default();
    let answer = processor(&server).answer(b"").await;
    assert_eq!(answer.code, AckCode::AR);
    let binaries = server.all("Binary");
    assert_eq!((binaries.len(), binaries[0].get("data")), (1, None));
}

#[tokio::test]
async fn a_refused_message_is_applied_by_replay() {
    let server = FakeServer::default();
    let raw = adt("A01", "1", "");
    let processor = processor(&server);
    // Received by a listener with another secret.
    let key = MessageKey::read(&SiteSecret::new([4; 32]).unwrap(), raw.as_bytes());
    let record = Record {
        ending: Ending::Unmapped,
        answer: &Answer::accept(),
        received: "2026-01-01T00:00:00Z",
        policy: None,
        mappings: "older",
        unmapped: &[],
        mapped: &[],
        kept: &[],
        written: &[],
        provenance: None,
        patient: None,
        encounter: None,
    };
    let entries = key.entries(raw.as_bytes(), &record, None);
    processor.api.transaction(entries).await.unwrap();
    assert_eq!(
        processor.replay(&key.task_id).await.unwrap().code,
        AckCode::AA
    );
    assert_eq!(server.all("Patient").len(), 1);
    assert_eq!(ending(&server.all("Task")[0]), Some("applied"));
    assert!(matches!(
        processor.replay(&key.task_id).await,
        Err(ReplayError::Applied(_))
    ));
    assert!(matches!(
        processor.replay("nothing").await,
        Err(ReplayError::NotFound(_))
    ));
}

#[tokio::test]
async fn nothing_is_claimed_while_the_server_is_away() {
    let server = FakeServer::default();
    let processor = processor(&server);
    *server.is_down.lock().unwrap() = true;
    let message = adt("A01", "1", "");
    assert_eq!(
        send(&processor, &[message.clone(), "garbage".into()]).await,
        ["AR", "AR"]
    );
    *server.is_down.lock().unwrap() = false;
    assert_eq!(server.rows.lock().unwrap().len(), 0);
    assert_eq!(send(&processor, &[message]).await, ["AA"]);
}

#[tokio::test]
async fn what_is_kept_is_told_from_what_must_be_sent_again() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let good = adt("A01", "1", "");
    let check = async |message: &str, expect: (bool, bool)| {
        let outcome = processor.outcome(message.as_bytes(), None).await;
        let found = (outcome.is_kept, outcome.may_succeed_later);
        assert_eq!(found, expect, "{message}");
    };
    *server.is_down.lock().unwrap() = true;
    check(&good, (false, true)).await;
    check("garbage", (false, true)).await;
    *server.is_down.lock().unwrap() = false;
    for message in [&good, &good, "garbage"] {
        check(message, (true, false)).await;
    }
}

#[tokio::test]
async fn an_order_with_its_answers() {
    let server = FakeServer::default();
    let order = |control: &str, code: &str| {
        format!(
            "{}{PID}ORC|{code}|O9^HIS||||||||||D1^HOUSE^GREG\rOBR|1|O9^HIS||718-7^Hb^LN^^^|S\rOBX|1|CE|1-2^Fasting^LN||Y^Yes^99X||||||F\r",
            msh("ORM^O01", control)
        )
    };
    let codes = send(&processor(&server), &[order("1", "NW"), order("2", "CA")]).await;
    assert_eq!(codes, ["AA", "AA"]);
    let requests = server.all("ServiceRequest");
    assert_eq!(requests.len(), 1);
    let request: &Json = &requests[0];
    assert_eq!(
        (&request["status"], &request["intent"]),
        (&json!("revoked"), &json!("order"))
    );
    assert_eq!(request["code"]["concept"]["coding"][0]["code"], "718-7");
    assert!(
        request["supportingInfo"][0]["reference"]["reference"]
            .as_str()
            .unwrap()
            .starts_with("Observation/")
    );
    assert_eq!(server.all("Observation").len(), 1);
}
