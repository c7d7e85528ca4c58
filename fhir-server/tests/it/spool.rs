//! `ack: stored`: a listener promises messages while no FHIR server is there, is killed, and keeps its promise.

use crate::listeners::Listener;
use crate::mllp::{Sender, adt, msa};
use crate::process::{copy, mappings_folder};
use crate::site::{Site, shared};
use std::path::Path;
use std::time::Duration;

/// The numbers of the patients, which no other test has.
const PATIENTS: std::ops::Range<u32> = 81_000..81_010;

/// It is dropped as by kill -9.
fn start(base: &str, folder: &Path) -> Listener {
    let spool = folder.join("spool");
    Listener::of_folder(
        base,
        &folder.join("mappings"),
        &folder.join("secret"),
        &[("--mllp-spool-dir", &spool)],
    )
}

/// The patients that are there, with their families, by number.
async fn families(site: &Site) -> Vec<String> {
    let mut families = Vec::new();
    for n in PATIENTS {
        let found = site
            .send(&format!("GET Patient?identifier=M{n:05}"), "")
            .await
            .json();
        for entry in found["entry"].as_array().into_iter().flatten() {
            families.push(entry["resource"]["name"][0]["family"].to_string());
        }
    }
    families
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_without_a_server_is_applied_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let senders = folder.path().join("mappings/hl7v2/senders");
    copy(&mappings_folder(), &folder.path().join("mappings"));
    std::fs::write(senders.join("REG.CAMP4.yaml"), "ack: stored\n").unwrap();
    std::fs::write(folder.path().join("secret"), "a secret of this test").unwrap();
    // Nothing listens on the port of a listener that was closed.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/fhir", nowhere.local_addr().unwrap());
    let listener = start(&nowhere, folder.path());
    let mut sender = Sender::connect(&listener.address).await.unwrap();
    for n in PATIENTS {
        let first = adt("A04", &format!("SP{n}A"), n);
        let second = adt("A08", &format!("SP{n}B"), n).replace("Test", "Second");
        for message in [first, second] {
            let answer = sender.send(message).await.unwrap();
            assert_eq!(msa(&answer).0, "AA", "{answer}");
        }
    }
    let site = shared();
    assert_eq!(families(&site).await, [""; 0]);
    drop(listener);

    let listener = start(&site.base(), folder.path());
    let expect: Vec<String> = PATIENTS.map(|n| format!("\"Second{n}\"")).collect();
    for _ in 0..600 {
        if families(&site).await == expect {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(families(&site).await, expect);
    drop(listener);
}
