//! The server over HTTP, as a client sees it: tables of requests and what must come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod binary;
mod bridge;
mod bundles;
mod clients;
mod conditional;
mod conformance;
mod content;
mod crash;
mod crud;
mod dhis2;
mod examples;
mod headers;
mod identities;
mod invariants;
mod jobs;
mod large_bundles;
mod limits;
mod listeners;
mod merge_race;
mod metadata;
mod mllp;
mod model;
mod operations;
mod overload;
mod patches;
mod policies;
mod process;
mod races;
mod replays;
mod retention;
mod search_freshness;
mod search_index;
mod search_parameters;
mod search_proof;
mod search_suite;
mod searching;
mod sequences;
mod site;
mod spool;
mod upgrade;
mod v2_over_http;
mod xml;
