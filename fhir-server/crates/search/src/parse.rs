//! A search URL's parameters to a [`Query`].

use crate::query::Query;
use fhir_definitions::Definitions;
use fhir_model::Issue;

/// `Prefer: handling=…` (<https://hl7.org/fhir/R5/search.html#errors>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// An unknown parameter, modifier or prefix is an error (the default).
    Strict,
    /// It is ignored, and a warning says so.
    Lenient,
}

/// What the parser must know besides the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub definitions: &'a Definitions,
    /// The own base without trailing slash; absolute references on it are local.
    pub base: Option<&'a str>,
    pub handling: Handling,
    /// Now, in microseconds since 1970 UTC: `ap` on a date means a tenth of its distance from now.
    pub now_micros: i64,
    /// `_count` where none is given, and at the most.
    pub count_default: usize,
    pub count_max: usize,
}

/// Understands `parameters`, decoded (name, value) pairs in the order of the URL, as a search over `types`.
///
/// # Errors
/// Every issue found, not only the first.
pub fn parse(
    context: &Context<'_>,
    types: &[&str],
    parameters: &[(String, String)],
) -> Result<Query, Vec<Issue>> {
    let _ = (context, types, parameters);
    Err(Vec::new())
}
