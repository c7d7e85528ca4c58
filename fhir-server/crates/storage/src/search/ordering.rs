//! Sort keys as columns: an index that can be walked where there is one, else a value that is looked up for each match. Pure.

use super::flat::{Column, Found, FoundValue, Order, StoredText, TextForm};
use super::resolve::type_number;
use crate::Error;
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use fhir_model::{Issue, IssueKind};
use fhir_search::Query;
use fhir_search::parse_sort::{Family, stored_texts};
use fhir_search::query::{SortBy, SortKey};
use fhir_search::token::STORED;
use std::sync::Arc;

/// The order of the query, and what its [`Column::Found`] name.
pub(super) fn of(
    definitions: &Definitions,
    query: &Query,
) -> Result<(Vec<Order>, Vec<Found>), Error> {
    if query.sort.is_empty() {
        return Ok((vec![Order::new(Column::Updated, true)], Vec::new()));
    }
    let mut order = Vec::with_capacity(query.sort.len());
    let mut found = Vec::new();
    for SortKey { by, descending } in &query.sort {
        let column = match indexed(by, &query.types) {
            Some(column) => column,
            None => {
                found.push(looked_up(definitions, by)?);
                Column::Found(found.len() - 1)
            }
        };
        order.push(Order::new(column, *descending));
    }
    Ok((order, found))
}

fn indexed(by: &SortBy, types: &[String]) -> Option<Column> {
    let parameter = match by {
        SortBy::LastUpdated => return Some(Column::Updated),
        SortBy::Id => return Some(Column::Id),
        SortBy::Parameter(parameters) => match parameters.as_slice() {
            [parameter] if types == [parameter.resource_type.as_str()] => parameter,
            _ => return None,
        },
        SortBy::Chain { .. } | SortBy::Score => return None,
    };
    let mut keys = parameter.keys();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return None;
    };
    let (key, present) = (key.0, STORED.present(key));
    match parameter.kind {
        ParameterType::Date => Some(Column::Date { key, present }),
        ParameterType::String => {
            let rows = parameter.string_rows().next()?;
            Some(Column::String { rows, present })
        }
        ParameterType::Number | ParameterType::Quantity => Some(Column::Number { key }),
        _ => None,
    }
}

fn looked_up(definitions: &Definitions, by: &SortBy) -> Result<Found, Error> {
    let mut links = Vec::new();
    let mut types = Vec::new();
    let mut last = by;
    while let SortBy::Chain {
        parameters,
        types: targets,
        by,
    } = last
    {
        links.push(keys(parameters));
        types = targets
            .iter()
            .map(|name| type_number(definitions, name))
            .collect::<Result<_, _>>()?;
        last = by;
    }
    let value = match last {
        SortBy::LastUpdated => FoundValue::Updated,
        SortBy::Id => FoundValue::Ids,
        SortBy::Score => FoundValue::Scores,
        SortBy::Parameter(parameters) => of_parameters(definitions, parameters)?,
        SortBy::Chain { .. } => return Err(unordered(&[]).into()),
    };
    Ok(Found {
        links,
        types,
        value,
    })
}

fn of_parameters(
    definitions: &Definitions,
    parameters: &[Arc<SearchParameter>],
) -> Result<FoundValue, Error> {
    let family = parameters
        .first()
        .and_then(|parameter| Family::of(parameter.kind));
    Ok(match family {
        Some(Family::Date) => FoundValue::Dates(keys(parameters)),
        Some(Family::Number) => FoundValue::Numbers(keys(parameters)),
        Some(Family::String) => {
            let all = parameters.iter().flat_map(|it| it.string_rows());
            FoundValue::Strings(all.collect())
        }
        Some(Family::Text) => {
            let mut texts = Vec::new();
            for parameter in parameters {
                let type_number = type_number(definitions, &parameter.resource_type)?;
                let form = match parameter.kind {
                    ParameterType::Token => TextForm::Code,
                    ParameterType::Reference => TextForm::Reference,
                    _ => TextForm::AsWritten,
                };
                let paths = stored_texts(parameter).ok_or_else(|| unordered(parameters))?;
                texts.extend(paths.into_iter().map(|path| StoredText {
                    type_number,
                    path,
                    form,
                }));
            }
            FoundValue::Texts(texts)
        }
        None => return Err(unordered(parameters).into()),
    })
}

fn keys(parameters: &[Arc<SearchParameter>]) -> Vec<i16> {
    let keys = parameters.iter().flat_map(|parameter| parameter.keys());
    keys.map(|key| key.0).collect()
}

/// The parser lets none of these through.
fn unordered(parameters: &[Arc<SearchParameter>]) -> Issue {
    let code = parameters.first().map_or("", |parameter| &parameter.code);
    Issue::error(
        IssueKind::NotSupported,
        format!("results cannot be sorted by {code}"),
    )
}
