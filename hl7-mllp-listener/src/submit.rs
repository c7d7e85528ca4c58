//! The road to the FHIR server: a request goes in, its response comes out. In process when the listener is embedded,
//! HTTP when it runs alone; nothing else of the listener knows which. Refuses responses above a size limit.

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use serde_json::Value as Json;
use std::time::Duration;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

/// A FHIR server. URIs are relative to its base and begin with `/`: `/` takes a transaction, `/Patient/1` is a
/// resource. The body of a request is JSON, null for none: it becomes text only where it has to travel. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Submit(BoxCloneSyncService<Request<Json>, Response<Bytes>, SubmitError>);

/// Why there is no response. A response with an error status is a response.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// No connection could be made: nothing was sent, sending again is safe.
    #[error("the FHIR server cannot be reached")]
    Unreachable(#[source] BoxError),
    /// No response in time: the request may or may not have taken effect.
    #[error("the FHIR server did not answer in time")]
    Timeout,
    /// The connection broke: the request may or may not have taken effect.
    #[error("the connection to the FHIR server broke")]
    Interrupted(#[source] BoxError),
    #[error("the response of the FHIR server is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// The base or a path is no URL.
    #[error("not a URL of a FHIR server")]
    Url(#[source] BoxError),
}

impl SubmitError {
    /// True if the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            SubmitError::Unreachable(_) | SubmitError::Timeout | SubmitError::Interrupted(_)
        )
    }
}

/// Limits of the HTTP road.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    pub connect_timeout_ms: u64,
    /// From sending a request to the end of its response.
    pub request_timeout_ms: u64,
    /// Attempts to connect before the server counts as unreachable.
    pub connect_attempts: u32,
    /// Longest response that is read, in bytes.
    pub max_response_bytes: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings {
            connect_timeout_ms: 2_000,
            request_timeout_ms: 20_000,
            connect_attempts: 3,
            max_response_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Submit {
    /// Any tower service, for instance the router of the embedding server. Its errors count as a broken connection.
    pub fn service<S>(service: S) -> Submit
    where
        S: Service<Request<Json>, Response = Response<Bytes>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let service = service.map_err(|error: S::Error| SubmitError::Interrupted(error.into()));
        Submit(BoxCloneSyncService::new(service))
    }

    /// A server at a base URL such as `http://127.0.0.1:8080/fhir`.
    pub fn http(base: &str, settings: HttpSettings) -> Result<Submit, SubmitError> {
        let base = base.trim_end_matches('/').to_owned();
        reqwest::Url::parse(&base).map_err(|error| SubmitError::Url(error.into()))?;
        let client = reqwest::Client::builder()
            // Beside a client for Elasticsearch it is switched on for all; compressing what stays on a machine costs more than it spares.
            .no_gzip()
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .timeout(Duration::from_millis(settings.request_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SubmitError::Url(error.into()))?;
        let service = tower::service_fn(move |request| {
            let (client, base, settings) = (client.clone(), base.clone(), settings.clone());
            async move { send_over_http(&client, &base, &settings, request).await }
        });
        Ok(Submit(BoxCloneSyncService::new(service)))
    }

    /// One request, one response.
    pub async fn send(&self, request: Request<Json>) -> Result<Response<Bytes>, SubmitError> {
        self.0.clone().oneshot(request).await
    }
}

/// Repeats only what cannot have taken effect: a failed connect, and a GET whose kept connection the server had closed.
async fn send_over_http(
    client: &reqwest::Client,
    base: &str,
    settings: &HttpSettings,
    request: Request<Json>,
) -> Result<Response<Bytes>, SubmitError> {
    let (parts, body) = request.into_parts();
    let body = match body {
        Json::Null => Bytes::new(),
        body => Bytes::from(body.to_string()),
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = match path {
        "/" => base.to_owned(),
        path => format!("{base}{path}"),
    };
    let url = reqwest::Url::parse(&url).map_err(|error| SubmitError::Url(error.into()))?;
    let mut attempt = 1;
    loop {
        let request = client
            .request(parts.method.clone(), url.clone())
            .headers(parts.headers.clone())
            .body(body.clone());
        let error = match request.send().await {
            Ok(response) => return read(response, settings.max_response_bytes).await,
            Err(error) => without_response(error),
        };
        let is_safe = match error {
            SubmitError::Unreachable(_) => true,
            SubmitError::Interrupted(_) => parts.method == Method::GET,
            _ => false,
        };
        if !is_safe || attempt >= settings.connect_attempts {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100 << attempt.min(5))).await;
        attempt += 1;
    }
}

async fn read(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Response<Bytes>, SubmitError> {
    let mut head = Response::new(());
    *head.status_mut() = response.status();
    *head.headers_mut() = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(without_response)? {
        if body.len() + chunk.len() > limit {
            return Err(SubmitError::TooLong { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(head.map(|()| body.freeze()))
}

fn without_response(error: reqwest::Error) -> SubmitError {
    // The URL holds search values: it must not reach a log.
    let error = error.without_url();
    if error.is_connect() {
        SubmitError::Unreachable(error.into())
    } else if error.is_timeout() {
        SubmitError::Timeout
    } else {
        SubmitError::Interrupted(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn settings() -> HttpSettings {
        HttpSettings {
            connect_timeout_ms: 500,
            request_timeout_ms: 500,
            connect_attempts: 2,
            max_response_bytes: 100,
        }
    }

    /// A server that answers each connection's first request with its request line; silent for `/silent`, broken for
    /// `/broken`, long for `/long`. Returns its base.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let line = head.lines().next().unwrap_or_default().to_owned();
                if line.contains("silent") {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                } else if !line.contains("broken") {
                    let body = if line.contains("long") {
                        "x".repeat(1000)
                    } else {
                        line
                    };
                    let head = "HTTP/1.1 409 Conflict\r\netag: W/\"1\"\r\nconnection: close";
                    let reply = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            }
        });
        base
    }

    fn request(method: Method, path: &str) -> Request<Json> {
        let request = Request::builder().method(method).uri(path);
        request.body(serde_json::json!({})).unwrap()
    }

    async fn check(path: &str, expect: Result<&str, &str>) {
        let submit = Submit::http(&server().await, settings()).unwrap();
        let found = submit.send(request(Method::POST, path)).await;
        let found = found.map(|response| {
            assert_eq!(
                (response.status().as_u16(), &response.headers()["etag"]),
                (409, &"W/\"1\"".parse().unwrap())
            );
            String::from_utf8(response.into_body().to_vec()).unwrap()
        });
        let found = found.map_err(|error| format!("{error:?}"));
        match expect {
            Ok(line) => assert_eq!(found.as_deref(), Ok(line), "{path}"),
            Err(kind) => assert!(
                found.as_ref().is_err_and(|error| error.starts_with(kind)),
                "{path}: {found:?}"
            ),
        }
    }

    #[tokio::test]
    async fn paths_are_relative_to_the_base() {
        check("/", Ok("POST /fhir HTTP/1.1")).await;
        check(
            "/Patient?identifier=a%7C1",
            Ok("POST /fhir/Patient?identifier=a%7C1 HTTP/1.1"),
        )
        .await;
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_apart() {
        check("/silent", Err("Timeout")).await;
        check("/broken", Err("Interrupted")).await;
        check("/long", Err("TooLong")).await;
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let submit = Submit::http(&format!("http://{closed}/fhir"), settings()).unwrap();
        let error = submit.send(request(Method::POST, "/")).await.unwrap_err();
        assert!(
            matches!(error, SubmitError::Unreachable(_)) && error.is_transient(),
            "{error:?}"
        );
        assert!(matches!(
            Submit::http("no url", settings()),
            Err(SubmitError::Url(_))
        ));
    }

    #[tokio::test]
    async fn any_service_is_a_server() {
        let submit = Submit::service(tower::service_fn(|request: Request<Json>| async move {
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(request.uri().to_string())))
        }));
        let response = submit
            .send(request(Method::GET, "/Patient/1"))
            .await
            .unwrap();
        assert_eq!(response.body(), "/Patient/1");
    }
}
