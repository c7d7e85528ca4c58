//! Places within a distance, in the index: a globe of nearly the same radius, on which a position is known to a centimetre. So the index decides what lies
//! clearly inside or outside of a circle; what lies at its edge is asked for first, and is Postgres's to evaluate. Pure, but for that request.

use super::translate::{any, every, nested, term};
use super::{Indexed, Stop};
use crate::elastic::document::parameter_keyword;
use crate::search::flat::Test;
use fhir_search::position::{EARTH_METRES, Near};
use serde_json::{Value, json};
use std::f64::consts::PI;

/// How far the index and Postgres may be apart, with room to spare. Elasticsearch gives its distances to 0.4 m; its earth is 3 cm smaller in radius, which
/// is 9 cm half way around; a position is rounded by 2 cm at most; and where half way around is near, Postgres's own sines are right to 0.2 m.
const EDGE_METRES: f64 = 2.0;
/// Half way around, and more: no two places are so far from each other.
const ANYWHERE_METRES: f64 = EARTH_METRES * PI + 1_000.0;

/// Some position by the parameter lies in one of the circles, or at its edge.
pub(super) fn query(key: i16, circles: &[Near]) -> Value {
    let circles = circles.iter().map(|near| within(near, near.reach_metres()));
    of_place(key, circles.collect())
}

/// A position within so many metres of the middle of the circle.
fn within(near: &Near, metres: f64) -> Value {
    match metres {
        // The index has no circle of nothing.
        ..0.001 => json!({"match_none": {}}),
        ANYWHERE_METRES.. => json!({"match_all": {}}),
        metres => json!({"geo_distance": {
            "distance": format!("{metres:.3}m"),
            PLACE: [near.at.longitude, near.at.latitude],
        }}),
    }
}

pub(super) const PLACE: &str = "quantities.place";

/// Some position by the parameter lies at the edge of one of the circles.
fn at_edge(key: i16, circles: &[Near]) -> Value {
    let edges = circles.iter().map(|near| {
        let inside = within(near, near.reach_metres() - EDGE_METRES);
        let reached = within(near, near.reach_metres() + EDGE_METRES);
        json!({"bool": {"filter": [reached], "must_not": [inside]}})
    });
    of_place(key, edges.collect())
}

fn of_place(key: i16, of: Vec<Value>) -> Value {
    let key = term("quantities.key", parameter_keyword(key, 0));
    nested("quantities", every(vec![key, any(of)]))
}

/// Edges of all circles of the tests, wherever they stand.
fn edges(tests: &[Test], all: &mut Vec<Value>) {
    for test in tests {
        match test {
            Test::Near(key, circles) => all.push(at_edge(*key, circles)),
            Test::Any(tests) | Test::All(tests) => edges(tests, all),
            Test::Not(test) | Test::Points(_, test) | Test::PointedAt(_, test) => {
                edges(std::slice::from_ref(test), all);
            }
            _ => {}
        }
    }
}

impl Indexed<'_> {
    /// Rows at the edge of a circle of the filter, which are Postgres's to evaluate.
    pub(super) async fn at_edges(&self, filter: &[Test], mask: &[i64]) -> Result<Vec<i64>, Stop> {
        let mut all = Vec::new();
        edges(filter, &mut all);
        if all.is_empty() {
            return Ok(Vec::new());
        }
        self.rows_to_mask(vec![any(all)], mask).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_search::position::Point;

    fn near(metres: f64) -> Near {
        let at = Point::new(1.0, 2.0).unwrap();
        Near { at, metres }
    }

    #[test]
    fn says_circles_and_their_edges() {
        let circle =
            |metres: &str| json!({"geo_distance": {"distance": metres, PLACE: [2.0, 1.0]}});
        let (all, none) = (json!({"match_all": {}}), json!({"match_none": {}}));
        for (metres, expect, outer, inner) in [
            (
                500.0,
                circle("500.001m"),
                circle("502.001m"),
                circle("498.001m"),
            ),
            (0.0, circle("0.001m"), circle("2.001m"), none.clone()),
            (3e7, all.clone(), all.clone(), all.clone()),
            (f64::MAX, all.clone(), all.clone(), all),
        ] {
            let said = query(7, &[near(metres)]);
            let both = &said["nested"]["query"]["bool"]["filter"];
            assert_eq!(both[0], json!({"term": {"quantities.key": "7"}}));
            assert_eq!(both[1], expect, "{metres}");
            let said = at_edge(7, &[near(metres)]);
            let edge = &said["nested"]["query"]["bool"]["filter"][1]["bool"];
            assert_eq!(edge["filter"][0], outer, "{metres}");
            assert_eq!(edge["must_not"][0], inner, "{metres}");
        }
    }

    #[test]
    fn finds_edges_wherever_they_are() {
        let test = || Test::Near(7, vec![near(1.0)]);
        let deep = Test::Points(2, Box::new(Test::Any(vec![test().negate()])));
        for (tests, expect) in [
            (vec![], 0),
            (vec![Test::Tokens(vec![1])], 0),
            (vec![test(), Test::Tokens(vec![1])], 1),
            (
                vec![deep, Test::PointedAt(3, Box::new(Test::All(vec![test()])))],
                2,
            ),
        ] {
            let mut all = Vec::new();
            edges(&tests, &mut all);
            assert_eq!(all.len(), expect, "{tests:?}");
        }
    }
}
