//! The one road to a committed change: validate, then commit; a patch is validated where it is applied, in the commit. Every write of every interaction ends here.

use crate::app::App;
use crate::failure::{Failure, Refused};
use fhir_definitions::Definitions;
use fhir_model::{Issue, IssueKind, json};
use fhir_storage::{Answer, Change, Outcome, Program, Read};
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
    Ok(app.store.transact(changes, reads).await?)
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
        let Some(resource) = resource(change) else {
            continue;
        };
        let issues = definitions.validate(resource);
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
        let issues = definitions.validate(&resource);
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

fn resource(change: &Change) -> Option<&Value> {
    match change {
        Change::Create { resource, .. } | Change::Update { resource, .. } => Some(resource),
        Change::Patch { .. } | Change::Delete { .. } => None,
    }
}
