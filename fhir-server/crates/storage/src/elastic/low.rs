//! Up to where no outbox row can be any more, also none that is still to be committed: where searches begin to look.
//!
//! Sequence numbers are not committed in their order. Who writes the outbox holds its lock (ROW EXCLUSIVE) from before it takes a number until
//! after its rows can be seen. So numbers given by a moment are settled when all who held the lock just after it hold it no more. Writers in
//! other tables and databases hold nothing up, as they would a comparison of transaction numbers.

use sqlx::PgConnection;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// Times that are remembered; of more, every other one is forgotten.
const SAMPLES_MAX: usize = 1_000;

/// The mark, and what is on the way to the next one.
#[derive(Debug, Default)]
pub(crate) struct Low {
    low: AtomicI64,
    coming: Mutex<Coming>,
}

#[derive(Debug, Default)]
struct Coming {
    looked: Option<Instant>,
    candidate: Option<Candidate>,
    /// When which numbers had been given.
    samples: VecDeque<(i64, Instant)>,
    behind: Behind,
}

#[derive(Debug)]
struct Candidate {
    given: i64,
    writers: HashSet<String>,
}

/// How far the index is behind: rows that wait, at most, and for how long the first of them has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Behind {
    pub rows: u64,
    pub seconds: f64,
}

impl Low {
    /// No row has a smaller number.
    pub fn get(&self) -> i64 {
        self.low.load(Ordering::Acquire)
    }

    pub fn behind(&self) -> Behind {
        self.coming().behind
    }

    /// Looks how far it can be moved, unless that was done a moment ago.
    ///
    /// # Errors
    /// Database errors.
    pub async fn look(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        let candidate = {
            let mut coming = self.coming();
            let is_recent = |looked: Instant| now.duration_since(looked) < INTERVAL;
            if coming.looked.is_some_and(is_recent) {
                return Ok(());
            }
            coming.looked = Some(now);
            coming.candidate.take()
        };
        let given = given(connection).await?;
        let writers = writers(connection).await?;
        let settled = match candidate {
            Some(candidate) if candidate.writers.is_disjoint(&writers) => Some(candidate.given),
            Some(candidate) => {
                self.coming().candidate = Some(candidate);
                None
            }
            None => None,
        };
        // After the writers were found gone.
        let first: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM outbox WHERE seq >= $1 ORDER BY seq LIMIT 1")
                .bind(self.get())
                .fetch_optional(connection)
                .await?;
        if let Some(settled) = settled {
            let low = first.map_or(settled + 1, |first| first.min(settled + 1));
            self.low.fetch_max(low, Ordering::AcqRel);
        }
        let mut coming = self.coming();
        if coming.candidate.is_none() {
            coming.candidate = Some(Candidate { given, writers });
        }
        coming.sample(given, first, now);
        Ok(())
    }

    fn coming(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coming {
    fn sample(&mut self, given: i64, first: Option<i64>, now: Instant) {
        self.samples.push_back((given, now));
        let first_waiting = first.unwrap_or(given + 1);
        while self
            .samples
            .front()
            .is_some_and(|(given, _)| *given < first_waiting)
        {
            self.samples.pop_front();
        }
        if self.samples.len() > SAMPLES_MAX {
            // The first stays.
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
        let since = self.samples.front().map(|(_, since)| *since);
        self.behind = Behind {
            rows: (given + 1 - first_waiting).max(0).unsigned_abs(),
            seconds: since.map_or(0.0, |since| now.duration_since(since).as_secs_f64()),
        };
    }
}

/// The last number that was given.
async fn given(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM outbox_seq_seq",
    )
    .fetch_one(connection)
    .await
}

/// Who holds the lock that writing the outbox needs, in a statement of its own.
async fn writers(connection: &mut PgConnection) -> Result<HashSet<String>, sqlx::Error> {
    let writers: Vec<String> = sqlx::query_scalar(
        "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND relation = 'outbox'::regclass \
         AND mode = 'RowExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(connection)
    .await?;
    Ok(writers.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Store, Target, testing};
    use sqlx::Connection;

    async fn write(store: &Store) {
        let change = Change::Create {
            target: Target::New {
                resource_type: "Basic".into(),
            },
            resource: serde_json::json!({"resourceType": "Basic"}),
            full_url: None,
        };
        store.commit(vec![change]).await.unwrap();
    }

    async fn empty(connection: &mut PgConnection) {
        sqlx::raw_sql("DELETE FROM outbox")
            .execute(connection)
            .await
            .unwrap();
    }

    /// As often as it takes, where nothing stands in the way.
    async fn look(low: &Low, connection: &mut PgConnection) {
        for _ in 0..2 {
            low.coming().looked = None;
            low.look(connection).await.unwrap();
        }
    }

    /// A number that was given and is not committed yet is never passed, however many later ones came and went.
    #[tokio::test]
    async fn an_open_write_holds_it_back() {
        let store = testing::store().await;
        let pool = &store.inner.write_pool;
        let (low, mut connection) = (Low::default(), pool.acquire().await.unwrap());
        write(&store).await;
        look(&low, &mut connection).await;
        assert_eq!(low.get(), 1, "the row is there");
        empty(&mut connection).await;
        look(&low, &mut connection).await;
        assert_eq!((low.get(), low.behind().rows), (2, 0));

        let mut open = pool.acquire().await.unwrap();
        let mut transaction = open.begin().await.unwrap();
        sqlx::raw_sql("INSERT INTO outbox (pk, type, version) VALUES (7, 1, 1)")
            .execute(&mut *transaction)
            .await
            .unwrap();
        write(&store).await;
        empty(&mut connection).await;
        for _ in 0..5 {
            look(&low, &mut connection).await;
            assert_eq!(low.get(), 2, "number 2 is still to come");
        }
        transaction.commit().await.unwrap();
        look(&low, &mut connection).await;
        assert_eq!((low.get(), low.behind().rows), (2, 2), "it has come");
        assert!(low.behind().seconds > 0.0);
        empty(&mut connection).await;
        look(&low, &mut connection).await;
        assert_eq!((low.get(), low.behind().rows), (4, 0));
        assert_eq!(low.behind().seconds, 0.0);
    }

    /// A write elsewhere that is open for hours holds nothing back.
    #[tokio::test]
    async fn other_writers_do_not_count() {
        let store = testing::store().await;
        let pool = &store.inner.write_pool;
        let (low, mut connection) = (Low::default(), pool.acquire().await.unwrap());
        let mut open = pool.acquire().await.unwrap();
        let mut transaction = open.begin().await.unwrap();
        sqlx::raw_sql("UPDATE site SET kept = kept")
            .execute(&mut *transaction)
            .await
            .unwrap();
        write(&store).await;
        empty(&mut connection).await;
        look(&low, &mut connection).await;
        assert_eq!(low.get(), 2);
    }

    #[test]
    fn samples_are_bounded_and_keep_the_first() {
        let mut coming = Coming::default();
        let begun = Instant::now();
        for second in 0..100_000 {
            coming.sample(
                second,
                Some(0),
                begun + Duration::from_secs(second.unsigned_abs()),
            );
        }
        assert!(coming.samples.len() <= SAMPLES_MAX);
        assert_eq!(
            coming.behind,
            Behind {
                rows: 100_000,
                seconds: 99_999.0
            }
        );
    }
}
