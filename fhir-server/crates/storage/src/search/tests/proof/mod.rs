//! The engine against the oracle (`tests/search-oracle`), which interprets the specification over the resources themselves: random resources
//! through the write road, random searches through the parser, page by page (docs/search-proof.md).
//!
//! `SEARCH_COMPARISONS` says how many (`make search-soak`: 100,000), `SEARCH_SEED` where to begin. A difference is shown with its seed, the
//! search without what it does not need, and the fewest resources that show it.

mod by_index;
mod comparison;
mod faults;
mod site;

use crate::Store;
use crate::search::elastic::JOINS_BY_INDEX;
use comparison::Compared;
use search_oracle::tally::{KINDS, Tally};
use site::Site;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Sites that are compared side by side in a long run, each from a seed of its own: Postgres works for one while others think.
const SITES: u64 = 4;
/// How many searches between changes of the resources.
const SEARCHES: usize = 100;
/// Comparisons where nothing says how many: what `make test` has the time for.
const COMPARISONS: u64 = 1_000;
/// From so many comparisons on, everything must have occurred so often.
const LONG: u64 = 100_000;
const OCCURRENCES: u64 = 1_000;
/// How often a long run says how far it is.
const PROGRESS: u64 = 10_000;
/// Most differences that are looked for.
const DIFFERENCES_MAX: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn engine_and_oracle_agree() {
    agree(Engine::Postgres).await;
}

/// What answers.
#[derive(Clone, Copy)]
enum Engine {
    Postgres,
    /// In Elasticsearch, of which some rows are always pending.
    Index,
}

/// Compares sites with the oracle. Gives the stores that were asked; none where no site can be made.
async fn agree(engine: Engine) -> Vec<Store> {
    let comparisons = number("SEARCH_COMPARISONS").unwrap_or(COMPARISONS);
    let (seed, started) = (seed(), Instant::now());
    let sites = if comparisons > COMPARISONS { SITES } else { 1 };
    let so_far = Arc::new(Mutex::new(SoFar::default()));
    let sites: Vec<_> = (seed..seed.saturating_add(sites))
        .map(|seed| {
            let so_far = Arc::clone(&so_far);
            // What the oracle has in its hands stays on one thread.
            let compared = move || {
                let compared = compare(engine, seed, comparisons, &so_far);
                // Also what is joined, where there is an index.
                Handle::current().block_on(JOINS_BY_INDEX.scope(true, compared))
            };
            tokio::task::spawn_blocking(compared)
        })
        .collect();
    let mut stores = Vec::new();
    for site in sites {
        stores.extend(site.await.unwrap());
    }
    if stores.is_empty() {
        return stores;
    }
    let so_far = so_far.lock().unwrap();
    so_far.figures.show(seed, started.elapsed());
    assert!(
        so_far.differences.is_empty(),
        "{}",
        so_far.differences.join("\n\n")
    );
    so_far.figures.judge();
    stores
}

/// What all sites have found.
#[derive(Default)]
struct SoFar {
    figures: Figures,
    differences: Vec<String>,
}

/// Compares with a site of its own, until all of them together have done so often.
async fn compare(
    engine: Engine,
    seed: u64,
    comparisons: u64,
    so_far: &Mutex<SoFar>,
) -> Option<Store> {
    let mut site = match engine {
        Engine::Postgres => Site::new(seed).await,
        Engine::Index => Site::with_index(seed).await?,
    };
    let enough = |so_far: &SoFar| {
        so_far.figures.compared >= comparisons || so_far.differences.len() >= DIFFERENCES_MAX
    };
    while !enough(&so_far.lock().unwrap()) {
        site.change().await;
        for _ in 0..SEARCHES {
            let compared = site.compare_one().await;
            let mut so_far = so_far.lock().unwrap();
            match compared {
                Ok(compared) => so_far.figures.add(compared),
                Err(difference) => {
                    let difference = format!("with SEARCH_SEED={seed}: {difference}");
                    eprintln!("{difference}");
                    so_far.differences.push(difference);
                    break;
                }
            }
        }
    }
    Some(site.store)
}

/// Where to begin. The short run is the same each time: what nobody has found yet is for long ones, and fails no others by chance.
fn seed() -> u64 {
    const SHORT: u64 = 72;
    let drawn = || match number("SEARCH_COMPARISONS") {
        Some(_) => fastrand::u64(..1_000_000_000),
        None => SHORT,
    };
    number("SEARCH_SEED").unwrap_or_else(drawn)
}

/// What was compared.
#[derive(Default)]
struct Figures {
    compared: u64,
    /// Answers that are neither empty nor everything of the types searched.
    telling: u64,
    pages: u64,
    matches: u64,
    /// Searches that the parser or the engine does not answer, by what they say.
    refused: BTreeMap<String, u64>,
    tally: Tally,
}

impl Figures {
    fn add(&mut self, compared: Compared) {
        match compared {
            Compared::Same {
                query,
                telling,
                pages,
                matches,
            } => {
                self.compared += 1;
                if self.compared.is_multiple_of(PROGRESS) {
                    eprintln!("{} compared", self.compared);
                }
                self.telling += u64::from(telling);
                self.pages += pages as u64;
                self.matches += matches as u64;
                self.tally.add(&query);
            }
            Compared::Refused(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }

    fn show(&self, seed: u64, took: Duration) {
        eprintln!(
            "{} comparisons over {} pages with {} matches, {:.1} % neither empty nor everything, in {:.0} s; SEARCH_SEED={seed}",
            self.compared,
            self.pages,
            self.matches,
            self.share(),
            took.as_secs_f64()
        );
        for (name, count) in &self.tally.counts {
            eprintln!("{count:>8} {name}");
        }
        for (reason, count) in &self.refused {
            eprintln!("{count:>8} refused: {reason}");
        }
    }

    fn judge(&self) {
        assert!(
            self.share() >= 30.0,
            "{} % of the answers tell something",
            self.share()
        );
        let refused: u64 = self.refused.values().sum();
        assert!(refused < self.compared, "{refused} searches refused");
        let least = match self.compared {
            LONG.. => OCCURRENCES,
            // What is rare may not occur at all in a short run.
            _ => 0,
        };
        let rare = self.tally.rarer_than(least, KINDS);
        assert!(rare.is_empty(), "too rare: {rare:?}");
    }

    fn share(&self) -> f64 {
        self.telling as f64 * 100.0 / self.compared.max(1) as f64
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
