//! Older versions, deleted for good. The current version stays, be it a deletion: a resource never stands without one.

use crate::error::Error;
use crate::store::Store;
use fhir_model::ResourceKey;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryDeletion {
    /// None of what was named is there any more, whether or not it was.
    Done,
    /// It is the current version.
    IsCurrent,
}

impl Store {
    /// Deletes one older version, or all.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is not reachable or too busy.
    pub async fn delete_history(
        &self,
        key: &ResourceKey,
        version: Option<i32>,
    ) -> Result<HistoryDeletion, Error> {
        let Some(number) = self.definitions().type_number(&key.resource_type) else {
            return Ok(HistoryDeletion::Done);
        };
        let mut transaction = self.inner.write_pool.begin().await?;
        // Under the row's lock no version becomes an older one meanwhile.
        let row: Option<(i64, i32)> = sqlx::query_as(
            "SELECT pk, version FROM resource WHERE type = $1 AND id = $2 AND version > 0 FOR UPDATE",
        )
        .bind(number)
        .bind(&key.id)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((pk, current)) = row else {
            return Ok(HistoryDeletion::Done);
        };
        if version == Some(current) {
            return Ok(HistoryDeletion::IsCurrent);
        }
        sqlx::query(
            "WITH h AS (DELETE FROM resource_history WHERE pk = $1 AND ($2::int IS NULL OR version = $2)) \
             DELETE FROM binary_data WHERE pk = $1 AND version <> $3 AND ($2::int IS NULL OR version = $2)",
        )
        .bind(pk)
        .bind(version)
        .bind(current)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(HistoryDeletion::Done)
    }
}
