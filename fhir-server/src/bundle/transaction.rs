//! A transaction: all of it, or nothing (<https://hl7.org/fhir/R5/http.html#trules>).
//!
//! Entries are taken apart and ordered DELETE, POST, PUT, GET; the writes are committed by one [`write::transact`], which also rewrites
//! the references between entries and refuses a resource that is changed twice. Reads are answered in the same database transaction
//! and see what it writes; one that finds nothing says so in its entry, one that cannot be understood or done fails the transaction, and
//! so does one with an `ifMatch` that does not hold.

use crate::app::App;
use crate::bundle::entry::{Entry, Turn};
use crate::bundle::response;
use crate::failure::Failure;
use crate::interaction::search::Asked;
use crate::interaction::{read, vread};
use crate::operation::Call;
use crate::reply::Reply;
use crate::request::Request;
use crate::router::Interaction;
use crate::write;
use fhir_model::{Issue, IssueKind};
use fhir_storage::{Answer, Read, VersionMatch};
use serde_json::Value;
use std::collections::HashSet;

pub async fn transaction(
    app: &App,
    outer: &Request,
    entries: Vec<Value>,
) -> Result<Reply, Failure> {
    let count = entries.len();
    let mut entries = entries
        .into_iter()
        .enumerate()
        .map(|(index, entry)| Entry::read(app, outer, index, entry))
        .collect::<Result<Vec<Entry>, Failure>>()?;
    refuse_same_full_urls(&entries)?;
    entries.sort_by_key(Entry::turn);
    let mut changes = Vec::new();
    let mut questions = Vec::new();
    let mut reads = Vec::new();
    // Of what is handed to the database: where it stands in the bundle.
    let mut places = Vec::new();
    for entry in &mut entries {
        let index = entry.index;
        let locate = |failure| Entry::locate(index, failure);
        if let Some(change) = entry.change(app).await.map_err(locate)? {
            changes.push(change);
            places.push(index);
            continue;
        }
        let question = Question::read(app, &entry.request).await.map_err(locate)?;
        if let Some(read) = question.in_database(&entry.request) {
            reads.push(read);
            places.push(index);
        }
        questions.push(question);
    }
    let (outcomes, answers) = write::transact(app, changes, &reads)
        .await
        .map_err(|refused| match refused.index {
            Some(at) => Entry::locate(places[at], refused.failure),
            None => refused.failure,
        })?;
    let mut replies = vec![Reply::default(); count];
    let asking = entries.split_off(outcomes.len());
    for (entry, outcome) in entries.iter().zip(outcomes) {
        replies[entry.index] = entry.written(outcome);
    }
    let mut answers = answers.into_iter();
    for (entry, question) in asking.into_iter().zip(questions) {
        let index = entry.index;
        replies[index] = match question {
            Question::Elsewhere => entry.answer(app).await,
            question => entry.tell(question.reply(app, &entry.request, answers.next())),
        };
    }
    let text = response::write("transaction-response", &outer.base, &replies);
    Ok(Reply::document(text))
}

/// A read of a transaction.
enum Question {
    Instance(VersionMatch),
    Version(i32),
    Search(Box<Asked>),
    /// Nothing that a change of this transaction could be seen in, or a history, or an operation that looks: answered after the commit.
    Elsewhere,
}

impl Question {
    async fn read(app: &App, request: &Request) -> Result<Question, Failure> {
        Ok(match request.route.interaction {
            Interaction::Read => {
                request.subset()?;
                Question::Instance(request.if_match()?)
            }
            Interaction::Vread => match vread::version(request) {
                Ok(version) => Question::Version(version),
                // No such version is an answer, not a reason to undo the rest.
                Err(_) => Question::Elsewhere,
            },
            interaction if interaction.is_search() => {
                Question::Search(Box::new(Asked::read(app, request).await?))
            }
            Interaction::Operation => {
                Call::read(app, request.clone())?;
                Question::Elsewhere
            }
            _ => Question::Elsewhere,
        })
    }

    fn in_database(&self, request: &Request) -> Option<Read> {
        match self {
            Question::Instance(version) => Some(Read::Instance(request.key(), *version)),
            Question::Version(version) => Some(Read::Version(request.key(), *version)),
            Question::Search(asked) => Some(Read::Search(
                Box::new(asked.query.clone()),
                asked.page.clone(),
            )),
            Question::Elsewhere => None,
        }
    }

    fn reply(
        &self,
        app: &App,
        request: &Request,
        answer: Option<Answer>,
    ) -> Result<Reply, Failure> {
        match (self, answer) {
            (Question::Instance(_), Some(Answer::Version(found))) => read::reply(request, found),
            (Question::Version(_), Some(Answer::Version(found))) => vread::reply(request, found),
            (Question::Search(asked), Some(Answer::Page(found))) => {
                Ok(asked.reply(app, request, &found))
            }
            _ => Err(Failure::new(
                IssueKind::Exception,
                "the database answered another question",
            )),
        }
    }
}

fn refuse_same_full_urls(entries: &[Entry]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for entry in entries.iter().filter(|entry| entry.turn() != Turn::Read) {
        if let Some(full_url) = &entry.full_url
            && !seen.insert(full_url.to_ascii_lowercase())
        {
            return Err(
                Issue::error(IssueKind::Duplicate, "two entries have the same fullUrl")
                    .at(format!("Bundle.entry[{}].fullUrl", entry.index))
                    .into(),
            );
        }
    }
    Ok(())
}
