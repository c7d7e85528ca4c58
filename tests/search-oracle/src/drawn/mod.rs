//! Random resources and random searches over them. Everything follows from the seed and the resources drawn before.

mod datatypes;
mod filters;
mod graphs;
mod places;
mod references;
mod resources;
mod searches;
mod values;

pub use resources::{IDS, resource};
pub use searches::{Asked, search, search_with_graph};

use fastrand::Rng;

/// One of them.
pub(crate) fn pick<'t, T>(rng: &mut Rng, from: &'t [T]) -> &'t T {
    &from[rng.usize(..from.len())]
}

/// True so many times of a hundred.
pub(crate) fn chance(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(..100) < percent
}
