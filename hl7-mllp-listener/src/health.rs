//! What operators ask a listener that stands alone, over HTTP at an address of its own: `/health/live`, `/health/ready` and `/metrics`, as
//! they ask the server. Refuses all else (404), and other methods than GET and HEAD (405).

use crate::process::Processor;
use crate::telemetry::{self, said};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that are answered at one time; others wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take, each serves one request.
const CONNECTION: Duration = Duration::from_secs(10);
/// How long the FHIR server may take to answer.
const PROBE: Duration = Duration::from_secs(2);
/// Pause after a failed accept.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How a listener is.
pub struct Health {
    pub processor: Processor,
    /// What cannot be applied now is stored.
    pub has_spool: bool,
}

/// Answers until `stop`; who asks a listener that stops is not answered any more.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) {
    let health = Arc::new(health);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = accepted else {
            sleep(BACK_OFF).await;
            continue;
        };
        let health = health.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let health = health.clone();
            async move {
                let (method, path) = (request.method(), request.uri().path());
                Ok::<_, Infallible>(health.answer(method, path).await)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A client that goes away is its own affair.
            let _ = timeout(CONNECTION, connection).await;
            drop(place);
        });
    }
}

impl Health {
    async fn answer(&self, method: &Method, path: &str) -> Response<String> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return said(StatusCode::METHOD_NOT_ALLOWED, "GET");
        }
        match path {
            "/health/live" => said(StatusCode::OK, "live"),
            "/health/ready" => self.ready().await,
            "/metrics" => telemetry::metrics(),
            _ => said(StatusCode::NOT_FOUND, "nothing is here"),
        }
    }

    /// Messages are taken: the FHIR server answers, or there is a spool.
    async fn ready(&self) -> Response<String> {
        let answers = timeout(PROBE, self.processor.reach_server()).await;
        match (answers, self.has_spool) {
            (Ok(Ok(())), _) => said(StatusCode::OK, "ready"),
            (_, true) => said(
                StatusCode::OK,
                "ready; the FHIR server does not answer, messages are stored",
            ),
            (_, false) => said(
                StatusCode::SERVICE_UNAVAILABLE,
                "the FHIR server does not answer",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server::FakeServer;
    use crate::identity::SiteSecret;
    use crate::mapping::Mappings;

    /// What is asked of a listener whose server is down or not, with a spool or without, and what it answers.
    async fn check(is_down: bool, has_spool: bool, method: &str, path: &str, expect: (u16, &str)) {
        let server = FakeServer::default();
        *server.is_down.lock().unwrap() = is_down;
        let mappings = Arc::new(Mappings::load(&[]).unwrap());
        let secret = SiteSecret::new([3; 32]).unwrap();
        let health = Health {
            processor: Processor::new(server.submit(), mappings, secret),
            has_spool,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, health, stop.clone()));
        let method: Method = method.parse().unwrap();
        let request = reqwest::Client::new().request(method, format!("{base}{path}"));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert_eq!(status, expect.0, "{path}: {text}");
        assert!(text.contains(expect.1), "{path}: {text}");
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_says_how_it_is() {
        telemetry::start_metrics();
        metrics::counter!("mllp_of_this_test_total").increment(7);
        for (is_down, has_spool, request, expect) in [
            (true, false, "GET /health/live", (200, "live")),
            (false, false, "GET /health/ready", (200, "ready\n")),
            (true, false, "GET /health/ready", (503, "does not answer")),
            (true, true, "GET /health/ready", (200, "are stored")),
            (true, true, "HEAD /health/ready", (200, "")),
            (
                false,
                false,
                "GET /metrics",
                (200, "mllp_of_this_test_total 7"),
            ),
            (false, false, "POST /metrics", (405, "GET")),
            (false, false, "GET /fhir", (404, "")),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            check(is_down, has_spool, method, path, expect).await;
        }
    }
}
