//! FHIR search without an engine (<https://hl7.org/fhir/R5/search.html>): a URL's parameters become a [`Query`], a resource becomes a
//! [`SearchDocument`], and the meaning of each value type stands in a file of its own. Engines share nothing but these two (design invariant 3).
//!
//! Pure: no I/O, no clock, no global state.

pub mod canonical;
mod coding;
pub mod compartment;
mod composite;
pub mod contained;
pub mod date;
pub mod document;
mod element;
pub mod filter;
mod filter_clause;
mod filter_test;
mod functional_list;
pub mod hierarchy;
pub mod matching;
pub mod named_query;
pub mod number;
pub mod parse;
mod parse_clause;
mod parse_concepts;
pub mod parse_sort;
mod parse_special;
mod parse_value;
pub mod position;
pub mod query;
pub mod reference;
mod shape;
pub mod sort_value;
pub mod string;
pub mod text;
pub mod token;
pub mod union;
pub mod unit;
pub mod vocabulary;

pub use composite::{has_several_ordered, is_answered};
pub use document::{SearchDocument, search_document};
pub use matching::Candidate;
pub use parse::{Handling, parse};
pub use parse_concepts::{CONCEPTS_MAX, Named, named};
pub use query::Query;
pub use shape::shape;
