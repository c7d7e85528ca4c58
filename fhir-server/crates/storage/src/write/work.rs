//! The changes of a commit, as far as they are thought through before it has a connection.

use super::plan::Plan;
use crate::change::{Change, Read, Target};
use crate::error::CommitError;
use crate::policy::Rules;
use fhir_definitions::Definitions;
use fhir_search::Query;
use std::collections::HashMap;

/// What is to be committed, thought through as far as that goes.
pub(super) enum Work {
    Planned(Plan),
    /// With patches among them: what they make depends on what is there.
    Patches(Vec<Change>),
}

impl Work {
    pub(super) fn new(
        definitions: &Definitions,
        rules: Rules<'_>,
        changes: Vec<Change>,
    ) -> Result<Work, CommitError> {
        let is_patch = |change: &Change| matches!(change, Change::Patch { .. });
        match changes.iter().any(is_patch) {
            true => Ok(Work::Patches(changes)),
            false => Plan::new(definitions, rules, changes, HashMap::new()).map(Work::Planned),
        }
    }

    /// Whether a condition or a read may name one of the site's own search parameters: it was understood by definitions that have changed.
    pub(super) fn asks_for_own(&self, definitions: &Definitions, reads: &[Read]) -> bool {
        let names_own = |query: &Query| definitions.may_name_own(&query.applied);
        let of_changes = match self {
            Work::Planned(plan) => plan.conditions().any(names_own),
            Work::Patches(changes) => changes.iter().any(|change| match change.target() {
                Target::Match { query, .. } => names_own(query),
                Target::Id(_) | Target::New { .. } => false,
            }),
        };
        let is_of_own = |read: &Read| matches!(read, Read::Search(query, _) if names_own(query));
        of_changes || reads.iter().any(is_of_own)
    }
}
