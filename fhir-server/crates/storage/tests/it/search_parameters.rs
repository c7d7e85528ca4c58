//! Search parameters that are stored while the store is used: they answer when every resource is indexed by them, and never a part.

use crate::requests::*;
use fhir_definitions::State;
use fhir_storage::{Change, Page, Step, Store, VersionMatch::Any, testing};
use sqlx::{Connection, PgConnection};

fn parameter(id: &str, status: &str, expression: &str) -> Change {
    let body = format!(
        r#"{{"resourceType":"SearchParameter","id":"{id}","url":"urn:x:{id}","name":"p","status":"{status}","description":"d","code":"{id}",
        "base":["Basic"],"type":"token","expression":"{expression}"}}"#
    );
    put(&format!("SearchParameter/{id}"), Any, &body)
}

fn basic(id: usize, code: &str) -> Change {
    let body = format!(
        r#"{{"resourceType":"Basic","id":"b{id:04}","code":{{"text":"x"}},"identifier":[{{"value":"{code}"}}]}}"#
    );
    put(&format!("Basic/b{id:04}"), Any, &body)
}

async fn fill(store: &Store, count: usize) {
    let ids: Vec<usize> = (0..count).collect();
    for some in ids.chunks(500) {
        let changes = some.iter().map(|id| basic(*id, "old")).collect();
        store.commit(changes).await.unwrap();
    }
}

fn state(store: &Store, code: &str) -> Option<State> {
    let definitions = store.definitions();
    let found = definitions.search_parameter("Basic", code)?;
    Some(definitions.state(found))
}

async fn found(store: &Store, parameters: &str) -> usize {
    let query = query(store, "Basic", parameters);
    let page = store.search(&query, Page::First).await.unwrap();
    page.total
        .map_or(page.matches.len(), |total| total as usize)
}

async fn to_its_end(store: &Store) {
    while store.reindex_step().await.unwrap() != Step::Idle {}
    store.refresh().await.unwrap();
}

/// Every index row of the types, but for the order.
async fn rows(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(
        "SELECT row FROM (SELECT 'e ' || e::text AS row FROM entry e UNION ALL SELECT 's ' || s::text FROM sp_string s \
         UNION ALL SELECT 'd ' || d::text FROM sp_date d UNION ALL SELECT 'q ' || q::text FROM sp_quantity q) rows ORDER BY row",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn from_active_to_retired() {
    let store = testing::store().await;
    // Nothing is there to be indexed.
    store
        .commit(vec![parameter("mark", "active", "Basic.identifier")])
        .await
        .unwrap();
    assert_eq!(state(&store, "mark"), Some(State::Answers));
    fill(&store, 450).await;
    assert_eq!(found(&store, "mark=old&_total=accurate").await, 450);

    // Another definition: not searched before all is indexed, and what is written meanwhile is.
    store
        .commit(vec![parameter("mark", "active", "Basic.code")])
        .await
        .unwrap();
    assert_eq!(state(&store, "mark"), Some(State::Indexing(0)));
    let mut seen = Vec::new();
    loop {
        match store.reindex_step().await.unwrap() {
            Step::Worked(0) => {}
            Step::Worked(_) => {
                store.refresh().await.unwrap();
                seen.push(state(&store, "mark").unwrap());
            }
            Step::Idle => break,
            Step::Elsewhere => panic!("nobody else is there"),
        }
    }
    let expect = [44, 88, 99].map(State::Indexing);
    assert_eq!(seen, expect);
    assert_eq!(state(&store, "mark"), Some(State::Answers));
    assert_eq!(found(&store, "mark=old").await, 0);

    store
        .commit(vec![parameter("mark", "draft", "Basic.code")])
        .await
        .unwrap();
    assert_eq!(state(&store, "mark"), None);
    // What is written meanwhile is not indexed by it, so that it has to be again.
    store.commit(vec![basic(1, "x")]).await.unwrap();
    store
        .commit(vec![parameter("mark", "active", "Basic.code")])
        .await
        .unwrap();
    assert_eq!(state(&store, "mark"), Some(State::Indexing(0)));
    to_its_end(&store).await;
    assert_eq!(state(&store, "mark"), Some(State::Answers));
    store
        .commit(vec![delete("SearchParameter/mark", Any)])
        .await
        .unwrap();
    assert_eq!(state(&store, "mark"), None);
}

#[tokio::test]
async fn a_standard_one_can_be_retired_and_comes_back_at_once() {
    let store = testing::store().await;
    fill(&store, 3).await;
    let retired = |status: &str| {
        let body = format!(
            r#"{{"resourceType":"SearchParameter","id":"r","url":"http://hl7.org/fhir/SearchParameter/clinical-identifier","name":"identifier",
            "status":"{status}","description":"d","code":"identifier","base":["Basic"],"type":"token","expression":"Basic.identifier"}}"#
        );
        put("SearchParameter/r", Any, &body)
    };
    store.commit(vec![retired("retired")]).await.unwrap();
    assert_eq!(state(&store, "identifier"), Some(State::Retired));
    store.commit(vec![basic(3, "old")]).await.unwrap();
    store.commit(vec![retired("active")]).await.unwrap();
    assert_eq!(state(&store, "identifier"), Some(State::Answers));
    assert_eq!(found(&store, "identifier=old").await, 4);
}

#[tokio::test]
async fn every_server_of_a_database_follows() {
    let url = testing::empty_database().await;
    let definitions = testing::store().await.definitions();
    let open = || Store::open(testing::settings(url.clone()), definitions.clone());
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    fill(&one, 250).await;
    one.commit(vec![parameter("mark", "active", "Basic.identifier")])
        .await
        .unwrap();
    // The other does not know yet: its write is by the new definitions all the same.
    assert_eq!(state(&two, "mark"), None);
    two.commit(vec![basic(0, "new")]).await.unwrap();
    assert_eq!(state(&two, "mark"), Some(State::Indexing(0)));

    // One of them works, and what it did is not lost with it.
    assert_eq!(one.reindex_step().await.unwrap(), Step::Worked(200));
    assert_eq!(two.reindex_step().await.unwrap(), Step::Elsewhere);
    one.close().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("UPDATE reindex SET alive_until = now() - interval '1 s'")
        .execute(&mut connection)
        .await
        .unwrap();
    let again = open().await.unwrap();
    again.refresh().await.unwrap();
    assert_eq!(state(&again, "mark"), Some(State::Indexing(80)));
    assert_eq!(two.reindex_step().await.unwrap(), Step::Worked(50));
    to_its_end(&two).await;
    assert_eq!(found(&two, "mark=old&_total=accurate").await, 249);
    assert_eq!(found(&two, "mark=new").await, 1);
    again.refresh().await.unwrap();
    assert_eq!(state(&again, "mark"), Some(State::Answers));

    // Stored by a server that died before it could say so.
    sqlx::raw_sql("UPDATE resource SET content = jsonb_set(content, '{status}', '\"retired\"'), version = version + 1 WHERE id = 'mark'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(two.refresh().await.unwrap());
    assert_eq!(state(&two, "mark"), None);
    assert!(again.refresh().await.unwrap());
    assert_eq!(state(&again, "mark"), None);
}

#[tokio::test]
async fn by_hand() {
    let url = testing::empty_database().await;
    let definitions = testing::store().await.definitions();
    let store = Store::open(testing::settings(url.clone()), definitions)
        .await
        .unwrap();
    fill(&store, 20).await;
    let before = rows(&url).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("UPDATE entry SET tokens = '{}'")
        .execute(&mut connection)
        .await
        .unwrap();
    store.start_reindex(&["Patient".into()]).await.unwrap();
    assert_eq!(store.reindex_progress().await.unwrap(), []);
    store.start_reindex(&["Basic".into()]).await.unwrap();
    let progress = store.reindex_progress().await.unwrap();
    assert_eq!((progress.len(), progress[0].percent()), (1, 0));
    assert_eq!(progress[0].resource_type, "Basic");
    // Once more, it goes on where it is.
    store.reindex_step().await.unwrap();
    store.start_reindex(&[]).await.unwrap();
    assert_eq!(store.reindex_progress().await.unwrap()[0].done, 20);
    sqlx::raw_sql("UPDATE reindex SET owner = NULL")
        .execute(&mut connection)
        .await
        .unwrap();
    to_its_end(&store).await;
    assert_eq!(rows(&url).await, before);
    assert_eq!(store.reindex_progress().await.unwrap(), []);
}

/// Writers on two servers, definitions that change, workers that are given up in the middle: at the end the index is what it would be were it
/// made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_index_row_is_lost_in_a_race() {
    let url = testing::empty_database().await;
    let definitions = testing::store().await.definitions();
    let open = || Store::open(testing::settings(url.clone()), definitions.clone());
    let stores = [open().await.unwrap(), open().await.unwrap()];
    fill(&stores[0], 400).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = stores[writer % 2].clone();
            tokio::spawn(async move {
                for round in 0..60 {
                    let id = (writer * 101 + round * 37) % 450;
                    let changes = match round % 5 {
                        4 => vec![delete(&format!("Basic/b{id:04}"), Any)],
                        _ => vec![basic(id, &format!("r{round}")), basic(id + 450, "new")],
                    };
                    let done = store.commit(changes).await;
                    done.unwrap_or_else(|error| panic!("{:?}", error.error));
                }
            })
        })
        .collect();
    let workers: Vec<_> = stores
        .iter()
        .map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut step = 0;
                loop {
                    step += 1;
                    let work = store.reindex_step();
                    // Some are given up wherever they are.
                    let limit =
                        std::time::Duration::from_millis(if step % 3 == 0 { 4 } else { 60_000 });
                    let _ = tokio::time::timeout(limit, work).await;
                    let _ = store.leave_reindex().await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for (round, expression) in [
        "Basic.identifier",
        "Basic.code",
        "Basic.identifier",
        "Basic.subject.identifier",
        "Basic.identifier",
    ]
    .iter()
    .enumerate()
    {
        let change = parameter("mark", "active", expression);
        stores[round % 2].commit(vec![change]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for worker in workers {
        worker.abort();
        let _ = worker.await;
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("UPDATE reindex SET owner = NULL")
        .execute(&mut connection)
        .await
        .unwrap();
    to_its_end(&stores[0]).await;
    assert_eq!(state(&stores[0], "mark"), Some(State::Answers));
    let made = rows(&url).await;
    sqlx::raw_sql("DELETE FROM sp_string; DELETE FROM sp_date; DELETE FROM sp_quantity; UPDATE entry SET tokens = '{}', refs = '{}'")
        .execute(&mut connection)
        .await
        .unwrap();
    stores[0].reindex().await.unwrap();
    assert_eq!(made, rows(&url).await);
    assert!(made.len() > 400);
}
