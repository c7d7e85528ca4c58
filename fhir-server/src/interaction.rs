//! The interactions of the RESTful API, one file each (<https://hl7.org/fhir/R5/http.html>): extract, decide, call, reply.

pub mod capabilities;
pub mod create;
pub mod delete;
pub mod history;
pub mod patch;
pub mod read;
pub mod search;
pub mod update;
pub mod vread;
