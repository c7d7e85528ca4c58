//! The accept loop: a cap on connections, a timeout for a request's head, and an end that lets running requests finish.
//!
//! When all places are taken, a few connections more are accepted for one answer each: health is told, all else is a 503.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Pause after an accept that failed; out of file descriptors, trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections beyond the cap that are told so at one time, and how long each may take to ask.
const REFUSED_MAX: usize = 32;
const REFUSED_HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves connections until `stop`, then lets running requests end within the configured time.
pub async fn serve(
    listener: TcpListener,
    service: Router,
    refusal: Router,
    app: Arc<App>,
    stop: CancellationToken,
) {
    let config = &app.config;
    let places = Places {
        served: Arc::new(Semaphore::new(config.connections_max)),
        refused: Arc::new(Semaphore::new(REFUSED_MAX)),
    };
    let send_timeout = Duration::from_millis(config.send_timeout_ms);
    let running = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(config.header_timeout_ms));
    let mut refusing = http1::Builder::new();
    refusing
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(REFUSED_HEADER_TIMEOUT);
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
        let (builder, service) = match place.is_served {
            true => (&builder, &service),
            false => (&refusing, &refusal),
        };
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

struct Places {
    served: Arc<Semaphore>,
    refused: Arc<Semaphore>,
}

/// Held by a connection while it is open.
struct Place {
    is_served: bool,
    _held: OwnedSemaphorePermit,
}

impl Places {
    async fn take(&self) -> Option<Place> {
        let (is_served, held) = tokio::select! {
            biased;
            held = self.served.clone().acquire_owned() => (true, held),
            held = self.refused.clone().acquire_owned() => (false, held),
        };
        let _held = held.ok()?;
        Some(Place { is_served, _held })
    }
}

async fn accept(listener: &TcpListener, places: &Places) -> Option<(TcpStream, Place)> {
    // A place is taken when there is somebody for it: one that has become free meanwhile is a better one.
    let accepted = listener.accept().await;
    let place = places.take().await?;
    match accepted {
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
