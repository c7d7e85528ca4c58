//! A terminology service of three answers: what the suite asks for.

use fhirpath::Host;
use serde_json::{Value, json};

pub struct CoreTerminology;

impl Host for CoreTerminology {
    fn terminology(&self, function: &str, arguments: &[&Value]) -> Result<Value, String> {
        let genders = ["male", "female", "other", "unknown"];
        match (function, arguments[0].as_str()) {
            ("expand", Some("http://hl7.org/fhir/ValueSet/administrative-gender")) => {
                let contains: Vec<Value> =
                    genders.iter().map(|code| json!({"code": code})).collect();
                Ok(json!({"resourceType": "ValueSet", "expansion": {"contains": contains}}))
            }
            ("validateVS", Some("http://hl7.org/fhir/ValueSet/administrative-gender")) => {
                let result = arguments[1]
                    .as_str()
                    .is_some_and(|code| genders.contains(&code));
                Ok(
                    json!({"resourceType": "Parameters", "parameter": [{"name": "result", "valueBoolean": result}]}),
                )
            }
            ("translate", Some("http://hl7.org/fhir/ConceptMap/cm-address-use-v2")) => {
                let code = match arguments[1].as_str() {
                    Some("home") => "H",
                    _ => return Err("no such code".to_owned()),
                };
                Ok(json!({"resourceType": "Parameters", "parameter": [
                    {"name": "result", "valueBoolean": true},
                    {"name": "match", "part": [{"name": "concept", "valueCoding": {"code": code}}]}
                ]}))
            }
            _ => Err(format!("{function} is not known here")),
        }
    }
}
