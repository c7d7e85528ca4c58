//! The search path: resolve, engine, bodies, includes.

mod statistics;

pub(crate) use statistics::StatisticsCache;

use crate::read::StoredResource;

/// Where a page begins.
#[derive(Clone, Debug)]
pub enum Page {
    First,
    /// After the row this keyset names (opaque, made by the engine; the caller seals it).
    After(Vec<u8>),
}

/// One page of a search.
#[derive(Clone, Debug)]
pub struct SearchPage {
    pub matches: Vec<StoredResource>,
    pub includes: Vec<StoredResource>,
    pub total: Option<u64>,
    /// The keyset of the next page, if there is one.
    pub next: Option<Vec<u8>>,
}
