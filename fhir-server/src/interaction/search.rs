//! `GET [base]/[type]?…` and `POST [base]/[type]/_search` (<https://hl7.org/fhir/R5/search.html>), page by page.

use crate::app::{App, now_micros, now_seconds};
use crate::bundle::searchset::{self, Links};
use crate::failure::Failure;
use crate::page_token::Place;
use crate::reply::Reply;
use crate::request::Request;
use crate::subset::Subset;
use crate::url;
use fhir_model::IssueKind;
use fhir_search::{Handling, Query, parse};
use fhir_storage::{Page, SearchPage, Snapshot};

pub async fn search(app: &App, request: Request) -> Result<Reply, Failure> {
    let asked = Asked::read(app, &request)?;
    let found = app.store.search(&asked.query, asked.page.clone()).await?;
    Ok(asked.reply(app, &request, &found))
}

/// One of several searches that follow each other: they read one state on one connection, which saves beginning and ending a
/// transaction for each. A search that fails gives its state up.
pub async fn search_within(
    app: &App,
    state: &mut Option<Snapshot>,
    request: &Request,
) -> Result<Reply, Failure> {
    let asked = Asked::read(app, request)?;
    let mut snapshot = match state.take() {
        Some(snapshot) => snapshot,
        None => app.store.snapshot().await?,
    };
    let found = snapshot.search(&asked.query, asked.page.clone()).await?;
    *state = Some(snapshot);
    Ok(asked.reply(app, request, &found))
}

/// A search, understood: a first page, or the one a `next` link leads to.
pub struct Asked {
    pub query: Query,
    pub page: Page,
    token: Option<String>,
}

impl Asked {
    /// # Errors
    /// Parameters that cannot be understood, or a page that is not served.
    pub fn read(app: &App, request: &Request) -> Result<Asked, Failure> {
        let Some(token) = page_token(request)? else {
            return Ok(Asked {
                query: understand(app, request, &request.parameters, request.handling)?,
                page: Page::First,
                token: None,
            });
        };
        let place = app
            .tokens
            .open(&request.resource_type, token, now_seconds())?;
        Ok(Asked {
            query: understand(app, request, &place.parameters, Handling::Strict)?,
            page: Page::After(place.keyset),
            token: Some(token.to_string()),
        })
    }

    /// The searchset with its links.
    pub fn reply(&self, app: &App, request: &Request, found: &SearchPage) -> Reply {
        let (base, resource_type) = (&request.base, &request.resource_type);
        let of_page = |token: &str| format!("{base}/{resource_type}?_page={token}");
        let links = Links {
            self_url: match &self.token {
                Some(token) => of_page(token),
                None => self_url(base, resource_type, &self.query),
            },
            next_url: found.next.as_ref().map(|keyset| {
                let place = Place {
                    parameters: self.query.applied.clone(),
                    keyset: keyset.clone(),
                };
                of_page(&app.tokens.seal(resource_type, &place, now_seconds()))
            }),
        };
        let subset = Subset::read(&self.query.applied).unwrap_or_default();
        Reply::bundle(searchset::write(base, &links, &self.query, found), subset)
    }
}

/// The token of a `next` link. It holds the whole query, so nothing may stand beside it.
///
/// # Errors
/// SearchParameter (400).
pub fn page_token(request: &Request) -> Result<Option<&str>, Failure> {
    let at = request
        .parameters
        .iter()
        .position(|(name, _)| name == "_page");
    match (at, request.parameters.as_slice()) {
        (None, _) => Ok(None),
        (Some(_), [(_, token)]) => Ok(Some(token)),
        (Some(_), _) => Err(Failure::new(
            IssueKind::SearchParameter,
            "_page holds the whole search; no parameter may stand beside it",
        )),
    }
}

fn understand(
    app: &App,
    request: &Request,
    parameters: &[(String, String)],
    handling: Handling,
) -> Result<Query, Failure> {
    let definitions = app.store.definitions();
    let context = parse::Context {
        definitions: &definitions,
        base: Some(&request.base),
        handling,
        now_micros: now_micros(),
        count_default: app.config.count_default,
        count_max: app.config.count_max,
    };
    Ok(parse(&context, &[&request.resource_type], parameters)?)
}

/// Only what was applied; a search that was understood in part says so here, too.
fn self_url(base: &str, resource_type: &str, query: &Query) -> String {
    match query.applied.is_empty() {
        true => format!("{base}/{resource_type}"),
        false => format!("{base}/{resource_type}?{}", url::query(&query.applied)),
    }
}
