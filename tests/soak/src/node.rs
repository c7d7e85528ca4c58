//! One real Elasticsearch or OpenSearch of a test's own, which `scripts/es-node.sh` starts. It is forgotten when this is dropped.

use crate::process::signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    Elasticsearch,
    OpenSearch,
}

impl Flavor {
    fn name(self) -> &'static str {
        match self {
            Flavor::Elasticsearch => "elasticsearch",
            Flavor::OpenSearch => "opensearch",
        }
    }

    /// Why there is none of it here, if there is none: no Java, or none that is new enough, or no Maven repository.
    pub fn missing(self, root: &Path) -> Option<String> {
        let plan = Plan {
            flavor: self,
            ..Plan::new(root, 0)
        };
        plan.script("fetch", false).err()
    }
}

/// How it is started. Its transport listens a hundred ports further on.
#[derive(Clone, Debug)]
pub struct Plan {
    pub script: PathBuf,
    pub port: u16,
    pub flavor: Flavor,
    /// Lines of its configuration.
    pub settings: String,
    /// A folder with files for its configuration.
    pub files: Option<PathBuf>,
    /// Of the user `elastic`: where it asks who one is, over TLS.
    pub password: Option<String>,
}

impl Plan {
    /// `root` is the folder with `scripts`.
    pub fn new(root: &Path, port: u16) -> Plan {
        Plan {
            script: root.join("scripts/es-node.sh"),
            port,
            flavor: Flavor::Elasticsearch,
            settings: String::new(),
            files: None,
            password: None,
        }
    }

    fn script(&self, command: &str, is_fresh: bool) -> Result<String, String> {
        let mut script = Command::new(&self.script);
        script
            .arg(command)
            .env("PORT", self.port.to_string())
            .env("HEAP", "256m")
            .env("FLAVOR", self.flavor.name())
            .env("NODE_SETTINGS", &self.settings)
            .env(
                "NODE_PASSWORD",
                self.password.as_deref().unwrap_or_default(),
            )
            .env("NODE_FRESH", if is_fresh { "yes" } else { "" });
        if let Some(files) = &self.files {
            script.env("NODE_FILES", files);
        }
        let output = script
            .output()
            .map_err(|error| format!("{}: {error}", self.script.display()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    fn start(&self, is_fresh: bool) -> Result<u32, String> {
        self.script("start", is_fresh)?;
        let pid = self.script("pid", false)?;
        pid.parse().map_err(|_| format!("no process: {pid}"))
    }
}

pub struct Node {
    plan: Plan,
    pid: Option<u32>,
}

impl Node {
    /// Does not run yet. What is found at its port is of an earlier run.
    pub fn new(plan: Plan) -> Node {
        Node { plan, pid: None }
    }

    pub fn port(&self) -> u16 {
        self.plan.port
    }

    /// Starts it and waits until it can be used; `is_fresh`: it has nothing yet.
    ///
    /// # Errors
    /// What the script says.
    pub async fn start(&mut self, is_fresh: bool) -> Result<(), String> {
        let plan = self.plan.clone();
        let started = tokio::task::spawn_blocking(move || plan.start(is_fresh)).await;
        self.pid = Some(started.map_err(|error| error.to_string())??);
        Ok(())
    }

    pub fn is_running(&self) -> bool {
        self.pid.is_some()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            signal(pid, libc::SIGKILL);
            while is_alive(pid) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.plan.script("remove", false);
    }
}

/// Not even on its way out.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}
