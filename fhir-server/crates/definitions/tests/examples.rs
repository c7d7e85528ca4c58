//! Every official R5 example (package hl7.fhir.r5.examples 5.0.0, `scripts/fetch-fhir-packages.sh examples`) is valid,
//! or stands in `examples-refused.txt` with the reason. Skipped where the examples were not fetched.

use fhir_definitions::Definitions;
use fhir_model::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[test]
fn official_examples_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.cache/r5-examples/package");
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
