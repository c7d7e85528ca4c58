//! Sort keys of Elasticsearch in the order of [`crate::search::sql`], and where a page begins in it. Pure.

use super::Reason;
use crate::elastic::document::{instant, parameter_keyword, string_keyword};
use crate::elastic::number;
use crate::search::flat::{Column, FlatQuery, FoundValue, Order};
use crate::search::keyset::Keyset;
use fhir_definitions::StringRows;
use serde_json::{Value, json};

/// What one sort key is read from.
enum Field {
    Updated,
    Id,
    /// By these keywords of parameters.
    Dates(Vec<String>),
    Strings(Vec<String>),
    Numbers(Vec<String>),
}

/// `sort`: the keys, and then the row key.
///
/// # Errors
/// What only Postgres sorts by.
pub(super) fn sort(flat: &FlatQuery) -> Result<Value, Reason> {
    let mut keys = Vec::with_capacity(flat.order.len() + 1);
    for order in &flat.order {
        keys.push(match field(*order, flat)? {
            Field::Updated => json!({"updated": {"order": direction(*order)}}),
            Field::Id => json!({"id": {"order": direction(*order)}}),
            Field::Dates(of) => value("dates", "lo", of, *order),
            Field::Strings(of) => value("strings", "value", of, *order),
            Field::Numbers(of) => value("quantities", "at", of, *order),
        });
    }
    let first = flat.order.first().copied();
    keys.push(json!({"pk": {"order": first.map_or("asc", direction)}}));
    Ok(keys.into())
}

/// Whether some rows have nothing to be sorted by.
pub(super) fn may_lack_values(flat: &FlatQuery) -> bool {
    let has_value = |order: &Order| matches!(order.by, Column::Updated | Column::Id);
    !flat.order.iter().all(has_value)
}

/// `search_after`: the place of the row that a page begins behind.
pub(super) fn search_after(flat: &FlatQuery, keyset: &Keyset) -> Result<Value, Reason> {
    let mut values = Vec::with_capacity(flat.order.len() + 1);
    for (order, value) in flat.order.iter().zip(&keyset.values) {
        let value = value.as_deref();
        values.push(match (field(*order, flat)?, value) {
            (Field::Updated | Field::Dates(_), Some(micros)) => {
                instant(micros.parse().map_err(|_| "place")?).into()
            }
            (Field::Numbers(_), Some(plain)) => number::keyword(plain).into(),
            (Field::Id | Field::Strings(_), Some(text)) => text.into(),
            // Elasticsearch puts the end of the range of numbers in the place of none.
            (Field::Updated | Field::Dates(_), None) => match order.falls() == order.backwards {
                true => i64::MAX.into(),
                false => i64::MIN.into(),
            },
            (Field::Id | Field::Strings(_) | Field::Numbers(_), None) => Value::Null,
        });
    }
    values.push(keyset.pk.into());
    Ok(values.into())
}

fn field(order: Order, flat: &FlatQuery) -> Result<Field, Reason> {
    let keywords = |keys: &[i16]| keys.iter().map(|key| parameter_keyword(*key, 0)).collect();
    let strings = |all: &[StringRows]| all.iter().copied().map(string_keyword).collect();
    let number = |keys: &[i16]| match flat.scales.units.is_empty() {
        true => Ok(Field::Numbers(keywords(keys))),
        false => Err("sort in units"),
    };
    match order.by {
        Column::Updated => Ok(Field::Updated),
        Column::Id => Ok(Field::Id),
        Column::Date { key, .. } => Ok(Field::Dates(keywords(&[key]))),
        Column::String { rows, .. } => Ok(Field::Strings(strings(&[rows]))),
        Column::Number { key } => number(&[key]),
        Column::Found(at) => {
            let found = flat.found.get(at).ok_or("sort by looking")?;
            match &found.value {
                _ if !found.links.is_empty() => Err("sort by looking"),
                FoundValue::Dates(keys) => Ok(Field::Dates(keywords(keys))),
                FoundValue::Strings(all) => Ok(Field::Strings(strings(all))),
                FoundValue::Numbers(keys) => number(keys),
                FoundValue::Scores => Err("sort by score"),
                FoundValue::Texts(_) | FoundValue::Updated | FoundValue::Ids => {
                    Err("sort by looking")
                }
            }
        }
    }
}

fn value(path: &str, field: &str, keys: Vec<String>, order: Order) -> Value {
    json!({format!("{path}.{field}"): {
        "order": direction(order),
        // Of several values; read from the end, the same one counts.
        "mode": if order.descending { "max" } else { "min" },
        "missing": if order.backwards { "_first" } else { "_last" },
        "nested": {"path": path, "filter": {"terms": {format!("{path}.key"): keys}}}
    }})
}

fn direction(order: Order) -> &'static str {
    if order.falls() { "desc" } else { "asc" }
}
