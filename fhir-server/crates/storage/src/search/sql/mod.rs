//! The one place that writes SQL for searches. Every value is bound; what is pushed as text is written in this file.
//!
//! The shapes are those that were measured (docs/adr/0002-postgres-layout.md): a bounded walk along the sort index, whose LIMIT keeps the
//! planner from moving the filter below it; and filter, materialize, sort. The planner itself may not choose between the two: it takes
//! hits for evenly spread and tokens for independent, and then reads the whole sort index for a rare one.

mod condition;
mod finding;
mod found;
mod order;

use super::bounds;
use super::flat::{Column, Found, Order, Scales, Test};
use super::keyset::Keyset;
use super::plan::Plan;
use super::span::after_all_that_begin_with;
use crate::binary::stored_text;
pub(super) use finding::rows_within;
use order::{before, direction, micros, value_column};
use sqlx::{Postgres, QueryBuilder};
use std::collections::BTreeMap;

/// Bits of a reference that hold the target's row key; the parameter's number stands above them.
pub(super) const TARGET_BITS: u32 = 40;
const TARGET: &str = "((1::bigint << 40) - 1)";

/// A reference as it is stored in `entry.refs`.
pub(super) fn reference(key: i16, pk: i64) -> i64 {
    (i64::from(key) << TARGET_BITS) | pk
}

/// Which rows, in which order, from where on.
#[derive(Clone, Copy)]
pub(super) struct Selection<'a> {
    pub types: &'a [i16],
    pub filter: &'a [Test],
    pub order: &'a [Order],
    pub found: &'a [Found],
    pub scales: &'a Scales,
    pub scores: &'a BTreeMap<i64, f64>,
    pub after: Option<&'a Keyset>,
    /// Rows to return at the most.
    pub limit: i64,
    /// Whether so many rows are tested that `_has` is better read once as a whole than asked row by row.
    pub many: bool,
    /// The tests, by their place in the filter, that all rows are read of before others are tested ([`super::finding::Finding`]).
    pub lead: &'a [usize],
    /// The tests, by their place in the filter, of which a walk reads all rows once ([`super::plan::Estimate`]).
    pub known: &'a [usize],
}

/// Rows of `(pk bigint, keys text[], matches bigint)`: filter first, then sort; `matches` counts those before and after as well.
pub(super) fn filter_then_sort(selection: Selection<'_>) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("");
    filtered(&mut sql, selection);
    sql.builder
}

fn filtered(sql: &mut Sql, selection: Selection<'_>) {
    let by_update = |order: &Order| order.by == Column::Updated;
    let columns = match selection.order.iter().any(by_update) {
        true => "e.pk, e.last_updated",
        // The row itself need not be read where its key is enough.
        false => "e.pk",
    };
    sql.push("WITH ");
    sql.scales(selection.scales);
    sql.push("m AS MATERIALIZED (");
    sql.many = selection.many;
    let date = lead_of_order(selection);
    match date {
        Some(date) => sql.found_dates(date, selection.filter, selection.lead),
        None => sql.found(columns, selection.types, selection.filter, selection.lead),
    }
    sql.push(") SELECT m.pk, ");
    sql.key_array(selection.order);
    sql.push(", (SELECT count(*) FROM m) FROM m");
    for (index, order) in selection.order.iter().enumerate() {
        match order.by {
            Column::Found(at) => {
                sql.found_join(index, *order, &selection.found[at], selection);
            }
            _ if date.is_some() => {
                sql.push(" CROSS JOIN LATERAL (SELECT m.value) k0");
            }
            _ => sql.key_join(index, *order, selection.scales),
        }
    }
    if let Some(keyset) = selection.after {
        sql.push(" WHERE ");
        sql.after(selection, keyset);
    }
    sql.order_by(selection.order);
    sql.push(" LIMIT ").bind(selection.limit);
}

/// The place of the condition on the one date that the order is by, where all rows of that are read: these have the value to sort by.
fn lead_of_order(selection: Selection<'_>) -> Option<usize> {
    let own = bounds::of_order(selection.filter, selection.order)?;
    selection.lead.contains(&own.at).then_some(own.at)
}

/// Rows of `(pk bigint, keys text[])`: at most `window` entries from `after` on along the index of the only sort key, filtered.
/// `order` has one element that [`walkable`] accepts; a keyset has a value.
pub(super) fn walk(selection: Selection<'_>, window: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("");
    walked(&mut sql, selection, window);
    sql.builder
}

fn walked(sql: &mut Sql, selection: Selection<'_>, window: i64) {
    let order = selection.order[0];
    let direction = direction(order);
    sql.push("SELECT ");
    if let Some(own) = bounds::of_order(selection.filter, selection.order) {
        // The row that stands in the order is the one date there is: what is asked of it is tested on the spot.
        sql.push("w.pk, ARRAY[w.value::text] FROM (");
        sql.window(selection, window);
        sql.push(") w");
        let row = sql.entries_of("w", selection.filter);
        sql.push(" WHERE ");
        sql.dates("w", &own.dates.all);
        sql.walked_tests(selection, row, Some(own.at));
        sql.push(&format!(
            " ORDER BY w.value {direction}, w.pk {direction} LIMIT "
        ));
        sql.bind(selection.limit);
        return;
    }
    match order.by {
        Column::Updated => {
            sql.push("e.pk, ARRAY[")
                .push(&micros("e.last_updated"))
                .push("::text] FROM ");
            sql.recent(selection, window);
            sql.push(" e WHERE true");
            sql.walked_tests(selection, "e", None);
            sql.push(&format!(
                " ORDER BY e.last_updated {direction}, e.pk {direction}"
            ));
        }
        Column::Id => {
            sql.push("e.pk, ARRAY[w.value] FROM (");
            sql.window(selection, window);
            sql.push(") w JOIN entry e ON e.pk = w.pk WHERE true");
            sql.walked_tests(selection, "e", None);
            sql.push(&format!(" ORDER BY w.value {direction}, e.pk {direction}"));
        }
        // No index to walk: [`walkable`] says so.
        Column::Found(_) => {
            sql.push("e.pk, ARRAY[]::text[] FROM entry e WHERE false");
        }
        Column::Date { .. } | Column::String { .. } | Column::Number { .. } => {
            // A row with several values stands in the order at its first one only.
            let (table, column) = value_column(order.by);
            sql.push("w.pk, ARRAY[w.value::text] FROM (");
            sql.window(selection, window);
            sql.push(") w");
            let row = sql.entries_of("w", selection.filter);
            sql.push(" WHERE true");
            sql.walked_tests(selection, row, None);
            sql.push(&format!(
                " AND NOT EXISTS (SELECT 1 FROM {table} x WHERE x.pk = w.pk AND "
            ));
            sql.of_column(order.by, "x");
            sql.push(&format!(" AND x.{column} {} w.value)", before(order)));
            sql.push(&format!(
                " GROUP BY w.value, w.pk ORDER BY w.value {direction}, w.pk {direction}"
            ));
        }
    }
    sql.push(" LIMIT ").bind(selection.limit);
}

/// Rows of `(pk, keys, matches, type, id, version, milliseconds, content)` in order: those of [`walk`] or [`filter_then_sort`] with their
/// resources, but the last one of `selection.limit`, which only tells that there are more.
pub(super) fn with_bodies(selection: Selection<'_>, plan: Plan) -> QueryBuilder<Postgres> {
    let (matches, columns) = match plan {
        Plan::Walk { .. } => ("NULL::bigint", "k(pk, keys)"),
        Plan::Filter => ("p.matches", "k(pk, keys, matches)"),
    };
    let mut sql = Sql::new(&format!(
        "SELECT p.pk, p.keys, {matches}, r.type, r.id, r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, \
         {} FROM (SELECT k.*, row_number() OVER () AS place FROM (",
        stored_text!("r", "r")
    ));
    match plan {
        Plan::Walk { window } => walked(&mut sql, selection, window),
        Plan::Filter => filtered(&mut sql, selection),
    }
    sql.push(&format!(
        ") {columns}) p LEFT JOIN resource r ON r.pk = p.pk AND p.place < "
    ));
    sql.bind(selection.limit).push(" ORDER BY p.place");
    sql.builder
}

/// One row of `(pk bigint, keys text[])`: the last entry of a full window, none when there are fewer entries than that.
pub(super) fn window_end(selection: Selection<'_>, window: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("SELECT w.pk, ARRAY[");
    match selection.order[0].by {
        Column::Updated => sql.push(&micros("w.value")),
        _ => sql.push("w.value"),
    };
    sql.push("::text] FROM (");
    sql.window(selection, window);
    sql.push(") w OFFSET ").bind(window - 1);
    sql.push(" LIMIT 1");
    sql.builder
}

/// Whether the order can be read from an index.
pub(super) fn walkable(types: &[i16], order: &[Order]) -> bool {
    match order {
        [
            Order {
                by: Column::Updated,
                ..
            },
        ] => true,
        [order] => {
            types.len() == 1 && !matches!(order.by, Column::Number { .. } | Column::Found(_))
        }
        _ => false,
    }
}

// In the statements that follow the limit stands outside of the materialized part, which is still read no further than it: inside, the planner
// would trust it to be reached soon and read the whole table for a rare token.

/// The number of matches, or `most + 1` when there are more than `most`.
pub(super) fn count(
    types: &[i16],
    filter: &[Test],
    lead: &[usize],
    most: Option<i64>,
) -> QueryBuilder<Postgres> {
    let mut sql = match most {
        Some(_) => Sql::new("WITH m AS MATERIALIZED ("),
        None => Sql::new("SELECT count(*) FROM ("),
    };
    sql.many = true;
    sql.found("e.pk", types, filter, lead);
    match most {
        Some(most) => {
            sql.push(") SELECT count(*) FROM (SELECT 1 FROM m LIMIT ")
                .bind(most + 1);
            sql.push(") n");
        }
        None => {
            sql.push(") n");
        }
    }
    sql.builder
}

/// One row of `(plan json)`: how Postgres would find the matches, nothing is read.
pub(super) fn explained(types: &[i16], filter: &[Test]) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("EXPLAIN (FORMAT JSON) SELECT FROM entry e WHERE ");
    sql.row_by_row = false;
    sql.all(filter, types, "e");
    sql.builder
}

/// Row keys for which the test holds, in no order.
pub(super) fn rows(test: &Test, limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH m AS MATERIALIZED (");
    sql.found_by_form("e.pk", std::slice::from_ref(test), None);
    sql.push(") SELECT pk FROM m LIMIT ").bind(limit);
    sql.builder
}

/// The same, and null where `any` holds for some row.
pub(super) fn rows_and_any(test: &Test, limit: i64, any: &Test) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH m AS MATERIALIZED (");
    sql.found_by_form("e.pk", std::slice::from_ref(test), None);
    sql.push(") (SELECT pk FROM m LIMIT ").bind(limit);
    sql.push(") UNION ALL SELECT NULL WHERE EXISTS (SELECT 1 FROM entry e WHERE ");
    sql.test(any, "e");
    sql.push(")");
    sql.builder
}

/// Row keys of a search, in no order.
pub(super) fn rows_of(types: &[i16], filter: &[Test], limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH m AS MATERIALIZED (");
    sql.found_by_form("e.pk", filter, Some(types));
    sql.push(") SELECT pk FROM m LIMIT ").bind(limit);
    sql.builder
}

/// Row keys that rows for which `test` holds point at by the parameter `key`, with repetitions.
pub(super) fn targets(key: i16, test: &Test, limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH m AS MATERIALIZED (");
    sql.found_by_form("e.refs", std::slice::from_ref(test), None);
    sql.push(") SELECT r & ")
        .push(TARGET)
        .push(" FROM m, unnest(m.refs) r WHERE r >> 40 = ")
        .bind(i64::from(key));
    sql.push(" LIMIT ").bind(limit);
    sql.builder
}

/// Values of the vocabulary that begin with `start`.
pub(super) fn vocabulary(
    parameter: i16,
    kind: i16,
    start: &str,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("SELECT value FROM vocabulary WHERE parameter = ");
    sql.bind(parameter).push(" AND kind = ").bind(kind);
    sql.push(" AND value >= ").bind(start.to_owned());
    sql.push(" AND value < ")
        .bind(after_all_that_begin_with(start))
        .push(" LIMIT ")
        .bind(limit);
    sql.builder
}

/// `rows`, and the rows that lead to them by the parameter `parent`, over as many others as it takes; or those that they lead to. A row is
/// found once, so circles end.
pub(super) fn hierarchy(
    parent: i16,
    rows: Vec<i64>,
    below: bool,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH RECURSIVE h(pk) AS (SELECT unnest(");
    sql.bind(rows).push("::bigint[]) UNION SELECT ");
    match below {
        true => {
            sql.push("e.pk FROM h JOIN entry e ON e.refs @> ARRAY[")
                .bind(i64::from(parent) << TARGET_BITS)
                .push(" | h.pk]");
        }
        false => {
            sql.push("r & ")
                .push(TARGET)
                .push(" FROM h JOIN entry e ON e.pk = h.pk CROSS JOIN LATERAL unnest(e.refs) r WHERE r >> 40 = ")
                .bind(i64::from(parent));
        }
    }
    sql.push(") SELECT pk FROM h LIMIT ").bind(limit);
    sql.builder
}

/// `(pk, type, id, version)` of `limit` matches.
pub(super) fn matched(types: &[i16], filter: &[Test], limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH m AS MATERIALIZED (");
    sql.found_by_form("e.pk", filter, Some(types));
    sql.push(") SELECT r.pk, r.type, r.id, r.version FROM (SELECT pk FROM m LIMIT ")
        .bind(limit);
    sql.push(") f JOIN resource r ON r.pk = f.pk ORDER BY r.type, r.id");
    sql.builder
}

/// A statement being written.
struct Sql {
    builder: QueryBuilder<Postgres>,
    aliases: usize,
    /// [`Selection::many`].
    many: bool,
    /// Whether ordered tests are made on each row, and not joined as the planner thinks best.
    row_by_row: bool,
}

impl Sql {
    fn new(start: &str) -> Sql {
        Sql {
            builder: QueryBuilder::new(start),
            aliases: 0,
            many: false,
            row_by_row: true,
        }
    }

    fn push(&mut self, text: &str) -> &mut Sql {
        self.builder.push(text);
        self
    }

    fn bind<T>(&mut self, value: T) -> &mut Sql
    where
        T: for<'q> sqlx::Encode<'q, Postgres> + sqlx::Type<Postgres>,
    {
        self.builder.push_bind(value);
        self
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    /// `micros` since 1970 as a timestamp.
    fn instant(&mut self, micros: i64) -> &mut Sql {
        // What Postgres can hold is narrower than the range of an unbounded date.
        const FIRST: i64 = -62_135_596_800_000_000; // year 1
        const LAST: i64 = 253_402_300_800_000_000; // year 10000
        self.push("('epoch'::timestamptz + ")
            .bind(micros.clamp(FIRST, LAST));
        self.push(" * interval '1 microsecond')")
    }
}
