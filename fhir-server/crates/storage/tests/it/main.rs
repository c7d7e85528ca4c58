//! The store against a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod commit;
mod concurrency;
mod definitions;
mod elastic;
mod measure;
mod private_postgres;
mod requests;
mod search_parameters;
