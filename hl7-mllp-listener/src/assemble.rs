//! Drafts and the current state become the entries of one transaction: references get their ids, things without identity move into
//! what refers to them, and everything a decision was read from stands there under the version that was read.

use crate::ack::{AnswerError, ErrorCode};
use crate::journal::{head_version, put_new, put_version};
use crate::mapping::program::{Map, Write};
use crate::mapping::{Draft, Mappings, draft_index};
use crate::merge::{Merged, create, fill, is_same_choice, merge};
use crate::state::{Resolved, State};
use fhir_model::ResourceKey;
use serde_json::{Map as Object, Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// What a message writes.
#[derive(Debug, Default)]
pub struct Assembled {
    /// Transaction entries for the resources.
    pub entries: Vec<Json>,
    /// What was created or may have changed, in the order of the message.
    pub written: Vec<ResourceKey>,
    /// The first patient and the first encounter of the message.
    pub patient: Option<ResourceKey>,
    pub encounter: Option<ResourceKey>,
    /// What the message tells of itself, for its one Provenance.
    pub provenance: Option<Object<String, Json>>,
    /// Segments whose values are in a resource, from 0, sorted.
    pub mapped: Vec<usize>,
    pub notices: Vec<AnswerError>,
}

/// What a message says, and what is known of it.
pub struct Told<'a> {
    /// MSH-9.1.
    pub message_type: &'a str,
    pub drafts: &'a [Draft],
    /// `meta.source` of what it writes.
    pub source: &'a str,
    /// If it was applied before: what others have changed since, which only gains what it lacks.
    pub before: Option<&'a Earlier>,
}

/// What a message that was applied wrote then, of what is another by now; nothing where it wrote nothing.
pub type Earlier = HashMap<ResourceKey, Option<Object<String, Json>>>;

/// Builds the entries.
///
/// # Errors
/// What in the message contradicts the state of the server.
pub fn assemble(
    mappings: &Mappings,
    told: &Told<'_>,
    state: &State,
) -> Result<Assembled, AnswerError> {
    let drafts = told.drafts;
    let mut out = Assembled::default();
    let references = References {
        mappings,
        drafts,
        state,
    };
    let mut again: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, resolved) in state.resolved.iter().enumerate() {
        if let Some(Resolved::Same(owner)) = resolved {
            again.entry(*owner).or_default().push(index);
        }
    }
    for (index, resolved) in state.resolved.iter().enumerate() {
        let draft = &drafts[index];
        let map = &mappings.program.maps[draft.map];
        let kind = map.resource_type.as_str();
        match resolved {
            Some(Resolved::Id(id)) => {
                let key = ResourceKey::new(kind, id.as_str());
                match kind {
                    "Patient" => drop(out.patient.get_or_insert_with(|| key.clone())),
                    "Encounter" => drop(out.encounter.get_or_insert_with(|| key.clone())),
                    _ => {}
                }
                if state.ambiguous.contains(&index) {
                    out.ambiguous(map, told.message_type)?;
                }
                let united = united(mappings, drafts, index, again.get(&index));
                let (draft, inside) = references.finished(united);
                out.mapped.extend(&draft.lines);
                out.resource(map, told, draft, state, &key);
                out.contained(&inside, drafts);
            }
            Some(Resolved::Same(_)) => out.mapped.extend(&draft.lines),
            Some(Resolved::Contained) if kind == "Provenance" => {
                let (draft, inside) = references.finished(draft.clone());
                out.mapped.extend(&draft.lines);
                let indices = inside.iter().flat_map(|own| &own.drafts);
                out.mapped
                    .extend(indices.flat_map(|index| &drafts[*index].lines));
                out.provenance = Some(create(map, draft));
            }
            // Counted as mapped with what contains it.
            Some(Resolved::Contained) | None => {}
            Some(Resolved::LeftOut) => out.notices.push(AnswerError::warning(
                ErrorCode::UnknownKey,
                None,
                format!("no identifier for a {kind}: it was kept in the journal only"),
            )),
        }
    }
    out.mapped.sort_unstable();
    out.mapped.dedup();
    Ok(out)
}

impl Assembled {
    /// Identifiers of one thing that belong to different resources: an order cannot be changed on a guess; what is only referred to, and
    /// a patient whose duplicates are known under one number, is taken by its best identifier.
    fn ambiguous(&mut self, map: &Map, message_type: &str) -> Result<(), AnswerError> {
        let kind = &map.resource_type;
        let reason = format!("the identifiers of a {kind} belong to different resources");
        if !map.best_match && map.write(message_type) == Write::Upsert {
            return Err(AnswerError::error(ErrorCode::DuplicateKey, None, reason));
        }
        let notice = AnswerError::warning(ErrorCode::DuplicateKey, None, reason);
        self.notices.push(notice);
        Ok(())
    }

    /// What the message wrote in the steps before.
    pub fn add_written(&mut self, before: &[ResourceKey]) {
        let known: HashSet<ResourceKey> = self.written.iter().cloned().collect();
        let new = before.iter().filter(|key| !known.contains(key));
        self.written.extend(new.cloned());
    }

    /// Changes the entry of a resource, if it has one.
    pub fn edit(
        &mut self,
        key: &ResourceKey,
        source: &str,
        change: impl FnOnce(&mut Object<String, Json>),
    ) {
        let entry = self.entry(key);
        let Some(body) = entry.and_then(|entry| entry["resource"].as_object_mut()) else {
            return;
        };
        let before = body.clone();
        change(body);
        if *body == before {
            return;
        }
        body.entry("meta").or_insert_with(|| json!({}))["source"] = source.into();
        if !self.written.contains(key) {
            self.written.push(key.clone());
        }
    }

    /// Changes a resource that the message itself does not speak of, as it was read; in its entry, if it has one after all.
    /// `change` says whether there was anything to change.
    pub fn change(&mut self, mut resource: Json, change: impl FnOnce(&mut Json) -> bool) {
        let text = |name: &str| resource[name].as_str().unwrap_or_default();
        let key = ResourceKey::new(text("resourceType"), text("id"));
        let is_changed = match self.entry(&key) {
            Some(entry) => change(&mut entry["resource"]),
            None => {
                let version = resource["meta"]["versionId"].as_str();
                let version = version.unwrap_or_default().to_owned();
                let is_changed = change(&mut resource);
                if is_changed {
                    self.entries.push(put_version(resource, &version));
                }
                is_changed
            }
        };
        // Entries of the journal are no content.
        if is_changed && key.resource_type != "Task" && !self.written.contains(&key) {
            self.written.push(key);
        }
    }

    fn entry(&mut self, key: &ResourceKey) -> Option<&mut Json> {
        let url = key.to_string();
        let mut entries = self.entries.iter_mut();
        entries.find(|own| own["request"]["url"] == *url)
    }

    fn resource(
        &mut self,
        map: &Map,
        told: &Told<'_>,
        draft: Draft,
        state: &State,
        key: &ResourceKey,
    ) {
        if let Some(version) = state.recalled(&key.resource_type, &key.id) {
            self.entries.push(head_version(key, version));
            return;
        }
        let current = state.current(&key.resource_type, &key.id);
        let (mut body, version, is_written) = match current {
            None => (create(map, draft), None, true),
            // Who is only named, and known, decides nothing here.
            Some(_) if map.of_value && map.write(told.message_type) == Write::Create => return,
            Some(current) => {
                let version = Some(&current.version);
                let merged = match told.before.and_then(|before| before.get(key)) {
                    None => merge(map, told.message_type, &draft, &current.body),
                    Some(None) => Merged::Kept,
                    Some(Some(earlier)) => {
                        fill(map, told.message_type, &draft, &current.body, earlier)
                    }
                };
                match merged {
                    Merged::Changed(body) if body != current.body => (body, version, true),
                    Merged::Changed(_) | Merged::Kept => (current.body.clone(), version, false),
                    left => {
                        let why = match left {
                            Merged::NotSo => "what is taken back is not so",
                            _ => "older than what is known",
                        };
                        let kind = &key.resource_type;
                        self.notices.push(AnswerError::warning(
                            ErrorCode::SegmentSequence,
                            None,
                            format!("{why}: the {kind} was not changed"),
                        ));
                        (current.body.clone(), version, false)
                    }
                }
            }
        };
        body.insert("id".into(), key.id.as_str().into());
        if is_written {
            let meta = body
                .entry("meta")
                .or_insert_with(|| Json::Object(Object::new()));
            meta["source"] = told.source.into();
            self.written.push(key.clone());
        }
        self.entries.push(match version {
            None => put_new(Json::Object(body)),
            Some(version) => put_version(Json::Object(body), version),
        });
    }

    /// The lines of the contained drafts that stand in the last entry.
    fn contained(&mut self, inside: &[Inside], drafts: &[Draft]) {
        let entry = self.entries.last();
        let there = entry.and_then(|entry| entry["resource"]["contained"].as_array());
        let stands = |own: &&Inside| there.is_some_and(|all| all.iter().any(|r| r["id"] == own.id));
        let indices = inside.iter().filter(stands).flat_map(|own| &own.drafts);
        let lines: Vec<usize> = indices.flat_map(|i| drafts[*i].lines.clone()).collect();
        self.mapped.extend(lines);
    }
}

/// A draft together with the later drafts of the same thing, which fill in what it does not say.
fn united(
    mappings: &Mappings,
    drafts: &[Draft],
    index: usize,
    again: Option<&Vec<usize>>,
) -> Draft {
    let mut united = drafts[index].clone();
    for other in again.into_iter().flatten() {
        let other = &drafts[*other];
        let gains = &mappings.program.maps[other.map].union;
        for (name, value) in &other.body {
            if gains.contains(name)
                && let Some(Json::Array(own)) = united.body.get_mut(name)
                && let Json::Array(more) = value
            {
                let new: Vec<_> = more.iter().filter(|item| !own.contains(item)).collect();
                own.extend(new.into_iter().cloned());
                continue;
            }
            // Of a choice the first type stands: a resource with two would be refused, and the whole message with it.
            let is_said = |own: &String| is_same_choice(own, name);
            if !united.body.keys().any(is_said) {
                united.body.insert(name.clone(), value.clone());
            }
        }
    }
    united
}

/// A resource that is contained in a draft: other drafts that say the same, or one that a converter wrote in the place of a reference.
struct Inside {
    drafts: Vec<usize>,
    /// Of the resource, made of its content: the same thing told again has the same, and what is kept of an earlier message goes on referring
    /// to what came with it.
    id: String,
    /// Until it stands in the draft.
    resource: Json,
}

fn contained_id(resource: &Json) -> String {
    let hash = Sha256::digest(resource.to_string());
    hash[..8]
        .iter()
        .fold("c".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

struct References<'a> {
    mappings: &'a Mappings,
    drafts: &'a [Draft],
    state: &'a State,
}

impl References<'_> {
    /// The draft with real references, and with what it has to contain.
    fn finished(&self, mut draft: Draft) -> (Draft, Vec<Inside>) {
        let mut inside = Vec::new();
        for body in [&mut draft.body, &mut draft.new] {
            self.rewrite_members(body, &mut inside);
        }
        if !inside.is_empty() {
            let contained = inside.iter_mut().map(|own| own.resource.take()).collect();
            draft
                .body
                .insert("contained".into(), Json::Array(contained));
        }
        (draft, inside)
    }

    fn rewrite_members(&self, object: &mut Object<String, Json>, inside: &mut Vec<Inside>) {
        object.retain(|_, child| self.rewrite(child, inside));
    }

    /// Returns false when nothing is left of the value.
    fn rewrite(&self, value: &mut Json, inside: &mut Vec<Inside>) -> bool {
        match value {
            Json::Object(object) => {
                let told = object.get_mut("reference");
                let index = told.as_deref().and_then(Json::as_str).and_then(draft_index);
                let text = match (index, told) {
                    (Some(index), _) => self.text(index, inside),
                    (None, Some(told)) if told["resourceType"].is_string() => {
                        Some(format!("#{}", self.contain(None, told.take(), inside)))
                    }
                    _ => {
                        self.rewrite_members(object, inside);
                        return !object.is_empty();
                    }
                };
                let Some(text) = text else {
                    return false;
                };
                object.insert("reference".into(), text.into());
                true
            }
            Json::Array(items) => {
                let before = items.len();
                items.retain_mut(|item| self.rewrite(item, inside));
                before == 0 || !items.is_empty()
            }
            _ => true,
        }
    }

    fn text(&self, index: usize, inside: &mut Vec<Inside>) -> Option<String> {
        match self.state.resolved.get(index)?.as_ref()? {
            Resolved::Id(id) => {
                let kind = self.drafts[index].body.get("resourceType")?.as_str()?;
                Some(format!("{kind}/{id}"))
            }
            Resolved::Same(owner) => self.text(*owner, inside),
            Resolved::Contained => Some(format!("#{}", self.contained(index, inside))),
            Resolved::LeftOut => None,
        }
    }

    /// The id of a draft inside the one at hand.
    fn contained(&self, index: usize, inside: &mut Vec<Inside>) -> String {
        if let Some(own) = inside.iter().find(|own| own.drafts.contains(&index)) {
            return own.id.clone();
        }
        let draft = self.drafts[index].clone();
        let map = &self.mappings.program.maps[draft.map];
        self.contain(Some(index), Json::Object(create(map, draft)), inside)
    }

    /// Puts a resource inside and returns its id. What it refers to was made before it, so this comes to an end; and stands before it.
    fn contain(&self, index: Option<usize>, resource: Json, inside: &mut Vec<Inside>) -> String {
        let mut resource = resource;
        self.rewrite(&mut resource, inside);
        let id = contained_id(&resource);
        resource["id"] = id.as_str().into();
        match inside.iter_mut().find(|own| own.id == id) {
            Some(own) => own.drafts.extend(index),
            None => inside.push(Inside {
                drafts: index.into_iter().collect(),
                id: id.clone(),
                resource,
            }),
        }
        id
    }
}
