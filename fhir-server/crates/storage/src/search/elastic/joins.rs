//! Chains and `_has` that were not resolved to lists of rows before: the other side is found in the index, up to as many rows as a list of
//! terms may have. Rows that are masked are left out of it, and Postgres says which of those belong to it.
//!
//! Several requests see several moments of the index; what changed between them is masked or of later writes than the snapshot's, and for those
//! the search is made again.

use super::{Indexed, Reason, Stop, translate};
use crate::elastic::document::{reference_prefix, reference_target};
use crate::search::flat::Test;
use crate::search::sql;
use serde_json::{Value, json};
use sqlx::PgConnection;

const TOO_MANY: Reason = "joined rows";
/// Most that an aggregation has, `search.max_buckets` as it is by default.
const BUCKETS_MAX: usize = 65_535;

/// Whether it takes rows of another side.
pub(super) fn joins(test: &Test) -> bool {
    match test {
        Test::Points(..) | Test::PointedAt(..) => true,
        Test::Any(tests) | Test::All(tests) => tests.iter().any(joins),
        Test::Not(test) => joins(test),
        _ => false,
    }
}

impl Indexed<'_> {
    /// The tests with lists in the place of joins.
    pub(super) async fn without_joins(
        &self,
        connection: &mut PgConnection,
        tests: &[Test],
        mask: &[i64],
    ) -> Result<Vec<Test>, Stop> {
        let mut joined = Vec::with_capacity(tests.len());
        for test in tests {
            joined.push(self.without_join(connection, test, mask).await?);
        }
        Ok(joined)
    }

    async fn without_join(
        &self,
        connection: &mut PgConnection,
        test: &Test,
        mask: &[i64],
    ) -> Result<Test, Stop> {
        if !joins(test) {
            return Ok(test.clone());
        }
        Ok(match test {
            Test::Points(key, to) => {
                let inner = Box::pin(self.without_join(connection, to, mask)).await?;
                let mut targets = self.rows_that_meet(&inner, mask).await?;
                if !mask.is_empty() {
                    let masked = among(to, mask);
                    let more: Vec<i64> = sql::rows(&masked, mask.len() as i64)
                        .build_query_scalar()
                        .fetch_all(&mut *connection)
                        .await?;
                    targets.extend(more);
                }
                let targets = self.not_too_many(targets)?;
                let references = targets.into_iter().map(|pk| sql::reference(*key, pk));
                Test::AnyOfReferences(references.collect())
            }
            Test::PointedAt(key, by) => {
                let inner = Box::pin(self.without_join(connection, by, mask)).await?;
                let mut targets = self.targets_of(*key, &inner, mask).await?;
                if !mask.is_empty() {
                    let masked = among(by, mask);
                    let most = self.elastic.settings.joins.most;
                    let more: Vec<i64> = sql::targets(*key, &masked, most as i64 + 1)
                        .build_query_scalar()
                        .fetch_all(&mut *connection)
                        .await?;
                    // Others would be missing.
                    if more.len() > most {
                        return Err(TOO_MANY.into());
                    }
                    targets.extend(more);
                }
                targets.sort_unstable();
                targets.dedup();
                Test::Rows(self.not_too_many(targets)?)
            }
            Test::Any(tests) => {
                Test::Any(Box::pin(self.without_joins(connection, tests, mask)).await?)
            }
            Test::All(tests) => {
                Test::All(Box::pin(self.without_joins(connection, tests, mask)).await?)
            }
            Test::Not(test) => Box::pin(self.without_join(connection, test, mask))
                .await?
                .negate(),
            test => test.clone(),
        })
    }

    fn not_too_many(&self, rows: Vec<i64>) -> Result<Vec<i64>, Stop> {
        match rows.len() <= self.elastic.settings.joins.most {
            true => Ok(rows),
            false => Err(TOO_MANY.into()),
        }
    }

    async fn rows_that_meet(&self, test: &Test, mask: &[i64]) -> Result<Vec<i64>, Stop> {
        let query = translate::filter(&[], std::slice::from_ref(test), mask)?;
        let most = self.elastic.settings.joins.most;
        self.all_rows(&query, most, TOO_MANY).await
    }

    /// All rows that the query finds, by a batch after the other; or why not, where they are more than `most`.
    pub(super) async fn all_rows(
        &self,
        query: &Value,
        most: usize,
        too_many: Reason,
    ) -> Result<Vec<i64>, Stop> {
        let batch = self.elastic.settings.joins.batch;
        let mut all: Vec<i64> = Vec::new();
        loop {
            let some = self.some_rows(query, batch, all.last().copied()).await?;
            let is_last = some.len() < batch;
            all.extend(some);
            if all.len() > most {
                return Err(too_many.into());
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The rows that those which meet the test point at by the parameter.
    async fn targets_of(&self, key: i16, test: &Test, mask: &[i64]) -> Result<Vec<i64>, Stop> {
        let most = self.elastic.settings.joins.most.min(BUCKETS_MAX);
        let query = translate::filter(&[], std::slice::from_ref(test), mask)?;
        let body = json!({
            "size": 0,
            "track_total_hits": false,
            "query": query,
            "aggs": {"targets": {"terms": {
                "field": "refs",
                "include": format!("{}.*", reference_prefix(key)),
                "size": most,
                "shard_size": most,
                // The others would be put into the order of the whole index first.
                "execution_hint": "map",
            }}},
        });
        let answer = self.send(&body).await?;
        let targets = &answer["aggregations"]["targets"];
        if targets["sum_other_doc_count"] != 0 {
            return Err(TOO_MANY.into());
        }
        let buckets = targets["buckets"].as_array();
        let buckets = buckets.map_or(&[][..], Vec::as_slice);
        let target = |bucket: &Value| reference_target(bucket["key"].as_str()?);
        Ok(buckets.iter().filter_map(target).collect())
    }
}

fn among(test: &Test, rows: &[i64]) -> Test {
    Test::All(vec![Test::Rows(rows.to_vec()), test.clone()])
}
