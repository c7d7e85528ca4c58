//! Invariants (<https://hl7.org/fhir/R5/conformance-rules.html#constraints>): those of the base structures of R5, on a resource and on all that is in it.
//!
//! An expression is compiled when it is first met, and kept. One that gives nothing does not hold, as in the validators in use. In a contained resource `%resource` is
//! itself and `%rootResource` its container; a resource in a Bundle stands for itself, and `resolve()` finds the others of the Bundle.
//! What cannot be decided (a reference leads to what is not at hand, a value set is not known, too many steps) is told as information: never a silent pass.

use crate::ISSUES_MAX;
use crate::place::{Place, Step};
use crate::shape::Content;
use crate::structure::{Kind, Structure, Structures};
use crate::tables::CONSTRAINTS;
use fhir_model::{Issue, IssueKind, Severity, json};
use fhirpath::{Context, Element, EvaluationError, Host, Item, Program, Reason, TypeModel};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Steps of FHIRPath for all invariants of one resource together: some seconds.
const STEPS_MAX: u64 = 20_000_000;
/// What the validation of the base structure has said already: the narrative's content, contained in contained.
const SAID: [&str; 3] = ["txt-1", "txt-2", "dom-2"];

/// What invariants are evaluated with.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub model: &'a dyn TypeModel,
    pub host: &'a dyn Host,
    /// An instant.
    pub now: &'a str,
}

/// What the resource, or anything in it, does not keep, in document order: at most [`ISSUES_MAX`] of each severity; then what was not decided.
pub(crate) fn check(resource: &Value, surroundings: Surroundings<'_>) -> Vec<Issue> {
    let mut walk = Walk {
        surroundings,
        place: Place::default(),
        steps: STEPS_MAX,
        errors: Vec::new(),
        warnings: Vec::new(),
        remarks: Vec::new(),
    };
    let within = Within {
        root: resource,
        bundle: None,
    };
    walk.resource(resource, within);
    let mut issues = walk.errors;
    issues.append(&mut walk.warnings);
    issues.append(&mut walk.remarks);
    issues
}

struct Invariant {
    key: &'static str,
    severity: Severity,
    expression: &'static str,
    human: &'static str,
    program: OnceLock<Option<Program>>,
}

impl Invariant {
    /// `None`: this program does not understand the expression.
    fn program(&self) -> Option<&Program> {
        let compile = || Program::parse(self.expression).ok();
        self.program.get_or_init(compile).as_ref()
    }
}

/// By the path they are declared at: a type (`Period`, `Patient.contact`), or an element of one (`Questionnaire.item.linkId`).
struct Table(HashMap<&'static str, HashMap<&'static str, Vec<Invariant>>>);

impl Table {
    fn r5() -> &'static Table {
        static R5: OnceLock<Table> = OnceLock::new();
        R5.get_or_init(Table::read)
    }

    fn read() -> Table {
        let structures = Structures::r5();
        let mut table = Table(HashMap::new());
        for mut row in CONSTRAINTS.rows() {
            let (path, key) = (row.cell().trim_end_matches("[x]"), row.cell());
            let invariant = Invariant {
                key,
                severity: match row.cell() {
                    "error" => Severity::Error,
                    _ => Severity::Warning,
                },
                expression: row.cell(),
                human: row.cell(),
                program: OnceLock::new(),
            };
            let (owner, element) = match (structures.get(path), path.rsplit_once('.')) {
                (None, Some(parts)) => parts,
                _ => (path, ""),
            };
            // Every Extension is an Element: what those must keep is repeated where extensions stand.
            if !SAID.contains(&key) && element != "extension" {
                let of_owner = table.0.entry(owner).or_default();
                of_owner.entry(element).or_default().push(invariant);
            }
        }
        table
    }

    /// Of a type itself (no element), or of one of its elements.
    fn of(&self, owner: &str, element: &str) -> &[Invariant] {
        let of_owner = self.0.get(owner);
        of_owner
            .and_then(|elements| elements.get(element))
            .map_or(&[], Vec::as_slice)
    }
}

/// The resource that `%rootResource` is, and the Bundle around it.
#[derive(Clone, Copy)]
struct Within<'a> {
    root: &'a Value,
    bundle: Option<&'a Value>,
}

struct Walk<'a> {
    surroundings: Surroundings<'a>,
    place: Place<'a>,
    steps: u64,
    errors: Vec<Issue>,
    warnings: Vec<Issue>,
    remarks: Vec<Issue>,
}

impl<'a> Walk<'a> {
    fn resource(&mut self, value: &'a Value, within: Within<'a>) {
        let name = json::resource_type(value);
        let structure = name.and_then(|name| Structures::r5().get(name));
        let Some(structure) = structure.filter(|s| s.kind == Kind::Resource) else {
            return; // the validation of the base structure has said so
        };
        if self.place.is_root() {
            self.place.push(Step::Name(structure.name));
        }
        let element = Element {
            value: Some(value),
            sibling: None,
            type_name: structure.name,
            resource: value,
        };
        self.of_type(element, structure, within);
        if let Some(object) = value.as_object() {
            self.members(object, structure, value, within);
        }
    }

    /// The members of an object of this type.
    fn members(
        &mut self,
        object: &'a Map<String, Value>,
        structure: &'static Structure,
        resource: &'a Value,
        within: Within<'a>,
    ) {
        let shape = structure.shape(Structures::r5());
        for (key, value) in object {
            let Some(property) = shape.properties.get(key) else {
                continue;
            };
            if property.sibling && object.contains_key(&key[1..]) {
                continue; // it goes with the value
            }
            let declared = &structure.elements[property.element as usize];
            let type_name = declared.types[property.type_index as usize].name;
            self.place.push(match declared.choice {
                true => Step::Choice(declared.name, type_name),
                false => Step::Name(declared.name),
            });
            let (value, sibling) = match (property.sibling, property.content) {
                (true, _) => (None, Some(value)),
                (false, Content::Primitive) => (Some(value), object.get(&format!("_{key}"))),
                (false, _) => (Some(value), None),
            };
            let member = Member {
                type_name,
                content: property.content,
                is_contained: declared.name == "contained",
                invariants: Table::r5().of(structure.name, declared.name),
                resource,
            };
            let items = |of: Option<&'a Value>| of.and_then(Value::as_array).map(Vec::as_slice);
            match (items(value), items(sibling)) {
                (None, None) => self.member(&member, value, sibling, within),
                (values, siblings) => {
                    let values = values.unwrap_or_default();
                    let siblings = siblings.unwrap_or_default();
                    for index in 0..values.len().max(siblings.len()) {
                        self.place.push(Step::Index(index));
                        self.member(&member, values.get(index), siblings.get(index), within);
                        self.place.pop();
                    }
                }
            }
            self.place.pop();
        }
    }

    /// One value of a member, with the id and extensions of a primitive beside it.
    fn member(
        &mut self,
        member: &Member<'a>,
        value: Option<&'a Value>,
        sibling: Option<&'a Value>,
        within: Within<'a>,
    ) {
        let (value, sibling) = (not_null(value), not_null(sibling));
        if let (Content::Resource, Some(value)) = (member.content, value) {
            let is_bundle = json::resource_type(member.resource) == Some("Bundle");
            return self.resource(
                value,
                match (member.is_contained, is_bundle) {
                    (true, _) => within,
                    (false, true) => Within {
                        root: value,
                        bundle: Some(member.resource),
                    },
                    (false, false) => Within {
                        root: value,
                        ..within
                    },
                },
            );
        }
        let structures = Structures::r5();
        let structure = structures.get(member.type_name);
        let (Some(structure), false) = (structure, value.is_none() && sibling.is_none()) else {
            return;
        };
        let element = Element {
            value,
            sibling,
            type_name: structure.name,
            resource: member.resource,
        };
        for invariant in member.invariants {
            self.judge(invariant, element, within);
        }
        let is_primitive = member.content == Content::Primitive;
        // A primitive with a value is an element with content: that is all its types ask.
        if !is_primitive || value.is_none() {
            self.of_type(element, structure, within);
        }
        let (object, structure) = match is_primitive {
            true => (sibling, structures.get("Element").unwrap_or(structure)),
            false => (value, structure),
        };
        if let Some(object) = object.and_then(Value::as_object) {
            self.members(object, structure, member.resource, within);
        }
    }

    /// What its type asks, and the types which that derives from.
    fn of_type(&mut self, element: Element<'a>, structure: &Structure, within: Within<'a>) {
        let structures = Structures::r5();
        let mut next = Some(structure);
        while let Some(structure) = next {
            for invariant in Table::r5().of(structure.name, "") {
                self.judge(invariant, element, within);
            }
            next = structures.get(structure.base);
        }
    }

    fn judge(&mut self, invariant: &'static Invariant, element: Element<'a>, within: Within<'a>) {
        if self.steps == 0 {
            return;
        }
        let Some(program) = invariant.program() else {
            let reason = "its expression is not understood here";
            return self.undecided(invariant, IssueKind::NotSupported, reason);
        };
        let host = Watched {
            host: self.surroundings.host,
            missed: Cell::new(false),
        };
        let mut context = Context::new(within.root, self.surroundings.model);
        if let Some(bundle) = within.bundle {
            context = context.within(bundle);
        }
        let context = context
            .host(&host)
            .now(self.surroundings.now)
            .on(vec![Item::Element(element)]);
        let held = program.holds(&context, &mut self.steps);
        match held {
            Ok(true) => {}
            Ok(false) | Err(_) if host.missed.get() => {
                let reason = "it asks of a resource that is not at hand";
                self.undecided(invariant, IssueKind::NotFound, reason);
            }
            Ok(false) => self.broken(invariant),
            Err(_) if self.steps == 0 => self.remark(Issue {
                severity: Severity::Warning,
                ..Issue::error(
                    IssueKind::TooCostly,
                    format!(
                        "the invariants from here on were not checked: more than {STEPS_MAX} steps"
                    ),
                )
            }),
            Err(EvaluationError { reason, .. }) => {
                let (kind, reason) = match reason {
                    Reason::Limit => (IssueKind::TooCostly, "it takes too many steps"),
                    Reason::Unsupported => (
                        IssueKind::NotSupported,
                        "it asks for what is not known here",
                    ),
                    Reason::Invalid => (
                        IssueKind::NotSupported,
                        "its expression does not fit this content",
                    ),
                };
                self.undecided(invariant, kind, reason);
            }
        }
    }

    fn broken(&mut self, invariant: &Invariant) {
        let issues = match invariant.severity {
            Severity::Error => &mut self.errors,
            _ => &mut self.warnings,
        };
        if issues.len() < ISSUES_MAX {
            let diagnostics = format!("{}: {}", invariant.key, invariant.human);
            let issue = Issue {
                severity: invariant.severity,
                ..Issue::error(IssueKind::Invariant, diagnostics)
            };
            issues.push(issue.at(self.place.to_string()));
        }
    }

    fn undecided(&mut self, invariant: &Invariant, kind: IssueKind, reason: &str) {
        let diagnostics = format!("the invariant {} was not checked: {reason}", invariant.key);
        self.remark(Issue {
            severity: Severity::Information,
            ..Issue::error(kind, diagnostics)
        });
    }

    fn remark(&mut self, issue: Issue) {
        if self.remarks.len() < ISSUES_MAX {
            self.remarks.push(issue.at(self.place.to_string()));
        }
    }
}

/// What the values of one member have in common.
struct Member<'a> {
    type_name: &'static str,
    content: Content,
    is_contained: bool,
    /// Of the element, besides those of its type.
    invariants: &'static [Invariant],
    /// That it stands in.
    resource: &'a Value,
}

fn not_null(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

/// A host, and whether it was asked for a resource that it does not have.
struct Watched<'h> {
    host: &'h dyn Host,
    missed: Cell<bool>,
}

impl Host for Watched<'_> {
    fn resolve(&self, reference: &str) -> Option<Value> {
        let found = self.host.resolve(reference);
        if found.is_none() {
            self.missed.set(true);
        }
        found
    }

    fn conforms_to(&self, value: &Value, type_name: &str, profile: &str) -> Result<bool, String> {
        self.host.conforms_to(value, type_name, profile)
    }

    fn terminology(&self, function: &str, arguments: &[&Value]) -> Result<Value, String> {
        self.host.terminology(function, arguments)
    }
}
