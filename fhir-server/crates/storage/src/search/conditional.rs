//! The conditions of conditional interactions (<https://hl7.org/fhir/R5/http.html#cond-update>): what matches, read within the write's own
//! transaction.

use super::chain::Reach;
use super::resolve::resolve;
use super::{sql, too_costly};
use crate::Error;
use crate::store::Inner;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::Query;
use sqlx::PgConnection;

/// A resource that meets a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matched {
    pub pk: i64,
    pub key: ResourceKey,
    pub version: i32,
}

/// At most `limit` matches, ordered by type and id, as the index has them: two texts may share a 64-bit hash, so the caller looks at the
/// resources themselves.
pub(crate) async fn match_in(
    connection: &mut PgConnection,
    definitions: &Definitions,
    store: &Inner,
    query: &Query,
    limit: usize,
) -> Result<Vec<Matched>, Error> {
    let statistics = store.statistics(connection).await?;
    let reach = Reach::default();
    let flat = resolve(connection, definitions, &statistics.1, query, reach)
        .await
        .map_err(too_costly)?;
    let rows: Vec<(i64, i16, String, i32)> = sql::matched(&flat.types, &flat.filter, limit as i64)
        .build_query_as()
        .fetch_all(connection)
        .await
        .map_err(|error| too_costly(error.into()))?;
    Ok(rows
        .into_iter()
        .filter_map(|(pk, number, id, version)| {
            let key = ResourceKey::new(definitions.type_name(number)?, id);
            Some(Matched { pk, key, version })
        })
        .collect())
}
