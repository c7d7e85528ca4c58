//! How much is done at one time: requests that work, requests that wait, bytes of bodies that are held.
//!
//! Beyond the limits a request is told to come back (429, 503); nothing is ever queued without a bound.

use crate::config::Config;
use crate::failure::Failure;
use fhir_model::IssueKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The door of the server.
pub struct Gate {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    wait: Duration,
}

/// Bodies are counted in these, because a semaphore counts to 2^32 at most.
const BODY_UNIT_BYTES: usize = 1024;

impl Gate {
    pub fn new(config: &Config) -> Gate {
        // A body of the greatest size must always fit, or it would wait for ever.
        let bodies_bytes = config.bodies_max_bytes.max(config.body_max_bytes);
        Gate {
            working: Arc::new(Semaphore::new(config.requests_max)),
            waiting: Arc::new(Semaphore::new(config.requests_waiting_max)),
            bodies: Arc::new(Semaphore::new(body_units(bodies_bytes) as usize)),
            wait: Duration::from_millis(config.requests_wait_ms),
        }
    }

    /// A turn to work; held until dropped.
    ///
    /// # Errors
    /// Throttled where too many wait already, Transient where the turn did not come in time.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.turn(&self.working, 1).await
    }

    /// Room for a body of up to `bytes`; held until dropped.
    ///
    /// # Errors
    /// As [`Gate::enter`].
    pub async fn hold_body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        self.turn(&self.bodies, body_units(bytes)).await
    }

    async fn turn(&self, of: &Arc<Semaphore>, units: u32) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = of.clone().try_acquire_many_owned(units) {
            return Ok(permit);
        }
        let Ok(_place) = self.waiting.clone().try_acquire_owned() else {
            return Err(Failure::new(
                IssueKind::Throttled,
                "too many requests wait already; come back after Retry-After seconds",
            ));
        };
        match timeout(self.wait, of.clone().acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Failure::new(
                IssueKind::Transient,
                "the server is too busy; come back after Retry-After seconds",
            )),
        }
    }
}

fn body_units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BODY_UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bounded() {
        let gate = Gate {
            working: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(1)),
            bodies: Arc::new(Semaphore::new(1)),
            wait: Duration::from_millis(50),
        };
        let working = gate.enter().await.unwrap();
        let (first, second) = tokio::join!(gate.enter(), gate.enter());
        assert_eq!(first.unwrap_err().status(), 503);
        assert_eq!(second.unwrap_err().status(), 429);
        drop(working);
        assert!(gate.enter().await.is_ok());
    }
}
