//! The journal: for every message a Task (state, answer, lines, links) and a Binary (the bytes as received), and for what it wrote a
//! Provenance. FHIR resources like any others, so they are found by search; their ids are derived from the message, so a message that
//! comes again meets its own entry.
//!
//! Which segments went where is told in two outputs of the Task: `lines-mapped` has the numbers (from 1, without empty lines) of the
//! lines whose values are in a resource, `lines-kept` number and name of all others, which are kept in the Binary only. Together they
//! are all lines.
//!
//! A Task is found by what it is about: `code` (the event), `business-status` (how it ended), `requester:identifier` (the sender), `authored-on`,
//! `patient`, `encounter`, `output` (a resource it wrote, or a code of the work list), `group-identifier` (the mappings it went through).

mod answer;

pub use answer::stored_answer;

use crate::ack::Answer;
use crate::header::Header;
use crate::identity::{SiteSecret, content_hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fhir_model::ResourceKey;
use serde_json::{Map as Object, Value as Json, json};
use std::collections::BTreeSet;

/// Task.identifier of a message: `<MSH-3>:<MSH-4>#<MSH-10>`.
pub const MESSAGE_SYSTEM: &str = "urn:hl7v2:message";
/// Task.identifier: SHA-256 of the content without MSH-7.
const CONTENT_SYSTEM: &str = "urn:hl7v2:content";
/// Codes of Task.businessStatus, Task.input.type and Task.output.type.
pub const JOURNAL_SYSTEM: &str = "urn:hl7v2:journal";
/// Task.requester.identifier: `<MSH-3>:<MSH-4>`.
pub const SENDER_SYSTEM: &str = "urn:hl7v2:sender";
/// Task.groupIdentifier: the version of the mappings.
pub const MAPPINGS_SYSTEM: &str = "urn:hl7v2:mappings";
/// Task.statusReason: table 0357.
const ERROR_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v2-0357";
/// Task.input: the bytes.
pub const MESSAGE_INPUT: &str = "message";
/// Task.input: the sender whose file holds where the message's own has none.
pub const POLICY_INPUT: &str = "policy";
const CONTENT_TYPE: &str = "x-application/hl7-v2+er7";

/// Most characters kept of MSH-3, MSH-4, MSH-9 and MSH-10.
const HEADER_VALUE_MAX: usize = 200;

/// What is known of a message that is run again.
#[derive(Clone, Debug)]
pub struct Before {
    /// The version of its Task.
    pub version: String,
    /// When it was received first.
    pub received: String,
    /// If it was applied before: versions that it wrote, as `Type/id/_history/version`.
    pub written: Option<BTreeSet<String>>,
}

/// What identifies a message, read from its bytes; also of one that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageKey {
    pub application: String,
    pub facility: String,
    pub control_id: String,
    pub event: String,
    pub hash: String,
    pub task_id: String,
    pub binary_id: String,
    pub provenance_id: String,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its resources are written.
    Applied,
    /// No map for it: kept.
    Unmapped,
    /// AE or AR: kept, nothing else.
    Refused,
}

impl Ending {
    fn code(self) -> &'static str {
        match self {
            Ending::Applied => "applied",
            Ending::Unmapped => "unmapped",
            Ending::Refused => "refused",
        }
    }
}

/// Everything the Task says.
pub struct Record<'a> {
    pub ending: Ending,
    pub answer: &'a Answer,
    /// An instant.
    pub received: &'a str,
    /// The sender whose file holds where the message's own has none: that of the listener.
    pub policy: Option<&'a str>,
    /// The version of the mappings.
    pub mappings: &'a str,
    /// Items of the work list.
    pub unmapped: &'a [String],
    pub mapped: &'a [usize],
    /// Numbers (from 0) and names of the lines that are not mapped.
    pub kept: &'a [(usize, String)],
    pub written: &'a [ResourceKey],
    /// What the message tells of itself, for the Provenance.
    pub provenance: Option<&'a Object<String, Json>>,
    pub patient: Option<&'a ResourceKey>,
    pub encounter: Option<&'a ResourceKey>,
}

impl MessageKey {
    pub fn read(secret: &SiteSecret, raw: &[u8]) -> MessageKey {
        MessageKey::of("message", secret, raw)
    }

    /// Of a message that is not taken where it came in.
    pub fn not_taken(secret: &SiteSecret, raw: &[u8]) -> MessageKey {
        MessageKey::of("not taken", secret, raw)
    }

    fn of(what: &str, secret: &SiteSecret, raw: &[u8]) -> MessageKey {
        let header = Header::read(raw);
        let component = |field, component| {
            let text = header.map(|header| header.component(field, component));
            printable(&text.unwrap_or_default())
        };
        let part = |field| component(field, 1);
        let (application, facility, control_id) = (part(3), part(4), part(10));
        let event = match component(9, 2) {
            event if event.is_empty() => part(9),
            event => format!("{}^{event}", part(9)),
        };
        let hash = content_hash(raw);
        let id =
            |kind| secret.derived_id(kind, &[what, &application, &facility, &control_id, &hash]);
        MessageKey {
            task_id: id("Task"),
            binary_id: id("Binary"),
            provenance_id: id("Provenance"),
            event,
            application,
            facility,
            control_id,
            hash,
        }
    }

    /// `<MSH-3>:<MSH-4>#<MSH-10>`.
    pub fn identifier(&self) -> String {
        format!("{}:{}#{}", self.application, self.facility, self.control_id)
    }

    /// `meta.source` of what the message writes (a URI).
    pub fn source(&self) -> String {
        let part = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        format!(
            "urn:hl7v2:{}:{}#{}",
            part(&self.application),
            part(&self.facility),
            part(&self.control_id)
        )
    }

    fn sender(&self) -> String {
        match format!("{} {}", self.application, self.facility).trim() {
            "" => "unknown sender".to_owned(),
            sender => sender.to_owned(),
        }
    }

    /// MSH-9.2 as a Coding. A FHIR code has single blanks inside and is not empty; a server would refuse any other, and the journal with it.
    fn event_code(&self) -> Option<Json> {
        let (_, event) = self.event.split_once('^')?;
        let code = event.split_whitespace().collect::<Vec<&str>>().join(" ");
        (!code.is_empty()).then(|| {
            json!({
                "system": "http://terminology.hl7.org/CodeSystem/v2-0003",
                "code": code,
            })
        })
    }

    /// The entries of the journal. There must be none yet, unless the message is run again.
    pub fn entries(&self, raw: &[u8], record: &Record<'_>, again: Option<&Before>) -> Vec<Json> {
        let mut task = self.task(record);
        let mut entries = Vec::new();
        match again {
            Some(before) => {
                task["authoredOn"] = before.received.as_str().into();
                entries.push(put_version(task, &before.version));
            }
            None => {
                entries.extend([put_new(self.binary(raw)), put_new(task)]);
            }
        }
        // Who sent what when is told of every message that has a map, also of one that names nobody.
        let is_told = record.ending == Ending::Applied && record.provenance.is_some();
        if is_told || !record.written.is_empty() {
            entries.push(put_new(self.provenance(record)));
        }
        entries
    }

    fn binary(&self, raw: &[u8]) -> Json {
        let mut binary = json!({
            "resourceType": "Binary",
            "id": self.binary_id,
            "contentType": CONTENT_TYPE,
        });
        // FHIR has no empty strings: an empty frame is a Binary without data.
        if !raw.is_empty() {
            binary["data"] = STANDARD.encode(raw).into();
        }
        binary
    }

    /// The Task of the record.
    pub fn task(&self, record: &Record<'_>) -> Json {
        let is_refused = record.ending == Ending::Refused;
        let mut output = answer::answer_outputs(record.answer);
        let mapped: Vec<String> = record
            .mapped
            .iter()
            .map(|line| (line + 1).to_string())
            .collect();
        let kept: Vec<String> = record
            .kept
            .iter()
            .map(|(line, name)| format!("{} {name}", line + 1))
            .collect();
        for (code, count, lines) in [
            ("lines-mapped", mapped.len(), mapped.join(", ")),
            ("lines-kept", kept.len(), kept.join(", ")),
        ] {
            output.push(typed(code, "valueInteger", json!(count)));
            if !lines.is_empty() {
                output.push(typed(code, "valueString", json!(lines)));
            }
        }
        let reference = |key: &ResourceKey| json!({"reference": key.to_string()});
        output.extend(
            record
                .written
                .iter()
                .map(|key| typed("written", "valueReference", reference(key))),
        );
        let item = |id: &String| json!({"reference": format!("Task/{id}")});
        output.extend(
            record
                .unmapped
                .iter()
                .map(|id| typed("unmapped-code", "valueReference", item(id))),
        );
        let mut task = json!({
            "resourceType": "Task",
            "id": self.task_id,
            "identifier": [
                {"system": MESSAGE_SYSTEM, "value": self.identifier()},
                {"system": CONTENT_SYSTEM, "value": self.hash},
            ],
            "status": if is_refused { "failed" } else { "completed" },
            "businessStatus": {"coding": [{"system": JOURNAL_SYSTEM, "code": record.ending.code()}]},
            "intent": "order",
            "authoredOn": record.received,
            "lastModified": record.received,
            "requester": {
                "identifier": {"system": SENDER_SYSTEM, "value": sender_name(&self.application, &self.facility)},
                "display": self.sender(),
            },
            "groupIdentifier": {"system": MAPPINGS_SYSTEM, "value": record.mappings},
            "input": [typed(MESSAGE_INPUT, "valueReference", json!({"reference": format!("Binary/{}", self.binary_id)}))],
        });
        if let (Some(policy), Some(input)) = (record.policy, task["input"].as_array_mut()) {
            input.push(typed(POLICY_INPUT, "valueString", policy.into()));
        }
        task["output"] = Json::Array(output);
        if !self.event.is_empty() {
            task["code"] = json!({"text": self.event});
            if let Some(event) = self.event_code() {
                task["code"]["coding"] = json!([event]);
            }
        }
        if is_refused && let Some(error) = record.answer.errors.first() {
            let (code, name) = error.code.code();
            task["statusReason"] = json!({"concept": {
                "coding": [{"system": ERROR_SYSTEM, "code": code, "display": name}],
                "text": error.text,
            }});
        }
        if let Some(patient) = record.patient {
            task["for"] = reference(patient);
        }
        if let Some(encounter) = record.encounter {
            task["encounter"] = reference(encounter);
        }
        task
    }

    fn provenance(&self, record: &Record<'_>) -> Json {
        // The versions are known only when the transaction is done: the server fills them in
        // (http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific).
        let target = |key: &ResourceKey| {
            json!({
                "extension": [{
                    "url": "http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific",
                    "valueBoolean": true,
                }],
                "reference": key.to_string(),
            })
        };
        let mut provenance = json!({
            "resourceType": "Provenance",
            "id": self.provenance_id,
            "target": [],
            "recorded": record.received,
            "agent": [{
                "type": {"coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
                    "code": "author",
                }]},
                "who": {"display": self.sender()},
            }],
            "entity": [{"role": "source", "what": {"reference": format!("Binary/{}", self.binary_id)}}],
        });
        // Where nothing was written, what came of the message is its entry here.
        provenance["target"] = match record.written {
            [] => json!([{"reference": format!("Task/{}", self.task_id)}]),
            written => written.iter().map(target).collect(),
        };
        if let Some(event) = self.event_code() {
            provenance["activity"] = json!({"coding": [event]});
        }
        for (name, told) in record.provenance.into_iter().flatten() {
            match (&mut provenance[name], told) {
                // The bytes come first.
                (Json::Array(own), Json::Array(told)) if name == "entity" => {
                    own.extend(told.iter().cloned());
                }
                (own, told) => *own = told.clone(),
            }
        }
        provenance
    }
}

/// Bytes that are no text of FHIR can stand in the header of a message that is refused for them. Bounded: a header may be anything.
fn printable(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable
        .take(HEADER_VALUE_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// `<MSH-3>:<MSH-4>`.
pub fn sender_name(application: &str, facility: &str) -> String {
    format!("{application}:{facility}")
}

/// An entry for a resource that is not there yet.
pub(crate) fn put_new(resource: Json) -> Json {
    put(resource, "ifNoneMatch", "*".to_owned())
}

/// An entry for a resource that is there in this version.
pub(crate) fn put_version(resource: Json, version: &str) -> Json {
    put(resource, "ifMatch", tag(version))
}

/// An entry that fails the transaction where the resource is not there in this version.
pub(crate) fn head_version(key: &ResourceKey, version: &str) -> Json {
    json!({"request": {"method": "HEAD", "url": key.to_string(), "ifMatch": tag(version)}})
}

fn tag(version: &str) -> String {
    format!("W/\"{version}\"")
}

fn put(resource: Json, condition: &str, value: String) -> Json {
    let text = |name: &str| resource[name].as_str().unwrap_or_default();
    let url = format!("{}/{}", text("resourceType"), text("id"));
    let mut entry = json!({"request": {"method": "PUT", "url": url}});
    entry["request"][condition] = value.into();
    entry["resource"] = resource;
    entry
}

pub(crate) fn typed(code: &str, name: &str, value: Json) -> Json {
    let mut item = json!({"type": {"coding": [{"system": JOURNAL_SYSTEM, "code": code}]}});
    item[name] = value;
    item
}

/// An input of a Task by its type.
pub(crate) fn input<'t>(task: &'t Json, code: &str) -> Option<&'t Json> {
    let inputs = task["input"].as_array()?;
    let is_typed = |own: &&Json| own["type"]["coding"][0]["code"] == code;
    inputs.iter().find(is_typed)
}

/// The outcome a Task stands for: `applied`, `unmapped` or `refused`.
pub fn ending(task: &Json) -> Option<&str> {
    task["businessStatus"]["coding"][0]["code"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_any_bytes() {
        let secret = SiteSecret::new([1; 16]).unwrap();
        let odd = MessageKey::read(&secret, b"MSH|^~\\&| A\x00|\x01B|||||ADT|7\t");
        assert_eq!(
            (odd.identifier().as_str(), odd.event.as_str()),
            ("A:B#7", "ADT")
        );
        let key = MessageKey::read(&secret, b"MSH|^~\\&|A|B|||2026||ADT^A01|7\rPID|1");
        assert_eq!(
            (key.identifier().as_str(), key.event.as_str()),
            ("A:B#7", "ADT^A01")
        );
        let again = MessageKey::read(&secret, b"MSH|^~\\&|A|B|||2027||ADT^A01|7\rPID|1");
        assert_eq!(key, again);
        // Without usable separators MSH-9 is one text, and what follows its caret may be nothing.
        for (text, code) in [
            ("ADT^ A01  B", Some("A01 B")),
            ("ADT^ ", None),
            ("ADT", None),
        ] {
            let key = MessageKey {
                event: text.to_owned(),
                ..key.clone()
            };
            let found = key.event_code().map(|coding| coding["code"].clone());
            assert_eq!(found, code.map(Json::from), "{text}");
        }
        let other = MessageKey::read(&secret, b"MSH|^~\\&|A|B|||2026||ADT^A01|7\rPID|2");
        assert_ne!(key.task_id, other.task_id);
        assert_ne!(
            MessageKey::read(&secret, b"garbage").task_id,
            MessageKey::read(&secret, b"rubbish").task_id
        );
    }
}
