//! What one sender means otherwise than all others (`senders/`): the events it may send and what they do, and its own codes. A sender
//! with segments of its own (`Zxx`) has events with a message map and a structure of its own.

use super::load::{EventSource, events};
use super::program::Event;
use super::vocabulary::ConceptMap;
use super::yaml::{Entry, Fault};
use std::collections::HashMap;

#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Triggers it may send; others count as unmapped. Empty: all.
    accept: Vec<String>,
    /// Triggers that do something else than in `events/`.
    pub(super) events: HashMap<String, Event>,
    /// Vocabularies that stand in for others, by their numbers.
    pub(super) vocabularies: HashMap<usize, usize>,
    /// Names of coding systems (CWE.3) and the vocabulary their codes go through.
    pub(super) codes: HashMap<String, usize>,
    source: Source,
}

/// As it was read; names are looked up when everything is there.
#[derive(Clone, Debug, Default)]
struct Source {
    events: Vec<EventSource>,
    vocabulary: Vec<Named>,
    codes: Vec<Named>,
}

/// `key: vocabulary`.
#[derive(Clone, Debug)]
struct Named {
    line: usize,
    key: String,
    vocabulary: String,
}

impl Overlay {
    /// Reads one key of a sender's file.
    pub(super) fn read(&mut self, file: &str, entry: &Entry) -> Result<(), Fault> {
        match entry.key.as_str() {
            "accept" => self.accept = entry.node.texts()?,
            "events" => self.source.events = events(file, &entry.node)?,
            "vocabulary" => self.source.vocabulary = named(entry)?,
            _ => self.source.codes = named(entry)?,
        }
        Ok(())
    }

    /// Whether the sender may send this trigger.
    pub(super) fn accepts(&self, trigger: &str) -> bool {
        self.accept.is_empty() || self.accept.iter().any(|own| own == trigger)
    }

    pub(super) fn event_sources(&self) -> &[EventSource] {
        &self.source.events
    }

    /// Looks the names of vocabularies up.
    pub(super) fn resolve(&mut self, known: &[ConceptMap]) -> Result<(), Fault> {
        let find = |line: usize, name: &str| {
            let found = known.iter().position(|map| map.name == name);
            found.ok_or_else(|| Fault::new(line, format!("no vocabulary `{name}`")))
        };
        for named in &self.source.vocabulary {
            let replaced = find(named.line, &named.key)?;
            let own = find(named.line, &named.vocabulary)?;
            self.vocabularies.insert(replaced, own);
        }
        for named in &self.source.codes {
            let own = find(named.line, &named.vocabulary)?;
            self.codes.insert(named.key.clone(), own);
        }
        Ok(())
    }
}

fn named(entry: &Entry) -> Result<Vec<Named>, Fault> {
    let pairs = entry.node.map()?.iter();
    pairs
        .map(|pair| {
            Ok(Named {
                line: pair.line,
                key: pair.key.clone(),
                vocabulary: pair.node.text()?.to_owned(),
            })
        })
        .collect()
}
