//! The engine on a real Postgres.

mod corpus;
mod large;
mod oracle;
mod paging;
