//! Sending a data value set, and finding out what became of it.
//!
//! POST /api/dataValueSets; the answer is read whatever its status ([`super::answer`]). What counts is read back: a value is confirmed
//! when the server shows it. So a time-out after sending is no riddle: if the values are there they arrived, else they are sent again.
//! Tried again: no connection, time-outs, 429, 502, 503, 504. Refused: redirects (they would carry the secret elsewhere), servers
//! with another calendar than ISO 8601.

use super::answer::{Answer, ErrorClass, ErrorClasses};
use super::error::Dhis2Error;
use super::plan::{Plan, Slice, ValueKey};
use super::target::{IdSchemes, Target};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 8 << 20;
/// Wait before the second attempt, in milliseconds; doubled for each further one.
const FIRST_DELAY_MS: u64 = 1_000;
/// The default category option combo, by uid and by code and name.
const DEFAULT_COMBO: [&str; 2] = ["HllvX50cXC0", "default"];
/// Longest wait that a server may ask for with Retry-After, in seconds.
const RETRY_AFTER_MAX_SECONDS: u64 = 120;

/// A connection to a target.
pub struct Client {
    http: reqwest::Client,
    /// Without a trailing slash.
    url: String,
    secret: Secret,
    id_schemes: IdSchemes,
    attempts_max: u32,
}

enum Secret {
    Token(String),
    Password { user: String, password: String },
}

/// What became of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// In the order they were made.
    pub attempts: Vec<Attempt>,
    pub state: State,
    /// Values that the server shows as they were sent.
    pub confirmed: usize,
    /// Values that it does not, with the error code where it gave one.
    pub unconfirmed: BTreeMap<ValueKey, Option<String>>,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    Answered {
        status: u16,
        answer: Answer,
    },
    /// Something that is no answer of DHIS2.
    Unreadable {
        status: u16,
    },
    /// No connection, or no answer in time.
    NoAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every value is there.
    Confirmed,
    /// Some values are not, each for a reason of its own.
    Partly,
    /// The period is closed, or not open yet: to be sent when it is.
    Held,
    /// The mappings do not fit the server.
    Failed,
    /// No right, or a wrong secret: nothing more should be sent to this target.
    Forbidden,
    /// No answer of DHIS2 after all attempts, and the values are not there.
    Unreachable,
}

impl Client {
    /// Reads the address and the secret through `variable`, the environment.
    ///
    /// # Errors
    /// A variable that is missing, or not usable.
    pub fn new(
        target: &Target,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Client, Dhis2Error> {
        let read = |name: &Option<String>| {
            name.as_deref()
                .and_then(&variable)
                .filter(|value| !value.is_empty())
        };
        let url = variable(&target.url_variable)
            .ok_or_else(|| Dhis2Error::NotSet(target.url_variable.clone()))?;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Dhis2Error::Environment(
                target.url_variable.clone(),
                "it is no http or https address",
            ));
        }
        let secret = match (
            read(&target.token_variable),
            read(&target.user_variable),
            read(&target.password_variable),
        ) {
            (Some(token), _, _) if is_token(&token) => Secret::Token(token),
            (Some(_), _, _) => {
                let name = target.token_variable.clone().unwrap_or_default();
                return Err(Dhis2Error::Environment(
                    name,
                    "a token is d2pat_ and 42 characters; part of it is missing",
                ));
            }
            (None, Some(user), Some(password)) => Secret::Password { user, password },
            _ => {
                let names = [
                    &target.token_variable,
                    &target.user_variable,
                    &target.password_variable,
                ];
                let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
                return Err(Dhis2Error::NotSet(names.join(", or ")));
            }
        };
        let http = reqwest::Client::builder()
            // The client for Elasticsearch has it switched on for all.
            .no_gzip()
            .timeout(Duration::from_secs(target.timeout_seconds))
            .connect_timeout(Duration::from_secs(target.timeout_seconds.min(10)))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| Dhis2Error::Server("the HTTP client could not be made".into()))?;
        Ok(Client {
            http,
            url: url.trim_end_matches('/').to_string(),
            secret,
            id_schemes: target.id_schemes.clone(),
            attempts_max: target.attempts_max,
        })
    }

    /// The server's version, once it is clear that it is one we can send to.
    ///
    /// # Errors
    /// No answer, no right, another calendar.
    pub async fn check(&self) -> Result<String, Dhis2Error> {
        let (status, body) = self.get("/api/system/info", &[]).await?;
        let info: Value = serde_json::from_slice(&body).unwrap_or_default();
        let calendar = info["calendar"].as_str().unwrap_or("iso8601");
        match info["version"].as_str() {
            _ if !status.is_success() => Err(Dhis2Error::Server(format!(
                "it answers {}",
                status.as_u16()
            ))),
            None => Err(Dhis2Error::Server("it does not say its version".into())),
            Some(_) if !["iso8601", "gregorian"].contains(&calendar) => Err(Dhis2Error::Server(
                format!("its calendar is {calendar}, only iso8601 is understood"),
            )),
            Some(version) => Ok(version.to_string()),
        }
    }

    /// Sends a slice, and deletes what is gone from it. Whatever the server does, this says so; it is an error of nothing else.
    pub async fn submit(&self, plan: &Plan, slice: &Slice, errors: &ErrorClasses) -> Submission {
        let body = plan.data_value_set(slice, &self.id_schemes).to_string();
        let keys: Vec<&ValueKey> = slice.values.keys().chain(&slice.gone).collect();
        let mut attempts = Vec::new();
        let mut delay = Duration::from_millis(FIRST_DELAY_MS);
        loop {
            let (attempt, retry_after) = self.post(&body).await;
            let again = match &attempt {
                Attempt::Answered { status, .. } | Attempt::Unreadable { status } => {
                    [429, 502, 503, 504].contains(status)
                }
                Attempt::NoAnswer => true,
            };
            let forbidden = matches!(
                attempt,
                Attempt::Answered {
                    status: 401 | 403,
                    ..
                } | Attempt::Unreadable { status: 401 | 403 }
            );
            attempts.push(attempt);
            // Without the right nothing can be read back either, and every try brings a lock-out nearer.
            let there = if forbidden {
                None
            } else {
                self.read_back(plan, slice).await.ok()
            };
            let unconfirmed = unconfirmed(slice, &keys, there.as_deref(), attempts.last());
            if !again || unconfirmed.is_empty() || attempts.len() >= self.attempts_max as usize {
                let state = state(&attempts, &unconfirmed, errors, forbidden);
                return Submission {
                    confirmed: keys.len() - unconfirmed.len(),
                    attempts,
                    state,
                    unconfirmed,
                };
            }
            tokio::time::sleep(retry_after.unwrap_or(delay)).await;
            delay *= 2;
        }
    }

    async fn post(&self, body: &str) -> (Attempt, Option<Duration>) {
        let request = self
            .http
            .post(format!("{}/api/dataValueSets", self.url))
            .header("content-type", "application/json");
        let Ok(response) = self.authorise(request).body(body.to_string()).send().await else {
            return (Attempt::NoAnswer, None);
        };
        let status = response.status().as_u16();
        let seconds = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after =
            seconds.map(|seconds: u64| Duration::from_secs(seconds.min(RETRY_AFTER_MAX_SECONDS)));
        let attempt = match read(response).await {
            None => Attempt::NoAnswer,
            Some(body) => match Answer::parse(&body) {
                Some(answer) => Attempt::Answered { status, answer },
                None => Attempt::Unreadable { status },
            },
        };
        (attempt, retry_after)
    }

    /// The values that the server shows for the slice: (data element, category option combo, value).
    async fn read_back(
        &self,
        plan: &Plan,
        slice: &Slice,
    ) -> Result<Vec<(String, String, String)>, Dhis2Error> {
        let schemes = &self.id_schemes;
        let mut parameters = vec![
            ("dataSet", plan.data_set.data_set.as_str()),
            ("period", &plan.period.id),
            ("orgUnit", &slice.org_unit),
            ("inputDataSetIdScheme", &schemes.data_set),
            ("inputOrgUnitIdScheme", &schemes.org_unit),
        ];
        parameters.extend(schemes.of_values());
        let (status, body) = self.get("/api/dataValueSets", &parameters).await?;
        let set: Value = serde_json::from_slice(&body)
            .map_err(|_| Dhis2Error::Server("it answers with no JSON".into()))?;
        if !status.is_success() {
            return Err(Dhis2Error::Server(format!(
                "it answers {}",
                status.as_u16()
            )));
        }
        let wanted = plan.data_set.attribute_option_combo.as_deref();
        let rows = set["dataValues"].as_array().into_iter().flatten();
        let rows = rows.filter(|row| {
            wanted.is_none_or(|combo| row["attributeOptionCombo"] == combo)
                && row["deleted"] != true
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        Ok(rows
            .map(|row| {
                (
                    text(&row["dataElement"]),
                    text(&row["categoryOptionCombo"]),
                    text(&row["value"]),
                )
            })
            .collect())
    }

    async fn get(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), Dhis2Error> {
        let unreachable = |_| Dhis2Error::Unreachable(format!("GET {path}"));
        let request = self
            .http
            .get(format!("{}{path}", self.url))
            .query(parameters)
            .header("accept", "application/json");
        let response = self.authorise(request).send().await.map_err(unreachable)?;
        let status = response.status();
        let body = read(response)
            .await
            .ok_or_else(|| Dhis2Error::Unreachable(format!("GET {path}")))?;
        Ok((status, body))
    }

    fn authorise(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.secret {
            Secret::Token(token) => request.header("authorization", format!("ApiToken {token}")),
            Secret::Password { user, password } => request.basic_auth(user, Some(password)),
        }
    }
}

/// The body; `None` when it breaks off or is too long.
async fn read(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_MAX_BYTES {
            return None;
        }
    }
    Some(body)
}

/// The values that are not there as sent, with the code the last answer has for them. Where nothing could be read back: all.
fn unconfirmed(
    slice: &Slice,
    keys: &[&ValueKey],
    there: Option<&[(String, String, String)]>,
    last: Option<&Attempt>,
) -> BTreeMap<ValueKey, Option<String>> {
    let alone = |key: &ValueKey| {
        keys.iter()
            .filter(|other| other.data_element == key.data_element)
            .count()
            == 1
    };
    let found = |key: &ValueKey| {
        there?.iter().find(|(element, combo, _)| {
            *element == key.data_element
                && match &key.category_option_combo {
                    Some(wanted) => wanted == combo,
                    // The default combo goes by several names; a data element that has it alone has no other.
                    None => DEFAULT_COMBO.contains(&combo.as_str()) || alone(key),
                }
        })
    };
    let confirmed = |key: &ValueKey| match slice.values.get(key) {
        _ if there.is_none() => false,
        // Servers up to 2.42 do not keep a zero that the data element calls insignificant.
        Some(0) => found(key).is_none_or(|(_, _, value)| value == "0"),
        Some(count) => found(key).is_some_and(|(_, _, value)| *value == count.to_string()),
        None => found(key).is_none(),
    };
    let code = |index: usize| {
        let Some(Attempt::Answered { answer, .. }) = last else {
            return None;
        };
        let own = answer
            .conflicts
            .iter()
            .find(|conflict| conflict.indexes.contains(&index));
        let conflict = own.or_else(|| {
            answer
                .conflicts
                .iter()
                .find(|conflict| conflict.indexes.is_empty())
        })?;
        Some(conflict.code.clone())
    };
    let missing = keys.iter().enumerate().filter(|(_, key)| !confirmed(key));
    missing
        .map(|(index, key)| ((*key).clone(), code(index)))
        .collect()
}

fn state(
    attempts: &[Attempt],
    unconfirmed: &BTreeMap<ValueKey, Option<String>>,
    errors: &ErrorClasses,
    forbidden: bool,
) -> State {
    if forbidden {
        return State::Forbidden;
    }
    if unconfirmed.is_empty() {
        return State::Confirmed;
    }
    // Access stops everything, a wrong mapping must be looked at, a closed period waits.
    match unconfirmed
        .values()
        .flatten()
        .map(|code| errors.class(code))
        .max()
    {
        Some(ErrorClass::Access) => State::Forbidden,
        Some(ErrorClass::Mapping) => State::Failed,
        Some(ErrorClass::Closed) => State::Held,
        Some(ErrorClass::Value) => State::Partly,
        None => match attempts.last() {
            Some(Attempt::Answered { status, .. }) if *status < 500 && *status != 429 => {
                State::Failed
            }
            _ => State::Unreachable,
        },
    }
}

/// `d2pat_`, 32 characters and a checksum of 10 digits.
fn is_token(token: &str) -> bool {
    let rest = token.strip_prefix("d2pat_").unwrap_or_default();
    rest.len() == 42
        && rest.bytes().all(|b| b.is_ascii_alphanumeric())
        && rest[32..].bytes().all(|b| b.is_ascii_digit())
}
