//! A call of an operation: its parameters from the URL and from the body, checked against its definition
//! (<https://hl7.org/fhir/R5/operations.html#request>).
//!
//! Refuses parameters that the definition does not have, that are missing or too many, and values of another type. Resources are
//! not looked into: whoever takes one checks it.

use crate::app::{App, now_seconds};
use crate::failure::Failure;
use crate::interaction::paging;
use crate::operation::answer::member;
use crate::operation::{Level, Operation};
use crate::request::{Body, Request};
use crate::url::Parameters;
use fhir_definitions::structure::Kind;
use fhir_definitions::{Definitions, OperationParameter};
use fhir_model::{Issue, IssueKind, json};
use fhir_search::Handling;
use serde_json::{Value, json};

/// An operation, what it is invoked on, and its parameters.
#[derive(Clone, Debug)]
pub struct Call {
    pub operation: &'static Operation,
    /// Without its body.
    pub request: Request,
    /// Of the pages of its answer, the one that is asked for.
    pub page: Option<Asked>,
    /// As `Parameters.parameter`; each value stands under the type that the definition gives it.
    parameters: Vec<Value>,
}

/// A page after the first: where it begins, and the token that says so.
#[derive(Clone, Debug)]
pub struct Asked {
    pub keyset: Vec<u8>,
    pub token: String,
}

impl Call {
    /// Takes a request apart.
    ///
    /// # Errors
    /// Syntax and NotSupported (400), each naming the parameter.
    pub fn read(app: &App, mut request: Request) -> Result<Call, Failure> {
        let Some(operation) = request.operation else {
            return Err(Failure::new(
                IssueKind::Exception,
                "the route has no operation",
            ));
        };
        let mut page = None;
        if operation.answers_in_pages()
            && let Some(token) = paging::token(&request)?
        {
            let token = token.to_string();
            let place = app
                .tokens
                .open(&path(operation, &request), &token, now_seconds())?;
            request.parameters = place.parameters;
            let keyset = place.keyset;
            page = Some(Asked { keyset, token });
        }
        let definitions = app.store.definitions();
        let mut reader = Reader {
            definitions: &definitions,
            operation,
            is_lenient: request.handling == Handling::Lenient,
            parameters: Vec::new(),
        };
        for (name, text) in std::mem::take(&mut request.parameters) {
            reader.take_url(&name, &text)?;
        }
        let is_empty = match &request.body {
            Body::None => true,
            Body::Bytes(bytes) | Body::Xml(bytes) | Body::Content(bytes) => bytes.is_empty(),
            Body::Resource(_) => false,
        };
        if !is_empty {
            reader.take_body(request.take_json()?)?;
        }
        reader.count()?;
        let parameters = reader.parameters;
        Ok(Call {
            operation,
            request,
            page,
            parameters,
        })
    }

    /// Where it is invoked, below the base.
    pub fn path(&self) -> String {
        path(self.operation, &self.request)
    }

    /// Its primitive parameters as those of a URL.
    pub fn in_url(&self) -> Parameters {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let all = self.operation.definition.parameters.iter();
        all.flat_map(|parameter| {
            let values = self.values(&parameter.name).into_iter();
            values.map(|value| (parameter.name.clone(), text(value)))
        })
        .collect()
    }

    pub fn level(&self) -> Level {
        Level::of(&self.request.resource_type, &self.request.id)
    }

    /// The value of a parameter, if it is given.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values(name).into_iter().next()
    }

    /// The text of a parameter, if it is given and has one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }

    /// All values of a parameter; a resource is one.
    pub fn values(&self, name: &str) -> Vec<&Value> {
        let given = self.parameters.iter().filter(|given| given["name"] == name);
        let members = given.filter_map(Value::as_object).flatten();
        members
            .filter(|(key, _)| key.starts_with("value") || *key == "resource")
            .map(|(_, value)| value)
            .collect()
    }

    /// All parameters, as the body of a call.
    pub fn parameters(&self) -> Value {
        json!({ "resourceType": "Parameters", "parameter": self.parameters })
    }
}

fn path(operation: &Operation, request: &Request) -> String {
    let name = operation.name();
    match Level::of(&request.resource_type, &request.id) {
        Level::System => name,
        Level::Type => format!("{}/{name}", request.resource_type),
        Level::Instance => format!("{}/{name}", request.key()),
    }
}

struct Reader<'a> {
    definitions: &'a Definitions,
    operation: &'static Operation,
    is_lenient: bool,
    parameters: Vec<Value>,
}

impl Reader<'_> {
    fn taken(&self) -> impl Iterator<Item = &'static OperationParameter> + use<> {
        self.operation
            .definition
            .parameters
            .iter()
            .filter(|parameter| parameter.is_in)
    }

    fn named(&self, name: &str) -> Result<Option<&'static OperationParameter>, Failure> {
        match self.taken().find(|parameter| parameter.name == name) {
            Some(found) => Ok(Some(found)),
            None if self.is_lenient => Ok(None),
            None => Err(self.unknown(name)),
        }
    }

    fn take_url(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let Some(parameter) = self.named(name)? else {
            return Ok(());
        };
        if self.kind(parameter) != Some(Kind::Primitive) {
            return Err(refuse(format!(
                "the parameter {name} is no primitive value: send it in the body, in Parameters"
            )));
        }
        let number = || serde_json::from_str(text).ok().filter(Value::is_number);
        let value = match parameter.type_name.as_str() {
            "boolean" => text.parse().ok().map(Value::Bool),
            "integer" | "positiveInt" | "unsignedInt" | "decimal" => number(),
            _ => None,
        };
        let value = value.unwrap_or_else(|| Value::from(text));
        let given = json!({ "name": name, member(parameter): value });
        match self.is_valid(&given) {
            true => self.parameters.push(given),
            false => {
                return Err(refuse(format!(
                    "the parameter {name} must be a {}",
                    parameter.type_name
                )));
            }
        }
        Ok(())
    }

    /// Parameters, or the only resource that the operation takes.
    fn take_body(&mut self, body: Value) -> Result<(), Failure> {
        match json::resource_type(&body) {
            Some("Parameters") => {}
            Some(found) => {
                let resources: Vec<_> = self
                    .taken()
                    .filter(|parameter| self.is_resource(parameter))
                    .collect();
                let mut of_type = resources
                    .iter()
                    .filter(|parameter| parameter.type_name == found);
                let only = match (of_type.next(), resources.as_slice()) {
                    (Some(only), _) | (None, [only]) => *only,
                    _ => {
                        return Err(refuse(format!(
                            "the body of {} must be Parameters",
                            self.operation.name()
                        )));
                    }
                };
                if !self.takes(only, found) {
                    return Err(refuse(format!(
                        "the resource of {} must be a {}",
                        self.operation.name(),
                        only.type_name
                    )));
                }
                self.parameters
                    .push(json!({ "name": only.name, "resource": body }));
                return Ok(());
            }
            None => {
                let issue = Issue::error(
                    IssueKind::Syntax,
                    "the body is not a resource: it has no resourceType",
                );
                return Err(issue.at("resourceType").into());
            }
        }
        self.check_shape(&body)?;
        let Value::Object(mut body) = body else {
            return Ok(());
        };
        let Some(Value::Array(given)) = body.remove("parameter") else {
            return Ok(());
        };
        for (index, parameter) in given.into_iter().enumerate() {
            self.take_parameter(index, parameter)?;
        }
        Ok(())
    }

    fn take_parameter(&mut self, index: usize, mut given: Value) -> Result<(), Failure> {
        let name = given["name"].as_str().unwrap_or_default().to_string();
        let Some(parameter) = self.named(&name)? else {
            return Ok(());
        };
        let place = format!("Parameters.parameter[{index}]");
        let wrong = |what: &str| -> Failure {
            Issue::error(
                IssueKind::Syntax,
                format!("the parameter {name} must be {what}"),
            )
            .at(&place)
            .into()
        };
        if self.is_resource(parameter) {
            let found = given.get("resource").and_then(json::resource_type);
            return match found.is_some_and(|found| self.takes(parameter, found)) {
                true => {
                    self.parameters.push(given);
                    Ok(())
                }
                false => Err(wrong(&format!("a resource: {}", parameter.type_name))),
            };
        }
        if parameter.type_name.is_empty() || self.kind(parameter).is_none() {
            self.parameters.push(given);
            return Ok(());
        }
        let members = given
            .as_object_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let value = members
            .into_iter()
            .find(|(key, _)| key.starts_with("value"));
        let expect = member(parameter);
        // A client may call a primitive value by another of its types: what it must be is checked by the one of the definition.
        let is_primitive = self.kind(parameter) == Some(Kind::Primitive);
        let given = match value {
            Some((key, value)) if key == expect || is_primitive && !value.is_object() => {
                json!({ "name": name, expect: value })
            }
            _ => return Err(wrong(&format!("a {expect}"))),
        };
        match self.is_valid(&given) {
            true => self.parameters.push(given),
            false => return Err(wrong(&format!("a {}", parameter.type_name))),
        }
        Ok(())
    }

    /// The body without the resources in it.
    fn check_shape(&self, body: &Value) -> Result<(), Failure> {
        let shape = without_resources(body);
        let issues = self.definitions.validate(&shape);
        match issues.iter().any(Issue::is_error) {
            true => Err(Failure::from(issues)),
            false => Ok(()),
        }
    }

    fn is_valid(&self, parameter: &Value) -> bool {
        let alone = json!({ "resourceType": "Parameters", "parameter": [parameter] });
        !self
            .definitions
            .validate(&alone)
            .iter()
            .any(Issue::is_error)
    }

    fn count(&self) -> Result<(), Failure> {
        for parameter in self.taken() {
            let name = &parameter.name;
            let given = self
                .parameters
                .iter()
                .filter(|given| given["name"] == **name)
                .count();
            if given < parameter.min as usize {
                return Err(refuse(format!("the parameter {name} is missing")));
            }
            if parameter.max.is_some_and(|max| given > max as usize) {
                return Err(refuse(format!(
                    "the parameter {name} is given more often than it may be"
                )));
            }
        }
        Ok(())
    }

    fn kind(&self, parameter: &OperationParameter) -> Option<Kind> {
        self.definitions
            .structure(&parameter.type_name)
            .map(|structure| structure.kind)
    }

    fn is_resource(&self, parameter: &OperationParameter) -> bool {
        self.kind(parameter) == Some(Kind::Resource)
    }

    fn takes(&self, parameter: &OperationParameter, resource_type: &str) -> bool {
        parameter.type_name == "Resource" || parameter.type_name == resource_type
    }

    fn unknown(&self, name: &str) -> Failure {
        let is_name = name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let name = if is_name { name } else { "of this name" };
        let taken: Vec<&str> = self
            .taken()
            .map(|parameter| parameter.name.as_str())
            .collect();
        let taken = match taken.is_empty() {
            true => "it takes none".to_string(),
            false => format!("it takes {}", taken.join(", ")),
        };
        let operation = self.operation.name();
        Failure::new(
            IssueKind::NotSupported,
            format!("{operation} has no parameter {name}; {taken}"),
        )
    }
}

fn refuse(reason: String) -> Failure {
    Failure::new(IssueKind::Syntax, reason)
}

/// The same Parameters with the resources of parameters and parts taken out.
fn without_resources(parameters: &Value) -> Value {
    let Value::Object(members) = parameters else {
        return parameters.clone();
    };
    let members = members.iter().filter(|(name, _)| *name != "resource");
    let kept = members.map(|(name, value)| match (name.as_str(), value) {
        ("parameter" | "part", Value::Array(all)) => {
            (name.clone(), all.iter().map(without_resources).collect())
        }
        _ => (name.clone(), value.clone()),
    });
    Value::Object(kept.collect())
}
