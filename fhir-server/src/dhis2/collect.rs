//! The events of an indicator from one database snapshot: a search to its end, and the resources its matches refer to.

use super::error::Dhis2Error;
use super::event::{Event, Reader, Reading, Related};
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::Handling;
use fhir_search::parse::Context;
use fhir_storage::{Page, Snapshot};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most events of an indicator in a period; they are held in memory, about 300 bytes each.
const EVENTS_MAX: usize = 1_000_000;
/// Related resources kept from page to page. A page of matches needs a few thousand at the most.
const RELATED_MAX: usize = 20_000;
/// Related resources read at a time.
const IDS_MAX: usize = 200;

/// Every event of the period.
///
/// # Errors
/// Database errors; more events than fit.
pub async fn collect(
    snapshot: &mut Snapshot,
    reader: &Reader<'_>,
) -> Result<Vec<Event>, Dhis2Error> {
    let query = reader
        .indicator
        .query(reader.definitions, reader.period)
        .map_err(Dhis2Error::Refused)?;
    let mut events = Vec::new();
    let mut related = Related::new();
    let mut at = Page::First;
    loop {
        let page = snapshot.search(&query, at).await?;
        let mut waiting = page
            .matches
            .iter()
            .map(|found| parse(&found.body, &found.key))
            .collect::<Result<Vec<_>, _>>()?;
        if related.len() > RELATED_MAX {
            related.clear();
        }
        // Each round reads what the last one found to be missing; a chain of references has few links.
        while !waiting.is_empty() {
            let mut missing = BTreeSet::new();
            waiting.retain(|resource| match reader.read(resource, &related) {
                Reading::Event(event) => {
                    events.push(event);
                    false
                }
                Reading::Outside => false,
                Reading::Needs(keys) => {
                    missing.extend(keys);
                    true
                }
            });
            read_related(snapshot, reader, missing, &mut related).await?;
        }
        if events.len() > EVENTS_MAX {
            return Err(Dhis2Error::TooManyEvents(EVENTS_MAX));
        }
        let Some(next) = page.next else {
            return Ok(events);
        };
        at = Page::After(next);
    }
}

/// Calls `visit` with every match of a search over one type.
///
/// # Errors
/// Database errors.
pub async fn each(
    snapshot: &mut Snapshot,
    definitions: &Definitions,
    resource_type: &str,
    parameter: (&str, String),
    mut visit: impl FnMut(ResourceKey, Value),
) -> Result<(), Dhis2Error> {
    let context = Context {
        definitions,
        terminology: None,
        base: None,
        handling: Handling::Strict,
        count_default: IDS_MAX,
        count_max: IDS_MAX,
        now_micros: 0,
    };
    let parameters = [
        (parameter.0.to_string(), parameter.1),
        ("_total".to_string(), "none".to_string()),
    ];
    let query =
        fhir_search::parse(&context, &[resource_type], &parameters).map_err(Dhis2Error::Refused)?;
    let mut at = Page::First;
    loop {
        let page = snapshot.search(&query, at).await?;
        for found in page.matches {
            let resource = parse(&found.body, &found.key)?;
            visit(found.key, resource);
        }
        let Some(next) = page.next else { return Ok(()) };
        at = Page::After(next);
    }
}

/// Adds these resources to `related`; what is not there, or of a type the server does not have, as `None`.
async fn read_related(
    snapshot: &mut Snapshot,
    reader: &Reader<'_>,
    keys: BTreeSet<ResourceKey>,
    related: &mut Related,
) -> Result<(), Dhis2Error> {
    let mut by_type: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in keys {
        by_type
            .entry(key.resource_type.clone())
            .or_default()
            .push(key.id.clone());
        related.insert(key, None);
    }
    for (resource_type, ids) in by_type {
        if reader.definitions.type_number(&resource_type).is_none() {
            continue;
        }
        for ids in ids.chunks(IDS_MAX) {
            each(
                snapshot,
                reader.definitions,
                &resource_type,
                ("_id", ids.join(",")),
                |key, resource| {
                    related.insert(key, Some(resource));
                },
            )
            .await?;
        }
    }
    Ok(())
}

fn parse(body: &str, key: &ResourceKey) -> Result<Value, Dhis2Error> {
    serde_json::from_str(body).map_err(|_| Dhis2Error::Body(key.clone()))
}
