//! FHIR's XML (<https://hl7.org/fhir/R5/xml.html>): at the edge only; inside, a resource is the JSON that is stored.
//!
//! `write` hands JSON to fhirbolt, which knows names and order, behind guards for what it would lose. `read` is our own walk over
//! quick-xml, for the order of elements, the narrative byte by byte, and a place and a limit for each refusal.

mod entities;
mod narrative;
mod read;
mod write;

pub use read::{read, root};
pub use write::write;

const FHIR: &str = "http://hl7.org/fhir";
const XHTML: &str = "http://www.w3.org/1999/xhtml";
