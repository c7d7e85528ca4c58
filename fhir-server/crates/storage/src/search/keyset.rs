//! Where a page begins: the sort keys and the row key of the last match before it.
//!
//! Opaque to everyone else; the HTTP layer seals it, so it is never read by a client. It carries no value of the filter.

use super::flat::{Column, Order};
use fhir_model::{Decimal, Issue, IssueKind};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyset {
    /// One per sort key: microseconds, numbers and text as text; `None` where the row has no value.
    pub values: Vec<Option<String>>,
    pub pk: i64,
    /// Microseconds since 1970. A search by `_lastUpdated` goes no further: what is updated while a client pages would come again.
    pub horizon: i64,
    /// `Bundle.total` as the first page had it.
    pub total: Option<u64>,
}

impl Keyset {
    pub fn to_bytes(&self) -> Vec<u8> {
        json!([VERSION, self.values, self.pk, self.horizon, self.total])
            .to_string()
            .into_bytes()
    }

    /// # Errors
    /// `Expired` when these are not the bytes of a keyset for this order.
    pub fn from_bytes(bytes: &[u8], order: &[Order]) -> Result<Keyset, Issue> {
        read(bytes, order).ok_or_else(|| {
            Issue::error(
                IssueKind::Expired,
                "this page is no longer served; start the search again",
            )
        })
    }
}

/// Of the bytes' form; a keyset of another version has expired.
const VERSION: u64 = 1;

fn read(bytes: &[u8], order: &[Order]) -> Option<Keyset> {
    let parts: Vec<Value> = serde_json::from_slice(bytes).ok()?;
    let [version, values, pk, horizon, total] = parts.as_slice() else {
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
    let fits = values.len() == order.len()
        && values
            .iter()
            .zip(order)
            .all(|(value, order)| match (order.by, value) {
                (Column::Updated | Column::Date { .. }, Some(text)) => text.parse::<i64>().is_ok(),
                (Column::Number { .. }, Some(text)) => Decimal::parse(text).is_some(),
                (Column::Id | Column::String { .. }, Some(_)) => true,
                (Column::Updated | Column::Id, None) => false,
                (_, None) => true,
            });
    fits.then_some(Keyset {
        values,
        pk: pk.as_i64()?,
        horizon: horizon.as_i64()?,
        total: total.as_u64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let order = |by| Order {
            by,
            descending: false,
        };
        let orders = [
            order(Column::Date { key: 1, present: 0 }),
            order(Column::Id),
        ];
        let keyset = Keyset {
            values: vec![None, Some("é'\"".into())],
            pk: 7,
            horizon: -1,
            total: Some(3),
        };
        assert_eq!(
            Keyset::from_bytes(&keyset.to_bytes(), &orders),
            Ok(keyset.clone())
        );
        for (bytes, orders) in [
            (keyset.to_bytes(), &orders[..1]),
            (b"[1,[null,null],7,0,null]".to_vec(), &orders[..]),
            (b"[1,[\"x\",\"x\"],7,0,null]".to_vec(), &orders[..]),
            (b"[2,[null,\"x\"],7,0,null]".to_vec(), &orders[..]),
            (b"".to_vec(), &orders[..]),
        ] {
            let issue = Keyset::from_bytes(&bytes, orders).unwrap_err();
            assert_eq!(issue.kind, IssueKind::Expired);
        }
    }
}
