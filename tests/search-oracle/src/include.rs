//! `_include` and `_revinclude` (<https://hl7.org/fhir/R5/search.html#include>): what goes with the matches of a page.
//!
//! "`_include` … without `:iterate` … only on the matches"; with it also on what was included. Nothing comes twice, a match is no include,
//! and what is not there adds nothing.

use crate::{Resource, Unknown, World};
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::ResourceKey;
use fhir_search::query::Include;
use std::collections::BTreeSet;

impl World<'_> {
    /// What `includes` add to these matches.
    ///
    /// # Errors
    /// [`Unknown`] for what is not interpreted here.
    pub fn included(
        &self,
        includes: &[Include],
        matches: &[ResourceKey],
    ) -> Result<BTreeSet<ResourceKey>, Unknown> {
        let mut all: BTreeSet<ResourceKey> = matches.iter().cloned().collect();
        let mut first = true;
        loop {
            let before = all.len();
            for include in includes {
                // Each goes over everything there is so far, which finds nothing new where it was before.
                let from: Vec<ResourceKey> = match include.iterate {
                    true => all.iter().cloned().collect(),
                    false if first => matches.to_vec(),
                    false => continue,
                };
                all.extend(self.one(include, &from));
            }
            first = false;
            if all.len() == before {
                break;
            }
        }
        Ok(all
            .into_iter()
            .filter(|key| !matches.contains(key))
            .collect())
    }

    fn one(&self, include: &Include, from: &[ResourceKey]) -> Vec<ResourceKey> {
        let is_source = |resource: &&Resource| resource.key.resource_type == include.source;
        let fits = |key: &ResourceKey| {
            include
                .target
                .as_ref()
                .is_none_or(|target| *target == key.resource_type)
        };
        match include.reverse {
            false => from
                .iter()
                .filter_map(|key| self.get(key))
                .filter(is_source)
                .flat_map(|source| self.led_to(include, source))
                .filter(|key| fits(key) && self.get(key).is_some())
                .collect(),
            true => self
                .resources()
                .filter(is_source)
                .filter(|source| {
                    let led_to = self.led_to(include, source);
                    led_to.iter().any(|key| fits(key) && from.contains(key))
                })
                .map(|source| source.key.clone())
                .collect(),
        }
    }

    fn led_to(&self, include: &Include, source: &Resource) -> Vec<ResourceKey> {
        let named = |parameter: &SearchParameter| match &include.parameter {
            Some(wanted) => wanted.code == parameter.code,
            None => parameter.kind == ParameterType::Reference,
        };
        self.definitions
            .search_parameters(&include.source)
            .iter()
            .filter(|parameter| named(parameter) && !parameter.expression.is_empty())
            .flat_map(|parameter| self.targets(parameter, source))
            .collect()
    }
}
