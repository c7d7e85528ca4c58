//! What the planner knows of the data: how frequent each token and reference is, and how many resources each type has.
//!
//! Read from `pg_stats`, which ANALYZE keeps; held per process and read again after [`AGE_MAX`], so that planning costs no query. Autovacuum comes
//! once a minute at most, and not everywhere: tables that have grown by half since, ANALYZE is run on from here, beside the search
//! that finds them so.

use super::estimate::Count;
use super::span::Span;
use crate::store::Inner;
use arc_swap::ArcSwap;
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long statistics are used before they are read again.
const AGE_MAX: Duration = Duration::from_secs(60);
/// The same while the tables have outgrown them: they may be being loaded.
const AGE_MAX_OUTGROWN: Duration = Duration::from_secs(5);
/// Rows written since the last ANALYZE, as a part of those there were then and beyond so many, after which its statistics are outgrown.
const GROWTH: f64 = 0.5;
const GROWTH_MIN: f64 = 1_000.0;
/// Resources that point at one target by one parameter, where nothing better is known.
const FAN_OUT: f64 = 20.0;

/// Counts that are kept.
const COUNTS_MAX: usize = 10_000;

/// The statistics as they were last read.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics {
    /// Rows of `entry`; 0 when it was never analysed.
    pub rows: f64,
    /// Rows of `entry` that were written since.
    written: f64,
    /// Rows with this token, for the frequent ones.
    tokens: HashMap<i64, f64>,
    /// Rows at or below which a token is not listed in `tokens`.
    token_floor: f64,
    /// Rows with this reference, for the frequent ones.
    references: HashMap<i64, f64>,
    /// Rows per type number, for the frequent ones.
    types: HashMap<i16, f64>,
    counts: Arc<Counts>,
}

/// What searches counted since the statistics were read. Nobody's name is kept: a condition stands here as a number that only this process makes of it.
#[derive(Debug, Default)]
struct Counts {
    by: RandomState,
    of: Mutex<HashMap<u64, Count>>,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Count>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Statistics {
    /// What lies within the spans, if it was counted at least so far.
    pub fn counted(&self, spans: &[Span], most: i64) -> Option<Count> {
        let key = self.counts.by.hash_one(spans);
        let count = self.counts.lock().get(&key).copied()?;
        count.suffices(most).then_some(count)
    }

    /// Keeps what was counted, and gives it back.
    pub fn remember(&self, spans: &[Span], count: Count) -> Count {
        let key = self.counts.by.hash_one(spans);
        let mut counts = self.counts.lock();
        if counts.len() >= COUNTS_MAX {
            counts.clear();
        }
        counts.insert(key, count);
        count
    }

    /// Rows with the token.
    pub fn token(&self, token: i64) -> f64 {
        self.tokens
            .get(&token)
            .copied()
            .unwrap_or((self.token_floor / 2.0).max(1.0))
    }

    /// Rows with the encoded reference.
    pub fn reference(&self, reference: i64) -> f64 {
        self.references.get(&reference).copied().unwrap_or(FAN_OUT)
    }

    /// Rows of the types; at least 1.
    pub fn of_types(&self, types: &[i16]) -> f64 {
        types
            .iter()
            .filter_map(|number| self.types.get(number))
            .sum::<f64>()
            .max(1.0)
    }

    /// Whether there were rows of one of the types at the last ANALYZE.
    pub fn know(&self, types: &[i16]) -> bool {
        types.iter().any(|number| self.types.contains_key(number))
    }

    /// Whether so much was written since the last ANALYZE that it says little of what is there now.
    fn outgrown(&self) -> bool {
        self.written > GROWTH_MIN + self.rows * GROWTH
    }

    /// As if these had been read.
    #[cfg(test)]
    pub fn known(rows: f64, tokens: &[(i64, f64)], types: &[(i16, f64)]) -> Statistics {
        Statistics {
            rows,
            written: 0.0,
            tokens: tokens.iter().copied().collect(),
            token_floor: rows / 10_000.0,
            references: HashMap::new(),
            counts: Arc::default(),
            types: types.iter().copied().collect(),
        }
    }

    async fn read(connection: &mut PgConnection) -> Result<Statistics, sqlx::Error> {
        let (rows, written): (f64, f64) = sqlx::query_as(
            "SELECT greatest(reltuples, 0)::float8, coalesce(pg_stat_get_mod_since_analyze(oid), 0)::float8 \
             FROM pg_class WHERE oid = 'entry'::regclass",
        )
        .fetch_one(&mut *connection)
        .await?;
        let elements: Vec<(String, Vec<i64>, Vec<f32>)> = sqlx::query_as(
            "SELECT attname::text, most_common_elems::text::bigint[], most_common_elem_freqs \
             FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'entry' \
             AND attname IN ('tokens', 'refs') AND most_common_elems IS NOT NULL",
        )
        .fetch_all(&mut *connection)
        .await?;
        let types: Option<(Vec<i16>, Vec<f32>)> = sqlx::query_as(
            "SELECT most_common_vals::text::smallint[], most_common_freqs \
             FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'entry' \
             AND attname = 'type' AND most_common_vals IS NOT NULL",
        )
        .fetch_optional(&mut *connection)
        .await?;
        let mut statistics = Statistics {
            rows,
            written,
            ..Statistics::default()
        };
        if let Some((numbers, frequencies)) = types {
            statistics.types = weigh(numbers, &frequencies, rows);
        }
        for (column, elements, frequencies) in elements {
            // After the frequencies of the elements come their smallest, their largest, and that of null.
            let floor = frequencies.get(elements.len()).copied().unwrap_or(0.0);
            let map = weigh(elements, &frequencies, rows);
            match column.as_str() {
                "tokens" => {
                    statistics.tokens = map;
                    statistics.token_floor = f64::from(floor) * rows;
                }
                _ => statistics.references = map,
            }
        }
        Ok(statistics)
    }
}

fn weigh<K: std::hash::Hash + Eq>(keys: Vec<K>, frequencies: &[f32], rows: f64) -> HashMap<K, f64> {
    keys.into_iter()
        .zip(frequencies.iter().map(|f| f64::from(*f) * rows))
        .collect()
}

/// The statistics of this process, with the time they were read.
#[derive(Debug)]
pub(crate) struct StatisticsCache {
    current: ArcSwap<(Option<Instant>, Statistics)>,
    analysing: Arc<AtomicBool>,
}

impl Default for StatisticsCache {
    fn default() -> StatisticsCache {
        StatisticsCache {
            current: ArcSwap::from_pointee((None, Statistics::default())),
            analysing: Arc::default(),
        }
    }
}

impl Inner {
    /// The statistics for a search; where they are outgrown, new ones are made meanwhile.
    pub(super) async fn statistics(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Arc<(Option<Instant>, Statistics)>, sqlx::Error> {
        let before = self.statistics.current.load_full();
        let current = self.statistics.get(connection).await?;
        if current.1.outgrown() && !Arc::ptr_eq(&before, &current) {
            self.statistics.renew(&self.write_pool);
        }
        Ok(current)
    }
}

impl StatisticsCache {
    /// The statistics, read again on this connection when they are old.
    async fn get(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Arc<(Option<Instant>, Statistics)>, sqlx::Error> {
        let current = self.current.load_full();
        let age_max = match current.1.rows == 0.0 || current.1.outgrown() {
            true => AGE_MAX_OUTGROWN,
            false => AGE_MAX,
        };
        if current.0.is_some_and(|read| read.elapsed() < age_max) {
            return Ok(current);
        }
        let fresh = Arc::new((Some(Instant::now()), Statistics::read(connection).await?));
        self.current.store(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Has the tables that searches read analysed, once at a time.
    fn renew(&self, pool: &PgPool) {
        if self.analysing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, analysing) = (pool.clone(), Arc::clone(&self.analysing));
        tokio::spawn(async move {
            // What another server or autovacuum is at, is left to them.
            let done = sqlx::query("ANALYZE (SKIP_LOCKED) entry, sp_date, sp_quantity, sp_string")
                .execute(&pool)
                .await;
            if let Err(error) = done {
                tracing::warn!(%error, "the tables were not analysed; searches are planned by old statistics");
            }
            analysing.store(false, Ordering::Release);
        });
    }

    /// As if these had just been read.
    #[cfg(test)]
    pub(super) fn assume(&self, statistics: Statistics) {
        let now = Some(Instant::now());
        self.current.store(Arc::new((now, statistics)));
    }

    /// Forgets what was read, after an ANALYZE.
    #[cfg(test)]
    pub(super) fn expire(&self) {
        self.current.store(Arc::new((None, Statistics::default())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// A count to a lower limit does not answer for a higher one, unless it was of all.
    #[test]
    fn remember_counts() {
        let statistics = Statistics::default();
        let spans = |key| {
            let (lo, hi) = (0, 9);
            [Span::Dates { key, lo, hi }]
        };
        let count = |rows, all| Count { rows, all };
        for (key, kept, most, expect) in [
            (1, count(7, true), 1_000, Some(count(7, true))),
            (2, count(1_001, false), 1_000, Some(count(1_001, false))),
            (3, count(1_001, false), 5_000, None),
            (4, count(4_000, true), 1_000, Some(count(4_000, true))),
        ] {
            assert_eq!(statistics.counted(&spans(key), most), None, "{key}");
            statistics.remember(&spans(key), kept);
            assert_eq!(statistics.counted(&spans(key), most), expect, "{key}");
        }
    }

    /// Statistics of a table that is being filled are there soon, whenever autovacuum comes.
    #[tokio::test(flavor = "multi_thread")]
    async fn are_made_where_the_tables_have_grown() {
        let store = testing::store().await;
        let mut connection = store.inner.write_pool.acquire().await.unwrap();
        for statement in [
            "ALTER TABLE entry SET (autovacuum_enabled = off)",
            "INSERT INTO entry SELECT i, now(), 1, ARRAY[7], '{}' FROM generate_series(1, 2000) i",
            "SELECT pg_stat_force_next_flush()",
        ] {
            let statement = sqlx::query(statement);
            statement.execute(&mut *connection).await.unwrap();
        }
        for _ in 0..1_200 {
            store.inner.statistics.expire();
            let statistics = store.inner.statistics(&mut connection).await.unwrap();
            if statistics.1.know(&[1]) {
                assert_eq!(statistics.1.token(7), 2_000.0);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("there are no statistics");
    }
}
