//! The few requests the bridge makes of the FHIR server: a batch of searches, a transaction, a read. Says what an answer means for the
//! sender: try again, repair the message, or nothing is known.

use crate::submit::{Submit, SubmitError};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

const FHIR_JSON: &str = "application/fhir+json";
/// Most pages of a search that are read for one decision.
const PAGES_MAX: usize = 100;
/// Values in one search.
pub const SEARCH_VALUES_MAX: usize = 40;

#[derive(Clone, Debug)]
pub struct Api {
    submit: Submit,
}

/// A page of what a search matches.
#[derive(Debug, Default)]
pub struct Page {
    pub resources: Vec<Json>,
    /// The search for those that follow; `None`: there are no more.
    pub next: Option<String>,
}

/// What searches match.
#[derive(Debug, Default)]
pub struct Matches {
    pub resources: Vec<Json>,
    /// There are no more.
    pub is_all: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// 409 or 412: something changed since it was read. Reading again and deciding again may succeed.
    #[error("something changed meanwhile")]
    Conflict,
    /// 429 or 5xx: nothing was done; the same may succeed later.
    #[error("the FHIR server answered {0}")]
    Busy(StatusCode),
    /// Any other 4xx: the content is refused. `issue` is the code and place of the first issue, never a value.
    #[error("the FHIR server refused the content: {issue}")]
    Refused { status: StatusCode, issue: String },
    #[error("the FHIR server answered with {0}")]
    Unexpected(&'static str),
}

impl ApiError {
    /// Whether the same message may be accepted later.
    pub fn is_transient(&self) -> bool {
        match self {
            ApiError::Submit(error) => error.is_transient(),
            ApiError::Conflict | ApiError::Busy(_) => true,
            ApiError::Refused { .. } | ApiError::Unexpected(_) => false,
        }
    }
}

impl Api {
    pub fn new(submit: Submit) -> Api {
        Api { submit }
    }

    /// The first pages of searches, in one request. How long a page is, the server says, whatever `_count` asks for.
    ///
    /// # Errors
    /// Also when a single search fails: a decision on half of the state would be wrong.
    pub async fn searches(&self, urls: &[String]) -> Result<Vec<Page>, ApiError> {
        metrics::counter!("mllp_searches_total").increment(urls.len() as u64);
        let entries = urls
            .iter()
            .map(|url| json!({"request": {"method": "GET", "url": url}}));
        let mut answer = self.post(bundle("batch", entries.collect())).await?;
        let Some(entries) = answer["entry"].as_array_mut() else {
            return Err(ApiError::Unexpected("no entries"));
        };
        if entries.len() != urls.len() {
            return Err(ApiError::Unexpected("another number of entries"));
        }
        let pages = entries.iter_mut().zip(urls);
        pages.map(|(entry, url)| page(entry, url)).collect()
    }

    /// One page of one search.
    ///
    /// # Errors
    /// As of [`Api::searches`].
    pub async fn page(&self, url: String) -> Result<Page, ApiError> {
        let mut pages = self.searches(&[url]).await?;
        Ok(pages.pop().unwrap_or_default())
    }

    /// All that searches match.
    ///
    /// # Errors
    /// As of [`Api::rest`].
    pub async fn all(&self, urls: &[String]) -> Result<Vec<Json>, ApiError> {
        self.rest(self.searches(urls).await?).await
    }

    /// What is on pages and all that follows them.
    ///
    /// # Errors
    /// As of [`Api::searches`]; also when there is no end to it.
    pub async fn rest(&self, pages: Vec<Page>) -> Result<Vec<Json>, ApiError> {
        let found = self.follow(pages, usize::MAX).await?;
        match found.is_all {
            true => Ok(found.resources),
            false => Err(ApiError::Unexpected("more pages than are read")),
        }
    }

    /// What is on pages and what follows them, until there are `enough` or no more.
    ///
    /// # Errors
    /// As of [`Api::searches`].
    pub async fn follow(&self, first: Vec<Page>, enough: usize) -> Result<Matches, ApiError> {
        let (mut found, mut pages) = (Matches::default(), first);
        for _ in 0..PAGES_MAX {
            let next: Vec<String> = pages.iter_mut().filter_map(|p| p.next.take()).collect();
            found
                .resources
                .extend(pages.into_iter().flat_map(|page| page.resources));
            found.is_all = next.is_empty();
            if found.is_all || found.resources.len() >= enough {
                return Ok(found);
            }
            pages = self.searches(&next).await?;
        }
        Ok(found)
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// Nothing was committed, except after [`SubmitError::Timeout`] and [`SubmitError::Interrupted`], where it is not known.
    pub async fn transaction(&self, entries: Vec<Json>) -> Result<(), ApiError> {
        let response = self.send(bundle("transaction", entries)).await?;
        // What became of each entry follows from all of them being committed: nobody reads it.
        match response.status() {
            status if status.is_success() => Ok(()),
            status => parse(status, response.body()).map(drop),
        }
    }

    /// Reads one resource; `None` when it is not there.
    ///
    /// # Errors
    /// As of the others.
    pub async fn read(&self, resource_type: &str, id: &str) -> Result<Option<Json>, ApiError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("/{resource_type}/{id}"))
            .header(http::header::ACCEPT, FHIR_JSON)
            .body(Json::Null)
            .map_err(|_| ApiError::Unexpected("an id that is no id"))?;
        let response = self.submit.send(request).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status => parse(status, response.body()).map(Some),
        }
    }

    async fn post(&self, bundle: Json) -> Result<Json, ApiError> {
        let response = self.send(bundle).await?;
        parse(response.status(), response.body())
    }

    async fn send(&self, bundle: Json) -> Result<Response<Bytes>, ApiError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(http::header::CONTENT_TYPE, FHIR_JSON)
            .header(http::header::ACCEPT, FHIR_JSON)
            .body(bundle)
            .expect("a fixed request is a valid one");
        Ok(self.submit.send(request).await?)
    }
}

/// A value in a search URL: `\`, `,`, `|` and `$` escaped as FHIR asks, then the rest as URLs ask.
pub fn search_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '\\' | ',' | '|' | '$') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    utf8_percent_encode(&escaped, NON_ALPHANUMERIC).to_string()
}

/// A token in a search URL.
pub fn search_token(system: &str, value: &str) -> String {
    format!("{}%7C{}", search_text(system), search_text(value))
}

/// Made of what is moved into it: the `json!` macro copies whatever it is given.
fn bundle(kind: &str, entries: Vec<Json>) -> Json {
    let mut bundle = json!({"resourceType": "Bundle", "type": kind});
    bundle["entry"] = Json::Array(entries);
    bundle
}

/// The searchset in an entry of a batch-response.
fn page(entry: &mut Json, url: &str) -> Result<Page, ApiError> {
    let status = entry["response"]["status"].as_str().unwrap_or_default();
    if !status.starts_with("200") {
        let code = status.get(..3).and_then(|code| code.parse().ok());
        return Err(
            match code.and_then(|code: u16| StatusCode::from_u16(code).ok()) {
                Some(code) => refused(code, &entry["response"]["outcome"]),
                None => ApiError::Unexpected("an entry without status"),
            },
        );
    }
    let searchset = &mut entry["resource"];
    let next = next(searchset, url)?;
    let matches = searchset["entry"].as_array_mut().into_iter().flatten();
    let matches = matches.filter(|m| m["search"]["mode"] != "outcome");
    Ok(Page {
        resources: matches.map(|m| m["resource"].take()).collect(),
        next,
    })
}

/// Where the next link leads, relative to the base as `url` is: the server may know itself by another name than we do.
fn next(searchset: &Json, url: &str) -> Result<Option<String>, ApiError> {
    let mut links = searchset["link"].as_array().into_iter().flatten();
    let Some(link) = links.find(|link| link["relation"] == "next") else {
        return Ok(None);
    };
    let path = url.split('?').next().unwrap_or_default();
    let (to, query) = link["url"]
        .as_str()
        .and_then(|link| link.split_once('?'))
        .unwrap_or_default();
    match to
        .strip_suffix(path)
        .is_some_and(|base| base.ends_with('/'))
    {
        true => Ok(Some(format!("{path}?{query}"))),
        false => Err(ApiError::Unexpected("a next page that is elsewhere")),
    }
}

fn parse(status: StatusCode, body: &[u8]) -> Result<Json, ApiError> {
    let json: Option<Json> = serde_json::from_slice(body).ok();
    match (status.is_success(), json) {
        (true, Some(json)) => Ok(json),
        (true, None) => Err(ApiError::Unexpected("something that is not JSON")),
        (false, json) => Err(refused(status, &json.unwrap_or_default())),
    }
}

fn refused(status: StatusCode, outcome: &Json) -> ApiError {
    match status {
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => ApiError::Conflict,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => ApiError::Busy(status),
        status if status.is_server_error() => ApiError::Busy(status),
        status => {
            let issue = &outcome["issue"][0];
            let code = issue["code"].as_str().unwrap_or("no reason given");
            let place = issue["expression"][0].as_str().unwrap_or_default();
            ApiError::Refused {
                status,
                issue: format!("{code} {place}").trim_end().to_owned(),
            }
        }
    }
}
