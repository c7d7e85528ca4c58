//! Pages while others write, and what one snapshot sees.

use super::corpus::{Indexed, add, parameter, replace};
use crate::{Page, Store, testing};
use fhir_search::Query;
use fhir_search::query::{SortBy, SortKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const STABLE: usize = 200;
const MOVING: usize = 60;

/// A resource that nobody touches comes exactly once, one that others touch at most once when the order is by `_lastUpdated`.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_pages_while_others_write() {
    let store = testing::store().await;
    let by = |by, descending| SortKey { by, descending };
    let date = SortBy::Parameter(vec![parameter(&store, "Observation", "date")]);
    for sort in [
        vec![],
        vec![by(SortBy::LastUpdated, false)],
        vec![by(SortBy::Id, true)],
        vec![by(date.clone(), false)],
        vec![by(date.clone(), true), by(SortBy::Id, false)],
    ] {
        let name = format!("{sort:?}");
        let once = matches!(
            sort.as_slice(),
            [] | [SortKey {
                by: SortBy::LastUpdated,
                ..
            }]
        );
        let seen = pages_under_writes(&store, sort).await;
        for number in 0..STABLE {
            assert_eq!(
                seen.get(&format!("stable-{number}")),
                Some(&1),
                "{number} {name}"
            );
        }
        if once {
            let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "{twice:?} {name}");
        }
    }
}

async fn pages_under_writes(store: &Store, sort: Vec<SortKey>) -> HashMap<String, usize> {
    let date = parameter(store, "Observation", "date");
    let resources: Vec<_> = (0..STABLE)
        .map(|i| (format!("stable-{i}"), i))
        .chain((0..MOVING).map(|i| (format!("moving-{i}"), i * 3)))
        .map(|(id, at)| {
            let resource = Indexed::new("Observation", &id, 1_000 * at as i64);
            match at % 4 {
                0 => resource,
                _ => resource.date(&date, (at % 7) as i64, (at % 7) as i64 + 1),
            }
        })
        .collect();
    replace(store, &resources).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU32::new(0));
    let writer = tokio::spawn(write(store.clone(), Arc::clone(&stop), Arc::clone(&writes)));
    let query = query(sort, 10);
    let mut seen = HashMap::new();
    let mut at = Page::First;
    let mut pages = 0;
    loop {
        let page = store.search(&query, at).await.unwrap();
        for found in page.matches {
            *seen.entry(found.key.id).or_default() += 1;
        }
        // Something has been written between any two pages.
        let before = writes.load(Ordering::SeqCst);
        while writes.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        pages += 1;
        match page.next {
            // The end moves on while new ones are appended.
            Some(next) if pages < 200 => at = Page::After(next),
            _ => break,
        }
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    assert!(pages >= 20, "{pages}");
    seen
}

/// Touches, changes, deletes and adds, in small transactions.
async fn write(store: Store, stop: Arc<AtomicBool>, writes: Arc<AtomicU32>) {
    let pool = &store.inner.write_pool;
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let id = format!("moving-{}", (round * 17) % MOVING);
        let mut transaction = pool.begin().await.unwrap();
        for sql in [
            "UPDATE entry SET last_updated = date_trunc('milliseconds', clock_timestamp()) WHERE pk = (SELECT pk FROM resource WHERE id = $1)",
            "UPDATE sp_date SET lo = (lo + 3) % 7 WHERE pk = (SELECT pk FROM resource WHERE id = $1)",
        ] {
            sqlx::query(sql)
                .bind(&id)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        if round % 5 == 0 {
            let sql = "DELETE FROM entry WHERE pk = (SELECT pk FROM resource WHERE id = $1)";
            sqlx::query(sql)
                .bind(&id)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        if round % 50 == 0 {
            let fresh = Indexed::new("Observation", &format!("new-{round}"), 10_000_000_000);
            add(&store, &[fresh]).await;
        }
        writes.fetch_add(1, Ordering::SeqCst);
    }
}

/// Everything a snapshot shows is of its moment, also what is read later.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stands_still() {
    let store = testing::store().await;
    let resources: Vec<_> = (0..30)
        .map(|i| Indexed::new("Observation", &format!("{i:02}"), i))
        .collect();
    replace(&store, &resources).await;
    let mut snapshot = store.snapshot().await.unwrap();
    let query = query(vec![], 7);
    let first = snapshot.search(&query, Page::First).await.unwrap();
    assert_eq!((first.matches.len(), first.total), (7, Some(30)));
    for sql in [
        "UPDATE resource SET content = '{\"id\": \"changed\"}', version = 2",
        "DELETE FROM entry WHERE pk % 2 = 0",
    ] {
        sqlx::query(sql)
            .execute(&store.inner.write_pool)
            .await
            .unwrap();
    }
    add(&store, &[Indexed::new("Observation", "new", 99)]).await;
    let mut ids = Vec::new();
    let count = snapshot
        .for_each(&query, |found| {
            assert_eq!(found.version, 1);
            assert!(!found.body.contains("changed"), "{}", found.body);
            ids.push(found.key.id);
            Ok(())
        })
        .await
        .unwrap();
    let expect: Vec<String> = (0..30).rev().map(|i| format!("{i:02}")).collect();
    assert_eq!((count, ids), (30, expect));
    snapshot.close().await.unwrap();
    let now = store.search(&query, Page::First).await.unwrap();
    assert_eq!(now.total, Some(16));
    assert_eq!(now.matches[0].key.id, "new");
    assert_eq!(
        now.matches[1].body,
        r#"{"resourceType":"Observation","id": "changed"}"#
    );
}

fn query(sort: Vec<SortKey>, count: usize) -> Query {
    Query {
        sort,
        ..Query::all(vec!["Observation".into()], count)
    }
}
