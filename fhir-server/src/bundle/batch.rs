//! A batch: entries for themselves, each with its own answer (<https://hl7.org/fhir/R5/http.html#brules>).
//!
//! Executed in the same order as a transaction, so that a read sees the writes of its batch. The writes are tried in one commit,
//! which costs one wait for the disk; where one of them is refused, the halves are, down to the one that is refused alone.

use crate::app::App;
use crate::bundle::entry::{Entry, Turn};
use crate::bundle::response;
use crate::failure::Failure;
use crate::interaction::search;
use crate::reply::Reply;
use crate::request::Request;
use crate::write;
use fhir_storage::Change;
use http::StatusCode;
use serde_json::Value;

pub async fn batch(app: &App, outer: &Request, entries: Vec<Value>) -> Result<Reply, Failure> {
    let mut replies = vec![Reply::default(); entries.len()];
    let mut understood = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        match Entry::read(app, outer, index, entry) {
            Ok(entry) => understood.push(entry),
            Err(failure) => replies[index] = failure.reply(),
        }
    }
    understood.sort_by_key(Entry::turn);
    let reads =
        understood.split_off(understood.partition_point(|entry| entry.turn() != Turn::Read));
    let mut writes = Vec::with_capacity(understood.len());
    for mut entry in understood {
        // A fullUrl means something to the other entries of a transaction only.
        entry.full_url = None;
        match entry.change(app).await {
            Ok(Some(change)) => writes.push((entry, change)),
            Ok(None) => {}
            Err(failure) => replies[entry.index] = Entry::locate(entry.index, failure).reply(),
        }
    }
    write_all(app, &writes, &mut replies).await;
    let (searches, others): (Vec<Entry>, Vec<Entry>) = reads
        .into_iter()
        .partition(|read| read.request.route.interaction.is_search());
    let requests: Vec<&Request> = searches.iter().map(|read| &read.request).collect();
    let looked_up = search::looked_up(app, &requests).await;
    let mut left = Vec::new();
    for (read, found) in searches.into_iter().zip(looked_up) {
        match found {
            Some(found) => replies[read.index] = read.tell(Ok(found)),
            None => left.push(read),
        }
    }
    let mut state = None;
    for read in left.into_iter().chain(others) {
        let index = read.index;
        replies[index] = match read.request.route.interaction {
            interaction if interaction.is_search() => {
                read.tell(search::search_within(app, &mut state, &read.request).await)
            }
            _ => {
                // It takes a connection of its own: nobody waits for a second one while holding the first.
                state = None;
                read.answer(app).await
            }
        };
    }
    if let Some(state) = state {
        // The answers are there; a connection that broke now is replaced by the next that needs one.
        let _ = state.close().await;
    }
    let text = response::write("batch-response", &outer.base, &replies);
    Ok(Reply::document(text))
}

async fn write_all(app: &App, writes: &[(Entry, Change)], replies: &mut [Reply]) {
    // What is still to be done, the first last.
    let mut parts = vec![writes];
    while let Some(part) = parts.pop() {
        let changes = part.iter().map(|(_, change)| change.clone()).collect();
        match write::commit(app, changes).await {
            Ok(outcomes) => {
                for ((entry, _), outcome) in part.iter().zip(outcomes) {
                    replies[entry.index] = entry.written(outcome);
                }
            }
            // A database that is away or has too much to do would be asked for each entry again.
            Err(refused)
                if part.len() > 1
                    && refused.failure.status() != StatusCode::SERVICE_UNAVAILABLE =>
            {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(refused) => {
                for (entry, _) in part {
                    let failure = refused.failure.clone();
                    replies[entry.index] = Entry::locate(entry.index, failure).reply();
                }
            }
        }
    }
}
