//! Several listeners before one server: what they write together, in whatever order patients come and however often a message is sent,
//! is what one listener writes from the messages in order.

use crate::mllp::{Sender, adt, msa, orm, oru};
use crate::process::{directory, mappings, mappings_folder, serve, terminate};
use crate::site::Site;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const PATIENTS: u32 = 12;
const CONNECTIONS: usize = 8;
const SEED: u64 = 20_261_020;
/// What the messages of several patients name.
const SHARED: [&str; 3] = ["Location", "Organization", "Practitioner"];

/// What is sent about the n-th patient, in order.
fn messages(n: u32) -> Vec<String> {
    let order = format!("{n}");
    let id = |step: u32| format!("N{n}S{step}");
    vec![
        adt("A04", &id(1), n),
        orm(&id(2), n, &order),
        adt("A08", &id(3), n).replace("Block", "Tent"),
        oru(&id(4), n, &order, 4),
        oru(&id(5), n, &order, 5)
            .replace("|11.5|", "|21.50|")
            .replace("|N|||F|||", "|N|||C|||"),
        adt("A03", &id(6), n),
        adt("A08", &id(7), n).replace("Given", "Other"),
    ]
}

/// A listener as a program of its own.
pub struct Listener {
    pub child: Child,
    pub address: String,
}

impl Listener {
    pub fn start(base: &str, secret: &Path) -> Listener {
        Listener::of_folder(base, &mappings_folder(), secret, &[])
    }

    /// With maps of its own and further settings.
    pub fn of_folder(
        base: &str,
        mappings: &Path,
        secret: &Path,
        more: &[(&str, &Path)],
    ) -> Listener {
        // Cargo builds the program of the other package into the same folder, for the integration tests that package has;
        // so it is there, and as new, in every `cargo test --workspace` (make test).
        let program =
            Path::new(env!("CARGO_BIN_EXE_fhir-server")).with_file_name("hl7-mllp-listener");
        assert!(
            program.exists(),
            "cargo build -p hl7-mllp-listener comes first"
        );
        let mut child = Command::new(program)
            .args(["--mllp-addr", "127.0.0.1:0", "--server-url", base])
            .arg("--mappings-dir")
            .arg(mappings)
            .arg("--site-secret-file")
            .arg(secret)
            .args(
                more.iter()
                    .flat_map(|(flag, value)| [flag.as_ref(), value.as_os_str()]),
            )
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
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn stop(child: &mut Child) {
    terminate(child);
    assert!(child.wait().unwrap().success());
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

async fn accepted(sender: &Mutex<Sender>, message: &str) {
    let acknowledgement = sender.lock().await.send(message).await.unwrap();
    let control_id = message.split('|').nth(9).unwrap();
    assert_eq!(
        msa(&acknowledgement),
        ("AA", control_id),
        "{acknowledgement}"
    );
}

/// Everything a server holds, without what tells when it was written.
async fn state(site: &Site) -> BTreeMap<String, Value> {
    let mut all = site.resources().await;
    let mut makers = Vec::new();
    for resource in all.values_mut() {
        resource["meta"]["lastUpdated"].take();
        // Whoever comes first makes what messages of several patients name.
        if SHARED.map(Value::from).contains(&resource["resourceType"]) {
            resource["meta"]["source"].take();
        }
        for list in ["target", "output"] {
            let named = resource.get_mut(list).and_then(Value::as_array_mut);
            for made in named
                .into_iter()
                .flat_map(|named| named.extract_if(.., |item| is_shared(item)))
            {
                makers.push(made);
            }
        }
        let times: &[&str] = match resource["resourceType"].as_str() {
            Some("Task") => &["authoredOn", "lastModified"],
            Some("Provenance") => &["recorded"],
            _ => &[],
        };
        for name in times {
            assert!(resource[name].take().is_string());
        }
    }
    makers.sort_by_key(Value::to_string);
    all.insert("made by whoever came first".into(), makers.into());
    all
}

/// Whether an item of a Provenance's targets or of a Task's output is a resource that several patients share.
fn is_shared(item: &Value) -> bool {
    let reference = item["reference"].as_str();
    let reference = reference.or(item["valueReference"]["reference"].as_str());
    reference.is_some_and(|reference| SHARED.iter().any(|kind| reference.starts_with(kind)))
}

pub fn secret_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("site-secret");
    std::fs::write(&path, "one secret for all listeners of a site").unwrap();
    (directory, path)
}

/// A server that embeds a listener gets the messages in order.
async fn in_order(secret: &Path) -> BTreeMap<String, Value> {
    let (_kept, data_dir) = directory();
    let mut arguments = mappings();
    arguments.extend(["--site-secret-file".into(), secret.to_str().unwrap().into()]);
    let mut running = serve(&data_dir, &arguments);
    let sender = Mutex::new(Sender::connect(&running.mllp_addr).await.unwrap());
    for message in (1..=PATIENTS).flat_map(messages) {
        accepted(&sender, &message).await;
    }
    let state = state(&running.site).await;
    stop(&mut running.child);
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_listeners_shuffled_and_doubled() {
    let (_kept_secret, secret) = secret_file();
    let expect = in_order(&secret).await;

    let (_kept, data_dir) = directory();
    let off = ["--mllp-addr", "off"].map(str::to_string);
    let mut running = serve(&data_dir, &off);
    let site = running.site.clone();
    let mut listeners = [0, 1].map(|_| Listener::start(&site.base(), &secret));
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let address = &listeners[number % 2].address;
        connections.push(Mutex::new(Sender::connect(address).await.unwrap()));
    }
    let connections = Arc::new(connections);

    let mut patients = JoinSet::new();
    let mut order: Vec<u32> = (1..=PATIENTS).collect();
    let mut random = Random(SEED);
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    for n in order {
        let connections = connections.clone();
        let mut random = Random(SEED + u64::from(n));
        patients.spawn(async move {
            for message in messages(n) {
                // The two copies go at the same time, often to different listeners.
                let [one, other] = [0, 1].map(|_| &connections[random.below(CONNECTIONS)]);
                tokio::join!(accepted(one, &message), accepted(other, &message));
            }
        });
    }
    patients.join_all().await;
    let found = state(&site).await;
    for (key, resource) in &expect {
        assert_eq!(found.get(key), Some(resource), "{key}");
    }
    assert_eq!(found.len(), expect.len());

    // The very same message at the same time through both: applied once.
    for n in PATIENTS + 1..PATIENTS + 11 {
        let message = adt("A04", &format!("SAME{n}"), n);
        tokio::join!(
            accepted(&connections[0], &message),
            accepted(&connections[1], &message)
        );
    }
    for (kind, each) in [("Patient", 1), ("Encounter", 1), ("Task", 7), ("Binary", 7)] {
        let before = PATIENTS * each;
        let expect = format!("200 ; /total = {}", before + 10);
        site.check(&format!("GET {kind}?_summary=count"), "", &expect)
            .await;
    }
    for listener in &mut listeners {
        stop(&mut listener.child);
    }
    stop(&mut running.child);
}
