//! Fuzz targets: what must hold of any input from outside, as functions that panic where it does not (docs/adr/0015-fuzzing.md).
//!
//! `tests/replay.rs` runs them over the seeds and a few thousand mutations of each in every `cargo test`; `main.rs` gives them to
//! libFuzzer (`make fuzz`). Every target also has a bound on memory, which counts all allocations of the process while it runs.

pub mod corpus;
mod fhirpath_expression;
mod fhirpath_program;
mod http_requests;
mod json_body;
mod mapping_file;
mod mllp_stream;
pub mod mutate;
mod patch_document;
mod search_filter;
mod search_url;
mod shared;
mod v2_message;
mod xml_body;

use mutate::Shape;
use peak_alloc::PeakAlloc;
use std::sync::{Mutex, Once, PoisonError};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Properties of one kind of input.
pub struct Target {
    pub name: &'static str,
    /// Panics where a property does not hold.
    run: fn(&[u8]),
    /// How inputs are mutated so that they stay meaningful.
    pub shape: Shape,
    /// Longest input that is tried, in bytes.
    pub length_max: usize,
    /// Bytes of memory an input may take for each of its own.
    memory_factor: usize,
    warm: Once,
}

pub static TARGETS: [Target; 11] = [
    target("json_body", json_body::run, Shape::Json, 16_384, 600),
    target("search_url", search_url::run, Shape::Url, 4_096, 600),
    target(
        "search_filter",
        search_filter::run,
        Shape::Words,
        4_096,
        600,
    ),
    target(
        "fhirpath",
        fhirpath_expression::run,
        Shape::Words,
        1_024,
        5_000,
    ),
    target(
        "fhirpath_program",
        fhirpath_program::run,
        Shape::Words,
        1_024,
        20_000,
    ),
    target("xml_body", xml_body::run, Shape::Words, 16_384, 1_000),
    target(
        "patch_document",
        patch_document::run,
        Shape::Words,
        4_096,
        20_000,
    ),
    target("mllp_stream", mllp_stream::run, Shape::Bytes, 16_384, 20),
    target("v2_message", v2_message::run, Shape::Lines, 16_384, 3_000),
    target(
        "mapping_file",
        mapping_file::run,
        Shape::Lines,
        16_384,
        3_000,
    ),
    target(
        "http_requests",
        http_requests::run,
        Shape::Requests,
        16_384,
        3_000,
    ),
];

/// What any input may take: buffers, and caches that fill once.
const MEMORY_BASE_BYTES: usize = 32 << 20;

/// One input at a time: the count of memory is the process's.
static ALONE: Mutex<()> = Mutex::new(());

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    shape: Shape,
    length_max: usize,
    memory_factor: usize,
) -> Target {
    Target {
        name,
        run,
        shape,
        length_max,
        memory_factor,
        warm: Once::new(),
    }
}

impl Target {
    pub fn named(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs one input; gives the bytes of memory it took at its peak.
    ///
    /// # Panics
    /// Where a property does not hold, the bound on memory included.
    pub fn check(&self, input: &[u8]) -> usize {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Tables and the server are there before memory is counted.
        self.warm.call_once_force(|_| (self.run)(input));
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        (self.run)(input);
        let used = ALLOCATOR.peak_usage().saturating_sub(before);
        let bound = MEMORY_BASE_BYTES + self.memory_factor * input.len();
        assert!(
            used <= bound,
            "{used} bytes of memory for an input of {}: at most {bound}",
            input.len()
        );
        used
    }
}
