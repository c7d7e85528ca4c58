//! A FHIR server in memory for the tests of this crate: searches by `_id` and `identifier` in pages, reads, and transactions of PUTs and HEADs that
//! honour ifMatch and ifNoneMatch, all or nothing. Real servers are met in the tests of the server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::submit::Submit;
use bytes::Bytes;
use http::{Method, Request, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Every version, as `Type/id/_history/version`.
    history: Arc<Mutex<BTreeMap<String, Json>>>,
    /// A type it cannot search now.
    pub cannot_search: Arc<Mutex<Option<&'static str>>>,
    /// Most matches on a page, whatever is asked for.
    pub page_max: Arc<Mutex<Option<usize>>>,
    /// The searches it was asked.
    pub asked: Arc<Mutex<Vec<String>>>,
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
        self.asked.lock().unwrap().push(url.to_owned());
        match *self.cannot_search.lock().unwrap() {
            Some(kind) if url.starts_with(kind) => json!({"response": {"status": "503"}}),
            _ => search(
                rows,
                url,
                self.page_max.lock().unwrap().unwrap_or(usize::MAX),
            ),
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
            let path = &request.uri().path()[1..];
            let (rows, history) = (self.rows.lock().unwrap(), self.history.lock().unwrap());
            return match rows.get(path).map(|(_, body)| body).or(history.get(path)) {
                Some(body) => reply(200, body),
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
        let urls = entries.iter().map(|entry| entry["request"]["url"].as_str());
        if urls.collect::<BTreeSet<_>>().len() < entries.len() {
            // As the server says of one identity that comes twice.
            return reply(400, &json!({}));
        }
        for entry in entries {
            let request = &entry["request"];
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
            match request["method"].as_str() {
                Some("PUT") => put(&mut next, &url, entry["resource"].clone()),
                other => assert_eq!(other, Some("HEAD")),
            }
        }
        *rows = resolved(next);
        let mut history = self.history.lock().unwrap();
        for (url, (version, body)) in rows.iter() {
            let url = format!("{url}/_history/{version}");
            history.entry(url).or_insert_with(|| body.clone());
        }
        reply(200, &json!({"resourceType": "Bundle"}))
    }
}

/// Targets of a Provenance get the version they have now (resolve-as-version-specific).
fn resolved(mut rows: Rows) -> Rows {
    let versions: BTreeMap<String, u64> = rows
        .iter()
        .map(|(url, (version, _))| (url.clone(), *version))
        .collect();
    for (url, (_, body)) in &mut rows {
        let targets = body
            .get_mut("target")
            .and_then(Json::as_array_mut)
            .filter(|_| url.starts_with("Provenance/"));
        for target in targets.into_iter().flatten() {
            let reference = target["reference"].as_str().unwrap().to_owned();
            if let Some(version) = versions.get(&reference) {
                *target = json!({"reference": format!("{reference}/_history/{version}")});
            }
        }
    }
    rows
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

fn search(rows: &Rows, url: &str, page_max: usize) -> Json {
    let (kind, query) = url.split_once('?').unwrap();
    let compartment = kind.strip_suffix("/*");
    let parameters: Vec<(&str, Vec<String>)> = query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap())
        .map(|(name, value)| (name, value.split(',').map(decoded).collect()))
        .collect();
    let mut found: Vec<&Json> = rows
        .values()
        .map(|(_, body)| body)
        .filter(|body| {
            compartment.is_some_and(|own| refers(body, own)) || body["resourceType"] == kind
        })
        .filter(|body| {
            parameters
                .iter()
                .all(|(name, wanted)| is_match(body, name, wanted))
        })
        .collect();
    let is_sorted = query.contains("_sort=authored-on");
    let place = |body: &Json| {
        let time = is_sorted.then(|| body["authoredOn"].to_string());
        format!("{time:?} {} {}", body["resourceType"], body["id"])
    };
    found.sort_by_cached_key(|body| place(body));
    let value = |name: &str| {
        let own = parameters.iter().find(|(own, _)| *own == name);
        own.map(|(_, values)| values.join(","))
    };
    if let Some(after) = value("_after") {
        found.retain(|body| place(body) > after);
    }
    let count = value("_count").map_or(usize::MAX, |count| count.parse().unwrap());
    let has_more = found.len() > count.min(page_max);
    found.truncate(count.min(page_max));
    let mut page = json!({"resourceType": "Bundle"});
    if has_more {
        let (first, _) = query.split_once("&_after=").unwrap_or((query, ""));
        let after =
            utf8_percent_encode(&place(found.last().unwrap()), NON_ALPHANUMERIC).to_string();
        let url = format!("http://the-server.example/fhir/{kind}?{first}&_after={after}");
        page["link"] = json!([{"relation": "self", "url": "x"}, {"relation": "next", "url": url}]);
    }
    let entry = |body| json!({"resource": body, "search": {"mode": "match"}});
    page["entry"] = found.into_iter().map(entry).collect();
    json!({"response": {"status": "200"}, "resource": page})
}

fn decoded(text: &str) -> String {
    let text = percent_encoding::percent_decode_str(text);
    text.decode_utf8().unwrap().into_owned()
}

/// Of reference parameters any reference matches.
fn is_match(body: &Json, name: &str, wanted: &[String]) -> bool {
    match name {
        "_after" | "_count" | "_sort" | "_total" => true,
        "_type" => wanted
            .iter()
            .any(|kind| body["resourceType"] == kind.as_str()),
        "_id" => wanted.iter().any(|id| body["id"] == id.as_str()),
        "code" | "business-status" | "status" | "group-identifier:not" => {
            is_token(body, name, wanted)
        }
        "identifier" if wanted[0].ends_with('|') => {
            let system = wanted[0].trim_end_matches('|');
            let own = body["identifier"].as_array().into_iter().flatten();
            own.into_iter().any(|own| own["system"] == system)
        }
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
        "encounter" | "context" | "account" | "patient" | "output" | "entity" => {
            wanted.iter().any(|own| refers(body, own))
        }
        other => panic!("{other}"),
    }
}

fn is_token(body: &Json, name: &str, wanted: &[String]) -> bool {
    let (value, negated) = match name {
        "code" => (&body["code"]["coding"][0]["code"], false),
        "business-status" => (&body["businessStatus"]["coding"][0]["code"], false),
        "status" => (&body["status"], false),
        _ => (&body["groupIdentifier"]["value"], true),
    };
    let mut codes = wanted.iter().map(|own| own.rsplit('|').next().unwrap());
    codes.any(|own| *value == own) != negated
}

fn refers(body: &Json, key: &str) -> bool {
    body.to_string()
        .contains(&format!("\"reference\":\"{key}\""))
}

fn reply(status: u16, body: &Json) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    response
}
