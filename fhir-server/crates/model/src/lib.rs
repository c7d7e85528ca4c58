//! The values every part of the program speaks: resources as JSON, their keys, references, partial dates, decimals and issues.
//!
//! Pure: no I/O, no clock, no global state. Nothing here knows HTTP, SQL or HL7 v2.

pub mod date;
pub mod decimal;
pub mod issue;
pub mod json;
pub mod key;
pub mod reference;

pub use date::{DateRange, PartialDate};
pub use decimal::Decimal;
pub use issue::{Issue, IssueKind, Severity};
pub use key::{ResourceKey, VersionedKey, is_id};
pub use reference::Reference;
