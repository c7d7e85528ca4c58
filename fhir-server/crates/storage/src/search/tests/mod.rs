//! The engine on a real Postgres.

mod cases;
mod corpus;
mod drawn;
mod large;
mod near;
mod oracle;
mod paging;
mod proof;
