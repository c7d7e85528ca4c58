//! Strings (<https://hl7.org/fhir/R5/search.html#string>): "case-insensitive and accent-insensitive … punctuation and non-significant
//! whitespace may be ignored", from the start of each string.
//!
//! The reading: compatibility forms are taken apart (NFKD), capitals are small, accents and vowel points go (vowel signs of Indic and
//! Burmese scripts are letters), apostrophes and full stops go, any other punctuation and white space is one space. Letters that only
//! look accented (ß, æ, œ, ø, đ, ð, ł, ħ, ı) are what they are usually written as. Text of punctuation alone stays.

use crate::elements::Element;
use fhir_definitions::{ParameterType, SearchParameter};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The plain form of a text.
pub(crate) fn plain(text: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for c in text.nfkd() {
        let word = words.last_mut().expect("there is always one");
        if is_mark(c) || "'.`´\u{2018}\u{2019}\u{2bc}\u{ad}\u{640}".contains(c) {
        } else if separates(c) {
            words.push(String::new());
        } else {
            word.extend(c.to_lowercase().filter(|c| !is_mark(*c)));
        }
    }
    words.retain(|word| !word.is_empty());
    let joined = words.join(" ");
    let mut out = String::new();
    for c in joined.chars() {
        match c {
            'ß' => out += "ss",
            'æ' => out += "ae",
            'œ' => out += "oe",
            'ø' => out += "o",
            'đ' | 'ð' => out += "d",
            'ł' => out += "l",
            'ħ' => out += "h",
            'ı' => out += "i",
            'ς' => out += "σ",
            c => out.push(c),
        }
    }
    match out.is_empty() {
        true => text.trim().to_owned(),
        false => out,
    }
}

fn is_mark(c: char) -> bool {
    is_combining_mark(c) && !('\u{900}'..='\u{109f}').contains(&c)
}

fn separates(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c.is_ascii() && "!\"#%&()*,-/:;?@[\\]_{}".contains(c)
}

/// The strings of an element that a string parameter searches: every part of a name or an address and its text, the text of a concept.
pub(crate) fn strings(element: &Element) -> Vec<String> {
    let parts: &[&str] = match element.type_name.as_str() {
        "HumanName" => &["family", "given", "prefix", "suffix", "text"],
        "Address" => &[
            "line",
            "city",
            "district",
            "state",
            "postalCode",
            "country",
            "text",
        ],
        "Identifier" => &["value"],
        "CodeableConcept" | "Annotation" => &["text"],
        _ => return flat(&element.value),
    };
    parts
        .iter()
        .filter_map(|part| element.value.get(part))
        .flat_map(flat)
        .collect()
}

fn flat(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        _ => Vec::new(),
    }
}

/// Family names may be several words; what they are from each further word on, in plain form.
pub(crate) fn later_words(parameter: &str, element: &Element) -> Vec<String> {
    let names = match (parameter, element.type_name.as_str()) {
        ("family", _) => flat(&element.value),
        (_, "HumanName") => element.value.get("family").map(flat).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for name in names {
        let name = plain(&name);
        let words: Vec<&str> = name.split(' ').collect();
        found.extend((1..words.len()).map(|place| words[place..].join(" ")));
    }
    found
}

/// The texts that people read beside the codes of a token or in a Reference: what `:text` searches.
pub(crate) fn displays(parameter: &SearchParameter, element: &Element) -> Vec<String> {
    let value = &element.value;
    let of_concept = |concept: Option<&Value>| {
        let mut found: Vec<String> = concept
            .and_then(|it| it.get("text"))
            .map(flat)
            .unwrap_or_default();
        let codings = concept.and_then(|it| it.get("coding")?.as_array());
        for coding in codings.into_iter().flatten() {
            found.extend(coding.get("display").map(flat).unwrap_or_default());
        }
        found
    };
    let member = |value: Option<&Value>, name: &str| {
        let text = value.and_then(|it| it.get(name));
        text.map(flat).unwrap_or_default()
    };
    match element.type_name.as_str() {
        "CodeableReference" if parameter.kind == ParameterType::Reference => {
            member(value.get("reference"), "display")
        }
        "CodeableReference" => of_concept(value.get("concept")),
        "CodeableConcept" => of_concept(Some(value)),
        "Coding" | "Reference" => member(Some(value), "display"),
        "Identifier" => member(value.get("type"), "text"),
        _ => Vec::new(),
    }
}
