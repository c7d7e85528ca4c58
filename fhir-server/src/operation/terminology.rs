//! What the terminology operations share: which definitions a call draws on, and how its answer is sent (docs/terminology.md).
//!
//! `tx-resource` gives definitions with the call, before all others; then those of the site's files and of R5, then stored ones.

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::operation::{Answer, Call, Level};
use crate::terminology::{Lookup, refused};
use fhir_definitions::terminology::operation::Asked;
use fhir_definitions::terminology::{CodeSystem, Needed, ValueSet};
use fhir_definitions::{Definitions, Terminology, TerminologyError, TerminologyResources};
use fhir_model::date::instant_text;
use fhir_model::{Issue, IssueKind};
use serde_json::Value;
use std::sync::Arc;

/// Everything that a call is answered from.
pub struct Question {
    definitions: Arc<Definitions>,
    given: TerminologyResources,
    parameters: Value,
}

impl Question {
    pub fn terminology(&self) -> Terminology<'_> {
        self.definitions.terminology().with(&self.given)
    }

    pub fn asked(&self) -> Asked<'_> {
        Asked(&self.parameters)
    }

    /// The value set that is asked about: of the instance, the one that is sent, or by its url; and what it is made of. `needed` beside it.
    ///
    /// # Errors
    /// NotFound, Syntax for more than one, what is no valid resource.
    pub async fn of_value_set(
        app: &App,
        call: &Call,
        needed: Vec<Needed>,
    ) -> Result<(Question, Arc<ValueSet>), Failure> {
        let mut lookup = lookup(app, call).await?;
        lookup.follow(needed).await?;
        let set = match source(call, "valueSet")? {
            Source::Instance => {
                let key = call.request.key();
                match lookup.resource(&key).await? {
                    Some(resource) => Arc::new(ValueSet::read(&resource)),
                    None => {
                        let definitions = app.store.definitions();
                        let known = definitions.terminology().value_set_of_id(&key.id);
                        known.ok_or_else(|| not_found(format!("there is no {key}")))?
                    }
                }
            }
            Source::Sent(resource) => Arc::new(ValueSet::read(valid(app, resource)?)),
            Source::Url(url) => {
                let canonical = canonical(url, call.text("valueSetVersion"));
                lookup.value_set(&canonical).await?;
                let definitions = app.store.definitions();
                let known = definitions.terminology().with(&lookup.found);
                known.value_set(&canonical).map_err(refused)?
            }
        };
        lookup.follow(set.needs()).await?;
        Ok((Question::new(app, call, lookup.found), set))
    }

    /// The code system that is asked about: of the instance, the one that is sent, or by its url, which `named` says where `url` does not.
    ///
    /// # Errors
    /// As [`Question::of_value_set`].
    pub async fn of_code_system(
        app: &App,
        call: &Call,
        named: Option<&str>,
    ) -> Result<(Question, Arc<CodeSystem>), Failure> {
        let mut lookup = lookup(app, call).await?;
        let url = call.text("url").or(named);
        let system = match source_or(call, "codeSystem", url)? {
            Source::Instance => {
                let key = call.request.key();
                let resource = lookup.resource(&key).await?;
                let definitions = app.store.definitions();
                match resource {
                    Some(resource) => Arc::new(CodeSystem::read(&resource)),
                    None => definitions
                        .terminology()
                        .code_system_of_id(&key.id)
                        .ok_or_else(|| not_found(format!("there is no {key}")))?,
                }
            }
            Source::Sent(resource) => Arc::new(CodeSystem::read(valid(app, resource)?)),
            Source::Url(url) => {
                let canonical = canonical(url, call.text("version"));
                lookup
                    .follow(vec![Needed::CodeSystem(canonical.clone())])
                    .await?;
                let definitions = app.store.definitions();
                let known = definitions.terminology().with(&lookup.found);
                known.code_system(&canonical).map_err(refused)?
            }
        };
        Ok((Question::new(app, call, lookup.found), system))
    }

    /// With the concept map that is asked about, if one is.
    ///
    /// # Errors
    /// As [`Question::of_value_set`].
    pub async fn of_concept_map(
        app: &App,
        call: &Call,
    ) -> Result<(Question, Option<Arc<Value>>), Failure> {
        let mut lookup = lookup(app, call).await?;
        let url = call.text("url");
        if call.level() == Level::Type && url.is_none() && call.value("conceptMap").is_none() {
            return Ok((Question::new(app, call, lookup.found), None));
        }
        let map = match source(call, "conceptMap")? {
            Source::Instance => {
                let key = call.request.key();
                let resource = lookup.resource(&key).await?;
                let found = match resource {
                    Some(resource) => Some(Arc::new(resource)),
                    None => {
                        let definitions = app.store.definitions();
                        definitions.terminology().concept_map_of_id(&key.id)
                    }
                };
                found.ok_or_else(|| not_found(format!("there is no {key}")))?
            }
            Source::Sent(resource) => Arc::new(valid(app, resource)?.clone()),
            Source::Url(url) => {
                let canonical = canonical(url, call.text("conceptMapVersion"));
                lookup
                    .follow(vec![Needed::ConceptMap(canonical.clone())])
                    .await?;
                let definitions = app.store.definitions();
                let known = definitions.terminology().with(&lookup.found);
                known.concept_map(&canonical).map_err(refused)?
            }
        };
        // Where a group goes on to another map.
        let groups = map["group"].as_array().into_iter().flatten();
        let others = groups.filter_map(|group| group["unmapped"]["otherMap"].as_str());
        let others = others
            .map(|url| Needed::ConceptMap(url.to_string()))
            .collect();
        lookup.follow(others).await?;
        Ok((Question::new(app, call, lookup.found), Some(map)))
    }

    fn new(app: &App, call: &Call, given: TerminologyResources) -> Question {
        Question {
            definitions: app.store.definitions(),
            given,
            parameters: call.parameters(),
        }
    }
}

/// The time of an answer.
pub fn now() -> String {
    instant_text(now_micros() / 1000)
}

/// Parameters, as they are sent.
///
/// # Errors
/// What has no answer.
pub fn answer(found: Result<Value, TerminologyError>) -> Result<Answer, Failure> {
    let mut found = found.map_err(refused)?;
    Ok(Answer::Parameters(match found["parameter"].take() {
        Value::Array(all) => all,
        _ => Vec::new(),
    }))
}

/// What the codes of a question say of their code systems.
pub fn systems(call: &Call) -> Vec<Needed> {
    let coding = |value: &Value| Some(value["system"].as_str()?.to_string());
    let concepts = call.values("codeableConcept").into_iter();
    let codings = concepts
        .filter_map(|concept| concept["coding"].as_array())
        .flatten();
    let codings = codings.chain(call.values("coding"));
    let named = call.text("system").map(str::to_string);
    let mut all: Vec<String> = codings.filter_map(coding).chain(named).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(Needed::CodeSystem).collect()
}

async fn lookup<'a>(app: &'a App, call: &'a Call) -> Result<Lookup<'a>, Failure> {
    let mut lookup = Lookup::new(app, &call.request.base);
    for resource in call.values("tx-resource") {
        lookup.found.add(valid(app, resource)?);
    }
    let mut versions = Vec::new();
    for (name, is_forced) in [("system-version", false), ("force-system-version", true)] {
        for canonical in call.values(name).into_iter().filter_map(Value::as_str) {
            let Some((url, version)) = canonical.split_once('|') else {
                return Err(Failure::new(
                    IssueKind::Syntax,
                    format!("{name} must be url|version"),
                ));
            };
            lookup.found.use_version(url, version, is_forced);
            versions.push(Needed::CodeSystem(canonical.to_string()));
        }
    }
    lookup.follow(versions).await?;
    Ok(lookup)
}

/// Where a definition is taken from.
enum Source<'a> {
    Instance,
    Sent(&'a Value),
    Url(&'a str),
}

fn source<'a>(call: &'a Call, sent: &str) -> Result<Source<'a>, Failure> {
    source_or(call, sent, call.text("url"))
}

fn source_or<'a>(call: &'a Call, sent: &str, url: Option<&'a str>) -> Result<Source<'a>, Failure> {
    match (call.level(), call.value(sent), url) {
        (Level::Instance, None, None) => Ok(Source::Instance),
        // What a code says of its system may stand beside the instance.
        (Level::Instance, None, Some(_)) if call.text("url").is_none() => Ok(Source::Instance),
        (Level::Type, Some(resource), _) if call.text("url").is_none() => {
            Ok(Source::Sent(resource))
        }
        (Level::Type, None, Some(url)) => Ok(Source::Url(url)),
        (Level::Type, None, None) => Err(Failure::new(
            IssueKind::Syntax,
            format!("url or {sent} must say what is asked about, or the URL an instance"),
        )),
        _ => Err(Failure::new(
            IssueKind::Syntax,
            format!("only one of the instance, url and {sent} may say what is asked about"),
        )),
    }
}

fn canonical(url: &str, version: Option<&str>) -> String {
    match version {
        Some(version) if !url.contains('|') => format!("{url}|{version}"),
        _ => url.to_string(),
    }
}

/// A resource that was sent, checked.
fn valid<'a>(app: &App, resource: &'a Value) -> Result<&'a Value, Failure> {
    let issues = app.store.definitions().validate(resource);
    match issues.iter().any(Issue::is_error) {
        true => Err(Failure::from(issues)),
        false => Ok(resource),
    }
}

fn not_found(reason: String) -> Failure {
    Failure::new(IssueKind::NotFound, reason)
}
