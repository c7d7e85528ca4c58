//! Postgres: the truth, and the default search engine. The only crate that talks to a database.
//!
//! [`Store::commit`] is the only road to a committed change, [`Store::search`] the only one to a search result.

pub mod change;
pub mod error;
pub mod private_postgres;
pub mod read;
pub mod search;
pub mod write;

pub use change::{Change, Effect, Outcome, Target, VersionMatch};
pub use error::{CommitError, Error};
pub use private_postgres::PrivatePostgres;
pub use read::{StoredResource, Version};
pub use search::{Page, SearchPage};

use fhir_definitions::Definitions;
use std::sync::Arc;

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// A `postgres://` URL, or the socket URL of the private Postgres.
    pub url: String,
    /// Connections of the write pool, and of the search pool.
    pub write_connections: u32,
    pub search_connections: u32,
    /// Longest a search statement may run, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Base URL without trailing slash under which absolute references are local; `None`: only relative ones are.
    pub base: Option<String>,
}

/// The database, with the definitions it is indexed by. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) write_pool: sqlx::PgPool,
    pub(crate) search_pool: sqlx::PgPool,
    pub(crate) definitions: arc_swap::ArcSwap<Definitions>,
    pub(crate) settings: StoreSettings,
    /// `StatisticsCache::default()` on opening.
    pub(crate) statistics: search::StatisticsCache,
}

impl Store {
    /// The current snapshot of the definitions.
    pub fn definitions(&self) -> Arc<Definitions> {
        self.inner.definitions.load_full()
    }
}
