//! Why an evaluation ended without a result.

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The expression asks for what its data do not allow: several items where one is due, a wrong type, an unknown variable.
    Invalid,
    /// One of [`crate::Limits`] was passed.
    Limit,
    /// Nothing here can answer: no clock was set, the host knows no such profile or value set.
    Unsupported,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {position})")]
pub struct EvaluationError {
    pub reason: Reason,
    /// Speaks of types and functions, never of values: those may be a patient's.
    pub message: String,
    /// Character offset in the expression.
    pub position: usize,
}

/// An error that does not know its place yet.
#[derive(Debug)]
pub(crate) struct Fault {
    pub reason: Reason,
    pub message: String,
    pub position: Option<usize>,
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    fn new(reason: Reason, message: impl Into<String>) -> Fault {
        Fault {
            reason,
            message: message.into(),
            position: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(Reason::Invalid, message)
    }

    pub fn limit(message: impl Into<String>) -> Fault {
        Fault::new(Reason::Limit, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Fault {
        Fault::new(Reason::Unsupported, message)
    }

    /// The innermost place stays.
    pub fn at(mut self, position: usize) -> Fault {
        self.position.get_or_insert(position);
        self
    }
}

impl From<Fault> for EvaluationError {
    fn from(fault: Fault) -> EvaluationError {
        EvaluationError {
            reason: fault.reason,
            message: fault.message,
            position: fault.position.unwrap_or_default(),
        }
    }
}
