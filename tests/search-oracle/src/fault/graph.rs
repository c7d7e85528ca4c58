//! Mistakes planted in a GraphDefinition.

use serde_json::Value;

/// One kind of mistake: its name, and how it changes a GraphDefinition. False: it has nothing of the kind.
pub type GraphFault = (&'static str, fn(&mut Value) -> bool);

/// All kinds.
pub const GRAPH_FAULTS: &[GraphFault] = &[
    ("the graph forgotten", |graph| {
        let links = links(graph);
        !std::mem::take(links).is_empty()
    }),
    ("a link forgotten", |graph| {
        let links = links(graph);
        links.len() > 1 && links.pop().is_some()
    }),
    ("a path forgotten", |graph| forgotten(graph, "path")),
    ("a search forgotten", |graph| forgotten(graph, "params")),
    ("the last condition of a search forgotten", |graph| {
        let mut changed = false;
        for link in links(graph) {
            let params = link["params"].as_str();
            if let Some((less, _)) = params.and_then(|params| params.rsplit_once('&')) {
                link["params"] = less.to_owned().into();
                changed = true;
            }
        }
        changed
    }),
    ("no link followed from what another led to", |graph| {
        let start = graph["start"].clone();
        let links = links(graph);
        let before = links.len();
        links.retain(|link| link["sourceId"] == start && link["targetId"] != start);
        links.len() < before
    }),
    ("every type for the one of a target", |graph| {
        let searched: Vec<Value> = links(graph)
            .iter()
            .filter(|link| link.get("params").is_some())
            .map(|link| link["targetId"].clone())
            .collect();
        let start = graph["start"].clone();
        let mut changed = false;
        for node in list(graph, "node") {
            if node["nodeId"] != start && !searched.contains(&node["nodeId"]) {
                changed |= node["type"] != "Resource";
                node["type"] = "Resource".into();
            }
        }
        changed
    }),
];

fn forgotten(graph: &mut Value, how: &str) -> bool {
    let links = links(graph);
    let mut all = links.iter_mut().filter_map(Value::as_object_mut);
    all.any(|link| link.remove(how).is_some())
}

fn links(graph: &mut Value) -> &mut Vec<Value> {
    list(graph, "link")
}

fn list<'g>(graph: &'g mut Value, name: &str) -> &'g mut Vec<Value> {
    if !graph[name].is_array() {
        graph[name] = Value::Array(Vec::new());
    }
    graph[name]
        .as_array_mut()
        .unwrap_or_else(|| panic!("{name} is a list"))
}
