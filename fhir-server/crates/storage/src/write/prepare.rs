//! What each change comes to, given the locked state: a refusal, nothing, or a new version with its index rows. Pure.

use super::apply::{Before, Index, Write};
use super::body::{self, Stamp};
use super::ground::{Ground, Locked};
use super::lookup::Resolved;
use super::plan::{Action, Identity, Plan, Planned, at, refuse};
use super::references::Rewriting;
use super::{Stop, integrity, meta, references};
use crate::binary;
use crate::change::{Effect, Method, Outcome, VersionMatch};
use crate::error::Error;
use crate::policy::Rules;
use crate::read;
use fhir_definitions::Definitions;
use fhir_model::{IssueKind, ResourceKey, json};
use fhir_search::{SearchDocument, search_document};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

pub(super) struct Prepared<'p> {
    pub outcomes: Vec<Outcome>,
    pub writes: Vec<Write<'p>>,
    pub unused_keys: Vec<i64>,
    /// What is deleted: by which change, and its row's key.
    pub deleted: Vec<(usize, ResourceKey, i64)>,
}

/// `targets`: the keys of reference targets outside of the commit. `fresh`: keys for new rows, one per change, the least last.
pub(super) fn prepare<'p>(
    definitions: &Definitions,
    rules: Rules<'_>,
    plan: &'p Plan,
    resolved: Resolved,
    ground: Ground,
    mut targets: HashMap<ResourceKey, i64>,
    mut fresh: Vec<i64>,
) -> Result<Prepared<'p>, Stop> {
    // A matched resource that changed before it was locked may not match any more: look again.
    let also = resolved.also.iter().map(|(_, matched)| matched);
    for matched in resolved.matched.values().chain(also) {
        let locked = ground.rows.get(&matched.key);
        if locked.is_none_or(|row| row.version != matched.version) {
            return Err(Stop::Contended);
        }
    }
    // Where references must lead somewhere, what a conditional one leads to is locked too, unless the commit changes it itself.
    let own: HashSet<&ResourceKey> = resolved.keys.iter().flatten().collect();
    for matched in resolved.conditional.values() {
        if let Some(row) = ground.rows.get(&matched.key)
            && row.version != matched.version
            && !own.contains(&matched.key)
        {
            return Err(Stop::Contended);
        }
    }
    // And what a patch was applied to must be what it replaces.
    for (change, key) in plan.changes.iter().zip(&resolved.keys) {
        if let Some((patched, version)) = &change.patched
            && (key.as_ref() != Some(patched)
                || ground.rows.get(patched).map(|row| row.version) != Some(*version))
        {
            return Err(Stop::Contended);
        }
    }
    // Every row of the commit has its key before any reference is encoded.
    targets.extend(ground.rows.iter().map(|(key, row)| (key.clone(), row.pk)));
    let mut unnumbered: Vec<(i16, &ResourceKey)> = Vec::new();
    for (change, key) in plan.changes.iter().zip(&resolved.keys) {
        if let (Some(key), Action::Write { .. }) = (key, &change.action)
            && !ground.rows.contains_key(key)
        {
            unnumbered.push((change.type_number, key));
        }
    }
    // In the order in which they are inserted.
    unnumbered.sort_unstable_by_key(|(number, key)| (*number, key.id.as_str()));
    for (_, key) in unnumbered {
        let pk = fresh.pop().expect("there is a fresh key per change");
        targets.insert(key.clone(), pk);
    }
    for matched in resolved.conditional.values() {
        targets.entry(matched.key.clone()).or_insert(matched.pk);
    }
    let mut preparing = Preparing {
        definitions,
        rules,
        plan,
        resolved: &resolved,
        ground: &ground,
        targets: &targets,
        versions: HashMap::new(),
    };
    let mut outcomes: Vec<Option<Outcome>> = vec![None; plan.changes.len()];
    let mut writes = Vec::new();
    // Who names versions of others comes after them.
    let (last, first): (Vec<_>, Vec<_>) =
        plan.changes.iter().enumerate().partition(|(_, change)| {
            matches!(
                change.action,
                Action::Write {
                    versioned: true,
                    ..
                }
            )
        });
    let versions_asked = !last.is_empty();
    for (index, change) in first.into_iter().chain(last) {
        let (outcome, write) = preparing.change(index, change).map_err(at(index))?;
        if let (Some(key), Effect::Created | Effect::Updated | Effect::Unchanged) =
            (&outcome.key, outcome.effect)
            && versions_asked
        {
            preparing.versions.insert(key.clone(), outcome.version);
        }
        outcomes[index] = Some(outcome);
        writes.extend(write);
    }
    for (index, matched) in &resolved.also {
        let (change, row) = (&plan.changes[*index], ground.rows.get(&matched.key));
        change
            .version
            .check(row.map(|row| row.version))
            .map_err(at(*index))?;
        let (_, write) = preparing.deletion(change, &matched.key, row);
        if let (Some(write), Some(outcome)) = (write, &mut outcomes[*index]) {
            outcome.also_deleted += 1;
            writes.push(write);
        }
    }
    let deleted = deleted(plan, &resolved, &writes);
    if !plan.must_exist.is_empty() {
        check_targets(plan, &resolved, &ground, &deleted)?;
    }
    Ok(Prepared {
        deleted,
        outcomes: outcomes.into_iter().flatten().collect(),
        writes,
        unused_keys: fresh,
    })
}

struct Preparing<'a> {
    definitions: &'a Definitions,
    rules: Rules<'a>,
    plan: &'a Plan,
    resolved: &'a Resolved,
    ground: &'a Ground,
    targets: &'a HashMap<ResourceKey, i64>,
    /// What has been prepared so far, with its version; kept only where some reference asks for it.
    versions: HashMap<ResourceKey, i32>,
}

impl Preparing<'_> {
    fn change<'p>(
        &self,
        index: usize,
        change: &'p Planned,
    ) -> Result<(Outcome, Option<Write<'p>>), Error> {
        let Some(key) = &self.resolved.keys[index] else {
            return Ok((outcome(None, 0, 0, Effect::Absent, None), None));
        };
        let row = self.ground.rows.get(key);
        let current = row.and_then(|row| Some((row, row.text.as_deref()?)));
        if let Action::Write { create: true, .. } = change.action
            && let Some((row, text)) = current
        {
            return match change.identity {
                Identity::Match { .. } => Ok((unwritten(key, row, text, Effect::Found), None)),
                // Nobody else knows this id: an earlier attempt was committed although its connection broke.
                Identity::New(_) => Ok((unwritten(key, row, text, Effect::Created), None)),
                Identity::Id(_) => {
                    Err(refuse(IssueKind::Conflict, "the resource is there already"))
                }
            };
        }
        if let Identity::Match { given: true, .. } = change.identity
            && current.is_some()
            && !self.resolved.matched.contains_key(&index)
        {
            return Err(refuse(
                IssueKind::Conflict,
                "nothing matches, and the id in the resource is that of another one",
            ));
        }
        change.version.check(current.map(|(row, _)| row.version))?;
        let Action::Write {
            resource,
            document,
            late,
            versioned,
            ..
        } = &change.action
        else {
            return Ok(self.deletion(change, key, row));
        };
        let (resource, document) = match *late || *versioned || key.id != change.identity.id() {
            true => self.rewritten(change, key, resource),
            false => (Cow::Borrowed(resource), Cow::Borrowed(document)),
        };
        let (resource, document) = match current {
            Some((_, text)) if self.merges_meta(change) => self.merged(text, resource, document),
            _ => (resource, document),
        };
        if let Some((row, text)) = current
            && !self.rules.policies.no_op_makes_version
            && says_the_same(text, &resource)
        {
            return Ok((unwritten(key, row, text, Effect::Unchanged), None));
        }
        let is_chosen = matches!(
            change.identity,
            Identity::Id(_) | Identity::Match { given: true, .. }
        );
        let never_was = row.is_none_or(|row| row.version == 0);
        if never_was && is_chosen && !change.may_create {
            return Err(refuse(
                IssueKind::MethodNotAllowed,
                "there is no such resource, and clients may not choose this id here",
            ));
        }
        let (version, last_updated_ms) = self.next(row);
        let stamp = Stamp {
            id: &key.id,
            version,
            last_updated_ms,
        };
        let (text, keep_text) = body::text(&resource, stamp);
        let effect = match current {
            Some(_) => Effect::Updated,
            None => Effect::Created,
        };
        let body = read::whole(&key.resource_type, &text);
        let apart = match change.type_number == binary::TYPE && !keep_text {
            true => binary::apart(&resource),
            false => None,
        };
        let (text, data) = match apart {
            Some((rest, data)) => (body::text(&rest, stamp).0, Some(data)),
            None => (text, None),
        };
        let write = Write {
            pk: self.targets[key],
            type_number: change.type_number,
            id: key.id.clone(),
            version,
            last_updated_ms,
            text: Some(text),
            data,
            keep_text,
            method: change.method.code(),
            before: before(row),
            index: Some(index_of(document, self.targets)),
        };
        let outcome = outcome(Some(key), version, last_updated_ms, effect, Some(body));
        Ok((outcome, Some(write)))
    }

    fn merges_meta(&self, change: &Planned) -> bool {
        self.rules.policies.updates_merge_meta && change.method == Method::Put
    }

    /// The resource with what is in the meta of the current version beside its own, and what it is found by then.
    fn merged<'m>(
        &self,
        current: &str,
        resource: Cow<'m, Map<String, Value>>,
        document: Cow<'m, SearchDocument>,
    ) -> (Cow<'m, Map<String, Value>>, Cow<'m, SearchDocument>) {
        let old = serde_json::from_str(current).ok();
        match old.and_then(|old| meta::merged(&resource, &old)) {
            None => (resource, document),
            Some(merged) => {
                let whole = Value::Object(merged);
                let document = search_document(self.definitions, &whole, self.rules.base);
                let Value::Object(merged) = whole else {
                    unreachable!("it was made an object above");
                };
                (Cow::Owned(merged), Cow::Owned(document))
            }
        }
    }

    fn deletion(
        &self,
        change: &Planned,
        key: &ResourceKey,
        row: Option<&Locked>,
    ) -> (Outcome, Option<Write<'static>>) {
        let Some(row) = row.filter(|row| row.text.is_some()) else {
            let (version, ms) = row.map_or((0, 0), |row| (row.version, row.last_updated_ms));
            return (outcome(Some(key), version, ms, Effect::Absent, None), None);
        };
        let (version, last_updated_ms) = self.next(Some(row));
        let write = Write {
            pk: row.pk,
            type_number: change.type_number,
            id: key.id.clone(),
            version,
            last_updated_ms,
            text: None,
            data: None,
            keep_text: false,
            method: change.method.code(),
            before: Before::Version,
            index: None,
        };
        let deleted = outcome(Some(key), version, last_updated_ms, Effect::Deleted, None);
        (deleted, Some(write))
    }

    /// The next version, and its time: later than the last one's by at least a millisecond, whatever the clock does.
    fn next(&self, row: Option<&Locked>) -> (i32, i64) {
        match row {
            Some(row) => (
                row.version + 1,
                self.ground.now_ms.max(row.last_updated_ms + 1),
            ),
            None => (1, self.ground.now_ms),
        }
    }

    /// The resource with its own id and with the references that only the database could resolve, and what it is found by then.
    fn rewritten<'m>(
        &self,
        change: &Planned,
        key: &ResourceKey,
        resource: &Map<String, Value>,
    ) -> (Cow<'m, Map<String, Value>>, Cow<'m, SearchDocument>) {
        let mut resource = resource.clone();
        resource.insert("id".into(), key.id.as_str().into());
        let full_url = change.full_url.as_deref();
        let rewriting = Rewriting::new(&self.plan.urls, full_url, self.rules.base);
        rewriting.rest(
            self.definitions,
            &mut resource,
            &self.resolved.keys,
            &self.resolved.conditional,
        );
        rewriting.rename_versions(&mut resource, &self.resolved.keys, &self.versions);
        references::set_versions(&mut resource, self.rules.base, &self.versions);
        let whole = Value::Object(resource);
        let document = search_document(self.definitions, &whole, self.rules.base);
        let Value::Object(resource) = whole else {
            unreachable!("it was made an object above");
        };
        (Cow::Owned(resource), Cow::Owned(document))
    }
}

/// Whether the stored text says what the resource does.
fn says_the_same(text: &str, resource: &Map<String, Value>) -> bool {
    if serde_json::from_str(text).is_ok_and(|old| body::same(&old, resource)) {
        return true;
    }
    // That reader writes an exponent in another way than it stands there; the other one, which does not, takes longer.
    body::has_exponents(resource)
        && matches!(json::parse(text.as_bytes()), Ok(Value::Object(old)) if body::same(&old, resource))
}

impl VersionMatch {
    /// `current`: that of a resource which is there.
    ///
    /// # Errors
    /// [`IssueKind::VersionConflict`], or [`IssueKind::PreconditionRequired`] where a version had to be named.
    pub fn check(self, current: Option<i32>) -> Result<(), Error> {
        match (self, current) {
            (VersionMatch::Is(wanted), current) if current != Some(wanted) => Err(refuse(
                IssueKind::VersionConflict,
                "the current version is not the one that If-Match names",
            )),
            (VersionMatch::Required, Some(_)) => Err(version_required()),
            (VersionMatch::Present, None) => Err(refuse(
                IssueKind::VersionConflict,
                "there is no current version, and If-Match asks for one",
            )),
            (VersionMatch::Absent, Some(_)) => Err(refuse(
                IssueKind::VersionConflict,
                "the resource is there already, and If-None-Match says it must not be",
            )),
            _ => Ok(()),
        }
    }
}

pub(super) fn version_required() -> Error {
    refuse(
        IssueKind::PreconditionRequired,
        "resources of this type are changed only with If-Match and the version that is meant",
    )
}

/// The deletions among the writes.
fn deleted(
    plan: &Plan,
    resolved: &Resolved,
    writes: &[Write<'_>],
) -> Vec<(usize, ResourceKey, i64)> {
    let of_changes = plan.changes.iter().zip(&resolved.keys).enumerate();
    let of_changes = of_changes.filter_map(|(index, (change, key))| match change.action {
        Action::Delete { .. } => Some((index, key.clone()?)),
        Action::Write { .. } => None,
    });
    let also = resolved.also.iter();
    let also = also.map(|(index, matched)| (*index, matched.key.clone()));
    let pks: HashMap<(i16, &str), i64> = writes
        .iter()
        .filter(|write| write.text.is_none())
        .map(|write| ((write.type_number, write.id.as_str()), write.pk))
        .collect();
    of_changes
        .chain(also)
        .filter_map(|(index, key)| {
            let number = plan.changes[index].type_number;
            let pk = *pks.get(&(number, key.id.as_str()))?;
            Some((index, key, pk))
        })
        .collect()
}

/// References must lead to what is there, or is written here, and not to what is deleted here.
fn check_targets(
    plan: &Plan,
    resolved: &Resolved,
    ground: &Ground,
    deleted: &[(usize, ResourceKey, i64)],
) -> Result<(), Stop> {
    let pairs = plan.changes.iter().zip(&resolved.keys);
    let written: HashSet<&ResourceKey> = pairs
        .filter(|(change, _)| matches!(change.action, Action::Write { .. }))
        .filter_map(|(_, key)| key.as_ref())
        .collect();
    let gone: HashSet<&ResourceKey> = deleted.iter().map(|(_, key, _)| key).collect();
    for target in &plan.must_exist {
        let row = ground.rows.get(&target.key);
        let is_there = row.is_some_and(|row| row.text.is_some()) && !gone.contains(&target.key);
        if !is_there && !written.contains(&target.key) {
            return Err(at(target.change)(integrity::missing(target)).into());
        }
    }
    Ok(())
}

fn before(row: Option<&Locked>) -> Before {
    match row {
        None => Before::Nothing,
        Some(row) if row.version == 0 => Before::Absent,
        Some(_) => Before::Version,
    }
}

/// References in the form they are stored in. A target without a key is none of this server.
pub(super) fn index_of<'d>(
    document: Cow<'d, SearchDocument>,
    targets: &HashMap<ResourceKey, i64>,
) -> Index<'d> {
    let encoded = document.references.iter().filter_map(|reference| {
        let pk = targets.get(&reference.target)?;
        Some(i64::from(reference.key.0) << 40 | pk)
    });
    let mut references: Vec<i64> = encoded.collect();
    references.sort_unstable();
    references.dedup();
    Index {
        document,
        references,
    }
}

fn unwritten(key: &ResourceKey, row: &Locked, text: &str, effect: Effect) -> Outcome {
    let body = read::whole(&key.resource_type, text);
    outcome(
        Some(key),
        row.version,
        row.last_updated_ms,
        effect,
        Some(body),
    )
}

fn outcome(
    key: Option<&ResourceKey>,
    version: i32,
    last_updated_ms: i64,
    effect: Effect,
    body: Option<String>,
) -> Outcome {
    Outcome {
        key: key.cloned(),
        version,
        last_updated_ms,
        effect,
        also_deleted: 0,
        body,
        issues: Vec::new(),
    }
}
