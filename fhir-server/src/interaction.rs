//! The interactions of the RESTful API, one file each (<https://hl7.org/fhir/R5/http.html>): extract, decide, call, reply.
//! What searches and histories have in common is in [`paging`].

pub mod capabilities;
pub mod create;
pub mod delete;
pub mod delete_history;
pub mod history;
pub mod openapi;
pub mod paging;
pub mod patch;
pub mod read;
pub mod search;
pub mod statements;
pub mod terminology;
pub mod update;
pub mod vread;
