//! Requests that are answered before they are done: `Prefer: respond-async` on searches, histories, bundles and operations, the
//! status that is asked for meanwhile, and its end (<https://hl7.org/fhir/R5/async-bundle.html>). Reasons: docs/adr/0021-jobs.md.
//!
//! A job is a row of the database before its URL is told, so that it survives the server; [`work()`] takes it on. Refuses at once what
//! can be seen to be wrong without doing it: URLs, search parameters, bodies that cannot be read; and more jobs than are kept.

mod work;

pub use work::{Jobs, work};

use crate::app::App;
use crate::failure::Failure;
use crate::format::Format;
use crate::interaction::search::Asked;
use crate::reply::Reply;
use crate::request::{Body, FRESHNESS, IF_NONE_EXIST, PREFER, Request};
use crate::router::{self, Interaction};
use crate::url::Parameters;
use crate::{http, request};
use ::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use fhir_model::{Issue, IssueKind, Severity, json};
use serde_json::{Value, json};
use uuid::Uuid;

/// Where jobs are asked for, below the base.
const PATH: &str = "_job";
/// How long the next poll should wait: a part of what the job has taken, within these.
const POLL_SECONDS: (u64, u64) = (1, 30);

/// What an answer says of a job, in headers.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// `Content-Location`, below the base.
    pub location: Option<String>,
    /// `X-Progress`.
    pub progress: Option<String>,
    /// `Expires`.
    pub expires_ms: Option<i64>,
    /// How the answer to the request was to be written.
    pub format: Option<Format>,
}

/// Whether the request is one that may take long and that need not be answered now. Others are, which the preference allows.
pub fn is_asked(request: &Request) -> bool {
    let interaction = request.route.interaction;
    let may_be_long = interaction.is_search()
        || matches!(
            interaction,
            Interaction::Bundle
                | Interaction::HistoryInstance
                | Interaction::HistoryType
                | Interaction::HistorySystem
                | Interaction::Operation
        );
    may_be_long && request::prefers(&request.headers, "respond-async")
}

/// Takes the request on: 202 with where to ask.
///
/// # Errors
/// What is wrong with the request, as far as it can be seen; Throttled (429) where too many jobs are kept.
pub async fn accept(
    app: &App,
    mut request: Request,
    path: &str,
    format: Format,
) -> Result<Reply, Failure> {
    if request.route.interaction.is_search() {
        Asked::read(app, &request).await?;
    }
    let is_empty = match &request.body {
        Body::None => true,
        Body::Bytes(bytes) | Body::Xml(bytes) | Body::Content(bytes) => bytes.is_empty(),
        Body::Resource(_) => false,
    };
    let body = match is_empty {
        true => Value::Null,
        false => request.take_json()?,
    };
    let kept = written(&request, path, body, format).to_string();
    let id = Uuid::new_v4();
    let max = app.config.jobs_max;
    if !app
        .store
        .add_job(id, kept.as_bytes(), !request.may_write(), max)
        .await?
    {
        return Err(Failure::new(
            IssueKind::Throttled,
            format!(
                "{max} jobs are kept already, done or not: DELETE those that are fetched, or come back later"
            ),
        ));
    }
    app.jobs.changed();
    Ok(Reply {
        told: Told {
            location: Some(format!("{PATH}/{id}")),
            ..Told::default()
        },
        retry_after_seconds: Some(POLL_SECONDS.0),
        ..said(
            StatusCode::ACCEPTED,
            "accepted: ask Content-Location for the result",
        )
    })
}

/// `GET [base]/_job/[id]`: 202 while it is not done, then the batch-response that holds the answer.
///
/// # Errors
/// NotFound (404).
pub async fn status(app: &App, request: &Request) -> Result<Reply, Failure> {
    request.refuse_parameters()?;
    let job = match Uuid::parse_str(&request.id) {
        Ok(id) => app.store.job(id).await?,
        Err(_) => None,
    };
    let job = job.ok_or_else(no_such)?;
    let Some(result) = job.result else {
        let seconds = job.begun_ms.map_or(0, |begun| (job.now_ms - begun) / 1000);
        let progress = match job.begun_ms {
            Some(_) => format!("in progress for {seconds} s"),
            None => format!("waiting; {} before it", job.before),
        };
        let wait = (seconds.unsigned_abs() / 2).clamp(POLL_SECONDS.0, POLL_SECONDS.1);
        return Ok(Reply {
            status: StatusCode::ACCEPTED,
            told: Told {
                progress: Some(progress),
                ..Told::default()
            },
            retry_after_seconds: Some(wait),
            ..Reply::default()
        });
    };
    let text = String::from_utf8(result).unwrap_or_default();
    let (format, text) = text.split_once('\n').unwrap_or(("", &text));
    let lifetime_ms = i64::from(app.config.job_lifetime_seconds) * 1000;
    Ok(Reply {
        told: Told {
            expires_ms: job.finished_ms.map(|finished| finished + lifetime_ms),
            format: Some(Format::read(format)),
            ..Told::default()
        },
        ..Reply::document(text.to_string())
    })
}

/// `DELETE [base]/_job/[id]`: its result is not wanted (any more).
///
/// # Errors
/// NotFound (404).
pub async fn cancel(app: &App, request: &Request) -> Result<Reply, Failure> {
    request.refuse_parameters()?;
    let id = Uuid::parse_str(&request.id).map_err(|_| no_such())?;
    if !app.store.remove_job(id).await? {
        return Err(no_such());
    }
    app.jobs.cancel(id);
    Ok(said(
        StatusCode::ACCEPTED,
        "removed; what the request has written by now stays",
    ))
}

fn said(status: StatusCode, text: &str) -> Reply {
    let issue = Issue {
        severity: Severity::Information,
        ..Issue::error(IssueKind::Informational, text)
    };
    Reply::outcome(status, &[issue])
}

fn no_such() -> Failure {
    Failure::new(
        IssueKind::NotFound,
        "there is no such job: it was removed, or its result has expired",
    )
}

/// The headers that say what a request is.
const HEADERS: [HeaderName; 6] = [
    PREFER,
    FRESHNESS,
    IF_NONE_EXIST,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
];

/// A request as it is kept.
fn written(request: &Request, path: &str, body: Value, format: Format) -> Value {
    let headers: Vec<Value> = request
        .headers
        .iter()
        .filter(|(name, _)| HEADERS.contains(name))
        .filter_map(|(name, value)| Some(json!([name.as_str(), value.to_str().ok()?])))
        .collect();
    json!({
        "method": request.route.method.as_str(),
        "path": path,
        "parameters": request.parameters,
        "headers": headers,
        "base": request.base,
        "format": format.written(),
        "body": body,
    })
}

/// What [`written`] has written; and the format of its answer.
///
/// # Errors
/// What the router says where this version of the server has it no more.
fn read(app: &App, kept: &[u8]) -> Result<(Request, Format), Failure> {
    let not_ours = || Failure::new(IssueKind::Exception, "the job cannot be read");
    let mut kept = json::parse(kept)?;
    let body = match kept["body"].take() {
        Value::Null => Body::None,
        body => Body::Resource(body),
    };
    let text = |name: &str| kept[name].as_str().ok_or_else(not_ours);
    let method: Method = text("method")?.parse().map_err(|_| not_ours())?;
    let found = router::find(
        &app.store.definitions(),
        &app.config,
        &method,
        text("path")?,
    )?;
    let parameters: Parameters =
        serde_json::from_value(kept["parameters"].clone()).map_err(|_| not_ours())?;
    let pairs: Parameters =
        serde_json::from_value(kept["headers"].clone()).map_err(|_| not_ours())?;
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().map_err(|_| not_ours())?;
        headers.append(name, value.parse().map_err(|_| not_ours())?);
    }
    let format = Format::read(text("format")?);
    let base = text("base")?.to_string();
    let request = http::request(app, found, parameters, headers, body, &base);
    Ok((request, format))
}
