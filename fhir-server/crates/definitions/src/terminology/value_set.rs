//! A value set's definition: what `ValueSet.compose` includes and excludes (<https://hl7.org/fhir/R5/valueset.html#compositions>).

use super::code_system::array;
use super::{CodeSystem, Needed};
use fhir_model::json::text;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub struct ValueSet {
    url: String,
    version: Option<String>,
    pub(super) include: Vec<Include>,
    pub(super) exclude: Vec<Include>,
    /// `compose.inactive`: whether codes that are no longer to be used belong to it.
    pub(super) inactive: bool,
    /// Where there is no definition: the codes of the expansion that came with it.
    pub(super) expansion: Vec<(String, IncludedConcept)>,
    /// `ValueSet.compose`, or null.
    definition: Value,
    /// The resource without its definition, expansion and text.
    head: Value,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Include {
    pub system: String,
    pub version: Option<String>,
    pub concepts: Vec<IncludedConcept>,
    pub filters: Vec<Filter>,
    pub value_sets: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct IncludedConcept {
    pub code: String,
    pub display: Option<String>,
    pub designations: Vec<Value>,
}

#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub property: String,
    pub op: String,
    pub value: String,
}

impl ValueSet {
    /// From the resource. What is missing is empty: whoever accepts resources validates them before.
    pub fn read(resource: &Value) -> ValueSet {
        let compose = resource.get("compose").unwrap_or(&Value::Null);
        let mut head = resource.clone();
        if let Some(members) = head.as_object_mut() {
            members.retain(|name, _| {
                !["compose", "expansion", "text", "contained"].contains(&name.as_str())
            });
        }
        let mut expansion = Vec::new();
        if resource.get("compose").is_none() {
            let contains = resource.get("expansion").unwrap_or(&Value::Null);
            expanded(array(contains, "contains"), &mut expansion);
        }
        ValueSet {
            url: text(resource, "url").unwrap_or_default().to_owned(),
            version: text(resource, "version").map(str::to_owned),
            include: array(compose, "include").map(Include::read).collect(),
            exclude: array(compose, "exclude").map(Include::read).collect(),
            inactive: compose.get("inactive") != Some(&Value::Bool(false)),
            expansion,
            definition: compose.clone(),
            head,
        }
    }

    /// From its row of the table: concepts are `[code, display]`.
    pub(super) fn read_row(row: &Value) -> ValueSet {
        let mut resource = json!({
            "resourceType": "ValueSet",
            "url": row["V"],
            "version": row["version"],
            "name": row["name"],
            "status": "active",
            "compose": row["compose"],
        });
        for part in ["include", "exclude"] {
            let includes = resource["compose"].get_mut(part);
            let includes = includes.and_then(Value::as_array_mut).into_iter().flatten();
            let concepts =
                includes.filter_map(|include| include.get_mut("concept")?.as_array_mut());
            for concept in concepts.flatten() {
                let (code, display) = (concept.get(0).cloned(), concept.get(1).cloned());
                *concept = json!({ "code": code });
                if let Some(display) = display {
                    concept["display"] = display;
                }
            }
        }
        ValueSet::read(&resource)
    }

    /// All codes of a code system.
    pub(super) fn of_all_codes(url: &str, system: &CodeSystem) -> ValueSet {
        ValueSet::read(&json!({
            "resourceType": "ValueSet",
            "url": url,
            "version": system.version(),
            "name": system.name(),
            "status": "active",
            "compose": { "include": [{ "system": &**system.url() }] },
        }))
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The code systems and value sets that it is made of.
    pub fn needs(&self) -> Vec<Needed> {
        let mut needs = Vec::new();
        for include in self.include.iter().chain(&self.exclude) {
            if !include.system.is_empty() {
                needs.push(Needed::CodeSystem(include.canonical()));
            }
            let value_sets = include.value_sets.iter().cloned();
            needs.extend(value_sets.map(Needed::ValueSet));
        }
        needs
    }

    /// The resource without its definition and expansion.
    pub fn head(&self) -> &Value {
        &self.head
    }

    /// `ValueSet.compose`, or null.
    pub fn definition(&self) -> &Value {
        &self.definition
    }

    /// `url` or `url|version`.
    pub fn canonical(&self) -> String {
        match &self.version {
            Some(version) => format!("{}|{version}", self.url),
            None => self.url.clone(),
        }
    }
}

impl Include {
    /// Of its code system.
    pub(super) fn canonical(&self) -> String {
        match &self.version {
            Some(version) => format!("{}|{version}", self.system),
            None => self.system.clone(),
        }
    }

    fn read(include: &Value) -> Include {
        let system = text(include, "system").unwrap_or_default();
        let (system, in_url) = match system.split_once('|') {
            Some((system, version)) => (system, Some(version)),
            None => (system, None),
        };
        Include {
            system: system.to_owned(),
            version: text(include, "version")
                .filter(|version| *version != "*")
                .or(in_url)
                .map(str::to_owned),
            concepts: array(include, "concept")
                .filter_map(IncludedConcept::read)
                .collect(),
            filters: array(include, "filter")
                .map(|filter| Filter {
                    property: text(filter, "property").unwrap_or_default().to_owned(),
                    op: text(filter, "op").unwrap_or_default().to_owned(),
                    value: text(filter, "value").unwrap_or_default().to_owned(),
                })
                .collect(),
            value_sets: array(include, "valueSet")
                .filter_map(|url| Some(url.as_str()?.to_owned()))
                .collect(),
        }
    }
}

impl IncludedConcept {
    fn read(concept: &Value) -> Option<IncludedConcept> {
        Some(IncludedConcept {
            code: text(concept, "code")?.to_owned(),
            display: text(concept, "display").map(str::to_owned),
            designations: array(concept, "designation").cloned().collect(),
        })
    }
}

/// The codes of `contains`, and of those in it; what is abstract and has no system groups others.
fn expanded<'v>(
    contains: impl Iterator<Item = &'v Value>,
    out: &mut Vec<(String, IncludedConcept)>,
) {
    for code in contains {
        if let (Some(system), Some(concept)) = (text(code, "system"), IncludedConcept::read(code)) {
            out.push((system.to_owned(), concept));
        }
        expanded(array(code, "contains").collect::<Vec<_>>().into_iter(), out);
    }
}
