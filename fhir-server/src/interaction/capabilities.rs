//! `GET [base]/metadata` (<https://hl7.org/fhir/R5/http.html#capabilities>): generated from the router's table and the definitions, so it cannot lie.

use crate::app::App;
use crate::config::Config;
use crate::failure::Failure;
use crate::interaction::statements::Kind;
use crate::operation::{Level, OPERATIONS, Operation};
use crate::patch;
use crate::policy::{self, ClientIds, ConditionalDelete, Integrity};
use crate::reply::Reply;
use crate::request::Request;
use crate::router::{Interaction, ROUTES};
use crate::subset::Subset;
use fhir_definitions::{Definitions, OperationDefinition, ParameterType, SearchParameter, State};
use fhir_model::IssueKind;
use fhir_search::is_answered;
use fhir_search::named_query::{is_of, queries};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The statement for the mode that is asked for; `normative` gets all of it, as the specification lets a server decide.
pub fn capabilities(app: &App, request: &Request) -> Result<Reply, Failure> {
    let mode = request.parameters.iter().find(|(name, _)| name == "mode");
    let kind = match mode.map(|(_, mode)| mode.as_str()) {
        None | Some("full" | "normative") => Kind::Capabilities,
        Some("terminology") => Kind::Terminology,
        Some(_) => {
            return Err(Failure::new(
                IssueKind::NotSupported,
                "mode must be full, normative or terminology",
            ));
        }
    };
    let reply = Reply {
        subset: Subset::read(&request.parameters)?,
        ..app.statements.reply(app, request, kind)?
    };
    Ok(reply)
}

/// CapabilityStatement.date: when what this version can do was last changed.
pub const DATE: &str = "2026-11-25";

/// Whose compartments are searched, as their definitions are called.
const COMPARTMENTS: [&str; 5] = [
    "device",
    "encounter",
    "patient",
    "practitioner",
    "relatedPerson",
];

/// The whole statement. Depends on nothing but its arguments and the table of routes.
pub fn statement(definitions: &Definitions, config: &Config, base: &str) -> Value {
    let pointing = pointing_at(definitions);
    let resources: Vec<Value> = definitions
        .resource_types()
        .iter()
        .map(|resource_type| {
            let none = Vec::new();
            resource(
                definitions,
                config,
                base,
                resource_type,
                pointing.get(resource_type.as_str()).unwrap_or(&none),
            )
        })
        .collect();
    let mut statement = json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": { "name": "fhir-server", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "FHIR R5 server with an HL7 v2 bridge", "url": base },
        "fhirVersion": "5.0.0",
        "format": ["json", "xml", "application/fhir+json", "application/fhir+xml"],
        "patchFormat": patch::FORMATS,
        "rest": [{
            "mode": "server",
            "resource": resources,
            "interaction": system_interactions(),
            "searchParam": of_every_type(definitions),
            "operation": operations(definitions, base, &[Level::System], ""),
            "compartment": COMPARTMENTS.map(|code| format!("http://hl7.org/fhir/CompartmentDefinition/{code}")),
        }],
    });
    if policy::is_open(config, Interaction::DeleteHistory) {
        statement["rest"][0]["documentation"] = DELETES_HISTORY.into();
    }
    statement
}

/// What R5 has no code for.
const DELETES_HISTORY: &str = "DELETE of [type]/[id]/_history and of [type]/[id]/_history/[vid] removes older versions for good.";

fn system_interactions() -> Vec<Value> {
    let bundles = has(Interaction::Bundle).then_some(["transaction", "batch"]);
    let routes = ROUTES
        .iter()
        .filter(|route| !route.path.starts_with("{type}"));
    let codes = bundles.into_iter().flatten();
    let mut codes: Vec<&str> = codes
        .chain(routes.filter_map(|route| route.interaction.code()))
        .collect();
    codes.dedup();
    codes.iter().map(|code| json!({ "code": code })).collect()
}

fn resource(
    definitions: &Definitions,
    config: &Config,
    base: &str,
    resource_type: &str,
    pointing: &[String],
) -> Value {
    let parameters = definitions.search_parameters(resource_type);
    let answered = parameters
        .iter()
        .filter(|parameter| answers(definitions, parameter));
    let interactions: Vec<Value> = ROUTES
        .iter()
        .filter(|route| route.path.starts_with("{type}"))
        .filter_map(|route| route.interaction.code())
        .fold(Vec::new(), |mut codes, code| {
            if !codes.contains(&code) {
                codes.push(code);
            }
            codes
        })
        .into_iter()
        .map(|code| json!({ "code": code }))
        .collect();
    let mut includes = vec!["*".to_string()];
    includes.extend(
        parameters
            .iter()
            .filter(|parameter| is_followed(definitions, parameter))
            .map(|parameter| format!("{resource_type}:{}", parameter.code)),
    );
    let every = std::iter::once("*");
    let mut value = json!({
        "type": resource_type,
        "profile": format!("http://hl7.org/fhir/StructureDefinition/{resource_type}"),
        "interaction": interactions,
        "versioning": "versioned-update",
        "readHistory": has(Interaction::Vread),
        "updateCreate": config.client_ids != ClientIds::None,
        "conditionalCreate": has(Interaction::Create),
        "conditionalRead": "full-support",
        "conditionalUpdate": has(Interaction::ConditionalUpdate),
        "conditionalPatch": has(Interaction::ConditionalPatch),
        "conditionalDelete": match config.conditional_delete {
            ConditionalDelete::None => "not-supported",
            ConditionalDelete::Single => "single",
            ConditionalDelete::Multiple => "multiple",
        },
        "referencePolicy": reference_policy(config),
        "searchInclude": includes,
        "searchRevInclude": every.chain(pointing.iter().map(String::as_str)).collect::<Vec<_>>(),
        "searchParam": answered.map(|parameter| search_parameter(parameter)).collect::<Vec<_>>(),
        "operation": operations(definitions, base, &[Level::Type, Level::Instance], resource_type),
    });
    let profiles = profiles(definitions, resource_type);
    if !profiles.is_empty() {
        value["supportedProfile"] = profiles.into();
    }
    value
}

/// The operations at these levels of a type, and the named queries of its searches.
fn operations(
    definitions: &Definitions,
    base: &str,
    levels: &[Level],
    resource_type: &str,
) -> Vec<Value> {
    let is_here = |operation: &&Operation| {
        levels
            .iter()
            .any(|level| operation.is_offered(*level, resource_type))
    };
    let operations = OPERATIONS.iter().filter(is_here).map(|operation| {
        json!({ "name": operation.definition.code, "definition": operation.canonical(base) })
    });
    let queries = queries(definitions).map(OperationDefinition::read);
    let types: &[&str] = match resource_type {
        "" => &[],
        _ => &[resource_type],
    };
    let queries = queries.filter(|query| is_of(query, types));
    let queries = queries.map(|query| json!({ "name": query.code, "definition": query.url }));
    operations.chain(queries).collect()
}

/// Whether searches by the parameter are answered now.
pub fn answers(definitions: &Definitions, parameter: &SearchParameter) -> bool {
    is_answered(parameter) && definitions.state(parameter) == State::Answers
}

fn search_parameter(parameter: &SearchParameter) -> Value {
    json!({
        "name": parameter.code,
        "definition": parameter.url,
        "type": type_code(parameter.kind),
    })
}

/// The parameters of `Resource`: those of a search over all types.
fn of_every_type(definitions: &Definitions) -> Vec<Value> {
    let Some(first) = definitions.resource_types().first() else {
        return Vec::new();
    };
    let is_everywhere = |parameter: &&Arc<SearchParameter>| {
        let mut types = definitions.resource_types().iter();
        answers(definitions, parameter)
            && types.all(|name| {
                let same = definitions.search_parameter(name, &parameter.code);
                same.is_some_and(|same| same.url == parameter.url)
            })
    };
    let parameters = definitions.search_parameters(first).iter();
    parameters
        .filter(is_everywhere)
        .map(|parameter| search_parameter(parameter))
        .collect()
}

/// The site's own profiles of a type.
fn profiles(definitions: &Definitions, resource_type: &str) -> Vec<Value> {
    let own = definitions.own_resources();
    own.filter(|own| {
        own["resourceType"] == "StructureDefinition"
            && own["type"] == resource_type
            && own["derivation"] == "constraint"
    })
    .map(|own| own["url"].clone())
    .collect()
}

fn reference_policy(config: &Config) -> Vec<&'static str> {
    let mut codes = vec!["literal", "local", "logical"];
    if config.reference_integrity == Integrity::Both {
        codes.push("enforced");
    }
    codes
}

fn has(interaction: Interaction) -> bool {
    ROUTES.iter().any(|route| route.interaction == interaction)
}

/// Whether includes follow it. `_in` is no element that refers.
fn is_followed(definitions: &Definitions, parameter: &SearchParameter) -> bool {
    parameter.kind == ParameterType::Reference
        && parameter.code != "_in"
        && answers(definitions, parameter)
}

/// By type: the `Type:parameter` that may point at it.
fn pointing_at(definitions: &Definitions) -> BTreeMap<&str, Vec<String>> {
    let mut pointing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for resource_type in definitions.resource_types() {
        for parameter in definitions.search_parameters(resource_type) {
            if !is_followed(definitions, parameter) {
                continue;
            }
            for target in &parameter.targets {
                let name = format!("{resource_type}:{}", parameter.code);
                pointing.entry(target).or_default().push(name);
            }
        }
    }
    pointing
}

fn type_code(kind: ParameterType) -> &'static str {
    match kind {
        ParameterType::Number => "number",
        ParameterType::Date => "date",
        ParameterType::String => "string",
        ParameterType::Token => "token",
        ParameterType::Reference => "reference",
        ParameterType::Composite => "composite",
        ParameterType::Quantity => "quantity",
        ParameterType::Uri => "uri",
        ParameterType::Special => "special",
        ParameterType::Resource => "resource",
    }
}
