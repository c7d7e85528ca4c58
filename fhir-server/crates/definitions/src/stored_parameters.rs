//! SearchParameter resources that are stored: how they change the definitions, and which may be.
//!
//! `active`: searched, once every resource is indexed by it. `retired`: no longer; with the url of a parameter of R5 or of a file of the site
//! that one stops to answer (not those of every type, `_id` and the like). `draft` and `unknown`: kept, never used, and not looked at further.

use crate::own_parameters::{self, Problem};
use crate::parameter::{ParameterKey, ParameterType, SearchParameter};
use crate::search_parameters::{ByType, Definition, parameter_type};
use crate::{Definitions, array, fingerprint, own_codes, text};
use fhir_model::{Issue, IssueKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What stored resources have made of the definitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// The id of the resource, by the url of the parameter that it defines.
    ids: BTreeMap<String, String>,
    /// Parameters that were there without them, and answer no longer.
    pub(crate) retired: BTreeSet<ParameterKey>,
}

impl Definitions {
    /// These, which come from the program and the site's files, with the SearchParameter `resources` that are stored. Those first stored
    /// win; beside it the ids of those that cannot be used, and why.
    pub fn with_stored(&self, resources: &[Value]) -> (Definitions, Vec<(String, String)>) {
        let mut refused = Vec::new();
        let mut stored = Stored::default();
        let mut own: Vec<Definition> = Vec::new();
        for resource in resources {
            let definition = definition(resource);
            match text(resource, "status") {
                "retired" => stored.retired.extend(self.keys_of(&definition.url)),
                "active" if self.keys_of(&definition.url).next().is_none() => {
                    let id = text(resource, "id").to_owned();
                    if stored.ids.contains_key(&definition.url) {
                        let reason = "another one has this url".to_owned();
                        refused.push((id, reason));
                    } else {
                        stored.ids.insert(definition.url.clone(), id);
                        own.push(definition);
                    }
                }
                _ => {}
            }
        }
        let mut parameters = ByType::clone(&self.parameters);
        let kinds: BTreeMap<&str, ParameterType> = own
            .iter()
            .filter_map(|definition| Some((definition.url.as_str(), definition.kind?)))
            .collect();
        let kind_of = |url: &str| {
            let own = kinds.get(url).copied();
            own.or_else(|| kind_of(&self.parameters, url))
        };
        for definition in &own {
            let bound =
                own_parameters::bind(definition, self.structures, &kind_of, &mut parameters);
            if let Err(problems) = bound
                && let Some(id) = stored.ids.remove(&definition.url)
            {
                let first = problems.into_iter().next().unwrap_or_default();
                refused.push((id, format!("{}: {}", first.0, first.1)));
            }
        }
        let definitions = Definitions {
            fingerprint: fingerprint(&parameters, &stored.retired),
            own_codes: own_codes(&parameters),
            parameters: Arc::new(parameters),
            stored: Arc::new(stored),
            ..self.clone()
        };
        (definitions, refused)
    }

    /// What is in the way of using the SearchParameter `resource`, which is valid and will have the id `id` where that is known; `new`: it
    /// takes no resource's place.
    pub fn check_parameter(&self, resource: &Value, id: Option<&str>, new: bool) -> Vec<Issue> {
        let definition = definition(resource);
        let problems = match text(resource, "status") {
            "active" => self.problems(&definition, id, new),
            "retired" => self.not_to_be_retired(&definition.url),
            _ => Vec::new(),
        };
        problems
            .into_iter()
            .map(|(place, reason)| Issue::error(IssueKind::BusinessRule, reason).at(place))
            .collect()
    }

    fn problems(&self, definition: &Definition, id: Option<&str>, new: bool) -> Vec<Problem> {
        let url = "SearchParameter.url".to_owned();
        if definition.url.is_empty() {
            return vec![(url, "a canonical url is required".to_owned())];
        }
        match self.stored.ids.get(&definition.url) {
            Some(other) if new || id.is_some_and(|id| id != other) => {
                let reason = format!("SearchParameter/{other} has this url: change that one");
                return vec![(url, reason)];
            }
            Some(_) => {}
            None => {
                if let Some(given) = self.given(&definition.url) {
                    return differences(definition, given);
                }
            }
        }
        let mut parameters = ByType::clone(&self.parameters);
        for list in &mut parameters {
            list.retain(|parameter| parameter.url != definition.url);
        }
        let own = |url: &str| (url == definition.url).then_some(definition.kind).flatten();
        let kind_of = |url: &str| own(url).or_else(|| kind_of(&self.parameters, url));
        own_parameters::bind(definition, self.structures, &kind_of, &mut parameters)
            .err()
            .unwrap_or_default()
    }

    fn not_to_be_retired(&self, url: &str) -> Vec<Problem> {
        let of_every_type = self
            .given(url)
            .is_some_and(|given| given.code.starts_with('_'));
        match of_every_type {
            true => vec![(
                "SearchParameter.status".to_owned(),
                "this one is part of how the server works and cannot be retired".to_owned(),
            )],
            false => Vec::new(),
        }
    }

    /// A parameter that the program or the site's files define.
    fn given(&self, url: &str) -> Option<&Arc<SearchParameter>> {
        let is_given = |p: &&Arc<SearchParameter>| p.url == url;
        match self.stored.ids.contains_key(url) {
            true => None,
            false => self.parameters.iter().flatten().find(is_given),
        }
    }

    fn keys_of<'a>(&'a self, url: &'a str) -> impl Iterator<Item = ParameterKey> + 'a {
        let all = self.parameters.iter().flatten();
        all.filter(move |p| p.url == url && !p.code.starts_with('_'))
            .map(|p| p.key)
    }
}

/// A parameter that is given may be stored as it is; it may not be changed.
fn differences(definition: &Definition, given: &SearchParameter) -> Vec<Problem> {
    let same = [
        ("code", definition.code == given.code),
        ("type", definition.kind == Some(given.kind)),
        ("expression", definition.expression == given.expression),
    ];
    same.into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| {
            let reason = "the parameter of this url is defined otherwise; it can be retired, not changed: take another url and code";
            (format!("SearchParameter.{name}"), reason.to_owned())
        })
        .collect()
}

fn kind_of(parameters: &ByType, url: &str) -> Option<ParameterType> {
    let found = parameters.iter().flatten().find(|p| p.url == url);
    found.map(|p| p.kind)
}

/// A SearchParameter resource that was found valid.
pub(crate) fn definition(resource: &Value) -> Definition {
    let flag = |name| resource.get(name).and_then(Value::as_bool).unwrap_or(true);
    let list = |name| {
        array(resource, name)
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let derived_from = text(resource, "derivedFrom");
    Definition {
        url: text(resource, "url").to_owned(),
        code: text(resource, "code").to_owned(),
        kind: parameter_type(text(resource, "type")),
        bases: list("base"),
        expression: text(resource, "expression").to_owned(),
        targets: list("target"),
        multiple_or: flag("multipleOr"),
        multiple_and: flag("multipleAnd"),
        comparators: list("comparator"),
        modifiers: list("modifier"),
        chains: list("chain"),
        // Of whatever version.
        derived_from: derived_from
            .split('|')
            .next()
            .unwrap_or_default()
            .to_owned(),
        components: array(resource, "component")
            .map(|c| {
                (
                    text(c, "definition").to_owned(),
                    text(c, "expression").to_owned(),
                )
            })
            .collect(),
    }
}
