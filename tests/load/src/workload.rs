//! The workloads: what is asked, and what the answer must be. An answer that is wrong ends the run.

use crate::searches;
use clap::ValueEnum;
use load_driver::client::{Client, Failure};
use load_driver::generate::{self, IDENTIFIER_SYSTEM, LOINC, OBSERVATIONS, RECORD_SIZE, Random};
use load_driver::mixed::{self, Before};
use reqwest::Method;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    Create,
    Read,
    Identifier,
    NameBirthdateSort,
    CodeDateSort,
    ChainInclude,
    Transaction,
    Crud,
    Oru,
    /// Results, registrations and updates of patients, over MLLP.
    MixedV2,
    /// A hundred entries of every kind.
    Mixed,
    /// 5,000 entries that refer to each other.
    Large,
    /// 5,000 entries: 500 conditional creates and what refers to them.
    LargeConditional,
    /// 5,000 entries, most of them with a conditional reference.
    LargeReferring,
    PatientCodeDate,
    CodeValue,
    /// `_has`, which half of the patients meet.
    Has,
    /// `_include` and `_revinclude` of one encounter.
    Includes,
    /// A household, by when it was updated.
    Rare,
    AccurateTotal,
    /// Each page of a walk by `next`.
    DeepPage,
    SortedByToken,
    /// How many match three conditions, each of which many meet.
    FilteredTotal,
    /// A write, and a search for what it wrote: [`crate::strong`].
    Strong,
}

/// Records in a large transaction.
const LARGE: u64 = 500;

impl Workload {
    /// Those that are measured where none is named.
    pub fn usual() -> &'static [Workload] {
        let all = Workload::value_variants();
        let large = all.iter().position(|one| *one == Workload::PatientCodeDate);
        &all[..large.unwrap_or(all.len())]
    }

    /// Whether its requests go over MLLP.
    pub fn is_v2(self) -> bool {
        matches!(self, Workload::Oru | Workload::MixedV2)
    }

    /// How many of its requests weigh as much as `requests` of one resource.
    pub fn requests(self, requests: u64) -> u64 {
        let weight = match self {
            Workload::Transaction | Workload::Mixed => 20,
            Workload::Large | Workload::LargeConditional | Workload::LargeReferring => 1_000,
            Workload::AccurateTotal => 200,
            Workload::Has | Workload::FilteredTotal => 20,
            _ => 1,
        };
        (requests / weight).max(1)
    }
}

/// What all workers share.
pub struct Target {
    pub base: String,
    pub mllp: Option<String>,
    pub seed: u64,
    /// Records loaded before.
    pub records: u64,
    /// Ids of loaded patients, for reads.
    pub patients: Vec<String>,
    /// Makes new records of this run differ from those of another.
    pub run: u64,
}

impl Target {
    /// The same of another server.
    pub fn at(&self, base: String) -> Target {
        Target {
            base,
            mllp: self.mllp.clone(),
            patients: self.patients.clone(),
            ..*self
        }
    }
}

/// One connection's state.
#[derive(Default)]
pub struct Worker {
    client: Client,
    /// Of the last transaction of [`Workload::Mixed`].
    before: Option<Before>,
    /// The next page of [`Workload::DeepPage`], and how many there were.
    page: Option<(String, u64)>,
}

impl Worker {
    async fn ask(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failure> {
        let answer = self.client.ask(method, url, &[], body).await?;
        Ok((answer.status, answer.body))
    }

    pub async fn expect(
        &self,
        status: u16,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        match self.ask(method.clone(), url, body).await? {
            (got, value) if got == status => Ok(value),
            (got, value) => Err(format!(
                "{method} {url}: {got} instead of {status}: {value}"
            )),
        }
    }

    /// Loads whole records; gives the patients' ids.
    pub async fn load(
        &self,
        target: &Target,
        first: u64,
        records: u64,
    ) -> Result<Vec<String>, Failure> {
        let bundle = generate::transaction(target.seed, first, records);
        let places = self.transact(target, &bundle).await?;
        let patients = places.iter().step_by(RECORD_SIZE as usize);
        patients
            .map(|place| match place.split_once('/') {
                Some(("Patient", id)) => Ok(id.to_owned()),
                _ => Err(format!("a patient at {place}")),
            })
            .collect()
    }

    /// Sends a transaction that creates all of its entries; gives their places.
    async fn transact(&self, target: &Target, bundle: &Value) -> Result<Vec<String>, Failure> {
        let answer = self
            .expect(200, Method::POST, &target.base, Some(bundle))
            .await?;
        let places: Vec<String> = entries(&answer)
            .filter(|entry| status(entry) == "201")
            .filter_map(|entry| place(entry["response"]["location"].as_str()?))
            .collect();
        let sent = entries(bundle).count();
        match places.len() == sent {
            true => Ok(places),
            false => Err(format!("{} entries created of {sent}", places.len())),
        }
    }

    /// A transaction of every kind of entry, about the records of the one before.
    async fn mixed(
        &mut self,
        target: &Target,
        first: u64,
        mut random: Random,
    ) -> Result<(), Failure> {
        let before = match self.before.take() {
            Some(before) => before,
            None => {
                let first = first + 500_000_000;
                let bundle = generate::transaction(target.seed, first, mixed::RECORDS);
                let places = self.transact(target, &bundle).await?;
                Before { first, places }
            }
        };
        let mut n = random.below(target.records.max(1));
        let known = || {
            n = (n + 1) % target.records.max(1);
            n
        };
        let bundle = mixed::transaction(target.seed, first, &before, known);
        let answer = self
            .expect(200, Method::POST, &target.base, Some(&bundle))
            .await?;
        for (at, (entry, expect)) in entries(&answer).zip(mixed::statuses()).enumerate() {
            if status(entry) != expect {
                return Err(format!("entry {at} is {entry} instead of {expect}"));
            }
        }
        let places = entries(&answer)
            .take((mixed::RECORDS * RECORD_SIZE) as usize)
            .filter_map(|entry| place(entry["response"]["location"].as_str()?))
            .collect();
        self.before = Some(Before { first, places });
        Ok(())
    }

    /// The i-th request of a workload.
    pub async fn run(
        &mut self,
        workload: Workload,
        target: &Target,
        i: u64,
    ) -> Result<(), Failure> {
        let base = &target.base;
        let mut random = Random::new(target.seed ^ 0xABCD, target.run << 32 | i);
        let n = random.below(target.records.max(1));
        let fresh = 50_000_000 + (target.run % 1000) * 10_000_000 + i;
        let large =
            1_000_000_000 + (target.run % 1000 * 4 + workload as u64 % 4) * 25_000_000 + i * LARGE;
        match workload {
            Workload::Create => {
                let patient = generate::patient(target.seed, fresh);
                let answer = self
                    .expect(
                        201,
                        Method::POST,
                        &format!("{base}/Patient"),
                        Some(&patient),
                    )
                    .await?;
                same("identifier", &answer["identifier"], &patient["identifier"])
            }
            Workload::Read => {
                let id = &target.patients[random.below(target.patients.len() as u64) as usize];
                let answer = self
                    .expect(200, Method::GET, &format!("{base}/Patient/{id}"), None)
                    .await?;
                same("id", &answer["id"], &json!(id))
            }
            Workload::Identifier => {
                let value = generate::person(target.seed, n).identifier;
                let bundle = self
                    .expect(
                        200,
                        Method::GET,
                        &format!("{base}/Patient?identifier={IDENTIFIER_SYSTEM}|{value}"),
                        None,
                    )
                    .await?;
                let found = matches(&bundle);
                if found.len() != 1 {
                    return Err(format!("{} patients with one identifier", found.len()));
                }
                same(
                    "identifier",
                    &found[0]["identifier"][0]["value"],
                    &json!(value),
                )
            }
            Workload::NameBirthdateSort => {
                let family = generate::person(target.seed, n).family;
                let year = 1940 + random.below(80);
                let url = format!(
                    "{base}/Patient?family={}&birthdate=ge{year}&birthdate=lt{}&_sort=birthdate&_count=20",
                    encode(family),
                    year + 5
                );
                let bundle = self.expect(200, Method::GET, &url, None).await?;
                let dates: Vec<&str> = matches(&bundle)
                    .iter()
                    .filter_map(|p| p["birthDate"].as_str())
                    .collect();
                let inside = |d: &&str| {
                    d[..4]
                        .parse::<u64>()
                        .is_ok_and(|y| (year..year + 5).contains(&y))
                };
                if !dates.is_sorted() || !dates.iter().all(inside) {
                    return Err(format!("{url}: not in order or out of range"));
                }
                match matches(&bundle).iter().all(|p| {
                    p["name"]
                        .as_array()
                        .is_some_and(|names| names.iter().any(|n| n["family"] == family))
                }) {
                    true => Ok(()),
                    false => Err(format!("{url}: another family name")),
                }
            }
            Workload::CodeDateSort => {
                let code = generate::observation(
                    target.seed,
                    n,
                    i % OBSERVATIONS,
                    "Patient/1",
                    None,
                )["code"]["coding"][0]["code"]
                    .clone();
                let code = code.as_str().unwrap_or_default();
                let (year, month) = (2024 + random.below(3), 1 + random.below(9));
                let url = format!(
                    "{base}/Observation?code={LOINC}|{code}&date=ge{year}-{month:02}-01&date=lt{year}-{:02}-01&_sort=-date&_count=20",
                    month + 1
                );
                let bundle = self.expect(200, Method::GET, &url, None).await?;
                let dates: Vec<&str> = matches(&bundle)
                    .iter()
                    .filter_map(|o| o["effectiveDateTime"].as_str())
                    .collect();
                if !dates.iter().rev().is_sorted() {
                    return Err(format!("{url}: not in order"));
                }
                match matches(&bundle)
                    .iter()
                    .all(|o| o["code"]["coding"][0]["code"] == code)
                {
                    true => Ok(()),
                    false => Err(format!("{url}: another code")),
                }
            }
            Workload::ChainInclude => {
                let value = generate::person(target.seed, n).identifier;
                let url = format!(
                    "{base}/Observation?subject:Patient.identifier={IDENTIFIER_SYSTEM}|{value}&_include=Observation:subject&_count=50"
                );
                let bundle = self.expect(200, Method::GET, &url, None).await?;
                let included = bundle["entry"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|e| e["search"]["mode"] == "include")
                    .count();
                if matches(&bundle).len() < OBSERVATIONS as usize || included != 1 {
                    return Err(format!(
                        "{url}: {} matches, {included} included",
                        matches(&bundle).len()
                    ));
                }
                Ok(())
            }
            Workload::Transaction => self.load(target, fresh * 10, 10).await.map(drop),
            Workload::Mixed => self.mixed(target, fresh * 16, random).await,
            Workload::Large => self.load(target, large, LARGE).await.map(drop),
            Workload::LargeConditional => {
                let bundle = generate::conditional_transaction(target.seed, large, LARGE);
                self.transact(target, &bundle).await.map(drop)
            }
            Workload::LargeReferring => {
                let bundle = generate::referring_transaction(target.seed, large, LARGE);
                self.transact(target, &bundle).await.map(drop)
            }
            Workload::Crud => self.crud(target, i).await,
            Workload::DeepPage => self.page(target).await,
            Workload::PatientCodeDate
            | Workload::CodeValue
            | Workload::Has
            | Workload::Includes
            | Workload::Rare
            | Workload::AccurateTotal
            | Workload::SortedByToken
            | Workload::FilteredTotal => {
                let url = searches::url(workload, target, n, &mut random);
                let url = format!("{base}/{}", url.unwrap_or_default());
                let bundle = self.expect(200, Method::GET, &url, None).await?;
                searches::check(workload, target, n, &bundle).map_err(|why| format!("{url}: {why}"))
            }
            Workload::Strong => Err("it is measured by itself".to_owned()),
            Workload::Oru => {
                let message = generate::oru(target.seed, n, &format!("R{}-{i}", target.run));
                self.message(target, &message).await
            }
            Workload::MixedV2 => {
                let control_id = format!("M{}-{i}", target.run);
                let message = match i % 4 {
                    1 => generate::adt(target.seed, n, &control_id),
                    3 => generate::adt_update(target.seed, n, i, &control_id),
                    _ => generate::oru(target.seed, n, &control_id),
                };
                self.message(target, &message).await
            }
        }
    }

    async fn message(&mut self, target: &Target, message: &str) -> Result<(), Failure> {
        let ack = self
            .client
            .send(target.mllp.as_deref().ok_or("no --mllp address")?, message)
            .await?;
        // A message without a map is accepted as well, with a warning.
        let is_clean = !ack.contains("\rERR|");
        match ack.split('\r').find(|line| line.starts_with("MSA")) {
            Some(msa) if msa.starts_with("MSA|AA|") && is_clean => Ok(()),
            _ => Err(format!("not accepted without a warning: {ack}")),
        }
    }

    /// The next page of a walk; a new walk after [`searches::DEEP_PAGES`].
    async fn page(&mut self, target: &Target) -> Result<(), Failure> {
        let (url, number) = match self.page.take() {
            Some((url, number)) if number < searches::DEEP_PAGES => (url, number),
            _ => {
                let first = searches::url(Workload::DeepPage, target, 0, &mut Random::new(0, 0));
                (format!("{}/{}", target.base, first.unwrap_or_default()), 0)
            }
        };
        let bundle = self.expect(200, Method::GET, &url, None).await?;
        self.page = searches::next(&bundle).map(|url| (url, number + 1));
        match &self.page {
            Some(_) => searches::check(Workload::DeepPage, target, 0, &bundle),
            None => Ok(()),
        }
    }

    /// Create, read, update, search and delete of one resource of one of nine types.
    async fn crud(&self, target: &Target, i: u64) -> Result<(), Failure> {
        const TYPES: [&str; 9] = [
            "Patient",
            "Encounter",
            "Observation",
            "Condition",
            "Organization",
            "Practitioner",
            "Location",
            "Procedure",
            "AllergyIntolerance",
        ];
        let (base, kind) = (&target.base, TYPES[(i % 9) as usize]);
        let n = 900_000_000 + target.run % 1000 * 1_000_000 + i;
        let subject = format!(
            "Patient/{}",
            target.patients[(i % target.patients.len() as u64) as usize]
        );
        let mut resource = match kind {
            "Patient" => generate::patient(target.seed, n),
            "Encounter" => generate::encounter(target.seed, n, &subject),
            "Observation" => generate::observation(target.seed, n, 0, &subject, None),
            "Condition" => {
                let mut condition = generate::condition(target.seed, n, &subject, "Encounter/none");
                condition.as_object_mut().map(|c| c.remove("encounter"));
                condition
            }
            "Procedure" => {
                json!({"resourceType": kind, "status": "completed", "subject": {"reference": subject}, "code": {"text": "Dressing of wound"}})
            }
            "AllergyIntolerance" => {
                json!({"resourceType": kind, "patient": {"reference": subject}, "code": {"text": "Penicillin"}})
            }
            "Practitioner" => json!({"resourceType": kind, "name": [{"family": "Abate"}]}),
            _ => json!({"resourceType": kind, "name": "Health post"}),
        };
        let tag = format!("t{n}");
        resource["meta"] = json!({"tag": [{"system": "http://load.example.org", "code": tag}]});
        let created = self
            .expect(
                201,
                Method::POST,
                &format!("{base}/{kind}"),
                Some(&resource),
            )
            .await?;
        let id = created["id"]
            .as_str()
            .ok_or("a created resource without id")?
            .to_owned();
        let url = format!("{base}/{kind}/{id}");
        let mut read = self.expect(200, Method::GET, &url, None).await?;
        read["language"] = json!("en");
        let updated = self.expect(200, Method::PUT, &url, Some(&read)).await?;
        same("versionId", &updated["meta"]["versionId"], &json!("2"))?;
        let bundle = self
            .expect(
                200,
                Method::GET,
                &format!("{base}/{kind}?_tag=http://load.example.org|{tag}"),
                None,
            )
            .await?;
        if matches(&bundle).len() != 1 {
            return Err(format!("{kind}: {} found by tag", matches(&bundle).len()));
        }
        match self.ask(Method::DELETE, &url, None).await?.0 {
            200 | 204 => Ok(()),
            status => Err(format!("DELETE {url}: {status}")),
        }
    }
}

pub fn matches(bundle: &Value) -> Vec<&Value> {
    bundle["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|e| e["search"]["mode"] == "match")
        .map(|e| &e["resource"])
        .collect()
}

pub fn same(what: &str, got: &Value, expect: &Value) -> Result<(), Failure> {
    if got == expect {
        Ok(())
    } else {
        Err(format!("{what} is {got} instead of {expect}"))
    }
}

pub fn entries(bundle: &Value) -> impl Iterator<Item = &Value> {
    bundle["entry"].as_array().into_iter().flatten()
}

/// The number of `201 Created`.
fn status(entry: &Value) -> &str {
    let status = entry["response"]["status"].as_str().unwrap_or_default();
    status.split(' ').next().unwrap_or_default()
}

/// `Type/id` of a location.
fn place(location: &str) -> Option<String> {
    let mut parts = location.split("/_history").next()?.rsplit('/');
    let (id, resource_type) = (parts.next()?, parts.next()?);
    Some(format!("{resource_type}/{id}"))
}

pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                (b as char).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
