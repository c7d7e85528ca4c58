//! From MLLP to REST: messages through the socket of the embedded listener are found by search, and a repeat changes nothing.

use crate::mllp::{Sender, adt, msa, orm, oru};
use crate::process::{directory, mappings, serve, terminate};
use crate::site::Site;

const PATIENTS: u32 = 5;
const RESULTS: u32 = 4;

async fn send_all(address: &str) -> Vec<String> {
    let mut sender = Sender::connect(address.parse().unwrap()).await.unwrap();
    let mut answers = Vec::new();
    for n in 0..PATIENTS {
        for (control_id, message) in [
            (format!("A{n}"), adt("A04", &format!("A{n}"), n)),
            (format!("O{n}"), orm(&format!("O{n}"), n, &format!("{n}"))),
            (
                format!("R{n}"),
                oru(&format!("R{n}"), n, &format!("{n}"), RESULTS),
            ),
            (format!("D{n}"), adt("A03", &format!("D{n}"), n)),
        ] {
            let answer = sender.send(&message).await.unwrap();
            assert_eq!(msa(&answer), ("AA", control_id.as_str()), "{answer}");
            answers.push(control_id);
        }
    }
    answers
}

async fn counts(site: &Site) -> Vec<String> {
    let mut counts = Vec::new();
    for resource_type in [
        "Patient",
        "Encounter",
        "Observation",
        "DiagnosticReport",
        "ServiceRequest",
        "Task",
    ] {
        let answer = site
            .check(&format!("GET {resource_type}?_summary=count"), "", "200")
            .await;
        counts.push(format!("{resource_type} {}", answer.json()["total"]));
    }
    counts
}

#[tokio::test]
async fn messages_are_found_by_search_and_repeats_change_nothing() {
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let sent = send_all(&running.mllp_addr).await;
    let once = counts(&running.site).await;
    let expect = [
        format!("Patient {PATIENTS}"),
        format!("Encounter {PATIENTS}"),
        format!("Observation {}", PATIENTS * RESULTS),
        format!("DiagnosticReport {PATIENTS}"),
        format!("ServiceRequest {PATIENTS}"),
        format!("Task {}", sent.len()),
    ];
    assert_eq!(once, expect);
    send_all(&running.mllp_addr).await;
    assert_eq!(counts(&running.site).await, once);
    running
        .site
        .table(&[
            (
                "GET Patient?identifier=M00003&family=test3",
                "",
                "200 ; /total = 1",
            ),
            (
                "GET Observation?patient.identifier=M00003&code=http://loinc.org|718-7",
                "",
                "200 ; /total = 1",
            ),
            (
                "GET Encounter?status=completed&_summary=count",
                "",
                "200 ; /total = 5",
            ),
        ])
        .await;
    terminate(&running.child);
    assert!(running.child.wait().unwrap().success());
}
