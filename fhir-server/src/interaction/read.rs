//! `GET [base]/[type]/[id]` (<https://hl7.org/fhir/R5/http.html#read>), with `If-Match`, `If-None-Match` and `If-Modified-Since`.

use crate::app::App;
use crate::failure::Failure;
use crate::operation::own;
use crate::reply::Reply;
use crate::request::{Request, version_of};
use fhir_model::date::PartialDate;
use fhir_model::{IssueKind, ResourceKey};
use fhir_storage::{Version, VersionMatch};
use http::header;
use std::time::{Duration, UNIX_EPOCH};

pub async fn read(app: &App, request: Request) -> Result<Reply, Failure> {
    request.subset()?;
    let wanted = request.if_match()?;
    let version = app.store.read(&request.key()).await?;
    let reply = reply(&request, version)?;
    if let VersionMatch::Is(_) = wanted {
        wanted.check(reply.etag.as_deref().and_then(version_of))?;
    }
    Ok(reply)
}

/// A version, or 304 for a client that has it.
///
/// # Errors
/// As [`present`].
pub fn reply(request: &Request, version: Option<Version>) -> Result<Reply, Failure> {
    if version.is_none()
        && let Some(reply) = own::read(request)
    {
        let subset = request.subset()?;
        return Ok(Reply { subset, ..reply });
    }
    let reply = Reply {
        subset: request.subset()?,
        ..present(&request.key(), version)?
    };
    Ok(match has_it(request, &reply)? {
        true => reply.not_modified(),
        false => reply,
    })
}

/// A version's body, or why there is none.
///
/// # Errors
/// NotFound (404), or Deleted (410) with the version of the deletion.
pub fn present(key: &ResourceKey, version: Option<Version>) -> Result<Reply, Failure> {
    match version {
        Some(Version::Present(stored)) => Ok(Reply::resource(stored)),
        Some(Version::Deleted { version, .. }) => Err(Failure::deleted(key, version)),
        None => Err(Failure::new(
            IssueKind::NotFound,
            format!("there is no {key}"),
        )),
    }
}

/// Whether the client has this version. `If-Modified-Since` counts only without `If-None-Match` (RFC 9110, section 13.1.3).
fn has_it(request: &Request, reply: &Reply) -> Result<bool, Failure> {
    if let Some(tags) = request.header(&header::IF_NONE_MATCH)? {
        let current = reply.etag.as_deref().and_then(version_of);
        return Ok(tags == "*" || tags.split(',').any(|tag| version_of(tag) == current));
    }
    let Some(since) = request.header(&header::IF_MODIFIED_SINCE)? else {
        return Ok(false);
    };
    let modified_ms = reply.last_updated_ms.unwrap_or(0).max(0);
    // In an entry of a bundle it is an instant.
    if let Some(instant) = PartialDate::parse(since).filter(|date| date.zoned) {
        return Ok(modified_ms <= instant.range.lo.div_euclid(1_000));
    }
    let since = httpdate::parse_http_date(since).ok();
    let seconds = modified_ms as u64 / 1_000;
    Ok(since.is_some_and(|since| UNIX_EPOCH + Duration::from_secs(seconds) <= since))
}
