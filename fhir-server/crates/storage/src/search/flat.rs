//! A search that one pass over `entry` can answer: no chain is left, parameters are numbers, values are hashes, ranges and row keys.
//!
//! [`super::resolve`] makes it, [`super::plan`] decides how it runs, [`super::sql`] writes it down.

use fhir_definitions::StringRows;
use fhir_model::DateRange;
use fhir_search::number::NumberRange;
use fhir_search::position::Near;
use fhir_search::query::{DateMatch, Prefix, TextComparison, TextOf};
use fhir_search::text::TextQuery;
use std::collections::BTreeMap;

/// The search without paging and includes.
#[derive(Clone, Debug, Default)]
pub(super) struct FlatQuery {
    /// Numbers of the types searched; never empty.
    pub types: Vec<i16>,
    /// All must hold.
    pub filter: Vec<Test>,
    /// In order of weight; never empty. The tie-break is the row key, in the direction of the first.
    pub order: Vec<Order>,
    /// What [`Column::Found`] names.
    pub found: Vec<Found>,
    /// Of the units that quantities are sorted in.
    pub scales: Scales,
    /// How well rows match, between 0 and 1, where a condition tells.
    pub scores: BTreeMap<i64, f64>,
    /// Whether every resource that the search names has a row.
    pub names_all: bool,
}

impl FlatQuery {
    /// Turns the order around, so that the last comes first.
    pub fn reverse(&mut self) {
        for order in &mut self.order {
            order.backwards = !order.backwards;
        }
    }

    /// Whether there is one way to answer it, if all matches are found.
    pub fn is_lookup(&self) -> bool {
        self.filter.iter().all(Test::is_lookup) && !self.sorts_by_looking()
    }

    /// Whether texts are still to be read, or looked for in an index.
    pub fn has_words(&self) -> bool {
        self.filter.iter().any(Test::has_words)
    }

    /// Whether sorting looks at each match; scores are there.
    pub fn sorts_by_looking(&self) -> bool {
        let looked_up = |found: &Found| found.value != FoundValue::Scores;
        self.found.iter().any(looked_up)
    }
}

/// A condition on one row of `entry`. A list is OR; an empty list never holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// The row is of one of these types.
    Type(Vec<i16>),
    /// It has one of these tokens.
    Tokens(Vec<i64>),
    /// It has one of these references (parameter << 40 | target).
    References(Vec<i64>),
    /// It is one of these rows.
    Rows(Vec<i64>),
    Dates(Dates),
    Quantities(i16, Vec<QuantityTest>),
    Strings(StringRows, Vec<StringTest>),
    /// A position (latitude in `lo`, longitude in `hi`) lies in one of these circles.
    Near(i16, Vec<Near>),
    Updated(Vec<DateMatch>),
    /// Its text answers: what an index of words is asked, and Postgres reads ([`super::words`]).
    Words(TextOf, TextQuery),
    /// One of these many references; tested row by row because an index scan per reference would cost more.
    AnyOfReferences(Vec<i64>),
    /// A reference of this parameter leads to a row for which the test holds.
    Points(i16, Box<Test>),
    /// A row for which the test holds has a reference of this parameter to this one.
    PointedAt(i16, Box<Test>),
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
}

/// Some date by the parameter `key` meets each of `all`, of which each is OR.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dates {
    pub key: i16,
    /// Where a resource has one date by the parameter at the most: how long that can be, in microseconds. Only there can conditions stand
    /// together.
    pub single: Option<i64>,
    pub all: Vec<Vec<DateTest>>,
}

impl Dates {
    /// Any date by the parameter.
    pub fn any(key: i16) -> Dates {
        let date = DateMatch {
            prefix: Prefix::Ap,
            range: DateRange {
                lo: DateRange::MIN,
                hi: DateRange::MAX,
            },
        };
        Dates {
            key,
            single: None,
            all: vec![vec![DateTest { marker: 0, date }]],
        }
    }
}

/// A time. In a composite `marker` is the hash of the other components; else 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DateTest {
    pub marker: i64,
    pub date: DateMatch,
}

/// A number in a unit (one of the hashes in [`fhir_search::document::QuantityEntry::units`]; `None` for any). In a composite `marker` is
/// the hash of the other components; else 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QuantityTest {
    pub marker: i64,
    pub number: NumberRange,
    pub unit: Option<i64>,
}

/// Text is normalised.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StringTest {
    StartsWith(String),
    Contains(String),
    /// Words and how they stand together.
    Words(TextQuery),
    /// The value as it is indexed; the end of one that was cut is not known.
    Is(TextComparison, String),
    /// It was cut.
    Cut,
}

impl Test {
    /// A test that never holds.
    pub fn never() -> Test {
        Test::Rows(Vec::new())
    }

    pub fn negate(self) -> Test {
        Test::Not(Box::new(self))
    }

    /// Whether it can hold for rows of one type only: token hashes and parameter numbers are made per type. Adding the type to such a
    /// test makes the database combine two indexes for nothing.
    pub fn typed(&self) -> bool {
        match self {
            Test::Tokens(_)
            | Test::References(_)
            | Test::AnyOfReferences(_)
            | Test::Dates(_)
            | Test::Quantities(..)
            | Test::Strings(..)
            | Test::Near(..)
            | Test::Type(_)
            | Test::Points(..) => true,
            // Row keys from `_has` may be of any type the reference allows.
            Test::Rows(rows) => rows.is_empty(),
            Test::Updated(_) | Test::Words(..) | Test::PointedAt(..) | Test::Not(_) => false,
            Test::Any(tests) => tests.iter().all(Test::typed),
            Test::All(tests) => tests.iter().any(Test::typed),
        }
    }

    /// Whether a text has to be read, or an index of words asked.
    pub fn has_words(&self) -> bool {
        match self {
            Test::Words(..) => true,
            Test::Any(tests) | Test::All(tests) => tests.iter().any(Test::has_words),
            Test::Not(test) => test.has_words(),
            // What is asked of other rows is resolved before.
            _ => false,
        }
    }

    /// Whether it is a condition on rows of an ordered index, of which a resource may have several.
    pub fn is_ordered(&self) -> bool {
        matches!(
            self,
            Test::Dates(_) | Test::Quantities(..) | Test::Strings(..) | Test::Near(..)
        )
    }

    /// Whether the key of a row is all that it takes to test it.
    pub fn asks_for_key_only(&self) -> bool {
        match self {
            Test::Rows(_) => true,
            Test::Any(tests) | Test::All(tests) => tests.iter().all(Test::asks_for_key_only),
            Test::Not(test) => test.asks_for_key_only(),
            test => test.is_ordered(),
        }
    }

    /// Whether it asks for keys, tokens and references only, for which there is one way through the indexes.
    pub fn is_lookup(&self) -> bool {
        match self {
            Test::Tokens(_) | Test::References(_) | Test::Rows(_) => true,
            Test::Any(tests) | Test::All(tests) => tests.iter().all(Test::is_lookup),
            _ => false,
        }
    }

    /// Whether an index leads to the rows for which it holds.
    pub fn positive(&self) -> bool {
        match self {
            Test::Tokens(_)
            | Test::References(_)
            | Test::Rows(_)
            | Test::Dates(_)
            | Test::Quantities(..)
            | Test::Strings(..)
            | Test::Near(..) => true,
            Test::Type(_)
            | Test::Updated(_)
            | Test::Words(..)
            | Test::AnyOfReferences(_)
            | Test::Points(..)
            | Test::PointedAt(..)
            | Test::Not(_) => false,
            Test::Any(tests) => tests.iter().all(Test::positive),
            Test::All(tests) => tests.iter().any(Test::positive),
        }
    }
}

/// One sort key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub by: Column,
    pub descending: bool,
    /// Read from the end: all turned around, but not which of several values counts.
    pub backwards: bool,
}

impl Order {
    pub fn new(by: Column, descending: bool) -> Order {
        Order {
            by,
            descending,
            backwards: false,
        }
    }

    /// Whether larger values come first.
    pub fn falls(self) -> bool {
        self.descending != self.backwards
    }
}

/// What is sorted by. Of several values the smallest counts ascending, the largest descending; no value comes last in both directions
/// (the specification leaves that to the server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Updated,
    Id,
    Date {
        key: i16,
        present: i64,
    },
    String {
        rows: StringRows,
        present: i64,
    },
    /// Numbers and quantities, these in base units ([`Scales`]).
    Number {
        key: i16,
    },
    /// The place in [`FlatQuery::found`] of what has no index to walk.
    Found(usize),
}

/// From units to base units: a number in the unit with the hash `units[i]` is `number * factors[i] + offsets[i]`. The hashes ascend; the others are
/// decimals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scales {
    pub units: Vec<i64>,
    pub factors: Vec<String>,
    pub offsets: Vec<String>,
}

/// A sort value that is looked up for each match.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// References to follow: the numbers of the parameters that one step may take.
    pub links: Vec<Vec<i16>>,
    /// Types of the resources that have the value, where references lead there.
    pub types: Vec<i16>,
    pub value: FoundValue,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum FoundValue {
    /// By parameters with these numbers.
    Dates(Vec<i16>),
    Strings(Vec<StringRows>),
    Numbers(Vec<i16>),
    Texts(Vec<StoredText>),
    Updated,
    Ids,
    Scores,
}

/// Texts of the stored resources of a type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredText {
    pub type_number: i16,
    /// In the SQL/JSON path language; made from definitions, never from a request.
    pub path: String,
    pub form: TextForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextForm {
    /// Compared without regard to the case of ASCII letters, as tokens match.
    Code,
    AsWritten,
    /// `Type/id` at its end, where it has that.
    Reference,
}
