//! Mistakes planted in what the engine is given: the comparison finds every kind of them.

use super::comparison::{self, Compared, Manner};
use super::site::Site;
use search_oracle::drawn;
use search_oracle::fault::FAULTS;

/// Within so many searches that have something of the kind.
const TRIES: usize = 600;
/// Searches drawn before the kinds that are not found yet are given up.
const SEARCHES: usize = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_found() {
    let seed = super::number("SEARCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut site = Site::new(seed).await;
    site.change().await;
    let mut tries = vec![0; FAULTS.len()];
    let mut found = vec![false; FAULTS.len()];
    for number in 0..SEARCHES {
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
    let kinds = FAULTS.iter().zip(&found);
    let missed: Vec<&str> = kinds
        .filter(|(_, found)| !**found)
        .map(|((name, _), _)| *name)
        .collect();
    assert!(
        missed.is_empty(),
        "not found with SEARCH_SEED={seed}: {missed:?}"
    );
}
