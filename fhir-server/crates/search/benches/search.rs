//! Resources to search documents, parameters to queries: `cargo bench -p fhir-search`. The resources are those of `make bench`.

use divan::{AllocProfiler, Bencher, black_box};
use fhir_definitions::Definitions;
use fhir_search::parse::Context;
use fhir_search::{Handling, parse, search_document};
use fhirpath::PathProgram;
use serde_json::Value;

#[path = "../../../../tests/load/src/generate.rs"]
#[allow(dead_code, reason = "each benchmark takes its part")]
mod generate;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn extract_patient(bencher: Bencher<'_, '_>) {
    extract(bencher, &generate::patient(1, 1));
}

#[divan::bench]
fn extract_observation(bencher: Bencher<'_, '_>) {
    extract(
        bencher,
        &generate::observation(1, 1, 1, "Patient/1", Some("Encounter/1")),
    );
}

/// The paths of all search parameters of Patient alone, those of every resource among them: no search document, only which elements.
#[divan::bench]
fn paths_patient(bencher: Bencher<'_, '_>) {
    let definitions = definitions();
    let parameters = definitions.search_parameters("Patient");
    let programs: Vec<&PathProgram> = parameters
        .iter()
        .filter_map(|p| p.program.as_ref())
        .collect();
    assert_eq!(programs.len(), 31, "those of R5 that have a path");
    let resource = generate::patient(1, 1);
    bencher.bench_local(|| {
        let mut nodes = Vec::new();
        for program in &programs {
            program.run(black_box(&resource), &mut nodes);
        }
        nodes.len()
    });
}

fn extract(bencher: Bencher<'_, '_>, resource: &Value) {
    let definitions = definitions();
    bencher.bench_local(|| search_document(&definitions, black_box(resource), None));
}

#[divan::bench]
fn parse_identifier(bencher: Bencher<'_, '_>) {
    query(
        bencher,
        "Patient",
        &[("identifier", "http://records.example.org/mrn|MRN1-00000001")],
    );
}

#[divan::bench]
fn parse_name_birthdate_sort(bencher: Bencher<'_, '_>) {
    let parameters = [
        ("family", "zewde"),
        ("birthdate", "ge1980-01-01"),
        ("birthdate", "lt1985-01-01"),
        ("_sort", "birthdate"),
    ];
    query(bencher, "Patient", &parameters);
}

#[divan::bench]
fn parse_chain_include(bencher: Bencher<'_, '_>) {
    let parameters = [
        (
            "subject:Patient.identifier",
            "http://records.example.org/mrn|MRN1-00000001",
        ),
        ("_include", "Observation:subject"),
    ];
    query(bencher, "Observation", &parameters);
}

/// As many values as one parameter may have.
#[divan::bench]
fn parse_1000_values(bencher: Bencher<'_, '_>) {
    let values: Vec<String> = (0..1000).map(|n| format!("http://loinc.org|{n}")).collect();
    query(bencher, "Observation", &[("code", &values.join(","))]);
}

fn query(bencher: Bencher<'_, '_>, resource_type: &str, parameters: &[(&str, &str)]) {
    let definitions = definitions();
    let context = Context {
        definitions: &definitions,
        terminology: None,
        base: None,
        handling: Handling::Strict,
        now_micros: 0,
        count_default: 20,
        count_max: 1000,
    };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let parameters: Vec<(String, String)> = parameters.iter().map(owned).collect();
    bencher.bench_local(|| {
        parse(&context, &[resource_type], black_box(&parameters)).expect("it can be understood")
    });
}

fn definitions() -> Definitions {
    Definitions::load(&[]).expect("the core definitions are right")
}
