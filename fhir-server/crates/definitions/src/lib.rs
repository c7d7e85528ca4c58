//! The definitions: an immutable snapshot of structures, search parameters, compartments and terminology, and validation by it.
//!
//! [`Definitions::load`] reads the committed R5 tables and the data folders (`profiles/`, `terminology/`); it is swapped whole,
//! never changed in place (design invariant 12). Pure: the folders' bytes are handed in by the caller, and so are the SearchParameter
//! resources that are stored ([`Definitions::with_stored`]) and how far the index follows them ([`Definitions::with_index`]).

pub mod compartment;
mod data_files;
mod index_state;
mod invariants;
pub mod operation;
mod own_parameters;
pub mod parameter;
mod place;
mod primitive;
mod search_parameters;
mod shape;
mod stored_parameters;
pub mod structure;
mod tables;
pub mod terminology;
mod validate;

pub use compartment::Compartment;
pub use index_state::{IndexState, State};
pub use operation::{OperationDefinition, OperationParameter};
pub use parameter::{Component, ParameterKey, ParameterType, Part, SearchParameter, StringRows};
pub use structure::{Element, Structure, Structures};
pub use terminology::{Terminology, TerminologyError, TerminologyResources};
pub use validate::ISSUES_MAX;

use fhir_model::Issue;
use fhirpath::{ElementType, Host, TypeModel};
use search_parameters::ByType;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use stored_parameters::Stored;
use xxhash_rust::xxh3::Xxh3;

/// The format of search documents and of their hashes. Raised by one with every change of what `fhir_search::search_document` makes of the same
/// resource: the index of an existing site is then made anew.
pub const INDEX_FORMAT: u32 = 4;

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
#[derive(Clone, Debug)]
pub struct Definitions {
    structures: &'static Structures,
    numbers: Arc<HashMap<&'static str, i16>>,
    parameters: Arc<ByType>,
    /// The codes of those that are the site's own.
    own_codes: Arc<BTreeSet<String>>,
    /// The site's files by canonical url.
    own: Arc<BTreeMap<String, Value>>,
    terminology: Arc<TerminologyResources>,
    stored: Arc<Stored>,
    fingerprint: u64,
    index: Arc<IndexState>,
}

impl Definitions {
    /// The core R5 definitions and the site's files: the JSON files of `profiles/` and `terminology/`.
    ///
    /// # Errors
    /// One [`DataError`] per problem found in `files`.
    pub fn load(files: &[DataFile]) -> Result<Definitions, Vec<DataError>> {
        let structures = Structures::r5();
        let mut parameters = search_parameters::r5().clone();
        let own = data_files::load(files, structures, &mut parameters)?;
        Ok(Definitions {
            structures,
            numbers: Arc::new(
                structures
                    .resource_types()
                    .iter()
                    .zip(0..)
                    .map(|(name, number)| (name.as_str(), number))
                    .collect(),
            ),
            fingerprint: fingerprint(&parameters, &BTreeSet::new()),
            own_codes: own_codes(&parameters),
            parameters: Arc::new(parameters),
            terminology: Arc::new(TerminologyResources::read(own.values())),
            own: Arc::new(own),
            stored: Arc::default(),
            index: Arc::default(),
        })
    }

    /// A hash of everything that decides what a search document holds, and what is searched. Where it differs from the one stored with the
    /// data, a reindex may be due.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The part of it that comes with the program: the specification's parameters, and the format of the index.
    pub fn core_fingerprint(&self) -> u64 {
        core_fingerprint()
    }

    /// The concrete resource types in the order of their numbers (157 in R5). A type's number never changes.
    pub fn resource_types(&self) -> &[String] {
        self.structures.resource_types()
    }

    /// The number of a resource type, as it is stored: its position in [`Definitions::resource_types`], from 0. `None` when the
    /// server stores no such type.
    pub fn type_number(&self, resource_type: &str) -> Option<i16> {
        self.numbers.get(resource_type).copied()
    }

    /// The resource type of a stored number.
    pub fn type_name(&self, number: i16) -> Option<&str> {
        let index = usize::try_from(number).ok()?;
        self.resource_types().get(index).map(String::as_str)
    }

    /// The search parameter `code` of a concrete resource type; those of Resource and DomainResource (`_tag`, …) are found under each type.
    pub fn search_parameter(
        &self,
        resource_type: &str,
        code: &str,
    ) -> Option<&Arc<SearchParameter>> {
        let parameters = self.search_parameters(resource_type);
        let index = parameters
            .binary_search_by(|parameter| parameter.code.as_str().cmp(code))
            .ok()?;
        parameters.get(index)
    }

    /// All search parameters of a concrete resource type, by code.
    pub fn search_parameters(&self, resource_type: &str) -> &[Arc<SearchParameter>] {
        match self.type_number(resource_type) {
            Some(number) => &self.parameters[number as usize],
            None => &[],
        }
    }

    /// A compartment, named by the type of its focus (`Patient`).
    pub fn compartment(&self, code: &str) -> Option<&'static Compartment> {
        compartment::compartment(code)
    }

    /// A type: `HumanName`, `code`, `Patient`, or a backbone element by its path (`Patient.contact`).
    pub fn structure(&self, name: &str) -> Option<&'static Structure> {
        self.structures.get(name)
    }

    /// The site's own definitions (profiles, search parameters, code systems, …), in the order of their canonical urls.
    pub fn own_resources(&self) -> impl Iterator<Item = &Value> {
        self.own.values()
    }

    /// What is known of code systems, value sets and concept maps: R5's and the site's.
    pub fn terminology(&self) -> Terminology<'_> {
        Terminology::of_site(&self.terminology)
    }

    /// Checks a resource against the base structure of its type: names, types, cardinalities, primitive formats, required bindings,
    /// one choice only (<https://hl7.org/fhir/R5/validation.html>). Every issue names its place. Empty: valid.
    pub fn validate(&self, resource: &Value) -> Vec<Issue> {
        validate::validate(resource, self.structures)
    }

    /// What of the invariants of R5's base structures the resource, or anything in it, does not keep
    /// (<https://hl7.org/fhir/R5/conformance-rules.html#constraints>), in the severities that R5 gives them; as information those that could not be
    /// decided. `now` is an instant. Every issue names its place.
    pub fn invariants(&self, resource: &Value, host: &dyn Host, now: &str) -> Vec<Issue> {
        let surroundings = invariants::Surroundings {
            model: self,
            host,
            now,
        };
        invariants::check(resource, surroundings)
    }
}

impl TypeModel for Definitions {
    fn element(&self, type_name: &str, name: &str) -> Option<ElementType<'_>> {
        self.structures.element(type_name, name)
    }

    fn is_a(&self, type_name: &str, ancestor: &str) -> bool {
        self.structures.is_a(type_name, ancestor)
    }

    fn is_type(&self, name: &str) -> bool {
        self.structures.is_type(name)
    }

    fn base(&self, type_name: &str) -> Option<&str> {
        self.structures.base(type_name)
    }

    fn code_system(&self, type_name: &str, name: &str) -> Option<String> {
        self.structures.code_system(type_name, name)
    }
}

/// Everything that decides what is extracted, under which number, and what of it is not searched.
fn fingerprint(parameters: &ByType, retired: &BTreeSet<ParameterKey>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&core_fingerprint().to_be_bytes());
    let own = parameters.iter().flatten();
    for parameter in own.filter(|p| own_parameters::is_own(p.key)) {
        hash.update(&search_parameters::hash(parameter).to_be_bytes());
    }
    for key in retired {
        hash.update(&key.0.to_be_bytes());
    }
    hash.digest()
}

fn own_codes(parameters: &ByType) -> Arc<BTreeSet<String>> {
    let own = parameters.iter().flatten();
    let own = own.filter(|p| own_parameters::is_own(p.key));
    Arc::new(own.map(|p| p.code.clone()).collect())
}

/// The types follow from the table of structures.
fn core_fingerprint() -> u64 {
    static CORE: OnceLock<u64> = OnceLock::new();
    *CORE.get_or_init(|| {
        let mut hash = Xxh3::new();
        hash.update(&INDEX_FORMAT.to_be_bytes());
        hash.update(tables::STRUCTURES.text().as_bytes());
        for parameter in search_parameters::r5().iter().flatten() {
            hash.update(&search_parameters::hash(parameter).to_be_bytes());
        }
        hash.digest()
    })
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn array<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_numbers() {
        let d = Definitions::load(&[]).unwrap();
        assert_eq!(d.resource_types().len(), 157);
        for name in d.resource_types() {
            let number = d.type_number(name).unwrap();
            assert_eq!(d.type_name(number), Some(name.as_str()));
        }
        // Stored numbers: these must never change.
        for (name, number) in [
            ("Account", Some(0)),
            ("Patient", Some(109)),
            ("VisionPrescription", Some(156)),
            ("Parameters", None),
            ("DomainResource", None),
            ("patient", None),
        ] {
            assert_eq!(d.type_number(name), number, "{name}");
        }
        assert_eq!(d.type_name(-1), None);
        assert_eq!(d.type_name(157), None);
    }

    /// Databases hold these numbers. A new release of the specification may add at the end; this test then gets a line for the longer list.
    #[test]
    fn stored_numbers_never_change() {
        let d = Definitions::load(&[]).unwrap();
        let types = d.resource_types().join(" ");
        let mut keys: Vec<_> = d
            .resource_types()
            .iter()
            .flat_map(|name| d.search_parameters(name))
            .map(|p| (p.key, format!("{}.{}", p.resource_type, p.code)))
            .collect();
        keys.sort();
        let keys: Vec<_> = keys.into_iter().map(|(_, name)| name).collect();
        let hashes =
            [types, keys.join(" ")].map(|text| xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        assert_eq!(
            hashes,
            [13_787_921_996_121_202_374, 16_760_750_424_770_985_819]
        );
    }

    #[test]
    fn parameters() {
        use ParameterType::*;
        let d = Definitions::load(&[]).unwrap();
        for (resource_type, code, expect) in [
            (
                "Patient",
                "name",
                Some((String, "http://hl7.org/fhir/SearchParameter/Patient-name")),
            ),
            (
                "Patient",
                "family",
                Some((
                    String,
                    "http://hl7.org/fhir/SearchParameter/individual-family",
                )),
            ),
            (
                "Patient",
                "_tag",
                Some((Token, "http://hl7.org/fhir/SearchParameter/Resource-tag")),
            ),
            (
                "Patient",
                "_text",
                Some((
                    Special,
                    "http://hl7.org/fhir/SearchParameter/DomainResource-text",
                )),
            ),
            (
                "Bundle",
                "_id",
                Some((Token, "http://hl7.org/fhir/SearchParameter/Resource-id")),
            ),
            (
                "Observation",
                "combo-code-value-quantity",
                Some((
                    Composite,
                    "http://hl7.org/fhir/SearchParameter/Observation-combo-code-value-quantity",
                )),
            ),
            (
                "Condition",
                "subject",
                Some((
                    Reference,
                    "http://hl7.org/fhir/SearchParameter/Condition-subject",
                )),
            ),
            ("Patient", "subject", None),
            ("Parameters", "_id", None),
            ("Nothing", "_id", None),
        ] {
            let found = d.search_parameter(resource_type, code);
            assert_eq!(
                found.map(|p| (p.kind, p.url.as_str())),
                expect,
                "{resource_type} {code}"
            );
            if let Some(p) = found {
                assert_eq!(
                    (p.resource_type.as_str(), p.code.as_str()),
                    (resource_type, code)
                );
            }
        }
        let name = d.search_parameter("Patient", "name").unwrap();
        assert!(name.multiple_or && name.multiple_and);
        assert!(
            !d.search_parameter("Observation", "code-value-date")
                .unwrap()
                .multiple_or
        );
    }

    #[test]
    fn fingerprint_is_stable() {
        let fingerprint = || Definitions::load(&[]).unwrap().fingerprint();
        assert_eq!(fingerprint(), fingerprint());
        assert_ne!(fingerprint(), 0);
    }
}
