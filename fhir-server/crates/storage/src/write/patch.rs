//! What patches are applied to. A patch becomes an update before the commit's transaction begins, as its locks depend on what it makes;
//! under the locks it must still be an update of the version that it was made from, and else is made anew.

use super::Stop;
use super::ground::Ground;
use super::plan::{Plan, at, refuse};
use super::prepare;
use crate::change::{Change, Target, VersionMatch};
use crate::error::Error;
use crate::policy::Rules;
use crate::read;
use crate::store::Store;
use fhir_definitions::Definitions;
use fhir_model::{IssueKind, ResourceKey, json};
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::HashMap;

/// The version that a patch is applied to.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub key: ResourceKey,
    pub version: i32,
    /// Without resourceType.
    pub text: String,
}

impl Current {
    pub(super) fn resource(&self) -> Result<Value, Error> {
        // As bodies are read: numbers keep their text.
        json::parse(read::whole(&self.key.resource_type, &self.text).as_bytes()).map_err(|_| {
            refuse(
                IssueKind::Exception,
                "the stored resource cannot be read, so it cannot be patched",
            )
        })
    }
}

impl Store {
    /// A commit with patches, as of now.
    pub(super) async fn planned(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        changes: &[Change],
    ) -> Result<Plan, Stop> {
        let mut currents = HashMap::new();
        let by_id = changes.iter().filter_map(|change| match change {
            Change::Patch {
                target: Target::Id(key),
                ..
            } => Some(key),
            _ => None,
        });
        let rows = read::currents(connection, definitions, by_id).await?;
        for (index, change) in changes.iter().enumerate() {
            if let Change::Patch {
                target, version, ..
            } = change
            {
                let current = self
                    .current(&mut *connection, definitions, &rows, target, *version)
                    .await
                    .map_err(|error| Stop::of(Some(index), error))?;
                currents.insert(index, current);
            }
        }
        let plan = Plan::new(definitions, self.rules(), changes.to_vec(), currents)?;
        Ok(plan)
    }

    async fn current(
        &self,
        connection: &mut PgConnection,
        definitions: &Definitions,
        rows: &HashMap<ResourceKey, read::Row>,
        target: &Target,
        version: VersionMatch,
    ) -> Result<Current, Error> {
        let (key, row) = match target {
            Target::Id(key) => (key.clone(), rows.get(key).cloned()),
            Target::Match { query, .. } => {
                let key = self.only_match(connection, definitions, query).await?;
                let row = match definitions.type_number(&key.resource_type) {
                    Some(number) => read::current(connection, number, &key).await?,
                    None => None,
                };
                (key, row)
            }
            Target::New { .. } => {
                return Err(refuse(
                    IssueKind::NotSupported,
                    "a patch needs an id or a condition",
                ));
            }
        };
        let found = row.as_ref().map(|(version, _, text)| (*version, text));
        check_there(
            found.and_then(|(version, text)| text.is_some().then_some(version)),
            version,
        )?;
        match row {
            Some((version, _, Some(text))) => Ok(Current { key, version, text }),
            Some((.., None)) => Err(refuse(
                IssueKind::Deleted,
                "the resource was deleted, so there is nothing to patch",
            )),
            None => Err(refuse(
                IssueKind::NotFound,
                "there is no such resource to patch",
            )),
        }
    }
}

/// `If-Match` is looked at before the patch is: one for another version may not even apply.
fn check_there(current: Option<i32>, wanted: VersionMatch) -> Result<(), Error> {
    match (wanted, current) {
        (VersionMatch::Is(wanted), Some(current)) if wanted != current => Err(refuse(
            IssueKind::VersionConflict,
            "the current version is not the one that If-Match names",
        )),
        (VersionMatch::Required, Some(_)) => Err(prepare::version_required()),
        _ => Ok(()),
    }
}

/// The commit made anew from what is locked, where the locks taken for `plan` are enough for what it has become. Without this, many who
/// patch one resource would get past each other by luck only.
pub(super) fn renewed(
    definitions: &Definitions,
    rules: Rules<'_>,
    plan: &Plan,
    changes: &[Change],
    ground: &Ground,
) -> Result<Option<Plan>, Stop> {
    if !plan.is_by_ids() {
        return Ok(None);
    }
    let mut currents = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        let Change::Patch {
            target: Target::Id(key),
            version,
            ..
        } = change
        else {
            continue;
        };
        let row = ground.rows.get(key);
        let there = row.and_then(|row| Some((row.version, row.text.clone()?)));
        check_there(there.as_ref().map(|(version, _)| *version), *version).map_err(at(index))?;
        let Some((version, text)) = there else {
            return Ok(None);
        };
        let key = key.clone();
        currents.insert(index, Current { key, version, text });
    }
    let renewed = Plan::new(definitions, rules, changes.to_vec(), currents)?;
    let enough = renewed.is_by_ids()
        && renewed
            .locks
            .iter()
            .all(|lock| plan.locks.binary_search(lock).is_ok())
        && renewed
            .must_exist
            .iter()
            .all(|target| ground.rows.contains_key(&target.key))
        && renewed
            .targets
            .iter()
            .all(|target| plan.targets.binary_search(target).is_ok());
    Ok(enough.then_some(renewed))
}
