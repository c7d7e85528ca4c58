//! How the search index is reached and used.

use super::mapping::{TERMS_MAX, WINDOW_MAX};
pub use fhir_search::query::Freshness;
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
    pub asked: AskedFor,
    pub joins: Joins,
    /// Outbox rows after which a new index is less work than writing them into the one there is.
    pub backlog_max: u64,
}

/// Who answers where the index cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    Postgres,
    /// Nobody: 503.
    Refuse,
}

/// Which of the searches that it can answer the index is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// All of them.
    Always,
    /// Those that are dearer in Postgres, by its statistics.
    ByEstimate,
}

/// Bounds of what a search joins in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joins {
    /// Rows of the other side that one request finds.
    pub batch: usize,
    /// Most of them; with more, Postgres answers.
    pub most: usize,
}

impl Default for Joins {
    /// What the indexes are made for.
    fn default() -> Joins {
        Joins {
            batch: WINDOW_MAX,
            most: TERMS_MAX,
        }
    }
}

/// No passwords.
impl std::fmt::Debug for ElasticSettings {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("ElasticSettings")
            .field("index", &self.index)
            .field("freshness", &self.freshness)
            .field("when_down", &self.when_down)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
