//! `POST /hl7v2`: HL7 over HTTP (<https://hapifhir.github.io/hapi-hl7v2/hapi-hl7overhttp/specification.html>). A message or a batch in ER7
//! comes as the body, its acknowledgement goes back as the answer, with 200 whatever its code is: the transport succeeded. In enhanced
//! mode one answer has room for one acknowledgement, the application's where there is one; none at all is a 204.
//!
//! Refuses XML and other Content-Types (415), other methods (405), and what is too long (413) or too slow (408), in FHIR's words.

use crate::app::App;
use crate::failure::Failure;
use crate::format;
use crate::http::body::{self, Arriving};
use axum::response::Response;
use bytes::Bytes;
use fhir_model::IssueKind;
use hl7_mllp_listener::codec::Frame;
use hl7_mllp_listener::listeners::Admission;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// Beside the FHIR base, not below it.
pub const PATH: &str = "/hl7v2";

/// What ER7 is sent as; the first is what it is answered as.
const CONTENT_TYPES: [&str; 3] = [
    "application/hl7-v2",
    "application/hl7-v2+er7",
    "x-application/hl7-v2+er7",
];

/// Answers a request.
///
/// # Errors
/// What is no message, or cannot be taken in now.
pub(crate) async fn answer(
    app: &App,
    parts: &Parts,
    body: &mut Arriving,
) -> Result<Response, Failure> {
    if parts.method != Method::POST {
        return Err(Failure::method_not_allowed(
            &parts.method,
            vec![Method::POST],
        ));
    }
    let Some(intake) = app.intake() else {
        return Err(match app.config.hl7v2_http {
            true => Failure::new(IssueKind::Transient, "the server is starting or stopping"),
            false => Failure::new(
                IssueKind::NotFound,
                "HL7 v2 over HTTP is off (FHIR_HL7V2_HTTP)",
            ),
        });
    };
    check_content_type(&parts.headers)?;
    let limit = app.config.mllp_message_max_bytes;
    let (message, _held) = body::whole(app, &parts.headers, body, limit).await?;
    let frame = Frame::Message(message);
    let Some(reply) = intake.take(frame, &Admission::default()).await else {
        let why = "the server is stopping; send the message again";
        return Err(Failure::new(IssueKind::Transient, why));
    };
    Ok(acknowledged(reply.all().await.pop()))
}

fn acknowledged(acknowledgment: Option<Bytes>) -> Response {
    let Some(bytes) = acknowledgment else {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        return response;
    };
    let mut response = Response::new(bytes.into());
    let content_type = HeaderValue::from_static(CONTENT_TYPES[0]);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// The charset parameter is not asked: MSH-18 says how the message is to be read, as over MLLP.
fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let text = headers.get(header::CONTENT_TYPE);
    let text = text.and_then(|value| value.to_str().ok()).unwrap_or("");
    match CONTENT_TYPES.contains(&format::essence(text).as_str()) {
        true => Ok(()),
        false => Err(Failure::new(
            IssueKind::UnsupportedMediaType,
            format!(
                "the Content-Type must be {}, and the message in ER7",
                CONTENT_TYPES[0]
            ),
        )),
    }
}
