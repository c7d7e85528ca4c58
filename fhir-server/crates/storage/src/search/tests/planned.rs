//! What Postgres' planner makes of statements in a store that is larger than any test.

use crate::search::finding::tests::{date, number, strings};
use crate::search::flat::{Column, FlatQuery, Order};
use crate::search::plan::{Estimate, Plan};
use crate::search::statistics::Statistics;
use crate::search::tests::oracle::filter_led_by;
use crate::search::{keys, sql};
use crate::testing;
use fhir_search::query::Prefix;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Without room for a hash, as the planner sees it, all rows of a test would be read again for each row that they are compared with.
#[tokio::test]
async fn what_is_read_once_is_kept_in_a_hash() {
    let store = testing::store().await;
    let mut connection = store.inner.lookup_pool.acquire().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    // Two thousand million rows in each table, of 25 parameters, and the memory that Postgres gives unless it is told.
    let huge = "SET LOCAL work_mem = '4MB'; \
                INSERT INTO sp_string (pk, key, value) SELECT i, i % 25, i::text FROM generate_series(1, 10000) i; \
                INSERT INTO sp_date (pk, key, lo, hi) SELECT i, i % 25, i, i + 1 FROM generate_series(1, 10000) i; \
                INSERT INTO sp_quantity (pk, key, marker, units, lo, hi) SELECT i, i % 25, i % 10, '{}', i, i FROM generate_series(1, 10000) i; \
                ANALYZE sp_string, sp_date, sp_quantity; \
                UPDATE pg_class SET reltuples = 2e9 WHERE relname LIKE 'sp\\_%' AND relkind IN ('r', 'i')";
    sqlx::raw_sql(huge)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let statistics = Statistics::default();
    let by_date = |key| vec![Order::new(Column::Date { key, present: 0 }, false)];
    for test in [strings(), number(), date(Prefix::Gt, i64::MAX)] {
        let shape = format!("{test:?}");
        let walked = FlatQuery {
            types: vec![7],
            filter: vec![test.clone()],
            order: by_date(9),
            ..FlatQuery::default()
        };
        let knowing = Estimate {
            plan: Plan::Walk { window: 1_000 },
            known: vec![0],
            ..filter_led_by(Vec::new())
        };
        let walk = sql::walk(keys::selection(&walked, &statistics, &knowing, 20), 1_000);
        // Led by the test and by the date that is sorted by.
        let filtered = FlatQuery {
            filter: vec![test, date(Prefix::Eq, 10)],
            order: by_date(1),
            ..walked.clone()
        };
        let led = filter_led_by(vec![0, 1]);
        let filter = sql::filter_then_sort(keys::selection(&filtered, &statistics, &led, 20));
        for statement in [walk, filter] {
            let plan = planned(&mut transaction, statement.sql().as_str()).await;
            assert!(plan.contains("hashed SubPlan"), "{shape}\n{plan}");
            // By the values, not by the rows of which all are there.
            let read = plan.split("SubPlan 1\n").nth(1).unwrap();
            let scan = read.lines().next().unwrap();
            assert!(!scan.contains("_pk"), "{shape}\n{plan}");
        }
    }
}

/// The plan of a statement for all values.
async fn planned(connection: &mut PgConnection, statement: &str) -> String {
    let values = (1..).take_while(|at| statement.contains(&format!("${at}")));
    let values = vec!["NULL"; values.count()].join(", ");
    let prepare = format!("DEALLOCATE ALL; PREPARE it AS {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *connection)
        .await
        .unwrap();
    let explain = format!("EXPLAIN EXECUTE it ({values})");
    let explain = sqlx::query_scalar(AssertSqlSafe(explain)).persistent(false);
    let lines: Vec<String> = explain.fetch_all(connection).await.unwrap();
    lines.join("\n")
}
