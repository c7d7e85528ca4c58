//! Messages that are acknowledged when they are in the spool: each is applied in its lanes, again and again until it is applied or
//! refused for what it says. What waits is bounded: beyond the bound connections are not read.
//!
//! Nothing waits in a circle. A message that waits for room has its places in its lanes already, and who holds the room may stand behind
//! it: of a batch only a few messages are looked at at a time, and later ones of other connections may take all room meanwhile. So a
//! message never needs room: it is applied as soon as it is its turn, stored or not. What it waits for then is what entered its lanes
//! before it, of which the first waits for nobody. (Of a batch, what is not looked at yet waits for earlier ones of the same batch,
//! which entered before it, too.)

use super::{Application, Apply, Intake, Outcome, Reply, Waits};
use crate::ack::{AckCode, Answer, ErrorCode};
use crate::lanes::{Place, keys};
use crate::spool::{Spool, Waiting};
use crate::traffic::InWork;
use bytes::Bytes;
use futures_util::FutureExt;
use metrics::{counter, gauge, histogram};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The first pause before a message is tried again, doubled up to the second one.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(30);
/// The bound is counted in units of this many bytes.
const UNIT_BYTES: usize = 1024;

/// Where messages are stored, and how much may wait there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    pub folder: PathBuf,
    /// Most bytes of messages that wait; they are in memory, too.
    pub max_bytes: usize,
}

impl SpoolSettings {
    /// A folder, with the usual bound.
    pub fn at(folder: PathBuf) -> SpoolSettings {
        SpoolSettings {
            folder,
            max_bytes: 64 << 20,
        }
    }
}

#[derive(Debug)]
pub(super) struct Stored {
    spool: Spool,
    room: Arc<Semaphore>,
    max_units: usize,
    /// When each waiting message was received, in milliseconds since 1970, by its number.
    received: Mutex<BTreeMap<u64, u64>>,
}

impl Stored {
    pub(super) fn open(settings: &SpoolSettings) -> Result<(Stored, Vec<Waiting>), String> {
        let folder = &settings.folder;
        let (spool, waiting) =
            Spool::open(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if !waiting.is_empty() {
            tracing::info!(
                messages = waiting.len(),
                "messages of the spool are applied"
            );
        }
        let max_units = (settings.max_bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Ok((Stored::new(spool, max_units), waiting))
    }

    /// One whose disk takes nothing.
    #[cfg(test)]
    pub(super) fn broken() -> Stored {
        Stored::new(Spool::broken(), 1)
    }

    fn new(spool: Spool, max_units: usize) -> Stored {
        Stored {
            spool,
            room: Arc::new(Semaphore::new(max_units)),
            max_units,
            received: Mutex::default(),
        }
    }

    fn units(&self, message: &[u8]) -> u32 {
        let units = (message.len() / UNIT_BYTES + 1).min(self.max_units);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    /// Sets the gauges.
    pub(super) fn look(&self) {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = received.first_key_value().map(|(_, received)| *received);
        let age_ms = oldest.map_or(0, |received| now_ms().saturating_sub(received));
        gauge!("mllp_spool_messages").set(received.len() as f64);
        gauge!("mllp_spool_oldest_seconds").set(age_ms as f64 / 1e3);
        let free = self.room.available_permits();
        gauge!("mllp_spool_bytes").set(((self.max_units - free) * UNIT_BYTES) as f64);
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.room.available_permits() == 0
    }

    fn waits(&self, number: u64, received_ms: u64) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.insert(number, received_ms);
    }

    fn no_longer_waits(&self, number: u64) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.remove(&number);
    }
}

impl<A: Apply> Intake<A> {
    /// `ack: stored`.
    pub(super) async fn store_first(self: &Arc<Self>, waits: Waits) -> Option<Reply> {
        // What could never be applied is not promised: nobody would look at its answer.
        let text = "the message could not be stored; send again";
        let otherwise = waits.policy.later(ErrorCode::Internal, text);
        self.store(waits, &otherwise).await
    }

    /// Stores a message and says so, unless it is applied before there is room for it; `otherwise` is said when storing fails.
    pub(super) async fn store(self: &Arc<Self>, waits: Waits, otherwise: &Answer) -> Option<Reply> {
        let stored = self.stored.as_ref()?;
        let room = stored.room.clone();
        let room = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            room = room.acquire_many_owned(stored.units(&waits.message)) => room.ok()?,
            outcome = self.apply_until_known(&waits.message, waits.as_sender(), &waits.place) => {
                return Some(self.answered(&waits, &outcome?));
            }
        };
        let received_ms = now_ms();
        let (message, policy) = (waits.message.clone(), waits.as_sender.clone());
        let Ok(number) = stored.spool.store(message, policy, received_ms).await else {
            self.report(&waits, otherwise.code);
            let said = waits.mode.on_applied(otherwise, false);
            return Some(Reply::of(&waits.message, waits.mode, said));
        };
        stored.waits(number, received_ms);
        counter!("mllp_spool_stored_total").increment(1);
        let said = waits.mode.on_stored();
        let code = said.first().map_or(AckCode::CA, |answer| answer.code);
        self.report(&waits, code);
        let (tell, told) = oneshot::channel();
        let reply = Reply {
            later: waits.mode.awaits_application().then(|| {
                let (mode, message) = (waits.mode, waits.message.clone());
                let later = async move {
                    let answer: Answer = told.await.ok()?;
                    let answer = mode.after_stored(&answer)?;
                    Some(Application { message, answer })
                };
                later.boxed()
            }),
            ..Reply::of(&waits.message, waits.mode, said)
        };
        let waiting = Waiting {
            number,
            message: waits.message.clone(),
            policy: waits.as_sender.clone(),
            received_ms,
        };
        // Its place in its lanes goes with it.
        let work = self
            .clone()
            .apply_stored(waiting, waits.place, Some(room), tell);
        self.tasks.spawn(work);
        Some(reply)
    }

    /// What was stored before the last stop, before anything new.
    pub(super) fn resume(self: &Arc<Self>, waiting: Vec<Waiting>) {
        let Some(stored) = &self.stored else {
            return;
        };
        for waiting in waiting {
            let policy = self
                .apply
                .policy(&waiting.message, waiting.policy.as_deref());
            let place = self
                .lanes
                .enter(keys(&waiting.message, policy.is_single_lane));
            stored.waits(waiting.number, waiting.received_ms);
            // They are in memory already; new ones wait until there is room again.
            let room = stored.room.clone();
            let room = room.try_acquire_many_owned(stored.units(&waiting.message));
            let (tell, _) = oneshot::channel();
            let work = self.clone().apply_stored(waiting, place, room.ok(), tell);
            self.tasks.spawn(work);
        }
    }

    async fn apply_stored(
        self: Arc<Self>,
        waiting: Waiting,
        place: Place,
        _room: Option<OwnedSemaphorePermit>,
        tell: oneshot::Sender<Answer>,
    ) {
        let Some(stored) = &self.stored else {
            return;
        };
        let _in_work = InWork::begin();
        let (message, as_sender) = (&waiting.message, waiting.policy.as_deref());
        let Some(outcome) = self.apply_until_known(message, as_sender, &place).await else {
            return;
        };
        match outcome.is_kept {
            true => stored.spool.done(waiting.number),
            false => match stored.spool.put_aside(waiting.number, &waiting.message) {
                Ok(file) => {
                    tracing::error!(file = %file.display(), "a stored message cannot be applied; it was put aside")
                }
                Err(error) => {
                    tracing::error!(%error, "a stored message cannot be applied nor put aside; it is tried again after a start")
                }
            },
        }
        stored.no_longer_waits(waiting.number);
        let lag_ms = now_ms().saturating_sub(waiting.received_ms);
        let code = outcome.answer.code.code();
        histogram!("mllp_spool_lag_seconds").record(lag_ms as f64 / 1e3);
        counter!("mllp_spool_applied_total", "code" => code).increment(1);
        drop(place);
        let _ = tell.send(outcome.answer);
    }

    /// `None`: the server stops, and a stored message stays in the spool.
    async fn apply_until_known(
        &self,
        message: &Bytes,
        as_sender: Option<&str>,
        place: &Place,
    ) -> Option<Outcome> {
        let mut pause = PAUSE.start;
        loop {
            let turn = self.turn(place).await?;
            let outcome = self.apply_or_refuse(message, as_sender, None).await;
            drop(turn);
            if !outcome.may_succeed_later {
                return Some(outcome);
            }
            counter!("mllp_spool_retries_total").increment(1);
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE.end);
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
