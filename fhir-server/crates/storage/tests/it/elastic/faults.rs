//! Faults of the cluster and of the network, with writes running; two indexers at once; what arrives late.

use super::*;
use serde_json::json;
use soak::network::{Network, Proxy};

/// Two servers share the work: each row is written, by whichever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_indexers_at_once() {
    let Some(site) = Site::new().await else {
        return;
    };
    let (first, second) = (site.open().await, site.open().await);
    let indexing = [
        Indexing::start(&first),
        Indexing::start(&second),
        Indexing::start(&second),
    ];
    let writers = Writers::start(&first, 4);
    sleep(Duration::from_secs(3)).await;
    let acknowledged = writers.stop().await;
    assert!(acknowledged > 100, "{acknowledged}");
    drop(indexing);
    settle(&second).await;
    right(&first, 50).await;
    assert_eq!(site.sql("SELECT count(*)::text FROM outbox").await, "0");
}

/// A full disk makes indexes read-only; somebody's order may, too. Writes go on, and what they left waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_only_index() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = site.open().await;
    write(&store, vec![patient("p", "x")]).await;
    settle(&store).await;
    let index = site.active().await;
    let written = "SELECT last_value::text FROM outbox_seq_seq";
    for block in ["index.blocks.write", "index.blocks.read_only_allow_delete"] {
        let set = async |value: Value| {
            let path = format!("/{index}/_settings");
            site.done(Method::Put, &path, Some(json!({block: value})))
                .await;
        };
        set(true.into()).await;
        let writers = Writers::start(&store, 2);
        let refused = async {
            loop {
                if let Err(error) = store.index_outbox().await {
                    return error;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let error = tokio::time::timeout(LONG, refused).await.unwrap();
        let before = site.sql(written).await;
        while site.sql(written).await == before {
            sleep(Duration::from_millis(20)).await;
        }
        assert!(matches!(error, Error::Index(_)), "{error:?}");
        assert!(store.index_use().await.unwrap().unwrap().trouble.is_some());
        assert!(writers.stop().await > 0, "writes go on");
        let verified = store.index_verify(false).await.unwrap();
        assert!(
            verified.waiting > 0 && verified.found.is_empty(),
            "{verified:?}"
        );
        set(Value::Null).await;
        settle(&store).await;
        right(&store, 10).await;
        assert_eq!(store.index_use().await.unwrap().unwrap().trouble, None);
    }
    assert_eq!(site.active().await, index, "no reason for another index");
}

/// The network is cut and slow in turns, in the middle of batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_network_that_comes_and_goes() {
    let Some(site) = Site::new().await else {
        return;
    };
    let proxy = Proxy::start(&site.cluster).await.unwrap();
    let store = site
        .open_by(&proxy.url, |elastic| elastic.bulk_timeout_ms = 1_000)
        .await;
    settle(&store).await;
    let indexing = Indexing::start(&store);
    let writers = Writers::start(&store, 4);
    for round in 0..6 {
        proxy.set(match round % 3 {
            0 => Network::Cut,
            1 => Network::Slow(Duration::from_millis(300)),
            _ => Network::Held,
        });
        sleep(Duration::from_millis(700)).await;
        proxy.set(Network::Open);
        sleep(Duration::from_millis(300)).await;
    }
    assert!(writers.stop().await > 100);
    drop(indexing);
    settle(&store).await;
    while proxy.carried.load(Ordering::SeqCst) > 8 {
        sleep(Duration::from_millis(20)).await;
    }
    right(&store, 50).await;
}

/// A write whose sender gave up arrives after the resource was deleted: the deletion stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_late_brings_nothing_back() {
    let Some(site) = Site::new().await else {
        return;
    };
    let proxy = Proxy::start(&site.cluster).await.unwrap();
    let late = site
        .open_by(&proxy.url, |elastic| elastic.bulk_timeout_ms = 300)
        .await;
    let store = site.open().await;
    write(&store, vec![patient("other", "x")]).await;
    settle(&store).await;

    write(
        &store,
        vec![patient("gone", "x"), patient("changed", "old")],
    )
    .await;
    let pk = site
        .sql("SELECT pk::text FROM resource WHERE id = 'gone'")
        .await;
    proxy.set(Network::Held);
    let before = proxy.handed_on.load(Ordering::SeqCst);
    let failed = late.index_outbox().await;
    assert!(
        matches!(&failed, Err(Error::Index(error)) if error.reason() == "timed-out"),
        "{failed:?}"
    );
    write(
        &store,
        vec![delete("Patient/gone", Any), patient("changed", "new")],
    )
    .await;
    settle(&store).await;
    assert!(!site.has(&pk).await);

    // Now it arrives, and is answered.
    proxy.set(Network::Open);
    let arrived = async {
        while proxy.handed_on.load(Ordering::SeqCst) == before
            || proxy.carried.load(Ordering::SeqCst) > 0
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, arrived).await.unwrap();
    let index = site.active().await;
    site.done(Method::Post, &format!("/{index}/_refresh"), None)
        .await;
    assert!(!site.has(&pk).await);
    right(&store, 2).await;
}

/// A server dies in the middle of filling another index; another one goes on, while resources on both sides of where it stands are changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebuild_goes_on() {
    let Some(site) = Site::new().await else {
        return;
    };
    let store = site.open().await;
    let basic = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
    write(
        &store,
        (0..20)
            .map(|n| patient(&format!("first{n}"), "x"))
            .collect(),
    )
    .await;
    for _ in 0..10 {
        write(&store, vec![post(basic); 500]).await;
    }
    write(
        &store,
        (0..20).map(|n| patient(&format!("last{n}"), "x")).collect(),
    )
    .await;
    settle(&store).await;
    let old = site.active().await;

    assert!(store.index_rebuild(None).await.unwrap());
    assert!(!store.index_rebuild(None).await.unwrap(), "it is under way");
    assert!(store.index_fill().await.unwrap().more);
    let use_of = store.index_use().await.unwrap().unwrap();
    assert!(matches!(use_of.filling, Some((2_000, 5_040))), "{use_of:?}");
    drop(store);

    let store = site.open().await;
    let mut changes: Vec<Change> = Vec::new();
    for side in ["first", "last"] {
        changes.extend((0..5).map(|n| delete(&format!("Patient/{side}{n}"), Any)));
        changes.extend((5..10).map(|n| patient(&format!("{side}{n}"), "changed")));
    }
    write(&store, changes).await;
    store.index_outbox().await.unwrap();
    // Searches go on in the old one, which is right as well.
    assert_eq!(site.active().await, old);
    right(&store, 5_030).await;
    // A batch that is given up in the middle leaves nothing that is taken for done.
    let given_up = tokio::time::timeout(Duration::from_millis(5), store.index_fill()).await;
    assert!(given_up.is_err(), "it takes longer");
    let writers = Writers::start(&store, 2);
    let indexing = Indexing::start(&store);
    let complete = async {
        while site.active().await == old {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, complete).await.unwrap();
    writers.stop().await;
    drop(indexing);
    settle(&store).await;
    right(&store, 5_030).await;

    // A while later nobody reads the old one any more.
    site.run("UPDATE search_index_retired SET since = now() - interval '2 minutes'")
        .await;
    assert_eq!(
        site.ask(Method::Get, &format!("/{old}/_mapping"), None)
            .await
            .0,
        200
    );
    store.index_check().await.unwrap();
    assert_eq!(
        site.ask(Method::Get, &format!("/{old}/_mapping"), None)
            .await
            .0,
        404
    );
    let (_, alias) = site
        .ask(Method::Get, &format!("/_alias/{}", site.prefix), None)
        .await;
    assert_eq!(
        alias.as_object().unwrap().keys().next(),
        Some(&site.active().await)
    );
}

/// Outbox rows that were written into one index only are kept when another one is begun in the meantime.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_that_comes_up_misses_nothing() {
    let Some(site) = Site::new().await else {
        return;
    };
    let proxy = Proxy::start(&site.cluster).await.unwrap();
    let slow = site.open_by(&proxy.url, |_| {}).await;
    let store = site.open().await;
    write(&store, vec![patient("first", "x")]).await;
    settle(&store).await;

    write(&store, vec![patient("p", "x")]).await;
    proxy.set(Network::Held);
    let batch = tokio::spawn({
        let slow = slow.clone();
        async move { slow.index_outbox().await }
    });
    while proxy.carried.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    // Its batch is on the way; the other index is begun, and filled past what the batch holds.
    assert!(store.index_rebuild(None).await.unwrap());
    while store.index_fill().await.unwrap().more {}
    proxy.set(Network::Open);
    batch.await.unwrap().unwrap();
    assert_eq!(
        site.sql("SELECT count(*)::text FROM outbox").await,
        "1",
        "the row is still needed"
    );
    settle(&store).await;
    right(&store, 2).await;
}
