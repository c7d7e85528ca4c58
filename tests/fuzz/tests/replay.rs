//! Every target over its seeds, over what once broke it, and over mutations of both: the same ones in each run.

use fastrand::Rng;
use fuzz::{Target, corpus, mutate};

/// `FUZZ_MUTATIONS` asks for another number of mutations.
fn replay(name: &str, mutations: usize) {
    let target = Target::named(name).expect("it is a target");
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    for (file, input) in corpus::regressions(name) {
        eprintln!("{file}");
        target.check(&input);
        inputs.push(input);
    }
    inputs.extend(corpus::seeds(name));
    assert!(!inputs.is_empty());
    for input in &inputs {
        target.check(input);
    }
    let asked = std::env::var("FUZZ_MUTATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut random = Rng::with_seed(4);
    for _ in 0..asked.unwrap_or(mutations) {
        let mut input = random.choice(&inputs).cloned().unwrap_or_default();
        for _ in 0..random.usize(1..6) {
            input = mutate::mutate(target, &input, &mut random);
        }
        let shown = String::from_utf8_lossy(&input).into_owned();
        let outcome = std::panic::catch_unwind(|| target.check(&input));
        assert!(outcome.is_ok(), "this input broke {name}:\n{shown}");
    }
}

#[test]
fn json_body() {
    replay("json_body", 2000);
}

#[test]
fn search_url() {
    replay("search_url", 2000);
}

#[test]
fn search_filter() {
    replay("search_filter", 2000);
}

#[test]
fn fhirpath() {
    replay("fhirpath", 2000);
}

#[test]
fn fhirpath_program() {
    replay("fhirpath_program", 2000);
}

#[test]
fn xml_body() {
    replay("xml_body", 2000);
}

#[test]
fn patch_document() {
    replay("patch_document", 3000);
}

#[test]
fn mllp_stream() {
    replay("mllp_stream", 2000);
}

#[test]
fn v2_message() {
    replay("v2_message", 1000);
}

#[test]
fn mapping_file() {
    replay("mapping_file", 200);
}

#[test]
fn http_requests() {
    replay("http_requests", 200);
}
