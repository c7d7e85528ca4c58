//! The engine on a real Postgres.

mod cases;
mod corpus;
mod drawn;
mod large;
mod oracle;
mod paging;
mod proof;
