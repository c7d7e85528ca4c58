//! Clients that other people wrote, each through the cycle that `tests/clients/README.md` tells.

use crate::process::ROOT;
use crate::site::shared;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `make clients` has installed; `None`, with a line that says so, where it is missing.
pub fn third_party(path: &str) -> Option<PathBuf> {
    let path = Path::new(ROOT).join(".cache/clients").join(path);
    if !path.exists() {
        eprintln!("skipped: the third-party clients are not installed (make clients)");
        return None;
    }
    Some(path)
}

/// Runs a program with the base of the shared server and a word that no other run uses. Its last line says that it came to its end.
fn check(program: &mut Command, name: &str) {
    let run = uuid::Uuid::new_v4().to_string();
    let output = program.args([shared().base(), run]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.ends_with(&format!("done: {name}\n")),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn source(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/clients").join(name)
}

#[test]
fn fhirpy() {
    if let Some(python) = third_party("venv/bin/python") {
        check(Command::new(python).arg(source("with_fhirpy.py")), "fhirpy");
    }
}

#[test]
fn fhirclient() {
    if let Some(python) = third_party("venv/bin/python") {
        let mut program = Command::new(python);
        check(program.arg(source("with_fhirclient.py")), "fhirclient");
    }
}

#[test]
fn fhir_kit_client() {
    // By its place: node looks for modules only above the file that imports them.
    if let Some(module) = third_party("node_modules/fhir-kit-client/dist/index.js") {
        let mut program = Command::new("node");
        program.arg(source("with_fhir_kit_client.mjs")).arg(module);
        check(&mut program, "fhir-kit-client");
    }
}

#[test]
fn hapi() {
    java("java/WithHapi.java", "hapi");
}

/// What the server says of itself is valid in the eyes of HL7's validator.
#[test]
fn validator() {
    java("java/ValidateWithHapi.java", "validator");
}

/// The source is run as it stands: java compiles it.
fn java(program: &str, name: &str) {
    if let Some(installed) = third_party("java.installed") {
        let mut java = Command::new("java");
        java.arg("-cp").arg(installed.with_file_name("java/*"));
        check(java.arg(source(program)), name);
    }
}
