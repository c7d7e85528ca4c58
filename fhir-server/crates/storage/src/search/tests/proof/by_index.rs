//! The same comparison where an index in Elasticsearch answers: that it really does, and that mistakes in what it is asked are found.

use super::super::indexed::{answered, drop_index};
use super::comparison;
use super::faults::Hunt;
use super::site::Site;
use super::{Engine, agree};
use crate::search::elastic::JOINS_BY_INDEX;
use crate::search::elastic::fault::{FAULT, FAULTS, Fault};
use search_oracle::drawn;
use std::collections::BTreeMap;

/// Why Postgres answers, by design: what the index does not evaluate, and what concerns a few resources by id.
const DECLARED: &[&str] = &[
    "by id",
    "contained",
    "words",
    "written places",
    "sort by looking",
    "sort by score",
    "sort in units",
];
/// The least share of searches that the index answers, in percent.
const ANSWERED_MIN: u64 = 50;

/// Searches with a mistake, until one is given up that was not found; in a short run those that it comes to.
const TRIES: usize = 300;
const SEARCHES: usize = 40_000;
const SEARCHES_SHORT: usize = 500;

/// The agreement stands for the index only where it was the index that answered.
#[tokio::test(flavor = "multi_thread")]
async fn index_and_oracle_agree() {
    let mut by_index = 0;
    let mut by_postgres: BTreeMap<&str, u64> = BTreeMap::new();
    let stores = agree(Engine::Index).await;
    if stores.is_empty() {
        return;
    }
    for store in &stores {
        let (answers, fallbacks) = answered(store);
        by_index += answers;
        for (reason, count) in fallbacks {
            *by_postgres.entry(reason).or_default() += count;
        }
        drop_index(store).await;
    }
    eprintln!("{by_index:>8} requests answered by the index");
    for (reason, count) in &by_postgres {
        eprintln!("{count:>8} by Postgres: {reason}");
    }
    let all = by_index + by_postgres.values().sum::<u64>();
    assert!(by_index * 100 >= all * ANSWERED_MIN, "{by_index} of {all}");
    let undeclared: Vec<_> = by_postgres
        .keys()
        .filter(|reason| !DECLARED.contains(reason))
        .collect();
    assert!(undeclared.is_empty(), "by Postgres: {undeclared:?}");
}

/// A mistake shows in the answer, or Postgres does not confirm what the index has found.
#[tokio::test(flavor = "multi_thread")]
async fn faults_planted_in_requests_are_found() {
    let seed = super::seed();
    let Some(mut site) = Site::with_index(seed).await else {
        return;
    };
    site.change().await;
    let mut hunt = Hunt::new(FAULTS, TRIES);
    for number in 0..hunt.searches(SEARCHES, SEARCHES_SHORT) {
        if hunt.is_over() {
            break;
        }
        if number % 100 == 99 {
            site.change().await;
        }
        let asked = drawn::search(&mut site.rng, &site.world);
        let Ok(query) = site.understood(&asked) else {
            continue;
        };
        for (place, plant) in hunt.open() {
            let manner = site.manner(&query);
            let wrong = wrong_index(&site);
            let fault = Fault::new(*plant);
            let compare = comparison::compare(&site.store, &site.world, &query, &query, manner);
            let compare = JOINS_BY_INDEX.scope(true, compare);
            let compared = FAULT.scope(fault.clone(), compare).await;
            if fault.is_planted() {
                hunt.tried(place, compared.is_err() || wrong_index(&site) > wrong);
            }
        }
    }
    drop_index(&site.store).await;
    let found = hunt.end(seed);
    assert!(
        found * 3 > FAULTS.len() * 2,
        "{found} kinds with SEARCH_SEED={seed}"
    );
}

/// How often Postgres did not confirm what the index had found, or the index did not understand.
fn wrong_index(site: &Site) -> u64 {
    let (_, fallbacks) = answered(&site.store);
    let reasons = ["wrong index", "refused"].into_iter();
    reasons.filter_map(|reason| fallbacks.get(reason)).sum()
}
