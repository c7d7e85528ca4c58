//! What searches find, as data: a URL, and the ids in order.

use super::corpus::BASE;
use super::found::FOUND;
use super::resources::resources;
use crate::search::match_in;
use crate::{Change, Error, Page, SearchPage, Store, Target, VersionMatch, testing};
use fhir_model::{IssueKind, ResourceKey};
use fhir_search::parse::Context;
use fhir_search::query::Summary;
use fhir_search::{Handling, Query, parse};
use serde_json::Value;

/// 2024-06-01.
const NOW_MICROS: i64 = 1_717_200_000_000_000;

/// What is refused.
const REFUSED: &[(&str, IssueKind)] = &[
    ("Observation?_sort=code", IssueKind::NotSupported),
    ("Observation?code:text=abc", IssueKind::NotSupported),
    ("Patient?_revinclude=*", IssueKind::SearchParameter),
    (
        "Measure?_include=Measure:depends-on",
        IssueKind::NotSupported,
    ),
    (
        "PlanDefinition?_include=PlanDefinition:definition",
        IssueKind::NotSupported,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn finds() {
    let store = store().await;
    let mut wrong = Vec::new();
    for (url, expect) in FOUND {
        let got = match search(&store, url, Page::First).await {
            Ok(page) => shown(&page),
            Err(error) => format!("{error:?}"),
        };
        let expect = expect.split_whitespace().collect::<Vec<_>>().join(" ");
        if got != expect {
            wrong.push(format!("{url}\n  expected {expect}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same matches in the same order, page by page.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_parts_of_the_whole() {
    let store = store().await;
    for (url, _) in FOUND {
        let mut query = understood(&store, url).unwrap();
        if query.summary == Summary::Count {
            continue;
        }
        query.count = 100;
        let whole = store.search(&query, Page::First).await.unwrap();
        query.count = 1;
        let mut matches = Vec::new();
        let mut at = Page::First;
        loop {
            let page = store.search(&query, at).await.unwrap();
            assert!(page.matches.len() <= 1, "{url}");
            matches.extend(page.matches);
            match page.next {
                Some(next) => at = Page::After(next),
                None => break,
            }
        }
        let ids = |found: &[crate::StoredResource]| {
            found
                .iter()
                .map(|found| found.key.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&matches), ids(&whole.matches), "{url}");
    }
}

/// The condition of a write finds what the search finds.
#[tokio::test(flavor = "multi_thread")]
async fn matches_in_a_transaction() {
    let store = store().await;
    let mut transaction = store.inner.write_pool.begin().await.unwrap();
    for (url, limit, expect) in [
        ("Patient?identifier=mrn|1", 2, vec!["p1"]),
        ("Patient?identifier=1", 2, vec!["p1", "p2"]),
        ("Patient?identifier=none", 2, vec![]),
        (
            "Observation?patient.identifier=mrn|1&code=hb",
            2,
            vec!["ob1"],
        ),
        (
            "Patient?gender=female,male",
            10,
            vec!["p1", "p2", "p3", "p5"],
        ),
    ] {
        let query = understood(&store, url).unwrap();
        let (definitions, statistics) = (store.definitions(), &store.inner.statistics);
        let found = match_in(&mut transaction, &definitions, statistics, &query, limit)
            .await
            .unwrap();
        let ids: Vec<_> = found.iter().map(|found| found.key.id.as_str()).collect();
        assert_eq!(ids, expect, "{url}");
        assert!(found.iter().all(|found| found.version == 1 && found.pk > 0));
    }
}

/// A search that begins after a write was answered sees it: the new values, not the old ones, and nothing that was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn writes_are_seen_at_once() {
    let store = store().await;
    let found = async |url: &str| shown(&search(&store, url, Page::First).await.unwrap());
    let mut patient = resources()[1].clone();
    patient["name"][0]["family"] = "Okafor".into();
    patient["birthDate"] = "1985".into();
    patient["managingOrganization"]["reference"] = "Organization/o1".into();
    let version = VersionMatch::Any;
    let (target, full_url) = (Target::Id(key_of(&patient)), None);
    let resource = patient.clone();
    let change = Change::Update {
        may_create: true,
        target: target.clone(),
        resource,
        full_url,
        version,
    };
    store.commit(vec![change]).await.unwrap();
    for (url, expect) in [
        ("Patient", "p2 p1 p3 p4 p5"),
        ("Patient?family=okafor", "p2"),
        ("Patient?family=muller", "p1"),
        ("Patient?birthdate=1980", "p1"),
        ("Patient?birthdate=1985", "p2"),
        ("Patient?identifier=mrn|2", "p2"),
        ("Patient?organization=o2", ""),
        ("Patient?organization=o1", "p2 p1"),
        ("Observation?patient.family=okafor", "ob2"),
        ("Patient?_id=p2&_include=Patient:organization", "p2 + o1"),
        ("Patient?_sort=-birthdate", "p5 p3 p2 p1 p4"),
    ] {
        assert_eq!(found(url).await, expect, "{url}");
    }
    store
        .commit(vec![Change::Delete {
            target,
            version,
            at_most: 1,
        }])
        .await
        .unwrap();
    for (url, expect) in [
        ("Patient", "p1 p3 p4 p5"),
        ("Patient?_id=p2", ""),
        ("Patient?identifier=mrn|2", ""),
        ("Observation?patient.family=okafor", ""),
        ("Observation?patient=p2", "ob2"),
        ("Observation?_id=ob2&_include=Observation:patient", "ob2"),
        ("Patient?_has:Observation:patient:code=718-7", "p1"),
        ("Patient?_summary=count", "# 4"),
    ] {
        assert_eq!(found(url).await, expect, "{url} after the deletion");
    }
}

/// What takes longer than the limit is the client's to change.
#[tokio::test(flavor = "multi_thread")]
async fn too_long_is_too_costly() {
    let store = store().await;
    let mut connection = store.inner.search_pool.acquire().await.unwrap();
    sqlx::raw_sql("SET statement_timeout = 1")
        .execute(&mut *connection)
        .await
        .unwrap();
    let slow = sqlx::query("SELECT pg_sleep(1)")
        .execute(&mut *connection)
        .await;
    match crate::search::too_costly(slow.unwrap_err().into()) {
        Error::Refused(issues) => assert_eq!(issues[0].kind, IssueKind::TooCostly),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses() {
    let store = store().await;
    for (url, expect) in REFUSED {
        match search(&store, url, Page::First).await {
            Err(Error::Refused(issues)) => assert_eq!(issues[0].kind, *expect, "{url}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    match search(&store, "Patient", Page::After(b"[]".to_vec())).await {
        Err(Error::Refused(issues)) => assert_eq!(issues[0].kind, IssueKind::Expired),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_whole() {
    let store = store().await;
    let page = search(&store, "Patient?_id=p1", Page::First).await.unwrap();
    let mut body: Value = serde_json::from_str(&page.matches[0].body).unwrap();
    let meta = body["meta"].as_object_mut().unwrap();
    assert!(meta.remove("versionId").is_some() && meta.remove("lastUpdated").is_some());
    assert_eq!(body, resources()[0]);
    assert!(
        page.matches[0]
            .body
            .starts_with(r#"{"resourceType":"Patient","#)
    );
    assert_eq!(
        (page.matches[0].version, page.matches[0].last_updated_ms),
        (1, 10_000)
    );
}

/// The resources, written as a client would, and then given the times that the cases speak of.
async fn store() -> Store {
    let store = testing::store().await;
    let resources = resources();
    let changes = resources.iter().map(|resource| Change::Update {
        target: Target::Id(key_of(resource)),
        resource: resource.clone(),
        full_url: None,
        version: VersionMatch::Any,
        may_create: true,
    });
    store.commit(changes.collect()).await.unwrap();
    let ids: Vec<String> = resources.iter().map(|r| key_of(r).id).collect();
    for table in ["resource", "entry"] {
        let sql = format!(
            "UPDATE {table} t SET last_updated = 'epoch'::timestamptz + (10001 - n.place) * interval '1 millisecond' \
             FROM unnest($1::text[]) WITH ORDINALITY AS n(id, place), resource r WHERE r.id = n.id AND t.pk = r.pk"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(&ids)
            .execute(&store.inner.write_pool)
            .await
            .unwrap();
    }
    sqlx::raw_sql("ANALYZE")
        .execute(&store.inner.write_pool)
        .await
        .unwrap();
    store.inner.statistics.expire();
    store
}

fn key_of(resource: &Value) -> ResourceKey {
    let text = |name: &str| resource[name].as_str().unwrap();
    ResourceKey::new(text("resourceType"), text("id"))
}

async fn search(store: &Store, url: &str, at: Page) -> Result<SearchPage, Error> {
    store.search(&understood(store, url)?, at).await
}

fn understood(store: &Store, url: &str) -> Result<Query, Error> {
    let definitions = store.definitions();
    let context = Context {
        definitions: &definitions,
        base: Some(BASE),
        handling: Handling::Strict,
        now_micros: NOW_MICROS,
        count_default: 20,
        count_max: 100,
    };
    let (types, parameters) = url.split_once('?').unwrap_or((url, ""));
    let types: Vec<&str> = types.split(',').collect();
    let parameters: Vec<(String, String)> = parameters
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.into(), value.replace("%2B", "+").replace("%25", "%")))
        .collect();
    parse(&context, &types, &parameters).map_err(Error::Refused)
}

fn shown(page: &SearchPage) -> String {
    let ids = |found: &[crate::StoredResource]| {
        found
            .iter()
            .map(|found| found.key.id.clone())
            .collect::<Vec<_>>()
    };
    let mut shown = ids(&page.matches);
    if !page.includes.is_empty() {
        let mut includes = ids(&page.includes);
        includes.sort();
        shown.push("+".into());
        shown.extend(includes);
    }
    match page.total {
        Some(total) if total == page.matches.len() as u64 && page.next.is_none() => {}
        Some(total) => shown.extend(["#".into(), total.to_string()]),
        None => shown.extend(["#".into(), "none".into()]),
    }
    shown.join(" ")
}
