//! DHIS2: figures from the resources of one database snapshot, sent as data value sets, with a journal of what was sent and answered.
//!
//! What is counted and where it goes is data, in `mappings/dhis2/` ([`content`]): an [`indicator`] is a FHIR search and what is
//! counted of its result, a [`dimension`] divides it, a [`data_set`] binds the parts to data elements and category option combos of a
//! [`target`]. The straight path: [`collect`] reads the events -> [`aggregate`] counts them into cells, or into a reject that says why
//! not -> [`plan`] makes the data value sets -> [`report`] records them as MeasureReports -> [`submit`] sends them and reads back; [`run`] joins these for the command line.
//!
//! Not here: tracker data, ADX and other file formats, completion of data sets.

pub mod aggregate;
pub mod answer;
pub mod collect;
pub mod content;
pub mod data_set;
pub mod dimension;
pub mod error;
pub mod event;
pub mod indicator;
pub mod period;
pub mod plan;
pub mod report;
pub mod run;
pub mod submit;
pub mod target;

pub use content::Content;
