//! A server in this process, over real HTTP and a real Postgres, shared by all tests of a run; and the language of the tables.

use crate::process::ROOT;
use fhir_server::config::{Config, SETTINGS};
use fhir_server::serve::Server;
use fhir_server::setting;
use fhir_storage::Store;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use tokio::sync::oneshot;

/// A server and a client of it.
#[derive(Clone)]
pub struct Site {
    pub origin: String,
    pub client: reqwest::Client,
    /// Ends a server of its own with the last that knows it: all of them have one Postgres, which gives a hundred connections.
    _running: Option<Arc<Running>>,
}

/// A server runs as long as this is there.
type Running = oneshot::Sender<()>;

/// A response, read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

/// The server that tests share. It has a runtime of its own: each test's ends with the test.
static SHARED: LazyLock<(String, Running)> = LazyLock::new(|| on_own_runtime(&[]));

/// A new client of the shared server.
pub fn shared() -> Site {
    Site::new(&SHARED.0)
}

/// A server that lets requests wait as long as they must: for crowds, that are asked whether they get in each other's way.
pub fn for_crowds() -> Site {
    with_settings(&[("requests_wait_ms", "60000")])
}

/// A server with settings of its own, on a database of its own.
pub fn with_settings(settings: &[(&'static str, &str)]) -> Site {
    let (origin, running) = on_own_runtime(settings);
    Site {
        _running: Some(Arc::new(running)),
        ..Site::new(&origin)
    }
}

fn on_own_runtime(settings: &[(&'static str, &str)]) -> (String, Running) {
    let settings: HashMap<&'static str, String> = settings
        .iter()
        .map(|(key, value)| (*key, value.to_string()))
        .collect();
    let (tell, told) = std::sync::mpsc::channel();
    let (running, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Server::start(config(settings).await).await.unwrap();
            tell.send(format!("http://{}", server.http_addr)).unwrap();
            let _ = ended.await;
            server.stop().await;
        });
    });
    (told.recv().expect("the server starts"), running)
}

/// A server of this runtime, on a database of its own: for what is done to it from inside.
pub async fn server(settings: &[(&'static str, &str)]) -> Server {
    let settings = settings
        .iter()
        .map(|(key, value)| (*key, value.to_string()));
    Server::start(config(settings.collect()).await)
        .await
        .unwrap()
}

async fn config(settings: HashMap<&'static str, String>) -> Config {
    let mut all = HashMap::from([
        ("http_addr", "127.0.0.1:0".to_string()),
        ("mllp_addr", "off".to_string()),
        ("mappings_dir", format!("{ROOT}/mappings")),
        ("profiles_dir", format!("{ROOT}/profiles")),
        ("terminology_dir", format!("{ROOT}/terminology")),
        ("log_level", "warn".to_string()),
        (
            "database_url",
            fhir_storage::testing::empty_database().await,
        ),
        ("write_connections", "8".to_string()),
        ("search_connections", "4".to_string()),
    ]);
    all.extend(settings);
    let texts = setting::gather(SETTINGS, |key| all.get(key).cloned(), |_| None, None).unwrap();
    Config::read(&texts).unwrap()
}

/// The store of a database that a server with these settings uses; opening it changes nothing.
pub async fn store(settings: &[(&'static str, &str)]) -> Store {
    let settings = settings
        .iter()
        .map(|(key, value)| (*key, value.to_string()));
    let config = config(settings.collect()).await;
    let data = fhir_server::data::load(&config).unwrap();
    let url = config.database_url.unwrap();
    Store::open(fhir_storage::testing::settings(url), data.definitions)
        .await
        .unwrap()
}

impl Site {
    pub fn new(origin: &str) -> Site {
        Site {
            origin: origin.to_string(),
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            _running: None,
        }
    }

    pub fn base(&self) -> String {
        format!("{}/fhir", self.origin)
    }

    /// Sends `METHOD path` below the base, with the header lines that follow; JSON unless a Content-Type is among them.
    pub async fn send(&self, request: &str, body: &str) -> Answer {
        self.try_send(request, body)
            .await
            .expect("the server answers")
    }

    /// As `send`; `None` where there is no whole answer.
    pub async fn try_send(&self, request: &str, body: &str) -> Option<Answer> {
        let mut lines = request.lines();
        let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
        let url = match path {
            path if path.starts_with("http://") => path.to_string(),
            "" => self.base(),
            path => format!("{}/{path}", self.base()),
        };
        let mut builder = self.client.request(method.parse().unwrap(), url);
        let mut typed = body.is_empty();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            typed |= name.eq_ignore_ascii_case("content-type");
            builder = builder.header(name, value);
        }
        if !typed {
            builder = builder.header("content-type", "application/fhir+json");
        }
        let response = builder.body(body.to_string()).send().await.ok()?;
        Some(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.ok()?,
        })
    }

    /// One line of a table: what is sent, and what must come back. `expect` is a status, then parts between ` ; `:
    /// `Header: text it holds`, `/json/pointer = JSON or text`, `/json/pointer absent`, `~text of the body`, `empty`.
    pub async fn check(&self, request: &str, body: &str, expect: &str) -> Answer {
        let answer = self.send(request, body).await;
        let mut parts = expect.split(" ; ");
        let said = || {
            format!(
                "{request}\n{body}\n=> {} {:?}\n{}",
                answer.status, answer.headers, answer.text
            )
        };
        let status: u16 = parts.next().unwrap().parse().unwrap();
        assert_eq!(answer.status, status, "{}", said());
        for part in parts {
            assert!(answer.holds(part), "expected: {part}\n{}", said());
        }
        if answer.status >= 400 && !request.starts_with("HEAD") {
            let outcome = answer.json();
            assert_eq!(outcome["resourceType"], "OperationOutcome", "{}", said());
            assert!(outcome["issue"][0]["diagnostics"].is_string(), "{}", said());
        }
        answer
    }

    /// Every resource of every type, by `Type/id`.
    pub async fn resources(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let statement = self.check("GET metadata", "", "200").await.json();
        for kind in statement["rest"][0]["resource"].as_array().unwrap() {
            let kind = kind["type"].as_str().unwrap();
            let mut request = Some(format!("GET {kind}?_count=1000"));
            while let Some(url) = request.take() {
                let page = self.check(&url, "", "200").await.json();
                for entry in page["entry"].as_array().into_iter().flatten() {
                    let resource = entry["resource"].clone();
                    let key = format!("{kind}/{}", resource["id"].as_str().unwrap());
                    all.insert(key, resource);
                }
                let mut links = page["link"].as_array().into_iter().flatten();
                let next = links.find(|link| link["relation"] == "next");
                request = next.map(|next| format!("GET {}", next["url"].as_str().unwrap()));
            }
        }
        all
    }

    /// Checks the lines in order.
    pub async fn table(&self, lines: &[(&str, &str, &str)]) {
        for (request, body, expect) in lines {
            self.check(request, body, expect).await;
        }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn holds(&self, part: &str) -> bool {
        if part == "empty" {
            return self.text.is_empty();
        }
        if let Some(text) = part.strip_prefix('~') {
            return self.text.contains(text);
        }
        if let Some(pointer) = part.strip_suffix(" absent") {
            return self.json().pointer(pointer).is_none();
        }
        if part.starts_with('/') {
            let (pointer, expect) = part.split_once(" = ").unwrap();
            let answer = self.json();
            let Some(found) = answer.pointer(pointer) else {
                return false;
            };
            return found.as_str() == Some(expect)
                || serde_json::from_str(expect).is_ok_and(|expect: Value| expect == *found);
        }
        let (name, text) = part.split_once(": ").unwrap();
        let mut values = self.headers.get_all(name).iter();
        values.any(|value| value.to_str().unwrap().contains(text))
    }
}

/// The logical id in a Location header.
pub fn id_of(answer: &Answer) -> String {
    let location = answer.header("location");
    location.split('/').rev().nth(2).unwrap().to_string()
}
