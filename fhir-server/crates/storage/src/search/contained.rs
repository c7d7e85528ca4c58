//! `_contained` and `_containedType` (<https://hl7.org/fhir/R5/search.html#contained>): searches that look into resources.
//!
//! Which resources contain one of the type searched, a token tells; the rest is read ([`super::reading`]), and what is found is sorted here, with
//! what is found outside where both are asked for. A contained resource is meant by all conditions: `_id` is its id in the container, a chain goes to
//! its siblings, to the container and out, and `_lastUpdated` is the container's. As `_containedType=contained` asks, it is answered itself,
//! under its container's key with `#id`; else its container is, once, at the first place that one of its resources has in the order.
//! Includes go with whole resources alone. Refuses to sort by what only other resources tell.

use super::bodies::Row;
use super::chain::Reach;
use super::flat::Test;
use super::resolve::{self, Resolver};
use super::statistics::Statistics;
use super::{Page, SearchPage, bodies, include};
use crate::Error;
use crate::read::StoredResource;
use fhir_definitions::Definitions;
use fhir_model::{Decimal, Issue, IssueKind, ResourceKey};
use fhir_search::query::{Clause, Contained, ContainedType, SortBy, SortKey, Summary, Total};
use fhir_search::sort_value::SortValue;
use fhir_search::token::STORED;
use fhir_search::{Candidate, Query, contained};
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// What matches.
#[derive(Clone, Debug)]
struct Hit {
    place: Place,
    updated: i64,
    score: Option<f64>,
}

/// Where it stands in the order: its sort keys, its row, and which of the resources there it is: 0 for the whole, else the number of the
/// contained one.
#[derive(Clone, Debug)]
struct Place {
    values: Vec<Option<SortValue>>,
    pk: i64,
    within: usize,
}

/// A page of a search for contained resources, or for both.
pub(super) async fn page(
    connection: &mut PgConnection,
    definitions: &Definitions,
    statistics: &Statistics,
    query: &Query,
    at: &Page,
) -> Result<SearchPage, Error> {
    let sort = sort(query)?;
    let mut hits = match query.contained {
        Contained::Both => whole(connection, definitions, statistics, query, &sort).await?,
        _ => Vec::new(),
    };
    hits.extend(within(connection, definitions, statistics, query, &sort).await?);
    hits.sort_by(|one, other| compare(&one.place, &other.place, &sort));
    if query.contained_type == ContainedType::Container {
        let mut seen = HashSet::new();
        hits.retain(|hit| seen.insert(hit.place.pk));
        hits.iter_mut().for_each(|hit| hit.place.within = 0);
    }
    let after = match at {
        Page::First => None,
        Page::After(bytes) => Some(After::from_bytes(bytes, &sort)?),
    };
    let (horizon, total) = match &after {
        Some(after) => (after.horizon, after.total),
        None => (now(connection, &sort).await?, Some(hits.len() as u64)),
    };
    if query.count == 0 || query.summary == Summary::Count {
        return Ok(SearchPage {
            total,
            ..SearchPage::default()
        });
    }
    hits.truncate(match query.results_max {
        Some(most) => query.offset.saturating_add(most),
        None => usize::MAX,
    });
    match &after {
        Some(after) => hits.retain(|hit| {
            hit.updated < horizon && compare(&hit.place, &after.place, &sort).is_gt()
        }),
        None => {
            hits.drain(..query.offset.min(hits.len()));
        }
    }
    let more = hits.len() > query.count;
    hits.truncate(query.count);
    let next = hits.last().filter(|_| more).map(|last| {
        let place = last.place.clone();
        After {
            place,
            horizon,
            total,
        }
        .to_bytes()
    });
    let rows: Vec<i64> = hits.iter().map(|hit| hit.place.pk).collect();
    let rows = bodies::rows(connection, definitions, &rows).await?;
    let by_row = |row: &Row| Some((row.pk, row.resource.clone()));
    let stored: HashMap<i64, StoredResource> = rows.iter().filter_map(by_row).collect();
    let (matches, scores) = matches(&hits, &stored);
    let whole: HashSet<i64> = hits
        .iter()
        .filter(|hit| hit.place.within == 0)
        .map(|hit| hit.place.pk)
        .collect();
    let whole: Vec<Row> = rows
        .into_iter()
        .filter(|row| whole.contains(&row.pk))
        .collect();
    let (base, wanted) = (query.base.as_deref(), &query.includes);
    let includes = include::included(connection, definitions, base, wanted, &whole).await?;
    Ok(SearchPage {
        matches,
        includes,
        scores,
        total: total.filter(|_| query.total != Total::None),
        next,
        ..SearchPage::default()
    })
}

fn sort(query: &Query) -> Result<Vec<SortKey>, Error> {
    let chained = |key: &&SortKey| matches!(key.by, SortBy::Chain { .. });
    if query.sort.iter().any(|key| chained(&key)) {
        return Err(Error::Refused(vec![Issue::error(
            IssueKind::NotSupported,
            "a search with _contained cannot be sorted by what a reference leads to",
        )]));
    }
    let recent = SortKey {
        by: SortBy::LastUpdated,
        descending: true,
    };
    Ok(match query.sort.is_empty() {
        true => vec![recent],
        false => query.sort.clone(),
    })
}

/// The resources of their own that match.
async fn whole(
    connection: &mut PgConnection,
    definitions: &Definitions,
    statistics: &Statistics,
    query: &Query,
    sort: &[SortKey],
) -> Result<Vec<Hit>, Error> {
    let unsorted = Query {
        sort: Vec::new(),
        ..query.clone()
    };
    let reach = Reach::default();
    let flat = resolve::resolve(connection, definitions, statistics, &unsorted, reach).await?;
    let mut resolver = resolve::resolver(connection, definitions, statistics, query, reach).await?;
    resolver.scope = flat.filter;
    let (base, types) = (resolver.base, query.types.clone());
    let always = Test::All(Vec::new());
    let hits = resolver
        .judge(always, &types, |body, _| {
            let candidate = Candidate::read(definitions, &body.resource, base);
            let hit = candidate.map(|candidate| {
                let candidate = candidate.updated(body.updated);
                hit(&candidate, query, sort, body.pk, 0)
            });
            hit.map(|hit| (Some(true), hit)).into_iter().collect()
        })
        .await?;
    Ok(hits.into_iter().map(|(_, hit)| hit).collect())
}

/// The contained resources that match.
async fn within(
    connection: &mut PgConnection,
    definitions: &Definitions,
    statistics: &Statistics,
    query: &Query,
    sort: &[SortKey],
) -> Result<Vec<Hit>, Error> {
    let mut resolver: Resolver<'_> =
        resolve::resolver(connection, definitions, statistics, query, Reach::default()).await?;
    let types = definitions.resource_types().to_vec();
    resolver.scope_types.clone_from(&types);
    let of_types = query.types.iter().map(|name| STORED.contained(name));
    let mut all = vec![Test::Tokens(of_types.collect())];
    all.extend(query.filter.iter().filter_map(|clause| match clause {
        Clause::LastUpdated(dates) => Some(Test::Updated(dates.clone())),
        _ => None,
    }));
    let base = resolver.base;
    let hits = resolver
        .judge(Test::All(all), &types, |body, elsewhere| {
            let inside = contained::candidates(definitions, &body.resource, base, elsewhere);
            let mut found = Vec::new();
            for (number, candidate) in inside {
                let candidate = candidate.updated(body.updated);
                let verdict = candidate.matches(query);
                if verdict != Some(false) {
                    found.push((verdict, hit(&candidate, query, sort, body.pk, number + 1)));
                }
            }
            found
        })
        .await?;
    Ok(hits.into_iter().map(|(_, hit)| hit).collect())
}

fn hit(candidate: &Candidate<'_>, query: &Query, sort: &[SortKey], pk: i64, within: usize) -> Hit {
    let score = candidate.score(query);
    let value = |key: &SortKey| match key.by {
        SortBy::Score => score
            .and_then(|score| Decimal::parse(&score.to_string()))
            .map(SortValue::Number),
        _ => candidate.sort_value(key),
    };
    Hit {
        place: Place {
            values: sort.iter().map(value).collect(),
            pk,
            within,
        },
        updated: candidate.last_updated().map_or(i64::MIN, |range| range.lo),
        score,
    }
}

/// What has no value comes last in both directions, as in [`super::flat::Column`].
fn compare(one: &Place, other: &Place, sort: &[SortKey]) -> Ordering {
    let turned = |order: Ordering, descending: bool| match descending {
        true => order.reverse(),
        false => order,
    };
    for ((a, b), key) in one.values.iter().zip(&other.values).zip(sort) {
        let order = match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => turned(a.cmp(b), key.descending),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    let first = sort.first().is_some_and(|key| key.descending);
    turned(one.pk.cmp(&other.pk), first).then(one.within.cmp(&other.within))
}

/// Up to where a search that ascends by `_lastUpdated` goes.
async fn now(connection: &mut PgConnection, sort: &[SortKey]) -> Result<i64, Error> {
    let ascends = |key: &SortKey| matches!(key.by, SortBy::LastUpdated) && !key.descending;
    match sort.iter().any(ascends) {
        true => super::now(connection).await,
        false => Ok(i64::MAX),
    }
}

fn matches(
    hits: &[Hit],
    stored: &HashMap<i64, StoredResource>,
) -> (Vec<StoredResource>, HashMap<ResourceKey, f64>) {
    let (mut matches, mut scores) = (Vec::new(), HashMap::new());
    for hit in hits {
        let Some(whole) = stored.get(&hit.place.pk) else {
            continue;
        };
        let whole = whole.clone();
        let found = match hit.place.within {
            0 => Some(whole),
            number => inside(whole, number - 1),
        };
        if let (Some(found), Some(score)) = (&found, hit.score) {
            scores.insert(found.key.clone(), score);
        }
        matches.extend(found);
    }
    (matches, scores)
}

/// One that the resource contains, as a match of its own.
fn inside(container: StoredResource, number: usize) -> Option<StoredResource> {
    let resource: Value = serde_json::from_str(&container.body).ok()?;
    let (_, one) = contained::within(&resource).enumerate().nth(number)?;
    let id = one.get("id").and_then(Value::as_str).unwrap_or_default();
    Some(StoredResource {
        key: ResourceKey::new(
            container.key.resource_type,
            format!("{}#{id}", container.key.id),
        ),
        body: one.to_string(),
        ..container
    })
}

/// Where a page begins, in the form that [`super::keyset`] has.
struct After {
    place: Place,
    horizon: i64,
    total: Option<u64>,
}

/// Of the bytes' form.
const VERSION: &str = "contained 1";

impl After {
    fn to_bytes(&self) -> Vec<u8> {
        let values = self.place.values.iter().map(|value| match value {
            None => Value::Null,
            Some(SortValue::Time(micros)) => json!({"time": micros}),
            Some(SortValue::Number(number)) => json!({"number": number.to_plain()}),
            Some(SortValue::Text(text)) => json!({"text": text}),
        });
        let values: Vec<Value> = values.collect();
        let Place { pk, within, .. } = self.place;
        json!([VERSION, values, pk, within, self.horizon, self.total])
            .to_string()
            .into_bytes()
    }

    /// # Errors
    /// `Expired` when these are not the bytes of a page of this order.
    fn from_bytes(bytes: &[u8], sort: &[SortKey]) -> Result<After, Issue> {
        let expired = || {
            Issue::error(
                IssueKind::Expired,
                "this page is no longer served; start the search again",
            )
        };
        read(bytes)
            .filter(|after| after.place.values.len() == sort.len())
            .ok_or_else(expired)
    }
}

fn read(bytes: &[u8]) -> Option<After> {
    let parts: Vec<Value> = serde_json::from_slice(bytes).ok()?;
    let [version, values, pk, within, horizon, total] = parts.as_slice() else {
        return None;
    };
    if version != VERSION {
        return None;
    }
    let value = |value: &Value| match value {
        Value::Null => Some(None),
        value => {
            let time = value
                .get("time")
                .and_then(Value::as_i64)
                .map(SortValue::Time);
            let text = |name| value.get(name).and_then(Value::as_str);
            let number = text("number")
                .and_then(Decimal::parse)
                .map(SortValue::Number);
            let text = text("text").map(|text| SortValue::Text(text.to_owned()));
            Some(Some(time.or(number).or(text)?))
        }
    };
    Some(After {
        place: Place {
            values: values
                .as_array()?
                .iter()
                .map(value)
                .collect::<Option<_>>()?,
            pk: pk.as_i64()?,
            within: usize::try_from(within.as_u64()?).ok()?,
        },
        horizon: horizon.as_i64()?,
        total: total.as_u64(),
    })
}
