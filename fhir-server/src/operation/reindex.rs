//! `POST [base]/$reindex` and `[base]/$reindex-status`: indexes resources again, and says how far that is (docs/search.md).
//!
//! The work is done beside requests by one of the servers of the database ([`work`]), and goes on after a crash where it stopped.
//! Refuses types that there are not.

use crate::app::App;
use crate::failure::Failure;
use crate::operation::{Answer, Call};
use fhir_definitions::{Definitions, State};
use fhir_model::IssueKind;
use fhir_model::date::instant_text;
use fhir_storage::{Progress, Step};
use metrics::gauge;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often a server looks whether search parameters have changed, and whether there is something to index.
const LOOK: Duration = Duration::from_secs(1);
/// How long it waits where the database does not answer.
const TROUBLE: Duration = Duration::from_secs(5);
/// While requests are at work, between two batches: as long as a batch took, so many times, and no longer than this.
const BUSY: (u32, Duration) = (2, Duration::from_secs(1));

/// Batches that the writer of a SearchParameter waits for.
const AT_ONCE: usize = 3;

pub async fn start(app: &App, call: Call) -> Result<Answer, Failure> {
    let definitions = app.store.definitions();
    let types: Vec<String> = call
        .values("type")
        .into_iter()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect();
    if !types
        .iter()
        .all(|name| definitions.type_number(name).is_some())
    {
        return Err(Failure::new(
            IssueKind::Value,
            "type must name resource types of FHIR R5",
        ));
    }
    app.store.start_reindex(&types).await?;
    told(app).await
}

pub async fn status(app: &App, _call: Call) -> Result<Answer, Failure> {
    told(app).await
}

/// Indexes a little at once, after a SearchParameter was written: where there are few resources, it answers with the answer to the write.
pub async fn begin(app: &App) {
    for _ in 0..AT_ONCE {
        match app.store.reindex_step().await {
            Ok(Step::Worked(_)) => {}
            Ok(Step::Idle | Step::Elsewhere) | Err(_) => return,
        }
    }
}

/// Follows the definitions of the database and indexes what has to be, until `stop`.
pub async fn work(app: Arc<App>, stop: CancellationToken) {
    let mut looked = Instant::now();
    loop {
        let begun = Instant::now();
        let pause = match app.store.reindex_step().await {
            Ok(Step::Worked(_)) if app.gate.is_working() => {
                let (times, most) = BUSY;
                (begun.elapsed() * times).min(most)
            }
            Ok(Step::Worked(_)) => Duration::ZERO,
            Ok(Step::Elsewhere | Step::Idle) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "resources were not indexed again; tried again in {} s", TROUBLE.as_secs());
                TROUBLE
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let Err(error) = look(&app).await {
                tracing::warn!(%error, "the search parameters of the database were not looked at");
                looked += TROUBLE;
            }
        }
    }
    if let Err(error) = app.store.leave_reindex().await {
        tracing::warn!(%error, "a reindex was not given back; it goes on in a while");
    }
}

/// Follows the definitions of the database, and tells metrics how far its index is.
async fn look(app: &App) -> Result<(), fhir_storage::Error> {
    app.store.refresh().await?;
    let progress = app.store.reindex_progress().await?;
    let done: u64 = progress.iter().map(|of| of.done).sum();
    let total: u64 = progress.iter().filter_map(|of| of.total).sum();
    gauge!("fhir_reindex_types").set(progress.len() as f64);
    gauge!("fhir_reindex_resources", "state" => "done").set(done as f64);
    gauge!("fhir_reindex_resources", "state" => "total").set(total as f64);
    Ok(())
}

async fn told(app: &App) -> Result<Answer, Failure> {
    let progress = app.store.reindex_progress().await?;
    let definitions = app.store.definitions();
    let mut parameters: Vec<Value> = progress.iter().map(of_type).collect();
    parameters.extend(waiting(&definitions));
    Ok(Answer::Parameters(parameters))
}

fn of_type(progress: &Progress) -> Value {
    let mut part = vec![
        json!({ "name": "code", "valueCode": progress.resource_type }),
        json!({ "name": "done", "valueInteger64": progress.done.to_string() }),
    ];
    if let Some(total) = progress.total {
        part.push(json!({ "name": "total", "valueInteger64": total.to_string() }));
    }
    part.push(json!({ "name": "percent", "valueInteger": progress.percent() }));
    part.push(json!({ "name": "begun", "valueInstant": instant_text(progress.begun_ms) }));
    json!({ "name": "type", "part": part })
}

fn waiting(definitions: &Definitions) -> impl Iterator<Item = Value> + '_ {
    let own = definitions.own_parameters().map(|(own, _)| own);
    own.filter(|own| matches!(definitions.state(own), State::Indexing(_)))
        .map(|own| {
            json!({ "name": "waiting", "part": [
                { "name": "base", "valueCode": own.resource_type },
                { "name": "code", "valueCode": own.code },
                { "name": "definition", "valueUri": own.url },
            ]})
        })
}
