//! The value sets that required bindings name, expanded from the table of terminology
//! (<https://hl7.org/fhir/R5/terminologies.html#required>, <https://hl7.org/fhir/R5/valueset.html#compositions>).
//!
//! Where the table does not hold the code system (it is a standard of its own, or not ours to copy), a rule says what a code looks like.

use crate::tables::TERMINOLOGY;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What is in a value set.
#[derive(Debug)]
pub(crate) enum ValueSetCodes {
    /// Each code, with the systems it belongs to.
    Listed(HashMap<String, Vec<String>>),
    /// The code system is not in the table: how its codes look.
    Rule(Rule),
}

/// Whether a code looks like one of its system.
type Rule = fn(&str) -> bool;

impl ValueSetCodes {
    /// Whether the code alone is in the set: what an element of type `code` holds.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        match self {
            ValueSetCodes::Listed(codes) => codes.contains_key(code),
            ValueSetCodes::Rule(rule) => rule(code),
        }
    }

    /// Whether the code of this system is in the set: what a Coding holds.
    pub(crate) fn has(&self, system: &str, code: &str) -> bool {
        match self {
            ValueSetCodes::Listed(codes) => codes
                .get(code)
                .is_some_and(|systems| systems.iter().any(|s| s == system)),
            ValueSetCodes::Rule(rule) => rule(code),
        }
    }
}

/// The codes of a value set (canonical URL without version). Expanded once, whatever number of elements is bound to it.
pub(crate) fn codes(value_set: &'static str) -> Arc<ValueSetCodes> {
    static EXPANDED: Mutex<BTreeMap<&str, Arc<ValueSetCodes>>> = Mutex::new(BTreeMap::new());
    let mut expanded = EXPANDED.lock().unwrap_or_else(PoisonError::into_inner);
    let codes = expanded
        .entry(value_set)
        .or_insert_with(|| Arc::new(read_codes(value_set)));
    Arc::clone(codes)
}

fn read_codes(value_set: &str) -> ValueSetCodes {
    if let Some((_, rule)) = RULES.iter().find(|(url, _)| *url == value_set) {
        return ValueSetCodes::Rule(*rule);
    }
    match expand(value_set, 0) {
        Some(pairs) => {
            let mut codes: HashMap<String, Vec<String>> = HashMap::with_capacity(pairs.len());
            for (system, code) in pairs {
                codes.entry(code).or_default().push(system);
            }
            ValueSetCodes::Listed(codes)
        }
        None => ValueSetCodes::Rule(|_| true),
    }
}

/// The one code system that a value set draws on; `None` when there are several or it is not in the table. Cheaper than expanding it.
pub(crate) fn code_system(value_set: &str) -> Option<String> {
    let mut systems = HashSet::new();
    systems_of(value_set, 0, &mut systems)?;
    let mut systems = systems.into_iter();
    systems.next().filter(|_| systems.next().is_none())
}

fn systems_of(value_set: &str, depth: usize, systems: &mut HashSet<String>) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let row: ValueSetRow = serde_json::from_str(row('V', value_set)?).ok()?;
    for include in row.compose.include {
        if !include.system.is_empty() {
            systems.insert(unversioned(&include.system).to_owned());
        }
        for url in &include.value_set {
            systems_of(unversioned(url), depth + 1, systems)?;
        }
    }
    Some(())
}

/// The required value sets of R5 whose code systems are not in the packages.
static RULES: &[(&str, Rule)] = &[
    // BCP 47: subtags of letters and digits. The registry has thousands of them and grows.
    ("http://hl7.org/fhir/ValueSet/all-languages", |code| {
        code.len() <= 64
            && code.split('-').all(|tag| {
                (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric())
            })
            && code.starts_with(|c: char| c.is_ascii_alphabetic())
    }),
    // BCP 13, and the short names that `CapabilityStatement.format` may also have.
    ("http://hl7.org/fhir/ValueSet/mimetypes", |code| {
        matches!(code, "json" | "xml" | "ttl")
            || code.split_once('/').is_some_and(|(kind, rest)| {
                !kind.is_empty() && !rest.is_empty() && !kind.contains(' ')
            })
    }),
    // ISO 4217
    ("http://hl7.org/fhir/ValueSet/currencies", |code| {
        code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())
    }),
    // ISO 3166, two or three letters or three digits
    ("http://hl7.org/fhir/ValueSet/country", |code| {
        let letters = code.bytes().all(|b| b.is_ascii_uppercase());
        let digits = code.bytes().all(|b| b.is_ascii_digit());
        (letters && matches!(code.len(), 2 | 3)) || (digits && code.len() == 3)
    }),
    // IANA zone names: Area/Location, Etc/GMT+5, UTC
    ("http://hl7.org/fhir/ValueSet/timezones", |code| {
        code.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
    }),
    // CSS colours: a name or #rrggbb
    (
        "http://hl7.org/fhir/ValueSet/color-codes",
        |code| match code.strip_prefix('#') {
            Some(hex) => hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            None => code.bytes().all(|b| b.is_ascii_alphabetic()),
        },
    ),
    // UCUM is a grammar; here only its alphabet (printable ASCII without spaces).
    ("http://hl7.org/fhir/ValueSet/ucum-units", |code| {
        code.bytes().all(|b| b.is_ascii_graphic())
    }),
    // A LOINC answer list that the packages do not carry: any code passes.
    ("http://loinc.org/LL2938-0/", |_| true),
];

/// `ValueSet.compose` as the table has it.
#[derive(Debug, Default, Deserialize)]
struct Compose {
    #[serde(default)]
    include: Vec<Include>,
    #[serde(default)]
    exclude: Vec<Include>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Include {
    #[serde(default)]
    system: String,
    /// `[code, display]`
    #[serde(default)]
    concept: Vec<Vec<String>>,
    #[serde(default)]
    filter: Vec<Filter>,
    #[serde(default)]
    value_set: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Filter {
    property: String,
    op: String,
    value: String,
}

#[derive(Deserialize)]
struct ValueSetRow {
    #[serde(default)]
    compose: Compose,
}

#[derive(Deserialize)]
struct CodeSystemRow {
    content: String,
    concept: Vec<Value>,
}

type Pairs = HashSet<(String, String)>;

/// Value sets that include each other deeper than this are not expanded (the table has at most 3 levels).
const DEPTH_MAX: usize = 8;

/// Every (system, code) of a value set; `None` when it, or something it is made of, is not in the table.
fn expand(value_set: &str, depth: usize) -> Option<Pairs> {
    if depth > DEPTH_MAX {
        return None;
    }
    let row: ValueSetRow = serde_json::from_str(row('V', value_set)?).ok()?;
    let mut pairs = Pairs::new();
    for include in &row.compose.include {
        pairs.extend(select(include, depth)?);
    }
    for exclude in &row.compose.exclude {
        let out = select(exclude, depth)?;
        pairs.retain(|pair| !out.contains(pair));
    }
    Some(pairs)
}

/// One include or exclude: the codes that satisfy all it says.
fn select(include: &Include, depth: usize) -> Option<Pairs> {
    let mut selected: Option<Pairs> = None;
    let mut narrow = |pairs: Pairs| {
        selected = Some(match selected.take() {
            Some(before) => before.intersection(&pairs).cloned().collect(),
            None => pairs,
        });
    };
    if !include.system.is_empty() {
        let system = &include.system;
        let codes = match include.concept.is_empty() {
            false => include
                .concept
                .iter()
                .filter_map(|c| c.first().cloned())
                .collect(),
            true => system_codes(system, &include.filter)?,
        };
        narrow(
            codes
                .into_iter()
                .map(|code| (system.clone(), code))
                .collect(),
        );
    }
    for url in &include.value_set {
        narrow(expand(unversioned(url), depth + 1)?);
    }
    selected
}

/// The codes of a code system that pass every filter; `None` when it is not complete in the table or the filter is not one of
/// `concept is-a | is-not-a | descendent-of`, which is all that required and extensible bindings use.
fn system_codes(system: &str, filters: &[Filter]) -> Option<Vec<String>> {
    let row: CodeSystemRow = serde_json::from_str(row('S', unversioned(system))?).ok()?;
    if row.content != "complete" {
        return None;
    }
    // Each code with the codes above it, its own first.
    let mut codes: Vec<Vec<&str>> = Vec::new();
    collect(&row.concept, &mut Vec::new(), &mut codes);
    for Filter {
        property,
        op,
        value,
    } in filters
    {
        if property != "concept" {
            return None;
        }
        let under = |line: &Vec<&str>| line.iter().any(|code| code == value);
        match op.as_str() {
            "is-a" => codes.retain(under),
            "is-not-a" => codes.retain(|line| !under(line)),
            "descendent-of" => codes.retain(|line| under(line) && line[0] != value),
            _ => return None,
        }
    }
    Some(codes.into_iter().map(|line| line[0].to_owned()).collect())
}

/// Walks `[code, display, properties, children]`.
fn collect<'a>(concepts: &'a [Value], above: &mut Vec<&'a str>, out: &mut Vec<Vec<&'a str>>) {
    for concept in concepts {
        let Some(code) = concept.get(0).and_then(Value::as_str) else {
            continue;
        };
        out.push(
            std::iter::once(code)
                .chain(above.iter().rev().copied())
                .collect(),
        );
        if let Some(children) = concept.get(3).and_then(Value::as_array) {
            above.push(code);
            collect(children, above, out);
            above.pop();
        }
    }
}

/// The line of a value set (`V`) or code system (`S`).
fn row(kind: char, url: &str) -> Option<&'static str> {
    static LINES: OnceLock<HashMap<(char, &'static str), &'static str>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        TERMINOLOGY
            .text()
            .lines()
            .filter_map(|line| {
                // {"V":"http://…",
                let (url, _) = line.get(6..)?.split_once('"')?;
                Some(((line.get(2..3)?.chars().next()?, url), line))
            })
            .collect()
    });
    lines.get(&(kind, url)).copied()
}

fn unversioned(canonical: &str) -> &str {
    canonical.split_once('|').map_or(canonical, |(url, _)| url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Strength, Structures};

    #[test]
    fn membership() {
        for (value_set, system, code, expect) in [
            (
                "administrative-gender",
                "http://hl7.org/fhir/administrative-gender",
                "male",
                true,
            ),
            (
                "administrative-gender",
                "http://hl7.org/fhir/administrative-gender",
                "Male",
                false,
            ),
            ("administrative-gender", "http://elsewhere", "male", false),
            // a value set of hl7.terminology, reached over hierarchy
            (
                "encounter-participant-type",
                "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
                "_ParticipationAncillary",
                false,
            ),
            (
                "patient-contactrelationship",
                "http://terminology.hl7.org/CodeSystem/v2-0131",
                "C",
                true,
            ),
            (
                "patient-contactrelationship",
                "http://terminology.hl7.org/CodeSystem/v2-0131",
                "O",
                false,
            ),
            ("all-languages", "urn:ietf:bcp:47", "pt-BR", true),
            ("all-languages", "urn:ietf:bcp:47", "pt_BR", false),
            (
                "mimetypes",
                "urn:ietf:bcp:13",
                "application/fhir+json",
                true,
            ),
            ("mimetypes", "urn:ietf:bcp:13", "pdf", false),
            ("currencies", "urn:iso:std:iso:4217", "EUR", true),
            ("currencies", "urn:iso:std:iso:4217", "euro", false),
            ("country", "urn:iso:std:iso:3166", "CH", true),
            (
                "timezones",
                "https://www.iana.org/time-zones",
                "Africa/Dar_es_Salaam",
                true,
            ),
            (
                "color-codes",
                "http://hl7.org/fhir/color-rgb",
                "#00ff7F",
                true,
            ),
            (
                "color-codes",
                "http://hl7.org/fhir/color-rgb",
                "#00ff7",
                false,
            ),
            ("ucum-units", "http://unitsofmeasure.org", "10*3/uL", true),
            ("ucum-units", "http://unitsofmeasure.org", "per hour", false),
        ] {
            let codes = read_codes(&format!("http://hl7.org/fhir/ValueSet/{value_set}"));
            assert_eq!(
                codes.has(system, code),
                expect,
                "{value_set} {system}|{code}"
            );
        }
    }

    #[test]
    fn implied_systems() {
        for (value_set, expect) in [
            (
                "administrative-gender",
                Some("http://hl7.org/fhir/administrative-gender"),
            ),
            ("all-languages", Some("urn:ietf:bcp:47")),
            ("encounter-participant-type", None),
            ("nothing", None),
        ] {
            let system = code_system(&format!("http://hl7.org/fhir/ValueSet/{value_set}"));
            assert_eq!(system.as_deref(), expect, "{value_set}");
        }
    }

    #[test]
    fn every_required_binding_is_decided() {
        let mut listed = 0;
        let mut seen = HashSet::new();
        for element in Structures::r5().all().iter().flat_map(|s| &s.elements) {
            let Some(binding) = &element.binding else {
                continue;
            };
            if binding.strength != Strength::Required || !seen.insert(binding.value_set) {
                continue;
            }
            match &*codes(binding.value_set) {
                ValueSetCodes::Listed(codes) => {
                    assert!(!codes.is_empty(), "{} is empty", binding.value_set);
                    listed += 1;
                }
                ValueSetCodes::Rule(_) => assert!(
                    RULES.iter().any(|(url, _)| *url == binding.value_set),
                    "{} is neither in the table nor has it a rule",
                    binding.value_set
                ),
            }
        }
        assert_eq!((seen.len(), listed), (260, 252));
    }
}
