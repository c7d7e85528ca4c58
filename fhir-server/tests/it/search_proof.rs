//! Searches with `_graph`, over HTTP, against the oracle (`tests/search-oracle`): what goes with the matches of each page, by GraphDefinitions and
//! includes (docs/search-proof.md). All else is compared below HTTP, where the engine is.
//!
//! `SEARCH_COMPARISONS` is for the engine; of searches with graphs there are fewer, [`OF_ALL`]. `SEARCH_SEED` says where to begin. In passing the
//! oracle is given each graph with a mistake in it, and must then say something else.

use crate::site::{self, Site};
use fastrand::Rng;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::parse::Context;
use fhir_search::query::Summary;
use fhir_search::{Handling, Query, parse};
use fhir_server::serve::Server;
use fhir_server::{app, url};
use fhir_storage::{Change, Effect, Target, VersionMatch};
use search_oracle::drawn::{self, Asked, IDS};
use search_oracle::fault::GRAPH_FAULTS;
use search_oracle::tally::{GRAPH_KINDS, Tally};
use search_oracle::{BASE, Unknown, World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One such search for so many that are compared in the engine.
const OF_ALL: u64 = 16;
/// Where nothing says how many: what `make test` has the time for.
const COMPARISONS: u64 = 120;
/// From so many on, everything must have occurred so often, and every mistake have been noticed.
const LONG: u64 = 100_000 / OF_ALL;
const OCCURRENCES: u64 = 1_000;
/// How many searches between changes of the resources, and how many of these change.
const SEARCHES: usize = 20;
const CHANGES: usize = 20;
/// Most that change in one commit.
const TOGETHER: usize = 7;
/// Within so many pages on which a mistake in the graph could be noticed.
const TRIES: u64 = 600;
/// Why most are not compared: of several types few parameters are common.
const PARSER: &str = "refused by the parser";
/// Largest page: each match of a page may take a search for each link.
const COUNT_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphs_lead_where_the_oracle_says() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let long = number("SEARCH_COMPARISONS");
    let comparisons = long.map_or(COMPARISONS, |all| all.div_ceil(OF_ALL));
    // The short run is the same each time: what nobody has found yet is for long ones, and fails no others by chance.
    let seed = number("SEARCH_SEED").unwrap_or_else(|| match long {
        Some(_) => fastrand::u64(..1_000_000_000),
        None => 72,
    });
    let server = site::server(&[("base_url", BASE)]).await;
    let definitions = server.app.store.definitions();
    let mut proof = Proof {
        site: Site::new(&format!("http://{}", server.http_addr)),
        world: World::new(&definitions),
        definitions: &definitions,
        rng: Rng::with_seed(seed),
        figures: Figures::default(),
    };
    proof
        .change(&server, IDS.iter().map(|(_, most)| most).sum())
        .await;
    while proof.figures.compared < comparisons {
        for _ in 0..SEARCHES {
            if let Err(difference) = proof.compare_one().await {
                panic!("with SEARCH_SEED={seed}: {difference}");
            }
        }
        proof.change(&server, CHANGES).await;
    }
    proof.figures.show(seed);
    proof.figures.judge();
    server.stop().await;
}

/// A site and the same resources in the oracle's hands.
struct Proof<'d> {
    site: Site,
    world: World<'d>,
    definitions: &'d Definitions,
    rng: Rng,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    compared: u64,
    /// Why others were not.
    refused: BTreeMap<&'static str, u64>,
    /// Pages to which a graph added something.
    telling: u64,
    tally: Tally,
    /// How often a mistake could have been noticed before it was.
    tries: [u64; GRAPH_FAULTS.len()],
    noticed: [bool; GRAPH_FAULTS.len()],
}

impl Proof<'_> {
    /// Writes so many resources anew, GraphDefinitions first, and deletes some of them.
    async fn change(&mut self, server: &Server, most: usize) {
        let mut keys: Vec<ResourceKey> = IDS
            .iter()
            .flat_map(|(name, most)| (0..*most).map(move |number| (name, number)))
            .map(|(name, number)| {
                ResourceKey::new(*name, format!("{}{number}", name[..2].to_lowercase()))
            })
            .collect();
        self.rng.shuffle(&mut keys);
        let is_graph = |key: &ResourceKey| key.resource_type == "GraphDefinition";
        keys.sort_by_key(|key| !is_graph(key));
        keys.truncate(most);
        let graphs = keys.iter().filter(|key| is_graph(key)).count();
        let changes = keys.into_iter().map(|key| self.changed(key));
        let changes: Vec<Change> = changes.collect();
        // Several commits: several times of update, another for each GraphDefinition.
        let (graphs, others) = changes.split_at(graphs);
        for some in graphs.chunks(1).chain(others.chunks(TOGETHER)) {
            self.commit(server, some.to_vec()).await;
        }
    }

    fn changed(&mut self, key: ResourceKey) -> Change {
        let target = Target::Id(key.clone());
        let version = VersionMatch::Any;
        match self.world.get(&key).is_some() && self.rng.u8(..100) < 20 {
            true => Change::Delete {
                target,
                version,
                at_most: 1,
            },
            false => Change::Update {
                target,
                resource: drawn::resource(&mut self.rng, &key.resource_type, &key.id),
                full_url: None,
                version,
                may_create: true,
            },
        }
    }

    async fn commit(&mut self, server: &Server, changes: Vec<Change>) {
        let outcomes = server.app.store.commit(changes).await.unwrap();
        for outcome in outcomes {
            let key = outcome.key.unwrap();
            match (outcome.effect, outcome.body) {
                (Effect::Deleted | Effect::Absent, _) => self.world.remove(&key),
                (_, body) => {
                    let body = serde_json::from_str(&body.unwrap()).unwrap();
                    self.world.put(key, outcome.last_updated_ms, body);
                }
            }
        }
    }

    /// A random search with `_graph`, compared.
    ///
    /// # Errors
    /// A difference.
    async fn compare_one(&mut self) -> Result<(), String> {
        let Some(asked) = drawn::search_with_graph(&mut self.rng, &self.world) else {
            return Ok(());
        };
        let request = request(&asked, self.rng.usize(1..=COUNT_MAX));
        let types: Vec<&str> = asked.types.iter().map(String::as_str).collect();
        let query = understood(self.definitions, &types, &asked.parameters);
        let compared = match (query, self.pages(&request).await) {
            (Ok(query), pages) => self.compare(&query, pages),
            (Err(_), Err(_)) => Ok(Some(PARSER)),
            (Err(unknown), Ok(_)) => Err(format!("it is answered, but {unknown}")),
        };
        match compared.map_err(|difference| format!("{asked}\n{request}\n{difference}"))? {
            None => self.figures.compared += 1,
            Some(why) => *self.figures.refused.entry(why).or_default() += 1,
        }
        Ok(())
    }

    /// The pages of an answer, or why there is none.
    async fn pages(&self, request: &str) -> Result<Vec<Page>, String> {
        let mut pages = Vec::new();
        let mut next = Some(request.to_owned());
        while let Some(request) = next.take() {
            let answer = self.site.send(&request, "").await;
            let bundle = answer.json();
            match answer.status {
                200 => {}
                400..500 => return Err(bundle["issue"][0]["code"].as_str().unwrap().to_owned()),
                status => panic!("{request}: {status} {bundle}"),
            }
            let mut links = bundle["link"].as_array().into_iter().flatten();
            let link = links.find(|link| link["relation"] == "next");
            let below = link.map(|link| link["url"].as_str().unwrap().strip_prefix(BASE).unwrap());
            next = below.map(|below| format!("GET {}", below.trim_start_matches('/')));
            pages.push(Page::read(&bundle));
        }
        Ok(pages)
    }

    /// `None` where it was compared, else why not.
    ///
    /// # Errors
    /// A difference.
    fn compare(
        &mut self,
        query: &Query,
        pages: Result<Vec<Page>, String>,
    ) -> Result<Option<&'static str>, String> {
        let name = query.graph.as_deref().unwrap();
        let (graph, expected) = match (self.world.graph(name), self.world.matches(query)) {
            (Ok(Some(graph)), Ok(expected)) => (graph, expected),
            (Ok(None), _) if pages.is_ok() => return Err("there is no such graph".into()),
            (Ok(None), _) => return Ok(Some("no such graph")),
            _ => return Ok(Some("unknown to the oracle")),
        };
        let pages = match pages {
            Ok(pages) => pages,
            Err(code) if code == "not-supported" => return Ok(Some("not supported")),
            Err(code) if code == "too-costly" => return Ok(Some("too costly")),
            Err(code) => return Err(code),
        };
        if query.summary == Summary::Count {
            return Ok(Some("counted only"));
        }
        let matches: Vec<&ResourceKey> = pages.iter().flat_map(|page| &page.matches).collect();
        let distinct: BTreeSet<&ResourceKey> = matches.iter().copied().collect();
        let shown = expected.len().saturating_sub(query.offset);
        let shown = shown.min(query.results_max.unwrap_or(usize::MAX));
        let known = |key: &ResourceKey| expected.iter().any(|found| found.key == *key);
        if [matches.len(), distinct.len()] != [shown; 2] || !distinct.into_iter().all(known) {
            return Err(format!("other matches: {matches:?}"));
        }
        let understand = |of: &str, search: &str| {
            let parameters = url::parameters(search).unwrap();
            understood(self.definitions, &[of], &parameters)
        };
        for page in &pages {
            // What is contained and answered itself brings nothing.
            let whole = page.matches.iter().filter(|key| !key.id.contains('#'));
            let whole: Vec<ResourceKey> = whole.cloned().collect();
            let unknown = |unknown: Unknown| unknown.to_string();
            let included = self.world.included(&query.includes, &whole);
            let included = included.map_err(unknown)?;
            let with = |graph: &Value| {
                let led_to = self.world.graphed(graph, &whole, &understand);
                let all = led_to.map_err(unknown)?.into_iter().chain(included.clone());
                Ok::<BTreeSet<ResourceKey>, String>(all.collect())
            };
            let right = with(graph)?;
            let answered: BTreeSet<ResourceKey> = page.includes.iter().cloned().collect();
            if answered != right || page.includes.len() != right.len() {
                let (matches, includes) = (&page.matches, &page.includes);
                return Err(format!(
                    "with {matches:?}\n  server {includes:?}\n  oracle {right:?}\n  {graph}"
                ));
            }
            self.figures.telling += u64::from(right.len() > included.len());
            for (place, (_, plant)) in GRAPH_FAULTS.iter().enumerate() {
                let mut wrong = graph.clone();
                if !self.figures.noticed[place] && plant(&mut wrong) {
                    self.figures.tries[place] += 1;
                    self.figures.noticed[place] = with(&wrong)? != answered;
                }
            }
        }
        self.figures.tally.add_graph(query, graph);
        Ok(None)
    }
}

impl Figures {
    fn show(&self, seed: u64) {
        eprintln!(
            "{} comparisons, {} pages with what a graph led to; SEARCH_SEED={seed}",
            self.compared, self.telling
        );
        for (why, count) in &self.refused {
            eprintln!("{count:>8} not: {why}");
        }
        for kind in GRAPH_KINDS {
            let count = self.tally.counts.get(*kind).copied().unwrap_or_default();
            eprintln!("{count:>8} {kind}");
        }
        for ((name, _), tries) in GRAPH_FAULTS.iter().zip(self.tries) {
            eprintln!("{tries:>8} pages for: {name}");
        }
    }

    fn judge(&self) {
        let is_long = self.compared >= LONG;
        let faults = GRAPH_FAULTS.iter().zip(self.noticed);
        let missed: Vec<&str> = faults
            .zip(self.tries)
            .filter(|((_, noticed), tries)| !noticed && (is_long || *tries >= TRIES))
            .map(|(((name, _), _), _)| *name)
            .collect();
        assert!(missed.is_empty(), "not noticed: {missed:?}");
        let others = self.refused.iter().filter(|(why, _)| **why != PARSER);
        let others: u64 = others.map(|(_, count)| count).sum();
        assert!(others < self.compared, "{others} not compared");
        if is_long {
            let rare = self.tally.rarer_than(OCCURRENCES, GRAPH_KINDS);
            assert!(rare.is_empty(), "too rare: {rare:?}");
        }
    }
}

/// What a page shows.
struct Page {
    matches: Vec<ResourceKey>,
    includes: Vec<ResourceKey>,
}

impl Page {
    fn read(bundle: &Value) -> Page {
        let of = |mode: &str| {
            let entries = bundle["entry"].as_array().into_iter().flatten();
            let entries = entries.filter(|entry| entry["search"]["mode"] == mode);
            entries.map(key).collect()
        };
        Page {
            matches: of("match"),
            includes: of("include"),
        }
    }
}

/// By the fullUrl: a contained resource stands under its container's.
fn key(entry: &Value) -> ResourceKey {
    let mut parts = entry["fullUrl"].as_str().unwrap().rsplit('/');
    let (id, name) = (parts.next().unwrap(), parts.next().unwrap());
    ResourceKey::new(name, id)
}

fn request(asked: &Asked, count: usize) -> String {
    let mut parameters = asked.parameters.clone();
    parameters.push(("_count".into(), count.to_string()));
    let parameters = url::query(&parameters);
    match asked.types.as_slice() {
        [one] => format!("GET {one}?{parameters}"),
        several => format!("GET ?_type={}&{parameters}", several.join(",")),
    }
}

fn understood(
    definitions: &Definitions,
    types: &[&str],
    parameters: &[(String, String)],
) -> Result<Query, Unknown> {
    let context = Context {
        definitions,
        base: Some(BASE),
        handling: Handling::Strict,
        now_micros: app::now_micros(),
        count_default: COUNT_MAX,
        count_max: COUNT_MAX,
        terminology: None,
    };
    parse(&context, types, parameters).map_err(|issues| Unknown(issues[0].diagnostics.clone()))
}
