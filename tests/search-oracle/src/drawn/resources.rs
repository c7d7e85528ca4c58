//! Random resources out of small pools, so that searches find some of them and not all: names that differ in accents, dates of every precision,
//! quantities with and without units, references of every form.

use super::{chance, pick};
use crate::time;
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The types drawn, and how many ids of each there are.
pub const IDS: &[(&str, usize)] = &[
    ("Condition", 9),
    ("DiagnosticReport", 4),
    ("Encounter", 8),
    ("Group", 2),
    ("Library", 4),
    ("List", 4),
    ("Location", 5),
    ("Measure", 3),
    ("MedicationRequest", 5),
    ("Observation", 26),
    ("Organization", 5),
    ("Patient", 16),
    ("Practitioner", 3),
    ("RelatedPerson", 6),
    ("RiskAssessment", 6),
    ("ServiceRequest", 6),
    ("ValueSet", 5),
];

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
pub(super) const TEXTS: &[&str] = &[
    "Blood pressure",
    "blood count",
    "Blutdruck, systolisch",
    "High temperature",
    "Déjà vu",
    "100% saturated_",
];
const FAMILIES: &[&str] = &[
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
const GIVEN: &[&str] = &["Anna-Maria", "Eva", "Éva", "Bob", "bob", "José", "J", "কামাল"];
const CITIES: &[&str] = &[
    "Ñandú",
    "Nandu",
    "São Paulo",
    "Sao Tome",
    "Łódź",
    "N'Djamena",
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
const URLS: &[&str] = &[
    "http://example.org/fhir/a",
    "http://example.org/fhir/a/b",
    "http://example.org/fhir/a/b/c",
    "http://example.org/fhir/ab",
    "urn:oid:1.2.3",
    "urn:oid:1.2.3.4",
];

/// A resource of the type, with that id.
pub fn resource(rng: &mut Rng, resource_type: &str, id: &str) -> Value {
    let mut draw = Draw {
        rng,
        contained: Vec::new(),
    };
    let mut body = Map::new();
    body.insert("resourceType".into(), resource_type.into());
    body.insert("id".into(), id.into());
    draw.common(&mut body);
    draw.special(resource_type, &mut body);
    if !draw.contained.is_empty() {
        body.insert("contained".into(), Value::Array(draw.contained));
    }
    Value::Object(body)
}

struct Draw<'r> {
    rng: &'r mut Rng,
    contained: Vec<Value>,
}

impl Draw<'_> {
    fn chance(&mut self, percent: u8) -> bool {
        chance(self.rng, percent)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *pick(self.rng, from)
    }

    /// Adds the element so many times of a hundred.
    fn may(
        &mut self,
        body: &mut Map<String, Value>,
        percent: u8,
        name: &str,
        make: impl FnOnce(&mut Self) -> Value,
    ) {
        if self.chance(percent) {
            let value = make(self);
            body.insert(name.into(), value);
        }
    }

    /// From `least` to `most` of them.
    fn some(
        &mut self,
        least: usize,
        most: usize,
        mut make: impl FnMut(&mut Self) -> Value,
    ) -> Value {
        let number = self.rng.usize(least..=most);
        (0..number).map(|_| make(self)).collect()
    }

    fn common(&mut self, body: &mut Map<String, Value>) {
        let mut meta = Map::new();
        self.may(&mut meta, 25, "tag", |d| d.some(1, 2, Draw::coding));
        self.may(&mut meta, 15, "security", |d| d.some(1, 1, Draw::coding));
        self.may(&mut meta, 20, "profile", |d| {
            // At times of a type that the element may not name: nothing follows it there.
            d.some(1, 2, |d| d.canonical(&["Profile", "Profile", "Library"]))
        });
        self.may(&mut meta, 20, "source", |d| d.pick(URLS).into());
        if !meta.is_empty() {
            body.insert("meta".into(), meta.into());
        }
        self.may(body, 20, "language", |d| {
            d.pick(&["en", "de", "de-CH", "fr"]).into()
        });
        self.may(body, 20, "text", |d| {
            let text = d.pick(TEXTS);
            json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{text}</p></div>")})
        });
    }

    fn special(&mut self, resource_type: &str, body: &mut Map<String, Value>) {
        match resource_type {
            "Patient" => self.patient(body),
            "Observation" => self.observation(body),
            "Encounter" => {
                body.insert(
                    "status".into(),
                    self.pick(&["planned", "in-progress", "completed"]).into(),
                );
                self.may(body, 70, "class", |d| d.some(1, 2, Draw::concept));
                self.may(body, 80, "subject", |d| d.reference("Patient"));
                self.may(body, 80, "actualPeriod", Draw::period);
                self.may(body, 40, "length", Draw::quantity);
                self.may(body, 40, "serviceProvider", |d| d.reference("Organization"));
                self.may(body, 40, "partOf", |d| d.reference("Encounter"));
                self.may(body, 50, "location", |d| {
                    d.some(
                        1,
                        2,
                        |d| json!({"location": d.reference("Location"), "period": d.period()}),
                    )
                });
                self.may(body, 40, "identifier", |d| d.some(1, 2, Draw::identifier));
            }
            "Condition" => {
                body.insert("subject".into(), self.reference("Patient"));
                body.insert("clinicalStatus".into(), self.concept());
                self.may(body, 90, "code", Draw::concept);
                self.may(body, 50, "category", |d| d.some(1, 2, Draw::category));
                self.may(body, 50, "encounter", |d| d.reference("Encounter"));
                self.onset(body, "onset");
                self.onset(body, "abatement");
                self.may(body, 50, "recordedDate", Draw::date_time);
                self.may(body, 40, "evidence", |d| {
                    d.some(1, 2, |d| json!({"concept": d.concept(), "reference": d.reference("Observation")}))
                });
            }
            "Organization" => {
                self.may(body, 90, "name", |d| {
                    format!("{} {}", d.pick(CITIES), d.pick(&["Clinic", "Hospital"])).into()
                });
                self.may(body, 60, "alias", |d| {
                    d.some(1, 2, |d| d.pick(CITIES).into())
                });
                self.may(body, 60, "partOf", |d| d.reference("Organization"));
                self.may(body, 60, "active", |d| d.rng.bool().into());
                self.may(body, 50, "identifier", |d| d.some(1, 2, Draw::identifier));
                self.may(body, 50, "contact", |d| {
                    d.some(1, 1, |d| json!({"address": d.address()}))
                });
            }
            "RelatedPerson" => {
                body.insert("patient".into(), self.reference("Patient"));
                self.may(body, 90, "relationship", |d| d.some(1, 2, Draw::role));
                self.may(body, 50, "gender", |d| d.pick(&["male", "female"]).into());
            }
            "Practitioner" => {
                self.may(body, 90, "name", |d| d.some(1, 2, Draw::name));
                self.may(body, 60, "identifier", |d| d.some(1, 2, Draw::identifier));
                self.may(body, 50, "gender", |d| d.pick(&["male", "female"]).into());
            }
            "Location" => {
                self.may(body, 80, "name", |d| d.pick(CITIES).into());
                self.may(body, 80, "address", Draw::address);
                self.may(body, 60, "partOf", |d| d.reference("Location"));
                self.may(body, 60, "status", |d| {
                    d.pick(&["active", "suspended"]).into()
                });
                self.may(body, 50, "managingOrganization", |d| {
                    d.reference("Organization")
                });
                self.may(body, 80, "position", |d| {
                    let (longitude, latitude) = d.pick(&[
                        ("8.54", "47.37"),
                        ("8.55", "47.38"),
                        ("-83.69", "42.25"),
                        ("179.99", "-16.5"),
                        ("-179.99", "-16.5"),
                    ]);
                    json!({"longitude": number(longitude), "latitude": number(latitude)})
                });
            }
            "ValueSet" | "Library" | "Measure" => {
                body.insert(
                    "status".into(),
                    self.pick(&["draft", "active", "retired"]).into(),
                );
                self.may(body, 90, "url", |d| d.canonical_url(resource_type).into());
                self.may(body, 70, "version", |d| {
                    d.pick(&["1.0", "1.1", "2.0"]).into()
                });
                self.may(body, 80, "title", |d| d.pick(TEXTS).into());
                self.may(body, 80, "name", |d| d.pick(GIVEN).into());
                self.may(body, 70, "date", Draw::date_time);
                self.may(body, 50, "description", |d| d.pick(TEXTS).into());
                if resource_type == "Library" {
                    body.insert("type".into(), self.concept());
                }
                if resource_type == "Measure" {
                    self.may(body, 70, "library", |d| {
                        d.some(1, 2, |d| d.canonical(&["Library", "Library", "Library", "Measure"]))
                    });
                }
                if resource_type != "ValueSet" {
                    self.may(body, 40, "relatedArtifact", |d| {
                        d.some(1, 2, |d| json!({"type": d.pick(&["depends-on", "derived-from"]), "resource": d.canonical(&["Library", "Measure", "ValueSet"])}))
                    });
                }
            }
            "List" => {
                body.insert("status".into(), "current".into());
                body.insert("mode".into(), self.pick(&["working", "snapshot"]).into());
                self.may(body, 60, "code", Draw::concept);
                self.may(body, 60, "subject", |d| json!([d.reference("Patient")]));
                self.may(body, 60, "date", Draw::date_time);
                self.may(body, 80, "entry", |d| {
                    d.some(1, 4, |d| {
                        let of = d.pick(&["Patient", "Observation", "Condition"]);
                        json!({"item": d.reference(of)})
                    })
                });
            }
            "RiskAssessment" => {
                body.insert("status".into(), "final".into());
                body.insert("subject".into(), self.reference("Patient"));
                self.may(body, 90, "prediction", |d| {
                    d.some(1, 2, |d| match d.chance(80) {
                        true => json!({"probabilityDecimal": number(d.pick(&["0.25", "0.3", "0.30", "0.5", "0.05", "1"]))}),
                        false => json!({"qualitativeRisk": d.concept()}),
                    })
                });
                match self.rng.u8(..3) {
                    0 => drop(body.insert("occurrenceDateTime".into(), self.date_time())),
                    1 => drop(body.insert("occurrencePeriod".into(), self.period())),
                    _ => {}
                }
            }
            "ServiceRequest" => {
                body.insert("status".into(), self.pick(&["active", "completed"]).into());
                body.insert("intent".into(), "order".into());
                body.insert("subject".into(), self.reference("Patient"));
                self.may(body, 80, "code", |d| json!({"concept": d.concept()}));
                self.may(body, 50, "requester", |d| d.reference("Practitioner"));
                self.may(body, 20, "instantiatesCanonical", |d| {
                    d.some(1, 1, |d| d.canonical(&["Measure", "Library"]))
                });
                match self.rng.u8(..4) {
                    0 => drop(body.insert("occurrenceDateTime".into(), self.date_time())),
                    1 => drop(body.insert("occurrencePeriod".into(), self.period())),
                    2 => drop(body.insert("occurrenceTiming".into(), self.timing())),
                    _ => {}
                }
                self.may(body, 50, "authoredOn", Draw::date_time);
            }
            "MedicationRequest" => {
                body.insert("status".into(), self.pick(&["active", "stopped"]).into());
                body.insert("intent".into(), "order".into());
                body.insert("subject".into(), self.reference("Patient"));
                self.may(body, 80, "medication", |d| json!({"concept": d.concept()}));
                self.may(body, 50, "encounter", |d| d.reference("Encounter"));
                self.may(body, 60, "authoredOn", Draw::date_time);
                self.may(body, 60, "dosageInstruction", |d| {
                    d.some(1, 2, |d| json!({"timing": d.timing()}))
                });
            }
            "DiagnosticReport" => {
                body.insert("status".into(), self.pick(&["final", "partial"]).into());
                body.insert("code".into(), self.concept());
                self.may(body, 80, "subject", |d| d.reference("Patient"));
                self.may(body, 80, "result", |d| {
                    d.some(1, 3, |d| d.reference("Observation"))
                });
                self.may(body, 70, "issued", |d| {
                    format!("{}T08:30:15.250+02:00", d.day()).into()
                });
                self.may(body, 50, "conclusionCode", |d| d.some(1, 2, Draw::concept));
            }
            "Group" => {
                body.insert("type".into(), "person".into());
                body.insert("membership".into(), "enumerated".into());
                self.may(body, 90, "member", |d| {
                    d.some(1, 3, |d| json!({"entity": d.reference("Patient")}))
                });
                self.may(body, 70, "characteristic", |d| {
                    d.some(1, 3, |d| json!({"code": d.concept(), "valueCodeableConcept": d.concept(), "exclude": false}))
                });
            }
            _ => {}
        }
    }

    fn patient(&mut self, body: &mut Map<String, Value>) {
        self.may(body, 85, "name", |d| d.some(1, 2, Draw::name));
        self.may(body, 70, "identifier", |d| d.some(1, 2, Draw::identifier));
        self.may(body, 80, "gender", |d| {
            d.pick(&["male", "female", "other", "unknown"]).into()
        });
        self.may(body, 60, "active", |d| d.rng.bool().into());
        match self.rng.u8(..10) {
            0 => {
                let absent = json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]});
                body.insert("_birthDate".into(), absent);
            }
            1 => {}
            _ => drop(body.insert("birthDate".into(), self.date())),
        }
        match self.rng.u8(..4) {
            0 => drop(body.insert("deceasedBoolean".into(), self.rng.bool().into())),
            1 => drop(body.insert("deceasedDateTime".into(), self.date_time())),
            _ => {}
        }
        self.may(body, 60, "telecom", |d| {
            d.some(1, 2, |d| json!({"system": d.pick(&["phone", "email"]), "value": d.pick(&["555-1", "555-2", "a@example.org"])}))
        });
        self.may(body, 60, "address", |d| d.some(1, 2, Draw::address));
        self.may(body, 70, "managingOrganization", |d| {
            d.reference("Organization")
        });
        self.may(body, 50, "generalPractitioner", |d| {
            d.some(1, 2, |d| {
                let of = d.pick(&["Practitioner", "Organization"]);
                d.reference(of)
            })
        });
        self.may(
            body,
            30,
            "link",
            |d| json!([{"other": d.reference("Patient"), "type": "seealso"}]),
        );
        self.may(
            body,
            30,
            "communication",
            |d| json!([{"language": d.concept()}]),
        );
    }

    fn observation(&mut self, body: &mut Map<String, Value>) {
        body.insert(
            "status".into(),
            self.pick(&["final", "final", "preliminary", "amended"])
                .into(),
        );
        body.insert("code".into(), self.concept());
        self.may(body, 60, "category", |d| d.some(1, 2, Draw::category));
        self.may(body, 90, "subject", |d| match d.chance(90) {
            true => d.reference("Patient"),
            false => d.reference("Group"),
        });
        self.may(body, 40, "encounter", |d| d.reference("Encounter"));
        self.may(body, 30, "performer", |d| {
            d.some(1, 2, |d| {
                let of = d.pick(&["Practitioner", "Organization", "Patient"]);
                d.reference(of)
            })
        });
        self.may(body, 25, "hasMember", |d| {
            d.some(1, 2, |d| d.reference("Observation"))
        });
        match self.rng.u8(..6) {
            0..=2 => drop(body.insert("effectiveDateTime".into(), self.date_time())),
            3 => drop(body.insert("effectivePeriod".into(), self.period())),
            4 => drop(body.insert("effectiveTiming".into(), self.timing())),
            _ => {}
        }
        self.value(body);
        self.may(body, 40, "component", |d| {
            d.some(1, 3, |d| {
                let mut component = Map::new();
                component.insert("code".into(), d.concept());
                d.value(&mut component);
                component.into()
            })
        });
        self.may(body, 30, "method", Draw::concept);
        self.may(body, 20, "note", |d| json!([{"text": d.pick(TEXTS)}]));
    }

    /// `value[x]`, or a reason for its absence.
    fn value(&mut self, body: &mut Map<String, Value>) {
        match self.rng.u8(..10) {
            0..=4 => drop(body.insert("valueQuantity".into(), self.quantity())),
            5 => drop(body.insert("valueCodeableConcept".into(), self.concept())),
            6 => drop(body.insert("valueString".into(), self.pick(TEXTS).into())),
            7 => drop(body.insert("valueDateTime".into(), self.date_time())),
            8 => drop(body.insert("valuePeriod".into(), self.period())),
            _ => drop(body.insert("dataAbsentReason".into(), self.concept())),
        }
    }

    fn onset(&mut self, body: &mut Map<String, Value>, name: &str) {
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

    fn name(&mut self) -> Value {
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

    fn address(&mut self) -> Value {
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

    fn identifier(&mut self) -> Value {
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

    fn coding(&mut self) -> Value {
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

    fn concept(&mut self) -> Value {
        let mut concept = Map::new();
        self.may(&mut concept, 90, "coding", |d| d.some(1, 2, Draw::coding));
        if concept.is_empty() || self.chance(30) {
            concept.insert("text".into(), self.pick(TEXTS).into());
        }
        concept.into()
    }

    /// Of a code system with a hierarchy.
    fn role(&mut self) -> Value {
        json!({"coding": [{"system": ROLES, "code": self.pick(ROLE_CODES)}]})
    }

    fn category(&mut self) -> Value {
        let system = "http://terminology.hl7.org/CodeSystem/observation-category";
        json!({"coding": [{"system": system, "code": self.pick(CATEGORIES)}]})
    }

    fn quantity(&mut self) -> Value {
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

    fn range(&mut self) -> Value {
        let mut range = Map::new();
        self.may(&mut range, 80, "low", |d| json!({"value": number(d.pick(&["5", "10"])), "code": "a", "system": "http://unitsofmeasure.org"}));
        if range.is_empty() || self.chance(80) {
            range.insert("high".into(), json!({"value": number(self.pick(&["12", "40"])), "code": "a", "system": "http://unitsofmeasure.org"}));
        }
        range.into()
    }

    /// A url that resources of this type alone have.
    fn canonical_url(&mut self, resource_type: &str) -> String {
        let end = self.pick(&["a", "a/b", "a/b/c", "ab"]);
        format!("http://example.org/{}/{end}", resource_type.to_lowercase())
    }

    /// Of a type that the element may name.
    fn canonical(&mut self, types: &[&'static str]) -> Value {
        let of = self.pick(types);
        let url = self.canonical_url(of);
        match self.rng.u8(..3) {
            0 => format!("{url}|{}", self.pick(&["1.0", "2.0"])).into(),
            _ => url.into(),
        }
    }

    /// A Reference, most often to one of ours.
    fn reference(&mut self, to: &str) -> Value {
        let most = IDS
            .iter()
            .find(|(name, _)| *name == to)
            .map_or(1, |(_, n)| *n);
        // The last id is never there.
        let id = format!("{}{}", to[..2].to_lowercase(), self.rng.usize(..=most));
        let text = match self.rng.u8(..100) {
            0..=5 => format!("{}/{to}/{id}", crate::BASE),
            6..=9 => format!("{to}/{id}/_history/{}", self.pick(&["900", "901"])),
            10..=12 => format!("http://elsewhere.example.org/{to}/{id}"),
            13 => format!(
                "urn:uuid:00000000-0000-4000-8000-00000000000{}",
                self.rng.u8(..4)
            ),
            14..=17 => return self.inner(to),
            18..=23 => return json!({"type": to, "identifier": self.identifier()}),
            _ => format!("{to}/{id}"),
        };
        let mut reference = json!({"reference": text});
        if self.chance(15) {
            reference["identifier"] = self.identifier();
        }
        if self.chance(15) {
            reference["display"] = self.pick(FAMILIES).into();
        }
        if self.chance(5) {
            reference["type"] = to.into();
        }
        reference
    }

    /// A reference to a contained resource.
    fn inner(&mut self, to: &str) -> Value {
        let id = format!("c{}", self.contained.len());
        let mut inner = Map::new();
        inner.insert("resourceType".into(), to.into());
        inner.insert("id".into(), id.clone().into());
        match to {
            "Patient" | "Practitioner" => {
                self.may(&mut inner, 90, "name", |d| d.some(1, 1, Draw::name));
                self.may(&mut inner, 60, "gender", |d| {
                    d.pick(&["male", "female"]).into()
                });
            }
            "Organization" | "Location" => {
                self.may(&mut inner, 90, "name", |d| d.pick(CITIES).into())
            }
            "Observation" => drop(inner.insert("code".into(), self.concept())),
            _ => {}
        }
        self.contained.push(inner.into());
        json!({"reference": format!("#{id}")})
    }

    fn timing(&mut self) -> Value {
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
    fn period(&mut self) -> Value {
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

    fn day(&mut self) -> String {
        let month = self.rng.u8(1..=3);
        format!("2024-{month:02}-{:02}", self.pick(&[1, 2, 14, 28, 29]))
    }

    fn date(&mut self) -> Value {
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

    fn date_time(&mut self) -> Value {
        let day = self.rng.i64(0..90);
        self.moment(day).into()
    }

    /// The day of the first three months of 2024, as precise as it comes.
    fn moment(&mut self, day: i64) -> String {
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
fn number(text: &str) -> Value {
    Value::Number(serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}
