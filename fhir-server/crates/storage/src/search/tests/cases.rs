//! What searches find: the suites of `tests/search-suite`, and how writes show.

use super::corpus::BASE;
use crate::search::match_in;
use crate::{Change, Error, Page, SearchPage, Store, Target, VersionMatch, testing};
use fhir_model::{IssueKind, ResourceKey};
use fhir_search::parse::Context;
use fhir_search::query::Summary;
use fhir_search::{Handling, Query, parse};
use search_suite::{Case, Expect, Suite, suites};
use serde_json::{Value, json};

/// 2024-06-01.
const NOW_MICROS: i64 = 1_717_200_000_000_000;
/// When the first resource of a suite was updated, in milliseconds; each further one a millisecond before.
const FIRST_UPDATED_MS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn finds() {
    let mut wrong = Vec::new();
    for suite in suites() {
        wrong.extend(wrong_answers(&store(&suite).await, &suite).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The cases of the suite that a store with its resources does not answer as they say.
pub async fn wrong_answers(store: &Store, suite: &Suite) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in &suite.cases {
        let url = url(suite, case);
        let got = match search(store, &url, Page::First).await {
            Ok(page) => Expect::Found(shown(&page)),
            Err(Error::Refused(issues)) => Expect::Refused(issues[0].kind.code().to_owned()),
            Err(error) => panic!("{}: {error}", case.place),
        };
        if got != case.expect {
            let (place, expect) = (&case.place, &case.expect);
            wrong.push(format!(
                "{place}: {url}\n  expected {expect:?}\n  got      {got:?}"
            ));
        }
    }
    wrong
}

/// The same matches in the same order, page by page.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_parts_of_the_whole() {
    for suite in suites() {
        all_in_pages(&store(&suite).await, &suite).await;
    }
}

pub async fn all_in_pages(store: &Store, suite: &Suite) {
    for case in &suite.cases {
        let url = url(suite, case);
        match understood(store, &url) {
            Ok(query) if matches!(case.expect, Expect::Found(_)) => {
                in_pages(store, query, &case.place).await;
            }
            _ => {}
        }
    }
}

async fn in_pages(store: &Store, mut query: Query, place: &str) {
    if query.summary == Summary::Count {
        return;
    }
    query.count = 100;
    let whole = store.search(&query, Page::First).await.unwrap();
    query.count = 1;
    let mut matches = Vec::new();
    let mut at = Page::First;
    let mut back = None;
    let mut last = None;
    loop {
        let page = store.search(&query, at).await.unwrap();
        assert!(page.matches.len() <= 1, "{place}");
        matches.extend(page.matches);
        last = last.or(page.last);
        match page.next {
            Some(next) => at = Page::After(next),
            None => {
                back = page.previous.or(back);
                break;
            }
        }
    }
    // Back again, and from the last page; where the first one begins in the middle, there are pages before it.
    let ends = match query.offset {
        0 => [
            (back, matches.len().saturating_sub(1)),
            (last, matches.len()),
        ],
        _ => [(None, 0), (None, 0)],
    };
    for (from, expect) in ends {
        let Some(mut at) = from else { continue };
        let mut backwards = Vec::new();
        loop {
            let page = store.search(&query, Page::After(at)).await.unwrap();
            backwards.extend(page.matches);
            match page.previous {
                Some(previous) => at = previous,
                None => break,
            }
        }
        backwards.reverse();
        assert_eq!(backwards, matches[..expect], "{place}");
    }
    let keys = |found: &[crate::StoredResource]| {
        let keys = found.iter().map(|found| found.key.clone());
        keys.collect::<Vec<_>>()
    };
    assert_eq!(keys(&matches), keys(&whole.matches), "{place}");
}

/// The condition of a write finds what the search finds.
#[tokio::test(flavor = "multi_thread")]
async fn matches_in_a_transaction() {
    let store = store(&base()).await;
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
        let definitions = store.definitions();
        let found = match_in(&mut transaction, &definitions, &store.inner, &query, limit)
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
    let store = store(&base()).await;
    let found = async |url: &str| shown(&search(&store, url, Page::First).await.unwrap());
    let mut patient = base().resources(BASE)[1].clone();
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

/// A number is found by the places that it was last written with.
#[tokio::test(flavor = "multi_thread")]
async fn places_of_a_number_are_written_anew() {
    let store = testing::store().await;
    for (written, expect) in [("5.0", ""), ("5", "k"), ("5.00", ""), ("5.4", "k")] {
        let number: serde_json::Number = written.parse().unwrap();
        let resource = json!({
            "resourceType": "RiskAssessment",
            "id": "k",
            "prediction": [{"probabilityDecimal": number}],
        });
        let change = Change::Update {
            target: Target::Id(key_of(&resource)),
            resource,
            full_url: None,
            version: VersionMatch::Any,
            may_create: true,
        };
        store.commit(vec![change]).await.unwrap();
        let url = "RiskAssessment?_filter=probability%20co%205.40";
        let found = shown(&search(&store, url, Page::First).await.unwrap());
        assert_eq!(found, expect, "{written}");
    }
}

/// What takes longer than the limit is the client's to change.
#[tokio::test(flavor = "multi_thread")]
async fn too_long_is_too_costly() {
    let store = store(&base()).await;
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
async fn a_page_of_another_form_is_expired() {
    let store = store(&base()).await;
    match search(&store, "Patient", Page::After(b"[]".to_vec())).await {
        Err(Error::Refused(issues)) => assert_eq!(issues[0].kind, IssueKind::Expired),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_whole() {
    let store = store(&base()).await;
    let page = search(&store, "Patient?_id=p1", Page::First).await.unwrap();
    let mut body: Value = serde_json::from_str(&page.matches[0].body).unwrap();
    let meta = body["meta"].as_object_mut().unwrap();
    assert!(meta.remove("versionId").is_some() && meta.remove("lastUpdated").is_some());
    assert_eq!(body, base().resources(BASE)[0]);
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

pub fn base() -> Suite {
    let mut suites = suites().into_iter();
    suites.find(|suite| suite.name == "base").unwrap()
}

/// The resources, written as a client would, and then given the times that the cases speak of.
async fn store(suite: &Suite) -> Store {
    let store = testing::store().await;
    load(&store, suite).await;
    store
}

pub async fn load(store: &Store, suite: &Suite) {
    let resources = suite.resources(BASE);
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
            "UPDATE {table} t SET last_updated = 'epoch'::timestamptz + ({} - n.place) * interval '1 millisecond' \
             FROM unnest($1::text[]) WITH ORDINALITY AS n(id, place), resource r WHERE r.id = n.id AND t.pk = r.pk",
            FIRST_UPDATED_MS + 1
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
}

fn url(suite: &Suite, case: &Case) -> String {
    case.url(BASE, |id| {
        let resources = suite.resources(BASE);
        let place = resources.iter().position(|r| r["id"] == id).unwrap();
        let milliseconds = FIRST_UPDATED_MS - place;
        let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
        format!("1970-01-01T00:00:{seconds:02}.{rest:03}Z")
    })
}

pub fn key_of(resource: &Value) -> ResourceKey {
    let text = |name: &str| resource[name].as_str().unwrap();
    ResourceKey::new(text("resourceType"), text("id"))
}

pub async fn search(store: &Store, url: &str, at: Page) -> Result<SearchPage, Error> {
    store.search(&understood(store, url)?, at).await
}

pub fn understood(store: &Store, url: &str) -> Result<Query, Error> {
    let definitions = store.definitions();
    let context = Context {
        definitions: &definitions,
        terminology: None,
        base: Some(BASE),
        handling: Handling::Strict,
        now_micros: NOW_MICROS,
        count_default: 20,
        count_max: 100,
    };
    let (types, parameters) = Case::parameters(url);
    parse(&context, &types, &parameters).map_err(Error::Refused)
}

pub fn shown(page: &SearchPage) -> String {
    let ids = |found: &[crate::StoredResource]| {
        let ids = found.iter().map(|found| found.key.id.clone());
        ids.collect::<Vec<_>>()
    };
    let (matches, includes) = (ids(&page.matches), ids(&page.includes));
    search_suite::found(&matches, &includes, page.total, page.next.is_some())
}
