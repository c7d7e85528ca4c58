//! The journal: for every message a Task (state, answer, lines, links) and a Binary (the bytes as received), and for what it wrote a
//! Provenance. FHIR resources like any others, so they are found by search; their ids are derived from the message, so a message that
//! comes again meets its own entry.
//!
//! Which segments went where is told in two outputs of the Task: `lines-mapped` has the numbers (from 1, without empty lines) of the
//! lines whose values are in a resource, `lines-kept` number and name of all others, which are kept in the Binary only. Together they
//! are all lines.

use crate::ack::{AckCode, Answer, AnswerError, ErrorCode, Location, Severity};
use crate::header::Header;
use crate::identity::{SiteSecret, content_hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fhir_model::ResourceKey;
use serde_json::{Value as Json, json};

/// Task.identifier of a message: `<MSH-3>:<MSH-4>#<MSH-10>`.
pub const MESSAGE_SYSTEM: &str = "urn:hl7v2:message";
/// Task.identifier: SHA-256 of the content without MSH-7.
const CONTENT_SYSTEM: &str = "urn:hl7v2:content";
/// Codes of Task.businessStatus, Task.input.type and Task.output.type.
const JOURNAL_SYSTEM: &str = "urn:hl7v2:journal";
const CONTENT_TYPE: &str = "x-application/hl7-v2+er7";

/// Most characters kept of MSH-3, MSH-4, MSH-9 and MSH-10.
const HEADER_VALUE_MAX: usize = 200;

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
    pub mapped: &'a [usize],
    /// Numbers (from 0) and names of the lines that are not mapped.
    pub kept: &'a [(usize, String)],
    pub written: &'a [ResourceKey],
    pub patient: Option<&'a ResourceKey>,
    pub encounter: Option<&'a ResourceKey>,
}

impl MessageKey {
    pub fn read(secret: &SiteSecret, raw: &[u8]) -> MessageKey {
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
        let id = |kind| {
            secret.derived_id(
                kind,
                &["message", &application, &facility, &control_id, &hash],
            )
        };
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

    /// The entries of the journal. `again` is the version of the Task when the message is run again; else there must be none yet.
    pub fn entries(&self, raw: &[u8], record: &Record<'_>, again: Option<&str>) -> Vec<Json> {
        if let Some(version) = again {
            let mut task = first_time(self.task(record));
            task["request"] = json!({
                "method": "PUT",
                "url": format!("Task/{}", self.task_id),
                "ifMatch": format!("W/\"{version}\""),
            });
            let provenance = first_time(self.provenance(record));
            return match record.written.is_empty() {
                true => vec![task],
                false => vec![task, provenance],
            };
        }
        let mut binary = json!({
            "resourceType": "Binary",
            "id": self.binary_id,
            "contentType": CONTENT_TYPE,
        });
        // FHIR has no empty strings: an empty frame is a Binary without data.
        if !raw.is_empty() {
            binary["data"] = STANDARD.encode(raw).into();
        }
        let mut entries = vec![first_time(binary), first_time(self.task(record))];
        if !record.written.is_empty() {
            entries.push(first_time(self.provenance(record)));
        }
        entries
    }

    /// The Task of the record.
    pub fn task(&self, record: &Record<'_>) -> Json {
        let is_refused = record.ending == Ending::Refused;
        let mut output = answer_outputs(record.answer);
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
            "requester": {"display": self.sender()},
            "input": [typed("message", "valueReference", json!({"reference": format!("Binary/{}", self.binary_id)}))],
        });
        task["output"] = Json::Array(output);
        if !self.event.is_empty() {
            task["code"] = json!({"text": self.event});
            if let Some(event) = self.event_code() {
                task["code"]["coding"] = json!([event]);
            }
        }
        if is_refused && let Some(error) = record.answer.errors.first() {
            task["statusReason"] = json!({"concept": {"text": error.text}});
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
        provenance["target"] = record.written.iter().map(target).collect();
        if let Some(event) = self.event_code() {
            provenance["activity"] = json!({"coding": [event]});
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

fn first_time(resource: Json) -> Json {
    let url = format!(
        "{}/{}",
        resource["resourceType"].as_str().unwrap_or_default(),
        resource["id"].as_str().unwrap_or_default()
    );
    let mut entry = json!({"request": {"method": "PUT", "url": url, "ifNoneMatch": "*"}});
    entry["resource"] = resource;
    entry
}

fn typed(code: &str, name: &str, value: Json) -> Json {
    let mut item = json!({"type": {"coding": [{"system": JOURNAL_SYSTEM, "code": code}]}});
    item[name] = value;
    item
}

/// The outcome a Task stands for: `applied`, `unmapped` or `refused`.
pub fn ending(task: &Json) -> Option<&str> {
    task["businessStatus"]["coding"][0]["code"].as_str()
}

fn answer_outputs(answer: &Answer) -> Vec<Json> {
    let mut output = vec![typed(
        "acknowledgment",
        "valueCode",
        answer.code.code().into(),
    )];
    for error in &answer.errors {
        output.push(typed("error", "valueString", error_text(error).into()));
    }
    output
}

/// `W 103 OBX 2 8 1 0 0 the code is not …`: severity, code, location, text; `-` without a location.
fn error_text(error: &AnswerError) -> String {
    let location = match &error.location {
        None => "-".to_owned(),
        Some(at) => format!(
            "{} {} {} {} {} {}",
            at.segment, at.occurrence, at.field, at.repetition, at.component, at.subcomponent
        ),
    };
    format!(
        "{} {} {location} {}",
        error.severity.code(),
        error.code.code().0,
        error.text
    )
}

/// The answer that a Task stores, for a message that comes again.
pub fn stored_answer(task: &Json) -> Option<Answer> {
    let outputs = task["output"].as_array()?;
    let of = |code: &'static str| {
        outputs
            .iter()
            .filter(move |output| output["type"]["coding"][0]["code"] == code)
    };
    let code = match of("acknowledgment").next()?["valueCode"].as_str()? {
        "AA" => AckCode::AA,
        "AE" => AckCode::AE,
        "AR" => AckCode::AR,
        "CA" => AckCode::CA,
        "CE" => AckCode::CE,
        "CR" => AckCode::CR,
        _ => return None,
    };
    let errors = of("error").filter_map(|output| read_error(output["valueString"].as_str()?));
    Some(Answer {
        code,
        errors: errors.collect(),
    })
}

fn read_error(text: &str) -> Option<AnswerError> {
    let (severity, rest) = text.split_once(' ')?;
    let severity = match severity {
        "E" => Severity::Error,
        "W" => Severity::Warning,
        _ => Severity::Information,
    };
    let (code, rest) = rest.split_once(' ')?;
    let code = ALL_CODES.into_iter().find(|own| own.code().0 == code)?;
    let (location, text) = match rest.strip_prefix("- ") {
        Some(text) => (None, text),
        None => {
            let mut parts = rest.splitn(7, ' ');
            let segment = parts.next()?.to_owned();
            let mut number = || parts.next()?.parse().ok();
            let location = Location {
                segment,
                occurrence: number()?,
                field: number()?,
                repetition: number()?,
                component: number()?,
                subcomponent: number()?,
            };
            (Some(location), parts.next()?)
        }
    };
    Some(AnswerError {
        severity,
        ..AnswerError::error(code, location, text)
    })
}

const ALL_CODES: [ErrorCode; 13] = [
    ErrorCode::SegmentSequence,
    ErrorCode::RequiredField,
    ErrorCode::DataType,
    ErrorCode::TableValue,
    ErrorCode::ValueTooLong,
    ErrorCode::UnsupportedMessageType,
    ErrorCode::UnsupportedEvent,
    ErrorCode::UnsupportedProcessingId,
    ErrorCode::UnsupportedVersion,
    ErrorCode::UnknownKey,
    ErrorCode::DuplicateKey,
    ErrorCode::RecordLocked,
    ErrorCode::Internal,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_back() {
        let location = Location {
            segment: "OBX".into(),
            occurrence: 2,
            field: 5,
            ..Location::default()
        };
        let answer = Answer {
            code: AckCode::AE,
            errors: vec![
                AnswerError::error(ErrorCode::DataType, Some(location), "no number here"),
                AnswerError::warning(ErrorCode::TableValue, None, "odd - code"),
            ],
        };
        let task = json!({"output": answer_outputs(&answer)});
        assert_eq!(stored_answer(&task), Some(answer));
        assert_eq!(stored_answer(&json!({"output": []})), None);
    }

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
