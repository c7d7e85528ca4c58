//! Does jobs: claims them, some at a time, and hands in what became of them.
//!
//! A job runs on a thread of its own, because parsing and checking a large bundle takes one for seconds. A server that dies leaves its
//! jobs behind: after a while another one, or the same after its start, claims them. What only reads is begun again; what writes is not,
//! because nobody knows how far it came: its result says so.

use super::read;
use crate::app::App;
use crate::bundle::response;
use crate::failure::Failure;
use crate::format::Format;
use crate::reply::Reply;
use crate::router;
use fhir_model::{Issue, IssueKind, Severity};
use fhir_storage::jobs::Claimed;
use metrics::counter;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A server that is not heard of for so long is taken for dead.
const LEASE_SECONDS: u32 = 30;
const ALIVE_SECONDS: u64 = 10;
/// A job that three servers did not survive is not tried again.
const ATTEMPTS_MAX: u16 = 3;
/// How often, and in which distance, a result is handed in where the database does not answer.
const HAND_IN: (u32, Duration) = (20, Duration::from_secs(1));

/// The jobs that this server works on.
#[derive(Debug, Default)]
pub struct Jobs {
    changed: Notify,
    running: Mutex<HashMap<Uuid, CancellationToken>>,
}

impl Jobs {
    /// There may be something to do.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Ends a job, if it runs here; another server notices that it is gone.
    pub fn cancel(&self, id: Uuid) {
        if let Some(running) = self.running().get(&id) {
            running.cancel();
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel_all_but(&self, kept: &[Uuid]) {
        for (id, running) in self.running().iter() {
            if !kept.contains(id) {
                running.cancel();
            }
        }
    }
}

/// Works until `stop`; then what runs may end within the time that requests have.
pub async fn work(app: Arc<App>, stop: CancellationToken) {
    let owner = Uuid::new_v4();
    let max = app.config.jobs_running_max.unwrap_or(0);
    let places = Arc::new(Semaphore::new(max));
    let mut alive = interval(Duration::from_secs(ALIVE_SECONDS));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = app.jobs.changed.notified() => {}
            _ = alive.tick() => {}
        }
        hold(&app, owner).await;
        while let Ok(place) = places.clone().try_acquire_owned() {
            let own: Vec<Uuid> = app.jobs.running().keys().copied().collect();
            match app.store.claim_job(owner, LEASE_SECONDS, &own).await {
                Ok(Some(claimed)) => begin(app.clone(), owner, claimed, place),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "no job was claimed; tried again in {ALIVE_SECONDS} s");
                    break;
                }
            }
        }
    }
    let within = Duration::from_millis(app.config.shutdown_timeout_ms);
    let held = async {
        loop {
            hold(&app, owner).await;
            sleep(Duration::from_secs(ALIVE_SECONDS)).await;
        }
    };
    let all = async {
        tokio::select! {
            all = places.acquire_many(max as u32) => drop(all),
            () = held => {}
        }
    };
    if timeout(within, all).await.is_err() {
        app.jobs.cancel_all_but(&[]);
        tracing::warn!("some jobs were still running when the time to stop was over");
    }
    if let Err(error) = app.store.leave_jobs(owner).await {
        tracing::warn!(%error, "jobs were not given back; they are taken on later");
    }
}

/// Says that this server is alive, and ends what is not its own any more.
async fn hold(app: &App, owner: Uuid) {
    if app.jobs.running().is_empty() {
        return;
    }
    let running: Vec<Uuid> = app.jobs.running().keys().copied().collect();
    match app.store.hold_jobs(owner, LEASE_SECONDS, &running).await {
        Ok(held) => app.jobs.cancel_all_but(&held),
        Err(error) => tracing::warn!(%error, "the jobs that run could not be held"),
    }
}

fn begin(app: Arc<App>, owner: Uuid, claimed: Claimed, place: OwnedSemaphorePermit) {
    let (id, ended) = (claimed.id, CancellationToken::new());
    app.jobs.running().insert(id, ended.clone());
    tokio::spawn(async move {
        if let Some(result) = outcome(app.clone(), claimed, ended).await {
            hand_in(&app, owner, id, &result).await;
        }
        app.jobs.running().remove(&id);
        drop(place);
        app.jobs.changed();
    });
}

/// What is handed in: the format's name in a line, and the batch-response. `None`: it was ended.
async fn outcome(app: Arc<App>, claimed: Claimed, ended: CancellationToken) -> Option<String> {
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                () = ended.cancelled() => None,
                result = perform(&app, &claimed) => Some(result),
            }
        })
    });
    done.await.unwrap_or_else(|_| {
        let failure = Failure::new(IssueKind::Exception, "an error inside the server");
        Some(told(Format::default(), "", failure.reply()))
    })
}

async fn perform(app: &App, claimed: &Claimed) -> String {
    let (request, format) = match read(app, &claimed.request) {
        Ok(kept) => kept,
        Err(failure) => return told(Format::default(), "", failure.reply()),
    };
    let base = request.base.clone();
    let is_done_in_part = claimed.attempts > 1 && !claimed.repeatable;
    if is_done_in_part || claimed.attempts > ATTEMPTS_MAX {
        let failure = Failure::new(
            IssueKind::Transient,
            "the server ended while it worked on this; what the request writes may or may not be there: read it before it is sent again",
        );
        return told(format, &base, failure.reply());
    }
    let within = Duration::from_secs(app.config.job_timeout_seconds);
    let done = timeout(within, router::dispatch(app, request)).await;
    let done = done.unwrap_or_else(|_| {
        let reason = format!("the job was not done within {} s", within.as_secs());
        Err(match claimed.repeatable {
            true => Failure::out_of_time(reason),
            false => Failure::new(
                IssueKind::Transient,
                format!("{reason}; what it writes may or may not be there: read it before it is sent again"),
            ),
        })
    });
    let reply = done.map_or_else(|failure| failure.reply(), Reply::cut);
    let status = reply.status;
    counter!("fhir_jobs_total", "status" => reply.status.as_u16().to_string()).increment(1);
    let result = told(format, &base, reply);
    let max = app.config.job_result_max_bytes;
    match result.len() <= max {
        true => result,
        // What was written is never told as refused.
        false if !claimed.repeatable && status.is_success() => {
            let done = Issue {
                severity: Severity::Warning,
                ..Issue::error(
                    IssueKind::Informational,
                    format!(
                        "done; the answer was longer than {max} bytes, which are kept of a job: ask with return=minimal"
                    ),
                )
            };
            told(format, &base, Reply::outcome(status, &[done]))
        }
        false => {
            let reason = format!(
                "the result is longer than {max} bytes, which are kept of a job: ask for less at a time"
            );
            let failure = Failure::new(IssueKind::TooCostly, reason);
            told(format, &base, failure.reply())
        }
    }
}

fn told(format: Format, base: &str, reply: Reply) -> String {
    let bundle = response::write("batch-response", base, &[reply]);
    format!("{}\n{bundle}", format.written())
}

async fn hand_in(app: &App, owner: Uuid, id: Uuid, result: &str) {
    let (times, pause) = HAND_IN;
    for _ in 0..times {
        match app.store.finish_job(id, owner, result.as_bytes()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the result of a job was not kept; tried again"),
        }
        sleep(pause).await;
    }
}
