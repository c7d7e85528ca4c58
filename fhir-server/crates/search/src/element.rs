//! One element of a resource alone: what `_filter` binds with `name[filter].path` (<https://hl7.org/fhir/R5/search_filter.html>).
//!
//! A copy of the resource has nothing but the way to the element and the element. What a parameter finds there it finds in that element,
//! so that conditions on the copy are conditions on the same element.

use crate::document::has_value;
use fhir_definitions::SearchParameter;
use serde_json::{Map, Value};

/// A copy for each element that the parameter selects, in no order.
pub(crate) fn alone(parameter: &SearchParameter, resource: &Value) -> Vec<Value> {
    let mut nodes = Vec::new();
    if let Some(program) = &parameter.program {
        program.run(resource, &mut nodes);
    }
    let values = nodes.iter().map(|node| node.value);
    let mut elements: Vec<&Value> = values.filter(|value| has_value(value)).collect();
    elements.sort_unstable_by_key(|element| std::ptr::from_ref(*element));
    elements.dedup_by(|a, b| std::ptr::eq(*a, *b));
    let mut found = Vec::new();
    copies(resource, &elements, &mut found);
    for copy in &mut found {
        if let Value::Object(members) = copy {
            for name in ["resourceType", "id"] {
                if let Some(value) = resource.get(name) {
                    members.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    found
}

/// Adds `value` cut down to each of the elements that are in it. `elements` are ordered by their addresses.
fn copies(value: &Value, elements: &[&Value], found: &mut Vec<Value>) {
    let address = std::ptr::from_ref(value);
    if elements
        .binary_search_by_key(&address, |element| std::ptr::from_ref(*element))
        .is_ok()
    {
        found.push(value.clone());
    }
    let before = found.len();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let start = found.len();
                copies(member, elements, found);
                for copy in &mut found[start..] {
                    let inner = std::mem::take(copy);
                    *copy = Value::Object(Map::from_iter([(name.clone(), inner)]));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                copies(item, elements, found);
            }
            for copy in &mut found[before..] {
                *copy = Value::Array(vec![std::mem::take(copy)]);
            }
        }
        _ => {}
    }
}
