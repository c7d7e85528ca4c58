//! Loads and measures a FHIR server: any one that speaks R5 over HTTP, and HL7 v2 over MLLP if it has that.
//!
//! It checks what is answered, not only the status, and stops at the first wrong answer. CPU is that of the whole process tree of the
//! server, Postgres apart, so figures can be compared between servers and on noisy machines.

mod level;
mod measure;
mod mllp_flood;
mod overload;
mod searches;
mod strong;
mod table;
mod workload;

use clap::{Parser, ValueEnum};
use load_driver::client::Failure;
use load_driver::generate::RECORD_SIZE;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use table::{Measured, Table};
use workload::{Target, Worker, Workload};

#[derive(Parser)]
struct Arguments {
    /// FHIR base URL, without a slash at the end.
    #[arg(long, default_value = "http://127.0.0.1:8080/fhir")]
    base: String,
    /// Host and port of the MLLP listener, for the workloads `oru` and `mixed-v2`.
    #[arg(long)]
    mllp: Option<String>,
    /// FHIR base URL of another server of the same data: each workload is asked of both, one after the other, and both stand in one table.
    #[arg(long)]
    beside: Option<String>,
    /// What the two are called.
    #[arg(long, value_delimiter = ',', default_value = "base,beside")]
    names: Vec<String>,
    /// Process ids of the server, and of its database and its search engine where they are no children of it.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// The database's directory, for bytes per resource.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Resources to load first, in transactions of 100. Without it and `--loaded`, 25,000.
    #[arg(long)]
    load: Option<u64>,
    /// Resources that earlier runs loaded into the same server, with the same seed: those of `--load` come after them.
    #[arg(long)]
    loaded: Option<u64>,
    /// Seconds to wait after loading: what PostgreSQL does about grown tables by itself (autovacuum) is not what a search costs.
    #[arg(long, default_value_t = 0)]
    settle: u64,
    /// Nothing but load, and wait as `--level` says.
    #[arg(long)]
    only_load: bool,
    /// Requests a workload.
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    #[arg(long, default_value_t = 4)]
    connections: u64,
    /// Requests a second that are begun, answered or not, as far as there are connections; the time of each counts from when it was due.
    /// Without it, each connection begins its next request when the last one is answered.
    #[arg(long)]
    rate: Option<f64>,
    /// Each workload a second time, at half the rate that it came to.
    #[arg(long, conflicts_with = "rate")]
    half_rate: bool,
    /// Patients and their identifiers follow from it: one that was loaded before cannot be loaded into the same server again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Without one the usual ones, which leave out the searches of a million resources.
    #[arg(long, value_enum, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Searches of the workload `strong` may miss what was written just before: that is counted and no failure.
    #[arg(long)]
    eventual: bool,
    #[command(flatten)]
    metrics: level::Metrics,
    #[command(flatten)]
    flood: overload::Flood,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let run = SystemTime::UNIX_EPOCH
        .elapsed()
        .map(|d| d.as_secs() % 100_000)
        .unwrap_or_default();
    let mut target = Target {
        base: arguments.base.trim_end_matches('/').to_owned(),
        mllp: arguments.mllp.clone(),
        seed: arguments.seed,
        records: 0,
        patients: Vec::new(),
        run,
    };
    println!("idle memory {:.0} MB", measure::memory_mb(&arguments.pid));
    let before = arguments.metrics.read().await?;
    let (began, cpu) = (Instant::now(), measure::cpu(&arguments.pid));
    if let Some(resources) = arguments.loaded {
        target.records = resources / RECORD_SIZE;
        target.patients = searches::first_patients(&target).await?;
    }
    let usual = arguments.loaded.is_none().then_some(25_000);
    if let Some(resources) = arguments.load.or(usual) {
        load(&mut target, &arguments, resources).await?;
        tokio::time::sleep(Duration::from_secs(arguments.settle)).await;
    }
    if let Some(waited) = arguments.metrics.wait().await? {
        let used = measure::cpu(&arguments.pid).since(cpu);
        println!(
            "level {:.1} s later, {:.1} s in all; CPU s since the start: server {:.1}, postgres {:.1}, java {:.1}",
            waited.as_secs_f64(),
            began.elapsed().as_secs_f64() - level::STEADY.as_secs_f64(),
            used.server_ms / 1000.0,
            used.postgres_ms / 1000.0,
            used.java_ms / 1000.0
        );
        arguments.metrics.print_increases(&before).await?;
    }
    if arguments.only_load {
        println!("memory after {:.0} MB", measure::memory_mb(&arguments.pid));
        return Ok(());
    }
    let target = Arc::new(target);
    if arguments.flood.overload {
        return overload::run(target, &arguments.flood, &arguments.pid).await;
    }
    let unseen = workloads(target, &arguments).await?;
    println!("memory after {:.0} MB", measure::memory_mb(&arguments.pid));
    match unseen {
        0 => Ok(()),
        _ if arguments.eventual => Ok(()),
        _ => Err(format!(
            "{unseen} writes were not seen by the search after them"
        )),
    }
}

/// Runs the workloads and prints the table; gives how many writes of [`Workload::Strong`] the search after them did not see.
async fn workloads(target: Arc<Target>, arguments: &Arguments) -> Result<u64, Failure> {
    let beside = arguments.beside.as_ref().map(|base| {
        let base = base.trim_end_matches('/').to_owned();
        Arc::new(target.at(base))
    });
    let table = Table::begin(&arguments.pid);
    let all = if arguments.workload.is_empty() {
        Workload::usual()
    } else {
        &arguments.workload
    };
    let (mut unseen, mut pairs) = (0, Vec::new());
    for workload in all {
        if workload.is_v2() && target.mllp.is_none() {
            println!("{:<22}skipped: no --mllp address", name(*workload));
            continue;
        }
        let before = arguments.metrics.read().await?;
        if *workload == Workload::Strong {
            unseen += strong::measure(&target, arguments, &table).await?;
        } else {
            let first = measured(*workload, &target, arguments, &table).await?;
            if let Some(beside) = &beside {
                let other = measured(*workload, beside, arguments, &table).await?;
                pairs.push((name(*workload), first, other));
            }
        }
        arguments.metrics.print_increases(&before).await?;
    }
    if !pairs.is_empty() {
        table::print_pairs(&arguments.names, &pairs);
    }
    Ok(unseen)
}

/// Warms up, measures a workload and prints its line, and one of half the rate where that is wanted.
async fn measured(
    workload: Workload,
    target: &Arc<Target>,
    arguments: &Arguments,
    table: &Table,
) -> Result<Measured, Failure> {
    let requests = workload.requests(arguments.requests);
    let run = |requests, from, rate| drive(workload, target, requests, arguments, from, rate);
    run(requests / 10 + 1, 0, None).await?; // warm-up
    let whole = async || run(requests, requests, arguments.rate).await;
    let measured = Measured::of(&arguments.pid, whole).await?;
    table.line(&name(workload), &measured);
    if arguments.half_rate {
        let rate = measured.per_second / 2.0;
        let half = async || run(requests, 3 * requests, Some(rate)).await;
        let at_half = Measured::of(&arguments.pid, half).await?;
        table.line(&format!("  at {rate:.0} a second"), &at_half);
    }
    Ok(measured)
}

/// Runs `requests` requests over the connections, `rate` a second where there is one; gives each one's time.
async fn drive(
    workload: Workload,
    target: &Arc<Target>,
    requests: u64,
    arguments: &Arguments,
    from: u64,
    rate: Option<f64>,
) -> Result<Vec<Duration>, Failure> {
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for _ in 0..arguments.connections {
        let (next, target) = (next.clone(), target.clone());
        workers.push(tokio::spawn(async move {
            let (mut worker, mut times) = (Worker::default(), Vec::new());
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= requests {
                    return Ok::<_, Failure>(times);
                }
                let mut due = Instant::now();
                if let Some(rate) = rate {
                    due = start + Duration::from_secs_f64(i as f64 / rate);
                    tokio::time::sleep_until(due.into()).await;
                }
                worker.run(workload, &target, from + from / 10 + i).await?;
                times.push(due.elapsed());
            }
        }));
    }
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.map_err(|e| e.to_string())??);
    }
    Ok(times)
}

/// Connections that load, however many measure: more are told to come back.
const LOADERS: u64 = 8;

/// Loads resources behind those that are there.
async fn load(target: &mut Target, arguments: &Arguments, resources: u64) -> Result<(), Failure> {
    let begin = target.records;
    let end = begin + resources / RECORD_SIZE;
    let disk = |data: &Option<PathBuf>| data.as_deref().map_or(0, measure::disk_bytes);
    let (began, cpu, bytes) = (
        Instant::now(),
        measure::cpu(&arguments.pid),
        disk(&arguments.data),
    );
    let shared = Arc::new(Target {
        patients: Vec::new(),
        ..target.at(target.base.clone())
    });
    let next = Arc::new(AtomicU64::new(begin));
    let mut workers = Vec::new();
    for _ in 0..arguments.connections.min(LOADERS) {
        let (next, shared) = (next.clone(), shared.clone());
        workers.push(tokio::spawn(async move {
            let (worker, mut ids) = (Worker::default(), Vec::new());
            loop {
                let first = next.fetch_add(10, Ordering::Relaxed);
                if first >= end {
                    return Ok::<_, Failure>(ids);
                }
                ids.extend(worker.load(&shared, first, 10.min(end - first)).await?);
            }
        }));
    }
    for worker in workers {
        target
            .patients
            .extend(worker.await.map_err(|e| e.to_string())??);
    }
    target.records = end;
    let resources = ((end - begin) * RECORD_SIZE).max(1) as f64;
    let used = measure::cpu(&arguments.pid).since(cpu);
    println!(
        "loaded {resources} resources in {:.1} s, {:.0} a second, CPU ms each: server {:.3}, postgres {:.3}, java {:.3}; {:.0} bytes of disk each",
        began.elapsed().as_secs_f64(),
        resources / began.elapsed().as_secs_f64(),
        used.server_ms / resources,
        used.postgres_ms / resources,
        used.java_ms / resources,
        (disk(&arguments.data).saturating_sub(bytes)) as f64 / resources
    );
    Ok(())
}

fn name(workload: Workload) -> String {
    workload
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}
