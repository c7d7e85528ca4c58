//! The terminology operations as functions from Parameters to what they answer, for HTTP and for FHIRPath's `%terminologies` alike
//! (<https://hl7.org/fhir/R5/terminology-service.html>). Parameters are checked by their definitions before.

mod display;
mod expand;
mod lookup;
mod service;
mod subsumes;
mod translate;
mod validate_code;

pub use expand::{EXPAND_REFUSES, expand};
pub use lookup::lookup;
pub use service::service;
pub use subsumes::subsumes;
pub use translate::{Maps, translate};
pub use validate_code::{validate_in_code_system, validate_in_value_set};

use super::TerminologyError;
use serde_json::{Value, json};

/// The parameters of a question: a Parameters resource.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a>(pub &'a Value);

impl<'a> Asked<'a> {
    /// All values of a parameter; a resource is one.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a Value> {
        let parameters = self.0.get("parameter").and_then(Value::as_array);
        let named = parameters
            .into_iter()
            .flatten()
            .filter(move |parameter| parameter.get("name").and_then(Value::as_str) == Some(name));
        let members = named.filter_map(Value::as_object).flatten();
        members
            .filter(|(key, _)| key.starts_with("value") || *key == "resource")
            .map(|(_, value)| value)
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.all(name).next()
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.value(name)?.as_str()
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.value(name)?.as_bool()
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// [`TerminologyError::Question`].
    pub fn number(&self, name: &str) -> Result<Option<usize>, TerminologyError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(question(format!("{name} must be 0 or more"))),
        }
    }

    /// Refuses what the server does not do, by name.
    fn refuse(&self, names: &[&str]) -> Result<(), TerminologyError> {
        match names.iter().find(|name| self.value(name).is_some()) {
            Some(name) => Err(question(format!(
                "the parameter {name} is not supported here"
            ))),
            None => Ok(()),
        }
    }
}

/// A code as a question or a map names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Coded {
    system: Option<String>,
    version: Option<String>,
    code: String,
    display: Option<String>,
}

impl Coded {
    /// A Coding that has a code.
    fn read(coding: &Value) -> Option<Coded> {
        let text = |name| coding.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Coded {
            system: text("system"),
            version: text("version"),
            code: text("code")?,
            display: text("display"),
        })
    }

    /// The codings of a CodeableConcept.
    fn all(concept: &Value) -> Vec<Coded> {
        let codings = concept.get("coding").and_then(Value::as_array);
        codings
            .into_iter()
            .flatten()
            .filter_map(Coded::read)
            .collect()
    }

    fn to_json(&self) -> Value {
        let mut coding = json!({ "code": self.code });
        for (name, value) in [
            ("system", &self.system),
            ("version", &self.version),
            ("display", &self.display),
        ] {
            if let Some(value) = value {
                coding[name] = value.as_str().into();
            }
        }
        coding
    }
}

fn question(reason: impl Into<String>) -> TerminologyError {
    TerminologyError::Question(reason.into())
}

fn parameters(all: Vec<Value>) -> Value {
    json!({ "resourceType": "Parameters", "parameter": all })
}

fn parameter(name: &str, member: &str, value: impl Into<Value>) -> Value {
    json!({ "name": name, member: value.into() })
}
