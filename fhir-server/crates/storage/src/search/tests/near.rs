//! Places: what is found within a circle, by Postgres and by Elasticsearch, against the distance itself, all over the globe.

use super::corpus::{Indexed, parameter, replace};
use super::drawn::draw;
use super::indexed::{self, answered, bulk, drop_index};
use crate::search::elastic::fault::{FAULT, Fault, another_globe, without_edges};
use crate::{Page, Store, testing};
use fhir_definitions::SearchParameter;
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
    let mut runner = TestRunner::new(Config::default());
    let site = Site::drawn(store, &mut runner).await;
    let mut several = 0;
    for _ in 0..CIRCLES {
        let (at, metres) = draw(&mut runner, (place(), metres()));
        let found = site.compare(at, metres).await;
        several += usize::from(!found.is_empty() && found.len() < PLACES);
    }
    assert!(several > CIRCLES / 4, "{several}");
}

/// The same in the index, with circles that end close to a place; where the index calculates otherwise too, for what is at an edge is not its to
/// tell.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_finds_what_is_near() {
    let Some(store) = indexed::store(&[], |_| {}).await else {
        return;
    };
    let mut runner = TestRunner::new(Config::default());
    let site = Site::drawn(store, &mut runner).await;
    let mut connection = site.store.inner.write_pool.acquire().await.unwrap();
    let all = sqlx::query_scalar("SELECT pk FROM entry").fetch_all(&mut *connection);
    bulk(&site.store, &all.await.unwrap()).await;
    let mut missed = 0;
    for _ in 0..CIRCLES {
        let (at, to) = draw(
            &mut runner,
            (place(), prop::sample::select(site.places.clone())),
        );
        let beyond = draw(&mut runner, prop::sample::select(BEYOND.to_vec()));
        let metres = (point(at).metres_to(point(to)) + beyond).max(0.0);
        site.compare(at, metres).await;
        let less_exact = Fault::new(another_globe);
        FAULT.scope(less_exact, site.compare(at, metres)).await;
        let believed = Fault::new(|body| without_edges(body) || another_globe(body));
        let near = circle(at, metres);
        let found = FAULT.scope(believed, site.found(&near)).await;
        missed += usize::from(found != site.expected(&near));
    }
    // They would have been told wrong, or Postgres has not confirmed them.
    let (by_index, by_postgres) = answered(&site.store);
    let unconfirmed = by_postgres.get("wrong index").copied().unwrap_or_default();
    assert!(
        missed as u64 + unconfirmed > CIRCLES as u64 / 10,
        "{missed} {by_postgres:?}"
    );
    assert_eq!(
        by_index + unconfirmed,
        3 * CIRCLES as u64,
        "{by_postgres:?}"
    );
    drop_index(&site.store).await;
}

/// How far a circle ends behind a place, or in front of it, in metres.
const BEYOND: &[f64] = &[-3.0, -1.9, -1.0, -0.3, 0.0, 0.3, 1.0, 1.9, 3.0];

/// Places in a store.
struct Site {
    store: Store,
    near: Arc<SearchParameter>,
    places: Vec<(i32, i32)>,
}

impl Site {
    async fn drawn(store: Store, runner: &mut TestRunner) -> Site {
        let near = parameter(&store, "Location", "near");
        let places: Vec<(i32, i32)> = draw(runner, prop::collection::vec(place(), PLACES));
        let corpus = places.iter().enumerate().map(|(index, place)| {
            let mut location = Indexed::new("Location", &index.to_string(), 1);
            location.document.quantities.push(QuantityEntry {
                key: near.key,
                marker: 0,
                units: Vec::new(),
                ucum: None,
                lo: Decimal::parse(&degrees(place.0).to_string()),
                hi: Decimal::parse(&degrees(place.1).to_string()),
            });
            location
        });
        replace(&store, &corpus.collect::<Vec<_>>()).await;
        Site {
            store,
            near,
            places,
        }
    }

    /// What lies in the circle is found, and nothing else.
    async fn compare(&self, at: (i32, i32), metres: f64) -> Vec<String> {
        let near = circle(at, metres);
        let found = self.found(&near).await;
        assert_eq!(found, self.expected(&near), "{near:?}");
        found
    }

    fn expected(&self, near: &Near) -> Vec<String> {
        let places = self.places.iter().enumerate();
        let inside = places.filter(|(_, place)| near.matches(point(**place)));
        let mut expected: Vec<String> = inside.map(|(index, _)| index.to_string()).collect();
        expected.sort();
        expected
    }

    async fn found(&self, near: &Near) -> Vec<String> {
        let query = Query {
            filter: vec![Clause::Param {
                parameter: Arc::clone(&self.near),
                modifier: Modifier::None,
                values: vec![ValueMatch::Near(*near)],
            }],
            ..Query::all(vec!["Location".into()], PLACES)
        };
        let page = self.store.search(&query, Page::First).await.unwrap();
        let mut found: Vec<String> = page.matches.into_iter().map(|it| it.key.id).collect();
        found.sort();
        found
    }
}

fn circle(at: (i32, i32), metres: f64) -> Near {
    let at = point(at);
    Near { at, metres }
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
