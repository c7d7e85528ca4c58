//! How far the index of a database follows the definitions: which parameters answer searches, and which do not yet or no longer.
//!
//! Told by the store, which knows; a snapshot holds what was so when it was made.

use crate::own_parameters::is_own;
use crate::parameter::{ParameterKey, SearchParameter};
use crate::{Definitions, search_parameters};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the store knows of its index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexState {
    /// Of the definitions that resources must be indexed by; grows with each change of them.
    pub epoch: i64,
    /// Parameters by which not every resource is indexed yet, with how many percent are, 0 to 99.
    pub parameters: BTreeMap<ParameterKey, u8>,
    /// Types of which nothing is right yet (all parameters, with the percent), by number.
    pub types: BTreeMap<i16, u8>,
}

/// Whether a parameter is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Answers,
    /// So many percent of the resources are indexed, 0 to 99.
    Indexing(u8),
    /// A stored SearchParameter says that it is `retired`.
    Retired,
}

impl Definitions {
    /// These, with what the store knows of its index.
    pub fn with_index(&self, index: IndexState) -> Definitions {
        Definitions {
            index: Arc::new(index),
            ..self.clone()
        }
    }

    pub fn index(&self) -> &IndexState {
        &self.index
    }

    /// Whether searches by this parameter are answered.
    pub fn state(&self, parameter: &SearchParameter) -> State {
        if self.stored.retired.contains(&parameter.key) {
            return State::Retired;
        }
        let IndexState {
            parameters, types, ..
        } = &*self.index;
        if types.is_empty() && parameters.is_empty() {
            return State::Answers;
        }
        let of_type = || types.get(&self.type_number(&parameter.resource_type)?);
        let percent = parameters.get(&parameter.key).or_else(of_type);
        percent.map_or(State::Answers, |percent| State::Indexing(*percent))
    }

    /// The site's own parameters, with a hash of what each finds in a resource.
    pub fn own_parameters(&self) -> impl Iterator<Item = (&Arc<SearchParameter>, u64)> {
        let all = self.parameters.iter().flatten();
        all.filter(|p| is_own(p.key))
            .map(|p| (p, search_parameters::hash(p)))
    }

    /// Whether the parameters of a URL may name one of the site's own, which another server may be about to change. Never no where they do.
    pub fn may_name_own(&self, parameters: &[(String, String)]) -> bool {
        self.own_codes.iter().any(|code| {
            let code = code.as_str();
            parameters.iter().any(|(name, value)| {
                name.contains(code) || name.starts_with('_') && value.contains(code)
            })
        })
    }
}
