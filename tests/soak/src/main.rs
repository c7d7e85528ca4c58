//! `soak`: first each planted fault, which must be found, then the rounds (docs/durability.md).

use clap::{Parser, builder::PossibleValuesParser};
use soak::cluster::Plan;
use soak::node::Flavor;
use soak::{Campaign, Clock, Fault, Plant, Programs, Report, Search, Shape};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

#[derive(Parser)]
struct Arguments {
    /// Folder of `fhir-server` and `hl7-mllp-listener`.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Folder with `mappings`, `profiles` and `terminology`.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Rounds with a kill -9; clocks, slow disk and full disk come on top.
    #[arg(long, default_value_t = 56)]
    kills: usize,
    /// Acknowledged writes and messages, all rounds together.
    #[arg(long, default_value_t = 105_000)]
    acknowledged: u64,
    #[arg(long, default_value_t = 8)]
    writers: u64,
    #[arg(long, default_value_t = 4)]
    senders: u64,
    /// What is sent and when faults strike follows from it; not how processes interleave. Another one each time where none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this planted fault. The run then fails, as it must.
    #[arg(long, value_parser = PossibleValuesParser::new(Plant::ALL.map(Plant::name)))]
    plant: Option<String>,
    /// Leave the planted faults out.
    #[arg(long)]
    no_plants: bool,
    /// Only these sites: one server with its private Postgres; two servers that share one; one server whose listeners have spools; one on a
    /// small disk; two servers that search in an Elasticsearch of two nodes, which is hurt, too. The kills are those of the first three.
    #[arg(long, value_delimiter = ',', default_values = ["private", "shared", "spools", "small-disk", "index"])]
    site: Vec<String>,
    /// Rounds of the site with an Elasticsearch of its own.
    #[arg(long, default_value_t = 20)]
    index_rounds: usize,
    /// The URL of an Elasticsearch that the servers of all other sites search in.
    #[arg(long)]
    elasticsearch: Option<String>,
    /// An OpenSearch in place of the Elasticsearch of two nodes.
    #[arg(long)]
    opensearch: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = tokio::select! {
        done = run(&arguments) => done,
        // What was started ends with the run, which is dropped.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

/// Tells whether everything is as it must be.
async fn run(arguments: &Arguments) -> Result<bool, String> {
    let absolute = |path: PathBuf| {
        path.canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    let programs = Programs {
        server: absolute(arguments.programs.join("fhir-server"))?,
        listener: absolute(arguments.programs.join("hl7-mllp-listener"))?,
        root: absolute(arguments.root.clone())?,
    };
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .map(|passed| passed.as_secs());
    let seed = arguments.seed.unwrap_or(now.unwrap_or_default());
    println!("--seed {seed}");

    let mut is_good = true;
    for plant in Plant::ALL {
        let is_meant = match &arguments.plant {
            Some(name) => plant.name() == name,
            None => {
                !arguments.no_plants && (!plant.is_of_index() || arguments.elasticsearch.is_some())
            }
        };
        if !is_meant {
            continue;
        }
        let report = soak::run(&programs, &planted(arguments, plant, seed), |line| {
            println!("{line}")
        })
        .await?;
        let expected = plant.expect();
        let found = report
            .findings
            .iter()
            .filter(|finding| finding.kind == expected);
        println!(
            "planted {}: {} findings, {} of them {expected:?}",
            plant.name(),
            report.findings.len(),
            found.clone().count()
        );
        is_good &= found.clone().next().is_some();
        if let Some(finding) = found.clone().next().or(report.findings.first()) {
            println!("     for example: {:?}: {}", finding.kind, finding.text);
        }
        if arguments.plant.is_some() {
            return Ok(report.findings.is_empty());
        }
    }
    if !is_good {
        println!("a planted fault was not found: the harness is blind");
        return Ok(false);
    }

    let began = Instant::now();
    let mut reports = Vec::new();
    for (name, campaign) in campaigns(arguments, seed) {
        if !arguments.site.iter().any(|site| site == name) {
            continue;
        }
        if let Search::Own(plan) = &campaign.shape.search
            && let Some(why) = plan.flavor.missing(&programs.root)
        {
            println!("skipped: site {name}: {why}");
            continue;
        }
        println!("\nsite {name}");
        let report = soak::run(&programs, &campaign, |line| println!("{line}")).await?;
        println!(
            "     at the end {} resources and messages compared, {} findings",
            report.compared,
            report.findings.len()
        );
        for finding in report.findings.iter().take(20) {
            println!("     {:?}: {}", finding.kind, finding.text);
        }
        if let Some(kept) = &report.kept {
            println!("     kept: {}", kept.display());
        }
        reports.push(report);
    }
    println!();
    summary(&reports);
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    Ok(reports.iter().all(|report| report.findings.is_empty()))
}

/// A short campaign in which the planted fault must be found.
fn planted(arguments: &Arguments, plant: Plant, seed: u64) -> Campaign {
    let search = match &arguments.elasticsearch {
        Some(url) if plant.is_of_index() => Search::At(url.clone()),
        _ => Search::Postgres,
    };
    Campaign {
        shape: Shape {
            sharing: 1,
            settings: plant.settings(),
            of_servers: plant.of_servers(),
            search,
            ..Shape::default()
        },
        faults: vec![Fault::Everything; 3],
        acknowledged: 600,
        writers: 6,
        senders: 2,
        seed,
        plant: Some(plant),
    }
}

/// The rounds of each site.
fn campaigns(arguments: &Arguments, seed: u64) -> Vec<(&'static str, Campaign)> {
    let day = 86_400;
    let own = [
        Fault::Server(0),
        Fault::Postmaster,
        Fault::Listener,
        Fault::Backend,
        Fault::Everything,
    ];
    let shared = [
        Fault::Server(0),
        Fault::Postmaster,
        Fault::Server(1),
        Fault::Listener,
        Fault::Backend,
        Fault::Everything,
    ];
    let is_meant = |site: &&str| arguments.site.iter().any(|own| own == site);
    let sites = ["private", "shared", "spools"].into_iter().filter(is_meant);
    let sites: Vec<&str> = sites.collect();
    // As evenly as they divide.
    let kills = |site: &str| match sites.iter().position(|own| *own == site) {
        Some(at) => (arguments.kills + sites.len() - 1 - at) / sites.len(),
        None => 0,
    };
    let of_own = |site: &str| own.into_iter().cycle().take(kills(site));
    let mut one: Vec<Fault> = of_own("private").collect();
    let spools: Vec<Fault> = of_own("spools").collect();
    let mut two: Vec<Fault> = shared.into_iter().cycle().take(kills("shared")).collect();
    one.extend([Fault::SlowDisk; 2]);
    two.push(Fault::SlowDisk);
    let clocks = match soak::no_clocks() {
        None => {
            for (at, clock) in [Clock::Database, Clock::Servers].into_iter().enumerate() {
                for (step, seconds) in [-3600, day, -30 * day].into_iter().enumerate() {
                    // Between the kills, so that a recovery happens under either clock.
                    two.insert(
                        (at * 3 + step) * two.len() / 6,
                        Fault::Clock(clock, seconds),
                    );
                }
            }
            true
        }
        Some(why) => {
            println!("skipped: clock jumps: {why}");
            false
        }
    };
    let full = match soak::no_disks() {
        None => vec![Fault::FullDisk; 3],
        Some(why) => {
            println!("skipped: full disk: {why}");
            Vec::new()
        }
    };
    let of_index = Fault::OF_INDEX.into_iter().cycle();
    let of_index: Vec<Fault> = of_index.take(arguments.index_rounds).collect();
    let rounds = one.len() + two.len() + spools.len() + full.len() + of_index.len();
    let rounds = rounds.max(1) as u64;
    let campaign = |shape: Shape, faults: Vec<Fault>| Campaign {
        shape: Shape {
            search: match (&arguments.elasticsearch, shape.search) {
                (Some(url), Search::Postgres) => Search::At(url.clone()),
                (_, search) => search,
            },
            ..shape
        },
        faults,
        acknowledged: arguments.acknowledged.div_ceil(rounds),
        writers: arguments.writers,
        senders: arguments.senders,
        seed,
        plant: None,
    };
    let two_servers = Shape {
        sharing: 2,
        clocks,
        ..Shape::default()
    };
    let small_disk = Shape {
        disk_mb: Some(400),
        ..Shape::default()
    };
    let with_index = Shape {
        sharing: 2,
        search: Search::Own(Plan {
            flavor: match arguments.opensearch {
                true => Flavor::OpenSearch,
                false => Flavor::Elasticsearch,
            },
            nodes: 2,
            port: 9_261,
        }),
        ..Shape::default()
    };
    let with_spools = Shape {
        spools: true,
        ..Shape::default()
    };
    vec![
        ("private", campaign(Shape::default(), one)),
        ("shared", campaign(two_servers, two)),
        ("spools", campaign(with_spools, spools)),
        ("small-disk", campaign(small_disk, full)),
        ("index", campaign(with_index, of_index)),
    ]
}

fn summary(reports: &[Report]) {
    let mut rounds: BTreeMap<String, usize> = BTreeMap::new();
    for fault in reports.iter().flat_map(|report| &report.rounds) {
        *rounds.entry(fault.to_string()).or_default() += 1;
    }
    let kills = reports
        .iter()
        .flat_map(|report| &report.rounds)
        .filter(|fault| fault.is_kill())
        .count();
    println!(
        "{kills} rounds with a kill, of {} rounds:",
        rounds.values().sum::<usize>()
    );
    for (fault, count) in rounds {
        println!("    {count:>3}  {fault}");
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (writes, messages) = (sum(|report| report.writes), sum(|report| report.messages));
    println!(
        "acknowledged {}: {writes} writes, {messages} messages",
        writes + messages
    );
    println!(
        "searches right after an acknowledgement {}; by a search index {}, left to Postgres {}",
        sum(|report| report.looks),
        sum(|report| report.by_index),
        sum(|report| report.by_postgres)
    );
    println!("without an answer {}", sum(|report| report.unanswered));
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for (by, count) in reports.iter().flat_map(|report| &report.refused) {
        *refused.entry(by).or_default() += count;
    }
    for (by, count) in refused {
        println!("refused with {by}: {count}");
    }
    println!("findings {}", sum(|report| report.findings.len() as u64));
}
