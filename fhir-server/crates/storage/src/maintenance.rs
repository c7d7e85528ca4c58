//! What the database wants done now and then. Cheap; several servers may do it at once, and none may for a while.

use crate::elastic::give_up_unserved;
use crate::error::Error;
use crate::store::Store;
use sqlx::PgConnection;

/// Outbox rows removed by one statement.
const OUTBOX_BATCH: i64 = 10_000;

impl Store {
    /// Merges what recent writes left beside the token index, where every look-up has to read it. Where no search index is kept, nobody
    /// reads the outbox: its rows up to `outbox_seen` are removed. Gives the outbox's end, for the next time.
    ///
    /// # Errors
    /// What the database says; nothing is lost by trying again later.
    pub async fn maintain(&self, outbox_seen: i64) -> Result<i64, Error> {
        let mut connection = self.inner.write_pool.acquire().await?;
        sqlx::query("SELECT gin_clean_pending_list('entry_gin')")
            .execute(&mut *connection)
            .await?;
        if give_up_unserved(&mut connection).await? {
            empty_outbox(&mut connection, outbox_seen).await?;
        }
        let end = sqlx::query_scalar("SELECT coalesce(max(seq), $1) FROM outbox")
            .bind(outbox_seen)
            .fetch_one(&mut *connection)
            .await?;
        Ok(end)
    }
}

/// Removes outbox rows up to `seen`, as long as no search index is kept. One that is begun meanwhile has what was removed: it is filled
/// with what is there after it was begun.
pub(crate) async fn empty_outbox(
    connection: &mut PgConnection,
    seen: i64,
) -> Result<(), sqlx::Error> {
    loop {
        let removed = sqlx::query(
            "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE seq <= $1 \
             ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED) \
             AND (SELECT active IS NULL AND building IS NULL FROM search_index)",
        )
        .bind(seen)
        .bind(OUTBOX_BATCH)
        .execute(&mut *connection)
        .await?;
        if removed.rows_affected() < OUTBOX_BATCH as u64 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Change, Store, Target, testing};

    async fn rows(store: &Store) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox")
            .fetch_one(&store.inner.write_pool)
            .await
            .unwrap()
    }

    async fn write(store: &Store, count: usize) {
        let change = Change::Create {
            target: Target::New {
                resource_type: "Basic".into(),
            },
            resource: serde_json::json!({"resourceType": "Basic", "code": {"text": "x"}}),
            full_url: None,
        };
        store.commit(vec![change; count]).await.unwrap();
    }

    #[tokio::test]
    async fn outbox_rows_live_for_one_round() {
        let store = testing::store().await;
        assert_eq!(store.maintain(0).await.unwrap(), 0);
        write(&store, 3).await;
        let seen = store.maintain(0).await.unwrap();
        assert_eq!((seen, rows(&store).await), (3, 3));
        write(&store, 2).await;
        let seen = store.maintain(seen).await.unwrap();
        assert_eq!((seen, rows(&store).await), (5, 2));
        assert_eq!(store.maintain(seen).await.unwrap(), 5);
        assert_eq!(rows(&store).await, 0);
    }

    /// Where an index is kept, whichever server keeps it, the outbox is what it is written from; one that nobody keeps any more is given up.
    #[tokio::test]
    async fn outbox_rows_wait_for_a_search_index() {
        let store = testing::store().await;
        let run = async |sql: &'static str| {
            sqlx::raw_sql(sql)
                .execute(&store.inner.write_pool)
                .await
                .unwrap();
        };
        for kept in [
            "UPDATE search_index SET active = 'a', served = now()",
            "UPDATE search_index SET active = NULL, building = 'b', served = now()",
        ] {
            run(kept).await;
            write(&store, 3).await;
            let there = rows(&store).await;
            store.maintain(i64::MAX).await.unwrap();
            assert_eq!(rows(&store).await, there, "{kept}");
        }
        run("UPDATE search_index SET served = now() - interval '23 hours'").await;
        store.maintain(i64::MAX).await.unwrap();
        assert_eq!(rows(&store).await, 6);
        run("UPDATE search_index SET served = now() - interval '25 hours'").await;
        store.maintain(i64::MAX).await.unwrap();
        assert_eq!(rows(&store).await, 0);
        let left: Vec<String> = sqlx::query_scalar("SELECT index FROM search_index_retired")
            .fetch_all(&store.inner.write_pool)
            .await
            .unwrap();
        assert_eq!(left, ["b"], "to be deleted when the cluster is there again");
    }
}
