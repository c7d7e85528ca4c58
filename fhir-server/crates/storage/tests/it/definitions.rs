//! The index belongs to the definitions it was made by.

use crate::requests::*;
use fhir_storage::{Error, Page, Store, VersionMatch::Any, testing};
use sqlx::{Connection, PgConnection};

async fn execute(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

async fn found(store: &Store) -> usize {
    let query = query(store, "Patient", "active=true");
    store
        .search(&query, Page::First)
        .await
        .unwrap()
        .matches
        .len()
}

#[tokio::test]
async fn changed_definitions() {
    let url = testing::empty_database().await;
    let definitions = testing::store().await.definitions();
    let settings = testing::settings(url.clone());
    let store = Store::open(settings.clone(), definitions.clone())
        .await
        .unwrap();
    let patient = r#"{"resourceType":"Patient","active":true}"#;
    store
        .commit(vec![put("Patient/p", Any, patient)])
        .await
        .unwrap();
    assert_eq!(found(&store).await, 1);

    // Another set of definitions has taken over and indexed by it: this store must not add rows by its own.
    execute(&url, "UPDATE site SET epoch = epoch + 1, definitions = 1, fingerprint = 1; UPDATE entry SET tokens = '{}'").await;
    assert_eq!(found(&store).await, 0);
    let error = store
        .commit(vec![put("Patient/q", Any, patient)])
        .await
        .unwrap_err();
    assert!(matches!(error.error, Error::Refused(_)), "{error:?}");

    // A server with these definitions opens: everything is indexed again, and the older one of the same set goes on.
    let again = Store::open(settings.clone(), definitions.clone())
        .await
        .unwrap();
    assert_eq!(found(&again).await, 1);
    store
        .commit(vec![put("Patient/q", Any, patient)])
        .await
        .unwrap();
    assert_eq!(found(&again).await, 2);

    // The secret of the site stays.
    assert_eq!(store.site_secret(), again.site_secret());
    assert_ne!(store.site_secret(), &[0; 32]);
}
