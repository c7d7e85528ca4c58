//! The types of R5 as their StructureDefinition snapshots describe them (<https://hl7.org/fhir/R5/structuredefinition.html>):
//! primitives, data types, resources, and each backbone element as a type of its own, named by its path (`Patient.contact`).

use crate::shape::Shape;
use crate::tables::{Row, STRUCTURES};
use crate::terminology::ValueSetCodes;

use fhirpath::{ElementType, TypeModel};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// What sort of type this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Primitive,
    Complex,
    /// An element with children of its own.
    Backbone,
    Resource,
}

/// One type, with all its elements, inherited ones included.
#[derive(Debug)]
pub struct Structure {
    /// `code`, `HumanName`, `Patient`, or a path: `Patient.contact`.
    pub name: &'static str,
    pub kind: Kind,
    pub is_abstract: bool,
    /// The type it derives from; empty for `Base`.
    pub base: &'static str,
    /// Of a primitive: the regular expression of its text; may be empty.
    pub regex: &'static str,
    /// In the order of the specification.
    pub elements: Vec<Element>,
    shape: OnceLock<Shape>,
}

/// One element of a type.
#[derive(Debug)]
pub struct Element {
    /// Without `[x]`.
    pub name: &'static str,
    /// Whether this is a choice element (`value[x]`).
    pub choice: bool,
    pub min: u32,
    /// `None`: unbounded.
    pub max: Option<u32>,
    pub is_modifier: bool,
    pub is_summary: bool,
    pub types: Vec<TypeReference>,
    pub binding: Option<Binding>,
}

/// A type that an element may have.
#[derive(Clone, Copy, Debug)]
pub struct TypeReference {
    /// The name of a [`Structure`].
    pub name: &'static str,
    /// Profiles it must follow, comma separated (`SimpleQuantity`); those of the specification without their base URL.
    pub profiles: &'static str,
    /// What a reference or canonical may point to, comma separated (`Patient,Group`).
    pub targets: &'static str,
}

/// `ElementDefinition.binding.strength`; example bindings are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Required,
    Extensible,
    Preferred,
}

/// The value set that an element's codes come from.
#[derive(Debug)]
pub struct Binding {
    pub strength: Strength,
    /// Canonical URL without version.
    pub value_set: &'static str,
    codes: OnceLock<Arc<ValueSetCodes>>,
    system: OnceLock<Option<String>>,
}

impl Element {
    /// The type with which `name` stands for this element: for `value[x]` and `valueQuantity` it is `Quantity`.
    fn type_of(&self, name: &str) -> Option<&'static str> {
        let rest = name.strip_prefix(self.name)?;
        let mut types = self.types.iter().map(|of| of.name);
        match self.choice {
            false => types.next().filter(|_| rest.is_empty()),
            true => types.find(|of| {
                let (head, tail) = (rest.get(..1), rest.get(1..));
                tail == of.get(1..)
                    && head.is_some_and(|head| {
                        head.starts_with(|c: char| c.is_ascii_uppercase())
                            && of.get(..1).is_some_and(|of| of.eq_ignore_ascii_case(head))
                    })
            }),
        }
    }

    /// Whether it may repeat: it is an array in JSON.
    pub fn is_array(&self) -> bool {
        self.max != Some(1)
    }
}

impl Structure {
    fn new(name: &'static str, kind: Kind) -> Structure {
        Structure {
            name,
            kind,
            is_abstract: false,
            base: "",
            regex: "",
            elements: Vec::new(),
            shape: OnceLock::new(),
        }
    }

    /// The element `name` (without `[x]`).
    pub fn element(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|element| element.name == name)
    }

    /// What a member of the JSON object stands for (`birthDate`, `valueQuantity`): where its element is in `elements`, and its type.
    pub fn member(&self, name: &str) -> Option<(usize, &'static str)> {
        let mut elements = self.elements.iter().enumerate();
        elements.find_map(|(at, element)| Some((at, element.type_of(name)?)))
    }

    pub(crate) fn shape(&self, structures: &Structures) -> &Shape {
        self.shape.get_or_init(|| Shape::new(self, structures))
    }
}

impl Binding {
    /// The codes of the value set, expanded when first asked for.
    pub(crate) fn codes(&self) -> &ValueSetCodes {
        self.codes
            .get_or_init(|| crate::terminology::codes(self.value_set))
    }
}

/// Every type of R5.
#[derive(Debug)]
pub struct Structures {
    structures: Vec<Structure>,
    by_name: HashMap<&'static str, usize>,
    resource_types: Vec<String>,
}

impl Structures {
    /// The committed R5 table.
    pub fn r5() -> &'static Structures {
        static R5: OnceLock<Structures> = OnceLock::new();
        R5.get_or_init(|| Structures::read(STRUCTURES.rows()))
    }

    fn read(rows: impl Iterator<Item = Row>) -> Structures {
        let mut all = Structures {
            structures: Vec::with_capacity(1024),
            by_name: HashMap::with_capacity(1024),
            resource_types: Vec::new(),
        };
        let mut root = "";
        for mut row in rows {
            if row.cell() == "T" {
                root = row.cell();
                let kind = match row.cell() {
                    "p" => Kind::Primitive,
                    "r" => Kind::Resource,
                    _ => Kind::Complex,
                };
                let is_abstract = row.cell() == "1";
                // Parameters is never stored: it has no number.
                if kind == Kind::Resource && !is_abstract && root != "Parameters" {
                    all.resource_types.push(root.to_owned());
                }
                all.add(Structure {
                    is_abstract,
                    base: row.cell(),
                    regex: row.cell(),
                    ..Structure::new(root, kind)
                });
                continue;
            }
            let relative = row.cell();
            let (owner, name) = match relative.rsplit_once('.') {
                Some((parent, name)) => (Cow::Owned(format!("{root}.{parent}")), name),
                None => (Cow::Borrowed(root), relative),
            };
            let (element, base) = Element::read(name, row);
            if !base.is_empty() {
                all.add(Structure {
                    base,
                    ..Structure::new(element.types[0].name, Kind::Backbone)
                });
            }
            let owner = all.by_name[&*owner];
            all.structures[owner].elements.push(element);
        }
        all
    }

    fn add(&mut self, structure: Structure) {
        self.by_name.insert(structure.name, self.structures.len());
        self.structures.push(structure);
    }

    /// The type `name`.
    pub fn get(&self, name: &str) -> Option<&Structure> {
        self.by_name.get(name).map(|index| &self.structures[*index])
    }

    /// Every type, in the order of the table.
    pub fn all(&self) -> &[Structure] {
        &self.structures
    }

    /// The concrete resource types that can be stored, in the order of their numbers.
    pub fn resource_types(&self) -> &[String] {
        &self.resource_types
    }
}

impl Element {
    /// The element and, when it has children, the type it derives from (`BackboneElement`).
    fn read(name: &'static str, mut row: Row) -> (Element, &'static str) {
        let (min, max, flags) = (row.cell(), row.cell(), row.cell());
        let types = row.list(';').map(TypeReference::read).collect();
        let binding = row.cell().split_once('|').map(|(strength, url)| Binding {
            strength: match strength {
                "r" => Strength::Required,
                "e" => Strength::Extensible,
                _ => Strength::Preferred,
            },
            value_set: url,
            codes: OnceLock::new(),
            system: OnceLock::new(),
        });
        let element = Element {
            name: name.trim_end_matches("[x]"),
            choice: name.ends_with("[x]"),
            min: min.parse().unwrap_or_default(),
            max: max.parse().ok(),
            is_modifier: flags.contains('M'),
            is_summary: flags.contains('S'),
            types,
            binding,
        };
        (element, row.cell())
    }
}

impl TypeReference {
    fn read(cell: &'static str) -> TypeReference {
        let (rest, targets) = cell.split_once('>').unwrap_or((cell, ""));
        let (name, profiles) = rest.split_once('<').unwrap_or((rest, ""));
        TypeReference {
            name,
            profiles,
            targets,
        }
    }
}

impl TypeModel for Structures {
    fn element(&self, type_name: &str, name: &str) -> Option<ElementType<'_>> {
        let element = self.get(type_name)?.element(name)?;
        Some(ElementType {
            types: element.types.iter().map(|t| t.name).collect(),
            choice: element.choice,
            array: element.is_array(),
        })
    }

    fn is_a(&self, type_name: &str, ancestor: &str) -> bool {
        let mut name = type_name;
        while name != ancestor {
            match self.get(name) {
                Some(structure) if !structure.base.is_empty() => name = structure.base,
                _ => return false,
            }
        }
        true
    }

    fn is_type(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn base(&self, type_name: &str) -> Option<&str> {
        let base = self.get(type_name)?.base;
        Some(base).filter(|base| !base.is_empty())
    }

    fn code_system(&self, type_name: &str, name: &str) -> Option<String> {
        let element = self.get(type_name)?.element(name)?;
        let is_code = element.types.iter().any(|t| t.name == "code");
        let binding = element.binding.as_ref().filter(|_| is_code)?;
        binding
            .system
            .get_or_init(|| crate::terminology::code_system(binding.value_set))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let r5 = Structures::r5();
        let count = |kind| r5.all().iter().filter(|s| s.kind == kind).count();
        assert_eq!(r5.resource_types().len(), 157);
        assert_eq!(count(Kind::Primitive), 21);
        assert_eq!(count(Kind::Resource), 162, "158 concrete, 4 abstract");
        assert!(
            r5.all().iter().all(|s| s.elements.len() <= 128),
            "validation marks the elements it saw in 128 bits"
        );
        for structure in r5.all() {
            for element in &structure.elements {
                for reference in &element.types {
                    assert!(
                        r5.get(reference.name).is_some(),
                        "{}.{}: {}",
                        structure.name,
                        element.name,
                        reference.name
                    );
                }
                assert!(
                    element.choice || element.types.len() == 1,
                    "{}.{}",
                    structure.name,
                    element.name
                );
            }
        }
    }

    #[test]
    fn elements() {
        let r5 = Structures::r5();
        for (type_name, name, expect) in [
            ("Patient", "name", Some((vec!["HumanName"], false, true))),
            ("Patient", "id", Some((vec!["id"], false, false))),
            (
                "Patient",
                "deceased",
                Some((vec!["boolean", "dateTime"], true, false)),
            ),
            (
                "Patient",
                "contact",
                Some((vec!["Patient.contact"], false, true)),
            ),
            (
                "Patient.contact",
                "modifierExtension",
                Some((vec!["Extension"], false, true)),
            ),
            (
                "Observation.component",
                "referenceRange",
                Some((vec!["Observation.referenceRange"], false, true)),
            ),
            (
                "Bundle.entry",
                "resource",
                Some((vec!["Resource"], false, false)),
            ),
            (
                "Bundle.entry",
                "link",
                Some((vec!["Bundle.link"], false, true)),
            ),
            ("ValueSet", "url", Some((vec!["uri"], false, false))),
            ("Extension", "url", Some((vec!["uri"], false, false))),
            ("Age", "value", Some((vec!["decimal"], false, false))),
            (
                "Timing.repeat",
                "bounds",
                Some((vec!["Duration", "Range", "Period"], true, false)),
            ),
            ("Patient", "deceased[x]", None),
            ("Patient", "nothing", None),
            ("Nothing", "id", None),
        ] {
            let found = r5.element(type_name, name);
            let found = found.as_ref().map(|e| (e.types.clone(), e.choice, e.array));
            assert_eq!(found, expect, "{type_name}.{name}");
        }
    }

    #[test]
    fn ancestry() {
        let r5 = Structures::r5();
        for (name, ancestor, expect) in [
            ("Patient", "Resource", true),
            ("Patient", "DomainResource", true),
            ("Bundle", "DomainResource", false),
            ("ValueSet", "DomainResource", true),
            ("code", "string", true),
            ("url", "uri", true),
            ("Age", "Quantity", true),
            ("Quantity", "Age", false),
            ("Patient.contact", "BackboneElement", true),
            ("Timing.repeat", "Element", true),
            ("Nothing", "Resource", false),
        ] {
            assert_eq!(r5.is_a(name, ancestor), expect, "{name} is {ancestor}");
        }
    }

    #[test]
    fn flags() {
        let patient = Structures::r5().get("Patient").unwrap();
        assert!(patient.element("active").unwrap().is_modifier);
        assert!(patient.element("active").unwrap().is_summary);
        assert!(!patient.element("contact").unwrap().is_summary);
        let gender = patient.element("gender").unwrap().binding.as_ref().unwrap();
        assert_eq!(gender.strength, Strength::Required);
        assert_eq!(
            gender.value_set,
            "http://hl7.org/fhir/ValueSet/administrative-gender"
        );
    }
}
