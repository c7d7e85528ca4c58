//! Conditions on words that an index of them was to answer, and that Postgres has to: the texts of the rows are read, as [`super::reading`] does, and each condition
//! becomes the list of those that answer.

use super::flat::{FlatQuery, Test};
use super::reading::{Body, Budget, READ_MAX, read_each, too_many};
use super::resolve::{Scores, mean};
use super::sql;
use crate::Error;
use fhir_definitions::Definitions;
use fhir_search::query::TextOf;
use fhir_search::text::{TextQuery, Words};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// Reads what the other conditions of the search leave, and knows then how well each row answers.
///
/// # Errors
/// `TooCostly` where that is too much; database errors.
pub(super) async fn read(
    connection: &mut PgConnection,
    definitions: &Definitions,
    flat: &mut FlatQuery,
) -> Result<(), Error> {
    if !flat.has_words() {
        return Ok(());
    }
    let others = flat.filter.iter().filter(|test| !test.has_words());
    let others: Vec<Test> = others.cloned().collect();
    let rows: Vec<i64> = sql::rows_of(&flat.types, &others, READ_MAX as i64 + 1)
        .build_query_scalar()
        .fetch_all(&mut *connection)
        .await?;
    if rows.len() > READ_MAX {
        return Err(too_many());
    }
    let read = among(connection, definitions, &flat.filter, rows).await?;
    flat.filter = read.filter;
    flat.scores.extend(read.scores);
    Ok(())
}

/// A filter without words.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub filter: Vec<Test>,
    /// How well rows answer, as [`FlatQuery::scores`].
    pub scores: BTreeMap<i64, f64>,
}

/// The filter as it holds among these rows.
///
/// # Errors
/// `TooCostly` where reading them takes too long; database errors.
pub(super) async fn among(
    connection: &mut PgConnection,
    definitions: &Definitions,
    filter: &[Test],
    rows: Vec<i64>,
) -> Result<Read, Error> {
    let mut asked = Vec::new();
    filter.iter().for_each(|test| add(test, &mut asked));
    if asked.is_empty() {
        return Ok(Read {
            filter: filter.to_vec(),
            ..Read::default()
        });
    }
    let mut answers = vec![Vec::new(); asked.len()];
    let mut scores = Scores::new();
    let until = Budget::default().until;
    read_each(connection, definitions, rows, until, |body: Body| {
        // Most conditions are on the same texts.
        let mut texts: Vec<(TextOf, Words)> = Vec::new();
        for ((of, query), answers) in asked.iter().zip(&mut answers) {
            if !texts.iter().any(|(there, _)| there == of) {
                texts.push((*of, Words::of(*of, &body.resource)));
            }
            let text = texts.iter().find(|(there, _)| there == of);
            if let Some(score) = text.and_then(|(_, words)| query.score(words)) {
                answers.push(body.pk);
                scores.entry(body.pk).or_default().push(score);
            }
        }
    })
    .await?;
    answers.iter_mut().for_each(|rows| rows.sort_unstable());
    let mut answers = answers.into_iter();
    let filter = filter.iter().map(|test| answered(test, &mut answers));
    Ok(Read {
        filter: filter.collect(),
        scores: scores.into_iter().map(mean).collect(),
    })
}

/// The conditions on words, in the order in which [`answered`] comes to them.
fn add<'t>(test: &'t Test, asked: &mut Vec<(TextOf, &'t TextQuery)>) {
    match test {
        Test::Words(of, query) => asked.push((*of, query)),
        Test::Any(tests) | Test::All(tests) => tests.iter().for_each(|test| add(test, asked)),
        Test::Not(test) => add(test, asked),
        _ => {}
    }
}

/// The test with rows in the place of words.
fn answered(test: &Test, answers: &mut impl Iterator<Item = Vec<i64>>) -> Test {
    let mut all = |tests: &[Test]| tests.iter().map(|test| answered(test, answers)).collect();
    match test {
        Test::Words(..) => Test::Rows(answers.next().unwrap_or_default()),
        Test::Any(tests) => Test::Any(all(tests)),
        Test::All(tests) => Test::All(all(tests)),
        Test::Not(test) => answered(test, answers).negate(),
        test => test.clone(),
    }
}
