//! The statements that write: one per commit, set-based, whatever the number of resources. Updates touch only index rows that differ.

use super::EPOCH_LOCK;
use fhir_model::Decimal;
use fhir_search::SearchDocument;
use fhir_search::vocabulary::Entry;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use std::borrow::Cow;

/// A new version of a resource.
pub(super) struct Write<'d> {
    pub pk: i64,
    pub type_number: i16,
    pub id: String,
    pub version: i32,
    pub last_updated_ms: i64,
    /// The text without resourceType; `None`: a deletion.
    pub text: Option<String>,
    /// What of a Binary stands beside the text.
    pub data: Option<Vec<u8>>,
    /// Whether the text must be kept beside the JSONB.
    pub keep_text: bool,
    /// As [`crate::change::Method::code`].
    pub method: Option<i8>,
    /// Whether `resource` has a row with this key already, and whether that row is a version (not only referenced).
    pub before: Before,
    /// What it is found by; `None` for a deletion.
    pub index: Option<Index<'d>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    Absent,
    Version,
}

/// Index rows of one resource.
pub(super) struct Index<'d> {
    pub document: Cow<'d, SearchDocument>,
    /// parameter << 40 | target pk, sorted.
    pub references: Vec<i64>,
}

/// Values that must be in the vocabulary before these are committed.
pub(super) fn vocabulary<'w>(writes: &'w [Write<'_>]) -> Vec<&'w Entry> {
    let documents = writes.iter().filter_map(|write| write.index.as_ref());
    let entries = documents.flat_map(|index| &index.document.vocabulary);
    entries.collect()
}

/// Writes all of it: `resource`, history, index rows, outbox.
pub(super) async fn apply(
    connection: &mut PgConnection,
    mut writes: Vec<Write<'_>>,
) -> Result<(), sqlx::Error> {
    let contents = Contents::of(&mut writes);
    let creates_only = writes.iter().all(|write| write.before == Before::Nothing);
    let mut rows = Rows::of(writes);
    let has_contents = !contents.pk.is_empty();
    let statement = match (has_contents, creates_only) {
        (false, true) => CREATE,
        (true, true) => CREATE_WITH_CONTENTS,
        (false, false) => CHANGE,
        (true, false) => CHANGE_WITH_CONTENTS,
    };
    let mut query = rows.bind(statement);
    if !creates_only {
        query = query
            .bind(rows.fresh)
            .bind(rows.replaced)
            .bind(rows.deleted);
    }
    if has_contents {
        query = query
            .bind(contents.pk)
            .bind(contents.version)
            .bind(contents.data);
    }
    query.execute(connection).await.map(drop)
}

/// Commits new resources in one statement, which must stand outside of any transaction. Their texts name a time at byte `instant_at`, in
/// whose place the database's is put; gives that, in milliseconds. `epoch` is that of the definitions they are indexed by: where it is
/// another one now, the statement fails as a serialization failure does.
pub(super) async fn commit_new(
    connection: &mut PgConnection,
    locks: &[i64],
    epoch: i64,
    instant_at: usize,
    writes: Vec<Write<'_>>,
) -> Result<i64, sqlx::Error> {
    let query = Rows::of(writes)
        .bind(COMMIT_NEW)
        .bind(EPOCH_LOCK)
        .bind(locks)
        .bind(epoch)
        .bind(instant_at as i32 + 1);
    // To its end: the row comes before the commit, and only what follows it says that this is done.
    let rows = query.fetch_all(connection).await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// Writes index rows only, of resources that are there.
pub(super) async fn index(
    connection: &mut PgConnection,
    resources: Vec<(i64, i16, i64, Index<'_>)>,
) -> Result<(), sqlx::Error> {
    let replaced: Vec<i64> = resources.iter().map(|resource| resource.0).collect();
    let mut entries = Entries::default();
    for (pk, type_number, last_updated_ms, index) in resources {
        entries.add(pk, type_number, last_updated_ms, &index);
    }
    let query = entries.bind(sqlx::query(INDEX));
    query.bind(replaced).execute(connection).await.map(drop)
}

/// What of Binaries stands beside their texts, as columns.
#[derive(Default)]
struct Contents {
    pk: Vec<i64>,
    version: Vec<i32>,
    data: Vec<Vec<u8>>,
}

impl Contents {
    fn of(writes: &mut [Write<'_>]) -> Contents {
        let mut contents = Contents::default();
        for write in writes {
            if let Some(data) = write.data.take() {
                contents.pk.push(write.pk);
                contents.version.push(write.version);
                contents.data.push(data);
            }
        }
        contents
    }
}

/// $23 to $33: the versions as columns.
#[derive(Default)]
struct Rows {
    entries: Entries,
    pk: Vec<i64>,
    type_number: Vec<i16>,
    id: Vec<String>,
    version: Vec<i32>,
    last_updated_ms: Vec<i64>,
    text: Vec<Option<String>>,
    keep_text: Vec<bool>,
    method: Vec<Option<i8>>,
    fresh: Vec<bool>,
    /// Had a version before: that one goes to history, its index rows are compared.
    replaced: Vec<i64>,
    deleted: Vec<i64>,
}

impl Rows {
    /// In the order in which rows are locked.
    fn of(mut writes: Vec<Write<'_>>) -> Rows {
        writes.sort_by(|a, b| (a.type_number, &a.id).cmp(&(b.type_number, &b.id)));
        let mut rows = Rows::default();
        writes.into_iter().for_each(|write| rows.add(write));
        rows
    }

    /// $1 to $30.
    fn bind<'q>(&mut self, statement: &'static str) -> Query<'q, Postgres, PgArguments> {
        use std::mem::take;
        self.entries
            .bind(sqlx::query(statement))
            .bind(take(&mut self.pk))
            .bind(take(&mut self.type_number))
            .bind(take(&mut self.id))
            .bind(take(&mut self.version))
            .bind(take(&mut self.last_updated_ms))
            .bind(take(&mut self.text))
            .bind(take(&mut self.keep_text))
            .bind(take(&mut self.method))
    }

    fn add(&mut self, write: Write<'_>) {
        self.pk.push(write.pk);
        self.type_number.push(write.type_number);
        self.id.push(write.id);
        self.version.push(write.version);
        self.last_updated_ms.push(write.last_updated_ms);
        self.text.push(write.text);
        self.keep_text.push(write.keep_text);
        self.method.push(write.method);
        self.fresh.push(write.before == Before::Nothing);
        if write.before == Before::Version {
            self.replaced.push(write.pk);
        }
        match write.index {
            Some(index) => {
                let (number, ms) = (write.type_number, write.last_updated_ms);
                self.entries.add(write.pk, number, ms, &index);
            }
            None => self.deleted.push(write.pk),
        }
    }
}

/// $1 to $22: the index rows as columns. Arrays of all entries lie behind each other, each entry knows its slice.
#[derive(Default)]
struct Entries {
    pk: Vec<i64>,
    type_number: Vec<i16>,
    last_updated_ms: Vec<i64>,
    tokens: Vec<i64>,
    tokens_end: Vec<i32>,
    references: Vec<i64>,
    references_end: Vec<i32>,
    date_pk: Vec<i64>,
    date_key: Vec<i16>,
    date_marker: Vec<i64>,
    date_lo: Vec<i64>,
    date_hi: Vec<i64>,
    quantity_pk: Vec<i64>,
    quantity_key: Vec<i16>,
    quantity_marker: Vec<i64>,
    /// Array literals.
    quantity_units: Vec<String>,
    quantity_lo: Vec<Option<String>>,
    quantity_hi: Vec<Option<String>>,
    string_pk: Vec<i64>,
    string_key: Vec<i16>,
    string_value: Vec<String>,
    string_parts: Vec<i16>,
}

impl Entries {
    fn add(&mut self, pk: i64, type_number: i16, last_updated_ms: i64, index: &Index<'_>) {
        let document = &index.document;
        self.pk.push(pk);
        self.type_number.push(type_number);
        self.last_updated_ms.push(last_updated_ms);
        self.tokens.extend(&document.tokens);
        self.tokens_end.push(self.tokens.len() as i32);
        self.references.extend(&index.references);
        self.references_end.push(self.references.len() as i32);
        for date in &document.dates {
            self.date_pk.push(pk);
            self.date_key.push(date.key.0);
            self.date_marker.push(date.marker);
            self.date_lo.push(date.lo);
            self.date_hi.push(date.hi);
        }
        for quantity in &document.quantities {
            self.quantity_pk.push(pk);
            self.quantity_key.push(quantity.key.0);
            self.quantity_marker.push(quantity.marker);
            self.quantity_units.push(array_literal(&quantity.units));
            self.quantity_lo
                .push(quantity.lo.as_ref().map(Decimal::to_plain));
            self.quantity_hi
                .push(quantity.hi.as_ref().map(Decimal::to_plain));
        }
        for string in &document.strings {
            self.string_pk.push(pk);
            self.string_key.push(string.key.0);
            self.string_value.push(string.value.clone());
            self.string_parts.push(string.parts);
        }
    }

    fn bind<'q>(
        &mut self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        let it = std::mem::take(self);
        query
            .bind(it.pk)
            .bind(it.type_number)
            .bind(it.last_updated_ms)
            .bind(it.tokens)
            .bind(it.tokens_end)
            .bind(it.references)
            .bind(it.references_end)
            .bind(it.date_pk)
            .bind(it.date_key)
            .bind(it.date_marker)
            .bind(it.date_lo)
            .bind(it.date_hi)
            .bind(it.quantity_pk)
            .bind(it.quantity_key)
            .bind(it.quantity_marker)
            .bind(it.quantity_units)
            .bind(it.quantity_lo)
            .bind(it.quantity_hi)
            .bind(it.string_pk)
            .bind(it.string_key)
            .bind(it.string_value)
            .bind(it.string_parts)
    }
}

/// Postgres has no arrays of arrays of different lengths: what would be one travels as text.
fn array_literal(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

/// Exact where a double of seconds would not be.
macro_rules! timestamp {
    ($ms:literal) => {
        concat!(
            "'epoch'::timestamptz + ",
            $ms,
            " * interval '1 millisecond'"
        )
    };
}

/// One row for each element of the arrays, `i` its place. Each array that is unnested is copied into a store of its own, which takes longer than the rest
/// of a small commit: only one is, and those whose elements have no fixed width or may be null; from the others the element is taken by its place.
macro_rules! each {
    ($arrays:literal, $columns:literal) => {
        concat!(
            "(SELECT ",
            $columns,
            ", place::int AS i FROM unnest(",
            $arrays,
            ") WITH ORDINALITY AS u(",
            $columns,
            ", place)) n"
        )
    };
}

/// The index rows of the commit, as relations: n_entry, n_date, n_quantity, n_string.
macro_rules! new_rows {
    () => {
        new_rows!(timestamp!("($3::bigint[])[i]"), "")
    };
    ($last_updated:expr, $more_relations:literal) => {
        concat!(
            "n_entry AS (SELECT pk, ", $last_updated, " AS last_updated, ($2::smallint[])[i] AS type, ",
            "($4::bigint[])[coalesce(($5::int[])[i - 1], 0) + 1 : ($5::int[])[i]] AS tokens, ",
            "($6::bigint[])[coalesce(($7::int[])[i - 1], 0) + 1 : ($7::int[])[i]] AS refs ",
            "FROM ", each!("$1::bigint[]", "pk"), $more_relations, "), ",
            "n_date AS (SELECT pk, ($9::smallint[])[i] AS key, ($10::bigint[])[i] AS marker, ($11::bigint[])[i] AS lo, ($12::bigint[])[i] AS hi ",
            "FROM ", each!("$8::bigint[]", "pk"), "), ",
            "n_quantity AS (SELECT ($13::bigint[])[i] AS pk, ($14::smallint[])[i] AS key, ($15::bigint[])[i] AS marker, ",
            "units::bigint[], lo::numeric, hi::numeric FROM ", each!("$16::text[], $17::text[], $18::text[]", "units, lo, hi"), "), ",
            "n_string AS (SELECT ($19::bigint[])[i] AS pk, ($20::smallint[])[i] AS key, value, ($22::smallint[])[i] AS parts ",
            "FROM ", each!("$21::text[]", "value"), "), ",
        )
    };
}

/// The versions of the commit: their columns but for what depends on the time, and where they come from.
macro_rules! version {
    () => {
        "($23::bigint[])[i] AS pk, ($24::smallint[])[i] AS type, id, ($26::int[])[i] AS version, method"
    };
}
macro_rules! versions {
    () => {
        each!(
            "$25::text[], $28::text[], $30::\"char\"[]",
            "id, content, method"
        )
    };
}

/// The same as relation n.
macro_rules! new_versions {
    ($more_columns:literal) => {
        concat!(
            "n AS (SELECT ",
            version!(),
            ", ",
            timestamp!("($27::bigint[])[i]"),
            " AS last_updated, content::jsonb AS content, ",
            "CASE WHEN ($29::bool[])[i] THEN content END AS source",
            $more_columns,
            " FROM ",
            versions!(),
            "), ",
        )
    };
}

/// Index rows of replaced and deleted resources (their pks in `$replaced`) are compared, those of new ones simply inserted: what is
/// there already is left alone, what is not wanted any more is deleted. Numbers are compared with their places, which `co` goes by.
/// Every table is read by `= ANY` of the pks concerned: whatever the planner believes of the tables, it has nothing larger to read.
macro_rules! replace_rows {
    ($replaced:literal) => {
        concat!(
            "w_entry AS (INSERT INTO entry (pk, last_updated, type, tokens, refs) SELECT pk, last_updated, type, tokens, refs FROM n_entry ",
            "ON CONFLICT (pk) DO UPDATE SET last_updated = excluded.last_updated, tokens = excluded.tokens, refs = excluded.refs), ",
            "o_date AS MATERIALIZED (SELECT * FROM sp_date WHERE pk = ANY (", $replaced, "::bigint[])), ",
            "d_date AS (DELETE FROM sp_date s WHERE s.pk = ANY (", $replaced, "::bigint[]) AND NOT EXISTS (SELECT FROM n_date n ",
            "WHERE n.pk = s.pk AND n.key = s.key AND n.marker = s.marker AND n.lo = s.lo AND n.hi = s.hi)), ",
            "w_date AS (INSERT INTO sp_date (pk, key, marker, lo, hi) SELECT n.* FROM n_date n WHERE NOT EXISTS (SELECT FROM o_date s ",
            "WHERE s.pk = n.pk AND s.key = n.key AND s.marker = n.marker AND s.lo = n.lo AND s.hi = n.hi)), ",
            "o_quantity AS MATERIALIZED (SELECT * FROM sp_quantity WHERE pk = ANY (", $replaced, "::bigint[])), ",
            "d_quantity AS (DELETE FROM sp_quantity s WHERE s.pk = ANY (", $replaced, "::bigint[]) AND NOT EXISTS (SELECT FROM n_quantity n ",
            "WHERE n.pk = s.pk AND n.key = s.key AND n.marker = s.marker AND n.units = s.units AND n.lo::text IS NOT DISTINCT FROM s.lo::text AND n.hi::text IS NOT DISTINCT FROM s.hi::text)), ",
            "w_quantity AS (INSERT INTO sp_quantity (pk, key, marker, units, lo, hi) SELECT n.* FROM n_quantity n WHERE NOT EXISTS (SELECT FROM o_quantity s ",
            "WHERE s.pk = n.pk AND s.key = n.key AND s.marker = n.marker AND s.units = n.units AND s.lo::text IS NOT DISTINCT FROM n.lo::text AND s.hi::text IS NOT DISTINCT FROM n.hi::text)), ",
            "o_string AS MATERIALIZED (SELECT * FROM sp_string WHERE pk = ANY (", $replaced, "::bigint[])), ",
            "d_string AS (DELETE FROM sp_string s WHERE s.pk = ANY (", $replaced, "::bigint[]) AND NOT EXISTS (SELECT FROM n_string n ",
            "WHERE n.pk = s.pk AND n.key = s.key AND n.value = s.value AND n.parts = s.parts)), ",
            "w_string AS (INSERT INTO sp_string (pk, key, value, parts) SELECT n.* FROM n_string n WHERE NOT EXISTS (SELECT FROM o_string s ",
            "WHERE s.pk = n.pk AND s.key = n.key AND s.value = n.value AND s.parts = n.parts)) ",
        )
    };
}

/// Inserts all of the relations above.
macro_rules! insert_rows {
    () => {
        concat!(
            "w AS (INSERT INTO resource (pk, type, id, version, last_updated, content, source, method) ",
            "SELECT pk, type, id, version, last_updated, content, source, method FROM n), ",
            "w_entry AS (INSERT INTO entry (pk, last_updated, type, tokens, refs) SELECT pk, last_updated, type, tokens, refs FROM n_entry), ",
            "w_date AS (INSERT INTO sp_date (pk, key, marker, lo, hi) SELECT * FROM n_date), ",
            "w_quantity AS (INSERT INTO sp_quantity (pk, key, marker, units, lo, hi) SELECT * FROM n_quantity), ",
            "w_string AS (INSERT INTO sp_string (pk, key, value, parts) SELECT * FROM n_string) ",
        )
    };
}

/// The contents of Binaries.
macro_rules! insert_contents {
    ($arrays:literal) => {
        concat!(
            "b AS (INSERT INTO binary_data (pk, version, data) SELECT * FROM unnest(",
            $arrays,
            ")), "
        )
    };
}

/// New resources only: nothing to compare, nothing for history.
macro_rules! create {
    ($more_writes:expr) => {
        concat!(
            "WITH ",
            new_rows!(),
            new_versions!(""),
            $more_writes,
            insert_rows!(),
            "INSERT INTO outbox (pk, type, version) SELECT pk, type, version FROM n",
        )
    };
}

const CREATE: &str = create!("");

/// With Binaries among them, as of every v2 message. $31 to $33: their contents.
const CREATE_WITH_CONTENTS: &str =
    create!(insert_contents!("$31::bigint[], $32::int[], $33::bytea[]"));

/// A whole commit: locks, the clock under them, new resources. Nothing is inserted before the locks are held, as everything that could
/// wait for another commit takes its time from `g`. $31 to $33: what `write_ground` asks for; $34: where the texts name their time.
const COMMIT_NEW: &str = concat!(
    "WITH g AS MATERIALIZED (SELECT ms, last_updated, to_char(last_updated, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS instant ",
    "FROM (SELECT ms, ",
    timestamp!("ms"),
    " AS last_updated FROM write_ground($31, $32, $33) AS ms) g), ",
    new_rows!("g.last_updated", " CROSS JOIN g"),
    "n AS (SELECT ",
    version!(),
    ", g.last_updated, overlay(content PLACING g.instant FROM $34)::jsonb AS content, ",
    "CASE WHEN ($29::bool[])[i] THEN overlay(content PLACING g.instant FROM $34) END AS source FROM ",
    versions!(),
    " CROSS JOIN g), ",
    "o AS (INSERT INTO outbox (pk, type, version) SELECT pk, type, version FROM n), ",
    insert_rows!(),
    "SELECT ms FROM g",
);

/// Any mixture. $32: pks that had a version before; $33: pks of deletions.
macro_rules! change {
    ($more_writes:expr) => {
        concat!(
            "WITH ",
            new_rows!(),
            new_versions!(", ($31::bool[])[i] AS fresh"),
            "h AS (INSERT INTO resource_history (pk, type, version, last_updated, content, source, method) ",
            "SELECT pk, type, version, last_updated, content, source, method FROM resource WHERE pk = ANY ($32::bigint[])), ",
            "u AS (UPDATE resource r SET version = n.version, last_updated = n.last_updated, content = n.content, source = n.source, method = n.method ",
            "FROM n WHERE r.pk = n.pk AND r.pk = ANY ($23::bigint[]) AND NOT n.fresh), ",
            "w AS (INSERT INTO resource (pk, type, id, version, last_updated, content, source, method) ",
            "SELECT pk, type, id, version, last_updated, content, source, method FROM n WHERE fresh), ",
            "d_entry AS (DELETE FROM entry WHERE pk = ANY ($33::bigint[])), ",
            $more_writes,
            replace_rows!("$32"),
            "INSERT INTO outbox (pk, type, version) SELECT pk, type, version FROM n",
        )
    };
}

const CHANGE: &str = change!("");

/// With Binaries among them. $34 to $36: their contents.
const CHANGE_WITH_CONTENTS: &str =
    change!(insert_contents!("$34::bigint[], $35::int[], $36::bytea[]"));

/// Index rows of resources that stay as they are. $23: their pks.
const INDEX: &str = concat!("WITH ", new_rows!(), replace_rows!("$23"), "SELECT");
