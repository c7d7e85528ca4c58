//! Search through HTTP: the bundle, links, pages, methods and refusals. What a parameter matches is tested where it is decided.

use crate::site::{Site, shared, with_settings};
use serde_json::Value;

async fn seed(site: &Site, tag: &str, count: usize) {
    let entries: Vec<Value> = (0..count)
        .map(|number| {
            let id = format!("{tag}-{number:03}");
            serde_json::json!({
                "resource": { "resourceType": "Patient", "id": id, "meta": { "tag": [{ "system": "urn:t", "code": tag }] },
                    "name": [{ "family": format!("Family{number:03}") }], "birthDate": format!("19{:02}-01-01", number % 100),
                    "active": number % 2 == 0, "identifier": [{ "system": "urn:s", "value": id }] },
                "request": { "method": "PUT", "url": format!("Patient/{id}") },
            })
        })
        .collect();
    let bundle =
        serde_json::json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
    site.check("POST ", &bundle.to_string(), "200").await;
}

fn ids(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| entry["resource"]["id"].as_str().unwrap_or("").to_string())
        .collect()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    let found = links.iter().find(|link| link["relation"] == relation)?;
    found["url"].as_str().map(str::to_string)
}

#[tokio::test]
async fn bundle_and_links() {
    let site = shared();
    seed(&site, "links", 5).await;
    let base = site.base();
    site.table(&[
        ("GET Patient?_tag=urn:t|links&active=true&_format=json", "",
         &format!("200 ; /resourceType = Bundle ; /type = searchset ; /total = 3 ; /link/0/relation = self ; /link/0/url = {base}/Patient?_tag=urn:t%7Clinks&active=true ; /link/1 absent ; /entry/0/search/mode = match")),
        ("GET Patient?_tag=urn:t|links&_id=links-001", "", &format!("200 ; /total = 1 ; /entry/0/fullUrl = {base}/Patient/links-001 ; /entry/0/resource/id = links-001")),
        ("GET Patient?_tag=urn:t|no-such", "", "200 ; /total = 0 ; /entry absent"),
        ("GET Patient?_tag=urn:t|links&_summary=count", "", "200 ; /total = 5 ; /entry absent"),
        ("GET Patient?_tag=urn:t|links&_count=0", "", "200 ; /total = 5 ; /entry absent"),
        ("GET Patient?_tag=urn:t|links&_total=accurate&_count=2", "", "200 ; /total = 5 ; /entry/1/search/mode = match ; /entry/2 absent ; /link/1/relation = next"),
        ("HEAD Patient?_tag=urn:t|links", "", "200 ; empty"),
        ("GET Patient?identifier=urn%3As%7Clinks-002", "", "200 ; /total = 1"),
        ("GET Patient/?identifier=urn:s|links-002", "", "200 ; /total = 1"),
        ("POST Patient/_search\nContent-Type: application/x-www-form-urlencoded", "_tag=urn:t%7Clinks&active=true", "200 ; /total = 3 ; ~/Patient?_tag="),
        ("POST Patient/_search?_tag=urn:t|links\nContent-Type: application/x-www-form-urlencoded", "active=false", "200 ; /total = 2"),
        ("POST Patient/_search?_tag=urn:t|links", "", "200 ; /total = 5"),
        ("POST Patient/_search\nContent-Type: application/fhir+json", "{}", "415"),
        ("GET Patient/_search?_tag=urn:t|links", "", "405 ; Allow: POST"),
    ])
    .await;
}

#[tokio::test]
async fn refusals_and_leniency() {
    let site = shared();
    seed(&site, "lenient", 2).await;
    site.table(&[
        ("GET Patient?nonsense=1", "", "400"),
        ("GET Patient?nonsense=1\nPrefer: handling=strict", "", "400"),
        (
            "GET Patient?_tag=urn:t|lenient&nonsense=1\nPrefer: handling=lenient",
            "",
            "200 ; /total = 2 ; ~\"mode\":\"outcome\" ; ~warning",
        ),
        ("GET Patient?name:nonsense=1", "", "400"),
        ("GET Patient?active:exact=true", "", "400"),
        ("GET Patient?birthdate=23.May.2009", "", "400"),
        ("GET Patient?birthdate=xx2009", "", "400"),
        ("GET Patient?Name=x", "", "400"),
        ("GET Patient?_sort=nonsense", "", "400"),
        ("GET Patient?_count=-1", "", "400"),
        ("GET Patient?_count=x", "", "400"),
        ("GET Patient?_include=nonsense", "", "400"),
        ("GET Patient?name=%zz", "", "400"),
        ("GET Patient?name=%ff", "", "400"),
        ("GET Patient?name=a%00b", "", "400"),
        ("GET Observation?value-quantity=5.4||||", "", "400"),
        ("GET Observation?subject:Nonsense.name=x", "", "400"),
    ])
    .await;
    let lenient = site
        .send(
            "GET Patient?_tag=urn:t|lenient&nonsense=1\nPrefer: handling=lenient",
            "",
        )
        .await;
    let own = lenient.json()["link"][0]["url"]
        .as_str()
        .unwrap()
        .to_string();
    assert!(!own.contains("nonsense"), "{own}");
}

#[tokio::test]
async fn pages() {
    let site = shared();
    seed(&site, "pages", 23).await;
    let mut request = "GET Patient?_tag=urn:t|pages&_count=5&_sort=family".to_string();
    let mut seen = Vec::new();
    for number in 0.. {
        // Writes in between must not disturb the walk.
        let other = format!(
            r#"{{"resourceType":"Patient","id":"other-{number}","name":[{{"family":"Family000"}}]}}"#
        );
        site.check(&format!("PUT Patient/other-{number}"), &other, "201")
            .await;
        let page = site.check(&request, "", "200").await.json();
        seen.extend(ids(&page));
        let Some(next) = link(&page, "next") else {
            break;
        };
        assert!(
            !next.contains("pages") && !next.contains("family"),
            "{next}"
        );
        assert!(next.starts_with(&format!("{}/Patient?_page=", site.base())));
        request = format!("GET {next}");
    }
    let expect: Vec<String> = (0..23).map(|number| format!("pages-{number:03}")).collect();
    assert_eq!(seen, expect);

    let first = site
        .send("GET Patient?_tag=urn:t|pages&_count=5", "")
        .await
        .json();
    let next = link(&first, "next").unwrap();
    let token = next.rsplit_once('=').unwrap().1;
    site.table(&[
        (&format!("GET {next}"), "", "200"),
        (&format!("GET {next}&_format=json"), "", "200"),
        (&format!("GET {next}&name=x"), "", "400"),
        (
            &format!("GET {}", next.replace("Patient?", "Observation?")),
            "",
            "400",
        ),
        (&format!("GET {}AA", next), "", "400"),
        (
            &format!("GET Patient?_page={}", token.to_uppercase()),
            "",
            "400",
        ),
        ("GET Patient?_page=", "", "400"),
    ])
    .await;
}

/// Forward to the end and back again, and from the last page: the same pages.
#[tokio::test]
async fn pages_in_both_directions() {
    let site = shared();
    seed(&site, "both", 11).await;
    let get = async |url: &str| site.check(&format!("GET {url}"), "", "200").await.json();
    let first = get("Patient?_tag=urn:t|both&_count=4&_sort=-family").await;
    assert!(link(&first, "prev").is_none());
    let (mut pages, mut page) = (vec![ids(&first)], first.clone());
    while let Some(next) = link(&page, "next") {
        page = get(&next).await;
        assert_eq!(link(&page, "first"), link(&first, "self"));
        pages.push(ids(&page));
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 3]);
    let last = get(&link(&first, "last").unwrap()).await;
    assert_eq!(ids(&last), pages[2]);
    assert!(link(&last, "next").is_none() && link(&last, "last").is_none());
    for mut page in [page, last] {
        for expect in pages.iter().rev().skip(1) {
            page = get(&link(&page, "prev").unwrap()).await;
            assert_eq!(ids(&page), *expect);
            assert_eq!(page["total"], 11);
        }
        assert!(link(&page, "prev").is_none());
        let next = get(&link(&page, "next").unwrap()).await;
        assert_eq!(ids(&next), pages[1]);
    }
}

#[tokio::test]
async fn results() {
    let site = shared();
    seed(&site, "results", 9).await;
    let base = site.base();
    let get = async |url: &str| site.check(&format!("GET {url}"), "", "200").await.json();
    // As many as are asked for, over all pages.
    let mut page = get("Patient?_tag=urn:t|results&_count=3&_maxresults=5&_sort=_id").await;
    assert_eq!(
        link(&page, "self").unwrap(),
        format!("{base}/Patient?_tag=urn:t%7Cresults&_count=3&_maxresults=5&_sort=_id")
    );
    assert!(link(&page, "last").is_none());
    let mut found = ids(&page);
    while let Some(next) = link(&page, "next") {
        page = get(&next).await;
        found.extend(ids(&page));
    }
    let expect: Vec<String> = (0..5)
        .map(|number| format!("results-{number:03}"))
        .collect();
    assert_eq!(found, expect);
    // A page that begins anywhere.
    let page = get("Patient?_tag=urn:t|results&_sort=_id&_count=2&_getpagesoffset=5").await;
    assert_eq!(
        (ids(&page), &page["total"]),
        (vec!["results-005".into(), "results-006".into()], &9.into())
    );
    let (next, previous) = (link(&page, "next").unwrap(), link(&page, "prev").unwrap());
    assert_eq!(ids(&get(&next).await), ["results-007", "results-008"]);
    assert_eq!(ids(&get(&previous).await), ["results-003", "results-004"]);
    assert_eq!(
        link(&page, "first").unwrap(),
        format!("{base}/Patient?_tag=urn:t%7Cresults&_sort=_id&_count=2")
    );
    site.table(&[
        (
            "GET Patient?_tag=urn:t|results&_getpagesoffset=20",
            "",
            "200 ; /total = 9 ; /entry absent",
        ),
        ("GET Patient?_getpagesoffset=10001", "", "422 ; ~too-costly"),
        (
            "GET Patient?_tag=urn:t|results&_count=100000",
            "",
            "200 ; ~_count=1000",
        ),
        // Switched off, it is unknown.
        ("GET Patient?_explain=true", "", "400"),
        // Without an index every search is fresh, whatever is enough for it.
        ("GET Patient?_count=0\nX-Freshness: strong", "", "200"),
        ("GET Patient?_count=0\nX-Freshness: eventual", "", "200"),
        (
            "GET Patient?_count=0\nX-Freshness: soon",
            "",
            "400 ; ~X-Freshness must be strong or eventual",
        ),
        (
            "GET Patient?_count=0\nX-Freshness: strong\nX-Freshness: eventual",
            "",
            "400",
        ),
    ])
    .await;
}

/// How it was answered, without a value of it.
#[tokio::test]
async fn explained() {
    let site = with_settings(&[("search_explain", "true")]);
    seed(&site, "explained", 3).await;
    for (url, expect) in [
        (
            "Patient?_tag=urn:t|explained&name=family&birthdate=ge1900-01-01&_sort=-birthdate,gender&_explain=true",
            &[
                "search: Patient?_tag=system|token&name=string&birthdate=ge date&_sort=-birthdate,gender&_count=20",
                "plan: Filter",
                "$1",
                "rows: 3 matches",
                "times in ms: all",
            ][..],
        ),
        (
            "Patient?_tag=urn:t|explained&_revinclude=Observation:patient&_count=2&_explain=true",
            &[
                "_revinclude=Observation:patient",
                "resolved: types",
                "1 tokens",
                "include",
            ],
        ),
    ] {
        let page = site.check(&format!("GET {url}"), "", "200").await.json();
        let entries = page["entry"].as_array().unwrap();
        let last = entries.last().unwrap();
        assert_eq!(last["search"]["mode"], "outcome");
        let issues = last["resource"]["issue"].as_array().unwrap();
        let told: Vec<&str> = issues
            .iter()
            .map(|issue| issue["diagnostics"].as_str().unwrap())
            .collect();
        let told = told.join("\n");
        for part in expect {
            assert!(told.contains(part), "{part}: {told}");
        }
        for value in ["explained", "urn:t", "family", "1900"] {
            assert!(!told.contains(value), "{value}: {told}");
        }
        assert!(link(&page, "self").unwrap().ends_with("&_explain=true"));
    }
    site.table(&[
        ("GET Patient?_tag=urn:t|explained&_explain=yes", "", "400"),
        (
            "GET Patient?_tag=urn:t|explained&_explain=false",
            "",
            "200 ; /entry/3 absent",
        ),
    ])
    .await;
}

#[tokio::test]
async fn includes_and_chains() {
    let site = shared();
    seed(&site, "chain", 2).await;
    for number in 0..2 {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"chain-o{number}","status":"final","code":{{"coding":[{{"system":"urn:l","code":"chain"}}]}},"subject":{{"reference":"Patient/chain-{number:03}"}}}}"#
        );
        site.check(&format!("PUT Observation/chain-o{number}"), &body, "201")
            .await;
    }
    site.table(&[
        (
            "GET Observation?code=urn:l|chain&subject:Patient.family=Family001",
            "",
            "200 ; /total = 1 ; /entry/0/resource/id = chain-o1",
        ),
        (
            "GET Observation?code=urn:l|chain&patient.identifier=urn:s|chain-000",
            "",
            "200 ; /total = 1 ; /entry/0/resource/id = chain-o0",
        ),
        (
            "GET Observation?_id=chain-o0&_include=Observation:subject",
            "",
            "200 ; /total = 1 ; /entry/1/resource/id = chain-000 ; /entry/1/search/mode = include",
        ),
        (
            "GET Patient?_id=chain-001&_revinclude=Observation:subject",
            "",
            "200 ; /total = 1 ; /entry/1/resource/id = chain-o1",
        ),
        (
            "GET Observation?subject=Patient/chain-001",
            "",
            "200 ; /total = 1",
        ),
        (
            &format!("GET Observation?subject={}/Patient/chain-001", site.base()),
            "",
            "200 ; /total = 1",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_search_sees_every_write_before_it() {
    let site = shared();
    for number in 0..30 {
        let id = format!("fresh-{number}");
        let body = format!(
            r#"{{"resourceType":"Basic","id":"{id}","code":{{"coding":[{{"code":"{id}"}}]}}}}"#
        );
        site.table(&[
            (&format!("PUT Basic/{id}"), &body, "201"),
            (&format!("GET Basic?code={id}"), "", "200 ; /total = 1"),
            (&format!("DELETE Basic/{id}"), "", "204"),
            (&format!("GET Basic?code={id}"), "", "200 ; /total = 0"),
        ])
        .await;
    }
}
