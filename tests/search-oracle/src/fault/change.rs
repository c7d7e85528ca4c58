//! Ways to change parts of a query, wherever they stand in it. Each says whether there was something to change.

use fhir_search::Query;
use fhir_search::query::{
    ChainedClause, Clause, DateMatch, Modifier, NumberMatch, Prefix, TextComparison, TokenMatch,
    ValueMatch,
};

pub(super) fn ever() -> DateMatch {
    DateMatch {
        prefix: Prefix::Gt,
        range: fhir_model::DateRange { lo: 0, hi: 0 },
    }
}

pub(super) fn prefix(query: &mut Query, from: Prefix, to: Prefix) -> bool {
    let mut changed = false;
    let mut swap = |prefix: &mut Prefix| {
        if *prefix == from {
            *prefix = to;
            changed = true;
        }
    };
    values(query, &mut |value| {
        match value {
            ValueMatch::Date(DateMatch { prefix, .. })
            | ValueMatch::Number(NumberMatch { prefix, .. })
            | ValueMatch::Quantity {
                number: NumberMatch { prefix, .. },
                ..
            } => swap(prefix),
            _ => {}
        }
        false
    });
    changed
}

pub(super) fn compared(query: &mut Query, from: TextComparison, to: TextComparison) -> bool {
    values(query, &mut |value| match value {
        ValueMatch::Text { comparison, .. } if *comparison == from => {
            *comparison = to;
            true
        }
        _ => false,
    })
}

pub(super) fn modifier(query: &mut Query, from: Modifier, to: Modifier) -> bool {
    clauses(query, &mut |clause| match clause {
        Clause::Param { modifier, .. } if *modifier == from => {
            *modifier = to;
            true
        }
        _ => false,
    })
}

pub(super) fn tokens(query: &mut Query, change: &mut dyn FnMut(&mut TokenMatch) -> bool) -> bool {
    values(query, &mut |value| match value {
        ValueMatch::Token(token) => change(token),
        _ => false,
    })
}

/// Changes every value, the parts of composites too.
pub(super) fn values(query: &mut Query, change: &mut dyn FnMut(&mut ValueMatch) -> bool) -> bool {
    clauses(query, &mut |clause| match clause {
        Clause::Param { values, .. } => {
            let mut changed = false;
            for value in values {
                changed |= change(value);
                if let ValueMatch::Composite(parts) = value {
                    for part in parts {
                        changed |= change(part);
                    }
                }
            }
            changed
        }
        _ => false,
    })
}

/// Changes every clause, the inner ones too.
pub(super) fn clauses(query: &mut Query, change: &mut dyn FnMut(&mut Clause) -> bool) -> bool {
    let mut changed = false;
    for clause in &mut query.filter {
        changed |= within(clause, change);
    }
    changed
}

fn within(clause: &mut Clause, change: &mut dyn FnMut(&mut Clause) -> bool) -> bool {
    let mut changed = change(clause);
    match clause {
        Clause::Chain { clause, .. } => changed |= chained(clause, change),
        Clause::ByType(clause) => changed |= chained(clause, change),
        Clause::Has { clause, .. } | Clause::Not(clause) | Clause::Element { clause, .. } => {
            changed |= within(clause, change);
        }
        Clause::Any(clauses) | Clause::All(clauses) => {
            for clause in clauses {
                changed |= within(clause, change);
            }
        }
        _ => {}
    }
    changed
}

fn chained(chained: &mut ChainedClause, change: &mut dyn FnMut(&mut Clause) -> bool) -> bool {
    let mut changed = false;
    for (_, clause) in &mut chained.by_type {
        changed |= within(clause, change);
    }
    changed
}
