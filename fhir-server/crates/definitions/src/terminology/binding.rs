//! The value sets that required bindings name, expanded from the table of terminology
//! (<https://hl7.org/fhir/R5/terminologies.html#required>, <https://hl7.org/fhir/R5/valueset.html#compositions>).
//!
//! Where the table does not hold the code system (it is a standard of its own, or not ours to copy), a rule says what a code looks like.

use super::expansion::DEPTH_MAX;
use super::{Terminology, TerminologyResources};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// What is in a value set.
#[derive(Debug)]
pub(crate) enum ValueSetCodes {
    /// Each code, with the systems it belongs to.
    Listed(HashMap<Arc<str>, Vec<Arc<str>>>),
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
                .is_some_and(|systems| systems.iter().any(|s| **s == *system)),
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

/// How the codes of a value set look whose code system is not in the table.
pub(super) fn rule(value_set: &str) -> Option<Rule> {
    let mut rules = RULES.iter();
    rules
        .find(|(url, _)| *url == value_set)
        .map(|(_, rule)| *rule)
}

fn read_codes(value_set: &str) -> ValueSetCodes {
    if let Some(rule) = rule(value_set) {
        return ValueSetCodes::Rule(rule);
    }
    let r5 = r5();
    let expansion = r5.value_set(value_set).and_then(|set| r5.expand(&set));
    match expansion {
        Ok(expansion) if expansion.whole.is_empty() => {
            let mut codes: HashMap<Arc<str>, Vec<Arc<str>>> = HashMap::new();
            for member in expansion.members {
                codes.entry(member.code).or_default().push(member.system);
            }
            ValueSetCodes::Listed(codes)
        }
        _ => ValueSetCodes::Rule(|_| true),
    }
}

/// What the table of R5 holds, without a site's own.
fn r5() -> Terminology<'static> {
    static NONE: LazyLock<TerminologyResources> = LazyLock::new(TerminologyResources::default);
    Terminology::of_site(&NONE)
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
    let set = r5().value_set(value_set).ok()?;
    for include in &set.include {
        if !include.system.is_empty() {
            systems.insert(include.system.clone());
        }
        for url in &include.value_sets {
            systems_of(url, depth + 1, systems)?;
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
