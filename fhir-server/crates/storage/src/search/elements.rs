//! Conditions of `_filter` that only the resource itself decides: on one element alone, on whole strings. The index leads to those that may meet
//! them, which are read ([`super::reading`]).

use super::flat::{StringTest, Test};
use super::resolve::Resolver;
use super::values;
use crate::Error;
use fhir_definitions::SearchParameter;
use fhir_search::Candidate;
use fhir_search::query::{Clause, Modifier, ValueMatch};
use fhir_search::token::STORED;
use fhir_search::union;
use std::sync::atomic::{AtomicBool, Ordering};

impl Resolver<'_> {
    /// Strings compared whole: the index has words of family names beside them, and no ends of long ones.
    pub(super) async fn whole_strings(
        &mut self,
        clause: &Clause,
        parameter: &SearchParameter,
        values: &[ValueMatch],
    ) -> Result<Test, Error> {
        let mut found = values::param(parameter, Modifier::None, values, &self.known)?;
        if values::asks_for_strings(values) && values::has_words(parameter) {
            found = self.meets(found, clause, parameter).await?;
        }
        if values::asks_for_ends(values) {
            let cut = Test::Strings(parameter.own_string_rows(), vec![StringTest::Cut]);
            let read = self.meets(cut, clause, parameter).await?;
            found = Test::Any(vec![found, read]);
        }
        Ok(found)
    }

    /// The rows of the parameter's type among `superset` that meet the clause by themselves.
    pub(super) async fn meets(
        &mut self,
        superset: Test,
        clause: &Clause,
        parameter: &SearchParameter,
    ) -> Result<Test, Error> {
        let (definitions, base) = (self.definitions, self.base);
        let undecided = AtomicBool::new(false);
        let types = std::slice::from_ref(&parameter.resource_type);
        let rows = self
            .read(superset, types, |resource| {
                let candidate = Candidate::read(definitions, resource, base);
                candidate
                    .map_or(Some(false), |candidate| candidate.clause(clause))
                    .unwrap_or_else(|| {
                        undecided.store(true, Ordering::Relaxed);
                        false
                    })
            })
            .await?;
        match undecided.into_inner() {
            true => Err(values::not_supported(parameter, Modifier::None).into()),
            false => Ok(rows),
        }
    }

    /// A test that holds wherever the clause does, by indexes alone.
    pub(super) fn superset(&self, clause: &Clause) -> Test {
        let all = || Test::All(Vec::new());
        if let Some(clause) = union::of_members(clause) {
            return self.superset(&clause);
        }
        match clause {
            Clause::Param {
                parameter,
                modifier,
                values,
            } if !modifier.negates() => match values::asks_for_ends(values) {
                true => Test::Tokens(vec![STORED.present(parameter.key)]),
                false => values::param(parameter, *modifier, values, &self.known)
                    .unwrap_or_else(|_| all()),
            },
            Clause::Missing {
                parameter,
                missing: false,
            } => Test::Tokens(vec![STORED.present(parameter.key)]),
            Clause::Element { parameter, clause } => {
                let present =
                    Test::Tokens(parameter.keys().map(|key| STORED.present(key)).collect());
                Test::All(vec![present, self.superset(clause)])
            }
            Clause::All(clauses) => {
                Test::All(clauses.iter().map(|clause| self.superset(clause)).collect())
            }
            Clause::Any(clauses) => {
                Test::Any(clauses.iter().map(|clause| self.superset(clause)).collect())
            }
            _ => all(),
        }
    }
}
