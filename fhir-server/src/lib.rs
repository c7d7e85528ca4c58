//! placeholder
pub mod dhis2;
pub mod mapping_check;
