//! The one write road: lock, prepare, apply, in one database transaction.

use crate::error::Error;
use crate::store::Store;

/// The advisory lock that writes hold shared, and a change of the definitions alone.
pub(crate) const EPOCH_LOCK: i64 = -1;

/// Surrogate keys set aside for this process.
#[derive(Default)]
pub(crate) struct Keys {}

impl Store {
    pub(crate) async fn reindex(&self) -> Result<u64, Error> {
        Ok(0)
    }
}
