//! Replay: a message that was refused, or had no map, is run again from its journal entry, for instance after a map was added.
//!
//! The Task keeps its id and becomes `completed`; the bytes in the Binary stay as they were received. A message that was applied is
//! not run again: its effects may since have been changed by later ones.

use crate::ack::Answer;
use crate::journal::ending;
use crate::process::Processor;
use crate::server_api::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a message was not run again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("there is no Task/{0}")]
    NotFound(String),
    #[error("Task/{0} is no journal entry of a message")]
    NotAMessage(String),
    #[error("the message of Task/{0} has been applied already")]
    Applied(String),
    #[error("the bytes of the message are gone from the journal")]
    Pruned,
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Processor {
    /// Runs the message of a Task again and says what became of it; the Task is changed only when it is accepted.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn replay(&self, task_id: &str) -> Result<Answer, ReplayError> {
        if !fhir_model::key::is_id(task_id) {
            return Err(ReplayError::NotFound(task_id.to_owned()));
        }
        let not_a_message = || ReplayError::NotAMessage(task_id.to_owned());
        let task = self.api.read("Task", task_id).await?;
        let task = task.ok_or_else(|| ReplayError::NotFound(task_id.to_owned()))?;
        match ending(&task) {
            Some("refused" | "unmapped") => {}
            Some(_) => return Err(ReplayError::Applied(task_id.to_owned())),
            None => return Err(not_a_message()),
        }
        let version = task["meta"]["versionId"]
            .as_str()
            .ok_or_else(not_a_message)?;
        let binary_id = task["input"][0]["valueReference"]["reference"]
            .as_str()
            .and_then(|reference| reference.strip_prefix("Binary/"))
            .ok_or_else(not_a_message)?;
        let binary = self
            .api
            .read("Binary", binary_id)
            .await?
            .ok_or(ReplayError::Pruned)?;
        let data = binary["data"].as_str().ok_or(ReplayError::Pruned)?;
        let raw = STANDARD.decode(data).map_err(|_| not_a_message())?;
        let answer = self.apply_again(&raw, task_id, binary_id, version);
        Ok(answer.await)
    }
}
