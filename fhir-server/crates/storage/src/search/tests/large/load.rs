//! 250,000 resources, and what is known of them. Patient 0 and every second one has observations.

use crate::search::tests::corpus::parameter;
use crate::{Store, testing};
use fhir_definitions::SearchParameter;
use fhir_search::query::TokenMatch;
use fhir_search::token::STORED;

pub const PATIENTS: i64 = 40_000;
pub const OBSERVATIONS: i64 = 210_000;
const CODES: i64 = 200;
/// The oldest observations were entered in error.
pub const IN_ERROR: i64 = 20_000;
pub const MINUTE: i64 = 60_000_000;

/// The numbers of the observations that it holds for, the newest first.
pub fn newest(holds: impl Fn(i64) -> bool) -> Vec<i64> {
    (1..=OBSERVATIONS).rev().filter(|i| holds(*i)).collect()
}

/// Skewed: half of them have the first fifty of the codes.
pub fn code_of(observation: i64) -> i64 {
    if is_rare(observation) {
        return -1;
    }
    let spread = (observation * 7_919) % 10_007;
    spread * spread / 10_007 * CODES / 10_007
}

pub fn is_rare(observation: i64) -> bool {
    observation % 20_000 == 77
}

pub fn patient_of(observation: i64) -> i64 {
    (observation * 6_007) % (PATIENTS / 2) * 2
}

pub async fn loaded() -> Store {
    let definitions = testing::store().await.definitions();
    let settings = crate::StoreSettings {
        search_connections: 1,
        ..testing::settings(testing::empty_database().await)
    };
    let store = Store::open(settings, definitions).await.unwrap();
    let p = |code: &str| parameter(&store, "Observation", code);
    let (gender, family, identifier) = (
        parameter(&store, "Patient", "gender"),
        parameter(&store, "Patient", "family"),
        parameter(&store, "Patient", "identifier"),
    );
    let number = |name: &str| store.definitions().type_number(name).unwrap();
    let hash = |parameter: &SearchParameter, code: &str| {
        STORED.token(parameter.key, &TokenMatch::Code(code.into()))
    };
    let pool = &store.inner.write_pool;
    let bodies = "jsonb_build_object('id', i::text, 'text', repeat('x', 900))";
    let sql = format!(
        "INSERT INTO resource (pk, type, version, last_updated, id, content) \
         SELECT i + 1, $1, 1, 'epoch'::timestamptz + i * interval '1 second', i::text, {bodies} FROM generate_series(0, {PATIENTS} - 1) i"
    );
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number("Patient")),
        pool,
    )
    .await;
    // Gender: four of 10,000 each; only even patients, male and female, have observations.
    let genders: Vec<i64> = ["male", "other", "female", "unknown"]
        .map(|code| hash(&gender, code))
        .to_vec();
    let sql = format!(
        "INSERT INTO entry SELECT i + 1, 'epoch'::timestamptz + i * interval '1 second', $1, ARRAY[$2, $3[1 + i % 4], $4, ($5::bigint[])[i + 1]], '{{}}' \
         FROM generate_series(0, {PATIENTS} - 1) i"
    );
    let identifiers: Vec<i64> = (0..PATIENTS)
        .map(|i| hash(&identifier, &format!("mrn-{i}")))
        .collect();
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number("Patient"))
            .bind(STORED.present(gender.key))
            .bind(genders)
            .bind(STORED.present(family.key))
            .bind(identifiers),
        pool,
    )
    .await;
    let strings = family.own_string_rows();
    let sql = format!(
        "INSERT INTO sp_string SELECT i + 1, $1, 'family-' || lpad((i % 1000)::text, 3, '0'), $2 FROM generate_series(0, {PATIENTS} - 1) i"
    );
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(strings.key.0)
            .bind(strings.parts),
        pool,
    )
    .await;

    let sql = format!(
        "INSERT INTO resource (pk, type, version, last_updated, id, content) \
         SELECT {PATIENTS} + i, $1, 1, 'epoch'::timestamptz + i * interval '1 minute', i::text, {bodies} FROM generate_series(1, {OBSERVATIONS}) i"
    );
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number("Observation")),
        pool,
    )
    .await;
    let code = p("code");
    let numbers: Vec<i64> = (1..=OBSERVATIONS).collect();
    let codes: Vec<i64> = numbers
        .iter()
        .map(|i| match is_rare(*i) {
            true => hash(&code, "rare"),
            false => hash(&code, &format!("c{}", code_of(*i))),
        })
        .collect();
    let patients: Vec<i64> = numbers.iter().map(|i| patient_of(*i) + 1).collect();
    let sql = format!(
        "INSERT INTO entry SELECT {PATIENTS} + n.i, 'epoch'::timestamptz + n.i * interval '1 minute', $1, \
         ARRAY[n.code, $2, $3, $4, CASE WHEN n.i <= {IN_ERROR} THEN $5 ELSE $6 END] || CASE WHEN n.i % 5 = 0 THEN ARRAY[]::bigint[] ELSE ARRAY[$7] END, \
         ARRAY[($8 << 40) | n.patient, ($9 << 40) | n.patient] \
         FROM unnest($10::bigint[], $11::bigint[], $12::bigint[]) AS n(i, code, patient)"
    );
    let status = p("status");
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number("Observation"))
            .bind(STORED.present(code.key))
            .bind(STORED.present(p("date").key))
            .bind(STORED.present(status.key))
            .bind(hash(&status, "entered-in-error"))
            .bind(hash(&status, "final"))
            .bind(STORED.present(p("value-quantity").key))
            .bind(i64::from(p("patient").key.0))
            .bind(i64::from(p("subject").key.0))
            .bind(&numbers)
            .bind(codes)
            .bind(patients),
        pool,
    )
    .await;
    let sql = format!(
        "INSERT INTO sp_date (pk, key, lo, hi) SELECT {PATIENTS} + i, $1, i::bigint * {MINUTE}, i::bigint * {MINUTE} + 1000000 FROM generate_series(1, {OBSERVATIONS}) i"
    );
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(p("date").key.0),
        pool,
    )
    .await;
    let sql = format!(
        "INSERT INTO sp_quantity (pk, key, units, lo, hi) SELECT {PATIENTS} + i, $1, '{{}}', i % 1000, i % 1000 FROM generate_series(1, {OBSERVATIONS}) i WHERE i % 5 <> 0"
    );
    execute(
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(p("value-quantity").key.0),
        pool,
    )
    .await;
    sqlx::raw_sql("VACUUM ANALYZE").execute(pool).await.unwrap();
    store.inner.statistics.expire();
    store
}

async fn execute(
    query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    pool: &sqlx::PgPool,
) {
    query.execute(pool).await.unwrap();
}
