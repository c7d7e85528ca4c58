//! What a search asks, without what it asks for: names, modifiers, prefixes, kinds and numbers of values. Fit for a log.

use crate::query::{
    ChainedClause, Clause, Include, Modifier, Prefix, Query, SortBy, SortKey, TextOf, TokenMatch,
    Total, ValueMatch,
};
use fhir_definitions::SearchParameter;
use std::sync::Arc;

/// `Observation?code=token&date=ge date&_sort=-date`.
pub fn shape(query: &Query) -> String {
    let mut parts: Vec<String> = query.filter.iter().map(clause).collect();
    if !query.sort.is_empty() {
        let keys: Vec<String> = query.sort.iter().map(sort_key).collect();
        parts.push(format!("_sort={}", keys.join(",")));
    }
    parts.extend(query.includes.iter().map(include));
    parts.push(format!("_count={}", query.count));
    if query.total != Total::Default {
        parts.push(format!("_total={:?}", query.total).to_lowercase());
    }
    if query.offset > 0 {
        parts.push(format!("_getpagesoffset={}", query.offset));
    }
    // As many types as a URL names.
    let types = match query.types.len() {
        0..=10 => query.types.join(","),
        many => format!("{many} types"),
    };
    format!("{types}?{}", parts.join("&"))
}

fn clause(clause: &Clause) -> String {
    match clause {
        Clause::Param {
            parameter,
            modifier,
            values,
        } => format!(
            "{}{}={}",
            parameter.code,
            named(*modifier),
            kinds(values.iter().map(value))
        ),
        Clause::Missing { parameter, missing } => format!("{}:missing={missing}", parameter.code),
        Clause::Chain {
            parameter, clause, ..
        } => match clause.by_type.as_slice() {
            [(target, one)] => format!("{}:{target}.{}", parameter.code, self::clause(one)),
            _ => format!("{}.{}", parameter.code, by_type(clause)),
        },
        Clause::Has { parameter, clause } => format!(
            "_has:{}:{}:{}",
            parameter.resource_type,
            parameter.code,
            self::clause(clause)
        ),
        Clause::ByType(clause) => by_type(clause),
        Clause::Any(clauses) => joined(clauses, " or "),
        Clause::All(clauses) => joined(clauses, " and "),
        Clause::Not(clause) => format!("not({})", self::clause(clause)),
        Clause::Element { parameter, clause } => {
            format!("{}[{}]", parameter.code, self::clause(clause))
        }
        Clause::MemberOf {
            collections,
            active_at,
        } => {
            let code = if active_at.is_some() { "_in" } else { "_list" };
            let collections = collections.iter().map(|_| "collection".to_owned());
            format!("{code}={}", kinds(collections))
        }
        Clause::Text { of, .. } => match of {
            TextOf::Narrative => "_text=words".to_owned(),
            TextOf::Sections => "section-text=words".to_owned(),
            TextOf::Content => "_content=words".to_owned(),
        },
        Clause::Id(ids) => format!("_id={}", kinds(ids.iter().map(|_| "id".to_owned()))),
        Clause::LastUpdated(dates) => {
            let dates = dates.iter().map(|date| prefixed(date.prefix, "date"));
            format!("_lastUpdated={}", kinds(dates))
        }
    }
}

fn joined(clauses: &[Clause], between: &str) -> String {
    let all: Vec<String> = clauses.iter().map(clause).collect();
    format!("({})", all.join(between))
}

fn by_type(clause: &ChainedClause) -> String {
    kinds(clause.by_type.iter().map(|(_, one)| self::clause(one)))
}

/// Each kind once, with how many there are.
fn kinds(all: impl Iterator<Item = String>) -> String {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for kind in all {
        match counted.iter_mut().find(|(there, _)| *there == kind) {
            Some((_, count)) => *count += 1,
            None => counted.push((kind, 1)),
        }
    }
    let shown = counted.into_iter().map(|(kind, count)| match count {
        1 => kind,
        _ => format!("{kind} x{count}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

fn value(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Token(TokenMatch::Code(_)) => "token".to_owned(),
        ValueMatch::Token(TokenMatch::SystemAndCode(..)) => "system|token".to_owned(),
        ValueMatch::Token(TokenMatch::NoSystem(_)) => "|token".to_owned(),
        ValueMatch::Token(TokenMatch::System(_)) => "system|".to_owned(),
        ValueMatch::Concepts { tokens, .. } => format!("{} tokens", tokens.len()),
        ValueMatch::String(_) => "string".to_owned(),
        ValueMatch::Text { comparison, .. } => format!("{comparison:?} string"),
        ValueMatch::Words(_) => "words".to_owned(),
        ValueMatch::Near(_) => "place and distance".to_owned(),
        ValueMatch::Point(_) => "place".to_owned(),
        ValueMatch::Date(date) => prefixed(date.prefix, "date"),
        ValueMatch::Number(number) => prefixed(number.prefix, "number"),
        ValueMatch::Quantity { number, .. } => prefixed(number.prefix, "quantity"),
        ValueMatch::Uri(_) => "uri".to_owned(),
        ValueMatch::OfType { .. } => "system|code|value".to_owned(),
        ValueMatch::Reference(_) => "reference".to_owned(),
        ValueMatch::Composite(parts) => {
            let parts: Vec<String> = parts.iter().map(self::value).collect();
            parts.join("$")
        }
    }
}

fn prefixed(prefix: Prefix, kind: &str) -> String {
    match prefix {
        Prefix::Eq => kind.to_owned(),
        prefix => format!("{} {kind}", format!("{prefix:?}").to_lowercase()),
    }
}

fn named(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::None => "",
        Modifier::Exact => ":exact",
        Modifier::Contains => ":contains",
        Modifier::Text => ":text",
        Modifier::Not => ":not",
        Modifier::In => ":in",
        Modifier::NotIn => ":not-in",
        Modifier::Above => ":above",
        Modifier::Below => ":below",
        Modifier::OfType => ":of-type",
        Modifier::Identifier => ":identifier",
        Modifier::CodeText => ":code-text",
        Modifier::TextAdvanced => ":text-advanced",
    }
}

fn sort_key(SortKey { by, descending }: &SortKey) -> String {
    fn code(parameters: &[Arc<SearchParameter>]) -> &str {
        parameters.first().map_or("", |parameter| &parameter.code)
    }
    fn path(by: &SortBy) -> String {
        match by {
            SortBy::LastUpdated => "_lastUpdated".to_owned(),
            SortBy::Id => "_id".to_owned(),
            SortBy::Score => "_score".to_owned(),
            SortBy::Parameter(parameters) => code(parameters).to_owned(),
            SortBy::Chain { parameters, by, .. } => format!("{}.{}", code(parameters), path(by)),
        }
    }
    format!("{}{}", if *descending { "-" } else { "" }, path(by))
}

fn include(include: &Include) -> String {
    let code = include.parameter.as_ref().map_or("*", |p| p.code.as_str());
    let target = include.target.as_deref().unwrap_or_default();
    format!(
        "{}{}={}:{code}{}{target}",
        if include.reverse {
            "_revinclude"
        } else {
            "_include"
        },
        if include.iterate { ":iterate" } else { "" },
        include.source.as_deref().unwrap_or("*"),
        if target.is_empty() { "" } else { ":" },
    )
}
