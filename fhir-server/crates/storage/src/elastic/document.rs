//! What Elasticsearch holds of a resource: a pure function of its rows in Postgres ([`of`]), its body among them, and reading those rows ([`read`]).
//!
//! A resource that is deleted, or only referenced, is a document without values: a tombstone, which a delayed retry cannot bring to life.

use super::number;
use super::texts::TextRows;
use crate::Error;
use crate::read::whole as whole_body;
use fhir_definitions::{ParameterKey, StringRows};
use fhir_search::document::STRING_MAX;
use fhir_search::position::Point;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};

/// The rows of one resource, of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexRows {
    pub pk: i64,
    pub type_number: i16,
    /// `meta.versionId`.
    pub version: i32,
    /// The transaction that wrote them last: a search whose snapshot does not see it sees earlier rows. No write uses savepoints, whose
    /// transactions have numbers of their own.
    pub written: i64,
    /// `None`: it is not there to be found.
    pub entry: Option<Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: String,
    /// Microseconds since 1970 UTC.
    pub updated: i64,
    pub tokens: Vec<i64>,
    /// parameter << 40 | target pk.
    pub references: Vec<i64>,
    pub dates: Vec<DateRow>,
    pub quantities: Vec<QuantityRow>,
    pub strings: Vec<StringRow>,
    pub words: TextRows,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DateRow {
    pub key: i16,
    pub marker: i64,
    pub lo: i64,
    pub hi: i64,
}

/// Numbers in plain notation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QuantityRow {
    pub key: i16,
    pub marker: i64,
    pub units: Vec<i64>,
    pub lo: Option<String>,
    pub hi: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StringRow {
    pub key: i16,
    pub value: String,
    /// As [`fhir_search::document::StringEntry::parts`].
    pub parts: i16,
}

/// The document. Its `_id` is the row key in decimals.
pub(crate) fn of(rows: &IndexRows) -> Value {
    let mut document = json!({
        "pk": rows.pk,
        "type": type_keyword(rows.type_number),
        "version": rows.version,
    });
    match &rows.entry {
        None => document["deleted"] = true.into(),
        Some(entry) => {
            document["id"] = entry.id.as_str().into();
            document["updated"] = entry.updated.into();
            document["tokens"] = entry.tokens.iter().copied().map(keyword).collect();
            document["refs"] = entry.references.iter().copied().map(keyword).collect();
            document["dates"] = entry.dates.iter().map(date).collect();
            document["quantities"] = entry.quantities.iter().map(quantity).collect();
            document["strings"] = entry.strings.iter().map(string).collect();
            document["narrative"] = entry.words.narrative.clone().into();
            document["content"] = entry.words.content.clone().into();
        }
    }
    document["digest"] = digest(&document).into();
    document["written"] = rows.written.into();
    document
}

/// A hash, or a reference with its parameter in front.
pub(crate) fn keyword(number: i64) -> String {
    format!("{number:016x}")
}

pub(crate) fn type_keyword(number: i16) -> String {
    number.to_string()
}

/// What all references by the parameter begin with.
pub(crate) fn reference_prefix(key: i16) -> String {
    format!("{key:06x}")
}

/// The row that a reference leads to.
pub(crate) fn reference_target(keyword: &str) -> Option<i64> {
    i64::from_str_radix(keyword.get(6..)?, 16).ok()
}

/// A parameter; in a composite with the hash of its other components.
pub(crate) fn parameter_keyword(key: i16, marker: i64) -> String {
    match marker {
        0 => key.to_string(),
        marker => format!("{key}.{marker:x}"),
    }
}

/// Whose strings they are; of the parameter of a part, with the bit of that.
pub(crate) fn string_keyword(rows: StringRows) -> String {
    match rows.parts {
        0 => parameter_keyword(rows.key.0, 0),
        parts => format!("{}/{parts}", rows.key.0),
    }
}

/// Elasticsearch sorts what has no value by the ends of the range of numbers, so these are left free.
pub(crate) fn instant(micros: i64) -> i64 {
    micros.clamp(i64::MIN + 1, i64::MAX - 1)
}

fn date(row: &DateRow) -> Value {
    json!({
        "key": parameter_keyword(row.key, row.marker),
        "lo": instant(row.lo),
        "hi": instant(row.hi),
    })
}

fn quantity(row: &QuantityRow) -> Value {
    let mut value = json!({
        "key": parameter_keyword(row.key, row.marker),
        "units": row.units.iter().copied().map(keyword).collect::<Value>(),
    });
    let mut open = Vec::new();
    for (name, number) in [("lo", &row.lo), ("hi", &row.hi)] {
        match number {
            Some(number) => value[name] = number::keyword(number).into(),
            None => open.push(name),
        }
    }
    if !open.is_empty() {
        value["open"] = open.into();
    }
    if let Some(at) = row.lo.as_ref().or(row.hi.as_ref()) {
        value["at"] = number::keyword(at).into();
    }
    if let Some(place) = place(row) {
        value["place"] = json!([place.longitude, place.latitude]);
    }
    value
}

/// Of a position, the latitude stands in `lo` and the longitude in `hi`. The rows do not tell it from a number without a unit, of which there are few:
/// these have a place that nobody asks for, as a search names the parameter too.
fn place(row: &QuantityRow) -> Option<Point> {
    if row.marker != 0 || !row.units.is_empty() {
        return None;
    }
    let degrees = |number: &Option<String>| number.as_ref()?.parse::<f64>().ok();
    Point::new(degrees(&row.lo)?, degrees(&row.hi)?)
}

fn string(row: &StringRow) -> Value {
    let key = ParameterKey(row.key);
    let bits = (0..15).map(|bit| row.parts & 1 << bit);
    let parts = bits.filter(|parts| *parts != 0);
    let mut keys = vec![string_keyword(StringRows::all(key))];
    keys.extend(parts.map(|parts| string_keyword(StringRows { key, parts })));
    let mut value = json!({"key": keys, "value": row.value.as_str()});
    if row.value.chars().count() >= STRING_MAX {
        value["cut"] = true.into();
    }
    value
}

/// Tells whether the index has what Postgres has, without reading it back.
fn digest(document: &Value) -> i64 {
    let hash = Sha256::digest(document.to_string());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}

/// The rows of those of `pks` that have a row in `resource`, in one statement: of one moment. `types` by their numbers.
///
/// # Errors
/// Database errors.
pub(crate) async fn read(
    connection: &mut PgConnection,
    types: &[String],
    pks: &[i64],
) -> Result<Vec<IndexRows>, Error> {
    let mut all = Vec::with_capacity(pks.len());
    each(connection, types, pks, |rows| all.push(rows)).await?;
    Ok(all)
}

/// The same, one after the other: with their texts, many are large.
///
/// # Errors
/// Database errors.
pub(crate) async fn each(
    connection: &mut PgConnection,
    types: &[String],
    pks: &[i64],
    mut visit: impl FnMut(IndexRows) + Send,
) -> Result<(), Error> {
    let mut rows = sqlx::query(READ).bind(pks).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        visit(rows_of(&row, types)?);
    }
    Ok(())
}

/// The order of what is put together is that of the rows, the same in every column of a subselect.
const READ: &str = "SELECT r.pk, r.type, r.version, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next, \
     r.xmin::text::bigint AS r_written, e.xmin::text::bigint AS e_written, e.pk IS NOT NULL AS found, \
     r.id, coalesce(r.source, r.content::text) AS body, (extract(epoch FROM e.last_updated) * 1000000)::bigint AS updated, e.tokens, e.refs, \
     d.key AS d_key, d.marker AS d_marker, d.lo AS d_lo, d.hi AS d_hi, \
     q.key AS q_key, q.marker AS q_marker, q.units AS q_units, q.lo AS q_lo, q.hi AS q_hi, s.key AS s_key, s.value AS s_value, s.parts AS s_parts \
     FROM unnest($1::bigint[]) AS n(pk) JOIN resource r ON r.pk = n.pk LEFT JOIN entry e ON e.pk = n.pk \
     CROSS JOIN LATERAL (SELECT array_agg(v.key) AS key, array_agg(v.marker) AS marker, array_agg(v.lo) AS lo, array_agg(v.hi) AS hi \
       FROM sp_date v WHERE v.pk = n.pk) d \
     CROSS JOIN LATERAL (SELECT array_agg(v.key) AS key, array_agg(v.marker) AS marker, array_agg(v.units::text) AS units, \
       array_agg(v.lo::text) AS lo, array_agg(v.hi::text) AS hi FROM sp_quantity v WHERE v.pk = n.pk) q \
     CROSS JOIN LATERAL (SELECT array_agg(v.key) AS key, array_agg(v.value) AS value, array_agg(v.parts) AS parts FROM sp_string v WHERE v.pk = n.pk) s";

fn rows_of(row: &sqlx::postgres::PgRow, types: &[String]) -> Result<IndexRows, sqlx::Error> {
    let found: bool = row.try_get("found")?;
    let next: i64 = row.try_get("next")?;
    let resource = whole(row.try_get("r_written")?, next);
    let entry: Option<i64> = row.try_get("e_written")?;
    let type_number: i16 = row.try_get("type")?;
    let name = usize::try_from(type_number)
        .ok()
        .and_then(|at| types.get(at));
    let name = name.map(String::as_str).unwrap_or_default();
    Ok(IndexRows {
        pk: row.try_get("pk")?,
        type_number,
        version: row.try_get("version")?,
        written: entry.map_or(resource, |entry| whole(entry, next).max(resource)),
        entry: match found {
            true => Some(entry_of(row, name)?),
            false => None,
        },
    })
}

/// The number of a transaction of which the row has the lower 32 bits; all that are seen come before `next`.
fn whole(lower: i64, next: i64) -> i64 {
    const ROUND: i64 = 1 << 32;
    let number = next - next % ROUND + lower;
    match number >= next && number >= ROUND {
        true => number - ROUND,
        false => number,
    }
}

fn entry_of(row: &sqlx::postgres::PgRow, type_name: &str) -> Result<Entry, sqlx::Error> {
    let body: Option<String> = row.try_get("body")?;
    // What cannot be read, a search by words does not find either.
    let body = body.and_then(|body| serde_json::from_str(&whole_body(type_name, &body)).ok());
    let mut entry = Entry {
        id: row.try_get("id")?,
        updated: row.try_get("updated")?,
        tokens: row.try_get("tokens")?,
        references: row.try_get("refs")?,
        words: body.as_ref().map(TextRows::of).unwrap_or_default(),
        ..Entry::default()
    };
    let (markers, los, his) = (
        list::<i64>(row, "d_marker")?,
        list::<i64>(row, "d_lo")?,
        list::<i64>(row, "d_hi")?,
    );
    for (at, key) in list::<i16>(row, "d_key")?.into_iter().enumerate() {
        entry.dates.push(DateRow {
            key,
            marker: markers[at],
            lo: los[at],
            hi: his[at],
        });
    }
    let (markers, units) = (
        list::<i64>(row, "q_marker")?,
        list::<String>(row, "q_units")?,
    );
    let mut los = list::<Option<String>>(row, "q_lo")?;
    let mut his = list::<Option<String>>(row, "q_hi")?;
    for (at, key) in list::<i16>(row, "q_key")?.into_iter().enumerate() {
        entry.quantities.push(QuantityRow {
            key,
            marker: markers[at],
            units: numbers(&units[at]),
            lo: los[at].take(),
            hi: his[at].take(),
        });
    }
    let values = list::<String>(row, "s_value")?.into_iter();
    let values = values.zip(list::<i16>(row, "s_parts")?);
    let strings = list::<i16>(row, "s_key")?.into_iter().zip(values);
    entry.strings = strings
        .map(|(key, (value, parts))| StringRow { key, value, parts })
        .collect();
    // The tables have no order, a document has one.
    entry.dates.sort_unstable();
    entry.quantities.sort_unstable();
    entry.strings.sort_unstable();
    Ok(entry)
}

/// `null` where there is no row.
fn list<T>(row: &sqlx::postgres::PgRow, column: &str) -> Result<Vec<T>, sqlx::Error>
where
    Vec<T>: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    Ok(row
        .try_get::<Option<Vec<T>>, _>(column)?
        .unwrap_or_default())
}

/// Of an array literal.
fn numbers(literal: &str) -> Vec<i64> {
    let inner = literal.trim_matches(['{', '}']).split(',');
    inner.filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Target, VersionMatch, testing};
    use fhir_model::ResourceKey;

    fn rows() -> IndexRows {
        IndexRows {
            pk: 5,
            type_number: 7,
            version: 2,
            written: 99,
            entry: Some(Entry {
                id: "a".into(),
                updated: 1_000,
                tokens: vec![-1, 1],
                references: vec![(3 << 40) | 9],
                dates: vec![DateRow {
                    key: 4,
                    marker: 0,
                    lo: i64::MIN,
                    hi: 8,
                }],
                quantities: vec![QuantityRow {
                    key: 6,
                    marker: 255,
                    units: vec![2],
                    lo: None,
                    hi: Some("1.50".into()),
                }],
                strings: vec![StringRow {
                    key: 8,
                    value: "x".repeat(STRING_MAX),
                    parts: 5,
                }],
                words: TextRows {
                    narrative: vec!["liver again".into()],
                    content: vec!["condition".into(), "liver again".into()],
                },
            }),
        }
    }

    #[test]
    fn holds_what_the_rows_hold() {
        let document = of(&rows());
        for (pointer, expect) in [
            ("/pk", json!(5)),
            ("/type", json!("7")),
            ("/version", json!(2)),
            ("/written", json!(99)),
            ("/updated", json!(1_000)),
            ("/tokens", json!(["ffffffffffffffff", "0000000000000001"])),
            ("/refs", json!(["0000030000000009"])),
            ("/dates/0/key", json!("4")),
            ("/dates/0/lo", json!(i64::MIN + 1)),
            ("/quantities/0/key", json!("6.ff")),
            ("/quantities/0/open", json!(["lo"])),
            ("/quantities/0/hi", json!("220000115")),
            ("/quantities/0/at", json!("220000115")),
            ("/strings/0/cut", json!(true)),
            ("/narrative", json!(["liver again"])),
            ("/content", json!(["condition", "liver again"])),
        ] {
            assert_eq!(document.pointer(pointer), Some(&expect), "{pointer}");
        }
        assert!(document["quantities"][0].get("lo").is_none());
        assert!(document["quantities"][0].get("place").is_none());
        assert_eq!(reference_target("0000030000000009"), Some(9));
        assert!("0000030000000009".starts_with(&reference_prefix(3)));
    }

    /// Off the globe there is none, and of what has a unit or belongs to a composite neither.
    #[test]
    fn positions_have_a_place() {
        let row = |marker, units: &[i64], lo: &str, hi: &str| QuantityRow {
            key: 6,
            marker,
            units: units.to_vec(),
            lo: Some(lo.into()),
            hi: Some(hi.into()),
        };
        for (row, expect) in [
            (row(0, &[], "-16.50", "180"), json!([180.0, -16.5])),
            (row(0, &[], "90.01", "1"), Value::Null),
            (row(0, &[2], "1", "1"), Value::Null),
            (row(255, &[], "1", "1"), Value::Null),
        ] {
            assert_eq!(quantity(&row)["place"], expect, "{row:?}");
        }
    }

    #[test]
    fn transactions_are_numbered_on() {
        const ROUND: i64 = 1 << 32;
        for (lower, next, expect) in [
            (700, 701, 700),
            (5, ROUND + 6, ROUND + 5),
            (7, ROUND + 6, 7),
            (ROUND - 1, ROUND + 6, ROUND - 1),
            (ROUND - 1, 3 * ROUND, 3 * ROUND - 1),
            (2, 700, 2),
        ] {
            assert_eq!(whole(lower, next), expect, "{lower} before {next}");
        }
    }

    /// Who wrote it is no part of what it holds.
    #[test]
    fn the_digest_tells_what_it_holds() {
        let first = of(&rows());
        let later = of(&IndexRows {
            written: 100,
            ..rows()
        });
        assert_eq!(first["digest"], later["digest"]);
        let mut other = rows();
        if let Some(entry) = &mut other.entry {
            entry.strings.clear();
        }
        assert_ne!(first["digest"], of(&other)["digest"]);
        let gone = of(&IndexRows {
            entry: None,
            ..rows()
        });
        assert_eq!(gone["deleted"], json!(true));
        assert!(gone.get("tokens").is_none());
    }

    #[tokio::test]
    async fn reads_what_is_there_and_what_was() {
        let store = testing::store().await;
        let resource = json!({
            "resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "Pulse"},
            "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2024-05-01",
            "valueQuantity": {"value": 71.5, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}
        });
        let key = ResourceKey::new("Observation", "o");
        let write = Change::Update {
            target: Target::Id(key.clone()),
            resource,
            full_url: None,
            version: VersionMatch::Any,
            may_create: true,
        };
        store.commit(vec![write]).await.unwrap();
        let mut connection = store.inner.write_pool.acquire().await.unwrap();
        let pks: Vec<i64> = sqlx::query_scalar("SELECT pk FROM resource ORDER BY pk")
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let definitions = store.definitions();
        let types = definitions.resource_types();
        let rows = read(&mut connection, types, &pks).await.unwrap();
        assert_eq!(rows.len(), 2);
        let (observation, target): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.entry.is_some());
        let entry = observation[0].entry.clone().unwrap();
        let committed: i64 = sqlx::query_scalar("SELECT txid::text::bigint FROM outbox")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(observation[0].written, committed);
        assert_eq!((entry.id.as_str(), target[0].version), ("o", 0));
        let content = entry.words.content.join("|");
        assert!(
            content.starts_with("observation|o|") && content.contains("|pulse|"),
            "{content}"
        );
        let document = of(&observation[0]);
        let refs = document["refs"].as_array().unwrap();
        let targets = refs.iter().filter_map(|r| reference_target(r.as_str()?));
        assert!(targets.into_iter().all(|pk| pk == target[0].pk));
        assert!(
            !refs.is_empty()
                && !entry.dates.is_empty()
                && entry
                    .quantities
                    .iter()
                    .any(|row| row.lo.as_deref() == Some("71.5"))
        );
        store
            .commit(vec![Change::Delete {
                target: Target::Id(key),
                version: VersionMatch::Any,
                at_most: 1,
            }])
            .await
            .unwrap();
        let rows = read(&mut connection, types, &pks).await.unwrap();
        assert!(rows.iter().all(|row| row.entry.is_none()));
    }
}
