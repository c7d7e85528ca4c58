//! Against the official packages (`scripts/fetch-fhir-packages.sh examples` puts them into `.cache/`): the committed tables are what the
//! generator makes of them, and every example is valid, or stands in `examples-refused.txt` with the reason.
//! Skipped where they were not fetched.

use fhir_definitions::Definitions;
use fhir_model::json;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// `.cache/` of the workspace.
const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../.cache");

#[test]
fn committed_tables_are_fresh() {
    let jar = Path::new(CACHE).join("hapi-fhir-validation-resources-r5-8.8.1.jar");
    let generator = concat!(env!("CARGO_MANIFEST_DIR"), "/r5/generate.py");
    if !jar.exists() || Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3, or no jar in .cache, run scripts/fetch-fhir-packages.sh");
        return;
    }
    let check = Command::new("python3")
        .args([generator, "--check"])
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
}

/// Whatever is wrong anywhere in an example is seen: in every object an unknown element, in the place of every array its first item,
/// of every primitive an object, of every object a text.
#[test]
fn spoiled_examples_are_refused() {
    let folder = Path::new(CACHE).join("r5-examples/package");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no .cache/r5-examples, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let definitions = Definitions::load(&[]).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    // One of each type is enough, and small ones.
    let mut types = BTreeSet::new();
    let mut spoiled = 0;
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(resource) = json::parse(&bytes) else {
            continue;
        };
        let Some(resource_type) = json::resource_type(&resource) else {
            continue;
        };
        if bytes.len() > 20_000 || !types.insert(resource_type.to_owned()) {
            continue;
        }
        let mut pointers = Vec::new();
        collect("", &resource, &mut pointers);
        for pointer in pointers {
            let mut changed = resource.clone();
            let place = changed.pointer_mut(&pointer).unwrap();
            match place {
                Value::Array(items) => *place = items.swap_remove(0),
                Value::Object(object) if spoiled % 2 == 0 => {
                    drop(object.insert("unknownElement".into(), true.into()))
                }
                Value::Object(_) => *place = "text".into(),
                _ => *place = serde_json::json!({"unknownElement": true}),
            }
            spoiled += 1;
            let issues = definitions.validate(&changed);
            assert!(!issues.is_empty(), "{} {pointer}", path.display());
        }
    }
    assert!(
        types.len() > 150 && spoiled > 9_000,
        "{} types, {spoiled} changes",
        types.len()
    );
}

/// The JSON pointers of everything in a resource.
fn collect(pointer: &str, value: &Value, out: &mut Vec<String>) {
    out.push(pointer.to_owned());
    match value {
        Value::Array(items) => (0..).zip(items).for_each(|(index, item): (usize, _)| {
            collect(&format!("{pointer}/{index}"), item, out)
        }),
        Value::Object(object) => object
            .iter()
            .for_each(|(name, item)| collect(&format!("{pointer}/{name}"), item, out)),
        _ => {}
    }
}

#[test]
fn official_examples_are_valid() {
    let folder = Path::new(CACHE).join("r5-examples/package");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no .cache/r5-examples, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let definitions = Definitions::load(&[]).unwrap();
    let refused: BTreeMap<&str, &str> = include_str!("examples-refused.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect();
    let mut read = 0;
    let mut found = BTreeSet::new();
    let mut unexpected = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".json") || name == "package.json" || name.starts_with('.') {
            continue;
        }
        read += 1;
        let issues = match json::parse(&std::fs::read(&path).unwrap()) {
            Ok(resource) => definitions.validate(&resource),
            Err(issue) => vec![issue],
        };
        if issues.is_empty() {
            continue;
        }
        if !refused.contains_key(name.as_str()) {
            for issue in issues.iter().take(5) {
                unexpected.push(format!(
                    "{name}: {:?} {} {}",
                    issue.kind,
                    issue.expression.as_deref().unwrap_or_default(),
                    issue.diagnostics
                ));
            }
        }
        found.insert(name);
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert!(read > 2800, "{read} examples");
    let stale: Vec<_> = refused
        .keys()
        .filter(|name| !found.contains(**name))
        .collect();
    assert!(stale.is_empty(), "valid, but listed as refused: {stale:?}");
    eprintln!("{read} examples, {} refused with reasons", found.len());
}
