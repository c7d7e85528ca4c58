//! The body of a request, whole and within its limits: what may be sent there, how long it may be, how long it may take.
//!
//! Refuses Content-Types that are not read there (415), what is longer than announced or allowed (413), and what does not arrive (408).
//! What is refused unread is passed over, within bounds, before it is answered: a client that is still sending when its connection
//! is closed may not see the answer (RFC 9112, section 9.6).

use crate::app::App;
use crate::failure::Failure;
use crate::format::{self, Syntax};
use crate::gate::Held;
use crate::request::Body;
use crate::router::Found;
use crate::url::{self, Parameters};
use crate::{binary, patch};
use ::http::{HeaderMap, Method, header};
use axum::body::{Body as HttpBody, HttpBody as _};
use bytes::{Bytes, BytesMut};
use fhir_model::IssueKind;
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::timeout;

const FORM: &str = "application/x-www-form-urlencoded";

/// Most bytes that are passed over for an answer, how long that may take, and how long nothing may come meanwhile.
const PASSED_MAX_BYTES: u64 = 64 << 20;
const PASSED_WITHIN: Duration = Duration::from_secs(5);
const PASSED_IDLE: Duration = Duration::from_millis(500);

/// A body as it arrives.
pub(crate) struct Arriving {
    body: HttpBody,
    /// The client waits for `100 Continue`, which asking for the body is.
    is_held_back: bool,
}

impl Arriving {
    pub(super) fn new(body: HttpBody, headers: &HeaderMap) -> Arriving {
        let is_held_back = headers.contains_key(header::EXPECT);
        Arriving { body, is_held_back }
    }

    /// The next bytes; `None` at the end.
    async fn data(&mut self) -> Option<Result<Bytes, axum::Error>> {
        self.is_held_back = false;
        loop {
            match self.body.frame().await?.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads what nobody has read.
    pub(super) async fn pass(&mut self) {
        let is_over = self.body.is_end_stream();
        if is_over || self.is_held_back || self.body.size_hint().lower() > PASSED_MAX_BYTES {
            return;
        }
        let rest = async {
            let mut left = PASSED_MAX_BYTES;
            while let Ok(Some(Ok(data))) = timeout(PASSED_IDLE, self.data()).await {
                match left.checked_sub(data.len() as u64) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // Seldom, and in a place of its own: other requests need not carry it along.
        let _ = Box::pin(timeout(PASSED_WITHIN, rest)).await;
    }
}

/// Reads the body within its limits. A search by POST carries parameters in it, and they join those of the URL.
pub(super) async fn read(
    app: &App,
    found: &Found,
    headers: &HeaderMap,
    body: &mut Arriving,
    parameters: &mut Parameters,
) -> Result<(Body, Option<Held>), Failure> {
    let is_form = found.route.interaction.is_search();
    let is_content = binary::takes_content(found);
    let wanted: &[&str] = match found.route.method {
        _ if is_form => &[FORM],
        Method::PATCH => &patch::CONTENT_TYPES,
        _ => &format::RESOURCE_TYPES,
    };
    if headers.contains_key(header::CONTENT_TYPE) && !is_content {
        format::check_content_type(headers, wanted)?;
    }
    let (bytes, held) = whole(app, headers, body, app.config.body_max_bytes).await?;
    if is_content {
        return Ok((Body::Content(bytes), Some(held)));
    }
    // Without the header, too; but a body that is not there needs none.
    let syntax = match bytes.is_empty() {
        true => Syntax::Json,
        false => format::check_content_type(headers, wanted)?,
    };
    if !is_form {
        let body = match syntax {
            Syntax::Json => Body::Bytes(bytes),
            Syntax::Xml => Body::Xml(bytes),
        };
        return Ok((body, Some(held)));
    }
    let form = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(IssueKind::Syntax, "the form body is not UTF-8"))?;
    parameters.extend(url::parameters(form)?);
    Ok((Body::None, None))
}

/// The bytes of a body of up to `limit`, and the room that they take.
pub(crate) async fn whole(
    app: &App,
    headers: &HeaderMap,
    body: &mut Arriving,
    limit: usize,
) -> Result<(Bytes, Held), Failure> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(too_long(limit));
    }
    format::check_content_encoding(headers)?;
    let within = Duration::from_millis(app.config.body_timeout_ms);
    let room = announced.unwrap_or(limit.min(UNANNOUNCED_BYTES));
    let mut held = app.gate.hold_body(room).await?;
    let collected = timeout(within, collect(app, body, limit, room, &mut held)).await;
    match collected {
        Err(_) => Err(Failure::body_too_slow(app.config.body_timeout_ms)),
        Ok(collected) => Ok((collected?, held)),
    }
}

/// What a body without a length may take before it counts as one of the greatest size.
const UNANNOUNCED_BYTES: usize = 64 * 1024;

/// The body, in one piece of memory. `room` is what `held` stands for; it becomes more where the body turns out to be longer.
async fn collect(
    app: &App,
    body: &mut Arriving,
    limit: usize,
    room: usize,
    held: &mut Held,
) -> Result<Bytes, Failure> {
    let (mut bytes, mut room) = (BytesMut::with_capacity(room), room);
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| broken_off())?;
        let length = bytes.len() + data.len();
        if length > limit {
            return Err(too_long(limit));
        }
        if length > room {
            held.merge(app.gate.hold_body(limit - room).await?);
            room = limit;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn broken_off() -> Failure {
    Failure::new(IssueKind::Syntax, "the body broke off before its end")
}

fn too_long(limit_bytes: usize) -> Failure {
    Failure::new(
        IssueKind::TooLong,
        format!("the body is longer than {limit_bytes} bytes"),
    )
}
