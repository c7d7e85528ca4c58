//! Why figures could not be made or sent.

use fhir_model::{Issue, ResourceKey};

/// An error of the DHIS2 module. No text of it holds patient data or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Dhis2Error {
    #[error(transparent)]
    Storage(#[from] fhir_storage::Error),
    #[error("{}", .0.iter().map(|issue| issue.diagnostics.as_str()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Issue>),
    #[error("the figures could not be recorded: {0}")]
    Record(String),
    #[error("{0} is stored as something that is not JSON")]
    Body(ResourceKey),
    #[error("more than {0} events in one period: divide the indicator")]
    TooManyEvents(usize),
    #[error("there is no data set {0} in mappings/dhis2/datasets")]
    NoDataSet(String),
    #[error("no data set has a period like {0}")]
    NoPeriod(String),
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    #[error("the value of {0} is not usable: {1}")]
    Environment(String, &'static str),
    /// The target is not what the files say; nothing was sent.
    #[error("the DHIS2 server was refused: {0}")]
    Server(String),
    /// No answer that can be understood, after all attempts.
    #[error("the DHIS2 server did not answer: {0}")]
    Unreachable(String),
}
