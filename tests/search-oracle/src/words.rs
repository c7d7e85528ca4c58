//! Searches of words, `_text` and `_content` (<https://hl7.org/fhir/R5/search.html#_text>): the words of a text in their plain form, compared whole or
//! by their beginning, side by side within one text.

use crate::text::plain;
use fhir_search::query::TextOf;
use fhir_search::text::TextQuery;
use serde_json::Value;

/// Whether the resource answers the query.
pub(crate) fn answers(of: TextOf, query: &TextQuery, body: &Value) -> bool {
    let mut texts = Vec::new();
    match of {
        TextOf::Narrative => narrative(body, &mut texts),
        TextOf::Sections => sections(body, &mut texts),
        TextOf::Content => all(body, &mut texts),
    }
    let texts: Vec<String> = texts
        .iter()
        .map(|text| format!(" {} ", plain(text)))
        .collect();
    holds(query, &texts)
}

/// Whether one text answers it.
pub(crate) fn are_in(query: &TextQuery, text: &str) -> bool {
    holds(query, &[format!(" {} ", plain(text))])
}

fn holds(query: &TextQuery, texts: &[String]) -> bool {
    match query {
        TextQuery::Words { text, begins } => {
            let end = if *begins { "" } else { " " };
            texts
                .iter()
                .any(|have| have.contains(&format!(" {text}{end}")))
        }
        TextQuery::All(parts) => parts.iter().all(|part| holds(part, texts)),
        TextQuery::Any(parts) => parts.iter().any(|part| holds(part, texts)),
        TextQuery::Not(part) => !holds(part, texts),
    }
}

fn narrative(of: &Value, texts: &mut Vec<String>) {
    if let Some(div) = of.get("text").and_then(|text| text.get("div")?.as_str()) {
        texts.push(without_tags(div));
    }
}

fn sections(of: &Value, texts: &mut Vec<String>) {
    for section in of
        .get("section")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        narrative(section, texts);
        sections(section, texts);
    }
}

fn all(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(without_tags(text)),
        Value::Array(items) => items.iter().for_each(|item| all(item, texts)),
        Value::Object(members) => members.values().for_each(|member| all(member, texts)),
        _ => {}
    }
}

/// Of a narrative what it shows; any other text as it is.
fn without_tags(text: &str) -> String {
    if !text.starts_with("<div") {
        return text.to_owned();
    }
    let shown = text
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, shown)| shown));
    shown.collect::<Vec<_>>().join(" ")
}
