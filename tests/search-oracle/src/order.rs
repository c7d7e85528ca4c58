//! `_sort` (<https://hl7.org/fhir/R5/search.html#_sort>): whether an answer is in the order asked for.
//!
//! Readings: of several values the least counts ascending, the greatest descending; what has no value comes last in both directions. Dates go by
//! their start; quantities in base units (g, m, s), what is in no unit of UCUM as it is written, and one below a limit (`<5`) by the limit; strings by their plain form, of family names each word too;
//! tokens by their codes in small letters; references by type and id, contained ones by none; all texts code point by code point. A key behind references does not follow canonicals. The order among equals is the engine's.

use crate::elements::Element;
use crate::{Found, Resource, Unknown, World, measure, reference, text, time, token};
use bigdecimal::BigDecimal;
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_search::Query;
use fhir_search::query::{SortBy, SortKey};
use std::cmp::Ordering;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// A time; without a start it is before all.
    Time(Option<i64>),
    Number(BigDecimal),
    Text(String),
}

/// The first place where `answer` is out of the order that the query asks for.
///
/// # Errors
/// [`Unknown`] for sort keys that are not interpreted here.
pub fn sorted(
    world: &World<'_>,
    query: &Query,
    answer: &[&Found<'_>],
) -> Result<Option<usize>, Unknown> {
    let by_default = [SortKey {
        by: SortBy::LastUpdated,
        descending: true,
    }];
    let keys: &[SortKey] = match query.sort.is_empty() {
        true => &by_default,
        false => &query.sort,
    };
    let places = answer
        .iter()
        .map(|found| place(world, keys, found))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pairs = places.windows(2);
    Ok(pairs.position(|pair| order(keys, &pair[0], &pair[1]).is_gt()))
}

/// A value for each key.
type Place = Vec<Option<Value>>;

/// The first that one of its hits has.
fn place(world: &World<'_>, keys: &[SortKey], found: &Found<'_>) -> Result<Place, Unknown> {
    let score = || Some(Value::Number(BigDecimal::try_from(found.score?).ok()?));
    let of_hit = |hit: &&Resource| {
        let values = keys.iter().map(|key| match key.by {
            SortBy::Score => Ok(score()),
            _ => value(world, key, hit),
        });
        values.collect()
    };
    let places = found.hits.iter().map(of_hit);
    let places = places.collect::<Result<Vec<Place>, _>>()?;
    let first = places.into_iter().min_by(|a, b| order(keys, a, b));
    Ok(first.unwrap_or_default())
}

fn order(keys: &[SortKey], a: &Place, b: &Place) -> Ordering {
    let both = keys.iter().zip(a.iter().zip(b));
    let mut orders = both.map(|(key, (a, b))| match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) if key.descending => b.cmp(a),
        (Some(a), Some(b)) => a.cmp(b),
    });
    let decides = orders.find(|order| order.is_ne());
    decides.unwrap_or(Ordering::Equal)
}

fn value(world: &World<'_>, key: &SortKey, resource: &Resource) -> Result<Option<Value>, Unknown> {
    let mut values = values(world, &key.by, resource)?;
    values.sort();
    Ok(match key.descending {
        true => values.pop(),
        false => values.into_iter().next(),
    })
}

fn values(world: &World<'_>, by: &SortBy, resource: &Resource) -> Result<Vec<Value>, Unknown> {
    let of_its_type = |parameters: &[Arc<SearchParameter>]| {
        let name = &resource.key.resource_type;
        parameters
            .iter()
            .find(|it| it.resource_type == *name)
            .cloned()
    };
    match by {
        SortBy::LastUpdated => Ok(vec![Value::Time(Some(resource.updated_ms))]),
        SortBy::Id => Ok(vec![Value::Text(resource.key.id.clone())]),
        SortBy::Parameter(parameters) => {
            let Some(parameter) = of_its_type(parameters) else {
                return Ok(Vec::new());
            };
            let mut found = Vec::new();
            for element in world.elements(&parameter, resource).iter() {
                of_element(&parameter, element, &mut found)?;
            }
            Ok(found)
        }
        SortBy::Chain {
            parameters,
            types,
            by,
        } => {
            let Some(parameter) = of_its_type(parameters) else {
                return Ok(Vec::new());
            };
            let mut found = Vec::new();
            for key in world.direct_targets(&parameter, resource) {
                if let Some(target) = world.get(&key)
                    && types.contains(&key.resource_type)
                {
                    found.extend(values(world, by, target)?);
                }
            }
            Ok(found)
        }
        other => Err(Unknown(format!("{other:?}"))),
    }
}

fn of_element(
    parameter: &SearchParameter,
    element: &Element,
    found: &mut Vec<Value>,
) -> Result<(), Unknown> {
    match parameter.kind {
        ParameterType::Date => {
            found.extend(time::span(element).map(|span| Value::Time(span.from)));
        }
        ParameterType::String => {
            let whole = text::strings(element).into_iter();
            found.extend(whole.map(|text| Value::Text(text::plain(&text))));
            let words = text::later_words(&parameter.code, element);
            found.extend(words.into_iter().map(Value::Text));
        }
        ParameterType::Number | ParameterType::Quantity => {
            found.extend(
                measure::measure(element)
                    .and_then(measure::Measure::in_base_units)
                    .map(Value::Number),
            );
        }
        ParameterType::Token => {
            let codes = token::codes(element).into_iter().filter_map(|it| it.code);
            found.extend(codes.map(|code| Value::Text(code.to_ascii_lowercase())));
        }
        ParameterType::Uri => {
            found.extend(
                element
                    .value
                    .as_str()
                    .map(|uri| Value::Text(uri.to_owned())),
            );
        }
        ParameterType::Reference => {
            let text = reference::text(element).filter(|text| !text.starts_with('#'));
            found.extend(text.map(|text| Value::Text(resource_at_end(text))));
        }
        kind => return Err(Unknown(format!("a sort by {kind:?}"))),
    }
    Ok(())
}

/// `Type/id` at the end of the text, without a version; the text where there is none.
fn resource_at_end(text: &str) -> String {
    let plain = text
        .split_once("/_history/")
        .map_or(text, |(plain, _)| plain);
    let mut parts = plain.rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(id), Some(name))
            if name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.bytes().all(|b| b.is_ascii_alphabetic())
                && !id.is_empty() =>
        {
            format!("{name}/{id}")
        }
        _ => text.to_owned(),
    }
}
