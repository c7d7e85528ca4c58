//! Faults that are planted, to show that the harness sees them. None is in the product: a setting of Postgres that nobody should have, one of
//! the server that promises less, and proxies between the clients and the server.

use crate::ledger::Kind;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::{Router, body};
use futures_util::stream;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Postgres says that it has committed before the log is on disk (`synchronous_commit=off`), its log writer stands still, and it dies.
    EarlyCommit,
    /// A proxy acknowledges a create and passes nothing on.
    Liar,
    /// A listener before the listener does the same with messages.
    MessageLiar,
    /// A proxy sends creates twice.
    Twice,
    /// A proxy makes a batch of a transaction, with an entry less, and is silent about it. Of one that nobody repeats: else it gets whole.
    Half,
    /// Searches say what the search index has, some tenths of a second late (`ELASTICSEARCH_FRESHNESS=eventual`).
    Late,
}

impl Plant {
    pub const ALL: [Plant; 6] = [
        Plant::EarlyCommit,
        Plant::Liar,
        Plant::MessageLiar,
        Plant::Twice,
        Plant::Half,
        Plant::Late,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Plant::EarlyCommit => "early-commit",
            Plant::Liar => "liar",
            Plant::MessageLiar => "message-liar",
            Plant::Twice => "twice",
            Plant::Half => "half",
            Plant::Late => "late",
        }
    }

    /// What must be found.
    pub fn expect(self) -> Kind {
        match self {
            Plant::EarlyCommit | Plant::Liar | Plant::MessageLiar => Kind::Lost,
            Plant::Twice => Kind::Doubled,
            Plant::Half => Kind::Half,
            Plant::Late => Kind::Index,
        }
    }

    /// Whether it is planted into a search index.
    pub fn is_of_index(self) -> bool {
        self == Plant::Late
    }

    /// Settings of the servers.
    pub fn of_servers(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Plant::Late => vec![("ELASTICSEARCH_FRESHNESS", "eventual")],
            _ => Vec::new(),
        }
    }

    /// Settings of Postgres.
    pub fn settings(self) -> Vec<&'static str> {
        match self {
            Plant::EarlyCommit => vec![
                "synchronous_commit=off",
                // The log stays in memory: there is room, and what writes pages, and the log before them, does not.
                "wal_buffers=64MB",
                "bgwriter_lru_maxpages=0",
                "autovacuum=off",
            ],
            _ => Vec::new(),
        }
    }

    /// Whether the log writer stands still: it writes each page of the log that is full, and what is written survives a kill.
    pub fn stops_log_writer(self) -> bool {
        self == Plant::EarlyCommit
    }

    /// Puts itself before a FHIR base; gives the base that clients use.
    pub async fn before_server(self, base: &str) -> std::io::Result<String> {
        if !matches!(self, Plant::Liar | Plant::Twice | Plant::Half) {
            return Ok(base.to_owned());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let proxy = Arc::new(Proxy {
            plant: self,
            base: base.to_owned(),
            client: reqwest::Client::new(),
            count: AtomicU64::new(0),
        });
        let router = Router::new().fallback(pass).with_state(proxy);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(format!("http://{address}/fhir"))
    }

    /// Puts itself before an MLLP listener; gives the address that senders use.
    pub async fn before_listener(self, address: &str) -> std::io::Result<String> {
        if self != Plant::MessageLiar {
            return Ok(address.to_owned());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.to_string();
        let address = address.to_owned();
        tokio::spawn(async move {
            while let Ok((sender, _)) = listener.accept().await {
                let address = address.clone();
                tokio::spawn(async move { answer_messages(sender, &address).await });
            }
        });
        Ok(own)
    }
}

struct Proxy {
    plant: Plant,
    base: String,
    client: reqwest::Client,
    count: AtomicU64,
}

impl Proxy {
    /// One in four of the requests it is about.
    fn is_due(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) % 4 == 3
    }

    async fn forward(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Option<Response<Body>> {
        let mut request = self
            .client
            .request(method.clone(), format!("{}{path}", self.base));
        for name in ["accept", "content-type", "if-match", "if-none-exist"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.body(body).send().await.ok()?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        for name in ["content-type", "location", "etag"] {
            if let Some(value) = answer.headers().get(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        *response.body_mut() = Body::from(answer.bytes().await.ok()?);
        Some(response)
    }
}

async fn pass(
    State(proxy): State<Arc<Proxy>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let Ok(body) = body::to_bytes(body, usize::MAX).await else {
        return silence();
    };
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let path = path.strip_prefix("/fhir").unwrap_or(path);
    let is_create =
        method == Method::POST && path == "/Patient" && !headers.contains_key("if-none-exist");
    let is_transaction = method == Method::POST && path.is_empty();
    match proxy.plant {
        Plant::Liar if is_create && proxy.is_due() => {
            let number = proxy.count.load(Ordering::Relaxed);
            let location = format!("{}/Patient/never-{number}/_history/1", proxy.base);
            let response = Response::builder()
                .status(StatusCode::CREATED)
                .header("location", location)
                .header("etag", "W/\"1\"");
            return response.body(Body::from(body)).unwrap_or_default();
        }
        Plant::Twice if is_create && proxy.is_due() => {
            proxy.forward(&method, path, &headers, body.clone()).await;
        }
        Plant::Half if is_transaction => {
            if let Ok(mut bundle) = serde_json::from_slice::<Value>(&body)
                && bundle["entry"][0]["request"]["ifNoneExist"].is_null()
                && proxy.is_due()
            {
                bundle["type"] = "batch".into();
                bundle["entry"].as_array_mut().and_then(Vec::pop);
                let half = Bytes::from(bundle.to_string());
                proxy.forward(&method, path, &headers, half).await;
                return silence();
            }
        }
        _ => {}
    }
    let forwarded = proxy.forward(&method, path, &headers, body).await;
    forwarded.unwrap_or_else(silence)
}

/// A connection that breaks before the answer is whole.
fn silence() -> Response<Body> {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Response::new(Body::from_stream(stream::once(async {
        Err::<Bytes, _>(broken)
    })))
}

/// Accepts one message in ten itself.
async fn answer_messages(mut sender: TcpStream, address: &str) -> std::io::Result<()> {
    let mut listener = TcpStream::connect(address).await?;
    for number in 0_u64.. {
        let message = frame(&mut sender).await?;
        if number % 10 == 5 {
            let text = String::from_utf8_lossy(&message);
            let control_id = text.split('|').nth(9).unwrap_or_default().to_owned();
            let answer = format!("\x0bMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|AA|{control_id}\r\x1c\r");
            sender.write_all(answer.as_bytes()).await?;
            continue;
        }
        listener.write_all(&message).await?;
        let answer = frame(&mut listener).await?;
        sender.write_all(&answer).await?;
    }
    Ok(())
}

async fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\x1c\r") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(bytes)
}
