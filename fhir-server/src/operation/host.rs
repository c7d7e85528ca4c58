//! What an expression can ask of this server: the resources that are stored, and terminology, that of clients too.
//!
//! The engine does not wait for a database. What it misses is read and the evaluation made anew, until it misses nothing: up to
//! [`RESOLVED_MAX`] references, [`ROUNDS_MAX`] of them one after the other.

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::operation::aside;
use crate::terminology::Lookup;
use fhir_definitions::terminology::Needed;
use fhir_definitions::terminology::operation::service;
use fhir_definitions::{Definitions, TerminologyError};
use fhir_model::date::instant_text;
use fhir_model::{Reference, ResourceKey};
use fhir_storage::Version;
use fhirpath::Host;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// References that are followed, and how many after another.
pub const RESOLVED_MAX: usize = 100;
pub const ROUNDS_MAX: usize = 8;

/// What this server knows beyond a resource.
pub struct Site<'a> {
    app: &'a App,
    base: &'a str,
    pub definitions: Arc<Definitions>,
    /// An instant.
    pub now: String,
    resources: HashMap<Place, Option<Value>>,
    terminology: Lookup<'a>,
    missed: RefCell<Missed>,
}

/// A resource, or one of its versions.
type Place = (ResourceKey, Option<i32>);

#[derive(Default)]
struct Missed {
    places: BTreeSet<Place>,
    terminology: BTreeSet<Needed>,
}

/// An evaluation, and whether it had all that it asked for.
pub struct Evaluated<T> {
    pub answer: T,
    pub is_whole: bool,
}

impl<'a> Site<'a> {
    pub fn new(app: &'a App, base: &'a str) -> Site<'a> {
        Site {
            app,
            base,
            definitions: app.store.definitions(),
            now: instant_text(now_micros() / 1000),
            resources: HashMap::new(),
            terminology: Lookup::new(app, base),
            missed: RefCell::default(),
        }
    }

    /// Evaluates until nothing is missed, or too much was.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn evaluate<T: Send>(
        &mut self,
        evaluate: impl Fn(&Site<'_>) -> T + Send,
    ) -> Result<Evaluated<T>, Failure> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let answer = aside(|| evaluate(self));
            let missed = self.missed.take();
            let known = self.resources.len() + missed.places.len();
            let is_whole = missed.places.is_empty() && missed.terminology.is_empty();
            if is_whole || rounds == ROUNDS_MAX || known > RESOLVED_MAX {
                return Ok(Evaluated { answer, is_whole });
            }
            for place in missed.places {
                let found = read(self.app, &place).await?;
                self.resources.insert(place, found);
            }
            let needed = missed.terminology.into_iter().collect();
            self.terminology.follow(needed).await?;
        }
    }
}

async fn read(app: &App, (key, version): &Place) -> Result<Option<Value>, Failure> {
    let found = match version {
        None => app.store.read(key).await?,
        Some(version) => app.store.vread(key, *version).await?,
    };
    Ok(match found {
        Some(Version::Present(stored)) => serde_json::from_str(&stored.body).ok(),
        _ => None,
    })
}

impl Host for Site<'_> {
    fn terminology(&self, function: &str, arguments: &[&Value]) -> Result<Value, String> {
        let known = self.definitions.terminology();
        let known = known.with(&self.terminology.found);
        service(&known, function, arguments, &self.now).map_err(|error| {
            let needed = match &error {
                TerminologyError::UnknownValueSet(url) => Some(Needed::ValueSet(url.clone())),
                TerminologyError::UnknownCodeSystem(url) => Some(Needed::CodeSystem(url.clone())),
                _ => None,
            };
            if let Some(needed) = needed.filter(|needed| !self.terminology.is_asked(needed)) {
                self.missed.borrow_mut().terminology.insert(needed);
            }
            error.to_string()
        })
    }

    fn resolve(&self, reference: &str) -> Option<Value> {
        let Reference::Local { key, version } = Reference::parse(reference, Some(self.base)) else {
            return None;
        };
        // Versions are numbers here: another one leads nowhere.
        let place = (key, version.map(str::parse).transpose().ok()?);
        match self.resources.get(&place) {
            Some(found) => found.clone(),
            None => {
                self.missed.borrow_mut().places.insert(place);
                None
            }
        }
    }
}
