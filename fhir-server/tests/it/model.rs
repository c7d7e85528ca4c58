//! Random sequences of interactions against a model of what they mean (<https://hl7.org/fhir/R5/http.html>).
//!
//! Alone, a sequence must get exactly the answers of the model, and leave exactly its state. Several clients at once must leave
//! whole histories that hold every acknowledged write, and one resource of each identity that is only used conditionally.
//! `MODEL_OPERATIONS` is how many of each (`make model`: 100,000), `MODEL_SEED` repeats what a failure names.

mod answer;
mod generator;
mod patch;
mod request;
mod semantics;

use crate::site::{self, Site};
use answer::{Seen, history};
use generator::{Generator, KINDS};
use request::{Operation, Request, Target};
use semantics::{Expect, Key, World, stored};
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// Operations of one sequence: long enough that things collide, short enough to read.
const LENGTH: u64 = 40;
/// Sequences that run side by side, each in a place of its own.
const ABREAST: usize = 4;
/// Clients that collide, and operations of each.
const CLIENTS: u64 = 6;
const EACH: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_do_what_the_model_does() {
    let (first, operations) = (seed(), operations(2_000));
    let site = site::with_settings(&[]);
    let open = site::with_settings(&[
        ("conditional_delete", "multiple"),
        ("history_deletion", "true"),
    ]);
    let mut running = JoinSet::new();
    for number in 0..operations.div_ceil(LENGTH) {
        if running.len() == ABREAST {
            checked(running.join_next().await);
        }
        let seed = first.wrapping_add(number);
        let (site, is_open) = match seed % 2 {
            0 => (site.clone(), false),
            _ => (open.clone(), true),
        };
        running.spawn(sequence(site, seed, is_open));
    }
    while !running.is_empty() {
        checked(running.join_next().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_at_once_lose_nothing() {
    let (first, operations) = (seed(), operations(1_000));
    let site = site::with_settings(&[]);
    for round in 0..operations.div_ceil(CLIENTS * EACH) {
        let place = first.wrapping_add(round);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(site.clone(), place, number));
        }
        let written = clients.join_all().await.into_iter().flatten().collect();
        if let Err(difference) = whole(&site, place, written).await {
            panic!("MODEL_SEED={place}\n{difference}");
        }
    }
}

fn seed() -> u64 {
    match std::env::var("MODEL_SEED") {
        Ok(seed) => seed.parse().expect("MODEL_SEED is a number"),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    }
}

fn operations(default: u64) -> u64 {
    match std::env::var("MODEL_OPERATIONS") {
        Ok(number) => number.parse().expect("MODEL_OPERATIONS is a number"),
        Err(_) => default,
    }
}

fn checked(ended: Option<Result<Result<(), String>, tokio::task::JoinError>>) {
    if let Some(Err(difference)) = ended.map(|ended| ended.expect("a sequence ends")) {
        panic!("{difference}");
    }
}

async fn sequence(site: Site, seed: u64, is_open: bool) -> Result<(), String> {
    let mut generator = Generator::new(seed, seed);
    let mut world = World {
        is_open,
        ..World::default()
    };
    let repeat = format!("MODEL_SEED={seed} MODEL_OPERATIONS={LENGTH}");
    let mut log = String::new();
    for _ in 0..LENGTH {
        let operation = generator.operation(&world);
        let (head, body) = operation.http();
        log += &format!("{head}\n{body}\n");
        let answer = site.send(&head, &body).await;
        if let Err(difference) = step(&mut world, &operation, &answer) {
            return Err(format!("{repeat}\n{log}{difference}"));
        }
    }
    let end = state(&site, &mut world, &generator).await;
    end.map_err(|difference| format!("{repeat}\n{log}{difference}"))
}

/// One operation on the model, compared with the answer of the server.
fn step(world: &mut World, operation: &Operation, answer: &site::Answer) -> Result<(), String> {
    match operation {
        Operation::One(request) => {
            let seen = Seen::alone(answer);
            let assigned = seen.place().map(|(id, _)| id);
            seen.check(&world.apply(request, assigned))
        }
        Operation::Batch(requests) => {
            let entries = entries(answer, requests.len())?;
            for (request, seen) in requests.iter().zip(&entries) {
                let assigned = seen.place().map(|(id, _)| id);
                seen.check(&world.apply(request, assigned))?;
            }
            Ok(())
        }
        Operation::Transaction(requests) => {
            let entries = entries(answer, requests.len());
            let nothing = Vec::new();
            let seen = entries.as_ref().unwrap_or(&nothing);
            let mut assigned: Vec<Option<&str>> = vec![None; requests.len()];
            for (assigned, seen) in assigned.iter_mut().zip(seen) {
                *assigned = seen.place().map(|(id, _)| id);
            }
            match world.transact(requests, &assigned) {
                Err(refused) => Seen::alone(answer).check(&Expect::Refused(refused)),
                Ok(expected) => {
                    let mut pairs = entries?.into_iter().zip(&expected);
                    pairs.try_for_each(|(seen, expect)| seen.check(expect))
                }
            }
        }
    }
}

/// The entries of an answer, as many as were asked.
fn entries(answer: &site::Answer, count: usize) -> Result<Vec<Seen>, String> {
    let bundle: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    match answer.status == 200 && entries.len() == count {
        true => Ok(entries.iter().map(Seen::entry).collect()),
        false => Err(format!("no answer for each entry: {}", answer.text)),
    }
}

/// Every resource, its history, and what finds it.
async fn state(site: &Site, world: &mut World, generator: &Generator) -> Result<(), String> {
    let mut questions = Vec::new();
    for (kind, id) in &world.keys {
        questions.push(Request::new("GET", kind, Target::Id(id.clone())));
        questions.push(Request::new("GET", kind, Target::History(id.clone())));
    }
    let identifiers = generator.identifiers().into_iter();
    let mut criteria: Vec<_> = identifiers.map(|value| ("identifier", value)).collect();
    criteria.extend(generator.tags().into_iter().map(|value| ("_tag", value)));
    for kind in KINDS {
        let patients = world.keys.iter().filter(|key| key.0 == "Patient");
        let references = patients.map(|(_, id)| {
            let parameter = generator::reference_parameter(kind);
            (parameter, format!("Patient/{id}"))
        });
        for criterion in criteria.iter().cloned().chain(references) {
            let criteria = vec![criterion];
            let count = false;
            questions.push(Request::new(
                "GET",
                kind,
                Target::Search { criteria, count },
            ));
        }
    }
    for question in questions {
        let answer = site.send(&question.head(), "").await;
        let seen = Seen::alone(&answer);
        let different = |difference| format!("in the end: {}\n{difference}", question.head());
        seen.check(&world.apply(&question, None))
            .map_err(different)?;
    }
    Ok(())
}

/// An acknowledged write: the version, and what must stand there where that is known.
struct Written {
    key: Key,
    version: u64,
    body: Option<Option<Value>>,
}

/// What one of several clients asks, and what it was told.
async fn client(site: Site, place: u64, number: u64) -> Vec<Written> {
    let mut generator = Generator::new(place.wrapping_mul(CLIENTS).wrapping_add(number), place);
    let nothing_known = World::default();
    let mut written = Vec::new();
    for _ in 0..EACH {
        let once = generator.below(4) == 0;
        let operation = match once {
            true => generator.once(),
            false => generator.operation(&nothing_known),
        };
        let (head, body) = operation.http();
        let answer = site.send(&head, &body).await;
        let said = || format!("MODEL_SEED={place}\n{head}\n{body}\n{}", answer.text);
        assert!(answer.status < 500, "{}", said());
        // An identity that is only used conditionally is never there twice.
        assert!(!once || answer.status != 412, "{}", said());
        match &operation {
            Operation::One(request) => {
                written.extend(acknowledged(request, &Seen::alone(&answer), true));
            }
            Operation::Batch(requests) => {
                let entries =
                    entries(&answer, requests.len()).unwrap_or_else(|_| panic!("{}", said()));
                for (request, seen) in requests.iter().zip(&entries) {
                    assert!(seen.status < 500, "{}", said());
                    written.extend(acknowledged(request, seen, true));
                }
            }
            Operation::Transaction(requests) => {
                let entries = entries(&answer, requests.len()).unwrap_or_default();
                assert!(answer.status != 200 || !entries.is_empty(), "{}", said());
                for (request, seen) in requests.iter().zip(&entries) {
                    written.extend(acknowledged(request, seen, false));
                }
            }
        }
    }
    written
}

/// `plain`: without links to other entries, which the server replaces.
fn acknowledged(request: &Request, seen: &Seen, plain: bool) -> Option<Written> {
    if request.method == "GET" || seen.status >= 300 {
        return None;
    }
    let named = match &request.target {
        Target::Id(id) | Target::Labels(id, _) => Some(id.as_str()),
        _ => seen.place().map(|(id, _)| id),
    };
    let key = (request.kind, named?.to_string());
    let body = match request.method {
        "DELETE" => Some(None),
        // What was found is not what was sent.
        "POST" if seen.status == 200 => None,
        "PATCH" => None,
        _ if !plain => None,
        _ => Some(request.body.as_ref().map(|body| stored(body, &key.1))),
    };
    Some(Written {
        version: seen.version()?,
        key,
        body,
    })
}

/// What must hold whoever came first.
async fn whole(site: &Site, place: u64, written: Vec<Written>) -> Result<(), String> {
    let mut world = World::default();
    let keys: BTreeSet<&Key> = written.iter().map(|written| &written.key).collect();
    for key in keys {
        let request = Request::new("GET", key.0, Target::History(key.1.clone()));
        let answer = site.send(&request.head(), "").await;
        let versions = history(&answer.json()).ok_or_else(|| answer.text.clone())?;
        let numbers = versions.iter().map(|(version, ..)| *version).rev();
        if !numbers.eq(1..=versions.len() as u64) || versions.is_empty() {
            return Err(format!("a gap in the versions: {}", answer.text));
        }
        let bodies = versions.into_iter().rev().map(|(.., body)| body);
        world.versions.insert(key.clone(), bodies.collect());
        world.keys.push(key.clone());
    }
    for Written { key, version, body } in &written {
        let versions = &world.versions[key];
        let Some(stands) = versions.get(*version as usize - 1) else {
            return Err(format!("acknowledged, but lost: {key:?} {version}"));
        };
        let sent = body.as_ref().unwrap_or(stands);
        if sent != stands {
            return Err(format!(
                "{key:?} {version}\nsent   {sent:?}\nstands {stands:?}"
            ));
        }
    }
    let generator = Generator::new(place, place);
    for identifier in generator
        .identifiers()
        .iter()
        .filter(|one| one.contains("once"))
    {
        for kind in KINDS {
            let criteria = vec![("identifier", identifier.clone())];
            if world.matches(kind, &criteria).len() > 1 {
                return Err(format!("twice: {kind} {identifier}"));
            }
        }
    }
    // Searches and reads must agree with the histories, and so find nothing that nobody was told of.
    state(site, &mut world, &generator).await
}
