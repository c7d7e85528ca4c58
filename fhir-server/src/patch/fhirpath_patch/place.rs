//! Where an element of a resource stands, found by its address in memory, and what can be done there.

use super::value::{self, Given};
use super::{Refusal, broken};
use fhir_definitions::{Structure, Structures};
use fhir_model::IssueKind;
use fhir_model::json::DEPTH_MAX;
use fhirpath::Element;
use serde_json::{Map, Value};

/// A place in the JSON of a resource that stands still while it is changed.
#[derive(Debug)]
pub(super) struct Place {
    /// The type of what is there.
    structure: &'static Structure,
    /// `None`: the resource itself.
    stands: Option<Stands>,
}

/// What an element is part of.
#[derive(Debug)]
struct Stands {
    /// From the resource to the object it is a member of.
    container: Vec<Step>,
    /// The type of that object.
    container_type: &'static Structure,
    /// Its name there, without the `_` of a sibling.
    name: String,
    /// Its place in a list.
    index: Option<usize>,
    is_primitive: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Name(String),
    Index(usize),
}

impl Place {
    /// Where `element` is in `resource`; `None` where it is not. `nodes`: how many may yet be looked at.
    ///
    /// # Errors
    /// TooCostly.
    pub fn find(
        resource: &Value,
        element: &Element<'_>,
        nodes: &mut usize,
    ) -> Result<Option<Place>, Refusal> {
        let (Some(target), Some(structure)) = (
            element.value.or(element.sibling),
            Structures::r5().get(element.type_name),
        ) else {
            return Ok(None);
        };
        if std::ptr::eq(resource, target) {
            let stands = None;
            return Ok(Some(Place { structure, stands }));
        }
        let mut search = Search {
            target,
            nodes,
            path: Vec::new(),
        };
        let found = search.object(resource, structure_of(resource, "Resource"))?;
        Ok(found.map(|(container_type, name, index)| Place {
            structure,
            stands: Some(Stands {
                container: search.path,
                container_type,
                name,
                index,
                is_primitive: element
                    .type_name
                    .starts_with(|c: char| c.is_ascii_lowercase()),
            }),
        }))
    }

    /// The object that holds its children, and their type; of a primitive, its sibling, which is made where there is none.
    pub fn children<'v>(
        &self,
        resource: &'v mut Value,
    ) -> Result<(&'static Structure, &'v mut Map<String, Value>), Refusal> {
        let Some(stands) = &self.stands else {
            return Ok((self.structure, object(Some(resource))?));
        };
        let element = Structures::r5().get("Element");
        let structure = match stands.is_primitive {
            true => element.ok_or_else(gone)?,
            false => self.structure,
        };
        let container = object(follow(resource, &stands.container))?;
        let name = match stands.is_primitive {
            true => format!("_{}", stands.name),
            false => stands.name.clone(),
        };
        let mut place = container.entry(name).or_insert(Value::Null);
        if let Some(index) = stands.index {
            if place.is_null() {
                *place = Value::Array(Vec::new());
            }
            let items = place.as_array_mut().ok_or_else(gone)?;
            if items.len() <= index {
                items.resize(index + 1, Value::Null);
            }
            place = &mut items[index];
        }
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        Ok((structure, object(Some(place))?))
    }

    pub fn remove(&self, resource: &mut Value) -> Result<(), Refusal> {
        let stands = self.stands.as_ref();
        let stands = stands.ok_or_else(|| broken("the whole resource cannot be taken away"))?;
        let container = object(follow(resource, &stands.container))?;
        match stands.index {
            Some(index) => {
                let mut list = List::take(container, &stands.name);
                list.remove(index)?;
                list.put(container, &stands.name);
            }
            None => {
                container.shift_remove(&stands.name);
                container.shift_remove(&format!("_{}", stands.name));
            }
        }
        Ok(())
    }

    /// Puts another value in its place; where it is a choice, of another of its types, too.
    pub fn replace(&self, resource: &mut Value, given: &Given) -> Result<(), Refusal> {
        let stands = self.stands.as_ref();
        let stands = stands
            .ok_or_else(|| broken("the whole resource cannot be replaced; that is an update"))?;
        let element = stands.container_type.member(&stands.name);
        let (at, _) = element.ok_or_else(gone)?;
        let element = &stands.container_type.elements[at];
        let member = value::member(stands.container_type, element.name, given)?;
        let container = object(follow(resource, &stands.container))?;
        match stands.index {
            Some(index) => {
                let mut list = List::take(container, &stands.name);
                list.remove(index)?;
                list.insert(index, member.value, member.sibling)?;
                list.put(container, &stands.name);
            }
            None => {
                for name in &member.names {
                    container.shift_remove(name);
                    container.shift_remove(&format!("_{name}"));
                }
                member.put(container);
            }
        }
        Ok(())
    }
}

fn gone() -> Refusal {
    broken("the resource is not of the shape that R5 gives it")
}

fn object(value: Option<&mut Value>) -> Result<&mut Map<String, Value>, Refusal> {
    value.and_then(Value::as_object_mut).ok_or_else(gone)
}

fn follow<'v>(resource: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    steps.iter().try_fold(resource, |value, step| match step {
        Step::Name(name) => value.get_mut(name),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// The type of an object: of a resource the one it says.
fn structure_of(value: &Value, type_name: &str) -> Option<&'static Structure> {
    let said = value.get("resourceType").and_then(Value::as_str);
    Structures::r5().get(said.unwrap_or(type_name))
}

struct Search<'s> {
    target: &'s Value,
    nodes: &'s mut usize,
    path: Vec<Step>,
}

/// The type of the object in which the target is a member, its name there, and its place in a list.
type Found = (&'static Structure, String, Option<usize>);

impl Search<'_> {
    fn object(
        &mut self,
        value: &Value,
        structure: Option<&'static Structure>,
    ) -> Result<Option<Found>, Refusal> {
        let (Some(members), Some(structure)) = (value.as_object(), structure) else {
            return Ok(None);
        };
        // Operation by operation a patch could nest deeper than any stack.
        if self.path.len() > DEPTH_MAX {
            let reason = "the resource would be nested too deep";
            return Err((IssueKind::BusinessRule, reason.to_owned()));
        }
        for (name, value) in members {
            let plain = name.strip_prefix('_').unwrap_or(name);
            self.spend(1)?;
            if std::ptr::eq(value, self.target) {
                return Ok(Some((structure, plain.to_owned(), None)));
            }
            if !value.is_array() && !value.is_object() {
                continue;
            }
            let Some((_, type_name)) = structure.member(plain) else {
                continue;
            };
            let type_name = match plain.len() < name.len() {
                true => "Element",
                false => type_name,
            };
            self.path.push(Step::Name(name.clone()));
            let Value::Array(items) = value else {
                let found = self.object(value, structure_of(value, type_name))?;
                if found.is_some() {
                    return Ok(found);
                }
                self.path.pop();
                continue;
            };
            self.spend(items.len())?;
            if let Some(index) = items
                .iter()
                .position(|item| std::ptr::eq(item, self.target))
            {
                self.path.pop();
                return Ok(Some((structure, plain.to_owned(), Some(index))));
            }
            for (index, item) in items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.is_object())
            {
                self.path.push(Step::Index(index));
                let found = self.object(item, structure_of(item, type_name))?;
                if found.is_some() {
                    return Ok(found);
                }
                self.path.pop();
            }
            self.path.pop();
        }
        Ok(None)
    }

    fn spend(&mut self, nodes: usize) -> Result<(), Refusal> {
        match self.nodes.checked_sub(nodes) {
            Some(left) => {
                *self.nodes = left;
                Ok(())
            }
            None => {
                let reason = "the patch takes too long on a resource of this size";
                Err((IssueKind::TooCostly, reason.to_owned()))
            }
        }
    }
}

/// A list in JSON: values, and of primitives what stands beside each.
#[derive(Debug, Default)]
pub(super) struct List(Vec<(Value, Value)>);

impl List {
    /// Takes it out of its object; [`List::put`] puts it back where it was.
    pub fn take(object: &mut Map<String, Value>, name: &str) -> List {
        let mut items = |name: &str| match object.get_mut(name).map(Value::take) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) | None => Vec::new(),
            Some(item) => vec![item],
        };
        let (values, siblings) = (items(name), items(&format!("_{name}")));
        let length = values.len().max(siblings.len());
        let (mut values, mut siblings) = (values.into_iter(), siblings.into_iter());
        let mut pair = || {
            (
                values.next().unwrap_or_default(),
                siblings.next().unwrap_or_default(),
            )
        };
        List((0..length).map(|_| pair()).collect())
    }

    /// An empty one is none.
    pub fn put(self, object: &mut Map<String, Value>, name: &str) {
        let (values, siblings): (Vec<Value>, Vec<Value>) = self.0.into_iter().unzip();
        let mut put = |name: &str, items: Vec<Value>| match items.iter().all(Value::is_null) {
            true => drop(object.shift_remove(name)),
            false => drop(object.insert(name.to_owned(), Value::Array(items))),
        };
        put(name, values);
        put(&format!("_{name}"), siblings);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn insert(&mut self, index: usize, value: Value, sibling: Value) -> Result<(), Refusal> {
        match index <= self.0.len() {
            true => {
                self.0.insert(index, (value, sibling));
                Ok(())
            }
            false => Err(broken("the index is beyond the end of the list")),
        }
    }

    pub fn remove(&mut self, index: usize) -> Result<(Value, Value), Refusal> {
        match index < self.0.len() {
            true => Ok(self.0.remove(index)),
            false => Err(broken("the list has no item at this index")),
        }
    }

    pub fn shift(&mut self, source: usize, destination: usize) -> Result<(), Refusal> {
        if destination >= self.0.len() {
            return Err(broken("the list has no item at this index"));
        }
        let (value, sibling) = self.remove(source)?;
        self.insert(destination, value, sibling)
    }
}
