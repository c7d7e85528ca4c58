//! What the clients were told, kept outside of the system: every write and message that was sent, and how it was answered.
//!
//! A line of the file is written before a request goes out and after its answer came in. A request without an answer stays
//! *possible*: it may be there, whole, or not at all.

use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of a resource's content as it was sent, whatever the order of its keys: without `id` and `meta`, and without references, which
/// a transaction rewrites.
pub type Print = u64;

/// What is wrong, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Acknowledged, and not there.
    Lost,
    /// There with another content than was acknowledged, or in a version that nobody sent.
    Changed,
    /// One identity, several resources; or one message, several journal entries or sets of results.
    Doubled,
    /// A part of a transaction.
    Half,
    /// The search says something else than the resource.
    Index,
    /// Versions that have gaps, or whose times do not grow.
    History,
    /// An answer that a client cannot make sense of.
    Answer,
    /// Nothing but silence and refusals for longer than a sender waits.
    Silent,
}

#[derive(Clone, Debug)]
pub struct Finding {
    pub kind: Kind,
    pub text: String,
}

/// One identity, under a name that is an identifier of the resource.
#[derive(Clone, Debug)]
pub struct Entry {
    pub resource_type: &'static str,
    pub id: Option<String>,
    /// Acknowledged, or seen by a check.
    pub versions: BTreeMap<u32, Print>,
    /// Sent without an answer: each may be a version.
    pub possible: Vec<Print>,
    pub deletion: Deletion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    None,
    Possible,
    Done,
}

/// A message under its control id.
#[derive(Clone, Debug)]
pub struct Message {
    pub text: String,
    pub accepted: bool,
}

/// Figures of a run.
#[derive(Debug, Default)]
pub struct Counts {
    /// Acknowledged requests that write; a transaction is one.
    pub writes: AtomicU64,
    /// Messages answered AA; a repeated one is one.
    pub messages: AtomicU64,
    pub unanswered: AtomicU64,
    /// Searches right after an acknowledgement that were compared with it.
    pub looks: AtomicU64,
    /// How often a client was told to come back, by what it was told: 429, 5xx, AE, AR.
    pub refused: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
pub struct Book {
    pub entries: HashMap<String, Entry>,
    pub messages: HashMap<String, Message>,
    /// Names of what one transaction writes; the patient comes first.
    pub transactions: Vec<Vec<String>>,
    /// What was sent since the last check.
    pub touched: HashSet<String>,
    pub touched_messages: HashSet<String>,
    pub touched_transactions: usize,
    pub findings: Vec<Finding>,
}

pub struct Ledger {
    file: Mutex<BufWriter<File>>,
    book: Mutex<Book>,
    pub counts: Counts,
}

impl Ledger {
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> std::io::Result<Ledger> {
        Ok(Ledger {
            file: Mutex::new(BufWriter::new(File::create(path)?)),
            book: Mutex::default(),
            counts: Counts::default(),
        })
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn acknowledged(&self) -> u64 {
        self.counts.writes.load(Ordering::Relaxed) + self.counts.messages.load(Ordering::Relaxed)
    }

    pub fn unanswered(&self) {
        self.counts.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self, by: &str) {
        let mut refused = self.refusals();
        *refused.entry(by.to_owned()).or_default() += 1;
    }

    pub fn refusals(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        let refused = self.counts.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wrote(&self) {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn looked(&self) {
        self.counts.looks.fetch_add(1, Ordering::Relaxed);
    }

    pub fn find(&self, kind: Kind, text: String) {
        self.note(&json!({"found": format!("{kind:?}"), "text": text}));
        self.book().findings.push(Finding { kind, text });
    }

    /// A version with this content is about to be sent.
    pub fn intend(&self, name: &str, resource_type: &'static str, print: Print) {
        self.note(&json!({"send": name, "type": resource_type, "print": print}));
        let mut book = self.book();
        book.touched.insert(name.to_owned());
        let entry = book.entries.entry(name.to_owned()).or_insert(Entry {
            resource_type,
            id: None,
            versions: BTreeMap::new(),
            possible: Vec::new(),
            deletion: Deletion::None,
        });
        entry.possible.push(print);
    }

    /// It was refused for good, before anything was written.
    pub fn withdraw(&self, name: &str, print: Print) {
        self.note(&json!({"refused": name, "print": print}));
        if let Some(entry) = self.book().entries.get_mut(name) {
            entry.forget(print);
        }
    }

    /// It is said to be there as this version.
    pub fn acknowledge(&self, name: &str, id: &str, version: u32, print: Print) {
        self.note(&json!({"done": name, "id": id, "version": version, "print": print}));
        let mut wrong = None;
        {
            let mut book = self.book();
            book.touched.insert(name.to_owned());
            let Some(entry) = book.entries.get_mut(name) else {
                return;
            };
            entry.forget(print);
            match &entry.id {
                Some(known) if known != id => {
                    wrong = Some((Kind::Doubled, format!("{name} is {known}, and then {id}")));
                }
                _ => entry.id = Some(id.to_owned()),
            }
            if let Some(other) = entry.versions.insert(version, print)
                && other != print
            {
                let text = format!("{name}: version {version} was acknowledged to two clients");
                wrong = Some((Kind::Lost, text));
            }
        }
        if let Some((kind, text)) = wrong {
            self.find(kind, text);
        }
    }

    pub fn delete(&self, name: &str, deletion: Deletion) {
        self.note(&json!({"delete": name, "state": format!("{deletion:?}")}));
        let mut book = self.book();
        book.touched.insert(name.to_owned());
        if let Some(entry) = book.entries.get_mut(name) {
            entry.deletion = deletion;
        }
    }

    /// These are sent as one transaction.
    pub fn together(&self, names: Vec<String>) {
        self.note(&json!({"transaction": names}));
        self.book().transactions.push(names);
    }

    pub fn sending(&self, control_id: &str, text: &str) {
        self.note(&json!({"message": control_id}));
        let mut book = self.book();
        book.touched_messages.insert(control_id.to_owned());
        let message = Message {
            text: text.to_owned(),
            accepted: false,
        };
        book.messages
            .entry(control_id.to_owned())
            .or_insert(message);
    }

    pub fn accepted(&self, control_id: &str) {
        self.note(&json!({"accepted": control_id}));
        let mut book = self.book();
        if let Some(message) = book.messages.get_mut(control_id)
            && !message.accepted
        {
            message.accepted = true;
            self.counts.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A message that was accepted.
    pub fn some_accepted(&self) -> Option<String> {
        let book = self.book();
        let accepted = book.messages.values().find(|message| message.accepted)?;
        Some(accepted.text.clone())
    }

    /// The run is judged by what is in memory; the file is for whoever looks into a finding.
    fn note(&self, line: &Value) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writeln!(file, "{line}");
        written.expect("the ledger's disk has room");
    }
}

impl Entry {
    fn forget(&mut self, print: Print) {
        if let Some(at) = self.possible.iter().position(|sent| *sent == print) {
            self.possible.swap_remove(at);
        }
    }

    pub fn is_present(&self) -> bool {
        !self.versions.is_empty() && self.deletion != Deletion::Done
    }
}

/// The fingerprint of a content.
pub fn print(resource: &Value) -> Print {
    let mut text = String::new();
    canonical(resource, true, &mut text);
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

fn canonical(value: &Value, is_top: bool, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            text.push('{');
            for name in names {
                if !matches!(
                    (is_top, name.as_str()),
                    (true, "id" | "meta") | (false, "reference")
                ) {
                    text.push_str(name);
                    text.push(':');
                    canonical(&members[name], false, text);
                }
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, false, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints() {
        let one = json!({"resourceType": "Basic", "id": "1", "a": [1, {"reference": "x", "display": "d"}]});
        for (other, same) in [
            (
                json!({"a": [1, {"display": "d", "reference": "y"}], "resourceType": "Basic", "meta": {}}),
                true,
            ),
            (
                json!({"resourceType": "Basic", "a": [1, {"display": "e"}]}),
                false,
            ),
            (
                json!({"resourceType": "Basic", "a": [{"display": "d"}, 1]}),
                false,
            ),
        ] {
            assert_eq!(print(&one) == print(&other), same, "{other}");
        }
    }
}
