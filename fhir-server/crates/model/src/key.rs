//! Which resource: its type and logical id (<https://hl7.org/fhir/R5/resource.html#id>).

use std::fmt;

/// A resource's type and logical id. Orders by type, then id: the one order in which rows are inserted and locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    pub resource_type: String,
    pub id: String,
}

impl ResourceKey {
    pub fn new(resource_type: impl Into<String>, id: impl Into<String>) -> ResourceKey {
        ResourceKey {
            resource_type: resource_type.into(),
            id: id.into(),
        }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource_type, self.id)
    }
}

/// A resource's key and one of its versions. Versions count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionedKey {
    pub key: ResourceKey,
    pub version: i32,
}

/// Whether this is a legal logical id: `[A-Za-z0-9\-\.]{1,64}`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for (text, legal) in [
            ("a", true),
            ("A-1.b", true),
            ("", false),
            ("a_b", false),
            ("é", false),
            ("a/b", false),
        ] {
            assert_eq!(is_id(text), legal, "{text}");
        }
        assert!(is_id(&"x".repeat(64)));
        assert!(!is_id(&"x".repeat(65)));
    }
}
