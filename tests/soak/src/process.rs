//! Processes: start, signal, who is whose child. Linux only.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// A program that is started again and again in the same way; its log is one file.
pub struct Program {
    pub name: String,
    path: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    pub fn new(name: &str, path: &Path, directory: &Path) -> Program {
        Program {
            name: name.to_owned(),
            path: path.to_owned(),
            environment: Vec::new(),
            arguments: Vec::new(),
            log: directory.join(format!("{name}.log")),
            child: None,
        }
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Program {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    pub fn argument(mut self, argument: &str) -> Program {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs it beside, with other arguments, to its end: whether it succeeded, and what it said.
    pub fn once(&self, arguments: &[&str], root: &Path) -> Result<(bool, String), String> {
        let mut command = self.command(root);
        command.args(arguments);
        let output = command
            .output()
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((output.status.success(), said))
    }

    /// The same program in the same surroundings, with other arguments.
    pub fn beside(&self, name: &str, arguments: &[&str]) -> Program {
        Program {
            name: name.to_owned(),
            path: self.path.clone(),
            environment: self.environment.clone(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            log: self.log.with_file_name(format!("{name}.log")),
            child: None,
        }
    }

    fn command(&self, root: &Path) -> Command {
        let is_other = |name: &str| {
            !name.starts_with("FHIR_")
                && !name.starts_with("ELASTICSEARCH_")
                && name != "DATABASE_URL"
        };
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| is_other(name)))
            .envs(self.environment.iter().cloned())
            .current_dir(root)
            .stdin(Stdio::null());
        command
    }

    pub fn start(&mut self, root: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(failed)?;
        let mut command = self.command(root);
        command
            .args(&self.arguments)
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        end_with_us(&mut command, libc::SIGTERM);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop in order and waits for that.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), libc::SIGTERM);
            let _ = child.wait();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program gets this signal when the harness ends, however that happens.
pub fn end_with_us(command: &mut Command, signal: libc::c_int) {
    // SAFETY: prctl(2) is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, signal) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// It may have ended by itself.
pub fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: kill(2) takes plain numbers.
    let _ = unsafe { libc::kill(process.cast_signed(), signal) };
}

/// The children of a process, with their command lines.
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = all.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name may hold blanks and parentheses; state and parent come after it.
        let its_parent = stat[stat.rfind(')')? + 1..]
            .split_whitespace()
            .nth(1)?
            .parse::<u32>()
            .ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        (its_parent == parent).then_some((pid, command))
    });
    children.collect()
}

/// Ports below those that the kernel gives to connections: one of those may be taken between two starts of a program.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A free port of this machine. Somebody else may take it before it is used; nobody does so here.
pub fn free_port() -> Result<u16, String> {
    // Processes begin at different places, and no port is given twice by one.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id().wrapping_mul(61) % 12_000;
    for _ in PORTS {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + ((begin + step) % PORTS.len() as u32) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}
