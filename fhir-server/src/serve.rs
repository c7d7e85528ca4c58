//! `fhir-server serve`: everything in one process, started in order and stopped in the reverse one.
//!
//! Data folders, database, HTTP, listener; on SIGTERM or SIGINT: no new connections, running requests and messages end within a
//! deadline, then the pools, then the private Postgres.

use crate::app::App;
use crate::config::Config;
use crate::data::{self, Data};
use crate::{connections, embed, policy, retention, telemetry};
use fhir_definitions::DataError;
use fhir_storage::{Error, PrivatePostgres, Store, StoreSettings};
use hl7_mllp_listener::bridge::Bridge;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Seconds between two rounds of looking after the database.
const MAINTENANCE_SECONDS: u64 = 60;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{}", lines(.0))]
    Data(Vec<DataError>),
    #[error(transparent)]
    Store(#[from] Error),
    #[error("HL7 v2 listener: {0}")]
    Mllp(String),
    #[error("FHIR_SITE_SECRET_FILE: {0}")]
    Secret(String),
    #[error("{setting}: cannot listen on {addr}: {reason}")]
    Listen {
        setting: &'static str,
        addr: SocketAddr,
        reason: std::io::Error,
    },
}

/// A server that runs.
pub struct Server {
    pub app: Arc<App>,
    pub http_addr: SocketAddr,
    /// `None`: the embedded listener is off.
    pub mllp_addr: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    database: Option<PrivatePostgres>,
}

/// A store, and the private Postgres that serves it, if none was configured.
pub struct Opened {
    pub store: Store,
    pub database: Option<PrivatePostgres>,
}

/// Opens the store of the configuration: migrates, and starts a private Postgres where there is no `DATABASE_URL`.
///
/// # Errors
/// What the database says; a data directory that another server uses is refused.
pub async fn open(config: &Config, data: &Data) -> Result<Opened, StartError> {
    let (url, database) = database(config).await?;
    open_at(url, database, config, data).await
}

/// As [`open`], for a command that may run beside the server: a private Postgres that runs already is used, not refused.
///
/// # Errors
/// As [`open`].
pub async fn open_beside(config: &Config, data: &Data) -> Result<Opened, StartError> {
    let (url, database) = database_beside(config).await?;
    open_at(url, database, config, data).await
}

/// The URL of the configured database, or a private Postgres that is started for it.
///
/// # Errors
/// [`Error::Start`] with what to do.
pub async fn database(config: &Config) -> Result<(String, Option<PrivatePostgres>), Error> {
    if let Some(url) = &config.database_url {
        return Ok((url.clone(), None));
    }
    let database = PrivatePostgres::start(&config.data_dir).await?;
    Ok((database.url().to_string(), Some(database)))
}

/// As [`database`], but a private Postgres that runs already is used.
///
/// # Errors
/// As [`database`].
pub async fn database_beside(config: &Config) -> Result<(String, Option<PrivatePostgres>), Error> {
    match PrivatePostgres::running(&config.data_dir) {
        Some(url) if config.database_url.is_none() => Ok((url, None)),
        _ => database(config).await,
    }
}

async fn open_at(
    url: String,
    database: Option<PrivatePostgres>,
    config: &Config,
    data: &Data,
) -> Result<Opened, StartError> {
    let settings = StoreSettings {
        url,
        write_connections: config.write_connections,
        search_connections: config.search_connections,
        statement_timeout_ms: config.statement_timeout_ms,
        slow_search_ms: config.search_slow_ms,
        base: Some(config.own_base()),
        policies: policy::of_store(config),
        elastic: config.elastic(),
    };
    let store = Store::open(settings, data.definitions.clone()).await?;
    Ok(Opened { store, database })
}

impl Server {
    /// Starts everything; HTTP answers when this returns.
    ///
    /// # Errors
    /// The first part that does not start.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        telemetry::start_metrics();
        if config.base_url.is_none() && config.http_addr.ip().is_unspecified() {
            tracing::warn!(
                "FHIR_BASE_URL is not set: absolute references to this server under the name that clients use are taken for references elsewhere"
            );
        }
        let listeners = config.mllp_listeners().map_err(StartError::Mllp)?;
        let data = data::load(&config).map_err(StartError::Data)?;
        // First the port: a second server on one address must not touch the database.
        let http = listen("FHIR_HTTP_ADDR", config.http_addr).await?;
        let http_addr = http.local_addr().unwrap_or(config.http_addr);
        // With port 0 the own base is known only now.
        let config = Config {
            http_addr,
            ..config
        };
        let mut entrances = Vec::new();
        for listener in listeners {
            let setting = match config.mllp_addr == Some(listener.address) {
                true => "FHIR_MLLP_ADDR",
                false => "FHIR_MLLP_LISTENERS_FILE",
            };
            let socket = listen(setting, listener.address).await?;
            entrances.push(listener.on(socket).map_err(StartError::Mllp)?);
        }
        let mllp_addr = entrances
            .first()
            .and_then(|first| first.listener.local_addr().ok());
        let Opened { store, database } = open(&config, &data).await?;
        let secret = *store.site_secret();
        let app = Arc::new(App::new(store, config, &secret));
        let stop = CancellationToken::new();
        let service = crate::http::service(app.clone());
        let mut tasks = Vec::new();
        if !entrances.is_empty() || app.config.hl7v2_http {
            let processor = embed::processor(&app, service.clone(), data.hl7v2)?;
            let (settings, spool) = (app.config.mllp(), app.config.mllp_spool());
            let bridge = Bridge::start(
                processor,
                entrances,
                &settings,
                spool.as_ref(),
                stop.clone(),
            )
            .map_err(StartError::Mllp)?;
            app.set_intake(app.config.hl7v2_http.then(|| bridge.intake.clone()));
            tasks.push(tokio::spawn(bridge.ended()));
        }
        let refusal = crate::http::refusal(app.clone());
        let work = connections::serve(http, service, refusal, app.clone(), stop.clone());
        tasks.push(tokio::spawn(work));
        tasks.push(tokio::spawn(crate::job::work(app.clone(), stop.clone())));
        let work = crate::operation::reindex::work(app.clone(), stop.clone());
        tasks.push(tokio::spawn(work));
        tasks.push(tokio::spawn(maintain(app.clone(), stop.clone())));
        let work = crate::search_index::work(app.clone(), stop.clone());
        tasks.push(tokio::spawn(work));
        tasks.push(tokio::spawn(retention::work(app.clone(), stop.clone())));
        app.set_listening(true);
        let listener = mllp_addr.map_or("off".to_string(), |addr| addr.to_string());
        tracing::info!(%http_addr, mllp_addr = listener, private_database = database.is_some(), files = data.files, "ready");
        Ok(Server {
            app,
            http_addr,
            mllp_addr,
            stop,
            tasks,
            database,
        })
    }

    /// Stops in order: what runs may end, then the database.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.app.set_listening(false);
        self.app.set_intake(None);
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the server ended badly");
            }
        }
        self.app.store.close().await;
        if let Some(database) = self.database {
            database.stop().await;
        }
        tracing::info!("stopped");
    }
}

/// Looks after the database until the server stops.
async fn maintain(app: Arc<App>, stop: CancellationToken) {
    let mut outbox_seen = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(MAINTENANCE_SECONDS)) => {}
        }
        if let Err(error) = app.store.expire_jobs(app.config.job_lifetime_seconds).await {
            tracing::warn!(%error, "old results of jobs were not removed");
        }
        match app.store.maintain(outbox_seen).await {
            Ok(end) => outbox_seen = end,
            Err(error) => {
                tracing::warn!(%error, "the database was not looked after; tried again in {MAINTENANCE_SECONDS} s")
            }
        }
    }
}

async fn listen(setting: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr)
        .await
        .map_err(|reason| StartError::Listen {
            setting,
            addr,
            reason,
        })
}

fn lines(errors: &[DataError]) -> String {
    let all: Vec<String> = errors.iter().map(DataError::to_string).collect();
    all.join("\n")
}
