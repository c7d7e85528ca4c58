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

use crate::filter::{self, ErrorKind, Filter, Operator, Step, Test};
use crate::filter_test::{Asked, dated, kind_name, of_date};
use crate::parse::{Context, Refusal};
use crate::parse_clause::{Parser, chained_types, each_type, parameter, supported, target};
use crate::parse_value::shown;
use crate::query::{ChainedClause, Clause};
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::Issue;
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
        each_type(types, |name| {
            let bound = filter.map(|filter| self.filter(name, filter, None, depth));
            let bound = bound.transpose()?;
            let rest = self.path(name, test, index, None, depth)?;
            Ok(match bound {
                Some(bound) => Clause::All(vec![bound, rest]),
                None => rest,
            })
        })
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
        if within.is_some() && matches!(code, "_id" | "id" | "_lastUpdated") {
            let reason = format!("an element in brackets has no {code} of its own");
            return Err(at(Refusal::unknown(reason), name_at));
        }
        let plain = leads_to.is_none();
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
        asked
            .clause()
            .map_err(|refusal| at(refusal, test.value_at))?
            .ok_or_else(|| not_applicable(kind_name(parameter.kind)))
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

pub(crate) fn present(parameter: &Arc<SearchParameter>) -> Clause {
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
pub(crate) fn at(refusal: Refusal, character: usize) -> Refusal {
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
