//! One entry of a batch or transaction as a request of its own: the same routes, the same interactions.
//!
//! `request.url` may be relative, begin with a slash, or be absolute on the own base; percent-encoded like any URL.

use crate::app::App;
use crate::failure::Failure;
use crate::format;
use crate::interaction::{create, delete, patch, update};
use crate::operation::{self, Operation};
use crate::reply::Reply;
use crate::request::{Body, IF_NONE_EXIST, Request};
use crate::router::{self, Interaction};
use crate::url;
use fhir_model::{Issue, IssueKind, json};
use fhir_storage::{Change, Outcome};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use serde_json::Value;

/// An entry, understood.
#[derive(Debug)]
pub struct Entry {
    /// In the bundle, from 0.
    pub index: usize,
    pub full_url: Option<String>,
    pub request: Request,
    /// `HEAD`: answered without the body.
    head: bool,
}

/// The order of execution (<https://hl7.org/fhir/R5/http.html#trules>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    Delete,
    Create,
    Update,
    Read,
}

impl Entry {
    /// Takes an entry apart.
    ///
    /// # Errors
    /// What is missing or cannot be understood, at `Bundle.entry[index]…`.
    pub fn read(
        app: &App,
        outer: &Request,
        index: usize,
        mut entry: Value,
    ) -> Result<Entry, Failure> {
        let at = |place: &str| format!("Bundle.entry[{index}]{place}");
        let text = |place: &str| match element(&entry, place) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Failure::from(
                Issue::error(IssueKind::Syntax, "this must be a string")
                    .at(at(&place.replace('/', "."))),
            )),
        };
        let required = |place: &str| {
            text(place)?.ok_or_else(|| {
                let reason = "every entry needs request.method and request.url";
                Failure::from(
                    Issue::error(IssueKind::Syntax, reason).at(at(&place.replace('/', "."))),
                )
            })
        };
        let method: String = required("/request/method")?;
        let url: String = required("/request/url")?;
        let full_url = text("/fullUrl")?;
        let mut headers = HeaderMap::new();
        for (place, name) in CONDITIONS {
            if let Some(value) = text(place)? {
                headers.insert(name, header_value(&value));
            }
        }
        let body = match entry.get_mut("resource").map(Value::take) {
            Some(resource) => Body::Resource(resource),
            None => Body::None,
        };
        let request = request(app, outer, &method, &url, headers, body)
            .map_err(|failure| failure.within(&at(".request.url"), &at(".request.url")))?;
        Ok(Entry {
            index,
            full_url,
            request,
            head: method == "HEAD",
        })
    }

    /// When it is executed.
    pub fn turn(&self) -> Turn {
        match self.request.route.interaction {
            Interaction::Delete | Interaction::ConditionalDelete => Turn::Delete,
            Interaction::Create => Turn::Create,
            Interaction::Update
            | Interaction::ConditionalUpdate
            | Interaction::Patch
            | Interaction::ConditionalPatch => Turn::Update,
            Interaction::Operation if self.request.operation.is_some_and(Operation::writes) => {
                Turn::Update
            }
            _ => Turn::Read,
        }
    }

    /// What it asks to be written; `None` for a read.
    ///
    /// # Errors
    /// As the interaction itself.
    pub async fn change(&mut self, app: &App) -> Result<Option<Change>, Failure> {
        let full_url = self.full_url.clone();
        let change = match self.turn() {
            Turn::Delete => delete::change(app, &self.request).await,
            Turn::Create => create::change(app, &mut self.request, full_url).await,
            Turn::Update if self.request.operation.is_some() => {
                operation::change(app, &self.request)
            }
            Turn::Update if self.request.route.method == Method::PATCH => {
                patch::change(app, &mut self.request).await
            }
            Turn::Update => update::change(app, &mut self.request, full_url).await,
            Turn::Read => return Ok(None),
        };
        change.map(Some)
    }

    /// What became of its change.
    pub fn written(&self, outcome: Outcome) -> Reply {
        match self.request.operation {
            Some(operation) => self.tell(operation::written(operation, outcome)),
            None => Reply::written(&self.request, outcome),
        }
    }

    /// Answers a read as it would be answered alone.
    pub async fn answer(self, app: &App) -> Reply {
        let result = router::dispatch(app, self.request.clone()).await;
        self.tell(result)
    }

    /// The entry's own answer; a failure is one, too.
    pub fn tell(&self, result: Result<Reply, Failure>) -> Reply {
        let result = result.map(Reply::cut);
        let mut reply = result.unwrap_or_else(|failure| Entry::locate(self.index, failure).reply());
        if self.head {
            reply.body = None;
        }
        reply
    }

    /// A failure of this entry, with its place in the bundle.
    pub fn locate(index: usize, failure: Failure) -> Failure {
        failure.within(
            &format!("Bundle.entry[{index}]"),
            &format!("Bundle.entry[{index}].resource"),
        )
    }
}

/// What stands at a place like `/request/url`.
fn element<'e>(entry: &'e Value, place: &str) -> Option<&'e Value> {
    let mut names = place.split('/').skip(1);
    names.try_fold(entry, json::member)
}

/// The elements of `Bundle.entry.request` that are headers elsewhere.
const CONDITIONS: [(&str, HeaderName); 4] = [
    ("/request/ifNoneMatch", header::IF_NONE_MATCH),
    ("/request/ifModifiedSince", header::IF_MODIFIED_SINCE),
    ("/request/ifMatch", header::IF_MATCH),
    ("/request/ifNoneExist", IF_NONE_EXIST),
];

fn request(
    app: &App,
    outer: &Request,
    method: &str,
    url: &str,
    headers: HeaderMap,
    body: Body,
) -> Result<Request, Failure> {
    if url.len() > app.config.url_max_bytes {
        return Err(Failure::url_too_long(app.config.url_max_bytes));
    }
    let method: Method = method
        .parse()
        .map_err(|_| Failure::new(IssueKind::Syntax, "request.method is no HTTP method"))?;
    let relative = match url.contains("://") {
        true => relative_url(url, &[&outer.base, &app.config.own_base()])?,
        false => url,
    };
    let (path, query) = relative.split_once('?').unwrap_or((relative, ""));
    let found = router::find(&app.store.definitions(), &app.config, &method, path)?;
    let is_apart = matches!(
        found.route.interaction,
        Interaction::Bundle
            | Interaction::Openapi
            | Interaction::DeleteHistory
            | Interaction::DeleteHistoryVersion
    );
    if is_apart || found.route.path.ends_with("_search") {
        return Err(Failure::new(
            IssueKind::NotSupported,
            "this URL cannot be used in a bundle; search by GET",
        ));
    }
    Ok(Request {
        requires_version: !outer.is_own && app.config.if_match_types.contain(&found.resource_type),
        route: found.route,
        resource_type: found.resource_type,
        id: found.id,
        version: found.version,
        member: found.member,
        operation: found.operation,
        parameters: format::without_format(url::parameters(query)?),
        headers,
        body,
        base: outer.base.clone(),
        prefer: outer.prefer,
        handling: outer.handling,
        is_own: outer.is_own,
    })
}

/// The part of a URL below the base.
fn relative_url<'a>(url: &'a str, bases: &[&str]) -> Result<&'a str, Failure> {
    for base in bases {
        match url.strip_prefix(base) {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => return Ok(rest),
            _ => {}
        }
    }
    match url
        .split_once('?')
        .map_or(url, |(path, _)| path)
        .contains("://")
    {
        false => Ok(url),
        true => Err(Failure::new(
            IssueKind::Syntax,
            "request.url is absolute and not on this server's base",
        )),
    }
}

/// A header holds ASCII; what is beyond is percent-encoded, as it would be over HTTP.
fn header_value(text: &str) -> HeaderValue {
    let encoded = utf8_percent_encode(text, CONTROLS).to_string();
    HeaderValue::from_str(&encoded).expect("percent-encoding leaves visible ASCII only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_forms() {
        let bases = ["http://h/fhir", "http://127.0.0.1/fhir"];
        for (url, expect) in [
            ("Patient/1", Some("Patient/1")),
            ("/Patient/1", Some("/Patient/1")),
            ("http://h/fhir/Patient?name=a", Some("/Patient?name=a")),
            ("http://127.0.0.1/fhir/Patient", Some("/Patient")),
            ("http://h/fhirx/Patient", None),
            ("https://other/fhir/Patient", None),
            ("Patient?url=http://x", Some("Patient?url=http://x")),
            ("", Some("")),
        ] {
            assert_eq!(relative_url(url, &bases).ok(), expect, "{url}");
        }
    }

    #[test]
    fn turns_are_in_the_order_of_the_specification() {
        assert!(
            Turn::Delete < Turn::Create && Turn::Create < Turn::Update && Turn::Update < Turn::Read
        );
    }
}
