//! Random operations over a few types, ids, identifiers and tags, so that they collide. The same seed and answers give the same ones.

use super::patch::{Edit, Kind, Patch};
use super::request::{Criteria, Operation, Request, Target};
use super::semantics::World;
use serde_json::{Value, json};

pub const KINDS: [&str; 3] = ["Patient", "Observation", "Basic"];
/// Of each: identifiers, tags, ids that clients choose.
const FEW: u64 = 3;
/// The same number in other words is another resource.
const DECIMALS: [&str; 5] = ["1.5", "1.50", "1.500", "0.10", "15"];

pub struct Generator {
    state: u64,
    /// What keeps sequences apart that run on one server.
    place: String,
}

impl Generator {
    /// `place` keeps sequences apart; clients that shall collide share one.
    pub fn new(seed: u64, place: u64) -> Generator {
        Generator {
            state: seed,
            place: format!("{place:x}"),
        }
    }

    pub fn operation(&mut self, world: &World) -> Operation {
        match self.below(10) {
            _ if world.is_open && self.below(12) == 0 => {
                Operation::One(Box::new(self.history_deletion(world)))
            }
            0 => Operation::Batch(self.batch(world)),
            1 | 2 => Operation::Transaction(self.transaction(world)),
            _ => {
                let kind = self.kind();
                Operation::One(Box::new(self.request(world, kind)))
            }
        }
    }

    /// A conditional write of an identity that nothing else writes, alone or in a transaction.
    pub fn once(&mut self) -> Operation {
        let kind = self.kind();
        let number = self.below(FEW);
        let value = format!("urn:model:{}|once-{number}", self.place);
        let criteria: Criteria = vec![("identifier", value.clone())];
        let mut request = match self.below(5) {
            0 => Request::new("DELETE", kind, Target::Match(criteria)),
            1 | 2 => Request::new("PUT", kind, Target::Match(criteria)),
            _ => {
                let mut request = Request::new("POST", kind, Target::Type);
                request.if_none_exist = Some(criteria);
                request
            }
        };
        if request.method != "DELETE" {
            let mut body = self.body(kind, None);
            let (system, value) = value.split_once('|').unwrap();
            body["identifier"] = json!([{ "system": system, "value": value }]);
            request.body = Some(body);
        }
        match self.below(3) {
            0 => Operation::Transaction(vec![request]),
            _ => Operation::One(Box::new(request)),
        }
    }

    pub fn identifiers(&self) -> Vec<String> {
        let all = (0..FEW).map(|number| format!("urn:model:{}|{number}", self.place));
        all.chain((0..FEW).map(|number| format!("urn:model:{}|once-{number}", self.place)))
            .collect()
    }

    pub fn tags(&self) -> Vec<String> {
        let tags = (0..FEW).map(|number| format!("urn:tag:{}|t{number}", self.place));
        tags.collect()
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Entries that have nothing to do with each other: each of another type.
    fn batch(&mut self, world: &World) -> Vec<Request> {
        let mut kinds = KINDS.to_vec();
        let first = self.below(3) as usize;
        kinds.rotate_left(first);
        kinds.truncate(2 + self.below(2) as usize);
        kinds
            .into_iter()
            .map(|kind| self.request(world, kind))
            .collect()
    }

    /// Two to five entries; some refer to others.
    fn transaction(&mut self, world: &World) -> Vec<Request> {
        let count = 2 + self.below(4);
        let mut requests = Vec::new();
        for number in 0..count {
            let kind = self.kind();
            let mut request = match self.below(4) {
                0 => self.conditional_create(kind),
                _ => self.request(world, kind),
            };
            if request.body.is_some() {
                request.full_url = Some(full_url(number));
            }
            requests.push(request);
        }
        // Conditions here are about the entry's own elements: a reference is known only at the end.
        for index in 0..requests.len() {
            let target = self.below(count);
            let patient = requests[target as usize].kind == "Patient"
                && requests[target as usize].full_url.is_some();
            let request = &mut requests[index];
            let kind = request.kind;
            if let (true, Some(body)) = (patient, &mut request.body) {
                refer(body, kind, &full_url(target));
            }
        }
        requests
    }

    fn request(&mut self, world: &World, kind: &'static str) -> Request {
        match self.below(26) {
            20..=23 => self.patch(world, kind),
            24 | 25 => self.labels(world, kind),
            0..=2 => {
                let mut request = Request::new("POST", kind, Target::Type);
                request.body = Some(self.body(kind, None));
                request
            }
            3 | 4 => self.conditional_create(kind),
            5..=8 => {
                let id = self.id(world, kind);
                let mut request = Request::new("PUT", kind, Target::Id(id.clone()));
                request.body = Some(self.body(kind, Some(id)));
                match self.below(5) {
                    0 | 1 => request.if_match = Some(self.version(world, &request)),
                    2 => request.if_none_match = true,
                    _ => {}
                }
                request
            }
            9..=11 => {
                let criteria = self.condition();
                let id = match self.below(3) {
                    0 => Some(self.id(world, kind)),
                    1 => (world.matches(kind, &criteria).pop()).map(|(_, id)| id),
                    _ => None,
                };
                let mut request = Request::new("PUT", kind, Target::Match(criteria));
                request.body = Some(self.body(kind, id));
                request
            }
            12 | 13 => {
                let id = self.id(world, kind);
                let mut request = Request::new("DELETE", kind, Target::Id(id));
                if self.below(3) == 0 {
                    request.if_match = Some(self.version(world, &request));
                }
                request
            }
            14 => Request::new("DELETE", kind, Target::Match(self.condition())),
            15 => Request::new("GET", kind, Target::Id(self.id(world, kind))),
            16 => {
                let id = self.id(world, kind);
                Request::new("GET", kind, Target::Version(id, 1 + self.below(4)))
            }
            17 => Request::new("GET", kind, Target::History(self.id(world, kind))),
            _ => {
                let criteria = match self.below(3) {
                    0 => vec![("_id", self.id(world, kind))],
                    1 => {
                        let patient = self.id(world, "Patient");
                        vec![(reference_parameter(kind), format!("Patient/{patient}"))]
                    }
                    _ => self.condition(),
                };
                let count = self.below(2) == 0;
                Request::new("GET", kind, Target::Search { criteria, count })
            }
        }
    }

    fn labels(&mut self, world: &World, kind: &'static str) -> Request {
        let operation = ["meta-add", "meta-delete"][self.below(2) as usize];
        let target = Target::Labels(self.id(world, kind), operation);
        let mut request = Request::new("POST", kind, target);
        let tag = self.one_of(self.tags());
        let (system, code) = tag.split_once('|').unwrap();
        request.tag = Some((system.to_string(), code.to_string()));
        if self.below(4) == 0 {
            request.if_match = Some(self.version(world, &request));
        }
        request
    }

    fn patch(&mut self, world: &World, kind: &'static str) -> Request {
        let target = match self.below(3) {
            0 => Target::Match(self.condition()),
            _ => Target::Id(self.id(world, kind)),
        };
        let mut request = Request::new("PATCH", kind, target);
        let syntax = [Kind::Json, Kind::Xml, Kind::Fhirpath][self.below(3) as usize];
        let edit = match self.below(4) {
            0 => Edit::Language(None),
            1 => Edit::Language(Some("en")),
            2 => Edit::Language(Some("sw")),
            _ => {
                let system = format!("urn:model:{}", self.place);
                Edit::Identifier(system, self.below(FEW).to_string())
            }
        };
        request.patch = Some(Box::new(Patch { kind: syntax, edit }));
        if matches!(request.target, Target::Id(_)) && self.below(4) == 0 {
            request.if_match = Some(self.version(world, &request));
        }
        request
    }

    /// Of all older versions, or of one.
    fn history_deletion(&mut self, world: &World) -> Request {
        let kind = self.kind();
        let id = self.id(world, kind);
        let target = match self.below(3) {
            0 => Target::History(id),
            _ => Target::Version(id, 1 + self.below(5)),
        };
        Request::new("DELETE", kind, target)
    }

    fn conditional_create(&mut self, kind: &'static str) -> Request {
        let mut request = Request::new("POST", kind, Target::Type);
        request.body = Some(self.body(kind, None));
        request.if_none_exist = Some(self.condition());
        request
    }

    fn condition(&mut self) -> Criteria {
        let tag = ("_tag", self.one_of(self.tags()));
        let few = self.identifiers().into_iter().take(FEW as usize).collect();
        let identifier = ("identifier", self.one_of(few));
        match self.below(6) {
            0 => vec![tag],
            1 => vec![identifier, tag],
            _ => vec![identifier],
        }
    }

    fn body(&mut self, kind: &'static str, id: Option<String>) -> Value {
        let text = ["a", "b"][self.below(2) as usize];
        let mut body = match kind {
            "Patient" => json!({ "resourceType": kind, "name": [{ "family": text }] }),
            "Observation" => {
                json!({ "resourceType": kind, "status": "final", "code": { "text": text } })
            }
            _ => json!({ "resourceType": kind, "code": { "text": text } }),
        };
        if let Some(id) = id {
            body["id"] = id.into();
        }
        let identifiers: Vec<Value> = (0..self.below(3))
            .map(|_| {
                let value = self.below(FEW).to_string();
                json!({ "system": format!("urn:model:{}", self.place), "value": value })
            })
            .collect();
        if !identifiers.is_empty() {
            body["identifier"] = identifiers.into();
        }
        if self.below(3) == 0 {
            let code = format!("t{}", self.below(FEW));
            let system = format!("urn:tag:{}", self.place);
            body["meta"] = json!({ "tag": [{ "system": system, "code": code }] });
        }
        if self.below(8) == 0 {
            // Not for the client to say.
            body["meta"]["versionId"] = "99".into();
        }
        if self.below(3) == 0 {
            body["language"] = "en".into();
        }
        if self.below(3) == 0 {
            let decimal = DECIMALS[self.below(DECIMALS.len() as u64) as usize];
            let decimal: Value = serde_json::from_str(decimal).unwrap();
            body["extension"] = json!([{ "url": "urn:model", "valueDecimal": decimal }]);
        }
        if self.below(3) == 0 {
            let patient = self.chosen_id();
            refer(&mut body, kind, &format!("Patient/{patient}"));
        }
        if self.below(25) == 0 {
            body["nonsense"] = true.into();
        }
        body
    }

    /// One that clients choose, or one that there is.
    fn id(&mut self, world: &World, kind: &str) -> String {
        let known = world.keys.iter().filter(|key| key.0 == kind);
        let known: Vec<String> = known.map(|key| key.1.clone()).collect();
        if !known.is_empty() && self.below(2) == 0 {
            return self.one_of(known);
        }
        self.chosen_id()
    }

    fn chosen_id(&mut self) -> String {
        let number = self.below(FEW);
        format!("m{}-{number}", self.place)
    }

    /// The current one, mostly.
    fn version(&mut self, world: &World, request: &Request) -> u64 {
        let (Target::Id(id) | Target::Labels(id, _)) = &request.target else {
            unreachable!("only of a resource that is named");
        };
        let versions = world.versions.get(&(request.kind, id.clone()));
        let current = versions.map_or(1, Vec::len) as u64;
        match self.below(4) {
            0 => current + 1,
            1 if current > 1 => current - 1,
            _ => current,
        }
    }

    fn kind(&mut self) -> &'static str {
        KINDS[self.below(KINDS.len() as u64) as usize]
    }

    fn one_of(&mut self, mut all: Vec<String>) -> String {
        let index = self.below(all.len() as u64) as usize;
        all.swap_remove(index)
    }
}

/// The search parameter of the one reference that a body may have.
pub fn reference_parameter(kind: &str) -> &'static str {
    if kind == "Patient" { "link" } else { "subject" }
}

fn refer(body: &mut Value, kind: &str, reference: &str) {
    let reference = json!({ "reference": reference });
    match kind {
        "Patient" => body["link"] = json!([{ "other": reference, "type": "seealso" }]),
        _ => body["subject"] = reference,
    }
}

fn full_url(number: u64) -> String {
    format!("urn:uuid:5a1f0a52-0000-4000-8000-00000000000{number}")
}
