//! A [`Query`] to a [`FlatQuery`]: names become numbers, resources row keys, chains and `_has` bounded lists of rows or row-by-row tests
//! ([`super::chain`]).
//!
//! Refuses parameters, modifiers and sort keys that the tables cannot serve.

use super::chain::Reach;
use super::flat::{Dates, FlatQuery, Test};
use super::ordering;
use super::partial::is_by_part;
use super::reading::{Budget, reads};
use super::sql::walkable;
use super::statistics::Statistics;
use super::units;
use super::values::{self, Known, RowKeys};
use crate::Error;
use fhir_definitions::{Definitions, SearchParameter};
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_search::Query;
use fhir_search::position::is_contains;
use fhir_search::query::{ChainedClause, Clause, ReferenceMatch, ValueMatch};
use fhir_search::token::STORED;
use fhir_search::union;
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// Resolves the filter and the order of `query`.
///
/// # Errors
/// Issues for what the engine cannot do; database errors.
pub(super) async fn resolve(
    connection: &mut PgConnection,
    definitions: &Definitions,
    statistics: &Statistics,
    query: &Query,
    reach: Reach,
) -> Result<FlatQuery, Error> {
    let types = query
        .types
        .iter()
        .map(|name| type_number(definitions, name))
        .collect::<Result<Vec<_>, _>>()?;
    let (order, found) = ordering::of(definitions, query)?;
    let scales = units::scales(connection, query).await?;
    let mut resolver = resolver(connection, definitions, statistics, query, reach).await?;
    let walks = reach.paged && walkable(&types, &order);
    resolver.page = walks.then_some(query.count + query.offset);
    // What is read comes last, so that the least is read.
    let mut clauses: Vec<&Clause> = query.filter.iter().flat_map(conjuncts).collect();
    clauses.sort_by_key(|clause| (reads(clause), chains(clause)));
    // What is left to an index of words is no scope for what Postgres looks for.
    let mut words = Vec::new();
    for clause in clauses {
        let test = resolver.test(clause, &query.types).await?;
        let filter = &mut resolver.scope;
        match test {
            test if test.has_words() => words.push(test),
            Test::All(tests) => filter.extend(tests),
            Test::Dates(dates) => together(filter, dates),
            test => filter.push(test),
        }
    }
    let mut filter = resolver.scope;
    filter.extend(words);
    Ok(FlatQuery {
        types,
        filter,
        order,
        found,
        scales,
        scores: resolver.scores.into_iter().map(mean).collect(),
        names_all: resolver.known.names_all,
    })
}

/// What all must hold for the clause to hold: what some of it leaves, the rest is asked of.
fn conjuncts(clause: &Clause) -> Vec<&Clause> {
    match clause {
        Clause::All(clauses) => clauses.iter().flat_map(conjuncts).collect(),
        clause => vec![clause],
    }
}

/// What resolves the clauses of `query`, one by one.
pub(super) async fn resolver<'a>(
    connection: &'a mut PgConnection,
    definitions: &'a Definitions,
    statistics: &'a Statistics,
    query: &'a Query,
    reach: Reach,
) -> Result<Resolver<'a>, Error> {
    let (rows, names_all) = row_keys(connection, definitions, query).await?;
    let known = Known {
        rows,
        names_all,
        units: units::used(connection, query).await?,
    };
    Ok(Resolver {
        connection,
        definitions,
        statistics,
        known,
        reach,
        page: None,
        base: query.base.as_deref(),
        scope: Vec::new(),
        scope_types: query.types.clone(),
        outermost: true,
        scores: Scores::new(),
        budget: Budget::default(),
    })
}

/// How well each row answers each of the conditions on words.
pub(super) type Scores = BTreeMap<i64, Vec<f64>>;

pub(super) fn mean((pk, scores): (i64, Vec<f64>)) -> (i64, f64) {
    (pk, scores.iter().sum::<f64>() / scores.len().max(1) as f64)
}

/// The one date that there is meets all conditions on it: they are tested in one place.
fn together(filter: &mut Vec<Test>, dates: Dates) {
    let there = filter.iter_mut().find_map(|test| match test {
        Test::Dates(there) if there.key == dates.key && there.single.is_some() => Some(there),
        _ => None,
    });
    match there {
        Some(there) => there.all.extend(dates.all),
        None => filter.push(Test::Dates(dates)),
    }
}

pub(super) struct Resolver<'a> {
    pub connection: &'a mut PgConnection,
    pub definitions: &'a Definitions,
    pub statistics: &'a Statistics,
    pub known: Known,
    pub reach: Reach,
    /// How many matches a page has, where they can be looked for in the order of the search.
    pub page: Option<usize>,
    pub base: Option<&'a str>,
    /// What the rows being tested meet anyway, and the types they are of.
    pub scope: Vec<Test>,
    pub scope_types: Vec<String>,
    /// Whether the rows being tested are those searched for.
    pub outermost: bool,
    pub scores: Scores,
    pub budget: Budget,
}

/// The scope of the rows that a chain begins at.
pub(super) struct Outer(Vec<Test>, Vec<String>, bool);

impl Resolver<'_> {
    /// Leaves the scope: what follows is of other rows.
    pub(super) fn outside(&mut self) -> Outer {
        Outer(
            std::mem::take(&mut self.scope),
            std::mem::take(&mut self.scope_types),
            std::mem::take(&mut self.outermost),
        )
    }

    pub(super) fn back(&mut self, Outer(scope, types, outermost): Outer) {
        (self.scope, self.scope_types, self.outermost) = (scope, types, outermost);
    }

    /// The clause as a test on rows of `types`.
    pub(super) async fn test(&mut self, clause: &Clause, types: &[String]) -> Result<Test, Error> {
        if let Some(clause) = union::of_members(clause) {
            return Box::pin(self.test(&clause, types)).await;
        }
        match clause {
            Clause::Param {
                parameter, values, ..
            } if is_contains(parameter) => {
                let test = self.around(parameter, values).await?;
                self.of_parameter(test, parameter, types)
            }
            Clause::Param {
                parameter,
                modifier,
                values,
            } => {
                if values::reads_composites(values) {
                    let present = Test::Tokens(vec![STORED.present(parameter.key)]);
                    return self.meets(present, clause, parameter).await;
                }
                if values::reads_strings(parameter, values) {
                    return self.whole_strings(clause, parameter, values).await;
                }
                let test = match is_by_part(parameter, *modifier) {
                    true => self.by_part(parameter, *modifier, values).await?,
                    false => values::param(parameter, *modifier, values, &self.known)?,
                };
                self.of_parameter(test, parameter, types)
            }
            Clause::Missing { parameter, missing } => {
                let present = Test::Tokens(vec![STORED.present(parameter.key)]);
                let test = match missing {
                    true => present.negate(),
                    false => present,
                };
                self.of_parameter(test, parameter, types)
            }
            Clause::Chain {
                parameter, clause, ..
            } => self.chain(parameter, clause).await,
            Clause::Has { parameter, clause } => self.has(parameter, clause, types).await,
            Clause::ByType(clause) => self.by_type(clause).await,
            Clause::MemberOf {
                collections,
                active_at,
            } => self.members(collections, *active_at).await,
            Clause::Any(clauses) => {
                let mut any = Vec::new();
                for clause in clauses {
                    let test = Box::pin(self.test(clause, types)).await?;
                    if test != Test::never() {
                        any.push(test);
                    }
                }
                Ok(match any.len() {
                    0 => Test::never(),
                    1 => any.remove(0),
                    _ => Test::Any(any),
                })
            }
            Clause::All(clauses) => {
                let mut all = Vec::new();
                for clause in clauses {
                    all.push(Box::pin(self.test(clause, types)).await?);
                }
                Ok(match all.contains(&Test::never()) {
                    true => Test::never(),
                    false => Test::All(all),
                })
            }
            Clause::Not(clause) => Ok(Box::pin(self.test(clause, types)).await?.negate()),
            Clause::Element { parameter, .. } => {
                let superset = self.superset(clause);
                self.meets(superset, clause, parameter).await
            }
            Clause::Id(ids) => {
                let mut keys = Vec::new();
                for name in types {
                    keys.extend(ids.iter().filter_map(|id| {
                        self.known.rows.get(&ResourceKey::new(name, id)).copied()
                    }));
                }
                Ok(Test::Rows(keys))
            }
            Clause::LastUpdated(dates) => Ok(Test::Updated(dates.clone())),
            Clause::Text { of, query } => self.words(*of, query, types).await,
        }
    }

    /// A negative test holds for rows of every type; where the search has others than the parameter's, it must say which.
    fn of_parameter(
        &self,
        test: Test,
        parameter: &SearchParameter,
        types: &[String],
    ) -> Result<Test, Error> {
        match types {
            [one] if *one == parameter.resource_type => Ok(test),
            _ if test.typed() => Ok(test),
            _ => {
                let number = type_number(self.definitions, &parameter.resource_type)?;
                Ok(Test::All(vec![Test::Type(vec![number]), test]))
            }
        }
    }

    pub(super) async fn by_type(&mut self, clause: &ChainedClause) -> Result<Test, Error> {
        let mut any = Vec::new();
        for (name, clause) in &clause.by_type {
            let test = Box::pin(self.test(clause, std::slice::from_ref(name))).await?;
            if test == Test::never() {
                continue;
            }
            // Only a negative test, or one on rows, needs its type said.
            any.push(match test.typed() {
                true => test,
                false => {
                    let number = type_number(self.definitions, name)?;
                    Test::All(vec![Test::Type(vec![number]), test])
                }
            });
        }
        Ok(match any.len() {
            0 => Test::never(),
            1 => any.remove(0),
            _ => Test::Any(any),
        })
    }
}

/// Whether resolving the clause takes statements of its own, but for one that finds the rows of resources by their names.
pub(super) fn looks_up(clause: &Clause) -> bool {
    match clause {
        Clause::Param {
            parameter,
            modifier,
            ..
        } if is_by_part(parameter, *modifier) => true,
        Clause::Param {
            parameter, values, ..
        } => {
            let is_point = |value: &ValueMatch| matches!(value, ValueMatch::Point(_));
            values.iter().any(is_point) || values::reads(parameter, values)
        }
        Clause::Missing { .. } | Clause::LastUpdated(_) | Clause::Id(_) => false,
        Clause::ByType(clause) => clause.by_type.iter().any(|(_, clause)| looks_up(clause)),
        Clause::Any(clauses) | Clause::All(clauses) => clauses.iter().any(looks_up),
        Clause::Not(clause) => looks_up(clause),
        Clause::Element { .. } => true,
        Clause::Chain { .. }
        | Clause::Has { .. }
        | Clause::Text { .. }
        | Clause::MemberOf { .. } => true,
    }
}

/// Whether other resources decide it.
pub(super) fn chains(clause: &Clause) -> bool {
    match clause {
        Clause::Chain { .. } | Clause::Has { .. } => true,
        Clause::ByType(clause) => clause.by_type.iter().any(|(_, clause)| chains(clause)),
        Clause::Any(clauses) | Clause::All(clauses) => clauses.iter().any(chains),
        Clause::Not(clause) | Clause::Element { clause, .. } => chains(clause),
        _ => false,
    }
}

pub(super) fn type_number(definitions: &Definitions, name: &str) -> Result<i16, Error> {
    definitions.type_number(name).ok_or_else(|| {
        Error::Refused(vec![Issue::error(
            IssueKind::UnknownType,
            format!("there is no resource type {name} on this server"),
        )])
    })
}

/// Looks up, in one statement, every resource that the query names, and whether all of them are there.
async fn row_keys(
    connection: &mut PgConnection,
    definitions: &Definitions,
    query: &Query,
) -> Result<(RowKeys, bool), Error> {
    let mut keys = Vec::new();
    for clause in &query.filter {
        named(clause, &query.types, &mut keys);
    }
    keys.sort_unstable();
    keys.dedup();
    let rows = rows_of_keys(connection, definitions, keys.iter()).await?;
    let names_all = rows.len() == keys.len();
    Ok((rows, names_all))
}

/// The rows of those of `keys` that have one.
pub(super) async fn rows_of_keys(
    connection: &mut PgConnection,
    definitions: &Definitions,
    keys: impl Iterator<Item = &ResourceKey>,
) -> Result<RowKeys, Error> {
    let (mut types, mut ids) = (Vec::new(), Vec::new());
    for key in keys {
        if let Some(number) = definitions.type_number(&key.resource_type) {
            types.push(number);
            ids.push(key.id.as_str());
        }
    }
    if ids.is_empty() {
        return Ok(RowKeys::new());
    }
    let rows: Vec<(i16, String, i64)> = sqlx::query_as(
        "SELECT r.type, r.id, r.pk FROM unnest($1::smallint[], $2::text[]) AS n(type, id) \
         JOIN resource r ON r.type = n.type AND r.id = n.id COLLATE \"C\"",
    )
    .bind(types)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(number, id, pk)| {
            Some((ResourceKey::new(definitions.type_name(number)?, id), pk))
        })
        .collect())
}

fn named(clause: &Clause, types: &[String], keys: &mut Vec<ResourceKey>) {
    match clause {
        Clause::Param { values, .. } => {
            for value in values {
                if let ValueMatch::Reference(ReferenceMatch::Local(targets)) = value {
                    keys.extend_from_slice(targets);
                }
            }
        }
        Clause::Chain { clause, .. } => named_by_type(clause, keys),
        Clause::ByType(clause) => named_by_type(clause, keys),
        Clause::MemberOf { collections, .. } => keys.extend_from_slice(collections),
        Clause::Any(clauses) | Clause::All(clauses) => {
            for clause in clauses {
                named(clause, types, keys);
            }
        }
        Clause::Not(clause) | Clause::Element { clause, .. } => named(clause, types, keys),
        Clause::Has { parameter, clause } => {
            named(clause, std::slice::from_ref(&parameter.resource_type), keys);
        }
        Clause::Id(ids) => {
            for name in types {
                keys.extend(ids.iter().map(|id| ResourceKey::new(name, id)));
            }
        }
        Clause::Missing { .. } | Clause::LastUpdated(_) | Clause::Text { .. } => {}
    }
}

fn named_by_type(clause: &ChainedClause, keys: &mut Vec<ResourceKey>) {
    for (name, clause) in &clause.by_type {
        named(clause, std::slice::from_ref(name), keys);
    }
}
