//! What an operation gives, and how that is sent: a resource that is the only parameter out and called `return` as it is, everything else
//! in Parameters (<https://hl7.org/fhir/R5/operations.html#response>).

use crate::operation::Operation;
use crate::reply::Reply;
use fhir_definitions::OperationParameter;
use serde_json::{Value, json};

/// The parameters out.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A value of the only one, which has a data type.
    Value(Value),
    /// The only one, a resource: JSON text.
    Resource(String),
    /// The only one, a Bundle that was made for this answer.
    Bundle(String),
    /// All, as `Parameters.parameter`.
    Parameters(Vec<Value>),
}

impl Answer {
    /// The reply that says this.
    pub fn reply(self, operation: &Operation) -> Reply {
        let mut out = operation
            .definition
            .parameters
            .iter()
            .filter(|parameter| !parameter.is_in);
        let only = match (out.next(), out.next()) {
            (Some(parameter), None) => Some(parameter),
            _ => None,
        };
        let is_bare = only.is_some_and(|parameter| parameter.name == "return");
        let name = only.map_or("return", |parameter| parameter.name.as_str());
        match self {
            Answer::Resource(text) if is_bare => Reply::document(text),
            Answer::Bundle(text) if is_bare => Reply::bundle(text, None),
            Answer::Resource(text) | Answer::Bundle(text) => {
                // Around the text: a number in it keeps its digits.
                let name = Value::from(name);
                Reply::document(format!(
                    r#"{{"resourceType":"Parameters","parameter":[{{"name":{name},"resource":{text}}}]}}"#
                ))
            }
            Answer::Value(value) => {
                let member = only.map_or_else(|| "valueString".to_string(), member);
                parameters(vec![json!({ "name": name, member: value })])
            }
            Answer::Parameters(all) => parameters(all),
        }
    }
}

fn parameters(all: Vec<Value>) -> Reply {
    Reply::document(match all.is_empty() {
        true => r#"{"resourceType":"Parameters"}"#.to_string(),
        false => json!({ "resourceType": "Parameters", "parameter": all }).to_string(),
    })
}

/// `valueMeta`: where `Parameters.parameter` has a value of the parameter's type.
pub fn member(parameter: &OperationParameter) -> String {
    let (first, rest) = parameter.type_name.split_at_checked(1).unwrap_or_default();
    format!("value{}{rest}", first.to_ascii_uppercase())
}
