//! More than can be served: first what can be, with requests that wait for their answers; then a multiple of that, which come whether or
//! not there were answers; then what is left of it.
//!
//! What must hold of any server: nothing acknowledged is lost, who is refused is told when to come back, health is told, memory has a
//! bound, and soon after the flood everything is as before.

use crate::measure;
use crate::mllp_flood::{self, Acknowledged};
use crate::workload::Target;
use load_driver::client::Failure;
use load_driver::generate::{self, IDENTIFIER_SYSTEM, LOINC, OBSERVATIONS, Random};
use reqwest::{Client, Method, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How the flood is made.
#[derive(clap::Args, Clone, Debug)]
pub struct Flood {
    /// Offer more load than can be served instead of measuring workloads.
    #[arg(long)]
    pub overload: bool,
    /// How many times the load that can be served.
    #[arg(long, default_value_t = 10)]
    pub overload_factor: u64,
    #[arg(long, default_value_t = 20)]
    pub overload_seconds: u64,
    /// Most requests on the way; what would need more is counted as not offered.
    #[arg(long, default_value_t = 1_000)]
    pub overload_connections: usize,
    /// MLLP connections that send without waiting for answers.
    #[arg(long, default_value_t = 64)]
    pub overload_mllp_connections: u64,
    /// URLs that must answer 200 all the time.
    #[arg(long, value_delimiter = ',')]
    pub health: Vec<String>,
}

/// Connections with which the capacity is measured, and for how long.
const CAPACITY_CONNECTIONS: usize = 16;
const CAPACITY_SECONDS: u64 = 8;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Back to normal: this many requests one after the other no slower than before the flood.
const NORMAL_RUN: usize = 12;
const RECOVERY_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Read,
    Identifier,
    Search,
    /// 1,000 matches.
    Page,
    Create,
    /// 100 entries.
    Transaction,
    /// 2,000 entries, over 1 MB.
    Large,
}

/// How many of a thousand requests are of a kind.
const MIX: &[(Kind, u64)] = &[
    (Kind::Read, 450),
    (Kind::Identifier, 150),
    (Kind::Search, 150),
    (Kind::Page, 8),
    (Kind::Create, 200),
    (Kind::Transaction, 40),
    (Kind::Large, 2),
];

/// Runs the three parts and prints them.
///
/// # Errors
/// What did not hold, one a line.
pub async fn run(target: Arc<Target>, flood: &Flood, pids: &[u32]) -> Result<(), Failure> {
    let site = Arc::new(Site::new(target)?);
    let mut wrong = Vec::new();

    let normal = site.normal_latency().await?;
    println!("before: {normal:.1} ms is the slowest of 300 plain requests but three");

    let capacity = capacity(&site).await?;
    println!(
        "served: {capacity:.0} requests a second of the mix with {CAPACITY_CONNECTIONS} connections"
    );
    println!("memory before {:.0} MB", measure::memory_mb(pids));

    let rate = capacity * flood.overload_factor as f64;
    let running = Arc::new(AtomicBool::new(true));
    let watch = tokio::task::spawn_blocking({
        let (pids, running) = (pids.to_vec(), running.clone());
        move || watch(&pids, &running)
    });
    let health: Vec<_> = flood
        .health
        .iter()
        .map(|url| {
            tokio::task::spawn_blocking({
                let (url, running) = (url.clone(), running.clone());
                // On a thread of its own: what is slow is then the server, not this driver.
                || {
                    Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .map(|own| own.block_on(probe(url, running)))
                }
            })
        })
        .collect();
    let mllp = tokio::spawn(mllp_flood::run(
        site.target.clone(),
        flood.overload_mllp_connections,
        running.clone(),
    ));
    let began = Instant::now();
    let (mut on_the_way, offered) = offer(&site, rate, flood).await;
    let seconds = began.elapsed().as_secs_f64();
    running.store(false, Relaxed);

    // What is on the way stays there: the server has to come back to normal with it.
    match site.recovery(normal).await {
        Some(after) if after <= RECOVERY_MAX => {
            println!("back to normal after {:.1} s", after.as_secs_f64())
        }
        after => wrong.push(format!(
            "not back to normal within {} s: {after:?}",
            RECOVERY_MAX.as_secs()
        )),
    }
    let _ = timeout(PATIENCE, async {
        while on_the_way.join_next().await.is_some() {}
    })
    .await;
    on_the_way.abort_all();
    let peak = watch.await.map_err(|e| e.to_string())?;

    println!(
        "offered: {:.0} a second for {seconds:.0} s, {:.1} times what can be served; {} more wanted than there were connections",
        offered.sent as f64 / seconds,
        offered.sent as f64 / seconds / capacity,
        offered.not_sent
    );
    site.counted().print();
    println!(
        "memory at most {peak:.0} MB, after {:.0} MB",
        measure::memory_mb(pids)
    );
    for probe in health {
        let seen = probe
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        println!(
            "{}: {} of {} said 200, {:.0} ms the slowest",
            seen.url, seen.good, seen.asked, seen.slowest_ms
        );
        if seen.good < seen.asked {
            wrong.push(format!(
                "{} did not always answer 200: {}",
                seen.url, seen.bad
            ));
        }
    }
    let acknowledged = mllp.await.map_err(|e| e.to_string())?;
    println!(
        "mllp: {} sent without waiting, answered {:?}, {} not read or not answered",
        acknowledged.sent, acknowledged.codes, acknowledged.unanswered
    );

    wrong.extend(site.counted().wrong.clone());
    wrong.extend(site.check_acknowledged(&acknowledged).await?);
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

/// A server, what is sent to it, and what it answered.
struct Site {
    target: Arc<Target>,
    client: Client,
    creates: Vec<String>,
    transactions: Vec<String>,
    large: String,
    counted: Mutex<Counted>,
}

/// How requests ended.
#[derive(Default)]
struct Counted {
    kinds: BTreeMap<Kind, Ends>,
    /// `Type/id` of what was said to be stored.
    stored: Vec<String>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Ends {
    served: Vec<Duration>,
    refused: BTreeMap<u16, u64>,
    refused_times: Vec<Duration>,
    no_answer: u64,
}

struct Offered {
    sent: u64,
    not_sent: u64,
}

/// Answers that are wrong are listed up to this many.
const WRONG_MAX: usize = 20;

impl Site {
    fn new(target: Arc<Target>) -> Result<Site, Failure> {
        // Of a seed of their own: nothing of it has the identifier of a loaded record.
        let seed = target.seed ^ 0x0F10_0D00;
        let first = target.run * 10_000;
        let transaction = |n: u64| generate::transaction(seed, first + n * 10, 10).to_string();
        Ok(Site {
            creates: (0..64)
                .map(|n| generate::patient(seed, first + 5_000 + n).to_string())
                .collect(),
            transactions: (0..32).map(transaction).collect(),
            large: generate::transaction(seed, first + 6_000, 200).to_string(),
            client: Client::builder()
                .no_gzip()
                .pool_max_idle_per_host(100_000)
                .timeout(PATIENCE)
                .build()
                .map_err(|e| e.to_string())?,
            counted: Mutex::default(),
            target,
        })
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The i-th request of the mix.
    async fn ask(&self, kind: Kind, i: u64) -> Result<Response, reqwest::Error> {
        let target = &self.target;
        let base = &target.base;
        let mut random = Random::new(target.seed ^ 0xF1, target.run << 32 | i);
        let person = generate::person(target.seed, random.below(target.records.max(1)));
        let text = |from: &[String]| from[i as usize % from.len()].clone();
        let (method, url, body) = match kind {
            Kind::Read => {
                let id = &target.patients[random.below(target.patients.len() as u64) as usize];
                (Method::GET, format!("{base}/Patient/{id}"), None)
            }
            Kind::Identifier => (
                Method::GET,
                format!(
                    "{base}/Patient?identifier={IDENTIFIER_SYSTEM}|{}",
                    person.identifier
                ),
                None,
            ),
            Kind::Search => {
                let code =
                    generate::observation(target.seed, i, i % OBSERVATIONS, "Patient/1", None);
                let code = code["code"]["coding"][0]["code"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let (year, month) = (2024 + random.below(3), 1 + random.below(9));
                let url = format!(
                    "{base}/Observation?code={LOINC}|{code}&date=ge{year}-{month:02}-01&date=lt{year}-{:02}-01&_sort=-date",
                    month + 1
                );
                (Method::GET, url, None)
            }
            Kind::Page => (
                Method::GET,
                format!("{base}/Observation?status=final&_count=1000"),
                None,
            ),
            Kind::Create => (
                Method::POST,
                format!("{base}/Patient"),
                Some(text(&self.creates)),
            ),
            Kind::Transaction => (Method::POST, base.clone(), Some(text(&self.transactions))),
            Kind::Large => (Method::POST, base.clone(), Some(self.large.clone())),
        };
        let mut request = self
            .client
            .request(method, url)
            .header("accept", "application/fhir+json");
        if let Some(body) = body {
            request = request
                .header("content-type", "application/fhir+json")
                .body(body);
        }
        request.send().await
    }

    /// Asks, reads the answer, and counts what it is.
    async fn ask_and_count(&self, kind: Kind, i: u64) {
        let began = Instant::now();
        let answer = match self.ask(kind, i).await {
            Ok(response) => {
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                response.bytes().await.map(|body| (status, headers, body))
            }
            Err(error) => Err(error),
        };
        let took = began.elapsed();
        let mut counted = self.counted();
        let ends = counted.kinds.entry(kind).or_default();
        let (status, headers, body) = match answer {
            Ok(answer) => answer,
            Err(_) => {
                ends.no_answer += 1;
                return;
            }
        };
        if status == 429 || status == 503 {
            *ends.refused.entry(status).or_default() += 1;
            ends.refused_times.push(took);
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let seconds = headers
                .get("retry-after")
                .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
            if seconds.is_none() || body["resourceType"] != "OperationOutcome" {
                counted.found_wrong(format!(
                    "{kind:?}: {status} without Retry-After or OperationOutcome"
                ));
            }
            return;
        }
        ends.served.push(took);
        match stored(kind, status, &body) {
            Ok(stored) => counted.stored.extend(stored),
            Err(why) => counted.found_wrong(format!("{kind:?}: {status}: {why}")),
        }
    }

    /// How long a plain request takes: the slowest of 300 but three, in milliseconds.
    async fn normal_latency(&self) -> Result<f64, Failure> {
        let mut times = Vec::new();
        for i in 0..330 {
            let time = self
                .plain(i)
                .await
                .ok_or("a plain request was not served before the flood")?;
            if i >= 30 {
                times.push(time.as_secs_f64() * 1000.0);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() - 4])
    }

    /// A read, a search or a create; `None` where it was not served.
    async fn plain(&self, i: u64) -> Option<Duration> {
        let kind = [Kind::Read, Kind::Identifier, Kind::Create][i as usize % 3];
        let began = Instant::now();
        let answer = timeout(RECOVERY_MAX, self.ask(kind, (1 << 31) + i))
            .await
            .ok()?
            .ok()?;
        let status = answer.status();
        answer.bytes().await.ok()?;
        status.is_success().then(|| began.elapsed())
    }

    /// When plain requests began to take no longer than twice what they took before (on a busy machine nothing is more exact).
    async fn recovery(&self, normal_ms: f64) -> Option<Duration> {
        let began = Instant::now();
        let (mut run, mut since) = (0, None);
        for i in 0.. {
            let asked = began.elapsed();
            let is_normal = self
                .plain(1_000 + i)
                .await
                .is_some_and(|took| took.as_secs_f64() * 1000.0 <= normal_ms * 2.0 + 5.0);
            match is_normal {
                true => {
                    run += 1;
                    since.get_or_insert(asked);
                }
                false => (run, since) = (0, None),
            }
            if run == NORMAL_RUN {
                return since;
            }
            if asked > RECOVERY_MAX * 6 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// Whether everything that was said to be stored can be found.
    async fn check_acknowledged(&self, mllp: &Acknowledged) -> Result<Vec<String>, Failure> {
        let mut by_type: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in &self.counted().stored {
            if let Some((kind, id)) = key.split_once('/') {
                by_type
                    .entry(kind.to_owned())
                    .or_default()
                    .push(id.to_owned());
            }
        }
        let mut wrong = Vec::new();
        let mut all = 0;
        for (kind, ids) in &by_type {
            for some in ids.chunks(100) {
                all += some.len() as u64;
                let url = format!(
                    "{}/{kind}?_id={}&_summary=count",
                    self.target.base,
                    some.join(",")
                );
                let total = self.total(&url).await?;
                if total != some.len() as u64 {
                    wrong.push(format!(
                        "{kind}: {total} of {} acknowledged are there",
                        some.len()
                    ));
                }
            }
        }
        for some in mllp.accepted.chunks(50) {
            let url = format!(
                "{}/DiagnosticReport?identifier={}&_summary=count",
                self.target.base,
                some.join(",")
            );
            let total = self.total(&url).await?;
            if total != some.len() as u64 {
                wrong.push(format!(
                    "{total} of the reports of {} accepted messages are there",
                    some.len()
                ));
            }
        }
        println!(
            "acknowledged: {all} resources and {} messages, looked for afterwards",
            mllp.accepted.len()
        );
        Ok(wrong)
    }

    async fn total(&self, url: &str) -> Result<u64, Failure> {
        let answer = self
            .client
            .get(url)
            .send()
            .await
            .map_err(|e| e.to_string())?;
        let body = answer.bytes().await.map_err(|e| e.to_string())?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        body["total"]
            .as_u64()
            .ok_or_else(|| format!("no total: {body}"))
    }
}

impl Counted {
    fn found_wrong(&mut self, what: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what);
        }
    }

    fn print(&mut self) {
        println!(
            "{:<14}{:>9}{:>9}{:>9}{:>11}{:>12}{:>12}{:>16}",
            "", "served", "429", "503", "no answer", "p50 ms", "p99 ms", "refused p99 ms"
        );
        for (kind, ends) in &mut self.kinds {
            let refused = |status| ends.refused.get(&status).copied().unwrap_or_default();
            println!(
                "{:<14}{:>9}{:>9}{:>9}{:>11}{:>12.1}{:>12.1}{:>16.1}",
                format!("{kind:?}").to_lowercase(),
                ends.served.len(),
                refused(429),
                refused(503),
                ends.no_answer,
                at(&mut ends.served, 0.5),
                at(&mut ends.served, 0.99),
                at(&mut ends.refused_times, 0.99)
            );
        }
    }
}

/// The time that this share of all is not longer than, in milliseconds.
fn at(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let time = times
        .get((last as f64 * share) as usize)
        .copied()
        .unwrap_or_default();
    time.as_secs_f64() * 1000.0
}

/// What an answer says is stored, as `Type/id`.
fn stored(kind: Kind, status: u16, body: &[u8]) -> Result<Vec<String>, String> {
    let expect = if kind == Kind::Create { 201 } else { 200 };
    if status != expect {
        return Err(String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned());
    }
    // Written around stored bytes; that it is whole is what a flood can break.
    if kind == Kind::Page {
        return match body.ends_with(b"}") {
            true => Ok(Vec::new()),
            false => Err("cut off".into()),
        };
    }
    let body: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let location = |entry: &Value| {
        let mut parts = entry["response"]["location"].as_str()?.rsplit('/').skip(2);
        let (id, kind) = (parts.next()?, parts.next()?);
        Some(format!("{kind}/{id}"))
    };
    match kind {
        Kind::Create => {
            let id = body["id"].as_str().ok_or("a created resource without id")?;
            Ok(vec![format!("Patient/{id}")])
        }
        Kind::Transaction | Kind::Large => {
            let entries = body["entry"].as_array().ok_or("no entries")?;
            let keys: Option<Vec<String>> = entries.iter().map(location).collect();
            keys.ok_or_else(|| "an entry without location".into())
        }
        Kind::Read if body["resourceType"] != "Patient" => Err("not a Patient".into()),
        Kind::Identifier if body["entry"].as_array().map_or(0, Vec::len) != 1 => {
            Err("not one match".into())
        }
        _ => Ok(Vec::new()),
    }
}

fn kind_of(i: u64) -> Kind {
    // Spread, so that heavy ones do not come in a row.
    let mut at = i.wrapping_mul(617) % 1000;
    for (kind, share) in MIX {
        if at < *share {
            return *kind;
        }
        at -= share;
    }
    Kind::Read
}

/// Requests a second that are served when each connection waits for its answer, beside two MLLP connections that do.
async fn capacity(site: &Arc<Site>) -> Result<f64, Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(CAPACITY_SECONDS);
    let mut workers = JoinSet::new();
    for _ in 0..CAPACITY_CONNECTIONS {
        let (site, next) = (site.clone(), next.clone());
        workers.spawn(async move {
            while Instant::now() < until {
                let i = next.fetch_add(1, Relaxed);
                site.ask_and_count(kind_of(i), i).await;
            }
        });
    }
    while workers.join_next().await.is_some() {}
    let mut counted = site.counted();
    let served: usize = counted.kinds.values().map(|ends| ends.served.len()).sum();
    if let Some(wrong) = counted.wrong.first() {
        return Err(format!("before the flood: {wrong}"));
    }
    counted.kinds.clear();
    Ok(served as f64 / CAPACITY_SECONDS as f64)
}

/// Sends at the rate, whatever comes back; gives what is still on the way.
async fn offer(site: &Arc<Site>, rate: f64, flood: &Flood) -> (JoinSet<()>, Offered) {
    let places = Arc::new(Semaphore::new(flood.overload_connections));
    let (mut requests, began) = (JoinSet::new(), Instant::now());
    let mut offered = Offered {
        sent: 0,
        not_sent: 0,
    };
    let within = Duration::from_secs(flood.overload_seconds);
    let mut due = 0;
    while began.elapsed() < within {
        let now_due = (began.elapsed().as_secs_f64() * rate) as u64;
        for i in due..now_due {
            let Ok(place) = places.clone().try_acquire_owned() else {
                offered.not_sent += 1;
                continue;
            };
            offered.sent += 1;
            let site = site.clone();
            requests.spawn(async move {
                site.ask_and_count(kind_of(i), 1_000_000 + i).await;
                drop(place);
            });
        }
        due = now_due;
        while requests.try_join_next().is_some() {}
        sleep(Duration::from_millis(2)).await;
    }
    (requests, offered)
}

/// The most memory that was seen, in megabytes.
fn watch(pids: &[u32], running: &AtomicBool) -> f64 {
    let mut most: f64 = 0.0;
    while running.load(Relaxed) {
        most = most.max(measure::memory_mb(pids));
        std::thread::sleep(Duration::from_millis(500));
    }
    most
}

struct Probed {
    url: String,
    asked: u64,
    good: u64,
    slowest_ms: f64,
    bad: String,
}

/// Asks for health, each time on a new connection, as a supervisor does.
async fn probe(url: String, running: Arc<AtomicBool>) -> Probed {
    let mut seen = Probed {
        url,
        asked: 0,
        good: 0,
        slowest_ms: 0.0,
        bad: String::new(),
    };
    while running.load(Relaxed) {
        let Ok(client) = Client::builder().timeout(Duration::from_secs(5)).build() else {
            break;
        };
        seen.asked += 1;
        let began = Instant::now();
        match client.get(&seen.url).send().await {
            Ok(answer) if answer.status() == 200 => seen.good += 1,
            Ok(answer) => seen.bad = answer.status().to_string(),
            Err(error) => seen.bad = error.to_string(),
        }
        seen.slowest_ms = seen.slowest_ms.max(began.elapsed().as_secs_f64() * 1000.0);
        sleep(Duration::from_millis(250)).await;
    }
    seen
}
