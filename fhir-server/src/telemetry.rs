//! Logs and metrics. Neither ever holds patient data: no URL, no body, no parameter; types, interactions, statuses and request ids only.

use crate::app::App;
use crate::config::{Config, LogFormat};
use axum::body::Body;
use axum::response::Response;
pub use hl7_mllp_listener::telemetry::start_metrics;
use http::{HeaderValue, StatusCode};
use metrics::{counter, gauge, histogram};
use std::io::IsTerminal;
use std::time::Instant;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

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
    hl7_mllp_listener::telemetry::metrics().map(Body::from)
}
