//! What a search did: times per phase, the plan with its estimates, statements with placeholders. For `_explain` and for the log of slow
//! searches; never a value of the search, nor a hash of one.

use super::flat::{Column, FlatQuery, FoundValue, Order, Test};
use crate::Error;
use fhir_definitions::StringRows;
use fhir_search::Query;
use sqlx::{Postgres, QueryBuilder};
use std::fmt::Write as _;
use std::time::Instant;

pub(super) struct Trace {
    explains: bool,
    began: Instant,
    phase_began: Instant,
    phases: Vec<(&'static str, f64)>,
    notes: Vec<String>,
}

impl Trace {
    pub fn of(query: &Query) -> Trace {
        let now = Instant::now();
        let mut trace = Trace {
            explains: query.explain,
            began: now,
            phase_began: now,
            phases: Vec::new(),
            notes: Vec::new(),
        };
        trace.note(|| format!("search: {}", fhir_search::shape(query)));
        trace
    }

    /// Ends a phase: what came since the last one ended.
    pub fn phase(&mut self, name: &'static str) {
        let now = Instant::now();
        let ms = (now - self.phase_began).as_secs_f64() * 1_000.0;
        self.phase_began = now;
        self.phases.push((name, ms));
    }

    /// Told by `_explain` only.
    pub fn note(&mut self, write: impl FnOnce() -> String) {
        if self.explains {
            self.notes.push(write());
        }
    }

    /// Why Postgres answers, where there is an index that does not.
    pub fn engine(&mut self, why_postgres: Option<&'static str>) {
        if let Some(reason) = why_postgres {
            self.note(|| postgres_instead(reason));
        }
    }

    pub fn statement(&mut self, statement: &QueryBuilder<Postgres>) {
        self.note(|| format!("sql: {}", statement.sql().as_str()));
    }

    pub fn resolved(&mut self, flat: &FlatQuery) {
        self.phase("resolve");
        self.note(|| {
            let order = flat.order.iter().map(|order| ordered(*order, flat));
            format!(
                "resolved: types [{}], filter {}, order [{}]",
                numbers(&flat.types),
                all(&flat.filter, " AND "),
                order.collect::<Vec<_>>().join(", ")
            )
        });
    }

    /// What `_explain` tells, a line each; nothing where it was not asked for.
    pub fn told(mut self) -> Vec<String> {
        if !self.explains {
            return Vec::new();
        }
        let times = self.times();
        self.notes.push(times);
        self.notes
    }

    /// Logs the search if it took longer than `slow_ms`.
    pub fn log_slow<T>(&self, query: &Query, slow_ms: Option<u64>, result: &Result<T, Error>) {
        let ms = self.began.elapsed().as_millis();
        if slow_ms.is_some_and(|slow| ms >= u128::from(slow)) {
            let shape = fhir_search::shape(query);
            let failed = result.is_err();
            tracing::warn!(shape, ms, failed, phases = self.times(), "slow search");
        }
    }

    fn times(&self) -> String {
        let mut text = format!(
            "times in ms: all {:.2}",
            self.began.elapsed().as_secs_f64() * 1_000.0
        );
        for (name, ms) in &self.phases {
            let _ = write!(text, ", {name} {ms:.2}");
        }
        text
    }
}

fn postgres_instead(reason: &str) -> String {
    format!("engine: Postgres, as the index does not answer: {reason}")
}

fn all(tests: &[Test], between: &str) -> String {
    match tests.len() {
        0 => "everything".to_owned(),
        _ => tests.iter().map(shape).collect::<Vec<_>>().join(between),
    }
}

/// The test without its values.
fn shape(test: &Test) -> String {
    match test {
        Test::Type(types) => format!("type [{}]", numbers(types)),
        Test::Tokens(tokens) => format!("{} tokens", tokens.len()),
        Test::References(references) => format!("{} references", references.len()),
        Test::Rows(rows) => format!("{} rows", rows.len()),
        Test::Dates(dates) => format!("dates of parameter {}", dates.key),
        Test::Quantities(key, any) => format!("{} quantities of parameter {key}", any.len()),
        Test::Strings(StringRows { key, .. }, any) => {
            format!("{} strings of parameter {}", any.len(), key.0)
        }
        Test::Near(key, any) => format!("{} circles of parameter {key}", any.len()),
        Test::Updated(any) => format!("{} times of update", any.len()),
        Test::Words(of, _) => format!("words of {of:?}"),
        Test::AnyOfReferences(references) => {
            format!("{} references, row by row", references.len())
        }
        Test::Points(key, test) => format!("points by parameter {key} to ({})", shape(test)),
        Test::PointedAt(key, test) => {
            format!("pointed at by parameter {key} from ({})", shape(test))
        }
        Test::Any(tests) => format!("({})", all(tests, " OR ")),
        Test::All(tests) => format!("({})", all(tests, " AND ")),
        Test::Not(test) => format!("NOT ({})", shape(test)),
    }
}

fn ordered(order: Order, flat: &FlatQuery) -> String {
    let by = match order.by {
        Column::Updated => "_lastUpdated".to_owned(),
        Column::Id => "_id".to_owned(),
        Column::Date { key, .. } => format!("dates of parameter {key}"),
        Column::String { rows, .. } => format!("strings of parameter {}", rows.key.0),
        Column::Number { key } => format!("numbers of parameter {key}"),
        Column::Found(at) => match flat.found.get(at) {
            None => String::new(),
            Some(found) => {
                let value = match &found.value {
                    FoundValue::Dates(_) => "dates",
                    FoundValue::Strings(_) => "strings",
                    FoundValue::Numbers(_) => "numbers",
                    FoundValue::Texts(_) => "texts of stored resources",
                    FoundValue::Updated => "_lastUpdated",
                    FoundValue::Ids => "_id",
                    FoundValue::Scores => "scores",
                };
                format!("{value} behind {} references", found.links.len())
            }
        },
    };
    format!("{}{by}", if order.falls() { "-" } else { "" })
}

fn numbers(numbers: &[i16]) -> String {
    let all: Vec<String> = numbers.iter().map(i16::to_string).collect();
    all.join(" ")
}
