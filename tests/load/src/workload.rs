//! The workloads: what is asked, and what the answer must be. An answer that is wrong ends the run.

use load_driver::client::{Client, Failure};
use load_driver::generate::{self, IDENTIFIER_SYSTEM, LOINC, OBSERVATIONS, RECORD_SIZE, Random};
use reqwest::Method;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
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

/// One connection's state.
#[derive(Default)]
pub struct Worker {
    client: Client,
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

    async fn expect(
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
        let answer = self
            .expect(
                200,
                Method::POST,
                &target.base,
                Some(&generate::transaction(target.seed, first, records)),
            )
            .await?;
        let entries = answer["entry"]
            .as_array()
            .ok_or("a transaction-response without entries")?;
        if entries.len() as u64 != records * RECORD_SIZE {
            return Err(format!(
                "{} entries answered for {}",
                entries.len(),
                records * RECORD_SIZE
            ));
        }
        entries
            .iter()
            .step_by(RECORD_SIZE as usize)
            .map(|entry| id_of(entry["response"]["location"].as_str()))
            .collect()
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
            Workload::Crud => self.crud(target, i).await,
            Workload::Oru => {
                let message = generate::oru(target.seed, n, &format!("R{}-{i}", target.run));
                let ack = self
                    .client
                    .send(target.mllp.as_deref().ok_or("no --mllp address")?, &message)
                    .await?;
                // A message without a map is accepted as well, with a warning.
                let is_clean = !ack.contains("\rERR|");
                match ack.split('\r').find(|line| line.starts_with("MSA")) {
                    Some(msa) if msa.starts_with("MSA|AA|") && is_clean => Ok(()),
                    _ => Err(format!("not accepted without a warning: {ack}")),
                }
            }
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

fn matches(bundle: &Value) -> Vec<&Value> {
    bundle["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|e| e["search"]["mode"] == "match")
        .map(|e| &e["resource"])
        .collect()
}

fn same(what: &str, got: &Value, expect: &Value) -> Result<(), Failure> {
    if got == expect {
        Ok(())
    } else {
        Err(format!("{what} is {got} instead of {expect}"))
    }
}

fn id_of(location: Option<&str>) -> Result<String, Failure> {
    let parts: Vec<&str> = location
        .ok_or("an entry without location")?
        .split('/')
        .collect();
    let at = parts
        .iter()
        .position(|p| *p == "Patient")
        .ok_or("a location of another type")?;
    parts
        .get(at + 1)
        .map(|id| (*id).to_owned())
        .ok_or_else(|| "a location without id".into())
}

fn encode(text: &str) -> String {
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
