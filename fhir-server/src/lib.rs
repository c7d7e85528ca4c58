//! placeholder
pub mod dhis2;
