//! `_graph` (<https://hl7.org/fhir/R5/search.html#graph>): what a GraphDefinition leads to from the matches of a page.
//!
//! Readings: a resource that stands for a node leads along each link of that node, by the elements of its `path` and by the search of its `params`, to
//! what is there of the target's type; `Resource` and `DomainResource` are every type. It begins at the matches of the start's type, whole
//! resources alone. Of several GraphDefinitions with one url the last changed is meant.

use crate::reference::{self, Target};
use crate::{Resource, Unknown, World};
use fhir_model::ResourceKey;
use fhir_search::Query;
use serde_json::Value;
use std::collections::BTreeSet;

/// How a search is understood: the type, and the text of a URL's query.
pub type Understand<'u> = &'u dyn Fn(&str, &str) -> Result<Query, Unknown>;

impl World<'_> {
    /// The GraphDefinition that goes by this name.
    ///
    /// # Errors
    /// [`Unknown`] where two of the name were changed at once.
    pub fn graph(&self, name: &str) -> Result<Option<&Value>, Unknown> {
        if let Target::Here(key, _) = reference::address(name, self.definitions) {
            let found = self.get(&key).filter(|it| is_graph(it));
            return Ok(found.map(|it| &it.body));
        }
        let (url, version) = reference::versioned(name);
        let is_named = |it: &&Resource| {
            is_graph(it)
                && it.body["url"] == url
                && version.is_none_or(|version| it.body["version"] == version)
        };
        let mut found: Vec<&Resource> = self.resources().filter(is_named).collect();
        found.sort_by_key(|it| it.updated_ms);
        match found[..] {
            [.., before, last] if before.updated_ms == last.updated_ms => {
                Err(Unknown("which of two GraphDefinitions is the last".into()))
            }
            [.., last] => Ok(Some(&last.body)),
            [] => Ok(None),
        }
    }

    /// What the GraphDefinition leads to from these matches, without them.
    ///
    /// # Errors
    /// [`Unknown`] for what is not interpreted here.
    pub fn graphed(
        &self,
        graph: &Value,
        matches: &[ResourceKey],
        understand: Understand<'_>,
    ) -> Result<BTreeSet<ResourceKey>, Unknown> {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let start = text(graph, "start");
        let begins = matches
            .iter()
            .filter(|key| fits(key, node_type(graph, &start)))
            .map(|key| (start.clone(), key.clone()));
        let mut waiting: Vec<(String, ResourceKey)> = begins.collect();
        let mut seen: BTreeSet<(String, ResourceKey)> = waiting.iter().cloned().collect();
        while let Some((node, key)) = waiting.pop() {
            let links = graph["link"].as_array().into_iter().flatten();
            for link in links.filter(|link| link["sourceId"] == *node) {
                let target = text(link, "targetId");
                for key in self.along(link, node_type(graph, &target), &key, understand)? {
                    let place = (target.clone(), key);
                    if seen.insert(place.clone()) {
                        waiting.push(place);
                    }
                }
            }
        }
        let found = seen.into_iter().map(|(_, key)| key);
        Ok(found.filter(|key| !matches.contains(key)).collect())
    }

    /// Where one link leads from the resource.
    fn along(
        &self,
        link: &Value,
        to: &str,
        from: &ResourceKey,
        understand: Understand<'_>,
    ) -> Result<Vec<ResourceKey>, Unknown> {
        let mut found = Vec::new();
        if let (Some(path), Some(resource)) = (link["path"].as_str(), self.get(from)) {
            for element in elements(&resource.body, path)? {
                let text = element["reference"].as_str();
                let target = text.map(|text| reference::address(text, self.definitions));
                if let Some(Target::Here(key, _)) = target
                    && fits(&key, to)
                    && self.get(&key).is_some()
                {
                    found.push(key);
                }
            }
        }
        if let Some(params) = link["params"].as_str() {
            let query = understand(to, &params.replace("{ref}", &from.to_string()))?;
            let matches = self.matches(&query)?;
            found.extend(matches.into_iter().map(|found| found.key));
        }
        Ok(found)
    }
}

fn is_graph(resource: &Resource) -> bool {
    resource.key.resource_type == "GraphDefinition"
}

fn node_type<'g>(graph: &'g Value, id: &str) -> &'g str {
    let mut nodes = graph["node"].as_array().into_iter().flatten();
    let node = nodes.find(|node| node["nodeId"] == id);
    node.and_then(|node| node["type"].as_str())
        .unwrap_or_default()
}

fn fits(key: &ResourceKey, node_type: &str) -> bool {
    ["Resource", "DomainResource", &key.resource_type].contains(&node_type)
}

/// What a path of names alone selects; it may begin with the type.
fn elements<'r>(resource: &'r Value, path: &str) -> Result<Vec<&'r Value>, Unknown> {
    if !path.bytes().all(|b| b.is_ascii_alphabetic() || b == b'.') {
        return Err(Unknown(format!("the path {path}")));
    }
    let mut found = vec![resource];
    for name in path.split('.') {
        if resource["resourceType"] == name {
            continue;
        }
        let inner = found.iter().map(|value| &value[name]);
        found = inner
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().collect(),
                value => vec![value],
            })
            .collect();
    }
    Ok(found)
}
