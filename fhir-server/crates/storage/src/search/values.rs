//! One `parameter=value,value` of a search as a test on index rows, with the same hashes and normalised texts that the
//! [search document](fhir_search::SearchDocument) is made of (<https://hl7.org/fhir/R5/search.html#ptypes>).
//!
//! Refuses, with the parameter and the modifier by name, what the index cannot answer.

use super::flat::{DateTest, Dates, QuantityTest, StringTest, Test};
use super::sql::reference;
use fhir_definitions::{SearchParameter, StringRows};
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_search::document::{STRING_MAX, marked};
use fhir_search::has_several_ordered;
use fhir_search::query::{
    Modifier, NumberMatch, ReferenceMatch, TextComparison, UnitMatch, ValueMatch,
};
use fhir_search::token::STORED;
use fhir_search::unit::in_units;
use std::collections::HashMap;

/// Microseconds of the longest time that a date without a month can be.
const YEAR: i64 = 366 * 86_400_000_000;

/// Row keys of the resources that the search names; what is not in it does not exist.
pub(super) type RowKeys = HashMap<ResourceKey, i64>;

/// What the values of a search were looked up in.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub rows: RowKeys,
    /// Whether every resource is among them.
    pub names_all: bool,
    /// The units of UCUM that the site uses, as `system|code`, where the search has a quantity in one.
    pub units: Vec<String>,
}

/// The test for one Param clause.
///
/// # Errors
/// `NotSupported` for a modifier or a form that the index cannot answer.
pub(super) fn param(
    parameter: &SearchParameter,
    modifier: Modifier,
    values: &[ValueMatch],
    known: &Known,
) -> Result<Test, Issue> {
    let key = parameter.key;
    let mut tests = Vec::new();
    let mut tokens = Vec::new();
    let mut references = Vec::new();
    let mut dates = Vec::new();
    let mut quantities = Vec::new();
    let mut strings = Vec::new();
    let mut circles = Vec::new();
    for value in values {
        match (value, modifier) {
            (ValueMatch::Token(token), Modifier::None | Modifier::Not) => {
                tokens.push(STORED.token(key, token));
            }
            (ValueMatch::Concepts { tokens: all, .. }, _) => {
                tokens.extend(all.iter().map(|token| STORED.token(key, token)));
            }
            (ValueMatch::String(text), Modifier::Exact) => {
                let keys = parameter.exact_keys();
                tokens.extend(keys.map(|key| STORED.exact(key, text)));
            }
            (ValueMatch::String(text), Modifier::None) => {
                strings.push(StringTest::StartsWith(bounded(parameter, text)?));
            }
            (ValueMatch::Text { comparison, text }, Modifier::None) => {
                strings.push(StringTest::Is(*comparison, text.clone()));
            }
            (
                ValueMatch::OfType {
                    system,
                    code,
                    value,
                },
                Modifier::OfType,
            ) => tokens.push(STORED.of_type(key, system, code, value)),
            (ValueMatch::Uri(uri), Modifier::None) => tokens.push(STORED.uri(key, uri)),
            (ValueMatch::Date(date), Modifier::None) => {
                dates.push(DateTest {
                    marker: 0,
                    date: *date,
                });
            }
            (ValueMatch::Number(number), Modifier::None) => {
                quantities.extend(of_units(0, number, &UnitMatch::Any, &[]));
            }
            (ValueMatch::Quantity { number, unit }, Modifier::None) => {
                quantities.extend(of_units(0, number, unit, &known.units));
            }
            (ValueMatch::Near(near), Modifier::None) => circles.push(*near),
            (ValueMatch::Reference(ReferenceMatch::Local(keys)), Modifier::None) => references
                .extend(
                    keys.iter()
                        .filter_map(|target| known.rows.get(target))
                        .map(|pk| reference(key.0, *pk)),
                ),
            (ValueMatch::Reference(ReferenceMatch::Url(url)), Modifier::None) => {
                tokens.push(STORED.url(key, url));
            }
            (
                ValueMatch::Reference(ReferenceMatch::Identifier(token)),
                Modifier::None | Modifier::Identifier,
            ) => tokens.push(STORED.reference_identifier(key, token)),
            (ValueMatch::Composite(parts), Modifier::None) => {
                match composite(parameter, parts, &known.units)? {
                    Test::Tokens(hashes) => tokens.extend(hashes),
                    test => tests.push(test),
                }
            }
            _ => return Err(not_supported(parameter, modifier)),
        }
    }
    if !tokens.is_empty() {
        tests.push(Test::Tokens(tokens));
    }
    if !references.is_empty() {
        tests.push(Test::References(references));
    }
    if !dates.is_empty() {
        tests.push(Test::Dates(Dates {
            key: key.0,
            single: parameter.one_date().then(|| {
                if parameter.no_periods() {
                    YEAR
                } else {
                    i64::MAX
                }
            }),
            all: vec![dates],
        }));
    }
    if !quantities.is_empty() {
        tests.push(Test::Quantities(key.0, quantities));
    }
    if !strings.is_empty() {
        tests.push(Test::Strings(parameter.own_string_rows(), strings));
    }
    if !circles.is_empty() {
        tests.push(Test::Near(key.0, circles));
    }
    let test = match tests.len() {
        0 => Test::never(),
        1 => tests.remove(0),
        _ => Test::Any(tests),
    };
    Ok(match modifier.negates() {
        true => test.negate(),
        false => test,
    })
}

/// Whether only the resources themselves can say who has one of the values.
pub(super) fn reads(parameter: &SearchParameter, values: &[ValueMatch]) -> bool {
    reads_composites(values) || reads_strings(parameter, values)
}

/// Whether a composite is asked for that the index has not.
pub(super) fn reads_composites(values: &[ValueMatch]) -> bool {
    values.iter().any(|value| match value {
        ValueMatch::Composite(parts) => has_several_ordered(parts),
        _ => false,
    })
}

/// Whether whole strings are asked for that the index has not, or has among others.
pub(super) fn reads_strings(parameter: &SearchParameter, values: &[ValueMatch]) -> bool {
    asks_for_ends(values) || asks_for_strings(values) && has_words(parameter)
}

/// Whether the ends of strings are asked for: those of long ones are cut off in the index.
pub(super) fn asks_for_ends(values: &[ValueMatch]) -> bool {
    let ends = |value: &ValueMatch| {
        matches!(
            value,
            ValueMatch::Text {
                comparison: TextComparison::EndsWith,
                ..
            }
        )
    };
    values.iter().any(ends)
}

/// Whether strings are compared otherwise than from their ends.
pub(super) fn asks_for_strings(values: &[ValueMatch]) -> bool {
    let compared = |value: &ValueMatch| matches!(value, ValueMatch::Text { comparison, .. } if *comparison != TextComparison::EndsWith);
    values.iter().any(compared)
}

/// Whether the index has each word of its strings as a string: those of family names.
pub(super) fn has_words(parameter: &SearchParameter) -> bool {
    let types = parameter.program.as_ref().map(|program| program.types());
    parameter.code == "family" || types.is_some_and(|types| types.contains(&"HumanName"))
}

/// `NotSupported`, by name.
pub(super) fn not_supported(parameter: &SearchParameter, modifier: Modifier) -> Issue {
    let diagnostics = match modifier {
        Modifier::None => format!(
            "the search parameter {}.{} cannot be searched by a value of this kind",
            parameter.resource_type, parameter.code
        ),
        modifier => format!(
            "the modifier :{} is not supported on the search parameter {}.{}",
            modifier_name(modifier),
            parameter.resource_type,
            parameter.code
        ),
    };
    Issue::error(IssueKind::NotSupported, diagnostics)
}

fn modifier_name(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::None => "",
        Modifier::Exact => "exact",
        Modifier::Contains => "contains",
        Modifier::Text => "text",
        Modifier::Not => "not",
        Modifier::In => "in",
        Modifier::NotIn => "not-in",
        Modifier::Above => "above",
        Modifier::Below => "below",
        Modifier::OfType => "of-type",
        Modifier::Identifier => "identifier",
        Modifier::CodeText => "code-text",
        Modifier::TextAdvanced => "text-advanced",
    }
}

/// Only so much of a string is indexed: a longer value would be compared with a part of it.
fn bounded(parameter: &SearchParameter, text: &str) -> Result<String, Issue> {
    match text.chars().count() <= STRING_MAX {
        true => Ok(text.to_owned()),
        false => Err(Issue::error(
            IssueKind::SearchValueTooLong,
            format!(
                "a value of the search parameter {} is longer than {STRING_MAX} characters",
                parameter.code
            ),
        )),
    }
}

/// Components that are hashes stand in one hash; one that is ordered carries the hash of the others.
fn composite(
    parameter: &SearchParameter,
    parts: &[ValueMatch],
    units: &[String],
) -> Result<Test, Issue> {
    let key = parameter.key;
    let mut hashes = Vec::new();
    let mut ordered = None;
    for part in parts {
        match part {
            ValueMatch::Token(token) => hashes.push(STORED.token(key, token)),
            ValueMatch::Uri(uri) => hashes.push(STORED.uri(key, uri)),
            ValueMatch::Reference(ReferenceMatch::Url(url)) => hashes.push(STORED.url(key, url)),
            ValueMatch::Reference(ReferenceMatch::Local(keys)) => match keys.as_slice() {
                [target] => hashes.push(STORED.url(key, &target.to_string())),
                _ => return Err(not_supported(parameter, Modifier::None)),
            },
            _ if ordered.is_none() => ordered = Some(part),
            _ => return Err(not_supported(parameter, Modifier::None)),
        }
    }
    let marker = STORED.composite(key, &hashes);
    Ok(match ordered {
        None => Test::Tokens(vec![marker]),
        Some(ValueMatch::Date(date)) => Test::Dates(Dates {
            key: key.0,
            single: None,
            all: vec![vec![DateTest {
                marker,
                date: *date,
            }]],
        }),
        Some(ValueMatch::String(text)) => {
            let text = marked(marker, &bounded(parameter, text)?);
            Test::Strings(StringRows::all(key), vec![StringTest::StartsWith(text)])
        }
        Some(ValueMatch::Number(number)) => Test::Quantities(
            key.0,
            of_units(marker, number, &UnitMatch::Any, &[]).collect(),
        ),
        Some(ValueMatch::Quantity { number, unit }) => {
            Test::Quantities(key.0, of_units(marker, number, unit, units).collect())
        }
        Some(_) => return Err(not_supported(parameter, Modifier::None)),
    })
}

/// The number in its unit, and in each that it can be converted to.
fn of_units(
    marker: i64,
    number: &NumberMatch,
    unit: &UnitMatch,
    used: &[String],
) -> impl Iterator<Item = QuantityTest> {
    in_units(number, unit, used)
        .into_iter()
        .map(move |(number, unit)| QuantityTest {
            marker,
            number,
            unit: STORED.unit_match(&unit),
        })
}
