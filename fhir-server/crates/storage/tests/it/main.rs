//! The store against a real Postgres.

mod private_postgres;
