//! From one framed message to its acknowledgement: parse, recognise a repeat, convert, read the state, decide, commit, answer.
//!
//! AA is said after the transaction is committed, never before. A message that comes again (sender, control id, content without
//! MSH-7) gets the stored answer and writes nothing. A refused message is kept in the journal by a transaction of its own; when
//! the FHIR server cannot be reached nothing is claimed, and the sender is told to send again.

use crate::ack::{AckCode, Answer, AnswerError, ErrorCode, Location};
use crate::assemble::{Assembled, Earlier, Told, assemble};
use crate::identity::SiteSecret;
use crate::intake::{Apply, Outcome};
use crate::journal::{Before, Ending, MESSAGE_SYSTEM, MessageKey, Record, ending, stored_answer};
use crate::known::Known;
use crate::mapping::{ConvertError, Converted, Mappings, Sender};
use crate::message::{Message, TextOptions};
use crate::policy::Policy;
use crate::relate;
use crate::seldom::Seldom;
use crate::server_api::{Api, ApiError, Page, search_token};
use crate::state::{Reader, Said, State};
use crate::submit::Submit;
use crate::worklist::{self, Item};
use bytes::Bytes;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;

/// How often a message is decided anew because something it read was changed by another.
const ATTEMPTS_MAX: u32 = 20;
/// Most transactions of one message before its last: what refers to a merged patient moves in steps.
const STEPS_MAX: u32 = 40;
/// The pause before the next attempt grows by this much each time, so that those who meet do not meet again.
const PAUSE_MS: u64 = 5;

/// Takes messages to the FHIR server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Processor {
    pub(crate) api: Api,
    pub(crate) mappings: Arc<Mappings>,
    pub(crate) secret: SiteSecret,
    known: Known,
}

/// A message as it came in.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub raw: &'a [u8],
    pub key: &'a MessageKey,
    /// The sender whose file holds where its own has none.
    pub policy: Option<&'a str>,
}

/// Why a message has no effect.
pub(crate) enum Refusal {
    /// For a reason in the message: kept in the journal.
    Content(Answer),
    /// For a reason outside: nothing is kept, sending again may help.
    Outside(Answer),
    /// It came before: this was said then.
    Repeat(Answer),
}

/// What a message wants written, before its answer is known.
struct Decided {
    assembled: Assembled,
    ending: Ending,
    answer: Answer,
    kept: Vec<(usize, String)>,
    /// Items of the work list, and entries for those that are not on it.
    items: Vec<String>,
    unmapped: Vec<Json>,
}

impl Processor {
    pub fn new(submit: Submit, mappings: Arc<Mappings>, secret: SiteSecret) -> Processor {
        Processor {
            api: Api::new(submit),
            mappings,
            secret,
            known: Known::default(),
        }
    }

    /// Whether the FHIR server answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn reach_server(&self) -> Result<(), ApiError> {
        self.api.read("Task", "none").await.map(drop)
    }

    /// The answer to one message.
    pub async fn answer(&self, raw: &[u8]) -> Answer {
        self.outcome(raw, None).await.answer
    }

    /// What becomes of one message: it is committed before AA is said. `policy` names the sender whose file holds where this one has none.
    pub async fn outcome(&self, raw: &[u8], policy: Option<&str>) -> Outcome {
        let key = &MessageKey::read(&self.secret, raw);
        let incoming = Incoming { raw, key, policy };
        let done = match self.apply(incoming, None).await {
            Err(Refusal::Content(answer)) => self.refuse(incoming, answer).await,
            other => other,
        };
        outcome(done)
    }

    /// Keeps a message that is not taken where it came in. Its entry is not that of the message itself, which may be taken elsewhere.
    pub async fn not_taken(&self, raw: &[u8], policy: Option<&str>, why: AnswerError) -> Outcome {
        let key = &MessageKey::not_taken(&self.secret, raw);
        let answer = Answer::refuse(AckCode::AR, why);
        outcome(self.refuse(Incoming { raw, key, policy }, answer).await)
    }

    /// `again` is what is known of a message that is run again.
    pub(crate) async fn apply(
        &self,
        incoming: Incoming<'_>,
        again: Option<&Before>,
    ) -> Result<Answer, Refusal> {
        let (key, sender) = (incoming.key, self.sender(incoming));
        let message = self.parse(incoming.raw, sender)?;
        let converted = match self.mappings.convert(&message, sender) {
            Ok(converted) => Some(converted),
            Err(ConvertError::Unmapped) if sender.accept_unmapped => None,
            Err(ConvertError::Unmapped) => {
                let error = self.unmapped(&message, sender);
                return Err(Refusal::Content(Answer::refuse(AckCode::AR, error)));
            }
            Err(ConvertError::Refused(errors)) => {
                let code = AckCode::AE;
                return Err(Refusal::Content(Answer { code, errors }));
            }
        };
        let unmapped = converted.as_ref().map_or(&[][..], |own| &own.unmapped);
        let items: Vec<Item> = unmapped
            .iter()
            .map(|code| Item::new(&self.secret, code))
            .collect();
        let (drafts, relations) = match &converted {
            Some(own) => (&own.drafts[..], &own.relations[..]),
            None => (&[][..], &[][..]),
        };
        let said = Said {
            message_type: message.trigger().message_type,
            drafts,
            relations,
        };
        let (mut attempt, mut steps, mut before) = (0, 0, Vec::new());
        while attempt < ATTEMPTS_MAX && steps < STEPS_MAX {
            // What the first attempt does not ask, its one transaction finds out. A relation may take several, and what runs again has an entry.
            let is_thorough = attempt > 0 || again.is_some() || !relations.is_empty();
            let mut along = match (again, is_thorough) {
                (None, true) => journal_urls(key).to_vec(),
                (None, false) => journal_urls(key)[..1].to_vec(),
                (Some(_), _) => Vec::new(),
            };
            let of_journal = along.len();
            along.extend(worklist::search(&items));
            let reader = Reader {
                api: &self.api,
                mappings: &self.mappings,
                secret: &self.secret,
                known: &self.known,
                is_thorough,
            };
            let (state, mut pages) = match reader.read(&said, &along).await {
                Ok(read) => read,
                Err(error) => {
                    // What cannot be read now does not matter to a message that came before.
                    self.recognise(key, sender).await?;
                    return Err(refusal(error, sender));
                }
            };
            let listed = self.api.rest(pages.split_off(of_journal)).await;
            let listed = listed.map_err(|error| refusal(error, sender))?;
            let warning = recognised(key, &pages)?;
            let effects = relate::effects(&self.mappings, drafts, relations, &state)
                .map_err(|error| Refusal::Content(Answer::refuse(AckCode::AE, error)))?;
            let referring = match relate::referring(&self.api, &effects).await {
                Ok(referring) => referring,
                Err(error) => return Err(refusal(error, sender)),
            };
            let earlier = match again {
                Some(before) => self.earlier(before, &state).await,
                None => Ok(None),
            };
            let earlier = earlier.map_err(|error| refusal(error, sender))?;
            let told = (key, earlier.as_ref());
            let of_sender = (&message, sender);
            let mut decided = self.decide(of_sender, converted.as_ref(), &state, told, warning)?;
            decided.unmapped = worklist::entries(&items, &listed, &now());
            let assembled = &mut decided.assembled;
            let is_last = relate::apply(&effects, referring, &state, assembled, &key.source());
            let committed = match is_last {
                true => {
                    assembled.add_written(&before);
                    decided.items = items.iter().map(|item| item.id.clone()).collect();
                    self.commit(incoming, &mut decided, again).await
                }
                false => {
                    let entries = std::mem::take(&mut assembled.entries);
                    self.api.transaction(entries).await
                }
            };
            match committed {
                Ok(()) if is_last => return Ok(decided.answer),
                Ok(()) => {
                    steps += 1;
                    before.append(&mut decided.assembled.written);
                }
                Err(ApiError::Conflict) => {
                    attempt += 1;
                    let spread = u64::from(key.task_id.as_bytes()[attempt as usize % 8] % 7);
                    let pause = PAUSE_MS * u64::from(attempt) + spread;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                Err(error) => return Err(refusal(error, sender)),
            }
        }
        let reason = match steps < STEPS_MAX {
            true => "others kept changing the same resources; send again",
            false => "not everything has moved yet; send again to go on",
        };
        let answer = sender.policy.later(ErrorCode::RecordLocked, reason);
        Err(Refusal::Outside(answer))
    }

    fn sender(&self, incoming: Incoming<'_>) -> &Sender {
        self.mappings.sender_or(incoming.raw, incoming.policy)
    }

    fn parse(&self, raw: &[u8], sender: &Sender) -> Result<Message, Refusal> {
        let message = Message::parse(raw, &TextOptions::of(sender.charset))
            .map_err(|error| Refusal::Content(Answer::from(&error)))?;
        let refuse = |code, field, text: &str| {
            let location = Some(Location::field("MSH", field));
            let answer = Answer::refuse(AckCode::AR, AnswerError::error(code, location, text));
            Err(Refusal::Content(answer))
        };
        if message.is_batch() {
            let text = "batches are cut into their messages before; this is more than one";
            return refuse(ErrorCode::UnsupportedMessageType, 1, text);
        }
        if message.trigger().message_type.is_empty() {
            return refuse(ErrorCode::UnsupportedMessageType, 9, "MSH-9 is empty");
        }
        if message.control_id().is_empty() {
            return refuse(ErrorCode::RequiredField, 10, "MSH-10 is empty");
        }
        if !message.version().is_empty() && !message.version().starts_with('2') {
            return refuse(
                ErrorCode::UnsupportedVersion,
                12,
                "only HL7 v2 is supported",
            );
        }
        Ok(message)
    }

    /// Asks the journal alone; see [`recognised`].
    async fn recognise(
        &self,
        key: &MessageKey,
        sender: &Sender,
    ) -> Result<Option<AnswerError>, Refusal> {
        match self.api.searches(&journal_urls(key)).await {
            Ok(pages) => recognised(key, &pages),
            Err(error) => Err(refusal(error, sender)),
        }
    }

    /// What the sender is told of a message without a map; a warning where it is accepted all the same.
    fn unmapped(&self, message: &Message, sender: &Sender) -> AnswerError {
        let code = match self
            .mappings
            .has_type(message.trigger().message_type, sender)
        {
            true => ErrorCode::UnsupportedEvent,
            false => ErrorCode::UnsupportedMessageType,
        };
        let location = Some(Location::field("MSH", 9));
        let text = "there is no map for this message; it was kept";
        match sender.accept_unmapped {
            true => AnswerError::warning(code, location, text),
            false => AnswerError::error(code, location, text),
        }
    }

    fn decide(
        &self,
        (message, sender): (&Message, &Sender),
        converted: Option<&Converted>,
        state: &State,
        (key, before): (&MessageKey, Option<&Earlier>),
        warning: Option<AnswerError>,
    ) -> Result<Decided, Refusal> {
        let mut answer = Answer::accept();
        answer.errors.extend(warning);
        answer
            .errors
            .extend(message.warnings().iter().map(AnswerError::from));
        let (assembled, ending) = match converted {
            None => {
                answer.errors.push(self.unmapped(message, sender));
                (Assembled::default(), Ending::Unmapped)
            }
            Some(converted) => {
                let kind = message.trigger().message_type;
                let told = Told {
                    message_type: kind,
                    drafts: &converted.drafts,
                    source: &key.source(),
                    before,
                };
                let mut assembled = assemble(&self.mappings, &told, state)
                    .map_err(|error| Refusal::Content(Answer::refuse(AckCode::AE, error)))?;
                answer.errors.extend(converted.notices.iter().cloned());
                answer.errors.append(&mut assembled.notices);
                (assembled, Ending::Applied)
            }
        };
        let mut decided = Decided {
            assembled,
            ending,
            answer,
            kept: Vec::new(),
            items: Vec::new(),
            unmapped: Vec::new(),
        };
        decided.account_for_lines(message);
        Ok(decided)
    }

    async fn commit(
        &self,
        Incoming { raw, key, policy }: Incoming<'_>,
        decided: &mut Decided,
        again: Option<&Before>,
    ) -> Result<(), ApiError> {
        let mut entries = std::mem::take(&mut decided.assembled.entries);
        entries.append(&mut decided.unmapped);
        let record = Record {
            ending: decided.ending,
            answer: &decided.answer,
            received: &now(),
            policy,
            mappings: &self.mappings.version,
            unmapped: &decided.items,
            mapped: &decided.assembled.mapped,
            kept: &decided.kept,
            written: &decided.assembled.written,
            provenance: decided.assembled.provenance.as_ref(),
            patient: decided.assembled.patient.as_ref(),
            encounter: decided.assembled.encounter.as_ref(),
        };
        entries.extend(key.entries(raw, &record, again));
        self.api.transaction(entries).await
    }

    /// Keeps a refused message: its bytes and the reason.
    async fn refuse(&self, incoming: Incoming<'_>, answer: Answer) -> Result<Answer, Refusal> {
        let sender = self.sender(incoming);
        let Incoming { raw, key, policy } = incoming;
        // A message that came before as refused gets the answer it got then.
        self.recognise(key, sender).await?;
        let record = Record {
            ending: Ending::Refused,
            answer: &answer,
            received: &now(),
            policy,
            mappings: &self.mappings.version,
            unmapped: &[],
            mapped: &[],
            kept: &[],
            written: &[],
            provenance: None,
            patient: None,
            encounter: None,
        };
        match self.api.transaction(key.entries(raw, &record, None)).await {
            // A conflict is the same message on another connection: its entry says the same.
            Ok(()) | Err(ApiError::Conflict) => Ok(answer),
            Err(error) => match refusal(error, sender) {
                Refusal::Outside(outside) => Err(Refusal::Outside(outside)),
                Refusal::Content(_) | Refusal::Repeat(_) => Ok(answer),
            },
        }
    }
}

impl Apply for Processor {
    async fn apply(&self, message: Bytes, policy: Option<&str>) -> Outcome {
        self.outcome(&message, policy).await
    }

    async fn keep(&self, message: Bytes, policy: Option<&str>, why: AnswerError) -> Outcome {
        self.not_taken(&message, policy, why).await
    }

    fn policy(&self, message: &[u8], policy: Option<&str>) -> Policy {
        self.mappings.sender_or(message, policy).policy
    }

    fn known(&self) -> Vec<(String, Policy)> {
        let known = self.mappings.senders();
        known
            .map(|(name, sender)| (name.to_owned(), sender.policy))
            .collect()
    }
}

fn outcome(done: Result<Answer, Refusal>) -> Outcome {
    match done {
        Err(Refusal::Outside(answer)) => Outcome::later(answer),
        Ok(answer) | Err(Refusal::Repeat(answer) | Refusal::Content(answer)) => Outcome {
            answer,
            is_kept: true,
            may_succeed_later: false,
        },
    }
}

impl Decided {
    /// Every line is mapped or kept. The header is mapped: it became the journal entry itself.
    fn account_for_lines(&mut self, message: &Message) {
        let mapped = &mut self.assembled.mapped;
        if self.ending == Ending::Applied {
            mapped.push(message.header().index());
            mapped.sort_unstable();
            mapped.dedup();
        }
        for segment in message.segments() {
            if mapped.binary_search(&segment.index()).is_err() {
                // What stands where a name should be in an odd line may be content.
                let name = if segment.is_odd() {
                    "?"
                } else {
                    segment.name()
                };
                self.kept.push((segment.index(), name.to_owned()));
            }
        }
    }
}

/// The last entry of the journal with the message's control id, which is nearly always its own where it came before; and its own, whatever
/// came with that control id since.
fn journal_urls(key: &MessageKey) -> [String; 2] {
    let identifier = search_token(MESSAGE_SYSTEM, &key.identifier());
    [
        format!("Task?identifier={identifier}&_sort=-_lastUpdated&_count=1&_total=none"),
        format!("Task?_id={}", key.task_id),
    ]
}

/// Whether the message came before, by what [`journal_urls`] match; a warning when another one used its control id.
fn recognised(key: &MessageKey, pages: &[Page]) -> Result<Option<AnswerError>, Refusal> {
    let mut tasks = pages.iter().flat_map(|page| &page.resources);
    let own = tasks
        .clone()
        .find(|task| task["id"] == key.task_id.as_str());
    if let Some(answer) = own.and_then(stored_answer) {
        return Err(Refusal::Repeat(answer));
    }
    // One that was refused may have been repaired and sent again.
    let other = tasks.any(|task| ending(task).is_some_and(|ending| ending != "refused"));
    Ok(other.then(|| {
        AnswerError::warning(
            ErrorCode::DuplicateKey,
            Some(Location::field("MSH", 10)),
            "this control id came before with other content; both were processed",
        )
    }))
}

fn refusal(error: ApiError, sender: &Sender) -> Refusal {
    if error.is_transient() {
        static OUTSIDE: Seldom = Seldom::new();
        if let Some(times) = OUTSIDE.happened() {
            tracing::warn!(%error, times, "messages could not be applied");
        }
        let text = "the FHIR server cannot take it now; send again";
        return Refusal::Outside(sender.policy.later(ErrorCode::Internal, text));
    }
    match error {
        ApiError::Refused { status, issue } => {
            let error = AnswerError {
                diagnostic: format!("{} {issue}", status.as_u16()),
                ..AnswerError::error(
                    ErrorCode::Internal,
                    None,
                    "the FHIR server refused the content",
                )
            };
            Refusal::Content(Answer::refuse(AckCode::AE, error))
        }
        error => {
            tracing::error!(%error, "a message could not be applied");
            let text = "the FHIR server answered wrongly";
            Refusal::Outside(sender.policy.later(ErrorCode::Internal, text))
        }
    }
}

/// An instant, to the millisecond.
pub(crate) fn now() -> String {
    fhir_model::date::instant_text(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
