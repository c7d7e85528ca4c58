//! References of every form, and what is referred to within a resource.

use super::datatypes::FAMILIES;
use super::resources::{CITIES, Draw, IDS};
use serde_json::{Map, Value, json};

impl Draw<'_> {
    /// A url that resources of this type alone have.
    pub(super) fn canonical_url(&mut self, resource_type: &str) -> String {
        let end = self.pick(&["a", "a/b", "a/b/c", "ab"]);
        format!("http://example.org/{}/{end}", resource_type.to_lowercase())
    }

    /// Of a type that the element may name.
    pub(super) fn canonical(&mut self, types: &[&'static str]) -> Value {
        let of = self.pick(types);
        let url = self.canonical_url(of);
        match self.rng.u8(..3) {
            0 => format!("{url}|{}", self.pick(&["1.0", "2.0"])).into(),
            _ => url.into(),
        }
    }

    /// A Reference, most often to one of ours.
    pub(super) fn reference(&mut self, to: &str) -> Value {
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

    /// A reference to a contained resource, which may refer to others beside it, to what contains it, and out again.
    pub(super) fn inner(&mut self, to: &str) -> Value {
        let place = self.contained.len();
        self.contained.push(Value::Null);
        let id = format!("c{place}");
        let mut inner = Map::new();
        inner.insert("resourceType".into(), to.into());
        inner.insert("id".into(), id.clone().into());
        match to {
            "Patient" | "Practitioner" => {
                self.may(&mut inner, 90, "name", |d| d.some(1, 1, Draw::name));
                self.may(&mut inner, 60, "gender", |d| {
                    d.pick(&["male", "female"]).into()
                });
                self.may(&mut inner, 40, "identifier", |d| {
                    d.some(1, 1, Draw::identifier)
                });
                self.may(&mut inner, 40, "birthDate", Draw::date);
                if to == "Patient" {
                    self.may(&mut inner, 50, "managingOrganization", |d| {
                        d.neighbour("Organization")
                    });
                }
            }
            "Organization" | "Location" => {
                self.may(&mut inner, 90, "name", |d| d.pick(CITIES).into());
                self.may(&mut inner, 40, "partOf", |d| d.neighbour(to));
                if to == "Location" {
                    self.place(&mut inner);
                }
            }
            "Observation" => {
                inner.insert("code".into(), self.concept());
                inner.insert("status".into(), "final".into());
                self.value(&mut inner);
                self.may(&mut inner, 60, "subject", |d| d.neighbour("Patient"));
                self.may(&mut inner, 50, "effectiveDateTime", Draw::date_time);
            }
            "Encounter" => {
                inner.insert("status".into(), self.pick(&["planned", "completed"]).into());
                self.may(&mut inner, 60, "subject", |d| d.neighbour("Patient"));
                self.may(&mut inner, 50, "actualPeriod", Draw::period);
                self.may(&mut inner, 30, "partOf", |d| d.neighbour("Encounter"));
            }
            _ => {}
        }
        self.contained[place] = inner.into();
        json!({"reference": format!("#{id}")})
    }

    /// To what stands beside a contained resource or contains it, else anywhere.
    pub(super) fn neighbour(&mut self, to: &str) -> Value {
        let beside = self.contained.iter().find(|one| one["resourceType"] == to);
        match (self.rng.u8(..4), beside) {
            (0, _) if self.resource_type == to => json!({"reference": "#"}),
            (1, Some(beside)) => {
                json!({"reference": format!("#{}", beside["id"].as_str().unwrap_or_default())})
            }
            _ => self.reference(to),
        }
    }
}
