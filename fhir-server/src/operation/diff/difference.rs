//! The difference of two valid resources of one type, as the operations of a FHIRPath Patch (<https://hl7.org/fhir/R5/fhirpatch.html>) that make
//! the second of the first, one after the other.
//!
//! An object is gone into, a list is aligned by the items that are equal; what changes its type, a primitive and a resource within are
//! replaced whole. What is there longer comes first, so that nothing is empty on the way.

use fhir_definitions::structure::Kind;
use fhir_definitions::{Structure, Structures};
use serde_json::{Map, Value, json};

/// `Parameters.parameter` of the patch.
pub fn difference(from: &Value, to: &Value) -> Vec<Value> {
    let structures = Structures::r5();
    let resource_type = from
        .get("resourceType")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some(structure) = structures.get(resource_type) else {
        return Vec::new();
    };
    let mut patch = Patch {
        structures,
        operations: Vec::new(),
    };
    let (from, to) = compared(from, to);
    patch.object(resource_type, structure, &from, &to);
    patch.operations
}

/// Without what the server sets. A Meta that holds nothing else stays where there is one: it cannot be added a second time.
fn compared(from: &Value, to: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let without = |resource: &Value| {
        let mut members = resource.as_object().cloned().unwrap_or_default();
        members.shift_remove("id");
        if let Some(Value::Object(meta)) = members.get_mut("meta") {
            meta.shift_remove("versionId");
            meta.shift_remove("lastUpdated");
        }
        members
    };
    let (from, mut to) = (without(from), without(to));
    let is_empty = |meta: &Value| meta.as_object().is_some_and(Map::is_empty);
    match (from.contains_key("meta"), to.get("meta")) {
        (true, None) => drop(to.insert("meta".into(), json!({}))),
        (false, Some(meta)) if is_empty(meta) => drop(to.shift_remove("meta")),
        _ => {}
    }
    (from, to)
}

/// One value of an element: what stands under its name, and what beside it under `_name`.
#[derive(Clone, Copy, PartialEq)]
struct Item<'a> {
    type_name: &'static str,
    value: Option<&'a Value>,
    beside: Option<&'a Value>,
}

struct Patch {
    structures: &'static Structures,
    operations: Vec<Value>,
}

impl Patch {
    fn object(
        &mut self,
        path: &str,
        structure: &Structure,
        from: &Map<String, Value>,
        to: &Map<String, Value>,
    ) {
        let (from, to) = (items(structure, from), items(structure, to));
        let all = || structure.elements.iter().zip(from.iter().zip(&to));
        for (element, (from, to)) in all() {
            let place = format!("{path}.{}", identifier(element.name));
            match (from.as_slice(), to.as_slice()) {
                ([], added) => added
                    .iter()
                    .for_each(|item| self.add(path, element.name, item)),
                ([from], [to]) if !element.is_array() => self.item(&place, from, to),
                (_, []) => {}
                (from, to) => self.list(path, element.name, from, to),
            }
        }
        for (element, (from, to)) in all() {
            let place = format!("{path}.{}", identifier(element.name));
            match (from.as_slice(), to.as_slice()) {
                (removed, []) if element.is_array() => {
                    (0..removed.len()).for_each(|_| self.delete(&format!("{place}[0]")));
                }
                ([_, ..], []) => self.delete(&place),
                _ => {}
            }
        }
    }

    fn item(&mut self, path: &str, from: &Item<'_>, to: &Item<'_>) {
        if from == to {
            return;
        }
        let structure = self.structures.get(to.type_name);
        let within = structure.filter(|of| {
            matches!(of.kind, Kind::Complex | Kind::Backbone) && from.type_name == to.type_name
        });
        match (within, from.value, to.value) {
            (Some(structure), Some(Value::Object(from)), Some(Value::Object(to))) => {
                self.object(path, structure, from, to)
            }
            _ => {
                let value = self.part("value", to);
                self.operation("replace", path, vec![value]);
            }
        }
    }

    fn list(&mut self, parent: &str, name: &str, from: &[Item<'_>], to: &[Item<'_>]) {
        let path = format!("{parent}.{}", identifier(name));
        // Of the list as it is by now: how long, and where we are in it.
        let (mut length, mut here) = (from.len(), 0);
        let (mut old, mut new) = (0, 0);
        let mut ends = aligned(from, to);
        ends.push((from.len(), to.len()));
        for (old_end, new_end) in ends {
            while old < old_end && new < new_end {
                self.item(&format!("{path}[{here}]"), &from[old], &to[new]);
                (old, new, here) = (old + 1, new + 1, here + 1);
            }
            while old < old_end {
                self.delete(&format!("{path}[{here}]"));
                (old, length) = (old + 1, length - 1);
            }
            while new < new_end {
                match here == length {
                    true => self.add(parent, name, &to[new]),
                    false => {
                        let value = self.part("value", &to[new]);
                        let index = json!({ "name": "index", "valueInteger": here });
                        self.operation("insert", &path, vec![index, value]);
                    }
                }
                (new, here, length) = (new + 1, here + 1, length + 1);
            }
            // The items that are equal.
            (old, new, here) = (old_end + 1, new_end + 1, here + 1);
        }
    }

    fn add(&mut self, path: &str, name: &str, item: &Item<'_>) {
        let value = self.part("value", item);
        let name = json!({ "name": "name", "valueString": name });
        self.operation("add", path, vec![name, value]);
    }

    fn delete(&mut self, path: &str) {
        self.operation("delete", path, Vec::new());
    }

    fn operation(&mut self, kind: &str, path: &str, more: Vec<Value>) {
        let mut parts = vec![
            json!({ "name": "type", "valueCode": kind }),
            json!({ "name": "path", "valueString": path }),
        ];
        parts.extend(more);
        self.operations
            .push(json!({ "name": "operation", "part": parts }));
    }

    /// The item as a part: a value where Parameters can have one of its type, a resource, or else its children as parts.
    fn part(&self, name: &str, item: &Item<'_>) -> Value {
        let structure = self.structures.get(item.type_name);
        if structure.is_some_and(|of| of.kind == Kind::Resource) {
            return json!({ "name": name, "resource": item.value });
        }
        let type_name = match item.type_name {
            "xhtml" => "string",
            name => name,
        };
        let values = self
            .structures
            .get("Parameters.parameter")
            .and_then(|of| of.element("value"));
        if values.is_some_and(|values| values.types.iter().any(|of| of.name == type_name)) {
            let (first, rest) = type_name.split_at(1);
            let member = format!("value{}{rest}", first.to_ascii_uppercase());
            let mut part = json!({ "name": name });
            if let Some(beside) = item.beside {
                part[format!("_{member}")] = beside.clone();
            }
            if let Some(value) = item.value {
                part[member] = value.clone();
            }
            return part;
        }
        let mut parts = Vec::new();
        if let (Some(structure), Some(Value::Object(members))) = (structure, item.value) {
            for (element, children) in structure.elements.iter().zip(items(structure, members)) {
                parts.extend(children.iter().map(|child| self.part(element.name, child)));
            }
        }
        json!({ "name": name, "part": parts })
    }
}

/// The values of each element of the structure, in its order.
fn items<'a>(structure: &Structure, members: &'a Map<String, Value>) -> Vec<Vec<Item<'a>>> {
    let mut all: Vec<Vec<Item<'a>>> = vec![Vec::new(); structure.elements.len()];
    for (name, value) in members {
        let beside = name.strip_prefix('_');
        let Some((at, type_name)) = structure.member(beside.unwrap_or(name)) else {
            continue;
        };
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for (place, value) in values.iter().enumerate() {
            if all[at].len() <= place {
                all[at].push(Item {
                    type_name,
                    value: None,
                    beside: None,
                });
            }
            let value = Some(value).filter(|value| !value.is_null());
            match beside {
                Some(_) => all[at][place].beside = value,
                None => all[at][place].value = value,
            }
        }
    }
    all
}

/// Lists beyond this many pairs are aligned at their ends only.
const PAIRS_MAX: usize = 40_000;

/// The pairs of items that are equal and stay: a longest common subsequence, in order.
fn aligned(from: &[Item<'_>], to: &[Item<'_>]) -> Vec<(usize, usize)> {
    let start = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (rest_from, rest_to) = (&from[start..], &to[start..]);
    let end = rest_from
        .iter()
        .rev()
        .zip(rest_to.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (rows, columns) = (rest_from.len() - end, rest_to.len() - end);
    let mut pairs: Vec<(usize, usize)> = (0..start).map(|at| (at, at)).collect();
    if rows * columns <= PAIRS_MAX {
        // longest[i][j]: of what follows i and j.
        let mut longest = vec![vec![0_u32; columns + 1]; rows + 1];
        for i in (0..rows).rev() {
            for j in (0..columns).rev() {
                longest[i][j] = match rest_from[i] == rest_to[j] {
                    true => longest[i + 1][j + 1] + 1,
                    false => longest[i + 1][j].max(longest[i][j + 1]),
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < rows && j < columns {
            if rest_from[i] == rest_to[j] {
                pairs.push((start + i, start + j));
                (i, j) = (i + 1, j + 1);
            } else if longest[i + 1][j] >= longest[i][j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    pairs.extend((0..end).map(|at| (from.len() - end + at, to.len() - end + at)));
    pairs
}

/// A name in a path; a word of FHIRPath stands in backquotes.
fn identifier(name: &str) -> String {
    match name {
        "div" | "mod" | "and" | "or" | "xor" | "implies" | "true" | "false" => format!("`{name}`"),
        name => name.to_string(),
    }
}

#[cfg(test)]
mod tests;
