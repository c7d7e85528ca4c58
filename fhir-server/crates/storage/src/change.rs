//! What can be asked of [`crate::Store::commit`], and what it answers.

use crate::read::Version;
use crate::search::{Page, SearchPage};
use fhir_model::{Issue, ResourceKey};
use fhir_search::Query;
use serde_json::Value;

/// One change of a commit. Bodies are whole resources with resourceType; `id` and `meta.versionId`/`lastUpdated` in them are set by the commit.
#[derive(Clone, Debug)]
pub enum Change {
    /// `POST Type`. With `Target::Match` a conditional create: an existing single match is the answer, nothing is written.
    Create {
        target: Target,
        resource: Value,
        full_url: Option<String>,
    },
    /// `PUT Type/id` or `PUT Type?query`. Creates where nothing is there (update-as-create).
    Update {
        target: Target,
        resource: Value,
        full_url: Option<String>,
        version: VersionMatch,
    },
    /// `DELETE Type/id` or `DELETE Type?query` (a single match). Deleting what is not there is a success.
    Delete {
        target: Target,
        version: VersionMatch,
    },
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
        query: Query,
        id: Option<String>,
    },
}

/// `If-Match` and `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Any,
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
    /// The current version.
    Instance(ResourceKey),
    /// One version.
    Version(ResourceKey, i32),
    Search(Query, Page),
}

/// The answer to a [`Read`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of an instance or a version; `None` when there is none.
    Version(Option<Version>),
    Page(Box<SearchPage>),
}
