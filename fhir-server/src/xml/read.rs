//! XML to JSON, guided by the definitions: they say what is a number, what an array, and what comes after what.
//!
//! Refuses a DTD, other encodings than UTF-8, elements and attributes that R5 has not or has in another order, text between elements,
//! and nesting beyond [`json::DEPTH_MAX`]. Comments and processing instructions mean nothing. What a value may be is left to the
//! validation that every write has.

use super::narrative::{is_well_formed, is_xml};
use super::{FHIR, XHTML};
use fhir_definitions::structure::Kind;
use fhir_definitions::{Element, Structure, Structures};
use fhir_model::{Issue, IssueKind, json};
use quick_xml::NsReader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use serde_json::{Map, Number, Value};

/// Reads a resource.
///
/// # Errors
/// Syntax where it is not XML, Structure where it is not FHIR's, with the place.
pub fn read(bytes: &[u8]) -> Result<Value, Issue> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Issue::error(IssueKind::Syntax, "the body is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.chars().all(is_xml) {
        let reason = "the body has a character that XML has not";
        return Err(Issue::error(IssueKind::Syntax, reason));
    }
    let mut walk = Walk {
        text,
        reader: NsReader::from_str(text),
        structures: Structures::r5(),
        place: Vec::new(),
    };
    let resource = walk.only_resource(Ends::Document)?;
    json::check(&resource)?;
    Ok(resource)
}

/// The name of a document's only element, empty where it is not FHIR's; `None` where there is none.
pub fn root(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = NsReader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    loop {
        match reader.read_resolved_event().ok()? {
            (resolved, Event::Start(start) | Event::Empty(start)) => {
                let name = start.local_name();
                return match resolved {
                    ResolveResult::Bound(namespace) if namespace.0 == FHIR.as_bytes() => {
                        Some(String::from_utf8_lossy(name.as_ref()).into_owned())
                    }
                    _ => Some(String::new()),
                };
            }
            (_, Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_)) => {}
            (_, Event::Text(text)) if text.iter().all(u8::is_ascii_whitespace) => {}
            _ => return None,
        }
    }
}

struct Walk<'a> {
    text: &'a str,
    reader: NsReader<&'a [u8]>,
    structures: &'static Structures,
    /// Names from the root to here.
    place: Vec<String>,
}

/// A start tag, and whether its element has content.
struct Tag {
    namespace: Option<Vec<u8>>,
    name: String,
    value: Option<String>,
    id: Option<String>,
    url: Option<String>,
    has_content: bool,
    /// Of its `<` in the text.
    offset: usize,
}

/// What is next among the children of an element.
enum Next {
    Child(Tag),
    End,
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Document,
    Element,
}

/// One element of the definitions and what the document has of it.
struct Found<'d> {
    element: &'d Element,
    name: String,
    is_primitive: bool,
    values: Vec<Value>,
    /// Ids and extensions of primitives.
    siblings: Vec<Value>,
}

impl<'a> Walk<'a> {
    fn refuse(&self, kind: IssueKind, reason: &str) -> Issue {
        match self.place.is_empty() {
            true => Issue::error(kind, reason),
            false => Issue::error(kind, reason).at(self.place.join(".")),
        }
    }

    fn syntax(&self) -> Issue {
        let before = self.reader.buffer_position().min(self.text.len() as u64) as usize;
        let line = 1 + self.text.as_bytes()[..before]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        Issue::error(
            IssueKind::Syntax,
            format!("not well-formed XML at line {line}"),
        )
    }

    /// The next child, or the end; comments and white space are passed over.
    fn next(&mut self, ends: Ends) -> Result<Next, Issue> {
        loop {
            let offset = self.reader.buffer_position() as usize;
            // Owned, so that the reader can be asked again where it went wrong.
            let read = self.reader.read_resolved_event().map(|(resolved, event)| {
                let namespace = match resolved {
                    ResolveResult::Bound(namespace) => Some(namespace.0.to_vec()),
                    _ => None,
                };
                (namespace, event.into_owned())
            });
            let Ok((resolved, event)) = read else {
                return Err(self.syntax());
            };
            match event {
                Event::Start(start) => {
                    return self.tag(resolved, &start, true, offset).map(Next::Child);
                }
                Event::Empty(start) => {
                    return self.tag(resolved, &start, false, offset).map(Next::Child);
                }
                Event::End(_) if ends == Ends::Element => return Ok(Next::End),
                Event::Eof if ends == Ends::Document => return Ok(Next::End),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
                Event::Decl(decl) => {
                    let encoding = decl.encoding().and_then(Result::ok);
                    if encoding.is_some_and(|name| !name.eq_ignore_ascii_case(b"utf-8")) {
                        return Err(self.refuse(IssueKind::Syntax, "the encoding must be UTF-8"));
                    }
                }
                Event::DocType(_) => {
                    return Err(self.refuse(IssueKind::Syntax, "a document type is not allowed"));
                }
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    let kind = match self.place.is_empty() {
                        true => IssueKind::Syntax,
                        false => IssueKind::Structure,
                    };
                    let reason = "text between elements; values are attributes";
                    return Err(self.refuse(kind, reason));
                }
                Event::End(_) | Event::Eof => return Err(self.syntax()),
            }
        }
    }

    fn tag(
        &self,
        namespace: Option<Vec<u8>>,
        start: &BytesStart<'_>,
        has_content: bool,
        offset: usize,
    ) -> Result<Tag, Issue> {
        let mut tag = Tag {
            namespace,
            name: String::from_utf8_lossy(start.local_name().as_ref()).into_owned(),
            value: None,
            id: None,
            url: None,
            has_content,
            offset,
        };
        if tag.namespace.as_deref() != Some(FHIR.as_bytes()) {
            // A narrative's attributes are its own.
            return Ok(tag);
        }
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| self.syntax())?;
            let raw = std::str::from_utf8(&attribute.value).map_err(|_| self.syntax())?;
            // White space that stands as such is a space (XML 1.0, section 3.3.3); what is meant as more is a reference.
            let normal = raw.replace("\r\n", " ").replace(['\n', '\t', '\r'], " ");
            let value = unescape(&normal).map_err(|_| self.syntax())?.into_owned();
            if !value.chars().all(is_xml) {
                let reason = "a reference to a character that XML has not";
                return Err(self.refuse(IssueKind::Syntax, reason));
            }
            match attribute.key.as_ref() {
                b"value" => tag.value = Some(value),
                b"id" => tag.id = Some(value),
                b"url" => tag.url = Some(value),
                name if name == b"xmlns" || name.contains(&b':') => {}
                _ => {
                    let reason = "an attribute that FHIR has not";
                    return Err(self.refuse_child(&tag.name, reason));
                }
            }
        }
        Ok(tag)
    }

    fn refuse_child(&self, name: &str, reason: &str) -> Issue {
        let place = match self.place.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.place.join(".")),
        };
        Issue::error(IssueKind::Structure, reason).at(place)
    }

    /// The one resource that stands here: as document, in `contained`, in an entry.
    fn only_resource(&mut self, ends: Ends) -> Result<Value, Issue> {
        let Next::Child(tag) = self.next(ends)? else {
            return Err(self.refuse(IssueKind::Structure, "a resource must stand here"));
        };
        let structure = self.structures.get(&tag.name).filter(|found| {
            found.kind == Kind::Resource
                && !found.is_abstract
                && tag.namespace.as_deref() == Some(FHIR.as_bytes())
        });
        let Some(structure) = structure else {
            let reason = format!("a resource of R5 in the namespace {FHIR} must stand here");
            return Err(self.refuse(IssueKind::Structure, &reason));
        };
        let is_root = self.place.is_empty();
        if is_root {
            self.place.push(tag.name.clone());
        }
        let mut resource = Map::new();
        resource.insert("resourceType".to_owned(), Value::from(structure.name));
        self.members(structure, tag, &mut resource)?;
        if is_root {
            self.place.pop();
        }
        match self.next(ends)? {
            Next::End => Ok(Value::Object(resource)),
            Next::Child(_) => {
                Err(self.refuse(IssueKind::Structure, "only one resource may stand here"))
            }
        }
    }

    /// The content of an element whose tag was read, as members of an object.
    fn members(
        &mut self,
        structure: &'static Structure,
        tag: Tag,
        members: &mut Map<String, Value>,
    ) -> Result<(), Issue> {
        if self.place.len() > json::DEPTH_MAX {
            let reason = format!("nested deeper than {} levels", json::DEPTH_MAX);
            return Err(self.refuse(IssueKind::TooCostly, &reason));
        }
        let is_resource = structure.kind == Kind::Resource;
        if tag.value.is_some()
            || is_resource && tag.id.is_some()
            || structure.name != "Extension" && tag.url.is_some()
        {
            let reason = "an attribute that this element has not";
            return Err(self.refuse(IssueKind::Structure, reason));
        }
        for (name, value) in [("id", tag.id), ("url", tag.url)] {
            if let Some(value) = value {
                members.insert(name.to_owned(), Value::from(value));
            }
        }
        match tag.has_content {
            true => self.children(structure, members),
            false => Ok(()),
        }
    }

    /// The elements up to an end tag, each in its order.
    fn children(
        &mut self,
        structure: &'static Structure,
        members: &mut Map<String, Value>,
    ) -> Result<(), Issue> {
        let mut last = 0;
        let mut current: Option<Found<'static>> = None;
        while let Next::Child(child) = self.next(Ends::Element)? {
            let Some((position, type_name)) = position(structure, &child.name) else {
                let reason = "an element that R5 does not have here";
                return Err(self.refuse_child(&child.name, reason));
            };
            let element = &structure.elements[position];
            if position < last {
                let reason = "elements are not in the order of the specification";
                return Err(self.refuse_child(&child.name, reason));
            }
            last = position;
            let again = current
                .as_ref()
                .is_some_and(|found| std::ptr::eq(found.element, element));
            if again
                && (!element.is_array()
                    || current
                        .as_ref()
                        .is_some_and(|found| found.name != child.name))
            {
                let reason = "an element that may be there once only";
                return Err(self.refuse_child(&child.name, reason));
            }
            if !again && let Some(found) = current.take() {
                found.put(members);
            }
            let is_primitive = type_name != "xhtml"
                && self
                    .structures
                    .get(type_name)
                    .is_some_and(|of| of.kind == Kind::Primitive);
            let found = current.get_or_insert_with(|| Found {
                element,
                name: child.name.clone(),
                is_primitive,
                values: Vec::new(),
                siblings: Vec::new(),
            });
            self.place.push(match element.is_array() {
                true => format!("{}[{}]", child.name, found.values.len()),
                false => child.name.clone(),
            });
            let (value, sibling) = self.value(type_name, child)?;
            found.values.push(value);
            found.siblings.push(sibling);
            self.place.pop();
        }
        if let Some(found) = current {
            found.put(members);
        }
        Ok(())
    }

    /// The value of a child, and for a primitive what its `_name` says.
    fn value(&mut self, type_name: &'static str, mut tag: Tag) -> Result<(Value, Value), Issue> {
        let wanted = match type_name {
            "xhtml" => XHTML,
            _ => FHIR,
        };
        if tag.namespace.as_deref() != Some(wanted.as_bytes()) {
            return Err(self.refuse(
                IssueKind::Structure,
                &format!("the namespace must be {wanted}"),
            ));
        }
        if type_name == "xhtml" {
            return Ok((self.narrative(&tag)?, Value::Null));
        }
        let Some(structure) = self.structures.get(type_name) else {
            return Err(self.refuse(IssueKind::Structure, "a type that R5 has not"));
        };
        match structure.kind {
            Kind::Resource => match tag.has_content {
                true => Ok((self.only_resource(Ends::Element)?, Value::Null)),
                false => Err(self.refuse(IssueKind::Structure, "a resource must stand here")),
            },
            Kind::Primitive => {
                let value = tag
                    .value
                    .take()
                    .map_or(Value::Null, |text| primitive(type_name, text));
                let mut sibling = Map::new();
                let element = self.structures.get("Element").unwrap_or(structure);
                self.members(element, tag, &mut sibling)?;
                if value.is_null() && sibling.is_empty() {
                    return Err(self.refuse(IssueKind::Structure, "an element without a value"));
                }
                let sibling = match sibling.is_empty() {
                    true => Value::Null,
                    false => Value::Object(sibling),
                };
                Ok((value, sibling))
            }
            Kind::Complex | Kind::Backbone => {
                let mut members = Map::new();
                self.members(structure, tag, &mut members)?;
                match members.is_empty() {
                    true => Err(self.refuse(IssueKind::Structure, "an element without content")),
                    false => Ok((Value::Object(members), Value::Null)),
                }
            }
        }
    }

    /// The narrative as it stands in the document.
    fn narrative(&mut self, tag: &Tag) -> Result<Value, Issue> {
        let mut depth = usize::from(tag.has_content);
        while depth > 0 {
            match self.reader.read_event() {
                Ok(Event::Start(_)) => depth += 1,
                Ok(Event::End(_)) => depth -= 1,
                Ok(Event::DocType(_) | Event::Eof) | Err(_) => return Err(self.syntax()),
                Ok(_) => {}
            }
        }
        let end = self.reader.buffer_position() as usize;
        let div = &self.text[tag.offset..end];
        let start_tag = &div[..div.find('>').unwrap_or(div.len())];
        if !div.starts_with("<div") || !start_tag.contains("xmlns=") {
            let reason = "the narrative must be a div that names its namespace, without a prefix";
            return Err(self.refuse(IssueKind::Structure, reason));
        }
        if !is_well_formed(div) {
            let reason = "the narrative is not well-formed, or has other entities than XML's own";
            return Err(self.refuse(IssueKind::Syntax, reason));
        }
        Ok(Value::from(div))
    }
}

impl Found<'_> {
    fn put(self, members: &mut Map<String, Value>) {
        let is_array = self.element.is_array();
        let one_or_all = |mut values: Vec<Value>| match is_array {
            true => Value::Array(values),
            false => values.pop().unwrap_or_default(),
        };
        if self.values.iter().any(|value| !value.is_null()) {
            members.insert(self.name.clone(), one_or_all(self.values));
        }
        if self.is_primitive && self.siblings.iter().any(|sibling| !sibling.is_null()) {
            members.insert(format!("_{}", self.name), one_or_all(self.siblings));
        }
    }
}

/// Where the element that a name stands for is in the structure, and its type; none for what XML has as attributes.
fn position(structure: &'static Structure, name: &str) -> Option<(usize, &'static str)> {
    let is_attribute = structure.kind != Kind::Resource && name == "id"
        || structure.name == "Extension" && name == "url";
    structure.member(name).filter(|_| !is_attribute)
}

/// JSON's form of a value; what is none is left as text, which validation refuses.
fn primitive(type_name: &str, text: String) -> Value {
    match (type_name, text.as_str()) {
        ("boolean", "true") => Value::Bool(true),
        ("boolean", "false") => Value::Bool(false),
        ("integer" | "unsignedInt" | "positiveInt" | "decimal", _)
            if text.parse::<Number>().is_ok() =>
        {
            // Parsing would rewrite an exponent.
            Value::Number(Number::from_string_unchecked(text))
        }
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inside: &str, expect: &str) {
        let xml = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><!-- c --><Patient xmlns="http://hl7.org/fhir">{inside}</Patient>"#
        );
        match read(xml.as_bytes()) {
            Ok(found) => {
                let expect: Value =
                    serde_json::from_str(&format!(r#"{{"resourceType":"Patient"{expect}}}"#))
                        .unwrap_or_else(|_| panic!("{inside}: {found}"));
                assert_eq!(found, expect, "{inside}");
            }
            Err(issue) => {
                let found = format!(
                    "{} {}",
                    issue.kind.code(),
                    issue.expression.unwrap_or_default()
                );
                assert_eq!(found.trim(), expect, "{inside}: {}", issue.diagnostics);
            }
        }
    }

    #[test]
    fn values() {
        for (inside, expect) in [
            ("", ""),
            (
                r#"<id value="1"/> <!-- x --><?pi?><active value="true"/>"#,
                r#","id":"1","active":true"#,
            ),
            (
                r#"<f:id xmlns:f="http://hl7.org/fhir" value="1"></f:id>"#,
                r#","id":"1""#,
            ),
            (
                r#"<multipleBirthInteger value="2"/>"#,
                r#","multipleBirthInteger":2"#,
            ),
            (
                r#"<name id="n"><given value="a"/><given id="g" value="b"/><given><extension url="u"><valueDecimal value="1.50"/></extension></given></name>"#,
                r#","name":[{"id":"n","given":["a","b",null],"_given":[null,{"id":"g"},{"extension":[{"url":"u","valueDecimal":1.50}]}]}]"#,
            ),
            (
                r#"<birthDate><extension url="u"/></birthDate>"#,
                r#","_birthDate":{"extension":[{"url":"u"}]}"#,
            ),
            (
                "<language value=\"a\nb&#10;&lt;c&#9;\"/>",
                r#","language":"a b\n<c\t""#,
            ),
            (
                r#"<text><status value="empty"/><div xmlns="http://www.w3.org/1999/xhtml"> <b>x</b> &#160;<br/></div></text>"#,
                r#","text":{"status":"empty","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"> <b>x</b> &#160;<br/></div>"}"#,
            ),
            (
                r#"<contained><Basic><id value="b"/></Basic></contained><contained><Basic/></contained>"#,
                r#","contained":[{"resourceType":"Basic","id":"b"},{"resourceType":"Basic"}]"#,
            ),
            (r#"<active value="1"/>"#, r#","active":"1""#),
        ] {
            check(inside, expect);
        }
    }

    #[test]
    fn refused() {
        let deep = format!(
            "{}{}",
            r#"<extension url="u">"#.repeat(200),
            "</extension>".repeat(200)
        );
        for (inside, expect) in [
            (
                r#"<active value="true"/><id value="1"/>"#,
                "structure Patient.id",
            ),
            (r#"<nosuch value="1"/>"#, "structure Patient.nosuch"),
            (r#"<language value="a&#x11;"/>"#, "invalid Patient"),
            ("<language value=\"a\u{11}\"/>", "invalid"),
            (
                r#"<active value="true"/><active value="true"/>"#,
                "structure Patient.active",
            ),
            (
                r#"<multipleBirthInteger value="1"/><multipleBirthBoolean value="true"/>"#,
                "structure Patient.multipleBirthBoolean",
            ),
            (r#"<active/>"#, "structure Patient.active"),
            (r#"<name/>"#, "structure Patient.name[0]"),
            (
                r#"<name><id value="1"/></name>"#,
                "structure Patient.name[0].id",
            ),
            (
                r#"<name url="1"><text value="1"/></name>"#,
                "structure Patient.name[0]",
            ),
            (
                r#"<active value="true" nosuch="1"/>"#,
                "structure Patient.active",
            ),
            (
                r#"<active xmlns="" value="true"/>"#,
                "structure Patient.active",
            ),
            (
                r#"<active value="true">text</active>"#,
                "structure Patient.active",
            ),
            (
                r#"<text><status value="empty"/><div>x</div></text>"#,
                "structure Patient.text.div",
            ),
            (
                r#"<text><status value="empty"/><div xmlns="http://www.w3.org/1999/xhtml">&nbsp;</div></text>"#,
                "invalid Patient.text.div",
            ),
            (
                r#"<contained><Nosuch/></contained>"#,
                "structure Patient.contained[0]",
            ),
            (
                r#"<contained><Basic/><Basic/></contained>"#,
                "structure Patient.contained[0]",
            ),
            (r#"<contained/>"#, "structure Patient.contained[0]"),
            (r#"<active value="&nosuch;"/>"#, "invalid"),
            (r#"<active value="true">"#, "invalid"),
            (r#"<active value="true" value="true"/>"#, "invalid"),
        ] {
            check(inside, expect);
        }
        assert!(
            read(format!(r#"<Patient xmlns="http://hl7.org/fhir">{deep}</Patient>"#).as_bytes())
                .is_err()
        );
        for document in [
            "",
            "x",
            "<",
            "<Patient/>",
            r#"<Patient xmlns="http://hl7.org/fhir"/><Patient xmlns="http://hl7.org/fhir"/>"#,
            r#"<!DOCTYPE x [<!ENTITY a "b">]><Patient xmlns="http://hl7.org/fhir"/>"#,
            r#"<?xml version="1.0" encoding="ISO-8859-1"?><Patient xmlns="http://hl7.org/fhir"/>"#,
            r#"<Resource xmlns="http://hl7.org/fhir"/>"#,
            r#"<HumanName xmlns="http://hl7.org/fhir"/>"#,
        ] {
            assert!(read(document.as_bytes()).is_err(), "{document}");
        }
    }
}
