//! Conditions on words in the index: whole words, side by side, beginnings, as [`fhir_search::text`] counts them. How well a text answers is not the index's to say: that
//! is read with the confirmation, so that scores and their order are Postgres's ([`super::ranked`]). Pure.

use super::translate::{any, every, not, term};
use crate::elastic::texts::WORD_MAX;
use fhir_search::Query;
use fhir_search::query::{Clause, TextOf};
use fhir_search::text::TextQuery;
use serde_json::{Value, json};

/// Whether the index can be asked for all words that the search itself asks for; those in chains are looked for before.
pub(super) fn answers(query: &Query) -> bool {
    query.filter.iter().all(of_clause)
}

fn of_clause(clause: &Clause) -> bool {
    match clause {
        Clause::Text { of, query } => *of != TextOf::Sections && is_said(query),
        Clause::Any(clauses) | Clause::All(clauses) => clauses.iter().all(of_clause),
        Clause::Not(clause) => of_clause(clause),
        _ => true,
    }
}

/// The beginning of the last of several words is not: all words that begin so would have to be known.
fn is_said(query: &TextQuery) -> bool {
    match query {
        TextQuery::Words { text, begins } => {
            let mut words = text.split(' ');
            words.all(|word| word.len() <= WORD_MAX) && !(*begins && text.contains(' '))
        }
        TextQuery::All(parts) | TextQuery::Any(parts) => parts.iter().all(is_said),
        TextQuery::Not(part) => is_said(part),
    }
}

pub(super) fn query(of: TextOf, query: &TextQuery) -> Value {
    let field = match of {
        TextOf::Narrative => "narrative",
        TextOf::Content => "content",
        // Never left to the index.
        TextOf::Sections => return json!({"match_none": {}}),
    };
    said(field, query)
}

fn said(field: &str, query: &TextQuery) -> Value {
    let each = |parts: &[TextQuery]| parts.iter().map(|part| said(field, part)).collect();
    match query {
        TextQuery::Words { text, begins: true } => json!({"prefix": {field: text}}),
        TextQuery::Words { text, .. } if text.contains(' ') => {
            json!({"match_phrase": {field: text}})
        }
        TextQuery::Words { text, .. } => term(field, text.as_str()),
        TextQuery::All(parts) => every(each(parts)),
        TextQuery::Any(parts) => any(each(parts)),
        TextQuery::Not(part) => not(said(field, part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_words() {
        let word = |text: &str| json!({"term": {"content": text}});
        for (text, expect) in [
            ("Liver", Some(word("liver"))),
            ("liv*", Some(json!({"prefix": {"content": "liv"}}))),
            ("718-7", Some(json!({"match_phrase": {"content": "718 7"}}))),
            (
                "a AND NOT b",
                Some(json!({"bool": {"filter": [word("a"), {"bool": {"must_not": [word("b")]}}]}})),
            ),
            (
                "a OR b",
                Some(
                    json!({"bool": {"should": [word("a"), word("b")], "minimum_should_match": 1}}),
                ),
            ),
            ("a OR jean-l*", None),
            (&"x".repeat(WORD_MAX), Some(word(&"x".repeat(WORD_MAX)))),
            (&"x".repeat(WORD_MAX + 1), None),
        ] {
            let words = TextQuery::parse(text).unwrap();
            let got = is_said(&words).then(|| query(TextOf::Content, &words));
            assert_eq!(got, expect, "{text}");
        }
    }
}
