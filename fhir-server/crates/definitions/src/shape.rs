//! The shape of one JSON object: a JSON Schema made from a structure, compiled once, when the first instance of it arrives.
//!
//! One schema per structure and one level deep (children are objects, no more): so `HumanName` is compiled once for all resources,
//! an error carries an exact place, and the walk in [`crate::validate`] goes from object to object. The schema says which
//! properties there are, their JSON types, array or single, not empty, and the text and range of primitives.
//! What JSON Schema cannot say (presence through a `_` sibling, one choice only, null padding, bindings, nested resources) is the walk's.

use crate::primitive;
use crate::structure::{Element, Kind, Structure, Structures, TypeReference};
use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError, Validator};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What validation needs of a structure.
#[derive(Debug)]
pub(crate) struct Shape {
    pub schema: Validator,
    /// By JSON name.
    pub properties: HashMap<String, Property>,
    /// Positions of the elements that must be there.
    pub required: Vec<u8>,
}

/// What a JSON property stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Property {
    /// Position of the element in its structure.
    pub element: u8,
    /// Position of the type in the element's types.
    pub type_index: u8,
    /// Whether this is the `_name` of a primitive: its id and extensions.
    pub sibling: bool,
    pub content: Content,
}

/// What the value of a property is, as far as the walk cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Primitive,
    Complex,
    /// Any resource: `contained`, `Bundle.entry.resource`, `Parameters.parameter.resource`.
    Resource,
}

impl Shape {
    pub(crate) fn new(structure: &Structure, structures: &Structures) -> Shape {
        let mut schemas = Map::new();
        let mut properties = HashMap::new();
        let mut required = Vec::new();
        if structure.kind == Kind::Resource {
            schemas.insert("resourceType".to_owned(), json!({"type": "string"}));
        }
        for (position, element) in structure.elements.iter().enumerate() {
            let position = u8::try_from(position).expect("a structure has at most 128 elements");
            if element.min > 0 {
                required.push(position);
            }
            for (type_index, reference) in element.types.iter().enumerate() {
                let name = json_name(element, reference);
                let content = match structures.get(reference.name).map(|s| s.kind) {
                    Some(Kind::Primitive) => Content::Primitive,
                    Some(Kind::Resource) => Content::Resource,
                    _ => Content::Complex,
                };
                let mut property = Property {
                    element: position,
                    type_index: type_index as u8,
                    sibling: false,
                    content,
                };
                if content == Content::Primitive {
                    schemas.insert(
                        name.clone(),
                        values(element, primitive_schema(reference.name), true),
                    );
                    // Ids and Extension.url are attributes in XML: they have no extensions.
                    let attribute = element.name == "id"
                        || (structure.name, element.name) == ("Extension", "url");
                    if !attribute {
                        let sibling = format!("_{name}");
                        schemas.insert(
                            sibling.clone(),
                            values(element, json!({"type": "object"}), true),
                        );
                        property.sibling = true;
                        properties.insert(sibling, property);
                        property.sibling = false;
                    }
                } else {
                    schemas.insert(
                        name.clone(),
                        values(element, json!({"type": "object"}), false),
                    );
                }
                properties.insert(name, property);
            }
        }
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "minProperties": 1,
            "properties": schemas,
            "additionalProperties": false,
        });
        Shape {
            schema: compile(&schema),
            properties,
            required,
        }
    }
}

/// `name`, or for a choice `nameType`.
fn json_name(element: &Element, reference: &TypeReference) -> String {
    let mut name = element.name.to_owned();
    if element.choice {
        let mut letters = reference.name.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// A single value or an array of them. In arrays of primitives null stands for "see the other array".
fn values(element: &Element, mut one: Value, nullable: bool) -> Value {
    if !element.is_array() {
        return one;
    }
    if nullable && let Some(kind) = one.get("type").cloned() {
        one["type"] = json!([kind, "null"]);
    }
    let mut array = json!({"type": "array", "minItems": 1, "items": one});
    if let Some(max) = element.max {
        array["maxItems"] = json!(max);
    }
    array
}

fn primitive_schema(type_name: &str) -> Value {
    if let Some((minimum, maximum)) = primitive::integer_range(type_name) {
        return json!({"type": "integer", "minimum": minimum, "maximum": maximum, PLAIN_INTEGER: true});
    }
    match type_name {
        "boolean" => json!({"type": "boolean"}),
        "decimal" => json!({"type": "number"}),
        _ => json!({"type": "string", "format": format_name(type_name)}),
    }
}

/// Formats are registered under names of their own: JSON Schema has a `date`, `time` and `uuid` with other rules.
fn format_name(type_name: &str) -> String {
    format!("fhir-{type_name}")
}

const PLAIN_INTEGER: &str = "plainInteger";

/// JSON Schema takes 1.0 and 1e3 for integers, FHIR does not.
struct PlainInteger;

impl<'i> Keyword<'i> for PlainInteger {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.is_valid(instance) {
            true => Ok(()),
            false => Err(ValidationError::custom("not written as an integer")),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        match instance {
            Value::Number(number) => !number.as_str().contains(['.', 'e', 'E']),
            _ => true,
        }
    }
}

fn compile(schema: &Value) -> Validator {
    let mut options = jsonschema::options()
        .should_validate_formats(true)
        .with_keyword(
            PLAIN_INTEGER,
            |_: &Map<String, Value>, _: &Value, _: Location| Ok(Box::new(PlainInteger)),
        );
    for structure in Structures::r5().all() {
        if let Some(check) = primitive::text_check(structure.name) {
            options = options.with_format(format_name(structure.name), check);
        }
    }
    options
        .build(schema)
        .expect("a schema made from a snapshot is a JSON Schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_compiles() {
        let r5 = Structures::r5();
        for structure in r5.all() {
            if structure.kind == Kind::Primitive {
                continue;
            }
            let shape = structure.shape(r5);
            assert!(!shape.schema.is_valid(&json!({})), "{}", structure.name);
            assert!(
                !shape.schema.is_valid(&json!({"famly": 1})),
                "{}",
                structure.name
            );
        }
    }

    #[test]
    fn every_text_primitive_has_a_check() {
        for structure in Structures::r5().all() {
            if structure.kind == Kind::Primitive {
                let text = primitive::text_check(structure.name).is_some();
                let number = primitive::integer_range(structure.name).is_some();
                let other = matches!(structure.name, "boolean" | "decimal");
                assert!(text || number || other, "{}", structure.name);
            }
        }
    }
}
