//! The value of an operation: a `value[x]`, a resource, or parts for what Parameters have no `value[x]` for; and how it is put under a
//! name, once its type fits there.

use super::place::List;
use super::{Refusal, broken};
use fhir_definitions::structure::Kind;
use fhir_definitions::{Element, Structure, Structures};
use fhirpath::TypeModel;
use serde_json::{Map, Value};

/// A value as it was given.
#[derive(Debug)]
pub(super) enum Given {
    /// A `value[x]`, and what stands beside a primitive (null: nothing).
    Value {
        type_name: &'static str,
        value: Value,
        sibling: Value,
    },
    Resource(Value),
    Parts(Vec<(String, Given)>),
}

/// What is to stand under one name of an object.
pub(super) struct Member {
    /// In JSON: `valueQuantity`.
    pub name: String,
    pub is_array: bool,
    /// Names of the same element, of which one may be there: of a choice all.
    pub names: Vec<String>,
    pub value: Value,
    /// Null: none.
    pub sibling: Value,
}

impl Given {
    pub fn read(part: &Map<String, Value>) -> Result<Given, String> {
        let structure = Structures::r5().get("Parameters.parameter");
        let structure = structure.ok_or("there are no Parameters in R5")?;
        let mut given = None;
        for (name, value) in part {
            let read = match name.as_str() {
                "name" | "id" | "extension" => continue,
                "resource" => Given::Resource(value.clone()),
                "part" => Given::Parts(parts(value)?),
                name => {
                    let plain = name.strip_prefix('_').unwrap_or(name);
                    let (_, type_name) = structure
                        .member(plain)
                        .filter(|_| plain.starts_with("value"))
                        .ok_or("a value must be a value[x] of R5, a resource or parts")?;
                    if plain.len() < name.len() && part.contains_key(plain) {
                        continue;
                    }
                    let or_null = |name: &str| part.get(name).cloned().unwrap_or_default();
                    Given::Value {
                        type_name,
                        value: or_null(plain),
                        sibling: or_null(&format!("_{plain}")),
                    }
                }
            };
            if given.replace(read).is_some() {
                return Err("a value is given twice".into());
            }
        }
        given.ok_or_else(|| "a value has no content".into())
    }
}

fn parts(parts: &Value) -> Result<Vec<(String, Given)>, String> {
    let parts = parts.as_array().ok_or("part must be an array")?;
    let read = parts.iter().map(|part| {
        let part = part.as_object().ok_or("a part must be an object")?;
        let name = part.get("name").and_then(Value::as_str);
        let name = name.ok_or("a part must have a name")?;
        Ok((name.to_owned(), Given::read(part)?))
    });
    read.collect()
}

/// Puts a value under a name: behind the others of a list, else where nothing is yet.
pub(super) fn add(
    structure: &'static Structure,
    object: &mut Map<String, Value>,
    name: &str,
    given: &Given,
) -> Result<(), Refusal> {
    let member = member(structure, name, given)?;
    if member.is_array {
        let mut list = List::take(object, &member.name);
        let done = list.insert(list.len(), member.value, member.sibling);
        list.put(object, &member.name);
        return done;
    }
    let is_there =
        |name: &String| object.contains_key(name) || object.contains_key(&format!("_{name}"));
    match member.names.iter().any(is_there) {
        true => Err(broken(
            "the element is there already, and may be there once only; replace changes it",
        )),
        false => {
            member.put(object);
            Ok(())
        }
    }
}

/// Refuses a name that is none of a list.
pub(super) fn check_list(structure: &Structure, name: &str) -> Result<(), Refusal> {
    match structure.element(name).is_some_and(Element::is_array) {
        true => Ok(()),
        false => Err(broken(
            "the path names no list of R5; what is there once only is added or replaced",
        )),
    }
}

impl Member {
    pub fn put(self, object: &mut Map<String, Value>) {
        if !self.sibling.is_null() {
            object.insert(format!("_{}", self.name), self.sibling);
        }
        if !self.value.is_null() {
            object.insert(self.name, self.value);
        }
    }
}

/// The value as a member `name` of an object of this type; of a choice, `value`, `value[x]` and `valueQuantity` are names.
///
/// # Errors
/// There is no such element, or the value is of another type.
pub(super) fn member(
    structure: &'static Structure,
    name: &str,
    given: &Given,
) -> Result<Member, Refusal> {
    let plain = name.strip_suffix("[x]").unwrap_or(name);
    let no_such = || broken("R5 has no element of this name there");
    let (element, type_name) = match structure.element(plain) {
        Some(element) if element.choice => (element, of_choice(element, given)?),
        Some(element) => (element, element.types.first().ok_or_else(no_such)?.name),
        None => {
            let (at, type_name) = structure.member(plain).ok_or_else(no_such)?;
            (&structure.elements[at], type_name)
        }
    };
    let (value, sibling) = content(type_name, given)?;
    Ok(Member {
        name: match element.choice {
            true => of_type(element, type_name),
            false => element.name.to_owned(),
        },
        is_array: element.is_array(),
        names: names(element),
        value,
        sibling,
    })
}

/// The names that an element may have in JSON.
fn names(element: &Element) -> Vec<String> {
    match element.choice {
        true => element
            .types
            .iter()
            .map(|of| of_type(element, of.name))
            .collect(),
        false => vec![element.name.to_owned()],
    }
}

fn of_type(element: &Element, type_name: &str) -> String {
    let (head, tail) = type_name.split_at(type_name.len().min(1));
    format!("{}{}{tail}", element.name, head.to_ascii_uppercase())
}

fn of_choice(element: &Element, given: &Given) -> Result<&'static str, Refusal> {
    let mut types = element.types.iter().map(|of| of.name);
    match given {
        Given::Value { type_name, .. } => types.find(|of| of == type_name).ok_or_else(wrong_type),
        _ => Err(broken(
            "what may be of several types must be given as a value[x]",
        )),
    }
}

fn wrong_type() -> Refusal {
    broken("the value is of another type than the element")
}

/// The value as one of `type_name`, and its sibling.
fn content(type_name: &'static str, given: &Given) -> Result<(Value, Value), Refusal> {
    let kind = Structures::r5().get(type_name);
    let structure = kind.ok_or_else(|| broken("R5 has no such type"))?;
    match (given, structure.kind) {
        (
            Given::Value {
                type_name: of,
                value,
                sibling,
            },
            _,
        ) if fits(of, type_name) => Ok((value.clone(), sibling.clone())),
        (Given::Resource(resource), Kind::Resource) => Ok((resource.clone(), Value::Null)),
        (Given::Parts(parts), Kind::Complex | Kind::Backbone) => {
            let mut object = Map::new();
            for (name, given) in parts {
                add(structure, &mut object, name, given)?;
            }
            Ok((Value::Object(object), Value::Null))
        }
        (Given::Parts(parts), Kind::Primitive) => {
            let (mut value, mut sibling) = (Value::Null, Map::new());
            let element = Structures::r5().get("Element").unwrap_or(structure);
            for (name, given) in parts {
                match name.as_str() {
                    "value" => value = content(type_name, given)?.0,
                    name => add(element, &mut sibling, name, given)?,
                }
            }
            Ok((value, Value::Object(sibling)))
        }
        _ => Err(wrong_type()),
    }
}

/// Whether a value of type `given` may stand where `wanted` is: the same, or one derived from the other (a code is a string), or a value
/// that is text of both (a date for a dateTime, a narrative as a string). What it says is checked in the result.
fn fits(given: &str, wanted: &str) -> bool {
    let r5 = Structures::r5();
    let related = r5.is_a(given, wanted) || r5.is_a(wanted, given);
    let is_element = |name: &str| matches!(name, "Element" | "DataType" | "Base");
    (related && !is_element(wanted))
        || matches!((given, wanted), ("date", "dateTime") | ("string", "xhtml"))
}
