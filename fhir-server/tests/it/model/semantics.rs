//! What the interactions mean (<https://hl7.org/fhir/R5/http.html>), over lists of versions in memory. Shares nothing with the server.
//!
//! A server may delete several by condition and older versions for good (`is_open`), or neither.
//!
//! Where the specification leaves a choice, this is the server's: an update that changes nothing keeps the version; `If-Match` fails where
//! there is no current version; in a transaction a condition is judged by what was there before it, save that a conditional create
//! does not see what the transaction deletes, and a condition that matches nothing but would match what another entry writes is refused.

use super::request::{Criteria, Request, Target};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Type and id.
pub type Key = (&'static str, String);

/// The versions of all resources. `None` is a deletion; bodies are without what the server says in meta.
#[derive(Default)]
pub struct World {
    pub versions: BTreeMap<Key, Vec<Option<Value>>>,
    /// In the order of their creation, so that a run does not depend on ids that the server gave.
    pub keys: Vec<Key>,
    /// Older versions that are gone for good.
    pub removed: BTreeSet<(Key, u64)>,
    pub is_open: bool,
}

/// What must come back.
#[derive(Debug, PartialEq)]
pub enum Expect {
    /// One of these statuses: where several things are wrong with a request, the order of complaints is not given.
    Refused(BTreeSet<u16>),
    /// A write, a read or a vread.
    Resource {
        status: u16,
        key: Key,
        version: u64,
        body: Value,
    },
    /// The version, and the tags in its Meta; null where there are none.
    Labels {
        version: u64,
        tags: Value,
    },
    /// The version of the deletion, where there was something to delete.
    Deleted(Option<u64>),
    Count(usize),
    /// Bodies by id.
    Matches(BTreeMap<String, Value>),
    /// From the newest: version, status, body.
    History(Vec<(u64, u16, Option<Value>)>),
}

/// What a write comes down to, once its conditions are resolved.
enum Plan {
    /// A new resource, or one under the id given.
    Create(Option<String>),
    Found(Key),
    Put(Key),
    /// With what the patch makes of it.
    Patch(Key, Value),
    Delete(Vec<Key>),
    /// Of all older versions, or of one.
    DeleteHistory(Key, Option<u64>),
}

impl World {
    /// One interaction. `assigned` is the id in the Location of the answer, needed where the server chooses it.
    pub fn apply(&mut self, request: &Request, assigned: Option<&str>) -> Expect {
        if request.method == "GET" {
            return self.read(request);
        }
        let mut refused = BTreeSet::new();
        match self.plan(request, &BTreeSet::new(), &mut refused) {
            Some(plan) if refused.is_empty() => {
                self.perform(request, plan, assigned, &request.body)
            }
            _ => Expect::Refused(refused),
        }
    }

    /// A transaction: what each entry gives, or why nothing is done.
    pub fn transact(
        &mut self,
        requests: &[Request],
        assigned: &[Option<&str>],
    ) -> Result<Vec<Expect>, BTreeSet<u16>> {
        let gone = self.deleted(requests);
        let mut refused = BTreeSet::new();
        let mut plans = Vec::new();
        let writes = requests.iter().enumerate();
        for (index, request) in writes.filter(|(_, request)| request.method != "GET") {
            let plan = self.plan(request, &gone, &mut refused);
            plans.extend(plan.map(|plan| (index, request, plan)));
        }
        if overlap(requests, &plans) {
            refused.insert(400);
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut places = BTreeMap::new();
        for (index, request, plan) in &plans {
            let id = match plan {
                Plan::Create(given) => given.as_deref().or(assigned[*index]),
                Plan::Found(key) | Plan::Put(key) | Plan::Patch(key, _) => Some(key.1.as_str()),
                Plan::Delete(_) | Plan::DeleteHistory(..) => None,
            };
            if let (Some(url), Some(id)) = (request.full_url.as_deref(), id) {
                places.insert(url, format!("{}/{id}", request.kind));
            }
        }
        let mut answers: Vec<Option<Expect>> = requests.iter().map(|_| None).collect();
        for (index, request, plan) in plans {
            let body = request.body.as_ref().map(|body| linked(body, &places));
            answers[index] = Some(self.perform(request, plan, assigned[index], &body));
        }
        // Reads come last, and see it all.
        Ok(requests
            .iter()
            .zip(answers)
            .map(|(request, answer)| answer.unwrap_or_else(|| self.read(request)))
            .collect())
    }

    /// The current version, and its number.
    pub fn current(&self, key: &Key) -> Option<(u64, &Value)> {
        let versions = self.versions.get(key)?;
        Some((versions.len() as u64, versions.last()?.as_ref()?))
    }

    pub fn matches(&self, kind: &str, criteria: &Criteria) -> Vec<Key> {
        let of_type = self.versions.keys().filter(|key| key.0 == kind);
        of_type
            .filter(|key| {
                self.current(key)
                    .is_some_and(|(_, body)| holds(body, criteria))
            })
            .cloned()
            .collect()
    }

    /// `None` where the conditions do not say which resource. What else is wrong goes into `refused`.
    fn plan(
        &self,
        request: &Request,
        gone: &BTreeSet<Key>,
        refused: &mut BTreeSet<u16>,
    ) -> Option<Plan> {
        let kind = request.kind;
        if (request.body.as_ref()).is_some_and(|body| body.get("nonsense").is_some()) {
            refused.insert(400);
        }
        let given = request.body.as_ref().and_then(|body| body["id"].as_str());
        let plan = match (request.method, &request.target) {
            ("POST", Target::Type) => {
                let mut found = match &request.if_none_exist {
                    Some(criteria) => self.matches(kind, criteria),
                    None => Vec::new(),
                };
                found.retain(|key| !gone.contains(key));
                match &found[..] {
                    [] => Plan::Create(None),
                    [one] => Plan::Found(one.clone()),
                    _ => return several(refused),
                }
            }
            ("PUT", Target::Id(id)) => Plan::Put((kind, id.clone())),
            ("PUT", Target::Match(criteria)) => match (&self.matches(kind, criteria)[..], given) {
                ([], None) => Plan::Create(None),
                ([], Some(id)) => {
                    let key = (kind, id.to_string());
                    if self.current(&key).is_some() {
                        refused.insert(409);
                    }
                    Plan::Create(Some(key.1))
                }
                ([one], given) => {
                    if given.is_some_and(|id| one.1 != id) {
                        refused.insert(400);
                    }
                    Plan::Put(one.clone())
                }
                _ => return several(refused),
            },
            ("POST", Target::Labels(id, operation)) => {
                let key = (kind, id.clone());
                match (self.versions.contains_key(&key), self.current(&key)) {
                    (false, _) => return nothing(refused, 404),
                    (true, None) => return nothing(refused, 410),
                    (true, Some((_, body))) => {
                        let labelled = labelled(body, request.tag.as_ref()?, operation);
                        Plan::Patch(key, labelled)
                    }
                }
            }
            ("PATCH", target) => {
                let key = match target {
                    Target::Id(id) => (kind, id.clone()),
                    Target::Match(criteria) => match &self.matches(kind, criteria)[..] {
                        [] => return nothing(refused, 404),
                        [one] => one.clone(),
                        _ => return several(refused),
                    },
                    _ => unreachable!("the generator makes no such request"),
                };
                match (self.versions.contains_key(&key), self.current(&key)) {
                    (false, _) => return nothing(refused, 404),
                    (true, None) => return nothing(refused, 410),
                    (true, Some((_, body))) => {
                        match request.patch.as_ref().and_then(|patch| patch.apply(body)) {
                            Some(patched) => Plan::Patch(key, patched),
                            None => {
                                refused.insert(422);
                                Plan::Put(key)
                            }
                        }
                    }
                }
            }
            ("DELETE", Target::Id(id)) => Plan::Delete(vec![(kind, id.clone())]),
            ("DELETE", Target::Match(criteria)) => {
                let found = self.matches(kind, criteria);
                match found.len() > 1 && !self.is_open {
                    true => return several(refused),
                    false => Plan::Delete(found),
                }
            }
            ("DELETE", Target::History(id)) => Plan::DeleteHistory((kind, id.clone()), None),
            ("DELETE", Target::Version(id, version)) => {
                let key = (kind, id.clone());
                if self.versions.get(&key).map(Vec::len) == Some(*version as usize) {
                    refused.insert(409);
                }
                Plan::DeleteHistory(key, Some(*version))
            }
            _ => unreachable!("the generator makes no such request"),
        };
        let current = match &plan {
            Plan::Put(key) | Plan::Patch(key, _) => self.current(key),
            Plan::Delete(keys) => keys.first().and_then(|key| self.current(key)),
            _ => None,
        };
        let current = current.map(|(version, _)| version);
        if request.if_match.is_some() && request.if_match != current
            || request.if_none_match && current.is_some()
        {
            refused.insert(412);
        }
        Some(plan)
    }

    fn perform(
        &mut self,
        request: &Request,
        plan: Plan,
        assigned: Option<&str>,
        body: &Option<Value>,
    ) -> Expect {
        match plan {
            Plan::Found(key) => self.resource(200, key),
            Plan::Create(Some(id)) => self.put((request.kind, id), body),
            Plan::Create(None) => {
                let key = (request.kind, assigned.unwrap_or("none").to_string());
                assert!(!self.versions.contains_key(&key), "not a new id: {key:?}");
                self.put(key, body)
            }
            Plan::Put(key) => self.put(key, body),
            Plan::Patch(key, patched) => match (self.put(key, &Some(patched)), &request.target) {
                (Expect::Resource { version, body, .. }, Target::Labels(..)) => Expect::Labels {
                    version,
                    tags: body["meta"]["tag"].clone(),
                },
                (expect, _) => expect,
            },
            Plan::Delete(mut keys) => {
                keys.retain(|key| self.current(key).is_some());
                let mut told = None;
                for key in &keys {
                    let versions = self.versions.get_mut(key).unwrap();
                    versions.push(None);
                    told = Some(versions.len() as u64);
                }
                Expect::Deleted(told.filter(|_| keys.len() == 1))
            }
            Plan::DeleteHistory(key, version) => {
                let current = self.versions.get(&key).map_or(0, Vec::len) as u64;
                let gone = match version {
                    Some(version) => version..version + 1,
                    None => 1..current,
                };
                let gone = gone.filter(|version| *version < current);
                self.removed
                    .extend(gone.map(|version| (key.clone(), version)));
                Expect::Deleted(None)
            }
        }
    }

    fn put(&mut self, key: Key, body: &Option<Value>) -> Expect {
        let body = stored(body.as_ref().unwrap(), &key.1);
        let status = match self.current(&key) {
            Some((_, same)) if *same == body => return self.resource(200, key),
            Some(_) => 200,
            None => 201,
        };
        if !self.versions.contains_key(&key) {
            self.keys.push(key.clone());
        }
        self.versions
            .entry(key.clone())
            .or_default()
            .push(Some(body));
        self.resource(status, key)
    }

    fn resource(&self, status: u16, key: Key) -> Expect {
        let (version, body) = self.current(&key).unwrap();
        Expect::Resource {
            status,
            version,
            body: body.clone(),
            key,
        }
    }

    fn read(&self, request: &Request) -> Expect {
        let refused = |status| Expect::Refused([status].into());
        let key = |id: &String| (request.kind, id.clone());
        match &request.target {
            Target::Id(id) => match self.versions.get(&key(id)) {
                None => refused(404),
                Some(_) if self.current(&key(id)).is_none() => refused(410),
                Some(_) => self.resource(200, key(id)),
            },
            Target::Version(id, version) => {
                let versions = self.versions.get(&key(id));
                match versions.and_then(|all| all.get(*version as usize - 1)) {
                    _ if self.removed.contains(&(key(id), *version)) => refused(404),
                    None => refused(404),
                    Some(None) => refused(410),
                    Some(Some(body)) => Expect::Resource {
                        status: 200,
                        key: key(id),
                        version: *version,
                        body: body.clone(),
                    },
                }
            }
            Target::History(id) => match self.versions.get(&key(id)) {
                None => refused(404),
                Some(versions) => {
                    let is_left = |version| !self.removed.contains(&(key(id), version));
                    Expect::History(history(versions, is_left))
                }
            },
            Target::Search { criteria, count } => {
                let found = self.matches(request.kind, criteria);
                if *count {
                    return Expect::Count(found.len());
                }
                let bodies = found.into_iter().map(|key| {
                    let body = self.current(&key).unwrap().1.clone();
                    (key.1, body)
                });
                Expect::Matches(bodies.collect())
            }
            Target::Type | Target::Match(_) | Target::Labels(..) => unreachable!("not a read"),
        }
    }

    /// What the deletions of a transaction take away: they come first.
    fn deleted(&self, requests: &[Request]) -> BTreeSet<Key> {
        let deletions = requests.iter().filter(|request| request.method == "DELETE");
        deletions
            .flat_map(|request| match &request.target {
                Target::Id(id) => vec![(request.kind, id.clone())],
                Target::Match(criteria) => self.matches(request.kind, criteria),
                _ => Vec::new(),
            })
            .collect()
    }
}

/// A resource without what the server says about it.
pub fn stored(body: &Value, id: &str) -> Value {
    let mut body = body.clone();
    body["id"] = id.into();
    if let Some(meta) = body.get_mut("meta").and_then(Value::as_object_mut) {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        if meta.is_empty() {
            body.as_object_mut().unwrap().remove("meta");
        }
    }
    body
}

/// The resource with a tag more or less.
fn labelled(body: &Value, (system, code): &(String, String), operation: &str) -> Value {
    let mut body = body.clone();
    let tag = json!({ "system": system, "code": code });
    let mut tags: Vec<Value> = list(&body["meta"]["tag"]).cloned().collect();
    match operation {
        "meta-add" if tags.contains(&tag) => {}
        "meta-add" => tags.push(tag),
        _ => tags.retain(|there| *there != tag),
    }
    match tags.is_empty() {
        false => body["meta"]["tag"] = tags.into(),
        true => {
            if let Some(meta) = body.get_mut("meta").and_then(Value::as_object_mut) {
                meta.remove("tag");
            }
        }
    }
    body
}

/// What is left of the versions. One that followed a deletion that is gone is told as an update.
fn history(
    versions: &[Option<Value>],
    is_left: impl Fn(u64) -> bool,
) -> Vec<(u64, u16, Option<Value>)> {
    let mut entries = Vec::new();
    for (version, body) in (1..).zip(versions) {
        let after_deletion =
            version > 1 && versions[version as usize - 2].is_none() && is_left(version - 1);
        let status = match body {
            None => 204,
            Some(_) if version == 1 || after_deletion => 201,
            Some(_) => 200,
        };
        if is_left(version) {
            entries.push((version, status, body.clone()));
        }
    }
    entries.reverse();
    entries
}

/// Two entries of a transaction for one resource; only conditional creates may find the same one.
fn overlap(requests: &[Request], plans: &[(usize, &Request, Plan)]) -> bool {
    let mut conditions = BTreeSet::new();
    let mut unmatched = BTreeSet::new();
    let mut written = BTreeSet::new();
    let mut found = BTreeSet::new();
    for request in requests.iter().filter(|request| request.method != "GET") {
        if let Target::Match(criteria) = &request.target
            && !conditions.insert((request.kind, criteria.clone()))
        {
            return true;
        }
    }
    for (index, request, plan) in plans {
        let keys = match plan {
            Plan::Put(key) | Plan::Patch(key, _) => vec![key.clone()],
            Plan::Delete(keys) => keys.clone(),
            Plan::Create(Some(id)) => vec![(request.kind, id.clone())],
            _ => Vec::new(),
        };
        for key in keys {
            if !written.insert(key) {
                return true;
            }
        }
        if let Plan::Found(key) = plan {
            found.insert(key.clone());
        }
        let condition = match (&request.target, &request.if_none_exist, plan) {
            (Target::Match(criteria), _, Plan::Create(_)) => criteria,
            (_, Some(criteria), Plan::Create(_)) => criteria,
            _ => continue,
        };
        if !unmatched.insert((request.kind, condition.clone())) {
            return true;
        }
        let others = plans
            .iter()
            .filter(|(other, written, _)| other != index && written.kind == request.kind);
        for (_, other, plan) in others {
            let becomes = match plan {
                Plan::Create(_) | Plan::Put(_) => other.body.as_ref(),
                Plan::Patch(_, patched) => Some(patched),
                _ => None,
            };
            if becomes.is_some_and(|body| holds(body, condition)) {
                return true;
            }
        }
    }
    written.intersection(&found).next().is_some()
}

/// Does a resource match all of the criteria?
pub fn holds(body: &Value, criteria: &Criteria) -> bool {
    criteria.iter().all(|(name, wanted)| match *name {
        "_id" => body["id"] == wanted.as_str(),
        "_tag" => list(&body["meta"]["tag"]).any(|tag| token(tag, "code") == *wanted),
        "identifier" => list(&body["identifier"]).any(|one| token(one, "value") == *wanted),
        "subject" => body["subject"]["reference"] == wanted.as_str(),
        "link" => list(&body["link"]).any(|link| link["other"]["reference"] == wanted.as_str()),
        _ => unreachable!("the generator knows no such parameter"),
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn token(value: &Value, code: &str) -> String {
    let part = |name: &str| value[name].as_str().unwrap_or_default().to_string();
    format!("{}|{}", part("system"), part(code))
}

/// The resource with the links to other entries replaced.
fn linked(body: &Value, places: &BTreeMap<&str, String>) -> Value {
    match body {
        Value::String(text) => match places.get(text.as_str()) {
            Some(place) => json!(place),
            None => body.clone(),
        },
        Value::Array(items) => items.iter().map(|item| linked(item, places)).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), linked(value, places)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// Nothing to patch.
fn nothing(refused: &mut BTreeSet<u16>, status: u16) -> Option<Plan> {
    refused.insert(status);
    None
}

/// A condition that matches several resources.
fn several(refused: &mut BTreeSet<u16>) -> Option<Plan> {
    refused.insert(412);
    None
}
