//! Postgres: the truth, and the default search engine. The only crate that talks to a database.
//!
//! [`Store::commit`] is the only road to a committed change, [`Store::search`] the only one to a search result.

pub mod backup;
mod binary;
pub mod change;
mod definitions;
mod elastic;
pub mod error;
mod held;
pub mod history;
mod history_deletion;
mod horizon;
pub mod jobs;
mod journal_age;
mod labels;
mod maintenance;
mod policy;
pub mod private_postgres;
pub mod read;
pub mod search;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod vocabulary;
pub mod write;

pub use backup::{Copied, backup, restore};
pub use change::{Answer, Change, Effect, Method, Outcome, Program, Read, Target, VersionMatch};
pub use elastic::{
    AskedFor, Checked, ElasticError, ElasticSettings, Finding, Found, Freshness, IndexUse, Joins,
    Round, Verified, WhenDown, is_lost,
};
pub use error::{CommitError, Error};
pub use history::{History, HistoryPage, HistoryQuery, HistoryVersion, Scope};
pub use history_deletion::HistoryDeletion;
pub use journal_age::{JournalEntry, OldEntries};
pub use policy::Policies;
pub use private_postgres::{PrivatePostgres, Upgraded};
pub use read::{StoredResource, Version};
pub use search::{Page, SearchPage, Snapshot};
pub use store::{PoolUse, Store, StoreSettings};
pub use write::{Progress, Step};
