//! The definitions: an immutable snapshot of structures, search parameters, compartments and terminology, and validation by it.
//!
//! [`Definitions::load`] reads the committed R5 tables and the data folders (`profiles/`, `terminology/`); it is swapped whole,
//! never changed in place (design invariant 12). Pure: the folders' bytes are handed in by the caller.

pub mod parameter;

pub use parameter::{Component, ParameterKey, ParameterType, SearchParameter};

use fhir_model::Issue;
use serde_json::Value;
use std::sync::Arc;

/// A file of a data folder: its path for messages, and its bytes.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// Why a data file was refused: the file, the place in it, the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}: {reason}")]
pub struct DataError {
    pub file: String,
    /// A FHIRPath expression, or `line n, column m`.
    pub place: String,
    pub reason: String,
}

/// Everything the program knows of FHIR R5, with the site's own additions.
#[derive(Debug)]
pub struct Definitions {}

impl Definitions {
    /// The core R5 definitions and the site's files.
    ///
    /// # Errors
    /// One [`DataError`] per problem found in `files`.
    pub fn load(files: &[DataFile]) -> Result<Definitions, Vec<DataError>> {
        let _ = files;
        Ok(Definitions {})
    }

    /// A hash of everything that decides what a search document holds. Where it differs from the one stored with the data, a reindex is due.
    pub fn fingerprint(&self) -> u64 {
        0
    }

    /// The concrete resource types in the order of their numbers (157 in R5). A type's number never changes.
    pub fn resource_types(&self) -> &[String] {
        &[]
    }

    /// The number of a resource type, as it is stored; `None` when the server has no such type.
    pub fn type_number(&self, resource_type: &str) -> Option<i16> {
        let _ = resource_type;
        None
    }

    /// The resource type of a stored number.
    pub fn type_name(&self, number: i16) -> Option<&str> {
        let _ = number;
        None
    }

    /// The search parameter `code` of a concrete resource type; those of Resource and DomainResource (`_tag`, …) are found under each type.
    pub fn search_parameter(
        &self,
        resource_type: &str,
        code: &str,
    ) -> Option<&Arc<SearchParameter>> {
        let _ = (resource_type, code);
        None
    }

    /// All search parameters of a concrete resource type, by code.
    pub fn search_parameters(&self, resource_type: &str) -> &[Arc<SearchParameter>] {
        let _ = resource_type;
        &[]
    }

    /// Checks a resource against the base structure of its type: names, types, cardinalities, primitive formats, required bindings,
    /// one choice only (<https://hl7.org/fhir/R5/validation.html>). Every issue names its place. Empty: valid.
    pub fn validate(&self, resource: &Value) -> Vec<Issue> {
        let _ = resource;
        Vec::new()
    }
}
