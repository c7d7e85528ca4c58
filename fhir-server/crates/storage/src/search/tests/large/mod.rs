//! The cases that trap a planner, on 250,000 resources: the answers must be right. What they cost is printed, to be read:
//! `cargo test -p fhir-storage --release large -- --ignored --nocapture`; each should stay under 50 ms of database CPU,
//! but what has no index to be led by and finds nothing, or nothing but the oldest (200), and what is sorted by another resource (docs/adr/0014-search-plans.md).

mod load;

use super::corpus::parameter;
use crate::{Page, SearchPage, Store};
use fhir_definitions::SearchParameter;
use fhir_model::{DateRange, IssueKind, ResourceKey};
use fhir_search::Query;
use fhir_search::query::{
    ChainedClause, Clause, DateMatch, Include, Modifier, NumberMatch, Prefix, ReferenceMatch,
    SortBy, SortKey, Summary, TokenMatch, Total, UnitMatch, ValueMatch,
};
use load::{
    IN_ERROR, MINUTE, OBSERVATIONS, PATIENTS, code_of, is_rare, loaded, newest, patient_of,
};
use std::sync::Arc;
use std::time::Instant;

const RUNS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "loads 250,000 resources: about a minute"]
async fn large() {
    let store = loaded().await;
    let mut bench = Bench {
        store: store.clone(),
        process: backend(&store).await,
    };
    let p = |code: &str| parameter(&store, "Observation", code);
    let (code, status, patient, date, quantity) = (
        p("code"),
        p("status"),
        p("patient"),
        p("date"),
        p("value-quantity"),
    );
    let gender = parameter(&store, "Patient", "gender");
    let family = parameter(&store, "Patient", "family");
    let identifier = parameter(&store, "Patient", "identifier");
    let none: Vec<i64> = Vec::new();

    let all = newest(|_| true);
    bench.case("everything", search(vec![]), &all).await;
    bench
        .case(
            "common code",
            search(vec![token(&code, "c0")]),
            &newest(|i| code_of(i) == 0),
        )
        .await;
    let rare = newest(is_rare);
    bench
        .case("rare token", search(vec![token(&code, "rare")]), &rare)
        .await;
    bench
        .case("no match", search(vec![token(&code, "none")]), &none)
        .await;
    bench
        .case(
            "contradiction",
            search(vec![token(&code, "c0"), token(&code, "c1")]),
            &none,
        )
        .await;
    bench
        .case(
            "contradiction of two halves",
            search(vec![
                token(&status, "final"),
                token(&status, "entered-in-error"),
            ]),
            &none,
        )
        .await;
    let old = newest(|i| i <= IN_ERROR);
    bench
        .case(
            "old only",
            search(vec![token(&status, "entered-in-error")]),
            &old,
        )
        .await;
    let old_rare = newest(|i| i <= IN_ERROR && code_of(i) == 0);
    bench
        .case(
            "old only and common",
            search(vec![token(&status, "entered-in-error"), token(&code, "c0")]),
            &old_rare,
        )
        .await;
    bench
        .case("missing, no hits", search(vec![missing(&code)]), &none)
        .await;
    let without_value = newest(|i| i % 5 == 0);
    bench
        .case(
            "missing, a fifth",
            search(vec![missing(&quantity)]),
            &without_value,
        )
        .await;
    let not = Clause::Param {
        parameter: Arc::clone(&status),
        modifier: Modifier::Not,
        values: vec![code_value("final")],
    };
    bench.case("not the usual", search(vec![not]), &old).await;
    // 10,000 patients each.
    let chain = |code: &str| Clause::Chain {
        parameter: Arc::clone(&patient),
        types: vec!["Patient".into()],
        clause: Box::new(ChainedClause {
            by_type: vec![("Patient".into(), token(&gender, code))],
        }),
    };
    let of_males = newest(|i| patient_of(i) % 4 == 0);
    bench
        .case("chain over 10,000", search(vec![chain("male")]), &of_males)
        .await;
    bench
        .case(
            "chain over 10,000 without hits",
            search(vec![chain("other")]),
            &none,
        )
        .await;
    bench
        .case(
            "chain over 10,000 and rare",
            search(vec![chain("male"), token(&code, "rare")]),
            &newest(|i| is_rare(i) && patient_of(i) % 4 == 0),
        )
        .await;
    // More patients than are fetched.
    let wide = |code: &Arc<SearchParameter>| Clause::Chain {
        parameter: Arc::clone(&patient),
        types: vec!["Patient".into()],
        clause: Box::new(ChainedClause {
            by_type: vec![("Patient".into(), present(code))],
        }),
    };
    bench
        .case("chain over everyone", search(vec![wide(&gender)]), &all)
        .await;
    bench
        .case(
            "chain over everyone and rare",
            search(vec![wide(&gender), token(&code, "rare")]),
            &rare,
        )
        .await;
    let one = Clause::Chain {
        parameter: Arc::clone(&patient),
        types: vec!["Patient".into()],
        clause: Box::new(ChainedClause {
            by_type: vec![("Patient".into(), token(&identifier, "mrn-8"))],
        }),
    };
    bench
        .case(
            "chain over one",
            search(vec![one]),
            &newest(|i| patient_of(i) == 8),
        )
        .await;
    let reference = Clause::Param {
        parameter: Arc::clone(&patient),
        modifier: Modifier::None,
        values: vec![ValueMatch::Reference(ReferenceMatch::Local(vec![
            ResourceKey::new("Patient", "8"),
        ]))],
    };
    let of_patient = newest(|i| patient_of(i) == 8);
    bench
        .case("of a patient", search(vec![reference.clone()]), &of_patient)
        .await;
    let by_date = sorted(vec![reference.clone()], &date, false);
    let mut ascending = of_patient.clone();
    ascending.reverse();
    bench
        .case("of a patient by date", by_date, &ascending)
        .await;
    let first: Vec<i64> = (1..=200).collect();
    bench
        .case("everything by date", sorted(vec![], &date, false), &first)
        .await;
    bench
        .case(
            "common by latest date",
            sorted(vec![token(&code, "c0")], &date, true),
            &newest(|i| code_of(i) == 0),
        )
        .await;
    bench
        .case(
            "rare by latest date",
            sorted(vec![token(&code, "rare")], &date, true),
            &rare,
        )
        .await;
    let in_range = |prefix| Clause::Param {
        parameter: Arc::clone(&date),
        modifier: Modifier::None,
        values: vec![ValueMatch::Date(DateMatch {
            prefix,
            range: DateRange {
                lo: 1_000 * MINUTE,
                hi: 1_060 * MINUTE,
            },
        })],
    };
    bench
        .case(
            "an hour",
            search(vec![in_range(Prefix::Eq)]),
            &newest(|i| (1_000..1_060).contains(&i)),
        )
        .await;
    bench
        .case(
            "before that hour",
            search(vec![in_range(Prefix::Lt)]),
            &newest(|i| i < 1_000),
        )
        .await;
    let above = Clause::Param {
        parameter: Arc::clone(&quantity),
        modifier: Modifier::None,
        values: vec![ValueMatch::Quantity {
            number: NumberMatch {
                prefix: Prefix::Gt,
                value: fhir_model::Decimal::parse("998").unwrap(),
            },
            unit: UnitMatch::Any,
        }],
    };
    bench
        .case(
            "value above",
            search(vec![above.clone(), token(&code, "c0")]),
            &newest(|i| i % 5 != 0 && i % 1000 == 999 && code_of(i) == 0),
        )
        .await;
    bench.has(&patient, above, &code).await;
    let name = |text: &str| Clause::Param {
        parameter: Arc::clone(&family),
        modifier: Modifier::None,
        values: vec![ValueMatch::String(text.into())],
    };
    let named: Vec<i64> = (0..PATIENTS).filter(|i| i % 1000 == 7).collect();
    let patients = |filter| Query {
        types: vec!["Patient".into()],
        ..sorted(filter, &family, false)
    };
    bench
        .case("by name", patients(vec![name("family-007")]), &named)
        .await;
    let mut all_named: Vec<i64> = (0..PATIENTS).collect();
    all_named.sort_by_key(|i| (i % 1000, *i));
    bench
        .case("everyone by name", patients(vec![]), &all_named)
        .await;
    let behind = SortBy::Chain {
        parameters: vec![Arc::clone(&patient)],
        types: vec!["Patient".into()],
        by: Box::new(SortBy::Parameter(vec![Arc::clone(&family)])),
    };
    let by_patient = |filter| Query {
        sort: vec![SortKey {
            by: behind.clone(),
            descending: false,
        }],
        ..search(filter)
    };
    let mut common: Vec<i64> = (1..=OBSERVATIONS).filter(|i| code_of(*i) == 0).collect();
    common.sort_by_key(|i| (patient_of(*i) % 1000, *i));
    bench
        .case(
            "common, by name of the patient",
            by_patient(vec![token(&code, "c0")]),
            &common,
        )
        .await;
    match bench.store.search(&by_patient(vec![]), Page::First).await {
        Err(crate::Error::Refused(issues)) => assert_eq!(issues[0].kind, IssueKind::TooCostly),
        other => panic!("{other:?}"),
    }
    let first = search(vec![token(&status, "final")]);
    let last = bench.store.search(&first, Page::First).await.unwrap().last;
    let last = bench
        .page("last page of many", &first, Page::After(last.unwrap()))
        .await;
    assert!(last.next.is_none() && last.previous.is_some());
    let estimated = Query {
        total: Total::Estimate,
        ..search(vec![in_range(Prefix::Lt)])
    };
    let page = bench.page("estimated", &estimated, Page::First).await;
    assert!(
        (100..10_000).contains(&page.total.unwrap()),
        "{:?}",
        page.total
    );
    let revinclude = Query {
        includes: vec![Include {
            reverse: true,
            source: Some("Observation".into()),
            parameter: Some(Arc::clone(&patient)),
            target: None,
            iterate: false,
        }],
        ..patients(vec![name("family-008")])
    };
    bench
        .case(
            "with their observations",
            revinclude,
            &(0..PATIENTS).filter(|i| i % 1000 == 8).collect::<Vec<_>>(),
        )
        .await;
    let counted = Query {
        summary: Summary::Count,
        ..search(vec![token(&code, "c0")])
    };
    let page = bench.page("count of common", &counted, Page::First).await;
    assert_eq!(
        page.total,
        Some((1..=OBSERVATIONS).filter(|i| code_of(*i) == 0).count() as u64)
    );
    bench
        .deep(
            "page 60",
            search(vec![token(&code, "c0")]),
            &newest(|i| code_of(i) == 0),
        )
        .await;
    bench
        .deep(
            "page 60 by date",
            sorted(vec![], &date, false),
            &(1..=OBSERVATIONS).collect::<Vec<_>>(),
        )
        .await;
}

struct Bench {
    store: Store,
    process: i32,
}

impl Bench {
    /// The first pages give these numbers; short pages are followed, and none is empty unless all are.
    async fn case(&mut self, name: &str, query: Query, expect: &[i64]) {
        let mut at = Page::First;
        let mut found = Vec::new();
        loop {
            let page = self.page(name, &query, at).await;
            let is_empty = page.matches.is_empty();
            assert!(!is_empty || expect.is_empty(), "{name}: an empty page");
            found.extend(
                page.matches
                    .into_iter()
                    .map(|m| m.key.id.parse::<i64>().unwrap()),
            );
            match page.next {
                Some(next) if found.len() < query.count => at = Page::After(next),
                _ => break,
            }
        }
        assert_eq!(found, expect[..expect.len().min(query.count)], "{name}");
    }

    async fn has(
        &mut self,
        patient: &Arc<SearchParameter>,
        clause: Clause,
        code: &Arc<SearchParameter>,
    ) {
        let has = |clause| Query {
            types: vec!["Patient".into()],
            ..search(vec![Clause::Has {
                parameter: Arc::clone(patient),
                clause: Box::new(clause),
            }])
        };
        let of = |holds: &dyn Fn(i64) -> bool| {
            let mut patients: Vec<i64> = (1..=OBSERVATIONS)
                .filter(|i| holds(*i))
                .map(patient_of)
                .collect();
            patients.sort_unstable();
            patients.dedup();
            patients.reverse();
            patients
        };
        self.case(
            "has a high value",
            has(clause),
            &of(&|i| i % 5 != 0 && i % 1000 == 999),
        )
        .await;
        self.case(
            "has the rare code",
            has(token(code, "rare")),
            &of(&|i| is_rare(i)),
        )
        .await;
        // Nobody of "other" gender has observations.
        let gender = parameter(&self.store, "Patient", "gender");
        let mut never = has(present(code));
        never.filter.push(token(&gender, "other"));
        self.case("has any code, but none", never, &[]).await;
        self.case("has any code", has(present(code)), &of(&|_| true))
            .await;
        self.case(
            "has the common code",
            has(token(code, "c0")),
            &of(&|i| code_of(i) == 0),
        )
        .await;
    }

    async fn deep(&mut self, name: &str, query: Query, expect: &[i64]) {
        let mut at = Page::First;
        for number in 0..60 {
            let page = match number {
                59 => self.page(name, &query, at).await,
                _ => self.store.search(&query, at).await.unwrap(),
            };
            let found: Vec<i64> = page
                .matches
                .into_iter()
                .map(|m| m.key.id.parse().unwrap())
                .collect();
            assert_eq!(found, expect[number * 20..][..20], "{name}, {number}");
            at = Page::After(page.next.unwrap());
        }
    }

    /// A page, measured when everything is warm; the least of several runs, since others use the machine too.
    async fn page(&mut self, name: &str, query: &Query, at: Page) -> SearchPage {
        self.store.search(query, at.clone()).await.unwrap();
        let (mut cpu, mut wall) = (f64::MAX, f64::MAX);
        let mut page = None;
        for _ in 0..RUNS {
            let (before, start) = (cpu_ms(self.process), Instant::now());
            page = Some(self.store.search(query, at.clone()).await.unwrap());
            cpu = cpu.min(cpu_ms(self.process) - before);
            wall = wall.min(start.elapsed().as_secs_f64() * 1e3);
        }
        let page = page.unwrap();
        eprintln!(
            "{name:32} {cpu:8.2} ms CPU {wall:8.2} ms  {:3} matches {:4} includes  total {:?}",
            page.matches.len(),
            page.includes.len(),
            page.total
        );
        page
    }
}

// What is asked.

fn search(filter: Vec<Clause>) -> Query {
    Query {
        filter,
        ..Query::all(vec!["Observation".into()], 20)
    }
}

fn sorted(filter: Vec<Clause>, by: &Arc<SearchParameter>, descending: bool) -> Query {
    Query {
        sort: vec![SortKey {
            by: SortBy::Parameter(vec![Arc::clone(by)]),
            descending,
        }],
        ..search(filter)
    }
}

fn code_value(code: &str) -> ValueMatch {
    ValueMatch::Token(TokenMatch::Code(code.into()))
}

fn token(parameter: &Arc<SearchParameter>, code: &str) -> Clause {
    Clause::Param {
        parameter: Arc::clone(parameter),
        modifier: Modifier::None,
        values: vec![code_value(code)],
    }
}

fn present(parameter: &Arc<SearchParameter>) -> Clause {
    Clause::Missing {
        parameter: Arc::clone(parameter),
        missing: false,
    }
}

fn missing(parameter: &Arc<SearchParameter>) -> Clause {
    Clause::Missing {
        parameter: Arc::clone(parameter),
        missing: true,
    }
}

async fn backend(store: &Store) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&store.inner.search_pool)
        .await
        .unwrap()
}

/// Time the process has run, from the scheduler.
fn cpu_ms(process: i32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}
