//! Places: what the index finds within a circle, against the distance itself, all over the globe.

use super::corpus::{Indexed, parameter, replace};
use super::drawn::draw;
use crate::{Page, testing};
use fhir_model::Decimal;
use fhir_search::Query;
use fhir_search::document::QuantityEntry;
use fhir_search::position::{Near, Point};
use fhir_search::query::{Clause, Modifier, ValueMatch};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

const PLACES: usize = 300;
const CIRCLES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn finds_what_is_near() {
    let store = testing::store().await;
    let near = parameter(&store, "Location", "near");
    let mut runner = TestRunner::new(Config::default());
    let places: Vec<(i32, i32)> = draw(&mut runner, prop::collection::vec(place(), PLACES));
    let corpus: Vec<Indexed> = places
        .iter()
        .enumerate()
        .map(|(index, (latitude, longitude))| {
            let mut location = Indexed::new("Location", &index.to_string(), 1);
            location.document.quantities.push(QuantityEntry {
                key: near.key,
                marker: 0,
                units: Vec::new(),
                ucum: None,
                lo: Decimal::parse(&degrees(*latitude).to_string()),
                hi: Decimal::parse(&degrees(*longitude).to_string()),
            });
            location
        })
        .collect();
    replace(&store, &corpus).await;
    let mut several = 0;
    for _ in 0..CIRCLES {
        let (at, metres) = draw(&mut runner, (place(), metres()));
        let circle = Near {
            at: point(at),
            metres,
        };
        let mut expect: Vec<String> = places
            .iter()
            .enumerate()
            .filter(|(_, place)| circle.matches(point(**place)))
            .map(|(index, _)| index.to_string())
            .collect();
        let query = Query {
            filter: vec![Clause::Param {
                parameter: Arc::clone(&near),
                modifier: Modifier::None,
                values: vec![ValueMatch::Near(circle)],
            }],
            ..Query::all(vec!["Location".into()], PLACES)
        };
        let page = store.search(&query, Page::First).await.unwrap();
        let mut found: Vec<String> = page.matches.into_iter().map(|it| it.key.id).collect();
        found.sort();
        expect.sort();
        assert_eq!(found, expect, "{circle:?}");
        several += usize::from(!found.is_empty() && found.len() < PLACES);
    }
    assert!(several > CIRCLES / 4, "{several}");
}

/// Hundredths of degrees; poles and the date line are as likely as the rest together.
fn place() -> impl Strategy<Value = (i32, i32)> {
    let latitude = prop_oneof![-9_000..=9_000, Just(9_000), Just(-9_000), 8_900..=9_000];
    let longitude = prop_oneof![
        -18_000..=18_000,
        Just(18_000),
        17_900..=18_000,
        -18_000..=-17_900
    ];
    (latitude, longitude)
}

fn metres() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![
        0.0,
        1_000.0,
        50_000.0,
        500_000.0,
        3_000_000.0,
        9_000_000.0,
        15_000_000.0,
        21_000_000.0,
    ])
}

fn degrees(hundredths: i32) -> f64 {
    f64::from(hundredths) / 100.0
}

fn point((latitude, longitude): (i32, i32)) -> Point {
    Point::new(degrees(latitude), degrees(longitude)).unwrap()
}
