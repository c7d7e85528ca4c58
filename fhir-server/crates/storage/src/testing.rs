//! A real private Postgres for tests: one per test process, an empty database per test.
//!
//! Its directories stay in the system's temporary directory and are used again by later runs, which saves making a cluster each time.

use crate::elastic::{AskedFor, ElasticSettings, Freshness, Joins, WhenDown};
use crate::error::Error;
use crate::policy::Policies;
use crate::private_postgres::PrivatePostgres;
use crate::store::{Store, StoreSettings};
use fhir_definitions::{DataFile, Definitions};
use sqlx::{Connection, PgConnection};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OnceCell;

static POSTGRES: OnceCell<PrivatePostgres> = OnceCell::const_new();

/// The URL of a new, empty database.
pub async fn empty_database() -> String {
    let postgres = POSTGRES.get_or_init(start).await;
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    execute(postgres.url(), &format!("CREATE DATABASE {name}")).await;
    postgres.url().replace("/postgres", &format!("/{name}"))
}

/// A store in a new database, with the core definitions.
pub async fn store() -> Store {
    static DEFINITIONS: OnceCell<Arc<Definitions>> = OnceCell::const_new();
    let definitions = DEFINITIONS
        .get_or_init(|| async {
            Arc::new(Definitions::load(&[]).expect("the core definitions are valid"))
        })
        .await;
    open(Arc::clone(definitions)).await
}

/// A store in a new database, with files of a site.
pub async fn store_with(files: &[DataFile]) -> Store {
    let definitions = Definitions::load(files).expect("the files are valid");
    open(Arc::new(definitions)).await
}

/// The Elasticsearch for tests: `FHIR_TEST_ELASTICSEARCH`, which `make test` sets where it could start one. Says so where there is none.
pub fn elasticsearch() -> Option<String> {
    let url = std::env::var("FHIR_TEST_ELASTICSEARCH").unwrap_or_default();
    if url.is_empty() {
        eprintln!("skipped: no Elasticsearch, FHIR_TEST_ELASTICSEARCH names none (make es)");
        return None;
    }
    Some(url)
}

/// An index of this name in the Elasticsearch at `url`.
pub fn elastic(url: String, index: String) -> ElasticSettings {
    ElasticSettings {
        urls: vec![url],
        user: None,
        password: None,
        api_key: None,
        ca_file: None,
        index,
        shards: 1,
        search_timeout_ms: 10_000,
        bulk_timeout_ms: 60_000,
        freshness: Freshness::Strong,
        when_down: WhenDown::Postgres,
        // With what few resources tests have, everything is cheaper in Postgres.
        asked: AskedFor::Always,
        joins: Joins::default(),
        backlog_max: 1_000_000,
    }
}

/// A store in a new database that uses the Elasticsearch at `url`, with names of its own there.
pub async fn store_with_elastic(
    files: &[DataFile],
    url: String,
    change: impl FnOnce(&mut ElasticSettings),
) -> Store {
    let definitions = Definitions::load(files).expect("the files are valid");
    let index = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut elastic = elastic(url, index);
    change(&mut elastic);
    let settings = StoreSettings {
        elastic: Some(elastic),
        ..settings(empty_database().await)
    };
    open_with(settings, Arc::new(definitions)).await
}

async fn open(definitions: Arc<Definitions>) -> Store {
    open_with(settings(empty_database().await), definitions).await
}

async fn open_with(settings: StoreSettings, definitions: Arc<Definitions>) -> Store {
    Store::open(settings, definitions)
        .await
        .expect("the store opens in an empty database")
}

/// Settings for tests.
pub fn settings(url: String) -> StoreSettings {
    StoreSettings {
        url,
        write_connections: 8,
        search_connections: 4,
        statement_timeout_ms: 10_000,
        slow_search_ms: None,
        base: Some("http://localhost/fhir".into()),
        policies: Policies::default(),
        elastic: None,
    }
}

/// How many deadlocks Postgres had to break in the store's database.
pub async fn deadlocks(store: &Store) -> i64 {
    let query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    // Back ends report with a delay.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    sqlx::query_scalar(query)
        .fetch_one(&store.inner.write_pool)
        .await
        .expect("the test Postgres answers")
}

/// Takes the first directory that no other test process has.
async fn start() -> PrivatePostgres {
    for number in 0..32 {
        let directory = std::env::temp_dir().join(format!("fhir-server-test-{number}"));
        match PrivatePostgres::start(&directory).await {
            Ok(postgres) => {
                drop_databases(postgres.url()).await;
                return postgres;
            }
            Err(Error::Start(reason)) if reason.contains("used by another server") => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("32 test processes at once");
}

async fn drop_databases(url: &str) {
    let mut connection = PgConnection::connect(url)
        .await
        .expect("the test Postgres answers");
    let query = "SELECT datname::text FROM pg_database WHERE datname LIKE 'test\\_%'";
    let names: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut connection)
        .await
        .expect("databases can be listed");
    for name in names {
        execute(url, &format!("DROP DATABASE {name}")).await;
    }
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url)
        .await
        .expect("the test Postgres answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .expect("test databases are made and dropped");
}

/// A temporary directory that the user of Postgres can reach, also when the tests run as root.
pub fn open_directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))
        .expect("it is ours");
    let path = directory.path().to_path_buf();
    (directory, path)
}
