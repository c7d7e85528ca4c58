//! HTTP at the edge: a request is taken apart, bounded, dispatched and answered; nothing of FHIR is decided here.
//!
//! The [`axum::Router`] is also the service that the embedded HL7 v2 listener submits to, so both have one contract.
//! Refuses bodies and URLs beyond their limits, formats other than JSON and XML, and what comes when too much is being done.

pub(crate) mod body;
mod encoding;

use crate::app::App;
use crate::binary::{Accepts, Content};
use crate::failure::Failure;
use crate::format::{self, Format};
use crate::gate::{Held, kept};
use crate::reply::{Reply, http_date};
use crate::request::{Body, Request, Return, preferences};
use crate::router::{self, Found, Interaction};
use crate::url::{self, Parameters};
use crate::{base, binary, cors, health, job, telemetry, v2_over_http};
use axum::Router;
use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::State;
use axum::response::Response;
use body::Arriving;
use fhir_model::{IssueKind, json};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use metrics::counter;
use serde_json::Value;
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::timeout;
use tower::util::MapRequestLayer;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::decompression::RequestDecompressionLayer;
use tracing::Instrument;

/// The whole server as one service.
pub fn service(app: Arc<App>) -> Router {
    Router::new()
        .fallback(boxed)
        .with_state(app)
        .layer(CatchPanicLayer::custom(panicked))
        // A body that is unpacked counts by what it becomes, chunk by chunk.
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(MapRequestLayer::new(encoding::plain))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(
                    SizeAbove::new(encoding::COMPRESS_ABOVE_BYTES).and(encoding::is_loose),
                ),
        )
}

/// What a connection beyond their limit is told: how the server is, and to come back.
pub fn refusal(app: Arc<App>) -> Router {
    Router::new().fallback(refuse).with_state(app)
}

/// The body of a request of the embedded listener, which was never text. It has taken its turn there
/// ([`ConnectionSettings::max_messages_in_work`]), and a message that was accepted for work is not refused here because others ask for
/// too much.
///
/// [`ConnectionSettings::max_messages_in_work`]: hl7_mllp_listener::settings::ConnectionSettings::max_messages_in_work
#[derive(Clone, Debug)]
pub struct InProcess(pub Value);

const BASE_PATH: &str = "/fhir";
const X_PROGRESS: HeaderName = HeaderName::from_static("x-progress");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an answer keeps on its way is large: in a place of its own, the layers need not carry it along.
fn boxed(
    state: State<Arc<App>>,
    request: axum::extract::Request,
) -> Pin<Box<dyn Future<Output = Response> + Send>> {
    Box::pin(answer(state, request))
}

async fn answer(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response {
    let request_id = telemetry::request_id(request.headers().get(&X_REQUEST_ID));
    let head = request.method() == Method::HEAD;
    let allowed = cors::allowed(&app.config.cors_origins, request.headers());
    if let Some(preflight) = cors::preflight(&request, allowed.as_ref()) {
        return preflight;
    }
    let span = tracing::info_span!("request", request_id = request_id.as_str());
    let (parts, body) = request.into_parts();
    let mut body = Arriving::new(body, &parts.headers);
    let mut response = match about_the_server(&app, parts.uri.path()).await {
        Some(response) => response,
        None if parts.uri.path() == v2_over_http::PATH => {
            let work = Box::pin(v2_over_http::answer(&app, &parts, &mut body));
            let answered = work.instrument(span).await;
            answered.unwrap_or_else(|failure| response(failure.reply(), Seen::nothing()))
        }
        None => fhir(&app, parts, &mut body).instrument(span).await,
    };
    // A body that did not arrive is not waited for again.
    if response.status() != StatusCode::REQUEST_TIMEOUT {
        body.pass().await;
    }
    if head {
        let body = std::mem::replace(response.body_mut(), HttpBody::empty());
        if let Some(bytes) = body.size_hint().exact().filter(|bytes| *bytes > 0) {
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, bytes.into());
        }
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    cors::mark(&mut response, allowed);
    response
}

async fn about_the_server(app: &App, path: &str) -> Option<Response> {
    match path {
        "/health/live" => Some(health::live()),
        "/health/ready" => Some(health::ready(app).await),
        "/metrics" => Some(telemetry::metrics(app)),
        _ => None,
    }
}

async fn refuse(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response {
    if let Some(response) = about_the_server(&app, request.uri().path()).await {
        return response;
    }
    let failure = Failure::new(
        IssueKind::Transient,
        "too many connections are open; come back after Retry-After seconds",
    );
    counter!("fhir_requests_refused_total", "reason" => "connections").increment(1);
    response(failure.reply(), Seen::nothing())
}

async fn fhir(app: &App, mut parts: Parts, body: &mut Arriving) -> Response {
    let watch = telemetry::RequestWatch::start();
    let mut seen = Seen {
        base: base::of(app, &parts.headers).unwrap_or_default(),
        ..Seen::nothing()
    };
    let within = Duration::from_millis(app.config.request_timeout_ms);
    let body = match parts.extensions.remove::<InProcess>() {
        Some(InProcess(tree)) => Sent::InProcess(tree),
        None => Sent::Text(body),
    };
    let is_read = matches!(parts.method, Method::GET | Method::HEAD)
        || parts.uri.path().ends_with("/_search");
    let work = interact(app, &mut seen, parts.method, parts.uri, parts.headers, body);
    let result = timeout(within, work)
        .await
        .unwrap_or_else(|_| Err(not_in_time(within, is_read)));
    let reply = result.unwrap_or_else(|failure| {
        let mut reply = failure.reply();
        let body = reply.body.clone().map(|json| seen.format.write(json));
        match body.transpose() {
            Ok(body) => reply.body = body,
            // An error that XML cannot say is told in JSON rather than not at all.
            Err(_) => seen.format = Format::default(),
        }
        reply
    });
    watch.done(seen.interaction, reply.status);
    response(reply, seen)
}

fn not_in_time(within: Duration, is_read: bool) -> Failure {
    let ms = within.as_millis();
    match is_read {
        true => Failure::out_of_time(format!(
            "the answer was not there within {ms} ms: ask for less at a time, or with Prefer: respond-async"
        )),
        false => Failure::new(
            IssueKind::Transient,
            format!(
                "the request was not done within {ms} ms; what it writes may or may not be there: read it before it is sent again"
            ),
        ),
    }
}

/// What the answer needs to know of a request, however far it came.
struct Seen {
    interaction: &'static str,
    base: String,
    format: Format,
    /// Room that the answer takes until it is sent.
    held: Option<Held>,
}

impl Seen {
    fn nothing() -> Seen {
        Seen {
            interaction: "none",
            base: String::new(),
            format: Format::default(),
            held: None,
        }
    }
}

async fn interact(
    app: &App,
    seen: &mut Seen,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Sent<'_>,
) -> Result<Reply, Failure> {
    let url_bytes = uri.path().len() + uri.query().map_or(0, str::len);
    if url_bytes > app.config.url_max_bytes {
        return Err(Failure::url_too_long(app.config.url_max_bytes));
    }
    let mut parameters = url::parameters(uri.query().unwrap_or(""))?;
    let is_named = parameters.iter().any(|(name, _)| name == "_format");
    // First of all, so that errors come in the format asked for, too.
    let format = format::negotiate(&headers, &mut parameters);
    seen.format = format.as_ref().copied().unwrap_or_default();
    let path = below_base(uri.path())?;
    let found = router::find(&app.store.definitions(), &app.config, &method, path);
    if method == Method::OPTIONS {
        return options(found);
    }
    let found = found?;
    seen.interaction = match found.operation {
        Some(operation) => &operation.definition.code,
        None => found.route.interaction.label(),
    };
    seen.base = base::of(app, &headers)?;
    let ranges = || format::accepted_ranges(&headers);
    let names_format = is_named
        || found.route.interaction != Interaction::JobStatus
        || ranges().iter().any(|range| range.names().is_some());
    let content = (binary::gives_content(&found) && !is_named).then(|| Accepts::of(&headers));
    let format = match content {
        // Only a Binary itself says whether its resource is asked for at all.
        Some(_) => format,
        None => Ok(format?),
    };
    let takes_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    let body = match body {
        Sent::Text(body) => body,
        Sent::InProcess(tree) => {
            json::check(&tree)?;
            let body = match takes_body {
                true => Body::Resource(tree),
                false => Body::None,
            };
            let request = Request {
                is_own: true,
                requires_version: false,
                ..request(app, found, parameters, headers, body, &seen.base)
            };
            return dispatch(app, request).await;
        }
    };
    let (body, held) = match takes_body {
        true => body::read(app, &found, &headers, body, &mut parameters).await?,
        false => (Body::None, None),
    };
    let format = match parameters.iter().any(|(name, _)| name == "_format") {
        // In the form of a search by POST.
        true => Ok(format::negotiate(&headers, &mut parameters)?),
        false => format,
    };
    seen.format = format.as_ref().copied().unwrap_or_default();
    let request = request(app, found, parameters, headers, body, &seen.base);
    let _turn = app.gate.enter().await?;
    let is_write = request.may_write();
    let reply = match job::is_asked(&request) {
        true => job::accept(app, request, path, seen.format).await?,
        false => dispatch(app, request).await?,
    };
    // What a job has kept is written as its request asked, unless this one names something else.
    let format = match reply.told.format.filter(|_| !names_format) {
        Some(kept) => Ok(kept),
        None => format,
    };
    seen.format = format.as_ref().copied().unwrap_or_default();
    let reply = match is_write && seen.format != Format::default() {
        // What was written is never told as refused: what XML cannot hold is answered in JSON.
        true => as_asked(reply.clone(), format, content).or_else(|_| {
            seen.format = Format::default();
            as_asked(reply, Ok(seen.format), None)
        })?,
        false => as_asked(reply, format, content)?,
    };
    seen.held = match held {
        // What was written is never told as refused: its answer takes the place of the request's body.
        Some(held) => Some(held),
        None => app.gate.hold_answer(reply.body_bytes()).await?,
    };
    Ok(reply)
}

/// A body from this size on is worked on outside the threads that serve connections: reading and checking it takes them tens of
/// milliseconds to seconds, in which nobody else would be answered.
const LARGE_BODY_BYTES: usize = 256 * 1024;

async fn dispatch(app: &App, request: Request) -> Result<Reply, Failure> {
    let body_bytes = match &request.body {
        Body::None => 0,
        Body::Bytes(bytes) | Body::Xml(bytes) | Body::Content(bytes) => bytes.len(),
        Body::Resource(tree) => json::text_bytes(tree),
    };
    let is_large = body_bytes >= LARGE_BODY_BYTES;
    let runtime = Handle::current();
    if !is_large || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return router::dispatch(app, request).await;
    }
    let within = Duration::from_millis(app.config.request_timeout_ms);
    tokio::task::block_in_place(|| {
        let work = async { timeout(within, router::dispatch(app, request)).await };
        runtime
            .block_on(work)
            .unwrap_or_else(|_| Err(not_in_time(within, false)))
    })
}

/// The answer as it is sent: the content of a Binary, or as much of each resource, and in the format, as is asked for.
fn as_asked(
    reply: Reply,
    format: Result<Format, Failure>,
    content: Option<Accepts>,
) -> Result<Reply, Failure> {
    let is_large = reply.body_bytes() >= LARGE_BODY_BYTES;
    let write = || {
        if let Some(content) = content.and_then(|accepts| accepts.content(&reply)) {
            return Ok(Reply {
                content: Some(content),
                body: None,
                ..reply
            });
        }
        let mut reply = reply.cut();
        if let Some(json) = reply.body.take() {
            reply.body = Some(format?.write(json)?);
        }
        Ok(reply)
    };
    let is_threaded = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
    match is_large && is_threaded {
        true => tokio::task::block_in_place(write),
        false => write(),
    }
}

/// A request that is to be dispatched; the preferences are those of its headers, or the defaults.
pub fn request(
    app: &App,
    found: Found,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
    base: &str,
) -> Request {
    let (prefer, handling) = preferences(&headers);
    let default = match found.route.interaction {
        Interaction::Bundle => Return::Minimal,
        _ => Return::Representation,
    };
    Request {
        requires_version: app.config.if_match_types.contain(&found.resource_type),
        is_own: false,
        route: found.route,
        resource_type: found.resource_type,
        id: found.id,
        version: found.version,
        member: found.member,
        operation: found.operation,
        parameters,
        headers,
        body,
        base: base.to_string(),
        prefer: prefer.unwrap_or(default),
        handling: handling.unwrap_or(app.config.handling),
    }
}

fn below_base(path: &str) -> Result<&str, Failure> {
    match path.strip_prefix(BASE_PATH) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(rest),
        _ => Err(Failure::new(
            IssueKind::UnknownEndpoint,
            "nothing is at this URL; the FHIR base is /fhir",
        )),
    }
}

/// `OPTIONS` says what a URL allows, and is an error only where there is no such URL.
fn options(found: Result<Found, Failure>) -> Result<Reply, Failure> {
    match found {
        Err(failure) if failure.status() == StatusCode::METHOD_NOT_ALLOWED => Ok(Reply {
            status: StatusCode::NO_CONTENT,
            allow: failure.allow,
            ..Reply::default()
        }),
        Err(failure) => Err(failure),
        Ok(_) => Ok(Reply {
            status: StatusCode::NO_CONTENT,
            ..Reply::default()
        }),
    }
}

/// A body as it comes to this service.
enum Sent<'a> {
    Text(&'a mut Arriving),
    InProcess(Value),
}

fn response(mut reply: Reply, mut seen: Seen) -> Response {
    let content_type = reply
        .body
        .as_ref()
        .map(|_| seen.format.content_type.to_string());
    let content_location = reply.content_location();
    let content = reply.content.take();
    let headers = content.as_ref().map(Content::headers);
    let bytes = match content {
        Some(content) => Some(content.bytes),
        None => reply.body.take().map(String::into_bytes),
    };
    let held = seen.held.take();
    let body = bytes.map_or_else(HttpBody::empty, |bytes| HttpBody::from(kept(bytes, held)));
    let mut response = Response::new(body);
    response.headers_mut().extend(headers.into_iter().flatten());
    // Whoever keeps answers keeps one for each format.
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    *response.status_mut() = reply.status;
    let allow: Vec<&str> = reply.allow.iter().map(Method::as_str).collect();
    let location = reply.location.as_ref();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::ETAG, reply.etag.clone()),
        (
            header::CONTENT_LOCATION,
            content_location.map(|at| format!("{}/{at}", seen.base)),
        ),
        (header::LAST_MODIFIED, reply.last_modified()),
        (header::EXPIRES, reply.told.expires_ms.and_then(http_date)),
        (X_PROGRESS, reply.told.progress.clone()),
        (
            header::LOCATION,
            location.map(|at| format!("{}/{at}", seen.base)),
        ),
        (
            header::RETRY_AFTER,
            reply.retry_after_seconds.map(|n| n.to_string()),
        ),
        (header::ALLOW, (!allow.is_empty()).then(|| allow.join(", "))),
    ] {
        if let Some(value) = value.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A panic is our fault, and its text may hold content: the place alone is logged, by the panic hook.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let failure = Failure::new(IssueKind::Exception, "an error inside the server");
    response(failure.reply(), Seen::nothing())
}
