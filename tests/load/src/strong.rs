//! The workload `strong`: each write is followed at once by a search of the same client for what only this write has, which has to find it.
//!
//! Creates and updates in turns; a write and its search count as one request. Searches are by identifier, so that whatever answers searches of
//! a server, an index beside its database too, is asked.

use crate::Arguments;
use crate::table::{Measured, Table, milliseconds};
use crate::workload::{Target, Worker, matches};
use load_driver::client::Failure;
use load_driver::generate::{self, IDENTIFIER_SYSTEM};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the clients saw.
#[derive(Default)]
struct Seen {
    writes: Vec<Duration>,
    searches: Vec<Duration>,
    /// Writes that the search after them did not find, or not their version.
    unseen: u64,
}

/// Measures and prints it; gives how many writes were not seen.
pub async fn measure(
    target: &Arc<Target>,
    arguments: &Arguments,
    table: &Table,
) -> Result<u64, Failure> {
    let (requests, connections) = (arguments.requests, arguments.connections);
    let warm_up = run(target, requests / 10 + 1, connections, requests).await?;
    let mut seen = Seen::default();
    let whole = async || {
        seen = run(target, requests, connections, 0).await?;
        let pairs = seen.writes.iter().zip(&seen.searches);
        Ok(pairs.map(|(write, search)| *write + *search).collect())
    };
    let measured = Measured::of(&arguments.pid, whole).await?;
    table.line(&format!("strong, {connections} at once"), &measured);
    let Seen {
        writes,
        searches,
        unseen,
    } = &mut seen;
    for (part, times) in [("write", writes), ("search", searches)] {
        let (p50, p99) = (milliseconds(times, 0.5), milliseconds(times, 0.99));
        println!(
            "  {part:<20}{:>10}{:>11}{p50:>10.2}{p99:>10.2}",
            times.len(),
            ""
        );
    }
    println!("  not seen by the search after it: {unseen} of {requests}");
    Ok(*unseen + warm_up.unseen)
}

/// `requests` writes of all clients together, numbered from `from`.
async fn run(
    target: &Arc<Target>,
    requests: u64,
    connections: u64,
    from: u64,
) -> Result<Seen, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..connections {
        let (next, target) = (next.clone(), target.clone());
        clients.push(tokio::spawn(async move {
            let (worker, mut seen, mut last) = (Worker::default(), Seen::default(), None);
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= requests {
                    return Ok::<_, Failure>(seen);
                }
                last = write(&worker, &target, from + i, last.take(), &mut seen).await?;
            }
        }));
    }
    let mut all = Seen::default();
    for client in clients {
        let seen = client.await.map_err(|error| error.to_string())??;
        all.writes.extend(seen.writes);
        all.searches.extend(seen.searches);
        all.unseen += seen.unseen;
    }
    Ok(all)
}

/// Updates `last` or creates a patient, and looks for it; gives what was created.
async fn write(
    worker: &Worker,
    target: &Target,
    i: u64,
    last: Option<Value>,
    seen: &mut Seen,
) -> Result<Option<Value>, Failure> {
    let base = &target.base;
    let value = format!("S{}-{i}", target.run);
    let is_update = last.is_some();
    let mut patient = match last {
        Some(patient) => patient,
        None => generate::patient(target.seed, 500_000_000 + i),
    };
    patient["identifier"][0]["value"] = json!(value);
    let (status, method, url) = match patient["id"].as_str() {
        Some(id) => (200, Method::PUT, format!("{base}/Patient/{id}")),
        None => (201, Method::POST, format!("{base}/Patient")),
    };
    let began = Instant::now();
    let written = worker.expect(status, method, &url, Some(&patient)).await?;
    seen.writes.push(began.elapsed());

    let url = format!("{base}/Patient?identifier={IDENTIFIER_SYSTEM}|{value}");
    let began = Instant::now();
    let bundle = worker.expect(200, Method::GET, &url, None).await?;
    seen.searches.push(began.elapsed());
    match matches(&bundle).as_slice() {
        [] => seen.unseen += 1,
        [found] if found["id"] != written["id"] => {
            return Err(format!("{url}: another patient"));
        }
        [found] if found["meta"]["versionId"] != written["meta"]["versionId"] => seen.unseen += 1,
        [_] => {}
        found => return Err(format!("{url}: {} patients", found.len())),
    }
    Ok((!is_update).then_some(written))
}
