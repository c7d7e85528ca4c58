//! `GET [base]/openapi.json`: the API as an OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.0>), made from the table of routes, the table of
//! operations and the definitions. Resources are described by their type alone: FHIR's own definitions say the rest.

use crate::app::App;
use crate::config::Config;
use crate::failure::Failure;
use crate::interaction::capabilities::answers;
use crate::interaction::statements::Kind;
use crate::operation::{Level, OPERATIONS, Operation};
use crate::patch;
use crate::policy;
use crate::reply::Reply;
use crate::request::Request;
use crate::router::{Interaction, ROUTES, Route};
use fhir_definitions::structure::Kind as TypeKind;
use fhir_definitions::{Definitions, OperationParameter};
use http::Method;
use serde_json::{Map, Value, json};

pub fn openapi(app: &App, request: &Request) -> Result<Reply, Failure> {
    request.refuse_parameters()?;
    app.statements.reply(app, request, Kind::Openapi)
}

/// The whole document.
pub fn document(definitions: &Definitions, config: &Config, base: &str) -> Value {
    let mut paths = Paths::default();
    for route in ROUTES
        .iter()
        .filter(|route| route.interaction != Interaction::Operation)
        .filter(|route| policy::is_open(config, route.interaction))
    {
        // What is at a type has the type's own parameters.
        let types = match route.path {
            "{type}" => definitions.resource_types(),
            _ => &[],
        };
        for name in types {
            paths.add(
                &route.method,
                name,
                of_route(definitions, route, Some(name)),
            );
        }
        if types.is_empty() {
            paths.add(
                &route.method,
                route.path,
                of_route(definitions, route, None),
            );
        }
    }
    for operation in OPERATIONS.iter() {
        for path in operation_paths(operation) {
            for method in [Method::GET, Method::POST] {
                if operation.allows(&method) {
                    paths.add(
                        &method,
                        &path,
                        of_operation(definitions, operation, &method),
                    );
                }
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FHIR R5 server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The REST API of HL7 FHIR R5, as this server offers it. [base]/metadata says the same in FHIR's own terms.",
        },
        "externalDocs": { "url": "https://hl7.org/fhir/R5/http.html" },
        "servers": [{ "url": base }],
        "paths": paths.0,
        "components": components(definitions),
    })
}

#[derive(Default)]
struct Paths(Map<String, Value>);

impl Paths {
    /// `path`: below the base, without slash. Its variables become parameters.
    fn add(&mut self, method: &Method, path: &str, mut operation: Value) {
        let method = method.as_str().to_ascii_lowercase();
        let words: String = path
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        operation["operationId"] = format!("{method}-{}", words.trim_matches('-')).into();
        let place = self
            .0
            .entry(format!("/{path}"))
            .or_insert_with(|| json!({}));
        let variables = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let variables: Vec<Value> = variables.map(parameter).collect();
        if !variables.is_empty() {
            place["parameters"] = variables.into();
        }
        place[method] = operation;
    }
}

fn of_route(definitions: &Definitions, route: &Route, resource_type: Option<&str>) -> Value {
    use Interaction::*;
    let schema = resource_type.unwrap_or("Resource");
    let mut query = vec![parameter("_format"), parameter("_pretty")];
    let is_form = route.interaction.is_search() && route.method == Method::POST;
    match (route.interaction, resource_type) {
        (SearchType, Some(name)) if !is_form => query.extend(search_parameters(definitions, name)),
        (
            SearchType | SearchCompartment | SearchSystem | ConditionalUpdate | ConditionalPatch
            | ConditionalDelete,
            _,
        ) => {
            query.push(parameter("criteria"));
        }
        (HistoryInstance | HistoryType | HistorySystem, _) => {
            query.extend(["_count", "_since", "_at", "_list", "_sort"].map(text_parameter));
        }
        (Capabilities, _) => query.push(text_parameter("mode")),
        (Read | Vread, _) => query.extend([parameter("_summary"), parameter("_elements")]),
        _ => {}
    }
    let mut operation = json!({ "summary": route.interaction.label(), "parameters": query });
    let body = match route.interaction {
        Create | Update | ConditionalUpdate => Some(resource_body(schema)),
        Bundle => Some(resource_body("Bundle")),
        Patch | ConditionalPatch => {
            let any = |name: &&str| ((*name).to_string(), json!({}));
            Some(
                json!({ "required": true, "content": patch::FORMATS.iter().map(any).collect::<Map<_, _>>() }),
            )
        }
        _ if is_form => Some(
            json!({ "content": { "application/x-www-form-urlencoded": { "schema": { "type": "object" } } } }),
        ),
        _ => None,
    };
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    let answers = match route.interaction {
        Create => vec![("201", Some(schema)), ("200", Some(schema))],
        Update | ConditionalUpdate => vec![("200", Some(schema)), ("201", Some(schema))],
        Delete | ConditionalDelete | DeleteHistory | DeleteHistoryVersion => vec![("204", None)],
        Openapi => vec![("200", None)],
        JobStatus => vec![("200", Some("Bundle")), ("202", None)],
        JobCancel => vec![("202", None)],
        Capabilities => vec![("200", Some("Resource"))],
        interaction if interaction.is_search() => vec![("200", Some("Bundle"))],
        Bundle | HistoryInstance | HistoryType | HistorySystem => vec![("200", Some("Bundle"))],
        _ => vec![("200", Some(schema))],
    };
    operation["responses"] = responses(&answers);
    operation
}

fn of_operation(definitions: &Definitions, operation: &Operation, method: &Method) -> Value {
    let taken: Vec<&OperationParameter> = operation
        .definition
        .parameters
        .iter()
        .filter(|it| it.is_in)
        .collect();
    let kind = |it: &OperationParameter| definitions.structure(&it.type_name).map(|of| of.kind);
    let mut query = vec![parameter("_format"), parameter("_pretty")];
    for it in taken
        .iter()
        .filter(|it| kind(it) == Some(TypeKind::Primitive))
    {
        let value = match it.type_name.as_str() {
            "integer" | "positiveInt" | "unsignedInt" => json!({ "type": "integer" }),
            "boolean" => json!({ "type": "boolean" }),
            _ => json!({ "type": "string" }),
        };
        let schema = match it.max {
            Some(1) => value,
            _ => json!({ "type": "array", "items": value }),
        };
        // In a body it may stand there instead.
        let required = it.min > 0 && *method == Method::GET;
        query.push(
            json!({ "name": it.name, "in": "query", "required": required, "schema": schema }),
        );
    }
    let mut out = operation
        .definition
        .parameters
        .iter()
        .filter(|it| !it.is_in);
    let answer = match (out.next(), out.next()) {
        (Some(only), None) if only.name == "return" && kind(only) == Some(TypeKind::Resource) => {
            match only.type_name.as_str() {
                "Bundle" | "OperationOutcome" => only.type_name.as_str(),
                _ => "Resource",
            }
        }
        _ => "Parameters",
    };
    let mut documented = json!({
        "summary": operation.name(),
        "parameters": query,
        "responses": responses(&[("200", Some(answer))]),
    });
    if *method == Method::POST {
        let takes_resource = taken.iter().any(|it| kind(it) == Some(TypeKind::Resource));
        let mut body = resource_body(if takes_resource {
            "Resource"
        } else {
            "Parameters"
        });
        body["required"] = taken
            .iter()
            .any(|it| it.min > 0 && kind(it) != Some(TypeKind::Primitive))
            .into();
        documented["requestBody"] = body;
    }
    documented
}

/// Where it is offered.
fn operation_paths(operation: &Operation) -> Vec<String> {
    let name = operation.name();
    let types = operation
        .definition
        .resource
        .iter()
        .map(|name| match name.as_str() {
            "Resource" => "{type}",
            name => name,
        });
    let types: Vec<&str> = types.collect();
    let of_level = |level: &Level| -> Vec<String> {
        match level {
            Level::System => vec![name.clone()],
            Level::Type => types.iter().map(|of| format!("{of}/{name}")).collect(),
            Level::Instance => types
                .iter()
                .map(|of| format!("{of}/{{id}}/{name}"))
                .collect(),
        }
    };
    operation.levels.iter().flat_map(of_level).collect()
}

fn search_parameters(definitions: &Definitions, resource_type: &str) -> Vec<Value> {
    let own = definitions.search_parameters(resource_type).iter();
    let own = own
        .filter(|it| answers(definitions, it))
        .map(|it| text_parameter(&it.code));
    let results = [
        "_count",
        "_sort",
        "_include",
        "_revinclude",
        "_total",
        "_maxresults",
    ]
    .map(text_parameter);
    let parts = ["_summary", "_elements"].map(parameter);
    own.chain(results).chain(parts).collect()
}

/// May be given several times: all must hold.
fn text_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": "array", "items": { "type": "string" } } })
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn resource_content(name: &str) -> Value {
    json!({
        "application/fhir+json": { "schema": schema(name) },
        "application/fhir+xml": {},
    })
}

fn resource_body(name: &str) -> Value {
    let mut content = resource_content(name);
    if name == "Binary" {
        // Its content, of any type.
        content["*/*"] = json!({});
    }
    json!({ "required": true, "content": content })
}

fn responses(answers: &[(&str, Option<&str>)]) -> Value {
    let mut all = Map::new();
    for (status, resource) in answers {
        let mut response = json!({ "description": "done" });
        if let Some(name) = resource {
            response["content"] = resource_content(name);
        }
        all.insert((*status).to_string(), response);
    }
    all.insert(
        "default".into(),
        json!({ "$ref": "#/components/responses/Failure" }),
    );
    Value::Object(all)
}

fn components(definitions: &Definitions) -> Value {
    let types = definitions.resource_types();
    let named = types.iter().map(String::as_str).chain(["Parameters"]);
    let mut schemas: Map<String, Value> = named
        .map(|name| (name.to_string(), resource_schema(name)))
        .collect();
    schemas.insert(
        "Resource".into(),
        json!({ "type": "object", "properties": { "resourceType": { "type": "string" } }, "required": ["resourceType"] }),
    );
    let in_path = |name: &str, schema: Value| json!({ "name": name, "in": "path", "required": true, "schema": schema });
    let in_query =
        |name: &str, schema: Value| json!({ "name": name, "in": "query", "schema": schema });
    let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9\\-\\.]{1,64}$" });
    let members: Vec<&str> = types.iter().map(String::as_str).chain(["*"]).collect();
    let mut criteria = in_query(
        "criteria",
        json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    );
    criteria["description"] = "Search parameters".into();
    criteria["style"] = "form".into();
    criteria["explode"] = true.into();
    json!({
        "schemas": schemas,
        "parameters": {
            "type": in_path("type", json!({ "type": "string", "enum": types })),
            "id": in_path("id", id),
            "version": in_path("version", json!({ "type": "string" })),
            "member": in_path("member", json!({ "type": "string", "enum": members })),
            "_format": in_query("_format", json!({ "type": "string" })),
            "_pretty": in_query("_pretty", json!({ "type": "boolean" })),
            "_summary": in_query("_summary", json!({ "enum": ["true", "text", "data", "count", "false"] })),
            "_elements": in_query("_elements", json!({ "type": "string" })),
            "criteria": criteria,
        },
        "responses": {
            "Failure": { "description": "refused, or not done", "content": resource_content("OperationOutcome") },
        },
    })
}

fn resource_schema(name: &str) -> Value {
    json!({
        "type": "object",
        "properties": { "resourceType": { "const": name } },
        "required": ["resourceType"],
        "externalDocs": { "url": format!("https://hl7.org/fhir/R5/{}.html", name.to_ascii_lowercase()) },
    })
}
