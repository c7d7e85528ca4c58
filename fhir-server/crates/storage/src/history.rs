//! Histories: the versions of a resource, of a type or of everything, in the order of time (<https://hl7.org/fhir/R5/http.html#history>).
//!
//! Time and row key order them strictly, as the times of a resource grow. Three indexes lead through them: `entry_updated` to current versions,
//! `resource_deleted` to current deletions, `resource_history_updated` to older versions; a page takes so many of each and merges.
//! Refuses nothing: what no longer is there is simply not in it.

use crate::binary::stored_text;
use crate::change::Method;
use crate::error::Error;
use crate::horizon;
use crate::read::{Version, retrying, version_of};
use crate::search::too_costly;
use crate::store::Store;
use fhir_model::{DateRange, ResourceKey};
use sqlx::{Postgres, QueryBuilder};

/// Whose versions.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Of all resources of these types.
    Types(Vec<String>),
    /// Of these resources.
    Resources(Vec<ResourceKey>),
}

/// A history, asked for.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    pub scope: Scope,
    /// `_since`, in microseconds: this and later.
    pub since: Option<i64>,
    /// `_at`: versions that were current within.
    pub at: Option<DateRange>,
    /// Oldest first.
    pub ascending: bool,
    pub count: usize,
    pub after: Option<HistoryPage>,
}

/// Where a page begins: after this row, and before the horizon of the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    pub last_updated_ms: i64,
    pub pk: i64,
    pub horizon_ms: i64,
}

impl HistoryPage {
    pub fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.last_updated_ms, self.pk, self.horizon_ms];
        numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    /// `None` for what is not of [`HistoryPage::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<HistoryPage> {
        let (numbers, []) = bytes.as_chunks::<8>() else {
            return None;
        };
        let [last_updated_ms, pk, horizon_ms] = *numbers else {
            return None;
        };
        Some(HistoryPage {
            last_updated_ms: i64::from_be_bytes(last_updated_ms),
            pk: i64::from_be_bytes(pk),
            horizon_ms: i64::from_be_bytes(horizon_ms),
        })
    }
}

/// A version, by what it came to be, and whether there was none before or only a deletion.
#[derive(Clone, Debug)]
pub struct HistoryVersion {
    pub version: Version,
    pub method: Method,
    pub created: bool,
}

/// A page of a history.
#[derive(Clone, Debug)]
pub struct History {
    pub versions: Vec<HistoryVersion>,
    /// How many there are in all; left out where counting them would take long, and after the first page of several resources.
    pub total: Option<u64>,
    pub next: Option<HistoryPage>,
    /// All changes before this time are in it or on its next pages: who asks again with `_since` of it misses none. `None` for a single
    /// resource, whose versions are committed in their order.
    pub horizon_ms: Option<i64>,
}

/// The end of the year 9999, in milliseconds since 1970.
const NO_HORIZON_MS: i64 = 253_402_300_800_000;

/// Most versions that are counted for a total.
const COUNT_MAX: i64 = 10_000;

/// Type, id, pk, version, milliseconds, text (null: a deletion), whether it created, the method's code.
type Row = (i16, String, i64, i32, i64, Option<String>, bool, Option<i8>);

impl Store {
    /// A page of a history.
    ///
    /// # Errors
    /// `TooCostly` where it takes too long; database errors.
    pub async fn history(&self, query: &HistoryQuery) -> Result<History, Error> {
        let pool = &self.inner.search_pool;
        retrying!(pool, self.history_once(query).await).map_err(|error| too_costly(error.into()))
    }

    async fn history_once(&self, query: &HistoryQuery) -> Result<History, sqlx::Error> {
        let definitions = self.definitions();
        let mut connection = self.inner.search_pool.acquire().await?;
        // Before anything is read: what is read later holds all that lies before it.
        let is_single = matches!(&query.scope, Scope::Resources(keys) if keys.len() == 1);
        let horizon_ms = match query.after {
            Some(after) => after.horizon_ms,
            None if is_single => NO_HORIZON_MS,
            None => horizon::horizon_ms(&mut connection).await?,
        };
        let number = |name: &String| definitions.type_number(name);
        let (types, pks) = match &query.scope {
            Scope::Types(names) => (names.iter().filter_map(number).collect(), None),
            Scope::Resources(keys) => {
                let named = keys.iter().filter_map(|key| {
                    Some((
                        definitions.type_number(&key.resource_type)?,
                        key.id.as_str(),
                    ))
                });
                let (types, ids): (Vec<i16>, Vec<&str>) = named.unzip();
                let pks: Vec<i64> = sqlx::query_scalar(
                    "SELECT DISTINCT r.pk FROM unnest($1::smallint[], $2::text[]) AS n(type, id) \
                     JOIN resource r ON r.type = n.type AND r.id = n.id COLLATE \"C\" WHERE r.version > 0",
                )
                .bind(types)
                .bind(ids)
                .fetch_all(&mut *connection)
                .await?;
                (Vec::new(), Some(pks))
            }
        };
        let part = Part {
            query,
            types,
            pks,
            horizon_ms,
        };
        let limit = query.count as i64 + 1;
        let mut rows: Vec<Row> = match query.count {
            0 => Vec::new(),
            _ => {
                part.versions(limit)
                    .build_query_as()
                    .fetch_all(&mut *connection)
                    .await?
            }
        };
        let more = rows.len() > query.count;
        rows.truncate(query.count);
        let next = match (more, rows.last()) {
            (true, Some((_, _, pk, _, last_updated_ms, ..))) => Some(HistoryPage {
                last_updated_ms: *last_updated_ms,
                pk: *pk,
                horizon_ms,
            }),
            _ => None,
        };
        let total = match (&query.after, &next) {
            (None, None) if query.count > 0 => Some(rows.len() as u64),
            // Counting each time costs more than the page.
            (Some(_), _) if !is_single => None,
            _ => {
                let counted: i64 = part
                    .count(COUNT_MAX + 1)
                    .build_query_scalar()
                    .fetch_one(&mut *connection)
                    .await?;
                (counted <= COUNT_MAX).then_some(counted as u64)
            }
        };
        let versions = rows
            .into_iter()
            .filter_map(|(number, id, _, version, ms, text, created, method)| {
                let key = ResourceKey::new(definitions.type_name(number)?, id);
                Some(HistoryVersion {
                    method: match text {
                        Some(_) => Method::of_code(method),
                        None => Method::Delete,
                    },
                    version: version_of(&key, (version, ms, text)),
                    created,
                })
            })
            .collect();
        Ok(History {
            versions,
            total,
            next,
            horizon_ms: (!is_single).then_some(horizon_ms),
        })
    }
}

struct Part<'a> {
    query: &'a HistoryQuery,
    types: Vec<i16>,
    /// Of single resources; `None`: by type.
    pks: Option<Vec<i64>>,
    horizon_ms: i64,
}

/// Exact, where a double of seconds would not be.
const TIME: &str = "'epoch'::timestamptz + interval '1 microsecond' * ";

impl Part<'_> {
    fn versions(&self, limit: i64) -> QueryBuilder<Postgres> {
        let mut sql = QueryBuilder::new("WITH k AS MATERIALIZED (");
        self.keys(&mut sql, limit, self.query.after.as_ref());
        sql.push(concat!(
            ") SELECT r.type, r.id, k.pk, v.version, (extract(epoch FROM k.last_updated) * 1000)::bigint, ",
            stored_text!("r", "v"),
            ", v.version = 1 OR EXISTS (SELECT FROM resource_history p \
               WHERE p.pk = k.pk AND p.version = v.version - 1 AND p.content IS NULL), v.method \
             FROM k JOIN resource r ON r.pk = k.pk CROSS JOIN LATERAL ( \
               SELECT r.version, r.content, r.source, r.method WHERE r.last_updated = k.last_updated \
               UNION ALL SELECT h.version, h.content, h.source, h.method FROM resource_history h \
                 WHERE h.pk = k.pk AND h.version = k.version) v ORDER BY ",
        ));
        sql.push(match self.query.ascending {
            true => "k.last_updated, k.pk",
            false => "k.last_updated DESC, k.pk DESC",
        });
        sql
    }

    fn count(&self, limit: i64) -> QueryBuilder<Postgres> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM (");
        self.keys(&mut sql, limit, None);
        sql.push(") k");
        sql
    }

    /// The first `limit` versions after `after`, as (pk, version, last_updated); the version of what is current is 0.
    fn keys(&self, sql: &mut QueryBuilder<Postgres>, limit: i64, after: Option<&HistoryPage>) {
        let (of, select) = match &self.pks {
            Some(pks) => {
                sql.push("SELECT k.* FROM unnest(").push_bind(pks.clone());
                ("pk", "::bigint[]) AS o(pk) CROSS JOIN LATERAL (")
            }
            None => {
                let types = self.types.clone();
                sql.push("SELECT k.* FROM unnest(").push_bind(types);
                ("type", "::smallint[]) AS o(type) CROSS JOIN LATERAL (")
            }
        };
        sql.push(select);
        for (place, (version, table, deletion)) in [
            ("0", "entry", Deletion::Never),
            ("0", "resource", Deletion::Always),
            ("x.version", "resource_history", Deletion::Maybe),
        ]
        .into_iter()
        .enumerate()
        {
            sql.push(if place == 0 { "(" } else { " UNION ALL (" });
            sql.push(format!(
                "SELECT x.pk, {version} AS version, x.last_updated FROM {table} x WHERE x.{of} = o.{of}"
            ));
            if deletion == Deletion::Always {
                sql.push(" AND x.content IS NULL AND x.version > 0");
            }
            self.within(sql, deletion, after);
            self.ordered(sql, "x.", limit);
            sql.push(")");
        }
        sql.push(") k");
        self.ordered(sql, "k.", limit);
    }

    fn within(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        deletion: Deletion,
        after: Option<&HistoryPage>,
    ) {
        let mut bound = |compare: &str, micros: i64| {
            sql.push(format!(" AND x.last_updated {compare} {TIME}"));
            sql.push_bind(micros);
        };
        bound("<", self.horizon_ms.saturating_mul(1000));
        if let Some(since) = self.query.since {
            bound(">=", since);
        }
        if let Some(at) = self.query.at {
            bound("<", at.hi);
            match deletion {
                Deletion::Never => {}
                // Nothing is current after a deletion; it is told where it happened.
                Deletion::Always => bound(">=", at.lo),
                Deletion::Maybe => {
                    sql.push(" AND CASE WHEN x.content IS NULL THEN x.last_updated >= ");
                    sql.push(TIME).push_bind(at.lo);
                    sql.push(
                        " ELSE coalesce((SELECT n.last_updated FROM resource_history n \
                         WHERE n.pk = x.pk AND n.version = x.version + 1), \
                         (SELECT c.last_updated FROM resource c WHERE c.pk = x.pk)) > ",
                    );
                    sql.push(TIME).push_bind(at.lo).push(" END");
                }
            }
        }
        if let Some(after) = after {
            let compare = if self.query.ascending { ">" } else { "<" };
            sql.push(format!(" AND (x.last_updated, x.pk) {compare} ({TIME}"));
            sql.push_bind(after.last_updated_ms.saturating_mul(1000));
            sql.push(", ").push_bind(after.pk).push(")");
        }
    }

    fn ordered(&self, sql: &mut QueryBuilder<Postgres>, of: &str, limit: i64) {
        let direction = if self.query.ascending { "" } else { " DESC" };
        sql.push(format!(
            " ORDER BY {of}last_updated{direction}, {of}pk{direction} LIMIT {limit}"
        ));
    }
}

/// Whether the versions that a table gives are deletions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deletion {
    Never,
    Always,
    Maybe,
}
