//! Mistakes planted in a query before the engine gets it. A comparison that is worth something finds each of them.

mod change;
mod graph;

pub use graph::{GRAPH_FAULTS, GraphFault};

use change::{clauses, compared, ever, modifier, prefix, tokens, values};
use fhir_search::Query;
use fhir_search::query::{
    Clause, Contained, ContainedType, Modifier, Prefix, ReferenceMatch, SortBy, Summary,
    TextComparison, TextOf, TokenMatch, UnitMatch, ValueMatch,
};
use fhir_search::text::TextQuery;

/// One kind of mistake: its name, and how it changes a query. False: the query has nothing of the kind.
pub type Fault = (&'static str, fn(&mut Query) -> bool);

/// All kinds.
pub const FAULTS: &[Fault] = &[
    ("eq taken for ap", |q| prefix(q, Prefix::Eq, Prefix::Ap)),
    ("ne taken for eq", |q| prefix(q, Prefix::Ne, Prefix::Eq)),
    ("gt taken for ge", |q| prefix(q, Prefix::Gt, Prefix::Ge)),
    ("lt taken for le", |q| prefix(q, Prefix::Lt, Prefix::Le)),
    ("ge taken for gt", |q| prefix(q, Prefix::Ge, Prefix::Gt)),
    ("le taken for lt", |q| prefix(q, Prefix::Le, Prefix::Lt)),
    ("sa taken for gt", |q| prefix(q, Prefix::Sa, Prefix::Gt)),
    ("eb taken for lt", |q| prefix(q, Prefix::Eb, Prefix::Lt)),
    ("ap taken for eq", |q| prefix(q, Prefix::Ap, Prefix::Eq)),
    (":not dropped", |q| {
        modifier(q, Modifier::Not, Modifier::None)
    }),
    (":exact dropped", |q| {
        modifier(q, Modifier::Exact, Modifier::None)
    }),
    (":contains dropped", |q| {
        modifier(q, Modifier::Contains, Modifier::None)
    }),
    (":code-text taken for :text", |q| {
        modifier(q, Modifier::CodeText, Modifier::Text)
    }),
    (":below taken for :above", |q| {
        modifier(q, Modifier::Below, Modifier::Above)
    }),
    (":above taken for :below", |q| {
        modifier(q, Modifier::Above, Modifier::Below)
    }),
    (":not-in taken for :in", |q| {
        modifier(q, Modifier::NotIn, Modifier::In)
    }),
    (":in of half of the value set", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Concepts { tokens, .. } => {
                tokens.truncate(tokens.len() / 2);
                true
            }
            _ => false,
        })
    }),
    (":missing turned round", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Missing { missing, .. } => {
                *missing = !*missing;
                true
            }
            _ => false,
        })
    }),
    (":of-type without the type", |q| {
        values(q, &mut |value| match value {
            ValueMatch::OfType { value: text, .. } => {
                *value = ValueMatch::Token(TokenMatch::Code(text.clone()));
                true
            }
            _ => false,
        }) && modifier(q, Modifier::OfType, Modifier::None)
    }),
    (":identifier without its system", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Reference(ReferenceMatch::Identifier(token)) => {
                let TokenMatch::SystemAndCode(_, code) = token else {
                    return false;
                };
                *token = TokenMatch::Code(code.clone());
                true
            }
            _ => false,
        })
    }),
    ("system ignored", |q| {
        tokens(q, &mut |token| match token {
            TokenMatch::SystemAndCode(_, code) => {
                *token = TokenMatch::Code(code.clone());
                true
            }
            _ => false,
        })
    }),
    ("any system taken for none", |q| {
        tokens(q, &mut |token| match token {
            TokenMatch::NoSystem(code) => {
                *token = TokenMatch::Code(code.clone());
                true
            }
            _ => false,
        })
    }),
    ("no system taken for any", |q| {
        tokens(q, &mut |token| match token {
            TokenMatch::Code(code) => {
                *token = TokenMatch::NoSystem(code.clone());
                true
            }
            _ => false,
        })
    }),
    ("system| taken for a code", |q| {
        tokens(q, &mut |token| match token {
            TokenMatch::System(system) => {
                *token = TokenMatch::Code(system.clone());
                true
            }
            _ => false,
        })
    }),
    ("unit ignored", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Quantity { unit, .. } if *unit != UnitMatch::Any => {
                *unit = UnitMatch::Any;
                true
            }
            _ => false,
        })
    }),
    ("system of the unit ignored", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Quantity { unit, .. } => {
                let UnitMatch::SystemAndCode(_, code) = unit else {
                    return false;
                };
                *unit = UnitMatch::CodeOrUnit(code.clone());
                true
            }
            _ => false,
        })
    }),
    ("string compared by its first letter", |q| {
        values(q, &mut |value| match value {
            ValueMatch::String(text) => match text.char_indices().nth(1) {
                Some((end, _)) => {
                    text.truncate(end);
                    true
                }
                None => false,
            },
            _ => false,
        })
    }),
    ("uri without its end", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Uri(uri) => uri.pop().is_some(),
            _ => false,
        })
    }),
    ("reference without its type", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Reference(ReferenceMatch::Local(keys)) if keys.len() > 1 => {
                keys.truncate(1);
                true
            }
            _ => false,
        })
    }),
    ("another address", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Reference(ReferenceMatch::Url(url)) => url.pop().is_some(),
            _ => false,
        })
    }),
    ("first part of a composite forgotten", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Param { values, .. } => {
                let Some(ValueMatch::Composite(parts)) = values.first_mut() else {
                    return false;
                };
                let Some(ValueMatch::Token(token)) = parts.first_mut() else {
                    return false;
                };
                *token = TokenMatch::Code("forgotten".into());
                true
            }
            _ => false,
        })
    }),
    ("only the first of several values", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Param { values, .. } if values.len() > 1 => {
                values.truncate(1);
                true
            }
            _ => false,
        })
    }),
    ("a condition forgotten", |q| q.filter.pop().is_some()),
    ("a type forgotten", |q| {
        q.types.len() > 1 && q.types.pop().is_some()
    }),
    ("chain over another reference", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Chain { clause, .. } => {
                clause.by_type.clear();
                true
            }
            _ => false,
        })
    }),
    ("condition of a chain forgotten", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Chain { clause, .. } => {
                for (_, inner) in &mut clause.by_type {
                    *inner = Clause::LastUpdated(vec![ever()]);
                }
                true
            }
            _ => false,
        })
    }),
    ("condition of _has forgotten", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Has { clause, .. } => {
                **clause = Clause::LastUpdated(vec![ever()]);
                true
            }
            _ => false,
        })
    }),
    ("the last of the types has no condition", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::ByType(clause) if clause.by_type.len() > 1 => clause.by_type.pop().is_some(),
            _ => false,
        })
    }),
    ("one way into a compartment forgotten", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Any(clauses) if clauses.len() > 1 => clauses.pop().is_some(),
            _ => false,
        })
    }),
    ("members that have left", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::MemberOf { collections, .. } => collections.pop().is_some(),
            _ => false,
        })
    }),
    ("a place farther off", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Near(near) => {
                near.metres *= 100.0;
                true
            }
            _ => false,
        })
    }),
    ("a place south for north", |q| {
        values(q, &mut |value| match value {
            ValueMatch::Point(point) => {
                point.latitude = -point.latitude;
                true
            }
            _ => false,
        })
    }),
    ("words by their beginning", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Text { query, .. } => match query {
                TextQuery::Words { text, begins } if !*begins => {
                    let start = text.chars().next().map(String::from);
                    *text = start.unwrap_or_default();
                    *begins = true;
                    true
                }
                _ => false,
            },
            _ => false,
        })
    }),
    ("words of all for those of sections", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Text { of, .. } if *of == TextOf::Sections => {
                *of = TextOf::Content;
                true
            }
            _ => false,
        })
    }),
    ("not (...) dropped", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Not(inner) => {
                *clause = (**inner).clone();
                true
            }
            _ => false,
        })
    }),
    ("or taken for and", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Any(clauses) if clauses.len() > 1 => {
                *clause = Clause::All(std::mem::take(clauses));
                true
            }
            _ => false,
        })
    }),
    ("one of several with and forgotten", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::All(clauses) if clauses.len() > 1 => clauses.pop().is_some(),
            _ => false,
        })
    }),
    ("one element taken for any", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Element { clause: inner, .. } => {
                *clause = (**inner).clone();
                true
            }
            _ => false,
        })
    }),
    ("whole string taken for its end", |q| {
        compared(q, TextComparison::Equal, TextComparison::EndsWith)
    }),
    ("end of a string taken for the whole", |q| {
        compared(q, TextComparison::EndsWith, TextComparison::Equal)
    }),
    ("another string taken for the same", |q| {
        compared(q, TextComparison::Unequal, TextComparison::Equal)
    }),
    ("a greater string taken for one as great", |q| {
        compared(q, TextComparison::Greater, TextComparison::GreaterOrEqual)
    }),
    ("a lesser string taken for one as small", |q| {
        compared(q, TextComparison::Less, TextComparison::LessOrEqual)
    }),
    ("a string as great taken for a greater one", |q| {
        compared(q, TextComparison::GreaterOrEqual, TextComparison::Greater)
    }),
    ("a string as small taken for a lesser one", |q| {
        compared(q, TextComparison::LessOrEqual, TextComparison::Less)
    }),
    ("co taken for ap", |q| prefix(q, Prefix::Co, Prefix::Ap)),
    ("contained resources alone", |q| {
        std::mem::replace(&mut q.contained, Contained::True) == Contained::Both
    }),
    ("contained resources forgotten", |q| {
        std::mem::take(&mut q.contained) != Contained::False
    }),
    ("container answered for what it contains", |q| {
        q.contained != Contained::False
            && std::mem::take(&mut q.contained_type) == ContainedType::Contained
    }),
    ("_maxresults forgotten", |q| q.results_max.take().is_some()),
    ("_getpagesoffset forgotten", |q| {
        std::mem::take(&mut q.offset) > 0
    }),
    ("an id forgotten", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::Id(ids) => ids.pop().is_some(),
            _ => false,
        })
    }),
    ("_lastUpdated turned round", |q| {
        clauses(q, &mut |clause| match clause {
            Clause::LastUpdated(dates) => {
                for date in dates {
                    date.prefix = match date.prefix {
                        Prefix::Gt | Prefix::Sa => Prefix::Le,
                        Prefix::Lt | Prefix::Eb => Prefix::Ge,
                        Prefix::Ge => Prefix::Lt,
                        Prefix::Le => Prefix::Gt,
                        Prefix::Eq | Prefix::Ap => Prefix::Ne,
                        Prefix::Ne | Prefix::Co => Prefix::Eq,
                    };
                }
                true
            }
            _ => false,
        })
    }),
    ("sort turned round", |q| match q.sort.first_mut() {
        Some(key) => {
            key.descending = !key.descending;
            true
        }
        None => false,
    }),
    ("second sort key forgotten", |q| {
        let several = q.sort.len() > 1;
        q.sort.truncate(1);
        several
    }),
    ("sort by _id for a parameter", |q| {
        match q.sort.first_mut() {
            Some(key) if matches!(key.by, SortBy::Parameter(_)) => {
                key.by = SortBy::Id;
                true
            }
            _ => false,
        }
    }),
    ("sort by _id for _score", |q| match q.sort.first_mut() {
        Some(key) if matches!(key.by, SortBy::Score) => {
            key.by = SortBy::Id;
            true
        }
        _ => false,
    }),
    ("an include forgotten", |q| q.includes.pop().is_some()),
    (":iterate forgotten", |q| {
        let mut changed = false;
        for include in &mut q.includes {
            changed |= std::mem::take(&mut include.iterate);
        }
        changed
    }),
    ("target type of an include forgotten", |q| {
        let mut changed = false;
        for include in &mut q.includes {
            changed |= include.target.take().is_some();
        }
        changed
    }),
    ("_include taken for _revinclude", |q| {
        let mut changed = false;
        for include in &mut q.includes {
            include.reverse = !include.reverse;
            changed = true;
        }
        changed
    }),
    ("_summary=count ignored", |q| {
        std::mem::replace(&mut q.summary, Summary::False) == Summary::Count
    }),
];
