//! A client over REST. It sends again what had no answer, where it may: updates under If-Match, conditional creates, deletions. A plain
//! create or transaction without an answer stays open, and the check must find it whole or not at all.

use crate::content::{self, MARK, NAME};
use crate::ledger::{Deletion, Kind, Ledger, Print, print};
use load_driver::client::{Answer, Client};
use load_driver::generate::Random;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a sender goes on with one request.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Resources a writer keeps for later updates and deletions.
const OWNED_MAX: usize = 40;
/// Resources that all writers update.
const CONTENDED: u64 = 3;

/// What all clients of a round share.
pub struct Round {
    /// FHIR bases that lead to the same data.
    pub bases: Vec<String>,
    /// Addresses of listeners.
    pub listeners: Vec<String>,
    pub ledger: Arc<Ledger>,
    pub stop: AtomicBool,
    /// Begins the names of everything this round makes.
    pub name: String,
    /// Identities that several clients make at the same time.
    pub shared: AtomicU64,
    /// Records of transactions and patients of messages, other ones in each round.
    pub first: u64,
    /// One write in so many is searched for when it is acknowledged.
    pub looks: u64,
}

pub struct Writer {
    round: Arc<Round>,
    client: Client,
    random: Random,
    name: String,
    number: u64,
    /// The server it talks to; another one when this does not answer.
    at: usize,
    owned: Vec<Owned>,
}

struct Owned {
    name: String,
    id: String,
    version: u32,
}

struct Request<'a> {
    method: Method,
    path: &'a str,
    header: Option<(&'a str, &'a str)>,
    body: Option<&'a Value>,
}

impl Writer {
    pub fn new(round: Arc<Round>, number: u64, random: Random) -> Writer {
        Writer {
            name: format!("{}-{number}", round.name),
            at: number as usize,
            round,
            client: Client::new(),
            random,
            number: 0,
            owned: Vec::new(),
        }
    }

    pub async fn run(mut self) {
        while !self.round.stop.load(Ordering::Relaxed) {
            self.number += 1;
            match self.random.below(100) {
                0..25 => self.create().await,
                25..50 => self.update().await,
                50..68 => self.create_if_none_exists().await,
                68..76 => self.delete().await,
                76..88 => self.update_contended().await,
                kind => self.transact(kind % 2 == 0).await,
            }
        }
    }

    async fn create(&mut self) {
        let name = format!("{}-{}", self.name, self.number);
        let patient = content::patient(&name, &mark(&name, 1));
        let print = print(&patient);
        self.ledger().intend(&name, "Patient", print);
        let request = Request {
            method: Method::POST,
            path: "/Patient",
            header: None,
            body: Some(&patient),
        };
        let Some(answer) = self.ask(&request).await else {
            return;
        };
        if self.is(&answer, &[201], &request) {
            self.created(name, &answer, print).await;
        }
    }

    async fn created(&mut self, name: String, answer: &Answer, print: Print) {
        let Some((id, version)) = answer.location.as_deref().and_then(located) else {
            let text = format!("{name}: {} without a Location of a version", answer.status);
            return self.ledger().find(Kind::Answer, text);
        };
        self.ledger().acknowledge(&name, &id, version, print);
        self.ledger().wrote();
        let owned = Owned { name, id, version };
        self.look(&owned, true).await;
        if self.owned.len() < OWNED_MAX {
            self.owned.push(owned);
        }
    }

    async fn update(&mut self) {
        if self.owned.is_empty() {
            return self.create().await;
        }
        let at = self.random.below(self.owned.len() as u64) as usize;
        let owned = self.owned.swap_remove(at);
        // What was written a while ago is not masked any more.
        self.look(&owned, true).await;
        let Owned { name, id, version } = owned;
        let mut patient = content::patient(&name, &mark(&name, version + 1));
        patient["id"] = json!(id);
        let print = print(&patient);
        self.ledger().intend(&name, "Patient", print);
        let (path, matched) = (format!("/Patient/{id}"), format!("W/\"{version}\""));
        let request = Request {
            method: Method::PUT,
            path: &path,
            header: Some(("if-match", &matched)),
            body: Some(&patient),
        };
        let Some((answer, is_repeated)) = self.insist(&request).await else {
            return;
        };
        let done = match answer.status {
            // Nobody else writes it: this is the first attempt, which had no answer.
            412 if is_repeated => Some(version + 1),
            _ if self.is(&answer, &[200], &request) => answer.etag.as_deref().and_then(tagged),
            _ => return,
        };
        let Some(done) = done else {
            let text = format!("{path}: 200 without an ETag of a version");
            return self.ledger().find(Kind::Answer, text);
        };
        self.ledger().acknowledge(&name, &id, done, print);
        self.ledger().wrote();
        let owned = Owned {
            name,
            id,
            version: done,
        };
        self.look(&owned, true).await;
        self.owned.push(owned);
    }

    /// A search sees what was acknowledged before it began, through any of the servers: the resource as this version says it, or that it is
    /// not there, and nothing as the version before said it.
    async fn look(&mut self, owned: &Owned, is_there: bool) {
        if !self.is_to_look() {
            return;
        }
        let Owned { name, id, version } = owned;
        let expect = match is_there {
            true => vec![(id.clone(), version.to_string())],
            false => Vec::new(),
        };
        self.finds(&format!("{MARK}|{}", mark(name, *version)), &expect)
            .await;
        if *version > 1 {
            self.finds(&format!("{MARK}|{}", mark(name, version - 1)), &[])
                .await;
        }
    }

    /// Through another server than the one that has just answered.
    fn is_to_look(&mut self) -> bool {
        let is_due = self.random.below(self.round.looks) == 0;
        self.at += usize::from(is_due);
        is_due
    }

    /// The patients with an identifier, as id and version.
    async fn finds(&mut self, identifier: &str, expect: &[(String, String)]) {
        let path = format!("/Patient?identifier={identifier}&_total=accurate");
        let Some(body) = self.searched(&path).await else {
            return;
        };
        let entries = body["entry"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found: Vec<(String, String)> = entries
            .map(|entry| &entry["resource"])
            .map(|found| (text(&found["id"]), text(&found["meta"]["versionId"])))
            .collect();
        if found != expect || body["total"] != expect.len() {
            let total = &body["total"];
            let text =
                format!("{path}: total {total}, {found:?} after the acknowledgement of {expect:?}");
            self.ledger().find(Kind::Index, text);
        }
    }

    async fn counts(&mut self, path: &str, expect: usize) {
        let path = format!("{path}&_summary=count");
        if let Some(body) = self.searched(&path).await
            && body["total"] != expect
        {
            let total = &body["total"];
            let text = format!("{path}: {total} after the acknowledgement of {expect}");
            self.ledger().find(Kind::Index, text);
        }
    }

    async fn searched(&mut self, path: &str) -> Option<Value> {
        let request = Request {
            method: Method::GET,
            path,
            header: None,
            body: None,
        };
        let answer = self.ask(&request).await?;
        self.is(&answer, &[200], &request).then(|| {
            self.ledger().looked();
            answer.body
        })
    }

    /// The same identity by several clients, and again by each that has no answer.
    async fn create_if_none_exists(&mut self) {
        let shared = self.round.shared.fetch_add(1, Ordering::Relaxed) / 3;
        let name = format!("{}-shared-{shared}", self.round.name);
        self.make(&name).await;
    }

    async fn make(&mut self, name: &str) {
        let patient = content::patient(name, &mark(name, 1));
        let print = print(&patient);
        self.ledger().intend(name, "Patient", print);
        let condition = format!("identifier={NAME}|{name}");
        let request = Request {
            method: Method::POST,
            path: "/Patient",
            header: Some(("if-none-exist", &condition)),
            body: Some(&patient),
        };
        let Some((answer, _)) = self.insist(&request).await else {
            return;
        };
        if !self.is(&answer, &[200, 201], &request) {
            return;
        }
        match answer.location.as_deref().and_then(located) {
            // What was found may be in a later version; the first one is the same whoever made it.
            Some((id, _)) => self.ledger().acknowledge(name, &id, 1, print),
            None => {
                let text = format!("{name}: {} without a Location", answer.status);
                return self.ledger().find(Kind::Answer, text);
            }
        }
        self.ledger().wrote();
        if self.is_to_look() {
            let path = format!("/Patient?identifier={NAME}|{name}");
            self.counts(&path, 1).await;
        }
    }

    async fn delete(&mut self) {
        if self.owned.len() < 3 {
            return self.create().await;
        }
        let at = self.random.below(self.owned.len() as u64) as usize;
        let owned = self.owned.swap_remove(at);
        self.ledger().delete(&owned.name, Deletion::Possible);
        let path = format!("/Patient/{}", owned.id);
        let request = Request {
            method: Method::DELETE,
            path: &path,
            header: None,
            body: None,
        };
        if let Some((answer, _)) = self.insist(&request).await
            && self.is(&answer, &[200, 204], &request)
        {
            self.ledger().delete(&owned.name, Deletion::Done);
            self.ledger().wrote();
            self.look(&owned, false).await;
        }
    }

    /// Read, change, write back what was read: of several clients one succeeds, and no change is overwritten unseen.
    async fn update_contended(&mut self) {
        let which = self.random.below(CONTENDED);
        let name = format!("{}-contended-{which}", self.round.name);
        let find = format!("/Patient?identifier={NAME}|{name}");
        let request = Request {
            method: Method::GET,
            path: &find,
            header: None,
            body: None,
        };
        let Some(answer) = self.ask(&request).await else {
            return;
        };
        if !self.is(&answer, &[200], &request) {
            return;
        }
        let mut patient = answer.body["entry"][0]["resource"].clone();
        let (Some(id), Some(version)) = (
            patient["id"].as_str().map(str::to_owned),
            patient["meta"]["versionId"].as_str().map(str::to_owned),
        ) else {
            return self.make(&name).await;
        };
        content::mark(&mut patient, &format!("{}-{}", self.name, self.number));
        let print = print(&patient);
        self.ledger().intend(&name, "Patient", print);
        let (path, matched) = (format!("/Patient/{id}"), format!("W/\"{version}\""));
        let request = Request {
            method: Method::PUT,
            path: &path,
            header: Some(("if-match", &matched)),
            body: Some(&patient),
        };
        let Some(answer) = self.ask(&request).await else {
            return;
        };
        match answer.status {
            409 | 412 => self.ledger().withdraw(&name, print),
            _ if self.is(&answer, &[200], &request) => {
                let version = answer.etag.as_deref().and_then(tagged).unwrap_or_default();
                self.ledger().acknowledge(&name, &id, version, print);
                self.ledger().wrote();
            }
            _ => {}
        }
    }

    async fn transact(&mut self, is_conditional: bool) {
        let name = format!("{}-{}", self.name, self.number);
        let number = self.round.first + self.random.below(1 << 30);
        let (bundle, names) = content::transaction(&name, number, is_conditional);
        let entries = || bundle["entry"].as_array().into_iter().flatten();
        let prints: Vec<Print> = entries().map(|entry| print(&entry["resource"])).collect();
        for ((name, print), entry) in names.iter().zip(&prints).zip(entries()) {
            let resource_type = content::type_name(&entry["resource"]);
            self.ledger().intend(name, resource_type, *print);
        }
        self.ledger().together(names.clone());
        let request = Request {
            method: Method::POST,
            path: "",
            header: None,
            body: Some(&bundle),
        };
        let answer = match is_conditional {
            true => self.insist(&request).await.map(|(answer, _)| answer),
            false => self.ask(&request).await,
        };
        let Some(answer) = answer else { return };
        if !self.is(&answer, &[200], &request) {
            return;
        }
        let answered = answer.body["entry"].as_array().map_or(0, Vec::len);
        if answered != names.len() {
            let text = format!("{name}: {answered} entries answered of {}", names.len());
            return self.ledger().find(Kind::Half, text);
        }
        for (place, (name, print)) in names.iter().zip(prints).enumerate() {
            let location = answer.body["entry"][place]["response"]["location"].as_str();
            match location.and_then(located) {
                Some((id, version)) => self.ledger().acknowledge(name, &id, version, print),
                None => self
                    .ledger()
                    .find(Kind::Answer, format!("{name}: an entry without location")),
            }
        }
        self.ledger().wrote();
        if self.is_to_look() {
            let results =
                entries().filter(|entry| entry["resource"]["resourceType"] == "Observation");
            let path = format!(
                "/Observation?subject:Patient.identifier={NAME}|{}",
                names[0]
            );
            self.counts(&path, results.count()).await;
        }
    }

    fn ledger(&self) -> Arc<Ledger> {
        self.round.ledger.clone()
    }

    /// One attempt. `None`: no answer, or one that leaves open what happened.
    async fn ask(&mut self, request: &Request<'_>) -> Option<Answer> {
        let base = &self.round.bases[self.at % self.round.bases.len()];
        let url = format!("{base}{}", request.path);
        let headers: Vec<(&str, &str)> = request.header.into_iter().collect();
        let method = request.method.clone();
        let answered = self.client.ask(method, &url, &headers, request.body);
        // Now and then a client loses patience, or its network: the server must finish or undo what it does for nobody.
        let answer = match self.random.below(40) {
            0 => {
                let soon = Duration::from_millis(self.random.below(8));
                let in_time = tokio::time::timeout(soon, answered).await;
                in_time.unwrap_or_else(|_| Err("hung up".into()))
            }
            _ => answered.await,
        };
        match answer {
            Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                self.ledger().refused(&answer.status.to_string());
                // Whatever happens to the database, a client is told to come back, not that something is broken.
                if answer.body["resourceType"] != "OperationOutcome" || answer.status == 500 {
                    let text = format!("{url}: {} {}", answer.status, answer.body);
                    self.ledger().find(Kind::Answer, text);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
            Ok(answer) => Some(answer),
            Err(_) => {
                self.ledger().unanswered();
                self.at += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
                None
            }
        }
    }

    /// Attempts until there is an answer; tells whether there was more than one.
    async fn insist(&mut self, request: &Request<'_>) -> Option<(Answer, bool)> {
        let began = Instant::now();
        let mut is_repeated = false;
        while began.elapsed() < PATIENCE {
            if let Some(answer) = self.ask(request).await {
                return Some((answer, is_repeated));
            }
            is_repeated = true;
        }
        let text = format!(
            "{} {}: not done in {PATIENCE:?}",
            request.method, request.path
        );
        self.ledger().find(Kind::Silent, text);
        None
    }

    fn is(&self, answer: &Answer, expect: &[u16], request: &Request<'_>) -> bool {
        let is_expected = expect.contains(&answer.status);
        if !is_expected {
            let said = &answer.body["issue"][0]["diagnostics"];
            let (method, path) = (&request.method, request.path);
            let text = format!("{method} {path}: {} {said}", answer.status);
            self.ledger().find(Kind::Answer, text);
        }
        is_expected
    }
}

/// What a version of an owned resource is found by.
fn mark(name: &str, version: u32) -> String {
    format!("{name}.{version}")
}

/// Id and version of `…/Type/id/_history/version`.
fn located(location: &str) -> Option<(String, u32)> {
    let mut parts = location.rsplit('/');
    let version = parts.next()?.parse().ok()?;
    let id = parts.nth(1)?;
    Some((id.to_owned(), version))
}

/// The version of `W/"1"`.
pub fn tagged(etag: &str) -> Option<u32> {
    etag.strip_prefix("W/\"")?.strip_suffix('"')?.parse().ok()
}
