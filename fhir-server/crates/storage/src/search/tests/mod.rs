//! The engine on a real Postgres.

mod cases;
mod corpus;
mod drawn;
mod found;
mod large;
mod oracle;
mod paging;
mod resources;
