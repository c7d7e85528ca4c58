//! A site: one server with its private Postgres, or several that share one, and a listener of its own. Started, hurt, brought back.

use crate::content;
use crate::postgres::{Postgres, postmaster};
use crate::process::{Program, free_port};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use load_driver::client::Client;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait until a server is ready, with the recovery of its Postgres.
const READY: Duration = Duration::from_secs(120);
/// A preload library that answers with another time; Debian's package libfaketime.
const FAKETIME: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"
} else {
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
};

/// What is tried.
#[derive(Clone, Debug)]
pub struct Programs {
    pub server: PathBuf,
    pub listener: PathBuf,
    /// The folder with `mappings`, `profiles` and `terminology`.
    pub root: PathBuf,
}

/// What a site is made of.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Servers that share one Postgres, which is the harness' own; 0: one server with its private Postgres.
    pub sharing: usize,
    /// Settings of that Postgres, `name=value`.
    pub settings: Vec<&'static str>,
    /// The clocks of Postgres and servers can be set.
    pub clocks: bool,
    /// Size of a file system of its own for the data, in megabytes.
    pub disk_mb: Option<u64>,
    /// Messages are acknowledged when they are in the spool of their listener.
    pub spools: bool,
    /// The URL of an Elasticsearch that the servers search in; what is in it is compared at the end.
    pub elasticsearch: Option<String>,
}

pub struct Site {
    pub servers: Vec<Program>,
    pub listener: Program,
    pub postgres: Option<Postgres>,
    /// FHIR bases of the servers.
    pub bases: Vec<String>,
    /// Addresses of the embedded listeners, and of the one that runs alone.
    pub listeners: Vec<String>,
    pub disk: Option<Disk>,
    /// What the indexes of the site are called in its Elasticsearch.
    index: Option<String>,
    programs: Programs,
    data: PathBuf,
    directory: PathBuf,
    /// Last, so that everything has ended when it is removed.
    _kept: Option<TempDir>,
}

/// A small file system.
pub struct Disk {
    at: PathBuf,
}

/// Whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Database,
    Servers,
}

impl Clock {
    fn file(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Clock::Database => "clock-database",
            Clock::Servers => "clock-servers",
        })
    }

    /// The preload library reads the file about once a second in each process. Waiting goes by the monotonic clock, which stays.
    fn environment(self, directory: &Path) -> Vec<(String, String)> {
        let file = self.file(directory).display().to_string();
        let pairs = [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }
}

/// Why clocks cannot be set here, if they cannot.
pub fn no_clocks() -> Option<String> {
    (!Path::new(FAKETIME).exists())
        .then(|| format!("{FAKETIME} is not there (apt-get install libfaketime)"))
}

impl Site {
    /// Makes and starts it; everything lies in a new directory, which goes with it unless `keep` says where else.
    pub async fn start(programs: &Programs, shape: &Shape) -> Result<Site, String> {
        let failed = |error: std::io::Error| error.to_string();
        let kept = tempfile::Builder::new()
            .prefix("soak-")
            .tempdir()
            .map_err(failed)?;
        let directory = kept.path().to_owned();
        // Postgres runs as another user, who must be able to walk in.
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).map_err(failed)?;
        let data = directory.join("data");
        fs::create_dir(&data).map_err(failed)?;
        let disk = shape.disk_mb.map(|mb| Disk::mount(&data, mb)).transpose()?;
        let secret = directory.join("site-secret");
        fs::write(&secret, "one secret for all listeners of this site").map_err(failed)?;
        for clock in [Clock::Database, Clock::Servers] {
            fs::write(clock.file(&directory), "+0").map_err(failed)?;
        }
        let clock = |clock: Clock| match shape.clocks {
            true => clock.environment(&directory),
            false => Vec::new(),
        };
        let mut postgres = None;
        if shape.sharing > 0 {
            let mut own =
                Postgres::create(&data.join("own"), &shape.settings, clock(Clock::Database))?;
            own.start().await?;
            postgres = Some(own);
        }
        let mut site = Site {
            servers: Vec::new(),
            listener: Program::new("listener", &programs.listener, &directory),
            bases: Vec::new(),
            listeners: Vec::new(),
            postgres,
            disk,
            index: None,
            programs: programs.clone(),
            data,
            directory: directory.clone(),
            _kept: Some(kept),
        };
        let mut mappings = programs.root.join("mappings");
        if shape.spools {
            let own = directory.join("mappings");
            copy(&mappings, &own).map_err(failed)?;
            for sender in content::SENDERS {
                let file = own.join(format!("hl7v2/senders/{sender}.yaml"));
                fs::write(file, "ack: stored\n").map_err(failed)?;
            }
            mappings = own;
        }
        let mappings = mappings.display().to_string();
        let with_spool = |program: Program| match shape.spools {
            true => {
                let folder = directory.join(format!("spool-{}", program.name));
                program.set("FHIR_MLLP_SPOOL_DIR", folder.display().to_string())
            }
            false => program,
        };
        let secret = secret.display().to_string();
        for number in 0..shape.sharing.max(1) {
            let (http, mllp) = (free_port()?, free_port()?);
            let http = format!("127.0.0.1:{http}");
            let mllp = format!("127.0.0.1:{mllp}");
            let name = format!("server-{number}");
            let mut server = Program::new(&name, &programs.server, &site.directory)
                .argument("serve")
                .set("FHIR_HTTP_ADDR", &http)
                .set("FHIR_MLLP_ADDR", &mllp)
                .set("FHIR_MAPPINGS_DIR", &mappings)
                .set("FHIR_SITE_SECRET_FILE", &secret)
                .set("FHIR_LOG_LEVEL", "warn")
                .set("FHIR_DATA_DIR", site.data.display().to_string());
            if let Some(postgres) = &site.postgres {
                server = server.set("DATABASE_URL", postgres.url());
            }
            if let Some(url) = &shape.elasticsearch {
                let index = format!("soak_{}", free_port()?);
                let index = site.index.get_or_insert(index);
                server = server
                    .set("ELASTICSEARCH_URL", url)
                    .set("ELASTICSEARCH_INDEX", index.as_str())
                    // What is looked for is cheap in Postgres.
                    .set("ELASTICSEARCH_ASKED", "always");
            }
            for (name, value) in clock(Clock::Servers) {
                server = server.set(&name, value);
            }
            server = with_spool(server);
            site.bases.push(format!("http://{http}/fhir"));
            site.listeners.push(mllp);
            site.servers.push(server);
        }
        let mllp = format!("127.0.0.1:{}", free_port()?);
        let listener = Program::new("listener", &programs.listener, &site.directory)
            .set("FHIR_MLLP_ADDR", &mllp)
            .set("FHIR_SERVER_URL", &site.bases[0])
            .set("FHIR_MAPPINGS_DIR", &mappings)
            .set("FHIR_SITE_SECRET_FILE", &secret)
            .set("RUST_LOG", "warn");
        site.listener = with_spool(listener);
        site.listeners.push(mllp);
        site.bring_back().await?;
        Ok(site)
    }

    /// Starts again what does not run, and waits until every server is ready. Servers bring their private Postgres back themselves.
    pub async fn bring_back(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let client = Client::new();
        for at in 0..self.servers.len() {
            let url = self.bases[at].replace("/fhir", "/health/ready");
            loop {
                // What was just killed may still look as if it ran, so this is asked each time.
                if let Some(postgres) = &mut self.postgres
                    && !postgres.is_running()
                {
                    postgres.start().await?;
                }
                // A server that cannot open its database ends; whoever runs it starts it again.
                if !self.servers[at].is_running() {
                    self.servers[at].start(&self.programs.root)?;
                }
                let answer = client.probe(&url).await;
                if answer == Some(200) {
                    break;
                }
                if began.elapsed() > READY {
                    let name = &self.servers[at].name;
                    return Err(format!(
                        "{name} is not ready in {READY:?}; see {}",
                        self.directory.display()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        if !self.listener.is_running() {
            self.listener.start(&self.programs.root)?;
        }
        Ok(())
    }

    pub fn postmaster(&self) -> Option<u32> {
        match &self.postgres {
            Some(postgres) => postmaster(&postgres.pgdata()),
            None => postmaster(&self.data.join("pgdata")),
        }
    }

    /// From now on this clock is that many seconds beside the true one.
    pub fn set_clock(&self, clock: Clock, seconds: i64) -> Result<(), String> {
        // A reader must not see half a file.
        let file = clock.file(&self.directory);
        let beside = file.with_extension("new");
        fs::write(&beside, format!("{seconds:+}")).map_err(|error| error.to_string())?;
        fs::rename(&beside, &file).map_err(|error| error.to_string())
    }

    /// Waits until the clock is seen to have jumped: else the round would try nothing. `message` was accepted before: its repetition
    /// writes nothing, and MSH-7 of the answer is the server's clock. (The Date of an HTTP answer is not made anew while the clock is back.)
    pub async fn see_clock(&self, clock: Clock, seconds: i64, message: &str) -> Result<(), String> {
        let mut client = Client::new();
        let began = Instant::now();
        let basic = json!({"resourceType": "Basic", "code": {"text": "What time is it?"}});
        while began.elapsed() < READY {
            let said = match clock {
                Clock::Database => {
                    let url = format!("{}/Basic", self.bases[0]);
                    let answer = client.ask(Method::POST, &url, &[], Some(&basic)).await;
                    answer.ok().and_then(|answer| last_updated(&answer.body))
                }
                Clock::Servers => {
                    let answer = client.send(&self.listeners[0], message).await;
                    answer.ok().and_then(|answer| sent_at(&answer))
                }
            };
            let away = said.map(|said| said - Timestamp::now().as_second());
            if away.is_some_and(|away| (away - seconds).abs() < 30) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the clock does not jump".into())
    }

    /// What differs between the search index and the database, as the server's own command says; `None`: nothing, or there is no index.
    pub fn compare_index(&self) -> Result<Option<String>, String> {
        if self.index.is_none() {
            return Ok(None);
        }
        let began = Instant::now();
        loop {
            let arguments = ["index", "verify"];
            let (is_right, said) = self.servers[0].once(&arguments, &self.programs.root)?;
            if is_right && said.contains("; 0 differ and wait") {
                return Ok(None);
            }
            let may_come = is_right || said.contains("no search index is complete");
            if !may_come || began.elapsed() > READY {
                return Ok(Some(said));
            }
        }
    }

    pub fn ledger(&self) -> PathBuf {
        self.directory.join("ledger.jsonl")
    }

    /// Keeps the directory for whoever looks into a finding.
    pub fn keep(&mut self) -> Option<PathBuf> {
        self._kept.take().map(TempDir::keep)
    }

    pub fn stop(&mut self) {
        self.listener.stop();
        for server in &mut self.servers {
            server.stop();
        }
        self.postgres = None;
    }
}

/// A folder with all that is in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        match path.is_dir() {
            true => copy(&path, &to.join(name))?,
            false => drop(fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

/// In seconds since 1970.
fn last_updated(resource: &Value) -> Option<i64> {
    let time: Timestamp = resource["meta"]["lastUpdated"].as_str()?.parse().ok()?;
    Some(time.as_second())
}

/// MSH-7, which is UTC here.
fn sent_at(answer: &str) -> Option<i64> {
    let time = answer.split('|').nth(6)?.get(..14)?;
    let time = DateTime::strptime("%Y%m%d%H%M%S", time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

impl Disk {
    fn mount(at: &Path, mb: u64) -> Result<Disk, String> {
        let mut command = Command::new("mount");
        command
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mb}m,mode=755"),
                "tmpfs",
            ])
            .arg(at);
        let output = command
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(Disk { at: at.to_owned() }),
            false => Err(format!(
                "mount: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Takes all room there is.
    pub fn fill(&self) -> Result<(), String> {
        use std::io::Write;
        let mut file = fs::File::create(self.ballast()).map_err(|error| error.to_string())?;
        for size in [1 << 20, 1 << 12] {
            let block = vec![7; size];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    pub fn make_room(&self) -> Result<(), String> {
        fs::remove_file(self.ballast()).map_err(|error| error.to_string())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazy: a process of Postgres may be on its way out.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Whether a small file system can be mounted here; if not, why.
pub fn no_disks() -> Option<String> {
    let place = tempfile::tempdir().ok()?;
    Disk::mount(place.path(), 1).err()
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}
