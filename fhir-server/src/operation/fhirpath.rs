//! `POST [base]/$fhirpath`: an expression on a resource that is sent (docs/fhirpath.md).
//!
//! The engine does not wait for a database. What `resolve()` misses is read and the expression evaluated anew, until it misses nothing.
//! Refuses expressions that cannot be understood (400) or evaluated (422), and those that lead too far (`too-costly`).

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::operation::{Answer, Call, aside};
use fhir_definitions::Definitions;
use fhir_definitions::terminology::operation::service;
use fhir_model::date::instant_text;
use fhir_model::{IssueKind, Reference, ResourceKey};
use fhir_storage::Version;
use fhirpath::{Host, OperationError, Reason, evaluate_parameters};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// References that are followed, and how many after another.
const RESOLVED_MAX: usize = 100;
const ROUNDS_MAX: usize = 8;

pub async fn fhirpath(app: &App, call: Call) -> Result<Answer, Failure> {
    let parameters = call.parameters();
    let definitions = app.store.definitions();
    let now = instant_text(now_micros() / 1000);
    let mut site = Site {
        base: call.request.base.clone(),
        definitions: Arc::clone(&definitions),
        now: now.clone(),
        resources: HashMap::new(),
        missed: RefCell::default(),
    };
    for _ in 0..ROUNDS_MAX {
        let answer = aside(|| evaluate_parameters(&parameters, &*definitions, &site, &now));
        let missed = site.missed.take();
        if missed.is_empty() {
            let mut answer = answer.map_err(refused)?;
            let results = answer.get_mut("parameter").map(Value::take);
            return Ok(Answer::Parameters(match results {
                Some(Value::Array(results)) => results,
                _ => Vec::new(),
            }));
        }
        if site.resources.len() + missed.len() > RESOLVED_MAX {
            break;
        }
        for place in missed {
            let found = match place.1 {
                None => app.store.read(&place.0).await?,
                Some(version) => app.store.vread(&place.0, version).await?,
            };
            let resource = match found {
                Some(Version::Present(stored)) => serde_json::from_str(&stored.body).ok(),
                _ => None,
            };
            site.resources.insert(place, resource);
        }
    }
    Err(Failure::new(
        IssueKind::TooCostly,
        format!(
            "the expression resolves more than {RESOLVED_MAX} references, or more than {ROUNDS_MAX} one after the other"
        ),
    ))
}

/// A resource, or one of its versions.
type Place = (ResourceKey, Option<i32>);

/// What this server knows beyond the resource.
struct Site {
    base: String,
    definitions: Arc<Definitions>,
    now: String,
    resources: HashMap<Place, Option<Value>>,
    missed: RefCell<BTreeSet<Place>>,
}

impl Host for Site {
    fn terminology(&self, function: &str, arguments: &[&Value]) -> Result<Value, String> {
        let terminology = self.definitions.terminology();
        service(&terminology, function, arguments, &self.now).map_err(|error| error.to_string())
    }

    fn resolve(&self, reference: &str) -> Option<Value> {
        let Reference::Local { key, version } = Reference::parse(reference, Some(&self.base))
        else {
            return None;
        };
        // Versions are numbers here: another one leads nowhere.
        let place = (key, version.map(str::parse).transpose().ok()?);
        match self.resources.get(&place) {
            Some(found) => found.clone(),
            None => {
                self.missed.borrow_mut().insert(place);
                None
            }
        }
    }
}

fn refused(error: OperationError) -> Failure {
    let kind = match &error {
        OperationError::Missing(_) | OperationError::Compile(_) => IssueKind::Syntax,
        OperationError::Evaluation(error) => match error.reason {
            Reason::Invalid => IssueKind::BusinessRule,
            Reason::Limit => IssueKind::TooCostly,
            Reason::Unsupported => IssueKind::NotSupported,
        },
    };
    Failure::new(kind, error.to_string())
}
