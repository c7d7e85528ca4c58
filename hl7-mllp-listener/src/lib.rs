//! The HL7 v2 bridge: MLLP in, one FHIR transaction out, an acknowledgement back when it is committed.
//!
//! Straight path: `server` accepts -> `codec` cuts frames -> `session` takes one frame at a time -> `intake` cuts batches, keeps patients'
//! messages in order (`lanes`), stores them first where that is asked for (`spool`) -> [`message`] indexes one ->
//! `process` recognises repeats, converts by mapping, reads the current state, merges, submits one transaction -> `ack`.
//! Knows only the model crate; the FHIR server is a tower service (`submit`): in process when embedded, HTTP when alone.

pub mod ack;
mod assemble;
pub mod batch;
pub mod bridge;
pub mod charset;
pub mod client;
pub mod codec;
pub mod convert;
pub mod escape;
pub mod explain;
#[cfg(any(test, feature = "testing"))]
pub mod fake_server;
pub mod header;
pub mod health;
pub mod identity;
pub mod intake;
pub mod journal;
mod known;
mod lanes;
pub mod listeners;
pub mod mapping;
mod merge;
pub mod message;
pub mod policy;
pub mod process;
mod relate;
pub mod replay;
mod replies;
pub mod seldom;
pub mod separators;
pub mod server;
mod server_api;
mod session;
pub mod settings;
mod spool;
mod state;
pub mod structure;
pub mod submit;
pub mod telemetry;
pub mod tls;
mod traffic;
pub mod worklist;
