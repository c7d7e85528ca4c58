//! Makes every index row again, from the bodies, while writes go on: after the definitions have changed, or by command.

use super::apply::{self, Index};
use super::prepare::index_of;
use super::{EPOCH_LOCK, Keys};
use crate::error::Error;
use crate::held::Held;
use crate::read;
use crate::store::Store;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::{SearchDocument, search_document};
use sqlx::{AssertSqlSafe, Connection};
use std::sync::atomic::Ordering;

/// Resources indexed in one transaction.
const BATCH: i64 = 200;

/// pk, type, version, milliseconds, id, text.
type Row = (i64, i16, i32, i64, String, String);

impl Store {
    /// Indexes every resource again; tells how many. A write that comes between is newer and wins.
    ///
    /// # Errors
    /// Database errors; what was indexed until then stays, and a later call begins anew.
    pub async fn reindex(&self) -> Result<u64, Error> {
        let definitions = self.definitions();
        let epoch = self.inner.epoch.load(Ordering::SeqCst);
        let mut after = 0;
        let mut count = 0;
        loop {
            let pool = &self.inner.write_pool;
            let rows: Vec<Row> = read::retrying!(
                pool,
                sqlx::query_as(
                    "SELECT pk, type, version, (extract(epoch FROM last_updated) * 1000)::bigint, id, coalesce(source, content::text) \
                     FROM resource WHERE pk > $1 AND content IS NOT NULL ORDER BY pk LIMIT $2",
                )
                .bind(after)
                .bind(BATCH)
                .fetch_all(pool)
                .await
            )?;
            let Some(last) = rows.last() else { break };
            after = last.0;
            count += rows.len() as u64;
            self.index(&definitions, rows).await?;
        }
        sqlx::query("UPDATE site SET fingerprint = $1 WHERE epoch = $2")
            .bind(definitions.fingerprint() as i64)
            .bind(epoch)
            .execute(&self.inner.write_pool)
            .await?;
        Ok(count)
    }

    async fn index(&self, definitions: &Definitions, rows: Vec<Row>) -> Result<(), Error> {
        let mut documents = Vec::with_capacity(rows.len());
        let mut wanted = Vec::new();
        for row in rows {
            let Some(document) = self.document(definitions, &row) else {
                tracing::warn!(pk = row.0, "a stored resource cannot be indexed");
                continue;
            };
            for reference in &document.references {
                if let Some(number) = definitions.type_number(&reference.target.resource_type) {
                    wanted.push((number, reference.target.clone()));
                }
            }
            documents.push((row, document));
        }
        // At work until all is done: an error in between may leave a transaction that the driver knows nothing of.
        let mut connection = Held::of(&self.inner.write_pool).await?;
        connection.work();
        let keys: &Keys = &self.inner.keys;
        let targets = keys.targets(&mut connection, &wanted).await?;
        let vocabulary = &self.inner.vocabulary;
        let entries = documents
            .iter()
            .flat_map(|(_, document)| &document.vocabulary);
        let learned = vocabulary.learn(&mut connection, entries).await?;

        let begin = format!("BEGIN; SELECT pg_advisory_xact_lock_shared({EPOCH_LOCK})");
        let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
        let pks: Vec<i64> = documents.iter().map(|(row, _)| row.0).collect();
        // In the order in which commits lock rows.
        let current: Vec<(i64, i32)> = sqlx::query_as(
            "SELECT pk, version FROM resource WHERE pk = ANY ($1) ORDER BY type, id FOR UPDATE",
        )
        .bind(pks)
        .fetch_all(&mut *transaction)
        .await?;
        let resources: Vec<(i64, i16, i64, Index)> = documents
            .into_iter()
            .filter(|(row, _)| current.contains(&(row.0, row.2)))
            .map(|(row, document)| (row.0, row.1, row.3, index_of(document, &targets)))
            .collect();
        apply::index(&mut transaction, resources).await?;
        transaction.commit().await?;
        vocabulary.confirm(learned);
        connection.rest();
        Ok(())
    }

    fn document(&self, definitions: &Definitions, row: &Row) -> Option<SearchDocument> {
        let key = ResourceKey::new(definitions.type_name(row.1)?, row.4.as_str());
        let whole = read::whole(&key.resource_type, &row.5);
        let resource = serde_json::from_str(&whole).ok()?;
        Some(search_document(definitions, &resource, self.base()))
    }
}
