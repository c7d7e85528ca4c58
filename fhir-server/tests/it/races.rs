//! Many clients at once on one identity: exactly one resource, never an error that is ours, no lost update (design invariant 9).

use crate::site::{self, Answer, Site, id_of};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;

const SYSTEM: &str = "http://races.example.org";

fn patient(value: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","identifier":[{{"system":"{SYSTEM}","value":"{value}"}}]}}"#
    )
}

/// A conditional create and an observation that points at whoever won it.
fn transaction(value: &str, text: &str) -> String {
    let url = "urn:uuid:5a1f0a52-0000-4000-8000-000000000001";
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
        {{"fullUrl":"{url}","resource":{},"request":{{"method":"POST","url":"Patient","ifNoneExist":"identifier={SYSTEM}|{value}"}}}},
        {{"resource":{{"resourceType":"Observation","status":"final","code":{{"text":"{text}"}},"subject":{{"reference":"{url}"}}}},
          "request":{{"method":"POST","url":"Observation"}}}}]}}"#,
        patient(value)
    )
}

/// A third each: conditional creates, conditional updates, conditional creates inside transactions.
async fn ask(site: Site, value: String, number: usize) -> u16 {
    let answer = match number % 3 {
        0 => {
            let bundle = transaction(&value, &format!("n{number}"));
            site.send("POST ", &bundle).await
        }
        1 => {
            let request = format!("PUT Patient?identifier={SYSTEM}|{value}");
            site.send(&request, &patient(&value)).await
        }
        _ => {
            let request = format!("POST Patient\nIf-None-Exist: identifier={SYSTEM}|{value}");
            site.send(&request, &patient(&value)).await
        }
    };
    answer.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_conditional_writes_of_one_identity_make_one_resource() {
    let site = site::for_crowds();
    let value = uuid::Uuid::new_v4().to_string();
    let mut asked = JoinSet::new();
    for number in 0..200 {
        asked.spawn(ask(site.clone(), value.clone(), number));
    }
    for status in asked.join_all().await {
        assert!(matches!(status, 200 | 201), "{status}");
    }
    let search = format!("GET Patient?identifier={SYSTEM}|{value}");
    let found = site.check(&search, "", "200 ; /total = 1").await.json();
    let id = found["entry"][0]["resource"]["id"].as_str().unwrap();
    // Each transaction's observation points at the one that won.
    let search = format!("GET Observation?subject=Patient/{id}&_summary=count");
    site.check(&search, "", "200 ; /total = 67").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_under_if_match() {
    const CLIENTS: usize = 8;
    const EACH: usize = 10;
    let site = site::shared();
    let body = r#"{"resourceType":"Basic","code":{"text":"0"}}"#;
    let id = id_of(&site.check("POST Basic", body, "201").await);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (site, id) = (site.clone(), id.clone());
        clients.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let read = site.check(&format!("GET Basic/{id}"), "", "200").await;
                let mut resource = read.json();
                let count: usize = resource["code"]["text"].as_str().unwrap().parse().unwrap();
                resource["code"]["text"] = (count + 1).to_string().into();
                let request = format!("PUT Basic/{id}\nIf-Match: {}", read.header("etag"));
                match site.send(&request, &resource.to_string()).await.status {
                    200 => done += 1,
                    412 => {}
                    status => panic!("{status}"),
                }
            }
        });
    }
    clients.join_all().await;
    let expect = format!(
        "200 ; /code/text = {} ; /meta/versionId = {}",
        CLIENTS * EACH,
        CLIENTS * EACH + 1
    );
    site.check(&format!("GET Basic/{id}"), "", &expect).await;
}

/// Fifty updates of one resource at once; what each was answered.
async fn fifty_updates(site: &Site, id: &str, headers: &str) -> Vec<(usize, Answer)> {
    let mut asked = JoinSet::new();
    for number in 0..50 {
        let (site, request) = (site.clone(), format!("PUT Basic/{id}{headers}"));
        let body =
            format!(r#"{{"resourceType":"Basic","id":"{id}","code":{{"text":"n{number}"}}}}"#);
        asked.spawn(async move { (number, site.send(&request, &body).await) });
    }
    asked.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_updates_of_one_version_one_wins() {
    let site = site::for_crowds();
    let body = r#"{"resourceType":"Basic","code":{"text":"0"}}"#;
    let id = id_of(&site.check("POST Basic", body, "201").await);
    let answers = fifty_updates(&site, &id, "\nIf-Match: W/\"1\"").await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(_, answer)| answer.status == 200);
    assert_eq!(won.len(), 1);
    for (_, answer) in lost {
        assert_eq!(answer.status, 412, "{}", answer.text);
    }
    let expect = format!("200 ; /meta/versionId = 2 ; /code/text = n{}", won[0].0);
    site.check(&format!("GET Basic/{id}"), "", &expect).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_updates_are_fifty_versions() {
    let site = site::for_crowds();
    let body = r#"{"resourceType":"Basic","code":{"text":"0"}}"#;
    let id = id_of(&site.check("POST Basic", body, "201").await);
    for (number, answer) in fifty_updates(&site, &id, "").await {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let version = answer
            .header("etag")
            .trim_start_matches("W/")
            .trim_matches('"');
        let request = format!("GET Basic/{id}/_history/{version}");
        let expect = format!("200 ; /code/text = n{number}");
        site.check(&request, "", &expect).await;
    }
    let request = format!("GET Basic/{id}/_history?_count=100");
    let history = site.check(&request, "", "200 ; /total = 51").await.json();
    let entries = history["entry"].as_array().unwrap().iter().rev();
    let mut before = String::new();
    for (at, entry) in entries.enumerate() {
        let meta = &entry["resource"]["meta"];
        assert_eq!(meta["versionId"], (at + 1).to_string());
        let time = meta["lastUpdated"].as_str().unwrap();
        assert!(before.as_str() < time, "{before} {time}");
        before = time.to_string();
    }
}

/// Each adds an identifier, and with it a lock that the others could not know of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_of_one_resource_are_all_done() {
    const CLIENTS: usize = 24;
    const EACH: usize = 6;
    let site = site::for_crowds();
    let value = uuid::Uuid::new_v4().to_string();
    let id = id_of(&site.check("POST Patient", &patient(&value), "201").await);
    let by_id = format!("PATCH Patient/{id}");
    let by_condition = format!("PATCH Patient?identifier={SYSTEM}|{value}");
    for (name, request) in [("i", by_id), ("c", by_condition)] {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let request = format!("{request}\nContent-Type: application/json-patch+json");
            let site = site.clone();
            clients.spawn(async move {
                for number in 0..EACH {
                    let patch = format!(
                        r#"[{{"op":"add","path":"/identifier/-","value":{{"value":"{name}{client}-{number}"}}}}]"#
                    );
                    site.check(&request, &patch, "200").await;
                }
            });
        }
        clients.join_all().await;
    }
    let all = 2 * CLIENTS * EACH;
    let expect = format!("200 ; /meta/versionId = {}", 1 + all);
    let left = site.check(&format!("GET Patient/{id}"), "", &expect).await;
    let left = left.json();
    let words: HashSet<&str> = left["identifier"]
        .as_array()
        .unwrap()
        .iter()
        .map(|identifier| identifier["value"].as_str().unwrap())
        .collect();
    assert_eq!(words.len(), 1 + all);
}

/// Commits in any order: short ones, and transactions whose time is taken long before they are committed.
async fn write(site: Site, writer: usize) -> Vec<(String, String)> {
    let mut written = Vec::new();
    for number in 0..30 {
        match (writer + number) % 3 {
            0 => {
                let entry = |at: usize| {
                    format!(
                        r#"{{"resource":{{"resourceType":"Basic","id":"f{writer}-{at}","code":{{"text":"{number}"}}}},"request":{{"method":"PUT","url":"Basic/f{writer}-{at}"}}}}"#
                    )
                };
                let entries: Vec<String> = (0..100).map(entry).collect();
                let entries = entries.join(",");
                let bundle = format!(
                    r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#
                );
                let answer = site.check("POST ", &bundle, "200").await.json();
                for (at, entry) in answer["entry"].as_array().unwrap().iter().enumerate() {
                    let etag = entry["response"]["etag"].as_str().unwrap();
                    written.push((format!("Basic/f{writer}-{at}"), etag.to_string()));
                }
            }
            1 => {
                let body = r#"{"resourceType":"Flag","status":"active","code":{"text":"x"},"subject":{"reference":"Patient/x"}}"#;
                let answer = site.check("POST Flag", body, "201").await;
                let key = format!("Flag/{}", id_of(&answer));
                written.push((key.clone(), "W/\"1\"".into()));
                site.check(&format!("DELETE {key}"), "", "204").await;
                written.push((key, "W/\"2\"".into()));
            }
            _ => {
                let body = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
                let answer = site.check("POST Basic", body, "201").await;
                written.push((format!("Basic/{}", id_of(&answer)), "W/\"1\"".into()));
            }
        }
    }
    written
}

/// All that a history has since a time, page by page; and up to where it goes.
async fn follow(site: &Site, path: &str, seen: &mut HashSet<(String, String)>) -> String {
    let (mut next, mut until) = (path.to_string(), None);
    loop {
        let page = site.check(&format!("GET {next}"), "", "200").await.json();
        let horizon = page["meta"]["lastUpdated"].as_str().unwrap().to_string();
        assert_eq!(until.get_or_insert(horizon.clone()), &horizon);
        for entry in page["entry"].as_array().into_iter().flatten() {
            let url = entry["fullUrl"].as_str().unwrap();
            let key = url[site.base().len() + 1..].to_string();
            let etag = entry["response"]["etag"].as_str().unwrap().to_string();
            assert!(seen.insert((key, etag)), "twice: {entry}");
        }
        let links = page["link"].as_array().unwrap();
        match links.iter().find(|link| link["relation"] == "next") {
            Some(link) => next = link["url"].as_str().unwrap().to_string(),
            None => return horizon,
        }
    }
}

/// Who goes on from where a history ended has every change once, however late it was committed (design invariant 8).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_followed_by_since_misses_nothing() {
    let site = site::with_settings(&[]);
    let open = Arc::new(AtomicUsize::new(6));
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let (site, open) = (site.clone(), open.clone());
        writers.spawn(async move {
            let written = write(site, writer).await;
            open.fetch_sub(1, Ordering::Relaxed);
            written
        });
    }
    let (mut system, mut flags) = (HashSet::new(), HashSet::new());
    let (mut since, mut flags_since) = ("1970".to_string(), "1970".to_string());
    let mut round = 0;
    while open.load(Ordering::Relaxed) > 0 {
        round += 1;
        let sort = ["-_lastUpdated", "_lastUpdated"][round % 2];
        let path = format!("_history?_since={since}&_count=200&_sort={sort}");
        since = follow(&site, &path, &mut system).await;
        let path = format!("Flag/_history?_since={flags_since}&_count=7&_sort={sort}");
        flags_since = follow(&site, &path, &mut flags).await;
    }
    let written: HashSet<(String, String)> =
        writers.join_all().await.into_iter().flatten().collect();
    let path = format!("_history?_since={since}&_count=1000");
    follow(&site, &path, &mut system).await;
    let path = format!("Flag/_history?_since={flags_since}&_count=1000");
    follow(&site, &path, &mut flags).await;
    assert!(written.len() > 500, "{}", written.len());
    assert_eq!(system, written);
    let of_flags = written
        .into_iter()
        .filter(|(key, _)| key.starts_with("Flag/"));
    assert_eq!(flags, of_flags.collect());
}
