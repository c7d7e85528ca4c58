//! The pure part of a commit, made before any connection is held: ids, checks, references within the commit, search documents, locks.

use super::documented::documented;
use super::integrity;
use super::patch::Current;
use super::references::{self, Place, Rewriting};
use crate::binary;
use crate::change::{Change, Method, Target, VersionMatch};
use crate::error::{CommitError, Error};
use crate::policy::Rules;
use fhir_definitions::Definitions;
use fhir_model::{Issue, IssueKind, ResourceKey};
use fhir_search::parse::Context;
use fhir_search::vocabulary::Entry;
use fhir_search::{Handling, Query, SearchDocument, parse};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Number of advisory locks: more at once would exhaust Postgres's lock table.
const STRIPES: i64 = 4096;

/// A commit, thought through as far as that goes without the database.
pub(super) struct Plan {
    pub changes: Vec<Planned>,
    /// The fullUrls of the changes.
    pub urls: HashMap<String, Place>,
    /// Advisory locks, sorted.
    pub locks: Vec<i64>,
    /// Targets of references outside of the commit, with their type numbers.
    pub targets: Vec<(i16, ResourceKey)>,
    /// References that must lead to something that is there, where the site wants that.
    pub must_exist: Vec<integrity::Target>,
    /// Conditional references: the change they are in, their text, what it asks for.
    pub conditional: Vec<(usize, String, Query)>,
    /// Whether ids that nobody else knows may be in the database all the same, from an attempt whose end is not known.
    pub look_for_new: bool,
}

/// One change of it.
pub(super) struct Planned {
    pub resource_type: String,
    pub type_number: i16,
    pub action: Action,
    pub method: Method,
    pub identity: Identity,
    pub version: VersionMatch,
    /// Whether an id that a client chose may become a resource.
    pub may_create: bool,
    pub full_url: Option<String>,
    /// The version that it was made from, where it was a patch.
    pub patched: Option<(ResourceKey, i32)>,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are writes")]
pub(super) enum Action {
    Write {
        /// Creates only: what is there already is found or in conflict, never changed.
        create: bool,
        resource: Map<String, Value>,
        document: SearchDocument,
        /// References that only the database can resolve: those to conditional changes of this commit, and conditional ones.
        late: bool,
        /// Some reference asks for the version that this commit makes of its target.
        versioned: bool,
    },
    /// Of so many matches at most.
    Delete { at_most: usize },
}

pub(super) enum Identity {
    /// No one else knows this id yet.
    New(String),
    Id(String),
    /// `fresh`: the id where nothing matches; `given`: it came with the update.
    Match {
        query: Box<Query>,
        fresh: String,
        given: bool,
    },
}

impl Plan {
    /// `currents`: of each patch what it is applied to.
    pub(super) fn new(
        definitions: &Definitions,
        rules: Rules<'_>,
        changes: Vec<Change>,
        mut currents: HashMap<usize, Current>,
    ) -> Result<Plan, CommitError> {
        let Rules { base, policies } = rules;
        let mut planned = Vec::with_capacity(changes.len());
        for (index, change) in changes.into_iter().enumerate() {
            let current = currents.remove(&index);
            planned.push(Planned::new(definitions, change, current).map_err(at(index))?);
        }
        refuse_duplicates(&planned)?;
        let mut plan = Plan {
            urls: references::full_urls(&planned),
            changes: planned,
            locks: Vec::new(),
            targets: Vec::new(),
            must_exist: Vec::new(),
            conditional: Vec::new(),
            look_for_new: false,
        };
        for index in 0..plan.changes.len() {
            let change = &mut plan.changes[index];
            if let Action::Write {
                resource,
                document,
                late,
                versioned,
                ..
            } = &mut change.action
            {
                if policies.unversioned_references {
                    references::strip_versions(resource, base);
                }
                let rewriting = Rewriting::new(&plan.urls, change.full_url.as_deref(), base);
                let left = rewriting.known(definitions, resource);
                *late = left.late;
                *versioned = left.names_versions || references::ask_for_versions(resource);
                if policies.targets_exist {
                    let targets = integrity::targets(resource, base, index).into_iter();
                    let elsewhere = targets.filter(|target| !rewriting.leads_here(&target.key));
                    plan.must_exist.extend(elsewhere);
                }
                let conditional = match left.late {
                    true => rewriting.conditional(resource),
                    false => Vec::new(),
                };
                for (text, resource_type, query) in conditional {
                    let query = condition(definitions, base, &resource_type, &query);
                    let query = query.map_err(at(index))?;
                    plan.locks.extend(query.atoms());
                    plan.conditional.push((index, text, query));
                }
                let (made, identities) = documented(definitions, base, resource, &mut plan.targets);
                *document = made;
                plan.locks.extend(identities);
            }
            plan.locks.extend(change.identity_locks());
        }
        plan.leave_out_own_targets();
        plan.locks
            .iter_mut()
            .for_each(|lock| *lock = lock.rem_euclid(STRIPES));
        plan.locks.sort_unstable();
        plan.locks.dedup();
        Ok(plan)
    }

    /// The searches that the commit depends on.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Query> {
        let of_changes = self
            .changes
            .iter()
            .filter_map(|change| match &change.identity {
                Identity::Match { query, .. } => Some(&**query),
                Identity::New(_) | Identity::Id(_) => None,
            });
        of_changes.chain(self.conditional.iter().map(|(.., query)| query))
    }

    /// Whether the commit depends on searches.
    pub(super) fn has_conditions(&self) -> bool {
        self.conditions().next().is_some()
    }

    /// Whether all changes are of ids that nobody knows yet, nothing in them must be looked up, and nothing of them stands elsewhere.
    pub(super) fn is_new(&self) -> bool {
        let is_new = |change: &Planned| {
            matches!(change.identity, Identity::New(_)) && change.type_number != binary::TYPE
        };
        !self.look_for_new
            && self.conditional.is_empty()
            && self.must_exist.is_empty()
            && self.changes.iter().all(is_new)
    }

    /// Whether who is written depends on nothing that the database says.
    pub(super) fn is_by_ids(&self) -> bool {
        let by_id = |change: &Planned| matches!(change.identity, Identity::Id(_));
        self.conditional.is_empty() && self.changes.iter().all(by_id)
    }

    /// Values that must be in the vocabulary before the resources are.
    pub(super) fn vocabulary(&self) -> impl Iterator<Item = &Entry> {
        let documents = self
            .changes
            .iter()
            .filter_map(|change| match &change.action {
                Action::Write { document, .. } => Some(document),
                Action::Delete { .. } => None,
            });
        documents.flat_map(|document| &document.vocabulary)
    }

    /// How many resources that are there the commit may change or delete.
    pub(super) fn replaced_max(&self) -> usize {
        let changes = self.changes.iter();
        changes.filter(|change| !change.is_create()).count()
    }

    /// What the commit writes itself needs no row made for it beforehand.
    pub(super) fn leave_out_own_targets(&mut self) {
        self.targets.sort();
        self.targets.dedup();
        let own: HashSet<(&str, &str)> = self
            .changes
            .iter()
            .filter(|change| matches!(change.action, Action::Write { .. }))
            .filter_map(|change| match &change.identity {
                Identity::New(id) | Identity::Id(id) => {
                    Some((change.resource_type.as_str(), id.as_str()))
                }
                Identity::Match { .. } => None,
            })
            .collect();
        let is_own = |key: &ResourceKey| own.contains(&(key.resource_type.as_str(), &*key.id));
        self.targets.retain(|(_, key)| !is_own(key));
        self.must_exist.retain(|target| !is_own(&target.key));
    }

    /// How many matches of a condition are looked at: one decides, two are too many, one more may turn out to be none. Besides those that
    /// the commit itself takes away.
    pub(super) fn found_max(&self) -> usize {
        let at_most = self.changes.iter().map(|change| match change.action {
            Action::Delete { at_most } => at_most,
            Action::Write { .. } => 1,
        });
        2 + at_most.max().unwrap_or(1) + self.replaced_max()
    }
}

impl Planned {
    fn new(
        definitions: &Definitions,
        change: Change,
        current: Option<Current>,
    ) -> Result<Planned, Error> {
        let patched = current
            .as_ref()
            .map(|current| (current.key.clone(), current.version));
        let mut may_create = true;
        let mut at_most = 1;
        let (target, resource, method, version, full_url) = match change {
            Change::Create {
                target,
                resource,
                full_url,
            } => (
                target,
                Some(resource),
                Method::Post,
                VersionMatch::Any,
                full_url,
            ),
            Change::Update {
                target,
                resource,
                full_url,
                version,
                may_create: may,
            } => {
                may_create = may;
                (target, Some(resource), Method::Put, version, full_url)
            }
            Change::Patch {
                target,
                program,
                version,
            } => {
                let current = current.ok_or_else(|| {
                    refuse(IssueKind::NotFound, "there is no such resource to patch")
                })?;
                let resource = program.apply(current.resource()?).map_err(Error::Refused)?;
                (target, Some(resource), Method::Patch, version, None)
            }
            Change::Delete {
                target,
                version,
                at_most: most,
            } => {
                at_most = most;
                (target, None, Method::Delete, version, None)
            }
        };
        let create = method == Method::Post;
        let (resource_type, identity) = match target {
            Target::New { resource_type } if create => (resource_type, Identity::New(new_id())),
            Target::New { .. } => {
                return Err(refuse(
                    IssueKind::NotSupported,
                    "an update or delete needs an id or a condition",
                ));
            }
            Target::Id(key) => (key.resource_type, Identity::Id(key.id)),
            Target::Match {
                resource_type,
                query,
                id,
            } => {
                let given = id.is_some() && !create;
                let fresh = id.filter(|_| given).unwrap_or_else(new_id);
                (
                    resource_type,
                    Identity::Match {
                        query,
                        fresh,
                        given,
                    },
                )
            }
        };
        let Some(type_number) = definitions.type_number(&resource_type) else {
            return Err(refuse(
                IssueKind::UnknownType,
                "there is no such resource type",
            ));
        };
        let id = identity.id();
        if !fhir_model::key::is_id(id) {
            return Err(refuse(
                IssueKind::Value,
                "a logical id has 1 to 64 letters, digits, `-` and `.`",
            ));
        }
        let action = match resource {
            None => Action::Delete { at_most },
            Some(resource) => Action::Write {
                create,
                resource: checked(resource, &resource_type, id)?,
                document: SearchDocument::default(),
                late: false,
                versioned: false,
            },
        };
        Ok(Planned {
            resource_type,
            type_number,
            action,
            method,
            identity,
            version,
            may_create,
            full_url,
            patched,
        })
    }

    pub(super) fn is_create(&self) -> bool {
        matches!(self.action, Action::Write { create: true, .. })
    }

    /// A condition of this change, to be compared with those of others.
    pub(super) fn condition(&self, query: &Query) -> (i16, String) {
        (self.type_number, format!("{:?}", query.applied))
    }

    pub(super) fn key(&self, id: &str) -> ResourceKey {
        ResourceKey::new(self.resource_type.as_str(), id)
    }

    /// An id that may not exist yet; and of a condition its atoms, or where it has none, its text.
    fn identity_locks(&self) -> Vec<i64> {
        let of_id = |id: &str| references::hash(&[self.resource_type.as_bytes(), id.as_bytes()]);
        match &self.identity {
            Identity::New(_) => Vec::new(),
            Identity::Id(id) => vec![of_id(id)],
            Identity::Match {
                query,
                fresh,
                given,
            } => {
                let mut locks = query.atoms();
                if locks.is_empty() {
                    let text = format!("{:?}", query.applied);
                    locks.push(references::hash(&[
                        self.resource_type.as_bytes(),
                        text.as_bytes(),
                    ]));
                }
                if *given {
                    locks.push(of_id(fresh));
                }
                locks
            }
        }
    }
}

impl Identity {
    /// The id, or the one it gets where a condition matches nothing.
    pub(super) fn id(&self) -> &str {
        match self {
            Identity::New(id) | Identity::Id(id) | Identity::Match { fresh: id, .. } => id,
        }
    }
}

/// The resource as a map with this id in it.
fn checked(resource: Value, resource_type: &str, id: &str) -> Result<Map<String, Value>, Error> {
    let Value::Object(mut resource) = resource else {
        return Err(refuse(IssueKind::Structure, "a resource is a JSON object"));
    };
    if resource.get("resourceType").and_then(Value::as_str) != Some(resource_type) {
        let issue = Issue::error(
            IssueKind::Value,
            format!("resourceType is not {resource_type}"),
        );
        return Err(Error::refused(issue.at("resourceType")));
    }
    if resource.get("meta").is_some_and(|meta| !meta.is_object()) {
        let issue = Issue::error(IssueKind::Structure, "meta is a JSON object");
        return Err(Error::refused(issue.at(format!("{resource_type}.meta"))));
    }
    resource.insert("id".into(), id.into());
    Ok(resource)
}

/// A conditional reference's query.
fn condition(
    definitions: &Definitions,
    base: Option<&str>,
    resource_type: &str,
    query: &str,
) -> Result<Query, Error> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy();
        decoded.into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let parameters: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect();
    // Only for the `ap` prefix, which no one should use to name one resource.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let context = Context {
        definitions,
        terminology: None,
        base,
        handling: Handling::Strict,
        count_default: 2,
        count_max: 2,
        now_micros: now.map_or(0, |now| now.as_micros() as i64),
    };
    let query = parse(&context, &[resource_type], &parameters).map_err(Error::Refused)?;
    match query.filter.is_empty() {
        true => Err(refuse(
            IssueKind::SearchParameter,
            "a conditional reference without a condition",
        )),
        false => Ok(query),
    }
}

/// One identity may be changed once in a commit (<https://hl7.org/fhir/R5/http.html#trules>); the same condition twice would be the same identity.
fn refuse_duplicates(changes: &[Planned]) -> Result<(), CommitError> {
    let mut ids = HashSet::new();
    let mut conditions = HashSet::new();
    for (index, change) in changes.iter().enumerate() {
        let first = match &change.identity {
            Identity::New(_) => true,
            Identity::Id(id) => ids.insert((change.type_number, id.as_str())),
            // Conditional creates may find the same one: that is seen when they are decided.
            Identity::Match { .. } if change.is_create() => true,
            Identity::Match { query, .. } => conditions.insert(change.condition(query)),
        };
        if !first {
            return Err(at(index)(duplicate()));
        }
    }
    Ok(())
}

pub(super) fn duplicate() -> Error {
    refuse(
        IssueKind::Duplicate,
        "another change of the same commit is for the same resource",
    )
}

pub(super) fn refuse(kind: IssueKind, diagnostics: &str) -> Error {
    Error::refused(Issue::error(kind, diagnostics))
}

/// Names the change that failed.
pub(super) fn at(index: usize) -> impl Fn(Error) -> CommitError {
    move |error| CommitError {
        index: Some(index),
        error,
    }
}

/// Time-ordered ids keep the index's inserts in one place: half the log of random ones.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
