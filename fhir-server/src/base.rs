//! The public FHIR base of a request: configured, else from the Host it was sent to.

use crate::app::App;
use crate::failure::Failure;
use fhir_model::IssueKind;
use http::{HeaderMap, header};

/// The base without a trailing slash. Forwarded headers count only where the settings trust them.
///
/// # Errors
/// Syntax where the Host is not one: it goes into links.
pub fn of(app: &App, headers: &HeaderMap) -> Result<String, Failure> {
    if app.config.base_url.is_some() {
        return Ok(app.config.own_base());
    }
    // RFC 9112 3.2: what a proxy and we would read differently.
    if headers.get_all(header::HOST).iter().count() > 1 {
        let reason = "there are two Host headers";
        return Err(Failure::new(IssueKind::Syntax, reason));
    }
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        // Proxies append: the first one is the client's.
        value.split(',').next().map(str::trim)
    };
    let (mut scheme, mut host) = ("http", text(header::HOST.as_str()));
    if app.config.trust_forwarded {
        scheme = match text("x-forwarded-proto") {
            Some("https") => "https",
            _ => scheme,
        };
        host = text("x-forwarded-host").or(host);
    }
    match host {
        None => Ok(app.config.own_base()),
        Some(host) if is_host(host) => Ok(format!("{scheme}://{host}/fhir")),
        Some(_) => Err(Failure::new(
            IssueKind::Syntax,
            "the Host header is not a host",
        )),
    }
}

fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}
