//! `Bundle.total` (<https://hl7.org/fhir/R5/search.html#total>): exact, an estimate, or exact where that is cheap.
//!
//! The first page's total goes with the page tokens, so that all pages of a search say the same.

use super::estimate;
use super::flat::{FlatQuery, Test};
use super::keyset::Keyset;
use super::plan::{self, Estimate};
use super::sql;
use super::statistics::Statistics;
use crate::Error;
use fhir_search::query::Total;
use serde_json::Value;
use sqlx::PgConnection;

/// Most matches that are counted for a total that was not asked for, and most that finding them may cost, in milliseconds of CPU.
const UNASKED_MAX: i64 = 20_000;
const UNASKED_MS: f64 = 6.0;
/// The same where each has to be tested by look-ups.
const UNASKED_TESTED_MS: f64 = 3.0;

/// The number of all matches.
pub(super) async fn exact(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    estimate: &Estimate,
) -> Result<u64, Error> {
    let lead = &estimate.finding.lead;
    let count: i64 = sql::count(&flat.types, &flat.filter, lead, None)
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
    estimate: &Estimate,
    total: Total,
    after: Option<&Keyset>,
) -> Result<Option<u64>, Error> {
    if let Some(keyset) = after {
        return Ok(keyset.total);
    }
    match total {
        Total::None => Ok(None),
        Total::Accurate => exact(connection, flat, estimate).await.map(Some),
        Total::Default => affordable(connection, flat, estimate).await,
        Total::Estimate => {
            let counted = affordable(connection, flat, estimate).await?;
            match counted {
                Some(counted) => Ok(Some(counted)),
                None => likely(connection, flat, statistics).await.map(Some),
            }
        }
    }
}

/// What the statistics of the database make likely: Postgres has those of dates, numbers and strings, too.
async fn likely(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
) -> Result<u64, Error> {
    let plan: Value = sql::explained(&flat.types, &flat.filter)
        .build_query_scalar()
        .fetch_one(connection)
        .await?;
    let rows = plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64);
    let rows = rows.unwrap_or_else(|| estimate::matches(&flat.filter, &flat.types, statistics));
    Ok(rows.round() as u64)
}

/// Whether the total of a search takes a statement of its own.
pub(super) fn counts(flat: &FlatQuery, estimate: &Estimate, total: Total) -> bool {
    match total {
        Total::None => false,
        Total::Accurate | Total::Estimate => true,
        Total::Default => is_cheap(flat, estimate),
    }
}

/// The number of all matches, if counting them is cheap.
async fn affordable(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    estimate: &Estimate,
) -> Result<Option<u64>, Error> {
    if !is_cheap(flat, estimate) {
        return Ok(None);
    }
    let lead = &estimate.finding.lead;
    let count: i64 = sql::count(&flat.types, &flat.filter, lead, Some(UNASKED_MAX))
        .build_query_scalar()
        .fetch_one(connection)
        .await?;
    Ok((count <= UNASKED_MAX).then_some(count.unsigned_abs()))
}

/// Whether finding all matches is known to cost little.
fn is_cheap(flat: &FlatQuery, estimate: &Estimate) -> bool {
    let finding = &estimate.finding;
    let tests = flat.filter.iter().enumerate();
    let is_tested = tests
        .into_iter()
        .any(|(at, test)| test.is_ordered() && !finding.lead.contains(&at));
    let most = match is_tested {
        true => UNASKED_TESTED_MS,
        false => UNASKED_MS,
    };
    // How many rows lie in a range is only guessed where nothing was counted.
    let is_known = finding.known || !flat.filter.iter().any(Test::is_ordered);
    finding.ms <= most && is_known && !flat.filter.iter().any(plan::dear)
}

/// The total of a search whose matches are all on its first page.
pub(super) fn of_one_page(total: Total, matches: usize) -> Option<u64> {
    (total != Total::None).then_some(matches as u64)
}
