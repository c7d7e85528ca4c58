//! A body as a write takes it, up to the database: read, validate, extract.
//!
//! What is read is written back as it was sent; a valid resource gives a search document in order and is found by its identifiers.

use crate::shared::{BASE, DEFINITIONS, NOW_MICROS};
use fhir_definitions::ISSUES_MAX;
use fhir_model::{Issue, json};
use fhir_search::document::{STRING_MAX, identity_atoms};
use fhir_search::parse::Context;
use fhir_search::{Candidate, Handling, SearchDocument, parse, search_document};
use serde_json::Value;

pub fn run(input: &[u8]) {
    let Ok(value) = json::parse(input) else {
        return;
    };
    let text = value.to_string();
    assert_eq!(
        numbers(input),
        numbers(text.as_bytes()),
        "numbers keep their text"
    );
    let again = json::parse(text.as_bytes()).expect("what was read can be read again");
    assert_eq!(again, value);
    let issues = DEFINITIONS.validate(&value);
    assert!(issues.len() <= ISSUES_MAX + 1, "{} issues", issues.len());
    if value.is_object() && json::resource_type(&value).is_some() {
        for issue in &issues {
            assert!(issue.expression.is_some(), "{issue:?} names no place");
        }
    }
    if issues.iter().any(Issue::is_error) {
        return;
    }
    let document = search_document(&DEFINITIONS, &value, Some(BASE));
    assert_eq!(document, search_document(&DEFINITIONS, &again, Some(BASE)));
    in_order(&document);
    for atom in identity_atoms(&DEFINITIONS, &value, Some(BASE)) {
        assert!(
            document.tokens.contains(&atom),
            "an identifier is not indexed"
        );
    }
    found_by_identifiers(&value);
}

/// The number literals, in order. `text` is JSON.
fn numbers(text: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        at += match rest[0] {
            b'"' => {
                let mut length = 1;
                while rest[length] != b'"' {
                    length += if rest[length] == b'\\' { 2 } else { 1 };
                }
                length + 1
            }
            b'-' | b'0'..=b'9' => {
                let ends = |byte: &u8| b",]} \t\r\n".contains(byte);
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                found.push(&rest[..length]);
                length
            }
            _ => 1,
        };
    }
    found
}

fn in_order(document: &SearchDocument) {
    fn strictly<T: PartialOrd>(list: &[T]) -> bool {
        list.windows(2).all(|pair| pair[0] < pair[1])
    }
    assert!(strictly(&document.tokens));
    assert!(strictly(&document.references));
    assert!(strictly(&document.dates));
    assert!(strictly(&document.quantities));
    assert!(strictly(&document.strings));
    for string in &document.strings {
        // In a composite 16 digits stand in front.
        assert!(string.value.chars().count() <= STRING_MAX + 16);
        assert!(!string.value.contains('\0'));
    }
}

fn found_by_identifiers(resource: &Value) {
    let resource_type = json::resource_type(resource).unwrap_or_default();
    if DEFINITIONS
        .search_parameter(resource_type, "identifier")
        .is_none()
    {
        return;
    }
    let Some(candidate) = Candidate::read(&DEFINITIONS, resource, Some(BASE)) else {
        return;
    };
    let context = Context {
        definitions: &DEFINITIONS,
        terminology: None,
        base: Some(BASE),
        handling: Handling::Strict,
        now_micros: NOW_MICROS,
        count_default: 20,
        count_max: 1000,
    };
    for identifier in resource["identifier"].as_array().into_iter().flatten() {
        let (Some(system), Some(value)) =
            (identifier["system"].as_str(), identifier["value"].as_str())
        else {
            continue;
        };
        let token = format!("{}|{}", escaped(system), escaped(value));
        let parameters = [("identifier".to_owned(), token)];
        let query = parse(&context, &[resource_type], &parameters);
        let query = query.expect("an identifier that may be stored can be searched");
        assert_eq!(
            candidate.matches(&query),
            Some(true),
            "not found by its identifier"
        );
    }
}

/// <https://hl7.org/fhir/R5/search.html#escaping>
fn escaped(text: &str) -> String {
    let special = |c| matches!(c, '\\' | '$' | ',' | '|');
    let each = text.chars().map(|c| match special(c) {
        true => format!("\\{c}"),
        false => c.to_string(),
    });
    each.collect()
}
