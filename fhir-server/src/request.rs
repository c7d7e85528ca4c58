//! A request, taken apart once, whether it came over HTTP or in an entry of a bundle.

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::operation::Operation;
use crate::router::{Interaction, Route};
use crate::subset::Subset;
use crate::terminology::{self, Lookup};
use crate::url::{self, Parameters};
use crate::{binary, xml};
use bytes::Bytes;
use fhir_model::{Issue, IssueKind, ResourceKey, json};
use fhir_search::query::{Contained, Freshness};
use fhir_search::{Handling, Query, parse};
use fhir_storage::{Target, VersionMatch};
use http::{HeaderMap, HeaderName, Method, header};
use serde_json::Value;

/// What is asked, of what, and how it is to be answered.
#[derive(Clone, Debug)]
pub struct Request {
    pub route: &'static Route,
    /// From the path; empty where the route has none.
    pub resource_type: String,
    pub id: String,
    pub version: String,
    pub member: String,
    /// Of a route that has one.
    pub operation: Option<&'static Operation>,
    /// From the URL, and from a form body; without `_format` and `_pretty`.
    pub parameters: Parameters,
    pub headers: HeaderMap,
    pub body: Body,
    /// The public base without trailing slash.
    pub base: String,
    pub prefer: Return,
    pub handling: Handling,
    /// Whether this process itself asks: policies for clients are not for it.
    pub is_own: bool,
    /// Whether what is there is changed only under `If-Match`.
    pub requires_version: bool,
}

/// A body as it came.
#[derive(Clone, Debug)]
pub enum Body {
    None,
    /// Over HTTP: still text.
    Bytes(Bytes),
    /// The same in XML.
    Xml(Bytes),
    /// Of any Content-Type, to become a Binary.
    Content(Bytes),
    /// `Bundle.entry.resource`, or the body of a request of this process.
    Resource(Value),
}

/// `Prefer: return=…` (<https://hl7.org/fhir/R5/http.html#ops>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    Minimal,
    Representation,
    OperationOutcome,
}

impl Request {
    /// Whether it may change something: then it is neither done twice nor told as refused once it is done.
    pub fn may_write(&self) -> bool {
        let interaction = self.route.interaction;
        match interaction {
            Interaction::Operation => self.operation.is_some_and(Operation::writes),
            _ => !interaction.is_search() && self.route.method != Method::GET,
        }
    }

    pub fn key(&self) -> ResourceKey {
        ResourceKey::new(&self.resource_type, &self.id)
    }

    /// Refuses parameters where the interaction has none, unless `handling=lenient` ignores them.
    ///
    /// # Errors
    /// SearchParameter (400), naming nothing that was sent.
    pub fn refuse_parameters(&self) -> Result<(), Failure> {
        match self.parameters.is_empty() || self.handling == Handling::Lenient {
            true => Ok(()),
            false => Err(Failure::new(
                IssueKind::SearchParameter,
                "this interaction takes no URL parameters but _format and _pretty",
            )),
        }
    }

    /// The part of the resource that a read asks for. It takes no other parameters.
    ///
    /// # Errors
    /// As [`Request::refuse_parameters`] and [`Subset::read`].
    pub fn subset(&self) -> Result<Option<Subset>, Failure> {
        let mut names = self.parameters.iter().map(|(name, _)| name);
        match names.all(|name| Subset::is_parameter(name)) || self.handling == Handling::Lenient {
            true => Subset::read(&self.parameters),
            false => Err(Failure::new(
                IssueKind::SearchParameter,
                "a read takes no URL parameters but _summary, _elements, _format and _pretty",
            )),
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Syntax where there is no body or it cannot be read.
    pub fn take_json(&mut self) -> Result<Value, Failure> {
        match std::mem::replace(&mut self.body, Body::None) {
            Body::Resource(value) => Ok(value),
            Body::Bytes(bytes) if !bytes.is_empty() => Ok(json::parse(&bytes)?),
            Body::Xml(bytes) => Ok(xml::read(&bytes)?),
            Body::Content(bytes) => binary::read(&self.headers, &self.id, &bytes),
            _ => Err(Failure::new(
                IssueKind::Syntax,
                "the body is empty; a resource is needed",
            )),
        }
    }

    /// The body as a resource of the URL's type.
    ///
    /// # Errors
    /// Syntax (400) where it is another type or none.
    pub fn take_resource(&mut self) -> Result<Value, Failure> {
        let resource = self.take_json()?;
        let wanted = &self.resource_type;
        match json::resource_type(&resource) {
            Some(found) if found == wanted => Ok(resource),
            Some(_) => Err(Issue::error(
                IssueKind::Syntax,
                format!("the body's resourceType is not {wanted}, which the URL names"),
            )
            .at("resourceType")
            .into()),
            None => Err(Issue::error(
                IssueKind::Syntax,
                "the body is not a resource: it has no resourceType",
            )
            .at("resourceType")
            .into()),
        }
    }

    /// A header's text.
    ///
    /// # Errors
    /// Syntax where it is not UTF-8: a condition that is not understood must not be dropped.
    pub fn header(&self, name: &HeaderName) -> Result<Option<&str>, Failure> {
        let Some(value) = self.headers.get(name) else {
            return Ok(None);
        };
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Failure::new(
                IssueKind::Syntax,
                format!("the header {name} is not UTF-8"),
            )),
        }
    }

    /// `If-Match` (<https://hl7.org/fhir/R5/http.html#concurrency>) and, for updates, `If-None-Match: *`.
    ///
    /// # Errors
    /// Syntax where the header is not a version of ours, or both are given.
    pub fn version_match(&self) -> Result<VersionMatch, Failure> {
        let absent = match self.header(&header::IF_NONE_MATCH)? {
            None => false,
            Some("*") => true,
            Some(_) => {
                return Err(Failure::new(
                    IssueKind::Syntax,
                    "If-None-Match on a write must be *",
                ));
            }
        };
        match (self.if_match()?, absent) {
            (VersionMatch::Any, false) if self.requires_version => Ok(VersionMatch::Required),
            (VersionMatch::Any, true) => Ok(VersionMatch::Absent),
            (_, true) => Err(Failure::new(
                IssueKind::Syntax,
                "If-Match and If-None-Match exclude each other",
            )),
            (wanted, false) => Ok(wanted),
        }
    }

    /// `If-Match`, of a read too (RFC 9110, section 13.1.1).
    ///
    /// # Errors
    /// Syntax where it is not a version of ours.
    pub fn if_match(&self) -> Result<VersionMatch, Failure> {
        match self.header(&header::IF_MATCH)? {
            None => Ok(VersionMatch::Any),
            Some("*") => Ok(VersionMatch::Present),
            Some(tag) => version_of(tag).map(VersionMatch::Is).ok_or_else(|| {
                let reason = "If-Match must be * or one version, as W/\"3\"";
                Failure::new(IssueKind::Syntax, reason)
            }),
        }
    }

    /// `X-Freshness`: whether a search sees every write before it.
    ///
    /// # Errors
    /// Syntax where it is none of the two, or several: whoever asks for something else does not get what is configured in silence.
    pub fn freshness(&self) -> Result<Option<Freshness>, Failure> {
        let Some(text) = self.header(&FRESHNESS)? else {
            return Ok(None);
        };
        let is_one = self.headers.get_all(FRESHNESS).iter().count() == 1;
        let freshness = Freshness::of(text).filter(|_| is_one);
        freshness.map(Some).ok_or_else(|| {
            let reason = "X-Freshness must be strong or eventual";
            Failure::new(IssueKind::Syntax, reason)
        })
    }

    /// Understands search parameters as the condition of a conditional interaction. Never lenient: what is ignored would widen it.
    ///
    /// # Errors
    /// A condition without any criterion would match everything, and is refused.
    pub async fn condition(
        &self,
        app: &App,
        parameters: &[(String, String)],
    ) -> Result<Query, Failure> {
        let definitions = app.store.definitions();
        let types = [self.resource_type.as_str()];
        let stored =
            terminology::of_search(Lookup::new(app, &self.base), &types, parameters).await?;
        let context = parse::Context {
            definitions: &definitions,
            terminology: stored.as_ref(),
            base: Some(&self.base),
            handling: Handling::Strict,
            now_micros: now_micros(),
            count_default: 2,
            count_max: 2,
        };
        let query = terminology::parsed(&context, &types, parameters)?;
        if query.contained != Contained::False {
            return Err(Failure::new(
                IssueKind::SearchParameter,
                "a condition is one on resources of their own; _contained cannot be used",
            ));
        }
        match query.filter.is_empty() {
            true => Err(Failure::new(
                IssueKind::SearchParameter,
                "a condition needs at least one search parameter with a value; without one it would match every resource",
            )),
            false => Ok(query),
        }
    }

    /// What the URL names of its type: the one with this id, or, without one, the one that the parameters match. `body_id`: of an
    /// update's body, for a resource that is created because nothing matches.
    ///
    /// # Errors
    /// As [`Request::condition`]; SearchParameter (400) for parameters beside an id.
    pub async fn target(&self, app: &App, body_id: Option<&str>) -> Result<Target, Failure> {
        if !self.id.is_empty() {
            self.refuse_parameters()?;
            return Ok(Target::Id(self.key()));
        }
        Ok(Target::Match {
            resource_type: self.resource_type.clone(),
            query: Box::new(self.condition(app, &self.parameters).await?),
            id: body_id.map(str::to_string),
        })
    }

    /// `If-None-Exist` as parameters; the bare query, or with `Type?` or `?` before it; percent-encoded as a whole, too.
    ///
    /// # Errors
    /// Syntax where it names another type or cannot be decoded.
    pub fn if_none_exist(&self) -> Result<Option<Parameters>, Failure> {
        self.header(&IF_NONE_EXIST)?
            .map(|text| condition_parameters(text, &self.resource_type))
            .transpose()
    }
}

/// The header of a conditional create.
pub const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Of a search that an index may answer.
pub const FRESHNESS: HeaderName = HeaderName::from_static("x-freshness");

/// The number in `W/"3"`, `"3"` or `3`; 0, which no version has, for a tag that is well formed and none of ours. `None`: no entity tag.
pub fn version_of(tag: &str) -> Option<i32> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let digits = match tag.strip_prefix('"') {
        Some(quoted) => quoted
            .strip_suffix('"')
            .filter(|opaque| !opaque.contains('"'))?,
        None => Some(tag).filter(|tag| tag.starts_with(|c: char| c.is_ascii_digit()))?,
    };
    Some(digits.parse().unwrap_or(0).max(0))
}

/// `return` and `handling` of the Prefer headers; unknown preferences are ignored, as RFC 7240 asks.
pub fn preferences(headers: &HeaderMap) -> (Option<Return>, Option<Handling>) {
    let (mut answer, mut handling) = (None, None);
    for value in headers.get_all(PREFER) {
        for part in value.to_str().unwrap_or("").split([',', ';']) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match (
                name.trim().to_ascii_lowercase().as_str(),
                value.trim().trim_matches('"'),
            ) {
                ("return", "minimal") => answer = Some(Return::Minimal),
                ("return", "representation") => answer = Some(Return::Representation),
                ("return", "OperationOutcome" | "operationoutcome") => {
                    answer = Some(Return::OperationOutcome);
                }
                ("handling", "strict") => handling = Some(Handling::Strict),
                ("handling", "lenient") => handling = Some(Handling::Lenient),
                _ => {}
            }
        }
    }
    (answer, handling)
}

/// Whether one of the Prefer headers names this, without a value.
pub fn prefers(headers: &HeaderMap, name: &str) -> bool {
    let values = headers.get_all(PREFER).iter();
    let mut parts = values.flat_map(|value| value.to_str().unwrap_or("").split([',', ';']));
    parts.any(|part| part.trim().eq_ignore_ascii_case(name))
}

fn condition_parameters(text: &str, resource_type: &str) -> Result<Parameters, Failure> {
    let query = match text.split_once('?') {
        Some((before, query)) if before.is_empty() || before.ends_with(resource_type) => query,
        Some((before, _)) if !before.contains('=') => {
            return Err(Failure::new(
                IssueKind::Syntax,
                format!("If-None-Exist must be a search on {resource_type}"),
            ));
        }
        _ => text,
    };
    // Some clients encode the header as one value: then there is no bare `=` in it.
    match query.contains('=') {
        true => url::parameters(query),
        false => match url::parameters(query)?.first() {
            Some((decoded, _)) if decoded.contains('=') => {
                condition_parameters(decoded, resource_type)
            }
            _ => url::parameters(query),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (tag, expect) in [
            ("W/\"3\"", Some(3)),
            ("\"3\"", Some(3)),
            ("3", Some(3)),
            (" W/\"3\" ", Some(3)),
            ("W/\"3", None),
            ("W/\"x\"", Some(0)),
            ("\"-1\"", Some(0)),
            ("x", None),
            ("W/\"0\"", Some(0)),
            ("*", None),
            ("W/\"1\", W/\"2\"", None),
            ("99999999999", Some(0)),
        ] {
            assert_eq!(version_of(tag), expect, "{tag}");
        }
    }

    #[test]
    fn if_none_exist_forms() {
        let expect = vec![("identifier".to_string(), "urn:x|1".to_string())];
        for text in [
            "identifier=urn:x|1",
            "identifier=urn%3Ax%7C1",
            "?identifier=urn:x|1",
            "Patient?identifier=urn:x|1",
            "http://h/fhir/Patient?identifier=urn:x|1",
            "identifier%3Durn:x%7C1",
            "Patient%3Fidentifier%3Durn%3Ax%7C1",
        ] {
            assert_eq!(
                condition_parameters(text, "Patient").unwrap(),
                expect,
                "{text}"
            );
        }
        assert!(condition_parameters("Observation?identifier=1", "Patient").is_err());
        let question = condition_parameters("name=a?b", "Patient").unwrap();
        assert_eq!(question[0].1, "a?b");
    }

    #[test]
    fn preference_forms() {
        for (text, expect) in [
            ("return=minimal", (Some(Return::Minimal), None)),
            (
                "handling=lenient, return=representation",
                (Some(Return::Representation), Some(Handling::Lenient)),
            ),
            (
                "return=\"OperationOutcome\"; handling=strict",
                (Some(Return::OperationOutcome), Some(Handling::Strict)),
            ),
            ("respond-async", (None, None)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, text.parse().unwrap());
            assert_eq!(preferences(&headers), expect, "{text}");
        }
    }
}
