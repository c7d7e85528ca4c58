//! What a search finds, read from <https://hl7.org/fhir/R5/search.html> and the resources themselves: slow, obvious, and independent.
//!
//! It shares the query AST with the engine and nothing else: elements come from the whole FHIRPath engine and the text of the parameter's
//! expression (not from path programs or the search document), and text, dates, numbers, tokens and references are understood here once
//! more. Where the specification leaves a choice, the reading is the one that `docs/search.md` states; each stands beside the code.
//!
//! [`drawn`] makes random resources and searches, [`tally`] counts what they cover, [`fault`] plants mistakes in a query or a graph.
//! A clause that is not interpreted here is [`Unknown`], never taken to hold.

mod clause;
mod composite;
pub mod drawn;
mod elements;
pub mod fault;
mod found;
mod graph;
mod include;
mod measure;
mod members;
mod order;
mod place;
mod reference;
pub mod tally;
mod text;
mod time;
mod token;
mod words;

pub use found::Found;
pub use graph::Understand;
pub use order::sorted;

use elements::{Element, Elements};
use fhir_definitions::{Definitions, SearchParameter};
use fhir_model::ResourceKey;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The own base: absolute references on it are local.
pub const BASE: &str = "http://localhost/fhir";

/// What the oracle does not interpret (yet).
#[derive(Debug)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the oracle does not interpret {}", self.0)
    }
}

/// One resource as it is stored.
pub struct Resource {
    pub key: ResourceKey,
    /// `meta.lastUpdated`, in milliseconds since 1970 UTC.
    pub updated_ms: i64,
    pub body: Value,
    /// Of a contained resource: what contains it, and which of those in it this is.
    container: Option<(ResourceKey, usize)>,
    /// What it contains.
    inner: Vec<Resource>,
    elements: Elements,
}

impl Resource {
    fn new(key: ResourceKey, updated_ms: i64, body: Value) -> Resource {
        let contained = body.get("contained").and_then(Value::as_array);
        let contained = contained.into_iter().flatten().enumerate();
        let inner = contained.map(|(number, one)| {
            let text = |name: &str| one[name].as_str().unwrap_or_default();
            let name = ResourceKey::new(text("resourceType"), text("id"));
            Resource {
                container: Some((key.clone(), number)),
                ..Resource::new(name, updated_ms, one.clone())
            }
        });
        Resource {
            inner: inner.collect(),
            key,
            updated_ms,
            body,
            container: None,
            elements: Elements::default(),
        }
    }
}

/// All the resources there are, and the definitions that say what their elements are found by.
pub struct World<'d> {
    definitions: &'d Definitions,
    resources: BTreeMap<ResourceKey, Resource>,
    programs: elements::Programs,
}

impl<'d> World<'d> {
    pub fn new(definitions: &'d Definitions) -> World<'d> {
        World {
            definitions,
            resources: BTreeMap::new(),
            programs: elements::Programs::default(),
        }
    }

    /// Adds a resource, or replaces the one of its key.
    pub fn put(&mut self, key: ResourceKey, updated_ms: i64, body: Value) {
        let resource = Resource::new(key.clone(), updated_ms, body);
        self.resources.insert(key, resource);
    }

    pub fn remove(&mut self, key: &ResourceKey) {
        self.resources.remove(key);
    }

    pub fn get(&self, key: &ResourceKey) -> Option<&Resource> {
        self.resources.get(key)
    }

    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// What the parameter selects in the resource.
    fn elements(&self, parameter: &SearchParameter, resource: &Resource) -> Rc<Vec<Element>> {
        let within = resource.container.as_ref().and_then(|(key, number)| {
            let container = &self.get(key)?.body;
            Some((container, container.get("contained")?.get(number)?))
        });
        let (root, body) = within.unwrap_or((&resource.body, &resource.body));
        resource
            .elements
            .of(parameter, body, root, self.definitions, &self.programs)
    }
}
