//! `$graph` (<https://hl7.org/fhir/R5/resource-operation-graph.html>): what a GraphDefinition leads to from an instance. It is stored here, and named by its
//! canonical URL or as `GraphDefinition/[id]`.
//!
//! A link goes by a FHIRPath (`path`: references to resources of the target's type) or by a search (`params`, in which `{ref}` is where it
//! begins). Everything is read from one state. Profiles, `min` and `max` are not checked. Refuses graphs with compartment rules, and without
//! a start (400); one that leads too far is `too-costly`.

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::interaction::read::present;
use crate::operation::{Answer, Call, aside};
use crate::terminology::{self, Lookup};
use crate::url;
use fhir_definitions::Definitions;
use fhir_model::date::instant_text;
use fhir_model::{Issue, IssueKind, Reference, ResourceKey, json};
use fhir_search::{Handling, Query, parse};
use fhir_storage::{Page, Snapshot, StoredResource, Version};
use fhirpath::{Context, Program};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

/// Resources of a graph, and searches for it.
const RESOURCES_MAX: usize = 1_000;
const SEARCHES_MAX: usize = 200;

pub async fn graph(app: &App, call: Call) -> Result<Answer, Failure> {
    let definitions = app.store.definitions();
    let key = call.request.key();
    let mut snapshot = app.store.snapshot().await?;
    present(&key, snapshot.read(&key).await?)?;
    let found = reached(&definitions, &call, &mut snapshot).await?;
    snapshot.close().await?;
    let entries = entries(&call.request.base, &found);
    Ok(Answer::Bundle(format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{entries}]}}"#
    )))
}

/// The instance, and what the GraphDefinition that is asked for leads to from it, in the order in which it was found.
///
/// # Errors
/// A graph that there is not, that cannot be followed, or that leads too far.
pub async fn reached(
    definitions: &Arc<Definitions>,
    call: &Call,
    snapshot: &mut Snapshot,
) -> Result<Vec<StoredResource>, Failure> {
    let key = call.request.key();
    let mut walk = Walk::new(definitions, &call.request.base);
    let name = call.text("graph").unwrap_or_default();
    let Some(definition) = walk.definition(name, snapshot).await? else {
        return Err(Failure::new(
            IssueKind::NotFound,
            "there is no such GraphDefinition: graph must be the canonical URL of one that is stored here, or GraphDefinition/[id]",
        ));
    };
    let graph = Graph::read(&definition)?;
    graph.check_start(&key)?;
    let focus = snapshot.read_all(std::slice::from_ref(&key)).await?;
    walk.along_all(&graph, focus, snapshot).await?;
    Ok(walk.in_order())
}

/// As `Bundle.entry`, without brackets.
pub fn entries(base: &str, resources: &[StoredResource]) -> String {
    let mut text = String::new();
    for (index, stored) in resources.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let full_url = Value::from(format!("{base}/{}", stored.key));
        let _ = write!(
            text,
            r#"{comma}{{"fullUrl":{full_url},"resource":{}}}"#,
            stored.body
        );
    }
    text
}

/// What the graph `name` leads to from those of `starts` that are of the type it starts at, without these: `_graph` of a search
/// (<https://hl7.org/fhir/R5/search.html#graph>). A contained resource that is answered itself leads nowhere, as with includes.
///
/// # Errors
/// SearchParameter where there is no such GraphDefinition; what it refuses itself; TooCostly.
pub async fn led_to(
    definitions: &Arc<Definitions>,
    base: &str,
    snapshot: &mut Snapshot,
    name: &str,
    starts: &[StoredResource],
) -> Result<Vec<StoredResource>, Failure> {
    let mut walk = Walk::new(definitions, base);
    let Some(definition) = walk.definition(name, snapshot).await? else {
        return Err(Failure::new(
            IssueKind::SearchParameter,
            "_graph must be the canonical URL of a GraphDefinition that is stored here, or GraphDefinition/[id]",
        ));
    };
    let graph = Graph::read(&definition)?;
    let start = graph.node_type(graph.start)?;
    let starts: Vec<StoredResource> = starts
        .iter()
        .filter(|stored| is_of(&stored.key, start) && !stored.key.id.contains('#'))
        .cloned()
        .collect();
    let count = starts.len();
    walk.along_all(&graph, starts, snapshot).await?;
    Ok(walk.in_order().split_off(count))
}

/// A GraphDefinition, understood.
struct Graph<'a> {
    start: &'a str,
    nodes: BTreeMap<&'a str, &'a str>,
    links: Vec<Link<'a>>,
}

struct Link<'a> {
    source: &'a str,
    target: &'a str,
    path: Option<&'a str>,
    search: Option<&'a str>,
    place: String,
}

impl<'a> Graph<'a> {
    fn read(definition: &'a Value) -> Result<Graph<'a>, Failure> {
        let list = |name| {
            definition
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let text = |value: &'a Value, name| value.get(name).and_then(Value::as_str);
        let nodes = list("node")
            .filter_map(|node| Some((text(node, "nodeId")?, text(node, "type")?)))
            .collect();
        let mut links = Vec::new();
        for (index, link) in list("link").enumerate() {
            let place = format!("GraphDefinition.link[{index}]");
            if link.get("compartment").is_some() {
                return Err(Issue::error(
                    IssueKind::NotSupported,
                    "compartment rules are not applied by this version",
                )
                .at(place)
                .into());
            }
            links.push(Link {
                source: text(link, "sourceId").unwrap_or_default(),
                target: text(link, "targetId").unwrap_or_default(),
                path: text(link, "path"),
                search: text(link, "params"),
                place,
            });
        }
        match text(definition, "start") {
            Some(start) => Ok(Graph {
                start,
                nodes,
                links,
            }),
            None => Err(refuse("the graph has no start")),
        }
    }

    fn node_type(&self, node: &str) -> Result<&'a str, Failure> {
        self.nodes
            .get(node)
            .copied()
            .ok_or_else(|| refuse("the graph has a link or a start to a node that it has not"))
    }

    fn check_start(&self, key: &ResourceKey) -> Result<(), Failure> {
        match self.node_type(self.start)? {
            start if is_of(key, start) => Ok(()),
            _ => Err(refuse("the graph starts at another type")),
        }
    }
}

/// Whether the node's type is that of the resource, or stands for every type.
fn is_of(key: &ResourceKey, node_type: &str) -> bool {
    node_type == key.resource_type || matches!(node_type, "Resource" | "DomainResource")
}

/// The way through a graph.
struct Walk<'a> {
    base: &'a str,
    definitions: &'a Arc<Definitions>,
    now: String,
    found: BTreeMap<ResourceKey, StoredResource>,
    order: Vec<ResourceKey>,
    seen: BTreeSet<(String, ResourceKey)>,
    searches: usize,
}

impl<'a> Walk<'a> {
    fn new(definitions: &'a Arc<Definitions>, base: &'a str) -> Walk<'a> {
        Walk {
            base,
            definitions,
            now: instant_text(now_micros() / 1000),
            found: BTreeMap::new(),
            order: Vec::new(),
            seen: BTreeSet::new(),
            searches: 0,
        }
    }

    /// The GraphDefinition that is asked for.
    async fn definition(
        &self,
        name: &str,
        snapshot: &mut Snapshot,
    ) -> Result<Option<Value>, Failure> {
        let body = match Reference::parse(name, Some(self.base)) {
            Reference::Local { key, .. } if key.resource_type == "GraphDefinition" => {
                match snapshot.read(&key).await? {
                    Some(Version::Present(stored)) => Some(stored.body),
                    _ => None,
                }
            }
            _ => {
                let (url, version) = name.split_once('|').unwrap_or((name, ""));
                let parameters = [
                    ("url".to_string(), url.to_string()),
                    ("version".to_string(), version.to_string()),
                ];
                let query = self
                    .parsed("GraphDefinition", &parameters, snapshot)
                    .await?;
                let found = snapshot.search(&query, Page::First).await?;
                // Of several versions the one that was changed last.
                found.matches.into_iter().next().map(|stored| stored.body)
            }
        };
        Ok(body.map(|body| json::parse(body.as_bytes())).transpose()?)
    }

    async fn parsed(
        &self,
        resource_type: &str,
        parameters: &[(String, String)],
        snapshot: &mut Snapshot,
    ) -> Result<Query, Failure> {
        let lookup = Lookup::within(snapshot, Arc::clone(self.definitions), self.base);
        let stored = terminology::of_search(lookup, &[resource_type], parameters).await?;
        let context = parse::Context {
            definitions: self.definitions,
            terminology: stored.as_ref(),
            base: Some(self.base),
            handling: Handling::Strict,
            now_micros: now_micros(),
            count_default: RESOURCES_MAX,
            count_max: RESOURCES_MAX,
        };
        terminology::parsed(&context, &[resource_type], parameters)
    }

    /// From `starts` along every link.
    async fn along_all(
        &mut self,
        graph: &Graph<'_>,
        starts: Vec<StoredResource>,
        snapshot: &mut Snapshot,
    ) -> Result<(), Failure> {
        let keys = starts.iter().map(|stored| stored.key.clone());
        let mut waiting: VecDeque<(String, ResourceKey)> =
            keys.map(|key| (graph.start.to_string(), key)).collect();
        self.keep(starts)?;
        while let Some((node, key)) = waiting.pop_front() {
            if !self.seen.insert((node.clone(), key.clone())) {
                continue;
            }
            for link in graph.links.iter().filter(|link| link.source == node) {
                let targets = self
                    .follow(snapshot, link, graph.node_type(link.target)?, &key)
                    .await?;
                let targets = targets.into_iter();
                waiting.extend(targets.map(|key| (link.target.to_string(), key)));
            }
        }
        Ok(())
    }

    /// Where a link leads from a resource that was found.
    async fn follow(
        &mut self,
        snapshot: &mut Snapshot,
        link: &Link<'_>,
        target: &str,
        from: &ResourceKey,
    ) -> Result<BTreeSet<ResourceKey>, Failure> {
        let mut targets = BTreeSet::new();
        if let Some(path) = link.path {
            let keys = self.along(path, from).map_err(|reason| {
                Failure::from(
                    Issue::error(IssueKind::BusinessRule, reason)
                        .at(format!("{}.path", link.place)),
                )
            })?;
            let keys = keys.into_iter().filter(|key| is_of(key, target));
            let missing: Vec<ResourceKey> = keys
                .clone()
                .filter(|key| !self.found.contains_key(key))
                .collect();
            targets.extend(keys);
            self.keep(snapshot.read_all(&missing).await?)?;
        }
        if let Some(search) = link.search {
            self.searches += 1;
            if self.searches > SEARCHES_MAX {
                return Err(too_costly());
            }
            let query = self.query(search, target, from, snapshot).await;
            let query = query.map_err(|failure| {
                failure.within(&format!("{}.params", link.place), &link.place)
            })?;
            let found = snapshot.search(&query, Page::First).await?;
            if found.next.is_some() {
                return Err(too_costly());
            }
            targets.extend(found.matches.iter().map(|stored| stored.key.clone()));
            self.keep(found.matches)?;
        }
        targets.retain(|key| self.found.contains_key(key));
        Ok(targets)
    }

    fn along(&self, path: &str, from: &ResourceKey) -> Result<Vec<ResourceKey>, String> {
        let Some(stored) = self.found.get(from) else {
            return Ok(Vec::new());
        };
        let resource = json::parse(stored.body.as_bytes()).map_err(|issue| issue.diagnostics)?;
        let program = Program::parse(path).map_err(|error| error.to_string())?;
        aside(|| {
            let context = Context::new(&resource, &**self.definitions).now(&self.now);
            let items = program
                .evaluate(&context)
                .map_err(|error| error.to_string())?;
            let base = Some(self.base);
            let key = |text: &str| match Reference::parse(text, base) {
                Reference::Local { key, .. } => Some(key),
                _ => None,
            };
            let keys = items.iter().filter_map(|item| {
                let (_, value) = item.to_fhir()?;
                // A Reference, or a canonical.
                key(value
                    .as_str()
                    .or_else(|| value.get("reference")?.as_str())?)
            });
            Ok(keys.collect())
        })
    }

    async fn query(
        &self,
        search: &str,
        target: &str,
        from: &ResourceKey,
        snapshot: &mut Snapshot,
    ) -> Result<Query, Failure> {
        let parameters = url::parameters(&search.replace("{ref}", &from.to_string()))?;
        self.parsed(target, &parameters, snapshot).await
    }

    fn keep(&mut self, resources: Vec<StoredResource>) -> Result<(), Failure> {
        for stored in resources {
            if !self.found.contains_key(&stored.key) {
                self.order.push(stored.key.clone());
                self.found.insert(stored.key.clone(), stored);
            }
        }
        match self.found.len() <= RESOURCES_MAX {
            true => Ok(()),
            false => Err(too_costly()),
        }
    }

    /// In the order in which they were found.
    fn in_order(mut self) -> Vec<StoredResource> {
        let order = self.order.iter();
        order.filter_map(|key| self.found.remove(key)).collect()
    }
}

fn too_costly() -> Failure {
    let reason = format!(
        "the graph leads to more than {RESOURCES_MAX} resources, or needs more than {SEARCHES_MAX} searches"
    );
    Failure::new(IssueKind::TooCostly, reason)
}

fn refuse(reason: &str) -> Failure {
    Failure::new(IssueKind::BusinessRule, reason)
}
