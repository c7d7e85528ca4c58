//! Where a page begins: the sort keys and the row key of the last match before it, or, of a page that is read backwards, of the first after it.
//!
//! Opaque to everyone else; the HTTP layer seals it, so it is never read by a client. It carries no value of the filter.

use super::flat::{Column, FlatQuery, FoundValue};
use fhir_model::{Issue, IssueKind};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyset {
    /// One per sort key: microseconds, numbers and text as text; `None` where the row has no value. None at all: the page begins where
    /// the matches begin, or end.
    pub values: Vec<Option<String>>,
    pub pk: i64,
    /// Microseconds since 1970. A search by `_lastUpdated` goes no further: what is updated while a client pages would come again.
    pub horizon: i64,
    /// `Bundle.total` as the first page had it.
    pub total: Option<u64>,
    /// Whether the page ends here instead.
    pub backwards: bool,
    /// Matches on the pages before this place, as far as they were counted.
    pub passed: u64,
}

impl Keyset {
    pub fn to_bytes(&self) -> Vec<u8> {
        json!([
            VERSION,
            self.values,
            self.pk,
            self.horizon,
            self.total,
            self.backwards,
            self.passed
        ])
        .to_string()
        .into_bytes()
    }

    /// # Errors
    /// `Expired` when these are not the bytes of a keyset for this order.
    pub fn from_bytes(bytes: &[u8], query: &FlatQuery) -> Result<Keyset, Issue> {
        read(bytes, query).ok_or_else(|| {
            Issue::error(
                IssueKind::Expired,
                "this page is no longer served; start the search again",
            )
        })
    }

    /// Whether it names a row, and that row has nothing to sort by.
    pub fn without_value(&self) -> bool {
        self.values.first().is_some_and(Option::is_none)
    }
}

/// Of the bytes' form; a keyset of another version has expired.
const VERSION: u64 = 3;

fn read(bytes: &[u8], query: &FlatQuery) -> Option<Keyset> {
    let parts: Vec<Value> = serde_json::from_slice(bytes).ok()?;
    let [version, values, pk, horizon, total, backwards, passed] = parts.as_slice() else {
        return None;
    };
    if version.as_u64() != Some(VERSION) {
        return None;
    }
    let values = values
        .as_array()?
        .iter()
        .map(|value| match value {
            Value::Null => Some(None),
            value => value.as_str().map(|text| Some(text.to_owned())),
        })
        .collect::<Option<Vec<_>>>()?;
    let fits = values.is_empty()
        || values.len() == query.order.len()
            && values
                .iter()
                .zip(&query.order)
                .all(|(value, order)| fits(value.as_deref(), order.by, query));
    fits.then_some(Keyset {
        values,
        pk: pk.as_i64()?,
        horizon: horizon.as_i64()?,
        total: total.as_u64(),
        backwards: backwards.as_bool()?,
        passed: passed.as_u64()?,
    })
}

fn fits(value: Option<&str>, column: Column, query: &FlatQuery) -> bool {
    let Some(text) = value else {
        return !matches!(column, Column::Updated | Column::Id);
    };
    match column {
        Column::Updated | Column::Date { .. } => text.parse::<i64>().is_ok(),
        Column::Number { .. } => is_number(text),
        Column::Id | Column::String { .. } => true,
        Column::Found(at) => query.found.get(at).is_some_and(|found| match found.value {
            FoundValue::Dates(_) | FoundValue::Updated => text.parse::<i64>().is_ok(),
            FoundValue::Numbers(_) => is_number(text),
            FoundValue::Scores => text.parse::<f64>().is_ok(),
            FoundValue::Strings(_) | FoundValue::Texts(_) | FoundValue::Ids => true,
        }),
    }
}

/// In plain notation, however long.
fn is_number(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let (whole, places) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    are_digits(whole) && are_digits(places)
}

#[cfg(test)]
mod tests {
    use super::super::flat::{Found, Order};
    use super::*;

    #[test]
    fn reads_back() {
        let of = |order: &[Column], value| FlatQuery {
            order: order.iter().map(|by| Order::new(*by, false)).collect(),
            found: vec![Found {
                links: Vec::new(),
                types: Vec::new(),
                value,
            }],
            ..FlatQuery::default()
        };
        let date = Column::Date { key: 1, present: 0 };
        let query = of(&[date, Column::Id], FoundValue::Ids);
        let keyset = Keyset {
            values: vec![None, Some("é'\"".into())],
            pk: 7,
            horizon: -1,
            total: Some(3),
            backwards: true,
            passed: 20,
        };
        assert_eq!(
            Keyset::from_bytes(&keyset.to_bytes(), &query),
            Ok(keyset.clone())
        );
        let found = |value| of(&[Column::Found(0)], value);
        for (bytes, query) in [
            (keyset.to_bytes(), &of(&[date], FoundValue::Ids)),
            (b"[3,[null,null],7,0,null,false,0]".to_vec(), &query),
            (b"[3,[\"x\",\"x\"],7,0,null,false,0]".to_vec(), &query),
            (b"[1,[null,\"x\"],7,0,null]".to_vec(), &query),
            (
                b"[3,[\"x\"],7,0,null,false,0]".to_vec(),
                &found(FoundValue::Scores),
            ),
            (
                b"[3,[\"x\"],7,0,null,false,0]".to_vec(),
                &found(FoundValue::Updated),
            ),
            (
                b"[3,[\"x\"],7,0,null,false,0]".to_vec(),
                &found(FoundValue::Numbers(vec![1])),
            ),
            (b"".to_vec(), &query),
        ] {
            let issue = Keyset::from_bytes(&bytes, query).unwrap_err();
            assert_eq!(issue.kind, IssueKind::Expired);
        }
    }
}
