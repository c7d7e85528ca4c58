//! JSON to XML by way of fhirbolt's generic element.
//!
//! fhirbolt wants `resourceType` before the other members, writes white space in attributes as it stands (a reader would see spaces),
//! trims the narrative, rewrites exponents, and takes the sign from -0. So members are put in order, white space travels as
//! noncharacters, narratives as numbered elements, and such numbers as text.
//! It takes no `id` beside a boolean or a number (`_active.id`): the id of a primitive travels as an extension.

use super::XHTML;
use super::entities::numbered;
use super::narrative::{is_well_formed, is_xml};
use crate::failure::Failure;
use fhir_definitions::Structures;
use fhir_definitions::structure::Kind;
use fhir_model::{IssueKind, json};
use fhirbolt::FhirReleases;
use fhirbolt::element::Element;
use serde_json::{Map, Value, json};

/// What stands for white space while fhirbolt has the text. Noncharacters, which no text that is exchanged may hold.
const STAND_INS: [(char, char, &str); 3] = [
    ('\n', '\u{fdd0}', "&#10;"),
    ('\t', '\u{fdd1}', "&#9;"),
    ('\r', '\u{fdd2}', "&#13;"),
];

/// Begins the extension that carries the id of a primitive. A noncharacter, too.
const ID: char = '\u{fdd3}';
const CARRIED: &str = "<extension url=\"\u{fdd3}";

/// Writes a resource, on one line or with indentation.
///
/// # Errors
/// NotAcceptable (406) where the resource has characters that XML has not, or an element that R5 has not.
pub fn write(resource: Value, pretty: bool) -> Result<String, Failure> {
    let shape = || refuse("it is not of the shape that R5 gives it");
    let structures = Structures::r5();
    // fhirbolt panics where there is no resource to begin with.
    json::resource_type(&resource)
        .and_then(|name| structures.get(name))
        .filter(|found| found.kind == Kind::Resource)
        .ok_or_else(shape)?;
    let mut divs = Vec::new();
    let resource = prepare(resource, &mut divs)?;
    let element: Element<{ FhirReleases::R5 }> =
        fhirbolt::json::from_json_value(resource, None).map_err(|_| shape())?;
    let text = fhirbolt::xml::to_string(&element, None).map_err(|_| shape())?;
    Ok(finish(&text, &divs, pretty))
}

const NOTHING: &str = "an element has no content";

fn refuse(reason: &str) -> Failure {
    Failure::new(
        IssueKind::NotAcceptable,
        format!("this cannot be written in XML: {reason}; ask for JSON"),
    )
}

fn prepare(value: Value, divs: &mut Vec<String>) -> Result<Value, Failure> {
    Ok(match value {
        // What an operation was given, say: nothing of the kind is ever stored.
        Value::Object(members) if members.is_empty() => return Err(refuse(NOTHING)),
        Value::Array(items) if items.is_empty() => return Err(refuse(NOTHING)),
        Value::String(text) if text.is_empty() => return Err(refuse(NOTHING)),
        Value::Object(mut members) => {
            let mut ordered = Map::with_capacity(members.len());
            if let Some(resource_type) = members.shift_remove("resourceType") {
                ordered.insert("resourceType".to_owned(), resource_type);
            }
            for (name, value) in members {
                let value = match (name.as_str(), value) {
                    ("div", Value::String(div)) => {
                        divs.push(narrative(&div)?);
                        Value::String(format!("<div n=\"{}\"/>", divs.len() - 1))
                    }
                    (name, value) => {
                        let mut value = prepare(value, divs)?;
                        if name.starts_with('_') {
                            carry_id(&mut value);
                        }
                        value
                    }
                };
                ordered.insert(name, value);
            }
            Value::Object(ordered)
        }
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| prepare(item, divs))
                .collect::<Result<_, _>>()?,
        ),
        Value::String(text) => Value::String(stand_ins(text)?),
        Value::Number(number)
            if number.as_str() == "-0" || number.as_str().contains(['e', 'E']) =>
        {
            Value::String(number.as_str().to_owned())
        }
        other => other,
    })
}

/// Puts the id of a primitive into an extension before its others.
fn carry_id(sibling: &mut Value) {
    match sibling {
        Value::Array(items) => items.iter_mut().for_each(carry_id),
        Value::Object(members) => {
            if let Some(Value::String(id)) = members.shift_remove("id") {
                let extensions = members
                    .entry("extension")
                    .or_insert(Value::Array(Vec::new()));
                if let Value::Array(extensions) = extensions {
                    extensions.insert(0, json!({ "url": format!("{ID}{id}") }));
                }
            }
        }
        _ => {}
    }
}

fn stand_ins(text: String) -> Result<String, Failure> {
    let is_plain = |c: char| (' '..'\u{fdd0}').contains(&c);
    if text.chars().all(is_plain) {
        return Ok(text);
    }
    text.chars()
        .map(|c| match STAND_INS.iter().find(|(plain, ..)| *plain == c) {
            Some((_, stand_in, _)) => Ok(*stand_in),
            None if is_xml(c) && !('\u{fdd0}'..=ID).contains(&c) => Ok(c),
            None => Err(refuse("a text has a character that XML has not")),
        })
        .collect()
}

/// The narrative as it stands; with the namespace, which JSON does not need, and with numbers for HTML's names of characters, which XML
/// has not without a DTD.
fn narrative(div: &str) -> Result<String, Failure> {
    let div = numbered(div.trim());
    if !is_well_formed(&div) {
        return Err(refuse("a narrative is not well-formed XHTML"));
    }
    let (tag, rest) = div.split_at(div.find('>').unwrap_or(div.len()));
    Ok(match tag.contains("xmlns") {
        true => div,
        false => format!("<div xmlns=\"{XHTML}\"{}{rest}", &tag["<div".len()..]),
    })
}

/// Puts back what [`prepare`] took out.
fn finish(text: &str, divs: &[String], pretty: bool) -> String {
    let mut finished =
        String::with_capacity(text.len() + divs.iter().map(String::len).sum::<usize>());
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '<', '\u{fdd0}', '\u{fdd1}', '\u{fdd2}']) {
        finished.push_str(&rest[..at]);
        rest = &rest[at..];
        let c = rest.chars().next().unwrap_or_default();
        let div = rest.strip_prefix("<div n=\"").and_then(|rest| {
            let (number, rest) = rest.split_once("\"/>")?;
            Some((divs.get(number.parse::<usize>().ok()?)?, rest))
        });
        if let Some((div, after)) = div {
            finished.push_str(div);
            rest = after;
            continue;
        }
        if let Some((id, after)) = rest
            .strip_prefix(CARRIED)
            .and_then(|rest| rest.split_once('"'))
        {
            rest = put_id(&mut finished, id, after);
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match STAND_INS.iter().find(|(_, stand_in, _)| *stand_in == c) {
            Some((_, _, reference)) => finished.push_str(reference),
            // Only fhirbolt's layout has line breaks of its own.
            None if c == '\n' && !pretty => rest = rest.trim_start_matches(' '),
            None => finished.push(c),
        }
    }
    finished.push_str(rest);
    finished
}

/// Puts an id that was carried into the start tag that `finished` ends with; gives what comes after its extension, of which `after` begins
/// with the end of the tag. An element that has nothing else is empty again.
fn put_id<'t>(finished: &mut String, id: &str, after: &'t str) -> &'t str {
    let after = after.split_once('>').map_or("", |(_, after)| after);
    finished.truncate(finished.trim_end().len());
    let start = finished.rfind('<').unwrap_or(0);
    let name = finished[start..].find([' ', '>', '\n']).unwrap_or(0);
    let mut attribute = format!(" id=\"{id}\"");
    for (_, stand_in, reference) in STAND_INS {
        attribute = attribute.replace(stand_in, reference);
    }
    finished.insert_str(start + name, &attribute);
    let end = after.trim_start().strip_prefix("</");
    match end.and_then(|end| end.split_once('>')) {
        Some((_, after)) => {
            finished.truncate(finished.len() - 1);
            finished.push_str("/>");
            after
        }
        None => after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written() {
        for (resource, expect) in [
            (
                r#"{"id":"1","resourceType":"Basic","code":{"text":"a\n\t<&\">b"}}"#,
                r##"<Basic xmlns="http://hl7.org/fhir"><id value="1"/><code><text value="a&#10;&#9;&#60;&#38;&#34;&#62;b"/></code></Basic>"##,
            ),
            (
                r#"{"resourceType":"Patient","birthDate":"2020","active":true,"_birthDate":{"id":"x"}}"#,
                r#"<Patient xmlns="http://hl7.org/fhir"><active value="true"/><birthDate id="x" value="2020"/></Patient>"#,
            ),
            (
                r#"{"resourceType":"Patient","active":true,"_active":{"id":"a&b","extension":[{"url":"u","valueCode":"c"}]},"multipleBirthInteger":2,"_multipleBirthInteger":{"id":"n"}}"#,
                r##"<Patient xmlns="http://hl7.org/fhir"><active id="a&#38;b" value="true"><extension url="u"><valueCode value="c"/></extension></active><multipleBirthInteger id="n" value="2"/></Patient>"##,
            ),
            (
                r#"{"resourceType":"Patient","_active":{"id":"a"},"name":[{"given":["x",null],"_given":[null,{"id":"b"}]}]}"#,
                r#"<Patient xmlns="http://hl7.org/fhir"><active id="a"/><name><given value="x"/><given id="b"/></name></Patient>"#,
            ),
            (
                r#"{"resourceType":"Basic","text":{"status":"empty","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"> <b>a</b> <i>b</i>\n</div>"}}"#,
                "<Basic xmlns=\"http://hl7.org/fhir\"><text><status value=\"empty\"/><div xmlns=\"http://www.w3.org/1999/xhtml\"> <b>a</b> <i>b</i>\n</div></text></Basic>",
            ),
            (
                r#"{"resourceType":"Basic","text":{"status":"empty","div":"<div>x</div>"}}"#,
                r#"<Basic xmlns="http://hl7.org/fhir"><text><status value="empty"/><div xmlns="http://www.w3.org/1999/xhtml">x</div></text></Basic>"#,
            ),
            (
                r#"{"resourceType":"Basic","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\" title=\"&eacute;\">a&nbsp;&lt;&amp;&copy; &#160;</div>"}}"#,
                r#"<Basic xmlns="http://hl7.org/fhir"><text><div xmlns="http://www.w3.org/1999/xhtml" title="&#233;">a&#160;&lt;&amp;&#169; &#160;</div></text></Basic>"#,
            ),
            (
                r#"{"resourceType":"Basic","extension":[{"valueDecimal":1.20e3,"url":"u"},{"url":"v","valueDecimal":-0.010},{"url":"w","valueDecimal":-0}]}"#,
                r#"<Basic xmlns="http://hl7.org/fhir"><extension url="u"><valueDecimal value="1.20e3"/></extension><extension url="v"><valueDecimal value="-0.010"/></extension><extension url="w"><valueDecimal value="-0"/></extension></Basic>"#,
            ),
            (
                r#"{"resourceType":"Bundle","entry":[{"resource":{"id":"2","resourceType":"Basic"}}]}"#,
                r#"<Bundle xmlns="http://hl7.org/fhir"><entry><resource><Basic><id value="2"/></Basic></resource></entry></Bundle>"#,
            ),
        ] {
            let found = write(json::parse(resource.as_bytes()).unwrap(), false).unwrap();
            let found = found
                .strip_prefix(r#"<?xml version="1.0" encoding="UTF-8"?>"#)
                .unwrap();
            assert_eq!(found, expect, "{resource}");
        }
    }

    #[test]
    fn refused() {
        for resource in [
            r#"{"resourceType":"Basic","code":{"text":"a\u0001"}}"#,
            r#"{"resourceType":"Basic","code":{"text":"a\ufdd0"}}"#,
            r#"{"resourceType":"Basic","text":{"div":"<div><b></div>"}}"#,
            r#"{"resourceType":"Basic","text":{"div":"<div>&nosuch;</div>"}}"#,
            r#"{"resourceType":"Basic","text":{"div":"<div>a & b;</div>"}}"#,
            r#"{"resourceType":"Basic","text":{"div":"x"}}"#,
            r#"{"resourceType":"Basic","code":{}}"#,
            r#"{"resourceType":"Basic","extension":[]}"#,
            r#"{"resourceType":"Basic","code":{"text":""}}"#,
            r#"{"resourceType":"Basic","nosuch":1}"#,
            r#"{"resourceType":"Nosuch","id":"1"}"#,
            r#"{"id":"1"}"#,
            "{}",
        ] {
            let resource = json::parse(resource.as_bytes()).unwrap();
            assert!(write(resource.clone(), false).is_err(), "{resource}");
        }
    }
}
