//! Composites (<https://hl7.org/fhir/R5/search.html#composite>): several values of one element.
//!
//! Components that are matched whole (token, uri, reference) become one hash of all of them. One component may be ordered (quantity, number,
//! date, string): its entry then carries the hash of the others. Two ordered components (the ratios of
//! Ingredient) are not indexed, and `system|` alone is not offered inside a composite.

use crate::document::{Extraction, Ordered};
use crate::position::{is_contains, is_near};
use fhir_definitions::{ParameterType, SearchParameter};
use fhirpath::Node;

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

/// Whether a search by the parameter finds what resources hold: of a special one nothing is extracted, nor of two ordered components.
pub fn is_answered(parameter: &SearchParameter) -> bool {
    let is_special = |kind| matches!(kind, ParameterType::Special | ParameterType::Resource);
    let components = &parameter.components;
    match components.is_empty() {
        true => {
            let found = parameter.program.is_some() && !is_special(parameter.kind);
            found || is_near(parameter) || is_contains(parameter) || is_everywhere(parameter)
        }
        false => {
            let ordered = components.iter().filter(|it| is_ordered(it.kind));
            ordered.count() <= 1 && !components.iter().any(|it| is_special(it.kind))
        }
    }
}

/// `_list` and `_type` of every type; `_has` is no parameter by itself.
fn is_everywhere(parameter: &SearchParameter) -> bool {
    matches!(parameter.code.as_str(), "_list" | "_type")
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
