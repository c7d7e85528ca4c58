//! Random resources out of small pools, so that searches find some of them and not all: names that differ in accents, dates of every precision,
//! quantities with and without units, references of every form.

use super::datatypes::number;
use super::{chance, pick};
use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The types drawn, and how many ids of each there are.
pub const IDS: &[(&str, usize)] = &[
    ("AllergyIntolerance", 4),
    ("Composition", 5),
    ("Condition", 9),
    ("DiagnosticReport", 4),
    ("Encounter", 8),
    ("GraphDefinition", 4),
    ("Group", 2),
    ("Library", 4),
    ("List", 4),
    ("Location", 8),
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

pub(super) const TEXTS: &[&str] = &[
    "Blood pressure",
    "blood count",
    "Blutdruck, systolisch",
    "High temperature",
    "Déjà vu",
    "100% saturated_",
];
pub(super) const GIVEN: &[&str] = &["Anna-Maria", "Eva", "Éva", "Bob", "bob", "José", "J", "কামাল"];
pub(super) const CITIES: &[&str] = &[
    "Ñandú",
    "Nandu",
    "São Paulo",
    "Sao Tome",
    "Łódź",
    "N'Djamena",
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
        resource_type: resource_type.to_owned(),
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

/// A resource that is being drawn.
pub(super) struct Draw<'r> {
    pub rng: &'r mut Rng,
    pub resource_type: String,
    pub contained: Vec<Value>,
}

impl Draw<'_> {
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        chance(self.rng, percent)
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *pick(self.rng, from)
    }

    /// Adds the element so many times of a hundred.
    pub(super) fn may(
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
    pub(super) fn some(
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
        self.may(body, 20, "text", Draw::narrative);
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
                let status = self.status_of("condition-clinical");
                body.insert("clinicalStatus".into(), status);
                self.may(body, 30, "verificationStatus", |d| {
                    d.status_of("condition-ver-status")
                });
                self.may(body, 90, "code", Draw::concept);
                self.may(body, 60, "category", |d| match d.rng.bool() {
                    true => json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-category", "code": "problem-list-item"}]}]),
                    false => d.some(1, 2, Draw::category),
                });
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
                self.place(body);
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
                        d.some(1, 2, |d| {
                            d.canonical(&["Library", "Library", "Library", "Measure"])
                        })
                    });
                }
                if resource_type != "ValueSet" {
                    self.may(body, 40, "relatedArtifact", |d| {
                        d.some(1, 2, |d| json!({"type": d.pick(&["depends-on", "derived-from"]), "resource": d.canonical(&["Library", "Measure", "ValueSet"])}))
                    });
                }
            }
            "GraphDefinition" => self.graph(body),
            "List" => {
                body.insert("status".into(), "current".into());
                body.insert("mode".into(), self.pick(&["working", "snapshot"]).into());
                self.may(body, 80, "code", |d| match d.chance(40) {
                    true => {
                        let code = d.pick(&["problems", "medications", "allergies"]);
                        json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/list-example-use-codes", "code": code}]})
                    }
                    false => d.concept(),
                });
                self.may(body, 60, "subject", |d| json!([d.reference("Patient")]));
                self.may(body, 60, "date", Draw::date_time);
                self.may(body, 80, "entry", |d| {
                    d.some(1, 4, |d| {
                        let of = d.pick(&[
                            "Patient",
                            "Observation",
                            "Condition",
                            "MedicationRequest",
                            "AllergyIntolerance",
                        ]);
                        let mut entry = json!({"item": d.reference(of)});
                        if d.chance(15) {
                            entry["deleted"] = d.rng.bool().into();
                        }
                        entry
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
                body.insert(
                    "intent".into(),
                    self.pick(&["order", "order", "plan"]).into(),
                );
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
            "AllergyIntolerance" => {
                body.insert("patient".into(), self.reference("Patient"));
                self.may(body, 60, "clinicalStatus", |d| {
                    d.status_of("allergyintolerance-clinical")
                });
                self.may(body, 30, "verificationStatus", |d| {
                    d.status_of("allergyintolerance-verification")
                });
                self.may(body, 70, "category", |d| {
                    d.some(1, 1, |d| d.pick(&["food", "medication"]).into())
                });
                self.may(body, 70, "code", Draw::concept);
                self.may(body, 50, "recordedDate", Draw::date_time);
            }
            "Composition" => {
                body.insert("status".into(), self.pick(&["final", "amended"]).into());
                body.insert("type".into(), self.concept());
                body.insert("date".into(), self.date_time());
                body.insert("title".into(), self.pick(TEXTS).into());
                let author = self.reference("Practitioner");
                body.insert("author".into(), json!([author]));
                self.may(body, 80, "subject", |d| json!([d.reference("Patient")]));
                self.may(body, 90, "section", |d| {
                    d.some(1, 2, |d| {
                        let mut section = Map::new();
                        section.insert("text".into(), d.narrative());
                        d.may(&mut section, 60, "code", Draw::concept);
                        d.may(
                            &mut section,
                            40,
                            "section",
                            |d| json!([{"text": d.narrative()}]),
                        );
                        section.into()
                    })
                });
            }
            "Group" => {
                body.insert("type".into(), "person".into());
                body.insert("membership".into(), "enumerated".into());
                self.may(body, 90, "member", |d| {
                    d.some(1, 3, |d| {
                        let mut member = json!({"entity": d.reference("Patient")});
                        if d.chance(20) {
                            member["inactive"] = d.rng.bool().into();
                        }
                        if d.chance(30) {
                            member["period"] = d.period();
                        }
                        member
                    })
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
}
