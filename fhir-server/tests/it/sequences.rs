//! Sequences of messages, the answers they get, and the state they lead to: in order, with every message sent twice, and shuffled where the
//! order must not matter. Those of this repository (tests/sequences), and those of the folder that `HL7V2_SEQUENCES` names, if there is
//! one. Beside what a sequence says of itself: a message that comes again gets its answer again and writes nothing, MSA-2 is its control id,
//! MSH-18 its character set, and its bytes are in the journal.

mod others;
mod own;

use crate::mllp::{Acknowledgment, Sender, acknowledgments};
use crate::process::{copy, directory, mappings_folder, serve};
use crate::site::Site;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A request and what must come back. `{oid}` and `{facility}` are those of the run: the authority of its identifiers, and MSH-4, so that no run
/// meets the patients or the control ids of another.
type Check = (&'static str, &'static str);

#[derive(Clone, Copy)]
struct Sequence {
    folder: &'static str,
    /// A text of the messages, and what stands in its place.
    edit: Option<(&'static str, &'static str)>,
    /// What each message is answered: frames between ` + `, acknowledgements within one between `, `, each as [`Acknowledgment::said`]. Empty: `AA`.
    answers: &'static [&'static str],
    /// After how many messages, what must be so.
    checks: &'static [(usize, &'static [Check])],
    /// What must be so at the end whatever the order; empty where the order matters.
    in_any_order: &'static [Check],
}

const ACCEPTED: Sequence = Sequence {
    folder: "",
    edit: None,
    answers: &[],
    checks: &[],
    in_any_order: &[],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_lead_where_they_must() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/sequences");
    run(&root, own::SEQUENCES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_of_others_lead_where_they_must() {
    let Some(root) = std::env::var_os("HL7V2_SEQUENCES").map(PathBuf::from) else {
        println!("skipped: HL7V2_SEQUENCES names no folder of sequences");
        return;
    };
    run(&root, others::SEQUENCES).await;
}

/// Runs them before a listener that takes production messages with a map only, and whose senders live three hours east of Greenwich.
async fn run(root: &Path, sequences: &[Sequence]) {
    let mut folders: Vec<String> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.retain(|folder| sequences.iter().all(|own| own.folder != folder));
    assert_eq!(folders, [""; 0], "nothing is said of these");

    let settings = tempfile::tempdir().unwrap();
    let (mappings, listeners) = (
        settings.path().join("mappings"),
        settings.path().join("listeners.yaml"),
    );
    copy(&mappings_folder(), &mappings);
    std::fs::write(
        mappings.join("hl7v2/senders/STRICT.SITE.yaml"),
        "unmapped: reject\nzone: \"+03:00\"\n",
    )
    .unwrap();
    std::fs::write(
        &listeners,
        "- { address: 127.0.0.1:0, processing_ids: [P], policy: STRICT.SITE }\n",
    )
    .unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "--mllp-addr".into(),
        "off".into(),
        "--mllp-listeners-file".into(),
        text(&listeners),
        "--mappings-dir".into(),
        text(&mappings),
    ];
    let (_kept, data_dir) = directory();
    let mut running = serve(&data_dir, &arguments);
    let mut number = 0;
    for sequence in sequences {
        let messages = read(&root.join(sequence.folder));
        let in_order: Vec<usize> = (0..messages.len()).collect();
        let mut ways = vec![(in_order.clone(), 1), (in_order, 2)];
        if !sequence.in_any_order.is_empty() {
            ways.extend(orders(messages.len()).into_iter().map(|order| (order, 1)));
        }
        for (order, copies) in ways {
            number += 1;
            let mut run = Run {
                site: &running.site,
                sender: Sender::connect(&running.mllp_addr).await.unwrap(),
                sequence,
                number,
                sent: Vec::new(),
            };
            let is_in_order = order.is_sorted();
            for (at, message) in order.iter().enumerate() {
                run.message(*message, &messages[*message], copies, is_in_order)
                    .await;
                for (after, checks) in sequence.checks {
                    if is_in_order && *after == at + 1 {
                        run.check(checks).await;
                    }
                }
            }
            run.check(sequence.in_any_order).await;
            run.are_in_the_journal().await;
            let more = run.sender.end().await.unwrap();
            assert_eq!(more, b"", "{}: more than was asked for", sequence.folder);
        }
    }
    crate::listeners::stop(&mut running.child);
}

fn read(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|own| own == "hl7"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// Backwards, and turned round by each number of places.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let turned = (1..count).map(|by| (0..count).map(|n| (n + by) % count).collect());
    let backwards = (1 < count).then(|| (0..count).rev().collect());
    backwards.into_iter().chain(turned).collect()
}

/// A sequence in one order.
struct Run<'a> {
    site: &'a Site,
    sender: Sender,
    sequence: &'a Sequence,
    number: usize,
    /// Whole frames.
    sent: Vec<Vec<u8>>,
}

impl Run<'_> {
    /// Sends a message once or twice. Only in order are warnings and errors compared: they tell of what came before.
    async fn message(&mut self, at: usize, message: &[u8], copies: usize, is_in_order: bool) {
        let message = self.of_run(message);
        let answers = self.sequence.answers;
        let expect = if answers.is_empty() {
            "AA"
        } else {
            answers[at]
        };
        for copy in 1..=copies {
            let newest = match copy {
                1 => Value::Null,
                _ => self.newest().await,
            };
            self.sender.write(&message).await.unwrap();
            let mut said = Vec::new();
            for frame in expect.split(" + ").filter(|frame| !frame.is_empty()) {
                let answer = self.sender.answer().await.unwrap();
                let found = acknowledgments(&answer);
                let found = found.iter();
                let texts: Vec<&str> = found
                    .clone()
                    .map(|own| match is_in_order {
                        true => own.said.as_str(),
                        false => &own.said[..2],
                    })
                    .collect();
                let shown = match is_in_order {
                    true => frame.to_owned(),
                    false => codes(frame),
                };
                assert_eq!(texts.join(", "), shown, "{}\n{answer}", self.told(&message));
                said.extend(acknowledgments(&answer));
            }
            self.answers_this(&message, &said);
            let mut tries = 0;
            while expect.is_empty() && !self.is_in_the_journal(&message).await {
                tries += 1;
                assert!(tries < 1000, "{}", self.told(&message));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if copy > 1 {
                assert_eq!(self.newest().await, newest, "{}", self.told(&message));
            }
        }
        self.sent.push(message);
    }

    /// Each acknowledgement is of the message, under its control id and in its character set.
    fn answers_this(&self, frame: &[u8], said: &[Acknowledgment]) {
        let headers: Vec<Vec<String>> = lines(frame)
            .filter(|line| line.starts_with(b"MSH"))
            .map(fields)
            .collect();
        for (number, own) in said.iter().enumerate() {
            // A message that asks for two is alone in its frame.
            let header = headers.get(if headers.len() == 1 { 0 } else { number });
            let field = |n| header.and_then(|header| header.get(n)).cloned();
            let expect = (field(9).unwrap_or_default(), field(17).unwrap_or_default());
            let found = (own.control_id.clone(), own.charset.clone());
            assert_eq!(found, expect, "{}", self.told(frame));
        }
    }

    /// The newest version of all.
    async fn newest(&self) -> Value {
        let page = self.site.check("GET _history?_count=1", "", "200").await;
        page.json()["entry"][0].clone()
    }

    /// What came in frames of their own is in the journal.
    async fn are_in_the_journal(&self) {
        for message in &self.sent {
            let is_batch = message.starts_with(b"FHS") || message.starts_with(b"BHS");
            let is_there = is_batch || self.is_in_the_journal(message).await;
            assert!(is_there, "{}", self.told(message));
        }
    }

    /// Whether the bytes of a message stand in a Binary that an entry with its control id names.
    async fn is_in_the_journal(&self, message: &[u8]) -> bool {
        let header = lines(message).find(|line| line.starts_with(b"MSH"));
        let header = header.map(fields).unwrap_or_default();
        let field = |n| header.get(n).map(String::as_str).unwrap_or_default();
        let name = format!("{}:{}%23{}", field(2), field(3), field(9));
        let url = format!("GET Task?identifier=urn:hl7v2:message|{name}");
        let page = self.site.check(&url, "", "200").await.json();
        for entry in page["entry"].as_array().into_iter().flatten() {
            let input = &entry["resource"]["input"][0]["valueReference"]["reference"];
            let accept = "accept: application/fhir+json";
            let url = format!("GET {}\n{accept}", input.as_str().unwrap());
            let binary = self.site.check(&url, "", "200").await.json();
            if STANDARD.decode(binary["data"].as_str().unwrap()).unwrap() == message {
                return true;
            }
        }
        false
    }

    async fn check(&self, checks: &[Check]) {
        for (request, expect) in checks {
            let [request, expect] = [request, expect].map(|text| {
                text.replace("{oid}", &self.oid())
                    .replace("{facility}", &self.facility())
            });
            self.site.check(&request, "", &expect).await;
        }
    }

    fn oid(&self) -> String {
        format!("1.2.3.4.{}", self.number)
    }

    fn facility(&self) -> String {
        format!("GENHOSP{}", self.number)
    }

    /// The message with an authority, placers, fillers and a sender of this run.
    fn of_run(&self, message: &[u8]) -> Vec<u8> {
        let number = self.number;
        let mut message = replaced(message, b"1.2.3.4", self.oid().as_bytes());
        for name in ["^HIS", "^LAB"] {
            message = replaced(
                &message,
                name.as_bytes(),
                format!("{name}{number}").as_bytes(),
            );
        }
        if let Some((from, to)) = self.sequence.edit {
            message = replaced(&message, from.as_bytes(), to.as_bytes());
        }
        for separator in ['|', '#'] {
            let own = |facility: &str| format!("{separator}{facility}{separator}FHIR{separator}");
            let (from, to) = (own("GENHOSP"), own(&self.facility()));
            message = replaced(&message, from.as_bytes(), to.as_bytes());
        }
        message
    }

    fn told(&self, message: &[u8]) -> String {
        let text = String::from_utf8_lossy(message).replace('\r', "\n");
        format!("{}, run {}\n{text}", self.sequence.folder, self.number)
    }
}

/// What is expected of a frame, without what it says of errors.
fn codes(frame: &str) -> String {
    let codes: Vec<&str> = frame.split(", ").map(|said| &said[..2]).collect();
    codes.join(", ")
}

fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.split(|byte| matches!(byte, b'\r' | b'\n'))
}

/// The fields of a line that begins with a name and the separator.
fn fields(line: &[u8]) -> Vec<String> {
    line.split(|byte| *byte == line[3])
        .map(|field| String::from_utf8_lossy(field).into_owned())
        .collect()
}

fn replaced(message: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        found.extend_from_slice(&rest[..at]);
        found.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    found.extend_from_slice(rest);
    found
}
