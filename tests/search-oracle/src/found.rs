//! What matches, and what is answered for it: the resource itself, or with `_contained` (<https://hl7.org/fhir/R5/search.html#contained>) resources that
//! it contains.
//!
//! Readings: all conditions are meant of the contained resource, whose `_lastUpdated` is its container's; a container is answered once, at the first
//! place that one of its matches has in the order.

use crate::{Resource, Unknown, World};
use fhir_model::ResourceKey;
use fhir_search::Query;
use fhir_search::query::{Contained, ContainedType};

/// A match.
pub struct Found<'w> {
    /// As it is answered: of a contained resource its container's, with `#id`.
    pub key: ResourceKey,
    /// What meets the conditions: the resource, or some that it contains. Never empty.
    pub(crate) hits: Vec<&'w Resource>,
    /// How well it answers the words that were asked for. The specification leaves that to the engine, which is to say it.
    pub score: Option<f64>,
}

impl World<'_> {
    /// All that match, in no order that means anything.
    ///
    /// # Errors
    /// [`Unknown`] for what is not interpreted here.
    pub fn matches(&self, query: &Query) -> Result<Vec<Found<'_>>, Unknown> {
        let mut found = Vec::new();
        for resource in self.resources() {
            let mut hits = Vec::new();
            if query.contained != Contained::True && self.meets(query, resource)? {
                hits.push(resource);
            }
            if query.contained != Contained::False {
                for inner in &resource.inner {
                    if self.meets(query, inner)? {
                        hits.push(inner);
                    }
                }
            }
            match query.contained_type {
                _ if hits.is_empty() => {}
                ContainedType::Container => found.push(Found {
                    key: resource.key.clone(),
                    hits,
                    score: None,
                }),
                ContainedType::Contained => found.extend(hits.into_iter().map(|hit| Found {
                    key: answered(hit),
                    hits: vec![hit],
                    score: None,
                })),
            }
        }
        Ok(found)
    }

    /// How many there would be without conditions.
    ///
    /// # Errors
    /// As [`World::matches`].
    pub fn searched(&self, query: &Query) -> Result<usize, Unknown> {
        let all = Query {
            filter: Vec::new(),
            ..query.clone()
        };
        Ok(self.matches(&all)?.len())
    }

    fn meets(&self, query: &Query, resource: &Resource) -> Result<bool, Unknown> {
        Ok(query.types.contains(&resource.key.resource_type)
            && self.all(&query.filter, resource)?)
    }
}

fn answered(hit: &Resource) -> ResourceKey {
    match &hit.container {
        Some((key, _)) => {
            ResourceKey::new(&key.resource_type, format!("{}#{}", key.id, hit.key.id))
        }
        None => hit.key.clone(),
    }
}
