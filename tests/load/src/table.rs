//! The table that is printed: a line for each workload, and one line of two servers side by side.

use crate::measure::{self, Cpu};
use load_driver::client::Failure;
use std::time::{Duration, Instant};

/// What requests took: times in milliseconds, CPU of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    requests: usize,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub cpu: Cpu,
}

impl Measured {
    /// Of requests whose times `work` gives, with the CPU that these processes take meanwhile.
    pub async fn of(
        pids: &[u32],
        work: impl AsyncFnOnce() -> Result<Vec<Duration>, Failure>,
    ) -> Result<Measured, Failure> {
        let (before, began) = (measure::cpu(pids), Instant::now());
        let mut times = work().await?;
        let seconds = began.elapsed().as_secs_f64();
        let requests = times.len() as f64;
        let cpu = measure::cpu(pids).since(before);
        Ok(Measured {
            requests: times.len(),
            per_second: requests / seconds,
            p50: milliseconds(&mut times, 0.5),
            p99: milliseconds(&mut times, 0.99),
            cpu: Cpu {
                server_ms: cpu.server_ms / requests,
                postgres_ms: cpu.postgres_ms / requests,
                java_ms: cpu.java_ms / requests,
            },
        })
    }
}

/// The time that this share of them does not exceed.
pub fn milliseconds(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1) as f64;
    let at = times.get((last * share) as usize);
    at.map_or(0.0, Duration::as_secs_f64) * 1000.0
}

/// How lines are printed.
pub struct Table {
    /// With a column for a search engine.
    has_java: bool,
}

impl Table {
    /// Prints the head.
    pub fn begin(pids: &[u32]) -> Table {
        let has_java = measure::has_java(pids);
        println!(
            "{:<22}{:>10}{:>11}{:>10}{:>10}{:>14}{:>14}{:>12}{}",
            "workload",
            "requests",
            "per second",
            "p50 ms",
            "p99 ms",
            "server CPU ms",
            "postgres CPU",
            "sum ms",
            if has_java { "    java CPU" } else { "" }
        );
        Table { has_java }
    }

    pub fn line(&self, title: &str, measured: &Measured) {
        let Measured {
            requests,
            per_second,
            p50,
            p99,
            cpu,
        } = measured;
        let java = match self.has_java {
            true => format!("{:>12.3}", cpu.java_ms),
            false => String::new(),
        };
        println!(
            "{title:<22}{requests:>10}{per_second:>11.0}{p50:>10.2}{p99:>10.2}{:>14.3}{:>14.3}{:>12.3}{java}",
            cpu.server_ms,
            cpu.postgres_ms,
            cpu.server_ms + cpu.postgres_ms
        );
    }
}

/// Prints the workloads of two servers side by side, as a table in Markdown.
pub fn print_pairs(names: &[String], pairs: &[(String, Measured, Measured)]) {
    println!();
    let columns =
        |name: &str| format!("{name}: server + Postgres CPU ms | Java CPU ms | p50 ms | p99 ms |");
    let heads: Vec<String> = names.iter().map(|name| columns(name)).collect();
    println!("| | {}", heads.join(" "));
    println!("|{}", "---|".repeat(1 + 4 * heads.len()));
    for (name, first, other) in pairs {
        let cells = |m: &Measured| {
            let sum = m.cpu.server_ms + m.cpu.postgres_ms;
            format!(
                "{sum:.2} | {:.2} | {:.1} | {:.1} |",
                m.cpu.java_ms, m.p50, m.p99
            )
        };
        println!("| {name} | {} {}", cells(first), cells(other));
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_a_share_does_not_exceed() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(milliseconds(&mut times, 0.5), 50.0);
        assert_eq!(milliseconds(&mut times, 0.99), 99.0);
        assert_eq!(milliseconds(&mut [], 0.5), 0.0);
    }
}
