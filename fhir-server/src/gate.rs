//! How much is done at one time: requests that work, requests that wait, bytes of bodies and of answers that are held.
//!
//! Beyond the limits a request is told to come back (429, 503); nothing is ever queued without a bound.

use crate::config::Config;
use crate::failure::Failure;
use bytes::Bytes;
use fhir_model::IssueKind;
use hl7_mllp_listener::seldom::Seldom;
use metrics::{counter, gauge};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The door of the server.
pub struct Gate {
    working: Arc<Semaphore>,
    working_max: usize,
    waiting: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    answers_units: u32,
    wait: Duration,
    refused: Seldom,
}

/// What a request holds until it is dropped.
pub type Held = OwnedSemaphorePermit;

/// Bodies are counted in these, because a semaphore counts to 2^32 at most.
const UNIT_BYTES: usize = 1024;
/// What connections may hold each without being counted: a page of a search.
const SMALL_ANSWER_BYTES: usize = 64 * 1024;

impl Gate {
    pub fn new(config: &Config) -> Gate {
        // A body of the greatest size must always fit, or it would wait for ever; so must a v2 message over HTTP.
        let bodies = config.bodies_max_bytes.max(config.body_max_bytes);
        let bodies = units(bodies.max(config.mllp_message_max_bytes));
        let answers = units(config.answers_max_bytes);
        Gate {
            working: Arc::new(Semaphore::new(config.requests_max)),
            working_max: config.requests_max,
            waiting: Arc::new(Semaphore::new(config.requests_waiting_max)),
            bodies: Arc::new(Semaphore::new(bodies as usize)),
            answers: Arc::new(Semaphore::new(answers as usize)),
            answers_units: answers,
            wait: Duration::from_millis(config.requests_wait_ms),
            refused: Seldom::new(),
        }
    }

    /// Whether any request is at work.
    pub fn is_working(&self) -> bool {
        self.working.available_permits() < self.working_max
    }

    /// A turn to work.
    ///
    /// # Errors
    /// Throttled where too many wait already, Transient where the turn did not come in time.
    pub async fn enter(&self) -> Result<Held, Failure> {
        self.turn(&self.working, 1).await
    }

    /// Room for a body of up to `bytes`.
    ///
    /// # Errors
    /// As [`Gate::enter`].
    pub async fn hold_body(&self, bytes: usize) -> Result<Held, Failure> {
        self.turn(&self.bodies, units(bytes)).await
    }

    /// Room for an answer until its client has taken it. A larger one than all together may be has to be alone.
    ///
    /// # Errors
    /// As [`Gate::enter`].
    pub async fn hold_answer(&self, bytes: usize) -> Result<Option<Held>, Failure> {
        match bytes <= SMALL_ANSWER_BYTES {
            true => Ok(None),
            false => {
                let units = units(bytes).min(self.answers_units);
                self.turn(&self.answers, units).await.map(Some)
            }
        }
    }

    async fn turn(&self, of: &Arc<Semaphore>, units: u32) -> Result<Held, Failure> {
        if let Ok(held) = of.clone().try_acquire_many_owned(units) {
            return Ok(held);
        }
        let Ok(_place) = self.waiting.clone().try_acquire_owned() else {
            self.refuse("queue-full");
            return Err(Failure::new(
                IssueKind::Throttled,
                "too many requests wait already; come back after Retry-After seconds",
            ));
        };
        let _counted = Waiting::new();
        match timeout(self.wait, of.clone().acquire_many_owned(units)).await {
            Ok(Ok(held)) => Ok(held),
            _ => {
                self.refuse("waited");
                Err(Failure::new(
                    IssueKind::Transient,
                    "the server is too busy; come back after Retry-After seconds",
                ))
            }
        }
    }

    fn refuse(&self, reason: &'static str) {
        counter!("fhir_requests_refused_total", "reason" => reason).increment(1);
        if let Some(times) = self.refused.happened() {
            tracing::warn!(
                times,
                "more is asked for than can be done: requests were refused"
            );
        }
    }
}

/// Bytes that keep what is held for them as long as any part of them waits to be sent.
pub fn kept(bytes: Vec<u8>, held: Option<Held>) -> Bytes {
    match held {
        None => Bytes::from(bytes),
        Some(held) => Bytes::from_owner(Kept { bytes, _held: held }),
    }
}

struct Kept {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts itself among those who wait while it lives.
struct Waiting;

impl Waiting {
    fn new() -> Waiting {
        gauge!("fhir_requests_waiting").increment(1);
        Waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        gauge!("fhir_requests_waiting").decrement(1);
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate {
            working: Arc::new(Semaphore::new(1)),
            working_max: 1,
            waiting: Arc::new(Semaphore::new(1)),
            bodies: Arc::new(Semaphore::new(1)),
            answers: Arc::new(Semaphore::new(100)),
            answers_units: 100,
            wait: Duration::from_millis(50),
            refused: Seldom::new(),
        }
    }

    #[tokio::test]
    async fn bounded() {
        let gate = gate();
        let working = gate.enter().await.unwrap();
        let (first, second) = tokio::join!(gate.enter(), gate.enter());
        assert_eq!(first.unwrap_err().status(), 503);
        assert_eq!(second.unwrap_err().status(), 429);
        drop(working);
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_is_held_until_its_last_part_is_sent() {
        let gate = gate();
        assert!(
            gate.hold_answer(SMALL_ANSWER_BYTES)
                .await
                .unwrap()
                .is_none()
        );
        let held = gate.hold_answer(10_000_000).await.unwrap();
        let mut answer = kept(b"x".repeat(10), held);
        let sent_last = answer.split_off(5);
        drop(answer);
        assert_eq!(gate.hold_answer(70_000).await.unwrap_err().status(), 503);
        drop(sent_last);
        assert!(gate.hold_answer(70_000).await.unwrap().is_some());
    }
}
