//! What one test of a `_filter` asks of a parameter, by the type of the parameter (<https://hl7.org/fhir/R5/search_filter.html#ops>): the operator and
//! the value as a clause. The readings are listed in [`crate::filter_clause`].

use crate::document::STRING_MAX;
use crate::filter::{Operator, Test};
use crate::filter_clause::{at, present};
use crate::parse::{Context, Refusal};
use crate::parse_clause::{Parser, modifier};
use crate::parse_value as value;
use crate::query::{Clause, DateMatch, Modifier, NumberMatch, Prefix, TextComparison, ValueMatch};
use crate::string::normalise;
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind};
use std::sync::Arc;

/// One test of one parameter.
pub(crate) struct Asked<'a> {
    pub parser: &'a Parser<'a>,
    pub parameter: &'a Arc<SearchParameter>,
    pub target: Option<&'a str>,
    pub test: &'a Test,
}

/// `None` where the operator does not fit the type.
pub(crate) type Understood = Result<Option<Clause>, Refusal>;

impl Asked<'_> {
    pub(crate) fn clause(&self) -> Understood {
        match self.parameter.kind {
            ParameterType::String => self.string(),
            ParameterType::Number | ParameterType::Quantity | ParameterType::Date => self.ordered(),
            ParameterType::Token => self.token(),
            ParameterType::Reference => self.reference(),
            ParameterType::Uri => self.uri(),
            ParameterType::Composite => self.composite(),
            ParameterType::Special | ParameterType::Resource => Ok(None),
        }
    }

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

/// The prefix that the operator is.
pub(crate) fn of_date(operator: Operator) -> Option<Prefix> {
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

pub(crate) fn dated(
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

/// The type, for a message.
pub(crate) fn kind_name(kind: ParameterType) -> &'static str {
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
