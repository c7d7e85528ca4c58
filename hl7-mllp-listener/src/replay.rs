//! Replay: messages are run again from their journal entries: those that were refused or had no map, for instance after a map was added;
//! and, where it is asked for, those that were applied, by mappings that have changed since.
//!
//! The Task keeps its id and becomes `completed`; the bytes in the Binary stay as they were received. What an applied message wrote and
//! others have changed since only gains what it lacks: a later message is never undone.

pub mod command;

use crate::ack::Answer;
use crate::assemble::Earlier;
use crate::journal::{
    Before, JOURNAL_SYSTEM, MAPPINGS_SYSTEM, MESSAGE_INPUT, MESSAGE_SYSTEM, MessageKey,
    POLICY_INPUT, SENDER_SYSTEM, ending, input,
};
use crate::process::{Incoming, Processor, Refusal, now};
use crate::server_api::{ApiError, search_text, search_token};
use crate::state::State;
use crate::worklist;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fhir_model::ResourceKey;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Journal entries asked for at a time.
const PAGE: usize = 100;

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

/// Which messages of the journal. What is not said is not asked.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `refused`, `unmapped`, `applied`; empty: the first two.
    pub endings: Vec<String>,
    /// When they were received: dates or instants, both included.
    pub from: Option<String>,
    pub to: Option<String>,
    /// `<MSH-3>:<MSH-4>`.
    pub sender: Option<String>,
    /// MSH-9.2.
    pub event: Option<String>,
    /// They went through mappings of this version.
    pub mappings: Option<String>,
    /// They went through other mappings than those of now.
    pub outdated: bool,
    /// The id of an item of the work list that they name.
    pub item: Option<String>,
}

/// How messages ended that were run again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub accepted: usize,
    pub refused: usize,
    /// Not run: their bytes are gone.
    pub pruned: usize,
}

impl Selection {
    /// The search for them, the oldest first.
    fn url(&self, current: &str) -> String {
        let mut url = format!(
            "Task?identifier={}&_sort=authored-on&_count={PAGE}",
            search_token(MESSAGE_SYSTEM, "")
        );
        let mut add = |name: &str, value: String| url.push_str(&format!("&{name}={value}"));
        let endings: Vec<String> = match self.endings.is_empty() {
            true => ["refused", "unmapped"].map(str::to_owned).to_vec(),
            false => self.endings.clone(),
        };
        let endings: Vec<String> = endings
            .iter()
            .map(|own| search_token(JOURNAL_SYSTEM, own))
            .collect();
        add("business-status", endings.join(","));
        if let Some(from) = &self.from {
            add("authored-on", format!("ge{}", search_text(from)));
        }
        if let Some(to) = &self.to {
            add("authored-on", format!("le{}", search_text(to)));
        }
        if let Some(sender) = &self.sender {
            add("requester:identifier", search_token(SENDER_SYSTEM, sender));
        }
        if let Some(event) = &self.event {
            add("code", search_text(event));
        }
        if let Some(version) = &self.mappings {
            add("group-identifier", search_token(MAPPINGS_SYSTEM, version));
        }
        if self.outdated {
            add(
                "group-identifier:not",
                search_token(MAPPINGS_SYSTEM, current),
            );
        }
        if let Some(item) = &self.item {
            add("output", format!("Task/{}", search_text(item)));
        }
        url
    }
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
        let task = self.api.read("Task", task_id).await?;
        let task = task.ok_or_else(|| ReplayError::NotFound(task_id.to_owned()))?;
        if ending(&task) == Some("applied") {
            return Err(ReplayError::Applied(task_id.to_owned()));
        }
        self.again(&task).await
    }

    /// Runs all messages of a selection again, one after the other in the order they were received in, and reports each by the id of its Task.
    ///
    /// # Errors
    /// When the server does not answer. What was run until then stays.
    pub async fn replay_all(
        &self,
        selection: &Selection,
        mut report: impl FnMut(&str, &Result<Answer, ReplayError>),
    ) -> Result<Replayed, ReplayError> {
        let mut replayed = Replayed::default();
        let mut next = Some(selection.url(&self.mappings.version));
        while let Some(url) = next {
            let page = self.api.page(url).await?;
            for task in &page.resources {
                let id = task["id"].as_str().unwrap_or_default();
                let result = self.again(task).await;
                report(id, &result);
                match result {
                    Ok(answer) if answer.code.is_accept() => replayed.accepted += 1,
                    Ok(_) => replayed.refused += 1,
                    Err(ReplayError::Pruned) => replayed.pruned += 1,
                    Err(error) => return Err(error),
                }
            }
            next = page.next;
        }
        Ok(replayed)
    }

    /// Goes through the work list: messages whose code has a mapping by now are run again, and the item is done.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn requeue(&self) -> Result<Replayed, ReplayError> {
        let mut all = Replayed::default();
        let mut next = Some(worklist::open_items());
        while let Some(url) = next {
            let page = self.api.page(url).await?;
            for item in &page.resources {
                let replayed = self.requeue_item(item).await?;
                all.accepted += replayed.accepted;
                all.refused += replayed.refused;
                all.pruned += replayed.pruned;
            }
            next = page.next;
        }
        Ok(all)
    }

    /// Nothing, as long as its code has no mapping.
    async fn requeue_item(&self, item: &Json) -> Result<Replayed, ReplayError> {
        let is_mapped =
            worklist::unmapped_code(item).is_some_and(|code| self.mappings.is_mapped(&code));
        let (Some(id), true) = (item["id"].as_str(), is_mapped) else {
            return Ok(Replayed::default());
        };
        let selection = Selection {
            endings: ["applied", "refused", "unmapped"]
                .map(str::to_owned)
                .to_vec(),
            item: Some(id.to_owned()),
            outdated: true,
            ..Selection::default()
        };
        let replayed = self.replay_all(&selection, |_, _| {}).await?;
        let done = worklist::done(item, &now()).into_iter().collect();
        match self.api.transaction(done).await {
            // Another listener was there before.
            Ok(()) | Err(ApiError::Conflict) => Ok(replayed),
            Err(error) => Err(error.into()),
        }
    }

    /// [`Processor::requeue`] as a listener does it when it starts: its vocabularies may be other ones than before.
    pub async fn requeue_at_start(self, stop: CancellationToken) {
        let Some(result) = stop.run_until_cancelled(self.requeue()).await else {
            return;
        };
        match result {
            Ok(replayed) if replayed == Replayed::default() => {}
            Ok(replayed) => {
                let Replayed {
                    accepted,
                    refused,
                    pruned,
                } = replayed;
                tracing::info!(
                    accepted,
                    refused,
                    pruned,
                    "messages whose codes have got a mapping were run again"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "the work list could not be gone through; `requeue` does it")
            }
        }
    }

    async fn again(&self, task: &Json) -> Result<Answer, ReplayError> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let id = task["id"].as_str().unwrap_or_default();
        let not_a_message = || ReplayError::NotAMessage(id.to_owned());
        let is_applied = ending(task).ok_or_else(not_a_message)? == "applied";
        let version = text(&task["meta"]["versionId"]).ok_or_else(not_a_message)?;
        let binary_id = input(task, MESSAGE_INPUT)
            .and_then(|message| message["valueReference"]["reference"].as_str())
            .and_then(|reference| reference.strip_prefix("Binary/"))
            .ok_or_else(not_a_message)?;
        let binary = self.api.read("Binary", binary_id).await?;
        let binary = binary.ok_or(ReplayError::Pruned)?;
        let data = binary["data"].as_str().ok_or(ReplayError::Pruned)?;
        let raw = STANDARD.decode(data).map_err(|_| not_a_message())?;
        let before = Before {
            received: text(&task["authoredOn"]).ok_or_else(not_a_message)?,
            written: match is_applied {
                true => Some(self.versions_written(binary_id).await?),
                false => None,
            },
            version,
        };
        // The entry may have been made under another secret. Each time has its own Provenance.
        let provenance = ["again", id, &before.version];
        let key = MessageKey {
            task_id: id.to_owned(),
            binary_id: binary_id.to_owned(),
            provenance_id: self.secret.derived_id("Provenance", &provenance),
            ..MessageKey::read(&self.secret, &raw)
        };
        let policy = input(task, POLICY_INPUT).and_then(|policy| policy["valueString"].as_str());
        let incoming = Incoming {
            raw: &raw,
            key: &key,
            policy,
        };
        Ok(match self.apply(incoming, Some(&before)).await {
            Ok(answer)
            | Err(Refusal::Repeat(answer) | Refusal::Outside(answer) | Refusal::Content(answer)) => {
                answer
            }
        })
    }

    /// What a message that was applied made of the resources that are others by now.
    pub(crate) async fn earlier(
        &self,
        before: &Before,
        state: &State,
    ) -> Result<Option<Earlier>, ApiError> {
        let Some(written) = &before.written else {
            return Ok(None);
        };
        let mut earlier = Earlier::new();
        for ((kind, id), current) in &state.current {
            let key = ResourceKey::new(kind.as_str(), id.as_str());
            if written.contains(&format!("{key}/_history/{}", current.version)) {
                continue;
            }
            let own = format!("{key}/_history/");
            let versions = written
                .iter()
                .filter_map(|version| version.strip_prefix(&own));
            let last = versions
                .filter_map(|version| version.parse::<u64>().ok())
                .max();
            let body = match last {
                Some(version) => {
                    self.api
                        .read(kind, &format!("{id}/_history/{version}"))
                        .await?
                }
                None => None,
            };
            let body = body.and_then(|body| body.as_object().cloned());
            earlier.insert(key, body);
        }
        Ok(Some(earlier))
    }

    /// What a message wrote, by version.
    async fn versions_written(&self, binary_id: &str) -> Result<BTreeSet<String>, ReplayError> {
        let url = format!(
            "Provenance?entity=Binary/{}&_count={PAGE}",
            search_text(binary_id)
        );
        let found = self.api.all(&[url]).await?;
        let targets = found
            .iter()
            .filter_map(|own| own["target"].as_array())
            .flatten();
        let versions = targets
            .filter_map(|target| target["reference"].as_str())
            .filter(|reference| !reference.starts_with("Task/"));
        Ok(versions.map(str::to_owned).collect())
    }
}
