//! Which rows are on the page, in order: the plan, carried out within its bounds.

use super::bounds;
use super::chain::Reach;
use super::estimate::{self, Count, Counted};
use super::flat::{Column, Dates, FlatQuery, StringTest, Test};
use super::keyset::Keyset;
use super::plan::{self, Estimate, FILTER_MAX, Plan};
use super::span::{Span, spans};
use super::sql::{self, Selection};
use super::statistics::Statistics;
use super::trace::Trace;
use crate::Error;
use fhir_model::{Issue, IssueKind};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use std::time::{Duration, Instant};

/// Each window of a walk is so many times the one before, up to [`plan::window_max`]. When no index leads to the matches, a request walks
/// [`WINDOWS_MAX`] of the largest ones; then the page is short, and its next link goes on from there. While it would be empty, which not every
/// client takes for anything but the end, the request goes on to [`WINDOWS_MAX_EMPTY`] of them, and begins none after [`EMPTY_MAX`].
const GROWTH: i64 = 10;
const WINDOWS_MAX: i64 = 2;
const WINDOWS_MAX_EMPTY: i64 = 10;
const EMPTY_MAX: Duration = Duration::from_secs(2);

/// Most matches whose sort values are looked up one by one.
pub(super) const SORTED_MAX: i64 = 20_000;

/// A row's place: its sort keys and its row key.
pub(super) type Place = (i64, Vec<Option<String>>);

/// The rows of a page.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub found: Vec<Place>,
    /// Where the next page begins; `None`: there are no more matches.
    pub next: Option<Place>,
    /// The number of all matches, where finding the page has counted them.
    pub counted: Option<u64>,
}

impl Keys {
    /// Of a page of `limit` rows, where one more was looked for.
    pub fn page(mut found: Vec<Place>, limit: usize) -> Keys {
        let next = (found.len() > limit).then(|| {
            found.truncate(limit);
            found.last().cloned()
        });
        Keys {
            found,
            next: next.flatten(),
            counted: None,
        }
    }

    pub fn rows(&self) -> Vec<i64> {
        self.found.iter().map(|(pk, _)| *pk).collect()
    }
}

/// How to answer `query`. Refuses to look at too many matches to sort them.
pub(super) async fn plan(
    connection: &mut PgConnection,
    query: &FlatQuery,
    statistics: &Statistics,
    limit: usize,
    trace: &mut Trace,
) -> Result<Estimate, Error> {
    let estimate = estimated(connection, query, statistics, limit, trace).await?;
    let is_small = estimate
        .finding
        .most
        .is_some_and(|rows| rows <= SORTED_MAX as f64);
    if query.sorts_by_looking() && !is_small {
        bounded(connection, query, &estimate, trace).await?;
    }
    Ok(estimate)
}

/// How to answer `query`, by statistics, and where that may be dear, by counting what lies in ordered indexes.
pub(super) async fn estimated(
    connection: &mut PgConnection,
    query: &FlatQuery,
    statistics: &Statistics,
    limit: usize,
    trace: &mut Trace,
) -> Result<Estimate, Error> {
    let mut estimate = plan::plan(query, statistics, &Counted::default(), limit);
    if let Some(most) = plan::count_max(query, &estimate) {
        let counted = counted(connection, query, most, statistics, trace).await?;
        estimate = plan::plan(query, statistics, &counted, limit);
    }
    trace.note(|| {
        let hits = estimate::hits(&query.filter, &query.types, statistics);
        let matches = estimate::matches(&query.filter, &query.types, statistics);
        format!(
            "plan: {:?}, estimated {:.2} ms, {hits:.0} rows to read, {matches:.0} matches; all of them in {:.2} ms, led by {:?}",
            estimate.plan, estimate.ms, estimate.finding.ms, estimate.finding.lead
        )
    });
    Ok(estimate)
}

/// The rows that lie where ordered tests lead to, `most` of each: as they were counted not long ago, else now.
pub(super) async fn counted(
    connection: &mut PgConnection,
    query: &FlatQuery,
    most: i64,
    statistics: &Statistics,
    trace: &mut Trace,
) -> Result<Counted, Error> {
    let all: Vec<_> = query.filter.iter().map(spans).collect();
    let remembered = |spans: &Vec<Span>| statistics.counted(spans, most);
    let mut counts: Vec<Option<Count>> = all
        .iter()
        .map(|spans| spans.as_ref().and_then(remembered))
        .collect();
    let unknown: Vec<(usize, &Vec<Span>)> = all
        .iter()
        .enumerate()
        .filter_map(|(at, spans)| Some((at, spans.as_ref()?)))
        .filter(|(at, _)| counts[*at].is_none())
        .collect();
    if !unknown.is_empty() {
        let wanted: Vec<_> = unknown.iter().map(|(_, spans)| *spans).collect();
        let mut statement = sql::rows_within(&wanted, most + 1);
        trace.statement(&statement);
        let found: Vec<i64> = statement.build_query_scalar().fetch_one(connection).await?;
        for ((at, spans), rows) in unknown.into_iter().zip(found) {
            let all = rows <= most;
            counts[at] = Some(statistics.remember(spans, Count { rows, all }));
        }
    }
    trace.note(|| format!("counted: {counts:?}, {most} of each, or more a minute ago"));
    Ok(Counted(counts))
}

/// Refuses to look at more matches than [`SORTED_MAX`].
async fn bounded(
    connection: &mut PgConnection,
    query: &FlatQuery,
    estimate: &Estimate,
    trace: &mut Trace,
) -> Result<(), Error> {
    let lead = &estimate.finding.lead;
    let mut statement = sql::count(&query.types, &query.filter, lead, Some(SORTED_MAX));
    trace.statement(&statement);
    let matches: i64 = statement.build_query_scalar().fetch_one(connection).await?;
    match matches <= SORTED_MAX {
        true => Ok(()),
        false => Err(Issue::error(
            IssueKind::TooCostly,
            format!(
                "more than {SORTED_MAX} matches would have to be looked at one by one to be sorted like this; add a condition that fewer \
                 meet, or sort by one date or string of the resource itself, _id or _lastUpdated"
            ),
        )
        .into()),
    }
}

/// Finds the first `limit` rows after `after`.
pub(super) async fn keys(
    connection: &mut PgConnection,
    query: &FlatQuery,
    statistics: &Statistics,
    estimate: &Estimate,
    after: Option<&Keyset>,
    limit: usize,
    trace: &mut Trace,
) -> Result<Keys, Error> {
    let mut run = Run {
        trace,
        connection,
        query,
        selection: selection(query, statistics, estimate, limit),
        after: after.cloned(),
        found: Vec::new(),
        want: limit + 1,
        counted: None,
    };
    let short_at = match estimate.plan {
        Plan::Filter => {
            run.filter().await?;
            None
        }
        Plan::Walk { window } => run.walk(window, statistics).await?,
    };
    let (mut found, counted) = (run.found, run.counted);
    let next = match found.len() > limit {
        true => {
            found.truncate(limit);
            found.last().cloned()
        }
        false => short_at,
    };
    Ok(Keys {
        found,
        next,
        counted,
    })
}

/// What a statement of the plan selects for a first page of `limit` matches.
pub(super) fn selection<'q>(
    query: &'q FlatQuery,
    statistics: &Statistics,
    estimate: &'q Estimate,
    limit: usize,
) -> Selection<'q> {
    Selection {
        types: &query.types,
        filter: &query.filter,
        order: &query.order,
        found: &query.found,
        scales: &query.scales,
        scores: &query.scores,
        after: None,
        // One more than asked tells whether there is a next page.
        limit: limit as i64 + 1,
        many: estimate::hits(&query.filter, &query.types, statistics) > plan::LOOKUPS_MAX,
        lead: &estimate.finding.lead,
        known: &estimate.known,
    }
}

struct Run<'a> {
    trace: &'a mut Trace,
    connection: &'a mut PgConnection,
    query: &'a FlatQuery,
    selection: Selection<'a>,
    after: Option<Keyset>,
    found: Vec<Place>,
    want: usize,
    counted: Option<u64>,
}

impl Run<'_> {
    /// The place where it gave up, if it did.
    async fn walk(
        &mut self,
        mut window: i64,
        statistics: &Statistics,
    ) -> Result<Option<Place>, Error> {
        let backwards = self.query.order[0].backwards;
        // What has no date meets no condition on it.
        let bounded = bounds::of_order(&self.query.filter, &self.query.order).is_some();
        match &self.after {
            Some(keyset) if keyset.without_value() => {
                match backwards {
                    true => self.filter().await?,
                    false => self.without_value().await?,
                }
                return Ok(None);
            }
            None if backwards && !bounded => {
                self.without_value().await?;
                if self.found.len() >= self.want {
                    return Ok(None);
                }
            }
            _ => {}
        }
        let positive = self.query.filter.iter().any(Test::positive);
        // What was not worth fetching for a page that walks find soon, is when they do not.
        let pointed_at = self.query.filter.iter().any(|test| match test {
            Test::PointedAt(_, by) => {
                let sources = estimate::known_hits(by, statistics);
                sources > 0.0 && sources <= Reach::default().fetch_max as f64
            }
            _ => false,
        });
        let hits = estimate::hits(&self.query.filter, &self.query.types, statistics);
        let window_max = plan::window_max(&self.query.filter);
        let (mut walked, begun) = (0, Instant::now());
        loop {
            let rows = self
                .fetch(sql::walk(self.selection(&self.query.filter), window))
                .await?;
            self.found.extend(rows);
            if self.found.len() >= self.want {
                return Ok(None);
            }
            let end = self
                .fetch(sql::window_end(self.selection(&self.query.filter), window))
                .await?
                .pop();
            let Some(end) = end else {
                if !bounded && !backwards {
                    self.without_value().await?;
                }
                return Ok(None);
            };
            self.after = Some(self.keyset(end));
            if (positive && hits <= FILTER_MAX) || pointed_at {
                self.filter().await?;
                return Ok(None);
            }
            walked += window;
            let windows = match self.found.is_empty() && begun.elapsed() < EMPTY_MAX {
                true => WINDOWS_MAX_EMPTY,
                false => WINDOWS_MAX,
            };
            let left = window_max * windows - walked;
            if left <= 0 {
                return Ok(self.after.take().map(|keyset| (keyset.pk, keyset.values)));
            }
            window = (window * GROWTH).min(window_max).min(left);
        }
    }

    async fn filter(&mut self) -> Result<(), Error> {
        self.counted = self.filter_by(&self.query.filter).await?;
        Ok(())
    }

    /// After the last row that has a value to sort by come those that have none.
    async fn without_value(&mut self) -> Result<(), Error> {
        let (present, a_row) = match self.query.order[0].by {
            Column::Date { key, present } => (present, Test::Dates(Dates::any(key))),
            Column::String { rows, present } => {
                let any = StringTest::StartsWith(String::new());
                (present, Test::Strings(rows, vec![any]))
            }
            _ => return Ok(()),
        };
        if self
            .after
            .as_ref()
            .is_some_and(|keyset| !keyset.without_value())
        {
            self.after = None;
        }
        let mut filter = self.query.filter.clone();
        // An element may be there and say no date: a Timing of twice a day.
        filter.push(Test::All(vec![Test::Tokens(vec![present]), a_row]).negate());
        self.filter_by(&filter).await?;
        Ok(())
    }

    /// The number of all that match, if any come after where it begins.
    async fn filter_by(&mut self, filter: &[Test]) -> Result<Option<u64>, Error> {
        let mut statement = sql::filter_then_sort(self.selection(filter));
        self.trace.statement(&statement);
        let rows: Vec<(i64, Vec<Option<String>>, i64)> = statement
            .build_query_as()
            .fetch_all(&mut *self.connection)
            .await?;
        let counted = rows.first().map(|(_, _, count)| count.unsigned_abs());
        let places = rows.into_iter().map(|(pk, values, _)| (pk, values));
        self.found.extend(places);
        Ok(counted)
    }

    fn selection<'s>(&'s self, filter: &'s [Test]) -> Selection<'s> {
        Selection {
            filter,
            after: self.after.as_ref(),
            limit: (self.want - self.found.len()) as i64,
            ..self.selection
        }
    }

    fn keyset(&self, (pk, values): Place) -> Keyset {
        Keyset {
            values,
            pk,
            horizon: 0,
            total: None,
            backwards: false,
            passed: 0,
        }
    }

    async fn fetch(&mut self, mut statement: QueryBuilder<Postgres>) -> Result<Vec<Place>, Error> {
        self.trace.statement(&statement);
        Ok(statement
            .build_query_as()
            .fetch_all(&mut *self.connection)
            .await?)
    }
}
