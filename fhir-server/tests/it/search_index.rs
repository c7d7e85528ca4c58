//! A server with an Elasticsearch: searches see what was written, whatever the network does; what health, metrics and the commands say.

#[path = "../../crates/storage/tests/it/elastic/proxy.rs"]
#[expect(
    dead_code,
    reason = "what it has carried is asked by the tests of the store only"
)]
mod proxy;

use crate::process::{command, directory, off, serve, signal};
use crate::site::{Site, with_settings};
use fhir_storage::testing::{elasticsearch, empty_database};
use proxy::{Network, Proxy};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(120);

/// An index of its own in the cluster.
pub fn prefix() -> String {
    format!("test_{}", uuid::Uuid::new_v4().simple())
}

async fn text(site: &Site, path: &str) -> String {
    let answer = site.send(&format!("GET {}{path}", site.origin), "").await;
    answer.text.trim_end().to_owned()
}

/// Waits until health says of the index what is expected.
pub async fn until(site: &Site, expect: impl Fn(&str) -> bool) {
    let mut said = String::new();
    let waited = async {
        loop {
            said = text(site, "/health/ready").await;
            if expect(&said) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = timeout(LONG, waited).await;
    assert!(waited.is_ok(), "{said}");
}

async fn metric(site: &Site, name: &str) -> f64 {
    let all = text(site, "/metrics").await;
    let lines = all.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn patient(id: &str, family: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{family}"}}]}}"#)
}

/// Runs a command on the database and the cluster of a site; what it said, and whether it succeeded.
async fn run(database: &str, cluster: &str, prefix: &str, arguments: &[&str]) -> (String, bool) {
    let mut command = command(Path::new("."));
    command
        .args(["--database-url", database, "--elasticsearch-url", cluster])
        .args(["--elasticsearch-index", prefix])
        .args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.success())
}

/// Each change is seen by the very next search, and what it was before is not, while the network between the server and its cluster comes and
/// goes; afterwards the index is what it should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_search_sees_every_write() {
    let Some(cluster) = elasticsearch() else {
        return;
    };
    let (proxy, prefix, database) = (
        Proxy::start(&cluster).await,
        prefix(),
        empty_database().await,
    );
    let site = with_settings(&[
        ("database_url", &database),
        ("elasticsearch_url", &proxy.url),
        ("elasticsearch_index", &prefix),
        ("elasticsearch_asked", "always"),
        ("elasticsearch_search_timeout_ms", "300"),
        ("elasticsearch_bulk_timeout_ms", "2000"),
        ("requests_wait_ms", "60000"),
    ]);
    until(&site, |said| said == "ready").await;
    let (stop, searches) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (site, stop, searches) = (site.clone(), stop.clone(), searches.clone());
        tasks.spawn(async move {
            let id = format!("w{writer}");
            for n in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (now, before) = (
                    format!("now{writer}x{n}x"),
                    format!("now{writer}x{}x", n - 1),
                );
                let put = format!("PUT Patient/{id}");
                assert!(site.send(&put, &patient(&id, &now)).await.status < 300);
                let found = async |family: &str| {
                    let path = format!("GET Patient?family={family}&_summary=count");
                    site.send(&path, "").await.json()["total"].clone()
                };
                assert_eq!(found(&now).await, 1, "{now}");
                assert_eq!(found(&before).await, 0, "{before}");
                if n % 10 == 9 {
                    let delete = format!("DELETE Patient/{id}");
                    assert!(site.send(&delete, "").await.status < 300);
                    assert_eq!(found(&now).await, 0, "{now}");
                }
                searches.fetch_add(2, Ordering::SeqCst);
            }
        });
    }
    for round in 0..8 {
        sleep(Duration::from_millis(1500)).await;
        proxy.set(match round % 4 {
            0 => Network::Cut,
            1 => Network::Slow(Duration::from_millis(100)),
            2 => Network::Slow(Duration::from_secs(5)),
            _ => Network::Held,
        });
        sleep(Duration::from_millis(700)).await;
        proxy.set(Network::Open);
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(searches.load(Ordering::SeqCst) > 200);
    until(&site, |said| said == "ready").await;
    assert!(metric(&site, "fhir_search_index_answered_total").await > 50.0);
    assert!(metric(&site, "fhir_search_index_fallbacks_total").await > 0.0);
    assert!(metric(&site, "fhir_search_index_documents_total").await > 50.0);
    settled(&database, &cluster, &prefix).await;
}

/// `index verify` finds nothing, as soon as nothing waits.
pub async fn settled(database: &str, cluster: &str, prefix: &str) {
    let compared = async {
        loop {
            let (said, is_right) = run(database, cluster, prefix, &["index", "verify"]).await;
            assert!(is_right, "{said}");
            if said.contains("; 0 differ and wait") {
                return;
            }
        }
    };
    timeout(LONG, compared).await.unwrap();
}

/// While the cluster does not answer: writes and searches go on, health says it and stays ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_cluster_postgres_answers() {
    let Some(cluster) = elasticsearch() else {
        return;
    };
    let (proxy, prefix, database) = (
        Proxy::start(&cluster).await,
        prefix(),
        empty_database().await,
    );
    let site = with_settings(&[
        ("database_url", &database),
        ("elasticsearch_url", &proxy.url),
        ("elasticsearch_index", &prefix),
        ("elasticsearch_asked", "always"),
        ("search_explain", "true"),
    ]);
    until(&site, |said| said == "ready").await;
    for (header, expect) in [("", "strong"), ("\nX-Freshness: eventual", "eventual")] {
        let search = format!("GET Patient?family=away&_explain=true{header}");
        let told = site.check(&search, "", "200").await.text;
        assert!(
            told.contains("engine: Elasticsearch") && told.contains(expect),
            "{told}"
        );
    }
    proxy.set(Network::Cut);
    site.check("PUT Patient/p", &patient("p", "away"), "201")
        .await;
    site.check(
        "GET Patient?family=away&_summary=count",
        "",
        "200 ; /total = 1",
    )
    .await;
    until(&site, |said| {
        said.starts_with("ready; the search index does not serve")
    })
    .await;
    let ready = site
        .send(&format!("GET {}/health/ready", site.origin), "")
        .await;
    assert_eq!(ready.status, 200);
    // Measured once a second.
    let measured = async {
        while metric(&site, "fhir_search_index_waiting ").await < 1.0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, measured).await.unwrap();
    proxy.set(Network::Open);
    until(&site, |said| said == "ready").await;
    settled(&database, &cluster, &prefix).await;
}

/// Where the operator wants no answers of Postgres instead, there are none; but of what no index is asked for. Needs no cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_where_that_is_wanted() {
    let site = with_settings(&[
        ("elasticsearch_url", "http://127.0.0.1:1"),
        ("elasticsearch_asked", "always"),
        ("elasticsearch_when_down", "refuse"),
    ]);
    let expect = "503 ; ~the search index does not answer (";
    site.check("GET Patient?family=x", "", expect).await;
    site.check("GET Patient?_id=x", "", "200").await;
}

/// The commands: compare, repair, make another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_commands() {
    let (database, prefix) = (empty_database().await, prefix());
    let (said, is_right) = {
        let mut command = command(Path::new("."));
        command.args(["--database-url", &database, "index", "verify"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        (
            String::from_utf8(output.stderr).unwrap(),
            output.status.success(),
        )
    };
    assert!(
        !is_right && said.contains("ELASTICSEARCH_URL is not set"),
        "{said}"
    );

    let Some(cluster) = elasticsearch() else {
        return;
    };
    let index = async |arguments: &[&str]| {
        run(
            &database,
            &cluster,
            &prefix,
            &[&["index"], arguments].concat(),
        )
        .await
    };
    let (said, is_right) = index(&["verify"]).await;
    assert!(
        !is_right && said.contains("no search index is complete"),
        "{said}"
    );
    {
        let site = with_settings(&[("database_url", &database)]);
        for n in 0..5 {
            let id = format!("p{n}");
            site.check(&format!("PUT Patient/{id}"), &patient(&id, "x"), "201")
                .await;
        }
    }
    let (said, is_right) = index(&["rebuild"]).await;
    assert!(
        is_right && said.contains("the search index is made"),
        "{said}"
    );
    let (said, is_right) = index(&["verify"]).await;
    assert!(
        is_right && said.contains("5 resources in Postgres, 5 in the index"),
        "{said}"
    );

    let client = reqwest::Client::new();
    let path = format!("{cluster}/{prefix}/_search?q=type:*&size=1");
    let hits = client.get(path).send().await.unwrap().text().await.unwrap();
    let hits: serde_json::Value = serde_json::from_str(&hits).unwrap();
    let hit = &hits["hits"]["hits"][0];
    let (of, id) = (
        hit["_index"].as_str().unwrap(),
        hit["_id"].as_str().unwrap(),
    );
    let path = format!("{cluster}/{of}/_doc/{id}?refresh=true");
    assert!(
        client
            .delete(path)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let (said, is_right) = index(&["verify"]).await;
    assert!(
        !is_right && said.contains(&format!("missing: Patient (pk {id})")),
        "{said}"
    );
    let (said, is_right) = index(&["verify", "--repair"]).await;
    assert!(is_right && said.contains("after the repair"), "{said}");
    let (said, is_right) = index(&["rebuild", "Patient"]).await;
    assert!(is_right, "{said}");
    let (said, is_right) = index(&["rebuild", "Zzyzx"]).await;
    assert!(!is_right && said.contains("no resource type"), "{said}");
}

/// The server is killed again and again while it writes the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_server() {
    let Some(cluster) = elasticsearch() else {
        return;
    };
    let (_kept, folder) = directory();
    let (prefix, database) = (prefix(), empty_database().await);
    let mut arguments = off();
    for (name, value) in [
        ("--database-url", &database),
        ("--elasticsearch-url", &cluster),
        ("--elasticsearch-index", &prefix),
    ] {
        arguments.extend([name.to_string(), value.clone()]);
    }
    let mut acknowledged = 0;
    for round in 0..4 {
        let mut running = serve(&folder, &arguments);
        let site = running.site.clone();
        let writes = async {
            let mut tasks = tokio::task::JoinSet::new();
            for writer in 0..4 {
                let site = site.clone();
                tasks.spawn(async move {
                    let mut done = 0;
                    for n in 0.. {
                        let id = format!("r{round}w{writer}n{}", n % 20);
                        let request = format!("PUT Patient/{id}");
                        match site
                            .try_send(&request, &patient(&id, &format!("f{n}")))
                            .await
                        {
                            Some(_) => done += 1,
                            None => break,
                        }
                    }
                    done
                });
            }
            tasks.join_all().await.into_iter().sum::<u64>()
        };
        let kill = async {
            sleep(Duration::from_millis(1200)).await;
            signal(running.child.id(), libc::SIGKILL);
        };
        let (done, ()) = tokio::join!(writes, kill);
        acknowledged += done;
        running.child.wait().unwrap();
    }
    assert!(acknowledged > 200, "{acknowledged}");
    let running = serve(&folder, &arguments);
    until(&running.site, |said| said == "ready").await;
    settled(&database, &cluster, &prefix).await;
    let total = running
        .site
        .send("GET Patient?_summary=count", "")
        .await
        .json();
    let (said, _) = run(&database, &cluster, &prefix, &["index", "verify"]).await;
    assert!(
        said.contains(&format!("{} in the index", total["total"])),
        "{total} {said}"
    );
    let mut child = running.child;
    crate::process::terminate(&child);
    child.wait().unwrap();
}
