//! Validation of a resource against the base structure of its type (<https://hl7.org/fhir/R5/validation.html>).
//!
//! One walk, object by object. Each object is held against the [`Shape`] of its structure (a compiled JSON Schema); the walk itself
//! checks what that cannot say: required elements (which a `_` sibling may stand for), one choice only, null padding, required
//! bindings, resources inside resources. Invariants are in [`crate::invariants`]; slices and profiles are not looked at.
//! An issue names its place and what is wrong with it, never the value found there.

use crate::place::{Place, Step};
use crate::shape::{Content, Property, Shape};
use crate::structure::{Binding, Element, Strength, Structure, Structures};
use fhir_model::json::DEPTH_MAX;
use fhir_model::{Issue, IssueKind};
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

/// Of a narrative that txt-1 or txt-2 refuses.
const NARRATIVE: &str = "a narrative is one div with text or an image in it, of the elements and attributes that FHIR allows, without script";

/// After so many issues the rest is not reported: a hostile resource could have millions.
pub const ISSUES_MAX: usize = 100;

/// Every problem of the resource, in document order; at most [`ISSUES_MAX`].
pub(crate) fn validate(resource: &Value, structures: &Structures) -> Vec<Issue> {
    let mut walk = Walk {
        structures,
        path: Place::default(),
        issues: Vec::new(),
    };
    walk.resource(resource, false);
    walk.issues
}

struct Walk<'a> {
    structures: &'a Structures,
    path: Place<'a>,
    issues: Vec<Issue>,
}

impl<'a> Walk<'a> {
    /// A resource: the root, contained, or carried by a Bundle or Parameters.
    fn resource(&mut self, resource: &'a Value, contained: bool) {
        let root = self.path.is_root();
        let Some(object) = resource.as_object() else {
            if root {
                self.issue(IssueKind::Structure, "a resource is a JSON object");
            }
            return; // below the root its parent's schema has said so
        };
        let structure = match object.get("resourceType") {
            None => return self.issue(IssueKind::Required, "resourceType is missing"),
            Some(Value::String(name)) => self
                .structures
                .get(name)
                .filter(|s| s.kind == crate::structure::Kind::Resource && !s.is_abstract),
            Some(_) => return self.issue(IssueKind::Structure, "resourceType is a string"),
        };
        let Some(structure) = structure else {
            return self.issue(IssueKind::UnknownType, "resourceType is none of FHIR R5");
        };
        if root {
            self.path.push(Step::Name(structure.name));
        }
        if contained && object.contains_key("contained") {
            self.path.push(Step::Name("contained"));
            self.issue(
                IssueKind::Structure,
                "a contained resource cannot contain another",
            );
            self.path.pop();
        }
        self.object(resource, structure);
    }

    /// An instance of a resource type, data type or backbone element.
    fn object(&mut self, value: &'a Value, structure: &'a Structure) {
        let Some(object) = value.as_object() else {
            return; // its parent's schema has said so
        };
        if self.path.depth() > 2 * DEPTH_MAX {
            return self.issue(IssueKind::TooCostly, "nested too deep");
        }
        let shape = structure.shape(self.structures);
        if !shape.schema.is_valid(value) {
            self.report(value, structure, shape);
        }
        // Which elements there are, a bit for each; and of choices which type.
        let mut seen: u128 = 0;
        let mut choices: Vec<(u8, u8)> = Vec::new();
        for (name, value) in object {
            let Some(property) = shape.properties.get(name) else {
                continue; // resourceType, or reported as unknown
            };
            let element = &structure.elements[property.element as usize];
            seen |= 1 << property.element;
            if element.choice {
                match choices.iter().find(|(e, _)| *e == property.element) {
                    Some((_, chosen)) if *chosen != property.type_index => {
                        self.path.push(Step::Name(element.name));
                        self.issue(IssueKind::Structure, "a choice element has one type only");
                        self.path.pop();
                    }
                    Some(_) => {}
                    None => choices.push((property.element, property.type_index)),
                }
            }
            self.path.push(self.step(element, property));
            self.property(name, value, object, element, property);
            self.path.pop();
        }
        for position in &shape.required {
            if seen & (1 << position) == 0 {
                let element = &structure.elements[*position as usize];
                self.path.push(Step::Name(element.name));
                self.issue(IssueKind::Required, "a required element is missing");
                self.path.pop();
            }
        }
    }

    fn step(&self, element: &'a Element, property: &Property) -> Step<'a> {
        match element.choice {
            true => Step::Choice(
                element.name,
                element.types[property.type_index as usize].name,
            ),
            false => Step::Name(element.name),
        }
    }

    /// One property, single or repeating. Where the JSON type is not what it should be, the schema has said so: it is passed over.
    fn property(
        &mut self,
        name: &str,
        value: &'a Value,
        object: &'a Map<String, Value>,
        element: &'a Element,
        property: &Property,
    ) {
        let reference = &element.types[property.type_index as usize];
        let binding = element
            .binding
            .as_ref()
            .filter(|b| b.strength == Strength::Required);
        let Value::Array(items) = value else {
            return match (property.sibling, property.content) {
                (true, _) => self.primitive_element(value),
                (_, Content::Primitive) => self.code(value, binding),
                _ => self.child(value, reference.name, property.content, element, binding),
            };
        };
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Index(index));
            match (property.sibling, property.content) {
                (_, Content::Primitive) if item.is_null() => {
                    // The other half of an array of primitives must have content here.
                    let partner = match property.sibling {
                        true => object.get(&name[1..]),
                        false => object.get(format!("_{name}").as_str()),
                    };
                    if partner
                        .and_then(|p| p.get(index))
                        .is_none_or(Value::is_null)
                    {
                        self.issue(
                            IssueKind::Structure,
                            "null without a value or extension at the same place of the other array",
                        );
                    }
                }
                (true, _) => self.primitive_element(item),
                (_, Content::Primitive) => self.code(item, binding),
                _ => self.child(item, reference.name, property.content, element, binding),
            }
            self.path.pop();
        }
    }

    /// `_name`: the id and extensions of a primitive.
    fn primitive_element(&mut self, value: &'a Value) {
        if let Some(structure) = self.structures.get("Element") {
            self.object(value, structure);
        }
    }

    fn child(
        &mut self,
        value: &'a Value,
        type_name: &str,
        content: Content,
        element: &'a Element,
        binding: Option<&Binding>,
    ) {
        if content == Content::Resource {
            return self.resource(value, element.name == "contained");
        }
        if let Some(structure) = self.structures.get(type_name) {
            self.object(value, structure);
        }
        if let Some(binding) = binding {
            self.coded(value, type_name, binding);
        }
    }

    /// A primitive with a required binding.
    fn code(&mut self, value: &Value, binding: Option<&Binding>) {
        if let (Some(binding), Some(code)) = (binding, value.as_str())
            && !binding.codes().has_code(code)
        {
            self.not_in(binding);
        }
    }

    /// A Coding, CodeableConcept or CodeableReference with a required binding: one coding of it must be in the value set. Without any coding
    /// (text or an extension only) there is no code to check.
    fn coded(&mut self, value: &Value, type_name: &str, binding: &Binding) {
        let concept = match type_name {
            "CodeableReference" => value.get("concept"),
            "CodeableConcept" => Some(value),
            "Coding" => {
                if value.get("code").is_some() && !has_coding(value, binding) {
                    self.not_in(binding);
                }
                return;
            }
            _ => return,
        };
        let codings = concept
            .and_then(|c| c.get("coding"))
            .and_then(Value::as_array);
        if let Some(codings) = codings
            && codings.iter().any(|coding| coding.get("code").is_some())
            && !codings.iter().any(|coding| has_coding(coding, binding))
        {
            self.not_in(binding);
        }
    }

    fn not_in(&mut self, binding: &Binding) {
        self.issue(
            IssueKind::CodeInvalid,
            &format!("the code is not in the value set {}", binding.value_set),
        );
    }

    /// Tells what the schema found wrong with an object.
    fn report(&mut self, value: &'a Value, structure: &'a Structure, shape: &'a Shape) {
        for error in shape.schema.iter_errors(value) {
            let depth = self.path.depth();
            let property = self.locate(&error, structure, shape);
            let type_name = property.map_or("", |p| {
                structure.elements[p.element as usize].types[p.type_index as usize].name
            });
            self.report_one(&error, property, type_name);
            self.path.truncate(depth);
            if self.issues.len() >= ISSUES_MAX {
                return;
            }
        }
    }

    /// Extends the path to where the error is: at most a property and an index below the object.
    fn locate(
        &mut self,
        error: &ValidationError<'_>,
        structure: &'a Structure,
        shape: &'a Shape,
    ) -> Option<&'a Property> {
        let pointer = error.instance_path().as_str();
        let mut tokens = pointer.split('/').skip(1);
        let property = shape.properties.get(tokens.next()?)?;
        let element = &structure.elements[property.element as usize];
        self.path.push(self.step(element, property));
        if let Some(index) = tokens.next().and_then(|token| token.parse().ok()) {
            self.path.push(Step::Index(index));
        }
        Some(property)
    }

    fn report_one(
        &mut self,
        error: &ValidationError<'_>,
        property: Option<&Property>,
        type_name: &str,
    ) {
        use ValidationErrorKind as Kind;
        let in_array = self.path.is_item();
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for name in unexpected.iter().take(ISSUES_MAX) {
                    // A name that is no name could be anything, even a patient's: it is not repeated.
                    let message = "no such element in this type";
                    match is_element_name(name) {
                        true => self.issue_below(IssueKind::Structure, message, name),
                        false => self.issue(IssueKind::Structure, message),
                    }
                }
            }
            Kind::MinProperties { .. } => {
                self.issue(IssueKind::Structure, "an object cannot be empty")
            }
            Kind::MinItems { .. } => self.issue(IssueKind::Structure, "an array cannot be empty"),
            Kind::MaxItems { limit } => {
                self.issue(
                    IssueKind::Structure,
                    &format!("at most {limit} values are allowed"),
                );
            }
            Kind::Type { .. } => {
                let expected = match (property, error.instance().as_ref()) {
                    (Some(_), Value::Array(_)) if !in_array => {
                        "this element does not repeat: not an array".to_owned()
                    }
                    (Some(p), _) if p.sibling && in_array => {
                        "an object or null is expected".to_owned()
                    }
                    (Some(_), _) if !in_array && repeats(error) => {
                        "this element repeats: an array is expected".to_owned()
                    }
                    (Some(p), _) if !p.sibling && p.content == Content::Primitive => format!(
                        "a {type_name} is expected, as JSON {}",
                        json_type(type_name)
                    ),
                    _ => "an object is expected".to_owned(),
                };
                self.issue(IssueKind::Structure, &expected);
            }
            _ if type_name == "xhtml" => self.issue(IssueKind::Invariant, NARRATIVE),
            _ => self.issue(IssueKind::Value, &format!("not a valid {type_name}")),
        }
    }

    fn issue(&mut self, kind: IssueKind, message: &str) {
        if self.issues.len() < ISSUES_MAX {
            self.issues
                .push(Issue::error(kind, message).at(self.path.to_string()));
        }
    }

    fn issue_below(&mut self, kind: IssueKind, message: &str, name: &str) {
        if self.issues.len() < ISSUES_MAX {
            let place = format!("{}.{name}", self.path);
            self.issues.push(Issue::error(kind, message).at(place));
        }
    }
}

fn has_coding(coding: &Value, binding: &Binding) -> bool {
    let text = |name| coding.get(name).and_then(Value::as_str);
    match (text("system"), text("code")) {
        (Some(system), Some(code)) => binding.codes().has(system, code),
        _ => false,
    }
}

/// Whether the schema that failed asked for an array.
fn repeats(error: &ValidationError<'_>) -> bool {
    use jsonschema::JsonType;
    use jsonschema::error::TypeKind;
    matches!(
        error.kind(),
        ValidationErrorKind::Type {
            kind: TypeKind::Single(JsonType::Array)
        }
    )
}

fn is_element_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn json_type(type_name: &str) -> &'static str {
    match type_name {
        "boolean" => "true or false",
        "decimal" | "integer" | "unsignedInt" | "positiveInt" => "number",
        _ => "string",
    }
}
