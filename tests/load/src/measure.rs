//! CPU, memory and disk of a process tree, from /proc. Linux only.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// CPU of a process tree so far, in milliseconds; what ended children used is in their parents' figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    pub server_ms: f64,
    pub postgres_ms: f64,
    /// Of a search engine that is a Java program.
    pub java_ms: f64,
}

impl Cpu {
    pub fn since(self, before: Cpu) -> Cpu {
        Cpu {
            server_ms: self.server_ms - before.server_ms,
            postgres_ms: self.postgres_ms - before.postgres_ms,
            java_ms: self.java_ms - before.java_ms,
        }
    }
}

const JAVA: &str = "java";

struct Process {
    name: String,
    parent: u32,
    ticks: u64,
}

fn processes() -> HashMap<u32, Process> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((open, close)) = stat.find('(').zip(stat.rfind(')')) else {
            continue;
        };
        let rest: Vec<&str> = stat[close + 1..].split_whitespace().collect();
        let number = |i: usize| rest.get(i).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
        // Fields of proc(5) counted after the name: state 0, ppid 1, utime 11, stime 12, cutime 13, cstime 14.
        all.insert(
            pid,
            Process {
                name: stat[open + 1..close].to_owned(),
                parent: number(1) as u32,
                ticks: number(11) + number(12) + number(13) + number(14),
            },
        );
    }
    all
}

fn tree(root: u32, all: &HashMap<u32, Process>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(
            all.iter()
                .filter(|(_, p)| p.parent == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found
}

/// CPU of the trees under these processes, of which none is in another's.
pub fn cpu(roots: &[u32]) -> Cpu {
    let all = processes();
    let mut cpu = Cpu::default();
    for pid in roots.iter().flat_map(|root| tree(*root, &all)) {
        let Some(process) = all.get(&pid) else {
            continue;
        };
        let ms = process.ticks as f64 * 10.0; // USER_HZ is 100 on Linux
        if process.name.starts_with("postgres") {
            cpu.postgres_ms += ms
        } else if process.name == JAVA {
            cpu.java_ms += ms
        } else {
            cpu.server_ms += ms
        }
    }
    cpu
}

/// Whether one of these processes is a Java program.
pub fn has_java(roots: &[u32]) -> bool {
    let all = processes();
    roots
        .iter()
        .filter_map(|root| all.get(root))
        .any(|process| process.name == JAVA)
}

/// Proportional set size of the trees, in megabytes.
pub fn memory_mb(roots: &[u32]) -> f64 {
    let all = processes();
    roots
        .iter()
        .flat_map(|root| tree(*root, &all))
        .filter_map(resident_kb)
        .map(|kb| kb as f64 / 1024.0)
        .sum()
}

/// What a process has of memory, where what it shares counts in parts: pages that all of Postgres share count once.
fn resident_kb(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Bytes of a directory on disk, without Postgres' write-ahead log.
pub fn disk_bytes(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() && entry.file_name() != "pg_wal" => disk_bytes(&entry.path()),
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}
