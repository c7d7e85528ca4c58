//! Messages that are run again, and the work list, against a server in memory. Which journal entries a selection finds is tested on a real one.

use super::*;
use crate::mapping::{File, read_folder};
use crate::replay::{Replayed, Selection};

fn files() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/hl7v2");
    read_folder(&folder).unwrap()
}

fn with_files(server: &FakeServer, files: &[File]) -> Processor {
    let mappings = Arc::new(Mappings::load(files).unwrap());
    Processor::new(server.submit(), mappings, SiteSecret::new([3; 32]).unwrap())
}

/// The same maps and a vocabulary that knows one code more.
fn completed() -> Vec<File> {
    let mut files = files();
    let vocabulary = files
        .iter_mut()
        .find(|file| file.path == "vocabulary/AdministrativeSex.ConceptMap.json");
    let vocabulary = vocabulary.unwrap();
    let mut map: Json = serde_json::from_slice(&vocabulary.bytes).unwrap();
    let element = json!({"code": "Q", "target": [{"code": "other", "relationship": "equivalent"}]});
    map["group"][0]["element"]
        .as_array_mut()
        .unwrap()
        .push(element);
    vocabulary.bytes = map.to_string().into_bytes();
    files
}

fn items(server: &FakeServer) -> Vec<Json> {
    let tasks = server.all("Task").into_iter();
    tasks
        .filter(|task| crate::worklist::unmapped_code(task).is_some())
        .collect()
}

#[tokio::test]
async fn a_code_with_two_displays_is_one_item() {
    let server = FakeServer::default();
    let next_of_kin = "\rNK1|1|DOE^JO|QQQ^Foo\rNK1|2|ROE^JO|QQQ\r";
    let message = adt("A01", "1", next_of_kin);
    let processor = with_files(&server, &files());
    assert_eq!(send(&processor, &[message]).await, ["AA"]);
    assert_eq!(items(&server).len(), 1);
}

#[tokio::test]
async fn a_completed_vocabulary_runs_its_messages_again() {
    let server = FakeServer::default();
    let first = with_files(&server, &files());
    let unknown = |event: &str, control: &str| adt(event, control, "").replace("|F\r", "|Q\r");
    send(
        &first,
        &[
            unknown("A01", "1"),
            unknown("A08", "2"),
            adt("A01", "3", "")
                .replace("100001", "2")
                .replace("V9", "V8"),
        ],
    )
    .await;
    let before = items(&server);
    assert_eq!(
        (before.len(), &before[0]["status"]),
        (1, &json!("requested"))
    );
    assert_eq!(first.requeue().await.unwrap(), Replayed::default());
    assert_eq!(items(&server), before);

    // Another message has given the patient another name since.
    send(
        &first,
        &[adt("A08", "4", "")
            .replace("|F\r", "\r")
            .replace("ALICE", "ALICIA")],
    )
    .await;
    let second = with_files(&server, &completed());
    let replayed = second.requeue().await.unwrap();
    assert_eq!(
        replayed,
        Replayed {
            accepted: 2,
            ..Replayed::default()
        }
    );
    assert_eq!(items(&server)[0]["status"], "completed");
    let patients = server.all("Patient");
    let patient = patients
        .iter()
        .find(|own| own["identifier"][0]["value"] == "100001")
        .unwrap();
    assert_eq!(
        (&patient["gender"], &patient["name"][0]["given"][0]),
        (&json!("other"), &json!("ALICIA"))
    );
    assert_eq!(second.requeue().await.unwrap(), Replayed::default());

    // By the old maps it is unknown again.
    send(&first, &[unknown("A08", "5")]).await;
    assert_eq!(items(&server)[0]["status"], "requested");
}

#[tokio::test]
async fn what_was_changed_since_is_not_undone() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let told = |control: &str, name: &str| adt("A08", control, "").replace("ALICE", name);
    let without_name = told("2", "ALICIA").replace("|F\r", "|\"\"\r");
    send(&processor, &[told("1", "ALICE"), without_name]).await;
    let all = Selection {
        endings: vec!["applied".to_owned()],
        ..Selection::default()
    };
    let before = server.all("Patient");
    let received = || -> Vec<Json> {
        server
            .all("Task")
            .iter()
            .map(|task| task["authoredOn"].clone())
            .collect()
    };
    let first_received = received();
    let mut order = Vec::new();
    let replayed = processor
        .replay_all(&all, |id, _| order.push(id.to_owned()))
        .await
        .unwrap();
    assert_eq!((replayed.accepted, order.len()), (2, 2));
    assert_eq!(server.all("Patient"), before);
    assert_eq!(received(), first_received);
    assert!(
        server
            .all("Task")
            .iter()
            .all(|task| ending(task) == Some("applied"))
    );
}

/// The vocabulary that a message lacked comes, and the file of the listener's policy still holds for it.
#[tokio::test]
async fn a_message_is_run_again_by_the_policy_of_its_listener() {
    let server = FakeServer::default();
    let with_east = |mut files: Vec<File>| {
        files.push(File {
            path: "senders/EAST.GATE.yaml".to_owned(),
            bytes: b"zone: +05:00\n".to_vec(),
        });
        files
    };
    let first = with_files(&server, &with_east(files()));
    let message = adt("A01", "1", "|||||||||||||||||||||||||20260301080000");
    let refused = message
        .replace("ADT^A01", "ADT^A99")
        .replace("|1|P|", "|2|P|");
    let unknown = message.replace("|F\r", "|Q\r");
    for message in [unknown, refused] {
        let outcome = first.outcome(message.as_bytes(), Some("EAST.GATE"));
        assert_eq!(outcome.await.answer.code, AckCode::AA);
    }
    let starts = || {
        let encounters = server.all("Encounter");
        encounters[0]["actualPeriod"]["start"].clone()
    };
    assert_eq!(starts(), "2026-03-01T08:00:00+05:00");

    let second = with_files(&server, &with_east(completed()));
    // What the patient is known as is told anew, so the visit is, too.
    let replayed = second.requeue().await.unwrap();
    assert_eq!((replayed.accepted, replayed.refused), (1, 0));
    assert_eq!(starts(), "2026-03-01T08:00:00+05:00");
    let again = Selection::default();
    let replayed = second.replay_all(&again, |_, _| {}).await.unwrap();
    assert_eq!((replayed.accepted, replayed.refused), (1, 0));
    // The entry keeps it.
    for task in server
        .all("Task")
        .iter()
        .filter(|task| ending(task).is_some())
    {
        let policy = crate::journal::input(task, crate::journal::POLICY_INPUT);
        assert_eq!(policy.unwrap()["valueString"], "EAST.GATE");
    }
}

/// However many messages and codes there are, and however many came in one instant.
#[tokio::test]
async fn all_are_run_again_however_short_pages_are() {
    let server = FakeServer::default();
    *server.page_max.lock().unwrap() = Some(2);
    let first = with_files(&server, &files());
    let unknown = |n: usize| {
        adt(
            "A01",
            &n.to_string(),
            "\rNK1|1|DOE^JO|Q1\rNK1|2|DOE^JO|Q2\rNK1|3|DOE^JO|Q3\r",
        )
        .replace("100001", &format!("20{n}"))
        .replace("V9", &format!("V{n}"))
        .replace("|F\r", "|Q\r")
    };
    let messages: Vec<String> = (0..5).map(unknown).collect();
    // The items are known from the second on.
    assert_eq!(send(&first, &messages).await, ["AA"; 5]);
    assert_eq!(items(&server).len(), 4);
    for (_, task) in server.rows.lock().unwrap().values_mut() {
        if task["resourceType"] == "Task" {
            task["authoredOn"] = "2026-01-01T00:00:00.000Z".into();
        }
    }
    let applied = Selection {
        endings: vec!["applied".to_owned()],
        ..Selection::default()
    };
    let mut seen = std::collections::BTreeSet::new();
    let replayed = first.replay_all(&applied, |id, _| assert!(seen.insert(id.to_owned())));
    assert_eq!(replayed.await.unwrap().accepted, 5);

    let second = with_files(&server, &completed());
    assert_eq!(second.requeue().await.unwrap().accepted, 5);
    let patients = server.all("Patient").into_iter();
    let known = patients.filter(|patient| patient["gender"] == "other");
    assert_eq!(known.count(), 5);
    let items = items(&server).into_iter();
    let done = items.filter(|item| item["status"] == "completed");
    assert_eq!(done.count(), 1);
}
