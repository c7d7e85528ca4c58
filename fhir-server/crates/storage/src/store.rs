//! Opening the store: pools, migrations, the site's own row, and the definitions its rows are indexed by.

use crate::elastic::{Elastic, ElasticSettings};
use crate::error::Error;
use crate::policy::Policies;
use crate::read;
use arc_swap::ArcSwap;
use fhir_definitions::Definitions;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// A `postgres://` URL, or the socket URL of the private Postgres.
    pub url: String,
    /// Connections of the write pool, and of the search pool; that for look-ups has as many as the latter.
    pub write_connections: u32,
    pub search_connections: u32,
    /// Longest a search statement may run, in milliseconds.
    pub statement_timeout_ms: u64,
    /// Searches that take as long as this are logged, in milliseconds.
    pub slow_search_ms: Option<u64>,
    /// Base URL without trailing slash under which absolute references are local; `None`: only relative ones are.
    pub base: Option<String>,
    pub policies: Policies,
    /// A search index beside Postgres.
    pub elastic: Option<ElasticSettings>,
}

/// The database, with the definitions it is indexed by. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) write_pool: PgPool,
    pub(crate) search_pool: PgPool,
    /// For look-ups by a key, a token or a reference: there is one way to do these, whatever the values, and planning them anew takes longer than doing them.
    pub(crate) lookup_pool: PgPool,
    /// One connection for [`Store::ping`]: whether the database answers must be known when all others are taken.
    health_pool: PgPool,
    pub(crate) disk_full: AtomicBool,
    /// Those of the program and its data folders.
    pub(crate) base: Arc<Definitions>,
    /// Those with what is stored: what the database is indexed by, as far as this server knows.
    pub(crate) definitions: ArcSwap<Definitions>,
    /// Which SearchParameter resources they were made with ([`Store::refresh`]).
    pub(crate) stored: AtomicI64,
    /// Tells this server from others that may index resources again.
    pub(crate) owner: uuid::Uuid,
    /// One change of the definitions at a time.
    pub(crate) adopting: tokio::sync::Mutex<()>,
    pub(crate) settings: StoreSettings,
    pub(crate) site_secret: [u8; 32],
    pub(crate) keys: crate::write::Keys,
    pub(crate) turns: crate::write::Turns,
    pub(crate) together: crate::write::Together,
    pub(crate) vocabulary: crate::vocabulary::Vocabulary,
    pub(crate) statistics: crate::search::StatisticsCache,
    pub(crate) elastic: Option<Elastic>,
}

/// How many connections of a pool are open, and how many of those idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    pub open: u32,
    pub idle: u32,
    pub limit: u32,
}

/// A sequential scan that cannot be avoided is priced so high that each statement would be compiled, for 300 ms.
const JIT: &str = "off";
/// Longest wait for a free connection, and for a lock of another write, in milliseconds.
const ACQUIRE_TIMEOUT_MS: u64 = 10_000;
pub(crate) const LOCK_TIMEOUT_MS: u64 = 10_000;
/// How often Postgres looks, while it works on a statement, whether its client still is there, in milliseconds.
const CLIENT_CHECK_MS: u64 = 1_000;
/// How long a connection is kept that nobody needs, and one that is used: each is a process of Postgres, and what it once needed for a
/// large transaction it keeps.
const CONNECTION_IDLE: Duration = Duration::from_secs(60);
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);
/// Connections of the indexer: of what is written, of what is filled, and for looking after both.
const INDEX_CONNECTIONS: u32 = 4;
/// About what the write-ahead log takes of the disk at a time.
const PROBE_ROWS: i32 = 20_000;
const PROBE_ROW_BYTES: i32 = 1_000;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

impl Store {
    /// Connects, migrates, and makes `definitions`, with the search parameters that are stored, the ones that resources are indexed by. Where
    /// the index was made by another version of the program, every resource is indexed again first; what only the site's own
    /// search parameters need is left to [`Store::reindex_step`].
    ///
    /// # Errors
    /// [`Error::Start`] for an unusable URL, a server older than 15 or a database of a later version of this program,
    /// [`Error::Unavailable`] when there is no connection.
    pub async fn open(
        settings: StoreSettings,
        definitions: Arc<Definitions>,
    ) -> Result<Store, Error> {
        let options: PgConnectOptions = settings
            .url
            .parse()
            .map_err(|_| Error::Start("the database URL is not a postgres:// URL".into()))?;
        let options = options.application_name("fhir-server").options([(
            "client_connection_check_interval",
            CLIENT_CHECK_MS.to_string(),
        )]);
        let write_options = options.clone().options([
            ("lock_timeout", LOCK_TIMEOUT_MS.to_string()),
            ("default_transaction_isolation", "read committed".into()),
            // Every statement has an index. While the statistics are of an empty table, the planner would not use it.
            ("enable_seqscan", "off".into()),
            // Planning the one large statement each time costs more than running it, and its plan does not depend on the values.
            ("plan_cache_mode", "force_generic_plan".into()),
            ("jit", JIT.into()),
            ("timezone", "UTC".into()),
        ]);
        let reading_options = |plans: &str| {
            let timeout = settings.statement_timeout_ms.to_string();
            options.clone().options([
                ("plan_cache_mode", plans),
                ("enable_seqscan", "off"),
                ("jit", JIT),
                ("statement_timeout", timeout.as_str()),
                ("timezone", "UTC"),
            ])
        };
        let search_options = reading_options("force_custom_plan");
        let lookup_options = reading_options("force_generic_plan");
        let health_pool = pool(1).connect_lazy_with(options);
        let elastic = match settings.elastic.clone() {
            None => None,
            Some(elastic) => {
                let pool = pool(INDEX_CONNECTIONS).connect_lazy_with(write_options.clone());
                Some(Elastic::new(elastic, definitions.resource_types(), pool)?)
            }
        };
        let write_pool = pool(settings.write_connections)
            .connect_with(write_options)
            .await
            .map_err(Error::from)?;
        let search_pool = pool(settings.search_connections).connect_lazy_with(search_options);
        let lookup_pool = pool(settings.search_connections).connect_lazy_with(lookup_options);
        check_server(&write_pool).await?;
        migrate(&write_pool).await?;
        let site_secret = site_secret(&write_pool).await?;
        let store = Store {
            inner: Arc::new(Inner {
                write_pool,
                search_pool,
                lookup_pool,
                health_pool,
                disk_full: AtomicBool::new(false),
                definitions: ArcSwap::new(Arc::clone(&definitions)),
                base: definitions,
                stored: AtomicI64::new(0),
                owner: uuid::Uuid::new_v4(),
                adopting: tokio::sync::Mutex::default(),
                settings,
                site_secret,
                keys: crate::write::Keys::default(),
                turns: crate::write::Turns::default(),
                together: crate::write::Together::default(),
                vocabulary: crate::vocabulary::Vocabulary::default(),
                statistics: crate::search::StatisticsCache::default(),
                elastic,
            }),
        };
        store.adopt(true).await?;
        store.index_what_blocks().await?;
        Ok(store)
    }

    /// The current snapshot of the definitions.
    pub fn definitions(&self) -> Arc<Definitions> {
        self.inner.definitions.load_full()
    }

    /// 32 random bytes of this site, made once: they seal page tokens and key derived ids.
    pub fn site_secret(&self) -> &[u8; 32] {
        &self.inner.site_secret
    }

    /// Whether the database answers, on a connection of its own; and, where a write has found the disk full, whether it still is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not, or there is no room ([`Error::is_disk_full`]).
    pub async fn ping(&self) -> Result<(), Error> {
        let pool = &self.inner.health_pool;
        if !self.inner.disk_full.load(Ordering::Relaxed) {
            read::retrying!(pool, sqlx::query("SELECT 1").execute(pool).await)?;
            return Ok(());
        }
        // A sort that does not fit into memory leaves nothing behind, and needs the disk like a write.
        let mut transaction = read::retrying!(pool, pool.begin().await)?;
        sqlx::raw_sql("SET LOCAL work_mem = '64kB'")
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "SELECT count(*) FROM (SELECT n FROM generate_series(1, $1) n \
             ORDER BY md5(n::text) || repeat('x', $2) OFFSET 0) sorted",
        )
        .bind(PROBE_ROWS)
        .bind(PROBE_ROW_BYTES)
        .execute(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        self.inner.disk_full.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The use of the pools, for metrics.
    pub fn pools(&self) -> [(&'static str, PoolUse); 3] {
        let used = |pool: &PgPool| PoolUse {
            open: pool.size(),
            idle: pool.num_idle() as u32,
            limit: pool.options().get_max_connections(),
        };
        [
            ("write", used(&self.inner.write_pool)),
            ("search", used(&self.inner.search_pool)),
            ("lookup", used(&self.inner.lookup_pool)),
        ]
    }

    /// Waits for what runs, then closes every connection.
    pub async fn close(&self) {
        self.inner.write_pool.close().await;
        self.inner.search_pool.close().await;
        self.inner.lookup_pool.close().await;
        if let Some(elastic) = &self.inner.elastic {
            elastic.pool.close().await;
        }
        self.inner.health_pool.close().await;
    }
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_millis(ACQUIRE_TIMEOUT_MS))
        .idle_timeout(CONNECTION_IDLE)
        .max_lifetime(CONNECTION_LIFETIME)
        // A dead connection shows itself in the first statement, which is tried again; asking each time would cost a round trip.
        .test_before_acquire(false)
}

async fn check_server(pool: &PgPool) -> Result<(), Error> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(pool)
        .await?;
    if version < 150_000 {
        return Err(Error::Start(format!(
            "the database is PostgreSQL {}; 15 or later is needed",
            version / 10_000
        )));
    }
    Ok(())
}

async fn migrate(pool: &PgPool) -> Result<(), Error> {
    MIGRATIONS.run(pool).await.map_err(migrate_error)
}

/// Makes the tables as they were at migration `target`.
pub(crate) async fn migrate_to(connection: &mut PgConnection, target: i64) -> Result<(), Error> {
    let done = match MIGRATIONS.version_exists(target) {
        true => MIGRATIONS.run_to(target, connection).await,
        false => Err(MigrateError::VersionMissing(target)),
    };
    done.map_err(migrate_error)
}

fn migrate_error(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => Error::from(error),
        MigrateError::VersionMissing(version) => Error::Start(format!(
            "the database has migration {version}, which this version of the server does not know: use the later version"
        )),
        error => Error::Start(format!("migrating the database: {error}")),
    }
}

async fn site_secret(pool: &PgPool) -> Result<[u8; 32], Error> {
    let mut fresh = [0u8; 32];
    // SAFETY: the pointer and length are of `fresh`; the result is checked.
    let read = unsafe { libc::getrandom(fresh.as_mut_ptr().cast(), fresh.len(), 0) };
    if read != fresh.len() as isize {
        return Err(Error::Start("the system gives no random bytes".into()));
    }
    sqlx::query("INSERT INTO site (secret) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(&fresh[..])
        .execute(pool)
        .await?;
    let stored: Vec<u8> = sqlx::query_scalar("SELECT secret FROM site")
        .fetch_one(pool)
        .await?;
    let length = stored.len();
    stored
        .try_into()
        .map_err(|_| Error::Start(format!("the site secret has {length} bytes, not 32")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection;

    /// A database of others has the compiler on, as Postgres comes.
    #[tokio::test]
    async fn no_connection_compiles_statements() {
        let url = crate::testing::empty_database().await;
        let name = url.rsplit('/').next().unwrap();
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let on = format!("ALTER DATABASE {name} SET jit = on");
        sqlx::raw_sql(sqlx::AssertSqlSafe(on))
            .execute(&mut connection)
            .await
            .unwrap();
        let definitions = Arc::new(Definitions::load(&[]).unwrap());
        let store = Store::open(crate::testing::settings(url.clone()), definitions)
            .await
            .unwrap();
        let Inner {
            write_pool,
            search_pool,
            lookup_pool,
            ..
        } = &*store.inner;
        for pool in [write_pool, search_pool, lookup_pool] {
            let jit: String = sqlx::query_scalar("SHOW jit")
                .fetch_one(pool)
                .await
                .unwrap();
            assert_eq!(jit, "off");
        }
    }
}
