//! A Postgres of the server's own, in its data directory.

/// The running private Postgres; dropping it stops it.
#[derive(Debug)]
pub struct PrivatePostgres {}
