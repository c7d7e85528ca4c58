//! `GET [base]/[type]/[id]/_history` (<https://hl7.org/fhir/R5/http.html#history>): all versions, newest first, with `_count`.

use crate::app::{App, now_seconds};
use crate::bundle::searchset::{self, Links};
use crate::failure::Failure;
use crate::interaction::search::page_token;
use crate::page_token::Place;
use crate::reply::Reply;
use crate::request::Request;
use crate::subset::Subset;
use crate::url::{self, Parameters};
use fhir_model::IssueKind;
use fhir_search::Handling;
use fhir_storage::Version;

pub async fn history(app: &App, request: Request) -> Result<Reply, Failure> {
    let key = request.key();
    let path = format!("{key}/_history");
    let (parameters, before, token) = match page_token(&request)? {
        None => (request.parameters.clone(), None, None),
        Some(token) => {
            let place = app.tokens.open(&path, token, now_seconds())?;
            let before = version_of_keyset(&place.keyset);
            (place.parameters, before, Some(token))
        }
    };
    let count = count(app, &request, &parameters)?;
    let subset = Subset::read(&parameters)?;
    // One more, which tells an empty page from a resource that never was, and whether the last of the page created it.
    let found = app.store.history_instance(&key, count + 1, before).await?;
    if found.versions.is_empty() {
        return Err(Failure::new(
            IssueKind::NotFound,
            format!("there never was a {key}"),
        ));
    }
    let oldest = found
        .versions
        .iter()
        .take(count)
        .next_back()
        .map(version_number);
    let of_page = |token: &str| format!("{}/{path}?_page={token}", request.base);
    let self_query = url::query(&parameters);
    let links = Links {
        self_url: match token {
            Some(token) => of_page(token),
            None if self_query.is_empty() => format!("{}/{path}", request.base),
            None => format!("{}/{path}?{self_query}", request.base),
        },
        next_url: oldest.filter(|version| *version > 1).map(|before| {
            let place = Place {
                parameters,
                keyset: before.to_be_bytes().to_vec(),
            };
            of_page(&app.tokens.seal(&path, &place, now_seconds()))
        }),
    };
    let bundle =
        searchset::write_history(&request.base, &links, found.total, &found.versions, count);
    Ok(Reply::bundle(bundle, subset))
}

fn count(app: &App, request: &Request, parameters: &Parameters) -> Result<usize, Failure> {
    let mut count = None;
    for (name, value) in parameters {
        match (name.as_str(), value.parse::<usize>()) {
            ("_count", Ok(number)) if count.is_none() => {
                count = Some(number.min(app.config.count_max))
            }
            ("_count", _) => {
                return Err(Failure::new(
                    IssueKind::SearchParameter,
                    "_count must be one whole number",
                ));
            }
            (name, _) if Subset::is_parameter(name) => {}
            _ if request.handling == Handling::Lenient => {}
            _ => {
                return Err(Failure::new(
                    IssueKind::SearchParameter,
                    "a history takes _count, _summary, _elements, _format and _pretty only",
                ));
            }
        }
    }
    Ok(count.unwrap_or(app.config.count_default))
}

fn version_number(version: &Version) -> i32 {
    match version {
        Version::Present(stored) => stored.version,
        Version::Deleted { version, .. } => *version,
    }
}

fn version_of_keyset(keyset: &[u8]) -> Option<i32> {
    keyset.try_into().ok().map(i32::from_be_bytes)
}
