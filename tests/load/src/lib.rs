//! What every driver of a server needs: a client over HTTP and MLLP, and deterministic synthetic records. Knows nothing of ours.

pub mod client;
pub mod generate;
pub mod mixed;
