//! The search index in Elasticsearch: one document per row of `entry`, made of the very rows that Postgres has. Postgres stays the truth; the
//! index can be dropped and made anew at any time.

pub(crate) mod document;
pub(crate) mod mapping;
pub(crate) mod number;
