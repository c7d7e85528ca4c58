//! Search values made of what a resource holds, so that they find something: the whole or a part of it, in one of its written forms.

use super::datatypes::{ROLE_CODES, ROLES};
use super::{chance, pick};
use crate::elements::{self, Element};
use crate::reference::{self, Target};
use crate::token::{self, Code};
use crate::{BASE, Resource, World, text};
use fastrand::Rng;
use fhir_definitions::{ParameterType, SearchParameter};
use serde_json::Value;

pub(super) const PREFIXES: &[&str] = &["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];

/// What a value is made of.
pub(super) struct Found<'w> {
    pub world: &'w World<'w>,
    pub parameter: &'w SearchParameter,
    pub resource: &'w Resource,
    pub element: &'w Element,
}

/// A modifier that the parameter's type has.
pub(super) fn modifier(rng: &mut Rng, found: &Found<'_>) -> &'static str {
    let element = found.element;
    let offered: &[&'static str] = match found.parameter.kind {
        ParameterType::Token if element.type_name == "Identifier" => {
            &["", "not", "of-type", "of-type", "of-type", "text"]
        }
        ParameterType::Token if is_role(element) => &[
            "", "not", "in", "not-in", "below", "below", "above", "above",
        ],
        ParameterType::Token if element.type_name == "code" => {
            &["", "", "not", "in", "not-in", "not-in", "code-text"]
        }
        ParameterType::Token if !text::displays(found.parameter, element).is_empty() => &[
            "",
            "not",
            "text",
            "code-text",
            "text-advanced",
            "text-advanced",
        ],
        ParameterType::Token => &["", "", "not"],
        ParameterType::String => &["", "", "exact", "exact", "contains", "contains", "text"],
        ParameterType::Uri => &["", "below", "above", "above", "contains"],
        ParameterType::Reference if reference::identifier(element).is_some() => {
            &["", "identifier", "identifier"]
        }
        ParameterType::Reference if !text::displays(found.parameter, element).is_empty() => {
            &["", "", "text", "code-text", "text-advanced"]
        }
        ParameterType::Reference if has_hierarchy(found) => &["", "", "below", "above", "above"],
        ParameterType::Reference => &[""],
        _ => &[""],
    };
    let modifier: &'static str = pick::<&str>(rng, offered);
    modifier
}

/// A canonical, or a reference to what may be part of others of its type.
fn has_hierarchy(found: &Found<'_>) -> bool {
    match reference::target(found.element, found.world.definitions) {
        Some(Target::Here(key, _)) => {
            ["Encounter", "Location", "Organization"].contains(&&*key.resource_type)
        }
        Some(Target::There(_)) => found.element.type_name == "canonical",
        None => false,
    }
}

fn is_role(element: &Element) -> bool {
    let codes = token::codes(element);
    codes
        .iter()
        .any(|code| code.system.as_deref() == Some(ROLES))
}

/// Value sets that hold some of what is drawn.
const OF_ROLES: &[&str] = &[
    "http://terminology.hl7.org/ValueSet/v3-FamilyMember",
    "http://hl7.org/fhir/ValueSet/parent-relationship-codes",
];
const OF_CODES: &[&str] = &[
    "http://hl7.org/fhir/ValueSet/administrative-gender",
    "http://hl7.org/fhir/ValueSet/observation-status",
    "http://hl7.org/fhir/ValueSet/publication-status",
];

/// A value for the parameter with the modifier; `None` where this element offers none.
pub(super) fn value(rng: &mut Rng, found: &Found<'_>, modifier: &str) -> Option<String> {
    match (modifier, found.parameter.kind) {
        ("of-type", _) => of_type(rng, found.element),
        ("identifier", _) => {
            let identifier = reference::identifier(found.element)?;
            code(rng, &token::pair(identifier, "value"), true)
        }
        ("exact", _) => Some(escaped(one_of(rng, &text::strings(found.element))?)),
        ("contains", ParameterType::String) => {
            let strings = text::strings(found.element);
            let text = one_of(rng, &strings)?;
            let characters: Vec<char> = text.chars().collect();
            let from = rng.usize(..characters.len().max(1));
            Some(escaped(start(rng, &characters[from..])))
        }
        ("in" | "not-in", _) => Some(match is_role(found.element) {
            true => (*pick(rng, OF_ROLES)).to_owned(),
            false => (*pick(rng, OF_CODES)).to_owned(),
        }),
        ("below" | "above", ParameterType::Token) => {
            Some(format!("{ROLES}|{}", pick(rng, ROLE_CODES)))
        }
        ("text", ParameterType::String) => word(rng, &text::strings(found.element)),
        ("text-advanced", _) => word(rng, &text::displays(found.parameter, found.element)),
        ("text", _) => {
            let texts = text::displays(found.parameter, found.element);
            let characters: Vec<char> = one_of(rng, &texts)?.chars().collect();
            Some(escaped(start(rng, &characters)))
        }
        ("code-text", ParameterType::Token) => {
            let mut texts = text::displays(found.parameter, found.element);
            texts.extend(
                token::codes(found.element)
                    .into_iter()
                    .filter_map(|it| it.code),
            );
            let characters: Vec<char> = one_of(rng, &texts)?.chars().collect();
            Some(escaped(start(rng, &characters)))
        }
        ("code-text", _) => {
            let texts = text::displays(found.parameter, found.element);
            let characters: Vec<char> = one_of(rng, &texts)?.chars().collect();
            Some(escaped(start(rng, &characters)))
        }
        ("below" | "above" | "contains", ParameterType::Uri) => {
            let uri = found.element.value.as_str()?;
            let mut segments: Vec<&str> = uri.split('/').collect();
            match (modifier, rng.u8(..3)) {
                ("below", 0..=1) if segments.len() > 4 => segments.truncate(segments.len() - 1),
                ("above", 0..=1) => segments.push("b"),
                ("contains", _) => return Some(escaped(&uri[rng.usize(..uri.len())..])),
                _ => {}
            }
            Some(escaped(segments.join("/")))
        }
        (_, ParameterType::Composite) => composite(rng, found),
        (_, kind) => plain(rng, found, kind, found.element, true),
    }
}

/// A value of this type. `within` a composite `system|` alone is not offered.
fn plain(
    rng: &mut Rng,
    found: &Found<'_>,
    kind: ParameterType,
    element: &Element,
    alone: bool,
) -> Option<String> {
    match kind {
        ParameterType::Token => {
            let codes = token::codes(element);
            let found = one_of(rng, &codes)?;
            code(rng, found, alone)
        }
        ParameterType::String => {
            let strings = text::strings(element);
            let characters: Vec<char> = one_of(rng, &strings)?.chars().collect();
            Some(escaped(start(rng, &characters)))
        }
        ParameterType::Uri => {
            let uri = element.value.as_str()?;
            Some(escaped(match chance(rng, 30) {
                true => uri.split('|').next().unwrap_or(uri),
                false => uri,
            }))
        }
        ParameterType::Reference => address(rng, found, element),
        ParameterType::Date => date(rng, element),
        ParameterType::Number => Some(number(rng, &element.value)),
        ParameterType::Quantity => quantity(rng, element),
        ParameterType::Composite | ParameterType::Special | ParameterType::Resource => None,
    }
}

fn composite(rng: &mut Rng, found: &Found<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for component in &found.parameter.components {
        let elements = elements::of_component(
            component,
            found.element,
            &found.resource.body,
            found.world.definitions,
            &found.world.programs,
        );
        let element = one_of(rng, &elements)?;
        parts.push(plain(rng, found, component.kind, element, false)?);
    }
    Some(parts.join("$"))
}

fn of_type(rng: &mut Rng, element: &Element) -> Option<String> {
    let codings = element.value.get("type")?.get("coding")?.as_array()?;
    let coding = one_of(rng, codings)?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(escaped);
    Some(format!(
        "{}|{}|{}",
        text(coding, "system")?,
        text(coding, "code")?,
        text(&element.value, "value")?
    ))
}

/// The four forms of a token; letters in another case at times.
fn code(rng: &mut Rng, code: &Code, alone: bool) -> Option<String> {
    let system = code.system.as_deref().map(escaped);
    let text = code.code.as_deref().map(escaped);
    let turned = |rng: &mut Rng, text: String| match rng.u8(..10) {
        0 => text.to_uppercase(),
        1 => text.to_lowercase(),
        _ => text,
    };
    match (system, text) {
        (Some(system), Some(text)) => Some(match rng.u8(..8) {
            0..=2 => turned(rng, text),
            3 if alone => format!("{system}|"),
            4 => format!("|{text}"),
            _ => format!("{system}|{}", turned(rng, text)),
        }),
        (None, Some(text)) if code.systematic => Some(match rng.bool() {
            true => format!("|{text}"),
            false => turned(rng, text),
        }),
        (None, Some(text)) => Some(turned(rng, text)),
        (Some(system), None) if alone => Some(format!("{system}|")),
        _ => None,
    }
}

/// The start of a text, at least one character that counts; in another case at times.
fn start(rng: &mut Rng, characters: &[char]) -> String {
    let end = rng.usize(..characters.len().max(1)) + 1;
    let text: String = characters.iter().take(end).collect();
    match rng.u8(..4) {
        0 => text.to_uppercase(),
        1 => text.to_lowercase(),
        _ => text,
    }
}

/// A reference in one of its written forms.
fn address(rng: &mut Rng, found: &Found<'_>, element: &Element) -> Option<String> {
    Some(match reference::target(element, found.world.definitions)? {
        Target::Here(key, version) => match (rng.u8(..8), version) {
            (0..=1, _) => key.id,
            (2, _) => format!("{BASE}/{key}"),
            (3, _) => format!("{key}/_history/1"),
            (4..=6, Some(version)) => format!("{key}/_history/{version}"),
            _ => key.to_string(),
        },
        Target::There(text) => match chance(rng, 30) {
            true => escaped(text.split('|').next().unwrap_or(&text)),
            false => escaped(&text),
        },
    })
}

/// A date that stands in the element, as precise as it is or less, with any prefix.
fn date(rng: &mut Rng, element: &Element) -> Option<String> {
    let mut dates = Vec::new();
    collect(&element.value, &mut dates);
    let date = one_of(rng, &dates)?;
    Some(format!("{}{}", pick(rng, PREFIXES), shorter(rng, date)))
}

/// The date, or its day, month or year; or the day after.
pub(super) fn shorter(rng: &mut Rng, date: &str) -> String {
    let day = date.split('T').next().unwrap_or(date);
    match rng.u8(..8) {
        0 => day[..4].to_owned(),
        1 | 2 => day.get(..7).unwrap_or(day).to_owned(),
        3 | 4 => day.to_owned(),
        5 => match day.split('-').collect::<Vec<_>>()[..] {
            [year, month, _] => format!("{year}-{month}-28"),
            _ => day.to_owned(),
        },
        _ => date.to_owned(),
    }
}

/// Every text that begins as a date does.
fn collect(value: &Value, dates: &mut Vec<String>) {
    match value {
        Value::String(text) if crate::time::written(text).is_some() => dates.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, dates)),
        Value::Object(members) => members.values().for_each(|member| collect(member, dates)),
        _ => {}
    }
}

/// The number, with more or fewer places at times, and any prefix.
fn number(rng: &mut Rng, value: &Value) -> String {
    let text = value.to_string();
    let text = match (rng.u8(..8), text.contains('.'), text.contains('e')) {
        (0, true, _) => format!("{text}0"),
        (0, false, false) => format!("{text}.0"),
        (1 | 2, true, _) => text.split('.').next().unwrap_or(&text).to_owned(),
        (3, _, _) => pick(rng, &["5", "1e2", "100", "0.3"]).to_string(),
        _ => text,
    };
    format!("{}{text}", pick(rng, PREFIXES))
}

fn quantity(rng: &mut Rng, element: &Element) -> Option<String> {
    let value = match element.type_name.as_str() {
        "Range" => element.value.get("low").or(element.value.get("high"))?,
        _ => &element.value,
    };
    let number = number(rng, value.get("value")?);
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(escaped);
    let (system, code, unit) = (text("system"), text("code"), text("unit"));
    Some(match (rng.u8(..5), system, code.clone()) {
        (0 | 1, Some(system), Some(code)) => format!("{number}|{system}|{code}"),
        (2, _, _) => match unit.or(code) {
            Some(unit) => format!("{number}||{unit}"),
            None => number,
        },
        (3, _, Some(code)) => format!("{number}||{code}"),
        _ => number,
    })
}

/// A word of one of the texts, or its beginning.
fn word(rng: &mut Rng, texts: &[String]) -> Option<String> {
    let text = text::plain(one_of(rng, texts)?);
    let words: Vec<&str> = text.split(' ').collect();
    let word = one_of(rng, &words)?;
    Some(escaped(match chance(rng, 40) {
        true => format!("{}*", word.chars().take(2).collect::<String>()),
        false => (*word).to_owned(),
    }))
}

pub(super) fn one_of<'t, T>(rng: &mut Rng, from: &'t [T]) -> Option<&'t T> {
    (!from.is_empty()).then(|| pick(rng, from))
}

/// With the characters that mean something in a search value escaped.
pub(super) fn escaped(text: impl AsRef<str>) -> String {
    let mut out = String::new();
    for c in text.as_ref().chars() {
        if ",|$\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
