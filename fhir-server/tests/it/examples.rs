//! The official examples through the server: PUT as JSON, read as JSON and as XML, and the XML sent back. What is read is what was sent,
//! numbers by their text and narratives by their bytes; the XML is valid by the schema of R5 and says the same.
//!
//! Where they were fetched (`scripts/fetch-fhir-packages.sh examples`); the schema where `xmllint` and `.cache/r5-xsd` are there.
//! `EXAMPLES` names a file with the names of those to take, one a line. What is refused or differs stands in `examples.tsv` with the reason,
//! and must: at most one in two hundred.

use crate::site::{Site, with_settings};
use fhir_model::json;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache");
/// Name, what it is about (`schema`: the schema refuses it; `server`: all else), reason.
const EXCEPTIONS: &str = include_str!("examples.tsv");
/// Requests at one time: other tests run beside this one.
const CLIENTS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn come_back_as_they_were() {
    let folder = Path::new(CACHE).join("r5-examples/package");
    let Some(names) = names(&folder) else {
        eprintln!("skipped: no .cache/r5-examples, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let taken = names.clone();
    let site = with_settings(&[]);
    let written = tempfile::tempdir().unwrap();
    let waiting = Arc::new(Mutex::new(names));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (site, waiting, folder) = (site.clone(), waiting.clone(), folder.clone());
            let written = written.path().to_path_buf();
            tokio::spawn(async move {
                let mut wrong = BTreeMap::new();
                loop {
                    let next = waiting.lock().unwrap().pop_first();
                    let Some(name) = next else {
                        return wrong;
                    };
                    let text = std::fs::read_to_string(folder.join(&name)).unwrap();
                    match through(&site, &text).await {
                        Ok(xml) => {
                            let file = written.join(&name).with_extension("xml");
                            std::fs::write(file, xml).unwrap();
                        }
                        Err(reason) => drop(wrong.insert(name, reason)),
                    }
                }
            })
        })
        .collect();
    let mut found = BTreeMap::new();
    for client in clients {
        found.extend(client.await.unwrap());
    }
    let server = compare("server", &taken, found);
    let refused = against_schema(written.path());
    let schema = refused.map_or(String::new(), |refused| compare("schema", &taken, refused));
    let count = taken.len();
    let all = EXCEPTIONS.lines().skip(1).count();
    assert!(server.is_empty() && schema.is_empty(), "{server}{schema}");
    assert!(all * 200 <= count.max(200), "{all} exceptions of {count}");
}

/// The examples to take; `None` where there are none.
fn names(folder: &Path) -> Option<BTreeSet<String>> {
    if let Some(list) = std::env::var_os("EXAMPLES") {
        let list = std::fs::read_to_string(list).unwrap();
        return Some(list.lines().map(str::to_string).collect());
    }
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // `package.json` and an index are no resources.
    let of_resources = names.filter(|name| name.ends_with(".json") && name.contains('-'));
    let names: BTreeSet<String> = of_resources.collect();
    assert!(names.len() > 2_800, "{}", names.len());
    Some(names)
}

/// One example; its XML, or what is wrong.
async fn through(site: &Site, text: &str) -> Result<String, String> {
    let sent = json::parse(text.as_bytes()).map_err(|issue| issue.diagnostics)?;
    let kind = json::resource_type(&sent).unwrap();
    let path = format!("{kind}/{}", sent["id"].as_str().unwrap());
    let say = |answer: &crate::site::Answer| format!("{} {:.300}", answer.status, answer.text);

    // The server may end the connection while it is still being told what it has refused.
    let answer = site.try_send(&format!("PUT {path}"), text).await;
    let answer = answer.ok_or("PUT: no whole answer")?;
    if answer.status != 201 {
        return Err(format!("PUT: {}", say(&answer)));
    }
    let answer = site
        .send(&format!("GET {path}\nAccept: application/fhir+json"), "")
        .await;
    same("GET", &sent, &answer.text)?;
    let xml = site
        .send(&format!("GET {path}\nAccept: application/fhir+xml"), "")
        .await;
    if xml.status != 200 {
        return Err(format!("GET as XML: {}", say(&xml)));
    }
    let request = format!(
        "PUT {path}\nContent-Type: application/fhir+xml\nAccept: application/fhir+json\nPrefer: return=representation"
    );
    let answer = site.send(&request, &xml.text).await;
    if answer.status != 200 {
        return Err(format!("PUT as XML: {}", say(&answer)));
    }
    same("PUT as XML", &sent, &answer.text)?;
    // The same to the letter: no new version.
    match answer.header("etag") {
        "W/\"1\"" => Ok(xml.text),
        etag => Err(format!("PUT as XML made {etag}")),
    }
}

fn same(what: &str, sent: &Value, text: &str) -> Result<(), String> {
    let answered = json::parse(text.as_bytes()).map_err(|issue| issue.diagnostics)?;
    let (sent, answered) = (own(sent), own(&answered));
    match sent == answered {
        true => Ok(()),
        false => Err(format!("{what}: {}", difference(&sent, &answered, ""))),
    }
}

/// Without what the server sets.
fn own(resource: &Value) -> Value {
    let mut own = resource.clone();
    let members = own.as_object_mut().unwrap();
    if let Some(meta) = members.get_mut("meta").and_then(Value::as_object_mut) {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        if meta.is_empty() {
            members.remove("meta");
        }
    }
    own
}

/// What the file of exceptions does not say, and what it says and is not so.
fn compare(about: &str, taken: &BTreeSet<String>, found: BTreeMap<String, String>) -> String {
    let mut said = String::new();
    let exceptions = EXCEPTIONS.lines().skip(1).filter_map(|line| {
        let mut fields = line.split('\t');
        Some((fields.next()?, fields.next()?))
    });
    let known: BTreeSet<&str> = exceptions
        .filter(|(_, of)| *of == about)
        .map(|(name, _)| name)
        .collect();
    for (name, reason) in &found {
        if !known.contains(name.as_str()) {
            said.push_str(&format!("{name}: {reason}\n"));
        }
    }
    for name in known {
        if taken.contains(name) && !found.contains_key(name) {
            said.push_str(&format!("{name}: no exception any more ({about})\n"));
        }
    }
    said
}

/// What `xmllint` says against any of the files; `None` where it was not asked.
fn against_schema(folder: &Path) -> Option<BTreeMap<String, String>> {
    let schema = Path::new(CACHE).join("r5-xsd/fhir-single.xsd");
    if !schema.exists() || Command::new("xmllint").arg("--version").output().is_err() {
        eprintln!("skipped: no xmllint (libxml2-utils), or no .cache/r5-xsd");
        return None;
    }
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut said = BTreeMap::new();
    // A command line has a length.
    for some in files.chunks(1_000) {
        let lint = Command::new("xmllint")
            .args(["--noout", "--nonet", "--huge", "--schema"])
            .arg(&schema)
            .args(some)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&lint.stderr).into_owned();
        for line in errors.lines().filter(|line| !line.ends_with(" validates")) {
            let file = line.split(".xml").next().unwrap_or(line);
            let name = file.rsplit('/').next().unwrap_or(file);
            said.entry(format!("{name}.json"))
                .or_insert(line.to_string());
        }
    }
    Some(said)
}

/// The first place where two values differ.
fn difference(a: &Value, b: &Value, place: &str) -> String {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                match b.get(name) {
                    None => return format!("{place}.{name} is lost"),
                    Some(other) if other != value => {
                        return difference(value, other, &format!("{place}.{name}"));
                    }
                    Some(_) => {}
                }
            }
            let more = b.keys().find(|name| !a.contains_key(*name));
            format!("{place}.{} is new", more.map_or("", String::as_str))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            difference(&a[at], &b[at], &format!("{place}[{at}]"))
        }
        _ => format!("{place}: {a:.300} became {b:.300}"),
    }
}
