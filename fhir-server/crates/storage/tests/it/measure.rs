//! What a write costs, in CPU of this process and of Postgres: `cargo test --release -p fhir-storage --test it measure -- --ignored --nocapture`.

use crate::requests::*;
use fhir_storage::{PrivatePostgres, Store, VersionMatch::Any, testing};
use std::time::Instant;

/// CPU nanoseconds that these processes have used.
fn cpu(pids: impl Iterator<Item = i32>) -> u64 {
    let used = |pid: i32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let times = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        times.sum::<u64>()
    };
    pids.map(used).sum()
}

fn children(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            let after = stat.rsplit(") ").next().unwrap_or_default();
            after.split(' ').nth(1) == Some(&parent.to_string())
        })
    })
    .collect()
}

fn observation(number: usize) -> String {
    format!(
        r#"{{"resourceType":"Observation","identifier":[{{"system":"http://lab.example/order","value":"o{number}"}}],"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"Laboratory"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"{}-7","display":"Hemoglobin [Mass/volume] in Blood"}}],"text":"Hemoglobin"}},"subject":{{"reference":"Patient/p{}","display":"A patient"}},"encounter":{{"reference":"Encounter/e{}"}},"effectiveDateTime":"2026-{:02}-{:02}T08:30:00+02:00","issued":"2026-11-01T10:00:00Z","performer":[{{"reference":"Organization/lab"}}],"valueQuantity":{{"value":{}.{},"unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"}},"interpretation":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation","code":"N"}}]}}],"referenceRange":[{{"low":{{"value":12.0,"unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"}},"high":{{"value":16.0,"unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"}}}}]}}"#,
        number % 200,
        number % 1000,
        number % 3000,
        1 + number % 12,
        1 + number % 28,
        number % 17,
        number % 10,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, in a release build"]
async fn measure() {
    let (_guard, directory) = testing::open_directory();
    let postgres = PrivatePostgres::start(&directory).await.unwrap();
    let definitions = testing::store().await.definitions();
    let settings = testing::settings(postgres.url().to_owned());
    let store = Store::open(settings, definitions).await.unwrap();
    let own = std::process::id() as i32;
    let postmaster = postgres.pid().unwrap();
    let mut number = 0;
    for (name, commits, size) in [
        ("warm up", 30, 100),
        ("single create", 3000, 1),
        ("create, 100 a commit", 100, 100),
        ("update-as-create", 2000, 1),
        ("single update", 2000, 1),
        ("no-op update", 2000, 1),
        ("read", 5000, 1),
    ] {
        let (begun, own_before, database_before) = (
            Instant::now(),
            cpu([own].into_iter()),
            cpu(children(postmaster).into_iter()),
        );
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let store = store.clone();
            let start = number;
            let of_task = commits / 4;
            number += of_task * size;
            tasks.spawn(async move {
                for commit in 0..of_task {
                    let numbers = start + commit * size..start + (commit + 1) * size;
                    match name {
                        "read" => drop(
                            store
                                .read(&key(&format!("Observation/u{}", commit % 500)))
                                .await
                                .unwrap(),
                        ),
                        "update-as-create" | "single update" | "no-op update" => {
                            let shift = usize::from(name != "update-as-create") * 7;
                            let at = format!("Observation/u{}", task * 500 + commit);
                            let body = observation(commit % 500 + shift);
                            store.commit(vec![put(&at, Any, &body)]).await.unwrap();
                        }
                        _ => {
                            let changes =
                                numbers.map(|number| post(&observation(number))).collect();
                            store.commit(changes).await.unwrap();
                        }
                    }
                }
            });
        }
        tasks.join_all().await;
        let resources = (commits * size) as f64;
        let ms = |ns: u64| ns as f64 / 1e6 / resources;
        println!(
            "{name}: server {:.3} ms, database {:.3} ms CPU each; {:.0} a second",
            ms(cpu([own].into_iter()).saturating_sub(own_before)),
            ms(cpu(children(postmaster).into_iter()).saturating_sub(database_before)),
            resources / begun.elapsed().as_secs_f64()
        );
    }
    store.close().await;
    postgres.stop().await;
}
