//! What the index does not tell right yet: resources that were written since, and those of which it takes no document.
//!
//! A row stays in the outbox until what it stands for can be found in the index. So whatever is not named here is there as the statement that
//! asks sees it, or later.

use super::Elastic;
use super::mapping::LAYOUT;
use sqlx::PgConnection;

/// Rows of the outbox that are looked at, of whatever type; more are too many.
const TAIL_MAX: i64 = 20_000;

/// What a search may make of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// There is none that is complete and of this layout.
    None,
    /// It is too far behind.
    Behind { index: String },
    /// It is right but for the rows `pending`, sorted.
    Ready { index: String, pending: Vec<i64> },
}

/// Which index is to be searched for `types` (none: all), and what of it is not to be believed: at most `max` rows.
///
/// # Errors
/// Database errors.
pub(crate) async fn probe(
    elastic: &Elastic,
    connection: &mut PgConnection,
    types: &[i16],
    max: usize,
) -> Result<Probe, sqlx::Error> {
    let found: Option<(String, i64, Vec<i64>)> = sqlx::query_as(PROBE)
        .bind(elastic.low.get())
        .bind(types)
        .bind(LAYOUT)
        .bind(TAIL_MAX + 1)
        .bind(max as i64 + 1)
        .fetch_optional(connection)
        .await?;
    Ok(match found {
        None => Probe::None,
        Some((index, tail, pending)) if tail > TAIL_MAX || pending.len() > max => {
            Probe::Behind { index }
        }
        Some((index, _, mut pending)) => {
            pending.sort_unstable();
            Probe::Ready { index, pending }
        }
    })
}

/// The tail is read in the order of its key, from the low-water mark: never what was removed before.
const PROBE: &str = "WITH tail AS MATERIALIZED (SELECT pk, type FROM outbox WHERE seq >= $1 ORDER BY seq LIMIT $4) \
     SELECT s.active, (SELECT count(*) FROM tail), ARRAY( \
       SELECT pk FROM tail WHERE cardinality($2::smallint[]) = 0 OR type = ANY ($2) \
       UNION SELECT pk FROM search_index_parked WHERE index = s.active AND (cardinality($2::smallint[]) = 0 OR type = ANY ($2)) \
       LIMIT $5) \
     FROM search_index s WHERE s.active IS NOT NULL AND s.layout = $3";
