//! FHIR XML to JSON by the definitions' types (<https://hl7.org/fhir/R5/xml.html>), enough for the suite's inputs.

use fhir_definitions::Definitions;
use fhirpath::TypeModel;
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesRef, BytesStart, Event};
use serde_json::{Map, Value};

/// `None` when the root is no R5 resource.
pub fn to_json(text: &str, definitions: &Definitions) -> Option<Value> {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => {
                let name = name(&tag);
                definitions.structure(&name)?;
                return resource(&mut reader, &name, definitions);
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn name(tag: &BytesStart) -> String {
    String::from_utf8(tag.local_name().as_ref().to_vec()).unwrap()
}

pub fn attribute_text(attribute: &Attribute) -> String {
    let text = attribute.normalized_value(XmlVersion::Implicit1_0);
    text.unwrap().into_owned()
}

pub fn entity(reference: &BytesRef) -> String {
    match reference.resolve_char_ref().unwrap() {
        Some(c) => c.to_string(),
        None => match &*reference.decode().unwrap() {
            "lt" => "<".into(),
            "gt" => ">".into(),
            "amp" => "&".into(),
            "quot" => "\"".into(),
            "apos" => "'".into(),
            other => panic!("unknown entity {other}"),
        },
    }
}

fn resource(
    reader: &mut Reader<&[u8]>,
    type_name: &str,
    definitions: &Definitions,
) -> Option<Value> {
    let mut object = Map::new();
    object.insert("resourceType".into(), type_name.into());
    children(reader, type_name, definitions, &mut object);
    Some(Value::Object(object))
}

/// Reads child elements up to the end of their parent.
fn children(
    reader: &mut Reader<&[u8]>,
    type_name: &str,
    definitions: &Definitions,
    object: &mut Map<String, Value>,
) {
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => child(reader, &tag, false, type_name, definitions, object),
            Event::Empty(tag) => child(reader, &tag, true, type_name, definitions, object),
            Event::End(_) | Event::Eof => return,
            _ => {}
        }
    }
}

fn child(
    reader: &mut Reader<&[u8]>,
    tag: &BytesStart,
    empty: bool,
    type_name: &str,
    definitions: &Definitions,
    object: &mut Map<String, Value>,
) {
    let key = name(tag);
    let (child_type, array) = element(type_name, &key, definitions)
        .unwrap_or_else(|| panic!("{type_name} has no element {key}"));
    if child_type == "xhtml" {
        let content = reader.read_text(tag.name()).unwrap();
        let content = content.decode().unwrap();
        let start = String::from_utf8(tag.to_vec()).unwrap();
        object.insert(key, format!("<{start}>{}</div>", content).into());
        return;
    }
    let attribute = |name: &str| {
        let found = tag.try_get_attribute(name).unwrap()?;
        Some(attribute_text(&found))
    };
    let mut below = Map::new();
    for name in ["id", "url"] {
        if let Some(value) = attribute(name) {
            below.insert(name.into(), value.into());
        }
    }
    if child_type == "Resource" {
        let mut found = None;
        while found.is_none() {
            match reader.read_event().unwrap() {
                Event::Start(tag) => found = resource(reader, &name(&tag), definitions),
                Event::End(_) => return,
                _ => {}
            }
        }
        // The end of the element around it.
        while !matches!(reader.read_event().unwrap(), Event::End(_)) {}
        return put(object, &key, array, found.unwrap());
    }
    if !empty {
        children(reader, &child_type, definitions, &mut below);
    }
    let primitive = child_type.starts_with(|c: char| c.is_ascii_lowercase());
    if !primitive {
        return put(object, &key, array, Value::Object(below));
    }
    let value = attribute("value").map(|text| match &*child_type {
        "boolean" => Value::Bool(text == "true"),
        "integer" | "unsignedInt" | "positiveInt" | "decimal" => {
            serde_json::from_str(&text).unwrap()
        }
        _ => Value::String(text),
    });
    if below.is_empty() {
        return put(object, &key, array, value.unwrap());
    }
    assert!(!array, "an extension on one of several primitives");
    if let Some(value) = value {
        object.insert(key.clone(), value);
    }
    object.insert(format!("_{key}"), Value::Object(below));
}

fn put(object: &mut Map<String, Value>, key: &str, array: bool, value: Value) {
    if !array {
        object.insert(key.to_owned(), value);
        return;
    }
    let all = object
        .entry(key)
        .or_insert_with(|| Value::Array(Vec::new()));
    all.as_array_mut().unwrap().push(value);
}

/// Type of an XML element, and whether it is an array in JSON.
fn element(type_name: &str, key: &str, definitions: &Definitions) -> Option<(String, bool)> {
    if let Some(found) = definitions.element(type_name, key) {
        return Some((found.types[0].to_owned(), found.array));
    }
    (1..key.len()).find_map(|at| {
        let found = definitions
            .element(type_name, &key[..at])
            .filter(|e| e.choice)?;
        let is = |t: &&str| t.eq_ignore_ascii_case(&key[at..]);
        let type_name = found.types.into_iter().find(is)?;
        Some((type_name.to_owned(), false))
    })
}
