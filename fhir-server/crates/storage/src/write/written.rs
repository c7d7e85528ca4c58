//! What a commit writes, as its own conditions and conditional references find it. Looked up by token: a bundle of thousands of entries
//! that refer to each other by identifier must not compare each with each.

use super::lookup::{Resolved, plain_tokens};
use super::plan::{Action, Identity, Plan, Planned};
use crate::search::Matched;
use fhir_model::ResourceKey;
use fhir_search::Query;
use fhir_search::matching::Candidate;
use std::collections::{HashMap, HashSet};

/// What a commit writes, to be found by its own conditions.
pub(super) struct Written {
    pub keys: HashSet<ResourceKey>,
    /// By each token that a condition of the commit asks for alone, the changes whose resource has it.
    having: HashMap<i64, Vec<usize>>,
}

impl Written {
    pub(super) fn of(plan: &Plan, resolved: &Resolved) -> Written {
        let unmatched = |(index, change): (usize, &'_ Planned)| match &change.identity {
            Identity::Match { query, .. } if !resolved.matched.contains_key(&index) => {
                plain_tokens(query)
            }
            _ => None,
        };
        let of_changes = plan.changes.iter().enumerate().filter_map(unmatched);
        let of_references = plan.conditional.iter();
        let of_references = of_references.filter_map(|(.., query)| plain_tokens(query));
        let tokens = of_changes.chain(of_references).flatten();
        let mut written = Written {
            keys: HashSet::new(),
            having: tokens.map(|token| (token, Vec::new())).collect(),
        };
        let also = resolved.also.iter().map(|(_, matched)| matched.key.clone());
        written.keys.extend(also);
        for (index, (change, key)) in plan.changes.iter().zip(&resolved.keys).enumerate() {
            let Some(key) = key.as_ref().filter(|_| !resolved.is_found(plan, index)) else {
                continue;
            };
            written.keys.insert(key.clone());
            let Action::Write { document, .. } = &change.action else {
                continue;
            };
            if !written.having.is_empty() {
                for token in &document.tokens {
                    if let Some(places) = written.having.get_mut(token) {
                        places.push(index);
                    }
                }
            }
        }
        written
    }

    /// The resources of the commit that will match, where they can tell that themselves, each with its change.
    pub(super) fn matching(
        &self,
        plan: &Plan,
        resolved: &Resolved,
        query: &Query,
    ) -> Vec<(usize, Matched)> {
        let rarest = plain_tokens(query).and_then(|tokens| {
            let having = tokens.iter().filter_map(|token| self.having.get(token));
            having.min_by_key(|places| places.len())
        });
        let all = || (0..plan.changes.len()).collect();
        let places: Vec<usize> = rarest.cloned().unwrap_or_else(all);
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for index in places {
            let (change, key) = (&plan.changes[index], &resolved.keys[index]);
            let (Action::Write { document, .. }, Some(key)) = (&change.action, key) else {
                continue;
            };
            if resolved.is_found(plan, index) || !query.types.contains(&change.resource_type) {
                continue;
            }
            let candidate = Candidate::stored(key.clone(), None, document.clone());
            if candidate.matches(query) == Some(true) && seen.insert(key) {
                // The key of a row that is not there yet is filled in when it is made.
                let matched = resolved.matched.get(&index);
                let matched = Matched {
                    pk: matched.map_or(0, |matched| matched.pk),
                    key: key.clone(),
                    version: matched.map_or(0, |matched| matched.version),
                };
                found.push((index, matched));
            }
        }
        found
    }
}

/// The conditional references, each text where it comes first.
pub(super) fn distinct(conditional: &[(usize, String, Query)]) -> Vec<&(usize, String, Query)> {
    let mut seen = HashSet::new();
    let all = conditional.iter();
    all.filter(|(_, text, _)| seen.insert(text.as_str()))
        .collect()
}
