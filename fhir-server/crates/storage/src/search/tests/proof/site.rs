//! A store and the same resources in the oracle's hands.

use super::super::indexed;
use super::comparison::{self, Compared, Difference, Manner};
use crate::{Change, CommitError, Effect, Error, Store, Target, VersionMatch, testing};
use fastrand::Rng;
use fhir_definitions::{DataFile, Definitions};
use fhir_model::ResourceKey;
use fhir_search::parse::Context;
use fhir_search::{Handling, Query, compartment, parse};
use search_oracle::World;
use search_oracle::drawn::{self, Asked, IDS};
use serde_json::{Value, json};
use std::sync::Arc;

/// 2024-06-01.
const NOW_MICROS: i64 = 1_717_200_000_000_000;
/// Largest page.
const COUNT_MAX: usize = 200;
/// How often a commit is tried again for which the database did not have the time.
const RETRIES_MAX: usize = 20;
/// Most resources that change at once.
const CHANGES: usize = 40;

pub struct Site {
    pub store: Store,
    pub world: World<'static>,
    pub rng: Rng,
    pub definitions: Arc<Definitions>,
    changes: usize,
    /// Whether an index in Elasticsearch answers, of which some rows are always pending.
    by_index: bool,
}

impl Site {
    pub async fn new(seed: u64) -> Site {
        Site::of(testing::store_with(&own_parameters()).await, seed, false)
    }

    /// `None` where there is no Elasticsearch.
    pub async fn with_index(seed: u64) -> Option<Site> {
        let store = indexed::store(&own_parameters(), |_| {}).await?;
        Some(Site::of(store, seed, true))
    }

    fn of(store: Store, seed: u64, by_index: bool) -> Site {
        let definitions = store.definitions();
        // The oracle keeps a reference for as long as the test runs.
        let kept: &'static Arc<Definitions> = Box::leak(Box::new(Arc::clone(&definitions)));
        Site {
            store,
            world: World::new(kept),
            rng: Rng::with_seed(seed),
            definitions,
            changes: 0,
            by_index,
        }
    }

    /// Writes some resources anew and deletes some; the first time writes them all.
    pub async fn change(&mut self) {
        let mut keys: Vec<ResourceKey> = IDS
            .iter()
            .flat_map(|(name, most)| (0..*most).map(move |number| key(name, number)))
            .collect();
        if self.changes > 0 {
            self.rng.shuffle(&mut keys);
            keys.truncate(CHANGES);
        }
        let mut changes = Vec::new();
        for key in keys {
            let delete = self.changes > 0 && self.rng.u8(..100) < 20;
            changes.push(match delete {
                true => delete_of(&key),
                false => {
                    let body = drawn::resource(&mut self.rng, &key.resource_type, &key.id);
                    update_of(&key, body)
                }
            });
        }
        // Several commits: several times of update.
        for some in changes.chunks(7) {
            self.commit(some.to_vec()).await;
        }
        self.changes += 1;
        // Plans follow from statistics: with none, with old ones, with new ones.
        if self.changes % 3 == 2 {
            sqlx::raw_sql("ANALYZE")
                .execute(&self.store.inner.write_pool)
                .await
                .unwrap();
            self.store.inner.statistics.expire();
        }
    }

    pub async fn commit(&mut self, changes: Vec<Change>) {
        let mut outcomes = self.store.commit(changes.clone()).await;
        // A machine that stands still for a while.
        for _ in 0..RETRIES_MAX {
            let Err(CommitError {
                error: Error::Unavailable(_),
                ..
            }) = outcomes
            else {
                break;
            };
            outcomes = self.store.commit(changes.clone()).await;
        }
        for outcome in outcomes.unwrap() {
            let key = outcome.key.unwrap();
            match (outcome.effect, outcome.body) {
                (Effect::Deleted | Effect::Absent, _) => self.world.remove(&key),
                (_, Some(body)) => {
                    let body: Value = serde_json::from_str(&body).unwrap();
                    self.world.put(key, outcome.last_updated_ms, body);
                }
                (effect, None) => panic!("{effect:?} without a body"),
            }
        }
        if self.by_index {
            indexed::index(&self.store, Some(&mut self.rng)).await;
        }
    }

    /// A random search, compared.
    ///
    /// # Errors
    /// A difference, with all there is to say about it.
    pub async fn compare_one(&mut self) -> Result<Compared, String> {
        let asked = drawn::search(&mut self.rng, &self.world);
        let query = match self.understood(&asked) {
            Ok(query) => query,
            Err(reason) => return Ok(Compared::Refused(reason)),
        };
        let manner = self.manner(&query);
        match comparison::compare(&self.store, &self.world, &query, &query, manner).await {
            Ok(compared) => Ok(compared),
            Err(difference) => Err(self.reduced(asked, manner, difference).await),
        }
    }

    /// How it is asked. What several searches share a transaction for is never asked of the index.
    pub fn manner(&mut self, query: &Query) -> Manner {
        let manner = Manner::drawn(&mut self.rng, query);
        match self.by_index {
            true => manner.each_by_itself(),
            false => manner,
        }
    }

    /// The search as the parser understands it.
    pub fn understood(&self, asked: &Asked) -> Result<Query, String> {
        let context = Context {
            definitions: &self.definitions,
            base: Some(search_oracle::BASE),
            handling: Handling::Strict,
            now_micros: NOW_MICROS,
            count_default: COUNT_MAX,
            count_max: COUNT_MAX,
            terminology: None,
        };
        let types: Vec<&str> = asked.types.iter().map(String::as_str).collect();
        let mut query = parse(&context, &types, &asked.parameters)
            .map_err(|issues| comparison::without_names(&issues[0].diagnostics))?;
        if let Some(id) = &asked.patient {
            let owner = ResourceKey::new("Patient", id);
            let clause = compartment::clause(&self.definitions, &[owner], &query.types);
            query.filter.push(clause);
        }
        Ok(query)
    }

    async fn still(&self, asked: &Asked, manner: Manner) -> Option<Difference> {
        let query = self.understood(asked).ok()?;
        let compared = comparison::compare(&self.store, &self.world, &query, &query, manner);
        compared.await.err()
    }

    /// Leaves out of the search and of the resources whatever the difference does not need, one by one.
    async fn reduced(
        &mut self,
        mut asked: Asked,
        manner: Manner,
        mut difference: Difference,
    ) -> String {
        let whole = asked.to_string();
        let mut place = 0;
        while place < asked.parameters.len() {
            let mut less = asked.clone();
            less.parameters.remove(place);
            match self.still(&less, manner).await {
                Some(still) => (asked, difference) = (less, still),
                None => place += 1,
            }
        }
        let keys: Vec<ResourceKey> = self.world.resources().map(|r| r.key.clone()).collect();
        let mut size = keys.len() / 2;
        while size > 0 {
            for some in keys.chunks(size) {
                let there: Vec<(ResourceKey, Value)> = some
                    .iter()
                    .filter_map(|key| Some((key.clone(), self.world.get(key)?.body.clone())))
                    .collect();
                if there.is_empty() {
                    continue;
                }
                let deletions = there.iter().map(|(key, _)| delete_of(key));
                self.commit(deletions.collect()).await;
                match self.still(&asked, manner).await {
                    Some(still) => difference = still,
                    None => {
                        let back = there.into_iter().map(|(key, body)| update_of(&key, body));
                        self.commit(back.collect()).await;
                    }
                }
            }
            size /= 2;
        }
        // All is written anew before the next search.
        self.changes = 0;
        let left: Vec<String> = self.world.resources().map(|r| r.body.to_string()).collect();
        let resources = left.join("\n");
        format!(
            "{asked}\n{difference}\nover {} resources ({manner:?}):\n{resources}\nreduced from {whole}",
            left.len()
        )
    }
}

fn key(name: &str, number: usize) -> ResourceKey {
    ResourceKey::new(name, format!("{}{number}", name[..2].to_lowercase()))
}

fn update_of(key: &ResourceKey, resource: Value) -> Change {
    Change::Update {
        target: Target::Id(key.clone()),
        resource,
        full_url: None,
        version: VersionMatch::Any,
        may_create: true,
    }
}

fn delete_of(key: &ResourceKey) -> Change {
    Change::Delete {
        target: Target::Id(key.clone()),
        version: VersionMatch::Any,
        at_most: 1,
    }
}

/// Parameters of a site: several dates in one resource, text of several elements.
fn own_parameters() -> Vec<DataFile> {
    [
        ("component-date", "Observation", "date", "Observation.component.value.ofType(dateTime) | Observation.component.value.ofType(Period)"),
        ("note", "Observation", "string", "Observation.note.text"),
        ("component-number", "Observation", "number", "Observation.component.value.ofType(Quantity).value"),
    ]
    .into_iter()
    .map(|(code, base, kind, expression)| {
        let definition = json!({
            "resourceType": "SearchParameter", "url": format!("http://example.org/SearchParameter/{code}"), "status": "active", "name": code.replace('-', "_"),
            "description": code, "code": code, "base": [base], "type": kind, "expression": expression
        });
        DataFile {
            path: format!("{code}.json"),
            bytes: definition.to_string().into_bytes(),
        }
    })
    .collect()
}
