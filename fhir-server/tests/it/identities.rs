//! Many clients, few identities: conditional creates and updates at once, alone and in transactions.
//!
//! Whatever they do, each identity is one resource, a write that was acknowledged is one version, and none is written over unseen.
//! `RACE_SECONDS` is how long it goes on (`make races`: 60).

use crate::site::{self, Answer, Site};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLIENTS: usize = 32;
const IDENTITIES: usize = 10;
const SYSTEM: &str = "urn:identities";

/// What one client was told about one identity; summed up, what all were.
#[derive(Clone, Default)]
struct Told {
    /// Answers 201 to the conditional creates of the Patient.
    created: usize,
    /// Increments of the Patient's count.
    counted: usize,
    /// Words that were added to the Patient by a patch.
    words: BTreeSet<String>,
    /// Observations about the Patient, by their places.
    about: BTreeSet<String>,
    /// What the Person was set to, blindly, with the version that it became.
    set: BTreeSet<(usize, String)>,
    refused: usize,
}

struct Client {
    site: Site,
    number: usize,
    told: Vec<Told>,
}

/// A Patient with its count.
fn patient(identity: usize, count: usize) -> Value {
    json!({
        "resourceType": "Patient",
        "identifier": [{ "system": SYSTEM, "value": identity.to_string() }],
        "multipleBirthInteger": count,
    })
}

/// A transaction of the Patient's entry and an Observation about it.
fn with_observation(patient: Value, request: Value) -> String {
    let url = "urn:uuid:5a1f0a52-0000-4000-8000-000000000001";
    let observation = json!({
        "resourceType": "Observation", "status": "final", "code": { "text": "x" }, "subject": { "reference": url },
    });
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "resource": observation, "request": { "method": "POST", "url": "Observation" } },
        { "fullUrl": url, "resource": patient, "request": request },
    ] })
    .to_string()
}

fn place(answer: &Value) -> String {
    let location = answer["response"]["location"].as_str().unwrap();
    location.split("/_history").next().unwrap().to_string()
}

fn version(answer: &Answer) -> usize {
    let tag = answer.header("etag");
    tag.trim_start_matches("W/")
        .trim_matches('"')
        .parse()
        .unwrap()
}

impl Client {
    async fn work(mut self, until: Instant) -> Vec<Told> {
        let mut turn = self.number;
        while Instant::now() < until {
            let identity = (turn / 7 + self.number) % IDENTITIES;
            match turn % 7 {
                0 => self.create(identity).await,
                1 => self.create_in_transaction(identity).await,
                2 => self.count(identity, "by id").await,
                3 => self.count(identity, "by condition").await,
                4 => self.count_in_transaction(identity).await,
                5 => self.patch(identity, turn).await,
                _ => self.set(identity, turn).await,
            }
            turn += 1;
        }
        self.told
    }

    async fn create(&mut self, identity: usize) {
        let request = format!("POST Patient\nIf-None-Exist: identifier={SYSTEM}|{identity}");
        let answer = self
            .site
            .send(&request, &patient(identity, 0).to_string())
            .await;
        self.told[identity].created += usize::from(acknowledged(&answer, &[200, 201]) == 201);
    }

    async fn create_in_transaction(&mut self, identity: usize) {
        let condition = format!("identifier={SYSTEM}|{identity}");
        let request = json!({ "method": "POST", "url": "Patient", "ifNoneExist": condition });
        let body = with_observation(patient(identity, 0), request);
        let answer = self.site.send("POST ", &body).await;
        acknowledged(&answer, &[200]);
        let answer = answer.json();
        let told = &mut self.told[identity];
        told.created += usize::from(answer["entry"][1]["response"]["status"] == "201 Created");
        told.about.insert(place(&answer["entry"][0]));
    }

    /// The Patient as it is now, counted on by one; `None` before it is there.
    async fn next(&self, identity: usize) -> Option<(Value, String)> {
        let request = format!("GET Patient?identifier={SYSTEM}|{identity}");
        let mut found = self.site.check(&request, "", "200").await.json();
        assert!(found["total"].as_u64() <= Some(1), "{found}");
        let mut patient = found.pointer_mut("/entry/0/resource")?.take();
        let tag = format!("W/\"{}\"", patient["meta"]["versionId"].as_str()?);
        let count = patient["multipleBirthInteger"].as_u64().unwrap();
        patient["multipleBirthInteger"] = (count + 1).into();
        Some((patient, tag))
    }

    async fn count(&mut self, identity: usize, how: &str) {
        let Some((patient, tag)) = self.next(identity).await else {
            return;
        };
        let target = match how {
            "by id" => format!("/{}", patient["id"].as_str().unwrap()),
            _ => format!("?identifier={SYSTEM}|{identity}"),
        };
        let request = format!("PUT Patient{target}\nIf-Match: {tag}");
        let answer = self.site.send(&request, &patient.to_string()).await;
        match acknowledged(&answer, &[200, 412]) {
            200 => self.told[identity].counted += 1,
            _ => self.told[identity].refused += 1,
        }
    }

    async fn count_in_transaction(&mut self, identity: usize) {
        let Some((patient, tag)) = self.next(identity).await else {
            return;
        };
        let url = format!("Patient/{}", patient["id"].as_str().unwrap());
        let request = json!({ "method": "PUT", "url": url, "ifMatch": tag });
        let answer = self
            .site
            .send("POST ", &with_observation(patient, request))
            .await;
        let told = &mut self.told[identity];
        match acknowledged(&answer, &[200, 412]) {
            200 => {
                told.counted += 1;
                told.about.insert(place(&answer.json()["entry"][0]));
            }
            _ => told.refused += 1,
        }
    }

    /// Without If-Match: a patch is of what is there.
    async fn patch(&mut self, identity: usize, turn: usize) {
        let word = format!("{}-{turn}", self.number);
        let patch = json!([{ "op": "add", "path": "/identifier/-", "value": { "value": word } }]);
        let request = format!(
            "PATCH Patient?identifier={SYSTEM}|{identity}\nContent-Type: application/json-patch+json"
        );
        let answer = self.site.send(&request, &patch.to_string()).await;
        if acknowledged(&answer, &[200, 404]) == 200 {
            self.told[identity].words.insert(word);
        }
    }

    /// Without If-Match: the last one stands, and all are in the history.
    async fn set(&mut self, identity: usize, turn: usize) {
        let word = format!("{}-{turn}", self.number);
        let person = json!({
            "resourceType": "Person",
            "identifier": [{ "system": SYSTEM, "value": identity.to_string() }],
            "name": [{ "text": word }],
        });
        let request = format!("PUT Person?identifier={SYSTEM}|{identity}");
        let answer = self.site.send(&request, &person.to_string()).await;
        acknowledged(&answer, &[200, 201]);
        assert!(self.told[identity].set.insert((version(&answer), word)));
    }
}

/// The status, which is one of these.
fn acknowledged(answer: &Answer, expect: &[u16]) -> u16 {
    assert!(
        expect.contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text
    );
    answer.status
}

/// All versions of the one resource of a type with the identity, oldest first.
async fn versions(site: &Site, kind: &str, identity: usize) -> Vec<Value> {
    let request = format!("GET {kind}?identifier={SYSTEM}|{identity}");
    let found = site.check(&request, "", "200 ; /total = 1").await.json();
    let id = found["entry"][0]["resource"]["id"].as_str().unwrap();
    let resources = pages(
        site,
        &format!("{kind}/{id}/_history?_count=1000&_sort=_lastUpdated"),
    )
    .await;
    assert_eq!(resources.last(), Some(&found["entry"][0]["resource"]));
    for (at, resource) in resources.iter().enumerate() {
        assert_eq!(resource["meta"]["versionId"], (at + 1).to_string());
    }
    resources
}

async fn pages(site: &Site, path: &str) -> Vec<Value> {
    let mut resources = Vec::new();
    let mut next = Some(path.to_string());
    while let Some(path) = next {
        let mut page = site.check(&format!("GET {path}"), "", "200").await.json();
        let entries = page["entry"].as_array_mut().into_iter().flatten();
        resources.extend(entries.map(|entry| entry["resource"].take()));
        let mut links = page["link"].as_array().into_iter().flatten();
        let link = links.find(|link| link["relation"] == "next");
        next = link.map(|link| link["url"].as_str().unwrap().to_string());
    }
    resources
}

async fn check(site: &Site, identity: usize, told: &Told) {
    assert_eq!(
        told.created, 1,
        "identity {identity} was created several times"
    );
    let versions_of_patient = versions(site, "Patient", identity).await;
    let last = versions_of_patient.last().unwrap();
    assert_eq!(last["multipleBirthInteger"], told.counted);
    let identifiers = last["identifier"].as_array().unwrap().iter().skip(1);
    let words = identifiers.map(|identifier| identifier["value"].as_str().unwrap().to_string());
    assert_eq!(words.collect::<BTreeSet<String>>(), told.words);
    assert_eq!(
        versions_of_patient.len(),
        1 + told.counted + told.words.len()
    );

    let search = format!("Observation?patient.identifier={SYSTEM}|{identity}&_count=1000");
    let about = pages(site, &search).await;
    let about = about
        .iter()
        .map(|about| format!("Observation/{}", about["id"].as_str().unwrap()));
    assert_eq!(about.collect::<BTreeSet<String>>(), told.about);

    let words = versions(site, "Person", identity).await.into_iter();
    let words = words.map(|person| person["name"][0]["text"].as_str().unwrap().to_string());
    let set: BTreeSet<(usize, String)> = (1..).zip(words).collect();
    assert_eq!(set, told.set);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_of_few_identities() {
    let seconds = match std::env::var("RACE_SECONDS") {
        Ok(seconds) => seconds.parse().expect("RACE_SECONDS is a number"),
        Err(_) => 4,
    };
    let site = site::for_crowds();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let told = vec![Told::default(); IDENTITIES];
        let site = site.clone();
        clients.spawn(Client { site, number, told }.work(until));
    }
    let mut all = vec![Told::default(); IDENTITIES];
    for of_client in clients.join_all().await {
        for (sum, told) in all.iter_mut().zip(of_client) {
            sum.created += told.created;
            sum.counted += told.counted;
            sum.refused += told.refused;
            sum.words.extend(told.words);
            sum.about.extend(told.about);
            sum.set.extend(told.set);
        }
    }
    for (identity, told) in all.iter().enumerate() {
        check(&site, identity, told).await;
    }
    let sum = |of: fn(&Told) -> usize| all.iter().map(of).sum::<usize>();
    println!(
        "{seconds} s: {} counted, {} refused by If-Match, {} patches, {} blind updates, {} in transactions",
        sum(|told| told.counted),
        sum(|told| told.refused),
        sum(|told| told.words.len()),
        sum(|told| told.set.len()),
        sum(|told| told.about.len()),
    );
}
