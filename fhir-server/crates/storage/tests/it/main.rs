//! The store against a real Postgres.

mod commit;
mod concurrency;
mod private_postgres;
mod requests;
