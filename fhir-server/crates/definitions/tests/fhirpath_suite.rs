//! The official FHIRPath suite for R5 (`tests-fhir-r5.xml` of `org.hl7.fhir.testcases:fhir-test-cases`, unpacked by
//! `scripts/fetch-fhir-packages.sh examples`): each of its tests passes, or stands in `fhirpath-exceptions.txt` with the reason.
//! Skipped where it was not fetched.

#![expect(
    clippy::unwrap_used,
    reason = "the readers of the suite's files are test code"
)]

#[path = "fhirpath/host.rs"]
mod host;
#[path = "fhirpath/suite.rs"]
mod suite;
#[path = "fhirpath/xml.rs"]
mod xml;

use fhir_definitions::Definitions;
use fhir_model::json;
use fhirpath::{Context, Item, Program, System};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use suite::{Case, Expected};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../.cache/r5-fhirpath");

#[test]
fn official_suite() {
    let folder = Path::new(FOLDER);
    let Ok(text) = std::fs::read_to_string(folder.join("tests-fhir-r5.xml")) else {
        eprintln!("skipped: no .cache/r5-fhirpath, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let definitions = Definitions::load(&[]).unwrap();
    let excepted: BTreeMap<&str, &str> = include_str!("fhirpath-exceptions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect();
    assert!(excepted.len() <= 5, "at most 5 exceptions");
    let cases = suite::read(&text);
    let mut inputs = BTreeMap::new();
    for case in &cases {
        if !case.input.is_empty() && !inputs.contains_key(&case.input) {
            inputs.insert(case.input.clone(), input(folder, &case.input, &definitions));
        }
    }
    let mut failed = Vec::new();
    let mut seen = BTreeSet::new();
    for case in &cases {
        let resource = inputs.get(&case.input).and_then(Option::as_ref);
        let Err(why) = run(case, resource, &definitions) else {
            continue;
        };
        match excepted.contains_key(case.name.as_str()) {
            true => drop(seen.insert(case.name.as_str())),
            false => failed.push(format!("{}: {}\n    {why}", case.name, case.expression)),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} failed\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
    assert_eq!(cases.len(), 1063);
    let stale: Vec<_> = excepted
        .keys()
        .filter(|name| !seen.contains(**name))
        .collect();
    assert!(stale.is_empty(), "excepted, but they pass: {stale:?}");
}

/// The resource of an input file; `None` for what is no R5 resource (CDA).
fn input(folder: &Path, name: &str, definitions: &Definitions) -> Option<Value> {
    let name = match name.contains('.') {
        true => name.to_owned(),
        false => format!("{name}.xml"),
    };
    let bytes = std::fs::read(folder.join(&name)).expect(&name);
    match name.ends_with(".json") {
        true => Some(json::parse(&bytes).expect(&name)),
        false => xml::to_json(std::str::from_utf8(&bytes).unwrap(), definitions),
    }
}

fn run(case: &Case, resource: Option<&Value>, definitions: &Definitions) -> Result<(), String> {
    let lenient = case.mode.starts_with("lenient");
    let program = match (resource.and_then(json::resource_type), lenient) {
        (Some(base), false) if !case.skip_static_check => {
            Program::compile(&case.expression, base, definitions)
        }
        _ => Program::parse(&case.expression),
    };
    let program = match (program, case.invalid.is_empty()) {
        (Ok(program), _) => program,
        (Err(_), false) => return Ok(()),
        (Err(error), true) => return Err(format!("does not compile: {error}")),
    };
    let host = host::CoreTerminology;
    let context = match resource {
        Some(resource) => Context::new(resource, definitions),
        None => Context::empty(definitions),
    };
    let context = context.host(&host).now("2026-11-25T08:30:00.000+01:00");
    let found = match (program.evaluate(&context), case.invalid.is_empty()) {
        (Ok(found), true) => found,
        (Ok(found), false) => return Err(format!("an error was expected, not {found:?}")),
        (Err(_), false) => return Ok(()),
        (Err(error), true) => return Err(error.to_string()),
    };
    if case.predicate {
        let truth = !found.is_empty();
        return check(&case.output, &[Item::System(System::Boolean(truth))], true);
    }
    check(&case.output, &found, case.ordered)
}

fn check(expected: &[Expected], found: &[Item], ordered: bool) -> Result<(), String> {
    let mut expected: Vec<String> = expected.iter().map(Expected::canonical).collect();
    let mut shown: Vec<String> = found.iter().map(show).collect();
    if !ordered {
        expected.sort();
        shown.sort();
    }
    match expected == shown {
        true => Ok(()),
        false => Err(format!("expected {expected:?}, found {shown:?}")),
    }
}

/// Type and value, as [`Expected::canonical`] writes them.
fn show(item: &Item) -> String {
    let info = item.type_info();
    let text = match item.system() {
        Some(value) => value.text().into_owned(),
        None => format!("{:?}", item.to_fhir()),
    };
    let mut name = info.name.to_owned();
    if info.namespace == "System" && name != "Quantity" {
        name = name[..1].to_ascii_lowercase() + &name[1..];
    }
    suite::canonical(&name, &text)
}

/// Every invariant of R5 passes the strict checks on the type that declares it.
#[test]
fn invariants_of_r5_compile() {
    let definitions = Definitions::load(&[]).unwrap();
    let mut refused = Vec::new();
    let mut read = 0;
    for (path, key, expression) in invariants() {
        let Some(base) = type_at(&path, &definitions) else {
            continue;
        };
        read += 1;
        if let Err(error) = Program::compile(&expression, &base, &definitions) {
            refused.push(format!("{path} {key}: {expression}\n    {error}"));
        }
    }
    assert!(read > 300, "{read}");
    assert!(
        refused.is_empty(),
        "{} of {read}\n{}",
        refused.len(),
        refused.join("\n")
    );
}

/// Path, key and expression of each row of the committed table.
fn invariants() -> Vec<(String, String, String)> {
    use std::io::Read;
    let bytes = include_bytes!("../r5/constraints.tsv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            (
                cells[0].to_owned(),
                cells[1].to_owned(),
                cells[3].to_owned(),
            )
        })
        .collect()
}

/// The type of the element at a path, where it has one only.
fn type_at(path: &str, definitions: &Definitions) -> Option<String> {
    use fhirpath::TypeModel;
    let mut parts = path.split('.');
    let mut type_name = parts.next()?.to_owned();
    for part in parts {
        let found = definitions.element(&type_name, part.trim_end_matches("[x]"))?;
        match found.types[..] {
            [only] => type_name = only.to_owned(),
            _ => return None,
        }
    }
    Some(type_name)
}
