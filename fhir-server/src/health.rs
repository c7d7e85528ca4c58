//! `/health/live` and `/health/ready`.

use crate::app::App;
use crate::search_index;
use axum::body::Body;
use axum::response::Response;
use fhir_definitions::IndexState;
use hl7_mllp_listener::telemetry;
use http::StatusCode;
use std::time::Duration;
use tokio::time::timeout;

const PROBE: Duration = Duration::from_secs(2);

/// The process lives.
pub fn live() -> Response {
    said(StatusCode::OK, "live")
}

/// The database answers, its disk is not full as far as writes have seen, and the listeners listen.
pub async fn ready(app: &App) -> Response {
    if !app.is_listening() {
        return said(StatusCode::SERVICE_UNAVAILABLE, "starting or stopping");
    }
    match timeout(PROBE, app.store.ping()).await {
        Ok(Ok(())) => {
            let index = app.store.definitions();
            let IndexState {
                parameters, types, ..
            } = index.index();
            let mut text = "ready".to_owned();
            if !(parameters.is_empty() && types.is_empty()) {
                text.push_str("; some search parameters are being indexed");
            }
            // Without it Postgres answers: no reason to be unready.
            let used = timeout(PROBE, app.store.index_use()).await;
            if let Ok(Ok(Some(used))) = used
                && let Some(said) = search_index::health(&used)
            {
                text.push_str("; ");
                text.push_str(&said);
            }
            said(StatusCode::OK, &text)
        }
        Ok(Err(error)) if error.is_disk_full() => said(
            StatusCode::SERVICE_UNAVAILABLE,
            "the disk of the database is full: nothing can be written",
        ),
        _ => said(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database does not answer",
        ),
    }
}

fn said(status: StatusCode, text: &str) -> Response {
    telemetry::said(status, text).map(Body::from)
}
