//! Compares what is there with the ledger, while nobody writes: content, versions and their times, search, transactions, totals.
//!
//! What was possible and is there counts as there from then on: a later check must find it again.

mod messages;
mod resources;

use crate::ledger::{Kind, Ledger, Message};
use futures_util::{StreamExt, stream};
use load_driver::client::Client;
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Identities that are asked for in one request.
const AT_ONCE: usize = 40;
/// Requests at a time.
const CONCURRENT: usize = 4;
/// How long a server that was just ready may refuse a check's request.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What was sent since the last check, and the totals.
    Touched,
    All,
}

/// Gives the number of resources and messages that were looked at. `spools`: what was accepted may not be applied yet.
pub async fn check(base: &str, ledger: &Arc<Ledger>, scope: Scope, spools: bool) -> usize {
    let checker = Checker {
        base: base.to_owned(),
        client: Client::new(),
        ledger: ledger.clone(),
    };
    if spools {
        checker.settled().await;
    }
    let resources = checker.resources(scope).await;
    let messages = checker.messages(scope).await;
    checker.totals().await;
    let mut book = ledger.book();
    book.touched.clear();
    book.touched_messages.clear();
    book.touched_transactions = book.transactions.len();
    resources + messages
}

struct Checker {
    base: String,
    client: Client,
    ledger: Arc<Ledger>,
}

impl Checker {
    /// A read that must succeed; after crashes it may take a while.
    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.base);
        let began = Instant::now();
        loop {
            let said = match self.client.ask(method.clone(), &url, &[], body).await {
                Ok(answer) if answer.status == 200 => return answer.body,
                Ok(answer) => format!("{} {}", answer.status, answer.body),
                Err(error) => error,
            };
            if began.elapsed() > PATIENCE {
                let start: String = url.chars().take(200).collect();
                self.find(
                    Kind::Silent,
                    format!("the check had no answer from {start}: {said}"),
                );
                return Value::Null;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits while messages are applied that were accepted before.
    async fn settled(&self) {
        let accepted = |message: &&Message| message.accepted;
        let promised = self
            .ledger
            .book()
            .messages
            .values()
            .filter(accepted)
            .count() as u64;
        let (mut applied, mut since) = (0, Instant::now());
        while applied < promised && since.elapsed() < PATIENCE {
            let bundle = self.get("/Task?_summary=count").await;
            let now = bundle["total"].as_u64().unwrap_or_default();
            if now > applied {
                (applied, since) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn find(&self, kind: Kind, text: String) {
        self.ledger.find(kind, text);
    }

    /// What is not in the ledger is not there either.
    async fn totals(&self) {
        let mut expect: Vec<(&str, u64, u64)> = Vec::new();
        {
            let book = self.ledger.book();
            let accepted = |is_of: fn(&str) -> bool| {
                let messages = book.messages.values();
                let found = messages.filter(|message| message.accepted && is_of(&message.text));
                found.count() as u64
            };
            let open = book.messages.values().filter(|message| !message.accepted);
            let open = open.count() as u64;
            let present = |resource_type: &str| {
                let entries = book.entries.values();
                let of_type = entries.filter(|entry| entry.resource_type == resource_type);
                of_type.filter(|entry| entry.is_present()).count() as u64
            };
            let all = accepted(|_| true);
            let results = accepted(messages::is_result);
            let records = messages::records(&book.messages);
            expect.push(("Task", all, open));
            expect.push(("Binary", all, open));
            expect.push(("DiagnosticReport", results, open));
            let observations = present("Observation") + messages::RESULTS * results;
            expect.push(("Observation", observations, messages::RESULTS * open));
            expect.push(("Condition", present("Condition"), 0));
            // A merge may make both of its patients.
            expect.push(("Patient", present("Patient") + records, 2 * open));
        }
        for (resource_type, least, open) in expect {
            let bundle = self.get(&format!("/{resource_type}?_summary=count")).await;
            let Some(total) = bundle["total"].as_u64() else {
                continue;
            };
            let text = format!("{total} {resource_type} where {least} were written");
            if total < least {
                self.find(Kind::Lost, text);
            } else if total > least + open {
                self.find(Kind::Doubled, text);
            }
        }
    }
}

/// Does `work` for parts of `all`, some at a time.
async fn in_parts<T: Clone, R>(all: &[T], work: impl AsyncFn(Vec<T>) -> R) -> Vec<R> {
    let parts: Vec<Vec<T>> = all.chunks(AT_ONCE).map(<[T]>::to_vec).collect();
    let working =
        stream::iter(parts.into_iter().map(|part| work(part))).buffer_unordered(CONCURRENT);
    working.collect().await
}

/// The resources of a searchset that match, or that came along.
fn resources_of<'a>(bundle: &'a Value, mode: &'a str) -> impl Iterator<Item = &'a Value> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let of_mode = entries.filter(move |entry| entry["search"]["mode"] == mode);
    of_mode.map(|entry| &entry["resource"])
}
