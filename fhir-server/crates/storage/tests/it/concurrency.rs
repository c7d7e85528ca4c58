//! Many at once, and the database killed meanwhile.

use crate::requests::*;
use fhir_model::IssueKind;
use fhir_storage::{
    Change, Effect, Error, PrivatePostgres, Store, StoreSettings, Version,
    VersionMatch::{Any, Is},
    testing,
};
use sqlx::Connection;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PATIENT: &str =
    r#"{"resourceType":"Patient","identifier":[{"system":"http://a","value":"1"}]}"#;

/// Conditional creates on one identity, alone and in transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_identity() {
    let store = testing::store().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let store = store.clone();
        tasks.spawn(async move {
            let create = post_if_none(&store, "identifier=http://a|1", PATIENT);
            let changes = match number % 2 {
                0 => vec![create],
                _ => vec![post(r#"{"resourceType":"Basic"}"#), create],
            };
            let outcomes = store.commit(changes).await.unwrap();
            outcomes.last().unwrap().clone()
        });
    }
    let outcomes = tasks.join_all().await;
    let keys: HashSet<_> = outcomes.iter().map(|outcome| outcome.key.clone()).collect();
    assert_eq!(keys.len(), 1);
    let created = outcomes
        .iter()
        .filter(|outcome| outcome.effect == Effect::Created);
    assert_eq!(created.count(), 1);
}

/// Everyone counts up by If-Match: no increment is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lost_update() {
    let store = testing::store().await;
    let text = |count: i64| {
        format!(r#"{{"resourceType":"Basic","extension":[{{"url":"n","valueInteger":{count}}}]}}"#)
    };
    store
        .commit(vec![put("Basic/b", Any, &text(0))])
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while done < 10 {
                let Some(Version::Present(now)) = store.read(&key("Basic/b")).await.unwrap() else {
                    panic!("it is there")
                };
                let count = json(&now.body)["extension"][0]["valueInteger"]
                    .as_i64()
                    .unwrap();
                let change = put("Basic/b", Is(now.version), &text(count + 1));
                match store.commit(vec![change]).await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(matches!(error.error, Error::Refused(_)), "{error:?}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let Some(Version::Present(last)) = store.read(&key("Basic/b")).await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!(json(&last.body)["extension"][0]["valueInteger"], 80);
    assert_eq!(last.version, 81);
}

/// Everyone counts up by a patch, by id and by condition: each is done, and on what the one before left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lost_patch() {
    let store = testing::store().await;
    let first = r#"{"resourceType":"Patient","multipleBirthInteger":0,"identifier":[{"system":"http://a","value":"1"}]}"#;
    store
        .commit(vec![put("Patient/c", Any, first)])
        .await
        .unwrap();
    let count_up = |mut resource: serde_json::Value| {
        let count = resource["multipleBirthInteger"].as_i64().unwrap();
        resource["multipleBirthInteger"] = (count + 1).into();
        Ok(resource)
    };
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            let patched = match task % 8 {
                0 => patch_matching(&store, "Patient", "identifier=http://a|1", count_up),
                _ => patch("Patient/c", Any, count_up),
            };
            let changes = match task % 3 {
                0 => vec![post(r#"{"resourceType":"Basic"}"#), patched],
                _ => vec![patched],
            };
            store.commit(changes).await.map(drop)
        });
    }
    let mut done = 0;
    for result in tasks.join_all().await {
        match result {
            Ok(()) => done += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    let Some(Version::Present(last)) = store.read(&key("Patient/c")).await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!(json(&last.body)["multipleBirthInteger"], done);
    assert_eq!(last.version, done + 1);
    assert_eq!(testing::deadlocks(&store).await, 0);
}

/// Commits of several resources in any order, with references across: they may wait, but none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_deadlock() {
    let store = testing::store().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut random = task * 7919 + 1;
            let mut next = |below: u64| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (random >> 33) % below
            };
            for round in 0..40 {
                let mut changes: Vec<Change> = Vec::new();
                let mut used = HashSet::new();
                for _ in 0..=next(6) {
                    let (resource_type, id) = ([("Patient"), ("Basic")][next(2) as usize], next(12));
                    if !used.insert((resource_type, id)) {
                        continue;
                    }
                    let at = format!("{resource_type}/x{id}");
                    let body = match resource_type {
                        "Patient" => format!(
                            r#"{{"resourceType":"Patient","identifier":[{{"system":"s","value":"{id}"}}],"link":[{{"type":"seealso","other":{{"reference":"Patient/x{}"}}}}],"birthDate":"19{}-01-01"}}"#,
                            next(15),
                            10 + next(80)
                        ),
                        _ => format!(
                            r#"{{"resourceType":"Basic","subject":{{"reference":"Patient/x{}"}},"created":"20{}-01-01"}}"#,
                            next(15),
                            10 + next(80)
                        ),
                    };
                    changes.push(match next(8) {
                        0 => delete(&at, Any),
                        _ => put(&at, Any, &body),
                    });
                }
                let result = store.commit(changes).await;
                assert!(result.is_ok(), "task {task}, round {round}: {result:?}");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(
        testing::deadlocks(&store).await,
        0,
        "they waited in one order"
    );
}

/// Postgres is killed while commits run: it comes back by itself, every acknowledged resource is there, and what failed said it may be
/// tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_while_writing() {
    let (_guard, directory) = testing::open_directory();
    let postgres = PrivatePostgres::start(&directory).await.unwrap();
    let settings = StoreSettings {
        write_connections: 4,
        ..testing::settings(postgres.url().to_owned())
    };
    let store = Store::open(settings, testing::store().await.definitions())
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (a, b) = (
                    format!("Basic/a{task}-{number}"),
                    format!("Basic/b{task}-{number}"),
                );
                let basic = r#"{"resourceType":"Basic"}"#;
                match store
                    .commit(vec![put(&a, Any, basic), put(&b, Any, basic)])
                    .await
                {
                    Ok(_) => acknowledged.push((a, b)),
                    Err(error) => {
                        assert!(matches!(error.error, Error::Unavailable(_)), "{error:?}")
                    }
                }
            }
            acknowledged
        });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let pid = postgres.pid().unwrap();
        // SAFETY: the postmaster that we started.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        while postgres.pid().is_none_or(|now| now == pid) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while store.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    let acknowledged: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    for (a, b) in acknowledged {
        for at in [a, b] {
            assert!(
                store.read(&key(&at)).await.unwrap().is_some(),
                "{at} is lost"
            );
        }
    }
    store.close().await;
    postgres.stop().await;
}

/// A condition is a search: one that does not come to an end is refused, and does not keep a connection for writes.
#[tokio::test]
async fn a_condition_that_takes_too_long_is_too_costly() {
    let settings = StoreSettings {
        statement_timeout_ms: 300,
        ..testing::settings(testing::empty_database().await)
    };
    let url = settings.url.clone();
    let definitions = testing::store().await.definitions();
    let store = Store::open(settings, definitions).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE entry, resource IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    for condition in ["identifier=http://a|1", "family=x&birthdate=2020"] {
        let change = post_if_none(&store, condition, PATIENT);
        let error = store.commit(vec![change]).await.unwrap_err();
        let Error::Refused(issues) = &error.error else {
            panic!("{error:?}");
        };
        assert_eq!(issues[0].kind, IssueKind::TooCostly, "{condition}");
        assert_eq!(error.index, Some(0), "{condition}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let change = post_if_none(&store, "identifier=http://a|1", PATIENT);
    store.commit(vec![change]).await.unwrap();
}

/// A conditional write has a time for its statements. It may pass while the locks are waited for, at once where the database's clock jumps.
#[tokio::test]
async fn a_wait_that_is_too_long_is_to_be_tried_again() {
    let settings = StoreSettings {
        statement_timeout_ms: 50,
        ..testing::settings(testing::empty_database().await)
    };
    let url = settings.url.clone();
    let definitions = fhir_definitions::Definitions::load(&[]).unwrap();
    let store = Store::open(settings, Arc::new(definitions)).await.unwrap();
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    // What a change of the definitions holds.
    sqlx::query("SELECT pg_advisory_lock(-1)")
        .execute(&mut other)
        .await
        .unwrap();
    let create = post_if_none(&store, "identifier=http://a|1", PATIENT);
    let refused = store.commit(vec![create]).await.unwrap_err();
    assert!(
        matches!(refused.error, Error::Unavailable(_)),
        "{refused:?}"
    );
}
