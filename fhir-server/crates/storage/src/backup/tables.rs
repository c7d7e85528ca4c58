//! The tables of the store as streams of text rows (COPY), out of one snapshot and into an empty store.
//!
//! Text, because every later PostgreSQL reads it. Indexes are made after the rows, which takes a fraction of the time.

use crate::error::Error;
use crate::store;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgCopyIn};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Transaction};

/// Every table of the migrations but `job`, because a job that was restored would be done a second time, and those of the search index, which is
/// another one after a restore. A database may hold the tables of others too.
pub(crate) const TABLES: [&str; 12] = [
    "site",
    "resource",
    "resource_history",
    "binary_data",
    "outbox",
    "entry",
    "sp_date",
    "sp_quantity",
    "sp_string",
    "vocabulary",
    "own_parameter",
    "reindex",
];

/// Told apart from the server's own connections.
const APPLICATION: &str = "fhir-server-copy";

/// One table, its columns in their order, and how many rows the snapshot has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: String,
    pub(crate) rows: u64,
}

/// What a snapshot holds.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    /// The last migration that was applied.
    pub(crate) migration: i64,
    /// Of the definitions that the index rows were made by.
    pub(crate) fingerprint: i64,
    pub(crate) tables: Vec<Table>,
    /// The last value of each sequence that gave one; deleted rows keep their numbers.
    pub(crate) sequences: Vec<(String, i64)>,
}

pub(crate) async fn connect(url: &str) -> Result<PgConnection, Error> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|_| Error::Start("the database URL is not a postgres:// URL".into()))?;
    let options = options.application_name(APPLICATION).options([
        ("timezone", "UTC"),
        ("datestyle", "ISO"),
        ("statement_timeout", "0"),
        ("lock_timeout", "10s"),
    ]);
    Ok(PgConnection::connect_with(&options).await?)
}

/// A transaction that sees one state, whatever is written meanwhile.
pub(crate) async fn snapshot(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, Error> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    Ok(connection.begin_with(begin).await?)
}

/// The rows that went in must be those that were promised.
pub(crate) fn count(table: &Table, rows: u64) -> Result<(), Error> {
    if rows == table.rows {
        return Ok(());
    }
    let (name, expected) = (table.name, table.rows);
    Err(Error::Backup(format!(
        "{name}: {rows} rows instead of {expected}"
    )))
}

impl Table {
    pub(crate) fn copy_out(&self) -> String {
        format!("COPY {} ({}) TO STDOUT", self.name, self.columns)
    }

    pub(crate) fn copy_in(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.name, self.columns)
    }
}

impl Contents {
    /// # Errors
    /// [`Error::Backup`] where there is no store; database errors.
    pub(crate) async fn of(connection: &mut PgConnection) -> Result<Contents, Error> {
        let Some(migration) = migration(connection).await? else {
            return Err(Error::Backup("the database holds no store".into()));
        };
        let tables = tables(connection).await?;
        let fingerprint: Option<i64> = sqlx::query_scalar("SELECT fingerprint FROM site")
            .fetch_optional(&mut *connection)
            .await?;
        let sequences = sqlx::query_as(
            "SELECT sequencename::text, last_value FROM pg_sequences \
             JOIN pg_depend d ON d.objid = (quote_ident(schemaname) || '.' || quote_ident(sequencename))::regclass AND d.deptype = 'i' \
             WHERE d.refobjid = ANY (SELECT to_regclass(name) FROM unnest($1::text[]) name) AND last_value IS NOT NULL \
             ORDER BY 1",
        )
        .bind(&TABLES[..])
        .fetch_all(&mut *connection)
        .await?;
        Ok(Contents {
            migration,
            fingerprint: fingerprint.unwrap_or(0),
            tables,
            sequences,
        })
    }

    /// Rows of all tables.
    pub(crate) fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    pub(crate) fn to_json(&self) -> Value {
        let tables: Vec<Value> = self
            .tables
            .iter()
            .map(|table| json!([table.name, table.columns, table.rows]))
            .collect();
        json!({
            "migration": self.migration, "fingerprint": self.fingerprint,
            "tables": tables, "sequences": self.sequences,
        })
    }

    /// `None` for what [`Contents::to_json`] did not make.
    pub(crate) fn from_json(value: &Value) -> Option<Contents> {
        let tables = value["tables"].as_array()?.iter().map(|table| {
            Some(Table {
                name: TABLES.into_iter().find(|name| table[0] == *name)?,
                columns: table[1].as_str()?.to_owned(),
                rows: table[2].as_u64()?,
            })
        });
        let sequences = value["sequences"].as_array()?.iter();
        Some(Contents {
            migration: value["migration"].as_i64()?,
            fingerprint: value["fingerprint"].as_i64()?,
            tables: tables.collect::<Option<_>>()?,
            sequences: sequences
                .map(|sequence| Some((sequence[0].as_str()?.to_owned(), sequence[1].as_i64()?)))
                .collect::<Option<_>>()?,
        })
    }
}

/// An empty store while it is filled: one transaction, which ends with [`Filling::finish`] or leaves nothing.
pub(crate) struct Filling {
    connection: PgConnection,
    /// The statements that make the dropped indexes again.
    indexes: Vec<String>,
}

impl Filling {
    /// Makes the tables as they were at the migration of `contents`, unless they are there already and empty.
    ///
    /// # Errors
    /// [`Error::Backup`]: a store that is in use, not empty or of another migration.
    pub(crate) async fn begin(url: &str, contents: &Contents) -> Result<Filling, Error> {
        let refuse = |reason: String| Err(Error::Backup(reason));
        let mut connection = connect(url).await?;
        let in_use: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fhir-server')",
        )
        .fetch_one(&mut connection)
        .await?;
        if in_use {
            return refuse("a server runs on this database: stop it first".into());
        }
        let present = migration(&mut connection).await?;
        match present {
            None => store::migrate_to(&mut connection, contents.migration).await?,
            Some(present) if present == contents.migration => {}
            Some(present) => {
                let wanted = contents.migration;
                return refuse(format!(
                    "the backup is of migration {wanted} and the database of {present}: restore into a database without tables"
                ));
            }
        }
        sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
        let all = contents.tables.iter().map(|table| table.name);
        let all = all.collect::<Vec<_>>().join(", ");
        execute(
            &mut connection,
            &format!("LOCK TABLE {all} IN ACCESS EXCLUSIVE MODE"),
        )
        .await?;
        let here = tables(&mut connection).await?;
        if let Some(full) = here
            .iter()
            .find(|table| table.name != "site" && table.rows > 0)
        {
            let Table { name, rows, .. } = full;
            return refuse(format!(
                "the store is not empty ({name} has {rows} rows): restore into an empty one"
            ));
        }
        let shape = |table: &Table| (table.name, table.columns.clone());
        if !here.iter().map(shape).eq(contents.tables.iter().map(shape)) {
            return refuse("the tables of the backup are not those of the database".into());
        }
        execute(&mut connection, "DELETE FROM site").await?;
        let indexes = drop_indexes(&mut connection).await?;
        Ok(Filling {
            connection,
            indexes,
        })
    }

    pub(crate) async fn copy_in(
        &mut self,
        table: &Table,
    ) -> Result<PgCopyIn<&mut PgConnection>, Error> {
        Ok(self.connection.copy_in_raw(&table.copy_in()).await?)
    }

    /// Sets the sequences, makes the indexes, checks the counts, commits, and lets the planner know what is there.
    pub(crate) async fn finish(mut self, contents: &Contents) -> Result<(), Error> {
        for (name, last) in &contents.sequences {
            sqlx::query("SELECT setval($1::regclass, $2)")
                .bind(name)
                .bind(last)
                .execute(&mut self.connection)
                .await?;
        }
        for index in &self.indexes {
            execute(&mut self.connection, index).await?;
        }
        for table in tables(&mut self.connection).await? {
            let wanted = contents
                .tables
                .iter()
                .find(|other| other.name == table.name);
            wanted.map_or(Ok(()), |wanted| count(wanted, table.rows))?;
        }
        crate::elastic::forget(&mut self.connection).await?;
        execute(&mut self.connection, "COMMIT").await?;
        for table in &contents.tables {
            execute(
                &mut self.connection,
                &format!("VACUUM (ANALYZE) {}", table.name),
            )
            .await?;
        }
        Ok(self.connection.close().await?)
    }
}

/// The last migration of the database; `None`: it has no store.
async fn migration(connection: &mut PgConnection) -> Result<Option<i64>, Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    let last = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    Ok(sqlx::query_scalar(last).fetch_one(connection).await?)
}

/// The tables that are there. A transaction number (`xid8`) means something in its own cluster only: a copied row takes that of the copy.
async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, Error> {
    let mut found = Vec::new();
    for name in TABLES {
        let columns: Option<String> = sqlx::query_scalar(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND atttypid <> 'xid8'::regtype",
        )
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
        if let Some(columns) = columns {
            let count = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
            let rows: i64 = sqlx::query_scalar(count)
                .fetch_one(&mut *connection)
                .await?;
            found.push(Table {
                name,
                columns,
                rows: rows as u64,
            });
        }
    }
    Ok(found)
}

/// Drops the indexes that are no constraint; returns how to make them again.
async fn drop_indexes(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index \
         WHERE indrelid = ANY (SELECT to_regclass(name) FROM unnest($1::text[]) name) \
         AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)",
    )
    .bind(&TABLES[..])
    .fetch_all(&mut *connection)
    .await?;
    for (name, _) in &indexes {
        execute(connection, &format!("DROP INDEX {name}")).await?;
    }
    Ok(indexes
        .into_iter()
        .map(|(_, statement)| statement)
        .collect())
}

async fn execute(connection: &mut PgConnection, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await?;
    Ok(())
}
