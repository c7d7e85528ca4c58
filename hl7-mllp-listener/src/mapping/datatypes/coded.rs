//! CWE, CE, CNE, CF (v2.9 section 2.A.14): up to three codings and the sender's own words.

use super::text::single_blanks;
use super::{Given, Scope, UnmappedCode, object};
use crate::mapping::systems::V2_TABLE;
use crate::mapping::value::Value;
use crate::mapping::vocabulary::{Lookup, Target};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;

/// A Coding before it is written.
struct Coding {
    system: Option<String>,
    version: Option<String>,
    code: String,
    display: Option<String>,
}

impl Coding {
    fn json(self) -> Json {
        let mut coding = Map::with_capacity(4);
        let members = [
            ("system", self.system),
            ("version", self.version),
            ("code", Some(self.code)),
            ("display", self.display),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                coding.insert(name.to_owned(), value.into());
            }
        }
        Json::Object(coding)
    }
}

impl From<Target> for Coding {
    fn from(target: Target) -> Coding {
        Coding {
            system: target.system,
            version: None,
            code: target.code,
            display: target.display,
        }
    }
}

/// Code, display, system, version and system OID of the three codings.
const CODINGS: [(usize, usize, usize, usize, usize); 3] =
    [(1, 2, 3, 7, 14), (4, 5, 6, 8, 17), (10, 11, 12, 13, 20)];

/// With a vocabulary the mapped coding stands first, the sender's own after it. A concept without any code keeps its text.
pub fn concept(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let mut codings = Vec::new();
    let mut mapped = None;
    for (index, columns) in CODINGS.into_iter().enumerate() {
        let default = || (index == 0).then(|| default_system(given)).flatten();
        let Some(coding) = own_coding(scope, value, columns, default) else {
            continue;
        };
        if index == 0 || mapped.is_none() {
            mapped = map_code(scope, given, &coding, index == 0)
                .or_else(|| senders_code(scope, value, columns, &coding));
        }
        codings.push(coding);
    }
    if let Some(mapped) = mapped {
        let is_same = |own: &&mut Coding| own.code == mapped.code && own.system == mapped.system;
        match codings.iter_mut().find(is_same) {
            Some(own) => own.display = own.display.take().or(mapped.display),
            None => codings.insert(0, mapped),
        }
    }
    let text = value.part_text(9).or_else(|| {
        codings
            .is_empty()
            .then(|| value.part_text(2).or_else(|| value.part_text(1)))
            .flatten()
    });
    let mut concept = Map::new();
    if !codings.is_empty() {
        let codings = codings.into_iter().map(Coding::json);
        concept.insert("coding".into(), codings.collect());
    }
    if let Some(text) = text {
        concept.insert("text".into(), text.into());
    }
    (!concept.is_empty()).then_some(Json::Object(concept))
}

pub fn codeable_reference(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
) -> Option<Json> {
    let mut reference = Map::new();
    reference.insert("concept".into(), concept(scope, value, given)?);
    Some(Json::Object(reference))
}

/// The first coding, mapped when there is a vocabulary.
pub fn coding(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let own = own_coding(scope, value, CODINGS[0], || default_system(given))?;
    let mapped = map_code(scope, given, &own, true);
    Some(mapped.unwrap_or(own).json())
}

/// The first coding through the vocabulary, or nothing: for elements that take no other codes.
pub fn mapped_coding(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
) -> Option<Json> {
    let own = own_coding(scope, value, CODINGS[0], || None)?;
    map_code(scope, given, &own, true).map(Coding::json)
}

/// The first code as the number of a thing, in the system that numbers such things.
pub fn identifier(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let id = value.part_text(1)?;
    let name = value.part_text(3);
    let system = scope
        .systems
        .coding(name.as_deref().unwrap_or("-"), &scope.facility);
    Some(object([("system", system.into()), ("value", id.into())]))
}

/// The words: .9, else .2, else .1.
pub fn display(_: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = [9, 2, 1].into_iter().find_map(|n| value.part_text(n))?;
    Some(text.into())
}

/// What a code without a system is taken from: the table the rule names, else the vocabulary's source.
fn default_system(given: &Given<'_, '_>) -> Option<String> {
    match given.text(0) {
        Some(table) => Some([V2_TABLE, &table].concat()),
        None => given.vocabulary?.source.clone(),
    }
}

fn own_coding(
    scope: &Scope<'_>,
    value: Value<'_>,
    (code, display, system, version, oid): (usize, usize, usize, usize, usize),
    default: impl FnOnce() -> Option<String>,
) -> Option<Coding> {
    let code = value.part_text(code)?;
    let display = value.part_text(display);
    let system = value
        .part_text(system)
        .or_else(|| value.part_text(oid))
        .map(|name| scope.systems.coding(&name, &scope.facility))
        .or_else(default);
    // Words where a code should be: kept as text, by the caller.
    if system.is_none() && display.is_none() && code.contains(char::is_whitespace) {
        return None;
    }
    let version = system.is_some().then(|| value.part_text(version)).flatten();
    Some(Coding {
        system,
        version: version.map(Cow::into_owned),
        code: single_blanks(code),
        display: display.map(Cow::into_owned),
    })
}

/// A code of a coding system that the sender's own file translates.
fn senders_code(
    scope: &Scope<'_>,
    value: Value<'_>,
    (_, _, system, _, _): (usize, usize, usize, usize, usize),
    own: &Coding,
) -> Option<Coding> {
    let index = scope.codes.get(value.part_text(system)?.as_ref())?;
    match scope.vocabularies[*index].look_up(&own.code) {
        Lookup::Target(target) => Some(target.into()),
        _ => None,
    }
}

fn map_code(
    scope: &mut Scope<'_>,
    given: &Given<'_, '_>,
    own: &Coding,
    tell: bool,
) -> Option<Coding> {
    let map = given.vocabulary?;
    match map.look_up(&own.code) {
        Lookup::Target(target) => Some(target.into()),
        Lookup::NoMap => None,
        Lookup::Unknown => {
            // A code of another system is none of the table, and no mistake.
            if tell && (own.system.is_none() || own.system == map.source) {
                scope.unmapped(UnmappedCode {
                    vocabulary: map.name.clone(),
                    system: own.system.clone(),
                    code: own.code.clone(),
                    display: own.display.clone(),
                });
            }
            None
        }
    }
}
