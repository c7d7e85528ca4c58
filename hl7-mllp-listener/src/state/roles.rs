//! What a relation of the message means for finding the two things it is about.

use crate::mapping::program::Verb;
use crate::mapping::{Draft, Mappings, Relation};
use std::collections::HashMap;

/// By draft.
pub(super) struct Roles<'a> {
    drafts: &'a [Draft],
    /// Of what moves: the identifiers that tell the two apart.
    apart: HashMap<usize, Vec<(String, String)>>,
    /// Of what changes its identifier: those it had.
    former: Vec<Vec<(String, String)>>,
    /// What is merged away is found as itself, not as what it lives on as.
    replaced: Vec<bool>,
    /// What had the identifiers before is the same thing as this draft.
    renamed: Vec<Option<usize>>,
}

impl<'a> Roles<'a> {
    pub fn new(mappings: &Mappings, drafts: &'a [Draft], relations: &[Relation]) -> Roles<'a> {
        let mut roles = Roles {
            drafts,
            apart: HashMap::new(),
            former: vec![Vec::new(); drafts.len()],
            replaced: vec![false; drafts.len()],
            renamed: vec![None; drafts.len()],
        };
        let kind = |draft: usize| &mappings.program.maps[drafts[draft].map].resource_type;
        for Relation {
            verb,
            what,
            from,
            to,
        } in relations.iter().copied()
        {
            if kind(from) != kind(to) || from == to {
                continue;
            }
            match verb {
                Verb::Merge => roles.replaced[from] = true,
                Verb::Change => {
                    roles.former[to].clone_from(&drafts[from].identifiers);
                    roles.renamed[from] = Some(to);
                }
                // Identifiers that both name are what moves: they do not tell the two apart.
                Verb::Move if what.is_none() => {
                    for (own, other) in [(from, to), (to, from)] {
                        let shared = &drafts[other].identifiers;
                        let mut apart = drafts[own].identifiers.clone();
                        apart.retain(|identifier| !shared.contains(identifier));
                        if !apart.is_empty() {
                            roles.apart.insert(own, apart);
                        }
                    }
                }
                Verb::Move | Verb::Link | Verb::Unlink => {}
            }
        }
        roles
    }

    pub fn identifiers(&self, draft: usize) -> &[(String, String)] {
        let apart = self.apart.get(&draft);
        apart.unwrap_or(&self.drafts[draft].identifiers)
    }

    pub fn former(&self, draft: usize) -> &[(String, String)] {
        &self.former[draft]
    }

    pub fn is_replaced(&self, draft: usize) -> bool {
        self.replaced[draft]
    }

    pub fn renamed(&self, draft: usize) -> Option<usize> {
        self.renamed[draft]
    }
}
