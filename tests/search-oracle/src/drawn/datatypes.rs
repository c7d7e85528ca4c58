//! Values of data types: some of each pool, so that one search finds several.

use super::resources::{CITIES, Draw, GIVEN, TEXTS};
use crate::time;
use serde_json::{Map, Value, json};

const LOINC: &str = "http://loinc.org";
const SNOMED: &str = "http://snomed.info/sct";
const LOCAL: &str = "urn:oid:1.2.3";
const CODES: &[(&str, &str, &str)] = &[
    (LOINC, "718-7", "Hemoglobin [Mass/volume] in Blood"),
    (LOINC, "8480-6", "Systolic blood pressure"),
    (LOINC, "8462-4", "Diastolic blood pressure"),
    (LOINC, "85354-9", "Blood pressure panel"),
    (SNOMED, "38341003", "Hypertensive disorder"),
    (SNOMED, "22298006", "Herzinfarkt"),
    (LOCAL, "hb", "Hämoglobin"),
    (LOCAL, "HB", "Haemoglobin, upper case"),
    (LOCAL, "a,b|c$d\\e", "Awkward"),
    ("", "718-7", "No system"),
    ("", "free", ""),
];
/// A family member, a parent, a mother, a natural mother; others beside them.
pub(super) const ROLES: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleCode";
pub(super) const ROLE_CODES: &[&str] = &[
    "FAMMEMB", "PRN", "MTH", "NMTH", "FTH", "CHILD", "SON", "FRND",
];
const CATEGORIES: &[&str] = &["laboratory", "vital-signs", "survey"];
pub(super) const FAMILIES: &[&str] = &[
    "Müller",
    "Muller",
    "MULLER-Lüdenscheidt",
    "O'Brien",
    "van der Berg",
    "Carreño Quiñones",
    "Nguyễn",
    "Иванов",
    "محمّد",
    "Straßer",
    "St. John",
    "Łukasz",
];
const NUMBERS: &[&str] = &[
    "5", "5.0", "5.4", "5.40", "4.95", "99.5", "100", "100.5", "101", "1e2", "-3", "0.25", "250",
];
const UNITS: &[(&str, &str)] = &[
    ("g/dL", "g/dL"),
    ("mg/dL", "milligram per decilitre"),
    ("mm[Hg]", "mmHg"),
    ("kg", "kg"),
    ("g", "gram"),
];

impl Draw<'_> {
    pub(super) fn narrative(&mut self) -> Value {
        let text = self.pick(TEXTS);
        json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{text}</p></div>")})
    }

    /// `value[x]`, or a reason for its absence.
    pub(super) fn value(&mut self, body: &mut Map<String, Value>) {
        match self.rng.u8(..10) {
            0..=4 => drop(body.insert("valueQuantity".into(), self.quantity())),
            5 => drop(body.insert("valueCodeableConcept".into(), self.concept())),
            6 => drop(body.insert("valueString".into(), self.pick(TEXTS).into())),
            7 => drop(body.insert("valueDateTime".into(), self.date_time())),
            8 => drop(body.insert("valuePeriod".into(), self.period())),
            _ => drop(body.insert("dataAbsentReason".into(), self.concept())),
        }
    }

    pub(super) fn onset(&mut self, body: &mut Map<String, Value>, name: &str) {
        let (kind, value) = match self.rng.u8(..7) {
            0 => ("DateTime", self.date_time()),
            1 => ("Period", self.period()),
            2 => (
                "Age",
                json!({"value": number(self.pick(&["5", "5.0", "40", "41"])), "system": "http://unitsofmeasure.org", "code": "a"}),
            ),
            3 => ("Range", self.range()),
            4 => ("String", self.pick(TEXTS).into()),
            _ => return,
        };
        body.insert(format!("{name}{kind}"), value);
    }

    pub(super) fn name(&mut self) -> Value {
        let mut name = Map::new();
        self.may(&mut name, 90, "family", |d| d.pick(FAMILIES).into());
        self.may(&mut name, 80, "given", |d| {
            d.some(1, 2, |d| d.pick(GIVEN).into())
        });
        self.may(&mut name, 20, "text", |d| {
            format!("{} {}", d.pick(GIVEN), d.pick(FAMILIES)).into()
        });
        self.may(&mut name, 10, "prefix", |_| json!(["Dr."]));
        name.into()
    }

    pub(super) fn address(&mut self) -> Value {
        let mut address = Map::new();
        self.may(&mut address, 80, "city", |d| d.pick(CITIES).into());
        self.may(&mut address, 50, "line", |d| {
            d.some(1, 2, |d| {
                d.pick(&["1 Main St.", "Hauptstraße 1", "c/o Eva"]).into()
            })
        });
        self.may(&mut address, 60, "country", |d| {
            d.pick(&["PY", "BR", "pl"]).into()
        });
        self.may(&mut address, 40, "use", |d| {
            d.pick(&["home", "work"]).into()
        });
        self.may(&mut address, 40, "postalCode", |d| {
            d.pick(&["1234", "12345", "AB1 2CD"]).into()
        });
        address.into()
    }

    pub(super) fn identifier(&mut self) -> Value {
        let mut identifier = Map::new();
        self.may(&mut identifier, 80, "system", |d| {
            d.pick(&["urn:mrn", "urn:other", LOCAL]).into()
        });
        self.may(&mut identifier, 95, "value", |d| {
            d.pick(&["1", "2", "3", "X1", "x1", "a|b"]).into()
        });
        self.may(&mut identifier, 50, "type", |d| {
            let mut kind = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": d.pick(&["MR", "PPN"])}]});
            if d.chance(30) {
                kind["text"] = d.pick(TEXTS).into();
            }
            kind
        });
        identifier.into()
    }

    pub(super) fn coding(&mut self) -> Value {
        let (system, code, display) = self.pick(CODES);
        let mut coding = Map::new();
        if !system.is_empty() {
            coding.insert("system".into(), system.into());
        }
        if system.is_empty() || self.chance(97) {
            coding.insert("code".into(), code.into());
        }
        if !display.is_empty() && self.chance(60) {
            coding.insert("display".into(), display.into());
        }
        coding.into()
    }

    pub(super) fn concept(&mut self) -> Value {
        let mut concept = Map::new();
        self.may(&mut concept, 90, "coding", |d| d.some(1, 2, Draw::coding));
        if concept.is_empty() || self.chance(30) {
            concept.insert("text".into(), self.pick(TEXTS).into());
        }
        concept.into()
    }

    /// Of a code system with a hierarchy.
    pub(super) fn role(&mut self) -> Value {
        json!({"coding": [{"system": ROLES, "code": self.pick(ROLE_CODES)}]})
    }

    /// What the functional lists look at.
    pub(super) fn status_of(&mut self, system: &str) -> Value {
        let code = match system {
            "condition-ver-status" | "allergyintolerance-verification" => {
                self.pick(&["confirmed", "refuted"])
            }
            _ => self.pick(&["active", "active", "inactive", "resolved"]),
        };
        json!({"coding": [{"system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code}]})
    }

    pub(super) fn category(&mut self) -> Value {
        let system = "http://terminology.hl7.org/CodeSystem/observation-category";
        json!({"coding": [{"system": system, "code": self.pick(CATEGORIES)}]})
    }

    pub(super) fn quantity(&mut self) -> Value {
        let mut quantity = Map::new();
        quantity.insert("value".into(), number(self.pick(NUMBERS)));
        self.may(&mut quantity, 15, "comparator", |d| {
            d.pick(&["<", "<=", ">", ">=", "ad"]).into()
        });
        let (code, unit) = self.pick(UNITS);
        self.may(&mut quantity, 70, "unit", |_| unit.into());
        if self.chance(75) {
            quantity.insert("system".into(), "http://unitsofmeasure.org".into());
            quantity.insert("code".into(), code.into());
        }
        quantity.into()
    }

    pub(super) fn range(&mut self) -> Value {
        let mut range = Map::new();
        self.may(&mut range, 80, "low", |d| json!({"value": number(d.pick(&["5", "10"])), "code": "a", "system": "http://unitsofmeasure.org"}));
        if range.is_empty() || self.chance(80) {
            range.insert("high".into(), json!({"value": number(self.pick(&["12", "40"])), "code": "a", "system": "http://unitsofmeasure.org"}));
        }
        range.into()
    }

    pub(super) fn timing(&mut self) -> Value {
        let mut timing = Map::new();
        self.may(&mut timing, 60, "event", |d| d.some(1, 3, Draw::date_time));
        if timing.is_empty() || self.chance(50) {
            let repeat = match self.chance(70) {
                true => json!({"boundsPeriod": self.period()}),
                false => json!({"frequency": 2, "period": 1, "periodUnit": "d"}),
            };
            timing.insert("repeat".into(), repeat);
        }
        timing.into()
    }

    /// It does not end before it begins (invariant per-1).
    pub(super) fn period(&mut self) -> Value {
        let (a, b) = (self.rng.i64(0..90), self.rng.i64(0..90));
        let (mut start, mut end) = (self.moment(a), self.moment(b));
        let moments = |text: &str| time::written(text).unwrap_or_default();
        if moments(&end).1 <= moments(&start).0 {
            (start, end) = (end, start);
        }
        let mut period = Map::new();
        if self.chance(85) {
            period.insert("start".into(), start.into());
        }
        if period.is_empty() || self.chance(75) {
            period.insert("end".into(), end.into());
        }
        period.into()
    }

    pub(super) fn day(&mut self) -> String {
        let month = self.rng.u8(1..=3);
        format!("2024-{month:02}-{:02}", self.pick(&[1, 2, 14, 28, 29]))
    }

    pub(super) fn date(&mut self) -> Value {
        let year = self.pick(&[1980, 1981, 1990, 2024]);
        let date = match self.rng.u8(..4) {
            0 => format!("{year}"),
            1 => format!("{year}-{:02}", self.rng.u8(1..=12)),
            _ => format!(
                "{year}-{:02}-{:02}",
                self.pick(&[1, 2, 12]),
                self.pick(&[1, 28])
            ),
        };
        date.into()
    }

    pub(super) fn date_time(&mut self) -> Value {
        let day = self.rng.i64(0..90);
        self.moment(day).into()
    }

    /// The day of the first three months of 2024, as precise as it comes.
    pub(super) fn moment(&mut self, day: i64) -> String {
        let (month, day) = match day {
            0..31 => (1, day + 1),
            31..60 => (2, day - 30),
            _ => (3, day - 59),
        };
        let date = format!("2024-{month:02}-{day:02}");
        let zone = self.pick(&["Z", "Z", "+02:00", "-05:00", "+05:30"]);
        match self.rng.u8(..8) {
            0 => "2024".to_owned(),
            1 => format!("2024-{month:02}"),
            2..=4 => date,
            5..=6 => format!("{date}T{:02}:30:15{zone}", self.pick(&[0, 8, 23])),
            _ => format!("{date}T08:30:15.{}{zone}", self.pick(&["25", "250", "5"])),
        }
    }
}

/// A number as it is written.
pub(super) fn number(text: &str) -> Value {
    Value::Number(serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}
