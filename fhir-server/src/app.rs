//! What every interaction needs: the store, the settings, and what is kept between requests.

use crate::config::Config;
use crate::gate::Gate;
use crate::interaction::statements::Statements;
use crate::job::Jobs;
use crate::page_token::PageTokens;
use fhir_storage::Store;
use hl7_mllp_listener::intake::Intake;
use hl7_mllp_listener::process::Processor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The running server. Shared by all requests, over HTTP and in process.
pub struct App {
    pub store: Store,
    pub config: Config,
    pub tokens: PageTokens,
    pub gate: Gate,
    pub statements: Statements,
    pub jobs: Jobs,
    listening: AtomicBool,
    /// Where v2 messages are taken in; it submits to this server, so it is let go when the server stops.
    intake: Mutex<Option<Arc<Intake<Processor>>>>,
}

impl App {
    /// `secret` is the site's (`Store::secret`).
    pub fn new(store: Store, config: Config, secret: &[u8]) -> App {
        App {
            tokens: PageTokens::new(secret, config.page_lifetime_seconds),
            gate: Gate::new(&config),
            statements: Statements::default(),
            jobs: Jobs::default(),
            listening: AtomicBool::new(false),
            intake: Mutex::new(None),
            store,
            config,
        }
    }

    /// Says that the embedded listener, if any, and HTTP listen; or no longer do.
    pub fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
    }

    /// Takes v2 messages in over HTTP, or no longer does.
    pub fn set_intake(&self, intake: Option<Arc<Intake<Processor>>>) {
        *self.intake.lock().unwrap_or_else(PoisonError::into_inner) = intake;
    }

    pub fn intake(&self) -> Option<Arc<Intake<Processor>>> {
        let intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        intake.clone()
    }

    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }
}

/// Seconds since 1970, for the age of page tokens; times of resources come from the database.
pub fn now_seconds() -> u64 {
    since_1970().as_secs()
}

/// Microseconds since 1970, for what "about" means in a date search.
pub fn now_micros() -> i64 {
    i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
