//! One client: requests over HTTP, messages over MLLP, and what comes back. It repeats nothing and follows nothing.

use reqwest::Method;
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why there is no answer, or not the right one.
pub type Failure = String;

/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An HTTP answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    /// As sent, `W/"1"`.
    pub etag: Option<String>,
    /// `Null` where it was empty.
    pub body: Value,
}

/// One client's connections: as many over HTTP as it has requests at a time, one over MLLP.
pub struct Client {
    http: reqwest::Client,
    mllp: Option<(String, TcpStream)>,
}

impl Default for Client {
    fn default() -> Self {
        Client::new()
    }
}

impl Client {
    pub fn new() -> Client {
        Client {
            http: reqwest::Client::builder()
                .no_gzip()
                .pool_max_idle_per_host(1)
                .timeout(TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a plain HTTP client"),
            mllp: None,
        }
    }

    /// Sends one request and reads its whole answer.
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let failed = |error: reqwest::Error| format!("{method} {url}: {error}");
        let mut request = self
            .http
            .request(method.clone(), url)
            .header("accept", "application/fhir+json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/fhir+json")
                .body(body.to_string());
        }
        let answer = request.send().await.map_err(failed)?;
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let mut read = Answer {
            status: answer.status().as_u16(),
            location: header("location"),
            etag: header("etag"),
            body: Value::Null,
        };
        let bytes = answer.bytes().await.map_err(failed)?;
        if !bytes.is_empty() {
            read.body = serde_json::from_slice(&bytes)
                .map_err(|error| format!("{method} {url}: {error}"))?;
        }
        Ok(read)
    }

    /// The status of a GET, whatever it says; `None` without an answer.
    pub async fn probe(&self, url: &str) -> Option<u16> {
        let answer = self.http.get(url).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Sends one message and waits for its acknowledgement. A connection that failed is not used again.
    pub async fn send(&mut self, address: &str, message: &str) -> Result<String, Failure> {
        let kept = self.mllp.take().filter(|(kept, _)| kept == address);
        let failed = |error: std::io::Error| format!("{address}: {error}");
        let exchange = async {
            let mut stream = match kept {
                Some((_, stream)) => stream,
                None => TcpStream::connect(address).await.map_err(failed)?,
            };
            let frame = format!("\x0b{message}\x1c\r");
            stream.write_all(frame.as_bytes()).await.map_err(failed)?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\x1c\r") {
                if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
                    return Err(Failure::from("the listener closed the connection"));
                }
            }
            let text = String::from_utf8(answer).map_err(|error| error.to_string())?;
            Ok((stream, text))
        };
        let in_time = tokio::time::timeout(TIMEOUT, exchange).await;
        let (stream, text) = in_time.map_err(|_| format!("{address}: no answer in time"))??;
        self.mllp = Some((address.to_owned(), stream));
        Ok(text)
    }
}
