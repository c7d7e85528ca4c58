//! Runs one scenario against a server.

use crate::matching::difference;
use crate::scenario::{Scenario, Step};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The server under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// FHIR base without a slash at the end.
    pub base: String,
    /// Host and port of an MLLP listener; scenarios that need one are skipped without it.
    pub mllp: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs the scenario's steps in order; the first difference ends it.
pub async fn run(scenario: &Scenario, target: &Target, client: &reqwest::Client) -> Outcome {
    let mut variables = BTreeMap::from([
        (
            "unique".to_owned(),
            uuid::Uuid::new_v4().simple().to_string(),
        ),
        ("base".to_owned(), target.base.clone()),
    ]);
    for (index, step) in scenario.steps.iter().enumerate() {
        if step.mllp.is_some() && target.mllp.is_none() {
            return Outcome::Skipped("no MLLP address".into());
        }
        if let Err(why) = run_step(step, target, client, &mut variables).await {
            let what = step.request.as_deref().unwrap_or("mllp");
            return Outcome::Failed(format!("step {} ({what}): {why}", index + 1));
        }
    }
    Outcome::Passed
}

async fn run_step(
    step: &Step,
    target: &Target,
    client: &reqwest::Client,
    variables: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    if let Some(message) = &step.mllp {
        let message = replace(message, variables)?.trim_end().replace('\n', "\r");
        let control_id = message
            .split(['\r', separator(&message)])
            .nth(9)
            .unwrap_or_default()
            .to_owned();
        let answer = send(target.mllp.as_deref().unwrap_or_default(), &message).await?;
        let msa: Vec<&str> = answer
            .split('\r')
            .find(|l| l.starts_with("MSA"))
            .unwrap_or_default()
            .split(separator(&answer))
            .collect();
        if msa.get(2).copied() != Some(control_id.as_str()) {
            return Err(format!("MSA-2 is {:?}, not {control_id}", msa.get(2)));
        }
        if let Some(code) = &step.expect.msa
            && msa.get(1) != Some(&code.as_str())
        {
            return Err(format!("MSA-1 is {:?}, not {code}: {answer:?}", msa.get(1)));
        }
        return match &step.expect.acknowledgement {
            Some(text) if !answer.contains(&replace(text, variables)?) => {
                Err(format!("the acknowledgement has no {text:?}: {answer:?}"))
            }
            _ => Ok(()),
        };
    }
    let line = replace(
        step.request.as_deref().ok_or("neither request nor mllp")?,
        variables,
    )?;
    let (method, path) = line.split_once(' ').ok_or("a request is METHOD and path")?;
    let url = match path.trim() {
        "/" => target.base.clone(),
        absolute if absolute.starts_with("http") => absolute.to_owned(),
        path => format!("{}/{}", target.base, path.trim_start_matches('/')),
    };
    let mut request = client.request(method.parse().map_err(|_| "an unknown method")?, &url);
    let named = |name: &str| step.headers.keys().any(|k| k.eq_ignore_ascii_case(name));
    if !named("accept") {
        request = request.header("accept", "application/fhir+json");
    }
    if let Some(body) = &step.body {
        request = request.body(replace(&body.to_string(), variables)?);
    } else if let Some(text) = &step.text {
        request = request.body(replace(text, variables)?);
    }
    if (step.body.is_some() || step.text.is_some()) && !named("content-type") {
        request = request.header("content-type", "application/fhir+json");
    }
    for (name, value) in &step.headers {
        request = request.header(name, replace(value, variables)?);
    }
    let answer = request.send().await.map_err(|e| e.to_string())?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.map_err(|e| e.to_string())?;
    // `body: $absent` expects no content at all.
    let body: Option<Value> =
        (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap_or(Value::Null));
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(|v| Value::String(v.to_owned()))
    };

    let tell = |why: String| {
        format!(
            "{why}; answered {status} {}",
            text.chars().take(600).collect::<String>()
        )
    };
    if let Some(expected) = &step.expect.status
        && !expected.has(&status)
    {
        return Err(tell(format!("status {status}, not {expected:?}")));
    }
    for (name, expect) in &step.expect.headers {
        let expect = replace_all(expect, variables)?;
        if let Some(why) = difference(&expect, header(name).as_ref(), name) {
            return Err(tell(why));
        }
    }
    if let Some(expect) = &step.expect.body
        && let Some(why) = difference(&replace_all(expect, variables)?, body.as_ref(), "body")
    {
        return Err(tell(why));
    }
    if let Some(expect) = &step.expect.contains
        && !text.contains(&replace(expect, variables)?)
    {
        return Err(tell(format!("no {expect:?} in the body")));
    }
    for (name, path) in &step.save {
        let value = match path.split_once('.') {
            Some(("header", header_name)) => header(header_name),
            Some(("body", path)) => path
                .split('.')
                .try_fold(body.as_ref().unwrap_or(&Value::Null), |at, part| {
                    part.parse::<usize>()
                        .ok()
                        .and_then(|i| at.get(i))
                        .or_else(|| at.get(part))
                })
                .cloned(),
            _ => None,
        };
        let value = value.ok_or_else(|| tell(format!("nothing at {path} to save")))?;
        variables.insert(
            name.clone(),
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        );
    }
    Ok(())
}

/// MSH-1.
fn separator(message: &str) -> char {
    let message = message.trim_start_matches('\x0b');
    message.chars().nth(3).unwrap_or('|')
}

fn replace(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or("an unclosed ${")? + at;
        let name = &rest[at + 2..end];
        out.push_str(
            variables
                .get(name)
                .ok_or_else(|| format!("no variable {name}"))?,
        );
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn replace_all(value: &Value, variables: &BTreeMap<String, String>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(replace(text, variables)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|i| replace_all(i, variables))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, v)| {
                    Ok::<_, String>((replace(name, variables)?, replace_all(v, variables)?))
                })
                .collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

async fn send(address: &str, message: &str) -> Result<String, String> {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|e| e.to_string())?;
    stream
        .write_all(format!("\x0b{message}\r\x1c\r").as_bytes())
        .await
        .map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1c\r") {
        if stream
            .read_buf(&mut answer)
            .await
            .map_err(|e| e.to_string())?
            == 0
        {
            return Err("the listener closed the connection without an acknowledgement".into());
        }
    }
    String::from_utf8(answer).map_err(|e| e.to_string())
}
