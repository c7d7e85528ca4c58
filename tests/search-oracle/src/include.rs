//! `_include` and `_revinclude` (<https://hl7.org/fhir/R5/search.html#include>): what goes with the matches of a page.
//!
//! "`_include` … without `:iterate` … only on the matches"; with it also on what was included. Nothing comes twice, a match is no include,
//! and what is not there adds nothing. A reference that names a version brings that version; of old versions there are none here.

use crate::reference::{self, Target};
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
        let is_source = |resource: &&Resource| {
            let name = &resource.key.resource_type;
            include.source.as_ref().is_none_or(|source| source == name)
        };
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
                .flat_map(|source| self.led_to(include, source, true))
                .filter(|key| fits(key) && self.get(key).is_some())
                .collect(),
            true => self
                .resources()
                .filter(is_source)
                .filter(|source| {
                    let led_to = self.led_to(include, source, false);
                    led_to.iter().any(|key| fits(key) && from.contains(key))
                })
                .map(|source| source.key.clone())
                .collect(),
        }
    }

    /// What the parameter's references lead to; of one that names a version, when it is `exact`, only where that is the current one.
    fn led_to(&self, include: &Include, source: &Resource, exact: bool) -> Vec<ResourceKey> {
        let named = |parameter: &SearchParameter| match &include.parameter {
            Some(wanted) => wanted.code == parameter.code,
            None => parameter.kind == ParameterType::Reference,
        };
        let mut found = Vec::new();
        for parameter in self
            .definitions
            .search_parameters(&source.key.resource_type)
        {
            if !named(parameter) || parameter.expression.is_empty() {
                continue;
            }
            let old: Vec<ResourceKey> = self
                .elements(parameter, source)
                .iter()
                .filter_map(|element| reference::target(element, self.definitions))
                .filter_map(|target| match target {
                    Target::Here(key, Some(version)) => Some((key, version)),
                    _ => None,
                })
                .filter(|(key, version)| !self.is_current(key, version))
                .map(|(key, _)| key)
                .collect();
            let mut keys = self.targets(parameter, source);
            if exact {
                for key in old {
                    if let Some(place) = keys.iter().position(|it| *it == key) {
                        keys.remove(place);
                    }
                }
            }
            found.extend(keys);
        }
        found
    }

    fn is_current(&self, key: &ResourceKey, version: &str) -> bool {
        self.get(key)
            .is_some_and(|it| it.body["meta"]["versionId"].as_str() == Some(version))
    }
}
