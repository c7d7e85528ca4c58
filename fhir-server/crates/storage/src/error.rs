//! Why the database could not do it.

use fhir_model::Issue;

/// An error of the storage crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client's mistake, or a state it must know of (not found, deleted, expired, too costly).
    #[error("{}", .0.iter().map(|issue| issue.diagnostics.as_str()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Issue>),
    /// The database is not reachable or too busy; trying again later may help.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    #[error("the database answered with an error")]
    Database(#[source] sqlx::Error),
    /// The private Postgres could not be started; the text says what to do.
    #[error("{0}")]
    Start(String),
    /// The search index does not answer, or refuses.
    #[error("the search index is not available: {0}")]
    Index(crate::elastic::ElasticError),
    /// A backup, restore or upgrade that did not happen; the text says why.
    #[error("{0}")]
    Backup(String),
}

/// A commit that did not happen. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
#[error("change {index:?}: {error}")]
pub struct CommitError {
    /// The change that failed, counted from 0; `None`: the commit as a whole.
    pub index: Option<usize>,
    #[source]
    pub error: Error,
}

impl Error {
    /// One issue, as an error.
    pub fn refused(issue: Issue) -> Error {
        Error::Refused(vec![issue])
    }

    /// Whether the database had no room left on its disk.
    pub fn is_disk_full(&self) -> bool {
        const DISK_FULL: &str = "53100";
        match self {
            Error::Unavailable(error) | Error::Database(error) => error
                .as_database_error()
                .is_some_and(|error| error.code().as_deref() == Some(DISK_FULL)),
            _ => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        use sqlx::Error::*;
        match &error {
            Io(_) | Tls(_) | PoolTimedOut | PoolClosed | WorkerCrashed | BeginFailed => {
                Error::Unavailable(error)
            }
            // A connection that ended in the middle of an answer.
            Protocol(_) => Error::Unavailable(error),
            Database(database) => match database.code().as_deref() {
                // Connection exceptions, shutdown and start-up, out of resources, cancelled by lock_timeout, read-only standby.
                Some(code)
                    if code.starts_with("08")
                        || code.starts_with("57P")
                        || code.starts_with("53")
                        || code == "55P03"
                        || code == "25006" =>
                {
                    Error::Unavailable(error)
                }
                _ => Error::Database(error),
            },
            _ => Error::Database(error),
        }
    }
}
