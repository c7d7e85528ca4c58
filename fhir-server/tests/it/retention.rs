//! What is taken out of the journal of v2 messages, and what stays.

use crate::mllp::{adt, msa};
use crate::site::{Site, server};
use fhir_server::retention::{Pruned, prune};
use fhir_server::serve::Server;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sends a message that is applied and one that is refused.
async fn send(site: &Site) {
    for (message, expect) in [
        (adt("A04", "K1", 80_001), "AA"),
        ("no message".into(), "AR"),
    ] {
        let request = site.client.post(format!("{}/hl7v2", site.origin));
        let request = request
            .header("content-type", "application/hl7-v2")
            .body(message);
        let answer = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(msa(&answer).0, expect, "{answer}");
    }
}

/// What is old two days later.
async fn check(server: &Server, site: &Site, expect: Pruned, counts: [(&str, usize); 4]) {
    let later = SystemTime::now() + Duration::from_secs(2 * 86_400);
    let later = later.duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(prune(&server.app, later).await.unwrap(), expect);
    for (query, count) in counts {
        let request = format!("GET {query}_summary=count");
        site.check(&request, "", &format!("200 ; /total = {count}"))
            .await;
    }
}

fn site(server: &Server) -> Site {
    Site::new(&format!("http://{}", server.http_addr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_first() {
    let server = server(&[("hl7v2_raw_days", "1")]).await;
    let site = site(&server);
    send(&site).await;
    let left = [
        ("Task?", 2),
        ("Binary?", 1),
        ("Patient?", 1),
        ("Provenance?", 1),
    ];
    check(&server, &site, Pruned { raw: 1, entries: 0 }, left).await;
    check(&server, &site, Pruned::default(), left).await;
    // Nothing of the bytes is in the history of what was deleted.
    let history = site.send("GET Binary/_history", "").await;
    assert!(!history.text.contains("TVNIfF5+XCZ8"), "{}", history.text);
    // It is still known that the message came.
    send(&site).await;
    check(&server, &site, Pruned::default(), left).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn then_entries_and_what_they_made_stays() {
    let settings = [("hl7v2_journal_days", "1"), ("hl7v2_unapplied_days", "1")];
    let server = server(&settings).await;
    let site = site(&server);
    send(&site).await;
    let left = [
        ("Task?", 0),
        ("Binary?", 0),
        ("Patient?", 1),
        ("Provenance?", 1),
    ];
    check(&server, &site, Pruned { raw: 0, entries: 2 }, left).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_settings_everything_stays() {
    let server = server(&[]).await;
    let site = site(&server);
    send(&site).await;
    let left = [
        ("Task?", 2),
        ("Binary?", 2),
        ("Patient?", 1),
        ("Provenance?", 1),
    ];
    check(&server, &site, Pruned::default(), left).await;
    server.stop().await;
}
