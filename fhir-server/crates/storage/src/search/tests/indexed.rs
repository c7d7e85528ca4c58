//! Stores whose searches an index in Elasticsearch answers. The index is made by hand, so that rows can stay pending and documents stale.

use crate::elastic::client::Method;
use crate::elastic::mapping::{LAYOUT, mappings, settings};
use crate::elastic::{Elastic, ElasticSettings, document};
use crate::{Store, testing};
use fastrand::Rng;
use fhir_definitions::DataFile;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A machine that stands still for a while is no failure of the search.
const WITHIN: Duration = Duration::from_secs(60);

/// A store with an empty index; `None` where there is no Elasticsearch, which is said.
pub async fn store(files: &[DataFile], change: impl FnOnce(&mut ElasticSettings)) -> Option<Store> {
    let patient = |settings: &mut ElasticSettings| {
        settings.search_timeout_ms = WITHIN.as_millis() as u64;
        change(settings);
    };
    let store = testing::store_with_elastic(files, testing::elasticsearch()?, patient).await;
    let name = name(&store);
    let index = json!({"mappings": mappings(), "settings": settings()});
    send(&store, Method::Put, &format!("/{name}"), Some(&index)).await;
    activate(&store).await;
    Some(store)
}

/// Makes searches ask the index.
pub async fn activate(store: &Store) {
    sqlx::query("UPDATE search_index SET active = $1, layout = $2")
        .bind(name(store))
        .bind(LAYOUT)
        .execute(&store.inner.write_pool)
        .await
        .unwrap();
}

/// Brings the index to the state of now; with `left`, about a third of what was written stays pending, and what the index has of it stale.
pub async fn index(store: &Store, mut left: Option<&mut Rng>) {
    let mut connection = store.inner.write_pool.acquire().await.unwrap();
    let written: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT pk FROM outbox ORDER BY pk")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let taken: Vec<i64> = written
        .into_iter()
        .filter(|_| left.as_mut().is_none_or(|rng| rng.u8(..3) > 0))
        .collect();
    bulk(store, &taken).await;
    sqlx::query("DELETE FROM outbox WHERE pk = ANY ($1)")
        .bind(&taken)
        .execute(&mut *connection)
        .await
        .unwrap();
}

/// Writes the documents of these rows as they are now, pending or not, to where searches find them.
pub async fn bulk(store: &Store, pks: &[i64]) {
    if pks.is_empty() {
        return;
    }
    let mut connection = store.inner.write_pool.acquire().await.unwrap();
    let name = name(store);
    let mut lines = String::new();
    let types = &elastic(store).types;
    for rows in document::read(&mut connection, types, pks).await.unwrap() {
        let action = json!({"index": {"_index": name, "_id": rows.pk.to_string()}});
        lines.push_str(&format!("{action}\n{}\n", document::of(&rows)));
    }
    let client = &elastic(store).client;
    let path = "/_bulk?refresh=true&filter_path=errors,items.*.error";
    let answer = client.send_lines(path, &lines, WITHIN).await;
    let answer = answer.unwrap();
    assert_eq!(answer["errors"], json!(false), "{answer}");
}

/// Forgets the index.
pub async fn drop_index(store: &Store) {
    let path = format!("/{}", name(store));
    send(store, Method::Delete, &path, None).await;
}

async fn send(store: &Store, method: Method, path: &str, body: Option<&Value>) {
    let client = &elastic(store).client;
    client.send(method, path, body, WITHIN).await.unwrap();
}

pub fn elastic(store: &Store) -> &Elastic {
    store.inner.elastic.as_ref().unwrap()
}

fn name(store: &Store) -> String {
    format!("{}_by_hand", elastic(store).settings.index)
}

/// Searches that the index answered, and those that it did not, by reason.
pub fn answered(store: &Store) -> (u64, BTreeMap<&'static str, u64>) {
    let elastic = elastic(store);
    let fallbacks = elastic.fallbacks.get().into_iter().collect();
    (elastic.answered.get(), fallbacks)
}
