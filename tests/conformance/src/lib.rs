//! Scenarios against any FHIR server: YAML in, HTTP and MLLP out, differences told.
//!
//! Knows nothing of this project's server. A scenario names the paragraph of the specification it checks and the rows of the checklist it
//! covers; a *peer* file lists the scenarios a certain server is known to fail, with the reason, so that the same set runs against several servers.

pub mod matching;
pub mod peer;
pub mod run;
pub mod scenario;

pub use peer::Verdict;
pub use run::{Outcome, Target, run};
pub use scenario::{Peer, Scenario, load_peer, load_scenarios};
