//! SearchParameter resources over HTTP: what is refused, when they answer, that the CapabilityStatement tells it, and that `kill -9` loses nothing.

use crate::process::{directory, off, serve, signal, terminate};
use crate::site::{Site, shared, with_settings};
use serde_json::json;
use std::time::Duration;

fn parameter(code: &str, base: &str, expression: &str, status: &str) -> String {
    json!({
        "resourceType": "SearchParameter", "id": code, "url": format!("urn:x:{code}"), "name": "p", "status": status, "description": "d",
        "code": code, "base": [base], "type": "token", "expression": expression
    })
    .to_string()
}

/// Waits until nothing is being indexed again.
async fn until_indexed(site: &Site) {
    loop {
        let answer = site.check("GET $reindex-status", "", "200").await.json();
        if answer["parameter"].as_array().is_none_or(Vec::is_empty) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn is_declared(site: &Site, base: &str, code: &str) -> bool {
    let statement = site.check("GET metadata", "", "200").await.json();
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let resource = resources.iter().find(|it| it["type"] == base).unwrap();
    let parameters = resource["searchParam"].as_array().unwrap();
    parameters.iter().any(|it| it["name"] == code)
}

#[tokio::test]
async fn from_draft_to_deleted() {
    let site = with_settings(&[]);
    let of = |expression, status| parameter("marked", "Basic", expression, status);
    let basic =
        r#"{"resourceType":"Basic","id":"1","code":{"text":"x"},"identifier":[{"value":"a"}]}"#;
    let at = "PUT SearchParameter/marked";
    site.table(&[
        ("PUT Basic/1", basic, "201"),
        (at, &of("nonsense(", "draft"), "201"),
        ("GET Basic?marked=a", "", "400 ; ~no search parameter"),
        (
            at,
            &of("nonsense(", "active"),
            "422 ; /issue/0/code = business-rule ; /issue/0/expression/0 = SearchParameter.expression",
        ),
        (
            "POST SearchParameter/$validate",
            &of("Basic.nothing", "active"),
            "200 ; /issue/0/expression/0 = SearchParameter.expression",
        ),
        (
            "PATCH SearchParameter/marked\nContent-Type: application/json-patch+json",
            r#"[{"op":"replace","path":"/status","value":"active"}]"#,
            "422 ; /issue/0/expression/0 = SearchParameter.expression",
        ),
        (at, &of("Basic.identifier", "active"), "200"),
    ])
    .await;
    until_indexed(&site).await;
    assert!(is_declared(&site, "Basic", "marked").await);
    site.table(&[
        ("GET Basic?marked=a", "", "200 ; /total = 1"),
        ("GET Basic?marked=b", "", "200 ; /total = 0"),
        ("GET Basic?marked:missing=true", "", "200 ; /total = 0"),
        (
            "POST Basic\nIf-None-Exist: marked=a",
            basic,
            "200 ; Location: Basic/1",
        ),
        (
            "POST SearchParameter",
            &of("Basic.identifier", "active"),
            "422 ; /issue/0/expression/0 = SearchParameter.url",
        ),
        (at, &of("Basic.identifier", "retired"), "200"),
        ("GET Basic?marked=a", "", "400 ; ~no search parameter"),
    ])
    .await;
    assert!(!is_declared(&site, "Basic", "marked").await);
    site.table(&[(at, &of("Basic.identifier", "active"), "200")])
        .await;
    until_indexed(&site).await;
    site.table(&[
        ("GET Basic?marked=a", "", "200 ; /total = 1"),
        ("DELETE SearchParameter/marked", "", "204"),
        ("GET Basic?marked=a", "", "400"),
    ])
    .await;
}

#[tokio::test]
async fn by_hand() {
    let site = shared();
    let one =
        r#"{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"Linkage"}]}"#;
    let none =
        r#"{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"Nothing"}]}"#;
    site.table(&[
        ("POST $reindex", none, "400 ; ~type must name"),
        ("GET $reindex?type=Linkage", "", "405"),
        ("POST $reindex", one, "200 ; /resourceType = Parameters"),
        (
            "POST $reindex-status",
            "",
            "200 ; /resourceType = Parameters",
        ),
    ])
    .await;
    until_indexed(&site).await;
    let metrics = site.send(&format!("GET {}/metrics", site.origin), "").await;
    assert!(metrics.text.contains("fhir_search_parameters_waiting"));
}

/// Killed wherever it is, over and over, while others write: a search by the new parameter is refused until it finds all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reindex_survives_kill_9() {
    const FILLED: usize = 3000;
    let (_kept, directory) = directory();
    let mut running = serve(&directory, &off());
    for first in (0..FILLED).step_by(1000) {
        fill(&running.site, first, 1000).await;
    }
    let of = |expression| parameter("marked", "Basic", expression, "active");
    let put = "PUT SearchParameter/marked";
    running.site.check(put, &of("Basic.code"), "201").await;
    running
        .site
        .check(put, &of("Basic.identifier"), "200")
        .await;
    let mut written = FILLED;
    let mut refused = 0;
    for round in 0..8 {
        let site = running.site.clone();
        let writer = tokio::spawn(async move {
            let mut count = 0;
            for id in 0..1000 {
                let body = basic(10_000 + round * 1000 + id);
                let at = format!("PUT Basic/b{}", 10_000 + round * 1000 + id);
                match site.try_send(&at, &body).await {
                    Some(answer) if answer.status == 201 => count += 1,
                    _ => break,
                }
            }
            count
        });
        // The moment differs from round to round: within a batch, between two, before the first.
        tokio::time::sleep(Duration::from_millis(37 * (round as u64 % 5))).await;
        let answer = running
            .site
            .try_send("GET Basic?marked=m&_summary=count", "")
            .await;
        match answer {
            Some(answer) if answer.status == 400 => {
                assert!(answer.text.contains("being indexed"), "{}", answer.text);
                refused += 1;
            }
            Some(answer) if answer.status == 200 => {
                let total = answer.json()["total"].as_u64().unwrap() as usize;
                assert!(total >= written, "{total} of {written}");
            }
            _ => {}
        }
        signal(running.child.id(), libc::SIGKILL);
        running.child.wait().unwrap();
        written += writer.await.unwrap();
        running = serve(&directory, &off());
    }
    assert!(refused > 0, "it was done before it could be killed");
    until_indexed(&running.site).await;
    // What was on its way when the server was killed may be there, too.
    let all = running
        .site
        .check("GET Basic?_summary=count", "", "200")
        .await;
    let found = running
        .site
        .check("GET Basic?marked=m&_summary=count", "", "200")
        .await;
    let total = found.json()["total"].as_u64().unwrap();
    assert_eq!(all.json()["total"], total);
    assert!(total as usize >= written, "{total} of {written}");
    terminate(&running.child);
    running.child.wait().unwrap();
}

fn basic(id: usize) -> String {
    format!(
        r#"{{"resourceType":"Basic","id":"b{id}","code":{{"text":"x"}},"identifier":[{{"value":"m"}}]}}"#
    )
}

async fn fill(site: &Site, first: usize, count: usize) {
    let entries: Vec<String> = (first..first + count)
        .map(|id| {
            let resource = basic(id);
            format!(r#"{{"resource":{resource},"request":{{"method":"PUT","url":"Basic/b{id}"}}}}"#)
        })
        .collect();
    let entries = entries.join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    site.check("POST ", &bundle, "200").await;
}
