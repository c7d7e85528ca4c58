//! The journal of HL7 v2 messages does not grow for ever: once an hour the bytes of old messages go, then old entries, as the site says.
//!
//! What goes is deleted for good, with its history. Provenances stay: they tell of the resources, not of the message. Off by default.

use crate::app::{self, App};
use crate::failure::Failure;
use crate::write;
use fhir_model::ResourceKey;
use fhir_storage::{Change, OldEntries, Target, VersionMatch};
use metrics::counter;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(3_600);
/// Entries that are deleted in one commit.
const BATCH: i64 = 100;
const DAY_SECONDS: i64 = 86_400;

/// What a round took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Messages whose bytes are gone.
    pub raw: usize,
    /// Entries that are gone as a whole, and their bytes.
    pub entries: usize,
}

/// Prunes until the server stops, which waits for what is being deleted.
pub async fn work(app: Arc<App>, stop: CancellationToken) {
    loop {
        match round(&app, app::now_seconds(), &stop).await {
            Ok(pruned) if pruned == Pruned::default() => {}
            Ok(Pruned { raw, entries }) => {
                tracing::info!(raw, entries, "the journal of v2 messages was pruned");
            }
            Err(failure) => {
                let error = reason(&failure);
                tracing::warn!(
                    error,
                    "the journal of v2 messages was not pruned; tried again in an hour"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// One round, as of a time in seconds of the epoch: bytes first, then entries.
///
/// # Errors
/// What the store says; what was done until then stays done.
pub async fn prune(app: &App, now_seconds: u64) -> Result<Pruned, Failure> {
    round(app, now_seconds, &CancellationToken::new()).await
}

/// Why a round failed.
pub fn reason(failure: &Failure) -> &str {
    let first = failure.issues.first();
    first.map_or("", |issue| issue.diagnostics.as_str())
}

/// As [`prune`]; after `stop` it begins with no more entries.
async fn round(app: &App, now_seconds: u64, stop: &CancellationToken) -> Result<Pruned, Failure> {
    let config = &app.config;
    let now = i64::try_from(now_seconds).unwrap_or(i64::MAX);
    let raw = prune_kind(app, stop, now, config.hl7v2_raw_days, true, true).await?;
    let applied = prune_kind(app, stop, now, config.hl7v2_journal_days, true, false).await?;
    let others = prune_kind(app, stop, now, config.hl7v2_unapplied_days, false, false).await?;
    let entries = applied + others;
    counter!("hl7v2_journal_raw_pruned_total").increment(raw as u64);
    counter!("hl7v2_journal_entries_pruned_total").increment(entries as u64);
    Ok(Pruned { raw, entries })
}

async fn prune_kind(
    app: &App,
    stop: &CancellationToken,
    now: i64,
    days: Option<u32>,
    are_applied: bool,
    only_raw: bool,
) -> Result<usize, Failure> {
    let Some(days) = days else {
        return Ok(0);
    };
    let which = OldEntries {
        before_seconds: now - i64::from(days) * DAY_SECONDS,
        are_applied,
        have_raw: only_raw,
    };
    let (mut after, mut pruned) = ((0, 0), 0);
    while !stop.is_cancelled() {
        let old = app.store.old_journal_entries(which, after, BATCH).await?;
        let Some(last) = old.last() else {
            break;
        };
        after = last.place;
        let raw = old.iter().filter_map(|entry| entry.binary_id.as_deref());
        // First: the Task leads to what is left of them, should this end midway.
        delete(app, raw.map(|id| ResourceKey::new("Binary", id)).collect()).await?;
        if !only_raw {
            let tasks = old.iter().map(|entry| entry.task_id.as_str());
            delete(app, tasks.map(|id| ResourceKey::new("Task", id)).collect()).await?;
        }
        pruned += old.len();
    }
    Ok(pruned)
}

async fn delete(app: &App, keys: Vec<ResourceKey>) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let change = |key: &ResourceKey| Change::Delete {
        target: Target::Id(key.clone()),
        version: VersionMatch::Any,
        at_most: 1,
    };
    let done = write::commit(app, keys.iter().map(change).collect()).await;
    done.map_err(|refused| refused.failure)?;
    for key in &keys {
        app.store.delete_history(key, None).await?;
    }
    Ok(())
}
