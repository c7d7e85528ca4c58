//! What an index in Elasticsearch joins: with pending rows and stale documents on the other side, and as many of them as may be.

use super::by_index::{found, loaded, p2_changed, update};
use super::indexed::{self, answered, bulk, drop_index, index};
use crate::elastic::Joins;
use crate::search::elastic::JOINS_BY_INDEX;
use serde_json::json;
use std::collections::BTreeMap;

/// A document that was written twice, the earlier state last, cannot bring anything back: it is stale where it is not pending.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_joined_is_masked_too() {
    let Some(store) = loaded().await else { return };
    let found = |url| JOINS_BY_INDEX.scope(true, found(&store, url));
    for (url, expect) in [
        ("Observation?patient.family=okafor", ""),
        ("Patient?_has:Observation:patient:code=718-7", "p1 p2"),
    ] {
        assert_eq!(found(url).await, expect, "{url}");
    }
    store.commit(vec![p2_changed()]).await.unwrap();
    assert_eq!(found("Observation?patient.family=okafor").await, "ob2");
    let pks: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT pk FROM outbox")
        .fetch_all(&store.inner.write_pool)
        .await
        .unwrap();
    // In the index, and pending all the same.
    bulk(&store, &pks).await;
    assert_eq!(found("Observation?patient.family=okafor").await, "ob2");
    drop_index(&store).await;
}

/// The other side comes in batches, whatever their size; with more of it than there may be, pending ones counted, Postgres answers.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_rows_are_joined_as_may_be() {
    const OBSERVATIONS: usize = 7;
    for (batch, most) in [(1, 7), (3, 7), (7, 7), (100, 7), (3, 6), (1, 1)] {
        let bounds = Joins { batch, most };
        let store = indexed::store(&[], |settings| settings.joins = bounds).await;
        let Some(store) = store else { return };
        let patient = |n: usize| json!({"resourceType": "Patient", "id": format!("p{n}"), "gender": "female"});
        let observation = |n: usize| {
            json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final", "code": {"text": "x"},
                "subject": {"reference": format!("Patient/p{n}")}})
        };
        let some = |range: std::ops::Range<usize>| {
            let each = range.flat_map(|n| [update(patient(n)), update(observation(n))]);
            each.collect::<Vec<_>>()
        };
        store.commit(some(0..5)).await.unwrap();
        index(&store, None).await;
        // Two of each side are pending.
        store.commit(some(5..OBSERVATIONS)).await.unwrap();
        for url in [
            "Observation?patient.gender=female&_summary=count",
            "Patient?_has:Observation:patient:status=final&_summary=count",
        ] {
            let found = JOINS_BY_INDEX.scope(true, found(&store, url)).await;
            assert_eq!(found, "# 7", "{url}, {bounds:?}");
        }
        let expect = match most >= OBSERVATIONS {
            true => (2, BTreeMap::new()),
            false => (0, BTreeMap::from([("joined rows", 2)])),
        };
        assert_eq!(answered(&store), expect, "{bounds:?}");
        drop_index(&store).await;
    }
}
