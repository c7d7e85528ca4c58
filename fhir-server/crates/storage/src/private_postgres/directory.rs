//! The data directory of the private Postgres: who owns it, who may use it, where its socket is.

use super::binaries::Binaries;
use crate::error::Error;
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Part of the socket's name.
const PORT: u16 = 5432;
/// A socket's whole path may have 107 bytes on Linux; the file name needs 19.
const SOCKET_DIR_MAX: usize = 107 - "/.s.PGSQL.5432".len();
/// The log is begun anew past this size, in bytes; one older one is kept.
const LOG_MAX: u64 = 16 << 20;

/// A data directory that is this server's alone while the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    pgdata: PathBuf,
    socket: PathBuf,
    port: u16,
    user: Option<User>,
    /// Held by flock; the kernel gives it back however the server ends.
    _lock: Arc<File>,
}

/// Whom Postgres runs as when the server is root, which Postgres refuses to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Directory {
    /// Makes the directory where it is missing and takes its lock.
    pub(super) fn claim(data_dir: &Path) -> Result<Directory, Error> {
        let failed = |error: io::Error| {
            Error::Start(format!("data directory {}: {error}", data_dir.display()))
        };
        fs::create_dir_all(data_dir).map_err(failed)?;
        let root = data_dir.canonicalize().map_err(failed)?;
        let lock = lock(&root)?;
        let user = unprivileged_user()?;
        let pgdata = pgdata(&root, user).map_err(failed)?;
        let socket = socket(&root, user).map_err(failed)?;
        Ok(Directory {
            root,
            pgdata,
            socket,
            port: PORT,
            user,
            _lock: Arc::new(lock),
        })
    }

    /// Another cluster below the same lock: `pgdata.<suffix>`.
    pub(super) fn beside(&self, suffix: &str, port: u16) -> Directory {
        let mut other = self.at_port(port);
        other.pgdata.set_extension(suffix);
        other
    }

    /// The same cluster, where nobody looks for a serving one.
    pub(super) fn at_port(&self, port: u16) -> Directory {
        Directory {
            root: self.root.clone(),
            pgdata: self.pgdata.clone(),
            socket: self.socket.clone(),
            port,
            user: self.user,
            _lock: Arc::clone(&self._lock),
        }
    }

    pub(super) fn pgdata(&self) -> &Path {
        &self.pgdata
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// TCP is off; it is part of the name of the socket.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn user(&self) -> Option<User> {
        self.user
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The URL with the socket's directory as the host, percent-encoded.
    pub(super) fn url(&self) -> String {
        url(&self.socket, self.port)
    }

    /// The major version that made the data; `None` before the first start.
    pub(super) fn major(&self) -> Result<Option<u32>, Error> {
        match fs::read_to_string(self.pgdata.join("PG_VERSION")) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Start(format!("{}: {error}", self.pgdata.display()))),
        }
    }

    /// Makes an empty cluster, once. It is made beside its place and renamed, so that a kill in the middle leaves nothing half made.
    pub(super) fn initialise(&self, binaries: &Binaries) -> Result<(), Error> {
        if self.major()?.is_some() {
            return Ok(());
        }
        let failed = |error: io::Error| Error::Start(format!("{}: {error}", self.pgdata.display()));
        let unfinished = self.pgdata.with_extension("new");
        remove_all(&unfinished).map_err(failed)?;
        private_dir(&unfinished, self.user).map_err(failed)?;
        let output = super::command(binaries, self, "initdb")
            .args(["--username=fhir", "--encoding=UTF8", "--locale=C"])
            .args(["--auth-local=trust", "--auth-host=reject", "--pgdata"])
            .arg(&unfinished)
            .output()
            .map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Start(format!("initdb failed: {}", said.trim())));
        }
        fs::rename(&unfinished, &self.pgdata).map_err(failed)?;
        sync_dir(&self.pgdata).map_err(failed)
    }

    /// Whether the postmaster with this number accepts connections. Line 1 of its file is its number, line 8 its state.
    pub(super) fn is_ready(&self, pid: u32) -> bool {
        let Ok(text) = fs::read_to_string(self.pgdata.join("postmaster.pid")) else {
            return false;
        };
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    /// Waits for what a killed server or postmaster left running: its postmaster has been told to stop by the kernel, back ends
    /// without a postmaster end by themselves. Those that do not are told again, then killed; Postgres recovers from both.
    pub(super) fn await_left_overs(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut signal = libc::SIGINT;
        for rung in [0, 30, 60] {
            loop {
                let left = self.processes();
                if left.is_empty() {
                    return self.forget_postmaster();
                }
                if begun.elapsed() >= Duration::from_secs(rung) {
                    for pid in left {
                        // SAFETY: plain kill(2); a process whose working directory is our cluster is of our cluster.
                        unsafe { libc::kill(pid, signal) };
                    }
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            signal = if signal == libc::SIGINT {
                libc::SIGQUIT
            } else {
                libc::SIGKILL
            };
        }
        std::thread::sleep(Duration::from_millis(500));
        match self.processes().first() {
            None => self.forget_postmaster(),
            Some(pid) => Err(format!("process {pid} still uses the data directory")),
        }
    }

    /// A left-over `postmaster.pid` may name a number that another program has by now; Postgres would refuse to start beside it.
    fn forget_postmaster(&self) -> Result<(), String> {
        match fs::remove_file(self.pgdata.join("postmaster.pid")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Processes of this cluster: every one of them works in its directory.
    fn processes(&self) -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.pgdata)
        })
        .collect()
    }

    pub(super) fn open_log(&self) -> io::Result<File> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX) {
            fs::rename(&path, path.with_extension("log.old"))?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Postgres has removed its socket; a directory that is not empty stays, and is used again.
        let _ = fs::remove_dir(&self.socket);
    }
}

/// The URL of the Postgres that another process runs here; `None` when nobody holds the directory, or nothing listens yet.
pub(super) fn running(data_dir: &Path) -> Option<String> {
    let socket = data_dir.join("pgsock").canonicalize().ok()?;
    if !socket.join(".s.PGSQL.5432").exists() {
        return None;
    }
    let lock = File::open(data_dir.join("lock")).ok()?;
    // Shared, so that several who ask do not take each other for the server.
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| url(&socket, PORT))
}

fn url(socket: &Path, port: u16) -> String {
    let mut host = String::new();
    for byte in socket.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => host.push(byte as char),
            _ => host.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("postgres://fhir@{host}:{port}/postgres")
}

/// Takes the lock on the directory, or names the process that holds it.
fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("lock");
    let failed = |error: io::Error| Error::Start(format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed)?;
            return Err(Error::Start(format!(
                "the data directory {} is used by another server (process {}): stop that one first, or give this one a directory of its own",
                root.display(),
                pid.trim()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// `None` unless we are root; then the packaged `postgres` user, else `nobody`.
fn unprivileged_user() -> Result<Option<User>, Error> {
    // SAFETY: geteuid cannot fail; getpwnam's result is read at once, by the one thread that calls it.
    unsafe {
        if libc::geteuid() != 0 {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            let name = CString::new(name).expect("a literal without NUL");
            let entry = libc::getpwnam(name.as_ptr());
            if let Some(entry) = entry.as_ref() {
                let (uid, gid) = (entry.pw_uid, entry.pw_gid);
                return Ok(Some(User { uid, gid }));
            }
        }
    }
    Err(Error::Start(
        "Postgres does not run as root, and there is neither a user `postgres` nor `nobody`".into(),
    ))
}

/// `<root>/pgdata`. Under root, a directory below a closed one (`/root`, a 0700 temporary directory) cannot be reached by the user of
/// Postgres: the cluster then lies in /var/lib/fhir-server and `pgdata` is a link to it.
fn pgdata(root: &Path, user: Option<User>) -> io::Result<PathBuf> {
    let place = root.join("pgdata");
    if let Ok(target) = fs::read_link(&place) {
        return Ok(target);
    }
    match user {
        Some(user) if !place.exists() && !reachable(root, user) => {
            let state = Path::new("/var/lib/fhir-server");
            fs::create_dir_all(state)?;
            fs::set_permissions(state, Permissions::from_mode(0o755))?;
            let target = state.join(uuid::Uuid::now_v7().to_string()).join("pgdata");
            private_dir(target.parent().unwrap_or(state), Some(user))?;
            std::os::unix::fs::symlink(&target, &place)?;
            tracing::warn!(
                data = %target.display(),
                "the user of Postgres cannot reach the data directory; the database is kept outside of it"
            );
            Ok(target)
        }
        _ => Ok(place),
    }
}

/// Whether `user` may pass through every directory of the path.
fn reachable(path: &Path, user: User) -> bool {
    path.ancestors().all(|folder| {
        fs::metadata(folder).is_ok_and(|data| {
            let execute = match (data.uid() == user.uid, data.gid() == user.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            data.mode() & execute != 0
        })
    })
}

/// The directory of the socket: `<root>/pgsock`, or where that path is too long or closed, one with a short path and a link to it.
fn socket(root: &Path, user: Option<User>) -> io::Result<PathBuf> {
    let place = root.join("pgsock");
    if let Ok(left_over) = fs::read_link(&place) {
        let _ = fs::remove_dir_all(left_over);
        fs::remove_file(&place)?;
    }
    let fits = place.as_os_str().len() <= SOCKET_DIR_MAX;
    if fits && user.is_none_or(|user| reachable(root, user)) {
        private_dir(&place, user)?;
        return Ok(place);
    }
    let short = Path::new("/tmp").join(format!("fhir-{}", uuid::Uuid::now_v7().simple()));
    DirBuilder::new().mode(0o700).create(&short)?;
    private_dir(&short, user)?;
    std::os::unix::fs::symlink(&short, &place)?;
    Ok(short)
}

/// Removes a folder, if there is one.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes the renaming of `path` last.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn private_dir(path: &Path, user: Option<User>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}
