//! `Prefer: respond-async`: what is accepted, what is told meanwhile, and what comes of it, also where a server dies.

use crate::site::{Answer, Site, shared, store, with_settings};
use fhir_storage::testing::empty_database;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

const ASYNC: &str = "\nPrefer: respond-async";

/// Sends a request that is accepted; where to ask for its result.
async fn accepted(site: &Site, request: &str, body: &str) -> String {
    let expect = format!(
        "202 ; content-location: {}/_job/ ; retry-after: 1 ; ~informational",
        site.base()
    );
    let answer = site
        .check(&format!("{request}{ASYNC}"), body, &expect)
        .await;
    answer.header("content-location").to_string()
}

/// Asks until it is done.
async fn polled(site: &Site, status: &str, headers: &str) -> Answer {
    let work = async {
        loop {
            let answer = site.send(&format!("GET {status}{headers}"), "").await;
            match answer.status {
                202 => {
                    assert!(answer.headers.contains_key("x-progress") && answer.text.is_empty());
                    let wait: u64 = answer.header("retry-after").parse().unwrap();
                    assert!((1..=30).contains(&wait));
                }
                _ => return answer,
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), work)
        .await
        .expect("a job ends")
}

async fn done(site: &Site, request: &str, body: &str) -> Value {
    let status = accepted(site, request, body).await;
    let answer = polled(site, &status, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.headers.contains_key("expires"));
    let bundle = answer.json();
    assert_eq!(
        (&bundle["resourceType"], &bundle["type"]),
        (&"Bundle".into(), &"batch-response".into())
    );
    assert_eq!(bundle["entry"].as_array().unwrap().len(), 1);
    bundle["entry"][0].clone()
}

#[tokio::test]
async fn results() {
    let site = shared();
    let basic = |id: &str| {
        format!(r#"{{"resourceType":"Basic","id":"{id}","code":{{"coding":[{{"code":"job"}}]}}}}"#)
    };
    let bundle = |kind: &str, second: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"request":{{"method":"PUT","url":"Basic/{kind}-1"}},"resource":{}}},{{"request":{{"method":"PUT","url":"Basic/{kind}-2"}},"resource":{second}}}]}}"#,
            basic(&format!("{kind}-1"))
        )
    };
    site.check("PUT Basic/job-1", &basic("job-1"), "201").await;
    let xml = basic("x");
    let wrong = r#"{"resourceType":"Basic","id":"transaction-2"}"#;
    for (request, body, expects) in [
        (
            "GET Basic?code=job&_id=job-1",
            String::new(),
            &[
                "/response/status = 200 OK",
                "/resource/type = searchset",
                "/resource/total = 1",
            ][..],
        ),
        (
            "POST Basic/_search\nContent-Type: application/x-www-form-urlencoded",
            "_id=job-1&_summary=count".into(),
            &["/response/status = 200 OK", "/resource/total = 1"],
        ),
        (
            "GET Basic/job-1/_history",
            String::new(),
            &["/resource/type = history"],
        ),
        (
            "POST ",
            bundle("batch", &basic("batch-2")),
            &[
                "/response/status = 200 OK",
                "/resource/type = batch-response",
                "/resource/entry/1/response/status = 201 Created",
            ],
        ),
        (
            "POST ",
            bundle("transaction", &basic("transaction-2")),
            &[
                "/resource/type = transaction-response",
                "/resource/entry/1/response/etag = W/\"1\"",
            ],
        ),
        (
            "POST ",
            bundle("transaction", wrong),
            &[
                "/response/status = 422 Unprocessable Entity",
                "/response/outcome/issue/0/expression/0 = Bundle.entry[1].resource.code",
                "/resource absent",
            ],
        ),
        (
            "GET Basic/job-1/$meta",
            String::new(),
            &[
                "/response/status = 200 OK",
                "/resource/resourceType = Parameters",
            ],
        ),
        (
            "POST Basic/$validate",
            xml,
            &["/resource/resourceType = OperationOutcome"],
        ),
        (
            "GET Basic/none/_history",
            String::new(),
            &[
                "/response/status = 404 Not Found",
                "/response/outcome/issue/0/code = not-found",
            ],
        ),
    ] {
        let entry = done(&site, request, &body).await;
        for expect in expects {
            let entry = Answer {
                status: 200,
                headers: Default::default(),
                text: entry.to_string(),
            };
            assert!(entry.holds(expect), "{request}: {expect}\n{}", entry.text);
        }
    }
    site.check("GET Basic/transaction-1", "", "200 ; etag: W/\"1\"")
        .await;
}

#[tokio::test]
async fn not_accepted() {
    let site = shared();
    let with = |request: &str| format!("{request}{ASYNC}");
    site.table(&[
        // What is wrong to begin with.
        (&with("GET Basic?nosuch=1"), "", "400"),
        (
            &with("GET Basic?_outputFormat=application/fhir+ndjson"),
            "",
            "400",
        ),
        (&with("GET Nosuch"), "", "404"),
        (&with("GET Basic/$nosuch"), "", "404"),
        (&with("POST "), "{", "400"),
        (&with("POST \nContent-Type: text/plain"), "x", "415"),
        (&with("GET Basic?_format=nosuch"), "", "406"),
        // What is soon done is done.
        (&with("GET Basic/none"), "", "404"),
        (&with("GET metadata"), "", "200"),
        (
            &with("PUT Basic/at-once"),
            r#"{"resourceType":"Basic","id":"at-once","code":{"text":"x"}}"#,
            "201",
        ),
        ("GET _job/no-uuid", "", "404"),
        (&format!("GET _job/{}", Uuid::new_v4()), "", "404"),
        (&format!("DELETE _job/{}", Uuid::new_v4()), "", "404"),
        ("PUT _job/1", "{}", "405 ; allow: DELETE"),
    ])
    .await;
}

#[tokio::test]
async fn formats() {
    let site = shared();
    let as_xml = "\nAccept: application/fhir+xml";
    let status = accepted(&site, "GET Basic?_id=none&_format=xml&_pretty=true", "").await;
    for (headers, xml) in [
        ("", true),
        ("\nAccept: */*", true),
        ("\nAccept: application/fhir+json", false),
    ] {
        let answer = polled(&site, &status, headers).await;
        assert_eq!(
            answer.header("content-type").contains("xml"),
            xml,
            "{headers}"
        );
        assert_eq!(
            answer.text.contains("\n  <type value=\"batch-response\"/>"),
            xml,
            "{headers}"
        );
    }
    let status = accepted(&site, "GET Basic?_id=none", "").await;
    let answer = polled(&site, &status, as_xml).await;
    assert!(answer.text.contains("<type value=\"batch-response\"/>"));
    site.check(&format!("DELETE {status}"), "", "202").await;
    site.check(
        &format!("GET {status}"),
        "",
        "404 ; /issue/0/code = not-found",
    )
    .await;
}

#[tokio::test]
async fn bounds() {
    let url = empty_database().await;
    let idle = with_settings(&[
        ("database_url", &url),
        ("jobs_running_max", "off"),
        ("jobs_max", "2"),
    ]);
    let first = accepted(&idle, "GET Basic?_summary=count", "").await;
    let second = accepted(&idle, "GET Basic", "").await;
    idle.table(&[
        (
            &format!("GET Basic{ASYNC}"),
            "",
            "429 ; retry-after: 1 ; /issue/0/code = throttled",
        ),
        (
            &format!("GET {first}"),
            "",
            "202 ; empty ; x-progress: waiting; 0 before it",
        ),
        (
            &format!("GET {second}"),
            "",
            "202 ; empty ; x-progress: waiting; 1 before it",
        ),
        (&format!("DELETE {first}"), "", "202"),
        (&format!("GET {first}"), "", "404"),
    ])
    .await;
    // Another server of the same database does it; what is longer than is kept is told as such.
    let working = with_settings(&[("database_url", &url), ("job_result_max_bytes", "300")]);
    let answer = polled(&working, &second.replace(&idle.origin, &working.origin), "").await;
    assert!(
        answer.holds("/entry/0/response/status = 200 OK"),
        "{}",
        answer.text
    );
    let body = format!(
        r#"{{"resourceType":"Basic","id":"long","code":{{"text":"{}"}}}}"#,
        "x".repeat(300)
    );
    working.check("PUT Basic/long", &body, "201").await;
    let entry = done(&working, "GET Basic?_id=long", "").await;
    assert_eq!(
        entry["response"]["outcome"]["issue"][0]["code"],
        "too-costly"
    );
    // What was written is told as done, although its answer is too long to be kept.
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"PUT","url":"Basic/written"}},"resource":{}}}]}}"#,
        body.replace("\"long\"", "\"written\"")
    );
    let entry = done(&working, "POST \nPrefer: return=representation", &bundle).await;
    assert_eq!(
        entry["response"]["outcome"]["issue"][0]["code"],
        "informational"
    );
    assert_eq!(entry["response"]["status"], "200 OK");
    working.check("GET Basic/written", "", "200").await;
}

#[tokio::test]
async fn a_server_that_dies() {
    let url = empty_database().await;
    let idle = with_settings(&[("database_url", &url), ("jobs_running_max", "off")]);
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"PUT","url":"Basic/died"},"resource":{"resourceType":"Basic","id":"died","code":{"text":"x"}}}]}"#;
    let [begun_read, begun_write] = [
        accepted(&idle, "GET Basic?_summary=count", "").await,
        accepted(&idle, "POST ", bundle).await,
    ];
    // One that begins both and is not heard of again.
    let store = store(&[("database_url", &url)]).await;
    let dead = Uuid::new_v4();
    for _ in 0..2 {
        assert!(store.claim_job(dead, 1, &[]).await.unwrap().is_some());
    }
    let waiting = accepted(&idle, "POST ", bundle).await;
    let next = with_settings(&[("database_url", &url)]);
    let there = |status: &str| status.replace(&idle.origin, &next.origin);
    for (status, expect) in [
        // What only reads is begun again, what nobody had begun is done.
        (begun_read, "/entry/0/response/status = 200 OK"),
        (
            waiting,
            "/entry/0/resource/entry/0/response/status = 201 Created",
        ),
        // What writes is not; nobody knows how far it came.
        (
            begun_write,
            "/entry/0/response/outcome/issue/0/code = transient",
        ),
    ] {
        let answer = polled(&next, &there(&status), "").await;
        assert!(answer.holds(expect), "{expect}: {}", answer.text);
    }
}

#[tokio::test]
async fn results_expire() {
    let site = with_settings(&[("job_lifetime_seconds", "7")]);
    let status = accepted(&site, "GET Basic?_summary=count", "").await;
    let answer = polled(&site, &status, "").await;
    let date = |name: &str| httpdate::parse_http_date(answer.header(name)).unwrap();
    let left = date("expires").duration_since(date("date")).unwrap();
    assert!(left <= Duration::from_secs(8), "{left:?}");
}
