//! Random corpora and random searches.

use super::corpus::{Indexed, parameter};
use crate::Store;
use fhir_definitions::{DataFile, SearchParameter};
use fhir_model::{DateRange, Decimal, ResourceKey};
use fhir_search::query::{
    ChainedClause, Clause, DateMatch, Modifier, NumberMatch, Prefix, SortBy, SortKey, TokenMatch,
    UnitMatch, ValueMatch,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::sync::Arc;

pub const TYPE: &str = "Observation";
const TOKENS: [&str; 3] = ["status", "code", "category"];
const PATIENTS: usize = 6;
/// The codes of categories in stored resources.
const CATEGORIES: [&str; 4] = ["b", "A", "é", "a"];

/// By `date` an observation has one date, by this parameter any number.
const SEVERAL_DATES: &str = "component-date";

/// Its definition.
pub fn several_dates() -> DataFile {
    let definition = serde_json::json!({
        "resourceType": "SearchParameter", "url": "http://example.org/SearchParameter/component-date", "status": "active", "name": "ComponentDate",
        "description": "Dates of components", "code": SEVERAL_DATES, "base": [TYPE], "type": "date",
        "expression": "Observation.component.value.ofType(dateTime)"
    });
    DataFile {
        path: "component-date.json".into(),
        bytes: definition.to_string().into_bytes(),
    }
}

/// One observation: (tokens, dates, numbers, strings, lastUpdated, patients).
pub type Shape = (
    Vec<(usize, usize)>,
    Vec<(i64, i64)>,
    Vec<u8>,
    Vec<String>,
    i64,
    Vec<usize>,
);

pub fn draw<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

pub fn shape() -> impl Strategy<Value = Shape> {
    (
        prop::collection::vec((0..TOKENS.len(), 0..4usize), 0..4),
        prop::collection::vec((0..20i64, 0..5i64), 0..3),
        prop::collection::vec(0..6u8, 0..3),
        prop::collection::vec("[abBé%_\\\\]{1,3}", 0..3),
        0..12i64,
        prop::collection::vec(0..PATIENTS, 0..3),
    )
}

pub fn corpus(store: &Store, shapes: &[Shape]) -> Vec<Indexed> {
    let date = parameter(store, TYPE, "date");
    let several = parameter(store, TYPE, SEVERAL_DATES);
    let number = parameter(store, TYPE, "value-quantity");
    let text = parameter(store, TYPE, "value-markdown");
    let (patient, gender) = (
        parameter(store, TYPE, "patient"),
        parameter(store, "Patient", "gender"),
    );
    let (born, name) = (
        parameter(store, "Patient", "birthdate"),
        parameter(store, "Patient", "name"),
    );
    // The last one is pointed at but not there.
    let patients = (0..PATIENTS - 1).map(|number| {
        let resource = Indexed::new("Patient", &format!("p{number}"), number as i64);
        match number {
            0 => resource,
            _ => resource
                .token(&gender, "s0", &(number % 3).to_string())
                .with("gender", (number % 3).to_string().into())
                .date(&born, number as i64 * 7 % 4, 9)
                .string(&name, ["b", "é", "a", "b"][number % 4]),
        }
    });
    let resources = shapes.iter().enumerate();
    resources
        .map(
            |(index, (tokens, dates, numbers, strings, updated, patients))| {
                let id = format!("{}-{index}", (index * 7) % 10);
                let mut resource = Indexed::new(TYPE, &id, *updated);
                let categories = tokens
                    .iter()
                    .filter(|(which, _)| TOKENS[*which] == "category");
                let coding = |code: &str| json!({"coding": [{"code": code}]});
                let categories: Vec<Value> = categories
                    .map(|(_, code)| coding(CATEGORIES[*code]))
                    .collect();
                if !categories.is_empty() {
                    resource = resource.with("category", categories.into());
                }
                if let Some(number) = patients.first() {
                    let reference = format!("http://elsewhere/Patient/p{number}/_history/2");
                    resource = resource.with("subject", json!({"reference": reference}));
                }
                for (which, code) in tokens {
                    let parameter = parameter(store, TYPE, TOKENS[*which]);
                    resource =
                        resource.token(&parameter, &format!("s{}", code % 2), &code.to_string());
                }
                for (index, (lo, width)) in dates.iter().enumerate() {
                    let (lo, hi) = match width {
                        0 => (i64::MIN, *lo),
                        4 => (*lo, i64::MAX),
                        width => (*lo, lo + width),
                    };
                    resource = resource.date(&several, lo, hi);
                    if index == 0 {
                        resource = resource.date(&date, lo, hi);
                    }
                }
                for value in numbers {
                    resource =
                        resource.quantity(&number, &format!("{}.{}", value / 2, value % 2 * 5));
                }
                for value in strings {
                    resource = resource.string(&text, value);
                }
                for number in patients {
                    let target = ResourceKey::new("Patient", format!("p{number}"));
                    resource = resource.reference(&patient, target);
                }
                resource
            },
        )
        .chain(patients)
        .collect()
}

pub fn prefix() -> impl Strategy<Value = Prefix> {
    use Prefix::*;
    prop::sample::select(vec![Eq, Ne, Gt, Lt, Ge, Le, Sa, Eb, Ap])
}

pub fn date_match(scale: i64) -> impl Strategy<Value = DateMatch> {
    (prefix(), 0..20i64, 1..6i64).prop_map(move |(prefix, lo, width)| DateMatch {
        prefix,
        range: DateRange {
            lo: lo * scale,
            hi: (lo + width) * scale,
        },
    })
}

pub fn clause(store: &Store) -> BoxedStrategy<Clause> {
    let parameters: Vec<Arc<SearchParameter>> =
        TOKENS.map(|code| parameter(store, TYPE, code)).to_vec();
    let all = [
        parameters.clone(),
        vec![
            parameter(store, TYPE, "date"),
            parameter(store, TYPE, "value-quantity"),
            parameter(store, TYPE, "value-markdown"),
            parameter(store, TYPE, SEVERAL_DATES),
        ],
    ]
    .concat();
    let [date, number, text, several] = [3, 4, 5, 6].map(|index| Arc::clone(&all[index]));
    let token = (0..4usize, 0..4usize).prop_map(|(form, code)| {
        let (system, code) = (format!("s{}", code % 2), code.to_string());
        match form {
            0 => TokenMatch::SystemAndCode(system, code),
            1 => TokenMatch::System(system),
            2 => TokenMatch::NoSystem(code),
            _ => TokenMatch::Code(code),
        }
    });
    let concepts = (
        prop::sample::select(parameters.clone()),
        prop::sample::select(vec![Modifier::In, Modifier::NotIn, Modifier::Below]),
        prop::collection::vec(token.clone(), 0..6),
    )
        .prop_map(|(parameter, modifier, tokens)| Clause::Param {
            parameter,
            modifier,
            values: vec![ValueMatch::Concepts {
                asked: String::new(),
                tokens,
            }],
        });
    let tokens = (
        prop::sample::select(parameters),
        any::<bool>(),
        prop::collection::vec(token.prop_map(ValueMatch::Token), 1..3),
    )
        .prop_map(|(parameter, not, values)| Clause::Param {
            parameter,
            modifier: if not { Modifier::Not } else { Modifier::None },
            values,
        });
    let dates = (
        prop::sample::select(vec![Arc::clone(&date), date, several]),
        prop::collection::vec(date_match(1).prop_map(ValueMatch::Date), 1..3),
    )
        .prop_map(|(parameter, values)| Clause::Param {
            parameter,
            modifier: Modifier::None,
            values,
        });
    let numbers = (
        prefix(),
        prop::sample::select(vec!["0", "1", "1.0", "2.5", "1e1", "2"]),
    )
        .prop_map(move |(prefix, value)| Clause::Param {
            parameter: Arc::clone(&number),
            modifier: Modifier::None,
            values: vec![ValueMatch::Quantity {
                number: NumberMatch {
                    prefix,
                    value: Decimal::parse(value).unwrap(),
                },
                unit: UnitMatch::Any,
            }],
        });
    let strings = (
        prop::sample::select(vec![Modifier::None, Modifier::Exact, Modifier::Contains]),
        prop::collection::vec("[abé%_\\\\]{1,2}".prop_map(ValueMatch::String), 1..3),
    )
        .prop_map(move |(modifier, values)| Clause::Param {
            parameter: Arc::clone(&text),
            modifier,
            values,
        });
    let missing = (prop::sample::select(all), any::<bool>())
        .prop_map(|(parameter, missing)| Clause::Missing { parameter, missing });
    let ids = prop::collection::vec((0..10u8, 0..40u8), 1..20).prop_map(|ids| {
        Clause::Id(
            ids.into_iter()
                .map(|(a, b)| format!("{}-{b}", (b as usize * 7 + a as usize / 9) % 10))
                .collect(),
        )
    });
    let updated = prop::collection::vec(date_match(1000), 1..3).prop_map(Clause::LastUpdated);
    prop_oneof![4 => tokens, 1 => concepts, 4 => dates, 2 => numbers, 2 => strings, 1 => missing, 1 => ids, 1 => updated]
        .boxed()
}

/// A clause of an observation, or a chain to its patients.
pub fn outer(store: &Store) -> BoxedStrategy<Clause> {
    let patient = parameter(store, TYPE, "patient");
    let chain = of_patients(store).prop_map(move |clause| Clause::Chain {
        parameter: Arc::clone(&patient),
        types: vec!["Patient".into()],
        clause: Box::new(ChainedClause {
            by_type: vec![("Patient".into(), clause)],
        }),
    });
    prop_oneof![4 => clause(store), 1 => chain].boxed()
}

/// A clause of a patient, or what one of its observations has.
pub fn of_patients(store: &Store) -> BoxedStrategy<Clause> {
    let (patient, gender) = (
        parameter(store, TYPE, "patient"),
        parameter(store, "Patient", "gender"),
    );
    let missing = Clause::Missing {
        parameter: Arc::clone(&gender),
        missing: true,
    };
    let token = (0..3u8, any::<bool>()).prop_map(move |(code, not)| Clause::Param {
        parameter: Arc::clone(&gender),
        modifier: if not { Modifier::Not } else { Modifier::None },
        values: vec![ValueMatch::Token(TokenMatch::Code(code.to_string()))],
    });
    let has = clause(store).prop_map(move |clause| Clause::Has {
        parameter: Arc::clone(&patient),
        clause: Box::new(clause),
    });
    prop_oneof![3 => token, 1 => Just(missing), 4 => has].boxed()
}

pub fn sort(store: &Store) -> impl Strategy<Value = Vec<SortKey>> {
    let of = |resource_type: &str, code: &str| {
        SortBy::Parameter(vec![parameter(store, resource_type, code)])
    };
    let chain = |by| SortBy::Chain {
        parameters: vec![parameter(store, TYPE, "patient")],
        types: vec!["Patient".into()],
        by: Box::new(by),
    };
    let by: Vec<SortBy> = [
        "date",
        SEVERAL_DATES,
        "value-quantity",
        "value-markdown",
        "category",
        "subject",
    ]
    .map(|code| of(TYPE, code))
    .into_iter()
    .chain(["birthdate", "name", "gender"].map(|code| chain(of("Patient", code))))
    .chain([chain(SortBy::LastUpdated), chain(SortBy::Id)])
    .chain([SortBy::LastUpdated, SortBy::Id])
    .collect();
    prop::collection::vec((prop::sample::select(by), any::<bool>()), 0..3).prop_map(|keys| {
        keys.into_iter()
            .map(|(by, descending)| SortKey { by, descending })
            .collect()
    })
}
