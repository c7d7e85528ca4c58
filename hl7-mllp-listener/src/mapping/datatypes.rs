//! The built-in converters: a v2 value in, a FHIR value out. Data cannot say these (dates, numbers, names); everything else is a
//! datatype map in mappings/hl7v2/datatypes. Each is named `V2.fhir`, as in the v2-to-FHIR guide (`CX.Identifier`).
//!
//! A value that cannot be converted is left out and told to the sender as a warning (ERR-3 102 or 103) with its place; the raw
//! text stays in the journal. No converter fails a message.

mod address;
mod coded;
mod identified;
mod identifier_type;
mod observed;
mod text;
mod time;

use super::systems::Systems;
use super::value::Value;
use super::vocabulary::ConceptMap;
use crate::ack::{AnswerError, ErrorCode, Location};
use crate::message::Message;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::HashMap;

/// What converters know about the message they work in, and where their warnings go.
pub struct Scope<'m> {
    pub message: &'m Message,
    pub systems: &'m Systems,
    /// The sender's own authority names.
    pub authorities: &'m HashMap<String, String>,
    /// The sender's own coding systems: names and numbers of vocabularies.
    pub codes: &'m HashMap<String, usize>,
    pub vocabularies: &'m [ConceptMap],
    /// For times without an offset: `+01:00` or `Z`.
    pub zone: &'m str,
    /// Who local names are bound to: MSH-4.1, else MSH-3.1.
    pub facility: String,
    /// Where the value at hand stands: segment (from 0), field, component.
    pub at: (usize, usize, usize),
    pub notices: Vec<AnswerError>,
    /// Codes that a vocabulary does not know.
    pub unmapped: Vec<UnmappedCode>,
}

/// A code that the ConceptMap of a vocabulary does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmappedCode {
    pub vocabulary: String,
    pub system: Option<String>,
    pub code: String,
    pub display: Option<String>,
}

impl UnmappedCode {
    /// Whether it is the same code, whatever words stand beside it.
    fn is_same(&self, other: &UnmappedCode) -> bool {
        self.vocabulary == other.vocabulary
            && self.system == other.system
            && self.code == other.code
    }
}

/// Most unmapped codes kept of one message.
const UNMAPPED_MAX: usize = 20;

/// Most warnings kept for one message; the rest are only counted by their absence.
const NOTICES_MAX: usize = 50;

impl Scope<'_> {
    /// Tells the sender of a code that a vocabulary does not know, and keeps it for the work list.
    pub fn unmapped(&mut self, code: UnmappedCode) {
        let reason = format!("the code is not in {}", code.vocabulary);
        self.warn(ErrorCode::TableValue, reason);
        // What is no code (FHIR has none with other blanks) cannot be in a ConceptMap.
        let is_code = code.code.split_whitespace().eq(code.code.split(' '));
        let is_new = !self.unmapped.iter().any(|own| own.is_same(&code));
        if is_code && is_new && self.unmapped.len() < UNMAPPED_MAX {
            self.unmapped.push(code);
        }
    }

    /// Tells the sender about the value at hand.
    pub fn warn(&mut self, code: ErrorCode, text: impl Into<String>) {
        if self.notices.len() >= NOTICES_MAX {
            return;
        }
        let (segment, field, component) = self.at;
        let location = self.message.segment(segment).map(|segment| Location {
            segment: segment.name().to_owned(),
            occurrence: segment.occurrence(),
            field,
            component,
            ..Location::default()
        });
        let notice = AnswerError::warning(code, location, text);
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}

/// What a rule hands to a converter besides the value.
pub struct Given<'a, 'm> {
    /// In the order of [`Builtin::parameters`].
    pub arguments: &'a [Option<Argument<'m>>],
    pub vocabulary: Option<&'m ConceptMap>,
}

pub enum Argument<'m> {
    Value(Value<'m>),
    Text(Cow<'m, str>),
    /// A reference or a list of references.
    Json(Json),
}

impl<'m> Given<'_, 'm> {
    fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        match self.arguments.get(index)?.as_ref()? {
            Argument::Value(value) => value.text(),
            Argument::Text(text) => Some(Cow::Borrowed(text)),
            Argument::Json(_) => None,
        }
    }

    fn value(&self, index: usize) -> Option<Value<'m>> {
        match self.arguments.get(index)?.as_ref()? {
            Argument::Value(value) => Some(*value),
            _ => None,
        }
    }
}

/// An object of these members.
pub(super) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    let members = members.into_iter();
    Json::Object(members.map(|(name, own)| (name.to_owned(), own)).collect())
}

/// One converter.
pub struct Builtin {
    pub name: &'static str,
    /// The FHIR types it writes, for the check of targets; more than one only for choice elements.
    pub types: &'static [&'static str],
    pub parameters: &'static [&'static str],
    /// Whether `-> vocabulary` means something to it.
    pub vocabulary: bool,
    /// The component with the authority (HD) that `HD.Organization` makes the assigner of, in what it writes; 0: none.
    pub authority: usize,
    pub run: Run,
}

pub enum Run {
    /// Always the one type it declares.
    One(fn(&mut Scope<'_>, Value<'_>, &Given<'_, '_>) -> Option<Json>),
    /// Says which of its types it wrote.
    Choice(fn(&mut Scope<'_>, Value<'_>, &Given<'_, '_>) -> Option<(&'static str, Json)>),
}

const fn one(
    name: &'static str,
    types: &'static [&'static str],
    parameters: &'static [&'static str],
    vocabulary: bool,
    run: fn(&mut Scope<'_>, Value<'_>, &Given<'_, '_>) -> Option<Json>,
) -> Builtin {
    Builtin {
        name,
        types,
        parameters,
        vocabulary,
        authority: 0,
        run: Run::One(run),
    }
}

/// An Identifier whose authority stands in a component of its own.
const fn assigned(
    name: &'static str,
    parameters: &'static [&'static str],
    authority: usize,
    run: fn(&mut Scope<'_>, Value<'_>, &Given<'_, '_>) -> Option<Json>,
) -> Builtin {
    Builtin {
        authority,
        ..one(name, &["Identifier"], parameters, false, run)
    }
}

const TEXT: &[&str] = &["string", "markdown"];
const COUNT: &[&str] = &["positiveInt", "unsignedInt"];

/// All of them. docs/mapping-language.md describes each; a test keeps the two together.
pub static BUILTINS: &[Builtin] = &[
    one("ST.string", TEXT, &[], false, text::string),
    one("TX.string", TEXT, &[], false, text::text),
    one(
        "FT.markdown",
        &["markdown", "string"],
        &[],
        false,
        text::formatted,
    ),
    one("ID.code", &["code"], &[], true, text::code),
    one("ID.boolean", &["boolean"], &[], false, text::boolean),
    one("ST.uri", &["uri"], &[], false, text::uri),
    one("TX.base64", &["base64Binary"], &[], false, text::base64),
    one("NM.decimal", &["decimal"], &[], false, text::decimal),
    one(
        "NM.integer",
        &["integer", "positiveInt", "unsignedInt"],
        &[],
        false,
        text::integer,
    ),
    one("NM.positiveInt", COUNT, &[], false, text::positive),
    one("NM.minutes", COUNT, &["units"], false, time::nm_minutes),
    one("CQ.minutes", COUNT, &[], false, time::cq_minutes),
    one("DTM.date", &["date"], &[], false, time::date),
    one("DTM.dateTime", &["dateTime"], &[], false, time::date_time),
    one("DTM.instant", &["instant"], &[], false, time::instant),
    one("DTM.time", &["time"], &[], false, time::time),
    one(
        "DTM.end",
        &["instant", "dateTime"],
        &["duration", "units"],
        false,
        time::end,
    ),
    one(
        "CWE.CodeableConcept",
        &["CodeableConcept"],
        &["table"],
        true,
        coded::concept,
    ),
    one(
        "CWE.CodeableReference",
        &["CodeableReference"],
        &["table"],
        true,
        coded::codeable_reference,
    ),
    one("CWE.Coding", &["Coding"], &["table"], true, coded::coding),
    one(
        "CWE.MappedCoding",
        &["Coding"],
        &[],
        true,
        coded::mapped_coding,
    ),
    one("CWE.code", &["code"], &[], true, text::code),
    one("CWE.string", TEXT, &[], false, coded::display),
    assigned("CX.Identifier", &["type", "use"], 4, identified::cx),
    one(
        "EI.Identifier",
        &["Identifier"],
        &["type", "use"],
        false,
        identified::ei,
    ),
    one(
        "ST.Identifier",
        &["Identifier"],
        &["type", "system"],
        false,
        identified::st,
    ),
    one("HD.uri", &["uri", "url"], &[], false, identified::hd),
    one(
        "CWE.Identifier",
        &["Identifier"],
        &[],
        false,
        coded::identifier,
    ),
    assigned("XCN.Identifier", &[], 9, identified::xcn_identifier),
    assigned("XON.Identifier", &[], 6, identified::xon_identifier),
    one(
        "PL.Identifier",
        &["Identifier"],
        &["level"],
        false,
        identified::pl_identifier,
    ),
    one("XCN.HumanName", &["HumanName"], &[], false, address::xcn),
    one(
        "XCN.Reference",
        &["Reference(Practitioner)"],
        &[],
        false,
        identified::xcn,
    ),
    one(
        "XON.Reference",
        &["Reference(Organization)"],
        &[],
        false,
        identified::xon,
    ),
    one(
        "PL.Reference",
        &["Reference(Location)"],
        &[],
        false,
        identified::pl,
    ),
    one(
        "XPN.HumanName",
        &["HumanName"],
        &["use"],
        false,
        address::xpn,
    ),
    one("XPN.string", TEXT, &[], false, address::xpn_string),
    one("XAD.Address", &["Address"], &["use"], false, address::xad),
    one(
        "XTN.ContactPoint",
        &["ContactPoint"],
        &["use"],
        false,
        address::xtn,
    ),
    one(
        "NM.Quantity",
        &["Quantity"],
        &["units"],
        false,
        observed::nm_quantity,
    ),
    one(
        "CQ.Quantity",
        &["Quantity", "SimpleQuantity"],
        &[],
        false,
        observed::cq,
    ),
    one("CQ.Duration", &["Duration"], &[], false, observed::cq),
    one(
        "ST.Range",
        &["ObservationReferenceRange"],
        &["units"],
        false,
        observed::reference_range,
    ),
    one("ED.Attachment", &["Attachment"], &[], false, observed::ed),
    one("RP.Attachment", &["Attachment"], &[], false, observed::rp),
    Builtin {
        name: "VARIES.value",
        types: &[
            "Quantity",
            "Range",
            "Ratio",
            "Period",
            "SampledData",
            "CodeableConcept",
            "string",
            "dateTime",
            "time",
            "Attachment",
        ],
        parameters: &["type", "units"],
        vocabulary: false,
        authority: 0,
        run: Run::Choice(observed::value),
    },
];

#[cfg(test)]
#[path = "datatypes/tests.rs"]
mod tests;
