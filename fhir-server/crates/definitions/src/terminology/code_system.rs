//! A code system, its concepts in their hierarchy (<https://hl7.org/fhir/R5/codesystem.html>).
//!
//! The hierarchy is what nesting says, and the properties `parent`, `child` and `subsumedBy` (the one of HL7 v3), or those that are declared with
//! the specification's uri of them. It means subsumption unless `hierarchyMeaning` is `grouped-by` or `part-of`; where nothing is said, it does.

use super::TerminologyError;
use fhir_model::json::text;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct CodeSystem {
    id: Option<String>,
    url: Arc<str>,
    version: Option<String>,
    name: String,
    pub content: Content,
    case_sensitive: bool,
    subsumes: bool,
    value_set: Option<String>,
    properties: Vec<Property>,
    concepts: Vec<Concept>,
    by_code: HashMap<Arc<str>, usize>,
}

/// `CodeSystem.content`: how much of it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Complete,
    /// Some of its concepts: `fragment` or `example`.
    Part,
    /// None.
    NotPresent,
    /// It adds to another.
    Supplement,
}

/// A property as it is declared.
#[derive(Clone, Debug)]
struct Property {
    code: String,
    uri: String,
    kind: PropertyType,
}

/// The type of a property's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyType {
    Code,
    Coding,
    String,
    Integer,
    Boolean,
    DateTime,
    Decimal,
}

#[derive(Clone, Debug)]
pub struct Concept {
    pub code: Arc<str>,
    pub display: Option<Arc<str>>,
    pub definition: Option<String>,
    /// As `CodeSystem.concept.designation`.
    pub designations: Vec<Value>,
    /// (code, value); a Coding is one, whole.
    pub properties: Vec<(String, Value)>,
    /// Of the same code system.
    pub parents: Vec<usize>,
    pub children: Vec<usize>,
}

/// How two concepts stand to each other (<https://hl7.org/fhir/R5/valueset-concept-subsumption-outcome.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsumption {
    Equivalent,
    Subsumes,
    SubsumedBy,
    NotSubsumed,
}

impl Subsumption {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            Subsumption::Equivalent => "equivalent",
            Subsumption::Subsumes => "subsumes",
            Subsumption::SubsumedBy => "subsumed-by",
            Subsumption::NotSubsumed => "not-subsumed",
        }
    }
}

impl CodeSystem {
    /// From the resource. What is missing is empty: whoever accepts resources validates them before.
    pub fn read(resource: &Value) -> CodeSystem {
        let mut system = CodeSystem::head(resource, "url");
        system.properties = array(resource, "property").map(Property::read).collect();
        system.concepts_of(array(resource, "concept"), None, &|concept| {
            let properties = array(concept, "property");
            Some(Line {
                code: concept.get("code")?.as_str()?,
                display: text(concept, "display"),
                definition: text(concept, "definition"),
                designations: array(concept, "designation").cloned().collect(),
                properties: properties
                    .filter_map(|property| {
                        let code = text(property, "code")?.to_owned();
                        let mut members = property.as_object()?.iter();
                        let (_, value) = members.find(|(key, _)| key.starts_with("value"))?;
                        Some((code, value.clone()))
                    })
                    .collect(),
                children: concept.get("concept").and_then(Value::as_array),
            })
        });
        system.connect();
        system
    }

    /// From its row of the table: concepts are `[code, display, properties, children]`.
    pub(super) fn read_row(row: &Value) -> CodeSystem {
        let mut system = CodeSystem::head(row, "S");
        system.concepts_of(array(row, "concept"), None, &|concept| {
            let properties = concept.get(2).and_then(Value::as_object);
            Some(Line {
                code: concept.get(0)?.as_str()?,
                display: concept.get(1).and_then(Value::as_str),
                definition: None,
                designations: Vec::new(),
                properties: properties
                    .into_iter()
                    .flatten()
                    .flat_map(|(code, values)| {
                        let values = values.as_array().into_iter().flatten();
                        values.map(|value| (code.clone(), value.clone()))
                    })
                    .collect(),
                children: concept.get(3).and_then(Value::as_array),
            })
        });
        system.connect();
        system
    }

    fn head(from: &Value, url: &str) -> CodeSystem {
        CodeSystem {
            id: text(from, "id").map(str::to_owned),
            url: text(from, url).unwrap_or_default().into(),
            version: text(from, "version")
                .filter(|version| !version.is_empty())
                .map(str::to_owned),
            name: text(from, "name").unwrap_or_default().to_owned(),
            content: match text(from, "content") {
                Some("complete") => Content::Complete,
                Some("fragment" | "example") => Content::Part,
                Some("supplement") => Content::Supplement,
                _ => Content::NotPresent,
            },
            case_sensitive: from.get("caseSensitive") != Some(&Value::Bool(false)),
            subsumes: !matches!(
                text(from, "hierarchyMeaning"),
                Some("grouped-by" | "part-of")
            ),
            value_set: text(from, "valueSet").map(str::to_owned),
            properties: Vec::new(),
            concepts: Vec::new(),
            by_code: HashMap::new(),
        }
    }

    fn concepts_of<'v>(
        &mut self,
        given: impl Iterator<Item = &'v Value>,
        parent: Option<usize>,
        read: &impl Fn(&'v Value) -> Option<Line<'v>>,
    ) {
        for line in given.filter_map(read) {
            let number = self.concepts.len();
            let code: Arc<str> = line.code.into();
            let key = match self.case_sensitive {
                true => Arc::clone(&code),
                false => self.key(&code).into(),
            };
            self.by_code.entry(key).or_insert(number);
            self.concepts.push(Concept {
                code,
                display: line.display.filter(|d| !d.is_empty()).map(Arc::from),
                definition: line.definition.map(str::to_owned),
                designations: line.designations,
                properties: line.properties,
                parents: parent.into_iter().collect(),
                children: Vec::new(),
            });
            if let Some(parent) = parent {
                self.concepts[parent].children.push(number);
            }
            self.concepts_of(line.children.into_iter().flatten(), Some(number), read);
        }
    }

    /// Adds what properties say of the hierarchy.
    fn connect(&mut self) {
        let mut edges = Vec::new();
        for (number, concept) in self.concepts.iter().enumerate() {
            for (code, value) in &concept.properties {
                let is_parent = self.is_property(code, "parent") || code == "subsumedBy";
                let is_child = self.is_property(code, "child");
                let other = value.as_str().and_then(|code| self.number(code));
                match other {
                    Some(other) if is_parent => edges.push((other, number)),
                    Some(other) if is_child => edges.push((number, other)),
                    _ => {}
                }
            }
        }
        for (parent, child) in edges {
            if !self.concepts[child].parents.contains(&parent) {
                self.concepts[child].parents.push(parent);
                self.concepts[parent].children.push(child);
            }
        }
    }

    /// Whether its concepts are its own, and some of them here.
    pub(super) fn is_searched(&self) -> bool {
        matches!(self.content, Content::Complete | Content::Part)
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value set of all its codes.
    pub fn value_set(&self) -> Option<&str> {
        self.value_set.as_deref()
    }

    /// In the order of the definition, a parent before those nested in it.
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// The concept of a code, in the letter case that the code system asks for.
    pub fn concept(&self, code: &str) -> Option<&Concept> {
        Some(&self.concepts[self.number(code)?])
    }

    pub(super) fn number(&self, code: &str) -> Option<usize> {
        self.by_code.get(self.key(code).as_ref()).copied()
    }

    fn key<'c>(&self, code: &'c str) -> std::borrow::Cow<'c, str> {
        match self.case_sensitive {
            true => code.into(),
            false => code.to_lowercase().into(),
        }
    }

    /// Whether the property is the one that the specification calls `name`: by its declared uri or its code.
    pub(super) fn is_property(&self, code: &str, name: &str) -> bool {
        let declared = self
            .properties
            .iter()
            .find(|property| property.code == code);
        let uri = declared.map_or("", |property| &property.uri);
        match uri.strip_prefix("http://hl7.org/fhir/concept-properties#") {
            Some(of_specification) => of_specification == name,
            None => code == name,
        }
    }

    /// The type of a property's values; by the value where it is not declared.
    pub fn property_type(&self, code: &str, value: &Value) -> PropertyType {
        let declared = self
            .properties
            .iter()
            .find(|property| property.code == code);
        match (declared, value) {
            (Some(property), _) => property.kind,
            (None, Value::Bool(_)) => PropertyType::Boolean,
            (None, Value::Object(_)) => PropertyType::Coding,
            (None, Value::Number(number)) if number.is_i64() => PropertyType::Integer,
            (None, Value::Number(_)) => PropertyType::Decimal,
            _ if ["parent", "child", "status", "subsumedBy"].contains(&code) => PropertyType::Code,
            _ => PropertyType::String,
        }
    }

    fn says(&self, concept: &Concept, name: &str) -> bool {
        concept.properties.iter().any(|(code, value)| {
            self.is_property(code, name) && (value == &Value::Bool(true) || value == "true")
        })
    }

    /// Whether it is no longer to be used.
    pub fn is_inactive(&self, concept: &Concept) -> bool {
        let status = |(code, value): &(String, Value)| {
            self.is_property(code, "status")
                && matches!(value.as_str(), Some("retired" | "inactive" | "withdrawn"))
        };
        self.says(concept, "inactive") || concept.properties.iter().any(status)
    }

    /// Whether it only groups others, and is not to be chosen.
    pub fn is_abstract(&self, concept: &Concept) -> bool {
        self.says(concept, "notSelectable") || self.says(concept, "abstract")
    }

    /// The concept and everything below it, by number; each once, cycles or not.
    pub(super) fn below(&self, number: usize) -> Vec<usize> {
        self.reach(number, |concept| &concept.children)
    }

    /// The concept and everything above it.
    pub(super) fn above(&self, number: usize) -> Vec<usize> {
        self.reach(number, |concept| &concept.parents)
    }

    fn reach(&self, from: usize, next: impl Fn(&Concept) -> &Vec<usize>) -> Vec<usize> {
        let mut seen = vec![false; self.concepts.len()];
        let mut found = vec![from];
        seen[from] = true;
        let mut at = 0;
        while let Some(number) = found.get(at).copied() {
            for other in next(&self.concepts[number]) {
                if !std::mem::replace(&mut seen[*other], true) {
                    found.push(*other);
                }
            }
            at += 1;
        }
        found
    }

    /// The codes that `code` subsumes, itself first.
    ///
    /// # Errors
    /// [`TerminologyError::NotPresent`] where there may be others.
    pub fn subsumed(&self, code: &str) -> Result<Vec<Arc<str>>, TerminologyError> {
        self.related(code, CodeSystem::below)
    }

    /// The codes that subsume `code`, itself first.
    ///
    /// # Errors
    /// As [`CodeSystem::subsumed`].
    pub fn subsuming(&self, code: &str) -> Result<Vec<Arc<str>>, TerminologyError> {
        self.related(code, CodeSystem::above)
    }

    fn related(
        &self,
        code: &str,
        reach: fn(&CodeSystem, usize) -> Vec<usize>,
    ) -> Result<Vec<Arc<str>>, TerminologyError> {
        match (self.content, self.number(code)) {
            (Content::Complete | Content::Part, Some(number)) if self.subsumes => {
                let numbers = reach(self, number).into_iter();
                Ok(numbers
                    .map(|number| Arc::clone(&self.concepts[number].code))
                    .collect())
            }
            (Content::Complete | Content::Part, Some(number)) => {
                Ok(vec![Arc::clone(&self.concepts[number].code)])
            }
            (Content::Complete, None) => Ok(vec![code.into()]),
            _ => Err(TerminologyError::NotPresent(self.url.to_string())),
        }
    }

    /// How `a` stands to `b`. `None`: one of them is no code of it.
    ///
    /// # Errors
    /// As [`CodeSystem::subsumed`].
    pub fn subsumption(&self, a: &str, b: &str) -> Result<Option<Subsumption>, TerminologyError> {
        let (a, b) = match (self.number(a), self.number(b)) {
            (Some(a), Some(b)) => (a, b),
            _ if self.content == Content::Complete => return Ok(None),
            _ => return Err(TerminologyError::NotPresent(self.url.to_string())),
        };
        Ok(Some(match () {
            () if a == b => Subsumption::Equivalent,
            () if !self.subsumes => Subsumption::NotSubsumed,
            () if self.below(a).contains(&b) => Subsumption::Subsumes,
            () if self.above(a).contains(&b) => Subsumption::SubsumedBy,
            () => Subsumption::NotSubsumed,
        }))
    }
}

/// A concept as it stands in a definition.
struct Line<'v> {
    code: &'v str,
    display: Option<&'v str>,
    definition: Option<&'v str>,
    designations: Vec<Value>,
    properties: Vec<(String, Value)>,
    children: Option<&'v Vec<Value>>,
}

impl Property {
    fn read(declared: &Value) -> Property {
        Property {
            code: text(declared, "code").unwrap_or_default().to_owned(),
            uri: text(declared, "uri").unwrap_or_default().to_owned(),
            kind: match text(declared, "type") {
                Some("code") => PropertyType::Code,
                Some("Coding") => PropertyType::Coding,
                Some("integer") => PropertyType::Integer,
                Some("boolean") => PropertyType::Boolean,
                Some("dateTime") => PropertyType::DateTime,
                Some("decimal") => PropertyType::Decimal,
                _ => PropertyType::String,
            },
        }
    }
}

pub(super) fn array<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    let all = value.get(name).and_then(Value::as_array);
    all.into_iter().flatten()
}
