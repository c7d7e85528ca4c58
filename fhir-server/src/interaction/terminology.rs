//! `GET [base]/metadata?mode=terminology` (<https://hl7.org/fhir/R5/terminologycapabilities.html>): which code systems of the site are known. There are no
//! terminology operations yet, so none of their elements is there.

use crate::interaction::capabilities::DATE;
use fhir_definitions::Definitions;
use serde_json::{Value, json};

/// The whole statement.
pub fn statement(definitions: &Definitions, base: &str) -> Value {
    let systems = definitions.own_resources();
    let systems = systems.filter(|own| own["resourceType"] == "CodeSystem");
    let systems: Vec<Value> = systems.map(code_system).collect();
    let mut statement = json!({
        "resourceType": "TerminologyCapabilities",
        "status": "active",
        "date": DATE,
        "description": "Codes are checked where R5 binds them to a value set as required. There are no terminology operations.",
        "kind": "instance",
        "software": { "name": "fhir-server", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "FHIR R5 server with an HL7 v2 bridge", "url": base },
    });
    if !systems.is_empty() {
        statement["codeSystem"] = systems.into();
    }
    statement
}

fn code_system(resource: &Value) -> Value {
    let mut system = json!({ "uri": resource["url"], "content": resource["content"] });
    if let Some(version) = resource.get("version") {
        system["version"] = json!([{ "code": version, "isDefault": true }]);
    }
    system
}
