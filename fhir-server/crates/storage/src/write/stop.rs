//! How an attempt at a commit ends without one, and which errors of the database say that it is worth another.

use super::plan::refuse;
use crate::error::{CommitError, Error};
use crate::read;
use fhir_model::IssueKind;

/// Why an attempt ended.
pub(super) enum Stop {
    Final(CommitError),
    /// By other definitions than those of the database; nothing was written.
    Redefined,
    /// Others were in the way; nothing was written.
    Contended,
    /// The connection was dead; nothing was written.
    Lost(sqlx::Error),
}

impl Stop {
    pub(super) fn is_of_database(&self) -> bool {
        match self {
            Stop::Contended | Stop::Lost(_) => true,
            Stop::Redefined => false,
            Stop::Final(error) => {
                matches!(error.error, Error::Unavailable(_) | Error::Database(_))
            }
        }
    }

    pub(super) fn of(index: Option<usize>, error: Error) -> Stop {
        match error {
            Error::Unavailable(error) | Error::Database(error) => Stop::from(error),
            error => Stop::Final(CommitError { index, error }),
        }
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Stop {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            // Serialization failure, deadlock, lock timeout; a row that another one made meanwhile.
            Some("40001" | "40P01" | "55P03" | "23505") => Stop::Contended,
            // A value that the edge let through but Postgres cannot hold.
            Some(code) if code.starts_with("22") || code.starts_with("54") => {
                Stop::Final(whole(refuse(
                    IssueKind::BusinessRule,
                    "the resource holds a value that cannot be stored",
                )))
            }
            // Its time was over while it waited for others.
            Some("57014") => Stop::Final(whole(Error::Unavailable(error))),
            _ if read::connection_lost(&error) => Stop::Lost(error),
            _ => Stop::Final(whole(error.into())),
        }
    }
}

impl From<(usize, Error)> for Stop {
    fn from((index, error): (usize, Error)) -> Stop {
        Stop::of(Some(index), error)
    }
}

impl From<CommitError> for Stop {
    fn from(error: CommitError) -> Stop {
        Stop::of(error.index, error.error)
    }
}

pub(super) fn whole(error: Error) -> CommitError {
    CommitError { index: None, error }
}
