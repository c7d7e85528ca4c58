//! kill -9 of the server, and of its Postgres, during REST and MLLP writes: everything acknowledged is there, nothing is half there.

use crate::process::{Running, directory, mappings, serve, signal, terminate};
use crate::site::Site;
use hl7_mllp_listener::client::Client;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// What one round was told is done.
#[derive(Default)]
struct Acknowledged {
    /// Ids of Basic resources that were created, updated or made in pairs.
    resources: Vec<String>,
    /// Record numbers of patients of messages answered AA.
    records: Vec<String>,
}

/// Writes until `stop`, over HTTP: single resources, and pairs in transactions.
async fn write(site: Site, name: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut done = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{name}-{number}");
        let body = |id: &str| {
            format!(r#"{{"resourceType":"Basic","id":"{id}","code":{{"text":"{name}"}}}}"#)
        };
        let (request, body, ids) = if number % 2 == 0 {
            (format!("PUT Basic/{id}"), body(&id), vec![id.clone()])
        } else {
            let pair = [format!("{id}-a"), format!("{id}-b")];
            let entry = |id: &String| {
                format!(
                    r#"{{"resource":{},"request":{{"method":"PUT","url":"Basic/{id}"}}}}"#,
                    body(id)
                )
            };
            let entries = [entry(&pair[0]), entry(&pair[1])].join(",");
            let bundle =
                format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
            ("POST ".to_string(), bundle, pair.to_vec())
        };
        match site.try_send(&request, &body).await {
            Some(answer) if answer.status < 300 => done.extend(ids),
            // While Postgres is restarted, a client is told to come back.
            Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            None => {}
        }
    }
    done
}

/// Sends messages until `stop`, each about a patient of its own.
async fn send(address: String, name: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut done = Vec::new();
    let Ok(mut client) = Client::connect(&address, Duration::from_secs(10)).await else {
        return done;
    };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let record = format!("{name}{number}");
        let message = format!(
            "MSH|^~\\&|CRASH|TEST|FHIR|HERE|20261001120000||ADT^A04^ADT_A01|{record}|P|2.5\r\
             EVN|A04|20261001120000\rPID|1||{record}^^^CRASH^MR||Test^Person||19800101|F\rPV1|1|O\r"
        );
        match client.exchange(message.into()).await {
            Ok(answer) if answer.code == "AA" => done.push(record),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    done
}

/// Lets writers work while `kill` happens, and gathers what they were told.
async fn round(running: &Running, name: &str, kill: impl AsyncFnOnce(&Running)) -> Acknowledged {
    let stop = Arc::new(AtomicBool::new(false));
    let mut over_http = JoinSet::new();
    let mut over_mllp = JoinSet::new();
    for writer in 0..4 {
        let site = running.site.clone();
        over_http.spawn(write(site, format!("{name}-{writer}"), stop.clone()));
        let address = running.mllp_addr.clone();
        over_mllp.spawn(send(address, format!("{name}x{writer}x"), stop.clone()));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    kill(running).await;
    stop.store(true, Ordering::Relaxed);
    Acknowledged {
        resources: over_http.join_all().await.concat(),
        records: over_mllp.join_all().await.concat(),
    }
}

async fn check(site: &Site, done: &Acknowledged) {
    assert!(
        !done.resources.is_empty() && !done.records.is_empty(),
        "nothing was written"
    );
    for id in &done.resources {
        site.check(&format!("GET Basic/{id}"), "", "200").await;
    }
    for record in &done.records {
        site.check(
            &format!("GET Patient?identifier={record}&_summary=count"),
            "",
            "200 ; /total = 1",
        )
        .await;
    }
    // Of a pair there are both or none.
    let mut request = "GET Basic?_count=1000".to_string();
    let mut halves = 0_i64;
    loop {
        let page = site.check(&request, "", "200").await.json();
        for entry in page["entry"].as_array().into_iter().flatten() {
            let id = entry["resource"]["id"].as_str().unwrap();
            halves += i64::from(id.ends_with("-a")) - i64::from(id.ends_with("-b"));
        }
        match page["link"][1]["url"].as_str() {
            Some(next) => request = format!("GET {next}"),
            None => break,
        }
    }
    assert_eq!(halves, 0, "a transaction was written in part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server() {
    let (_kept, data_dir) = directory();
    let mut all = Acknowledged::default();
    let mut running = serve(&data_dir, &mappings());
    for number in 0..10 {
        let done = round(&running, &format!("s{number}"), async |running| {
            signal(running.child.id(), libc::SIGKILL)
        })
        .await;
        running.child.wait().unwrap();
        running = serve(&data_dir, &mappings());
        check(&running.site, &done).await;
        all.resources.extend(done.resources);
        all.records.extend(done.records);
    }
    check(&running.site, &all).await;
    terminate(&running.child);
    running.child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_postgres() {
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &mappings());
    let mut before = 0;
    for number in 0..10 {
        let postmaster = postmaster(&data_dir);
        assert_ne!(postmaster, before);
        let done = round(&running, &format!("p{number}"), async |_| {
            signal(postmaster, libc::SIGKILL);
            tokio::time::sleep(Duration::from_millis(200)).await;
        })
        .await;
        before = postmaster;
        ready(&running.site).await;
        check(&running.site, &done).await;
    }
    terminate(&running.child);
    running.child.wait().unwrap();
}

async fn ready(site: &Site) {
    for _ in 0..200 {
        if site
            .send(&format!("GET {}/health/ready", site.origin), "")
            .await
            .status
            == 200
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server did not get its Postgres back");
}

/// The first line of postmaster.pid.
fn postmaster(data_dir: &Path) -> u32 {
    let text = std::fs::read_to_string(data_dir.join("pgdata/postmaster.pid")).unwrap();
    text.lines().next().unwrap().trim().parse().unwrap()
}
