//! The suites of `tests/search-suite` over HTTP: what the engine finds in its own tests, a client finds too.

use crate::site::{Site, with_settings};
use ::search_suite::{Expect, Suite, found, suites};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

#[tokio::test]
async fn finds_over_http() {
    let mut wrong = Vec::new();
    for suite in suites() {
        let site = with_settings(&[]);
        let updated = put(&site, &suite).await;
        wrong.extend(wrong_answers(&site, &suite, &updated).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// With an index in Elasticsearch, which the server itself makes and writes while it is asked.
#[tokio::test]
async fn finds_over_http_by_an_index() {
    let Some(cluster) = fhir_storage::testing::elasticsearch() else {
        return;
    };
    let (mut wrong, mut by_index) = (Vec::new(), 0);
    for suite in suites() {
        let prefix = format!("test_{}", uuid::Uuid::new_v4().simple());
        let site = with_settings(&[
            ("elasticsearch_url", &cluster),
            ("elasticsearch_index", &prefix),
            ("elasticsearch_asked", "always"),
            ("elasticsearch_search_timeout_ms", "60000"),
        ]);
        until_searchable(&site).await;
        let updated = put(&site, &suite).await;
        for _ in 0..2 {
            wrong.extend(wrong_answers(&site, &suite, &updated).await);
        }
        by_index += metric(&site, "fhir_search_index_answered_total").await as u64;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(by_index > 100, "{by_index} searches answered by the index");
}

/// The first index of a server is made in the background.
async fn until_searchable(site: &Site) {
    let made = async {
        while metric(site, "fhir_search_index_searchable").await < 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let within = Duration::from_secs(60);
    tokio::time::timeout(within, made).await.unwrap();
}

async fn metric(site: &Site, name: &str) -> f64 {
    let url = format!("GET {}/metrics", site.origin);
    let all = site.send(&url, "").await.text;
    let line = all.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_default()
}

async fn wrong_answers(
    site: &Site,
    suite: &Suite,
    updated: &HashMap<String, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in &suite.cases {
        if case.engine_only.is_some() {
            continue;
        }
        let url = case.url(&site.base(), |id| updated[id].clone());
        let got = search(site, &url).await;
        if got != case.expect {
            let (place, expect) = (&case.place, &case.expect);
            wrong.push(format!(
                "{place}: {url}\n  expected {expect:?}\n  got      {got:?}"
            ));
        }
    }
    wrong
}

/// Writes the resources, the first one last; when each was updated.
async fn put(site: &Site, suite: &Suite) -> HashMap<String, String> {
    let mut updated = HashMap::new();
    for resource in suite.resources(&site.base()).iter().rev() {
        let text = |name: &str| resource[name].as_str().unwrap().to_owned();
        let url = format!("PUT {}/{}", text("resourceType"), text("id"));
        let stored = site.check(&url, &resource.to_string(), "201").await.json();
        let time = stored["meta"]["lastUpdated"].as_str().unwrap();
        updated.insert(text("id"), time.to_owned());
        // The next one is of a later millisecond.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    updated
}

async fn search(site: &Site, url: &str) -> Expect {
    let (types, query) = url.split_once('?').unwrap_or((url, ""));
    let request = match types.contains(',') {
        true => format!("GET ?_type={types}&{query}"),
        false => format!("GET {types}?{query}"),
    };
    let answer = site.send(request.trim_end_matches(['?', '&']), "").await;
    let bundle = answer.json();
    if answer.status != 200 {
        assert!((400..500).contains(&answer.status), "{url}: {bundle}");
        let code = bundle["issue"][0]["code"].as_str().unwrap_or_default();
        return Expect::Refused(code.to_owned());
    }
    let mut links = bundle["link"].as_array().into_iter().flatten();
    let more = links.any(|link| link["relation"] == "next");
    let total = bundle["total"].as_u64();
    let [matches, includes] = ["match", "include"].map(|mode| ids(&bundle, mode));
    Expect::Found(found(&matches, &includes, total, more))
}

fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let of_mode = entries.filter(|entry| entry["search"]["mode"] == mode);
    // A contained resource stands under its container's URL.
    let id = |entry: &Value| {
        let url = entry["fullUrl"].as_str().unwrap();
        url.rsplit('/').next().unwrap().to_owned()
    };
    of_mode.map(id).collect()
}
