//! How often each node, modifier, prefix and form of a value occurred in the searches that were compared.

use fhir_search::Query;
use fhir_search::query::{
    ChainedClause, Clause, Contained, ContainedType, Modifier, Prefix, ReferenceMatch, SortBy,
    Summary, TextOf, TokenMatch, Total, UnitMatch, ValueMatch,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that a search can be made of, by the name it is counted under.
pub const KINDS: &[&str] = &[
    "clause all",
    "clause any",
    "clause by type",
    "clause chain",
    "clause element",
    "clause has",
    "clause id",
    "clause in",
    "clause lastUpdated",
    "clause list",
    "clause missing=false",
    "clause missing=true",
    "clause not",
    "clause param",
    "clause text",
    "contained both",
    "contained true",
    "contained type contained",
    "contained type container",
    "include",
    "include iterate",
    "include target",
    "include wildcard",
    "modifier above",
    "modifier below",
    "modifier code-text",
    "modifier contains",
    "modifier exact",
    "modifier identifier",
    "modifier in",
    "modifier none",
    "modifier not",
    "modifier not-in",
    "modifier of-type",
    "modifier text",
    "modifier text-advanced",
    "offset",
    "prefix ap",
    "prefix co",
    "prefix eb",
    "prefix eq",
    "prefix ge",
    "prefix gt",
    "prefix le",
    "prefix lt",
    "prefix ne",
    "prefix sa",
    "reference here",
    "reference identifier",
    "reference url",
    "results max",
    "revinclude",
    "revinclude iterate",
    "revinclude target",
    "revinclude wildcard",
    "sort ascending",
    "sort chain",
    "sort descending",
    "sort id",
    "sort lastUpdated",
    "sort parameter",
    "sort score",
    "summary count",
    "text endswith",
    "text equal",
    "text greater",
    "text greaterorequal",
    "text less",
    "text lessorequal",
    "text unequal",
    "token code",
    "token no system",
    "token system",
    "token system and code",
    "total accurate",
    "total default",
    "total estimate",
    "total none",
    "unit any",
    "unit code or unit",
    "unit system and code",
    "value composite",
    "value concepts",
    "value date",
    "value near",
    "value number",
    "value of-type",
    "value point",
    "value quantity",
    "value reference",
    "value string",
    "value text",
    "value token",
    "value uri",
    "value words",
    "words of content",
    "words of narrative",
    "words of sections",
];

/// The same of `_graph`.
pub const GRAPH_KINDS: &[&str] = &[
    "graph by id",
    "graph by url",
    "graph by version",
    "graph link back",
    "graph link by path",
    "graph link by search",
    "graph node of every type",
    "graph with includes",
    "graph with several types",
];

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub counts: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts each thing of the query once, however often it stands in it.
    pub fn add(&mut self, query: &Query) {
        let mut names = Vec::new();
        for clause in &query.filter {
            self::clause(clause, &mut names);
        }
        for key in &query.sort {
            names.push(match key.descending {
                true => "sort descending".into(),
                false => "sort ascending".into(),
            });
            names.push(match &key.by {
                SortBy::LastUpdated => "sort lastUpdated".into(),
                SortBy::Id => "sort id".into(),
                SortBy::Parameter(_) => "sort parameter".into(),
                SortBy::Chain { .. } => "sort chain".into(),
                SortBy::Score => "sort score".into(),
            });
        }
        for include in &query.includes {
            let name = if include.reverse {
                "revinclude"
            } else {
                "include"
            };
            names.push(name.to_owned());
            if include.iterate {
                names.push(format!("{name} iterate"));
            }
            if include.parameter.is_none() {
                names.push(format!("{name} wildcard"));
            }
            if include.target.is_some() {
                names.push(format!("{name} target"));
            }
        }
        names.push(match query.total {
            Total::Default => "total default".into(),
            Total::None => "total none".into(),
            Total::Estimate => "total estimate".into(),
            Total::Accurate => "total accurate".into(),
        });
        if query.summary == Summary::Count {
            names.push("summary count".into());
        }
        if query.offset > 0 {
            names.push("offset".into());
        }
        if query.results_max.is_some() {
            names.push("results max".into());
        }
        if query.contained != Contained::False {
            names.push(match query.contained {
                Contained::Both => "contained both".into(),
                _ => "contained true".into(),
            });
            names.push(match query.contained_type {
                ContainedType::Container => "contained type container".into(),
                ContainedType::Contained => "contained type contained".into(),
            });
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            *self.counts.entry(name).or_default() += 1;
        }
    }

    /// The same of the GraphDefinition that the query names.
    pub fn add_graph(&mut self, query: &Query, graph: &Value) {
        let name = query.graph.as_deref().unwrap_or_default();
        let mut names = vec![match name {
            _ if name.contains("GraphDefinition/") => "graph by id",
            _ if name.contains('|') => "graph by version",
            _ => "graph by url",
        }];
        for node in graph["node"].as_array().into_iter().flatten() {
            if node["type"] == "Resource" {
                names.push("graph node of every type");
            }
        }
        for link in graph["link"].as_array().into_iter().flatten() {
            names.push(match link.get("params") {
                Some(_) => "graph link by search",
                None => "graph link by path",
            });
            // Nodes are numbered in the order in which links first lead to them.
            if link["targetId"].as_str() <= link["sourceId"].as_str() {
                names.push("graph link back");
            }
        }
        if !query.includes.is_empty() {
            names.push("graph with includes");
        }
        if query.types.len() > 1 {
            names.push("graph with several types");
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            *self.counts.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Which of these occurred less often than that.
    pub fn rarer_than(&self, least: u64, kinds: &[&'static str]) -> Vec<(&'static str, u64)> {
        let count = |name: &&'static str| (*name, self.counts.get(*name).copied().unwrap_or(0));
        let all = kinds.iter().map(count);
        all.filter(|(_, count)| *count < least).collect()
    }
}

fn clause(clause: &Clause, names: &mut Vec<String>) {
    match clause {
        Clause::Param {
            parameter: _,
            modifier,
            values,
        } => {
            names.push("clause param".into());
            names.push(format!("modifier {}", modifier_name(*modifier)));
            for value in values {
                self::value(value, names);
            }
        }
        Clause::Missing { missing, .. } => names.push(format!("clause missing={missing}")),
        Clause::Chain { clause, .. } => {
            names.push("clause chain".into());
            chained(clause, names);
        }
        Clause::Has { clause, .. } => {
            names.push("clause has".into());
            self::clause(clause, names);
        }
        Clause::ByType(clause) => {
            names.push("clause by type".into());
            chained(clause, names);
        }
        Clause::Any(clauses) => {
            names.push("clause any".into());
            for clause in clauses {
                self::clause(clause, names);
            }
        }
        Clause::All(clauses) => {
            names.push("clause all".into());
            for clause in clauses {
                self::clause(clause, names);
            }
        }
        Clause::Not(clause) => {
            names.push("clause not".into());
            self::clause(clause, names);
        }
        Clause::Element { clause, .. } => {
            names.push("clause element".into());
            self::clause(clause, names);
        }
        Clause::Text { of, .. } => {
            names.push("clause text".into());
            names.push(match of {
                TextOf::Narrative => "words of narrative".into(),
                TextOf::Sections => "words of sections".into(),
                TextOf::Content => "words of content".into(),
            });
        }
        Clause::MemberOf { active_at, .. } => names.push(match active_at {
            Some(_) => "clause in".into(),
            None => "clause list".into(),
        }),
        Clause::Id(_) => names.push("clause id".into()),
        Clause::LastUpdated(dates) => {
            names.push("clause lastUpdated".into());
            names.extend(dates.iter().map(|date| prefix(date.prefix)));
        }
        #[allow(
            unreachable_patterns,
            reason = "what the AST gains is not counted until it is named here"
        )]
        other => names.push(format!("clause {other:?}").chars().take(20).collect()),
    }
}

fn chained(chained: &ChainedClause, names: &mut Vec<String>) {
    for (_, clause) in &chained.by_type {
        self::clause(clause, names);
    }
}

fn value(value: &ValueMatch, names: &mut Vec<String>) {
    let name = match value {
        ValueMatch::Token(token) => {
            names.push(self::token(token));
            "token"
        }
        ValueMatch::String(_) => "string",
        ValueMatch::Date(date) => {
            names.push(prefix(date.prefix));
            "date"
        }
        ValueMatch::Number(number) => {
            names.push(prefix(number.prefix));
            "number"
        }
        ValueMatch::Quantity { number, unit } => {
            names.push(prefix(number.prefix));
            names.push(match unit {
                UnitMatch::Any => "unit any".into(),
                UnitMatch::CodeOrUnit(_) => "unit code or unit".into(),
                UnitMatch::SystemAndCode(..) => "unit system and code".into(),
            });
            "quantity"
        }
        ValueMatch::Uri(_) => "uri",
        ValueMatch::Near(_) => "near",
        ValueMatch::Point(_) => "point",
        ValueMatch::Words(_) => "words",
        ValueMatch::Concepts { .. } => "concepts",
        ValueMatch::Text { comparison, .. } => {
            names.push(format!("text {comparison:?}").to_lowercase());
            "text"
        }
        ValueMatch::OfType { .. } => "of-type",
        ValueMatch::Reference(reference) => {
            names.push(match reference {
                ReferenceMatch::Local(_) => "reference here".into(),
                ReferenceMatch::Url(_) => "reference url".into(),
                ReferenceMatch::Identifier(_) => "reference identifier".into(),
            });
            "reference"
        }
        ValueMatch::Composite(parts) => {
            for part in parts {
                self::value(part, names);
            }
            "composite"
        }
        #[allow(
            unreachable_patterns,
            reason = "what the AST gains is not counted until it is named here"
        )]
        _ => "of another kind",
    };
    names.push(format!("value {name}"));
}

fn token(token: &TokenMatch) -> String {
    match token {
        TokenMatch::Code(_) => "token code",
        TokenMatch::SystemAndCode(..) => "token system and code",
        TokenMatch::NoSystem(_) => "token no system",
        TokenMatch::System(_) => "token system",
    }
    .into()
}

fn prefix(prefix: Prefix) -> String {
    format!("prefix {prefix:?}").to_lowercase()
}

fn modifier_name(modifier: Modifier) -> String {
    match modifier {
        Modifier::OfType => "of-type".into(),
        Modifier::NotIn => "not-in".into(),
        Modifier::CodeText => "code-text".into(),
        Modifier::TextAdvanced => "text-advanced".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}
