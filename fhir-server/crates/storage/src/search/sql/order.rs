//! Sort keys, keyset conditions and the windows of walks.

use super::{Selection, Sql};
use crate::search::bounds::{self, OfOrder};
use crate::search::flat::{Column, FoundValue, Order, Scales, Test};
use crate::search::keyset::Keyset;
use fhir_search::unit::BASE_PLACES;

impl Sql {
    /// The window of a walk by `_lastUpdated`, as a subselect of whole entries.
    pub(super) fn recent(&mut self, selection: Selection<'_>, window: i64) {
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

    pub(super) fn recent_of(
        &mut self,
        selection: Selection<'_>,
        number: &str,
        window: i64,
        columns: &str,
    ) {
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
    pub(super) fn window(&mut self, selection: Selection<'_>, window: i64) {
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
            Column::Date { key, .. } => {
                self.push("SELECT v.pk, v.lo, v.hi, v.lo AS value FROM sp_date v WHERE v.key = ");
                self.bind(key);
                self.bounds(selection);
                self.window_rest(selection, "v.lo", window);
            }
            Column::Found(_) => {
                self.push("SELECT v.pk, v.pk AS value FROM entry v WHERE false");
            }
            Column::String { rows, .. } => {
                self.push("SELECT v.pk, v.value FROM sp_string v WHERE ");
                self.strings_of("v", rows);
                self.window_rest(selection, "v.value", window);
            }
            Column::Number { key } => {
                self.push("SELECT v.pk, v.lo AS value FROM sp_quantity v WHERE v.key = ");
                self.bind(key);
                self.window_rest(selection, "v.lo", window);
            }
        }
    }

    /// Where the walk begins and ends, as far as the filter says. After a page it begins there, which bounds it more closely.
    fn bounds(&mut self, selection: Selection<'_>) {
        let Some(OfOrder { bounds, .. }) = bounds::of_order(selection.filter, selection.order)
        else {
            return;
        };
        let (descending, first) = (selection.order[0].falls(), selection.after.is_none());
        if bounds.lo > i64::MIN && (descending || first) {
            self.push(" AND v.lo >= ").bind(bounds.lo);
        }
        if bounds.hi < i64::MAX && (!descending || first) {
            self.push(" AND v.lo < ").bind(bounds.hi);
        }
    }

    pub(super) fn window_rest(&mut self, selection: Selection<'_>, column: &str, window: i64) {
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

    pub(super) fn key_array(&mut self, order: &[Order]) {
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

    /// `scales`, which [`measure`] looks into, before another common table; nothing where no quantity is sorted by.
    pub(super) fn scales(&mut self, scales: &Scales) {
        if scales.units.is_empty() {
            return;
        }
        self.push("scales AS MATERIALIZED (SELECT ");
        self.bind(scales.units.clone()).push(" AS units, ");
        self.bind(scales.factors.clone())
            .push("::text[]::numeric[] AS factors, ");
        self.bind(scales.offsets.clone())
            .push("::text[]::numeric[] AS offsets), ");
    }

    pub(super) fn key_join(&mut self, index: usize, order: Order, scales: &Scales) {
        let (table, value) = match order.by {
            Column::Updated | Column::Found(_) => return,
            Column::Id => {
                self.push(&format!(" JOIN resource k{index} ON k{index}.pk = m.pk"));
                return;
            }
            Column::Number { .. } => ("sp_quantity", measure(scales)),
            Column::Date { .. } => ("sp_date", "v.lo".to_owned()),
            Column::String { .. } => ("sp_string", "v.value".to_owned()),
        };
        let pick = if order.descending { "max" } else { "min" };
        self.push(&format!(
            " LEFT JOIN LATERAL (SELECT {pick}({value}) AS value FROM {table} v WHERE v.pk = m.pk AND "
        ));
        self.of_column(order.by, "v");
        self.push(&format!(") k{index} ON true"));
    }

    /// The rows that have the values of a column.
    pub(super) fn of_column(&mut self, column: Column, row: &str) {
        match column {
            Column::String { rows, .. } => self.strings_of(row, rows),
            Column::Date { key, .. } | Column::Number { key } => {
                self.push(row).push(".key = ").bind(key);
            }
            Column::Updated | Column::Id | Column::Found(_) => {
                self.push("true");
            }
        }
    }

    pub(super) fn order_by(&mut self, order: &[Order]) {
        self.push(" ORDER BY ");
        for (index, key) in order.iter().enumerate() {
            self.push(&format!(
                "{} {} NULLS {}, ",
                key_expression(index, *key),
                direction(*key),
                if key.backwards { "FIRST" } else { "LAST" }
            ));
        }
        self.push(&format!("m.pk {}", direction(order[0])));
    }

    /// What comes after the keyset, in the order of [`super::filter_then_sort`].
    pub(super) fn after(&mut self, selection: Selection<'_>, keyset: &Keyset) {
        let order = selection.order;
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
                    self.sort_value(selection, *key, value);
                    // What has no value comes last; from the end it has passed.
                    if !key.backwards {
                        self.push(&format!(" OR {expression} IS NULL"));
                    }
                    self.push(&format!(" OR ({expression} = "));
                    self.sort_value(selection, *key, value);
                    self.push(" AND ");
                    open += 2;
                }
                None if key.backwards => {
                    self.push(&format!(
                        "({expression} IS NOT NULL OR ({expression} IS NULL AND "
                    ));
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

    /// A value of a keyset for the column it is of.
    fn sort_value(&mut self, selection: Selection<'_>, order: Order, value: &str) {
        let Column::Found(at) = order.by else {
            self.key_value(order, value);
            return;
        };
        match selection.found[at].value {
            FoundValue::Dates(_) | FoundValue::Updated => {
                self.bind(value.to_owned()).push("::text::bigint");
            }
            FoundValue::Numbers(_) => {
                self.number(value.to_owned());
            }
            FoundValue::Scores => {
                self.bind(value.to_owned()).push("::text::float8");
            }
            FoundValue::Strings(_) | FoundValue::Texts(_) | FoundValue::Ids => {
                self.bind(value.to_owned());
            }
        }
    }

    pub(super) fn after_row(&mut self, column: &str, order: Order, keyset: &Keyset) {
        self.after_row_of(column, "w.pk", order, keyset);
    }

    pub(super) fn after_row_of(&mut self, column: &str, pk: &str, order: Order, keyset: &Keyset) {
        self.push(&format!("({column}, {pk}) {} (", beyond(order)));
        let value = keyset
            .values
            .first()
            .and_then(Option::as_deref)
            .unwrap_or_default();
        self.key_value(order, value);
        self.push(", ").bind(keyset.pk).push(")");
    }

    pub(super) fn key_value(&mut self, order: Order, value: &str) {
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
            Column::Id | Column::String { .. } | Column::Found(_) => {
                self.bind(value.to_owned());
            }
        }
    }
}

pub(super) fn key_expression(index: usize, order: Order) -> String {
    match order.by {
        Column::Updated => "m.last_updated".to_owned(),
        Column::Id => format!("k{index}.id"),
        _ => format!("k{index}.value"),
    }
}

/// The number of the row `v` of sp_quantity; in base units where its unit has a scale, which is looked for by halves.
pub(super) fn measure(scales: &Scales) -> String {
    let number = "coalesce(v.lo, v.hi)";
    match scales.units.is_empty() {
        true => number.to_owned(),
        false => format!(
            "coalesce((SELECT trim_scale(round({number} * s.factors[w] + s.offsets[w], {BASE_PLACES})) \
             FROM scales s, unnest(v.units) u, LATERAL width_bucket(u, s.units) w WHERE s.units[w] = u LIMIT 1), {number})"
        ),
    }
}

pub(super) fn value_column(column: Column) -> (&'static str, &'static str) {
    match column {
        Column::Date { .. } => ("sp_date", "lo"),
        Column::String { .. } => ("sp_string", "value"),
        Column::Number { .. } => ("sp_quantity", "lo"),
        Column::Updated => ("entry", "last_updated"),
        Column::Id | Column::Found(_) => ("resource", "id"),
    }
}

pub(super) fn micros(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::bigint")
}

pub(super) fn direction(order: Order) -> &'static str {
    if order.falls() { "DESC" } else { "ASC" }
}

/// The comparison with what has been returned.
pub(super) fn beyond(order: Order) -> &'static str {
    if order.falls() { "<" } else { ">" }
}

/// The comparison with what would count instead, of several values.
pub(super) fn before(order: Order) -> &'static str {
    if order.descending { ">" } else { "<" }
}
