//! A Postgres of the server's own, in its data directory: one command starts everything, and nothing else can reach it.
//!
//! It listens on a socket in a 0700 directory only, dies with the server (even by kill -9) by a clean shutdown, and is started again
//! when it dies itself. A second server on the same directory is refused, so is a directory of another PostgreSQL major version.

mod binaries;
mod directory;
mod upgrade;

use crate::error::Error;
use binaries::Binaries;
use directory::Directory;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
pub use upgrade::Upgraded;

/// Longest wait for a start (crash recovery included) and for an orderly stop.
const START_TIMEOUT: Duration = Duration::from_secs(600);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before the first restart of a postmaster that died; doubles up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The running private Postgres. Dropping it stops it and waits for that; [`PrivatePostgres::stop`] does so without blocking the runtime.
#[derive(Debug)]
pub struct PrivatePostgres {
    url: String,
    binaries: PathBuf,
    state: Arc<Shared>,
    /// Spawns every postmaster: the kernel ties PDEATHSIG to the spawning thread, so it must live as long as they do.
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    postmaster: Option<i32>,
}

impl PrivatePostgres {
    /// Starts the Postgres of `data_dir`, which is made where it is missing, and waits until it accepts connections.
    ///
    /// # Errors
    /// [`Error::Start`], with what to do: no PostgreSQL >= 15 installed, another server on this directory, another major version,
    /// or what Postgres itself said.
    pub async fn start(data_dir: &Path) -> Result<PrivatePostgres, Error> {
        let data_dir = data_dir.to_path_buf();
        PrivatePostgres::launch(move || prepare(&data_dir)).await
    }

    async fn launch(
        prepare: impl FnOnce() -> Result<(Binaries, Directory), Error> + Send + 'static,
    ) -> Result<PrivatePostgres, Error> {
        let state = Arc::new(Shared::default());
        let (started, answer) = oneshot::channel();
        let shared = Arc::clone(&state);
        let supervisor = std::thread::Builder::new()
            .name("private-postgres".into())
            .spawn(move || supervise(prepare, &shared, started))
            .map_err(|error| Error::Start(format!("no thread for Postgres: {error}")))?;
        let mut postgres = PrivatePostgres {
            url: String::new(),
            binaries: PathBuf::new(),
            state,
            supervisor: Some(supervisor),
        };
        (postgres.url, postgres.binaries) = answer
            .await
            .map_err(|_| Error::Start("Postgres was stopped while it started".into()))??;
        Ok(postgres)
    }

    /// The URL of the Postgres that another process runs in `data_dir`, if one does: for commands beside a running server.
    pub fn running(data_dir: &Path) -> Option<String> {
        directory::running(data_dir)
    }

    /// The `postgres://` URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of `postgres`, `pg_dump` and the other programs.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// The process id of the postmaster; `None` while it is being started again.
    pub fn pid(&self) -> Option<i32> {
        self.state.lock().postmaster
    }

    /// Stops it: open transactions are rolled back, everything committed is on disk.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || drop(self)).await;
        stopped.unwrap_or_else(|error| tracing::error!(%error, "stopping Postgres failed"));
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.state.stop(libc::SIGINT);
        let Some(supervisor) = self.supervisor.take() else {
            return;
        };
        let begun = Instant::now();
        while !supervisor.is_finished() && begun.elapsed() < STOP_TIMEOUT {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !supervisor.is_finished() {
            self.state.stop(libc::SIGQUIT);
        }
        if supervisor.join().is_err() {
            tracing::error!("the supervisor of Postgres panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, signal: i32) {
        let mut state = self.lock();
        state.stopping = true;
        if let Some(pid) = state.postmaster {
            // SAFETY: plain kill(2); the pid is of a child that has not been waited for while `postmaster` is set.
            unsafe { libc::kill(pid, signal) };
        }
        self.changed.notify_all();
    }

    /// Sleeps for `pause`, or less when a stop is asked for; tells whether it is.
    fn sleep(&self, pause: Duration) -> bool {
        let wait = self
            .changed
            .wait_timeout_while(self.lock(), pause, |state| !state.stopping);
        wait.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

type Started = oneshot::Sender<Result<(String, PathBuf), Error>>;

/// The life of the supervisor thread.
fn supervise(
    prepare: impl FnOnce() -> Result<(Binaries, Directory), Error>,
    shared: &Shared,
    started: Started,
) {
    let (binaries, directory) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            // The caller may have given up; then there is no one to tell.
            let _ = started.send(Err(error));
            return;
        }
    };
    let mut started = Some(started);
    let mut back_off = BACK_OFF.0;
    loop {
        let begun = Instant::now();
        let outcome = run(&binaries, &directory, shared, || {
            if let Some(started) = started.take()
                && started
                    .send(Ok((directory.url(), binaries.path.clone())))
                    .is_err()
            {
                shared.stop(libc::SIGINT);
            }
        });
        if shared.lock().stopping {
            break;
        }
        if let (Some(started), Err(error)) = (started.take(), &outcome) {
            let _ = started.send(Err(Error::Start(error.clone())));
            break;
        }
        let reason = outcome.err().unwrap_or_else(|| "it exited".into());
        tracing::error!(%reason, "Postgres died and is started again");
        if begun.elapsed() > Duration::from_secs(60) {
            back_off = BACK_OFF.0;
        }
        if shared.sleep(back_off) {
            break;
        }
        back_off = (back_off * 2).min(BACK_OFF.1);
    }
}

fn prepare(data_dir: &Path) -> Result<(Binaries, Directory), Error> {
    let directory = Directory::claim(data_dir)?;
    let binaries = Binaries::find(directory.major()?)?;
    directory.initialise(&binaries)?;
    Ok((binaries, directory))
}

/// Runs one postmaster to its end; `ready` is called once it accepts connections.
fn run(
    binaries: &Binaries,
    directory: &Directory,
    shared: &Shared,
    ready: impl FnOnce(),
) -> Result<(), String> {
    directory.await_left_overs()?;
    let mut child = {
        let mut state = shared.lock();
        if state.stopping {
            return Ok(());
        }
        let child = spawn(binaries, directory)
            .map_err(|error| format!("{}: {error}", binaries.path.display()))?;
        state.postmaster = Some(child.id() as i32);
        child
    };
    let outcome = attend(&mut child, directory, ready);
    // The pid must be forgotten before it is reaped: no one may signal a number that is somebody else's by then.
    let mut state = shared.lock();
    state.postmaster = None;
    drop(state);
    let status = child.wait().map_err(|error| error.to_string())?;
    outcome.map_err(|error| format!("{error} ({status}); see {}", directory.log().display()))
}

/// Waits until the postmaster is ready, then until it has exited (without reaping it).
fn attend(child: &mut Child, directory: &Directory, ready: impl FnOnce()) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        if exited(child, libc::WNOHANG)? {
            return Err("Postgres did not start".into());
        }
        if directory.is_ready(child.id()) {
            break;
        }
        if begun.elapsed() > START_TIMEOUT {
            // SAFETY: plain kill(2) of our own child, which has not been reaped.
            unsafe { libc::kill(child.id() as i32, libc::SIGQUIT) };
            return Err(format!("not ready in {} s", START_TIMEOUT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ready();
    exited(child, 0)?;
    Ok(())
}

/// Whether the child has exited; it stays a zombie until it is waited for, so that its number is not given away.
fn exited(child: &Child, flags: i32) -> Result<bool, String> {
    loop {
        // SAFETY: an all-zero siginfo_t is valid, and waitid writes only to it.
        let (result, pid) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOWAIT | flags;
            let result = libc::waitid(libc::P_PID, child.id(), &mut info, options);
            (result, info.si_pid())
        };
        match std::io::Error::last_os_error() {
            _ if result == 0 => return Ok(pid != 0),
            error if error.kind() == std::io::ErrorKind::Interrupted => {}
            error => return Err(error.to_string()),
        }
    }
}

fn spawn(binaries: &Binaries, directory: &Directory) -> std::io::Result<Child> {
    let log = directory.open_log()?;
    let mut command = command(binaries, directory, "postgres");
    command
        .arg("-D")
        .arg(directory.pgdata())
        .arg("-k")
        .arg(directory.socket())
        .args(["-p", &directory.port().to_string()]);
    for (name, value) in settings(memory_mb(), compression(binaries, directory)) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.stdout(log.try_clone()?).stderr(log);
    command.process_group(0); // a ^C in the terminal is for the server alone, which then stops Postgres
    let server = std::process::id();
    // SAFETY: only async-signal-safe calls between fork and exec. It runs after the user was changed, which would clear PDEATHSIG.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            if libc::getppid() as u32 != server {
                libc::_exit(1); // the server died between fork and here
            }
            Ok(())
        });
    }
    command.spawn()
}

/// A Postgres program with a clean environment, as the user of the data.
fn command(binaries: &Binaries, directory: &Directory, program: &str) -> Command {
    let mut command = Command::new(binaries.path.join(program));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(user) = directory.user() {
        command.uid(user.uid).gid(user.gid); // std drops the supplementary groups too
    }
    command
}

/// The best compression that this Postgres was built with.
fn compression(binaries: &Binaries, directory: &Directory) -> &'static str {
    let asked = command(binaries, directory, "postgres")
        .arg("-D")
        .arg(directory.pgdata())
        .args(["-C", "wal_compression", "-c", "wal_compression=lz4"])
        .output();
    match asked {
        Ok(answer) if answer.status.success() => "lz4",
        _ => "pglz",
    }
}

/// Server settings, for a machine with this much memory. Measured for this store; the reasons stand in docs/adr/0002-postgres-layout.md.
fn settings(memory_mb: u64, compression: &str) -> Vec<(&'static str, String)> {
    let mb = |part: u64, least: u64, most: u64| format!("{}MB", part.clamp(least, most));
    [
        // Who can reach it, and what it may write down: no statement, parameter or key value in its log.
        ("listen_addresses", String::new()),
        ("unix_socket_permissions", "0700".into()),
        ("log_error_verbosity", "terse".into()),
        ("log_min_error_statement", "panic".into()),
        ("log_checkpoints", "off".into()),
        // Memory. What is not touched is not resident. The files are in the system's cache as well, which gives way when memory is short.
        ("shared_buffers", mb(memory_mb / 8, 64, 512)),
        ("effective_cache_size", mb(memory_mb * 6 / 10, 128, 1 << 20)),
        ("work_mem", mb(memory_mb / 64, 4, 32)),
        ("maintenance_work_mem", mb(memory_mb / 16, 32, 512)),
        ("max_connections", "100".into()),
        ("max_logical_replication_workers", "0".into()),
        ("autovacuum_max_workers", "2".into()),
        // Durability as it must be, with long checkpoint distances: full-page images are most of the log.
        ("fsync", "on".into()),
        ("synchronous_commit", "on".into()),
        ("wal_level", "replica".into()),
        ("wal_compression", compression.into()),
        ("checkpoint_timeout", "15min".into()),
        ("max_wal_size", "4GB".into()),
        ("default_toast_compression", compression.into()),
        // Plans.
        ("jit", "off".into()),
        ("random_page_cost", "1.1".into()),
        ("max_parallel_workers_per_gather", "0".into()),
    ]
    .into()
}

/// The memory of the machine, or what the container may use of it.
fn memory_mb() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let limit = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<u64>().ok());
    let total = total.unwrap_or(1 << 20) / 1024;
    limit.map_or(total, |bytes| total.min(bytes >> 20))
}
