//! Crashes and races: writes and messages by many clients while the server, its Postgres and its listener are killed, clocks jump and disks
//! fill up; then a comparison of what is there with what was acknowledged (docs/durability.md).
//!
//! It knows HTTP, MLLP, processes and the settings of the run contract, and nothing of the code.

mod check;
pub mod cluster;
mod content;
mod fault;
mod index;
mod ledger;
pub mod network;
pub mod node;
mod plant;
mod postgres;
mod process;
mod sender;
mod site;
mod writer;

pub use check::Scope;
pub use fault::Fault;
pub use index::Search;
pub use ledger::{Finding, Kind};
pub use plant::Plant;
pub use site::{Clock, Programs, Shape, no_clocks, no_disks};

use ledger::Ledger;
use load_driver::generate::Random;
use process::Program;
use sender::Sender;
use site::Site;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use writer::{Round, Writer};

/// One site, hurt again and again.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub shape: Shape,
    /// One for each round.
    pub faults: Vec<Fault>,
    /// Acknowledgements that a round waits for.
    pub acknowledged: u64,
    pub writers: u64,
    pub senders: u64,
    pub seed: u64,
    pub plant: Option<Plant>,
}

/// How a campaign ended.
#[derive(Debug, Default)]
pub struct Report {
    pub writes: u64,
    pub messages: u64,
    pub unanswered: u64,
    /// Searches right after an acknowledgement that were compared with it.
    pub looks: u64,
    /// Searches that the search index answered, and those that it left to Postgres; at least so many, because killed servers tell no more.
    pub by_index: u64,
    pub by_postgres: u64,
    /// By what was answered.
    pub refused: BTreeMap<String, u64>,
    pub rounds: Vec<Fault>,
    /// Resources and messages that the last check looked at.
    pub compared: usize,
    pub findings: Vec<Finding>,
    /// What is left for whoever looks into a finding.
    pub kept: Option<PathBuf>,
}

/// One write in so many is searched for when it is acknowledged, where Postgres alone answers; each where there is a search index.
const LOOKS: u64 = 8;
/// Longest wait for the acknowledgements of a round when all of the site is back: a node of an index may take minutes for that on a busy machine.
const ROUND: Duration = Duration::from_secs(180);

/// Runs it to its end, or to the first round with findings; `say` is told of each round.
///
/// # Errors
/// What could not be started, or did not come back.
pub async fn run(
    programs: &Programs,
    campaign: &Campaign,
    mut say: impl FnMut(&str),
) -> Result<Report, String> {
    let mut site = Site::start(programs, &campaign.shape).await?;
    let ledger = Ledger::create(&site.ledger()).map_err(|error| error.to_string())?;
    let ledger = Arc::new(ledger);
    if campaign.faults.contains(&Fault::Rebuild) {
        site.stock().await?;
    }
    if let Some(said) = site.compare_index(false).await? {
        return Err(format!("before anything happened: {said}"));
    }
    let mut random = Random::new(campaign.seed, 0);
    let mut report = Report::default();
    for (number, fault) in campaign.faults.iter().enumerate() {
        let (before, began) = (ledger.acknowledged(), Instant::now());
        let away = round(
            &mut site,
            campaign,
            &ledger,
            number as u64,
            *fault,
            &mut random,
        )
        .await;
        let away = match away {
            Ok(away) => away,
            Err(error) => {
                let kept = site.keep();
                return Err(format!("{fault}: {error}; kept: {kept:?}"));
            }
        };
        let loaded = began.elapsed();
        let spools = campaign.shape.spools;
        let compared = check::check(&site.bases[0], &ledger, Scope::Touched, spools).await;
        if let Some(said) = site.compare_index(*fault == Fault::Rebuild).await? {
            ledger.find(Kind::Index, format!("{fault}: {said}"));
        }
        if let Fault::Clock(clock, _) = fault {
            site.set_clock(*clock, 0)?;
        }
        report.rounds.push(*fault);
        say(&format!(
            "{:>3}  {:<22}{:>8} acknowledged{:>8.1} s  back after{:>6.1} s{:>8} compared in{:>6.1} s",
            number + 1,
            fault.to_string(),
            ledger.acknowledged() - before,
            loaded.as_secs_f64(),
            away.as_secs_f64(),
            compared,
            (began.elapsed() - loaded).as_secs_f64()
        ));
        let mut found = ledger.book().findings.clone().into_iter();
        let is_enough = match campaign.plant {
            // A fault may show itself in other ways before it shows itself as what it is.
            Some(plant) => found.any(|finding| finding.kind == plant.expect()),
            None => found.next().is_some(),
        };
        if is_enough {
            break;
        }
    }
    if ledger.book().findings.is_empty() {
        let spools = campaign.shape.spools;
        report.compared = check::check(&site.bases[0], &ledger, Scope::All, spools).await;
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    report.writes = count(&ledger.counts.writes);
    report.messages = count(&ledger.counts.messages);
    report.unanswered = count(&ledger.counts.unanswered);
    report.looks = count(&ledger.counts.looks);
    (report.by_index, report.by_postgres) = site.searches();
    report.refused = ledger.refusals().clone();
    report.findings = ledger.book().findings.clone();
    if !report.findings.is_empty() && campaign.plant.is_none() {
        report.kept = site.keep();
    }
    tokio::task::block_in_place(|| site.stop());
    Ok(report)
}

/// Load, a fault at a random moment, and load until enough is acknowledged. Gives the time until the site was whole again.
async fn round(
    site: &mut Site,
    campaign: &Campaign,
    ledger: &Arc<Ledger>,
    number: u64,
    fault: Fault,
    random: &mut Random,
) -> Result<Duration, String> {
    if campaign.plant.is_some_and(Plant::stops_log_writer) {
        fault::stop_log_writer(site)?;
    }
    let (mut bases, mut listeners) = (Vec::new(), Vec::new());
    for base in &site.bases {
        bases.push(match campaign.plant {
            Some(plant) => plant
                .before_server(base)
                .await
                .map_err(|error| error.to_string())?,
            None => base.clone(),
        });
    }
    for listener in &site.listeners {
        listeners.push(match campaign.plant {
            Some(plant) => plant
                .before_listener(listener)
                .await
                .map_err(|error| error.to_string())?,
            None => listener.clone(),
        });
    }
    let round = Arc::new(Round {
        bases,
        listeners,
        ledger: ledger.clone(),
        stop: AtomicBool::new(false),
        name: format!("R{number}"),
        shared: AtomicU64::new(0),
        first: number * 1000,
        looks: if site.has_index() { 1 } else { LOOKS },
    });
    let mut clients = JoinSet::new();
    for client in 0..campaign.writers {
        let random = Random::new(campaign.seed, 1 + number * 1000 + client);
        clients.spawn(Writer::new(round.clone(), client, random).run());
    }
    for client in 0..campaign.senders {
        let random = Random::new(campaign.seed, 501 + number * 1000 + client);
        clients.spawn(Sender::new(round.clone(), client, random).run());
    }
    let before = ledger.acknowledged();
    let refused_before = refused(ledger);
    let pids: Vec<Option<u32>> = site.servers.iter().map(Program::pid).collect();
    let listener = site.listener.pid();
    tokio::time::sleep(Duration::from_millis(200 + random.below(1800))).await;
    let struck = Instant::now();
    fault.strike(site, random).await?;
    if let Fault::Clock(clock, seconds) = fault {
        let message = loop {
            match ledger.some_accepted() {
                Some(message) => break message,
                None if struck.elapsed() > ROUND => return Err("no message is accepted".into()),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        site.see_clock(clock, seconds, &message).await?;
    }
    site.bring_back().await?;
    let away = struck.elapsed();
    let back = Instant::now();
    // Some of what is acknowledged must be so after the fault.
    let after = ledger.acknowledged() + campaign.acknowledged / 10;
    let until = after.max(before + campaign.acknowledged);
    while ledger.acknowledged() < until {
        if back.elapsed() > ROUND {
            let got = ledger.acknowledged() - before;
            ledger.find(
                Kind::Silent,
                format!("{fault}: only {got} acknowledgements in {ROUND:?}"),
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    round.stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    // Postgres may just be recovering once more.
    site.bring_back().await?;
    for (number, pid) in pids.into_iter().enumerate() {
        if !fault.kills_server(number) && site.servers[number].pid() != pid {
            ledger.find(
                Kind::Silent,
                format!("{fault}: server {} ended by itself", number + 1),
            );
        }
    }
    if !fault.kills_listener() && site.listener.pid() != listener {
        ledger.find(
            Kind::Silent,
            format!("{fault}: the listener ended by itself"),
        );
    }
    let refused = refused(ledger) - refused_before;
    if fault.is_of_index() && refused > 0 {
        ledger.find(
            Kind::Silent,
            format!("{fault}: {refused} requests were refused"),
        );
    }
    if fault == Fault::FullDisk && refused == 0 {
        return Err("nobody noticed that the disk was full".into());
    }
    Ok(away)
}

fn refused(ledger: &Ledger) -> u64 {
    ledger.refusals().values().sum()
}
