//! What no index answers is decided by reading: the resources that the other conditions leave are looked at one by one, and those that meet the
//! clause become a list of rows.
//!
//! [`Resolver::read`] is for clauses that a resource alone decides, [`Resolver::judge`] for those that ask of other resources as well. Both
//! look at no more than [`READ_MAX`] resources per search, and no longer than [`READ_SECONDS_MAX`]: beyond, the search is `too-costly`, and
//! says what to add. [`reads`] names the clauses that are resolved this way; they come after the others, whose tests are their scope.

use super::chain::either;
use super::flat::Test;
use super::partial;
use super::resolve::{Resolver, rows_of_keys, type_number};
use super::sql;
use super::values;
use crate::Error;
use crate::read::whole;
use fhir_definitions::{Definitions, SearchParameter};
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_search::canonical::holds_canonicals;
use fhir_search::matching::Elsewhere;
use fhir_search::query::{ChainedClause, Clause, TextOf};
use fhir_search::text::{TextQuery, Words};
use fhir_search::token::STORED;
use fhir_search::{Candidate, contained};
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::PgConnection;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ptr;
use std::time::{Duration, Instant};

/// Most resources that one search reads.
pub(super) const READ_MAX: usize = 20_000;
/// Longest that one search reads.
const READ_SECONDS_MAX: u64 = 10;

/// Most rows of which it is looked up what points at them, to read no more than that.
const SOURCES_MAX: usize = 200;

/// What a search has read so far.
pub(super) struct Budget {
    left: usize,
    pub until: Instant,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            left: READ_MAX,
            until: Instant::now() + Duration::from_secs(READ_SECONDS_MAX),
        }
    }
}

/// A resource that is read.
pub(super) struct Body {
    pub pk: i64,
    /// Microseconds since 1970 UTC.
    pub updated: i64,
    pub resource: Value,
}

/// Whether resolving the clause reads resources.
pub(super) fn reads(clause: &Clause) -> bool {
    match clause {
        Clause::Text { .. } | Clause::Element { .. } => true,
        Clause::Chain { clause, .. } => chained(clause),
        Clause::ByType(clause) => chained(clause),
        Clause::Has { clause, .. } => reads(clause),
        Clause::Any(clauses) | Clause::All(clauses) => clauses.iter().any(reads),
        Clause::Not(clause) => reads(clause),
        Clause::Param {
            parameter,
            modifier,
            values,
        } => partial::reads(parameter, *modifier) || values::reads(parameter, values),
        Clause::Missing { .. }
        | Clause::Id(_)
        | Clause::LastUpdated(_)
        | Clause::MemberOf { .. } => false,
    }
}

fn chained(clause: &ChainedClause) -> bool {
    clause.by_type.iter().any(|(_, clause)| reads(clause))
}

/// Holds for resources that contain one of the clause's types and have the parameter: of these the chain may lead into one.
pub(super) fn may_contain(parameter: &SearchParameter, clause: &ChainedClause) -> Test {
    let of_types = clause.by_type.iter();
    let contained = of_types.map(|(name, _)| STORED.contained(name)).collect();
    Test::All(vec![
        Test::Tokens(contained),
        Test::Tokens(vec![STORED.present(parameter.key)]),
    ])
}

impl Resolver<'_> {
    /// The rows of `types` for which `holds`, among those for which `superset` and the scope hold: exact there, so that the test may stand
    /// in an OR and be negated.
    ///
    /// # Errors
    /// `TooCostly` when too many are left; database errors.
    pub(super) async fn read(
        &mut self,
        superset: Test,
        types: &[String],
        holds: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Result<Test, Error> {
        let mut rows = Vec::new();
        self.each(superset, types, |body| {
            if holds(&body.resource) {
                rows.push(body.pk);
            }
        })
        .await?;
        rows.sort_unstable();
        Ok(Test::Rows(rows))
    }

    /// `_text` and `_content`; how well each row answers is kept for the order.
    pub(super) async fn words(
        &mut self,
        of: TextOf,
        query: &TextQuery,
        types: &[String],
    ) -> Result<Test, Error> {
        if self.reach.words && self.outermost {
            return Ok(Test::Words(of, query.clone()));
        }
        let all = Test::All(Vec::new());
        let score = |resource: &Value| query.score(&Words::of(of, resource));
        if !self.outermost {
            let holds = |resource: &Value| score(resource).is_some();
            return self.read(all, types, holds).await;
        }
        let mut scores: Vec<(i64, f64)> = Vec::new();
        self.each(all, types, |body| {
            scores.extend(score(&body.resource).map(|score| (body.pk, score)));
        })
        .await?;
        let mut rows: Vec<i64> = scores.iter().map(|(pk, _)| *pk).collect();
        rows.sort_unstable();
        for (pk, score) in scores {
            self.scores.entry(pk).or_default().push(score);
        }
        Ok(Test::Rows(rows))
    }

    /// The rows of `types` for which the chain leads into a resource that they contain and that meets the clause.
    pub(super) async fn chain_within(
        &mut self,
        parameter: &SearchParameter,
        clause: &ChainedClause,
    ) -> Result<Test, Error> {
        let superset = may_contain(parameter, clause);
        let types = [parameter.resource_type.clone()];
        let (definitions, base) = (self.definitions, self.base);
        let hits = self
            .judge(superset, &types, |body, elsewhere| {
                let candidate = Candidate::read(definitions, &body.resource, base);
                let verdict = candidate.map_or(Some(false), |candidate| {
                    let candidate = candidate.updated(body.updated).with(elsewhere);
                    contained::chain_within(&candidate, parameter, clause)
                });
                vec![(verdict, ())]
            })
            .await?;
        let mut rows: Vec<i64> = hits.into_iter().map(|(pk, ())| pk).collect();
        rows.sort_unstable();
        Ok(Test::Rows(rows))
    }

    /// What `judge` finds in the resources of `types` for which `superset` and the scope hold, with the row it found it in. It may ask what holds
    /// elsewhere, and gets no answer the first time; when all is read that it asked for, it is asked again.
    ///
    /// # Errors
    /// As [`Resolver::read`]; `NotSupported` for what stays undecided.
    pub(super) async fn judge<T: Send>(
        &mut self,
        superset: Test,
        types: &[String],
        judge: impl for<'b> Fn(&'b Body, Elsewhere<'b>) -> Vec<(Option<bool>, T)> + Send + Sync,
    ) -> Result<Vec<(i64, T)>, Error> {
        let (mut hits, mut undecided, mut asked) = (Vec::new(), Vec::new(), Asked::default());
        self.each(superset, types, |body| {
            let asks = RefCell::new(&mut asked);
            let verdicts = judge(&body, &|clause, key| {
                asks.borrow_mut().add(clause, key);
                None
            });
            match verdicts.iter().any(|(verdict, _)| verdict.is_none()) {
                true => undecided.push(body),
                false => hits.extend(held(&body, verdicts)),
            }
        })
        .await?;
        let known = self.answers(asked).await?;
        for body in undecided {
            let verdicts = judge(&body, &|clause, key| {
                Some(known.contains(&(ptr::from_ref(clause).addr(), key.clone())))
            });
            if verdicts.iter().any(|(verdict, _)| verdict.is_none()) {
                return Err(Error::Refused(vec![Issue::error(
                    IssueKind::NotSupported,
                    "the search has a condition that cannot be decided for contained resources",
                )]));
            }
            hits.extend(held(&body, verdicts));
        }
        Ok(hits)
    }

    /// Which of the asked-for resources meet the clause they were asked for with.
    async fn answers(&mut self, asked: Asked) -> Result<HashSet<(usize, ResourceKey)>, Error> {
        let mut known = HashSet::new();
        for (address, (clause, keys)) in asked.0 {
            let rows = self.rows_named(&keys).await?;
            let outer = self.outside();
            let meets = Box::pin(self.by_type(&clause)).await;
            self.back(outer);
            let both = Test::All(vec![Test::Rows(rows.keys().copied().collect()), meets?]);
            let found: Vec<i64> = sql::rows(&both, rows.len() as i64)
                .build_query_scalar()
                .fetch_all(&mut *self.connection)
                .await?;
            let found = found.iter().filter_map(|pk| rows.get(pk));
            known.extend(found.map(|key| (address, key.clone())));
        }
        Ok(known)
    }

    async fn rows_named(
        &mut self,
        keys: &HashSet<ResourceKey>,
    ) -> Result<HashMap<i64, ResourceKey>, Error> {
        let rows = rows_of_keys(self.connection, self.definitions, keys.iter()).await?;
        Ok(rows.into_iter().map(|(key, pk)| (pk, key)).collect())
    }

    /// What the scope's rows point at by the parameter of a chain, where an index leads to few enough of them.
    pub(super) async fn targets_of_scope(
        &mut self,
        parameter: &SearchParameter,
        clause: &ChainedClause,
    ) -> Result<Option<Test>, Error> {
        if !self.scope.iter().any(Test::positive) {
            return Ok(None);
        }
        let scope = Test::All(self.scope.clone());
        let mut rows: Vec<i64> = sql::targets(parameter.key.0, &scope, READ_MAX as i64 + 1)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.len() > READ_MAX {
            return Ok(None);
        }
        if holds_canonicals(parameter) {
            let types: Vec<String> = clause
                .by_type
                .iter()
                .map(|(name, _)| name.clone())
                .collect();
            match self.canonical_targets(parameter, &scope, &types).await? {
                Some(more) => rows.extend(more),
                None => return Ok(None),
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(Some(Test::Rows(rows)))
    }

    /// That a row points by the parameter at one of the scope's, where an index leads to few of those.
    pub(super) async fn sources_of_scope(
        &mut self,
        parameter: &SearchParameter,
    ) -> Result<Option<Test>, Error> {
        if !self.scope.iter().any(Test::positive) {
            return Ok(None);
        }
        let scope = Test::All(self.scope.clone());
        let rows: Vec<i64> = sql::rows(&scope, SOURCES_MAX as i64 + 1)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.len() > SOURCES_MAX {
            return Ok(None);
        }
        let references = rows.iter().map(|pk| sql::reference(parameter.key.0, *pk));
        let literal = Test::References(references.collect());
        if !holds_canonicals(parameter) {
            return Ok(Some(literal));
        }
        let canonical = self.canonical_sources(parameter, &scope).await?;
        Ok(canonical.map(|canonical| either(literal, canonical)))
    }

    /// Calls `visit` with every resource of `types` for which `superset` and the scope hold.
    async fn each(
        &mut self,
        superset: Test,
        types: &[String],
        visit: impl FnMut(Body) + Send,
    ) -> Result<(), Error> {
        let numbers = types
            .iter()
            .map(|name| type_number(self.definitions, name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut filter = self.scope.clone();
        filter.push(superset);
        if self.scope_types != types {
            // The scope may be one of other types, too.
            filter.push(Test::Type(numbers.clone()));
        }
        let rows: Vec<i64> = sql::rows_of(&numbers, &filter, self.budget.left as i64 + 1)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.len() > self.budget.left {
            return Err(too_many());
        }
        self.budget.left -= rows.len();
        if rows.is_empty() {
            return Ok(());
        }
        let until = self.budget.until;
        read_each(self.connection, self.definitions, rows, until, visit).await
    }
}

/// Calls `visit` with the resource of each of these rows.
///
/// # Errors
/// `TooCostly` when it takes too long; database errors.
pub(super) async fn read_each(
    connection: &mut PgConnection,
    definitions: &Definitions,
    rows: Vec<i64>,
    until: Instant,
    mut visit: impl FnMut(Body) + Send,
) -> Result<(), Error> {
    let mut bodies = sqlx::query_as::<_, Row>(
        "SELECT pk, type, (extract(epoch FROM last_updated) * 1000000)::bigint, coalesce(source, content::text) FROM resource WHERE pk = ANY($1) AND content IS NOT NULL",
    )
    .bind(rows)
    .fetch(connection);
    while let Some((pk, number, updated, content)) = bodies.try_next().await? {
        if Instant::now() > until {
            return Err(too_long());
        }
        let Some(resource_type) = definitions.type_name(number) else {
            continue;
        };
        let Ok(resource) = serde_json::from_str(&whole(resource_type, &content)) else {
            continue;
        };
        visit(Body {
            pk,
            updated,
            resource,
        });
    }
    Ok(())
}

/// pk, type, microseconds, text without resourceType.
type Row = (i64, i16, i64, String);

pub(super) fn too_many() -> Error {
    too_costly(&format!(
        "the search would have to read more than {READ_MAX} resources for what no index answers; add a condition that fewer resources meet"
    ))
}

fn too_long() -> Error {
    too_costly(&format!(
        "the search read resources for longer than {READ_SECONDS_MAX} seconds; add a condition that fewer resources meet"
    ))
}

fn too_costly(text: &str) -> Error {
    Error::Refused(vec![Issue::error(IssueKind::TooCostly, text)])
}

/// What was asked about other resources: each clause by where it stands, and whom it was asked of.
#[derive(Default)]
struct Asked(HashMap<usize, (ChainedClause, HashSet<ResourceKey>)>);

impl Asked {
    fn add(&mut self, clause: &ChainedClause, key: &ResourceKey) {
        let address = ptr::from_ref(clause).addr();
        let asked = self.0.entry(address);
        let (_, keys) = asked.or_insert_with(|| (clause.clone(), HashSet::new()));
        keys.insert(key.clone());
    }
}

fn held<T>(body: &Body, verdicts: Vec<(Option<bool>, T)>) -> impl Iterator<Item = (i64, T)> {
    let pk = body.pk;
    let held = verdicts.into_iter();
    held.filter_map(move |(verdict, found)| (verdict == Some(true)).then_some((pk, found)))
}
