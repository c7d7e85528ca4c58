//! What went wrong, told once: a closed set of kinds, each knowing its FHIR issue code
//! (<https://hl7.org/fhir/R5/valueset-issue-type.html>). HTTP statuses are decided elsewhere, in one file of the server.

use serde_json::{Value, json};

/// OperationOutcome.issue.severity (<https://hl7.org/fhir/R5/valueset-issue-severity.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Fatal,
    Error,
    Warning,
    Information,
}

impl Severity {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            Severity::Fatal => "fatal",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Information => "information",
        }
    }
}

/// Every reason this program refuses, limits or comments on something. Closed: a new one is a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueKind {
    /// Not parseable at all: broken JSON, broken URL, broken v2 frame.
    Syntax,
    /// Parseable, but not the shape the definitions ask for (unknown element, array against single, wrong JSON type, order in XML).
    Structure,
    /// A required element is missing.
    Required,
    /// An element's value is not in its type's value space.
    Value,
    /// A code is not in a required value set.
    CodeInvalid,
    /// An invariant (constraint) of the definitions is broken.
    Invariant,
    /// Valid FHIR that this server does not do.
    NotSupported,
    /// No such resource type on this server.
    UnknownType,
    /// No such interaction, URL or page.
    UnknownEndpoint,
    /// An unknown or misused search parameter, modifier or prefix.
    SearchParameter,
    /// The method is not allowed on this URL.
    MethodNotAllowed,
    /// The request's Content-Type is not one we read.
    UnsupportedMediaType,
    /// No format the client accepts is one we write.
    NotAcceptable,
    /// No resource with this id.
    NotFound,
    /// The resource was deleted.
    Deleted,
    /// A page token that is no longer served.
    Expired,
    /// The version asked for by If-Match is not the current one; or If-None-Match did not hold.
    VersionConflict,
    /// A condition matched more than one resource.
    MultipleMatches,
    /// A precondition header is required but missing.
    PreconditionRequired,
    /// The change contradicts the current state (409).
    Conflict,
    /// One thing twice where once is allowed (two entries of one transaction for one resource).
    Duplicate,
    /// Understood, well-formed, but against a rule of the server (422).
    BusinessRule,
    /// Longer than the configured limit.
    TooLong,
    /// A value of a search parameter is longer than what is indexed (400).
    SearchValueTooLong,
    /// More work than the configured limit.
    TooCostly,
    /// Too many requests at once; come back.
    Throttled,
    /// A part of the server is not ready or not reachable; come back.
    Transient,
    /// Not permitted by configuration or authorization.
    Forbidden,
    /// Our fault. The only kind that is a 500.
    Exception,
    /// Said to the client, nothing wrong.
    Informational,
}

impl IssueKind {
    /// The FHIR issue code (<https://hl7.org/fhir/R5/valueset-issue-type.html>).
    pub fn code(self) -> &'static str {
        use IssueKind::*;
        match self {
            Syntax => "invalid",
            Structure => "structure",
            Required => "required",
            Value => "value",
            CodeInvalid => "code-invalid",
            Invariant => "invariant",
            NotSupported | UnknownType | UnknownEndpoint | MethodNotAllowed
            | UnsupportedMediaType | NotAcceptable => "not-supported",
            SearchParameter => "invalid",
            NotFound => "not-found",
            Deleted => "deleted",
            Expired => "not-found",
            VersionConflict | Conflict => "conflict",
            MultipleMatches => "multiple-matches",
            PreconditionRequired => "required",
            Duplicate => "duplicate",
            BusinessRule => "business-rule",
            TooLong | SearchValueTooLong => "too-long",
            TooCostly => "too-costly",
            Throttled => "throttled",
            Transient => "transient",
            Forbidden => "forbidden",
            Exception => "exception",
            Informational => "informational",
        }
    }
}

/// One thing to tell a client. `diagnostics` never holds patient data: types, ids, codes, expressions and limits only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub kind: IssueKind,
    pub severity: Severity,
    /// What is wrong and what to do about it, in a sentence.
    pub diagnostics: String,
    /// Where: a FHIRPath expression (`Patient.name[0].given`), or for v2 `segment-field-component`. Empty when the issue is not of content.
    pub expression: Option<String>,
}

impl Issue {
    /// An error without a place.
    pub fn error(kind: IssueKind, diagnostics: impl Into<String>) -> Issue {
        Issue {
            kind,
            severity: Severity::Error,
            diagnostics: diagnostics.into(),
            expression: None,
        }
    }

    /// A warning without a place.
    pub fn warning(kind: IssueKind, diagnostics: impl Into<String>) -> Issue {
        Issue {
            severity: Severity::Warning,
            ..Issue::error(kind, diagnostics)
        }
    }

    /// The same issue, with its place.
    pub fn at(mut self, expression: impl Into<String>) -> Issue {
        self.expression = Some(expression.into());
        self
    }

    /// Whether this refuses the request (fatal or error).
    pub fn is_error(&self) -> bool {
        matches!(self.severity, Severity::Fatal | Severity::Error)
    }

    /// The `OperationOutcome.issue` element.
    pub fn to_json(&self) -> Value {
        let mut issue = json!({
            "severity": self.severity.code(),
            "code": self.kind.code(),
            "diagnostics": self.diagnostics,
        });
        if let Some(expression) = &self.expression {
            issue["expression"] = json!([expression]);
        }
        issue
    }
}

/// An OperationOutcome of these issues.
pub fn operation_outcome(issues: &[Issue]) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": issues.iter().map(Issue::to_json).collect::<Vec<_>>(),
    })
}
