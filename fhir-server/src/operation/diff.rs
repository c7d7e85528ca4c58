//! `$diff`: what has to be changed in one resource to make another one of it, as a FHIRPath Patch. At an instance between two of its
//! versions, at the system between two resources that are sent.
//!
//! Refuses resources of two types, and ones that are not valid: they have no paths.

mod difference;

use crate::app::App;
use crate::failure::Failure;
use crate::interaction::read::present;
use crate::operation::{Answer, Call, aside};
use difference::difference;
use fhir_definitions::Definitions;
use fhir_model::{Issue, IssueKind, json};
use serde_json::Value;

pub async fn of_versions(app: &App, call: Call) -> Result<Answer, Failure> {
    let key = call.request.key();
    let no_such = || Failure::new(IssueKind::NotFound, format!("{key} has no such version"));
    let number = |name| {
        call.text(name)
            .map(str::parse::<i32>)
            .transpose()
            .map_err(|_| no_such())
    };
    let to = match number("to")? {
        None => app.store.read(&key).await?,
        Some(version) => Some(app.store.vread(&key, version).await?.ok_or_else(no_such)?),
    };
    let before = to.as_ref().map_or(0, |version| version.number() - 1);
    let to = present(&key, to)?.body;
    let from = match number("from")?.unwrap_or(before) {
        0 => {
            return Err(Failure::new(
                IssueKind::NotFound,
                format!("{key} has no version before this one"),
            ));
        }
        version => app.store.vread(&key, version).await?.ok_or_else(no_such)?,
    };
    let from = present(&key, Some(from))?.body;
    let read = |body: Option<String>| json::parse(body.unwrap_or_default().as_bytes());
    Ok(answer(&read(from)?, &read(to)?))
}

pub async fn of_resources(app: &App, call: Call) -> Result<Answer, Failure> {
    let definitions = app.store.definitions();
    let (from, to) = (
        given(&definitions, &call, "from")?,
        given(&definitions, &call, "to")?,
    );
    match json::resource_type(from) == json::resource_type(to) {
        true => Ok(answer(from, to)),
        false => Err(Failure::new(
            IssueKind::Syntax,
            "from and to must be of one type",
        )),
    }
}

fn answer(from: &Value, to: &Value) -> Answer {
    Answer::Parameters(aside(|| difference(from, to)))
}

fn given<'a>(definitions: &Definitions, call: &'a Call, name: &str) -> Result<&'a Value, Failure> {
    let resource = call.value(name).unwrap_or(&Value::Null);
    let issues = definitions.validate(resource);
    match issues.iter().any(Issue::is_error) {
        true => {
            let place = format!("Parameters.parameter.where(name = '{name}').resource");
            Err(Failure::from(issues).within(&place, &place))
        }
        false => Ok(resource),
    }
}
