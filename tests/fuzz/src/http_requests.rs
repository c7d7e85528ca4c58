//! Requests to a whole server on a real Postgres, in process, one after another: `METHOD /path`, header lines, an empty line, the body;
//! `---` on a line of its own stands between requests.
//!
//! Never a 5xx; what is refused says so in an OperationOutcome; what is stored is what was sent; the links of a page can be followed.

use crate::search_url::{observation, patient};
use crate::shared::root;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use fhir_model::json;
use fhir_server::app::App;
use fhir_server::config::{Config, SETTINGS};
use fhir_server::{data, serve, setting, xml};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// Most requests of one input.
const REQUESTS_MAX: usize = 4;

struct Site {
    runtime: Runtime,
    service: Router,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

pub fn run(input: &[u8]) {
    let requests = split(input, b"\n---\n");
    for request in requests.into_iter().take(REQUESTS_MAX) {
        if let Some(request) = read(request) {
            SITE.runtime.block_on(exchange(&SITE.service, request));
        }
    }
}

/// `None` for what no HTTP server would hand on.
fn read(text: &[u8]) -> Option<Request<Bytes>> {
    let parts = split(text, b"\n\n");
    let (head, body) = (parts[0], &text[text.len().min(parts[0].len() + 2)..]);
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let (method, uri) = lines.next()?.split_once(' ')?;
    let uri: Uri = uri
        .parse()
        .ok()
        .filter(|uri: &Uri| uri.path().starts_with('/'))?;
    let mut request = Request::new(Bytes::copy_from_slice(body));
    *request.method_mut() = method.parse().ok()?;
    *request.uri_mut() = uri;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        let value = HeaderValue::from_str(value.trim()).ok()?;
        request.headers_mut().append(name, value);
    }
    let json = HeaderValue::from_static("application/fhir+json");
    request
        .headers_mut()
        .entry(header::CONTENT_TYPE)
        .or_insert(json);
    Some(request)
}

async fn exchange(service: &Router, request: Request<Bytes>) {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let sent = json::parse(request.body()).ok();
    let bare = request.headers().len() == 1 && request.uri().query().is_none();
    let answer = send(service, request).await;
    let read = understood(&answer);
    let Some(body) = read.filter(|_| answer.status < 300) else {
        return;
    };
    let below = path.strip_prefix("/fhir/").unwrap_or_default();
    let is_create = method == Method::POST && !below.is_empty() && !below.contains(['_', '$']);
    if let (true, true, Some(mut sent)) = (is_create, bare, sent) {
        let mut stored = body.clone();
        let location = answer
            .headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        let location = location.expect("what was created has a place");
        let place = location
            .split_once("/fhir/")
            .map_or(location, |(_, below)| below);
        let again = understood(&send(service, get(&format!("/fhir/{place}"))).await);
        assert_eq!(
            again.as_ref(),
            Some(&stored),
            "a read gives what the create gave"
        );
        without_server_elements(&mut sent);
        without_server_elements(&mut stored);
        assert_eq!(stored, sent, "stored is sent");
    }
    if body["type"] == "searchset" {
        for link in body["link"].as_array().into_iter().flatten() {
            let url = link["url"].as_str().expect("a link has a URL");
            let uri: Uri = url.parse().expect("a link is a URL");
            let below = uri.path_and_query().map_or("", |below| below.as_str());
            let followed = send(service, get(below)).await;
            let shown = String::from_utf8_lossy(&followed.body);
            assert_eq!(followed.status, 200, "{url}\n{shown}");
        }
    }
}

/// What the server sets itself.
fn without_server_elements(resource: &mut Value) {
    if let Some(object) = resource.as_object_mut() {
        object.shift_remove("id");
        if let Some(meta) = object.get_mut("meta").and_then(Value::as_object_mut) {
            meta.shift_remove("versionId");
            meta.shift_remove("lastUpdated");
            if meta.is_empty() {
                object.shift_remove("meta");
            }
        }
    }
}

/// What every answer is.
fn understood(answer: &Answer) -> Option<Value> {
    let shown = || String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status < 500, "{} {}", answer.status, shown());
    if answer.body.is_empty() || answer.status == 204 {
        return None;
    }
    let content_type = answer.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let body = match content_type.unwrap_or_default() {
        name if name.contains("json") => json::parse(&answer.body),
        name if name.contains("xml") => xml::read(&answer.body),
        name => {
            assert!(answer.status < 400, "{name}: {}", shown());
            return None;
        }
    };
    let body = body.unwrap_or_else(|issue| panic!("{issue:?} in {}", shown()));
    if answer.status >= 400 {
        assert_eq!(body["resourceType"], "OperationOutcome", "{}", shown());
        assert!(!body["issue"][0]["diagnostics"].is_null(), "{}", shown());
    }
    Some(body)
}

async fn send(service: &Router, request: Request<Bytes>) -> Answer {
    let is_head = request.method() == Method::HEAD;
    let response = service.clone().oneshot(request.map(Body::from)).await;
    let (parts, body) = response.expect("a router cannot fail").into_parts();
    let collected = body.collect().await.expect("an answer is whole");
    let body = if is_head {
        Bytes::new()
    } else {
        collected.to_bytes()
    };
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

fn get(path: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = path.parse().expect("it is a path of the server's own");
    request
}

fn split<'t>(mut text: &'t [u8], at: &[u8]) -> Vec<&'t [u8]> {
    let mut parts = Vec::new();
    while let Some(found) = text.windows(at.len()).position(|window| window == at) {
        parts.push(&text[..found]);
        text = &text[found + at.len()..];
    }
    parts.push(text);
    parts
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let service = runtime.block_on(async {
        let folder = |name: &str| root().join(name).display().to_string();
        let settings = HashMap::from([
            (
                "database_url",
                fhir_storage::testing::empty_database().await,
            ),
            ("mappings_dir", folder("mappings")),
            ("profiles_dir", folder("profiles")),
            ("terminology_dir", folder("terminology")),
        ]);
        let texts = setting::gather(SETTINGS, |key| settings.get(key).cloned(), |_| None, None);
        let config = Config::read(&texts.expect("known settings")).expect("right settings");
        let data = data::load(&config).expect("the product's own files are right");
        let opened = serve::open(&config, &data).await.expect("the store opens");
        let secret = *opened.store.site_secret();
        let service = fhir_server::http::service(Arc::new(App::new(opened.store, config, &secret)));
        for resource in [patient(), observation()] {
            let path = format!(
                "/fhir/{}/{}",
                json::resource_type(&resource).unwrap_or_default(),
                resource["id"].as_str().unwrap_or_default()
            );
            let mut request = get(&path).map(|_| Bytes::from(resource.to_string()));
            *request.method_mut() = Method::PUT;
            let json = HeaderValue::from_static("application/fhir+json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
            let answer = send(&service, request).await;
            assert_eq!(
                answer.status,
                201,
                "{}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        service
    });
    Site { runtime, service }
});
