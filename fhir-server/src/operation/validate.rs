//! `$validate` (<https://hl7.org/fhir/R5/resource-operation-validate.html>): whether a resource is valid, and would be accepted by a create,
//! an update or a delete. The answer is always 200 with an OperationOutcome, once it could be run.
//!
//! Base structure and its invariants are checked, and what the modes `create`, `update` and `delete` are about is tried in a transaction that is rolled back: the
//! site's policies and `If-Match` count. A profile that is asked for and cannot be checked is an error in the outcome, one that a resource claims a
//! warning: never a silent pass. Refuses modes that do not fit what they are asked of (400).

use crate::app::App;
use crate::failure::Failure;
use crate::interaction::read::present;
use crate::operation::host::Site;
use crate::operation::{Answer, Call, Level};
use crate::{subset, write};
use fhir_definitions::Definitions;
use fhir_model::issue::operation_outcome;
use fhir_model::{Issue, IssueKind, Severity, json};
use fhir_storage::{Change, Effect, Target};
use fhirpath::TypeModel;
use serde_json::Value;

/// The specification's own structures.
const STRUCTURES: &str = "http://hl7.org/fhir/StructureDefinition/";

pub async fn validate(app: &App, call: Call) -> Result<Answer, Failure> {
    let definitions = app.store.definitions();
    let mode = Mode::of(&call)?;
    let given = call.value("resource");
    let stored;
    let resource = match (given, mode) {
        (_, Mode::Delete) => None,
        (Some(_), Mode::Profile) => {
            return Err(refuse(
                "mode=profile is for the resource that is stored: it takes no other",
            ));
        }
        (Some(given), _) => Some(given),
        (None, _) if call.level() == Level::Instance => {
            let key = call.request.key();
            let reply = present(&key, app.store.read(&key).await?)?;
            stored = json::parse(reply.body.unwrap_or_default().as_bytes())?;
            Some(&stored)
        }
        (None, _) => return Err(refuse("the parameter resource is missing")),
    };
    let mut issues = match resource {
        Some(resource) => {
            let mut issues = content(&call, &definitions, resource);
            issues.extend(invariants(app, &call, resource).await?);
            issues.extend(profiles(&call, &definitions, resource));
            issues
        }
        None => Vec::new(),
    };
    if !issues.iter().any(Issue::is_error)
        && let Some(change) = change(app, &call, mode, resource, &mut issues)?
    {
        issues.extend(rehearsed(app, change).await?);
    }
    issues.sort_by_key(|issue| !issue.is_error());
    if issues.is_empty() {
        issues.push(Issue {
            severity: Severity::Information,
            ..Issue::error(IssueKind::Informational, "nothing was found that is wrong")
        });
    }
    Ok(Answer::Resource(operation_outcome(&issues).to_string()))
}

/// The outcome for a resource that is no FHIR, so far as the failure is about one: XML has no place for what R5 does not know.
///
/// # Errors
/// The failure, where it is about the request or its parameters.
pub fn unreadable(failure: Failure) -> Result<Value, Failure> {
    let is_of_content = |issue: &Issue| {
        let place = issue.expression.as_deref().unwrap_or("Parameters");
        let is_resource = !place.starts_with("Parameters") || place.contains(".resource");
        is_resource && matches!(issue.kind, IssueKind::Structure | IssueKind::Value)
    };
    match failure.issues.iter().all(is_of_content) {
        true => Ok(operation_outcome(&failure.issues)),
        false => Err(failure),
    }
}

/// What it is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    General,
    Create,
    Update,
    Delete,
    Profile,
}

impl Mode {
    fn of(call: &Call) -> Result<Mode, Failure> {
        let is_instance = call.level() == Level::Instance;
        let mode = match call.text("mode") {
            None => Mode::General,
            Some("create") => Mode::Create,
            Some("update") => Mode::Update,
            Some("delete") => Mode::Delete,
            Some("profile") => Mode::Profile,
            Some(_) => return Err(refuse("mode must be create, update, delete or profile")),
        };
        match mode {
            Mode::Update | Mode::Delete | Mode::Profile if !is_instance => Err(refuse(
                "the modes update, delete and profile are for an instance: [base]/[type]/[id]/$validate",
            )),
            Mode::Profile if call.text("profile").is_none() => {
                Err(refuse("mode=profile needs the parameter profile"))
            }
            mode => Ok(mode),
        }
    }
}

/// The resource by itself.
fn content(call: &Call, definitions: &Definitions, resource: &Value) -> Vec<Issue> {
    let wanted = &call.request.resource_type;
    match json::resource_type(resource) {
        Some(found) if found != wanted => {
            let reason = format!("the resourceType is not {wanted}, which the URL names");
            vec![Issue::error(IssueKind::Structure, reason).at("resourceType")]
        }
        _ => write::problems(definitions, resource, &target(call)),
    }
}

/// What of the invariants of its type, and of the types of what is in it, it does not keep.
async fn invariants(app: &App, call: &Call, resource: &Value) -> Result<Vec<Issue>, Failure> {
    let mut site = Site::new(app, &call.request.base);
    let check = |site: &Site<'_>| site.definitions.invariants(resource, site, &site.now);
    Ok(site.evaluate(check).await?.answer)
}

/// Where it would be written.
fn target(call: &Call) -> Target {
    match call.level() {
        Level::Instance => Target::Id(call.request.key()),
        _ => Target::New {
            resource_type: call.request.resource_type.clone(),
        },
    }
}

/// The profile that is asked for, and those that the resource claims.
fn profiles(call: &Call, definitions: &Definitions, resource: &Value) -> Vec<Issue> {
    let resource_type = json::resource_type(resource).unwrap_or_default();
    let is_checked = |profile: &str| {
        let name = profile
            .split('|')
            .next()
            .and_then(|url| url.strip_prefix(STRUCTURES));
        name.is_some_and(|name| definitions.is_a(resource_type, name))
    };
    let unchecked =
        |profile: &str| match definitions.own_resources().any(|own| own["url"] == profile) {
            true => format!(
                "the profile {profile} is known, but profiles are not checked by this version"
            ),
            false => format!("the profile {profile} is not known here, so it was not checked"),
        };
    let mut issues = Vec::new();
    if let Some(profile) = call.text("profile").filter(|profile| !is_checked(profile)) {
        issues.push(Issue::error(IssueKind::NotSupported, unchecked(profile)));
    }
    let claimed = resource.pointer("/meta/profile").and_then(Value::as_array);
    for (at, profile) in claimed.into_iter().flatten().enumerate() {
        if let Some(profile) = profile.as_str().filter(|profile| !is_checked(profile)) {
            let place = format!("{resource_type}.meta.profile[{at}]");
            issues.push(Issue::warning(IssueKind::NotSupported, unchecked(profile)).at(place));
        }
    }
    issues
}

/// The write that the mode is about, if it is about one. What speaks against it before that is added to the issues.
fn change(
    app: &App,
    call: &Call,
    mode: Mode,
    resource: Option<&Value>,
    issues: &mut Vec<Issue>,
) -> Result<Option<Change>, Failure> {
    let request = &call.request;
    let target = Target::Id(request.key());
    Ok(match (mode, resource) {
        (Mode::Create, Some(resource)) => Some(Change::Create {
            target: Target::New {
                resource_type: request.resource_type.clone(),
            },
            resource: resource.clone(),
            full_url: None,
        }),
        (Mode::Update, Some(resource)) => {
            if let Err(failure) = subset::refuse_part(resource) {
                issues.extend(failure.issues);
            }
            if resource.get("id").and_then(Value::as_str) != Some(&request.id) {
                let place = format!("{}.id", request.resource_type);
                let reason = "the body must have the id that the URL has";
                issues.push(Issue::error(IssueKind::Syntax, reason).at(place));
            }
            (!issues.iter().any(Issue::is_error)).then_some(Change::Update {
                target,
                resource: resource.clone(),
                full_url: None,
                version: request.version_match()?,
                may_create: app.config.client_ids.allow(&request.id),
            })
        }
        (Mode::Delete, _) => Some(Change::Delete {
            target,
            version: request.version_match()?,
            at_most: 1,
        }),
        _ => None,
    })
}

/// What the commit would say now. A delete of what is not there is a success, which the caller may not expect.
async fn rehearsed(app: &App, change: Change) -> Result<Vec<Issue>, Failure> {
    match write::rehearse(app, change).await {
        Ok(outcome) if outcome.effect == Effect::Absent => {
            let reason = "there is nothing to delete";
            Ok(vec![Issue::warning(IssueKind::NotFound, reason)])
        }
        Ok(_) => Ok(Vec::new()),
        Err(failure) if failure.status().is_server_error() => Err(failure),
        Err(failure) => Ok(failure.issues),
    }
}

fn refuse(reason: &str) -> Failure {
    Failure::new(IssueKind::Syntax, reason)
}
