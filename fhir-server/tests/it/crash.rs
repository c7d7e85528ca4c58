//! A few rounds of `make soak` (tests/soak, docs/durability.md): kill -9 under load, then everything acknowledged is there, once and whole.

use crate::process::ROOT;
use fhir_storage::testing::elasticsearch;
use soak::cluster::Plan;
use soak::node::Flavor;
use soak::{Campaign, Fault, Plant, Programs, Report, Search, Shape};
use std::path::Path;

async fn rounds(shape: Shape, faults: &[Fault], plant: Option<Plant>) -> Report {
    let server = Path::new(env!("CARGO_BIN_EXE_fhir-server"));
    let programs = Programs {
        server: server.to_owned(),
        // Cargo builds it into the same folder for the tests of its own package, so it is there in every `cargo test --workspace`.
        listener: server.with_file_name("hl7-mllp-listener"),
        root: Path::new(ROOT).canonicalize().unwrap(),
    };
    let campaign = Campaign {
        shape,
        faults: faults.to_vec(),
        acknowledged: 150,
        writers: 4,
        senders: 2,
        seed: 20_261_124,
        plant,
    };
    soak::run(&programs, &campaign, |line| eprintln!("{line}"))
        .await
        .unwrap()
}

fn check(report: &Report) {
    let findings: Vec<String> = report
        .findings
        .iter()
        .map(|finding| format!("{:?}: {}", finding.kind, finding.text))
        .collect();
    assert!(
        findings.is_empty(),
        "{}\n{:?}",
        findings.join("\n"),
        report.kept
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_with_its_private_postgres() {
    let faults = [
        Fault::Server(0),
        Fault::Postmaster,
        Fault::Listener,
        Fault::Backend,
        Fault::Everything,
        Fault::Server(0),
        Fault::Postmaster,
    ];
    check(&rounds(Shape::default(), &faults, None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_postgres() {
    let two = Shape {
        sharing: 2,
        ..Shape::default()
    };
    let faults = [
        Fault::Server(0),
        Fault::Server(1),
        Fault::Backend,
        Fault::Postmaster,
        Fault::Everything,
    ];
    check(&rounds(two, &faults, None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_with_spools() {
    let spools = Shape {
        spools: true,
        ..Shape::default()
    };
    let faults = [
        Fault::Listener,
        Fault::Server(0),
        Fault::Everything,
        Fault::Postmaster,
    ];
    check(&rounds(spools, &faults, None).await);
}

/// The same with a search index of two nodes, which is hurt, too: every search right after a write sees it, whatever happens, and after each
/// fault the index is what Postgres has and is searched again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts an Elasticsearch of two nodes, and again: for CI"]
async fn two_servers_with_a_search_index() {
    if elasticsearch().is_none() {
        return;
    }
    let two = Shape {
        sharing: 2,
        search: Search::Own(Plan {
            flavor: Flavor::Elasticsearch,
            nodes: 2,
            port: 9_231,
        }),
        ..Shape::default()
    };
    let report = rounds(two, &Fault::OF_INDEX, None).await;
    check(&report);
    let Report {
        looks,
        by_index,
        by_postgres,
        ..
    } = report;
    eprintln!("{looks} looks; {by_index} by the index, {by_postgres} by Postgres");
    // Else it was not the index that was tried, or it was not missed.
    assert!(looks > 500 && by_index > 200 && by_postgres > 20);
}

/// What would pass here unseen would pass unseen in the tests above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_faults_are_found() {
    for plant in [Plant::EarlyCommit, Plant::Half, Plant::Late] {
        let search = match plant.is_of_index() {
            true => match elasticsearch() {
                Some(url) => Search::At(url),
                None => continue,
            },
            false => Search::Postgres,
        };
        let one = Shape {
            sharing: 1,
            settings: plant.settings(),
            of_servers: plant.of_servers(),
            search,
            ..Shape::default()
        };
        // It ends with the round in which the fault is found, mostly the first.
        let found = rounds(one, &[Fault::Everything; 6], Some(plant))
            .await
            .findings;
        let expected = plant.expect();
        assert!(
            found.iter().any(|finding| finding.kind == expected),
            "{plant:?}: {found:?}"
        );
    }
}
