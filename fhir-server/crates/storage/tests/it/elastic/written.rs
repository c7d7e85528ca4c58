//! What is written comes into the index as it is: new, changed, deleted, found by other values; and what it does not take is told.

use super::*;
use serde_json::json;

#[tokio::test]
async fn everything_that_is_written_is_there() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = site.open().await;
    // Of before there was an index, too.
    write(
        &store,
        (0..50)
            .map(|n| patient(&format!("p{n}"), "before"))
            .collect(),
    )
    .await;
    assert_eq!(store.index_check().await.unwrap(), Checked::Begun);
    settle(&store).await;
    assert_eq!(right(&store, 50).await.in_postgres, 50);

    let mut changes: Vec<Change> = (0..20)
        .map(|n| patient(&format!("p{n}"), "changed"))
        .collect();
    changes.extend((20..30).map(|n| delete(&format!("Patient/p{n}"), Any)));
    changes.push(post(r#"{"resourceType":"Basic","code":{"text":"x"}}"#));
    write(&store, changes).await;
    // Not yet: it is named as waiting, and differs in nothing.
    let verified = store.index_verify(false).await.unwrap();
    assert_eq!(
        (verified.waiting, verified.found.len()),
        (31, 0),
        "{verified:?}"
    );
    settle(&store).await;
    assert_eq!(right(&store, 41).await.in_postgres, 41);
    assert_eq!(store.index_check().await.unwrap(), Checked::Well);

    // What comes to life again after its deletion.
    write(&store, vec![patient("p20", "again")]).await;
    settle(&store).await;
    right(&store, 42).await;
    let use_of = store.index_use().await.unwrap().unwrap();
    assert!(use_of.searchable && use_of.parked == 0 && use_of.filling.is_none());

    // The alias that people know leads to it.
    let (status, alias) = site
        .ask(Method::Get, &format!("/_alias/{}", site.prefix), None)
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        alias.as_object().unwrap().keys().next(),
        Some(&site.active().await)
    );
}

/// Index rows that are made anew are of no new version.
#[tokio::test]
async fn a_reindex_is_written_too() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 10).await;
    // As an older version of the program may have left it.
    site.run("DELETE FROM sp_string").await;
    let verified = store.index_verify(false).await.unwrap();
    assert_eq!(verified.found.len(), 10, "{verified:?}");
    assert!(
        verified
            .found
            .iter()
            .all(|found| found.finding == Finding::Different)
    );
    site.run("UPDATE search_index SET epoch = epoch + 1").await;
    store.reindex().await.unwrap();
    assert_eq!(
        site.sql("SELECT count(DISTINCT pk)::text FROM outbox")
            .await,
        "10"
    );
    settle(&store).await;
    right(&store, 10).await;
}

/// What was deleted, left out or changed behind the server's back is found, named and mended.
#[tokio::test]
async fn verify_finds_and_repairs() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 10).await;
    let pk = async |id: &str| {
        site.sql(&format!("SELECT pk::text FROM resource WHERE id = '{id}'"))
            .await
    };
    let index = site.active().await;
    let (missing, different, extra) = (pk("p1").await, pk("p2").await, "999999999".to_owned());
    // By hand, which counts versions up by one.
    let path = |id: &str| format!("/{index}/_doc/{id}?refresh=true");
    site.done(Method::Delete, &path(&missing), None).await;
    site.done(Method::Delete, &path(&different), None).await;
    let other = |pk: &str| json!({"pk": pk.parse::<i64>().unwrap(), "type": "1", "version": 1, "digest": 5});
    for pk in [&different, &extra] {
        site.done(Method::Put, &path(pk), Some(other(pk))).await;
    }
    let verified = store.index_verify(true).await.unwrap();
    let mut found: Vec<(String, Finding)> = verified
        .found
        .iter()
        .map(|found| (found.pk.to_string(), found.finding))
        .collect();
    found.sort();
    let mut expected = vec![
        (missing, Finding::Missing),
        (different, Finding::Different),
        (extra.clone(), Finding::Extra),
    ];
    expected.sort();
    assert_eq!(found, expected);
    settle(&store).await;
    right(&store, 10).await;
    assert!(!site.has(&extra).await);
}

/// A resource that the index does not take is parked; the next version, or the next index, may be taken.
#[tokio::test]
async fn what_is_not_taken_is_parked() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = site.open().await;
    write(&store, vec![patient("good", "x")]).await;
    settle(&store).await;
    let limit = async |most: u64| {
        let body = json!({"index.mapping.nested_objects.limit": most});
        let path = format!("/{}/_settings", site.active().await);
        site.done(Method::Put, &path, Some(body)).await;
    };
    limit(1).await;
    let basic = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
    write(&store, vec![patient("poison", "x"), post(basic)]).await;
    settle(&store).await;
    assert_eq!(right(&store, 3).await.parked, 1);
    assert_eq!(store.index_use().await.unwrap().unwrap().parked, 1);
    // The kind and no values. OpenSearch has another word for it.
    let reason = site.sql("SELECT reason FROM search_index_parked").await;
    let kinds = ["document_parsing_exception", "mapper_parsing_exception"];
    assert!(
        kinds.iter().any(|kind| reason == format!("400 {kind}")),
        "{reason}"
    );

    limit(1000).await;
    write(&store, vec![patient("poison", "y")]).await;
    settle(&store).await;
    assert_eq!(right(&store, 3).await.parked, 0);

    // And into another index, where the old one did not take it.
    limit(1).await;
    write(&store, vec![patient("poison", "z")]).await;
    settle(&store).await;
    assert_eq!(right(&store, 3).await.parked, 1);
    assert!(store.index_rebuild(None).await.unwrap());
    settle(&store).await;
    assert_eq!(right(&store, 3).await.parked, 0);
}

/// One type is sent again, into the index that is searched.
#[tokio::test]
async fn a_type_is_sent_again() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = site.open().await;
    let mut changes: Vec<Change> = (0..5).map(|n| patient(&format!("p{n}"), "x")).collect();
    changes.push(post(r#"{"resourceType":"Basic","code":{"text":"x"}}"#));
    write(&store, changes).await;
    settle(&store).await;
    let index = site.active().await;
    let pks = site
        .sql("SELECT string_agg(pk::text, ' ') FROM entry")
        .await;
    for pk in pks.split(' ') {
        site.done(
            Method::Delete,
            &format!("/{index}/_doc/{pk}?refresh=true"),
            None,
        )
        .await;
    }
    assert_eq!(store.index_verify(false).await.unwrap().found.len(), 6);
    assert!(store.index_rebuild(Some("Patient")).await.unwrap());
    assert!(
        !store.index_rebuild(Some("Patient")).await.unwrap(),
        "it is under way"
    );
    settle(&store).await;
    let left = store.index_verify(false).await.unwrap().found;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        (left[0].resource_type.as_str(), left[0].finding),
        ("Basic", Finding::Missing)
    );
    assert_eq!(site.active().await, index);
    assert!(matches!(
        store.index_rebuild(Some("Nothing")).await,
        Err(Error::Start(_))
    ));
}

/// A second copy may be one that the cluster has given up and that does not know it: there is none, also when somebody has made one.
#[tokio::test]
async fn there_is_one_copy() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = filled(&site, 1).await;
    let index = site.active().await;
    let replicas = async || {
        let path = format!("/{index}/_settings/index.*replicas?flat_settings=true");
        let answer = site.done(Method::Get, &path, None).await;
        answer[&index]["settings"].clone()
    };
    let one = json!({"index.auto_expand_replicas": "false", "index.number_of_replicas": "0"});
    assert_eq!(replicas().await, one);
    for more in [
        json!({"index.number_of_replicas": "1"}),
        json!({"index.auto_expand_replicas": "0-1"}),
    ] {
        let path = format!("/{index}/_settings");
        site.done(Method::Put, &path, Some(more)).await;
        assert_ne!(replicas().await, one);
        assert_eq!(store.index_check().await.unwrap(), Checked::Well);
        assert_eq!(replicas().await, one);
    }
    right(&store, 1).await;
}
