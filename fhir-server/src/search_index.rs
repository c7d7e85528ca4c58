//! Keeps the search index in Elasticsearch written (docs/elasticsearch.md), and what somebody at a terminal may do with it.
//!
//! What has changed is written in batches, some tenths of a second apart; beside that an index that is being made is filled; and every now and
//! then it is looked whether the cluster has what was written. While the cluster does not answer, the waits grow; nothing is lost.

use crate::app::App;
use fhir_storage::{Checked, Error, IndexUse, Round, Verified, is_lost};
use metrics::{counter, gauge, histogram};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Between two batches while there is no full one: as long as a write may wait to be in the index.
const TICK: Duration = Duration::from_millis(200);
/// Between two looks for an index to fill.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at what the cluster has.
const CHECK: Duration = Duration::from_secs(10);
/// Waits after failures: the first, and the longest.
const TROUBLE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Works until `stop`; at once done where there is no index. What is being written then is written again by the next server.
pub async fn work(app: Arc<App>, stop: CancellationToken) {
    if !app.store.has_index() {
        return;
    }
    let suspicion = Notify::new();
    let all = async {
        tokio::join!(
            write(&app, &suspicion, Part::Outbox),
            write(&app, &suspicion, Part::Fill),
            look_after(&app, &suspicion),
            measure(&app),
        )
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = all => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Outbox,
    Fill,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Outbox => "outbox",
            Part::Fill => "fill",
        }
    }

    async fn round(self, app: &App) -> Result<Round, Error> {
        match self {
            Part::Outbox => app.store.index_outbox().await,
            Part::Fill => app.store.index_fill().await,
        }
    }

    fn pause(self) -> Duration {
        match self {
            Part::Outbox => TICK,
            Part::Fill => LOOK,
        }
    }
}

async fn write(app: &App, suspicion: &Notify, part: Part) {
    let mut wait = TROUBLE.0;
    loop {
        let begun = Instant::now();
        let round = part.round(app).await;
        count(part, &round, begun.elapsed());
        let pause = match round {
            Ok(round) if round.again == 0 => {
                wait = TROUBLE.0;
                match round.more {
                    true => Duration::ZERO,
                    false => part.pause(),
                }
            }
            failed => {
                if let Err(error) = &failed {
                    let part = part.name();
                    tracing::warn!(%error, part, "the search index was not written; tried again");
                    if is_lost(error) {
                        suspicion.notify_one();
                    }
                }
                let pause = wait.mul_f64(0.5 + f64::from(jitter()) / 256.0);
                wait = (wait * 2).min(TROUBLE.1);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Servers that failed together must not come back together.
fn jitter() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0] / 2
}

fn count(part: Part, round: &Result<Round, Error>, took: Duration) {
    let part = part.name();
    let outcome = match round {
        Ok(round) if *round == Round::default() => return,
        Ok(round) => {
            counter!("fhir_search_index_documents_total", "part" => part)
                .increment(round.documents);
            match round.again {
                0 => "written",
                _ => "in-part",
            }
        }
        Err(_) => "failed",
    };
    counter!("fhir_search_index_batches_total", "part" => part, "outcome" => outcome).increment(1);
    histogram!("fhir_search_index_batch_seconds", "part" => part).record(took.as_secs_f64());
}

async fn look_after(app: &App, suspicion: &Notify) {
    loop {
        match app.store.index_check().await {
            Ok(Checked::Well) => {}
            Ok(Checked::Later) => tracing::warn!(
                "the search index is of a later version of this program: this server does not use it"
            ),
            Ok(checked) => tracing::info!(?checked, "the search index is made anew"),
            Err(error) => tracing::warn!(%error, "the search index was not looked after"),
        }
        tokio::select! {
            () = suspicion.notified() => tokio::time::sleep(LOOK).await,
            () = tokio::time::sleep(CHECK) => {}
        }
    }
}

async fn measure(app: &App) {
    loop {
        match app.store.index_use().await {
            Ok(Some(used)) => tell(&used),
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "the search index was not measured"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(used: &IndexUse) {
    gauge!("fhir_search_index_searchable").set(f64::from(u8::from(used.searchable)));
    gauge!("fhir_search_index_waiting").set(used.waiting as f64);
    gauge!("fhir_search_index_waiting_seconds").set(used.waiting_seconds);
    gauge!("fhir_search_index_parked").set(used.parked as f64);
    let (done, total) = used.filling.unwrap_or_default();
    gauge!("fhir_search_index_fill", "state" => "done").set(done as f64);
    gauge!("fhir_search_index_fill", "state" => "total").set(total as f64);
    counter!("fhir_search_index_answered_total").absolute(used.answered);
    for (reason, count) in &used.fallbacks {
        counter!("fhir_search_index_fallbacks_total", "reason" => *reason).absolute(*count);
    }
}

/// What `/health/ready` says of it; `None`: there is nothing to say.
pub fn health(used: &IndexUse) -> Option<String> {
    if let Some(trouble) = used.trouble {
        return Some(format!("the search index does not serve ({trouble})"));
    }
    match (used.searchable, used.filling) {
        (_, Some((done, total))) => Some(format!(
            "the search index is being filled ({done} of {total})"
        )),
        (false, None) => Some("there is no search index yet".into()),
        (true, None) if used.parked > 0 => Some(format!(
            "the search index does not take {} resources",
            used.parked
        )),
        (true, None) => None,
    }
}

/// `fhir-server index verify`: compares, and writes what differs again where that is wanted. The text, and whether nothing differs in the end.
///
/// # Errors
/// What the store says.
pub async fn verify(app: &App, repair: bool) -> Result<(String, bool), Error> {
    let first = app.store.index_verify(repair).await?;
    let mut text = report(&first);
    if first.found.is_empty() || !repair {
        return Ok((text, first.found.is_empty()));
    }
    drain(app).await?;
    let second = app.store.index_verify(false).await?;
    let _ = write!(text, "after the repair:\n{}", report(&second));
    if !second.found.is_empty() {
        text.push_str(
            "what is left cannot be repaired: `fhir-server index rebuild` makes another index\n",
        );
    }
    Ok((text, second.found.is_empty()))
}

/// `fhir-server index rebuild [TYPE]`: works on it, with the servers that are there, until it is done.
///
/// # Errors
/// What the store says. It goes on with the next call or server.
pub async fn rebuild(app: &App, of_type: Option<&str>) -> Result<String, Error> {
    let begun = app.store.index_rebuild(of_type).await?;
    drain(app).await?;
    Ok(match begun {
        true => "the search index is made\n".into(),
        false => "the search index was being made already, and is there\n".into(),
    })
}

/// Until nothing waits.
async fn drain(app: &App) -> Result<(), Error> {
    while !app.store.index_is_idle().await? {
        let filled = app.store.index_fill().await?;
        let written = app.store.index_outbox().await?;
        if !filled.more && !written.more {
            tokio::time::sleep(TICK).await;
        }
    }
    Ok(())
}

fn report(verified: &Verified) -> String {
    let Verified {
        index,
        in_postgres,
        in_index,
        waiting,
        parked,
        found,
        unknown,
    } = verified;
    let mut text = format!(
        "{index}: {in_postgres} resources in Postgres, {in_index} in the index; {waiting} differ and wait to be written, {parked} are not taken by it, {} differ\n",
        found.len()
    );
    for found in found.iter().take(FOUND_MAX) {
        let finding = format!("{:?}", found.finding).to_lowercase();
        let _ = writeln!(
            text,
            "  {finding}: {} (pk {})",
            found.resource_type, found.pk
        );
    }
    if found.len() > FOUND_MAX {
        let _ = writeln!(text, "  and {} more", found.len() - FOUND_MAX);
    }
    for index in unknown {
        let _ = writeln!(
            text,
            "unknown here, of before a restore or of another site: {index}"
        );
    }
    text
}

/// Differences that are named.
const FOUND_MAX: usize = 100;
