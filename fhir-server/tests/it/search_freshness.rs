//! What a search sees of a write that was acknowledged just before it, where many clients write at once and an index answers: everything
//! (`strong`), or what the index has (`eventual`).

use crate::search_index::{prefix, settled, until};
use crate::site::{Site, with_settings};
use fhir_storage::testing::{elasticsearch, empty_database};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CLIENTS: usize = 16;

/// What came of searches.
#[derive(Debug, Default)]
struct Searched {
    /// Writes that the search after them did not find.
    unseen: usize,
    /// Searches that the index answered.
    by_index: usize,
}

/// Each client creates patients and updates them, in turns, and after each write looks for what only that write has.
async fn search_after_writes(site: &Site, run: &str, writes: usize) -> Searched {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (site, run) = (site.clone(), run.to_string());
        clients.spawn(async move {
            let (mut searched, mut last) = (Searched::default(), Value::Null);
            for n in (client..writes).step_by(CLIENTS) {
                let value = format!("{run}-{n}");
                let mut patient = json!({"resourceType": "Patient", "identifier": [{"system": "http://t", "value": value}]});
                let request = match last["id"].as_str() {
                    Some(id) => {
                        patient["id"] = json!(id);
                        format!("PUT Patient/{id}")
                    }
                    None => "POST Patient".to_string(),
                };
                let written = site.send(&request, &patient.to_string()).await;
                assert!(written.status < 300, "{written:?}");
                let (written, is_update) = (written.json(), !last.is_null());
                let search = format!("GET Patient?identifier=http://t|{value}&_explain=true");
                let answer = site.check(&search, "", "200").await;
                searched.by_index += usize::from(answer.text.contains("engine: Elasticsearch"));
                let bundle = answer.json();
                let entries = bundle["entry"].as_array().into_iter().flatten();
                let found: Vec<&Value> = entries
                    .filter(|entry| entry["search"]["mode"] == "match")
                    .collect();
                match found.as_slice() {
                    [] => searched.unseen += 1,
                    [one] => assert_eq!(one["resource"]["meta"], written["meta"]),
                    more => panic!("{} with one identifier", more.len()),
                }
                last = if is_update { Value::Null } else { written };
            }
            searched
        });
    }
    let mut all = Searched::default();
    for one in clients.join_all().await {
        all.unseen += one.unseen;
        all.by_index += one.by_index;
    }
    all
}

/// Whether the index can be written; by the alias of the one that is searched.
async fn block_writes(cluster: &str, prefix: &str, block: bool) {
    let request = reqwest::Client::new().put(format!("{cluster}/{prefix}/_settings"));
    let body = json!({"index.blocks.write": block}).to_string();
    let request = request
        .header("content-type", "application/json")
        .body(body);
    assert!(request.send().await.unwrap().status().is_success());
}

/// While the index takes nothing, what is written cannot be in it: a search that is strong sees it all the same, one that is not never does.
/// So the first figures tell something.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_search_sees_the_write_before_it() {
    let Some(cluster) = elasticsearch() else {
        return;
    };
    let (prefix, database) = (prefix(), empty_database().await);
    let with = |freshness| {
        with_settings(&[
            ("database_url", &database),
            ("elasticsearch_url", &cluster),
            ("elasticsearch_index", &prefix),
            ("elasticsearch_asked", "always"),
            ("elasticsearch_freshness", freshness),
            ("elasticsearch_search_timeout_ms", "30000"),
            ("requests_wait_ms", "60000"),
            ("search_explain", "true"),
        ])
    };
    let (strong, eventual) = (with("strong"), with("eventual"));
    for site in [&strong, &eventual] {
        until(site, |said| said == "ready").await;
    }
    let searched = search_after_writes(&strong, "open", 500).await;
    assert_eq!(searched.unseen, 0);
    // Now and then Postgres has to, where later writes come into the index again and again meanwhile.
    assert!(searched.by_index > 250, "{searched:?}");

    block_writes(&cluster, &prefix, true).await;
    let searched = search_after_writes(&strong, "blocked", 96).await;
    assert_eq!((searched.unseen, searched.by_index), (0, 96));
    let searched = search_after_writes(&eventual, "missed", 96).await;
    assert_eq!((searched.unseen, searched.by_index), (96, 96));
    block_writes(&cluster, &prefix, false).await;
    settled(&database, &cluster, &prefix).await;
}
