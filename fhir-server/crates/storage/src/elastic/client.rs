//! Talking to the cluster: one request at a time to one of its nodes, the next where one does not answer.
//!
//! A search that finds nobody, or that takes too long, opens a circuit: for a while, which grows, searches are refused at once instead of
//! waiting for nothing. What an error says is its kind only: the reasons that Elasticsearch gives may quote values.

use super::settings::ElasticSettings;
use crate::error::Error;
use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
pub(crate) use elasticsearch::http::Method;
use elasticsearch::http::headers::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::response::Response;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use url::Url;

/// How long the circuit stays open after the first failure, and at most.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What became of a request that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElasticError {
    /// Not asked: it did not answer a moment ago.
    #[error("the search index did not answer a moment ago")]
    Resting,
    #[error("the search index cannot be reached")]
    Unreachable,
    #[error("the search index did not answer in time")]
    TimedOut,
    /// `kind` is the type that Elasticsearch gives its error.
    #[error("the search index refused a request: {status} {kind}")]
    Refused { status: u16, kind: String },
    /// There is none that a search could rely on, and why.
    #[error("no search index can be searched: {0}")]
    Unsearchable(&'static str),
    /// An answer that is none.
    #[error("the search index gave an answer that cannot be read")]
    Unreadable,
}

impl ElasticError {
    /// A word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            ElasticError::Resting => "resting",
            ElasticError::Unreachable => "unreachable",
            ElasticError::TimedOut => "timed-out",
            ElasticError::Refused { .. } => "refused",
            ElasticError::Unsearchable(reason) => reason,
            ElasticError::Unreadable => "unreadable",
        }
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, ElasticError::Refused { status: 404, .. })
    }

    /// Whether nobody answered, or only that there is nobody to do it.
    fn is_down(&self) -> bool {
        match self {
            ElasticError::Refused { status, .. } => matches!(*status, 429 | 502..=504),
            _ => true,
        }
    }
}

enum Sent<'b> {
    Nothing,
    Json(&'b Value),
    Lines(&'b str),
}

pub(crate) struct Client {
    nodes: Vec<Transport>,
    /// Who is asked first.
    next: AtomicUsize,
    search_timeout: Duration,
    circuit: Mutex<Circuit>,
}

#[derive(Default)]
struct Circuit {
    open_until: Option<Instant>,
    /// Of the next time.
    rest: Duration,
    /// It was a search that took too long: what the indexer gets done says nothing of that.
    is_slow: bool,
}

impl Client {
    /// # Errors
    /// [`Error::Start`] for addresses and files that cannot be used. Nobody is asked yet.
    pub fn new(settings: &ElasticSettings) -> Result<Client, Error> {
        let nodes: Result<Vec<Transport>, Error> = settings
            .urls
            .iter()
            .map(|url| transport(url, settings))
            .collect();
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err(wrong("names no address"));
        }
        Ok(Client {
            nodes,
            next: AtomicUsize::new(0),
            search_timeout: Duration::from_millis(settings.search_timeout_ms),
            circuit: Mutex::default(),
        })
    }

    /// Sends a request to one node after the other, until one answers. Gives the answer of a status below 300.
    ///
    /// # Errors
    /// All others. After a time-out nobody else is asked, because the request may go on.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, ElasticError> {
        self.ask(method, path, body.map_or(Sent::Nothing, Sent::Json), within)
            .await
    }

    /// As [`Client::send`], of the lines of a bulk request.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_lines(
        &self,
        path: &str,
        lines: &str,
        within: Duration,
    ) -> Result<Value, ElasticError> {
        self.ask(Method::Post, path, Sent::Lines(lines), within)
            .await
    }

    /// A search, within its time-out; refused at once while the circuit is open. Whatever is answered closes it.
    ///
    /// # Errors
    /// As [`Client::send`], and [`ElasticError::Resting`].
    pub async fn search(&self, path: &str, body: &Value) -> Result<Value, ElasticError> {
        if !self.may_try() {
            return Err(ElasticError::Resting);
        }
        let answer = self
            .send(Method::Post, path, Some(body), self.search_timeout)
            .await;
        match &answer {
            Err(error) if error.is_down() => self.rest(*error == ElasticError::TimedOut),
            _ => *self.circuit() = Circuit::default(),
        }
        answer
    }

    /// Whether searches are refused for now.
    pub fn is_resting(&self) -> bool {
        let open_until = self.circuit().open_until;
        open_until.is_some_and(|until| Instant::now() < until)
    }

    /// The indexer was answered.
    pub fn is_back(&self) {
        let mut circuit = self.circuit();
        if !circuit.is_slow {
            *circuit = Circuit::default();
        }
    }

    /// The indexer was not: searches need not find that out again.
    pub fn is_gone(&self, error: &ElasticError) {
        if *error == ElasticError::Unreachable {
            self.rest(false);
        }
    }

    /// After a rest one search tries how it is; the others rest on until it knows.
    fn may_try(&self) -> bool {
        let now = Instant::now();
        let mut circuit = self.circuit();
        match circuit.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                circuit.open_until = Some(now + self.search_timeout);
                true
            }
            None => true,
        }
    }

    fn rest(&self, is_slow: bool) {
        let mut circuit = self.circuit();
        let rest = circuit.rest.max(REST.0);
        circuit.open_until = Some(Instant::now() + rest);
        circuit.rest = (rest * 2).min(REST.1);
        circuit.is_slow = is_slow;
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        sent: Sent<'_>,
        within: Duration,
    ) -> Result<Value, ElasticError> {
        let all = async {
            let first = self.next.fetch_add(1, Ordering::Relaxed);
            let mut last = ElasticError::Unreachable;
            for at in 0..self.nodes.len() {
                let node = &self.nodes[(first + at) % self.nodes.len()];
                match ask_node(node, method, path, &sent).await {
                    // A node that is starting or leaving; another one may serve.
                    Err(error @ ElasticError::Refused { status: 503, .. }) => last = error,
                    Err(ElasticError::Unreachable) => {}
                    answer => return answer,
                }
            }
            Err(last)
        };
        // The client's futures are deep, and what is asked here stands at the end of long paths.
        timeout(within, Box::pin(all))
            .await
            .unwrap_or(Err(ElasticError::TimedOut))
    }
}

async fn ask_node(
    node: &Transport,
    method: Method,
    path: &str,
    sent: &Sent<'_>,
) -> Result<Value, ElasticError> {
    let mut headers = HeaderMap::new();
    let body = match sent {
        Sent::Nothing => None,
        Sent::Json(value) => Some(value.to_string()),
        Sent::Lines(lines) => {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-ndjson"),
            );
            Some((*lines).to_owned())
        }
    };
    let response = node
        .send(method, path, headers, None::<&()>, body, None)
        .await
        .map_err(|_| ElasticError::Unreachable)?;
    read(method, response).await
}

async fn read(method: Method, response: Response) -> Result<Value, ElasticError> {
    let status = response.status_code().as_u16();
    if method == Method::Head {
        return match status {
            200..=299 => Ok(Value::Null),
            _ => Err(refused(status, &Value::Null)),
        };
    }
    // An answer that breaks off is that of a node which went away.
    let text = response
        .text()
        .await
        .map_err(|_| ElasticError::Unreachable)?;
    let answer = serde_json::from_str(&text);
    match (status, answer) {
        (200..=299, Ok(answer)) => Ok(answer),
        (200..=299, Err(_)) => Err(ElasticError::Unreadable),
        (_, answer) => Err(refused(status, &answer.unwrap_or_default())),
    }
}

fn refused(status: u16, answer: &Value) -> ElasticError {
    let error = &answer["error"];
    let kind = error["type"].as_str().unwrap_or_default();
    // The first cause says more than "all shards failed".
    let kind = error["root_cause"][0]["type"].as_str().unwrap_or(kind);
    ElasticError::Refused {
        status,
        kind: kind.to_owned(),
    }
}

fn transport(url: &str, settings: &ElasticSettings) -> Result<Transport, Error> {
    let url = Url::parse(url).map_err(|_| wrong("is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("is no http:// or https:// URL"));
    }
    // What a proxy of the surroundings would see is patients.
    let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url)).disable_proxy();
    if let Some(key) = &settings.api_key {
        let mut value = HeaderValue::from_str(&format!("ApiKey {key}"))
            .map_err(|_| wrong_named("ELASTICSEARCH_API_KEY", "is no key"))?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    } else if let Some(user) = &settings.user {
        let password = settings.password.clone().unwrap_or_default();
        builder = builder.auth(Credentials::Basic(user.clone(), password));
    }
    if let Some(file) = &settings.ca_file {
        builder = builder.cert_validation(CertificateValidation::Full(authority(file)?));
    }
    builder
        .build()
        .map_err(|_| wrong("cannot be used with these certificates"))
}

fn authority(file: &Path) -> Result<Certificate, Error> {
    const NAME: &str = "ELASTICSEARCH_CA_FILE";
    let pem = std::fs::read(file).map_err(|error| wrong_named(NAME, &error.to_string()))?;
    Certificate::from_pem(&pem).map_err(|_| wrong_named(NAME, "holds no certificate in PEM"))
}

fn wrong(reason: &str) -> Error {
    wrong_named("ELASTICSEARCH_URL", reason)
}

fn wrong_named(setting: &str, reason: &str) -> Error {
    Error::Start(format!("{setting}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const NOBODY: &str = "http://127.0.0.1:1";

    fn client(urls: &[&str]) -> Result<Client, Error> {
        Client::new(&settings(urls))
    }

    fn settings(urls: &[&str]) -> ElasticSettings {
        ElasticSettings {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            user: Some("u".into()),
            password: Some("hunter2".into()),
            search_timeout_ms: 200,
            bulk_timeout_ms: 200,
            ..crate::testing::elastic(NOBODY.into(), "fhir".into())
        }
    }

    /// Answers every request so, each on a connection of its own; `None`: not at all.
    async fn node(answer: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                match answer {
                    None => silent.push(connection),
                    Some(answer) => drop(connection.write_all(answer.as_bytes()).await),
                }
            }
        });
        url
    }

    const FINE: &str =
        "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\n{\"a\": 1}";
    const LEAVING: &str =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 62\r\nconnection: close\r\n\r\n\
                           {\"error\": {\"type\": \"parsing_exception\", \"reason\": \"of Zzyzx\"}}";

    #[tokio::test]
    async fn one_node_of_several_is_enough() {
        let (fine, leaving) = (node(Some(FINE)).await, node(Some(LEAVING)).await);
        let client = client(&[NOBODY, &leaving, &fine]).unwrap();
        for _ in 0..6 {
            let within = Duration::from_secs(5);
            let answer = client.send(Method::Get, "/", None, within).await;
            assert_eq!(answer.unwrap()["a"], 1);
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_not_asked_for_a_while() {
        let client = client(&[NOBODY]).unwrap();
        let search = async || client.search("/x/_search", &Value::Null).await;
        assert_eq!(search().await, Err(ElasticError::Unreachable));
        assert_eq!(search().await, Err(ElasticError::Resting));
        client.is_back();
        assert_eq!(search().await, Err(ElasticError::Unreachable));
        // One tries again when the rest is over.
        client.circuit().open_until = Some(Instant::now());
        assert_eq!(search().await, Err(ElasticError::Unreachable));
        assert!(client.is_resting());
    }

    /// That batches are written says nothing of searches that take too long.
    #[tokio::test]
    async fn who_is_slow_rests_too() {
        let slow = node(None).await;
        let client = client(&[&slow]).unwrap();
        let search = async || client.search("/x/_search", &Value::Null).await;
        assert_eq!(search().await, Err(ElasticError::TimedOut));
        client.is_back();
        assert_eq!(search().await, Err(ElasticError::Resting));
    }

    /// A refusal is an answer, and tells its kind only.
    #[tokio::test]
    async fn what_is_refused_is_told_without_values() {
        let refusing = node(Some(REFUSED)).await;
        let client = client(&[&refusing]).unwrap();
        let error = client.search("/x/_search", &Value::Null).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the search index refused a request: 400 parsing_exception"
        );
        assert!(!client.is_resting());
    }

    /// What a node hears of a request.
    async fn heard(change: impl FnOnce(&mut ElasticSettings)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = settings(&[&url]);
        change(&mut settings);
        let client = Client::new(&settings).unwrap();
        let hear = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = connection.read(&mut request).await.unwrap();
            connection.write_all(FINE.as_bytes()).await.unwrap();
            request.truncate(length);
            String::from_utf8(request).unwrap().to_lowercase()
        };
        let ask = client.send(Method::Get, "/", None, Duration::from_secs(5));
        let (heard, answer) = tokio::join!(hear, ask);
        answer.unwrap();
        heard
    }

    #[tokio::test]
    async fn says_who_it_is() {
        let by_user = heard(|_| {}).await;
        assert!(
            by_user.contains("authorization: basic dtpodw50zxiy"),
            "{by_user}"
        );
        let by_key = heard(|settings| settings.api_key = Some("Zm9vOmJhcg==".into())).await;
        assert!(
            by_key.contains("authorization: apikey zm9vomjhcg=="),
            "{by_key}"
        );
        let by_nobody = heard(|settings| settings.user = None).await;
        assert!(!by_nobody.contains("authorization"), "{by_nobody}");
    }

    #[test]
    fn what_cannot_be_used_is_said_at_the_start() {
        for urls in [&["localhost:9200"][..], &["ftp://x"], &[]] {
            assert!(matches!(client(urls), Err(Error::Start(_))), "{urls:?}");
        }
        let no_file = ElasticSettings {
            ca_file: Some("/nowhere.pem".into()),
            ..settings(&[NOBODY])
        };
        let error = Client::new(&no_file).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("ELASTICSEARCH_CA_FILE: "), "{error}");
        assert!(!format!("{:?}", settings(&[NOBODY])).contains("hunter2"));
    }
}
