//! Up to where time is settled: no write that is still open can commit a version with an earlier time (docs/adr/0016-histories.md).
//!
//! A write takes its time from the clock under its locks, and commits later; others may have committed later times by then. Every write
//! holds [`EPOCH_LOCK`] shared from before it takes its time until its commit can be seen, so the writes that hold it are the open ones, and
//! none of them has a time before its transaction began.

use crate::write::EPOCH_LOCK;
use sqlx::PgConnection;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long open writes are waited for, before the horizon is drawn before them. Most end within milliseconds.
const WAIT: Duration = Duration::from_millis(2_000);
const PAUSE: Duration = Duration::from_millis(2);

/// The horizon, in milliseconds since 1970 UTC: what a later statement sees has all versions with earlier times. All that was acknowledged
/// before the call is among them, unless a write that began before is open for longer than [`WAIT`].
pub(crate) async fn horizon_ms(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    // The first millisecond that has not begun: times are cut to milliseconds, and those of this one may be acknowledged already.
    let now_ms: i64 =
        sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(&mut *connection)
            .await?;
    let wanted_ms = now_ms + 1;
    let deadline = Instant::now() + WAIT;
    loop {
        let (clock_ms, earliest_ms) = open(connection).await?;
        let settled_ms = earliest_ms.map_or(clock_ms, |earliest| earliest.min(clock_ms));
        if settled_ms >= wanted_ms {
            return Ok(wanted_ms);
        }
        if Instant::now() >= deadline {
            return Ok(settled_ms);
        }
        sleep(PAUSE).await;
    }
}

/// The clock before looking for open writes, and since when the first of them is open. A write of another role, whose beginning this
/// one may not see, counts as older than everything.
async fn open(connection: &mut PgConnection) -> Result<(i64, Option<i64>), sqlx::Error> {
    sqlx::query_as(
        "WITH c AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms), \
         l AS MATERIALIZED (SELECT l.pid FROM c CROSS JOIN LATERAL (SELECT pid FROM pg_locks WHERE c.ms > 0 AND locktype = 'advisory' \
           AND mode = 'ShareLock' AND granted AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1 \
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) l) \
         SELECT c.ms, (SELECT min(CASE WHEN a.xact_start IS NOT NULL THEN floor(extract(epoch FROM a.xact_start) * 1000)::bigint \
           WHEN a.state IS NULL THEN 0 END) FROM l JOIN pg_stat_activity a ON a.pid = l.pid) FROM c",
    )
    .bind(EPOCH_LOCK)
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Target, testing};
    use sqlx::Connection;

    #[tokio::test]
    async fn what_is_acknowledged_lies_before_the_horizon() {
        let store = testing::store().await;
        let mut connection = store.inner.search_pool.acquire().await.unwrap();
        for _ in 0..20 {
            let change = Change::Create {
                target: Target::New {
                    resource_type: "Basic".into(),
                },
                resource: serde_json::json!({"resourceType": "Basic"}),
                full_url: None,
            };
            let outcomes = store.commit(vec![change]).await.unwrap();
            let horizon = horizon_ms(&mut connection).await.unwrap();
            assert!(outcomes[0].last_updated_ms < horizon);
        }
    }

    #[tokio::test]
    async fn an_open_write_holds_the_horizon_back() {
        let store = testing::store().await;
        let mut connection = store.inner.search_pool.acquire().await.unwrap();
        let mut writer = store.inner.write_pool.acquire().await.unwrap();
        let mut write = writer.begin().await.unwrap();
        let began_ms: i64 = sqlx::query_scalar(
            "SELECT floor(extract(epoch FROM now()) * 1000)::bigint FROM pg_advisory_xact_lock_shared($1)",
        )
        .bind(EPOCH_LOCK)
        .fetch_one(&mut *write)
        .await
        .unwrap();
        assert_eq!(horizon_ms(&mut connection).await.unwrap(), began_ms);
        write.rollback().await.unwrap();
        assert!(horizon_ms(&mut connection).await.unwrap() > began_ms);
    }
}
