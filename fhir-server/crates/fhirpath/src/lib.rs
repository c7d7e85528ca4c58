//! FHIRPath over borrowed JSON (<https://hl7.org/fhirpath/>, <https://hl7.org/fhir/R5/fhirpath.html>).
//!
//! [`Program`] is the whole language: compiled once, evaluated in a [`Context`] within [`Limits`]. [`PathProgram`] is the fast subset that
//! search parameters are made of: compiled once against a [`TypeModel`], run without allocation other than the result list. Both have one
//! parser and one tree. Pure: no I/O; the clock and whatever needs other resources come from the caller.

mod ast;
mod boundary;
mod check;
mod compare;
mod compile;
mod context;
mod equality;
mod error;
mod evaluate;
mod functions;
mod item;
mod json_path;
mod lexer;
mod navigation;
mod number;
mod operation;
mod operators;
mod parser;
pub mod path;
mod program;
mod quantity;
mod temporal;
pub mod types;

pub use context::{Context, Host, Limits, NoHost};
pub use error::{EvaluationError, Reason};
pub use functions::{function_names, html};
pub use item::{Element, Item, System, TypeInfo};
pub use json_path::JsonPath;
pub use operation::{OperationError, evaluate_parameters};
pub use path::{CompileError, Node, PathProgram};
pub use program::Program;
pub use quantity::{CalendarUnit, Quantity, Unit};
pub use temporal::{Temporal, TemporalKind, TemporalPrecision};
pub use types::{ElementType, TypeModel};
