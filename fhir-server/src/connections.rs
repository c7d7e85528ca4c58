//! The accept loop: a cap on connections, a timeout for a request's head, and an end that lets running requests finish.

use crate::app::App;
use crate::send_timeout::SendTimeout;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics::gauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Pause after an accept that failed; out of file descriptors, trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop`, then lets running requests end within the configured time.
pub async fn serve(listener: TcpListener, service: Router, app: Arc<App>, stop: CancellationToken) {
    let config = &app.config;
    let places = Arc::new(Semaphore::new(config.connections_max));
    let send_timeout = Duration::from_millis(config.send_timeout_ms);
    let running = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let stream = SendTimeout::new(stream, send_timeout);
        let service = TowerToHyperService::new(service.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = running.watch(connection);
        gauge!("fhir_connections_open").increment(1);
        tokio::spawn(async move {
            // A client that goes away or sends no HTTP is its own affair.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            gauge!("fhir_connections_open").decrement(1);
            drop(place);
        });
    }
    drop(listener);
    let within = Duration::from_millis(config.shutdown_timeout_ms);
    if timeout(within, running.shutdown()).await.is_err() {
        tracing::warn!("some requests were still running when the time to stop was over");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are written whole: waiting for more to send only delays them.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "accepting a connection failed");
            None
        }
    }
}
