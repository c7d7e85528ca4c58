//! A connection that is not kept busy for a caller who has gone away, and not left in the middle of a transaction.
//!
//! When a request is given up (its client closed the connection, its time is over) in the middle of a statement, the statement would run on
//! to its end, and the connection would be of no use to others until then. Short ones may; a longer one loses its connection, and
//! Postgres, which looks after its clients (`client_connection_check_interval`), ends it.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use std::ops::{Deref, DerefMut};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a statement may run on after nobody wants its answer; a new connection costs more than that.
const GRACE: Duration = Duration::from_millis(500);

/// A connection of a pool, at rest or in the middle of something.
pub(crate) struct Held {
    connection: Option<PoolConnection<Postgres>>,
    working: bool,
}

impl Held {
    pub(crate) async fn of(pool: &PgPool) -> Result<Held, sqlx::Error> {
        Ok(Held {
            connection: Some(pool.acquire().await?),
            working: false,
        })
    }

    /// A connection with a transaction, which is rolled back by [`Held::roll_back`] or by dropping this.
    pub(crate) async fn begun(pool: &PgPool, begin: &'static str) -> Result<Held, sqlx::Error> {
        let mut held = Held::of(pool).await?;
        held.working = true;
        sqlx::raw_sql(begin).execute(&mut *held).await?;
        Ok(held)
    }

    /// Ends the transaction and gives the connection back at once; dropping does so a little later.
    pub(crate) async fn roll_back(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(&mut *self).await?;
        self.working = false;
        Ok(())
    }

    /// Says that something begins which, when this is dropped before [`Held::rest`], was given up.
    pub(crate) fn work(&mut self) {
        self.working = true;
    }

    pub(crate) fn rest(&mut self) {
        self.working = false;
    }
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(GIVEN_UP)
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(GIVEN_UP)
    }
}

const GIVEN_UP: &str = "the connection is given up by drop only";

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !self.working {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(give_up(connection))),
            Err(_) => connection.close_on_drop(),
        }
    }
}

async fn give_up(mut connection: PoolConnection<Postgres>) {
    let end = async {
        // Answered when the statement is through, and the rollback that the driver may have put behind it.
        connection.ping().await?;
        // The driver knows of no transaction whose BEGIN was not answered. Where there is none, this is a warning in Postgres' log.
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await
    };
    if !matches!(timeout(GRACE, end).await, Ok(Ok(_))) {
        tracing::debug!("a statement that nobody waits for is ended with its connection");
        connection.close_on_drop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    async fn sleeping(pool: &PgPool) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() AND (state <> 'idle')",
        )
        .fetch_one(pool)
        .await
        .unwrap()
    }

    async fn asleep(pool: &PgPool) {
        let mut held = Held::begun(pool, "BEGIN").await.unwrap();
        let _ = sqlx::query("SELECT pg_sleep(600)")
            .execute(&mut *held)
            .await;
    }

    #[tokio::test]
    async fn a_statement_that_nobody_waits_for_ends() {
        let store = testing::store().await;
        let (pool, watch) = (&store.inner.search_pool, &store.inner.write_pool);
        for _ in 0..pool.options().get_max_connections() {
            let given_up = timeout(Duration::from_millis(100), asleep(pool)).await;
            assert!(given_up.is_err());
        }
        let ended = async {
            while sleeping(watch).await > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(30), ended)
            .await
            .expect("all are ended");
        assert!(Held::of(pool).await.is_ok(), "there is room for others");
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_is_rolled_back() {
        let store = testing::store().await;
        let (pool, watch) = (&store.inner.search_pool, &store.inner.write_pool);
        for _ in 0..20 {
            drop(Held::begun(pool, "BEGIN").await.unwrap());
        }
        let ended = async {
            while sleeping(watch).await > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(30), ended)
            .await
            .expect("none is left open");
    }
}
