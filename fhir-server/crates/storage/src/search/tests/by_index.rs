//! Searches that an index in Elasticsearch answers, and those that it cannot: what is found is what Postgres would find, at any moment.

use super::cases::{all_in_pages, base, key_of, load, search, shown, understood, wrong_answers};
use super::corpus::BASE;
use super::indexed::{self, activate, answered, bulk, drop_index, elastic, index};
use crate::elastic::{AskedFor, Freshness, WhenDown};
use crate::search::elastic::fault::{FAULT, Fault, later_writes_are_believed};
use crate::search::elastic::{Engine, Indexed, JOINS_BY_INDEX, MASKED_MAX};
use crate::search::statistics::Statistics;
use crate::{Change, Error, Page, Store, Target, VersionMatch, testing};
use futures_util::{FutureExt, StreamExt, stream};
use search_suite::{Suite, suites};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Suites side by side: cluster and database work for some while others think.
const AT_ONCE: usize = 3;

/// The cases that Postgres is held to, with everything in the index and with everything pending.
#[tokio::test(flavor = "multi_thread")]
async fn finds() {
    if testing::elasticsearch().is_none() {
        return;
    }
    let each = suites().into_iter().map(|suite| finds_of(suite).boxed());
    let mut asked = stream::iter(each).buffer_unordered(AT_ONCE);
    let (mut wrong, mut all) = (Vec::new(), BTreeMap::new());
    while let Some((more, counts)) = asked.next().await {
        wrong.extend(more);
        for (who, count) in counts {
            *all.entry(who).or_default() += count;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("answered: {all:?}");
    let requests: u64 = all.values().sum();
    assert!(all["by the index"] * 2 > requests, "{all:?}");
    for trouble in [
        "refused",
        "timed-out",
        "unreachable",
        "wrong index",
        "later writes",
        "behind",
    ] {
        assert!(!all.contains_key(trouble), "{all:?}");
    }
}

/// What a suite is answered wrong, and how often who answered.
async fn finds_of(suite: Suite) -> (Vec<String>, BTreeMap<&'static str, u64>) {
    let store = indexed::store(&[], |_| {}).await.unwrap();
    load(&store, &suite).await;
    let mut wrong = wrong_answers(&store, &suite).await;
    index(&store, None).await;
    for joins_by_index in [false, true] {
        let answers = wrong_answers(&store, &suite);
        wrong.extend(JOINS_BY_INDEX.scope(joins_by_index, answers).await);
    }
    let all = all_in_pages(&store, &suite);
    JOINS_BY_INDEX.scope(true, all).await;
    let (by_index, mut counts) = answered(&store);
    counts.insert("by the index", by_index);
    drop_index(&store).await;
    (wrong, counts)
}

/// A store with the base suite; `None` where there is no Elasticsearch.
pub async fn loaded() -> Option<Store> {
    let store = indexed::store(&[], |_| {}).await?;
    load(&store, &base()).await;
    index(&store, None).await;
    Some(store)
}

pub async fn found(store: &Store, url: &str) -> String {
    shown(&search(store, url, Page::First).await.unwrap())
}

/// `p2` with another name and date, an update.
pub fn p2_changed() -> Change {
    let mut patient = base().resources(BASE)[1].clone();
    patient["name"][0]["family"] = "Okafor".into();
    patient["birthDate"] = "1985".into();
    update(patient)
}

pub fn update(resource: Value) -> Change {
    Change::Update {
        may_create: true,
        target: Target::Id(key_of(&resource)),
        resource,
        full_url: None,
        version: VersionMatch::Any,
    }
}

fn deletion_of_p2() -> Change {
    Change::Delete {
        target: Target::Id(key_of(&base().resources(BASE)[1])),
        version: VersionMatch::Any,
        at_most: 1,
    }
}

const CHANGED: &[(&str, &str)] = &[
    ("Patient", "p2 p1 p3 p4 p5"),
    ("Patient?family=okafor", "p2"),
    ("Patient?family=muller", "p1"),
    ("Patient?_summary=count", "# 5"),
    ("Observation?patient.family=okafor", "ob2"),
    ("Patient?_count=1&_total=accurate", "p2 # 5"),
];
const DELETED: &[(&str, &str)] = &[
    ("Patient", "p1 p3 p4 p5"),
    ("Patient?family=okafor", ""),
    ("Patient?_summary=count", "# 4"),
    ("Patient?identifier=mrn|2", ""),
    ("Patient?_count=1&_total=accurate", "p1 # 4"),
];

/// What was written is seen at once, in the index or not yet, and what was deleted no more.
#[tokio::test(flavor = "multi_thread")]
async fn writes_are_seen_at_once() {
    let Some(store) = loaded().await else { return };
    for (change, expect) in [(p2_changed(), CHANGED), (deletion_of_p2(), DELETED)] {
        store.commit(vec![change]).await.unwrap();
        for state in ["pending", "in the index"] {
            for (url, expect) in expect {
                assert_eq!(found(&store, url).await, *expect, "{url} {state}");
            }
            index(&store, None).await;
        }
    }
    let (by_index, by_postgres) = answered(&store);
    assert!(
        by_index >= 22 && by_postgres.is_empty(),
        "{by_index} {by_postgres:?}"
    );
    drop_index(&store).await;
}

/// A search whose snapshot is older than what has come into the index meanwhile shows its snapshot, whole; and would not, if it were not looked for.
#[tokio::test(flavor = "multi_thread")]
async fn later_writes_are_not_seen() {
    let Some(store) = loaded().await else { return };
    for change in [p2_changed(), deletion_of_p2()] {
        let wrong = wrong_while(&store, change).await;
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    for (url, expect) in DELETED {
        assert_eq!(found(&store, url).await, *expect, "{url}");
    }
    assert!(answered(&store).1.is_empty());
    let believed = Fault::new(later_writes_are_believed);
    let wrong = FAULT.scope(believed, wrong_while(&store, p2_changed()));
    let wrong = wrong.await.len() as u64;
    let unconfirmed = answered(&store).1.get("wrong index").copied();
    assert!(
        wrong + unconfirmed.unwrap_or_default() >= 2,
        "{wrong} {unconfirmed:?}"
    );
    drop_index(&store).await;
}

/// What searches that began before the change show wrong when it is in the index.
async fn wrong_while(store: &Store, change: Change) -> Vec<String> {
    // Each holds a connection.
    let searches = [
        "Patient?_count=1&_total=accurate",
        "Patient?family=okafor",
        "Patient?_summary=count",
    ];
    let mut opened = Vec::new();
    for url in searches {
        let query = understood(store, url).unwrap();
        let before = found(store, url).await;
        let indexed = Indexed::open(store, elastic(store), &query).await;
        let Ok(Ok((indexed, snapshot))) = indexed else {
            panic!("no index")
        };
        opened.push((url, query, before, indexed, snapshot));
    }
    store.commit(vec![change]).await.unwrap();
    index(store, None).await;
    let mut wrong = Vec::new();
    for (url, query, before, indexed, mut snapshot) in opened {
        let engine = Engine::Index(&indexed);
        let page = snapshot.search_by(&query, &Page::First, engine).await;
        let shown = shown(&page.unwrap());
        if shown != before {
            wrong.push(format!("{url}: {shown} instead of {before}"));
        }
    }
    wrong
}

/// An index that is wrong where it should be right is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_does_not_confirm_is_not_shown() {
    let Some(store) = loaded().await else { return };
    store.commit(vec![p2_changed()]).await.unwrap();
    // As if it had been indexed.
    sqlx::query("DELETE FROM outbox")
        .execute(&store.inner.write_pool)
        .await
        .unwrap();
    assert_eq!(found(&store, "Patient?family=muller").await, "p1");
    let (_, by_postgres) = answered(&store);
    assert_eq!(by_postgres.get("wrong index"), Some(&1));
    drop_index(&store).await;
}

/// `eventual`: what is pending is found late; what is stale is not shown, and pages are full.
#[tokio::test(flavor = "multi_thread")]
async fn eventual_searches_show_nothing_stale() {
    let eventual = indexed::store(&[], |settings| settings.freshness = Freshness::Eventual);
    let Some(store) = eventual.await else { return };
    load(&store, &base()).await;
    index(&store, None).await;
    store.commit(vec![p2_changed()]).await.unwrap();
    for (url, expect) in [
        ("Patient?family=okafor", ""),
        ("Patient?family=muller", "p1"),
        ("Patient?family=muller&_count=1&_total=none", "p1 # none"),
    ] {
        assert_eq!(found(&store, url).await, expect, "{url}");
    }
    index(&store, None).await;
    for (url, expect) in CHANGED {
        assert_eq!(found(&store, url).await, *expect, "{url}");
    }
    assert!(answered(&store).1.is_empty());
    drop_index(&store).await;
}

/// What a request asks for comes before what is configured.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_says_how_fresh_it_has_to_be() {
    for configured in [Freshness::Strong, Freshness::Eventual] {
        let store = indexed::store(&[], |settings| settings.freshness = configured);
        let Some(store) = store.await else { return };
        load(&store, &base()).await;
        index(&store, None).await;
        store.commit(vec![p2_changed()]).await.unwrap();
        for (asked, sees) in [
            (None, configured),
            (Some(Freshness::Strong), Freshness::Strong),
            (Some(Freshness::Eventual), Freshness::Eventual),
        ] {
            let mut query = understood(&store, "Patient?family=okafor").unwrap();
            query.freshness = asked;
            let page = store.search(&query, Page::First).await.unwrap();
            let expect = if sees == Freshness::Strong { "p2" } else { "" };
            assert_eq!(shown(&page), expect, "{configured:?} {asked:?}");
        }
        assert_eq!(answered(&store), (3, BTreeMap::new()));
        drop_index(&store).await;
    }
}

/// More rows than are evaluated beside the index: the index has to catch up, and what waits in vain is answered by Postgres.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_far_behind_is_waited_for_and_left() {
    let Some(store) = loaded().await else { return };
    let basic = |number: usize| {
        update(json!({"resourceType": "Basic", "id": format!("b{number}"), "code": {"text": "x"}}))
    };
    let changes: Vec<Change> = (0..=MASKED_MAX).map(basic).collect();
    store.commit(changes).await.unwrap();
    assert_eq!(found(&store, "Basic?_summary=count").await, "# 1001");
    assert_eq!(answered(&store).1.get("behind"), Some(&1));
    // Patients are not concerned.
    assert_eq!(found(&store, "Patient").await, "p1 p2 p3 p4 p5");
    let pks: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT pk FROM outbox")
        .fetch_all(&store.inner.write_pool)
        .await
        .unwrap();
    bulk(&store, &pks).await;
    let caught_up = sqlx::query("DELETE FROM outbox").execute(&store.inner.write_pool);
    let (counted, done) = tokio::join!(found(&store, "Basic?_summary=count"), caught_up);
    done.unwrap();
    assert_eq!(counted, "# 1001");
    assert_eq!(answered(&store).1.get("behind"), Some(&1));
    drop_index(&store).await;
}

/// `_explain` tells who answered and what was asked, but no value.
#[tokio::test(flavor = "multi_thread")]
async fn explains() {
    let Some(store) = loaded().await else { return };
    for (url, expect, not) in [
        (
            "Patient?family=muller",
            "engine: Elasticsearch",
            "engine: Postgres",
        ),
        (
            "Patient?family=muller",
            "elasticsearch: {\"size\":21",
            "muller",
        ),
        ("Patient?family=muller", "masked: 0 rows", "muller"),
        (
            "Patient?_id=p1",
            "engine: Postgres, as the index does not answer: by id",
            "elasticsearch",
        ),
        (
            "Patient?_sort=gender",
            "engine: Postgres, as the index does not answer: sort by looking",
            "engine: Elasticsearch",
        ),
        (
            "Patient?_getpagesoffset=10000",
            "engine: Postgres, as the index does not answer: large page",
            "elasticsearch",
        ),
    ] {
        let mut query = understood(&store, url).unwrap();
        query.explain = true;
        let page = store.search(&query, Page::First).await.unwrap();
        let told = page.explained.join("\n");
        assert!(
            told.contains(expect) && !told.contains(not),
            "{url}: {told}"
        );
    }
    drop_index(&store).await;
}

/// What is cheap in Postgres is done there, at once or in a transaction; what it would have to count through is the index's.
#[tokio::test(flavor = "multi_thread")]
async fn the_cheaper_engine_answers() {
    let by_estimate = indexed::store(&[], |settings| settings.asked = AskedFor::ByEstimate);
    let Some(store) = by_estimate.await else {
        return;
    };
    load(&store, &base()).await;
    index(&store, None).await;
    let patients = store.definitions().type_number("Patient").unwrap();
    let million = Statistics::known(1_000_000.0, &[], &[(patients, 1_000_000.0)]);
    store.inner.statistics.assume(million);
    const POSTGRES: &str = "engine: Postgres, as the index does not answer: cheaper in Postgres";
    for (url, expect, by) in [
        ("Patient?identifier=mrn|1", "p1", POSTGRES),
        (
            "Patient?identifier=mrn|1&_revinclude=Observation:patient",
            "p1 + ob1 ob3",
            POSTGRES,
        ),
        ("Patient?identifier=mrn|1&_summary=count", "# 1", POSTGRES),
        ("Patient?_summary=count", "# 5", "engine: Elasticsearch"),
        (
            "Patient?_count=1&_total=accurate",
            "p1 # 5",
            "engine: Elasticsearch",
        ),
        // Four of them were thought to be found by a look at a few.
        (
            "Patient?_count=4&_total=none",
            "p1 p2 p3 p4 # none",
            POSTGRES,
        ),
        (
            "Patient?_count=20",
            "p1 p2 p3 p4 p5",
            "engine: Elasticsearch",
        ),
    ] {
        let mut query = understood(&store, url).unwrap();
        query.explain = true;
        let page = store.search(&query, Page::First).await.unwrap();
        let told = page.explained.join("\n");
        assert!(told.contains(by), "{url}: {told}");
        assert_eq!(shown(&page), expect, "{url}");
    }
    let expect = BTreeMap::from([("cheaper in Postgres", 4)]);
    assert_eq!(answered(&store), (3, expect));
    drop_index(&store).await;
}

/// A cluster that takes connections and does with them what `answer` says; `None`: nothing.
async fn cluster(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            if let Some(answer) = answer {
                let mut request = vec![0; 65_536];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(answer.as_bytes()).await;
            }
            open.push(connection);
        }
    });
    url
}

/// What becomes of searches where the cluster does not do what it should; needs none.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_answers_where_the_cluster_does_not() {
    const BAD: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 49\r\nconnection: close\r\n\r\n{\"error\":{\"type\":\"parsing_exception\"},\"status\":0}";
    const BUSY: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let nobody = "http://127.0.0.1:1".to_owned();
    for (url, reason, then) in [
        (nobody, "unreachable", "resting"),
        (cluster(None).await, "timed-out", "resting"),
        (cluster(Some(BAD)).await, "refused", "refused"),
        (cluster(Some(BUSY)).await, "refused", "resting"),
    ] {
        for when_down in [WhenDown::Postgres, WhenDown::Refuse] {
            let store = testing::store_with_elastic(&[], url.clone(), |settings| {
                settings.search_timeout_ms = 300;
                settings.when_down = when_down;
            })
            .await;
            load(&store, &base()).await;
            activate(&store).await;
            sqlx::query("DELETE FROM outbox")
                .execute(&store.inner.write_pool)
                .await
                .unwrap();
            let begun = Instant::now();
            for reason in [reason, then] {
                let answer = search(&store, "Patient?family=muller", Page::First).await;
                match (when_down, answer) {
                    (WhenDown::Postgres, Ok(page)) => assert_eq!(shown(&page), "p1 p2", "{reason}"),
                    (WhenDown::Refuse, Err(Error::Index(error))) => {
                        assert_eq!(error.reason(), reason);
                    }
                    (_, answer) => panic!("{reason}: {answer:?}"),
                }
                assert!(answered(&store).1.contains_key(reason), "{reason}");
            }
            // It is waited for once, and not at all the next time.
            assert!(begun.elapsed() < Duration::from_secs(5), "{reason}");
            // By id no index is asked.
            assert_eq!(found(&store, "Patient?_id=p1").await, "p1");
        }
    }
}

/// An index of another layout, or none, is not searched.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_index_postgres_answers() {
    let url = cluster(None).await;
    let store = testing::store_with_elastic(&[], url, |_| {}).await;
    load(&store, &base()).await;
    assert_eq!(found(&store, "Patient?family=muller").await, "p1 p2");
    activate(&store).await;
    sqlx::query("UPDATE search_index SET layout = layout + 1")
        .execute(&store.inner.write_pool)
        .await
        .unwrap();
    assert_eq!(found(&store, "Patient?family=muller").await, "p1 p2");
    let expect = BTreeMap::from([("no index", 2)]);
    assert_eq!(answered(&store), (0, expect));
}
