//! Results race the merge of their patient over two listeners: whoever comes first, they are on the surviving patient. `RACE_ROUNDS` says how
//! many races; `make test` runs a few.

use crate::listeners::{Listener, secret_file, stop};
use crate::mllp::{Sender, message, msa, oru};
use crate::process::{directory, serve};
use std::time::Duration;
use tokio::task::JoinSet;

/// Races at a time.
const LANES: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_on_the_survivor() {
    let rounds: u32 = std::env::var("RACE_ROUNDS").map_or(40, |text| text.parse().unwrap());
    let (_kept_secret, secret) = secret_file();
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &["--mllp-addr", "off"].map(str::to_string));
    let site = running.site.clone();
    let mut listeners = [0, 1].map(|_| Listener::start(&site.base(), &secret));
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let [results, merges] = [0, 1].map(|n| listeners[n].address.clone());
        lanes.spawn(async move {
            let mut results = Sender::connect(&results).await.unwrap();
            let mut merges = Sender::connect(&merges).await.unwrap();
            for n in (0..rounds).filter(|n| n % LANES == lane) {
                race(n, &mut results, &mut merges).await;
            }
        });
    }
    lanes.join_all().await;

    let count = format!("200 ; /total = {}", 3 * rounds);
    site.table(&[
        ("GET Observation?_summary=count", "", &count),
        (
            "GET Observation?subject:Patient.active=false&_summary=count",
            "",
            "200 ; /total = 0",
        ),
        (
            "GET DiagnosticReport?subject:Patient.active=false&_summary=count",
            "",
            "200 ; /total = 0",
        ),
        (
            "GET ServiceRequest?subject:Patient.active=false&_summary=count",
            "",
            "200 ; /total = 0",
        ),
        (
            "GET Patient?active=false&_summary=count",
            "",
            &format!("200 ; /total = {rounds}"),
        ),
    ])
    .await;
    for listener in &mut listeners {
        stop(&mut listener.child);
    }
    stop(&mut running.child);
}

/// Every other time the patient is known before; the start of the two is shifted from round to round.
async fn race(n: u32, results: &mut Sender, merges: &mut Sender) {
    let merge = message(
        "ADT^A40^ADT_A39",
        &format!("MERGE{n}"),
        &format!(
            "EVN|A40|20261020
             PID|1||S{n:05}^^^CAMP4^MR||Test^Given
             MRG|M{n:05}^^^CAMP4^MR"
        ),
    );
    if n.is_multiple_of(2) {
        accepted(results, &oru(&format!("KNOWN{n}"), n, &format!("K{n}"), 1)).await;
    }
    let shift = Duration::from_millis(u64::from(n % 7) * 3);
    let late = oru(
        &format!("LATE{n}"),
        n,
        &format!("L{n}"),
        if n.is_multiple_of(2) { 2 } else { 3 },
    );
    tokio::join!(accepted(results, &late), async {
        tokio::time::sleep(shift).await;
        accepted(merges, &merge).await;
    });
}

async fn accepted(sender: &mut Sender, message: &str) {
    let acknowledgement = sender.send(message).await.unwrap();
    assert_eq!(
        msa(&acknowledgement).0,
        "AA",
        "{message}\n{acknowledgement}"
    );
}
