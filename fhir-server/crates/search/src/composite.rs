//! Composites (<https://hl7.org/fhir/R5/search.html#composite>): several values of one element.
//!
//! Components that are matched whole (token, uri, reference) become one hash of all of them. One component may be ordered (quantity, number,
//! date, string): its entry then carries the hash of the others. Several ordered components (the ratios of Ingredient) are not indexed:
//! [`holds`] looks at the resource. `system|` alone is not offered inside a composite.

use crate::document::{Extraction, Ordered};
use crate::number::Measure;
use crate::position::{is_contains, is_near};
use crate::query::{NumberMatch, ReferenceMatch, UnitMatch, ValueMatch};
use crate::token::Hashes;
use fhir_definitions::{ParameterKey, ParameterType, SearchParameter};
use fhirpath::Node;
use serde_json::Value;

/// Most combinations of one element: a code with 8 codings and a value with 8.
const COMBINATIONS_MAX: usize = 1024;

/// Adds what the composite `parameter` finds in `element`.
pub(crate) fn extract<'a>(
    extraction: &mut Extraction<'a>,
    parameter: &'a SearchParameter,
    element: Node<'a>,
) {
    let mut atoms: Vec<Vec<i64>> = vec![Vec::new()];
    let mut ordered: Option<Vec<Ordered>> = None;
    let mut nodes = Vec::new();
    for component in &parameter.components {
        nodes.clear();
        component.program.run(element.value, &mut nodes);
        if is_ordered(component.kind) {
            let found = nodes
                .iter()
                .flat_map(|node| extraction.ordered(component.kind, *node))
                .collect();
            if ordered.replace(found).is_some() {
                return;
            }
            continue;
        }
        let mut found = Vec::new();
        for node in &nodes {
            extraction.atoms(parameter.key, component.kind, *node, &mut found);
        }
        if atoms.len() * found.len() > COMBINATIONS_MAX {
            return;
        }
        atoms = atoms
            .iter()
            .flat_map(|before| {
                found.iter().map(|atom| {
                    let mut all = before.clone();
                    all.push(*atom);
                    all
                })
            })
            .collect();
    }
    for parts in &atoms {
        match &ordered {
            None => extraction.composite(parameter.key, parts),
            Some(values) => {
                for value in values {
                    extraction.ordered_composite(parameter.key, parts, value);
                }
            }
        }
    }
}

/// Whether a condition has several ordered parts, which no index entry holds together.
pub fn has_several_ordered(parts: &[ValueMatch]) -> bool {
    let ordered = parts.iter().filter(|part| {
        matches!(
            part,
            ValueMatch::Date(_)
                | ValueMatch::Number(_)
                | ValueMatch::Quantity { .. }
                | ValueMatch::String(_)
        )
    });
    ordered.count() > 1
}

/// Whether one element that the composite `parameter` selects has all the `parts`.
pub(crate) fn holds<'a>(
    extraction: &Extraction<'a>,
    parameter: &'a SearchParameter,
    parts: &[ValueMatch],
    resource: &'a Value,
) -> bool {
    let (mut elements, mut nodes) = (Vec::new(), Vec::new());
    if let Some(program) = &parameter.program {
        program.run(resource, &mut elements);
    }
    elements.iter().any(|element| {
        let mut both = parts.iter().zip(&parameter.components);
        both.all(|(part, component)| {
            nodes.clear();
            component.program.run(element.value, &mut nodes);
            let mut nodes = nodes.iter();
            nodes.any(|node| has_part(extraction, parameter.key, component.kind, *node, part))
        })
    })
}

fn has_part<'a>(
    extraction: &Extraction<'a>,
    key: ParameterKey,
    kind: ParameterType,
    node: Node<'a>,
    part: &ValueMatch,
) -> bool {
    let hashes = extraction.hashes;
    let mut atoms = Vec::new();
    if !is_ordered(kind) {
        extraction.atoms(key, kind, node, &mut atoms);
    }
    let ordered = extraction.ordered(kind, node);
    match part {
        ValueMatch::Token(token) => atoms.contains(&hashes.token(key, token)),
        ValueMatch::Uri(uri) => atoms.contains(&hashes.uri(key, uri)),
        ValueMatch::Reference(ReferenceMatch::Url(url)) => atoms.contains(&hashes.url(key, url)),
        ValueMatch::Reference(ReferenceMatch::Local(targets)) => targets
            .iter()
            .any(|target| atoms.contains(&hashes.url(key, &target.to_string()))),
        ValueMatch::Date(date) => ordered
            .iter()
            .any(|value| matches!(value, Ordered::Date(range) if date.matches(range.lo, range.hi))),
        ValueMatch::String(text) => ordered
            .iter()
            .any(|value| matches!(value, Ordered::String(value) if value.starts_with(text))),
        ValueMatch::Number(number) => measured(&ordered, hashes, number, &UnitMatch::Any),
        ValueMatch::Quantity { number, unit } => measured(&ordered, hashes, number, unit),
        _ => false,
    }
}

fn measured(ordered: &[Ordered], hashes: Hashes, number: &NumberMatch, unit: &UnitMatch) -> bool {
    let measure = Measure::new(hashes, number, unit);
    ordered.iter().any(|value| match value {
        Ordered::Number {
            lo,
            hi,
            units,
            ucum,
        } => measure.matches((lo.as_ref(), hi.as_ref()), units, ucum.as_deref()),
        _ => false,
    })
}

/// Whether a search by the parameter finds what resources hold: of a special one nothing is extracted.
pub fn is_answered(parameter: &SearchParameter) -> bool {
    let is_special = |kind| matches!(kind, ParameterType::Special | ParameterType::Resource);
    let components = &parameter.components;
    match parameter.kind {
        ParameterType::Composite => {
            components.len() > 1 && !components.iter().any(|it| is_special(it.kind))
        }
        kind => {
            let found = parameter.program.is_some() && !is_special(kind);
            found || is_near(parameter) || is_contains(parameter) || is_everywhere(parameter)
        }
    }
}

/// What is no element of the resource, or read as words; `_has` and `_query` are no parameters by themselves.
fn is_everywhere(parameter: &SearchParameter) -> bool {
    matches!(
        parameter.code.as_str(),
        "_content" | "_filter" | "_list" | "_text" | "_type" | "section-text"
    )
}

/// Whether values of this type are compared, not only equal.
pub(crate) fn is_ordered(kind: ParameterType) -> bool {
    matches!(
        kind,
        ParameterType::Quantity
            | ParameterType::Number
            | ParameterType::Date
            | ParameterType::String
    )
}
