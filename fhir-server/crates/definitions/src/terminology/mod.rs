//! Terminology: code systems, value sets and concept maps, and what is asked of them: expansion, membership, subsumption, look-up,
//! translation (<https://hl7.org/fhir/R5/terminology-module.html>).
//!
//! A canonical url is looked up in what the caller gives with the question, then among the site's files, then in the table of R5.
//! Nothing is guessed: what is not known, not complete or too much is a [`TerminologyError`].

mod binding;
mod code_system;
mod expansion;
mod filter;
pub mod operation;
mod table;
mod value_set;

pub(crate) use binding::{ValueSetCodes, code_system, codes};
pub use code_system::{CodeSystem, Concept, Content, PropertyType, Subsumption};
pub use expansion::{EXPANSION_MAX, Expansion, Member, Used};
pub use value_set::ValueSet;

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a question of terminology has no answer. Names are canonical urls of definitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TerminologyError {
    #[error("the value set {0} is not known here")]
    UnknownValueSet(String),
    #[error("the code system {0} is not known here")]
    UnknownCodeSystem(String),
    #[error("the concept map {0} is not known here")]
    UnknownConceptMap(String),
    /// The code, and its code system.
    #[error("the code system {1} has no code {0}")]
    UnknownCode(String, String),
    /// It is known by name only, or in part.
    #[error("the concepts of the code system {0} are not all here")]
    NotPresent(String),
    #[error("the value set {0} is made of itself")]
    Cycle(String),
    #[error("the value set {0} is made of more than {max} levels of others", max = expansion::DEPTH_MAX)]
    TooDeep(String),
    #[error("the value set has more than {EXPANSION_MAX} codes")]
    TooCostly,
    /// The question is not one.
    #[error("{0}")]
    Question(String),
    /// What the definition asks for cannot be done, or makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Code systems, value sets and concept maps by canonical url, each url in one or more versions.
#[derive(Clone, Debug, Default)]
pub struct TerminologyResources {
    code_systems: Versions<CodeSystem>,
    value_sets: Versions<ValueSet>,
    concept_maps: Versions<Value>,
    /// By the url of a code system: the version that is used, and whether also where another one is asked for.
    wanted: BTreeMap<String, (String, bool)>,
}

/// The versions of each url, in the order in which they came.
type Versions<T> = BTreeMap<String, Vec<(String, Arc<T>)>>;

impl TerminologyResources {
    /// Those of the resources that are terminology and have a url.
    pub fn read<'r>(resources: impl IntoIterator<Item = &'r Value>) -> TerminologyResources {
        let mut all = TerminologyResources::default();
        for resource in resources {
            all.add(resource);
        }
        all
    }

    /// Adds a CodeSystem, ValueSet or ConceptMap; the later of two with one url and version counts.
    pub fn add(&mut self, resource: &Value) {
        let text = |name| resource.get(name).and_then(Value::as_str);
        let Some(url) = text("url") else {
            return;
        };
        let version = text("version").unwrap_or_default();
        match text("resourceType") {
            Some("CodeSystem") => put(
                &mut self.code_systems,
                url,
                version,
                CodeSystem::read(resource),
            ),
            Some("ValueSet") => put(&mut self.value_sets, url, version, ValueSet::read(resource)),
            Some("ConceptMap") => put(&mut self.concept_maps, url, version, resource.clone()),
            _ => {}
        }
    }

    /// Adds a ValueSet that is asked for by its id on this server, which finds it whether it has a url or not; its url stands for what else has it.
    pub fn add_value_set_of_id(&mut self, id: &str, resource: &Value) {
        let set = ValueSet::read(resource);
        put(&mut self.value_sets, &of_id(id), "", set);
    }

    /// Says which version of a code system is used where none is asked for, or always.
    pub fn use_version(&mut self, url: &str, version: &str, always: bool) {
        self.wanted
            .insert(url.to_owned(), (version.to_owned(), always));
    }

    /// The code systems, in the order of their urls.
    pub fn code_systems(&self) -> impl Iterator<Item = &CodeSystem> {
        let all = self.code_systems.values().flatten();
        all.map(|(_, system)| &**system)
    }
}

/// A definition that another one is made of, by its canonical url, `url` or `url|version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    CodeSystem(String),
    ValueSet(String),
    ConceptMap(String),
}

impl Needed {
    pub fn canonical(&self) -> &str {
        let (Needed::CodeSystem(canonical)
        | Needed::ValueSet(canonical)
        | Needed::ConceptMap(canonical)) = self;
        canonical
    }

    pub fn resource_type(&self) -> &'static str {
        match self {
            Needed::CodeSystem(_) => "CodeSystem",
            Needed::ValueSet(_) => "ValueSet",
            Needed::ConceptMap(_) => "ConceptMap",
        }
    }
}

/// The key of a resource that is asked for by id.
fn of_id(id: &str) -> String {
    format!("ValueSet/{id}")
}

fn put<T>(versions: &mut Versions<T>, url: &str, version: &str, resource: T) {
    let all = versions.entry(url.to_owned()).or_default();
    all.retain(|(there, _)| there != version);
    all.push((version.to_owned(), Arc::new(resource)));
}

/// The one of that version; without one, the latest.
fn pick<T>(versions: &Versions<T>, url: &str, version: Option<&str>) -> Option<Arc<T>> {
    let all = versions.get(url)?;
    let found = match version {
        Some(version) => all.iter().find(|(there, _)| there == version),
        None => all
            .iter()
            .max_by(|(a, _), (b, _)| by_numbers(a).cmp(&by_numbers(b))),
    };
    found.map(|(_, resource)| Arc::clone(resource))
}

/// A version in parts: numbers as such, so that 1.10 comes after 1.9.
fn by_numbers(version: &str) -> Vec<(u64, &str)> {
    let parts = version.split(['.', '-']);
    parts
        .map(|part| (part.parse().unwrap_or(0), part))
        .collect()
}

/// What is known: the place where every question of terminology is asked.
#[derive(Clone, Copy, Debug)]
pub struct Terminology<'a> {
    /// The most important first; the table of R5 comes after them.
    layers: [&'a TerminologyResources; 2],
}

impl<'a> Terminology<'a> {
    /// What the table of R5 and the site's files hold.
    pub(crate) fn of_site(site: &'a TerminologyResources) -> Terminology<'a> {
        Terminology {
            layers: [site, site],
        }
    }

    /// The same, and before it what is given.
    pub fn with(self, given: &'a TerminologyResources) -> Terminology<'a> {
        Terminology {
            layers: [given, self.layers[1]],
        }
    }

    /// A code system by its canonical url, `url` or `url|version`.
    ///
    /// # Errors
    /// [`TerminologyError::UnknownCodeSystem`].
    pub fn code_system(&self, canonical: &str) -> Result<Arc<CodeSystem>, TerminologyError> {
        let (url, version) = split(canonical);
        let version = match self.layers[0].wanted.get(url) {
            Some((wanted, always)) if *always || version.is_none() => Some(wanted.as_str()),
            _ => version,
        };
        let mut layers = self.layers.iter();
        let found = layers.find_map(|layer| pick(&layer.code_systems, url, version));
        let found = found.or_else(|| {
            let system = table::code_system(url)?;
            fits(system.version(), version).then_some(system)
        });
        found.ok_or_else(|| {
            TerminologyError::UnknownCodeSystem(match version {
                Some(version) => format!("{url}|{version}"),
                None => url.to_owned(),
            })
        })
    }

    /// A value set by its canonical url, `url` or `url|version`. The url that a code system gives for all of its codes is one.
    ///
    /// # Errors
    /// [`TerminologyError::UnknownValueSet`].
    pub fn value_set(&self, canonical: &str) -> Result<Arc<ValueSet>, TerminologyError> {
        let (url, version) = split(canonical);
        let mut layers = self.layers.iter();
        layers
            .find_map(|layer| pick(&layer.value_sets, url, version))
            .or_else(|| {
                let set = table::value_set(url)?;
                fits(set.version(), version).then_some(set)
            })
            .or_else(|| {
                let mut systems = self.layers.iter().flat_map(|layer| layer.code_systems());
                let of_all = systems.find(|system| {
                    system.value_set() == Some(url) && fits(system.version(), version)
                })?;
                Some(Arc::new(ValueSet::of_all_codes(url, of_all)))
            })
            .ok_or_else(|| TerminologyError::UnknownValueSet(canonical.to_owned()))
    }

    /// The value set with this id on this server: one that was given so, a file of the site, one of R5.
    pub fn value_set_of_id(&self, id: &str) -> Option<Arc<ValueSet>> {
        let given = pick(&self.layers[0].value_sets, &of_id(id), None);
        given
            .or_else(|| {
                let mut site = self.layers[1].value_sets.values().flatten();
                let found = site.find(|(_, set)| set.head()["id"] == id);
                found.map(|(_, set)| Arc::clone(set))
            })
            .or_else(|| table::value_set(&format!("http://hl7.org/fhir/ValueSet/{id}")))
            .or_else(|| table::value_set(&format!("http://terminology.hl7.org/ValueSet/{id}")))
    }

    /// The code system with this id: a file of the site, or one of R5.
    pub fn code_system_of_id(&self, id: &str) -> Option<Arc<CodeSystem>> {
        let site = self.layers[1].code_systems.values().flatten();
        let mut site = site.filter(|(_, system)| system.id() == Some(id));
        let site = site.next().map(|(_, system)| Arc::clone(system));
        site.or_else(|| table::code_system(&format!("http://terminology.hl7.org/CodeSystem/{id}")))
            .or_else(|| table::code_system(&format!("http://hl7.org/fhir/{id}")))
    }

    /// The concept map with this id: a file of the site, or one of R5.
    pub fn concept_map_of_id(&self, id: &str) -> Option<Arc<Value>> {
        let mut site = self.layers[1].concept_maps.values().flatten();
        let site = site.find(|(_, map)| map["id"] == id);
        site.map(|(_, map)| Arc::clone(map))
            .or_else(|| table::concept_map(&format!("http://hl7.org/fhir/ConceptMap/{id}")))
    }

    /// Every concept map that is known, those of R5 last.
    pub fn concept_maps(&self) -> Vec<Arc<Value>> {
        let mut all: BTreeMap<&str, Arc<Value>> = BTreeMap::new();
        for url in table::concept_map_urls() {
            all.extend(table::concept_map(url).map(|map| (url, map)));
        }
        for layer in self.layers.iter().rev() {
            for url in layer.concept_maps.keys() {
                all.extend(pick(&layer.concept_maps, url, None).map(|map| (url.as_str(), map)));
            }
        }
        all.into_values().collect()
    }

    /// What a definition that is known is made of; `None` when it is not known.
    pub fn needs_of(&self, one: &Needed) -> Option<Vec<Needed>> {
        match one {
            Needed::CodeSystem(canonical) => self.code_system(canonical).ok().map(|_| Vec::new()),
            Needed::ConceptMap(canonical) => self.concept_map(canonical).ok().map(|_| Vec::new()),
            Needed::ValueSet(canonical) => Some(self.value_set(canonical).ok()?.needs()),
        }
    }

    /// The urls of the value sets of R5, in no order.
    pub fn value_set_urls(&self) -> impl Iterator<Item = &'static str> {
        table::value_set_urls()
    }

    /// The code systems of R5, without their concepts: `url`, `version` and `content`, in the order of their urls.
    pub fn code_system_heads(&self) -> Vec<Value> {
        table::code_system_heads()
    }

    /// Every code system that has this code.
    pub fn code_systems_of(&self, code: &str) -> Vec<Arc<CodeSystem>> {
        let mut found: Vec<Arc<CodeSystem>> = Vec::new();
        let layers = self.layers.iter();
        let all = layers.flat_map(|layer| layer.code_systems.values().flatten());
        for (_, system) in all {
            let is_there = found.iter().any(|there| there.url() == system.url());
            if !is_there && system.is_searched() && system.concept(code).is_some() {
                found.push(Arc::clone(system));
            }
        }
        for system in table::code_systems_of(code) {
            if !found.iter().any(|there| there.url() == system.url()) {
                found.push(system);
            }
        }
        found
    }

    /// A concept map by its canonical url, `url` or `url|version`: the resource.
    ///
    /// # Errors
    /// [`TerminologyError::UnknownConceptMap`].
    pub fn concept_map(&self, canonical: &str) -> Result<Arc<Value>, TerminologyError> {
        let (url, version) = split(canonical);
        let mut layers = self.layers.iter();
        layers
            .find_map(|layer| pick(&layer.concept_maps, url, version))
            .or_else(|| match version {
                None => table::concept_map(url),
                Some(_) => None,
            })
            .ok_or_else(|| TerminologyError::UnknownConceptMap(canonical.to_owned()))
    }
}

fn split(canonical: &str) -> (&str, Option<&str>) {
    match canonical.split_once('|') {
        Some((url, version)) => (url, Some(version).filter(|version| !version.is_empty())),
        None => (canonical, None),
    }
}

fn fits(there: Option<&str>, asked: Option<&str>) -> bool {
    asked.is_none_or(|asked| there == Some(asked))
}
