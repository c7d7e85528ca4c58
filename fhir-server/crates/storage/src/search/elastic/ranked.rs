//! The order by scores: the index finds all matches, Postgres reads them, says how well each answers, and puts them in order.
//!
//! The scores of Elasticsearch would be cheaper, and make no order that pages could follow: they hang on how frequent words are in a shard at that moment, are others on the
//! next page, and what is not in the index yet has none (docs/adr/0036-elasticsearch-engine.md).

use super::{Found, Indexed, Reason, Request, Stop, WRONG_INDEX};
use crate::search::flat::{Column, FlatQuery, FoundValue, Test};
use crate::search::keys::Keys;
use crate::search::reading::READ_MAX;
use crate::search::sql::{self, Selection};
use crate::search::trace::Trace;
use crate::search::words;
use fhir_search::query::Total;
use sqlx::PgConnection;
use std::collections::BTreeSet;

/// More matches than Postgres reads for one search.
const TOO_MANY: Reason = "texts to read";

/// Whether it is sorted by how well texts answer that the index finds.
pub(super) fn is_ranked(flat: &FlatQuery) -> bool {
    let by_score = |found: usize| {
        let found = flat.found.get(found);
        found.is_some_and(|found| found.value == FoundValue::Scores)
    };
    let mut keys = flat.order.iter();
    let is_sorted = keys.any(|order| matches!(order.by, Column::Found(at) if by_score(at)));
    is_sorted && flat.has_words()
}

impl Indexed<'_> {
    /// Row keys of all matches that are not masked.
    pub(super) async fn all_matches(&self, request: &Request<'_>) -> Result<Vec<i64>, Stop> {
        self.all_rows(&request.query, READ_MAX, TOO_MANY).await
    }

    /// The page of these matches and the masked ones.
    pub(super) async fn ranked(
        &self,
        connection: &mut PgConnection,
        request: &Request<'_>,
        mask: &[i64],
        found: Vec<i64>,
        trace: &mut Trace,
    ) -> Result<Found, Stop> {
        let (flat, wanted) = (request.flat, request.wanted);
        let candidates = [found.as_slice(), mask].concat();
        let limit = candidates.len() as i64;
        let read = words::among(
            &mut *connection,
            request.definitions,
            &flat.filter,
            candidates.clone(),
        );
        let read = read.await?;
        trace.phase("read");
        let filter = super::among(&read.filter, candidates);
        let matches: Vec<i64> = sql::rows_of(&flat.types, &filter, limit)
            .build_query_scalar()
            .fetch_all(&mut *connection)
            .await?;
        if self.seen.is_some() {
            let confirmed: BTreeSet<&i64> = matches.iter().collect();
            if !found.iter().all(|pk| confirmed.contains(pk)) {
                return Err(WRONG_INDEX.into());
            }
        }
        trace.phase("confirm");
        let total = match wanted.at {
            Some(keyset) => keyset.total,
            None => (wanted.total != Total::None).then_some(matches.len() as u64),
        };
        let mut statement = sql::filter_then_sort(Selection {
            types: &flat.types,
            filter: &[Test::Rows(matches)],
            order: &flat.order,
            found: &flat.found,
            scales: &flat.scales,
            scores: &read.scores,
            after: wanted.after(),
            limit: wanted.limit as i64 + 1,
            many: false,
            lead: &[0],
            known: &[],
        });
        trace.statement(&statement);
        let places: Vec<(i64, Vec<Option<String>>, i64)> =
            statement.build_query_as().fetch_all(connection).await?;
        let places = places.into_iter().map(|(pk, values, _)| (pk, values));
        Ok(Found {
            keys: Keys::page(places.collect(), wanted.limit),
            total,
            scores: read.scores,
        })
    }
}
