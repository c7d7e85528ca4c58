//! A search index of several nodes that do not reach each other any more, while the servers reach each of them: none answers with what it had.

use crate::process::ROOT;
use crate::search_index::{LONG, patient, until};
use crate::site::{Site, with_settings};
use fhir_storage::testing::{elasticsearch, empty_database};
use reqwest::Method;
use soak::cluster::{Cluster, Plan};
use soak::node::Flavor;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const PREFIX: &str = "nodes";
/// How long the node that still can write is given to do so.
const WRITTEN: Duration = Duration::from_secs(10);

async fn found(site: &Site, family: &str) -> serde_json::Value {
    let path = format!("GET Patient?family={family}&_summary=count");
    site.send(&path, "").await.json()["total"].clone()
}

/// A server that knows one node alone.
fn server(database: &str, node: &str) -> Site {
    with_settings(&[
        ("database_url", database),
        ("elasticsearch_url", node),
        ("elasticsearch_index", PREFIX),
        ("elasticsearch_asked", "always"),
        ("elasticsearch_bulk_timeout_ms", "1000"),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an Elasticsearch of two nodes: for CI"]
async fn nodes_that_lost_each_other() {
    if elasticsearch().is_none() {
        return;
    }
    let plan = Plan {
        flavor: Flavor::Elasticsearch,
        nodes: 2,
        port: 9_251,
    };
    let root = Path::new(ROOT).canonicalize().unwrap();
    let cluster = Cluster::start(&root, plan).await.unwrap();
    let database = empty_database().await;
    let sites = [0, 1].map(|node| server(&database, cluster.url(node)));
    for site in &sites {
        until(site, |said| said == "ready").await;
    }
    sites[0]
        .check("PUT Patient/p", &patient("p", "before"), "201")
        .await;
    let written = async |count: u64, within: Duration| {
        let began = Instant::now();
        let path = format!("/{PREFIX}-*/_count?q=type:*");
        loop {
            let answer = cluster.ask(Method::GET, &path, None).await;
            let is_there = answer.is_ok_and(|answer| answer["count"] == count);
            if is_there || began.elapsed() > within {
                return is_there;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(written(1, LONG).await);
    // As many copies as there may be, so that each node has what it could answer with.
    let path = format!("/_cluster/health/{PREFIX}-*?wait_for_status=green&timeout=60s");
    cluster.ask(Method::GET, &path, None).await.unwrap();

    cluster.split(true).await.unwrap();
    for (n, family) in ["during", "after"].into_iter().enumerate() {
        let request = format!("PUT Patient/{n}");
        let body = patient(&n.to_string(), family);
        sites[0].check(&request, &body, "201").await;
    }
    // The first node may be one that writes them, and then nothing waits any more a moment later.
    if written(3, WRITTEN).await {
        sleep(Duration::from_secs(1)).await;
    }
    for site in sites.iter().cycle().take(20) {
        for family in ["before", "during", "after"] {
            assert_eq!(found(site, family).await, 1, "{family}");
        }
    }
    cluster.split(false).await.unwrap();
    for site in &sites {
        until(site, |said| said == "ready").await;
        assert_eq!(found(site, "during").await, 1);
    }
}
