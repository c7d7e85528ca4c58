//! What can be asked of [`crate::Store::commit`], and what it answers.

use crate::read::Version;
use crate::search::{Page, SearchPage};
use fhir_model::{Issue, ResourceKey};
use fhir_search::Query;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// One change of a commit. Bodies are whole resources with resourceType; `id` and `meta.versionId`/`lastUpdated` in them are set by the commit.
#[derive(Clone, Debug)]
pub enum Change {
    /// `POST Type`. With `Target::Match` a conditional create: an existing single match is the answer, nothing is written.
    Create {
        target: Target,
        resource: Value,
        full_url: Option<String>,
    },
    /// `PUT Type/id` or `PUT Type?query`. Creates where nothing is there (update-as-create), under the id given only where it `may_create`.
    Update {
        target: Target,
        resource: Value,
        full_url: Option<String>,
        version: VersionMatch,
        may_create: bool,
    },
    /// `PATCH Type/id` or `PATCH Type?query` (a single match). What is not there is `NotFound`, what was deleted `Deleted`.
    Patch {
        target: Target,
        program: Program,
        version: VersionMatch,
    },
    /// `DELETE Type/id` or `DELETE Type?query`, of at most so many matches. Deleting what is not there is a success.
    Delete {
        target: Target,
        version: VersionMatch,
        at_most: usize,
    },
}

impl Change {
    pub fn target(&self) -> &Target {
        match self {
            Change::Create { target, .. }
            | Change::Update { target, .. }
            | Change::Patch { target, .. }
            | Change::Delete { target, .. } => target,
        }
    }

    pub fn resource_type(&self) -> &str {
        match self.target() {
            Target::Id(key) => &key.resource_type,
            Target::New { resource_type } | Target::Match { resource_type, .. } => resource_type,
        }
    }
}

/// By what a version came to be, as a history tells it (<https://hl7.org/fhir/R5/bundle.html#history>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// In the database; `None` for what is told by other columns or where nothing else is known.
    pub(crate) fn code(self) -> Option<i8> {
        match self {
            Method::Post => Some(b'P' as i8),
            Method::Patch => Some(b'A' as i8),
            Method::Put | Method::Delete => None,
        }
    }

    /// Of a version that is not a deletion.
    pub(crate) fn of_code(code: Option<i8>) -> Method {
        match code.map(|code| code as u8) {
            Some(b'P') => Method::Post,
            Some(b'A') => Method::Patch,
            _ => Method::Put,
        }
    }
}

/// What makes a resource out of its current version, or says why not. Pure: it may be asked several times, of several versions, and the
/// last answer is the one that is written.
#[derive(Clone)]
pub struct Program(Arc<Apply>);

type Apply = dyn Fn(Value) -> Result<Value, Vec<Issue>> + Send + Sync;

impl Program {
    pub fn new(
        apply: impl Fn(Value) -> Result<Value, Vec<Issue>> + Send + Sync + 'static,
    ) -> Program {
        Program(Arc::new(apply))
    }

    /// The resource, whole, as it becomes.
    ///
    /// # Errors
    /// The program's own issues.
    pub fn apply(&self, current: Value) -> Result<Value, Vec<Issue>> {
        (self.0)(current)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// Which resource.
#[derive(Clone, Debug)]
pub enum Target {
    /// The server gives the id (create only).
    New { resource_type: String },
    /// This one.
    Id(ResourceKey),
    /// The one that matches; the condition is decided in the database under locks, exact under concurrency. `id`: where an update's body carries one.
    Match {
        resource_type: String,
        query: Box<Query>,
        id: Option<String>,
    },
}

/// `If-Match` and `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Any,
    /// Nothing was said, and must be where there is a current version.
    Required,
    /// `If-Match: W/"n"`: the current version must be this one.
    Is(i32),
    /// `If-Match: *`: there must be a current version.
    Present,
    /// `If-None-Match: *`: there must be no current version.
    Absent,
}

/// What became of a change. In the order of the changes.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `None` only for a conditional delete that matched nothing.
    pub key: Option<ResourceKey>,
    pub version: i32,
    /// Milliseconds since 1970 UTC.
    pub last_updated_ms: i64,
    pub effect: Effect,
    /// How many more a conditional delete has deleted beside this one.
    pub also_deleted: usize,
    /// The resource as it now stands, JSON text with resourceType; `None` after a delete.
    pub body: Option<String>,
    /// Warnings.
    pub issues: Vec<Issue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Created,
    Updated,
    /// The content was the same: no new version.
    Unchanged,
    /// A conditional create matched this one.
    Found,
    Deleted,
    /// There was nothing to delete.
    Absent,
}

/// What is read at the end of a transaction, after its changes.
#[derive(Clone, Debug)]
pub enum Read {
    /// The current version. Where it is not the one that is meant, nothing of the transaction is done.
    Instance(ResourceKey, VersionMatch),
    /// One version.
    Version(ResourceKey, i32),
    Search(Box<Query>, Page),
}

/// The answer to a [`Read`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of an instance or a version; `None` when there is none.
    Version(Option<Version>),
    Page(Box<SearchPage>),
}
