//! Whose turn it is to patch a resource. A patch is planned from the version that is there before the locks for what it makes are known,
//! and planned anew where another one came in between: many at once would get past each other by luck only. So those of this process wait
//! for each other, before they hold a connection or a lock; those of another process are met by trying again.

use super::references::hash;
use crate::change::{Change, Target};
use tokio::sync::{Mutex, MutexGuard};

/// Patches of different resources seldom wait for each other.
const TURNS: usize = 256;

#[derive(Debug)]
pub(crate) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Turns {
        Turns((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    /// The turns of all patches among the changes, taken in one order.
    pub(super) async fn of(&self, changes: &[Change]) -> Vec<MutexGuard<'_, ()>> {
        let mut places: Vec<usize> = changes.iter().filter_map(place).collect();
        places.sort_unstable();
        places.dedup();
        let mut turns = Vec::with_capacity(places.len());
        for place in places {
            turns.push(self.0[place].lock().await);
        }
        turns
    }
}

fn place(change: &Change) -> Option<usize> {
    let Change::Patch { target, .. } = change else {
        return None;
    };
    let number = match target {
        Target::Id(key) => hash(&[key.resource_type.as_bytes(), key.id.as_bytes()]),
        Target::Match {
            resource_type,
            query,
            ..
        } => hash(&[
            resource_type.as_bytes(),
            format!("{:?}", query.applied).as_bytes(),
        ]),
        Target::New { .. } => return None,
    };
    Some(number.rem_euclid(TURNS as i64) as usize)
}
