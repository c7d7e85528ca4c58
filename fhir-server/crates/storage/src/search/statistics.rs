//! What the planner knows of the data: how frequent each token and reference is, and how many resources each type has.
//!
//! Read from `pg_stats`, which ANALYZE keeps; held per process and read again after [`AGE_MAX`], so that planning costs no query.

use arc_swap::ArcSwap;
use sqlx::PgConnection;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long statistics are used before they are read again.
const AGE_MAX: Duration = Duration::from_secs(120);
/// The same while the table has never been analysed: it may be being loaded.
const AGE_MAX_UNKNOWN: Duration = Duration::from_secs(10);
/// Resources that point at one target by one parameter, where nothing better is known.
const FAN_OUT: f64 = 20.0;

/// The statistics as they were last read.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics {
    /// Rows of `entry`; 0 when it was never analysed.
    pub rows: f64,
    /// Rows with this token, for the frequent ones.
    tokens: HashMap<i64, f64>,
    /// Rows at or below which a token is not listed in `tokens`.
    token_floor: f64,
    /// Rows with this reference, for the frequent ones.
    references: HashMap<i64, f64>,
    /// Rows per type number, for the frequent ones.
    types: HashMap<i16, f64>,
}

impl Statistics {
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

    /// As if these had been read.
    #[cfg(test)]
    pub fn known(rows: f64, tokens: &[(i64, f64)], types: &[(i16, f64)]) -> Statistics {
        Statistics {
            rows,
            tokens: tokens.iter().copied().collect(),
            token_floor: rows / 10_000.0,
            references: HashMap::new(),
            types: types.iter().copied().collect(),
        }
    }

    async fn read(connection: &mut PgConnection) -> Result<Statistics, sqlx::Error> {
        let rows: f32 = sqlx::query_scalar(
            "SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = 'entry'::regclass",
        )
        .fetch_one(&mut *connection)
        .await?;
        let rows = f64::from(rows);
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
}

impl Default for StatisticsCache {
    fn default() -> StatisticsCache {
        StatisticsCache {
            current: ArcSwap::from_pointee((None, Statistics::default())),
        }
    }
}

impl StatisticsCache {
    /// The statistics, read again on this connection when they are old.
    pub(super) async fn get(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Arc<(Option<Instant>, Statistics)>, sqlx::Error> {
        let current = self.current.load_full();
        let age_max = match current.1.rows {
            0.0 => AGE_MAX_UNKNOWN,
            _ => AGE_MAX,
        };
        if current.0.is_some_and(|read| read.elapsed() < age_max) {
            return Ok(current);
        }
        let fresh = Arc::new((Some(Instant::now()), Statistics::read(connection).await?));
        self.current.store(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Forgets what was read, after an ANALYZE.
    #[cfg(test)]
    pub(super) fn expire(&self) {
        self.current.store(Arc::new((None, Statistics::default())));
    }
}
