//! Prints which kinds of parameter, modifiers and prefixes the cases cover; ends with 1 where a cell is empty.

#![expect(clippy::print_stdout, reason = "the table is its answer")]

use fhir_definitions::Definitions;
use search_suite::{suites, table};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Ok(definitions) = Definitions::load(&[]) else {
        return ExitCode::FAILURE;
    };
    let table = table::table(&definitions, &suites());
    let empty = table::empty(&table);
    println!("{}{} empty cells", table::shown(&table), empty.len());
    for cell in &empty {
        println!("  {cell}");
    }
    match empty.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
