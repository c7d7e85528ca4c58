//! The search index against a real Elasticsearch: whatever happens to it, to the network or to the indexer, in the end it is what Postgres has.

mod faults;
mod lost;
mod written;

use crate::requests::{delete, post, put};
use elasticsearch::http::Method;
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::Transport;
use fhir_storage::{
    Change, Checked, ElasticSettings, Error, Finding, Store, StoreSettings, Verified,
    VersionMatch::Any, testing,
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long anything may take that must come about by itself.
const LONG: Duration = Duration::from_secs(120);

/// A database and an Elasticsearch, by a prefix of its own.
#[derive(Clone)]
pub struct Site {
    pub database: String,
    pub cluster: String,
    pub prefix: String,
}

impl Site {
    /// `None`: there is no Elasticsearch, which is said.
    pub async fn new() -> Option<Site> {
        Some(Site::on(testing::elasticsearch()?).await)
    }

    pub async fn on(cluster: String) -> Site {
        Site {
            database: testing::empty_database().await,
            cluster,
            prefix: format!("test_{}", uuid::Uuid::new_v4().simple()),
        }
    }

    /// A server of the site.
    pub async fn open(&self) -> Store {
        self.open_by(&self.cluster, |_| {}).await
    }

    /// One that knows Elasticsearch by another address, or otherwise.
    pub async fn open_by(&self, url: &str, change: impl FnOnce(&mut ElasticSettings)) -> Store {
        let mut elastic = ElasticSettings {
            search_timeout_ms: 2_000,
            bulk_timeout_ms: 20_000,
            ..testing::elastic(url.to_owned(), self.prefix.clone())
        };
        change(&mut elastic);
        let settings = StoreSettings {
            elastic: Some(elastic),
            ..testing::settings(self.database.clone())
        };
        Store::open(settings, testing::store().await.definitions())
            .await
            .unwrap()
    }

    pub async fn sql(&self, sql: &str) -> String {
        let mut connection = PgConnection::connect(&self.database).await.unwrap();
        let found: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        found.unwrap_or_default()
    }

    pub async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.database).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
    }

    pub async fn active(&self) -> String {
        self.sql("SELECT active FROM search_index").await
    }

    /// Asks Elasticsearch, past the server; status and answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let transport = Transport::single_node(&self.cluster).unwrap();
        let body = body.map(|body| body.to_string());
        let response = transport
            .send(method, path, HeaderMap::new(), None::<&()>, body, None)
            .await
            .unwrap();
        let status = response.status_code().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    pub async fn done(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    /// Whether the index has a document of the resource that can be found.
    pub async fn has(&self, pk: &str) -> bool {
        let path = format!("/{}/_count", self.active().await);
        let query = serde_json::json!({"query": {"bool": {
            "filter": [{"term": {"pk": pk.parse::<i64>().unwrap()}}], "must_not": [{"term": {"deleted": true}}],
        }}});
        let answer = self.done(Method::Post, &path, Some(query)).await;
        answer["count"] != 0
    }
}

/// Writes until nothing waits, as the loops of a server do.
pub async fn settle(store: &Store) {
    let until = Instant::now() + LONG;
    let mut error = None;
    while Instant::now() < until {
        let work = async {
            store.index_check().await?;
            while store.index_fill().await?.more {}
            while store.index_outbox().await?.more {}
            store.index_is_idle().await
        };
        match work.await {
            Ok(true) => return,
            Ok(false) => {}
            Err(failed) => error = Some(failed),
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the index does not become idle: {error:?}");
}

/// Indexes in the background until it is dropped, whatever goes wrong.
pub struct Indexing {
    stop: Arc<AtomicBool>,
}

impl Indexing {
    pub fn start(store: &Store) -> Indexing {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                let _ = store.index_check().await;
                let _ = store.index_fill().await;
                let _ = store.index_outbox().await;
                sleep(Duration::from_millis(20)).await;
            }
        });
        Indexing { stop }
    }
}

impl Drop for Indexing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// What is there is what Postgres has: so many resources at least, none of them waiting.
pub async fn right(store: &Store, at_least: u64) -> Verified {
    let verified = store.index_verify(false).await.unwrap();
    assert!(verified.found.is_empty(), "{verified:?}");
    assert_eq!(verified.waiting, 0, "{verified:?}");
    assert!(verified.in_postgres >= at_least, "{verified:?}");
    // Of what was parked an earlier version may be there, or none.
    let least = verified.in_postgres - verified.parked;
    let present = least..=verified.in_postgres;
    assert!(present.contains(&verified.in_index), "{verified:?}");
    verified
}

pub fn patient(id: &str, family: &str) -> Change {
    let body = format!(
        r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{family}","given":["a","b"]}}],"birthDate":"1980-01-01",
        "identifier":[{{"system":"http://s","value":"{id}"}}],"generalPractitioner":[{{"reference":"Practitioner/p"}}]}}"#
    );
    put(&format!("Patient/{id}"), Any, &body)
}

pub async fn write(store: &Store, changes: Vec<Change>) {
    store.commit(changes).await.unwrap();
}

/// A store of which so many patients, `p0` and so on, are in the index.
pub async fn filled(site: &Site, resources: usize) -> Store {
    let store = site.open().await;
    write(
        &store,
        (0..resources)
            .map(|n| patient(&format!("p{n}"), "x"))
            .collect(),
    )
    .await;
    settle(&store).await;
    store
}

/// Writes, changes and deletes until it is stopped; tells how many commits were acknowledged.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<u64>,
}

/// Writers so far, of all tests.
static STARTED: AtomicU64 = AtomicU64::new(0);

impl Writers {
    pub fn start(store: &Store, count: usize) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..count {
            let (store, stop) = (store.clone(), stop.clone());
            // Writers that are started again would write first what is there already.
            let seed = STARTED.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut done = 0;
                while !stop.load(Ordering::SeqCst) {
                    let id = format!("w{writer}-{}", random.u8(0..40));
                    let change = match random.u8(0..10) {
                        0..2 => delete(&format!("Patient/{id}"), Any),
                        2 => post(r#"{"resourceType":"Basic","code":{"text":"x"}}"#),
                        _ => patient(&id, &format!("f{}", random.u16(..))),
                    };
                    // A deletion of what is not there is refused.
                    if store.commit(vec![change]).await.is_ok() {
                        done += 1;
                    }
                }
                done
            });
        }
        Writers { stop, tasks }
    }

    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await.into_iter().sum()
    }
}
