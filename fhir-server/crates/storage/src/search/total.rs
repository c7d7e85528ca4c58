//! `Bundle.total` (<https://hl7.org/fhir/R5/search.html#total>): exact, an estimate, or exact where that is cheap.
//!
//! The first page's total goes with the page tokens, so that all pages of a search say the same.

use super::flat::{FlatQuery, Test};
use super::keyset::Keyset;
use super::plan;
use super::sql;
use super::statistics::Statistics;
use crate::Error;
use fhir_search::query::Total;
use serde_json::Value;
use sqlx::PgConnection;

/// Most rows that are counted for a total that was not asked for, about 5 ms of CPU; and most that a range is tested on, about one.
const UNASKED_MAX: i64 = 20_000;
const UNASKED_TESTED_MAX: i64 = 800;

/// The number of all matches.
pub(super) async fn exact(connection: &mut PgConnection, flat: &FlatQuery) -> Result<u64, Error> {
    let count: i64 = sql::count(&flat.types, &flat.filter, None)
        .build_query_scalar()
        .fetch_one(connection)
        .await?;
    Ok(count.unsigned_abs())
}

/// The total of a search of which not all matches are on its first page.
pub(super) async fn of_pages(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
    total: Total,
    after: Option<&Keyset>,
) -> Result<Option<u64>, Error> {
    if let Some(keyset) = after {
        return Ok(keyset.total);
    }
    match total {
        Total::None => Ok(None),
        Total::Accurate => exact(connection, flat).await.map(Some),
        Total::Default => affordable(connection, flat, statistics).await,
        Total::Estimate => {
            let counted = affordable(connection, flat, statistics).await?;
            match counted {
                Some(counted) => Ok(Some(counted)),
                None => estimate(connection, flat, statistics).await.map(Some),
            }
        }
    }
}

/// What the statistics of the database make likely: Postgres has those of dates, numbers and strings, too.
async fn estimate(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
) -> Result<u64, Error> {
    let plan: Value = sql::explained(&flat.types, &flat.filter)
        .build_query_scalar()
        .fetch_one(connection)
        .await?;
    let rows = plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64);
    let rows = rows.unwrap_or_else(|| plan::matches(&flat.filter, &flat.types, statistics));
    Ok(rows.round() as u64)
}

/// Whether the total of a search takes a statement of its own.
pub(super) fn counts(flat: &FlatQuery, statistics: &Statistics, total: Total) -> bool {
    match total {
        Total::None => false,
        Total::Accurate | Total::Estimate => true,
        Total::Default => countable(flat, statistics).is_some(),
    }
}

/// The number of all matches, if counting them is cheap.
async fn affordable(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
) -> Result<Option<u64>, Error> {
    let Some(most) = countable(flat, statistics) else {
        return Ok(None);
    };
    let count: i64 = sql::count(&flat.types, &flat.filter, Some(most))
        .build_query_scalar()
        .fetch_one(connection)
        .await?;
    Ok((count <= most).then_some(count.unsigned_abs()))
}

/// Up to how many matches may be counted, if no more than [`UNASKED_MAX`] rows must be read for it, or [`UNASKED_TESTED_MAX`] tested.
fn countable(flat: &FlatQuery, statistics: &Statistics) -> Option<i64> {
    // How many rows a range holds is only guessed.
    let (ranges, certain): (Vec<Test>, Vec<Test>) =
        flat.filter.iter().cloned().partition(plan::is_range);
    let most = match ranges.is_empty() {
        true => UNASKED_MAX,
        false => UNASKED_TESTED_MAX,
    };
    let hits = plan::hits(&certain, &flat.types, statistics);
    // Of a type that is new since the last ANALYZE nothing is known: it may have many.
    let unknown = !ranges.is_empty() && !statistics.know(&flat.types);
    let dear = flat.filter.iter().any(plan::dear);
    (hits <= most as f64 && !unknown && !dear).then_some(most)
}

/// The total of a search whose matches are all on its first page.
pub(super) fn of_one_page(total: Total, matches: usize) -> Option<u64> {
    (total != Total::None).then_some(matches as u64)
}
