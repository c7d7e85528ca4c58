//! A FHIR R5 server with an HL7 v2 bridge.
//!
//! A request's straight path: [`connections`] accepts, [`http`] bounds and takes apart, [`router`] finds, [`interaction`] decides,
//! [`mod@write`] or the store does, [`reply`] answers; what cannot be done becomes a status in [`failure`] and nowhere else.

pub mod app;
pub mod base;
pub mod binary;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod connections;
pub mod cors;
pub mod data;
pub mod dhis2;
pub mod embed;
pub mod failure;
pub mod format;
pub mod gate;
pub mod health;
pub mod http;
pub mod interaction;
pub mod job;
pub mod mapping_check;
pub mod operation;
pub mod page_token;
pub mod patch;
pub mod policy;
pub mod reply;
pub mod request;
pub mod retention;
pub mod router;
pub mod search_index;
pub mod send_timeout;
pub mod serve;
pub mod setting;
pub mod subset;
pub mod telemetry;
pub mod terminology;
pub mod url;
pub mod v2_over_http;
pub mod write;
pub mod xml;
