//! `GET [base]/metadata?mode=terminology` (<https://hl7.org/fhir/R5/terminologycapabilities.html>): the code systems that are known, those of the site
//! first, and what the terminology operations do. Stored code systems are known too, and not listed.

use crate::interaction::capabilities::DATE;
use crate::operation::{Level, OPERATIONS};
use fhir_definitions::Definitions;
use serde_json::{Value, json};

/// The whole statement.
pub fn statement(definitions: &Definitions, base: &str) -> Value {
    let own = definitions.own_resources();
    let own = own.filter(|own| own["resourceType"] == "CodeSystem");
    let mut systems: Vec<Value> = own.map(code_system).collect();
    for of_r5 in definitions.terminology().code_system_heads() {
        if !systems.iter().any(|own| own["uri"] == of_r5["url"]) {
            systems.push(code_system(&of_r5));
        }
    }
    let statement = json!({
        "resourceType": "TerminologyCapabilities",
        "status": "active",
        "date": DATE,
        "description": "Code systems, value sets and concept maps of R5, of the site and those that are stored. Nothing is kept between calls.",
        "kind": "instance",
        "software": { "name": "fhir-server", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "FHIR R5 server with an HL7 v2 bridge", "url": base },
        "codeSystem": systems,
        "expansion": {
            "hierarchical": false,
            "paging": true,
            "incomplete": false,
            "parameter": expansion_parameters(),
            "textFilter": "Each word of the filter begins a word of the display or of a designation, in any letter case; or the filter begins the code.",
        },
        "codeSearch": "in-compose-or-expansion",
        "validateCode": { "translations": true },
        "translation": { "needsMap": false },
    });
    statement
}

/// What `$expand` takes and does.
fn expansion_parameters() -> Vec<Value> {
    let here = OPERATIONS.iter();
    let mut expand = here.filter(|operation| {
        operation.definition.code == "expand" && operation.is_offered(Level::Type, "ValueSet")
    });
    let taken = expand
        .next()
        .map(|operation| &operation.definition.parameters);
    let taken = taken
        .into_iter()
        .flatten()
        .filter(|parameter| parameter.is_in);
    let refused = fhir_definitions::terminology::operation::EXPAND_REFUSES;
    taken
        .filter(|parameter| !refused.contains(&parameter.name.as_str()))
        .map(|parameter| json!({ "name": parameter.name }))
        .collect()
}

fn code_system(resource: &Value) -> Value {
    let mut system = json!({ "uri": resource["url"], "content": resource["content"] });
    if let Some(version) = resource.get("version") {
        system["version"] = json!([{ "code": version, "isDefault": true }]);
    }
    system
}
