//! A FHIR server in memory for the tests of this crate: searches by `_id` and `identifier`, reads, and transactions of PUTs that
//! honour ifMatch and ifNoneMatch, all or nothing. Real servers are met in the tests of the server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::submit::Submit;
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// `Type/id` to the current body and its version.
pub type Rows = BTreeMap<String, (u64, Json)>;

/// What another client does.
pub type Interference = Box<dyn FnOnce(&mut Rows) + Send>;

#[derive(Clone, Default)]
pub struct FakeServer {
    pub rows: Arc<Mutex<Rows>>,
    /// Called before each transaction: what another client does meanwhile.
    pub meanwhile: Arc<Mutex<Vec<Interference>>>,
    pub is_down: Arc<Mutex<bool>>,
    /// A type it cannot search now.
    pub cannot_search: Arc<Mutex<Option<&'static str>>>,
}

impl FakeServer {
    pub fn submit(&self) -> Submit {
        let own = self.clone();
        Submit::service(tower::service_fn(move |request: Request<Json>| {
            let own = own.clone();
            async move {
                if *own.is_down.lock().unwrap() {
                    return Ok::<_, Infallible>(reply(503, &json!({})));
                }
                Ok(own.handle(&request))
            }
        }))
    }

    /// Everything that is there.
    pub fn written(&self) -> Rows {
        self.rows.lock().unwrap().clone()
    }

    fn search(&self, rows: &Rows, url: &str) -> Json {
        match *self.cannot_search.lock().unwrap() {
            Some(kind) if url.starts_with(kind) => json!({"response": {"status": "503"}}),
            _ => search(rows, url),
        }
    }

    /// Every resource of a type, in the order of their ids.
    pub fn all(&self, kind: &str) -> Vec<Json> {
        let rows = self.rows.lock().unwrap();
        let of_kind = rows.values().map(|(_, body)| body.clone());
        of_kind
            .filter(|body| body["resourceType"] == kind)
            .collect()
    }

    fn handle(&self, request: &Request<Json>) -> Response<Bytes> {
        if request.method() == Method::GET {
            return match self.rows.lock().unwrap().get(&request.uri().path()[1..]) {
                Some((_, body)) => reply(200, body),
                None => reply(404, &json!({})),
            };
        }
        let bundle = request.body();
        let entries = bundle["entry"].as_array().unwrap();
        if bundle["type"] == "batch" {
            let rows = self.rows.lock().unwrap();
            let found: Vec<Json> = entries
                .iter()
                .map(|entry| self.search(&rows, entry["request"]["url"].as_str().unwrap()))
                .collect();
            return reply(200, &json!({"resourceType": "Bundle", "entry": found}));
        }
        let mut rows = self.rows.lock().unwrap();
        for change in self.meanwhile.lock().unwrap().drain(..) {
            change(&mut rows);
        }
        let mut next = rows.clone();
        for entry in entries {
            let request = &entry["request"];
            assert_eq!(request["method"], "PUT");
            let url = request["url"].as_str().unwrap().to_owned();
            let version = rows.get(&url).map(|(version, _)| *version);
            let is_met = match (request["ifMatch"].as_str(), request["ifNoneMatch"].as_str()) {
                (Some(tag), None) => version.is_some_and(|v| tag == format!("W/\"{v}\"")),
                (None, Some("*")) => version.is_none(),
                other => panic!("{url} without a condition: {other:?}"),
            };
            if !is_met {
                return reply(412, &json!({}));
            }
            put(&mut next, &url, entry["resource"].clone());
        }
        *rows = next;
        reply(200, &json!({"resourceType": "Bundle"}))
    }
}

/// Stores a resource; what does not change it keeps its version.
pub fn put(rows: &mut Rows, url: &str, mut body: Json) {
    let bare = |body: &Json| {
        let mut body = body.clone();
        if let Some(meta) = body["meta"].as_object_mut() {
            meta.remove("versionId");
        }
        body
    };
    let version = match rows.get(url) {
        Some((_, old)) if bare(old) == bare(&body) => return,
        Some((version, _)) => version + 1,
        None => 1,
    };
    if !body["meta"].is_object() {
        body["meta"] = json!({});
    }
    body["meta"]["versionId"] = version.to_string().into();
    rows.insert(url.to_owned(), (version, body));
}

fn search(rows: &Rows, url: &str) -> Json {
    let (kind, query) = url.split_once('?').unwrap();
    let (name, value) = query.split('&').next().unwrap().split_once('=').unwrap();
    let wanted: Vec<String> = value
        .split(',')
        .map(|value| {
            percent_encoding::percent_decode_str(value)
                .decode_utf8()
                .unwrap()
                .into_owned()
        })
        .collect();
    let matches = |body: &Json| match name {
        "_id" => wanted.iter().any(|id| body["id"] == id.as_str()),
        "identifier" => body["identifier"].as_array().is_some_and(|list| {
            list.iter().any(|own| {
                let token = format!(
                    "{}|{}",
                    own["system"].as_str().unwrap_or_default(),
                    own["value"].as_str().unwrap_or_default()
                );
                wanted.contains(&token)
            })
        }),
        other => panic!("{other}"),
    };
    let found: Vec<Json> = rows
        .values()
        .map(|(_, body)| body)
        .filter(|body| body["resourceType"] == kind && matches(body))
        .map(|body| json!({"resource": body, "search": {"mode": "match"}}))
        .collect();
    json!({"response": {"status": "200"}, "resource": {"resourceType": "Bundle", "entry": found}})
}

fn reply(status: u16, body: &Json) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    response
}
