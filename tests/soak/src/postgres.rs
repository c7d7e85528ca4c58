//! A Postgres of the harness' own, for servers that share a database, for clocks that jump, and for settings that nobody should have.

use crate::process::{end_with_us, signal};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Only a part of the socket's name: it does not listen on TCP.
const PORT: &str = "5432";
/// Longest wait for a start, with the end of the processes of the one before.
const START: Duration = Duration::from_secs(120);

pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    /// Whom it runs as where the harness is root.
    user: Option<(u32, u32)>,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a cluster; `settings` are `name=value`.
    pub fn create(
        directory: &Path,
        settings: &[&str],
        environment: Vec<(String, String)>,
    ) -> Result<Postgres, String> {
        let postgres = Postgres {
            programs: programs()?,
            directory: directory.to_owned(),
            settings: settings.iter().map(ToString::to_string).collect(),
            environment,
            user: unprivileged()?,
            child: None,
        };
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        for folder in [directory.to_owned(), postgres.pgdata()] {
            fs::create_dir_all(&folder).map_err(failed)?;
            fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(failed)?;
            if let Some((user, group)) = postgres.user {
                chown(&folder, Some(user), Some(group)).map_err(failed)?;
            }
        }
        let output = postgres
            .command("initdb")
            .args([
                "--username=fhir",
                "--encoding=UTF8",
                "--locale=C",
                "--auth=trust",
                "--no-sync",
            ])
            .arg(postgres.pgdata())
            .output()
            .map_err(failed)?;
        match output.status.success() {
            true => Ok(postgres),
            false => Err(format!(
                "initdb: {}",
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    pub fn pgdata(&self) -> PathBuf {
        self.directory.join("pgdata")
    }

    pub fn url(&self) -> String {
        let directory = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://fhir@{directory}:{PORT}/postgres")
    }

    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts it and waits until it is ready. It refuses while processes of a killed one still run, so it is tried again.
    pub async fn start(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let failed = |error: std::io::Error| format!("postgres: {error}");
        let log = self.directory.with_extension("log");
        loop {
            let out = File::options()
                .create(true)
                .append(true)
                .open(&log)
                .map_err(failed)?;
            let mut command = self.command("postgres");
            command
                .arg("-D")
                .arg(self.pgdata())
                .arg("-k")
                .arg(&self.directory);
            command.args(["-p", PORT, "-c", "listen_addresses="]);
            for setting in &self.settings {
                command.args(["-c", setting]);
            }
            command.envs(self.environment.iter().cloned());
            command
                .process_group(0)
                .stdout(out.try_clone().map_err(failed)?)
                .stderr(out);
            end_with_us(&mut command, libc::SIGQUIT);
            self.child = Some(command.spawn().map_err(failed)?);
            while self.is_running() && began.elapsed() < START {
                if self.is_ready() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if began.elapsed() > START {
                return Err(format!("Postgres does not start; see {}", log.display()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn is_ready(&self) -> bool {
        let text = fs::read_to_string(self.pgdata().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let pid = lines.next().and_then(|line| line.trim().parse().ok());
        pid == self.child.as_ref().map(Child::id)
            && lines.nth(6).is_some_and(|line| line.trim() == "ready")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), libc::SIGQUIT);
            let _ = child.wait();
        }
    }
}

/// The process id of the postmaster of a cluster, whoever started it.
pub fn postmaster(pgdata: &Path) -> Option<u32> {
    let text = fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// The folder of the newest installed PostgreSQL.
fn programs() -> Result<PathBuf, String> {
    let folders = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = folders
        .filter_map(|folder| {
            let major = folder.file_name().to_str()?.parse().ok()?;
            let programs = folder.path().join("bin");
            programs
                .join("initdb")
                .exists()
                .then_some((major, programs))
        })
        .collect();
    versions.sort();
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    };
    let newest = versions.pop().map(|(_, programs)| programs);
    newest
        .or_else(on_path)
        .ok_or_else(|| "no PostgreSQL is installed (make postgres)".into())
}

/// The user `postgres`, or `nobody`, where the harness is root: Postgres refuses to be.
fn unprivileged() -> Result<Option<(u32, u32)>, String> {
    // SAFETY: geteuid(2) has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let of = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    let user = of("postgres").or_else(|| of("nobody"));
    user.map(Some)
        .ok_or_else(|| "neither postgres nor nobody is a user here".into())
}
