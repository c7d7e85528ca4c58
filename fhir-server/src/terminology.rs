//! Code systems, value sets and concept maps that clients stored: looked up before a question of terminology is answered, beside those of R5 and
//! of the site's files, which count first.
//!
//! What a stored value set is made of is looked up too. Refuses more than [`LOOKUPS_MAX`] of them.

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::operation::aside;
use fhir_definitions::terminology::{Needed, ValueSet};
use fhir_definitions::{Definitions, TerminologyError, TerminologyResources};
use fhir_model::{IssueKind, Reference, ResourceKey, json};
use fhir_search::{Handling, Query, parse};
use fhir_storage::{Page, SearchPage, Snapshot, Version};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most definitions that are looked up for one question.
pub const LOOKUPS_MAX: usize = 50;
/// Most stored versions of one canonical url that are looked at, the last changed first.
const VERSIONS_MAX: usize = 20;

/// What is stored of the value sets and code systems that a search over `types` names, and of what they are made of; `None` where it names none.
///
/// # Errors
/// TooCostly; what the store refuses.
pub async fn of_search(
    mut lookup: Lookup<'_>,
    types: &[&str],
    parameters: &[(String, String)],
) -> Result<Option<TerminologyResources>, Failure> {
    let named = fhir_search::named(&lookup.definitions, types, parameters);
    if named.is_empty() {
        return Ok(None);
    }
    for name in named.value_sets {
        lookup.value_set(&name).await?;
    }
    let systems = named.code_systems.into_iter();
    lookup
        .follow(systems.map(Needed::CodeSystem).collect())
        .await?;
    Ok(Some(lookup.found))
}

/// A search understood, by what [`of_search`] found for it: value sets are expanded, which takes a while.
///
/// # Errors
/// What the parser refuses.
pub fn parsed(
    context: &parse::Context<'_>,
    types: &[&str],
    parameters: &[(String, String)],
) -> Result<Query, Failure> {
    Ok(match context.terminology {
        None => parse(context, types, parameters)?,
        Some(_) => aside(|| parse(context, types, parameters))?,
    })
}

/// A lookup that goes on until nothing is missing that is there.
pub struct Lookup<'a> {
    source: Source<'a>,
    definitions: Arc<Definitions>,
    base: &'a str,
    asked: BTreeSet<Needed>,
    pub found: TerminologyResources,
}

/// Where stored resources are read.
enum Source<'a> {
    Store(&'a App),
    /// Within a state that is held: it takes no connection of its own.
    State(&'a mut Snapshot),
}

impl Source<'_> {
    async fn read(&mut self, key: &ResourceKey) -> Result<Option<Version>, Failure> {
        Ok(match self {
            Source::Store(app) => app.store.read(key).await?,
            Source::State(snapshot) => snapshot.read(key).await?,
        })
    }

    async fn search(&mut self, query: &Query) -> Result<SearchPage, Failure> {
        Ok(match self {
            Source::Store(app) => app.store.search(query, Page::First).await?,
            Source::State(snapshot) => snapshot.search(query, Page::First).await?,
        })
    }
}

impl<'a> Lookup<'a> {
    pub fn new(app: &'a App, base: &'a str) -> Lookup<'a> {
        Lookup::by(Source::Store(app), app.store.definitions(), base)
    }

    /// In a state that is held.
    pub fn within(
        snapshot: &'a mut Snapshot,
        definitions: Arc<Definitions>,
        base: &'a str,
    ) -> Lookup<'a> {
        Lookup::by(Source::State(snapshot), definitions, base)
    }

    fn by(source: Source<'a>, definitions: Arc<Definitions>, base: &'a str) -> Lookup<'a> {
        Lookup {
            source,
            definitions,
            base,
            asked: BTreeSet::new(),
            found: TerminologyResources::default(),
        }
    }

    /// Whether it was looked up, found or not.
    pub fn is_asked(&self, needed: &Needed) -> bool {
        self.asked.contains(needed)
    }

    /// A value set by reference or canonical url, and what it is made of.
    ///
    /// # Errors
    /// As [`of_search`].
    pub async fn value_set(&mut self, name: &str) -> Result<(), Failure> {
        if let Reference::Local { key, version: None } = Reference::parse(name, Some(self.base))
            && key.resource_type == "ValueSet"
        {
            if let Some(resource) = self.resource(&key).await? {
                self.found.add_value_set_of_id(&key.id, &resource);
                return self.follow(ValueSet::read(&resource).needs()).await;
            }
            if let Some(known) = self.definitions.terminology().value_set_of_id(&key.id) {
                return self.follow(known.needs()).await;
            }
        }
        self.follow(vec![Needed::ValueSet(name.to_string())]).await
    }

    /// A stored resource.
    ///
    /// # Errors
    /// As [`of_search`].
    pub async fn resource(&mut self, key: &ResourceKey) -> Result<Option<Value>, Failure> {
        Ok(match self.source.read(key).await? {
            Some(Version::Present(stored)) => Some(json::parse(stored.body.as_bytes())?),
            _ => None,
        })
    }

    /// What is needed, and what that needs.
    ///
    /// # Errors
    /// As [`of_search`].
    pub async fn follow(&mut self, mut needed: Vec<Needed>) -> Result<(), Failure> {
        let definitions = Arc::clone(&self.definitions);
        while let Some(one) = needed.pop() {
            if !self.asked.insert(one.clone()) {
                continue;
            }
            if self.asked.len() > LOOKUPS_MAX {
                return Err(Failure::new(
                    IssueKind::TooCostly,
                    format!(
                        "a value set is made of more than {LOOKUPS_MAX} others and code systems"
                    ),
                ));
            }
            let known = definitions.terminology();
            let known = known.with(&self.found);
            if let Some(needs) = known.needs_of(&one) {
                needed.extend(needs);
                continue;
            }
            for resource in self.versions(&one).await? {
                aside(|| self.found.add(&resource));
                if matches!(one, Needed::ValueSet(_)) {
                    needed.extend(ValueSet::read(&resource).needs());
                }
            }
        }
        Ok(())
    }

    async fn versions(&mut self, needed: &Needed) -> Result<Vec<Value>, Failure> {
        let (url, version) = match needed.canonical().split_once('|') {
            Some((url, version)) => (url, version),
            None => (needed.canonical(), ""),
        };
        let parameters = [
            ("url".to_string(), escaped(url)),
            ("version".to_string(), escaped(version)),
        ];
        let context = parse::Context {
            definitions: &self.definitions,
            terminology: None,
            base: Some(self.base),
            handling: Handling::Strict,
            now_micros: now_micros(),
            count_default: VERSIONS_MAX,
            count_max: VERSIONS_MAX,
        };
        let query = parsed(&context, &[needed.resource_type()], &parameters)?;
        let page = self.source.search(&query).await?;
        let bodies = page.matches.iter().rev();
        bodies
            .map(|stored| Ok(aside(|| json::parse(stored.body.as_bytes()))?))
            .collect()
    }
}

/// A value of a search parameter that holds for itself.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, ',' | '|' | '$' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// What a question of terminology that has no answer is to a client.
pub fn refused(error: TerminologyError) -> Failure {
    use TerminologyError::{
        Cycle, Invalid, NotPresent, Question, TooCostly, TooDeep, UnknownCode, UnknownCodeSystem,
        UnknownConceptMap, UnknownValueSet,
    };
    let kind = match &error {
        UnknownValueSet(_) | UnknownCodeSystem(_) | UnknownConceptMap(_) | UnknownCode(..) => {
            IssueKind::NotFound
        }
        Question(_) => IssueKind::Syntax,
        NotPresent(_) => IssueKind::NotSupported,
        TooCostly | TooDeep(_) => IssueKind::TooCostly,
        Cycle(_) | Invalid(_) => IssueKind::BusinessRule,
    };
    Failure::new(kind, error.to_string())
}
