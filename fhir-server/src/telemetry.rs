//! Logs and metrics. Neither ever holds patient data: no URL, no body, no parameter; types, interactions, statuses and request ids only.

use crate::app::App;
use crate::config::{Config, LogFormat};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Instant;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// Starts counting. Once per process; later calls change nothing.
pub fn start_metrics() {
    metrics_handle();
}

/// Starts logging to standard error. Once per process.
pub fn start_logs(config: &Config) {
    // The driver's lines quote SQL and notices; who wants them asks for them by name.
    let filter = EnvFilter::try_new(format!("sqlx=error,{}", config.log_level))
        .unwrap_or_else(|_| EnvFilter::new("sqlx=error,info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A logger that is there already stays.
    let _ = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Pretty => lines.compact().try_init(),
    };
    // The message of a panic may quote content; its place cannot.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "a panic");
    }));
}

/// A request id from outside, if it is short and plain, else a new one.
pub fn request_id(sent: Option<&HeaderValue>) -> String {
    sent.and_then(|value| value.to_str().ok())
        .filter(|text| (1..=64).contains(&text.len()))
        .filter(|text| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        })
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_string)
}

/// Measures one request.
pub struct RequestWatch {
    since: Instant,
}

impl RequestWatch {
    pub fn start() -> RequestWatch {
        gauge!("fhir_requests_running").increment(1);
        RequestWatch {
            since: Instant::now(),
        }
    }

    /// Counts the request under what it was and how it ended.
    pub fn done(self, interaction: &'static str, status: StatusCode) {
        let seconds = self.since.elapsed().as_secs_f64();
        counter!("fhir_requests_total", "interaction" => interaction, "status" => status.as_u16().to_string())
            .increment(1);
        histogram!("fhir_request_duration_seconds", "interaction" => interaction).record(seconds);
        let milliseconds = (seconds * 1000.0).round() as u64;
        tracing::debug!(
            interaction,
            status = status.as_u16(),
            milliseconds,
            "request"
        );
    }
}

/// Also when a client goes away in the middle.
impl Drop for RequestWatch {
    fn drop(&mut self) {
        gauge!("fhir_requests_running").decrement(1);
    }
}

/// `GET /metrics`, in the text format of Prometheus.
pub fn metrics(app: &App) -> Response {
    for (pool, used) in app.store.pools() {
        for (state, connections) in [
            ("open", used.open),
            ("idle", used.idle),
            ("limit", used.limit),
        ] {
            gauge!("fhir_database_connections", "pool" => pool, "state" => state)
                .set(f64::from(connections));
        }
    }
    let definitions = app.store.definitions();
    let index = definitions.index();
    let waiting = index.parameters.len() + index.types.len();
    gauge!("fhir_search_parameters_waiting").set(waiting as f64);
    if let Some(bytes) = resident_bytes() {
        gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    let handle = metrics_handle();
    handle.run_upkeep();
    let mut response = Response::new(Body::from(handle.render()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The one recorder of the process: the metrics facade is global.
fn metrics_handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), DURATION_BUCKETS_SECONDS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; /metrics stays empty");
        }
        handle
    })
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
