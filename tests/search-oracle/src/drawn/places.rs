//! Where Locations are: positions, and boundaries of GeoJSON, whose corners have whole degrees. The places that are searched for lie on no line
//! between two of them.

use super::datatypes::number;
use super::pick;
use super::resources::Draw;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fastrand::Rng;
use serde_json::{Map, Value, json};

const BOUNDARY: &str = "http://hl7.org/fhir/StructureDefinition/location-boundary-geojson";
/// `latitude|longitude` of Locations.
pub(super) const POSITIONS: &[&str] = &[
    "47.37|8.54",
    "47.38|8.55",
    "42.25|-83.69",
    "-16.5|179.99",
    "-16.5|-179.99",
];
/// The south-west corners of squares of [`SIDE`] degrees, as longitude and latitude: two places, and both sides of the 180th meridian.
const SQUARES: &[(i16, i16)] = &[(5, 45), (-86, 40), (174, -20), (-180, -20)];
const SIDE: i16 = 6;
/// Rings in such a square, without their last corner, which is the first.
const BORDERS: &[&[(i16, i16)]] = &[
    &[(0, 0), (6, 0), (3, 6)],
    &[(3, 0), (6, 3), (3, 6), (0, 3)],
    &[(0, 0), (6, 0), (6, 2), (2, 2), (2, 6), (0, 6)],
    &[
        (0, 0),
        (6, 0),
        (6, 2),
        (2, 2),
        (2, 4),
        (6, 4),
        (6, 6),
        (0, 6),
    ],
];
/// These have holes.
const WHOLE: &[(i16, i16)] = &[(0, 0), (6, 0), (6, 6), (0, 6)];
const HOLES: &[&[(i16, i16)]] = &[
    &[(1, 1), (3, 1), (3, 3), (1, 3)],
    &[(4, 4), (5, 4), (5, 5)],
    &[(4, 1), (5, 1), (5, 3), (4, 3)],
];

/// `latitude|longitude` of somewhere in such a square, north or south of it.
pub(super) fn place(rng: &mut Rng) -> String {
    let (longitude, latitude) = *pick(rng, SQUARES);
    let (east, north) = (rng.i16(0..SIDE), rng.i16(-1..=SIDE));
    format!(
        "{:.2}|{:.2}",
        f64::from(latitude + north) + 0.41,
        f64::from(longitude + east) + 0.37
    )
}

impl Draw<'_> {
    /// The position and the boundary of a Location.
    pub(super) fn place(&mut self, body: &mut Map<String, Value>) {
        self.may(body, 80, "position", |d| {
            let position = d.pick::<&str>(POSITIONS).split_once('|');
            let (latitude, longitude) = position.unwrap_or_default();
            json!({"longitude": number(longitude), "latitude": number(latitude)})
        });
        self.may(
            body,
            75,
            "extension",
            |d| json!([{"url": BOUNDARY, "valueAttachment": d.boundary()}]),
        );
    }

    /// An Attachment; at times one that is kept elsewhere or cannot be read.
    fn boundary(&mut self) -> Value {
        let data = |text: &str| json!({"contentType": "application/geo+json", "data": BASE64.encode(text)});
        match self.rng.u8(..24) {
            0 => json!({"url": "http://elsewhere.example.org/boundary.json"}),
            1 => json!({"data": "no base64"}),
            2 => data("{\"type\": \"Polygon\", "),
            3 => data("[[[0, 0], [90, 0], [90, 90], [0, 0]]]"),
            _ => {
                let object = self.geojson();
                data(&object.to_string())
            }
        }
    }

    fn geojson(&mut self) -> Value {
        match self.rng.u8(..8) {
            0 => self.feature(),
            1 => json!({"type": "FeatureCollection", "features": self.some(0, 2, Draw::feature)}),
            _ => self.geometry(),
        }
    }

    fn feature(&mut self) -> Value {
        let geometry = match self.chance(85) {
            true => self.geometry(),
            false => Value::Null,
        };
        json!({"type": "Feature", "properties": {"type": "Polygon"}, "geometry": geometry})
    }

    fn geometry(&mut self) -> Value {
        match self.rng.u8(..10) {
            0..=4 => json!({"type": "Polygon", "coordinates": self.polygon()}),
            5..=7 => json!({"type": "MultiPolygon", "coordinates": self.some(1, 3, Draw::polygon)}),
            8 => {
                json!({"type": "GeometryCollection", "geometries": self.some(0, 2, Draw::geometry)})
            }
            // A line has no inside.
            _ => json!({"type": "LineString", "coordinates": self.polygon()[0]}),
        }
    }

    /// The rings of a polygon: its border, then its holes.
    fn polygon(&mut self) -> Value {
        let square = self.pick(SQUARES);
        if self.chance(50) {
            let border = self.pick(BORDERS);
            return json!([self.ring(square, border)]);
        }
        let mut rings = vec![self.ring(square, WHOLE)];
        for hole in HOLES {
            if self.rng.bool() {
                rings.push(self.ring(square, hole));
            }
        }
        rings.into()
    }

    /// In either direction, beginning anywhere, at times with heights.
    fn ring(&mut self, (longitude, latitude): (i16, i16), corners: &[(i16, i16)]) -> Value {
        let mut corners = corners.to_vec();
        let first = self.rng.usize(..corners.len());
        corners.rotate_left(first);
        if self.rng.bool() {
            corners.reverse();
        }
        corners.push(corners[0]);
        let has_heights = self.chance(20);
        let position = |(east, north): (i16, i16)| {
            let mut position = vec![longitude + east, latitude + north];
            position.extend(has_heights.then_some(1_200));
            position
        };
        json!(corners.into_iter().map(position).collect::<Vec<_>>())
    }
}
