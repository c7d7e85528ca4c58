//! The mapping language: HL7 v2 to FHIR R5 as data (docs/mapping-language.md), read at start, compiled to numbers, run over messages.
//!
//! [`Mappings::load`] takes the files as bytes and names every mistake in them by file and line. [`Mappings::convert`] turns one
//! message into drafts of resources; it knows no server and no clock. Nothing in a message can make it fail or panic: what cannot be
//! converted is left out, told as a warning, and kept in the journal with the raw bytes.

mod compile;
pub mod datatypes;
mod load;
mod overlay;
pub mod program;
mod rule;
mod run;
pub mod systems;
mod target;
mod targets;
mod trace;
mod value;
mod vocabulary;
pub mod yaml;

pub use load::{File, LoadError, Sender};
pub use run::{Draft, KeyPart, Relation, draft_index, draft_reference};
pub use targets::{TargetUse, Written};
pub use trace::{Step, Trace};

use crate::ack::AnswerError;
use crate::header::Header;
use crate::message::Message;
pub use datatypes::UnmappedCode;

use datatypes::Scope;
use load::Read;
use program::{Event, Program};
use run::Runner;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use systems::Systems;
use vocabulary::Lookup;

/// All maps, compiled. Immutable; swapped whole.
pub struct Mappings {
    pub program: Program,
    /// Tells these mappings from others: a hash of the files.
    pub version: String,
    events: HashMap<String, Event>,
    systems: Systems,
    senders: HashMap<String, Sender>,
    default_sender: Sender,
}

/// A folder by name: in the working directory, else beside the program or above it.
pub fn find_folder(name: &str) -> Option<PathBuf> {
    let working = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let above = program.iter().flat_map(|path| path.ancestors().skip(1));
    let mut places = working.iter().map(PathBuf::as_path).chain(above);
    places.find_map(|place| Some(place.join(name)).filter(|folder| folder.is_dir()))
}

/// Reads the files below a folder for [`Mappings::load`], sorted by path.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn read_folder(folder: &Path) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Ok(below) = path.strip_prefix(folder) {
                files.push(File {
                    path: below.to_string_lossy().replace('\\', "/"),
                    bytes: std::fs::read(&path)?,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The first half of the SHA-256 of the data, whatever else lies beside it and in whatever order it was read: a listener that stands alone
/// has the version of an embedded one.
fn version(files: &[File]) -> String {
    let mut files: Vec<&File> = files.iter().filter(|file| file.is_data()).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = Sha256::new();
    for file in files {
        for part in [file.path.as_bytes(), &file.bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let hash = hash.finalize();
    hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What a message says.
#[derive(Debug)]
pub struct Converted {
    pub drafts: Vec<Draft>,
    pub relations: Vec<Relation>,
    /// Warnings for the sender.
    pub notices: Vec<AnswerError>,
    /// Codes that a vocabulary does not know.
    pub unmapped: Vec<UnmappedCode>,
    /// Segments the structure has no place for, from 0.
    pub unplaced: Vec<usize>,
}

/// Why there are no drafts.
#[derive(Debug)]
pub enum ConvertError {
    /// No event of this name has a map.
    Unmapped,
    /// The message lacks what its map requires.
    Refused(Vec<AnswerError>),
}

impl std::fmt::Debug for Mappings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mappings")
            .field("events", &self.events.len())
            .field("maps", &self.program.maps.len())
            .finish_non_exhaustive()
    }
}

impl Mappings {
    /// Reads and compiles the files of mappings/hl7v2.
    ///
    /// # Errors
    /// Every mistake found, by file and line.
    pub fn load(files: &[File]) -> Result<Mappings, Vec<LoadError>> {
        let mut read = Read::default();
        let mut errors = Vec::new();
        for file in files {
            if let Err(fault) = read.file(file) {
                errors.push(LoadError {
                    file: file.path.clone(),
                    line: fault.line,
                    reason: fault.reason,
                });
            }
        }
        // What is missing because its file is broken would only be noise.
        if !errors.is_empty() {
            return Err(errors);
        }
        let compiled = compile::compile(&mut read)?;
        let default_sender = read.senders.remove("default").unwrap_or_default();
        for sender in read.senders.values_mut() {
            for (name, value) in &default_sender.set {
                let own = sender.set.entry(name.clone());
                own.or_insert_with(|| value.clone());
            }
        }
        Ok(Mappings {
            program: compiled.program,
            version: version(files),
            events: compiled.events,
            systems: read.systems,
            default_sender,
            senders: read.senders,
        })
    }

    /// The settings of who sent a message, read from its first bytes.
    pub fn sender(&self, raw: &[u8]) -> &Sender {
        self.sender_or(raw, None)
    }

    /// As [`Mappings::sender`]; of one that has none, those of the sender that is named.
    pub fn sender_or(&self, raw: &[u8], other: Option<&str>) -> &Sender {
        let own = Header::read(raw).and_then(|header| self.senders.get(&header.sender()));
        let other = || self.senders.get(other?);
        own.or_else(other).unwrap_or(&self.default_sender)
    }

    /// The senders that have settings of their own, by name.
    pub fn senders(&self) -> impl Iterator<Item = (&str, &Sender)> {
        let senders = self.senders.iter();
        senders.map(|(name, sender)| (name.as_str(), sender))
    }

    /// Whether a code has got a mapping, or the information that it has none.
    pub fn is_mapped(&self, code: &UnmappedCode) -> bool {
        let mut vocabularies = self.program.vocabularies.iter();
        let own = vocabularies.find(|own| own.name == code.vocabulary);
        own.is_some_and(|own| own.look_up(&code.code) != Lookup::Unknown)
    }

    /// The triggers that have a map, sorted.
    pub fn triggers(&self) -> Vec<&str> {
        let mut triggers: Vec<&str> = self.events.keys().map(String::as_str).collect();
        triggers.sort_unstable();
        triggers
    }

    /// Every place the maps write to, for the check against the definitions.
    pub fn targets(&self) -> Vec<TargetUse<'_>> {
        targets::targets(&self.program)
    }

    /// Turns a message into drafts.
    ///
    /// # Errors
    /// See [`ConvertError`].
    pub fn convert(&self, message: &Message, sender: &Sender) -> Result<Converted, ConvertError> {
        self.convert_with(message, sender, None)
    }

    /// As [`Mappings::convert`], and notes which rule wrote which element.
    ///
    /// # Errors
    /// See [`ConvertError`].
    pub fn convert_with(
        &self,
        message: &Message,
        sender: &Sender,
        trace: Option<&Trace>,
    ) -> Result<Converted, ConvertError> {
        let event = self.event(message, sender);
        let event = event.ok_or(ConvertError::Unmapped)?;
        let map = &self.program.messages[event.message];
        let structure = &self.program.structures[map.structure];
        let tree = structure.place(message.segments().map(|segment| segment.name()));
        let message_key = format!(
            "{}|{}|{}",
            message.sending_application(),
            message.sending_facility(),
            message.control_id()
        );
        let sender_values = self.program.sender_names.iter();
        let sender_values = sender_values.map(|name| sender.set.get(name).map(String::as_str));
        let facility = match message.sending_facility() {
            "" | "\"\"" => message.sending_application(),
            facility => facility,
        };
        let runner = Runner {
            program: &self.program,
            map,
            event,
            scope: Scope {
                message,
                systems: &self.systems,
                authorities: &sender.authorities,
                codes: &sender.overlay.codes,
                vocabularies: &self.program.vocabularies,
                zone: &sender.zone,
                facility: facility.to_owned(),
                at: (0, 0, 0),
                notices: Vec::new(),
                unmapped: Vec::new(),
            },
            null_deletes: sender.null_deletes,
            vocabularies: &sender.overlay.vocabularies,
            sender: sender_values.collect(),
            trace,
            facility,
            message_key: &message_key,
            made: run::Made::default(),
        };
        let made = runner.run(&tree).map_err(ConvertError::Refused)?;
        Ok(Converted {
            drafts: made.drafts,
            relations: made.relations,
            notices: made.notices,
            unmapped: made.unmapped,
            unplaced: tree.unplaced,
        })
    }

    /// Whether any event of a message type (MSH-9.1) has a map.
    pub fn has_type(&self, message_type: &str, sender: &Sender) -> bool {
        let mut triggers = self.events.keys().chain(sender.overlay.events.keys());
        triggers.any(|trigger| trigger.split('^').next() == Some(message_type))
    }

    /// By MSH-9.1 and MSH-9.2; the structure in MSH-9.3 is not asked: many send a wrong one.
    fn event<'s>(&'s self, message: &Message, sender: &'s Sender) -> Option<&'s Event> {
        let trigger = message.trigger();
        let trigger = format!("{}^{}", trigger.message_type, trigger.event);
        let overlay = &sender.overlay;
        let own = overlay.events.get(&trigger);
        let event = own.or_else(|| self.events.get(&trigger));
        event.filter(|_| overlay.accepts(&trigger))
    }
}

#[cfg(test)]
#[path = "mapping/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "mapping/map_tests.rs"]
mod map_tests;
