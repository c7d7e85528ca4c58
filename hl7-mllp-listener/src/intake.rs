//! What becomes of a frame, whichever way it came in (MLLP, HTTP): one message or a batch, in order of its patients' lanes, applied in
//! turn, answered as its header asks. Nothing that happens to one message ends a connection or another message.
//!
//! `ack: applied` (the default) answers when the message is applied. Where there is a spool and that takes longer than the sender's
//! deadline, or cannot be done now, the message is stored and AA said. `ack: stored` does that at once.

mod stored;

use crate::ack::{AckCode, Answer, AnswerError, ErrorCode, Mode};
use crate::batch::Batch;
use crate::codec::Frame;
use crate::header::Header;
use crate::lanes::{Lanes, Place, keys};
use crate::listeners::Admission;
use crate::policy::Policy;
use crate::traffic::{InWork, Traffic};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use stored::SpoolSettings;
use stored::Stored;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages of one batch that are worked on at a time.
const BATCH_IN_WORK: usize = 4;
/// How often silence and errors are looked for.
const LOOK: Duration = Duration::from_secs(15);

/// Applies messages: the processor, or a stand-in of tests.
pub trait Apply: Send + Sync + 'static {
    /// Never fails: what goes wrong is in the answer. `policy` names the sender whose file holds where this one has none.
    fn apply(&self, message: Bytes, policy: Option<&str>) -> impl Future<Output = Outcome> + Send;

    /// Keeps a message that is not taken where it came in, and why; it may be taken elsewhere. Never fails.
    fn keep(
        &self,
        message: Bytes,
        policy: Option<&str>,
        why: AnswerError,
    ) -> impl Future<Output = Outcome> + Send;

    /// How messages of this one's sender are taken.
    fn policy(&self, message: &[u8], policy: Option<&str>) -> Policy;

    /// The senders that have a policy of their own.
    fn known(&self) -> Vec<(String, Policy)>;
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub answer: Answer,
    /// It is in the journal; else the sender must send it again.
    pub is_kept: bool,
    /// It is not in the journal for a reason outside of it, and may be applied later.
    pub may_succeed_later: bool,
}

/// What is sent back for a frame: acknowledgements without their frames, in order.
#[derive(Default)]
pub struct Reply {
    /// What is said on the connection.
    pub acknowledgments: Vec<Bytes>,
    /// What the application says to a message that asked for that (MSH-16); it follows on the connection, or goes elsewhere.
    pub application: Option<Application>,
    /// The same, when a stored message is applied.
    pub later: Option<BoxFuture<'static, Option<Application>>>,
}

/// The application's acknowledgement of enhanced mode.
pub struct Application {
    message: Bytes,
    answer: Answer,
}

impl Application {
    /// As it follows on the connection of its message.
    pub fn acknowledgment(&self) -> Option<Bytes> {
        self.answer.acknowledge(&self.message)
    }

    /// As a message of its own.
    pub fn apart(&self) -> Option<Bytes> {
        self.answer.acknowledge_apart(&self.message)
    }
}

impl Reply {
    fn of(message: &Bytes, mode: Mode, said: Vec<Answer>) -> Reply {
        let mut reply = Reply::default();
        for answer in said {
            match mode.is_application(&answer) {
                false => reply.acknowledgments.extend(answer.acknowledge(message)),
                true => {
                    let message = message.clone();
                    reply.application = Some(Application { message, answer });
                }
            }
        }
        reply
    }

    /// All that is said, at once and later.
    pub async fn all(self) -> Vec<Bytes> {
        let mut said = self.acknowledgments;
        said.extend(self.application.and_then(|own| own.acknowledgment()));
        if let Some(later) = self.later {
            said.extend(later.await.and_then(|own| own.acknowledgment()));
        }
        said
    }
}

/// Takes frames; shared by all listeners of a process.
#[derive(Debug)]
pub struct Intake<A> {
    apply: A,
    lanes: Lanes,
    in_work: Semaphore,
    traffic: Traffic,
    stored: Option<Stored>,
    shutdown: CancellationToken,
    /// What goes on without a connection.
    tasks: TaskTracker,
}

impl<A: Apply> Intake<A> {
    /// `max_in_work` messages are worked on at a time; others wait their turn. What a spool holds is applied first.
    ///
    /// # Errors
    /// The spool cannot be used; the text says why.
    pub fn start(
        apply: A,
        max_in_work: usize,
        spool: Option<&SpoolSettings>,
        shutdown: CancellationToken,
    ) -> Result<Arc<Intake<A>>, String> {
        let known = apply.known();
        let wants_spool = known.iter().find(|(_, policy)| policy.is_stored_first);
        if let (Some((name, _)), None) = (wants_spool, spool) {
            return Err(format!(
                "senders/{name}.yaml says `ack: stored`, which needs FHIR_MLLP_SPOOL_DIR"
            ));
        }
        let opened = spool.map(Stored::open).transpose()?;
        let (stored, waiting) = opened.map_or((None, Vec::new()), |(s, w)| (Some(s), w));
        let intake = Arc::new(Intake::new(apply, max_in_work, stored, shutdown));
        intake.resume(waiting);
        intake.tasks.spawn(look(intake.clone()));
        Ok(intake)
    }

    fn new(
        apply: A,
        max_in_work: usize,
        stored: Option<Stored>,
        shutdown: CancellationToken,
    ) -> Intake<A> {
        Intake {
            lanes: Lanes::default(),
            in_work: Semaphore::new(max_in_work.max(1)),
            traffic: Traffic::new(apply.known()),
            apply,
            stored,
            shutdown,
            tasks: TaskTracker::new(),
        }
    }

    /// Answers a frame. `None`: the server stops and the frame was not begun, or not all of it; unanswered, it is sent again.
    pub async fn take(self: &Arc<Self>, frame: Frame, admission: &Admission) -> Option<Reply> {
        match frame {
            Frame::TooLong { head, length } => Some(self.too_long(&head, length, admission)),
            Frame::Message(bytes) => match Batch::read(&bytes) {
                None => self.message(bytes, admission).await,
                Some(batch) => {
                    let acknowledgments = self.batch(&batch, admission).await?;
                    Some(Reply {
                        acknowledgments,
                        ..Reply::default()
                    })
                }
            },
        }
    }

    /// Ends in order, after `shutdown`: what is worked on without a connection is finished, what waits stays in the spool.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Several messages: one answer that holds all of theirs. What contradicts itself is refused message by message.
    async fn batch(self: &Arc<Self>, batch: &Batch, admission: &Admission) -> Option<Vec<Bytes>> {
        let said: Vec<Option<Vec<Bytes>>> = match &batch.fault {
            Some(fault) => {
                tracing::warn!(reason = fault.text, "a batch was refused");
                let mut said = Vec::new();
                for message in batch.messages() {
                    let fault = fault.clone();
                    let reply = self.refuse(message, admission, AckCode::AE, fault, false);
                    said.push(Some(reply.all().await));
                }
                said
            }
            None => {
                // All take their places before the first is worked on.
                let messages = batch.messages().cloned();
                let replies: Vec<_> = messages
                    .map(|message| all_of(self.message(message, admission)))
                    .collect();
                stream::iter(replies)
                    .buffered(BATCH_IN_WORK)
                    .collect()
                    .await
            }
        };
        let said: Vec<Vec<Bytes>> = said.into_iter().collect::<Option<_>>()?;
        let is_silent = said.iter().all(Vec::is_empty) && batch.messages().next().is_some();
        Some(match is_silent {
            true => Vec::new(),
            false => vec![batch.acknowledge(&said, &crate::ack::now())],
        })
    }

    /// One message. It takes its place in its lanes at once, before this is awaited.
    fn message<'a>(
        self: &'a Arc<Self>,
        message: Bytes,
        admission: &'a Admission,
    ) -> impl Future<Output = Option<Reply>> + Send + use<'a, A> {
        let begun = Begun::new(self, message, admission);
        async move {
            match begun {
                Begun::Over(reply) => Some(reply),
                Begun::Waits(waits) if waits.policy.is_stored_first && waits.refused.is_none() => {
                    self.store_first(waits).await
                }
                Begun::Waits(waits) => self.apply_first(waits).await,
            }
        }
    }

    /// `ack: applied`.
    async fn apply_first(self: &Arc<Self>, waits: Waits) -> Option<Reply> {
        let apply = async {
            // A message that has not been begun is not begun any more: unanswered, its sender sends it again elsewhere.
            let turn = self.turn(&waits.place).await?;
            let refused = waits.refused.as_deref().cloned();
            let outcome = self
                .apply_or_refuse(&waits.message, waits.as_sender(), refused)
                .await;
            drop(turn);
            Some(outcome)
        };
        let outcome = match &self.stored {
            None => apply.await?,
            Some(_) => {
                let deadline = Duration::from_millis(waits.policy.deadline_ms);
                let outcome = timeout(deadline, apply).await;
                match outcome.ok() {
                    Some(outcome) => outcome?,
                    None => {
                        let text = "the message was not applied in time; send again";
                        Outcome::later(waits.policy.later(ErrorCode::Internal, text))
                    }
                }
            }
        };
        if outcome.may_succeed_later && self.stored.is_some() && waits.refused.is_none() {
            return self.store(waits, &outcome.answer).await;
        }
        Some(self.answered(&waits, &outcome))
    }

    fn answered(&self, waits: &Waits, outcome: &Outcome) -> Reply {
        self.report(waits, outcome.answer.code);
        let said = waits.mode.on_applied(&outcome.answer, outcome.is_kept);
        Reply::of(&waits.message, waits.mode, said)
    }

    /// The turn of a message: the earlier ones of its lanes are done, and few others are worked on. `None`: the server stops.
    async fn turn(&self, place: &Place) -> Option<SemaphorePermit<'_>> {
        let turn = async {
            place.turn().await;
            self.in_work.acquire().await
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            turn = turn => turn.ok(),
        }
    }

    /// A defect met by one message must not end the connection unanswered: its sender would send it again for ever.
    async fn apply_or_refuse(
        &self,
        message: &Bytes,
        policy: Option<&str>,
        refused: Option<AnswerError>,
    ) -> Outcome {
        let message = message.clone();
        let work = async {
            match refused {
                None => self.apply.apply(message, policy).await,
                Some(why) => self.apply.keep(message, policy, why).await,
            }
        };
        let outcome = AssertUnwindSafe(work).catch_unwind().await;
        outcome.unwrap_or_else(|_| {
            tracing::error!("processing a message ended in a panic");
            let error = AnswerError::error(ErrorCode::Internal, None, "internal error");
            Outcome {
                answer: Answer::refuse(AckCode::AE, error),
                is_kept: false,
                may_succeed_later: false,
            }
        })
    }

    fn report(&self, waits: &Waits, code: AckCode) {
        let header = Header::read(&waits.message);
        let (bytes, started) = (waits.message.len(), waits.started);
        self.traffic
            .answered(header.as_ref(), &waits.policy, bytes, Some(code), started);
    }

    /// One message that is not tried.
    fn refuse(
        &self,
        message: &Bytes,
        admission: &Admission,
        code: AckCode,
        error: AnswerError,
        is_final: bool,
    ) -> Reply {
        let header = Header::read(message);
        let policy = self
            .apply
            .policy(message, admission.policy().map(|name| &**name));
        let now = Instant::now();
        self.traffic
            .answered(header.as_ref(), &policy, message.len(), Some(code), now);
        let answer = Answer::refuse(code, error);
        let mode = mode(&policy, header.as_ref());
        Reply::of(message, mode, mode.on_applied(&answer, is_final))
    }

    fn too_long(&self, head: &Bytes, length: usize, admission: &Admission) -> Reply {
        let text = "the message is longer than this listener takes";
        tracing::warn!(bytes = length, "a message was too long");
        let error = AnswerError::error(ErrorCode::ValueTooLong, None, text);
        // Sending it again does not help, so it counts as kept.
        self.refuse(head, admission, AckCode::AR, error, true)
    }
}

impl Outcome {
    /// Not applied, for a reason that passes; the answer is that of [`Policy::later`].
    pub fn later(answer: Answer) -> Outcome {
        Outcome {
            answer,
            is_kept: false,
            may_succeed_later: true,
        }
    }
}

/// A message that came in.
enum Begun {
    /// Nothing is to be done with it.
    Over(Reply),
    Waits(Waits),
}

/// A message in its lanes.
struct Waits {
    message: Bytes,
    policy: Policy,
    /// The sender whose file holds where this one has none.
    as_sender: Option<Arc<str>>,
    mode: Mode,
    /// Why it is not taken here.
    refused: Option<Box<AnswerError>>,
    place: Place,
    started: Instant,
    _in_work: InWork,
}

impl Waits {
    fn as_sender(&self) -> Option<&str> {
        self.as_sender.as_deref()
    }
}

impl Begun {
    fn new<A: Apply>(intake: &Intake<A>, message: Bytes, admission: &Admission) -> Begun {
        let started = Instant::now();
        let as_sender = admission.policy().cloned();
        let policy = intake.apply.policy(&message, as_sender.as_deref());
        let header = Header::read(&message);
        if header.is_some_and(|header| header.component(9, 1) == "ACK") {
            // It is never answered, and tells the server nothing.
            let bytes = message.len();
            intake
                .traffic
                .answered(header.as_ref(), &policy, bytes, None, started);
            return Begun::Over(Reply::default());
        }
        if let Some(error) = admission.refused_sender(&message) {
            let reply = intake.refuse(&message, admission, AckCode::AR, error, true);
            return Begun::Over(reply);
        }
        let mode = mode(&policy, header.as_ref());
        let place = intake.lanes.enter(keys(&message, policy.is_single_lane));
        Begun::Waits(Waits {
            refused: admission.refused_message(&message).map(Box::new),
            message,
            policy,
            as_sender,
            mode,
            place,
            started,
            _in_work: InWork::begin(),
        })
    }
}

async fn all_of(reply: impl Future<Output = Option<Reply>>) -> Option<Vec<Bytes>> {
    Some(reply.await?.all().await)
}

fn mode(policy: &Policy, header: Option<&Header<'_>>) -> Mode {
    match policy.is_original_mode {
        true => Mode::Original,
        false => Mode::of(header),
    }
}

/// Alerts and gauges, until the server stops.
async fn look<A: Apply>(intake: Arc<Intake<A>>) {
    loop {
        tokio::select! {
            () = intake.shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        intake.traffic.look();
        if let Some(stored) = &intake.stored {
            stored.look();
        }
    }
}

#[cfg(test)]
mod tests;
