//! From an element to its children (<https://hl7.org/fhirpath/#path-selection>), with their types. A primitive's children are in its sibling.

use crate::item::{Collection, Element, Item, System, TypeInfo, is_primitive};
use crate::types::{ElementType, TypeModel};
use serde_json::{Map, Value as Json};

/// Appends the children `name` of an item. Of a choice `value` finds `valueQuantity`; so does `valueQuantity` itself.
pub(crate) fn child<'a>(
    item: &Item<'a>,
    name: &str,
    model: &'a dyn TypeModel,
    out: &mut Collection<'a>,
) {
    match item {
        Item::Element(element) if name == "value" && element.is_primitive() => {
            out.extend(element.system().map(Item::System));
        }
        Item::Element(element) => element_child(element, name, model, out),
        Item::Type(info) => out.extend(match name {
            "namespace" => Some(Item::string(info.namespace)),
            "name" => Some(Item::string(info.name)),
            "baseType" => base_type(*info, model).map(Item::string),
            _ => None,
        }),
        Item::System(System::Quantity(quantity)) => out.extend(match name {
            "value" => Some(Item::decimal(quantity.value.clone())),
            "unit" | "code" => Some(Item::string(quantity.unit.code().to_owned())),
            "system" => Some(Item::string("http://unitsofmeasure.org")),
            _ => None,
        }),
        Item::System(_) | Item::Terminologies => {}
    }
}

fn base_type(info: TypeInfo<'_>, model: &dyn TypeModel) -> Option<String> {
    match info.namespace {
        "System" => Some("System.Any".to_owned()),
        _ => model.base(info.name).map(|base| format!("FHIR.{base}")),
    }
}

fn element_child<'a>(
    element: &Element<'a>,
    name: &str,
    model: &'a dyn TypeModel,
    out: &mut Collection<'a>,
) {
    let Some(object) = element.object() else {
        return;
    };
    match model.element(element.type_name, name) {
        Some(ElementType {
            choice: true,
            types,
            ..
        }) => {
            for key in object.keys() {
                let plain = key.strip_prefix('_').unwrap_or(key);
                let hidden = plain.len() < key.len() && object.contains_key(plain);
                let found = plain
                    .strip_prefix(name)
                    .and_then(|suffix| types.iter().find(|t| is_capitalised(suffix, t)));
                if let (Some(type_name), false) = (found, hidden) {
                    values(element, object, plain, type_name, out);
                }
            }
        }
        Some(found) => {
            if let Some(type_name) = found.types.first() {
                values(element, object, name, type_name, out);
            }
        }
        None => {
            if let Some(type_name) = type_of_key(element.type_name, name, model) {
                values(element, object, name, type_name, out);
            }
        }
    }
}

/// Appends every child, in the order of the document.
pub(crate) fn children<'a>(item: &Item<'a>, model: &'a dyn TypeModel, out: &mut Collection<'a>) {
    let Item::Element(element) = item else {
        return;
    };
    let Some(object) = element.object() else {
        return;
    };
    for key in object.keys() {
        let plain = key.strip_prefix('_').unwrap_or(key);
        if plain.len() < key.len() && object.contains_key(plain) {
            continue;
        }
        if let Some(type_name) = type_of_key(element.type_name, plain, model) {
            values(element, object, plain, type_name, out);
        }
    }
}

/// The type of the JSON member `key`: of an element, or of a choice with its type behind it.
fn type_of_key<'a>(type_name: &str, key: &str, model: &'a dyn TypeModel) -> Option<&'a str> {
    if let Some(found) = model.element(type_name, key) {
        return match found.choice {
            true => None,
            false => found.types.first().copied(),
        };
    }
    key.char_indices()
        .filter(|(index, c)| *index > 0 && c.is_ascii_uppercase())
        .find_map(|(index, _)| {
            let (name, suffix) = key.split_at(index);
            let found = model.element(type_name, name).filter(|e| e.choice)?;
            found.types.into_iter().find(|t| is_capitalised(suffix, t))
        })
}

/// Whether `suffix` is the type's name with a capital letter.
fn is_capitalised(suffix: &str, type_name: &str) -> bool {
    suffix.len() == type_name.len()
        && suffix.get(1..) == type_name.get(1..)
        && suffix.get(..1).is_some_and(|c| {
            c.starts_with(|c: char| c.is_ascii_uppercase())
                && type_name
                    .get(..1)
                    .is_some_and(|t| t.eq_ignore_ascii_case(c))
        })
}

/// Appends the value or values of one JSON member, with what stands beside them.
fn values<'a>(
    parent: &Element<'a>,
    object: &'a Map<String, Json>,
    key: &str,
    type_name: &'a str,
    out: &mut Collection<'a>,
) {
    let not_null = |value: Option<&'a Json>| value.filter(|value| !value.is_null());
    let value = object.get(key);
    let sibling = match is_primitive(type_name) {
        true => object.get(&format!("_{key}")),
        false => None,
    };
    let mut push = |value: Option<&'a Json>, sibling: Option<&'a Json>| {
        let (value, sibling) = (not_null(value), not_null(sibling));
        if value.is_none() && sibling.is_none() {
            return;
        }
        out.push(Item::Element(instance(Element {
            value,
            sibling,
            type_name,
            resource: parent.resource,
        })));
    };
    match (value, sibling) {
        (Some(Json::Array(values)), _) => {
            let siblings = sibling.and_then(Json::as_array).map(Vec::as_slice);
            let siblings = siblings.unwrap_or_default();
            for index in 0..values.len().max(siblings.len()) {
                push(values.get(index), siblings.get(index));
            }
        }
        (None, Some(Json::Array(siblings))) => {
            for sibling in siblings {
                push(None, Some(sibling));
            }
        }
        (value, sibling) => push(value, sibling),
    }
}

/// A resource is of the type it says, and stands in itself.
fn instance<'a>(element: Element<'a>) -> Element<'a> {
    let (true, Some(value)) = (
        matches!(element.type_name, "Resource" | "DomainResource"),
        element.value,
    ) else {
        return element;
    };
    let said = value.get("resourceType").and_then(Json::as_str);
    Element {
        type_name: said.unwrap_or(element.type_name),
        resource: value,
        ..element
    }
}
