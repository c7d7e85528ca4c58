//! The cluster lost the index or has an older state of it; the database was put back, restored, or left alone for a day.

use super::*;
use fhir_storage::{backup, restore};
use serde_json::json;

#[tokio::test]
async fn an_index_that_is_gone_is_made_anew() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 20).await;
    let old = site.active().await;
    site.done(Method::Delete, &format!("/{old}"), None).await;
    write(&store, vec![patient("p", "new")]).await;
    let error = store.index_outbox().await.unwrap_err();
    assert!(fhir_storage::is_lost(&error), "{error:?}");
    // The write did not make it again by its name, empty.
    assert_eq!(site.ask(Method::Get, &format!("/{old}"), None).await.0, 404);
    assert_eq!(store.index_check().await.unwrap(), Checked::Lost);
    assert_eq!(site.active().await, "");
    settle(&store).await;
    assert_ne!(site.active().await, old);
    right(&store, 21).await;
}

/// As after a snapshot of the cluster was restored: the index is there, and has not what was written since.
#[tokio::test]
async fn an_older_state_of_the_index_is_found() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 20).await;
    let index = site.active().await;
    let meta = site
        .done(Method::Get, &format!("/{index}/_mapping"), None)
        .await;
    let mappings = meta[&index]["mappings"].clone();
    site.done(Method::Delete, &format!("/{index}"), None).await;
    let alias = format!("{index}.write");
    let body = json!({"mappings": mappings, "aliases": {alias: {}}});
    site.done(Method::Put, &format!("/{index}"), Some(body))
        .await;
    assert_eq!(store.index_check().await.unwrap(), Checked::Lost);
    settle(&store).await;
    right(&store, 20).await;
}

/// A database that was put back gives versions again that the index has already: it gets another index, and leaves that one alone.
#[tokio::test]
async fn a_database_that_was_put_back_has_another_index() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 20).await;
    write(&store, vec![patient("p0", "y")]).await;
    settle(&store).await;
    let old = site.active().await;
    site.run("SELECT setval('search_index_version', 1)").await;
    assert_eq!(store.index_check().await.unwrap(), Checked::Ahead);
    settle(&store).await;
    let verified = right(&store, 20).await;
    assert_eq!(verified.unknown, std::slice::from_ref(&old));
    site.run("UPDATE search_index_retired SET since = now() - interval '2 minutes'")
        .await;
    store.index_check().await.unwrap();
    assert_eq!(
        site.ask(Method::Get, &format!("/{old}/_mapping"), None)
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_restored_database_has_another_index() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 20).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.backup");
    backup(&site.database, &file).await.unwrap();
    // What the index has, and the backup does not.
    write(
        &store,
        vec![delete("Patient/p0", Any), patient("p1", "later")],
    )
    .await;
    settle(&store).await;

    // Also where the database has had an index of its own.
    let other = Site {
        database: testing::empty_database().await,
        ..site.clone()
    };
    let empty = other.open().await;
    settle(&empty).await;
    let (generation, index) = (
        other.sql("SELECT generation FROM search_index").await,
        other.active().await,
    );
    empty.close().await;
    restore(&other.database, &file).await.unwrap();
    assert_ne!(
        other.sql("SELECT generation FROM search_index").await,
        generation
    );
    assert_eq!(other.active().await, "");
    let restored = other.open().await;
    settle(&restored).await;
    let verified = right(&restored, 20).await;
    assert_ne!(verified.index, index);
    assert_eq!(verified.in_postgres, 20);
    // The two know nothing of each other.
    right(&store, 19).await;
}

/// A later version of the program has begun an index of another layout: this one keeps out of it.
#[tokio::test]
async fn an_index_of_a_later_version_is_left_alone() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 3).await;
    let index = site.active().await;
    site.run("UPDATE search_index SET layout = layout + 1, epoch = epoch + 1")
        .await;
    assert_eq!(store.index_check().await.unwrap(), Checked::Later);
    write(&store, vec![patient("p", "x")]).await;
    assert_eq!(
        store.index_outbox().await.unwrap(),
        fhir_storage::Round::default()
    );
    assert_eq!(site.sql("SELECT count(*)::text FROM outbox").await, "1");
    assert!(!store.index_use().await.unwrap().unwrap().searchable);

    // And one of an earlier version is replaced.
    site.run("UPDATE search_index SET layout = 0, epoch = epoch + 1")
        .await;
    assert_eq!(store.index_check().await.unwrap(), Checked::Begun);
    settle(&store).await;
    assert_ne!(site.active().await, index);
    right(&store, 4).await;
}

/// Too many changes wait: another index is less work.
#[tokio::test]
async fn a_backlog_that_is_too_long() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = site
        .open_by(&site.cluster, |elastic| elastic.backlog_max = 10)
        .await;
    write(&store, vec![patient("p", "x")]).await;
    settle(&store).await;
    let old = site.active().await;
    for n in 0..20 {
        write(&store, vec![patient(&format!("q{n}"), "x")]).await;
    }
    site.run(&format!(
        "UPDATE search_index_mark SET index = index WHERE index = '{old}'"
    ))
    .await;
    // How many wait is looked at with each batch, and this one is not taken.
    let path = format!("/{old}/_settings");
    site.done(
        Method::Put,
        &path,
        Some(json!({"index.blocks.write": true})),
    )
    .await;
    sleep(Duration::from_millis(300)).await;
    assert!(store.index_outbox().await.is_err());
    assert_eq!(store.index_check().await.unwrap(), Checked::Begun);
    settle(&store).await;
    assert_ne!(site.active().await, old);
    right(&store, 21).await;
}
