//! The private Postgres: alone in its directory, and hard to kill.

use fhir_storage::{Error, PrivatePostgres, testing};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

async fn answer(url: &str) -> Result<i32, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("SELECT 1")
        .fetch_one(&mut connection)
        .await
}

#[tokio::test]
async fn lives_and_is_alone() {
    let (_guard, directory) = testing::open_directory();
    let begun = Instant::now();
    let postgres = PrivatePostgres::start(&directory).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "first start");
    assert_eq!(answer(postgres.url()).await.unwrap(), 1);
    assert_eq!(
        PrivatePostgres::running(&directory).as_deref(),
        Some(postgres.url())
    );

    // A second server is told who is there.
    let second = PrivatePostgres::start(&directory).await.unwrap_err();
    let Error::Start(reason) = second else {
        panic!("{second}")
    };
    assert!(
        reason.contains(&format!("process {}", std::process::id())),
        "{reason}"
    );

    // A postmaster that is killed comes back.
    let killed = postgres.pid().unwrap();
    // SAFETY: our own grandchild.
    unsafe { libc::kill(killed, libc::SIGKILL) };
    let begun = Instant::now();
    while answer(postgres.url()).await.is_err() || postgres.pid() == Some(killed) {
        assert!(begun.elapsed() < Duration::from_secs(30), "restart");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // After a stop the same directory starts again, with its data.
    let url = postgres.url().to_owned();
    postgres.stop().await;
    assert!(answer(&url).await.is_err());
    assert_eq!(PrivatePostgres::running(&directory), None);
    PrivatePostgres::start(&directory)
        .await
        .unwrap()
        .stop()
        .await;

    // Data of a version that is not installed are not touched.
    std::fs::write(directory.join("pgdata/PG_VERSION"), "9\n").unwrap();
    let error = PrivatePostgres::start(&directory).await.unwrap_err();
    assert!(error.to_string().contains("fhir-server upgrade"), "{error}");
}

#[tokio::test]
async fn long_paths() {
    let (_guard, directory) = testing::open_directory();
    let deep = directory.join("a long name with spaces % and more".repeat(4));
    let postgres = PrivatePostgres::start(&deep).await.unwrap();
    assert_eq!(answer(postgres.url()).await.unwrap(), 1);
    let socket = std::fs::read_link(deep.join("pgsock")).unwrap();
    assert!(socket.exists());
    postgres.stop().await;
    assert!(!socket.exists());
}

/// Under root, a directory that the user of Postgres cannot reach.
#[tokio::test]
async fn closed_directory() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = PrivatePostgres::start(&directory.path().join("data"))
        .await
        .unwrap();
    assert_eq!(answer(postgres.url()).await.unwrap(), 1);
    postgres.stop().await;
    if let Ok(elsewhere) = std::fs::read_link(directory.path().join("data/pgdata")) {
        std::fs::remove_dir_all(elsewhere.parent().unwrap()).unwrap();
    }
}

/// A server that is killed: its Postgres stops by itself, and the next server waits for it and finds everything.
#[tokio::test]
async fn server_killed() {
    let (_guard, directory) = testing::open_directory();
    for round in 0..2 {
        let mut server = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "private_postgres::serve_until_killed"])
            .env("SERVE_DIRECTORY", &directory)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !directory.join(format!("written-{round}")).exists() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
    let postgres = PrivatePostgres::start(&directory).await.unwrap();
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM t")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(count, 2);
    postgres.stop().await;
}

/// The server of `server_killed`, which runs this in a process of its own: writes a row, says so, and stays. Of itself it tests nothing.
#[tokio::test]
async fn serve_until_killed() {
    let Some(directory) = std::env::var_os("SERVE_DIRECTORY").map(std::path::PathBuf::from) else {
        return;
    };
    let postgres = PrivatePostgres::start(&directory).await.unwrap();
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    for sql in [
        "CREATE TABLE IF NOT EXISTS t (n int)",
        "INSERT INTO t VALUES (1)",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    let round = (0..)
        .find(|round| !directory.join(format!("written-{round}")).exists())
        .unwrap();
    std::fs::write(directory.join(format!("written-{round}")), "").unwrap();
    std::future::pending::<()>().await;
}
