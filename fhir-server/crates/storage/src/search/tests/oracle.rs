//! Random corpora and random searches against a plain reading of the same documents: every plan, every sort, to the last page.

use super::corpus::{Indexed, replace};
use super::drawn::{TYPE, corpus, draw, of_patients, outer, several_dates, shape, sort};
use crate::search::chain::Reach;
use crate::search::finding::Finding;
use crate::search::flat::FlatQuery;
use crate::search::keys::{keys, selection};
use crate::search::keyset::Keyset;
use crate::search::plan::{Estimate, Plan};
use crate::search::statistics::Statistics;
use crate::search::trace::Trace;
use crate::search::{resolve, sql};
use crate::{Store, testing};
use fhir_definitions::SearchParameter;
use fhir_model::Decimal;
use fhir_search::Query;
use fhir_search::query::{Clause, Modifier, SortBy, SortKey, Total, ValueMatch};
use fhir_search::token::STORED;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::Row;
use std::cmp::Ordering;

const CORPORA: usize = 12;
const SEARCHES: usize = 16;

/// Lists fetched and looked up, fetched and tested row by row, not fetched.
const REACHES: [Reach; 3] = [
    Reach {
        lookup_max: 200,
        fetch_max: 20_000,
        paged: true,
        words: false,
    },
    Reach {
        lookup_max: 0,
        fetch_max: 20_000,
        paged: true,
        words: false,
    },
    Reach {
        lookup_max: 0,
        fetch_max: 0,
        paged: true,
        words: false,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn agrees_with_a_plain_reading() {
    let store = testing::store_with(&[several_dates()]).await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CORPORA {
        let shapes = draw(&mut runner, prop::collection::vec(shape(), 0..40));
        let corpus = corpus(&store, &shapes);
        replace(&store, &corpus).await;
        for _ in 0..SEARCHES {
            let filter = draw(&mut runner, prop::collection::vec(outer(&store), 0..4));
            let sort = draw(&mut runner, sort(&store));
            check(&store, &corpus, TYPE, filter, sort).await;
            let filter = draw(
                &mut runner,
                prop::collection::vec(of_patients(&store), 1..3),
            );
            check(&store, &corpus, "Patient", filter, Vec::new()).await;
        }
    }
}

async fn check(
    store: &Store,
    corpus: &[Indexed],
    resource_type: &str,
    filter: Vec<Clause>,
    sort: Vec<SortKey>,
) {
    let query = Query {
        filter,
        sort,
        total: Total::Accurate,
        ..Query::all(vec![resource_type.into()], 3)
    };
    let expect = expected(corpus, &query);
    let mut connection = store.inner.search_pool.acquire().await.unwrap();
    let definitions = store.definitions();
    let statistics = Statistics::default();
    for (number, reach) in REACHES.into_iter().enumerate() {
        let flat = resolve::resolve(&mut connection, &definitions, &statistics, &query, reach)
            .await
            .unwrap();
        let mut plans: Vec<Estimate> = leads(&flat, number == 0)
            .into_iter()
            .map(filter_led_by)
            .collect();
        if sql::walkable(&flat.types, &flat.order) {
            for known in knowns(&flat) {
                plans.extend([1, 7, 1000].map(|window| Estimate {
                    plan: Plan::Walk { window },
                    known: known.clone(),
                    ..filter_led_by(Vec::new())
                }));
            }
        }
        for plan in &plans {
            let ids = all_pages(&mut connection, &flat, plan).await;
            let mut back = flat.clone();
            back.reverse();
            let mut from_end = all_pages(&mut connection, &back, plan).await;
            from_end.reverse();
            assert_eq!(from_end, ids, "{plan:?} {flat:#?} {corpus:#?}");
            let (filter, sort) = (&query.filter, &query.sort);
            assert_eq!(
                ids, expect,
                "{plan:?} {reach:?}
{filter:#?}
{sort:?}
{corpus:#?}"
            );
        }
        // Only chains and `_has` have a reach.
        let chained = |clause: &Clause| matches!(clause, Clause::Chain { .. } | Clause::Has { .. });
        if !query.filter.iter().any(chained) {
            break;
        }
    }
    drop(connection);
    the_same_in_a_transaction(store, &query, &expect).await;
    let page = store.search(&query, crate::Page::First).await.unwrap();
    assert_eq!(page.total, Some(expect.len() as u64), "{:?}", query.filter);
    let ids: Vec<String> = page.matches.into_iter().map(|m| m.key.id).collect();
    assert_eq!(ids, expect[..expect.len().min(3)]);
}

/// Without a total asked for, pages come from one statement where they can; in a transaction they never do.
async fn the_same_in_a_transaction(store: &Store, query: &Query, expect: &[String]) {
    let query = Query {
        total: Total::Default,
        ..query.clone()
    };
    let mut snapshot = store.snapshot().await.unwrap();
    let mut at = crate::Page::First;
    let mut ids = Vec::new();
    loop {
        let page = store.search(&query, at.clone()).await.unwrap();
        let same = snapshot.search(&query, at).await.unwrap();
        assert_eq!(page.matches, same.matches, "{query:?}");
        assert_eq!(page.total, same.total, "{query:?}");
        ids.extend(page.matches.into_iter().map(|found| found.key.id));
        match page.next {
            Some(next) => at = crate::Page::After(next),
            None => break,
        }
    }
    assert_eq!(ids, expect);
}

/// What a filter can begin with: nothing or all that can be led by, and where each is wanted, every choice of those.
fn leads(flat: &FlatQuery, each: bool) -> Vec<Vec<usize>> {
    let places: Vec<usize> = (0..flat.filter.len())
        .filter(|at| flat.filter[*at].positive())
        .collect();
    if !each {
        return vec![Vec::new(), places];
    }
    let choice = |bits: usize| {
        let chosen = places.iter().enumerate();
        chosen
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, at)| *at)
            .collect()
    };
    (0..1 << places.len()).map(choice).collect()
}

/// Of which tests a walk may read all rows once: none, and all that are ordered.
fn knowns(flat: &FlatQuery) -> Vec<Vec<usize>> {
    let is_ordered = |at: &usize| flat.filter[*at].is_ordered();
    let all: Vec<usize> = (0..flat.filter.len()).filter(is_ordered).collect();
    match all.is_empty() {
        true => vec![all],
        false => vec![Vec::new(), all],
    }
}

pub fn filter_led_by(lead: Vec<usize>) -> Estimate {
    Estimate {
        plan: Plan::Filter,
        ms: 0.0,
        finding: Finding {
            lead,
            ms: 0.0,
            known: true,
            most: None,
        },
        known: Vec::new(),
    }
}

async fn all_pages(
    connection: &mut sqlx::PgConnection,
    flat: &FlatQuery,
    estimate: &Estimate,
) -> Vec<String> {
    let statistics = Statistics::default();
    let mut after = None;
    let mut rows = Vec::new();
    for _ in 0..200 {
        let found = keys(
            connection,
            flat,
            &statistics,
            estimate,
            after.as_ref(),
            3,
            &mut Trace::of(&Query::all(Vec::new(), 0)),
        )
        .await
        .unwrap();
        let plan = estimate.plan;
        let at_once = at_once(connection, flat, estimate, after.as_ref()).await;
        // A walk may need more than its first window.
        let back = flat.order[0].backwards;
        if !back && (at_once.len() > 3 || !matches!(plan, Plan::Walk { .. })) {
            assert_eq!(at_once[..at_once.len().min(3)], found.rows(), "{plan:?}");
            assert_eq!(at_once.len() > 3, found.next.is_some(), "{plan:?}");
        }
        rows.extend(found.rows());
        let Some((pk, values)) = found.next else {
            return sqlx::query_scalar(
                "SELECT r.id FROM unnest($1::bigint[]) WITH ORDINALITY n(pk, place) JOIN resource r USING (pk) ORDER BY place",
            )
            .bind(rows)
            .fetch_all(connection)
            .await
            .unwrap();
        };
        after = Some(Keyset {
            values,
            pk,
            horizon: 0,
            total: None,
            backwards: back,
            passed: 0,
        });
    }
    panic!("pages without end");
}

/// The rows that the statement with the bodies finds, one more than the page's.
async fn at_once(
    connection: &mut sqlx::PgConnection,
    flat: &FlatQuery,
    estimate: &Estimate,
    after: Option<&Keyset>,
) -> Vec<i64> {
    let plan = estimate.plan;
    let walks = matches!(plan, Plan::Walk { .. });
    if walks && after.is_some_and(|keyset| keyset.values[0].is_none()) {
        return Vec::new();
    }
    let mut selection = selection(flat, &Statistics::default(), estimate, 3);
    selection.after = after;
    let rows = sql::with_bodies(selection, plan)
        .build()
        .fetch_all(connection)
        .await
        .unwrap();
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row.get::<Option<String>, _>(7).is_some(), place < 3);
    }
    rows.iter().map(|row| row.get(0)).collect()
}

// The plain reading.

fn expected(corpus: &[Indexed], query: &Query) -> Vec<String> {
    let mut matches: Vec<(usize, &Indexed)> = corpus
        .iter()
        .enumerate()
        .filter(|(_, resource)| resource.key.resource_type == query.types[0])
        .filter(|(_, resource)| {
            query
                .filter
                .iter()
                .all(|clause| holds(clause, resource, corpus))
        })
        .collect();
    let default = [SortKey {
        by: SortBy::LastUpdated,
        descending: true,
    }];
    let sort: &[SortKey] = match query.sort.is_empty() {
        true => &default,
        false => &query.sort,
    };
    matches.sort_by(|(row_a, a), (row_b, b)| {
        for key in sort {
            let order = match (sort_value(a, key, corpus), sort_value(b, key, corpus)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) if key.descending => b.cmp(&a),
                (Some(a), Some(b)) => a.cmp(&b),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        match sort[0].descending {
            true => row_b.cmp(row_a),
            false => row_a.cmp(row_b),
        }
    });
    matches
        .into_iter()
        .map(|(_, resource)| resource.key.id.clone())
        .collect()
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortValue {
    Time(i64),
    Text(String),
    Number(Decimal),
}

fn sort_value(resource: &Indexed, key: &SortKey, corpus: &[Indexed]) -> Option<SortValue> {
    let mut values = sort_values(resource, &key.by, corpus);
    values.sort();
    match key.descending {
        true => values.pop(),
        false => values.into_iter().next(),
    }
}

fn sort_values(resource: &Indexed, by: &SortBy, corpus: &[Indexed]) -> Vec<SortValue> {
    match by {
        SortBy::LastUpdated => vec![SortValue::Time(resource.updated_ms)],
        SortBy::Id => vec![SortValue::Text(resource.key.id.clone())],
        SortBy::Score => panic!("{by:?}"),
        SortBy::Chain { parameters, by, .. } => {
            let key = parameters[0].key;
            let references = resource.document.references.iter();
            references
                .filter(|reference| reference.key == key)
                .filter_map(|reference| corpus.iter().find(|there| there.key == reference.target))
                .flat_map(|target| sort_values(target, by, corpus))
                .collect()
        }
        SortBy::Parameter(parameters) => {
            let document = &resource.document;
            let key = parameters[0].key;
            let texts = match parameters[0].code.as_str() {
                "category" => resource.body["category"]
                    .as_array()
                    .map_or(&[][..], Vec::as_slice),
                "gender" => std::slice::from_ref(&resource.body["gender"]),
                "subject" => std::slice::from_ref(&resource.body["subject"]["reference"]),
                _ => &[],
            };
            let texts = texts
                .iter()
                .map(|text| &text["coding"][0]["code"])
                .chain(texts)
                .filter_map(|text| text.as_str())
                .map(|text| match text.strip_prefix("http://elsewhere/") {
                    Some(local) => local.trim_end_matches("/_history/2").to_owned(),
                    None => text.to_ascii_lowercase(),
                });
            let dates = document.dates.iter().filter(|entry| entry.key == key);
            let strings = document.strings.iter().filter(|entry| entry.key == key);
            let numbers = document.quantities.iter().filter(|entry| entry.key == key);
            dates
                .map(|entry| SortValue::Time(entry.lo))
                .chain(strings.map(|entry| SortValue::Text(entry.value.clone())))
                .chain(texts.map(SortValue::Text))
                .chain(numbers.filter_map(|entry| entry.lo.clone().map(SortValue::Number)))
                .collect()
        }
    }
}

fn holds(clause: &Clause, resource: &Indexed, corpus: &[Indexed]) -> bool {
    let document = &resource.document;
    match clause {
        Clause::Param {
            parameter,
            modifier,
            values,
        } => {
            let any = values
                .iter()
                .any(|value| value_holds(parameter, *modifier, value, resource));
            any != modifier.negates()
        }
        Clause::Missing { parameter, missing } => {
            document.tokens.contains(&STORED.present(parameter.key)) != *missing
        }
        Clause::Id(ids) => ids.contains(&resource.key.id),
        Clause::LastUpdated(dates) => dates.iter().any(|date| {
            let lo = resource.updated_ms * 1000;
            date.matches(lo, lo + 1000)
        }),
        Clause::Chain {
            parameter, clause, ..
        } => document.references.iter().any(|reference| {
            reference.key == parameter.key
                && corpus.iter().any(|target| {
                    target.key == reference.target
                        && clause.by_type.iter().any(|(name, clause)| {
                            *name == target.key.resource_type && holds(clause, target, corpus)
                        })
                })
        }),
        Clause::Has { parameter, clause } => corpus.iter().any(|source| {
            let points = source.document.references.iter().any(|reference| {
                reference.key == parameter.key && reference.target == resource.key
            });
            points && holds(clause, source, corpus)
        }),
        Clause::Any(clauses) => clauses.iter().any(|clause| holds(clause, resource, corpus)),
        Clause::All(clauses) => clauses.iter().all(|clause| holds(clause, resource, corpus)),
        Clause::Not(clause) => !holds(clause, resource, corpus),
        Clause::MemberOf { .. }
        | Clause::ByType(_)
        | Clause::Element { .. }
        | Clause::Text { .. } => panic!("{clause:?}"),
    }
}

fn value_holds(
    parameter: &SearchParameter,
    modifier: Modifier,
    value: &ValueMatch,
    resource: &Indexed,
) -> bool {
    let document = &resource.document;
    let key = parameter.key;
    match value {
        ValueMatch::Token(token) => document.tokens.contains(&STORED.token(key, token)),
        ValueMatch::Concepts { tokens, .. } => tokens
            .iter()
            .any(|token| document.tokens.contains(&STORED.token(key, token))),
        ValueMatch::Date(date) => document
            .dates
            .iter()
            .any(|entry| entry.key == key && date.matches(entry.lo, entry.hi)),
        ValueMatch::Quantity { number, .. } => document
            .quantities
            .iter()
            .any(|entry| entry.key == key && number.matches(entry.lo.as_ref(), entry.hi.as_ref())),
        ValueMatch::String(text) => match modifier {
            Modifier::Exact => document.tokens.contains(&STORED.exact(key, text)),
            Modifier::Contains => document
                .strings
                .iter()
                .any(|entry| entry.key == key && entry.value.contains(text)),
            _ => document
                .strings
                .iter()
                .any(|entry| entry.key == key && entry.value.starts_with(text)),
        },
        value => panic!("{value:?}"),
    }
}
