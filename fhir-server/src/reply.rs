//! What an interaction answers, before it is HTTP or an entry of a bundle (<https://hl7.org/fhir/R5/http.html#versioning>).

use crate::binary::Content;
use crate::job::Told;
use crate::request::{Request, Return, version_of};
use crate::subset::Subset;
use fhir_model::date::instant_text;
use fhir_model::issue::operation_outcome;
use fhir_model::{Issue, ResourceKey};
use fhir_storage::{Effect, Outcome, StoredResource};
use http::{Method, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

/// An answer. Empty parts are left out of the response.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: StatusCode,
    /// The whole header value, `W/"3"`.
    pub etag: Option<String>,
    pub last_updated_ms: Option<i64>,
    /// Relative to the base: `Patient/1/_history/1`.
    pub location: Option<String>,
    /// JSON text.
    pub body: Option<String>,
    /// What is sent instead of a body that is a Binary.
    pub content: Option<Content>,
    /// Whether the body is an OperationOutcome about the request, not what was asked for.
    pub is_outcome: bool,
    /// Whether the body is a Bundle made for this answer, whose entries hold what was asked for.
    pub is_bundle: bool,
    /// Which resource the body is, where it is a single one.
    pub key: Option<ResourceKey>,
    pub allow: Vec<Method>,
    /// The part of the resources in the body that is asked for; they are whole until [`Reply::cut`].
    pub subset: Option<Subset>,
    pub retry_after_seconds: Option<u64>,
    /// What is said of a job.
    pub told: Told,
}

impl Reply {
    /// A resource as it is stored.
    pub fn resource(stored: StoredResource) -> Reply {
        Reply {
            status: StatusCode::OK,
            etag: Some(etag(stored.version)),
            last_updated_ms: Some(stored.last_updated_ms),
            body: Some(stored.body),
            key: Some(stored.key),
            ..Reply::default()
        }
    }

    /// What became of a write, in the form that `Prefer: return` asks for.
    pub fn written(request: &Request, outcome: Outcome) -> Reply {
        let status = match outcome.effect {
            Effect::Created => StatusCode::CREATED,
            Effect::Updated | Effect::Unchanged | Effect::Found => StatusCode::OK,
            Effect::Deleted | Effect::Absent => StatusCode::NO_CONTENT,
        };
        let standing = !matches!(outcome.effect, Effect::Deleted | Effect::Absent);
        // Several were deleted: no version stands for all of them.
        let is_single = outcome.version > 0 && outcome.also_deleted == 0;
        let versioned = outcome.key.as_ref().filter(|_| is_single);
        let mut reply = Reply {
            status,
            etag: versioned.map(|_| etag(outcome.version)),
            last_updated_ms: versioned
                .filter(|_| standing)
                .map(|_| outcome.last_updated_ms),
            location: versioned
                .filter(|_| standing)
                .map(|key| format!("{key}/_history/{}", outcome.version)),
            ..Reply::default()
        };
        match request.prefer {
            Return::Minimal => {}
            Return::Representation => reply.body = outcome.body,
            Return::OperationOutcome => {
                if reply.status == StatusCode::NO_CONTENT {
                    reply.status = StatusCode::OK;
                }
                let said = Issue {
                    severity: fhir_model::Severity::Information,
                    ..Issue::error(fhir_model::IssueKind::Informational, said(&outcome))
                };
                let issues: Vec<Issue> = outcome.issues.into_iter().chain([said]).collect();
                reply.body = Some(operation_outcome(&issues).to_string());
                reply.is_outcome = true;
            }
        }
        reply.key = outcome.key;
        reply
    }

    /// A searchset or history, of whose resources a part may be asked for.
    pub fn bundle(body: String, subset: Option<Subset>) -> Reply {
        Reply {
            is_bundle: true,
            subset,
            ..Reply::document(body)
        }
    }

    /// A Bundle or another resource that has no version.
    pub fn document(body: String) -> Reply {
        Reply {
            status: StatusCode::OK,
            body: Some(body),
            ..Reply::default()
        }
    }

    /// An OperationOutcome.
    pub fn outcome(status: StatusCode, issues: &[Issue]) -> Reply {
        Reply {
            status,
            body: Some(operation_outcome(issues).to_string()),
            is_outcome: true,
            ..Reply::default()
        }
    }

    /// The same with no more of each resource than is asked for.
    pub fn cut(mut self) -> Reply {
        if let (Some(subset), Some(body)) = (self.subset.take(), &self.body)
            && !self.is_outcome
        {
            self.body = Some(subset.cut(body, self.is_bundle));
        }
        self
    }

    /// Where the resource that the answer is, or that a 304 is about, stays as it is (RFC 9110, section 8.7); relative to the base.
    pub fn content_location(&self) -> Option<String> {
        if let Some(location) = &self.told.location {
            return Some(location.clone());
        }
        let is_shown = (self.body.is_some() || self.content.is_some()) && !self.is_outcome
            || self.status == StatusCode::NOT_MODIFIED;
        let version = version_of(self.etag.as_ref()?)?;
        let key = self.key.as_ref().filter(|_| is_shown)?;
        Some(format!("{key}/_history/{version}"))
    }

    /// How many bytes of it are sent.
    pub fn body_bytes(&self) -> usize {
        match &self.content {
            Some(content) => content.bytes.len(),
            None => self.body.as_ref().map_or(0, String::len),
        }
    }

    /// The same as 304, for a client that has this version.
    pub fn not_modified(self) -> Reply {
        Reply {
            status: StatusCode::NOT_MODIFIED,
            body: None,
            ..self
        }
    }

    /// `Last-Modified`; HTTP dates are to the second.
    pub fn last_modified(&self) -> Option<String> {
        self.last_updated_ms.and_then(http_date)
    }

    /// `Bundle.entry.response.lastModified`.
    pub fn instant(&self) -> Option<String> {
        self.last_updated_ms.map(instant_text)
    }
}

/// A time as headers say it, to the second.
pub fn http_date(ms: i64) -> Option<String> {
    let since = Duration::from_millis(u64::try_from(ms).ok()?);
    Some(httpdate::fmt_http_date(UNIX_EPOCH + since))
}

/// The weak ETag of a version.
pub fn etag(version: i32) -> String {
    format!("W/\"{version}\"")
}

fn said(outcome: &Outcome) -> String {
    if outcome.also_deleted > 0 {
        return format!("{} resources deleted", outcome.also_deleted + 1);
    }
    let said = match outcome.effect {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Unchanged => "the content is the same; no new version",
        Effect::Found => "one resource matches; nothing was created",
        Effect::Deleted => "deleted",
        Effect::Absent => "there was nothing to delete",
    };
    said.to_owned()
}
