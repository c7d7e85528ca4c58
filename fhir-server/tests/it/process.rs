//! The program itself: start, stop, two on one directory, a wrong setting, a wrong data file.

use crate::site::Site;
use hl7_mllp_listener::client::Client;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// The repository: the data folders are there.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PROGRAM: &str = env!("CARGO_BIN_EXE_fhir-server");

pub struct Running {
    pub child: Child,
    pub site: Site,
    /// What it has logged since it was ready.
    pub logs: Arc<Mutex<String>>,
    /// `off`, or where the embedded listener listens.
    pub mllp_addr: String,
}

/// A data directory that the user of Postgres can reach.
pub fn directory() -> (tempfile::TempDir, PathBuf) {
    fhir_storage::testing::open_directory()
}

/// The maps of this repository.
pub fn mappings_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings")
}

/// Copies a folder such as that, with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// The arguments that start the embedded listener with the maps of this repository.
pub fn mappings() -> Vec<String> {
    let folder = mappings_folder();
    let arguments = [
        "--mllp-addr",
        "127.0.0.1:0",
        "--mappings-dir",
        folder.to_str().unwrap(),
    ];
    arguments.map(str::to_string).to_vec()
}

/// The program on a data directory, without its command.
pub fn command(directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_remove("DATABASE_URL")
        .current_dir(ROOT)
        .args(["--http-addr", "127.0.0.1:0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(directory)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Starts `serve` and waits for the line that says where it listens.
pub fn serve(directory: &Path, arguments: &[String]) -> Running {
    let mut command = command(directory);
    command.arg("serve").args(arguments);
    start(command)
}

/// Starts a command that serves, and waits for the line that says where it listens.
pub fn start(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines
        .by_ref()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
        .find(|line| line["http_addr"].is_string())
        .expect("the server says where it listens");
    let logs = Arc::new(Mutex::new(String::new()));
    let into = logs.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            into.lock().unwrap().push_str(&line);
        }
    });
    Running {
        child,
        logs,
        site: Site::new(&format!("http://{}", ready["http_addr"].as_str().unwrap())),
        mllp_addr: ready["mllp_addr"].as_str().unwrap().to_string(),
    }
}

/// Asks it to stop in order.
pub fn terminate(child: &Child) {
    signal(child.id(), libc::SIGTERM);
}

/// Sends a signal; a minimal Debian has no `kill` program.
pub fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: kill(2) takes plain numbers.
    let sent = unsafe { libc::kill(process.cast_signed(), signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

pub fn off() -> Vec<String> {
    ["--mllp-addr", "off"].map(str::to_string).to_vec()
}

#[tokio::test]
async fn restart_keeps_everything_and_two_on_one_directory_are_refused() {
    let (_kept, directory) = directory();
    let mut first = serve(&directory, &off());
    let body = r#"{"resourceType":"Basic","id":"kept","code":{"text":"x"}}"#;
    first.site.check("PUT Basic/kept", body, "201").await;
    let ready = first
        .site
        .send(&format!("GET {}/health/ready", first.site.origin), "")
        .await;
    assert_eq!(ready.status, 200);

    let second = command(&directory)
        .args(["serve", "--mllp-addr", "off"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains("fhir-server: ") && said.contains("used by another server"),
        "{said}"
    );
    first.site.check("GET Basic/kept", "", "200").await;

    // What runs when the signal comes is answered.
    let site = first.site.clone();
    let entry = r#"{"resource":{"resourceType":"Basic","code":{"text":"x"}},"request":{"method":"POST","url":"Basic"}}"#;
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        vec![entry; 500].join(",")
    );
    let running = tokio::spawn(async move { site.send("POST ", &bundle).await });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    terminate(&first.child);
    assert_eq!(running.await.unwrap().status, 200);
    let status = tokio::task::spawn_blocking(move || first.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");

    let mut again = serve(&directory, &off());
    again
        .site
        .table(&[
            ("GET Basic/kept", "", "200 ; ETag: W/\"1\""),
            ("GET Basic?_summary=count", "", "200 ; /total = 501"),
        ])
        .await;
    terminate(&again.child);
    again.child.wait().unwrap();
}

#[test]
fn wrong_settings_and_files_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("site.toml"), "http_adr = 'x'").unwrap();
    std::fs::create_dir(path("profiles")).unwrap();
    std::fs::write(path("profiles/broken.json"), "{").unwrap();
    for (arguments, expect) in [
        (
            vec!["serve", "--config", path("site.toml").to_str().unwrap()],
            vec!["http_adr", "no such setting"],
        ),
        (
            vec!["serve", "--count-max", "x"],
            vec!["FHIR_COUNT_MAX", "whole number"],
        ),
        (
            vec!["serve", "--mllp-tls-key-file", "x"],
            vec!["HL7 v2 listener", "certificate and its key"],
        ),
        (
            vec!["check", "--profiles-dir", path("nowhere").to_str().unwrap()],
            vec!["nowhere", "no such folder"],
        ),
        (
            vec![
                "check",
                "--profiles-dir",
                path("profiles").to_str().unwrap(),
            ],
            vec!["broken.json", "line 1"],
        ),
        (
            vec![
                "serve",
                "--profiles-dir",
                path("profiles").to_str().unwrap(),
            ],
            vec!["broken.json", "line 1"],
        ),
        (vec!["frobnicate"], vec!["frobnicate"]),
    ] {
        let output = command(directory.path()).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        for text in expect {
            assert!(said.contains(text), "{arguments:?}: {said}");
        }
    }
    let settings = command(directory.path()).arg("settings").output().unwrap();
    assert!(String::from_utf8_lossy(&settings.stdout).contains("`FHIR_HTTP_ADDR`"));
}

#[tokio::test]
async fn logs_hold_no_patient_data() {
    let (_kept, directory) = directory();
    let mut arguments = mappings();
    arguments.extend(["--log-level", "debug"].map(str::to_string));
    let mut running = serve(&directory, &arguments);
    let site = &running.site;
    let patient = r#"{"resourceType":"Patient","name":[{"family":"Zzyzx"}]}"#;
    let wrong = r#"{"resourceType":"Patient","name":{"family":"Zzyzx"},"zzyzx":1}"#;
    site.table(&[
        ("POST Patient\nIf-None-Exist: family=Zzyzx", patient, "201"),
        ("POST Patient", wrong, "400"),
        ("POST Patient", "{\"Zzyzx", "400"),
        ("GET Patient?family=Zzyzx", "", "200 ; /total = 1"),
        ("GET Patient?zzyzx=Zzyzx", "", "400"),
        ("GET Zzyzx/Zzyzx", "", "404"),
    ])
    .await;
    let message = "MSH|^~\\&|A|B|C|D|20261001120000||ADT^A04^ADT_A01|1|P|2.5\r\
                   PID|1||7^^^A^MR||Zzyzx^Ann||Zzyzx|F\rPV1|1|O\r";
    let timeout = std::time::Duration::from_secs(20);
    let mut client = Client::connect(&running.mllp_addr, timeout).await.unwrap();
    client.exchange(message.into()).await.unwrap();
    terminate(&running.child);
    running.child.wait().unwrap();
    // Its last line may still be on the way.
    let logs = || running.logs.lock().unwrap().to_lowercase();
    while !logs().contains("\"stopped\"") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let logs = logs();
    assert!(logs.contains("search-type"), "{logs}");
    assert!(!logs.contains("zzyzx"), "{logs}");
}
