//! `ack: stored`: a listener promises messages while no FHIR server is there, is killed, and keeps its promise.

use crate::mllp::{Sender, adt, msa};
use crate::process::mappings;
use crate::site::{Site, shared};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The numbers of the patients, which no other test has.
const PATIENTS: std::ops::Range<u32> = 81_000..81_010;

struct Listener {
    child: Child,
    address: String,
}

impl Listener {
    fn start(base: &str, folder: &Path) -> Listener {
        let program =
            Path::new(env!("CARGO_BIN_EXE_fhir-server")).with_file_name("hl7-mllp-listener");
        let mut child = Command::new(program)
            .args(["--mllp-addr", "127.0.0.1:0", "--server-url", base])
            .arg("--mappings-dir")
            .arg(folder.join("mappings"))
            .arg("--site-secret-file")
            .arg(folder.join("secret"))
            .arg("--mllp-spool-dir")
            .arg(folder.join("spool"))
            .env("RUST_LOG", "info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find_map(|line| line["fields"]["address"].as_str().map(str::to_owned))
            .expect("the listener says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Listener { child, address }
    }
}

impl Drop for Listener {
    /// As by kill -9.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// The patients that are there, with their families, by number.
async fn families(site: &Site) -> Vec<String> {
    let mut families = Vec::new();
    for n in PATIENTS {
        let found = site
            .send(&format!("GET Patient?identifier=M{n:05}"), "")
            .await
            .json();
        for entry in found["entry"].as_array().into_iter().flatten() {
            families.push(entry["resource"]["name"][0]["family"].to_string());
        }
    }
    families
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_without_a_server_is_applied_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let senders = folder.path().join("mappings/hl7v2/senders");
    copy(Path::new(&mappings()[3]), &folder.path().join("mappings"));
    std::fs::write(senders.join("REG.CAMP4.yaml"), "ack: stored\n").unwrap();
    std::fs::write(folder.path().join("secret"), "a secret of this test").unwrap();
    // Nothing listens on the port of a listener that was closed.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/fhir", nowhere.local_addr().unwrap());
    let listener = Listener::start(&nowhere, folder.path());
    let mut sender = Sender::connect(&listener.address).await.unwrap();
    for n in PATIENTS {
        let first = adt("A04", &format!("SP{n}A"), n);
        let second = adt("A08", &format!("SP{n}B"), n).replace("Test", "Second");
        for message in [first, second] {
            let answer = sender.send(message).await.unwrap();
            assert_eq!(msa(&answer).0, "AA", "{answer}");
        }
    }
    let site = shared();
    assert_eq!(families(&site).await, [""; 0]);
    drop(listener);

    let listener = Listener::start(&site.base(), folder.path());
    let expect: Vec<String> = PATIENTS.map(|n| format!("\"Second{n}\"")).collect();
    for _ in 0..600 {
        if families(&site).await == expect {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(families(&site).await, expect);
    drop(listener);
}
