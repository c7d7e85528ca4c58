//! What browsers may do from pages of another origin (<https://fetch.spec.whatwg.org/#http-cors-protocol>,
//! <https://hl7.org/fhir/R5/security.html#cors>). Never with cookies: nothing here reads any.
//!
//! An origin that is not among the setting's gets no header, which makes its browser refuse the answer.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};

/// The origins that may call: `*`, or some, comma separated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    All,
    Some(Vec<String>),
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What a script may read of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Location, Content-Location, Last-Modified, X-Request-Id, X-Progress, X-Security-Context, Retry-After, Allow",
);
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("3600");

/// `Access-Control-Allow-Origin` of the answer; `None` where the request has no Origin, or one that is not allowed.
pub fn allowed(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    match origins {
        Origins::All => Some(HeaderValue::from_static("*")),
        Origins::Some(some) => some
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes())
            .then(|| origin.clone()),
    }
}

/// The answer to the question that a browser asks before the request itself; any other OPTIONS is the router's.
pub fn preflight(request: &Request<Body>, allowed: Option<&HeaderValue>) -> Option<Response> {
    let headers = request.headers();
    if request.method() != Method::OPTIONS
        || !headers.contains_key(header::ORIGIN)
        || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if allowed.is_some() {
        let answer = response.headers_mut();
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
    }
    mark(&mut response, allowed.cloned());
    Some(response)
}

/// Says in an answer that the page that asked may read it.
pub fn mark(response: &mut Response, allowed: Option<HeaderValue>) {
    let Some(origin) = allowed else {
        return;
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let some = Origins::Some(vec!["https://a.example".into(), "http://b:8080".into()]);
        for (origins, origin, expect) in [
            (&Origins::All, Some("https://x.example"), Some("*")),
            (&Origins::All, None, None),
            (&some, Some("https://a.example"), Some("https://a.example")),
            (&some, Some("http://b:8080"), Some("http://b:8080")),
            (&some, Some("http://a.example"), None),
            (&some, Some("https://a.example.evil"), None),
            (&some, Some("null"), None),
            (&Origins::Some(Vec::new()), Some("https://a.example"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let found = allowed(origins, &headers);
            let found = found.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expect, "{origins:?} {origin:?}");
        }
    }
}
