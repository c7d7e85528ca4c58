//! The search index in Elasticsearch: one document per row of `entry`, made of the very rows that Postgres has. Postgres stays the truth; the
//! index can be dropped and made anew at any time. The rules that keep it right: docs/adr/0035-search-index.md.
//!
//! [`Store::index_outbox`](crate::Store::index_outbox) writes into it what has changed, [`Store::index_fill`](crate::Store::index_fill) all
//! there is, [`Store::index_check`](crate::Store::index_check) looks after it, [`Store::index_verify`](crate::Store::index_verify) compares it.

mod bulk;
pub(crate) mod client;
mod cluster;
pub(crate) mod document;
mod fill;
mod indexer;
mod low;
pub(crate) mod mapping;
pub(crate) mod number;
pub(crate) mod pending;
mod settings;
mod state;
pub(crate) mod texts;
mod verify;

pub use client::ElasticError;
pub use indexer::{Round, is_lost};
pub use settings::{AskedFor, ElasticSettings, Freshness, Joins, WhenDown};
pub use state::{Checked, IndexUse};
pub(crate) use state::{forget, give_up_unserved};
pub use verify::{Finding, Found, Verified};

use crate::error::Error;
use client::Client;
use low::Low;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The index, as this server uses it.
pub(crate) struct Elastic {
    pub client: Client,
    pub settings: ElasticSettings,
    /// Names of the resource types, by their numbers.
    pub types: Vec<String>,
    /// Up to where no outbox row can be.
    pub low: Low,
    /// Searches that the index answered, and those that it did not, by reason.
    pub answered: Counter,
    pub fallbacks: Reasons,
    /// Why the cluster did not do what it was last asked to do by the indexer.
    trouble: Mutex<Option<&'static str>>,
    /// Connections of the indexer: while the cluster is slow it must take none of those that writes need.
    pub pool: PgPool,
}

impl Elastic {
    /// `pool` is for the indexer alone.
    ///
    /// # Errors
    /// [`Error::Start`] for settings that cannot be used.
    pub fn new(
        settings: ElasticSettings,
        types: &[String],
        pool: PgPool,
    ) -> Result<Elastic, Error> {
        let name = &settings.index;
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=100).contains(&name.len()) || name.starts_with('_') || !name.bytes().all(is_plain)
        {
            return Err(Error::Start(
                "ELASTICSEARCH_INDEX: must be a name of a-z, 0-9 and _".into(),
            ));
        }
        Ok(Elastic {
            client: Client::new(&settings)?,
            settings,
            types: types.to_vec(),
            low: Low::default(),
            answered: Counter::default(),
            fallbacks: Reasons::default(),
            trouble: Mutex::default(),
            pool,
        })
    }

    /// Remembers how it went, and lets searches know where nobody is there.
    pub(crate) fn note<T>(&self, done: &Result<T, Error>) {
        let trouble = match done {
            Ok(_) => {
                self.client.is_back();
                None
            }
            Err(Error::Index(error)) => {
                self.client.is_gone(error);
                Some(error.reason())
            }
            // Nothing is known of the cluster.
            Err(_) => return,
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<&'static str> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often something happened.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn count(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something happened, by reason.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    pub fn count(&self, reason: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_default() += 1;
    }

    pub fn get(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect()
    }
}
