//! `_sort` (<https://hl7.org/fhir/R5/search.html#_sort>): whether an answer is in the order asked for.
//!
//! Readings: of several values the least counts ascending, the greatest descending; what has no value comes last in both directions; dates go by
//! their start; quantities by number alone; strings by their plain form, code point by code point. The order among equals is the engine's.

use crate::{Resource, Unknown, World, measure, text, time};
use bigdecimal::BigDecimal;
use fhir_definitions::ParameterType;
use fhir_search::Query;
use fhir_search::query::{SortBy, SortKey};
use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// A time; without a start it is before all.
    Time(Option<i64>),
    Number(Option<BigDecimal>),
    Text(String),
}

/// The first place where `answer` is out of the order that the query asks for.
///
/// # Errors
/// [`Unknown`] for sort keys that are not interpreted here.
pub fn sorted(
    world: &World<'_>,
    query: &Query,
    answer: &[&Resource],
) -> Result<Option<usize>, Unknown> {
    let by_default = [SortKey {
        by: SortBy::LastUpdated,
        descending: true,
    }];
    let keys: &[SortKey] = match query.sort.is_empty() {
        true => &by_default,
        false => &query.sort,
    };
    for (place, pair) in answer.windows(2).enumerate() {
        for key in keys {
            match order(world, key, pair[0], pair[1])? {
                Ordering::Less => break,
                Ordering::Equal => {}
                Ordering::Greater => return Ok(Some(place)),
            }
        }
    }
    Ok(None)
}

fn order(
    world: &World<'_>,
    key: &SortKey,
    a: &Resource,
    b: &Resource,
) -> Result<Ordering, Unknown> {
    let (a, b) = (value(world, key, a)?, value(world, key, b)?);
    Ok(match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) if key.descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
    })
}

fn value(world: &World<'_>, key: &SortKey, resource: &Resource) -> Result<Option<Value>, Unknown> {
    let parameter = match &key.by {
        SortBy::LastUpdated => return Ok(Some(Value::Time(Some(resource.updated_ms)))),
        SortBy::Id => return Ok(Some(Value::Text(resource.key.id.clone()))),
        SortBy::Parameter(parameter) => parameter,
        #[expect(
            unreachable_patterns,
            reason = "what the AST gains later is not interpreted yet"
        )]
        other => return Err(Unknown(format!("{other:?}"))),
    };
    let mut values = Vec::new();
    for element in world.elements(parameter, resource).iter() {
        match parameter.kind {
            ParameterType::Date => {
                values.extend(time::span(element).map(|span| Value::Time(span.from)));
            }
            ParameterType::String => {
                let texts = text::strings(element).into_iter();
                values.extend(texts.map(|text| Value::Text(text::plain(&text))));
            }
            ParameterType::Number | ParameterType::Quantity => {
                values.extend(measure::measure(element).map(|found| Value::Number(found.low)));
            }
            kind => return Err(Unknown(format!("a sort by {kind:?}"))),
        }
    }
    values.sort();
    Ok(match key.descending {
        true => values.pop(),
        false => values.into_iter().next(),
    })
}
