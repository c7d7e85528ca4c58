//! The one place that writes SQL for searches. Every value is bound; what is pushed as text is written in this file.
//!
//! The shapes are those that were measured (docs/adr/0002-postgres-layout.md): a bounded walk along the sort index, whose LIMIT keeps the
//! planner from moving the filter below it; and filter, materialize, sort. The planner itself may not choose between the two: it takes
//! hits for evenly spread and tokens for independent, and then reads the whole sort index for a rare one.

use super::flat::{Column, Order, QuantityTest, StringTest, Test};
use super::keyset::Keyset;
use fhir_search::query::{DateMatch, Prefix};
use sqlx::{Postgres, QueryBuilder};

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
    pub after: Option<&'a Keyset>,
    /// Rows to return at the most.
    pub limit: i64,
}

/// Rows of `(pk bigint, keys text[])`: filter first, then sort.
pub(super) fn filter_then_sort(selection: Selection<'_>) -> QueryBuilder<Postgres> {
    let mut sql =
        Sql::new("WITH m AS MATERIALIZED (SELECT e.pk, e.last_updated FROM entry e WHERE ");
    sql.all(selection.filter, selection.types, "e");
    sql.push(") SELECT m.pk, ");
    sql.key_array(selection.order);
    sql.push(" FROM m");
    for (index, order) in selection.order.iter().enumerate() {
        sql.key_join(index, *order);
    }
    if let Some(keyset) = selection.after {
        sql.push(" WHERE ");
        sql.after(selection.order, keyset);
    }
    sql.order_by(selection.order);
    sql.push(" LIMIT ").bind(selection.limit);
    sql.builder
}

/// Rows of `(pk bigint, keys text[])`: at most `window` entries from `after` on along the index of the only sort key, filtered.
/// `order` has one element that [`walkable`] accepts; a keyset has a value.
pub(super) fn walk(selection: Selection<'_>, window: i64) -> QueryBuilder<Postgres> {
    let order = selection.order[0];
    let direction = direction(order);
    let mut sql = Sql::new("SELECT ");
    match order.by {
        Column::Updated => {
            sql.push("e.pk, ARRAY[")
                .push(&micros("e.last_updated"))
                .push("::text] FROM ");
            sql.recent(selection, window);
            sql.push(" e WHERE ");
            sql.every(selection.filter, "e");
            sql.push(&format!(
                " ORDER BY e.last_updated {direction}, e.pk {direction}"
            ));
        }
        Column::Id => {
            sql.push("e.pk, ARRAY[w.value] FROM (");
            sql.window(selection, window);
            sql.push(") w JOIN entry e ON e.pk = w.pk WHERE ");
            sql.every(selection.filter, "e");
            sql.push(&format!(" ORDER BY w.value {direction}, e.pk {direction}"));
        }
        Column::Date { key, .. } | Column::String { key, .. } | Column::Number { key } => {
            // A row with several values stands in the order at its first one only.
            let (table, column) = value_column(order.by);
            sql.push("e.pk, ARRAY[w.value::text] FROM (");
            sql.window(selection, window);
            sql.push(") w JOIN entry e ON e.pk = w.pk WHERE ");
            sql.every(selection.filter, "e");
            sql.push(&format!(
                " AND NOT EXISTS (SELECT 1 FROM {table} x WHERE x.pk = w.pk AND x.key = "
            ));
            sql.bind(key);
            sql.push(&format!(" AND x.{column} {} w.value)", before(order)));
            sql.push(&format!(
                " GROUP BY w.value, e.pk ORDER BY w.value {direction}, e.pk {direction}"
            ));
        }
    }
    sql.push(" LIMIT ").bind(selection.limit);
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
        [order] => types.len() == 1 && !matches!(order.by, Column::Number { .. }),
        _ => false,
    }
}

/// The number of matches, or `most + 1` when there are more than `most`.
pub(super) fn count(types: &[i16], filter: &[Test], most: Option<i64>) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("SELECT count(*) FROM (SELECT 1 FROM entry e WHERE ");
    sql.all(filter, types, "e");
    if let Some(most) = most {
        sql.push(" LIMIT ").bind(most + 1);
    }
    sql.push(") m");
    sql.builder
}

/// Row keys for which the test holds, in no order.
pub(super) fn rows(test: &Test, limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("SELECT e.pk FROM entry e WHERE ");
    sql.test(test, "e");
    sql.push(" LIMIT ").bind(limit);
    sql.builder
}

/// Row keys that rows for which `test` holds point at by the parameter `key`, with repetitions.
pub(super) fn targets(key: i16, test: &Test, limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("SELECT r & ");
    sql.push(TARGET)
        .push(" FROM entry e, unnest(e.refs) r WHERE (");
    sql.test(test, "e");
    sql.push(") AND r >> 40 = ").bind(i64::from(key));
    sql.push(" LIMIT ").bind(limit);
    sql.builder
}

/// `(pk, type, id, version)` of matches, in no order.
pub(super) fn matched(types: &[i16], filter: &[Test], limit: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("WITH m AS MATERIALIZED (SELECT e.pk FROM entry e WHERE ");
    sql.all(filter, types, "e");
    sql.push(" LIMIT ").bind(limit);
    sql.push(") SELECT r.pk, r.type, r.id, r.version FROM m JOIN resource r ON r.pk = m.pk ORDER BY r.type, r.id");
    sql.builder
}

/// A statement being written.
struct Sql {
    builder: QueryBuilder<Postgres>,
    aliases: usize,
}

impl Sql {
    fn new(start: &str) -> Sql {
        Sql {
            builder: QueryBuilder::new(start),
            aliases: 0,
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

    /// The filter, and the type where the filter does not imply it.
    fn all(&mut self, filter: &[Test], types: &[i16], alias: &str) {
        self.every(filter, alias);
        if !filter.iter().any(Test::typed) {
            self.push(" AND ");
            self.test(&Test::Type(types.to_vec()), alias);
        }
    }

    fn every(&mut self, tests: &[Test], alias: &str) {
        self.list(tests, alias, " AND ", "true");
    }

    fn list(&mut self, tests: &[Test], alias: &str, between: &str, empty: &str) {
        if tests.is_empty() {
            self.push(empty);
        }
        for (index, test) in tests.iter().enumerate() {
            if index > 0 {
                self.push(between);
            }
            self.push("(");
            self.test(test, alias);
            self.push(")");
        }
    }

    fn test(&mut self, test: &Test, alias: &str) {
        match test {
            Test::Type(types) => match types.as_slice() {
                [one] => {
                    self.push(alias).push(".type = ").bind(*one);
                }
                _ => {
                    self.push(alias)
                        .push(".type = ANY(")
                        .bind(types.clone())
                        .push(")");
                }
            },
            Test::Tokens(tokens) => self.overlap(alias, "tokens", tokens),
            Test::References(references) => self.overlap(alias, "refs", references),
            Test::Rows(rows) => {
                self.push(alias)
                    .push(".pk = ANY(")
                    .bind(rows.clone())
                    .push(")");
            }
            Test::Dates(key, any) => {
                self.exists("sp_date", *key, alias, any, |sql, inner, test| {
                    if test.marker != 0 {
                        sql.push(inner)
                            .push(".marker = ")
                            .bind(test.marker)
                            .push(" AND ");
                    }
                    sql.push("(");
                    sql.date(&format!("{inner}.lo"), &format!("{inner}.hi"), &test.date);
                    sql.push(")");
                });
            }
            Test::Quantities(key, any) => {
                self.exists("sp_quantity", *key, alias, any, Sql::quantity);
            }
            Test::Strings(key, any) => self.exists("sp_string", *key, alias, any, Sql::string),
            Test::Updated(any) => {
                self.any(any, |sql, date| sql.updated(alias, date));
            }
            Test::AnyOfReferences(references) => {
                let r = self.alias();
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM unnest({alias}.refs) {r} WHERE {r} = ANY("
                ));
                self.bind(references.clone()).push("))");
            }
            Test::Points(key, to) => {
                let (r, target) = (self.alias(), self.alias());
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM unnest({alias}.refs) {r} JOIN entry {target} ON {target}.pk = ({r} & {TARGET}) WHERE {r} >> 40 = "
                ));
                self.bind(i64::from(*key)).push(" AND (");
                self.test(to, &target);
                self.push("))");
            }
            Test::PointedAt(key, by) => {
                let source = self.alias();
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM entry {source} WHERE {source}.refs @> ARRAY[("
                ));
                self.bind(i64::from(*key) << TARGET_BITS);
                self.push(&format!(" | {alias}.pk)] AND ("));
                self.test(by, &source);
                self.push("))");
            }
            Test::Any(tests) => self.list(tests, alias, " OR ", "false"),
            Test::All(tests) => self.list(tests, alias, " AND ", "true"),
            Test::Not(test) => {
                self.push("NOT (");
                self.test(test, alias);
                self.push(")");
            }
        }
    }

    fn overlap(&mut self, alias: &str, column: &str, values: &[i64]) {
        let operator = if values.len() == 1 { "@>" } else { "&&" };
        self.push(&format!("{alias}.{column} {operator} "))
            .bind(values.to_vec());
    }

    fn exists<T>(
        &mut self,
        table: &str,
        key: i16,
        alias: &str,
        any: &[T],
        write: impl Fn(&mut Sql, &str, &T),
    ) {
        let inner = self.alias();
        self.push(&format!(
            "EXISTS (SELECT 1 FROM {table} {inner} WHERE {inner}.pk = {alias}.pk AND {inner}.key = "
        ));
        self.bind(key).push(" AND ");
        self.any(any, |sql, value| write(sql, &inner, value));
        self.push(")");
    }

    fn any<T>(&mut self, any: &[T], write: impl Fn(&mut Sql, &T)) {
        self.push("(");
        if any.is_empty() {
            self.push("false");
        }
        for (index, value) in any.iter().enumerate() {
            if index > 0 {
                self.push(" OR ");
            }
            self.push("(");
            write(self, value);
            self.push(")");
        }
        self.push(")");
    }

    /// The stored range against the date, <https://hl7.org/fhir/R5/search.html#date>. Both are half open.
    fn date(&mut self, lo: &str, hi: &str, date: &DateMatch) {
        let (a, b) = (date.range.lo, date.range.hi);
        let mut conditions: Vec<(&str, &str, i64)> = Vec::new();
        let between = match date.prefix {
            // The middle one follows from the others; it bounds the index scan.
            Prefix::Eq => {
                conditions.extend([(lo, ">=", a), (lo, "<", b), (hi, "<=", b)]);
                " AND "
            }
            Prefix::Ne => {
                conditions.extend([(lo, "<", a), (hi, ">", b)]);
                " OR "
            }
            Prefix::Gt => {
                conditions.push((hi, ">", b));
                ""
            }
            Prefix::Lt => {
                conditions.push((lo, "<", a));
                ""
            }
            // Greater, or equal.
            Prefix::Ge => {
                conditions.extend([(hi, ">", b), (lo, ">=", a)]);
                " OR "
            }
            Prefix::Le => {
                conditions.extend([(lo, "<", a), (hi, "<=", b)]);
                " OR "
            }
            Prefix::Sa => {
                conditions.push((lo, ">=", b));
                ""
            }
            Prefix::Eb => {
                conditions.extend([(hi, "<=", a), (lo, "<", a)]);
                " AND "
            }
            Prefix::Ap => {
                conditions.extend([(lo, "<", b), (hi, ">", a)]);
                " AND "
            }
        };
        for (index, (column, operator, bound)) in conditions.into_iter().enumerate() {
            if index > 0 {
                self.push(between);
            }
            self.push(&format!("{column} {operator} ")).bind(bound);
        }
    }

    /// `meta.lastUpdated` covers one millisecond.
    fn updated(&mut self, alias: &str, date: &DateMatch) {
        const MILLISECOND: i64 = 1_000;
        let (a, b) = (date.range.lo, date.range.hi);
        let last = b.saturating_sub(MILLISECOND);
        let bounds: &[(&str, i64)] = match date.prefix {
            Prefix::Eq => &[(">=", a), ("<=", last)],
            Prefix::Ne => {
                self.push("NOT (");
                self.updated(
                    alias,
                    &DateMatch {
                        prefix: Prefix::Eq,
                        range: date.range,
                    },
                );
                self.push(")");
                return;
            }
            Prefix::Gt => &[(">", last)],
            Prefix::Lt => &[("<", a)],
            Prefix::Ge => &[(">=", a)],
            Prefix::Le => &[("<=", last)],
            Prefix::Sa => &[(">=", b)],
            Prefix::Eb => &[("<=", a.saturating_sub(MILLISECOND))],
            Prefix::Ap => &[("<", b), (">", a.saturating_sub(MILLISECOND))],
        };
        for (index, (operator, bound)) in bounds.iter().enumerate() {
            if index > 0 {
                self.push(" AND ");
            }
            self.push(&format!("{alias}.last_updated {operator} "))
                .instant(*bound);
        }
    }

    /// The stored closed range against the number, <https://hl7.org/fhir/R5/search.html#number>: the written precision counts for
    /// eq, ne and ap only.
    fn quantity(&mut self, alias: &str, test: &QuantityTest) {
        self.push(alias)
            .push(".unit = ")
            .bind(test.unit)
            .push(" AND ");
        let number = &test.number;
        let (low, high) = number.implicit();
        let lo = format!("coalesce({alias}.lo, '-infinity'::numeric)");
        let hi = format!("coalesce({alias}.hi, 'infinity'::numeric)");
        let written = number.value.to_plain();
        let conditions: Vec<(String, &str, String)> = match number.prefix {
            // Bare columns, so that the index is of use: an open side never lies inside.
            Prefix::Eq => vec![
                (format!("{alias}.lo"), ">=", low.to_plain()),
                (format!("{alias}.lo"), "<", high.to_plain()),
                (format!("{alias}.hi"), "<", high.to_plain()),
            ],
            Prefix::Ne => {
                self.push(&format!("({lo} < ")).number(low.to_plain());
                self.push(&format!(" OR {hi} >= "))
                    .number(high.to_plain())
                    .push(")");
                return;
            }
            Prefix::Gt | Prefix::Ge => {
                // A point is above when its lower end is, which the index on it tells; the few that are no points have their own index.
                let operator = if number.prefix == Prefix::Gt {
                    ">"
                } else {
                    ">="
                };
                self.push(&format!("({alias}.lo {operator} "))
                    .number(written.clone());
                self.push(&format!(
                    " OR ({alias}.lo IS DISTINCT FROM {alias}.hi AND {hi} {operator} "
                ));
                self.number(written).push("))");
                return;
            }
            Prefix::Lt | Prefix::Le => {
                let operator = if number.prefix == Prefix::Lt {
                    "<"
                } else {
                    "<="
                };
                self.push(&format!("({alias}.lo IS NULL OR {alias}.lo {operator} "));
                self.number(written).push(")");
                return;
            }
            Prefix::Sa => vec![(format!("{alias}.lo"), ">", written)],
            Prefix::Eb => vec![(format!("{alias}.hi"), "<", written)],
            Prefix::Ap => {
                let (from, to) = number.approximate();
                vec![(lo, "<=", to.to_plain()), (hi, ">=", from.to_plain())]
            }
        };
        for (index, (column, operator, bound)) in conditions.into_iter().enumerate() {
            if index > 0 {
                self.push(" AND ");
            }
            self.push(&format!("{column} {operator} ")).number(bound);
        }
    }

    fn number(&mut self, plain: String) -> &mut Sql {
        self.bind(plain).push("::text::numeric")
    }

    fn string(&mut self, alias: &str, test: &StringTest) {
        match test {
            StringTest::StartsWith(prefix) => {
                self.push(alias).push(".value >= ").bind(prefix.clone());
                // U+10FFFF sorts after every character that follows the prefix.
                self.push(&format!(" AND {alias}.value < "))
                    .bind(format!("{prefix}\u{10FFFF}"));
            }
            StringTest::Contains(part) => {
                self.push("strpos(")
                    .push(alias)
                    .push(".value, ")
                    .bind(part.clone())
                    .push(") > 0");
            }
        }
    }

    /// The window of a walk by `_lastUpdated`, as a subselect of whole entries.
    fn recent(&mut self, selection: Selection<'_>, window: i64) {
        match selection.types {
            [_] => {
                self.push("(");
                self.recent_of(
                    selection,
                    "",
                    window,
                    "pk, last_updated, type, tokens, refs",
                );
                self.push(")");
            }
            types => {
                self.push("(SELECT v.* FROM unnest(").bind(types.to_vec());
                self.push(") AS k(number) CROSS JOIN LATERAL (");
                self.recent_of(
                    selection,
                    "k.number",
                    window,
                    "pk, last_updated, type, tokens, refs",
                );
                self.push(&format!(
                    ") v ORDER BY v.last_updated {0}, v.pk {0} LIMIT ",
                    direction(selection.order[0])
                ));
                self.bind(window).push(")");
            }
        }
    }

    fn recent_of(&mut self, selection: Selection<'_>, number: &str, window: i64, columns: &str) {
        let order = selection.order[0];
        self.push(&format!("SELECT {columns} FROM entry w WHERE w.type = "));
        match number {
            "" => self.bind(selection.types[0]),
            number => self.push(number),
        };
        for test in selection.filter {
            // Inside, so that the walk begins where the range does.
            if matches!(test, Test::Updated(_)) {
                self.push(" AND ");
                self.test(test, "w");
            }
        }
        if let Some(keyset) = selection.after {
            self.push(" AND ");
            self.after_row("w.last_updated", order, keyset);
        }
        self.push(&format!(
            " ORDER BY w.last_updated {0}, w.pk {0} LIMIT ",
            direction(order)
        ));
        self.bind(window);
    }

    /// The window of a walk, as `(pk, value)` in order.
    fn window(&mut self, selection: Selection<'_>, window: i64) {
        let order = selection.order[0];
        match order.by {
            Column::Updated => {
                self.push("SELECT v.pk, v.last_updated AS value FROM ");
                self.recent(selection, window);
                self.push(&format!(
                    " v ORDER BY v.last_updated {0}, v.pk {0}",
                    direction(order)
                ));
            }
            Column::Id => {
                self.push("SELECT v.pk, v.id AS value FROM resource v WHERE v.type = ");
                self.bind(selection.types[0]);
                self.window_rest(selection, "v.id", window);
            }
            Column::Date { key, .. } | Column::String { key, .. } | Column::Number { key } => {
                let (table, column) = value_column(order.by);
                self.push(&format!(
                    "SELECT v.pk, v.{column} AS value FROM {table} v WHERE v.key = "
                ));
                self.bind(key);
                self.window_rest(selection, &format!("v.{column}"), window);
            }
        }
    }

    fn window_rest(&mut self, selection: Selection<'_>, column: &str, window: i64) {
        let order = selection.order[0];
        if let Some(keyset) = selection.after {
            self.push(" AND ");
            self.after_row_of(column, "v.pk", order, keyset);
        }
        self.push(&format!(
            " ORDER BY {column} {0}, v.pk {0} LIMIT ",
            direction(order)
        ));
        self.bind(window);
    }

    fn key_array(&mut self, order: &[Order]) {
        self.push("ARRAY[");
        for (index, order) in order.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            match order.by {
                Column::Updated => self.push(&micros("m.last_updated")),
                _ => self.push(&key_expression(index, *order)),
            };
            self.push("::text");
        }
        self.push("]");
    }

    fn key_join(&mut self, index: usize, order: Order) {
        let (table, value, which) = match order.by {
            Column::Updated => return,
            Column::Id => {
                self.push(&format!(" JOIN resource k{index} ON k{index}.pk = m.pk"));
                return;
            }
            // Unit 0: each number once, whatever its unit.
            Column::Number { .. } => ("sp_quantity", "coalesce(v.lo, v.hi)", " AND v.unit = 0"),
            Column::Date { .. } => ("sp_date", "v.lo", ""),
            Column::String { .. } => ("sp_string", "v.value", ""),
        };
        let (Column::Date { key, .. } | Column::String { key, .. } | Column::Number { key }) =
            order.by
        else {
            return;
        };
        let pick = if order.descending { "max" } else { "min" };
        self.push(&format!(
            " LEFT JOIN LATERAL (SELECT {pick}({value}) AS value FROM {table} v WHERE v.pk = m.pk AND v.key = "
        ));
        self.bind(key).push(&format!("{which}) k{index} ON true"));
    }

    fn order_by(&mut self, order: &[Order]) {
        self.push(" ORDER BY ");
        for (index, key) in order.iter().enumerate() {
            self.push(&format!(
                "{} {} NULLS LAST, ",
                key_expression(index, *key),
                direction(*key)
            ));
        }
        self.push(&format!("m.pk {}", direction(order[0])));
    }

    /// What comes after the keyset, in the order of [`filter_then_sort`].
    fn after(&mut self, order: &[Order], keyset: &Keyset) {
        if let [
            only @ Order {
                by: Column::Updated | Column::Id,
                ..
            },
        ] = order
        {
            self.after_row_of(&key_expression(0, *only), "m.pk", *only, keyset);
            return;
        }
        // (k0 after) or (k0 equal and ((k1 after) or (k1 equal and … pk after)))
        let mut open = 0;
        for (index, (key, value)) in order.iter().zip(&keyset.values).enumerate() {
            let expression = key_expression(index, *key);
            match value {
                Some(value) => {
                    self.push(&format!("({expression} {} ", beyond(*key)));
                    self.key_value(*key, value);
                    self.push(&format!(" OR {expression} IS NULL OR ({expression} = "));
                    self.key_value(*key, value);
                    self.push(" AND ");
                    open += 2;
                }
                None => {
                    self.push(&format!("({expression} IS NULL AND "));
                    open += 1;
                }
            }
        }
        self.push(&format!("m.pk {} ", beyond(order[0])))
            .bind(keyset.pk);
        self.push(&")".repeat(open));
    }

    fn after_row(&mut self, column: &str, order: Order, keyset: &Keyset) {
        self.after_row_of(column, "w.pk", order, keyset);
    }

    fn after_row_of(&mut self, column: &str, pk: &str, order: Order, keyset: &Keyset) {
        self.push(&format!("({column}, {pk}) {} (", beyond(order)));
        let value = keyset
            .values
            .first()
            .and_then(Option::as_deref)
            .unwrap_or_default();
        self.key_value(order, value);
        self.push(", ").bind(keyset.pk).push(")");
    }

    fn key_value(&mut self, order: Order, value: &str) {
        match order.by {
            // A keyset is checked when it is read: the text is a number.
            Column::Updated => {
                self.instant(value.parse().unwrap_or_default());
            }
            Column::Date { .. } => {
                self.bind(value.to_owned()).push("::text::bigint");
            }
            Column::Number { .. } => {
                self.number(value.to_owned());
            }
            Column::Id | Column::String { .. } => {
                self.bind(value.to_owned());
            }
        }
    }
}

fn key_expression(index: usize, order: Order) -> String {
    match order.by {
        Column::Updated => "m.last_updated".to_owned(),
        Column::Id => format!("k{index}.id"),
        _ => format!("k{index}.value"),
    }
}

fn value_column(column: Column) -> (&'static str, &'static str) {
    match column {
        Column::Date { .. } => ("sp_date", "lo"),
        Column::String { .. } => ("sp_string", "value"),
        Column::Number { .. } => ("sp_quantity", "lo"),
        Column::Updated => ("entry", "last_updated"),
        Column::Id => ("resource", "id"),
    }
}

fn micros(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::bigint")
}

fn direction(order: Order) -> &'static str {
    if order.descending { "DESC" } else { "ASC" }
}

/// The comparison with what has been returned.
fn beyond(order: Order) -> &'static str {
    if order.descending { "<" } else { ">" }
}

/// The comparison with what stands earlier in the order.
fn before(order: Order) -> &'static str {
    if order.descending { ">" } else { "<" }
}
