//! The embedded HL7 v2 listener's side: the server as a service in its own process, which is the same router without the socket.

use crate::app::App;
use crate::http::InProcess;
use crate::serve::StartError;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hl7_mllp_listener::identity::SiteSecret;
use hl7_mllp_listener::mapping::Mappings;
use hl7_mllp_listener::process::Processor;
use hl7_mllp_listener::submit::Submit;
use http::{Request, Uri};
use http_body_util::BodyExt;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Service, ServiceExt};

/// What the embedded listener processes messages with: the maps, the site's secret, and this server.
///
/// # Errors
/// A secret file that cannot be read or is too short.
pub fn processor(
    app: &App,
    router: Router,
    mappings: Arc<Mappings>,
) -> Result<Processor, StartError> {
    let secret = match &app.config.site_secret_file {
        None => app.store.site_secret().to_vec(),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => text.trim().as_bytes().to_vec(),
            Err(reason) => return Err(StartError::Secret(format!("{}: {reason}", path.display()))),
        },
    };
    let secret = SiteSecret::new(secret).ok_or_else(|| {
        let least = SiteSecret::MIN_BYTES;
        StartError::Secret(format!("the site secret is shorter than {least} bytes"))
    })?;
    let submit = Submit::service(ThisServer { router });
    Ok(Processor::new(submit, mappings, secret))
}

/// Requests with a URI below the FHIR base (`/` takes a transaction).
#[derive(Clone)]
struct ThisServer {
    router: Router,
}

impl Service<Request<Value>> for ThisServer {
    type Response = Response<Bytes>;
    type Error = axum::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, axum::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Value>) -> Self::Future {
        let router = self.router.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            parts.uri = below_base(&parts.uri)?;
            parts.extensions.insert(InProcess(body));
            let request = Request::from_parts(parts, Body::empty());
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok(Response::from_parts(parts, bytes))
        })
    }
}

fn below_base(uri: &Uri) -> Result<Uri, axum::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("/fhir{path}").parse().map_err(axum::Error::new)
}
