//! Which profiles, tags and security labels are in use (<https://hl7.org/fhir/R5/resource-operation-meta.html>).

use crate::error::Error;
use crate::search::{Snapshot, too_costly};
use fhir_model::{Issue, IssueKind};
use fhir_search::token::STORED;
use serde_json::Value;

/// Most of them that are told.
const LABELS_MAX: usize = 10_000;

impl Snapshot {
    /// Those of the current resources of `types`: the member of Meta and its value, each system and code, and each profile, once.
    ///
    /// # Errors
    /// `TooCostly` where there are more than ten thousand or looking takes too long; database errors.
    pub async fn labels(&mut self, types: &[String]) -> Result<Vec<(String, Value)>, Error> {
        let (connection, definitions) = self.parts().await?;
        let numbers: Vec<i16> = types
            .iter()
            .filter_map(|name| definitions.type_number(name))
            .collect();
        let parameters = |name: &String| {
            ["_profile", "_security", "_tag"].map(|code| {
                definitions
                    .search_parameter(name, code)
                    .map(|parameter| STORED.present(parameter.key))
            })
        };
        // Most resources have none: the index knows those that do.
        let present: Vec<i64> = types.iter().flat_map(parameters).flatten().collect();
        let rows: Result<Vec<(String, String)>, sqlx::Error> = sqlx::query_as(
                "SELECT DISTINCT ON (label.name, label.value ->> 'system', coalesce(label.value ->> 'code', label.value #>> '{}')) \
                 label.name, label.value::text \
                 FROM entry e JOIN resource r ON r.pk = e.pk CROSS JOIN LATERAL ( \
                   SELECT name, jsonb_array_elements(r.content -> 'meta' -> name) AS value \
                   FROM unnest(ARRAY['profile', 'security', 'tag']) AS name) label \
                 WHERE e.tokens && $1 AND e.type = ANY($2) AND label.value <> 'null' \
                 ORDER BY label.name, label.value ->> 'system', coalesce(label.value ->> 'code', label.value #>> '{}') LIMIT $3",
        )
        .bind(&present)
        .bind(&numbers)
        .bind(LABELS_MAX as i64 + 1)
        .fetch_all(connection)
        .await;
        let rows = rows.map_err(|error| too_costly(error.into()))?;
        if rows.len() > LABELS_MAX {
            return Err(Error::refused(Issue::error(
                IssueKind::TooCostly,
                format!(
                    "more than {LABELS_MAX} profiles, tags and security labels are in use; ask one type"
                ),
            )));
        }
        let label =
            |(name, text): (String, String)| Some((name, serde_json::from_str(&text).ok()?));
        Ok(rows.into_iter().filter_map(label).collect())
    }
}
