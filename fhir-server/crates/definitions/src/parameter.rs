//! Search parameters (<https://hl7.org/fhir/R5/searchparameter.html>), one entry per concrete resource type and code.

use fhirpath::PathProgram;
use std::sync::Arc;

/// The stored number of a (resource type, code) pair. Core parameters have the numbers of the committed table, below 8,192;
/// a site's own come after. Part of every index row and token hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterKey(pub i16);

/// `SearchParameter.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterType {
    Number,
    Date,
    String,
    Token,
    Reference,
    Composite,
    Quantity,
    Uri,
    Special,
    Resource,
}

/// What a search parameter says, for one base type.
#[derive(Debug)]
pub struct SearchParameter {
    pub key: ParameterKey,
    /// The concrete resource type.
    pub resource_type: String,
    /// The name in the URL.
    pub code: String,
    /// Canonical URL.
    pub url: String,
    pub kind: ParameterType,
    /// `SearchParameter.target`: the types a reference may point to.
    pub targets: Vec<String>,
    /// The whole expression, for the CapabilityStatement and messages.
    pub expression: String,
    /// The branches of the expression that apply to `resource_type`. `None` for parameters without expression (`_text`, …).
    pub program: Option<PathProgram>,
    pub multiple_or: bool,
    pub multiple_and: bool,
    /// Prefixes allowed; empty: all that the type has.
    pub comparators: Vec<String>,
    /// Modifiers allowed; empty: all that the type has.
    pub modifiers: Vec<String>,
    /// Codes that may be chained to a reference; empty: all.
    pub chains: Vec<String>,
    /// Of a composite: its components, in order.
    pub components: Vec<Component>,
    /// The parameters of the type that together find exactly what this one finds: nothing is indexed under its own number, and it is answered by
    /// theirs. Empty for most.
    pub members: Vec<Arc<SearchParameter>>,
}

impl SearchParameter {
    /// The numbers under which its values are indexed.
    pub fn keys(&self) -> impl Iterator<Item = ParameterKey> {
        let own = self.members.is_empty().then_some(self.key);
        own.into_iter().chain(self.members.iter().map(|it| it.key))
    }

    /// Whether a resource has at most one date by this parameter, so that the date it is found by is the one it is sorted by.
    pub fn one_date(&self) -> bool {
        self.kind == ParameterType::Date
            && self.program.as_ref().is_some_and(PathProgram::at_most_one)
    }

    /// Whether its elements are dates and times, none of which is longer than a year, and no periods.
    pub fn no_periods(&self) -> bool {
        let is_time = |name: &&str| matches!(*name, "date" | "dateTime" | "instant");
        self.program
            .as_ref()
            .is_some_and(|program| program.types().iter().all(is_time))
    }

    /// Whether it may refer to any type.
    pub fn refers_to_any(&self) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target == "Resource")
    }

    /// Whether it may refer to resources of the type.
    pub fn may_refer_to(&self, resource_type: &str) -> bool {
        self.refers_to_any() || self.targets.iter().any(|target| target == resource_type)
    }
}

/// One component of a composite parameter. Its program runs on each element that the composite's own expression selects.
#[derive(Debug)]
pub struct Component {
    /// Canonical URL of the component's SearchParameter.
    pub definition: String,
    /// As the definition writes it, on an element of the composite.
    pub expression: String,
    pub kind: ParameterType,
    pub program: PathProgram,
}
