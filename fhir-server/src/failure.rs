//! The only place where an error becomes an HTTP status and an OperationOutcome (<https://hl7.org/fhir/R5/http.html#Status-Codes>).

use crate::reply::{Reply, etag};
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_storage::{CommitError, Error};
use hl7_mllp_listener::seldom::Seldom;
use http::{Method, StatusCode};

/// A request that is not done: what to tell the client. Nothing in it names a patient.
#[derive(Clone, Debug)]
pub struct Failure {
    /// At least one; the first error decides the status.
    pub issues: Vec<Issue>,
    /// Where the same kind of issue has a status of its own (408, 414).
    status: Option<StatusCode>,
    /// `Allow`, for a 405.
    pub allow: Vec<Method>,
    /// The current version, for a 410.
    version: Option<i32>,
}

/// A commit that did not happen: the change that failed, if it was one, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    pub index: Option<usize>,
    pub failure: Failure,
}

/// Seconds a client should wait after a 429 or 503.
const RETRY_AFTER_SECONDS: u64 = 1;

impl Failure {
    pub fn new(kind: IssueKind, diagnostics: impl Into<String>) -> Failure {
        Failure::from(Issue::error(kind, diagnostics))
    }

    /// 414: the URL is longer than the limit.
    pub fn url_too_long(limit_bytes: usize) -> Failure {
        Failure {
            status: Some(StatusCode::URI_TOO_LONG),
            ..Failure::new(
                IssueKind::TooLong,
                format!(
                    "the URL is longer than {limit_bytes} bytes; search by POST [base]/[type]/_search"
                ),
            )
        }
    }

    /// 410: the resource was deleted by this version.
    pub fn deleted(key: &ResourceKey, version: i32) -> Failure {
        Failure {
            version: Some(version),
            ..Failure::new(
                IssueKind::Deleted,
                format!("{key} was deleted; version {version} is the deletion"),
            )
        }
    }

    /// 408: the body did not arrive.
    pub fn body_too_slow(timeout_ms: u64) -> Failure {
        Failure {
            status: Some(StatusCode::REQUEST_TIMEOUT),
            ..Failure::new(
                IssueKind::Transient,
                format!("the request's body did not arrive within {timeout_ms} ms"),
            )
        }
    }

    /// 503: the time for one request was not enough, by what was asked or by what else the server had to do.
    pub fn out_of_time(reason: String) -> Failure {
        Failure {
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            ..Failure::new(IssueKind::TooCostly, reason)
        }
    }

    /// 405 with the methods that are allowed.
    pub fn method_not_allowed(method: &Method, allow: Vec<Method>) -> Failure {
        let names: Vec<&str> = allow.iter().map(Method::as_str).collect();
        let reason = format!(
            "{method} is not allowed here; allowed: {}",
            names.join(", ")
        );
        Failure {
            allow,
            ..Failure::new(IssueKind::MethodNotAllowed, reason)
        }
    }

    /// The status of the first error.
    pub fn status(&self) -> StatusCode {
        let kind = self
            .issues
            .iter()
            .find(|issue| issue.is_error())
            .map_or(IssueKind::Exception, |issue| issue.kind);
        self.status.unwrap_or_else(|| status(kind))
    }

    /// Seconds for `Retry-After`, where coming back may help.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        matches!(
            self.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        )
        .then_some(RETRY_AFTER_SECONDS)
    }

    /// The same failure, said of a part of a larger content: every place begins with `prefix`, in which the content
    /// (`Patient`, or nothing) is replaced (`Patient.name` at `Bundle.entry[3].resource` is `Bundle.entry[3].resource.name`).
    pub fn within(mut self, prefix: &str, resource_prefix: &str) -> Failure {
        for issue in &mut self.issues {
            issue.expression = Some(match issue.expression.take() {
                None => prefix.to_string(),
                Some(place) if place.starts_with("Bundle.entry[") => place,
                Some(place) => match place.split_once('.') {
                    Some((_, rest)) => format!("{resource_prefix}.{rest}"),
                    None => resource_prefix.to_string(),
                },
            });
        }
        self
    }

    /// The reply with the OperationOutcome.
    pub fn reply(&self) -> Reply {
        Reply {
            status: self.status(),
            etag: self.version.map(etag),
            allow: self.allow.clone(),
            retry_after_seconds: self.retry_after_seconds(),
            ..Reply::outcome(self.status(), &self.issues)
        }
    }
}

fn status(kind: IssueKind) -> StatusCode {
    use IssueKind::*;
    match kind {
        Informational => StatusCode::OK,
        // What cannot be read as FHIR is 400, what can and breaks a rule 422 (<https://hl7.org/fhir/R5/http.html#update>).
        Syntax | Structure | Value | SearchParameter | SearchValueTooLong | NotSupported
        | Duplicate => StatusCode::BAD_REQUEST,
        Forbidden => StatusCode::FORBIDDEN,
        UnknownType | UnknownEndpoint | NotFound => StatusCode::NOT_FOUND,
        MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Conflict => StatusCode::CONFLICT,
        Deleted | Expired => StatusCode::GONE,
        VersionConflict | MultipleMatches => StatusCode::PRECONDITION_FAILED,
        TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Required | CodeInvalid | Invariant | BusinessRule | TooCostly => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        // Not 428: the specification says 400 (<https://hl7.org/fhir/R5/http.html#concurrency>).
        PreconditionRequired => StatusCode::BAD_REQUEST,
        Throttled => StatusCode::TOO_MANY_REQUESTS,
        Transient => StatusCode::SERVICE_UNAVAILABLE,
        Exception => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Issue> for Failure {
    fn from(issue: Issue) -> Failure {
        Failure::from(vec![issue])
    }
}

impl From<Vec<Issue>> for Failure {
    fn from(mut issues: Vec<Issue>) -> Failure {
        if issues.is_empty() {
            issues.push(Issue::error(
                IssueKind::Exception,
                "an error inside the server",
            ));
        }
        Failure {
            issues,
            status: None,
            allow: Vec::new(),
            version: None,
        }
    }
}

/// What the database said is logged here, once, and never shown.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Refused(issues) => Failure::from(issues),
            Error::Unavailable(cause) => {
                static UNAVAILABLE: Seldom = Seldom::new();
                if let Some(times) = UNAVAILABLE.happened() {
                    tracing::warn!(
                        error = database_error(&cause),
                        times,
                        "the database is not available"
                    );
                }
                Failure::new(
                    IssueKind::Transient,
                    "the database is not available or too busy; try again",
                )
            }
            Error::Database(cause) => {
                tracing::error!(
                    error = database_error(&cause),
                    "the database answered with an error"
                );
                Failure::new(
                    IssueKind::Exception,
                    "an error inside the server; its log has the detail under this request's X-Request-Id",
                )
            }
            Error::Index(cause) => {
                static UNAVAILABLE: Seldom = Seldom::new();
                if let Some(times) = UNAVAILABLE.happened() {
                    tracing::warn!(
                        error = cause.reason(),
                        times,
                        "the search index is not available"
                    );
                }
                Failure::new(
                    IssueKind::Transient,
                    format!(
                        "the search index does not answer ({}); try again",
                        cause.reason()
                    ),
                )
            }
            Error::Start(reason) | Error::Backup(reason) => {
                tracing::error!(reason, "the database could not be started");
                Failure::new(
                    IssueKind::Transient,
                    "the database is not available; try again",
                )
            }
        }
    }
}

/// The SQLSTATE, or the kind of error; the database's own text may quote values.
fn database_error(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.split(['"', '\'', '('])
        .next()
        .unwrap_or("")
        .trim()
        .to_string()
}

impl From<CommitError> for Refused {
    fn from(error: CommitError) -> Refused {
        Refused {
            index: error.index,
            failure: Failure::from(error.error),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        refused.failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within() {
        for (place, expect) in [
            (None, "Bundle.entry[3]"),
            (
                Some("Patient.name[0].given"),
                "Bundle.entry[3].resource.name[0].given",
            ),
            (Some("Patient"), "Bundle.entry[3].resource"),
            (Some("Bundle.entry[1].request"), "Bundle.entry[1].request"),
        ] {
            let mut issue = Issue::error(IssueKind::Value, "x");
            issue.expression = place.map(str::to_string);
            let failure =
                Failure::from(issue).within("Bundle.entry[3]", "Bundle.entry[3].resource");
            assert_eq!(failure.issues[0].expression.as_deref(), Some(expect));
        }
    }

    #[test]
    fn first_error_decides() {
        let failure = Failure::from(vec![
            Issue::warning(IssueKind::NotFound, "x"),
            Issue::error(IssueKind::Throttled, "x"),
        ]);
        assert_eq!(failure.status(), 429);
        assert_eq!(failure.retry_after_seconds(), Some(1));
        assert_eq!(Failure::url_too_long(1).status(), 414);
        assert_eq!(Failure::from(Vec::new()).status(), 500);
    }
}
