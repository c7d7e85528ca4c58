//! The engine on a real Postgres.

mod by_index;
mod cases;
mod corpus;
mod drawn;
mod indexed;
mod joins_by_index;
mod large;
mod near;
mod oracle;
mod paging;
mod planned;
mod proof;
mod words_by_index;
