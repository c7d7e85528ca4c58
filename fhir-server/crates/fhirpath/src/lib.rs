//! FHIRPath over borrowed JSON (<https://hl7.org/fhirpath/>, <https://hl7.org/fhir/R5/fhirpath.html>).
//!
//! [`PathProgram`] is the fast subset that search parameters are made of: compiled once against a [`TypeModel`], run without
//! allocation other than the result list. Pure: no I/O, no clock.

mod ast;
mod compile;
mod lexer;
mod parser;
pub mod path;
pub mod types;

pub use path::{CompileError, Node, PathProgram};
pub use types::{ElementType, TypeModel};
