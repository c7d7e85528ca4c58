//! The vocabulary: distinct values of resources, by a part of which searches ask (the beginning of a text, the path of a uri). An engine keeps
//! it once for all resources, looks the part up in it, and goes on with the hashes of the whole values.
//!
//! Values that are as many as there are resources (identifiers, telephone numbers, names, UUIDs, fragments of uris) are no part of it.

use crate::token::STORED;
use fhir_definitions::ParameterKey;

/// One value of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The parameter it is a value of; [`UNITS`] for units.
    pub key: ParameterKey,
    pub kind: Kind,
    pub value: String,
}

/// What a value is. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The text beside a code or a reference, normalised as [`crate::string::normalise`] does.
    Text = 1,
    /// A code, its ASCII letters in lower case.
    Code = 2,
    /// A uri without its `#fragment`, or a canonical as it was written.
    Uri = 3,
    /// `system|code` of a quantity, whatever the parameter.
    Unit = 4,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Code => "code",
            Kind::Uri => "uri",
            Kind::Unit => "unit",
        }
    }
}

/// The key of units.
pub const UNITS: ParameterKey = ParameterKey(0);

/// Longest uri that is found by a part, in bytes: it is a key of an index.
pub const URI_BYTES_MAX: usize = 1_024;

impl Entry {
    /// By what it is told apart in memory; not stored.
    pub fn hash(&self) -> i64 {
        STORED.vocabulary(self.kind, self.key, &self.value)
    }
}
