//! The query AST: everything a search URL can say, nothing an engine can do.

use crate::position::{Near, Point};
use crate::text::TextQuery;
use crate::token::STORED;
use fhir_definitions::{ParameterKey, SearchParameter};
use fhir_model::{DateRange, Decimal, Issue, ResourceKey};
use std::sync::Arc;

/// A search, understood. Values are normalised exactly as [`crate::search_document`] normalises them.
#[derive(Clone, Debug)]
pub struct Query {
    /// The resource types searched; one for `GET [base]/Type?…`.
    pub types: Vec<String>,
    /// All must hold.
    pub filter: Vec<Clause>,
    /// In order of weight; empty: `_lastUpdated` descending. The tie-break is the engine's (type, id).
    pub sort: Vec<SortKey>,
    /// `_count`: matches on a page; 0 is `_summary=count`.
    pub count: usize,
    /// `_getpagesoffset`: matches that stand before the first page.
    pub offset: usize,
    /// `_maxresults`: matches on all pages together.
    pub results_max: Option<usize>,
    pub includes: Vec<Include>,
    /// `_graph`: the GraphDefinition whose targets go with the matches, by canonical URL or `GraphDefinition/[id]`.
    pub graph: Option<String>,
    pub total: Total,
    pub summary: Summary,
    /// The own base without trailing slash; absolute references on it are local.
    pub base: Option<String>,
    pub contained: Contained,
    pub contained_type: ContainedType,
    /// What was applied, as (name, value) as written: the `self` link holds these and no others.
    pub applied: Vec<(String, String)>,
    /// Warnings: what was ignored under `handling=lenient`.
    pub issues: Vec<Issue>,
    /// `_explain`: how it was answered is told with the answer.
    pub explain: bool,
    /// What the request asks for in a header; `None`: what is configured.
    pub freshness: Option<Freshness>,
}

/// Whether a search sees every write that was acknowledged before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Strong,
    /// What a search index has, some tenths of a second later.
    Eventual,
}

impl Freshness {
    /// As it is written in settings and requests.
    pub fn of(text: &str) -> Option<Freshness> {
        match text {
            "strong" => Some(Freshness::Strong),
            "eventual" => Some(Freshness::Eventual),
            _ => None,
        }
    }
}

impl Query {
    /// Everything of these types, `count` on a page.
    pub fn all(types: Vec<String>, count: usize) -> Query {
        Query {
            types,
            filter: Vec::new(),
            sort: Vec::new(),
            count,
            offset: 0,
            results_max: None,
            includes: Vec::new(),
            graph: None,
            total: Total::Default,
            summary: Summary::False,
            base: None,
            contained: Contained::False,
            contained_type: ContainedType::Container,
            applied: Vec::new(),
            issues: Vec::new(),
            explain: false,
            freshness: None,
        }
    }

    /// The stored hashes of every token, uri and reference value that the condition asks for, sorted: what writes lock, so that two
    /// conditions on one identity wait for each other (a resource's side is [`crate::document::identity_atoms`]).
    pub fn atoms(&self) -> Vec<i64> {
        let mut atoms = Vec::new();
        for clause in &self.filter {
            clause_atoms(clause, &mut atoms);
        }
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }
}

fn clause_atoms(clause: &Clause, atoms: &mut Vec<i64>) {
    match clause {
        Clause::Param {
            parameter, values, ..
        } => {
            for value in values {
                value_atoms(parameter.key, value, atoms);
            }
        }
        Clause::Chain { clause, .. } => chained_atoms(clause, atoms),
        Clause::ByType(clause) => chained_atoms(clause, atoms),
        Clause::Has { clause, .. } | Clause::Not(clause) | Clause::Element { clause, .. } => {
            clause_atoms(clause, atoms);
        }
        Clause::Any(clauses) | Clause::All(clauses) => {
            for clause in clauses {
                clause_atoms(clause, atoms);
            }
        }
        Clause::Missing { .. }
        | Clause::Id(_)
        | Clause::LastUpdated(_)
        | Clause::Text { .. }
        | Clause::MemberOf { .. } => {}
    }
}

fn chained_atoms(chained: &ChainedClause, atoms: &mut Vec<i64>) {
    for (_, clause) in &chained.by_type {
        clause_atoms(clause, atoms);
    }
}

fn value_atoms(key: ParameterKey, value: &ValueMatch, atoms: &mut Vec<i64>) {
    match value {
        ValueMatch::Token(token) => atoms.push(STORED.token(key, token)),
        ValueMatch::Concepts { tokens, .. } => {
            atoms.extend(tokens.iter().map(|token| STORED.token(key, token)));
        }
        ValueMatch::Uri(uri) => atoms.push(STORED.uri(key, uri)),
        ValueMatch::OfType {
            system,
            code,
            value,
        } => atoms.push(STORED.of_type(key, system, code, value)),
        ValueMatch::Reference(ReferenceMatch::Identifier(token)) => {
            atoms.push(STORED.reference_identifier(key, token));
        }
        ValueMatch::Reference(ReferenceMatch::Url(url)) => atoms.push(STORED.url(key, url)),
        ValueMatch::Reference(ReferenceMatch::Local(targets)) => {
            for target in targets {
                atoms.push(STORED.url(key, &target.to_string()));
            }
        }
        ValueMatch::Composite(parts) => {
            for part in parts {
                value_atoms(key, part, atoms);
            }
        }
        ValueMatch::String(_)
        | ValueMatch::Words(_)
        | ValueMatch::Text { .. }
        | ValueMatch::Near(_)
        | ValueMatch::Point(_)
        | ValueMatch::Date(_)
        | ValueMatch::Number(_)
        | ValueMatch::Quantity { .. } => {}
    }
}

/// One condition. Repeating a parameter gives two clauses: AND, not on the same element.
#[derive(Clone, Debug)]
pub enum Clause {
    /// The parameter has one of these values (OR).
    Param {
        parameter: Arc<SearchParameter>,
        modifier: Modifier,
        values: Vec<ValueMatch>,
    },
    /// `:missing`.
    Missing {
        parameter: Arc<SearchParameter>,
        missing: bool,
    },
    /// `subject:Patient.name=…`: the reference points to a resource of one of `types` for which `clause` holds.
    Chain {
        parameter: Arc<SearchParameter>,
        types: Vec<String>,
        clause: Box<ChainedClause>,
    },
    /// `_has:Observation:patient:code=…`: a resource of `parameter.resource_type` points here by `parameter`, and `clause` holds for it.
    Has {
        parameter: Arc<SearchParameter>,
        clause: Box<Clause>,
    },
    /// In a search over several types: the clause of each, as parameters of one name differ from type to type.
    ByType(ChainedClause),
    /// One of these holds; none of an empty list.
    Any(Vec<Clause>),
    /// All of these hold, not on the same element.
    All(Vec<Clause>),
    /// It does not hold.
    Not(Box<Clause>),
    /// One element that the parameter selects meets the clause, looked at as if the resource had nothing else: what `name[filter].path`
    /// and `ne` of `_filter` bind.
    Element {
        parameter: Arc<SearchParameter>,
        clause: Box<Clause>,
    },
    /// `_list`, `_in`: one of these Lists, Groups and CareTeams refers to it.
    MemberOf {
        collections: Vec<ResourceKey>,
        /// As to a member that is active then, in microseconds since 1970 UTC.
        active_at: Option<i64>,
    },
    /// `_id`: one of these.
    Id(Vec<String>),
    /// `_lastUpdated`: one of these.
    LastUpdated(Vec<DateMatch>),
    /// `_text`, `_content` or `section-text`.
    Text { of: TextOf, query: TextQuery },
}

/// Whose words are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextOf {
    /// `_text`: the narrative's.
    Narrative,
    /// `section-text`: those of the narratives of a document's sections.
    Sections,
    /// `_content`: the whole resource's.
    Content,
}

/// The clause at the end of a chain link, per target type: parameters of one name differ from type to type.
#[derive(Clone, Debug)]
pub struct ChainedClause {
    pub by_type: Vec<(String, Clause)>,
}

/// A modifier that changes how the values match. `:missing` and `:[type]` have been folded into the clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modifier {
    None,
    Exact,
    Contains,
    Text,
    Not,
    In,
    NotIn,
    Above,
    Below,
    OfType,
    Identifier,
    CodeText,
    TextAdvanced,
}

impl Modifier {
    /// Whether it holds for what the values do not match, so also for resources without the element.
    pub fn negates(self) -> bool {
        matches!(self, Modifier::Not | Modifier::NotIn)
    }
}

/// One value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Token(TokenMatch),
    /// `:in`, `:not-in`, `:above` and `:below` of a token: the value set or concept as it was asked for, and the tokens it stands for.
    Concepts {
        asked: String,
        tokens: Vec<TokenMatch>,
    },
    /// Normalised text, or the original under `:exact` and `:code-text`. `:text` of a token or reference gives this too.
    String(String),
    /// A string, whole, by `_filter`'s operators; the text is normalised.
    Text {
        comparison: TextComparison,
        text: String,
    },
    /// `:text-advanced`, and `:text` of a string.
    Words(TextQuery),
    Date(DateMatch),
    Number(NumberMatch),
    Quantity {
        number: NumberMatch,
        unit: UnitMatch,
    },
    /// A uri.
    Uri(String),
    /// `:of-type`: an identifier's type and its value.
    OfType {
        system: String,
        code: String,
        value: String,
    },
    Reference(ReferenceMatch),
    /// `Location.near`.
    Near(Near),
    /// `Location.contains`.
    Point(Point),
    /// One match per component.
    Composite(Vec<ValueMatch>),
}

/// How `_filter` compares the normal form of a string (<https://hl7.org/fhir/R5/search_filter.html#ops>). The order is that of code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextComparison {
    Equal,
    Unequal,
    EndsWith,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

impl TextComparison {
    /// Whether it holds for a `value` of a resource.
    pub fn holds(self, value: &str, text: &str) -> bool {
        match self {
            TextComparison::Equal => value == text,
            TextComparison::Unequal => value != text,
            TextComparison::EndsWith => value.ends_with(text),
            TextComparison::Greater => value > text,
            TextComparison::Less => value < text,
            TextComparison::GreaterOrEqual => value >= text,
            TextComparison::LessOrEqual => value <= text,
        }
    }
}

/// `[system]|[code]` in its four forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenMatch {
    /// `code`: in any system or none.
    Code(String),
    /// `system|code`.
    SystemAndCode(String, String),
    /// `|code`: no system.
    NoSystem(String),
    /// `system|`: any code of the system.
    System(String),
}

/// `[prefix][number]` with the implicit precision kept in the decimal. What matches is said by [`NumberMatch::matches`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberMatch {
    pub prefix: Prefix,
    pub value: Decimal,
}

/// `|system|code` of a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitMatch {
    Any,
    /// `||code`: the code or the written unit.
    CodeOrUnit(String),
    SystemAndCode(String, String),
}

/// `[prefix][date]`; the range is what the written date covers. Under `ap` it has been widened by a tenth of its distance from now.
/// What matches is said by [`DateMatch::matches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateMatch {
    pub prefix: Prefix,
    pub range: DateRange,
}

/// What a reference must point at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceMatch {
    /// A resource of this server; types already narrowed by `:[type]` and the parameter's targets.
    Local(Vec<ResourceKey>),
    /// An absolute URL elsewhere, a canonical, a urn.
    Url(String),
    /// `:identifier`.
    Identifier(TokenMatch),
}

/// Search prefixes (<https://hl7.org/fhir/R5/search.html#prefix>), and `co` of `_filter`: the stored range contains the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
    Co,
}

/// One key of `_sort`.
#[derive(Clone, Debug)]
pub struct SortKey {
    pub by: SortBy,
    pub descending: bool,
}

#[derive(Clone, Debug)]
pub enum SortBy {
    LastUpdated,
    Id,
    /// `_score`: how well it matches, where something in the filter says that.
    Score,
    /// The parameter of each type; never empty, and all of one [`crate::parse_sort::Family`].
    Parameter(Vec<Arc<SearchParameter>>),
    /// `subject:Patient.birthdate`: what the resources of `types` are sorted by to which one of the reference parameters leads.
    Chain {
        parameters: Vec<Arc<SearchParameter>>,
        types: Vec<String>,
        by: Box<SortBy>,
    },
}

/// `_include` or `_revinclude`.
#[derive(Clone, Debug)]
pub struct Include {
    pub reverse: bool,
    /// The type whose references are followed; `None` for every type (`*`).
    pub source: Option<String>,
    /// `None` for the wildcard.
    pub parameter: Option<Arc<SearchParameter>>,
    pub target: Option<String>,
    pub iterate: bool,
}

/// `_total`. `Default`: accurate when it can be had within the small budget, else left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    Default,
    None,
    Estimate,
    Accurate,
}

/// `_summary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    False,
    Count,
}

/// `_contained`: whether contained resources are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contained {
    #[default]
    False,
    /// They alone.
    True,
    Both,
}

/// `_containedType`: what is returned for a contained resource that matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainedType {
    #[default]
    Container,
    Contained,
}
