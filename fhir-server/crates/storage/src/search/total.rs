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
use sqlx::PgConnection;

/// Most rows that are counted for a total that was not asked for: about 5 ms of CPU.
const UNASKED_MAX: i64 = 20_000;

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
            let estimate = || plan::matches(&flat.filter, &flat.types, statistics).round() as u64;
            Ok(counted.or_else(|| Some(estimate())))
        }
    }
}

/// The number of all matches, if no more than [`UNASKED_MAX`] rows must be read for it.
async fn affordable(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
) -> Result<Option<u64>, Error> {
    // How many rows a range holds is only guessed.
    let ranges = |test: &&Test| matches!(test, Test::Dates(..) | Test::Quantities(..));
    let certain: Vec<Test> = flat
        .filter
        .iter()
        .filter(|test| !ranges(test))
        .cloned()
        .collect();
    let hits = plan::hits(&certain, &flat.types, statistics);
    if hits > UNASKED_MAX as f64 || flat.filter.iter().any(plan::dear) {
        return Ok(None);
    }
    let count: i64 = sql::count(&flat.types, &flat.filter, Some(UNASKED_MAX))
        .build_query_scalar()
        .fetch_one(connection)
        .await?;
    Ok((count <= UNASKED_MAX).then_some(count.unsigned_abs()))
}

/// The total of a search whose matches are all on its first page.
pub(super) fn of_one_page(total: Total, matches: usize) -> Option<u64> {
    (total != Total::None).then_some(matches as u64)
}
