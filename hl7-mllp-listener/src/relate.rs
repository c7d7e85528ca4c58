//! What a message does to two things at once: merges (A18, A30, A34-A36, A39-A42), moves (A43-A45), changes of identifiers (A46-A51) and
//! links (A24, A37). The result is that of Patient/$merge (<https://hl7.org/fhir/R5/patient-operation-merge.html>): the one that is
//! merged away says `replaced-by`, is inactive and keeps its identifiers; the other says `replaces` and has them as old ones; and what
//! referred to the one refers to the other. Visits and accounts have no links: the one that is merged away is entered in error.
//!
//! That takes two steps when what goes away exists. The first transaction marks it. A message that is decided at the same time read it
//! before, and is decided anew: from then on nothing new refers to it. The next transactions move what does, and the last of them has the
//! journal entry. Each step leaves a true state, and the message may be sent again after any of them.
//!
//! Refuses loops, and a merge of what was merged into another before. References to a version stay: they tell what was.

mod referring;

pub use referring::{Referring, referring};

use crate::ack::{AnswerError, ErrorCode};
use crate::assemble::Assembled;
use crate::mapping::program::Verb;
use crate::mapping::{Draft, Mappings, Relation};
use crate::state::State;
use fhir_model::ResourceKey;
use serde_json::{Map as Object, Value as Json, json};

/// A relation between resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub verb: Verb,
    pub what: Option<ResourceKey>,
    pub from: ResourceKey,
    pub to: ResourceKey,
    /// Identifiers that become old ones of `to`, or go to it.
    identifiers: Vec<(String, String)>,
    /// Identifiers that are in use from now on.
    current: Vec<(String, String)>,
    /// The first step is done, or there is nothing to mark.
    pub is_marked: bool,
}

/// What the relations of a message come to.
///
/// # Errors
/// What contradicts the state of the server.
pub fn effects(
    mappings: &Mappings,
    drafts: &[Draft],
    relations: &[Relation],
    state: &State,
) -> Result<Vec<Effect>, AnswerError> {
    let key = |draft: usize| {
        let kind = &mappings.program.maps[drafts[draft].map].resource_type;
        let id = state.id(draft).ok_or_else(|| {
            let reason = format!("nothing identifies a {kind} that the event is about");
            AnswerError::error(ErrorCode::RequiredField, None, reason)
        });
        id.map(|id| ResourceKey::new(kind.as_str(), id))
    };
    let mut effects = Vec::new();
    for relation in relations {
        if state.taken.contains(&relation.to) {
            let reason = "the new identifier belongs to another: that is a merge";
            return Err(AnswerError::error(ErrorCode::DuplicateKey, None, reason));
        }
        let mut effect = Effect {
            verb: relation.verb,
            what: relation.what.map(key).transpose()?,
            from: key(relation.from)?,
            to: key(relation.to)?,
            identifiers: drafts[relation.from].identifiers.clone(),
            current: Vec::new(),
            is_marked: true,
        };
        let to = &drafts[relation.to].identifiers;
        match effect.verb {
            Verb::Merge => {
                let origin = state.origins[relation.to].as_deref();
                check_merge(&effect, origin, state)?;
                if effect.from == effect.to {
                    continue;
                }
                effect.is_marked = is_merged_away(&effect.from, state);
            }
            Verb::Change => {
                effect.identifiers.retain(|own| !to.contains(own));
                effect.current.clone_from(to);
            }
            Verb::Move => {
                effect.identifiers.retain(|own| to.contains(own));
                effect.is_marked = match &effect.what {
                    Some(what) => !refers(what, &effect.from, state),
                    None => !has_one_of(&effect, state),
                };
            }
            Verb::Link | Verb::Unlink => {}
        }
        if effect.verb == Verb::Change || effect.from != effect.to {
            effects.push(effect);
        }
    }
    Ok(effects)
}

/// `origin` is what the identifiers of the survivor were found on.
fn check_merge(effect: &Effect, origin: Option<&str>, state: &State) -> Result<(), AnswerError> {
    let (from, to) = (&effect.from, &effect.to);
    let refused = |reason: &str| Err(AnswerError::error(ErrorCode::DuplicateKey, None, reason));
    if from == to && origin.is_some_and(|origin| origin != from.id) {
        return refused("what is merged away is what the other was merged into: a loop");
    }
    let mut last = from.id.clone();
    let mut passed = vec![last.clone()];
    while let Some(next) = state.replaced_by(&from.resource_type, &last) {
        if passed.contains(&next) {
            break;
        }
        passed.push(next.clone());
        last = next;
    }
    if passed.len() > 1 && last != to.id {
        return refused("what is merged away was merged into another before");
    }
    Ok(())
}

/// Also of what does not exist: nothing can refer to it.
fn is_merged_away(key: &ResourceKey, state: &State) -> bool {
    let Some(current) = state.current(&key.resource_type, &key.id) else {
        return true;
    };
    match key.resource_type.as_str() {
        "Patient" => state.replaced_by("Patient", &key.id).is_some(),
        _ => current
            .body
            .get("status")
            .is_some_and(|s| s == "entered-in-error"),
    }
}

fn refers(what: &ResourceKey, to: &ResourceKey, state: &State) -> bool {
    let current = state.current(&what.resource_type, &what.id);
    current.is_some_and(|current| {
        let mut body = Json::Object(current.body.clone());
        redirect(&mut body, &to.to_string(), "")
    })
}

fn has_one_of(effect: &Effect, state: &State) -> bool {
    let current = state.current(&effect.from.resource_type, &effect.from.id);
    let own = current.and_then(|current| current.body.get("identifier")?.as_array());
    own.into_iter().flatten().any(|own| {
        let is_moved = |(system, value): &(String, String)| {
            own["system"] == **system && own["value"] == **value
        };
        own["use"] != "old" && effect.identifiers.iter().any(is_moved)
    })
}

/// Adds the effects to what the message writes. False when this is a step before the last.
pub fn apply(
    effects: &[Effect],
    referring: Referring,
    state: &State,
    assembled: &mut Assembled,
    source: &str,
) -> bool {
    for effect in effects {
        mark(effect, assembled, source);
    }
    if effects.iter().any(|effect| !effect.is_marked) {
        return false;
    }
    for (index, resource) in referring.resources {
        let effect = &effects[index];
        let (from, to) = (effect.from.to_string(), effect.to.to_string());
        assembled.change(resource, |body| redirect(body, &from, &to));
    }
    // Provenance names both, whichever step wrote them.
    for key in effects.iter().flat_map(|effect| [&effect.from, &effect.to]) {
        if state.current(&key.resource_type, &key.id).is_some() && !assembled.written.contains(key)
        {
            assembled.written.push(key.clone());
        }
    }
    referring.is_all
}

fn mark(effect: &Effect, assembled: &mut Assembled, source: &str) {
    let link = |other: &ResourceKey, kind: &str| json!({"other": {"reference": other.to_string()}, "type": kind});
    let (from, to) = (&effect.from, &effect.to);
    let is_person = from.resource_type == "Patient";
    match effect.verb {
        Verb::Merge => {
            let mut identifiers = Vec::new();
            assembled.edit(from, source, |body| {
                identifiers = body
                    .get("identifier")
                    .and_then(Json::as_array)
                    .cloned()
                    .unwrap_or_default();
                if is_person {
                    body.insert("active".into(), false.into());
                    put_link(body, link(to, "replaced-by"));
                } else {
                    body.insert("status".into(), "entered-in-error".into());
                }
            });
            assembled.edit(to, source, |body| {
                if is_person {
                    put_link(body, link(from, "replaces"));
                }
                identifiers.into_iter().for_each(|own| add_old(body, own));
            });
        }
        Verb::Change => {
            let old = old_identifiers(&effect.identifiers);
            assembled.edit(to, source, |body| {
                old.into_iter().for_each(|own| retire(body, own));
                for own in old_identifiers(&effect.current) {
                    take_up(body, &own);
                }
            });
        }
        Verb::Move => match &effect.what {
            Some(what) => assembled.edit(what, source, |body| {
                let mut whole = Json::Object(std::mem::take(body));
                redirect(&mut whole, &from.to_string(), &to.to_string());
                if let Json::Object(whole) = whole {
                    *body = whole;
                }
            }),
            None => {
                let old = old_identifiers(&effect.identifiers);
                assembled.edit(from, source, |body| {
                    for own in old {
                        if has(body, &own) {
                            retire(body, own);
                        }
                    }
                });
            }
        },
        Verb::Link => {
            for (own, other) in [(from, to), (to, from)] {
                assembled.edit(own, source, |body| put_link(body, link(other, "seealso")));
            }
        }
        Verb::Unlink => {
            for (own, other) in [(from, to), (to, from)] {
                let link = link(other, "seealso");
                assembled.edit(own, source, |body| take_link(body, &link));
            }
        }
    }
}

fn put_link(body: &mut Object<String, Json>, link: Json) {
    let links = body.entry("link").or_insert_with(|| json!([]));
    if let Some(links) = links.as_array_mut() {
        let is_known = |own: &Json| {
            own["other"]["reference"] == link["other"]["reference"] && own["type"] == link["type"]
        };
        if !links.iter().any(is_known) {
            links.push(link);
        }
    }
}

fn take_link(body: &mut Object<String, Json>, link: &Json) {
    if let Some(Json::Array(links)) = body.get_mut("link") {
        links.retain(|own| {
            own["other"]["reference"] != link["other"]["reference"] || own["type"] != link["type"]
        });
        if links.is_empty() {
            body.remove("link");
        }
    }
}

fn old_identifiers(identifiers: &[(String, String)]) -> Vec<Json> {
    let old = |(system, value): &(String, String)| json!({"use": "old", "system": system, "value": value});
    identifiers.iter().map(old).collect()
}

fn is_same(a: &Json, b: &Json) -> bool {
    a["system"] == b["system"] && a["value"] == b["value"]
}

fn has(body: &Object<String, Json>, identifier: &Json) -> bool {
    let own = body.get("identifier").and_then(Json::as_array);
    own.is_some_and(|own| own.iter().any(|own| is_same(own, identifier)))
}

/// An identifier of what was merged in: an old one, unless it is one of this already.
fn add_old(body: &mut Object<String, Json>, mut identifier: Json) {
    if has(body, &identifier) {
        return;
    }
    identifier["use"] = "old".into();
    // The organization that assigned it is contained in what it comes from.
    if let Some(own) = identifier.as_object_mut() {
        own.remove("assigner");
    }
    if let Some(own) = body
        .entry("identifier")
        .or_insert_with(|| json!([]))
        .as_array_mut()
    {
        own.push(identifier);
    }
}

/// An identifier that is no longer in use.
fn retire(body: &mut Object<String, Json>, identifier: Json) {
    let own = body.entry("identifier").or_insert_with(|| json!([]));
    let Some(own) = own.as_array_mut() else {
        return;
    };
    match own.iter_mut().find(|own| is_same(own, &identifier)) {
        Some(own) => own["use"] = "old".into(),
        None => own.push(identifier),
    }
}

/// An identifier that was given up and is in use again.
fn take_up(body: &mut Object<String, Json>, identifier: &Json) {
    let own = body.get_mut("identifier").and_then(Json::as_array_mut);
    for own in own.into_iter().flatten() {
        if is_same(own, identifier)
            && own["use"] == "old"
            && let Some(own) = own.as_object_mut()
        {
            own.remove("use");
        }
    }
}

/// Lets references lead elsewhere; whether any did. References to a version stay.
fn redirect(value: &mut Json, from: &str, to: &str) -> bool {
    match value {
        Json::Object(object) => {
            let mut found = false;
            for (name, child) in object.iter_mut() {
                found |= match child {
                    Json::String(text) if name == "reference" && text == from => {
                        to.clone_into(text);
                        true
                    }
                    child => redirect(child, from, to),
                };
            }
            found
        }
        Json::Array(items) => items
            .iter_mut()
            .fold(false, |found, item| redirect(item, from, to) | found),
        _ => false,
    }
}

#[cfg(test)]
#[path = "relate_tests.rs"]
mod tests;
