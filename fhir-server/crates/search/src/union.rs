//! Parameters that are made of others ([`SearchParameter::members`]): nothing is indexed under their own numbers, so that a condition on one is
//! looked up as conditions on those.

use crate::query::Clause;
use fhir_definitions::SearchParameter;
use std::sync::Arc;

/// The clause by the members of its parameter; `None` where that has none.
pub fn of_members(clause: &Clause) -> Option<Clause> {
    let (parameter, all) = match clause {
        Clause::Param {
            parameter,
            modifier,
            ..
        } => (parameter, modifier.negates()),
        Clause::Missing { parameter, missing } => (parameter, *missing),
        _ => return None,
    };
    if parameter.members.is_empty() {
        return None;
    }
    let members = parameter.members.iter();
    let clauses = members.map(|member| by(clause, member)).collect();
    Some(match all {
        true => Clause::All(clauses),
        false => Clause::Any(clauses),
    })
}

fn by(clause: &Clause, member: &Arc<SearchParameter>) -> Clause {
    let mut clause = clause.clone();
    if let Clause::Param { parameter, .. } | Clause::Missing { parameter, .. } = &mut clause {
        *parameter = member.clone();
    }
    clause
}
