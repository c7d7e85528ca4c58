//! How the search index is reached and used.

use std::path::PathBuf;

/// Where it is, and what of it is wanted.
#[derive(Clone, PartialEq, Eq)]
pub struct ElasticSettings {
    /// Nodes of one cluster.
    pub urls: Vec<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// As Elasticsearch gives it (`encoded`); comes before user and password.
    pub api_key: Option<String>,
    /// Authorities in PEM that the certificates of the nodes are of, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// What the names of the indexes begin with; the alias of the one that is searched.
    pub index: String,
    /// Shards of a new index.
    pub shards: u32,
    pub search_timeout_ms: u64,
    pub bulk_timeout_ms: u64,
    pub freshness: Freshness,
    pub when_down: WhenDown,
    /// Outbox rows after which a new index is less work than writing them into the one there is.
    pub backlog_max: u64,
}

/// Whether a search sees every write that was acknowledged before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Strong,
    /// What the index has, some tenths of a second later.
    Eventual,
}

/// Who answers where the index cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    Postgres,
    /// Nobody: 503.
    Refuse,
}

/// No passwords.
impl std::fmt::Debug for ElasticSettings {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("ElasticSettings")
            .field("index", &self.index)
            .field("freshness", &self.freshness)
            .field("when_down", &self.when_down)
            .finish_non_exhaustive()
    }
}
