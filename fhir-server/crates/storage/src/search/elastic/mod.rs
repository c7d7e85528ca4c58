//! Searches that the index in Elasticsearch answers: with row keys only, which Postgres confirms in the snapshot of the search
//! (docs/adr/0036-elasticsearch-engine.md).
//!
//! What differs between the index and the snapshot is masked out of the index's answer and evaluated by Postgres: rows that were written and
//! are not in the index yet (the pending ones, as the snapshot has them), and documents of later writes than the snapshot sees. So an answer is
//! that of the snapshot, exactly, and a stale document can show nothing. Whatever the index cannot do, or not in time, Postgres does.

mod asked;
pub(super) mod choice;
#[cfg(test)]
pub(super) mod fault;
mod joins;
mod order;
mod places;
mod ranked;
mod translate;
mod words;

pub(super) use asked::Indexed;

use super::chain::Reach;
use super::flat::{FlatQuery, Test};
use super::keys::{Keys, Place};
use super::keyset::Keyset;
use super::sql::{self, Selection};
use super::statistics::Statistics;
use super::total;
use super::trace::Trace;
use crate::Error;
use crate::elastic::client::ElasticError;
use crate::elastic::mapping::WINDOW_MAX;
use fhir_definitions::Definitions;
use fhir_search::Query;
use fhir_search::query::Total;
use futures_util::FutureExt;
use serde_json::{Value, json};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};

/// Why Postgres answers: a few words for metrics and `_explain`.
pub(super) type Reason = &'static str;

/// Which engine a search is given to.
#[derive(Clone, Copy)]
pub(super) enum Engine<'e> {
    /// With the reason, where there is an index.
    Postgres(Option<Reason>),
    Index(&'e Indexed<'e>),
}

/// Most rows that are evaluated by Postgres beside the index.
pub(super) const MASKED_MAX: usize = 1_000;
/// How often the index is asked again because later writes have come into it meanwhile.
const ROUNDS_MAX: usize = 3;
/// How often it is asked for more where what it found is stale, which only `eventual` allows.
const REFILLS_MAX: usize = 5;
/// Most matches that are counted for a total that was not asked for.
const UNASKED_MAX: u64 = 20_000;

/// It has found what Postgres does not.
const WRONG_INDEX: Reason = "wrong index";

/// What is wanted of a search.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'q> {
    pub total: Total,
    pub at: Option<&'q Keyset>,
    /// Matches to find, those that are passed over among them.
    pub limit: usize,
    pub offset: usize,
    /// The number of matches and nothing else.
    pub count_only: bool,
}

impl<'q> Wanted<'q> {
    /// The row that the page begins behind.
    pub fn after(self) -> Option<&'q Keyset> {
        self.at.filter(|keyset| !keyset.values.is_empty())
    }
}

/// What the index and Postgres have found together.
pub(super) struct Found {
    pub keys: Keys,
    pub total: Option<u64>,
    /// How well rows answer, as far as their texts were read.
    pub scores: BTreeMap<i64, f64>,
}

/// Why there is no answer of the index.
pub(super) enum Stop {
    Reason(Reason),
    Down(ElasticError),
    Error(Error),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Reason(reason)
    }
}

impl From<ElasticError> for Stop {
    fn from(error: ElasticError) -> Stop {
        Stop::Down(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Stop {
        Stop::Error(error.into())
    }
}

/// How much of a search is resolved before the index is asked: how many rows of the other side of a join are fetched, and whether words are read.
pub(super) fn reach(reach: Reach, query: &Query) -> Reach {
    let reach = Reach {
        words: words::answers(query),
        ..reach
    };
    #[cfg(test)]
    if JOINS_BY_INDEX
        .try_with(|by_index| *by_index)
        .unwrap_or_default()
    {
        return Reach {
            fetch_max: 0,
            ..reach
        };
    }
    reach
}

/// Why the index cannot answer the search, whatever its state.
pub(super) fn unable(flat: &FlatQuery, count_only: bool) -> Option<Reason> {
    let order = match count_only || ranked::is_ranked(flat) {
        true => None,
        false => order::sort(flat).err(),
    };
    order.or_else(|| flat.filter.iter().find_map(translate::unable))
}

/// What the index says to one request.
#[derive(Debug, Default)]
struct Answer {
    /// Row keys in order.
    rows: Vec<i64>,
    /// Where the last of them stands.
    last: Option<Value>,
    /// As many as were counted, and whether these are all.
    matches: (u64, bool),
}

impl Indexed<'_> {
    /// The page or the count; `None`: Postgres has to answer.
    ///
    /// # Errors
    /// [`Error::Index`] where the operator wants no answers of Postgres instead; database errors.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        flat: &FlatQuery,
        statistics: &Statistics,
        wanted: Wanted<'_>,
        trace: &mut Trace,
    ) -> Result<Option<Found>, Error> {
        let found = self.found(connection, flat, statistics, wanted, trace);
        match found.await {
            Ok(found) => {
                self.elastic.answered.count();
                let freshness = if self.seen.is_some() {
                    "strong"
                } else {
                    "eventual"
                };
                trace.note(|| format!("engine: Elasticsearch, index {}, {freshness}", self.index));
                Ok(Some(found))
            }
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Reason(reason)) => {
                self.elastic.fallbacks.count(reason);
                trace.engine(Some(reason));
                Ok(None)
            }
            Err(Stop::Down(error)) => {
                let reason = asked::down(self.elastic, error)?;
                trace.engine(Some(reason));
                Ok(None)
            }
        }
    }

    async fn found(
        &self,
        connection: &mut PgConnection,
        flat: &FlatQuery,
        statistics: &Statistics,
        wanted: Wanted<'_>,
        trace: &mut Trace,
    ) -> Result<Found, Stop> {
        if let Some(reason) = unable(flat, wanted.count_only) {
            return Err(reason.into());
        }
        if self.by_estimate {
            let cheaper = choice::cheaper(connection, flat, statistics, wanted, trace);
            if cheaper.boxed().await?.is_some() {
                return Err(choice::CHEAPER.into());
            }
        }
        let is_ranked = ranked::is_ranked(flat) && !wanted.count_only;
        let sort = match is_ranked || wanted.count_only {
            true => Value::Null,
            false => order::sort(flat)?,
        };
        if wanted.limit >= WINDOW_MAX {
            return Err("large page".into());
        }
        let mut masked: BTreeSet<i64> = self.pending.iter().copied().collect();
        for _ in 0..ROUNDS_MAX {
            let mut mask: Vec<i64> = masked.iter().copied().collect();
            let edges = self.at_edges(&flat.filter, &mask).await?;
            if !edges.is_empty() {
                masked.extend(edges);
                mask = masked.iter().copied().collect();
                if mask.len() > MASKED_MAX {
                    return Err("distances".into());
                }
            }
            let filter = self.without_joins(connection, &flat.filter, &mask).await?;
            let query = translate::filter(&flat.types, &filter, &mask)?;
            let request = Request {
                query,
                sort: &sort,
                flat,
                wanted,
                definitions: &self.definitions,
            };
            let answer = match is_ranked {
                true => Answer {
                    rows: self.all_matches(&request).await?,
                    ..Answer::default()
                },
                false => self.ask(&request, None, trace).await?,
            };
            trace.phase("index");
            trace.note(|| format!("masked: {} rows, evaluated by Postgres", mask.len()));
            let both = async {
                match (wanted.count_only, is_ranked) {
                    (true, _) => counted(connection, &request, &mask, &answer, trace).await,
                    (_, true) => {
                        let rows = answer.rows;
                        self.ranked(connection, &request, &mask, rows, trace).await
                    }
                    _ => self.page(connection, &request, &mask, answer, trace).await,
                }
            };
            let later = self.later(&flat.types, &flat.filter, &mask);
            let (later, found) = tokio::join!(later, both);
            let later = later?;
            if later.is_empty() {
                if let Err(Stop::Reason(WRONG_INDEX)) = found {
                    let index = self.index.as_str();
                    tracing::warn!(index, "the search index does not agree with the database");
                }
                return found;
            }
            masked.extend(later);
            if masked.len() > MASKED_MAX {
                break;
            }
        }
        Err("later writes".into())
    }

    /// The rows of the index and the masked ones, as far as they meet the search in Postgres, in its order.
    async fn page(
        &self,
        connection: &mut PgConnection,
        request: &Request<'_>,
        mask: &[i64],
        answer: Answer,
        trace: &mut Trace,
    ) -> Result<Found, Stop> {
        let wanted = request.wanted;
        let want = wanted.limit + 1;
        let Answer {
            rows: mut found,
            mut last,
            matches,
        } = answer;
        let Confirmed {
            mut places,
            mut scores,
        } = confirmed(connection, request, &found, mask, trace).await?;
        if self.seen.is_some() {
            let confirmed: BTreeSet<i64> = places.iter().map(|(pk, _)| *pk).collect();
            // Nothing that differs from the snapshot was left unmasked, but for later writes.
            if !found.iter().all(|pk| confirmed.contains(pk)) {
                return Err(WRONG_INDEX.into());
            }
        } else {
            let mut is_more = found.len() == want;
            for _ in 0..REFILLS_MAX {
                if places.len() >= want || !is_more {
                    break;
                }
                let more = self.ask(request, last.take(), trace).await?;
                is_more = more.rows.len() == want;
                last = more.last;
                found.extend(more.rows);
                Confirmed { places, scores } =
                    confirmed(connection, request, &found, mask, trace).await?;
            }
            if places.len() < want && is_more {
                return Err("stale index".into());
            }
        }
        trace.phase("confirm");
        let masked = mask.iter().copied().collect::<BTreeSet<i64>>();
        let masked = places.iter().filter(|(pk, _)| masked.contains(pk)).count() as u64;
        let keys = Keys::page(places, wanted.limit);
        let total = match (wanted.at, wanted.total) {
            (_, Total::None) => None,
            (Some(keyset), _) => keyset.total,
            (None, _) if keys.next.is_none() && (wanted.offset == 0 || !keys.found.is_empty()) => {
                total::of_one_page(wanted.total, keys.found.len())
            }
            (None, _) => match matches {
                (matches, true) => {
                    let all = matches + masked;
                    (wanted.total != Total::Default || all <= UNASKED_MAX).then_some(all)
                }
                (_, false) => None,
            },
        };
        Ok(Found {
            keys,
            total,
            scores,
        })
    }
}

/// A search as the index is asked for it.
struct Request<'r> {
    query: Value,
    sort: &'r Value,
    flat: &'r FlatQuery,
    wanted: Wanted<'r>,
    definitions: &'r Definitions,
}

impl Request<'_> {
    /// `behind`: where the row stands after which it goes on.
    fn body(&self, behind: Option<Value>) -> Result<Value, Reason> {
        let is_first = self.wanted.at.is_none() && behind.is_none();
        let counts: Value = match self.wanted.total {
            _ if self.wanted.count_only => true.into(),
            // OpenSearch passes over rows without a value that come behind the place of one with a value, unless it looks at all.
            _ if !is_first => order::may_lack_values(self.flat).into(),
            Total::None => false.into(),
            Total::Accurate | Total::Estimate => true.into(),
            Total::Default => (UNASKED_MAX + 1).into(),
        };
        let mut body = json!({
            "size": if self.wanted.count_only { 0 } else { self.wanted.limit + 1 },
            "_source": false,
            "stored_fields": "_none_",
            "track_total_hits": counts,
            "query": self.query,
        });
        if self.wanted.count_only {
            return Ok(body);
        }
        body["sort"] = self.sort.clone();
        match (behind, self.wanted.after()) {
            (Some(behind), _) => body["search_after"] = behind,
            (None, Some(keyset)) => body["search_after"] = order::search_after(self.flat, keyset)?,
            (None, None) => {}
        }
        Ok(body)
    }
}

/// The number of matches: those of the index, and the masked ones.
async fn counted(
    connection: &mut PgConnection,
    request: &Request<'_>,
    mask: &[i64],
    answer: &Answer,
    trace: &mut Trace,
) -> Result<Found, Stop> {
    let masked = confirmed(connection, request, &[], mask, trace).await?;
    Ok(Found {
        keys: Keys::default(),
        total: Some(answer.matches.0 + masked.places.len() as u64),
        scores: masked.scores,
    })
}

/// Rows that meet the search, in order, and how well.
#[derive(Default)]
struct Confirmed {
    places: Vec<Place>,
    scores: BTreeMap<i64, f64>,
}

/// `rows` and `mask` as far as they meet the search.
async fn confirmed(
    connection: &mut PgConnection,
    request: &Request<'_>,
    rows: &[i64],
    mask: &[i64],
    trace: &mut Trace,
) -> Result<Confirmed, Stop> {
    let mut candidates = [rows, mask].concat();
    candidates.sort_unstable();
    candidates.dedup();
    if candidates.is_empty() {
        return Ok(Confirmed::default());
    }
    let flat = request.flat;
    let limit = candidates.len() as i64;
    let read = super::words::among(
        &mut *connection,
        request.definitions,
        &flat.filter,
        candidates.clone(),
    );
    let read = read.await?;
    let filter = among(&read.filter, candidates);
    let mut statement = sql::filter_then_sort(Selection {
        types: &flat.types,
        filter: &filter,
        order: &flat.order,
        found: &flat.found,
        scales: &flat.scales,
        scores: &flat.scores,
        after: request.wanted.after(),
        limit,
        many: false,
        lead: &[filter.len() - 1],
        known: &[],
    });
    trace.statement(&statement);
    let places: Vec<(i64, Vec<Option<String>>, i64)> =
        statement.build_query_as().fetch_all(connection).await?;
    let places = places.into_iter().map(|(pk, values, _)| (pk, values));
    Ok(Confirmed {
        places: places.collect(),
        scores: read.scores,
    })
}

/// The filter on these rows alone, which stand last in it.
fn among(filter: &[Test], rows: Vec<i64>) -> Vec<Test> {
    let mut filter = filter.to_vec();
    filter.push(Test::Rows(rows));
    filter
}

#[cfg(test)]
tokio::task_local! {
    /// Small corpora have no joins that are left to the index.
    pub(super) static JOINS_BY_INDEX: bool;
}
