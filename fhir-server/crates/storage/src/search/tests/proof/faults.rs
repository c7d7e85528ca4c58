//! Mistakes planted in what the engine is given: the comparison finds every kind of them.

use super::comparison::{self, Compared, Manner};
use super::site::Site;
use search_oracle::drawn;
use search_oracle::fault::FAULTS;

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
    let mut tries = vec![0; FAULTS.len()];
    let mut found = vec![false; FAULTS.len()];
    let long = super::number("SEARCH_COMPARISONS").is_some();
    let searches = if long { SEARCHES } else { SEARCHES_SHORT };
    for number in 0..searches {
        if found.iter().all(|found| *found) {
            break;
        }
        if number % 500 == 499 {
            site.change().await;
        }
        let asked = drawn::search(&mut site.rng, &site.world);
        let Ok(query) = site.understood(&asked) else {
            continue;
        };
        for (place, (_, plant)) in FAULTS.iter().enumerate() {
            let mut given = query.clone();
            if found[place] || tries[place] == TRIES || !plant(&mut given) {
                continue;
            }
            tries[place] += 1;
            let manner = Manner::drawn(&mut site.rng, &query);
            let compared =
                comparison::compare(&site.store, &site.world, &given, &query, manner).await;
            found[place] = match compared {
                Ok(Compared::Same { .. } | Compared::Refused(_)) => false,
                Err(_) => true,
            };
        }
    }
    for (place, (name, _)) in FAULTS.iter().enumerate() {
        eprintln!("{:>5} searches for: {name}", tries[place]);
    }
    let missed: Vec<&str> = (0..FAULTS.len())
        .filter(|place| !found[*place] && (long || tries[*place] == TRIES))
        .map(|place| FAULTS[place].0)
        .collect();
    let found = found.into_iter().filter(|found| *found).count();
    assert!(
        found * 2 > FAULTS.len(),
        "{found} kinds with SEARCH_SEED={seed}"
    );
    assert!(
        missed.is_empty(),
        "not found with SEARCH_SEED={seed}: {missed:?}"
    );
}
