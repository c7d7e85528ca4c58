//! Backup and restore: what comes back is what was there at one moment, or nothing.

use crate::requests::{json, put};
use fhir_storage::{Copied, Error, Store, VersionMatch::Any, backup, restore, testing};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::path::PathBuf;
use std::sync::Arc;

const TABLES: [&str; 12] = [
    "site",
    "resource",
    "resource_history",
    "binary_data",
    "outbox",
    "entry",
    "sp_date",
    "sp_quantity",
    "sp_string",
    "vocabulary",
    "own_parameter",
    "reindex",
];

struct Database {
    url: String,
    store: Store,
}

async fn database() -> Database {
    let url = testing::empty_database().await;
    let definitions = testing::store().await.definitions();
    let store = Store::open(testing::settings(url.clone()), definitions)
        .await
        .unwrap();
    Database { url, store }
}

async fn update(store: &Store, bodies: &[String]) {
    let change = |body: &String| {
        let resource = json(body);
        let key = [&resource["resourceType"], &resource["id"]].map(|part| part.as_str().unwrap());
        put(&key.join("/"), Any, body)
    };
    let changes = bodies.iter().map(change).collect();
    store.commit(changes).await.unwrap();
}

async fn text(url: &str, sql: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let found: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(&mut connection)
        .await
        .unwrap();
    found.unwrap_or_default()
}

/// Every column of every row of a table, but the numbers of transactions.
async fn rows(url: &str, table: &str) -> String {
    let sql = format!(
        "SELECT string_agg(row, E'\\n' ORDER BY row) FROM (SELECT (to_jsonb(t) - 'txid')::text AS row FROM {table} t) r"
    );
    text(url, &sql).await
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.backup");
    (folder, path)
}

async fn refused(outcome: Result<Copied, Error>, part: &str) {
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains(part), "{error}");
}

#[tokio::test]
async fn the_list_of_tables_is_that_of_the_migrations() {
    let database = database().await;
    let tables = text(
        &database.url,
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> '_sqlx_migrations'",
    )
    .await;
    // A job that was restored would be done a second time; a restored database has another search index.
    let index =
        ["", "_fill", "_mark", "_parked", "_retired"].map(|part| format!("search_index{part}"));
    let mut expected = [&TABLES[..], &["job"], &index.each_ref().map(String::as_str)].concat();
    expected.sort();
    assert_eq!(tables, expected.join(" "));
    let (_folder, path) = file();
    let copied = backup(&database.url, &path).await.unwrap();
    assert_eq!(copied.rows, 1, "the row of the site");
}

#[tokio::test]
async fn everything_comes_back() {
    let database = database().await;
    for number in 0..300 {
        for (version, text) in [(1, "a\\tb \\\\. ä"), (2, "\\\\.\\nCOPY x")] {
            let body = format!(
                r#"{{"resourceType":"Patient","id":"p{number}","name":[{{"family":"{text}{version}"}}],"birthDate":"1980-01-{:02}",
                "extension":[{{"url":"http://x","valueDecimal":1.20e3}}],"generalPractitioner":[{{"reference":"Practitioner/absent{number}"}}]}}"#,
                number % 28 + 1
            );
            update(&database.store, &[body]).await;
        }
    }
    let (_folder, path) = file();
    let copied = backup(&database.url, &path).await.unwrap();
    assert!(copied.rows > 2000, "{copied:?}");
    assert_eq!(copied.bytes, path.metadata().unwrap().len());

    let url = testing::empty_database().await;
    assert_eq!(restore(&url, &path).await.unwrap(), copied);
    for table in TABLES {
        assert_eq!(rows(&url, table).await, rows(&database.url, table).await);
    }
    let indexes = "SELECT string_agg(indexdef, ' ' ORDER BY indexdef) FROM pg_indexes WHERE schemaname = 'public'";
    assert_eq!(
        text(&url, indexes).await,
        text(&database.url, indexes).await
    );
    for sequence in ["resource_pk_seq", "outbox_seq_seq"] {
        let next = format!("SELECT nextval('{sequence}')::text");
        assert_eq!(text(&url, &next).await, text(&database.url, &next).await);
    }

    // A server goes on with the restored store: same secret, no new index, new versions.
    let definitions = database.store.definitions();
    let again = Store::open(testing::settings(url.clone()), definitions)
        .await
        .unwrap();
    assert_eq!(again.site_secret(), database.store.site_secret());
    update(
        &again,
        &[r#"{"resourceType":"Patient","id":"p0","name":[{"family":"third"}]}"#.into()],
    )
    .await;
    update(
        &again,
        &[r#"{"resourceType":"Patient","id":"new","name":[{"family":"new"}]}"#.into()],
    )
    .await;
    let version = "SELECT version::text FROM resource WHERE id = 'p0'";
    assert_eq!(text(&url, version).await, "3");

    // Into a store that runs, and into one that is not empty.
    refused(restore(&url, &path).await, "stop it first").await;
    again.close().await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    refused(restore(&url, &path).await, "not empty").await;
    assert_eq!(text(&url, version).await, "3");
    refused(backup(&database.url, &path).await, "exists already").await;
}

#[tokio::test]
async fn a_damaged_file_changes_nothing() {
    let database = database().await;
    update(
        &database.store,
        &[r#"{"resourceType":"Basic","id":"a","code":{"text":"x"}}"#.into()],
    )
    .await;
    let (folder, path) = file();
    backup(&database.url, &path).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let whole = std::fs::read(&path).unwrap();
    let url = testing::empty_database().await;
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for damaged in [
        &whole[..0],
        &whole[..10],
        &whole[..whole.len() - 1],
        &whole[98..],
        &changed,
    ] {
        std::fs::write(&path, damaged).unwrap();
        refused(restore(&url, &path).await, "checksum").await;
    }
    let exists = "SELECT to_regclass('resource')::text";
    assert_eq!(text(&url, exists).await, "");
    refused(backup(&url, &folder.path().join("b")).await, "no store").await;
    let nowhere = folder.path().join("no/such");
    refused(restore(&url, &nowhere).await, "No such file").await;
    refused(backup(&database.url, &nowhere).await, "No such file").await;
}

/// Pairs are written in one transaction each: a backup has both or none, all that were written before it, and restores while others write.
#[tokio::test]
async fn one_moment_while_writes_go_on() {
    let database = Arc::new(database().await);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let database = Arc::clone(&database);
            tokio::spawn(async move {
                for number in 0.. {
                    let pair = ["a", "b"].map(|half| {
                        format!(r#"{{"resourceType":"Basic","id":"w{writer}-{half}","code":{{"text":"{number}"}}}}"#)
                    });
                    update(&database.store, &pair).await;
                }
            })
        })
        .collect();
    let versions = "SELECT coalesce(sum(version), 0)::text FROM resource";
    while text(&database.url, versions).await.parse::<i64>().unwrap() < 200 {}
    for _ in 0..3 {
        let before: i64 = text(&database.url, versions).await.parse().unwrap();
        let (_folder, path) = file();
        backup(&database.url, &path).await.unwrap();
        let url = testing::empty_database().await;
        restore(&url, &path).await.unwrap();
        let restored: i64 = text(&url, versions).await.parse().unwrap();
        assert!(restored >= before, "{restored} < {before}");
        let halves = "SELECT count(*)::text FROM resource a JOIN resource b ON b.id = replace(a.id, '-a', '-b') \
                      WHERE a.id LIKE '%-a' AND a.version = b.version AND a.content->'code' = b.content->'code'";
        assert_eq!(text(&url, halves).await, "4");
        let histories = "SELECT count(*)::text FROM resource r WHERE version - 1 <> (SELECT count(*) FROM resource_history h WHERE h.pk = r.pk)";
        assert_eq!(text(&url, histories).await, "0");
        let indexed = "SELECT count(*)::text FROM resource r JOIN entry e USING (pk, last_updated)";
        assert_eq!(text(&url, indexed).await, "8");
    }
    for writer in writers {
        writer.abort();
    }
}
