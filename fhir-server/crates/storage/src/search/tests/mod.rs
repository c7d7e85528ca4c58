//! The engine on a real Postgres.

mod cases;
mod corpus;
mod large;
mod oracle;
mod paging;
mod resources;
