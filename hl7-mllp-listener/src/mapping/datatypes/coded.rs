//! CWE, CE, CNE, CF (v2.9 section 2.A.14): up to three codings and the sender's own words.

use super::text::single_blanks;
use super::{Given, Scope, UnmappedCode, object};
use crate::mapping::systems::V2_TABLE;
use crate::mapping::value::Value;
use crate::mapping::vocabulary::{Lookup, Target};
use serde_json::{Map, Value as Json};

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
        codings.push(Json::Object(coding));
    }
    if let Some(mapped) = mapped {
        let is_same =
            |own: &&mut Json| own["code"] == mapped["code"] && own["system"] == mapped["system"];
        match codings.iter_mut().find(is_same) {
            Some(own) if own["display"].is_null() && mapped["display"].is_string() => {
                own["display"] = mapped["display"].clone();
            }
            Some(_) => {}
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
        concept.insert("coding".into(), Json::Array(codings));
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
    Some(mapped.unwrap_or(Json::Object(own)))
}

/// The first coding through the vocabulary, or nothing: for elements that take no other codes.
pub fn mapped_coding(
    scope: &mut Scope<'_>,
    value: Value<'_>,
    given: &Given<'_, '_>,
) -> Option<Json> {
    let own = own_coding(scope, value, CODINGS[0], || None)?;
    map_code(scope, given, &own, true)
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
) -> Option<Map<String, Json>> {
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
    let mut coding = Map::new();
    if let Some(system) = system {
        coding.insert("system".into(), system.into());
        if let Some(version) = value.part_text(version) {
            coding.insert("version".into(), version.into());
        }
    }
    coding.insert("code".into(), single_blanks(code).into());
    if let Some(display) = display {
        coding.insert("display".into(), display.into());
    }
    Some(coding)
}

/// A code of a coding system that the sender's own file translates.
fn senders_code(
    scope: &Scope<'_>,
    value: Value<'_>,
    (_, _, system, _, _): (usize, usize, usize, usize, usize),
    own: &Map<String, Json>,
) -> Option<Json> {
    let index = scope.codes.get(value.part_text(system)?.as_ref())?;
    let found = scope.vocabularies[*index].look_up(own.get("code")?.as_str()?);
    let Lookup::Target(target) = found else {
        return None;
    };
    Some(coding_of(target))
}

fn map_code(
    scope: &mut Scope<'_>,
    given: &Given<'_, '_>,
    own: &Map<String, Json>,
    tell: bool,
) -> Option<Json> {
    let map = given.vocabulary?;
    let target = match map.look_up(own.get("code")?.as_str()?) {
        Lookup::Target(target) => target,
        Lookup::NoMap => return None,
        Lookup::Unknown => {
            // A code of another system is none of the table, and no mistake.
            let text = |name: &str| own.get(name).and_then(Json::as_str).map(str::to_owned);
            let system = text("system");
            if tell && (system.is_none() || system == map.source) {
                scope.unmapped(UnmappedCode {
                    vocabulary: map.name.clone(),
                    system,
                    code: text("code")?,
                    display: text("display"),
                });
            }
            return None;
        }
    };
    Some(coding_of(target))
}

fn coding_of(target: Target) -> Json {
    let mut coding = Map::new();
    if let Some(system) = target.system {
        coding.insert("system".into(), system.into());
    }
    coding.insert("code".into(), target.code.into());
    if let Some(display) = target.display {
        coding.insert("display".into(), display.into());
    }
    Json::Object(coding)
}
