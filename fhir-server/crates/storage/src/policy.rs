//! What a site decides about writes where the specification leaves it to the server.

/// The defaults are those of [`Default`]: nothing is asked for, and what is sent is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// An update that changes nothing makes a new version all the same.
    pub no_op_makes_version: bool,
    /// An update keeps the tags, security labels and profiles that are there, beside its own.
    pub updates_merge_meta: bool,
    /// References to this server must lead to a resource that is there.
    pub targets_exist: bool,
    /// What another resource refers to is not deleted.
    pub targets_stay: bool,
    /// References are stored without the version they name.
    pub unversioned_references: bool,
}

/// What the pure part of a write goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// The own base, as in [`crate::StoreSettings`].
    pub base: Option<&'a str>,
    pub policies: Policies,
}
