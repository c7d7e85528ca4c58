//! What was acknowledged survives `kill -9` of the server and of its Postgres, and nothing is half there (design invariants 6 and 8).

use crate::mllp::{Sender, adt, msa, oru};
use crate::child::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SYSTEM: &str = "http://it.example.org/ledger";
const LINKED: u32 = 5;
const RESULTS: u32 = 4;

/// What the outside world was told, kept outside the system under test.
#[derive(Default)]
struct Ledger {
    /// Patients created by POST: identifier value to the id answered.
    created: Mutex<BTreeMap<String, String>>,
    /// Transactions: mark to whether it was answered with 200.
    transactions: Mutex<BTreeMap<String, bool>>,
    /// Messages: control id to (message, whether answered AA).
    messages: Mutex<BTreeMap<String, (String, bool)>>,
}

fn patient(value: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], "name": [{"family": "Ledger"}]})
}

fn linked(mark: &str) -> Value {
    let tag = json!({"tag": [{"system": SYSTEM, "code": mark}]});
    let url = "urn:uuid:0f9f3c1e-0000-4000-8000-000000000001";
    let mut entries = vec![json!({"fullUrl": url, "request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient", "meta": tag}})];
    for n in 1..LINKED {
        entries.push(json!({"request": {"method": "POST", "url": "Observation"}, "resource": {"resourceType": "Observation", "meta": tag,
            "status": "final", "code": {"text": format!("n{n}")}, "subject": {"reference": url}}}));
    }
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

/// Four writers over HTTP and two over MLLP until told to stop. Broken connections are part of the game; a wrong answer is not.
async fn load(server: &Arc<Server>, ledger: &Arc<Ledger>, round: u32, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<()>> {
    let counter = Arc::new(AtomicU32::new(0));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (server, ledger, stop, counter) = (server.clone(), ledger.clone(), stop.clone(), counter.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mark = format!("r{round}n{}", counter.fetch_add(1, Ordering::Relaxed));
                match server.try_post("Patient", &patient(&mark)).await {
                    Some((201, body)) => {
                        ledger.created.lock().unwrap().insert(mark.clone(), body["id"].as_str().unwrap().to_owned());
                    }
                    Some((status, body)) => assert_eq!(status, 503, "{body}"),
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                ledger.transactions.lock().unwrap().insert(mark.clone(), false);
                if let Some((status, body)) = server.try_post("", &linked(&mark)).await {
                    assert!(matches!(status, 200 | 503), "{status} {body}");
                    ledger.transactions.lock().unwrap().insert(mark, status == 200);
                }
            }
        }));
    }
    for lane in 0..2u32 {
        let (server, ledger, stop, counter) = (server.clone(), ledger.clone(), stop.clone(), counter.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut sender) = Sender::connect(server.mllp).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                while !stop.load(Ordering::Relaxed) {
                    let k = counter.fetch_add(1, Ordering::Relaxed);
                    let (control_id, n) = (format!("C{round}-{k}"), lane * 50 + k % 50);
                    let message = if k.is_multiple_of(3) { adt("A01", &control_id, n) } else { oru(&control_id, n, &control_id, RESULTS) };
                    ledger.messages.lock().unwrap().insert(control_id.clone(), (message.clone(), false));
                    let Ok(acknowledgement) = sender.send(&message).await else { break };
                    let (code, id) = msa(&acknowledgement);
                    assert_eq!(id, control_id);
                    if code == "AA" {
                        ledger.messages.lock().unwrap().insert(control_id, (message, true));
                    }
                }
            }
        }));
    }
    tasks
}

/// Compares the system with the ledger. Messages without an answer are sent again, as a sender would.
async fn verify(server: &Server, ledger: &Ledger) {
    for (value, id) in ledger.created.lock().unwrap().clone() {
        let (status, body) = server.get(&format!("Patient/{id}")).await;
        assert_eq!((status, body["identifier"][0]["value"].as_str()), (200, Some(value.as_str())), "{body}");
        assert_eq!(server.count(&format!("Patient?identifier={SYSTEM}|{value}")).await, 1);
    }
    for (mark, acknowledged) in ledger.transactions.lock().unwrap().clone() {
        let patients = server.count(&format!("Patient?_tag={SYSTEM}|{mark}")).await;
        let observations = server.count(&format!("Observation?_tag={SYSTEM}|{mark}")).await;
        match (patients, observations) {
            (1, n) if n == u64::from(LINKED - 1) => {}
            (0, 0) => assert!(!acknowledged, "transaction {mark} was acknowledged and is lost"),
            other => panic!("transaction {mark} is half there: {other:?}"),
        }
    }
    let mut sender = Sender::connect(server.mllp).await.unwrap();
    for (control_id, (message, acknowledged)) in ledger.messages.lock().unwrap().clone() {
        let order = format!("F{control_id}");
        let search = format!("Observation?based-on:ServiceRequest.identifier=|{order}");
        let _ = &search;
        let before = server.count(&format!("DiagnosticReport?identifier:contains={order}")).await;
        let _ = before;
        let acknowledgement = sender.send(&message).await.unwrap();
        assert_eq!(msa(&acknowledgement), ("AA", control_id.as_str()), "{acknowledgement}");
        let _ = acknowledged;
    }
}
