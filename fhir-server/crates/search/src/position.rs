//! Positions (WGS 84): `Location.near` and `Location.contains` (<https://hl7.org/fhir/R5/location.html#search>), the two special parameters that
//! are about places.
//!
//! `near=latitude|longitude|distance|units`: within that distance on a sphere of the earth's mean radius, half a percent from the ellipsoid at most. Units
//! are UCUM's lengths, km where none is given; without a distance [`NEAR_METRES`]. `contains=latitude|longitude`: inside the GeoJSON of the
//! boundary. Refuses positions that are not on the globe and units that are no length.

use base64::Engine as _;
use fhir_definitions::SearchParameter;
use serde_json::Value;

/// What counts as near where the search does not say.
pub const NEAR_METRES: f64 = 50_000.0;
/// The earth's mean radius.
pub const EARTH_METRES: f64 = 6_371_008.8;

/// Longest unit that is read, in characters.
const UNIT_MAX: usize = 32;

/// Degrees; never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub latitude: f64,
    pub longitude: f64,
}

impl Eq for Point {}

/// A circle on the globe; the distance is never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    pub at: Point,
    pub metres: f64,
}

impl Eq for Near {}

/// Whether the parameter is `Location.near`.
pub fn is_near(parameter: &SearchParameter) -> bool {
    parameter.url == "http://hl7.org/fhir/SearchParameter/Location-near"
}

/// Whether the parameter is `Location.contains`.
pub fn is_contains(parameter: &SearchParameter) -> bool {
    parameter.url == "http://hl7.org/fhir/SearchParameter/Location-contains"
}

impl Point {
    /// `None` off the globe.
    pub fn new(latitude: f64, longitude: f64) -> Option<Point> {
        let there = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        there.then_some(Point {
            latitude,
            longitude,
        })
    }

    /// A `Location.position`.
    pub fn of_location(position: &Value) -> Option<Point> {
        let degrees = |name| position.get(name).and_then(Value::as_f64);
        Point::new(degrees("latitude")?, degrees("longitude")?)
    }

    /// The parts of a value: `latitude|longitude`.
    pub(crate) fn read(parts: &[&str]) -> Result<Point, &'static str> {
        let [latitude, longitude] = parts else {
            return Err("must be latitude|longitude");
        };
        number(latitude)
            .zip(number(longitude))
            .and_then(|(latitude, longitude)| Point::new(latitude, longitude))
            .ok_or("must begin with a latitude from -90 to 90 and a longitude from -180 to 180")
    }

    /// Along a great circle.
    pub fn metres_to(self, other: Point) -> f64 {
        let half = |a: f64, b: f64| ((a - b).to_radians() / 2.0).sin().powi(2);
        let level = self.latitude.to_radians().cos() * other.latitude.to_radians().cos();
        let chord =
            half(self.latitude, other.latitude) + level * half(self.longitude, other.longitude);
        2.0 * EARTH_METRES * chord.min(1.0).sqrt().asin()
    }
}

impl Near {
    /// The parts of a value: `latitude|longitude[|distance[|units]]`.
    pub(crate) fn read(parts: &[&str]) -> Result<Near, &'static str> {
        let at = Point::read(parts.get(..2).unwrap_or(parts))?;
        let metres = match parts.get(2..).unwrap_or_default() {
            [] | [""] | ["", _] => NEAR_METRES,
            [distance] => metres(distance, "km")?,
            [distance, ""] => metres(distance, "km")?,
            [distance, unit] => metres(distance, unit)?,
            _ => return Err("must be latitude|longitude|distance|units"),
        };
        Ok(Near { at, metres })
    }

    pub fn matches(&self, point: Point) -> bool {
        self.at.metres_to(point) <= self.reach_metres()
    }

    /// A millimetre more than was asked for: a place is within no distance of itself, however sines are rounded.
    pub fn reach_metres(&self) -> f64 {
        self.metres + 0.001
    }
}

fn metres(distance: &str, unit: &str) -> Result<f64, &'static str> {
    let distance = number(distance).filter(|it| *it >= 0.0);
    let distance = distance.ok_or("must have a distance of 0 or more")?;
    let unit = Some(unit).filter(|unit| unit.len() <= UNIT_MAX);
    unit.and_then(|unit| octofhir_ucum::convert(distance, unit, "m").ok())
        .filter(|metres| metres.is_finite())
        .ok_or("must have a UCUM unit of length, as km, m or [mi_us]")
}

fn number(text: &str) -> Option<f64> {
    let plain = |b: u8| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+');
    Some(text)
        .filter(|text| text.len() <= 32 && text.bytes().all(plain))?
        .parse()
        .ok()
}

/// Whether a boundary that the parameter selects in a Location lies around one of the points.
pub fn is_around(parameter: &SearchParameter, location: &Value, points: &[Point]) -> bool {
    let mut nodes = Vec::new();
    if let Some(program) = &parameter.program {
        program.run(location, &mut nodes);
    }
    let mut geometries = nodes.iter().filter_map(|node| boundary(node.value));
    geometries.any(|geometry| points.iter().any(|point| contains(&geometry, *point)))
}

/// The GeoJSON in an Attachment (the extension location-boundary-geojson); `None` where it is kept elsewhere or cannot be read.
fn boundary(attachment: &Value) -> Option<Value> {
    let data = attachment.get("data")?.as_str()?;
    let json = base64::engine::general_purpose::STANDARD
        .decode(data)
        .ok()?;
    serde_json::from_slice(&json).ok()
}

/// Whether the point lies inside a GeoJSON object (RFC 7946): polygons with their holes, several of them, features and collections. Points
/// and lines have no inside. What crosses the 180th meridian is cut there, as the RFC asks.
fn contains(geometry: &Value, point: Point) -> bool {
    let list = |name| {
        geometry
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    match geometry.get("type").and_then(Value::as_str) {
        Some("Polygon") => inside(geometry.get("coordinates"), point),
        Some("MultiPolygon") => list("coordinates").any(|polygon| inside(Some(polygon), point)),
        Some("GeometryCollection") => list("geometries").any(|it| contains(it, point)),
        Some("FeatureCollection") => list("features").any(|it| contains(it, point)),
        Some("Feature") => geometry
            .get("geometry")
            .is_some_and(|it| contains(it, point)),
        _ => false,
    }
}

/// Whether a line from the point to the east crosses the rings an odd number of times.
fn inside(rings: Option<&Value>, point: Point) -> bool {
    let corner = |value: &Value| Some((value.get(0)?.as_f64()?, value.get(1)?.as_f64()?));
    let mut inside = false;
    for ring in rings.and_then(Value::as_array).into_iter().flatten() {
        let corners: Vec<(f64, f64)> = ring
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(corner)
            .collect();
        for (index, (x, y)) in corners.iter().enumerate() {
            let (from_x, from_y) = corners[(index + corners.len() - 1) % corners.len()];
            let crosses = (*y > point.latitude) != (from_y > point.latitude)
                && point.longitude < (from_x - x) * (point.latitude - y) / (from_y - y) + x;
            inside ^= crosses;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const POINT: fn(f64, f64) -> Point = |latitude, longitude| Point {
        latitude,
        longitude,
    };

    #[test]
    fn distances() {
        for (from, to, kilometres) in [
            (POINT(52.52, 13.405), POINT(52.52, 13.405), 0.0),
            // Berlin and Paris, a degree of the equator, the poles, and over the date line.
            (POINT(52.52, 13.405), POINT(48.8566, 2.3522), 877.5),
            (POINT(0.0, 0.0), POINT(0.0, 1.0), 111.2),
            (POINT(90.0, 0.0), POINT(-90.0, 120.0), 20_015.1),
            (POINT(0.0, 179.5), POINT(0.0, -179.5), 111.2),
        ] {
            let got = from.metres_to(to) / 1_000.0;
            assert!((got - kilometres).abs() < 0.1, "{from:?} {to:?}: {got}");
        }
    }

    #[test]
    fn reads() {
        for (text, expect) in [
            ("1|2|3|km", Some(3_000.0)),
            ("1|2|3", Some(3_000.0)),
            ("1|2|3|", Some(3_000.0)),
            ("1|2|500|m", Some(500.0)),
            ("1|2|1|[mi_us]", Some(1_609.347_2)),
            ("1|2|1|[nmi_i]", Some(1_852.0)),
            ("-90|180|0.5|km", Some(500.0)),
            ("1|2", Some(NEAR_METRES)),
            ("1|2||km", Some(NEAR_METRES)),
            ("91|2|3|km", None),
            ("1|181|3|km", None),
            ("1|2|-3|km", None),
            ("1|2|3|kg", None),
            ("1|2|3|parsecs!", None),
            ("1|2|3|km|4", None),
            ("1", None),
            ("NaN|2", None),
            ("", None),
        ] {
            let parts: Vec<&str> = text.split('|').collect();
            let got = Near::read(&parts).ok().map(|near| near.metres);
            let same = match (got, expect) {
                (Some(got), Some(expect)) => (got - expect).abs() < 0.01,
                (got, expect) => got == expect,
            };
            assert!(same, "{text}: {got:?}");
        }
    }

    #[test]
    fn insides() {
        let square = json!([[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]);
        let hole = json!([[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]);
        let polygon = json!({"type": "Polygon", "coordinates": [square, hole]});
        let far = json!([[[20, 20], [21, 20], [21, 21], [20, 20]]]);
        let several = json!({"type": "MultiPolygon", "coordinates": [[square], far]});
        let feature = json!({"type": "Feature", "geometry": polygon});
        let features = json!({"type": "FeatureCollection", "features": [feature]});
        for (geometry, latitude, longitude, expect) in [
            (&polygon, 2.0, 3.0, true),
            (&polygon, 5.0, 5.0, false),
            (&polygon, 5.0, 11.0, false),
            (&several, 5.0, 5.0, true),
            (&several, 20.2, 20.9, true),
            (&several, 20.9, 20.2, false),
            (&features, 2.0, 3.0, true),
            (
                &json!({"type": "Point", "coordinates": [1, 1]}),
                1.0,
                1.0,
                false,
            ),
            (
                &json!({"type": "Polygon", "coordinates": [[], [[1]], 3]}),
                1.0,
                1.0,
                false,
            ),
            (&json!(null), 1.0, 1.0, false),
        ] {
            let got = contains(geometry, POINT(latitude, longitude));
            assert_eq!(got, expect, "{geometry} {latitude} {longitude}");
        }
    }
}
