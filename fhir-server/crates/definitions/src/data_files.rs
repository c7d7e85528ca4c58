//! A site's own definitions: the files of `profiles/` and `terminology/`, read and checked one by one.
//!
//! Refused: what is not JSON or not valid R5, a type that does not belong here, a missing or repeated canonical url, one that claims to be HL7's,
//! a structure of elements that do not exist, a search parameter that could not be searched.

use crate::own_parameters;
use crate::parameter::ParameterType;
use crate::search_parameters::{ByType, Definition};
use crate::stored_parameters::definition;
use crate::structure::Structures;
use crate::validate::validate;
use crate::{DataError, DataFile, array, text};
use fhir_model::{Issue, json};
use serde_json::Value;
use std::collections::BTreeMap;

/// What may stand in the folders. Below `examples/` any resource may.
const TYPES: [&str; 6] = [
    "StructureDefinition",
    "SearchParameter",
    "OperationDefinition",
    "CodeSystem",
    "ValueSet",
    "ConceptMap",
];

/// Names under this belong to the specification.
const HL7: &str = "http://hl7.org/fhir/";

/// The files' resources by canonical url; their search parameters are added to `parameters`.
///
/// # Errors
/// Every problem of every file, in the order of the files.
pub(crate) fn load(
    files: &[DataFile],
    structures: &Structures,
    parameters: &mut ByType,
) -> Result<BTreeMap<String, Value>, Vec<DataError>> {
    let mut load = Load {
        structures,
        files: BTreeMap::new(),
        resources: BTreeMap::new(),
        errors: Vec::new(),
    };
    for file in files {
        load.read(file);
    }
    load.check_structures();
    load.bind_parameters(parameters);
    match load.errors.is_empty() {
        true => Ok(load.resources),
        false => Err(load.errors),
    }
}

struct Load<'a> {
    structures: &'a Structures,
    /// The file of each canonical url.
    files: BTreeMap<String, &'a str>,
    resources: BTreeMap<String, Value>,
    errors: Vec<DataError>,
}

impl<'a> Load<'a> {
    fn error(&mut self, file: &str, place: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(DataError {
            file: file.to_owned(),
            place: place.into(),
            reason: reason.into(),
        });
    }

    fn read(&mut self, file: &'a DataFile) {
        let resource = match json::parse(&file.bytes) {
            Ok(resource) => resource,
            Err(issue) => {
                return self.error(&file.path, place(&issue), issue.diagnostics);
            }
        };
        let issues = validate(&resource, self.structures);
        for issue in &issues {
            self.error(&file.path, place(issue), issue.diagnostics.clone());
        }
        if !issues.is_empty() || is_example(&file.path) {
            return;
        }
        let resource_type = text(&resource, "resourceType");
        if !TYPES.contains(&resource_type) {
            let reason = format!("a file here is one of {}", TYPES.join(", "));
            return self.error(&file.path, "resourceType", reason);
        }
        let place = format!("{resource_type}.url");
        let url = text(&resource, "url").to_owned();
        if url.is_empty() {
            self.error(&file.path, place, "a canonical url is required");
        } else if url.starts_with(HL7) {
            self.error(
                &file.path,
                place,
                "this url belongs to the FHIR specification",
            );
        } else if let Some(other) = self.files.get(&url).copied() {
            self.error(&file.path, place, format!("{other} has this url too"));
        } else {
            self.files.insert(url.clone(), &file.path);
            self.resources.insert(url, resource);
        }
    }

    fn check_structures(&mut self) {
        let mut found = Vec::new();
        for (url, resource) in &self.resources {
            if text(resource, "resourceType") != "StructureDefinition" {
                continue;
            }
            for (place, reason) in self.structure_problems(resource) {
                found.push(DataError {
                    file: self.files[url].to_owned(),
                    place,
                    reason,
                });
            }
        }
        self.errors.extend(found);
    }

    fn structure_problems(&self, profile: &Value) -> Vec<(String, String)> {
        let place = |name: &str| format!("StructureDefinition.{name}");
        let mut problems = Vec::new();
        if text(profile, "derivation") != "constraint" {
            problems.push((
                place("derivation"),
                "a site's structures constrain a type of R5: constraint".to_owned(),
            ));
        }
        if self.structures.get(text(profile, "type")).is_none() {
            problems.push((place("type"), "R5 has no such type".to_owned()));
            return problems;
        }
        let base = text(profile, "baseDefinition");
        let known = match base.strip_prefix("http://hl7.org/fhir/StructureDefinition/") {
            Some(name) => self.structures.get(name).is_some(),
            None => self.resources.contains_key(base),
        };
        if !known {
            problems.push((
                place("baseDefinition"),
                "no such structure in R5 or in these files".to_owned(),
            ));
        }
        for part in ["differential", "snapshot"] {
            for (index, element) in array(&profile[part], "element").enumerate() {
                let path = text(element, "path");
                if !path.starts_with(text(profile, "type")) || !self.path_exists(path) {
                    problems.push((
                        format!("StructureDefinition.{part}.element[{index}].path"),
                        "the type has no such element".to_owned(),
                    ));
                }
            }
        }
        problems
    }

    /// Whether a path of an ElementDefinition leads somewhere: `Patient.contact.name.family`, `Extension.value[x]`.
    fn path_exists(&self, path: &str) -> bool {
        let mut steps = path.split('.');
        let mut types: Vec<&str> = steps.next().into_iter().collect();
        for step in steps {
            let name = step.strip_suffix("[x]").unwrap_or(step);
            let next = types
                .iter()
                .filter_map(|type_name| self.structures.get(type_name)?.element(name))
                .find(|element| element.choice == (name != step));
            match next {
                Some(element) => types = element.types.iter().map(|t| t.name).collect(),
                None => return false,
            }
        }
        true
    }

    fn bind_parameters(&mut self, parameters: &mut ByType) {
        let own: Vec<(String, Definition, bool)> = self
            .resources
            .iter()
            .filter(|(_, resource)| text(resource, "resourceType") == "SearchParameter")
            .map(|(url, resource)| {
                let is_active = text(resource, "status") == "active";
                (url.clone(), definition(resource), is_active)
            })
            .collect();
        let kinds: BTreeMap<String, ParameterType> = own
            .iter()
            .filter_map(|(url, definition, _)| Some((url.clone(), definition.kind?)))
            .collect();
        let core = parameters.clone();
        let kind_of = |url: &str| {
            let core = || core.iter().flatten().find(|p| p.url == url);
            kinds.get(url).copied().or_else(|| Some(core()?.kind))
        };
        for (url, definition, is_active) in own {
            if !is_active {
                continue;
            }
            let bound = own_parameters::bind(&definition, self.structures, &kind_of, parameters);
            for (place, reason) in bound.err().into_iter().flatten() {
                self.error(self.files[&url], place, reason);
            }
        }
    }
}

/// Where an issue is: an element, or the line and column that end its text when the file could not be read.
fn place(issue: &Issue) -> String {
    let element = issue.expression.clone().filter(|place| !place.is_empty());
    let line = || issue.diagnostics.rsplit_once(" at ").map(|(_, line)| line);
    element.unwrap_or_else(|| line().unwrap_or("line 1").to_owned())
}

/// Whether the file stands in an `examples` folder.
fn is_example(path: &str) -> bool {
    let mut parts = path.rsplit(['/', '\\']).skip(1);
    parts.any(|part| part == "examples")
}
