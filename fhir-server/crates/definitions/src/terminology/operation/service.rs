//! The functions of FHIRPath's `%terminologies`, and `memberOf()` and `subsumes()` (<https://hl7.org/fhir/R5/fhirpath.html#txapi>), as the operations of the
//! same names. The params of a call (`a=b&c=d`) are not supported.

use super::super::{Terminology, TerminologyError};
use super::{
    Asked, Coded, Maps, expand, lookup, parameters, question, subsumes, translate,
    validate_in_code_system, validate_in_value_set,
};
use serde_json::{Value, json};

/// What `function` answers: Parameters, of `expand` a ValueSet. `arguments` are strings, codes, Codings or CodeableConcepts; what is not given is null.
///
/// # Errors
/// As the operation.
pub fn service(
    terminology: &Terminology<'_>,
    function: &str,
    arguments: &[&Value],
    now: &str,
) -> Result<Value, TerminologyError> {
    let [first, second, third, fourth] =
        [0, 1, 2, 3].map(|at| arguments.get(at).copied().unwrap_or(&Value::Null));
    let params = match function {
        "expand" | "lookup" => second,
        "subsumes" => fourth,
        _ => third,
    };
    if !params.is_null() {
        return Err(question(format!(
            "the params of {function}() are not supported"
        )));
    }
    let name = first.as_str().unwrap_or_default();
    match function {
        "expand" => {
            let set = terminology.value_set(name)?;
            expand(terminology, &set, Asked(&Value::Null), now)
        }
        "validateVS" => {
            let set = terminology.value_set(name)?;
            validate_in_value_set(
                terminology,
                &set,
                Asked(&of(coded(second, "codeableConcept"))),
            )
        }
        "validateCS" => {
            let system = terminology.code_system(name)?;
            validate_in_code_system(&system, Asked(&of(coded(second, "codeableConcept"))))
        }
        "lookup" => {
            let coded = one(first)?;
            let system = terminology.code_system(&coded.system.unwrap_or_default())?;
            lookup(&system, &coded.code, Asked(&Value::Null))
        }
        "subsumes" => {
            let system = terminology.code_system(name)?;
            subsumes(&system, &one(second)?.code, &one(third)?.code)
        }
        "translate" => {
            let map = terminology.concept_map(name)?;
            let asked = match second {
                Value::String(code) => json!({ "name": "sourceCode", "valueCode": code }),
                coding if coding.get("coding").is_none() => {
                    json!({ "name": "sourceCoding", "valueCoding": coding })
                }
                concept => {
                    json!({ "name": "sourceCodeableConcept", "valueCodeableConcept": concept })
                }
            };
            translate(terminology, Maps::One(map), Asked(&of(asked)))
        }
        _ => Err(question(format!("there is no function {function}()"))),
    }
}

fn of(one: Value) -> Value {
    parameters(vec![one])
}

/// A code, Coding or CodeableConcept as the parameter for it.
fn coded(value: &Value, concept: &str) -> Value {
    match value {
        Value::String(code) => json!({ "name": "code", "valueCode": code }),
        coding if coding.get("code").is_some() => {
            json!({ "name": "coding", "valueCoding": coding })
        }
        other => json!({ "name": concept, "valueCodeableConcept": other }),
    }
}

/// A code or the one Coding.
fn one(value: &Value) -> Result<Coded, TerminologyError> {
    let coded = match value {
        Value::String(code) => Some(Coded {
            code: code.clone(),
            ..Coded::default()
        }),
        value if value.get("coding").is_some() => match Coded::all(value).as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        },
        value => Coded::read(value),
    };
    coded.ok_or_else(|| question("there must be one code"))
}
