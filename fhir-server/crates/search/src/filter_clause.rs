//! What a `_filter` asks for, as a clause (<https://hl7.org/fhir/R5/search_filter.html>). The readings chosen where its text leaves room:
//!
//! - `subject[filter].name` binds both to the same resource that the reference leads to; `name[filter].family` both to the same element, so
//!   what follows must be a parameter whose elements are in those of the first. A composite may stand there too: it names the element
//!   its components are in (`relationship[relation eq replaces].relatesto`). Within an element no chain goes on.
//! - A test asks of some value in the set. `ne` holds when one value is not equal; `ni` and `pr false` ask of the whole set, also at
//!   the end of a chain.
//! - `eq`, `ne`, `ap`, `gt`, … of numbers, dates and quantities are the prefixes of a search. `po` is an overlap, `co` says that the
//!   resource's date or number (with the places it is written with) contains the value.
//! - Strings are compared in their normal form (case and accents do not count), whole by `eq` and `ne`, by code points by `gt`, `lt`, …
//!   Tokens as elsewhere in a search. A value has no alternatives: a comma in it is a comma; `or` says them.
//! - `loinc`, `snomed`, `rxnorm` and `ucum` stand for their systems. The value of a composite may be written `code$a,value$b`.
//! - `id` is `_id`. A JSON string is read first, then what `\` escapes in a token, quantity, reference or composite.

use crate::document::STRING_MAX;
use crate::filter::{self, ErrorKind, Filter, Operator, Step, Test};
use crate::parse::{Context, Refusal};
use crate::parse_clause::{Parser, chained_types, modifier, parameter, supported, target};
use crate::parse_value::{self as value, shown};
use crate::query::{
    ChainedClause, Clause, DateMatch, Modifier, NumberMatch, Prefix, TextComparison, ValueMatch,
};
use crate::string::normalise;
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind};
use std::sync::Arc;

/// Understands `_filter=text` in a search over `types`.
pub(crate) fn parse(context: &Context<'_>, types: &[&str], text: &str) -> Result<Clause, Refusal> {
    let filter = filter::parse(text).map_err(|error| match error.kind {
        ErrorKind::Expected(_) => Refusal::invalid(format!("_filter: {error}")),
        ErrorKind::TooDeep | ErrorKind::TooMany => {
            Refusal::too_costly(format!("_filter has {error}"))
        }
    })?;
    let mut parser = Parser::new(context);
    if let [resource_type] = types {
        return parser.filter(resource_type, &filter, None, 0);
    }
    let by_type = types
        .iter()
        .map(|name| Ok(((*name).to_owned(), parser.filter(name, &filter, None, 0)?)))
        .collect::<Result<_, Refusal>>()?;
    Ok(Clause::ByType(ChainedClause { by_type }))
}

/// The element that is looked at alone.
type Within<'a> = Option<&'a SearchParameter>;

impl Parser<'_> {
    fn filter(
        &mut self,
        resource_type: &str,
        filter: &Filter,
        within: Within<'_>,
        depth: usize,
    ) -> Result<Clause, Refusal> {
        let mut all = |parts: &[Filter]| {
            parts
                .iter()
                .map(|part| self.filter(resource_type, part, within, depth))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Filter::All(parts) => Clause::All(all(parts)?),
            Filter::Any(parts) => Clause::Any(all(parts)?),
            Filter::Not(inner) => Clause::Not(Box::new(self.filter(
                resource_type,
                inner,
                within,
                depth,
            )?)),
            Filter::Test(test) => {
                let (test, of_whole_set) = positive(test)?;
                let clause = self.path(resource_type, &test, 0, within, depth)?;
                match of_whole_set {
                    true => Clause::Not(Box::new(clause)),
                    false => clause,
                }
            }
        })
    }

    /// What stands from the link at `index` on.
    fn path(
        &mut self,
        resource_type: &str,
        test: &Test,
        index: usize,
        within: Within<'_>,
        depth: usize,
    ) -> Result<Clause, Refusal> {
        let link = &test.path[index];
        let here = |refusal| at(refusal, link.at);
        self.count(depth).map_err(here)?;
        let leaves = || {
            here(Refusal::unknown(
                "a chain cannot go on within an element in brackets",
            ))
        };
        match &link.step {
            Step::Has { .. } if within.is_some() => Err(leaves()),
            Step::Has { source, code } => {
                let parameter = self.referrer(resource_type, source, code).map_err(here)?;
                let clause = self.path(source, test, index + 1, None, depth + 1)?;
                Ok(Clause::Has {
                    parameter,
                    clause: Box::new(clause),
                })
            }
            Step::Name { code, target, .. } if index + 1 == test.path.len() => self.test(
                resource_type,
                code,
                target.as_deref(),
                test,
                within,
                link.at,
            ),
            Step::Name {
                code,
                target,
                filter,
            } => {
                let parameter = parameter(self.context.definitions, resource_type, code)
                    .and_then(|parameter| inside(parameter, within))
                    .map_err(here)?;
                if parameter.kind != ParameterType::Reference {
                    if target.is_some() {
                        return Err(here(no_type(&parameter)));
                    }
                    let Some(filter) = filter else {
                        return Err(here(Refusal::unknown(format!(
                            "{} is no reference: nothing can be chained to it",
                            parameter.code
                        ))));
                    };
                    let outer = Some(&*parameter);
                    let bound = self.filter(resource_type, filter, outer, depth + 1)?;
                    let rest = self.path(resource_type, test, index + 1, outer, depth + 1)?;
                    return Ok(Clause::Element {
                        clause: Box::new(Clause::All(vec![bound, rest])),
                        parameter,
                    });
                }
                if within.is_some() {
                    return Err(leaves());
                }
                let next = match test.path.get(index + 1).map(|link| &link.step) {
                    Some(Step::Name { code, .. }) => code.as_str(),
                    _ => "_has",
                };
                let definitions = self.context.definitions;
                let types = chained_types(definitions, &parameter, target.as_deref(), next)
                    .map_err(here)?;
                let clause = self.chained(&types, filter.as_deref(), test, index + 1, depth + 1)?;
                Ok(Clause::Chain {
                    types: clause
                        .by_type
                        .iter()
                        .map(|(name, _)| name.clone())
                        .collect(),
                    parameter,
                    clause: Box::new(clause),
                })
            }
        }
    }

    /// The filter in brackets and the rest of the path, in each type that understands both.
    fn chained(
        &mut self,
        types: &[String],
        filter: Option<&Filter>,
        test: &Test,
        index: usize,
        depth: usize,
    ) -> Result<ChainedClause, Refusal> {
        let mut by_type = Vec::new();
        let mut unknown = None;
        for name in types {
            let bound = filter.map(|filter| self.filter(name, filter, None, depth));
            let clause = bound.transpose().and_then(|bound| {
                let rest = self.path(name, test, index, None, depth)?;
                Ok(match bound {
                    Some(bound) => Clause::All(vec![bound, rest]),
                    None => rest,
                })
            });
            match clause {
                Ok(clause) => by_type.push((name.clone(), clause)),
                Err(Refusal::Unknown(issue)) => {
                    unknown.get_or_insert(issue);
                }
                Err(invalid) => return Err(invalid),
            }
        }
        match unknown {
            Some(issue) if by_type.is_empty() => Err(Refusal::Unknown(issue)),
            _ => Ok(ChainedClause { by_type }),
        }
    }

    /// `name operator value`.
    fn test(
        &mut self,
        resource_type: &str,
        code: &str,
        leads_to: Option<&str>,
        test: &Test,
        within: Within<'_>,
        name_at: usize,
    ) -> Result<Clause, Refusal> {
        let definitions = self.context.definitions;
        let not_applicable = |kind: &str| {
            at(
                Refusal::unknown(format!(
                    "the operator {} cannot be used on {kind} {}",
                    test.operator.name(),
                    shown(code)
                )),
                test.operator_at,
            )
        };
        let plain = within.is_none() && leads_to.is_none();
        match code {
            "_id" | "id" if plain => return id(test).ok_or_else(|| not_applicable("the id")),
            "_lastUpdated" if plain => {
                if test.operator == Operator::Pr {
                    return Ok(Clause::All(Vec::new()));
                }
                let prefix = of_date(test.operator).ok_or_else(|| not_applicable("the date"))?;
                let date = dated(self.context, code, prefix, test)?;
                return Ok(Clause::LastUpdated(vec![date]));
            }
            _ => {}
        }
        let parameter = parameter(definitions, resource_type, code)
            .and_then(|parameter| inside(parameter, within))
            .and_then(|parameter| supported(&parameter).map(|()| parameter))
            .and_then(|parameter| match leads_to {
                Some(name) if parameter.kind == ParameterType::Reference => {
                    target(definitions, &parameter, name).map(|_| parameter)
                }
                Some(_) => Err(no_type(&parameter)),
                None => Ok(parameter),
            })
            .map_err(|refusal| at(refusal, name_at))?;
        if test.operator == Operator::Pr {
            return match parameter.kind {
                ParameterType::Composite => Err(not_applicable("the composite")),
                _ => Ok(present(&parameter)),
            };
        }
        let asked = Asked {
            parser: self,
            parameter: &parameter,
            target: leads_to,
            test,
        };
        let clause = match parameter.kind {
            ParameterType::String => asked.string(),
            ParameterType::Number | ParameterType::Quantity | ParameterType::Date => {
                asked.ordered()
            }
            ParameterType::Token => asked.token(),
            ParameterType::Reference => asked.reference(),
            ParameterType::Uri => asked.uri(),
            ParameterType::Composite => asked.composite(),
            ParameterType::Special | ParameterType::Resource => Ok(None),
        };
        clause
            .map_err(|refusal| at(refusal, test.value_at))?
            .ok_or_else(|| not_applicable(kind_name(parameter.kind)))
    }
}

/// One test of one parameter.
struct Asked<'a> {
    parser: &'a Parser<'a>,
    parameter: &'a Arc<SearchParameter>,
    target: Option<&'a str>,
    test: &'a Test,
}

/// `None` where the operator does not fit the type.
type Understood = Result<Option<Clause>, Refusal>;

impl Asked<'_> {
    fn string(&self) -> Understood {
        let comparison = match self.test.operator {
            Operator::Co | Operator::Sw => None,
            Operator::Eq => Some(TextComparison::Equal),
            Operator::Ne => Some(TextComparison::Unequal),
            Operator::Ew => Some(TextComparison::EndsWith),
            Operator::Gt => Some(TextComparison::Greater),
            Operator::Lt => Some(TextComparison::Less),
            Operator::Ge => Some(TextComparison::GreaterOrEqual),
            Operator::Le => Some(TextComparison::LessOrEqual),
            _ => return Ok(None),
        };
        let modifier = match self.test.operator {
            Operator::Co => modifier(self.parameter, "contains")?,
            _ => Modifier::None,
        };
        let text = &self.test.value;
        let normal = normalise(text);
        if normal.is_empty() {
            return Err(Refusal::invalid("the value is empty"));
        }
        if text.chars().count() >= STRING_MAX || normal.chars().count() >= STRING_MAX {
            return Err(Refusal::Invalid(Issue::error(
                IssueKind::SearchValueTooLong,
                format!("the value has {STRING_MAX} characters or more"),
            )));
        }
        let value = match comparison {
            None => ValueMatch::String(normal),
            Some(comparison) => ValueMatch::Text {
                comparison,
                text: normal,
            },
        };
        Ok(Some(self.param(modifier, value)))
    }

    fn ordered(&self) -> Understood {
        let kind = self.parameter.kind;
        let prefix = match of_date(self.test.operator) {
            Some(Prefix::Co) if kind == ParameterType::Quantity => None,
            _ if self.test.operator == Operator::Po && kind != ParameterType::Date => None,
            prefix => prefix,
        };
        let Some(prefix) = prefix else {
            return Ok(None);
        };
        let comparators = &self.parameter.comparators;
        let name = self.test.operator.name();
        let is_own = matches!(self.test.operator, Operator::Co | Operator::Po);
        if !is_own && !comparators.is_empty() && !comparators.iter().any(|known| known == name) {
            return Ok(None);
        }
        let value = match kind {
            ParameterType::Date => {
                let context = self.parser.context;
                ValueMatch::Date(dated(context, &self.parameter.code, prefix, self.test)?)
            }
            _ => {
                let mut value = self.read(Modifier::None, &self.exact()?)?;
                if let ValueMatch::Number(number) | ValueMatch::Quantity { number, .. } = &mut value
                {
                    *number = NumberMatch {
                        prefix,
                        value: number.value.clone(),
                    };
                }
                value
            }
        };
        Ok(Some(self.param(Modifier::None, value)))
    }

    fn token(&self) -> Understood {
        let modifier = match self.test.operator {
            Operator::Eq | Operator::Ne => Modifier::None,
            Operator::Ss => modifier(self.parameter, "below")?,
            Operator::Sb => modifier(self.parameter, "above")?,
            Operator::In => modifier(self.parameter, "in")?,
            _ => return Ok(None),
        };
        let value = match modifier {
            Modifier::In => self.test.value.clone(),
            _ => with_system(&self.test.value),
        };
        let clause = self
            .parser
            .param(self.parameter, modifier, self.target, &[&value])?;
        Ok(Some(self.unless_equal(clause)))
    }

    fn reference(&self) -> Understood {
        if self.test.operator != Operator::Re {
            return Ok(None);
        }
        let value = self.read(Modifier::None, &self.test.value)?;
        Ok(Some(self.param(Modifier::None, value)))
    }

    fn uri(&self) -> Understood {
        let modifier = match self.test.operator {
            Operator::Eq | Operator::Ne => Modifier::None,
            Operator::Co => modifier(self.parameter, "contains")?,
            _ => return Ok(None),
        };
        let value = ValueMatch::Uri(self.test.value.clone());
        Ok(Some(self.unless_equal(self.param(modifier, value))))
    }

    fn composite(&self) -> Understood {
        if !matches!(self.test.operator, Operator::Eq | Operator::Ne) {
            return Ok(None);
        }
        let mut parts = value::split(&self.test.value, '$');
        let named = value::split(&self.test.value, ',');
        if named.len() == self.parameter.components.len() {
            let values: Option<Vec<&str>> = named.iter().map(|part| named_part(part)).collect();
            parts = values.unwrap_or(parts);
        }
        let parts: Vec<String> = parts.into_iter().map(with_system).collect();
        let value = self.read(Modifier::None, &parts.join("$"))?;
        let clause = self.param(Modifier::None, value);
        Ok(Some(self.unless_equal(clause)))
    }

    /// For `ne`: some element is there, and is not equal.
    fn unless_equal(&self, clause: Clause) -> Clause {
        if self.test.operator != Operator::Ne {
            return clause;
        }
        let not = Clause::Not(Box::new(clause));
        let one = |program: &fhirpath::PathProgram| program.at_most_one();
        match self.parameter.program.as_ref().is_some_and(one) {
            true => Clause::All(vec![present(self.parameter), not]),
            false => Clause::Element {
                parameter: Arc::clone(self.parameter),
                clause: Box::new(not),
            },
        }
    }

    fn read(&self, modifier: Modifier, text: &str) -> Result<ValueMatch, Refusal> {
        self.parser
            .value(self.parameter, modifier, self.target, text)
    }

    /// The value of a number or quantity, which has no prefix: the operator is one.
    fn exact(&self) -> Result<String, Refusal> {
        without_prefix(self.test)?;
        Ok(with_unit_system(&self.test.value))
    }

    fn param(&self, modifier: Modifier, value: ValueMatch) -> Clause {
        Clause::Param {
            parameter: Arc::clone(self.parameter),
            modifier,
            values: vec![value],
        }
    }
}

/// What asks of the whole set of values is the contrary of what asks of one: the test to negate, and whether to.
fn positive(test: &Test) -> Result<(Test, bool), Refusal> {
    let positive = |operator, value: &str| Test {
        operator,
        value: value.to_owned(),
        ..test.clone()
    };
    match (test.operator, test.value.as_str()) {
        (Operator::Ni, value) => Ok((positive(Operator::In, value), true)),
        (Operator::Pr, "false") => Ok((positive(Operator::Pr, "true"), true)),
        (Operator::Pr, value) if value != "true" => Err(at(
            Refusal::invalid("true or false is expected"),
            test.value_at,
        )),
        _ => Ok((test.clone(), false)),
    }
}

fn present(parameter: &Arc<SearchParameter>) -> Clause {
    Clause::Missing {
        parameter: Arc::clone(parameter),
        missing: false,
    }
}

fn id(test: &Test) -> Option<Clause> {
    let clause = Clause::Id(vec![test.value.clone()]);
    match test.operator {
        Operator::Eq => Some(clause),
        Operator::Ne => Some(Clause::Not(Box::new(clause))),
        Operator::Pr => Some(Clause::All(Vec::new())),
        _ => None,
    }
}

/// The prefix that the operator is.
fn of_date(operator: Operator) -> Option<Prefix> {
    Some(match operator {
        Operator::Eq => Prefix::Eq,
        Operator::Ne => Prefix::Ne,
        Operator::Gt => Prefix::Gt,
        Operator::Lt => Prefix::Lt,
        Operator::Ge => Prefix::Ge,
        Operator::Le => Prefix::Le,
        Operator::Sa => Prefix::Sa,
        Operator::Eb => Prefix::Eb,
        // What `ap` widens `po` does not.
        Operator::Ap | Operator::Po => Prefix::Ap,
        Operator::Co => Prefix::Co,
        _ => return None,
    })
}

fn dated(
    context: &Context<'_>,
    code: &str,
    prefix: Prefix,
    test: &Test,
) -> Result<DateMatch, Refusal> {
    let read = || {
        without_prefix(test)?;
        let written = match test.operator {
            Operator::Ap => format!("ap{}", test.value),
            _ => test.value.clone(),
        };
        let date = value::date(context, code, &[], &written)?;
        Ok(DateMatch {
            prefix,
            range: date.range,
        })
    };
    read().map_err(|refusal| at(refusal, test.value_at))
}

fn without_prefix(test: &Test) -> Result<(), Refusal> {
    match test.value.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => Err(Refusal::invalid(
            "the value begins with a letter; the operator says how to compare",
        )),
        false => Ok(()),
    }
}

/// What follows the `$` of `name$value`.
fn named_part(part: &str) -> Option<&str> {
    let (name, rest) = part.split_once('$')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (is_name && name.as_bytes()[0].is_ascii_alphabetic()).then_some(rest)
}

/// The systems with short names.
const SYSTEMS: [(&str, &str); 4] = [
    ("loinc", "http://loinc.org"),
    ("snomed", "http://snomed.info/sct"),
    ("rxnorm", "http://www.nlm.nih.gov/research/umls/rxnorm"),
    ("ucum", "http://unitsofmeasure.org"),
];

fn system(name: &str) -> &str {
    let found = SYSTEMS.iter().find(|(short, _)| *short == name);
    found.map_or(name, |(_, system)| system)
}

/// `system|…` with a short system written out; of a number the system stands second.
fn with_system(text: &str) -> String {
    match text.split_once('|') {
        Some((first, rest)) if system(first) != first => format!("{}|{rest}", system(first)),
        _ => with_unit_system(text),
    }
}

fn with_unit_system(text: &str) -> String {
    let mut parts = text.splitn(3, '|');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(number), Some(name), Some(code)) => format!("{number}|{}|{code}", system(name)),
        _ => text.to_owned(),
    }
}

/// The parameter, if its elements can be in those that are looked at alone.
fn inside(
    parameter: Arc<SearchParameter>,
    within: Within<'_>,
) -> Result<Arc<SearchParameter>, Refusal> {
    let Some(outer) = within else {
        return Ok(parameter);
    };
    let programs = parameter.program.as_ref().zip(outer.program.as_ref());
    match programs.is_some_and(|(inner, outer)| inner.selects_within(outer)) {
        true => Ok(parameter),
        false => Err(Refusal::unknown(format!(
            "the elements of {} are not in those of {}",
            parameter.code, outer.code
        ))),
    }
}

fn no_type(parameter: &SearchParameter) -> Refusal {
    Refusal::unknown(format!(
        "{} is no reference: it takes no type",
        parameter.code
    ))
}

/// Says where.
fn at(refusal: Refusal, character: usize) -> Refusal {
    let located = |issue: Issue| match issue.diagnostics.ends_with(" of _filter)") {
        true => issue,
        false => Issue {
            diagnostics: format!("{} (character {character} of _filter)", issue.diagnostics),
            ..issue
        },
    };
    match refusal {
        Refusal::Unknown(issue) => Refusal::Unknown(located(issue)),
        Refusal::Invalid(issue) => Refusal::Invalid(located(issue)),
    }
}

fn kind_name(kind: ParameterType) -> &'static str {
    match kind {
        ParameterType::Number => "the number",
        ParameterType::Date => "the date",
        ParameterType::String => "the string",
        ParameterType::Token => "the token",
        ParameterType::Reference => "the reference",
        ParameterType::Composite => "the composite",
        ParameterType::Quantity => "the quantity",
        ParameterType::Uri => "the uri",
        ParameterType::Special | ParameterType::Resource => "the special parameter",
    }
}
