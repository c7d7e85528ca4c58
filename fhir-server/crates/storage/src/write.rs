//! The one write road: lock, prepare, apply, in one database transaction.
