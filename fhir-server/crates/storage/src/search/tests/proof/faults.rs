//! Mistakes planted in what the engine is given: the comparison finds every kind of them.

use super::comparison::{self, Manner};
use super::site::Site;
use search_oracle::drawn;
use search_oracle::fault::FAULTS;

/// Which kinds of mistakes have been found.
pub(super) struct Hunt<F: 'static> {
    faults: &'static [(&'static str, F)],
    /// Searches that had something of the kind, and how many of these are enough.
    tries: Vec<usize>,
    most: usize,
    found: Vec<bool>,
    long: bool,
}

impl<F> Hunt<F> {
    pub fn new(faults: &'static [(&'static str, F)], most: usize) -> Hunt<F> {
        Hunt {
            faults,
            tries: vec![0; faults.len()],
            most,
            found: vec![false; faults.len()],
            long: super::number("SEARCH_COMPARISONS").is_some(),
        }
    }

    /// How many searches are drawn.
    pub fn searches(&self, long: usize, short: usize) -> usize {
        if self.long { long } else { short }
    }

    pub fn is_over(&self) -> bool {
        self.found.iter().all(|found| *found)
    }

    /// The kinds that are still to be found, by their place.
    pub fn open(&self) -> impl Iterator<Item = (usize, &'static F)> + use<F> {
        let is_open = |place: &usize| !self.found[*place] && self.tries[*place] < self.most;
        let open: Vec<usize> = (0..self.faults.len()).filter(is_open).collect();
        let faults = self.faults;
        open.into_iter().map(|place| (place, &faults[place].1))
    }

    pub fn tried(&mut self, place: usize, found: bool) {
        self.tries[place] += 1;
        self.found[place] = found;
    }

    /// How many kinds were found; none was missed.
    pub fn end(self, seed: u64) -> usize {
        for (place, (name, _)) in self.faults.iter().enumerate() {
            let found = if self.found[place] {
                "found"
            } else {
                "not found"
            };
            eprintln!("{found} after {:>5} searches: {name}", self.tries[place]);
        }
        let missed: Vec<&str> = (0..self.faults.len())
            .filter(|place| !self.found[*place] && (self.long || self.tries[*place] == self.most))
            .map(|place| self.faults[place].0)
            .collect();
        assert!(
            missed.is_empty(),
            "not found with SEARCH_SEED={seed}: {missed:?}"
        );
        self.found.into_iter().filter(|found| *found).count()
    }
}

/// Within so many searches that have something of the kind.
const TRIES: usize = 600;
/// Searches drawn before the kinds that are not found yet are given up.
const SEARCHES: usize = 30_000;
/// The same in a short run, which finds what it comes to.
const SEARCHES_SHORT: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found() {
    let seed = super::seed();
    let mut site = Site::new(seed).await;
    site.change().await;
    let mut hunt = Hunt::new(FAULTS, TRIES);
    for number in 0..hunt.searches(SEARCHES, SEARCHES_SHORT) {
        if hunt.is_over() {
            break;
        }
        if number % 500 == 499 {
            site.change().await;
        }
        let asked = drawn::search(&mut site.rng, &site.world);
        let Ok(query) = site.understood(&asked) else {
            continue;
        };
        for (place, plant) in hunt.open() {
            let mut given = query.clone();
            if !plant(&mut given) {
                continue;
            }
            let manner = Manner::drawn(&mut site.rng, &query);
            let compared =
                comparison::compare(&site.store, &site.world, &given, &query, manner).await;
            hunt.tried(place, compared.is_err());
        }
    }
    let found = hunt.end(seed);
    assert!(
        found * 2 > FAULTS.len(),
        "{found} kinds with SEARCH_SEED={seed}"
    );
}
