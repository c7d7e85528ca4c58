//! FHIRPath Patch (<https://hl7.org/fhir/R5/fhirpatch.html>): Parameters whose operations name their places by FHIRPath.
//!
//! A path is evaluated over the resource itself, and what it finds is found again in the tree by where it stands in memory: so any
//! expression that leads to an element of the resource can be used, and one that leads elsewhere or to a computed value is refused.
//! Refuses a part that is missing, unknown or given twice, more than [`OPERATIONS_MAX`] operations, what nests deeper than JSON may, and what
//! takes more than its share
//! of [`STEPS_MAX`] and [`NODES_MAX`].

mod place;
mod value;

use fhir_definitions::Structures;
use fhir_model::{Issue, IssueKind};
use fhirpath::{Context, Item, Limits, Program, Reason};
use place::{List, Place};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use value::Given;

/// Operations of a patch.
const OPERATIONS_MAX: usize = 1000;
/// Steps that the paths of a patch may take together; each has an equal share.
const STEPS_MAX: u64 = 2_000_000;
/// Elements that may be looked through to find what paths lead to.
const NODES_MAX: usize = 2_000_000;

/// A patch, understood.
#[derive(Clone, Debug)]
pub struct FhirpathPatch {
    operations: Arc<[Operation]>,
    /// What `now()` says in its paths.
    now: String,
}

#[derive(Debug)]
struct Operation {
    path: Program,
    what: What,
}

#[derive(Debug)]
enum What {
    Add {
        name: String,
        value: Given,
    },
    Insert {
        list: String,
        index: usize,
        value: Given,
    },
    Delete,
    Replace(Given),
    Move {
        list: String,
        source: usize,
        destination: usize,
    },
}

type Refusal = (IssueKind, String);

impl FhirpathPatch {
    /// Takes Parameters apart. `now` is an instant.
    ///
    /// # Errors
    /// Syntax with the operation that is none; TooCostly.
    pub fn read(parameters: &Value, now: String) -> Result<FhirpathPatch, Issue> {
        let operations = match parameters.get("parameter") {
            None => &[][..],
            Some(operations) => operations
                .as_array()
                .ok_or_else(|| Issue::error(IssueKind::Syntax, "parameter must be an array"))?,
        };
        if operations.len() > OPERATIONS_MAX {
            return Err(Issue::error(
                IssueKind::TooCostly,
                format!("the patch has more than {OPERATIONS_MAX} operations"),
            ));
        }
        let operations = operations.iter().enumerate().map(|(index, operation)| {
            Operation::read(operation).map_err(|reason| {
                refuse((IssueKind::Syntax, reason), index)
                    .at(format!("Parameters.parameter[{index}]"))
            })
        });
        Ok(FhirpathPatch {
            operations: operations.collect::<Result<_, _>>()?,
            now,
        })
    }

    /// Applies all operations, in order.
    ///
    /// # Errors
    /// BusinessRule with the first operation that cannot be done, TooCostly; the resource is of no use then.
    pub fn apply(&self, resource: &mut Value) -> Result<(), Issue> {
        let mut nodes = NODES_MAX;
        for (index, operation) in self.operations.iter().enumerate() {
            self.operation(operation, resource, &mut nodes)
                .map_err(|refusal| refuse(refusal, index))?;
        }
        Ok(())
    }

    fn operation(
        &self,
        operation: &Operation,
        resource: &mut Value,
        nodes: &mut usize,
    ) -> Result<(), Refusal> {
        let found = self.only_place(&operation.path, resource, nodes)?;
        let Some(place) = found else {
            return match operation.what {
                // What is not there need not be taken away.
                What::Delete => Ok(()),
                _ => Err(broken("the path leads to nothing in the resource")),
            };
        };
        match &operation.what {
            What::Add { name, value } => {
                let (structure, object) = place.children(resource)?;
                value::add(structure, object, name, value)
            }
            What::Delete => place.remove(resource),
            What::Replace(value) => place.replace(resource, value),
            What::Insert { list, index, value } => {
                let (structure, object) = place.children(resource)?;
                value::check_list(structure, list)?;
                let member = value::member(structure, list, value)?;
                let mut items = List::take(object, list);
                let done = items.insert(*index, member.value, member.sibling);
                items.put(object, list);
                done
            }
            What::Move {
                list,
                source,
                destination,
            } => {
                let (structure, object) = place.children(resource)?;
                value::check_list(structure, list)?;
                let mut items = List::take(object, list);
                let done = items.shift(*source, *destination);
                items.put(object, list);
                done
            }
        }
    }

    /// Where the one element is that a path leads to.
    fn only_place(
        &self,
        path: &Program,
        resource: &Value,
        nodes: &mut usize,
    ) -> Result<Option<Place>, Refusal> {
        let context = Context::new(resource, Structures::r5())
            .now(&self.now)
            .limits(Limits {
                steps: (STEPS_MAX / self.operations.len().max(1) as u64).min(500_000),
                ..Limits::default()
            });
        let items = path.evaluate(&context).map_err(|error| {
            let kind = match error.reason {
                Reason::Limit => IssueKind::TooCostly,
                Reason::Invalid | Reason::Unsupported => IssueKind::BusinessRule,
            };
            (kind, format!("the path ended in an error: {error}"))
        })?;
        match &items[..] {
            [] => Ok(None),
            [Item::Element(element)] => {
                let place = Place::find(resource, element, nodes)?;
                place.map(Some).ok_or_else(|| {
                    broken(
                        "the path leads out of the resource; only its own elements can be changed",
                    )
                })
            }
            [_] => Err(broken(
                "the path leads to a value that is no element of the resource",
            )),
            _ => Err(broken(
                "the path leads to several elements; it must lead to one",
            )),
        }
    }
}

fn broken(reason: &str) -> Refusal {
    (IssueKind::BusinessRule, reason.to_owned())
}

fn refuse((kind, reason): Refusal, index: usize) -> Issue {
    Issue::error(
        kind,
        format!("operation {index} of the patch, counted from 0: {reason}"),
    )
}

impl Operation {
    fn read(operation: &Value) -> Result<Operation, String> {
        let named = operation.get("name").and_then(Value::as_str);
        if named != Some("operation") {
            return Err("each parameter must be an operation".into());
        }
        let mut parts = Parts::read(operation)?;
        let kind = parts.text("type")?;
        let path = parts.text("path")?;
        let path = Program::parse(path).map_err(|error| format!("the path is refused: {error}"))?;
        let in_list = |path: Program| {
            path.split_last()
                .map_err(|_| format!("the path of {kind} must end in the name of a list"))
        };
        let (path, what) = match kind {
            "add" => {
                let name = parts.text("name")?.to_owned();
                let value = parts.value()?;
                (path, What::Add { name, value })
            }
            "insert" => {
                let (path, list) = in_list(path)?;
                let (index, value) = (parts.number("index")?, parts.value()?);
                (path, What::Insert { list, index, value })
            }
            "delete" => (path, What::Delete),
            "replace" => (path, What::Replace(parts.value()?)),
            "move" => {
                let (path, list) = in_list(path)?;
                let (source, destination) = (parts.number("source")?, parts.number("destination")?);
                (
                    path,
                    What::Move {
                        list,
                        source,
                        destination,
                    },
                )
            }
            _ => return Err("type must be add, insert, delete, replace or move".into()),
        };
        match parts.0.keys().next() {
            None => Ok(Operation { path, what }),
            Some(_) => Err(format!("it has a part that {kind} does not take")),
        }
    }
}

/// The parts of an operation, by name; those that were read are taken out.
struct Parts<'p>(HashMap<&'p str, &'p Map<String, Value>>);

impl<'p> Parts<'p> {
    fn read(operation: &'p Value) -> Result<Parts<'p>, String> {
        let parts = operation.get("part").and_then(Value::as_array);
        let mut read = HashMap::new();
        for part in parts.into_iter().flatten() {
            let part = part.as_object().ok_or("a part must be an object")?;
            let name = part.get("name").and_then(Value::as_str);
            let name = name.ok_or("a part must have a name")?;
            if read.insert(name, part).is_some() {
                return Err("a part is given twice".into());
            }
        }
        Ok(Parts(read))
    }

    fn take(&mut self, name: &str) -> Result<&'p Map<String, Value>, String> {
        let part = self.0.remove(name);
        part.ok_or_else(|| format!("the part {name} is missing"))
    }

    fn simple(&mut self, name: &str) -> Result<&'p Value, String> {
        let part = self.take(name)?;
        let mut values = part.iter().filter(|(name, _)| name.starts_with("value"));
        let value = values.next().map(|(_, value)| value);
        value.ok_or_else(|| format!("the part {name} has no value"))
    }

    fn text(&mut self, name: &str) -> Result<&'p str, String> {
        let text = self.simple(name)?.as_str();
        text.ok_or_else(|| format!("the part {name} must be a string"))
    }

    fn number(&mut self, name: &str) -> Result<usize, String> {
        let number = self.simple(name)?.as_u64();
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| format!("the part {name} must be a whole number from 0"))
    }

    fn value(&mut self) -> Result<Given, String> {
        Given::read(self.take("value")?)
    }
}

#[cfg(test)]
mod tests;
