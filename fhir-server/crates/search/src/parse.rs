//! A search URL's parameters to a [`Query`] (<https://hl7.org/fhir/R5/search.html>).
//!
//! `_format` and `_pretty` are the caller's; so are `_elements` and `_summary` other than `count`, which stand among what was `applied`.
//! Values are never repeated in an issue.
//!
//! A parameter without a value (`name=`) is ignored, as the specification says. What is unknown is an error, or a warning under
//! [`Handling::Lenient`]; a value that cannot be read, and a limit passed, is always an error.

use crate::query::{Clause, Contained, ContainedType, Include, Query, Summary, Total};
use crate::{filter_clause, named_query, parse_clause as clause, parse_sort};
use fhir_definitions::{Definitions, ParameterType, SearchParameter, TerminologyResources};
use fhir_model::{Issue, IssueKind};

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
    /// Code systems and value sets beyond the definitions: of those that [`crate::named`] says, the ones that there are.
    pub terminology: Option<&'a TerminologyResources>,
    /// The own base without trailing slash; absolute references on it are local.
    pub base: Option<&'a str>,
    pub handling: Handling,
    /// Now, in microseconds since 1970 UTC: `ap` on a date means a tenth of its distance from now.
    pub now_micros: i64,
    /// `_count` where none is given, and at the most.
    pub count_default: usize,
    pub count_max: usize,
}

/// Most parameters of one search.
pub const PARAMETERS_MAX: usize = 100;
/// Most values of one parameter (OR).
pub const VALUES_MAX: usize = 1_000;
/// Longest value of one parameter, all its alternatives together, in bytes.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Most links of one chain or nested `_has`.
pub const CHAIN_MAX: usize = 5;
/// Most keys of `_sort`.
pub const SORT_MAX: usize = 5;
/// Most matches that `_getpagesoffset` passes over.
pub const OFFSET_MAX: usize = 10_000;

/// Why a parameter was not understood.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Unknown or misused: ignored under lenient handling.
    Unknown(Issue),
    /// Not readable, or too much: always an error.
    Invalid(Issue),
}

impl Refusal {
    pub(crate) fn unknown(diagnostics: impl Into<String>) -> Refusal {
        Refusal::Unknown(Issue::error(IssueKind::SearchParameter, diagnostics))
    }

    pub(crate) fn invalid(diagnostics: impl Into<String>) -> Refusal {
        Refusal::Invalid(Issue::error(IssueKind::SearchParameter, diagnostics))
    }

    pub(crate) fn too_costly(diagnostics: impl Into<String>) -> Refusal {
        Refusal::Invalid(Issue::error(IssueKind::TooCostly, diagnostics))
    }
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
    if parameters.len() > PARAMETERS_MAX {
        return Err(vec![Issue::error(
            IssueKind::TooCostly,
            format!("more than {PARAMETERS_MAX} search parameters"),
        )]);
    }
    let types = types.iter().map(|name| (*name).to_owned()).collect();
    let mut query = Query {
        base: context.base.map(str::to_owned),
        ..Query::all(types, context.count_default)
    };
    let mut errors = Vec::new();
    let names: Vec<&str> = query.types.iter().map(String::as_str).collect();
    let query_by_name = match named_query::named(context.definitions, &names, parameters) {
        Ok(found) => found,
        Err(Refusal::Unknown(issue) | Refusal::Invalid(issue)) => return Err(vec![issue]),
    };
    for (name, value) in parameters {
        if value.is_empty() {
            continue;
        }
        let is_own = |named: &named_query::Named| name == "_query" || named.own.contains(name);
        if query_by_name.as_ref().is_some_and(is_own) {
            query.applied.push((name.clone(), value.clone()));
            continue;
        }
        match one(context, &mut query, name, value) {
            Ok(()) => {
                let applied = match (name.as_str(), query.summary) {
                    ("_count", Summary::False) => query.count.to_string(),
                    _ => value.clone(),
                };
                query.applied.push((name.clone(), applied));
            }
            Err(Refusal::Unknown(issue)) if context.handling == Handling::Lenient => {
                query.issues.push(Issue {
                    severity: fhir_model::Severity::Warning,
                    diagnostics: issue.diagnostics + "; it was ignored",
                    ..issue
                });
            }
            Err(Refusal::Unknown(issue) | Refusal::Invalid(issue)) => errors.push(issue),
        }
    }
    for (name, value) in query_by_name.into_iter().flat_map(|named| named.search) {
        if let Err(Refusal::Unknown(issue) | Refusal::Invalid(issue)) =
            one(context, &mut query, &name, &value)
        {
            errors.push(issue);
        }
    }
    let text_only = ("_summary".to_owned(), "text".to_owned());
    if !query.includes.is_empty() && query.applied.contains(&text_only) {
        let reason = "_summary=text cannot be combined with _include and _revinclude";
        errors.push(Issue::error(IssueKind::SearchParameter, reason));
    }
    repeated(&query, &mut errors);
    match errors.is_empty() {
        true => Ok(query),
        false => Err(errors),
    }
}

/// Understands one parameter and adds it to the query.
fn one(context: &Context<'_>, query: &mut Query, name: &str, text: &str) -> Result<(), Refusal> {
    if name.contains('\0') || text.contains('\0') {
        return Err(Refusal::invalid(
            "the character U+0000 is not allowed in a search",
        ));
    }
    if name.len() > 1024 || text.len() > VALUE_BYTES_MAX {
        return Err(Refusal::too_costly(format!(
            "a search parameter is longer than {VALUE_BYTES_MAX} bytes"
        )));
    }
    // What only one of them could decide, and the specification says nothing of which.
    let once = [
        "_sort",
        "_count",
        "_total",
        "_summary",
        "_maxresults",
        "_getpagesoffset",
        "_contained",
        "_containedType",
        "_graph",
    ];
    if once.contains(&name) && query.applied.iter().any(|(given, _)| given == name) {
        return Err(Refusal::invalid(format!("{name} may be given once only")));
    }
    match name {
        "_sort" => query.sort = parse_sort::keys(context, &query.types, text)?,
        "_maxresults" => match number(name, text)? {
            0 => return Err(Refusal::invalid("_maxresults must be 1 or more")),
            most => query.results_max = Some(most),
        },
        "_getpagesoffset" => match number(name, text)? {
            offset @ 0..=OFFSET_MAX => query.offset = offset,
            _ => {
                return Err(Refusal::too_costly(format!(
                    "a _getpagesoffset of more than {OFFSET_MAX}; follow the next links instead"
                )));
            }
        },
        "_count" => {
            let count: usize = number(name, text)?;
            match count {
                0 => query.summary = Summary::Count,
                _ => query.count = count.min(context.count_max),
            }
        }
        "_total" => {
            query.total = match text {
                "none" => Total::None,
                "estimate" => Total::Estimate,
                "accurate" => Total::Accurate,
                _ => {
                    return Err(Refusal::invalid(
                        "_total must be none, estimate or accurate",
                    ));
                }
            }
        }
        "_summary" => match text {
            "count" => query.summary = Summary::Count,
            "true" | "false" | "text" | "data" => {}
            _ => {
                return Err(Refusal::invalid(
                    "_summary must be true, false, text, data or count",
                ));
            }
        },
        "_graph" => query.graph = Some(text.to_owned()),
        "_format" | "_pretty" | "_elements" => {}
        "_filter" => {
            let types: Vec<&str> = query.types.iter().map(String::as_str).collect();
            query
                .filter
                .push(filter_clause::parse(context, &types, text)?);
        }
        "_contained" => {
            query.contained = match text {
                "false" => Contained::False,
                "true" => Contained::True,
                "both" => Contained::Both,
                _ => return Err(Refusal::invalid("_contained must be true, false or both")),
            }
        }
        "_containedType" => {
            query.contained_type = match text {
                "container" => ContainedType::Container,
                "contained" => ContainedType::Contained,
                _ => {
                    return Err(Refusal::invalid(
                        "_containedType must be container or contained",
                    ));
                }
            }
        }
        _ => match name.split_once(':').unwrap_or((name, "")) {
            ("_include", modifier) => include(context, query, false, modifier, text)?,
            ("_revinclude", modifier) => include(context, query, true, modifier, text)?,
            _ => {
                let types: Vec<&str> = query.types.iter().map(String::as_str).collect();
                let clause = clause::parse(context, &types, name, text)?;
                query.filter.push(clause);
            }
        },
    }
    Ok(())
}

/// A parameter that `multipleAnd` allows once only, whatever its modifier.
fn repeated(query: &Query, errors: &mut Vec<Issue>) {
    let mut seen = Vec::new();
    for clause in &query.filter {
        for parameter in named(clause).filter(|parameter| !parameter.multiple_and) {
            match seen.contains(&parameter.key) {
                true => errors.push(Issue::error(
                    IssueKind::SearchParameter,
                    format!(
                        "the search parameter {} may be given once only",
                        parameter.code
                    ),
                )),
                false => seen.push(parameter.key),
            }
        }
    }
}

/// The parameters that a clause of the filter begins with, one of each type.
fn named(clause: &Clause) -> Box<dyn Iterator<Item = &SearchParameter> + '_> {
    match clause {
        Clause::Param { parameter, .. }
        | Clause::Missing { parameter, .. }
        | Clause::Chain { parameter, .. } => Box::new(std::iter::once(&**parameter)),
        Clause::ByType(by_type) => {
            Box::new(by_type.by_type.iter().flat_map(|(_, clause)| named(clause)))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn number(name: &str, text: &str) -> Result<usize, Refusal> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        // More than fits is more than the maximum.
        true => Ok(text.parse().unwrap_or(usize::MAX)),
        false => Err(Refusal::invalid(format!(
            "{name} must be a number, 0 or more"
        ))),
    }
}

/// `_include=Source:parameter[:Target]`, `_revinclude`, `:iterate` (formerly `:recurse`), `*` and `Source:*`.
fn include(
    context: &Context<'_>,
    query: &mut Query,
    reverse: bool,
    modifier: &str,
    text: &str,
) -> Result<(), Refusal> {
    let name = if reverse { "_revinclude" } else { "_include" };
    let iterate = match modifier {
        "" => false,
        "iterate" | "recurse" => true,
        _ => {
            return Err(Refusal::unknown(format!(
                "{name} has no modifier of this name"
            )));
        }
    };
    let known = |resource_type: &str| match context.definitions.type_number(resource_type) {
        Some(_) => Ok(resource_type.to_owned()),
        None => Err(Refusal::unknown(format!(
            "{name} names a resource type this server does not have"
        ))),
    };
    // All or nothing: what is refused, or ignored under lenient handling, must not be applied in part.
    let mut includes = Vec::new();
    for alternative in text.split(',').filter(|text| !text.is_empty()) {
        let mut parts = alternative.split(':');
        let (source, code, target) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(Refusal::invalid(format!(
                "{name} must be Type:parameter or Type:parameter:Type"
            )));
        }
        let target = target.filter(|t| !t.is_empty()).map(known).transpose()?;
        if source == "*" {
            // `*:*:Type` limits what comes; a parameter belongs to a type.
            if code.is_some_and(|code| code != "*") {
                return Err(Refusal::invalid(format!(
                    "{name} of every type takes no parameter: * or *:*:Type"
                )));
            }
            includes.push(Include {
                reverse,
                source: None,
                parameter: None,
                target,
                iterate,
            });
            continue;
        }
        let source = known(source)?;
        let parameter = match code {
            None | Some("*") => None,
            Some(code) => {
                let parameter = clause::parameter(context.definitions, &source, code)?;
                if parameter.kind != ParameterType::Reference || parameter.code == "_in" {
                    return Err(Refusal::unknown(format!(
                        "{name} follows reference parameters only"
                    )));
                }
                Some(parameter)
            }
        };
        includes.push(Include {
            reverse,
            source: Some(source),
            parameter,
            target,
            iterate,
        });
    }
    query.includes.append(&mut includes);
    Ok(())
}
