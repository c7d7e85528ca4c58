//! The real program as a child process on free ports, with its private Postgres in a directory of its own: what crash, race and
//! listener tests need. Everything is stopped and removed on drop.

use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `fhir-server serve`.
pub struct Server {
    child: Child,
    pub base: String,
    pub mllp: SocketAddr,
    http: SocketAddr,
    data: PathBuf,
    settings: Vec<(String, String)>,
    _directory: std::sync::Arc<tempfile::TempDir>,
    pub client: reqwest::Client,
}

/// A directory that the database's own user may enter.
pub fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::Builder::new().prefix("fhir-it-").tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// An address nobody listens on at the moment.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The workspace's root: where the data folders are.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl Server {
    /// Starts a server on a new directory and waits until it is ready.
    pub async fn start(settings: &[(&str, &str)]) -> Server {
        let directory = std::sync::Arc::new(directory());
        let (http, mllp) = (free_address(), free_address());
        let data = directory.path().join("data");
        let settings: Vec<(String, String)> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let child = spawn(http, mllp, &data, &settings);
        let mut server = Server {
            child,
            base: format!("http://{http}/fhir"),
            mllp,
            http,
            data,
            settings,
            _directory: directory,
            client: reqwest::Client::new(),
        };
        server.wait_until_ready().await;
        server
    }

    async fn wait_until_ready(&mut self) {
        let began = Instant::now();
        loop {
            let ready = self.client.get(format!("http://{}/health/ready", self.http)).send().await;
            if ready.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended: {status}\n{}", self.log());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "not ready in 60 s\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the server has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// `kill -9` of the server alone; its Postgres must follow by itself.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `kill -9` of the private Postgres' postmaster.
    pub fn kill_postgres(&self) {
        let pid = std::fs::read_to_string(self.data.join("pgdata/postmaster.pid")).unwrap();
        let pid: i32 = pid.lines().next().unwrap().trim().parse().unwrap();
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    }

    /// Starts again on the same directory and ports.
    pub async fn restart(&mut self) {
        self.child = spawn(self.http, self.mllp, &self.data, &self.settings);
        self.wait_until_ready().await;
    }

    /// Waits until the server answers again after its Postgres was killed.
    pub async fn wait_until_answering(&mut self) {
        self.wait_until_ready().await;
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(format!("{}/{path}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// The exact number of resources a search finds.
    pub async fn count(&self, search: &str) -> u64 {
        let joint = if search.contains('?') { '&' } else { '?' };
        let (status, bundle) = self.get(&format!("{search}{joint}_summary=count")).await;
        assert_eq!(status, 200, "{search}: {bundle}");
        bundle["total"].as_u64().unwrap()
    }

    /// Posts to the base or to a type; gives status and body, or `None` when the connection broke.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let url = if path.is_empty() { self.base.clone() } else { format!("{}/{path}", self.base) };
        let request = self.client.post(url).header("content-type", "application/fhir+json").body(body.to_string());
        let answer = request.timeout(Duration::from_secs(30)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or(Value::Null)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let began = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if began.elapsed() > Duration::from_secs(15) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(http: SocketAddr, mllp: SocketAddr, data: &Path, settings: &[(String, String)]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_fhir-server"))
        .arg("serve")
        .current_dir(root())
        .env("FHIR_HTTP_ADDR", http.to_string())
        .env("FHIR_MLLP_ADDR", mllp.to_string())
        .env("FHIR_DATA_DIR", data)
        .envs(settings.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
