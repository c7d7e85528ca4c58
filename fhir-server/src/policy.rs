//! What a site decides about writes where the specification leaves it to the server: the values of those settings, and what they mean for
//! requests, for the store and for the routes that are open (docs/adr/0020-policies-of-writes.md).
//!
//! What this process asks of itself (the embedded listener) is not held to the policies for clients: its ids are derived, and it reads first.

use crate::config::Config;
use crate::router::Interaction;
use crate::setting::SettingValue;
use fhir_storage::Policies;

/// Which ids clients may give resources that they create by PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIds {
    Any,
    /// Those that are not digits only, which a server may give.
    Alphanumeric,
    None,
}

/// Resource types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Types {
    All,
    Some(Vec<String>),
}

/// What an update is that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOp {
    KeepsVersion,
    MakesVersion,
}

/// What becomes of the tags, security labels and profiles that are there, when an update has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaOnUpdate {
    Replace,
    Merge,
}

/// Where references are held to lead somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    None,
    Write,
    Delete,
    Both,
}

/// What becomes of the version in a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionedReferences {
    Keep,
    Strip,
}

/// `CapabilityStatement.rest.resource.conditionalDelete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionalDelete {
    None,
    Single,
    Multiple,
}

impl ClientIds {
    pub fn allow(self, id: &str) -> bool {
        match self {
            ClientIds::Any => true,
            ClientIds::Alphanumeric => !id.bytes().all(|b| b.is_ascii_digit()),
            ClientIds::None => false,
        }
    }
}

impl Types {
    pub fn contain(&self, resource_type: &str) -> bool {
        match self {
            Types::All => true,
            Types::Some(types) => types.iter().any(|name| name == resource_type),
        }
    }
}

impl Integrity {
    fn on_write(self) -> bool {
        matches!(self, Integrity::Write | Integrity::Both)
    }

    fn on_delete(self) -> bool {
        matches!(self, Integrity::Delete | Integrity::Both)
    }
}

/// What the store is told.
pub fn of_store(config: &Config) -> Policies {
    Policies {
        no_op_makes_version: config.no_op_update == NoOp::MakesVersion,
        updates_merge_meta: config.meta_on_update == MetaOnUpdate::Merge,
        targets_exist: config.reference_integrity.on_write(),
        targets_stay: config.reference_integrity.on_delete(),
        unversioned_references: config.versioned_references == VersionedReferences::Strip,
    }
}

/// How many matches a conditional delete may delete.
pub fn deletes_at_most(config: &Config) -> usize {
    match config.conditional_delete {
        ConditionalDelete::Multiple => config.conditional_delete_max,
        ConditionalDelete::None | ConditionalDelete::Single => 1,
    }
}

/// Whether the site offers an interaction at all; one that it does not is a 405, and not declared.
pub fn is_open(config: &Config, interaction: Interaction) -> bool {
    match interaction {
        Interaction::ConditionalDelete => config.conditional_delete != ConditionalDelete::None,
        Interaction::DeleteHistory | Interaction::DeleteHistoryVersion => config.history_deletion,
        _ => true,
    }
}

/// Values of a setting that is a choice of words.
macro_rules! words {
    ($type:ty, $expected:literal, $($word:literal => $value:expr,)*) => {
        impl SettingValue for $type {
            fn read(text: &str) -> Result<$type, String> {
                match text {
                    $($word => Ok($value),)*
                    _ => Err(concat!("must be ", $expected).into()),
                }
            }
        }
    };
}

words! { ClientIds, "any, alphanumeric or none",
    "any" => ClientIds::Any,
    "alphanumeric" => ClientIds::Alphanumeric,
    "none" => ClientIds::None,
}
words! { NoOp, "keep or version",
    "keep" => NoOp::KeepsVersion,
    "version" => NoOp::MakesVersion,
}
words! { MetaOnUpdate, "replace or merge",
    "replace" => MetaOnUpdate::Replace,
    "merge" => MetaOnUpdate::Merge,
}
words! { Integrity, "none, write, delete or both",
    "none" => Integrity::None,
    "write" => Integrity::Write,
    "delete" => Integrity::Delete,
    "both" => Integrity::Both,
}
words! { VersionedReferences, "keep or strip",
    "keep" => VersionedReferences::Keep,
    "strip" => VersionedReferences::Strip,
}
words! { ConditionalDelete, "none, single or multiple",
    "none" => ConditionalDelete::None,
    "single" => ConditionalDelete::Single,
    "multiple" => ConditionalDelete::Multiple,
}

impl SettingValue for Types {
    fn read(text: &str) -> Result<Types, String> {
        match text.trim() {
            "*" => Ok(Types::All),
            "none" => Ok(Types::Some(Vec::new())),
            list => {
                let types: Vec<String> = list.split(',').map(|t| t.trim().to_string()).collect();
                let structures = fhir_definitions::Structures::r5();
                match types
                    .iter()
                    .all(|name| structures.resource_types().contains(name))
                {
                    true => Ok(Types::Some(types)),
                    false => {
                        Err("must be *, none, or resource types as Patient,Observation".into())
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients() {
        for (policy, id, expect) in [
            ("any", "1", true),
            ("alphanumeric", "1", false),
            ("alphanumeric", "1-", true),
            ("alphanumeric", "a", true),
            ("none", "a", false),
        ] {
            assert_eq!(
                ClientIds::read(policy).unwrap().allow(id),
                expect,
                "{policy} {id}"
            );
        }
    }

    #[test]
    fn types() {
        for (text, resource_type, expect) in [
            ("*", "Patient", Ok(true)),
            ("none", "Patient", Ok(false)),
            ("Patient, Group", "Group", Ok(true)),
            ("Patient", "Group", Ok(false)),
            ("Nosuch", "Group", Err(())),
            ("", "Group", Err(())),
        ] {
            let read = Types::read(text).map(|types| types.contain(resource_type));
            assert_eq!(read.map_err(drop), expect, "{text}");
        }
    }
}
