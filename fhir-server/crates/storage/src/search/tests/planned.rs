//! What Postgres' planner makes of statements in a store that is larger than any test.

use crate::search::finding::tests::{date, number, strings};
use crate::search::flat::{Column, FlatQuery, Order};
use crate::search::plan::{Estimate, Plan};
use crate::search::statistics::Statistics;
use crate::search::{keys, sql};
use crate::testing;
use fhir_search::query::Prefix;
use sqlx::{AssertSqlSafe, Connection};

/// Without room for a hash, as the planner sees it, all rows of a test would be read again for each row of the walk.
#[tokio::test]
async fn a_walk_keeps_the_rows_it_knows_in_a_hash() {
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
    for (place, test) in [strings(), number(), date(Prefix::Gt, i64::MAX)]
        .into_iter()
        .enumerate()
    {
        let shape = format!("{test:?}");
        let query = FlatQuery {
            types: vec![7],
            filter: vec![test],
            order: vec![Order::new(Column::Date { key: 9, present: 0 }, false)],
            ..FlatQuery::default()
        };
        let statistics = Statistics::default();
        let estimate = Estimate {
            plan: Plan::Walk { window: 1_000 },
            known: vec![0],
            ..super::oracle::filter_led_by(Vec::new())
        };
        let walk = sql::walk(keys::selection(&query, &statistics, &estimate, 20), 1_000);
        let text = walk.sql().as_str().to_owned();
        let values = (1..).take_while(|at| text.contains(&format!("${at}")));
        let values = vec!["NULL"; values.count()].join(", ");
        let prepare = format!("PREPARE walk{place} AS {text}");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut *transaction)
            .await
            .unwrap();
        let explain = format!("EXPLAIN EXECUTE walk{place} ({values})");
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
            .fetch_all(&mut *transaction)
            .await
            .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("hashed SubPlan"), "{shape}\n{plan}");
        // By the values, not by the rows of which all are there.
        let known = plan.split("SubPlan 1\n").nth(1).unwrap();
        let scan = known.lines().next().unwrap();
        assert!(!scan.contains("_pk"), "{shape}\n{plan}");
    }
}
