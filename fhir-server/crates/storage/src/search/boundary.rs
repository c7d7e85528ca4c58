//! `Location.contains`: the locations whose boundary (GeoJSON, in an extension) a position lies in. No index has an inside, so the boundaries are read.
//!
//! Refuses, as `too-costly`, to read more than [`BOUNDARIES_MAX`].

use super::flat::Test;
use super::resolve::Resolver;
use super::{bodies, sql};
use crate::Error;
use fhir_definitions::SearchParameter;
use fhir_model::{Issue, IssueKind};
use fhir_search::position::{Point, is_around};
use fhir_search::query::ValueMatch;
use fhir_search::token::STORED;

/// Most locations with a boundary, and how many are read at a time.
const BOUNDARIES_MAX: usize = 5_000;
const BATCH: usize = 100;

impl Resolver<'_> {
    /// The locations around one of the positions.
    pub(super) async fn around(
        &mut self,
        parameter: &SearchParameter,
        values: &[ValueMatch],
    ) -> Result<Test, Error> {
        let points: Vec<Point> = values
            .iter()
            .filter_map(|value| match value {
                ValueMatch::Point(point) => Some(*point),
                _ => None,
            })
            .collect();
        let present = Test::Tokens(vec![STORED.present(parameter.key)]);
        let rows: Vec<i64> = sql::rows(&present, BOUNDARIES_MAX as i64 + 1)
            .build_query_scalar()
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.len() > BOUNDARIES_MAX {
            return Err(Error::Refused(vec![Issue::error(
                IssueKind::TooCostly,
                format!("there are more than {BOUNDARIES_MAX} locations with a boundary"),
            )]));
        }
        let mut around = Vec::new();
        for rows in rows.chunks(BATCH) {
            for row in bodies::rows(self.connection, self.definitions, rows).await? {
                if is_around(parameter, &row.json(), &points) {
                    around.push(row.pk);
                }
            }
        }
        Ok(Test::Rows(around))
    }
}
