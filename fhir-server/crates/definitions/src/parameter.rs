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
    /// Of a string parameter: the parts of what it finds that have parameters of their own (the family of a name). At most 15.
    pub parts: Vec<Part>,
    /// Of the parameter of such a part: where its strings are indexed.
    pub part_of: Option<StringRows>,
}

/// A part of a name or an address that has a search parameter of its own.
#[derive(Clone, Debug)]
pub struct Part {
    /// The element.
    pub element: &'static str,
    /// The number of its parameter.
    pub key: ParameterKey,
}

/// Which of the strings that are indexed are a parameter's. A string is indexed once, with the parts it is of as bits: those of the parameter of
/// a part are found among those of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StringRows {
    /// The number they are indexed under.
    pub key: ParameterKey,
    /// One of these bits must be set; 0: all of them are.
    pub parts: i16,
}

impl StringRows {
    /// All under a number.
    pub fn all(key: ParameterKey) -> StringRows {
        StringRows { key, parts: 0 }
    }

    /// Whether a string is among them that is indexed under `key`, of `parts`.
    pub fn have(self, key: ParameterKey, parts: i16) -> bool {
        key == self.key && (self.parts == 0 || parts & self.parts != 0)
    }
}

impl SearchParameter {
    /// The numbers under which its values are indexed.
    pub fn keys(&self) -> impl Iterator<Item = ParameterKey> {
        let own = self.members.is_empty().then_some(self.key);
        own.into_iter().chain(self.members.iter().map(|it| it.key))
    }

    /// Where its strings are indexed; of one with members, theirs.
    pub fn string_rows(&self) -> impl Iterator<Item = StringRows> {
        let own = self.members.is_empty().then(|| self.own_string_rows());
        let members = self.members.iter().map(|it| it.own_string_rows());
        own.into_iter().chain(members)
    }

    /// The same of one without members.
    pub fn own_string_rows(&self) -> StringRows {
        self.part_of.unwrap_or(StringRows::all(self.key))
    }

    /// The bit of an element that it finds, and the number of the parameter that this has; nothing where it has none.
    pub fn part(&self, element: &str) -> Option<(i16, ParameterKey)> {
        let place = self.parts.iter().position(|part| part.element == element)?;
        Some((1 << place, self.parts[place].key))
    }

    /// The numbers under which whole strings are indexed as they are written: of a part under that of its parameter only.
    pub fn exact_keys(&self) -> impl Iterator<Item = ParameterKey> {
        let parts = self.parts.iter().map(|part| part.key);
        std::iter::once(self.key).chain(parts)
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
