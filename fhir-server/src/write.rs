//! The one road to a committed change: validate, then commit; a patch is validated where it is applied, in the commit. Every write of every interaction ends here.

use crate::app::App;
use crate::failure::{Failure, Refused};
use crate::operation::reindex;
use fhir_definitions::Definitions;
use fhir_model::{Issue, IssueKind, ResourceKey, json};
use fhir_storage::{Answer, Change, Outcome, Program, Read, Target};
use serde_json::Value;
use std::sync::Arc;

/// Validates all changes without holding a connection, then commits them together. Outcomes are in the order of the changes.
///
/// # Errors
/// The first change that is refused, with every issue found in it; nothing was written then.
pub async fn commit(app: &App, changes: Vec<Change>) -> Result<Vec<Outcome>, Refused> {
    Ok(transact(app, changes, &[]).await?.0)
}

/// As [`commit`], and then reads in the same database transaction, which see the changes.
///
/// # Errors
/// As [`commit`]; the index of a read counts on after the changes.
pub async fn transact(
    app: &App,
    mut changes: Vec<Change>,
    reads: &[Read],
) -> Result<(Vec<Outcome>, Vec<Answer>), Refused> {
    check(app, &mut changes)?;
    let defines = changes
        .iter()
        .any(|change| change.resource_type() == "SearchParameter");
    let done = app.store.transact(changes, reads).await?;
    if defines {
        reindex::begin(app).await;
    }
    Ok(done)
}

/// What [`commit_one`] would say now; nothing of it is done.
///
/// # Errors
/// As [`commit`].
pub async fn rehearse(app: &App, change: Change) -> Result<Outcome, Failure> {
    let mut changes = vec![change];
    check(app, &mut changes)?;
    let outcomes = app.store.rehearse(changes).await.map_err(Refused::from)?;
    only(outcomes)
}

fn check(app: &App, changes: &mut [Change]) -> Result<(), Refused> {
    let definitions = app.store.definitions();
    for (index, change) in changes.iter_mut().enumerate() {
        if let Change::Patch { program, .. } = change {
            *program = checked(program.clone(), definitions.clone());
        }
        let Some((target, resource)) = written(change) else {
            continue;
        };
        let issues = problems(&definitions, resource, target);
        if issues.iter().any(Issue::is_error) {
            return Err(Refused {
                index: Some(index),
                failure: Failure::from(issues),
            });
        }
    }
    Ok(())
}

/// A patch whose result is checked like any resource that is written; only the commit knows it.
fn checked(program: Program, definitions: Arc<Definitions>) -> Program {
    Program::new(move |current| {
        let resource = program.apply(current)?;
        json::check(&resource).map_err(|issue| vec![issue])?;
        let id = resource.get("id").and_then(Value::as_str);
        let key = ResourceKey::new("", id.unwrap_or_default());
        let issues = problems(&definitions, &resource, &Target::Id(key));
        match issues.iter().any(Issue::is_error) {
            true => Err(issues),
            false => Ok(resource),
        }
    })
}

/// Commits a single change.
///
/// # Errors
/// As [`commit`].
pub async fn commit_one(app: &App, change: Change) -> Result<Outcome, Failure> {
    only(commit(app, vec![change]).await?)
}

fn only(outcomes: Vec<Outcome>) -> Result<Outcome, Failure> {
    outcomes
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(IssueKind::Exception, "the commit gave no outcome"))
}

fn written(change: &Change) -> Option<(&Target, &Value)> {
    match change {
        Change::Create {
            target, resource, ..
        }
        | Change::Update {
            target, resource, ..
        } => Some((target, resource)),
        Change::Patch { .. } | Change::Delete { .. } => None,
    }
}

/// What is wrong with a resource; of a SearchParameter also what is in the way of searching by it.
pub fn problems(definitions: &Definitions, resource: &Value, target: &Target) -> Vec<Issue> {
    let mut issues = definitions.validate(resource);
    let is_parameter = json::resource_type(resource) == Some("SearchParameter");
    if is_parameter && !issues.iter().any(Issue::is_error) {
        let (id, new) = match target {
            Target::Id(key) => (Some(key.id.as_str()), false),
            Target::New { .. } => (None, true),
            Target::Match { id, .. } => (id.as_deref(), false),
        };
        issues.extend(definitions.check_parameter(resource, id, new));
    }
    issues
}
