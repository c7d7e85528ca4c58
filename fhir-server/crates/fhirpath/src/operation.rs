//! The body of `$fhirpath`: Parameters with `expression`, `resource`, and where wanted `context` (an expression: evaluate on what it selects) and
//! `variables` (a part each). The answer has one parameter `result` per item, in order, with its `value[x]` or `resource`.

use crate::context::{Context, Host};
use crate::error::EvaluationError;
use crate::item::{Element, Item, is_primitive};
use crate::path::CompileError;
use crate::program::Program;
use crate::types::TypeModel;
use serde_json::{Map, Value as Json, json};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    #[error("the expression is refused: {0}")]
    Compile(#[from] CompileError),
    #[error("the expression ended: {0}")]
    Evaluation(#[from] EvaluationError),
}

/// Evaluates what `parameters` ask for; `now` is an instant.
///
/// # Errors
/// [`OperationError`]: the client's mistake, or a limit.
pub fn evaluate_parameters(
    parameters: &Json,
    model: &dyn TypeModel,
    host: &dyn Host,
    now: &str,
) -> Result<Json, OperationError> {
    let text = |name| named(parameters, name)?.get("valueString")?.as_str();
    let expression = text("expression").ok_or(OperationError::Missing("expression"))?;
    let program = Program::parse(expression)?;
    let on = text("context").map(Program::parse).transpose()?;
    let mut context = match named(parameters, "resource").and_then(|p| p.get("resource")) {
        Some(resource) => Context::new(resource, model),
        None => Context::empty(model),
    };
    context = context.host(host).now(now);
    let variables = named(parameters, "variables").and_then(|p| p.get("part")?.as_array());
    for part in variables.into_iter().flatten() {
        if let Some(name) = part.get("name").and_then(Json::as_str) {
            context = context.variable(name, value_of(part, model).into_iter().collect());
        }
    }
    let focus = match &on {
        Some(on) => on.evaluate(&context)?,
        None => Vec::new(),
    };
    let mut results = Vec::new();
    if on.is_none() {
        results.extend(program.evaluate(&context)?.iter().map(result));
    }
    for item in &focus {
        results.extend(program.evaluate_on(&context, item)?.iter().map(result));
    }
    Ok(json!({"resourceType": "Parameters", "parameter": results}))
}

fn named<'a>(parameters: &'a Json, name: &str) -> Option<&'a Json> {
    let all = parameters.get("parameter")?.as_array()?;
    let is = |p: &&Json| p.get("name").and_then(Json::as_str) == Some(name);
    all.iter().find(is)
}

/// The `value[x]` or `resource` of a parameter.
fn value_of<'a>(parameter: &'a Json, model: &'a dyn TypeModel) -> Option<Item<'a>> {
    if let Some(resource) = parameter.get("resource") {
        return Element::resource(resource).map(Item::Element);
    }
    let types = model.element("Parameters.parameter", "value")?.types;
    let (key, value) = parameter
        .as_object()?
        .iter()
        .find(|(key, _)| key.starts_with("value"))?;
    let type_name = types
        .into_iter()
        .find(|t| t.eq_ignore_ascii_case(&key["value".len()..]))?;
    Some(Item::Element(Element {
        value: Some(value),
        sibling: parameter.get(format!("_{key}")),
        type_name,
        resource: parameter,
    }))
}

/// A parameter `result`. What has no `value[x]` (a backbone element) is JSON in an extension.
fn result(item: &Item<'_>) -> Json {
    let mut parameter = Map::new();
    parameter.insert("name".into(), "result".into());
    let Some((type_name, value)) = item.to_fhir() else {
        if let Item::Element(Element {
            sibling: Some(sibling),
            type_name,
            ..
        }) = item
        {
            parameter.insert(
                format!("_value{}", capitalised(type_name)),
                (*sibling).clone(),
            );
        }
        return Json::Object(parameter);
    };
    let value = value.into_owned();
    if value.get("resourceType").is_some() {
        parameter.insert("resource".into(), value);
    } else if type_name.contains('.') {
        let url = "http://fhir.forms-lab.com/StructureDefinition/json-value";
        let extension = json!([{"url": url, "valueString": value.to_string()}]);
        parameter.insert("extension".into(), extension);
    } else {
        let name = match type_name {
            "xhtml" => "String".to_owned(),
            name => capitalised(name),
        };
        if let Item::Element(Element {
            sibling: Some(sibling),
            ..
        }) = item
            && is_primitive(type_name)
        {
            parameter.insert(format!("_value{name}"), (*sibling).clone());
        }
        parameter.insert(format!("value{name}"), value);
    }
    Json::Object(parameter)
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
