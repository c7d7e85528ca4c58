//! The search index of a site: what it is, whether it is used, and what it has, as the servers' own command compares it.

use crate::cluster::{Cluster, Plan};
use crate::process::{Program, free_port};
use crate::site::{Programs, READY, Site};
use std::time::{Duration, Instant};

/// Longest wait until a server notices that something is wrong.
const NOTICED: Duration = Duration::from_secs(60);
/// A batch that was sent to a node that cannot write it is soon sent to another one.
const BULK_TIMEOUT_MS: &str = "5000";
/// Resources of which a rebuild takes a while: more than one batch of it.
const FILLING: usize = 6_000;
const AT_ONCE: usize = 500;

/// What the servers of a site search in.
#[derive(Clone, Debug, Default)]
pub enum Search {
    #[default]
    Postgres,
    /// The URL of an Elasticsearch that others use, too, and that is not hurt.
    At(String),
    /// An index of its own.
    Own(Plan),
}

pub struct Index {
    /// What the indexes of the site are called.
    prefix: String,
    urls: String,
    cluster: Option<Cluster>,
    /// The index that was compared last.
    compared: Option<String>,
    /// Searches that it answered, and that it did not, in all rounds before; and what each server had counted then.
    searches: (u64, u64),
    counted: Vec<(u64, u64)>,
}

/// A figure of the servers that grows when they notice something.
pub struct Growing {
    name: &'static str,
    part: &'static str,
    before: f64,
}

impl Growing {
    pub async fn wait(self, site: &Site) -> Result<(), String> {
        let began = Instant::now();
        while site.figure(self.name, self.part).await <= self.before {
            if began.elapsed() > NOTICED {
                return Err(format!("{} does not grow", self.name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Index {
    pub async fn start(programs: &Programs, search: &Search) -> Result<Option<Index>, String> {
        let (urls, cluster) = match search {
            Search::Postgres => return Ok(None),
            Search::At(url) => (url.clone(), None),
            Search::Own(plan) => {
                let cluster = Cluster::start(&programs.root, *plan).await?;
                (cluster.urls(), Some(cluster))
            }
        };
        Ok(Some(Index {
            prefix: format!("soak_{}", free_port()?),
            urls,
            cluster,
            compared: None,
            searches: (0, 0),
            counted: Vec::new(),
        }))
    }

    pub fn of_servers(&self) -> [(&'static str, String); 4] {
        [
            // What is looked for is cheap in Postgres.
            ("ELASTICSEARCH_ASKED", "always".into()),
            ("ELASTICSEARCH_BULK_TIMEOUT_MS", BULK_TIMEOUT_MS.into()),
            ("ELASTICSEARCH_URL", self.urls.clone()),
            ("ELASTICSEARCH_INDEX", self.prefix.clone()),
        ]
    }

    pub async fn bring_back(&mut self) -> Result<(), String> {
        match &mut self.cluster {
            Some(cluster) => cluster.bring_back().await,
            None => Ok(()),
        }
    }
}

impl Site {
    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    pub fn cluster(&mut self) -> Result<&mut Cluster, String> {
        let cluster = self.index.as_mut().and_then(|index| index.cluster.as_mut());
        cluster.ok_or_else(|| "this site has no search index of its own".into())
    }

    /// Searches that the index answered, and that it did not.
    pub fn searches(&self) -> (u64, u64) {
        self.index.as_ref().map_or((0, 0), |index| index.searches)
    }

    /// Grows when a search is not answered by the index.
    pub async fn fallbacks(&self) -> Growing {
        self.growing("fhir_search_index_fallbacks_total", "").await
    }

    /// Grows when a batch is not written into the index.
    pub async fn failed_batches(&self) -> Growing {
        self.growing("fhir_search_index_batches_total", "outcome=\"failed\"")
            .await
    }

    async fn growing(&self, name: &'static str, part: &'static str) -> Growing {
        let before = self.figure(name, part).await;
        Growing { name, part, before }
    }

    /// A metric, the lines with `part`, of all servers that answer.
    async fn figure(&self, name: &str, part: &str) -> f64 {
        let mut sum = 0.0;
        for base in &self.bases {
            sum += figure(&text(base, "/metrics").await, name, part);
        }
        sum
    }

    /// Lets the servers make another index, which the caller has to interrupt: there is enough for it to take a while.
    pub fn rebuild(&self) -> Result<Program, String> {
        let mut rebuild = self.servers[0].beside("rebuild", &["index", "rebuild"]);
        rebuild.start(&self.programs.root)?;
        Ok(rebuild)
    }

    /// Waits until an index is being filled, with more to come.
    pub async fn until_filling(&self) -> Result<(), String> {
        let began = Instant::now();
        let mut said = String::new();
        while began.elapsed() < NOTICED {
            said = text(&self.bases[0], "/metrics").await;
            let part = |state: &str| figure(&said, "fhir_search_index_fill", state);
            let (done, total) = (part("\"done\""), part("\"total\""));
            if 0.0 < done && done < total {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("no index is being filled: {said}"))
    }

    /// Resources that nobody looks for, so that there is something to fill an index with.
    pub async fn stock(&self) -> Result<(), String> {
        let entry = r#"{"resource":{"resourceType":"Basic","code":{"text":"stock"}},"request":{"method":"POST","url":"Basic"}}"#;
        let entries = vec![entry; AT_ONCE].join(",");
        let bundle =
            format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
        for _ in 0..FILLING / AT_ONCE {
            let request = reqwest::Client::new()
                .post(&self.bases[0])
                .header("content-type", "application/fhir+json")
                .body(bundle.clone());
            let answer = request.send().await.map_err(|error| error.to_string())?;
            if !answer.status().is_success() {
                return Err(format!("the stock: {}", answer.status()));
            }
        }
        Ok(())
    }

    /// What is wrong with the search index once nothing is written any more, as the server's own command says; `None`: nothing, or there is
    /// none. The servers search in it again by themselves. `is_other`: it must be another one than before.
    pub async fn compare_index(&mut self, is_other: bool) -> Result<Option<String>, String> {
        let Some(index) = &self.index else {
            return Ok(None);
        };
        let before = index.compared.clone();
        let began = Instant::now();
        for base in &self.bases {
            loop {
                let said = text(base, "/health/ready").await;
                if said.trim_end() == "ready" {
                    break;
                }
                if began.elapsed() > READY {
                    return Ok(Some(format!("after {READY:?} a server says: {said}")));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let said = loop {
            let arguments = ["index", "verify"];
            let (is_right, said) = tokio::task::block_in_place(|| {
                self.servers[0].once(&arguments, &self.programs.root)
            })?;
            if is_right && said.contains("; 0 differ and wait") && said.contains(" 0 are not taken")
            {
                break said;
            }
            if !is_right || began.elapsed() > READY {
                return Ok(Some(said));
            }
        };
        let name = said.split(": ").next().unwrap_or_default().to_owned();
        for base in &self.bases {
            if let Some(said) = is_searched(base).await {
                return Ok(Some(said));
            }
        }
        let counted = self.counted().await;
        if let Some(index) = &mut self.index {
            index.count(counted);
            index.compared = Some(name.clone());
        }
        Ok(match before {
            Some(before) if (before != name) != is_other => {
                Some(format!("the index was {before}, and is {name}"))
            }
            _ => None,
        })
    }

    async fn counted(&self) -> Vec<(u64, u64)> {
        let mut counted = Vec::new();
        for base in &self.bases {
            let said = text(base, "/metrics").await;
            counted.push((
                figure(&said, ANSWERED, "") as u64,
                figure(&said, "fhir_search_index_fallbacks_total", "") as u64,
            ));
        }
        counted
    }
}

impl Index {
    /// A server that has been started again begins at 0.
    fn count(&mut self, counted: Vec<(u64, u64)>) {
        let since = |before: u64, now: u64| if now < before { now } else { now - before };
        for (at, now) in counted.iter().enumerate() {
            let before = self.counted.get(at).copied().unwrap_or_default();
            self.searches.0 += since(before.0, now.0);
            self.searches.1 += since(before.1, now.1);
        }
        self.counted = counted;
    }
}

const ANSWERED: &str = "fhir_search_index_answered_total";

/// Whether searches of this server come to be answered by the index; if not, what it says.
async fn is_searched(base: &str) -> Option<String> {
    let began = Instant::now();
    let before = figure(&text(base, "/metrics").await, ANSWERED, "");
    loop {
        text(base, "/fhir/Patient?_summary=count").await;
        let said = text(base, "/metrics").await;
        if figure(&said, ANSWERED, "") > before {
            return None;
        }
        if began.elapsed() > READY {
            let of_index = said.lines().filter(|line| line.contains("search_index"));
            let of_index: Vec<&str> = of_index.collect();
            return Some(format!("Postgres answers: {}", of_index.join("; ")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a server answers; empty where it does not.
async fn text(base: &str, path: &str) -> String {
    let url = base.replace("/fhir", path);
    match reqwest::get(url).await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// The sum of a metric's lines with `part`.
fn figure(metrics: &str, name: &str, part: &str) -> f64 {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']) && rest.contains(part))
    });
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
