//! The few requests the bridge makes of the FHIR server: a batch of searches, a transaction, a read. Says what an answer means for the
//! sender: try again, repair the message, or nothing is known.

use crate::submit::{Submit, SubmitError};
use http::{Method, Request, StatusCode};
use serde_json::{Value as Json, json};

const FHIR_JSON: &str = "application/fhir+json";

#[derive(Clone, Debug)]
pub struct Api {
    submit: Submit,
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

    /// What searches match, in one request: the resources on the first pages of `first`, and all that `whole` match.
    ///
    /// # Errors
    /// Also when a single search fails: a decision on half of the state would be wrong.
    pub async fn searches(
        &self,
        first: &[String],
        whole: &[String],
    ) -> Result<(Vec<Json>, Vec<Json>), ApiError> {
        let urls = first.iter().chain(whole);
        let entries = urls.map(|url| json!({"request": {"method": "GET", "url": url}}));
        let mut answer = self.post(bundle("batch", entries.collect())).await?;
        let Some(entries) = answer["entry"].as_array_mut() else {
            return Err(ApiError::Unexpected("no entries"));
        };
        if entries.len() != first.len() + whole.len() {
            return Err(ApiError::Unexpected("another number of entries"));
        }
        let (head, tail) = entries.split_at_mut(first.len());
        Ok((matches(head, false)?, matches(tail, true)?))
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// Nothing was committed, except after [`SubmitError::Timeout`] and [`SubmitError::Interrupted`], where it is not known.
    pub async fn transaction(&self, entries: Vec<Json>) -> Result<(), ApiError> {
        self.post(bundle("transaction", entries)).await.map(drop)
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
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(http::header::CONTENT_TYPE, FHIR_JSON)
            .header(http::header::ACCEPT, FHIR_JSON)
            .body(bundle)
            .expect("a fixed request is a valid one");
        let response = self.submit.send(request).await?;
        parse(response.status(), response.body())
    }
}

/// Made of what is moved into it: the `json!` macro copies whatever it is given.
fn bundle(kind: &str, entries: Vec<Json>) -> Json {
    let mut bundle = json!({"resourceType": "Bundle", "type": kind});
    bundle["entry"] = Json::Array(entries);
    bundle
}

/// The resources in the searchsets of a batch-response; refuses those with more pages where they must be whole.
fn matches(entries: &mut [Json], is_whole: bool) -> Result<Vec<Json>, ApiError> {
    let mut found = Vec::new();
    for entry in entries {
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
        let page = &mut entry["resource"];
        let has_more = page["link"]
            .as_array()
            .is_some_and(|links| links.iter().any(|link| link["relation"] == "next"));
        if is_whole && has_more {
            return Err(ApiError::Unexpected("more matches than one page holds"));
        }
        if let Some(matches) = page["entry"].as_array_mut() {
            let resources = matches
                .iter_mut()
                .filter(|m| m["search"]["mode"] != "outcome");
            found.extend(resources.map(|m| m["resource"].take()));
        }
    }
    Ok(found)
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
