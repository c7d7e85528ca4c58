//! Compartments (<https://hl7.org/fhir/R5/compartmentdefinition.html>): which parameters tie a resource to a patient, an encounter, ….

use crate::tables::COMPARTMENTS;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One compartment.
#[derive(Debug, Default)]
pub struct Compartment {
    parameters: HashMap<&'static str, Vec<&'static str>>,
}

impl Compartment {
    /// The parameter codes that tie `resource_type` to this compartment; `{def}` stands for the resource itself. Empty: it is not in it.
    pub fn parameters(&self, resource_type: &str) -> &[&'static str] {
        self.parameters
            .get(resource_type)
            .map_or(&[], Vec::as_slice)
    }

    /// The resource types in this compartment.
    pub fn resource_types(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.parameters.keys().copied()
    }
}

/// The compartment named by the type of its focus (`Patient`, `Encounter`, `RelatedPerson`, `Practitioner`, `Device`).
pub(crate) fn compartment(code: &str) -> Option<&'static Compartment> {
    static R5: OnceLock<HashMap<&'static str, Compartment>> = OnceLock::new();
    let all = R5.get_or_init(|| {
        let mut all: HashMap<&'static str, Compartment> = HashMap::new();
        for mut row in COMPARTMENTS.rows() {
            let compartment = all.entry(row.cell()).or_default();
            compartment
                .parameters
                .insert(row.cell(), row.list(',').collect());
        }
        all
    });
    all.get(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership() {
        for (code, resource_type, expect) in [
            ("Patient", "Observation", &["subject", "performer"][..]),
            ("Patient", "Patient", &["{def}", "link"]),
            ("Patient", "Organization", &[]),
            ("Encounter", "Observation", &["encounter"]),
        ] {
            let parameters = compartment(code).unwrap().parameters(resource_type);
            assert_eq!(parameters, expect, "{code} {resource_type}");
        }
        for code in [
            "Patient",
            "Encounter",
            "RelatedPerson",
            "Practitioner",
            "Device",
        ] {
            assert!(
                compartment(code).unwrap().resource_types().count() > 10,
                "{code}"
            );
        }
        assert!(compartment("Organization").is_none());
    }
}
