//! A search index of the harness' own: nodes of one Elasticsearch or OpenSearch, each behind a network that can be cut or slow. They are
//! killed, stand still, and find their disks full.

use crate::network::{Network, Proxy};
use crate::node::{self, Flavor, Node};
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for what the nodes do by themselves.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub flavor: Flavor,
    pub nodes: u16,
    /// Of the first node; the others have those behind it.
    pub port: u16,
}

pub struct Cluster {
    nodes: Vec<Node>,
    /// Before what the servers speak to.
    networks: Vec<Proxy>,
    /// Before what the nodes speak to each other by.
    transports: Vec<Proxy>,
    client: reqwest::Client,
}

impl Plan {
    /// Of the node that the others reach by the address `own`.
    fn settings(&self, transports: &[String], own: &str) -> String {
        let first = match self.flavor {
            Flavor::Elasticsearch => "cluster.initial_master_nodes",
            Flavor::OpenSearch => "cluster.initial_cluster_manager_nodes",
        };
        let mut lines = vec![
            format!("cluster.name: soak-{}", self.port),
            format!("{first}: [node-{}]", self.port),
            format!("discovery.seed_hosts: {transports:?}"),
            format!("transport.publish_port: {}", port_of(own)),
            "cluster.routing.allocation.disk.threshold_enabled: true".to_owned(),
            // How often it is looked how full disks are; no shorter time is taken.
            "cluster.info.update.interval: 10s".to_owned(),
        ];
        lines.extend(WATERMARKS.map(|mark| format!("{mark}: 1mb")));
        lines.join("\n")
    }

    fn ports(&self) -> std::ops::Range<u16> {
        self.port..self.port + self.nodes
    }
}

const WATERMARKS: [&str; 3] = [
    "cluster.routing.allocation.disk.watermark.low",
    "cluster.routing.allocation.disk.watermark.high",
    "cluster.routing.allocation.disk.watermark.flood_stage",
];

impl Cluster {
    /// `root` is the folder with `scripts`.
    pub async fn start(root: &Path, plan: Plan) -> Result<Cluster, String> {
        let networks = proxies(plan.ports()).await?;
        let transports = proxies(plan.ports().map(|port| port + 100)).await?;
        let addresses: Vec<String> = transports.iter().map(address).collect();
        let nodes = plan.ports().zip(&addresses).map(|(port, own)| {
            Node::new(node::Plan {
                flavor: plan.flavor,
                settings: plan.settings(&addresses, own),
                ..node::Plan::new(root, port)
            })
        });
        let nodes = nodes.collect();
        let client = reqwest::Client::builder()
            .no_gzip()
            .timeout(Duration::from_secs(30))
            .build();
        let mut cluster = Cluster {
            nodes,
            networks,
            transports,
            client: client.map_err(|error| error.to_string())?,
        };
        cluster.start_nodes(true).await?;
        Ok(cluster)
    }

    /// The addresses of the nodes as the servers know them.
    pub fn urls(&self) -> String {
        let urls = self.networks.iter().map(|network| network.url.as_str());
        urls.collect::<Vec<_>>().join(",")
    }

    /// The address of one node as the servers know it.
    pub fn url(&self, number: usize) -> &str {
        &self.networks[number].url
    }

    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    pub fn set_network(&self, to: Network) {
        for network in &self.networks {
            network.set(to);
        }
    }

    /// The nodes do not reach each other any more, or do again; waits until the first one sees so.
    pub async fn split(&self, is_split: bool) -> Result<(), String> {
        for transport in &self.transports {
            transport.set(match is_split {
                true => Network::Cut,
                false => Network::Open,
            });
        }
        let count = if is_split { 1 } else { self.nodes.len() };
        self.until_nodes(count).await
    }

    async fn until_nodes(&self, count: usize) -> Result<(), String> {
        self.until("nodes to come or to go", async || {
            let health = self.ask(Method::GET, "/_cluster/health", None).await?;
            Ok(health["number_of_nodes"] == count)
        })
        .await
    }

    /// Starts again what does not run, and waits until all nodes are in the cluster.
    pub async fn bring_back(&mut self) -> Result<(), String> {
        match self.nodes.iter().all(Node::is_running) {
            true => Ok(()),
            false => self.start_nodes(false).await,
        }
    }

    async fn start_nodes(&mut self, is_fresh: bool) -> Result<(), String> {
        let away = self.nodes.iter_mut().filter(|node| !node.is_running());
        // One alone may be waiting for the other.
        try_join_all(away.map(|node| node.start(is_fresh))).await?;
        self.until_nodes(self.nodes.len()).await
    }

    /// The disks are fuller than is allowed, or not any more: the nodes see it by themselves, and make the indexes read-only, or writable.
    pub async fn set_full(&self, is_full: bool) -> Result<(), String> {
        let mut settings = json!({});
        for mark in WATERMARKS {
            settings[mark] = match is_full {
                true => "100000gb".into(),
                false => Value::Null,
            };
        }
        let body = json!({ "persistent": settings });
        self.ask(Method::PUT, "/_cluster/settings", Some(&body))
            .await?;
        self.until("the watermark to be seen", async || {
            let path = "/_all/_settings/index.blocks.read_only_allow_delete";
            let blocks = self.ask(Method::GET, path, None).await?;
            let is_blocked = blocks.as_object().is_some_and(|blocks| !blocks.is_empty());
            Ok(is_blocked == is_full)
        })
        .await
    }

    async fn until(
        &self,
        what: &str,
        is_so: impl AsyncFn() -> Result<bool, String>,
    ) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let so = is_so().await;
            if so == Ok(true) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("waited {PATIENCE:?} for {what}: {so:?}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks the first node that answers, past the network that the servers see.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let mut said = "no node runs".to_owned();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            let url = format!("http://127.0.0.1:{}{path}", node.port());
            let mut request = self.client.request(method.clone(), &url);
            if let Some(body) = body {
                request = request
                    .header("content-type", "application/json")
                    .body(body.to_string());
            }
            let answer = async {
                let answer = request.send().await?.error_for_status()?;
                answer.text().await
            };
            match answer.await.map(|text| serde_json::from_str(&text)) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => said = format!("{path}: {error}"),
                Err(error) => said = error.to_string(),
            }
        }
        Err(said)
    }
}

async fn proxies(ports: impl Iterator<Item = u16>) -> Result<Vec<Proxy>, String> {
    let each = ports.map(async |port| Proxy::start(&format!("http://127.0.0.1:{port}")).await);
    try_join_all(each).await.map_err(|error| error.to_string())
}

fn address(proxy: &Proxy) -> String {
    proxy.url.trim_start_matches("http://").to_owned()
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}
