//! Chains and `_has`: bounded lists of rows, or tests on each row.
//!
//! The inner set of a chain is fetched first when it is small, because the database does the two steps apart a thousand times faster
//! than as one statement. When it is large, hits are frequent and testing each candidate is cheap; so it is when few candidates are left.

use super::estimate::{Counted, Estimates, known_hits};
use super::finding::PROBE_MS;
use super::flat::Test;
use super::plan::{LOOKUPS_MAX, UNEVEN};
use super::reading::{may_contain, reads};
use super::resolve::{Resolver, type_number};
use super::sql::{self, reference};
use crate::Error;
use fhir_definitions::SearchParameter;
use fhir_search::canonical::holds_canonicals;
use fhir_search::query::{ChainedClause, Clause};

/// How far chains and `_has` are resolved before the outer search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Most references that are looked up in the index one by one; more of them are tested row by row.
    pub lookup_max: usize,
    /// Most rows that are fetched.
    pub fetch_max: usize,
    /// Whether the search ends where there is a page.
    pub paged: bool,
    /// Whether conditions on words are left to an index of them.
    pub words: bool,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach {
            lookup_max: 200,
            fetch_max: 20_000,
            paged: false,
            words: false,
        }
    }
}

/// Rows of which it is found in a millisecond what they point at.
const FETCHED_PER_MS: f64 = 300.0;

/// Rows that are found, and whether others may lead into what they contain.
struct Leading {
    test: Test,
    may_contain: bool,
}

impl Resolver<'_> {
    pub(super) async fn chain(
        &mut self,
        parameter: &SearchParameter,
        clause: &ChainedClause,
    ) -> Result<Test, Error> {
        let narrowed = match clause.by_type.iter().any(|(_, clause)| reads(clause)) {
            true => self.targets_of_scope(parameter, clause).await?,
            false => None,
        };
        let outer = self.outside();
        self.scope.extend(narrowed);
        let points = self.points(parameter, clause).await;
        self.back(outer);
        let points = points?;
        let within = match points.may_contain {
            true => self.chain_within(parameter, clause).await?,
            false => Test::never(),
        };
        Ok(match within == Test::never() {
            true => points.test,
            false => Test::Any(vec![points.test, within]),
        })
    }

    /// The rows whose reference leads to a resource of its own that meets the clause.
    async fn points(
        &mut self,
        parameter: &SearchParameter,
        clause: &ChainedClause,
    ) -> Result<Leading, Error> {
        let inner = self.by_type(clause).await?;
        let superset = may_contain(parameter, clause);
        let literal = self
            .literal_chain(parameter.key.0, inner.clone(), &superset)
            .await?;
        if !holds_canonicals(parameter) {
            return Ok(literal);
        }
        let canonical = self.canonical_chain(parameter, &inner).await?;
        Ok(Leading {
            test: either(literal.test, canonical),
            ..literal
        })
    }

    /// What the index has as a reference to a row. The same statement asks for rows of the `superset`, of which there seldom are any.
    async fn literal_chain(
        &mut self,
        key: i16,
        inner: Test,
        superset: &Test,
    ) -> Result<Leading, Error> {
        let tested = |inner| Leading {
            test: Test::Points(key, Box::new(inner)),
            may_contain: true,
        };
        if known_hits(&inner, self.statistics) > self.reach.fetch_max as f64 {
            return Ok(tested(inner));
        }
        let most = self.reach.fetch_max;
        let targets: Vec<Option<i64>> = sql::rows_and_any(&inner, most as i64 + 1, superset)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        let may_contain = targets.contains(&None);
        let targets = targets.into_iter().flatten();
        let references: Vec<i64> = targets.map(|pk| reference(key, pk)).collect();
        Ok(match references.len() > most {
            true => tested(inner),
            false => Leading {
                test: self.any_reference(references),
                may_contain,
            },
        })
    }

    /// One of so many references.
    pub(super) fn any_reference(&self, references: Vec<i64>) -> Test {
        match references.len() <= self.reach.lookup_max {
            true => Test::References(references),
            false => Test::AnyOfReferences(references),
        }
    }

    pub(super) async fn has(
        &mut self,
        parameter: &SearchParameter,
        clause: &Clause,
        types: &[String],
    ) -> Result<Test, Error> {
        let source = std::slice::from_ref(&parameter.resource_type);
        let narrowed = match reads(clause) {
            true => self.sources_of_scope(parameter).await?,
            false => None,
        };
        let outer = self.outside();
        self.scope.extend(narrowed);
        let inner = Box::pin(self.test(clause, source)).await;
        self.back(outer);
        let mut inner = inner?;
        if !inner.typed() {
            let number = type_number(self.definitions, &parameter.resource_type)?;
            inner = Test::All(vec![Test::Type(vec![number]), inner]);
        }
        if !holds_canonicals(parameter) {
            return self.literal_has(parameter.key.0, inner, types).await;
        }
        let rows = self.canonical_has(parameter, &inner, types).await?;
        let literal = self.literal_has(parameter.key.0, inner, types).await?;
        Ok(either(literal, Test::Rows(rows)))
    }

    async fn literal_has(
        &mut self,
        key: i16,
        inner: Test,
        types: &[String],
    ) -> Result<Test, Error> {
        let sources = known_hits(&inner, self.statistics);
        let fetched_ms = sources / FETCHED_PER_MS;
        let asks = self.asked(types, sources)?;
        let asked_ms = asks.map(|rows| rows * PROBE_MS);
        if sources > self.reach.fetch_max as f64 || asked_ms.is_some_and(|ms| ms < fetched_ms) {
            return Ok(Test::PointedAt(key, Box::new(inner)));
        }
        let mut rows: Vec<i64> = sql::targets(key, &inner, self.reach.fetch_max as i64 + 1)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.len() > self.reach.fetch_max {
            return Ok(Test::PointedAt(key, Box::new(inner)));
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(Test::Rows(rows))
    }

    /// Of how many rows it would have to be asked whether one of so many `sources` points at them: those that the scope leaves, or those that are
    /// looked at until there is a page. `None` where that cannot be told.
    fn asked(&self, types: &[String], sources: f64) -> Result<Option<f64>, Error> {
        let numbers = types.iter().map(|name| type_number(self.definitions, name));
        let numbers = numbers.collect::<Result<Vec<i16>, Error>>()?;
        if !self.outermost || !self.statistics.know(&numbers) {
            return Ok(None);
        }
        let counted = Counted::default();
        let scope = Estimates::of(&self.scope, &numbers, self.statistics, &counted);
        let left = scope.known(&self.scope).filter(|rows| *rows <= LOOKUPS_MAX);
        let page = self.page.map(|matches| {
            // If they point at random.
            let pointed_at = 1.0 - (-sources / scope.all).exp();
            let part = (pointed_at * scope.selectivity(|_| true)).max(1e-9);
            UNEVEN * matches as f64 / part
        });
        Ok(left.into_iter().chain(page).reduce(f64::min))
    }
}

pub(super) fn either(a: Test, b: Test) -> Test {
    let nothing = |test: &Test| match test {
        Test::Rows(rows) => rows.is_empty(),
        Test::References(references) => references.is_empty(),
        _ => false,
    };
    match (nothing(&a), nothing(&b)) {
        (_, true) => a,
        (true, false) => b,
        (false, false) => Test::Any(vec![a, b]),
    }
}
