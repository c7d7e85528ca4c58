//! A Binary in its own form: the bytes with their Content-Type, without the resource around them
//! (<https://hl7.org/fhir/R5/binary.html#rest>).
//!
//! In: a body of any Content-Type is the content of a Binary, other FHIR resources too; only a Binary is the resource itself. Out: the
//! content, unless the resource is asked for ([`Accepts`]). `X-Security-Context` is `securityContext.reference` both ways. Refuses a body
//! without a Content-Type, and a header that says another `securityContext` than the resource. A browser gets nothing that it would run.

use crate::failure::Failure;
use crate::format::{self, MediaRange};
use crate::reply::Reply;
use crate::router::{Found, Interaction};
use crate::xml;
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use fhir_model::{Issue, IssueKind, json};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

pub const X_SECURITY_CONTEXT: HeaderName = HeaderName::from_static("x-security-context");

const BINARY: &str = "Binary";
const OCTETS: &str = "application/octet-stream";

/// What is valid base64 for FHIR: bits after the last byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Whether a body that is sent there may be of any Content-Type.
pub fn takes_content(found: &Found) -> bool {
    found.resource_type == BINARY
        && matches!(
            found.route.interaction,
            Interaction::Create | Interaction::Update | Interaction::ConditionalUpdate
        )
}

/// Whether the content of a Binary may be answered there.
pub fn gives_content(found: &Found) -> bool {
    found.resource_type == BINARY
        && matches!(
            found.route.interaction,
            Interaction::Read | Interaction::Vread
        )
}

/// The Binary that a body stands for. `id`: of the URL, which the content cannot say.
///
/// # Errors
/// UnsupportedMediaType (415) without a Content-Type; Syntax (400) for FHIR JSON or XML that cannot be read, and for an
/// `X-Security-Context` other than the resource's own.
pub fn read(headers: &HeaderMap, id: &str, bytes: &[u8]) -> Result<Value, Failure> {
    let content_type = text(headers, &header::CONTENT_TYPE)?.ok_or_else(|| {
        let reason = "a Binary needs the Content-Type of its content";
        Failure::new(IssueKind::UnsupportedMediaType, reason)
    })?;
    let context = text(headers, &X_SECURITY_CONTEXT)?;
    if let Some(mut resource) = resource(headers, &content_type, bytes)? {
        if let Some(context) = context {
            secure(&mut resource, &context)?;
        }
        return Ok(resource);
    }
    let mut resource = json!({ "resourceType": BINARY });
    if !id.is_empty() {
        resource["id"] = json!(id);
    }
    resource["contentType"] = json!(content_type);
    if let Some(context) = context {
        resource["securityContext"] = json!({ "reference": context });
    }
    if !bytes.is_empty() {
        resource["data"] = json!(STANDARD.encode(bytes));
    }
    Ok(resource)
}

/// A header as FHIR's `code` would have it: no white space but single spaces.
fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Failure::new(IssueKind::Syntax, format!("the header {name} is not UTF-8")))?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The body as the resource itself, if that is what it is.
fn resource(
    headers: &HeaderMap,
    content_type: &str,
    bytes: &[u8],
) -> Result<Option<Value>, Failure> {
    let essence = format::essence(content_type);
    let is_fhir = format::is_fhir(&essence);
    let is_json = matches!(
        essence.as_str(),
        "application/fhir+json" | "application/json" | "text/json"
    );
    let found = if is_json {
        match json::parse(bytes) {
            Ok(value) if json::resource_type(&value) == Some(BINARY) => value,
            // JSON in general is not for us to judge.
            Err(issue) if is_fhir => return Err(issue.into()),
            _ => return Ok(None),
        }
    } else if format::RESOURCE_TYPES.contains(&essence.as_str()) {
        match xml::root(bytes) {
            Some(name) if name != BINARY => return Ok(None),
            None if !is_fhir => return Ok(None),
            _ => xml::read(bytes)?,
        }
    } else {
        return Ok(None);
    };
    format::check_content_type(headers, &format::RESOURCE_TYPES)?;
    Ok(Some(found))
}

fn secure(resource: &mut Value, context: &str) -> Result<(), Failure> {
    match resource.get("securityContext") {
        None => {
            resource["securityContext"] = json!({ "reference": context });
            Ok(())
        }
        Some(own) if own.get("reference").is_some_and(|own| own == context) => Ok(()),
        Some(_) => Err(Issue::error(
            IssueKind::Syntax,
            "X-Security-Context and the resource's securityContext differ",
        )
        .at("Binary.securityContext")
        .into()),
    }
}

/// What the Accept headers of a read say of a Binary.
///
/// The resource is answered where `application/fhir+json` or `application/fhir+xml` is named and not liked less than the content, or where
/// `application/json`, `application/xml` and the like are named and the content is not acceptable. Everything else is answered with the
/// content, a refusal of its type, too: `*/*`, what browsers send, and no Accept at all.
#[derive(Clone, Debug)]
pub struct Accepts(Vec<MediaRange>);

impl Accepts {
    pub fn of(headers: &HeaderMap) -> Accepts {
        Accepts(format::accepted_ranges(headers))
    }

    fn wants_content(&self, content_type: &str) -> bool {
        let essence = format::essence(content_type);
        let kind = essence.split('/').next().unwrap_or("");
        let quality = |wanted: &dyn Fn(&str) -> bool| {
            let fitting = self.0.iter().filter(|range| wanted(&range.essence));
            fitting.map(|range| range.quality).max()
        };
        // The most exact range counts.
        let content = quality(&|range| range == essence)
            .or_else(|| quality(&|range| range == format!("{kind}/*")))
            .or_else(|| quality(&|range| range == "*/*"))
            .unwrap_or(0);
        let fhir = quality(&format::is_fhir).unwrap_or(0);
        let generic = quality(&|range| format::RESOURCE_TYPES.contains(&range)).unwrap_or(0);
        match (fhir, content, generic) {
            (1.., content, _) if fhir >= content => false,
            (_, 0, 1..) => false,
            _ => true,
        }
    }

    /// The content in place of the resource that a read answers; `None` where the resource, or a part of it, is wanted, or there is none.
    pub fn content(&self, reply: &Reply) -> Option<Content> {
        if reply.status != StatusCode::OK || reply.is_outcome || reply.subset.is_some() {
            return None;
        }
        let resource = json::parse(reply.body.as_ref()?.as_bytes()).ok()?;
        let content_type = resource.get("contentType")?.as_str()?;
        if !self.wants_content(content_type) {
            return None;
        }
        let data = resource.get("data").and_then(Value::as_str).unwrap_or("");
        let context = resource.pointer("/securityContext/reference");
        Some(Content {
            content_type: content_type.to_string(),
            security_context: context.and_then(Value::as_str).map(str::to_string),
            bytes: BASE64.decode(data).ok()?,
        })
    }
}

/// The content of a Binary, as it is sent.
#[derive(Clone, Debug)]
pub struct Content {
    content_type: String,
    security_context: Option<String>,
    pub bytes: Vec<u8>,
}

/// Types that a browser shows and does not run.
const SHOWN: [&str; 11] = [
    "application/dicom",
    "application/json",
    "application/pdf",
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "text/plain",
];

impl Content {
    /// A JSON document that is no resource.
    pub fn json(text: String) -> Content {
        Content {
            content_type: "application/json".to_string(),
            security_context: None,
            bytes: text.into_bytes(),
        }
    }

    /// The headers that tell of it. What is not surely harmless in a browser is saved to a file there, and would have no rights.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let or = |text: &str, other: &'static str| {
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(other))
        };
        let mut headers = vec![
            (header::CONTENT_TYPE, or(&self.content_type, OCTETS)),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
        ];
        let essence = format::essence(&self.content_type);
        // Of a list browsers take another type than the first (<https://fetch.spec.whatwg.org/#content-type-header>).
        let is_shown = !self.content_type.contains(',')
            && (SHOWN.contains(&essence.as_str())
                || essence.starts_with("audio/")
                || essence.starts_with("video/"));
        if !is_shown {
            headers.push((
                header::CONTENT_DISPOSITION,
                HeaderValue::from_static("attachment"),
            ));
            headers.push((
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; sandbox"),
            ));
        }
        let context = self.security_context.as_deref();
        if let Some(context) = context.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.push((X_SECURITY_CONTEXT, context));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_or_resource() {
        const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        for (accept, content_type, content) in [
            ("", "image/png", true),
            ("*/*", "image/png", true),
            ("image/*", "image/png", true),
            ("image/png", "image/png", true),
            ("Image/PNG", "image/png; x=1", true),
            ("image/jpeg", "image/png", true),
            ("text/html", "application/pdf", true),
            (CHROME, "application/pdf", true),
            (CHROME, "application/xml", true),
            ("application/json, text/plain, */*", "image/png", true),
            ("application/fhir+json", "image/png", false),
            ("application/fhir+xml", "image/png", false),
            ("application/fhir+json", "application/fhir+json", false),
            ("application/fhir+json, */*", "image/png", false),
            ("application/fhir+json;q=0.9, */*;q=0.8", "image/png", false),
            ("application/fhir+json;q=0.5, image/png", "image/png", true),
            (
                "application/fhir+json;q=0.5, image/png",
                "application/pdf",
                false,
            ),
            ("application/fhir+json;q=0, */*", "image/png", true),
            ("application/json", "image/png", false),
            ("application/json", "application/json", true),
            ("text/xml", "text/xml", true),
            ("text/xml", "image/png", false),
            ("image/png;q=0, application/json", "image/png", false),
            ("image/png;q=0, */*", "image/png", true),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let found = Accepts::of(&headers).wants_content(content_type);
            assert_eq!(found, content, "{accept} {content_type}");
        }
    }

    #[test]
    fn read_in() {
        const XML: &str =
            r#"<Binary xmlns="http://hl7.org/fhir"><contentType value="a/b"/></Binary>"#;
        let refused = Value::Null;
        for (content_type, context, body, expect) in [
            (
                "image/png",
                "",
                "ab",
                json!({"id":"1","contentType":"image/png","data":"YWI="}),
            ),
            (
                "text/plain;  charset=utf-8",
                "Patient/1",
                "",
                json!({"id":"1","contentType":"text/plain; charset=utf-8","securityContext":{"reference":"Patient/1"}}),
            ),
            (
                "application/fhir+json",
                "",
                r#"{"resourceType":"Basic"}"#,
                json!({"id":"1","contentType":"application/fhir+json","data":"eyJyZXNvdXJjZVR5cGUiOiJCYXNpYyJ9"}),
            ),
            (
                "application/fhir+json; fhirVersion=4.0",
                "",
                "{}",
                json!({"id":"1","contentType":"application/fhir+json; fhirVersion=4.0","data":"e30="}),
            ),
            (
                "application/fhir+json",
                "",
                r#"{"resourceType":"Binary","contentType":"a/b"}"#,
                json!({"contentType":"a/b"}),
            ),
            (
                "application/json",
                "",
                r#"{"resourceType":"Binary","contentType":"a/b"}"#,
                json!({"contentType":"a/b"}),
            ),
            (
                "application/json",
                "Patient/1",
                r#"{"resourceType":"Binary"}"#,
                json!({"securityContext":{"reference":"Patient/1"}}),
            ),
            (
                "application/json",
                "Patient/1",
                r#"{"resourceType":"Binary","securityContext":{"reference":"Patient/1"}}"#,
                json!({"securityContext":{"reference":"Patient/1"}}),
            ),
            (
                "application/json",
                "Patient/2",
                r#"{"resourceType":"Binary","securityContext":{"reference":"Patient/1"}}"#,
                refused.clone(),
            ),
            (
                "application/fhir+json; fhirVersion=4.0",
                "",
                r#"{"resourceType":"Binary"}"#,
                refused.clone(),
            ),
            (
                "application/fhir+json",
                "",
                r#"{"resourceType":"Binary""#,
                refused.clone(),
            ),
            (
                "application/json",
                "",
                "{",
                json!({"id":"1","contentType":"application/json","data":"ew=="}),
            ),
            (
                "application/fhir+xml",
                "",
                XML,
                json!({"contentType":"a/b"}),
            ),
            ("text/xml", "", XML, json!({"contentType":"a/b"})),
            (
                "text/xml",
                "",
                "<a/>",
                json!({"id":"1","contentType":"text/xml","data":"PGEvPg=="}),
            ),
            (
                "application/fhir+xml",
                "",
                "<a/>",
                json!({"id":"1","contentType":"application/fhir+xml","data":"PGEvPg=="}),
            ),
            (
                "text/xml",
                "",
                "<",
                json!({"id":"1","contentType":"text/xml","data":"PA=="}),
            ),
            ("application/fhir+xml", "", "<", refused.clone()),
            ("text/xml", "", &XML[..60], refused.clone()),
            ("", "", "x", refused.clone()),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                (header::CONTENT_TYPE, content_type),
                (X_SECURITY_CONTEXT, context),
            ] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let found = read(&headers, "1", body.as_bytes()).map(|mut resource| {
                assert_eq!(
                    resource
                        .as_object_mut()
                        .unwrap()
                        .shift_remove("resourceType"),
                    Some(json!(BINARY))
                );
                resource
            });
            assert_eq!(
                found.unwrap_or(Value::Null),
                expect,
                "{content_type} {body}"
            );
        }
    }

    #[test]
    fn a_browser_runs_nothing() {
        for (content_type, sent, shown) in [
            ("image/png", "image/png", true),
            ("application/pdf", "application/pdf", true),
            (
                "text/plain; charset=utf-8",
                "text/plain; charset=utf-8",
                true,
            ),
            ("video/mp4", "video/mp4", true),
            ("text/html", "text/html", false),
            ("TEXT/HTML", "TEXT/HTML", false),
            ("image/svg+xml", "image/svg+xml", false),
            ("application/xml", "application/xml", false),
            ("text/plain\r\nx: y", OCTETS, false),
            ("nonsense", "nonsense", false),
            ("text/plain;x, text/html", "text/plain;x, text/html", false),
            ("audio/x, text/html", "audio/x, text/html", false),
        ] {
            let content = Content {
                content_type: content_type.into(),
                security_context: None,
                bytes: Vec::new(),
            };
            let headers: HeaderMap = content.headers().into_iter().collect();
            assert_eq!(headers[header::CONTENT_TYPE], sent, "{content_type}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            for name in [header::CONTENT_DISPOSITION, header::CONTENT_SECURITY_POLICY] {
                assert_eq!(headers.contains_key(name), !shown, "{content_type}");
            }
        }
    }
}
