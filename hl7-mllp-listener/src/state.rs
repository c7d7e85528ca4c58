//! Which resources the drafts of a message are, and what the server knows of them: searches by identifier and reads by derived id,
//! in batches, until every draft has an id, is contained in another, or is left out.
//!
//! What is seldom needed is asked only of a message that is decided anew: whether there is a resource with the id that is derived from an
//! identifier, though none has the identifier; and what was found before ([`Known`]). Where it matters after all, the transaction fails.
//!
//! A patient who was merged into another (inactive, with a link replaced-by) is followed to the survivor. An identifier that is old
//! (`use`) still finds what had it, unless another has it now.

mod roles;

use crate::identity::SiteSecret;
use crate::known::{Found, Known};
use crate::mapping::{Draft, KeyPart, Mappings, Relation};
use crate::server_api::{Api, ApiError, Page, SEARCH_VALUES_MAX, search_token};
use roles::Roles;
use serde_json::{Map as Object, Value as Json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rounds of reading: keys may depend on ids found before, and links lead on.
const ROUNDS_MAX: usize = 12;

/// A resource as the server holds it.
#[derive(Clone, Debug)]
pub struct Current {
    /// `meta.versionId`.
    pub version: String,
    pub body: Object<String, Json>,
}

/// What a draft turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// The resource of this type with this id; whether it exists says [`State::current`].
    Id(String),
    /// The same thing as an earlier draft.
    Same(usize),
    /// Nothing identifies it: it lives inside what refers to it.
    Contained,
    /// Nothing identifies it, and it is not kept that way.
    LeftOut,
}

/// Everything known after reading.
#[derive(Debug, Default)]
pub struct State {
    pub resolved: Vec<Option<Resolved>>,
    pub current: HashMap<(String, String), Current>,
    /// What was not read, because it was found before: its version then, by type and id.
    recalled: HashMap<(String, String), String>,
    /// What the draft's identifiers were found on, before links were followed; the derived id when they were found on nothing.
    pub origins: Vec<Option<String>>,
    /// Ids by type, system and value of an identifier that is not old.
    holders: HashMap<(String, String, String), BTreeSet<String>>,
    /// The same of old identifiers.
    former: HashMap<(String, String, String), BTreeSet<String>>,
    /// Drafts whose identifiers belong to more than one resource.
    pub ambiguous: Vec<usize>,
    /// Drafts that take an identifier which belongs to another resource.
    pub taken: Vec<usize>,
}

/// What has to be asked next: search values by resource type.
#[derive(Debug, Default)]
struct Questions {
    ids: BTreeMap<String, BTreeSet<String>>,
    identifiers: BTreeMap<String, BTreeSet<(String, String)>>,
}

/// What a message says.
pub struct Said<'a> {
    /// MSH-9.1.
    pub message_type: &'a str,
    pub drafts: &'a [Draft],
    pub relations: &'a [Relation],
}

/// Reads what is there.
pub struct Reader<'a> {
    pub api: &'a Api,
    pub mappings: &'a Mappings,
    pub secret: &'a SiteSecret,
    pub known: &'a Known,
    /// Whether what is seldom needed is asked, too.
    pub is_thorough: bool,
}

impl Reader<'_> {
    /// Finds out what the drafts are. The caller's searches `along` go with the first batch; their first pages come back, too.
    ///
    /// # Errors
    /// When the server does not answer, or not as a server should.
    pub async fn read(
        &self,
        said: &Said<'_>,
        mut along: &[String],
    ) -> Result<(State, Vec<Page>), ApiError> {
        let drafts = said.drafts;
        let mut state = State {
            resolved: vec![None; drafts.len()],
            origins: vec![None; drafts.len()],
            ..State::default()
        };
        let resolver = Resolver {
            reader: self,
            message_type: said.message_type,
            drafts,
            roles: Roles::new(self.mappings, drafts, said.relations),
        };
        let mut asked = Questions::default();
        let mut found_along = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut open = Questions::default();
            resolver.resolve(&mut state, &asked, &mut open);
            if along.is_empty() && open.ids.is_empty() && open.identifiers.is_empty() {
                break;
            }
            let urls: Vec<String> = along.iter().cloned().chain(open.urls()).collect();
            let mut pages = self.api.searches(&urls).await?;
            let resources = self.api.rest(pages.split_off(along.len())).await?;
            if !along.is_empty() {
                (along, found_along) = (&[], pages);
            }
            state.add_all(resources)?;
            asked.add(open);
        }
        // Only an endless chain of links ends here; its patients are taken as they are found.
        for (index, resolved) in state.resolved.iter_mut().enumerate() {
            let contained = self.mappings.program.maps[drafts[index].map].contained;
            resolved.get_or_insert(match contained {
                true => Resolved::Contained,
                false => Resolved::LeftOut,
            });
        }
        self.known
            .keep(self.mappings, said.message_type, drafts, &state);
        Ok((state, found_along))
    }
}

struct Resolver<'a> {
    reader: &'a Reader<'a>,
    message_type: &'a str,
    drafts: &'a [Draft],
    roles: Roles<'a>,
}

impl Resolver<'_> {
    /// Decides what can be decided with what was asked so far, and notes what else must be asked.
    fn resolve(&self, state: &mut State, asked: &Questions, open: &mut Questions) {
        // Keys that came before in this message, for maps whose repetitions are things of their own.
        let mut seen: HashMap<(usize, String), usize> = HashMap::new();
        let mut owners: HashMap<(String, String), usize> = HashMap::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            let map = &self.reader.mappings.program.maps[draft.map];
            let kind = map.resource_type.as_str();
            if let Some(new) = self.roles.renamed(index) {
                state.resolved[index] = Some(Resolved::Same(new));
                continue;
            }
            let mut key = None;
            if self.roles.identifiers(index).is_empty() {
                match self.key(draft, state) {
                    Key::Wait => continue,
                    Key::None => {
                        let resolved = match map.contained {
                            true => Resolved::Contained,
                            false => Resolved::LeftOut,
                        };
                        state.resolved[index] = Some(resolved);
                        continue;
                    }
                    Key::Text(text) => {
                        let count = seen.entry((draft.map, text.clone())).or_default();
                        *count += 1;
                        key = Some(match *count {
                            count if count > 1 && map.numbered => format!("{text}|#{count}"),
                            _ => text,
                        });
                    }
                }
            }
            if state.resolved[index].is_none() {
                let found = match self.recall(draft, state) {
                    Some(id) => Some(id),
                    None => self.find(index, kind, key.as_deref(), state, asked, open),
                };
                state.resolved[index] = found.map(Resolved::Id);
            }
            if let Some(Resolved::Id(id)) = &state.resolved[index] {
                let owner = *owners.entry((kind.to_owned(), id.clone())).or_insert(index);
                if owner != index {
                    state.resolved[index] = Some(Resolved::Same(owner));
                }
            }
        }
    }

    /// The first key whose parts are all known.
    fn key(&self, draft: &Draft, state: &State) -> Key {
        for parts in &draft.keys {
            let mut text = String::new();
            let mut is_known = true;
            for part in parts {
                match part {
                    KeyPart::Text(part) => text.push_str(part),
                    KeyPart::Draft(other) => match state.id(*other) {
                        Some(id) => text.push_str(id),
                        None if state.resolved[*other].is_none() => return Key::Wait,
                        None => is_known = false,
                    },
                }
            }
            if is_known {
                return Key::Text(text);
            }
        }
        Key::None
    }

    /// The id of what the draft names, if that was found before.
    fn recall(&self, draft: &Draft, state: &mut State) -> Option<String> {
        if self.reader.is_thorough {
            return None;
        }
        let map = &self.reader.mappings.program.maps[draft.map];
        let recalled = self.reader.known.recall(map, self.message_type, draft);
        let Found { id, version } = recalled?;
        let key = (map.resource_type.clone(), id.clone());
        state.recalled.insert(key, version);
        Some(id)
    }

    /// The id of a draft, or `None` while something must be asked first.
    fn find(
        &self,
        index: usize,
        kind: &str,
        key: Option<&str>,
        state: &mut State,
        asked: &Questions,
        open: &mut Questions,
    ) -> Option<String> {
        let (own, former) = (self.roles.identifiers(index), self.roles.former(index));
        let secret = self.reader.secret;
        let derived = match (own.first(), key) {
            (Some((system, value)), _) => secret.derived_id(kind, &["identifier", system, value]),
            (None, key) => secret.derived_id(kind, &["key", key?]),
        };
        let needs_id = own.is_empty() || self.reader.is_thorough;
        let mut is_open = needs_id && !asked.has_id(kind, &derived);
        if is_open {
            open.ids
                .entry(kind.to_owned())
                .or_default()
                .insert(derived.clone());
        }
        for identifier in own.iter().chain(former) {
            if !asked.has_identifier(kind, identifier) {
                is_open = true;
                let values = open.identifiers.entry(kind.to_owned()).or_default();
                values.insert(identifier.clone());
            }
        }
        if is_open {
            return None;
        }
        let mut found = self.found(index, kind, own, state, asked, open)?;
        if !former.is_empty() {
            let before = self.found(index, kind, former, state, asked, open)?;
            match (found.first(), before.first()) {
                (None, _) => found = before,
                (Some(own), Some(before)) if own != before => state.taken.push(index),
                _ => {}
            }
        }
        if found.len() > 1 && !state.ambiguous.contains(&index) {
            state.ambiguous.push(index);
        }
        if let Some((origin, survivor)) = found.into_iter().next() {
            state.origins[index] = Some(origin);
            return Some(survivor);
        }
        state.origins[index] = Some(derived.clone());
        match self.roles.is_replaced(index) {
            true => Some(derived),
            false => self.survivor(kind, derived, state, asked, open),
        }
    }

    /// What has one of the identifiers, best first, each with what it lives on as; `None` while something must be read first.
    fn found(
        &self,
        index: usize,
        kind: &str,
        identifiers: &[(String, String)],
        state: &State,
        asked: &Questions,
        open: &mut Questions,
    ) -> Option<Vec<(String, String)>> {
        let mut found: Vec<(String, String)> = Vec::new();
        for identifier in identifiers {
            let is_replaced = self.roles.is_replaced(index);
            for id in state.holders(kind, identifier, is_replaced) {
                let survivor = match is_replaced {
                    true => id.clone(),
                    false => self.survivor(kind, id.clone(), state, asked, open)?,
                };
                if !found.iter().any(|(_, known)| *known == survivor) {
                    found.push((id, survivor));
                }
            }
        }
        Some(found)
    }

    /// Follows replaced-by links; `None` while the next one must be read first.
    fn survivor(
        &self,
        kind: &str,
        id: String,
        state: &State,
        asked: &Questions,
        open: &mut Questions,
    ) -> Option<String> {
        let mut passed = vec![id];
        loop {
            let last = passed.last()?;
            let Some(next) = state.replaced_by(kind, last) else {
                return passed.pop();
            };
            if passed.contains(&next) {
                return passed.into_iter().next();
            }
            if !asked.has_id(kind, &next) {
                open.ids.entry(kind.to_owned()).or_default().insert(next);
                return None;
            }
            passed.push(next);
        }
    }
}

enum Key {
    Text(String),
    /// A draft it depends on has no id yet.
    Wait,
    None,
}

impl State {
    /// The id of a draft, also through an earlier draft of the same thing.
    pub fn id(&self, index: usize) -> Option<&str> {
        match self.resolved[index].as_ref()? {
            Resolved::Id(id) => Some(id),
            Resolved::Same(owner) => self.id(*owner),
            Resolved::Contained | Resolved::LeftOut => None,
        }
    }

    pub fn current(&self, kind: &str, id: &str) -> Option<&Current> {
        self.current.get(&(kind.to_owned(), id.to_owned()))
    }

    /// The version in which it was found before, of what was not read.
    pub fn recalled(&self, kind: &str, id: &str) -> Option<&str> {
        let key = (kind.to_owned(), id.to_owned());
        self.recalled.get(&key).map(String::as_str)
    }

    fn add_all(&mut self, resources: Vec<Json>) -> Result<(), ApiError> {
        for resource in resources {
            let text = |name: &str| resource[name].as_str().map(str::to_owned);
            let (Some(kind), Some(id)) = (text("resourceType"), text("id")) else {
                continue;
            };
            let Some(version) = resource["meta"]["versionId"].as_str().map(str::to_owned) else {
                return Err(ApiError::Unexpected("a resource without meta.versionId"));
            };
            if let Json::Object(body) = resource {
                self.add(&kind, &id, Current { version, body });
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: &str, id: &str, current: Current) {
        let identifiers = current.body.get("identifier").and_then(Json::as_array);
        for own in identifiers.into_iter().flatten() {
            if let (Some(system), Some(value)) = (own["system"].as_str(), own["value"].as_str()) {
                let key = (kind.to_owned(), system.to_owned(), value.to_owned());
                let of = match own["use"] == "old" {
                    true => &mut self.former,
                    false => &mut self.holders,
                };
                of.entry(key).or_default().insert(id.to_owned());
            }
        }
        self.current
            .insert((kind.to_owned(), id.to_owned()), current);
    }

    /// Who has an identifier; if nobody has, who had it; and only then what is in error. `is_replaced`: what is merged away is in error.
    fn holders(
        &self,
        kind: &str,
        (system, value): &(String, String),
        is_replaced: bool,
    ) -> Vec<String> {
        let key = (kind.to_owned(), system.clone(), value.clone());
        let ids = |of: &HashMap<_, BTreeSet<String>>| -> Vec<String> {
            of.get(&key).into_iter().flatten().cloned().collect()
        };
        let (holders, former) = (ids(&self.holders), ids(&self.former));
        let in_error = |id: &String| {
            let current = self.current(kind, id);
            current.is_some_and(|own| {
                own.body
                    .get("status")
                    .is_some_and(|s| s == "entered-in-error")
            })
        };
        let valid = |ids: &[String]| -> Vec<String> {
            ids.iter().filter(|id| !in_error(id)).cloned().collect()
        };
        let mut ways = match is_replaced {
            true => vec![holders, former],
            false => vec![valid(&holders), valid(&former), holders],
        };
        let found = ways.iter().position(|way| !way.is_empty());
        found.map(|at| ways.swap_remove(at)).unwrap_or_default()
    }

    /// What it was merged into.
    pub fn replaced_by(&self, kind: &str, id: &str) -> Option<String> {
        let body = &self.current(kind, id)?.body;
        if kind != "Patient" || body.get("active") != Some(&Json::Bool(false)) {
            return None;
        }
        let links = body.get("link")?.as_array()?;
        let link = links.iter().find(|link| link["type"] == "replaced-by")?;
        let reference = link["other"]["reference"].as_str()?;
        let id = reference.strip_prefix("Patient/")?;
        id.split('/').next().map(str::to_owned)
    }
}

impl Questions {
    fn has_id(&self, kind: &str, id: &str) -> bool {
        self.ids.get(kind).is_some_and(|ids| ids.contains(id))
    }

    fn has_identifier(&self, kind: &str, identifier: &(String, String)) -> bool {
        let identifiers = self.identifiers.get(kind);
        identifiers.is_some_and(|known| known.contains(identifier))
    }

    fn add(&mut self, other: Questions) {
        for (kind, ids) in other.ids {
            self.ids.entry(kind).or_default().extend(ids);
        }
        for (kind, identifiers) in other.identifiers {
            self.identifiers
                .entry(kind)
                .or_default()
                .extend(identifiers);
        }
    }

    /// As search URLs.
    fn urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        let mut add = |kind: &str, parameter: &str, values: Vec<String>| {
            for chunk in values.chunks(SEARCH_VALUES_MAX) {
                // A value may match more than one resource: room for twice as many.
                let count = chunk.len() * 2 + 20;
                let values = chunk.join(",");
                urls.push(format!("{kind}?{parameter}={values}&_count={count}"));
            }
        };
        for (kind, ids) in &self.ids {
            add(kind, "_id", ids.iter().cloned().collect());
        }
        for (kind, identifiers) in &self.identifiers {
            let token = |(system, value): &(String, String)| search_token(system, value);
            add(kind, "identifier", identifiers.iter().map(token).collect());
        }
        urls
    }
}
