//! Places (<https://hl7.org/fhir/R5/location.html#search>): `near` on a globe, and `contains` in a boundary of GeoJSON (RFC 7946).
//!
//! Readings: polygons alone have an inside, wherever they stand: several of them, collections, features. The first ring of one is its border, the others
//! are holes (section 3.1.6). A boundary that is kept elsewhere or cannot be read has no inside. Whether a line belongs to what it bounds
//! nobody says; no place on one is drawn.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fhir_search::position::{Near, Point};
use serde_json::Value;
use std::f64::consts::PI;

/// Within the distance, by the law of cosines on a globe.
pub(crate) fn is_near(position: &Value, near: &Near) -> bool {
    let degrees = |name: &str| position[name].as_f64();
    let (Some(latitude), Some(longitude)) = (degrees("latitude"), degrees("longitude")) else {
        return false;
    };
    let (a, b) = (latitude.to_radians(), near.at.latitude.to_radians());
    let between = (longitude - near.at.longitude).to_radians();
    let cosine = a.sin() * b.sin() + a.cos() * b.cos() * between.cos();
    cosine.clamp(-1.0, 1.0).acos() * 6_371_008.8 <= near.metres
}

/// Whether the boundary, an Attachment, is one of the place.
pub(crate) fn is_around(boundary: &Value, place: Point) -> bool {
    let data = boundary["data"].as_str();
    let bytes = data.and_then(|data| BASE64.decode(data).ok());
    let geometry = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    geometry.is_some_and(|geometry| {
        let mut polygons = polygons(&geometry).into_iter();
        polygons.any(|polygon| holds(polygon, place))
    })
}

/// The coordinates of every polygon in a GeoJSON object.
fn polygons(object: &Value) -> Vec<&Value> {
    let list = |name: &str| object[name].as_array().into_iter().flatten();
    match object["type"].as_str() {
        Some("Polygon") => vec![&object["coordinates"]],
        Some("MultiPolygon") => list("coordinates").collect(),
        Some("GeometryCollection") => list("geometries").flat_map(polygons).collect(),
        Some("Feature") => polygons(&object["geometry"]),
        Some("FeatureCollection") => list("features").flat_map(polygons).collect(),
        _ => Vec::new(),
    }
}

/// Within the border, and in no hole.
fn holds(polygon: &Value, place: Point) -> bool {
    let rings = polygon.as_array().into_iter().flatten();
    let mut around = rings.map(|ring| goes_around(ring, place));
    around.next() == Some(true) && !around.any(|hole| hole)
}

/// Whoever walks along the ring and looks at the place turns round once, or comes back without.
fn goes_around(ring: &Value, place: Point) -> bool {
    let from_place = |corner: &Value| {
        let (x, y) = (corner[0].as_f64()?, corner[1].as_f64()?);
        Some((x - place.longitude, y - place.latitude))
    };
    let corners = ring.as_array().into_iter().flatten();
    let corners: Vec<(f64, f64)> = corners.filter_map(from_place).collect();
    let turns = corners.windows(2).map(|side| {
        let ((x, y), (next_x, next_y)) = (side[0], side[1]);
        let (across, along) = (x * next_y - y * next_x, x * next_x + y * next_y);
        across.atan2(along)
    });
    turns.sum::<f64>().abs() > PI
}
