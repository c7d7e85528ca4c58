//! `GET [base]/_history`, `GET [base]/[type]/_history` and `GET [base]/[type]/[id]/_history` (<https://hl7.org/fhir/R5/http.html#history>), with
//! `_count`, `_since`, `_at`, `_list` and `_sort`, page by page.
//!
//! Refuses a parameter given twice, and what it cannot read.

use crate::app::{App, now_seconds};
use crate::bundle::searchset;
use crate::failure::Failure;
use crate::interaction::paging;
use crate::reply::Reply;
use crate::request::Request;
use crate::subset::Subset;
use crate::url::Parameters;
use fhir_model::{IssueKind, PartialDate, Reference, ResourceKey};
use fhir_search::Handling;
use fhir_storage::{HistoryPage, HistoryQuery, Scope, Version};
use serde_json::Value;

pub async fn history(app: &App, request: Request) -> Result<Reply, Failure> {
    let path = path(&request);
    let (parameters, after, token) = match paging::token(&request)? {
        None => (request.parameters.clone(), None, None),
        Some(token) => {
            let place = app.tokens.open(&path, token, now_seconds())?;
            let after = HistoryPage::from_bytes(&place.keyset);
            (place.parameters, after, Some(token))
        }
    };
    let asked = Asked::read(app, &request, &parameters)?;
    let subset = Subset::read(&parameters)?;
    let query = HistoryQuery {
        scope: asked.scope(app, &request).await?,
        since: asked.since,
        at: asked.at,
        ascending: asked.ascending,
        count: asked.count,
        after,
    };
    let found = app.store.history(&query).await?;
    let is_instance = !request.id.is_empty();
    if is_instance && found.versions.is_empty() && app.store.read(&request.key()).await?.is_none() {
        return Err(Failure::new(
            IssueKind::NotFound,
            format!("there never was a {}", request.key()),
        ));
    }
    let next = found.next.map(HistoryPage::to_bytes);
    let links = paging::links(
        app,
        &request.base,
        &path,
        &parameters,
        token,
        paging::Pages::forward(next),
    );
    let bundle = searchset::write_history(&request.base, &links, &found);
    Ok(Reply::bundle(bundle, subset))
}

fn path(request: &Request) -> String {
    match (request.resource_type.as_str(), request.id.as_str()) {
        ("", _) => "_history".to_string(),
        (resource_type, "") => format!("{resource_type}/_history"),
        _ => format!("{}/_history", request.key()),
    }
}

/// The parameters, understood.
struct Asked {
    count: usize,
    since: Option<i64>,
    at: Option<fhir_model::DateRange>,
    list: Option<String>,
    ascending: bool,
}

impl Asked {
    fn read(app: &App, request: &Request, parameters: &Parameters) -> Result<Asked, Failure> {
        let mut asked = Asked {
            count: app.config.count_default,
            since: None,
            at: None,
            list: None,
            ascending: false,
        };
        for (index, (name, value)) in parameters.iter().enumerate() {
            let is_ours = ["_count", "_since", "_at", "_list", "_sort"].contains(&name.as_str());
            if is_ours && parameters[..index].iter().any(|(given, _)| given == name) {
                return Err(refuse(format!("{name} may be given once only")));
            }
            let date = || {
                PartialDate::parse(value)
                    .ok_or_else(|| refuse(format!("{name} must be a date or a time")))
            };
            match name.as_str() {
                "_count" => {
                    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                    if !digits {
                        return Err(refuse("_count must be one whole number"));
                    }
                    // More than fits is more than the maximum.
                    let count = value.parse().unwrap_or(usize::MAX);
                    asked.count = count.min(app.config.count_max);
                }
                "_since" => asked.since = Some(date()?.range.lo),
                "_at" => asked.at = Some(date()?.range),
                "_list" => asked.list = Some(value.clone()),
                "_sort" => {
                    asked.ascending = match value.as_str() {
                        "-_lastUpdated" | "none" => false,
                        "_lastUpdated" => true,
                        _ => {
                            return Err(refuse(
                                "_sort of a history must be -_lastUpdated, _lastUpdated or none",
                            ));
                        }
                    }
                }
                name if Subset::is_parameter(name) => {}
                _ if request.handling == Handling::Lenient => {}
                _ => {
                    return Err(refuse(
                        "a history takes _count, _since, _at, _list, _sort, _summary, _elements, _format and _pretty only",
                    ));
                }
            }
        }
        if asked.since.is_some() && asked.at.is_some() {
            return Err(refuse("_since and _at exclude each other"));
        }
        Ok(asked)
    }

    /// The resources that the request's path and `_list` both name.
    async fn scope(&self, app: &App, request: &Request) -> Result<Scope, Failure> {
        let here = |key: &ResourceKey| {
            (request.resource_type.is_empty() || key.resource_type == request.resource_type)
                && (request.id.is_empty() || key.id == request.id)
        };
        let Some(list) = &self.list else {
            return Ok(match (&*request.resource_type, &*request.id) {
                ("", _) => Scope::Types(app.store.definitions().resource_types().to_vec()),
                (resource_type, "") => Scope::Types(vec![resource_type.to_string()]),
                _ => Scope::Resources(vec![request.key()]),
            });
        };
        let mut keys = listed(app, request, list).await?;
        keys.retain(here);
        Ok(Scope::Resources(keys))
    }
}

/// What the items of a List refer to on this server. Functional lists (`$current-allergies`) are nobody's here.
async fn listed(app: &App, request: &Request, list: &str) -> Result<Vec<ResourceKey>, Failure> {
    let key = ResourceKey::new("List", list.strip_prefix("List/").unwrap_or(list));
    let Some(Version::Present(stored)) = app.store.read(&key).await? else {
        return Err(refuse("_list names no List of this server"));
    };
    let list: Value = serde_json::from_str(&stored.body).unwrap_or_default();
    let items = list["entry"].as_array().into_iter().flatten();
    let mut keys: Vec<ResourceKey> = items
        .filter_map(|item| {
            let reference = item["item"]["reference"].as_str()?;
            match Reference::parse(reference, Some(&request.base)) {
                Reference::Local { key, .. } => Some(key),
                _ => None,
            }
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn refuse(reason: impl Into<String>) -> Failure {
    Failure::new(IssueKind::SearchParameter, reason)
}
