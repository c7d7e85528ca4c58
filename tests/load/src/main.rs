//! Loads and measures a FHIR server: any one that speaks R5 over HTTP, and HL7 v2 over MLLP if it has that.
//!
//! It checks what is answered, not only the status, and stops at the first wrong answer. CPU is that of the whole process tree of the
//! server, Postgres apart, so figures can be compared between servers and on noisy machines.

mod measure;
mod mllp_flood;
mod overload;
mod searches;
mod workload;

use clap::{Parser, ValueEnum};
use load_driver::client::Failure;
use load_driver::generate::RECORD_SIZE;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use workload::{Target, Worker, Workload};

#[derive(Parser)]
struct Arguments {
    /// FHIR base URL, without a slash at the end.
    #[arg(long, default_value = "http://127.0.0.1:8080/fhir")]
    base: String,
    /// Host and port of the MLLP listener, for the workloads `oru` and `mixed-v2`.
    #[arg(long)]
    mllp: Option<String>,
    /// Process ids of the server, and of its database where that is no child of it.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// The database's directory, for bytes per resource.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Resources to load first, in transactions of 100.
    #[arg(long, default_value_t = 25_000)]
    load: u64,
    /// Resources that an earlier run loaded into the same server, with the same seed: none are loaded.
    #[arg(long, conflicts_with = "load")]
    loaded: Option<u64>,
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
    match arguments.loaded {
        Some(resources) => {
            target.records = resources / RECORD_SIZE;
            target.patients = searches::first_patients(&target).await?;
        }
        None => load(&mut target, &arguments).await?,
    }
    let target = Arc::new(target);
    if arguments.flood.overload {
        return overload::run(target, &arguments.flood, &arguments.pid).await;
    }
    println!(
        "{:<22}{:>10}{:>11}{:>10}{:>10}{:>14}{:>14}{:>12}",
        "workload",
        "requests",
        "per second",
        "p50 ms",
        "p99 ms",
        "server CPU ms",
        "postgres CPU",
        "sum ms"
    );
    let all = if arguments.workload.is_empty() {
        Workload::usual()
    } else {
        &arguments.workload
    };
    for workload in all {
        if workload.is_v2() && target.mllp.is_none() {
            println!("{:<22}skipped: no --mllp address", name(*workload));
            continue;
        }
        let requests = workload.requests(arguments.requests);
        let run =
            |requests, from, rate| drive(*workload, &target, requests, &arguments, from, rate);
        run(requests / 10 + 1, 0, None).await?; // warm-up
        let whole = async || run(requests, requests, arguments.rate).await;
        let reached = measured(&name(*workload), &arguments, whole).await?;
        if arguments.half_rate {
            let title = format!("  at {:.0} a second", reached / 2.0);
            let half = async || run(requests, 3 * requests, Some(reached / 2.0)).await;
            measured(&title, &arguments, half).await?;
        }
    }
    println!("memory after {:.0} MB", measure::memory_mb(&arguments.pid));
    Ok(())
}

/// Prints a line of the table about requests whose times `work` gives; gives the requests a second.
async fn measured(
    title: &str,
    arguments: &Arguments,
    work: impl AsyncFnOnce() -> Result<Vec<Duration>, Failure>,
) -> Result<f64, Failure> {
    let (before, began) = (measure::cpu(&arguments.pid), Instant::now());
    let mut times = work().await?;
    let (seconds, cpu) = (
        began.elapsed().as_secs_f64(),
        measure::cpu(&arguments.pid).since(before),
    );
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let requests = times.len() as f64;
    println!(
        "{title:<22}{requests:>10}{:>11.0}{:>10.2}{:>10.2}{:>14.3}{:>14.3}{:>12.3}",
        requests / seconds,
        at(0.5),
        at(0.99),
        cpu.server_ms / requests,
        cpu.postgres_ms / requests,
        (cpu.server_ms + cpu.postgres_ms) / requests
    );
    Ok(requests / seconds)
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

async fn load(target: &mut Target, arguments: &Arguments) -> Result<(), Failure> {
    let records = arguments.load / RECORD_SIZE;
    let disk = |data: &Option<PathBuf>| data.as_deref().map_or(0, measure::disk_bytes);
    let (began, cpu, bytes) = (
        Instant::now(),
        measure::cpu(&arguments.pid),
        disk(&arguments.data),
    );
    let shared = Arc::new(Target {
        patients: Vec::new(),
        records: 0,
        base: target.base.clone(),
        mllp: None,
        ..*target
    });
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for _ in 0..arguments.connections.min(LOADERS) {
        let (next, shared) = (next.clone(), shared.clone());
        workers.push(tokio::spawn(async move {
            let (worker, mut ids) = (Worker::default(), Vec::new());
            loop {
                let first = next.fetch_add(10, Ordering::Relaxed);
                if first >= records {
                    return Ok::<_, Failure>(ids);
                }
                ids.extend(worker.load(&shared, first, 10.min(records - first)).await?);
            }
        }));
    }
    for worker in workers {
        target
            .patients
            .extend(worker.await.map_err(|e| e.to_string())??);
    }
    target.records = records;
    let resources = (records * RECORD_SIZE).max(1) as f64;
    let used = measure::cpu(&arguments.pid).since(cpu);
    println!(
        "loaded {resources} resources in {:.1} s, {:.0} a second, CPU ms each: server {:.3}, postgres {:.3}; {:.0} bytes of disk each",
        began.elapsed().as_secs_f64(),
        resources / began.elapsed().as_secs_f64(),
        used.server_ms / resources,
        used.postgres_ms / resources,
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
