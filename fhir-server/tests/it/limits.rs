//! Settings that bound a request, a bundle, and how much is done at one time.

use crate::site::with_settings;

#[tokio::test]
async fn sizes_bases_and_ages() {
    let site = with_settings(&[
        ("body_max_bytes", "2000"),
        ("url_max_bytes", "300"),
        ("bundle_entries_max", "2"),
        ("count_max", "3"),
        ("page_lifetime_seconds", "1"),
        ("base_url", "https://fhir.example.org/r5/"),
        ("handling", "lenient"),
    ]);
    let long = format!(
        r#"{{"resourceType":"Basic","code":{{"text":"{}"}}}}"#,
        "x".repeat(3000)
    );
    let entries = r#"{"request":{"method":"GET","url":"Basic"}}"#;
    let basic =
        |id: usize| format!(r#"{{"resourceType":"Basic","id":"b{id}","code":{{"text":"x"}}}}"#);
    site.table(&[
        ("POST Basic", &long, "413 ; /issue/0/code = too-long"),
        ("PUT Binary/long\nContent-Type: text/plain", &long, "413 ; /issue/0/code = too-long"),
        (&format!("GET Basic?code={}", "x".repeat(300)), "", "414"),
        ("POST ", &format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries},{entries},{entries}]}}"#), "422 ; /issue/0/code = too-costly"),
        ("PUT Basic/b0", &basic(0), "201 ; Location: https://fhir.example.org/r5/Basic/b0/_history/1"),
        ("GET Basic?nonsense=1", "", "200 ; ~\"mode\":\"outcome\""),
        ("GET Basic?nonsense=1\nPrefer: handling=strict", "", "400"),
        ("GET metadata", "", "200 ; /implementation/url = https://fhir.example.org/r5"),
    ])
    .await;
    for id in 1..6 {
        site.check(&format!("PUT Basic/b{id}"), &basic(id), "201")
            .await;
    }
    let page = site
        .check(
            "GET Basic?_count=50",
            "",
            "200 ; /entry/2/search/mode = match ; /entry/3 absent",
        )
        .await
        .json();
    let next = page["link"][1]["url"].as_str().unwrap();
    let path = next.strip_prefix("https://fhir.example.org/r5/").unwrap();
    site.check(&format!("GET {path}"), "", "200").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    site.check(&format!("GET {path}"), "", "410").await;
}

#[tokio::test]
async fn forwarded_headers_count_only_where_trusted() {
    let trusting = with_settings(&[("trust_forwarded", "true")]);
    let body = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
    let request = "POST Basic\nX-Forwarded-Proto: https\nX-Forwarded-Host: fhir.example.org";
    trusting
        .check(
            request,
            body,
            "201 ; Location: https://fhir.example.org/fhir/Basic/",
        )
        .await;
    let strict = crate::site::shared();
    strict
        .check(
            request,
            body,
            &format!("201 ; Location: {}/Basic/", strict.base()),
        )
        .await;
}

#[tokio::test]
async fn too_much_at_one_time() {
    let site = with_settings(&[
        ("requests_max", "1"),
        ("requests_waiting_max", "2"),
        ("requests_wait_ms", "5000"),
    ]);
    let entry = r#"{"resource":{"resourceType":"Basic","code":{"text":"x"}},"request":{"method":"POST","url":"Basic"}}"#;
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{}]}}"#,
        vec![entry; 60].join(",")
    );
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (site, bundle) = (site.clone(), bundle.clone());
        tasks.spawn(async move { site.send("POST ", &bundle).await });
    }
    let (mut done, mut refused) = (0, 0);
    while let Some(answer) = tasks.join_next().await {
        let answer = answer.unwrap();
        match answer.status {
            200 => done += 1,
            429 | 503 => {
                refused += 1;
                assert_eq!(answer.header("retry-after"), "1");
                assert_eq!(answer.json()["resourceType"], "OperationOutcome");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(done >= 3 && refused >= 1, "{done} done, {refused} refused");
    site.check("GET Basic/none", "", "404").await;
}
