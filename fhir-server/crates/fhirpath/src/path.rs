//! Path programs: the subset of FHIRPath that the R5 search parameters use, compiled to steps.
//!
//! Paths and unions of them, `ofType()`, `as`, `where()`, `extension()`, `first()` and `[0]`, and inside `where()` or at the top
//! `exists()`, `=` and `!=` with a literal, `and`, `or` and `resolve() is Type`. Refuses everything else.

use crate::compile;
use crate::types::TypeModel;
use fhir_model::Reference;
use fhir_model::json::{self, member};
use serde_json::Value;
use std::ops::ControlFlow::{self, Break, Continue};

/// An expression compiled for one base type. A union keeps only the branches of that type.
#[derive(Debug)]
pub struct PathProgram {
    pub(crate) body: Body,
}

/// One result: an element of the resource and its FHIR type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node<'a> {
    pub value: &'a Value,
    /// `CodeableConcept`, `code`, `Period`, `Reference`, … ; the type the instance has where the element is a choice.
    pub type_name: &'a str,
    /// Of a `code`: the system that its binding implies ([`TypeModel::code_system`]).
    pub system: Option<&'a str>,
}

/// The expression is not in the subset, or names an element that the type does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {position})")]
pub struct CompileError {
    pub message: String,
    /// Character offset in the expression.
    pub position: usize,
}

impl CompileError {
    pub(crate) fn new(message: impl Into<String>, position: usize) -> CompileError {
        CompileError {
            message: message.into(),
            position,
        }
    }
}

impl PathProgram {
    /// Compiles `expression` for instances of `base` (a resource type, or the type of a composite's element).
    ///
    /// # Errors
    /// [`CompileError`] with the place.
    pub fn compile(
        expression: &str,
        base: &str,
        model: &dyn TypeModel,
    ) -> Result<PathProgram, CompileError> {
        compile::compile(expression, base, model)
    }

    /// Runs the program and appends what it selects to `out`: branch by branch, within a branch in document order.
    pub fn run<'a>(&'a self, focus: &'a Value, out: &mut Vec<Node<'a>>) {
        self.run_within(focus, focus, out);
    }

    /// The same for a resource that `container` contains: references to `#id` are to what stands there.
    pub fn run_within<'a>(
        &'a self,
        focus: &'a Value,
        container: &'a Value,
        out: &mut Vec<Node<'a>>,
    ) {
        match &self.body {
            Body::Select(branches) => {
                for branch in branches {
                    branch.select(focus, container, out);
                }
            }
            Body::Test(condition) => out.push(Node {
                value: match condition.holds(focus, container) {
                    true => &TRUE,
                    false => &FALSE,
                },
                type_name: "boolean",
                system: None,
            }),
        }
    }

    /// The types that results can have, in the order of the branches, with repetitions.
    pub fn types(&self) -> Vec<&str> {
        match &self.body {
            Body::Select(branches) => branches
                .iter()
                .flat_map(|branch| &branch.paths)
                .map(|path| path.type_name.as_str())
                .collect(),
            Body::Test(_) => vec!["boolean"],
        }
    }

    /// Of each `code` among its results the system that its binding implies, if it implies one.
    pub fn code_systems(&self) -> Vec<Option<&str>> {
        match &self.body {
            Body::Select(branches) => branches
                .iter()
                .flat_map(|branch| &branch.paths)
                .filter(|path| path.type_name == "code")
                .map(|path| path.system.as_deref())
                .collect(),
            Body::Test(_) => Vec::new(),
        }
    }

    /// Whether something that it selects can be in, or be, something that `outer` selects, where both run on the same instance.
    pub fn selects_within(&self, outer: &PathProgram) -> bool {
        let (Body::Select(inner), Body::Select(outer)) = (&self.body, &outer.body) else {
            return false;
        };
        let paths = |branches: &'_ [Branch]| -> Vec<Vec<String>> {
            let paths = branches.iter().flat_map(|branch| &branch.paths);
            paths.map(Path::members).collect()
        };
        let outer = paths(outer);
        paths(inner)
            .iter()
            .any(|inner| outer.iter().any(|outer| inner.starts_with(outer)))
    }

    /// Whether it selects at most one element of a valid instance: nothing on the way repeats, and of several paths all are types of one choice,
    /// of which an instance has one.
    pub fn at_most_one(&self) -> bool {
        let Body::Select(branches) = &self.body else {
            return true;
        };
        if let [Branch { first: true, .. }] = branches.as_slice() {
            return true;
        }
        let mut paths = branches.iter().flat_map(|branch| &branch.paths);
        let Some(one) = paths.next() else {
            return true;
        };
        // A choice of the instance itself: below, two paths could come from two parents.
        let choice = one.choice.as_deref().filter(|_| one.steps.len() == 1);
        !one.repeats
            && paths.all(|path| {
                choice.is_some() && path.steps.len() == 1 && path.choice.as_deref() == choice
            })
    }
}

static TRUE: Value = Value::Bool(true);
static FALSE: Value = Value::Bool(false);

#[derive(Debug)]
pub(crate) enum Body {
    Select(Vec<Branch>),
    /// The whole expression is a condition; it gives one boolean.
    Test(Condition),
}

/// An operand of a union. A choice element makes one path per type.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub paths: Vec<Path>,
    /// `(…).first()` over all paths together.
    pub first: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub steps: Vec<Step>,
    pub type_name: String,
    pub system: Option<String>,
    /// Whether it can select several elements.
    pub repeats: bool,
    /// The name of the choice element that it ends at.
    pub choice: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The items of the JSON member.
    Child(String),
    /// Those for which it holds.
    Where(Condition),
    /// The first of everything selected so far.
    First,
}

#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Exists(Vec<Branch>),
    /// `path = literal`; `negated` is `!=`. Of an empty path neither holds, and of several items only `!=`.
    Equals {
        branches: Vec<Branch>,
        literal: Value,
        negated: bool,
    },
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    /// `resolve() is Type`: by what the reference says, nothing is looked up.
    RefersTo(String),
    /// `is Type` of a resource.
    ResourceType(String),
}

impl Path {
    /// The names on the way.
    fn members(&self) -> Vec<String> {
        let names = self.steps.iter().filter_map(|step| match step {
            Step::Child(name) => Some(name.clone()),
            Step::Where(_) | Step::First => None,
        });
        names.collect()
    }
}

impl Branch {
    fn select<'a>(&'a self, focus: &'a Value, root: &'a Value, out: &mut Vec<Node<'a>>) {
        for path in &self.paths {
            let before = out.len();
            let mut visit = |value: &'a Value| {
                out.push(Node {
                    value,
                    type_name: &path.type_name,
                    system: path.system.as_deref(),
                });
                match self.first {
                    true => Break(()),
                    false => Continue(()),
                }
            };
            let _ = walk(&path.steps, focus, root, &mut visit);
            if self.first && out.len() > before {
                return;
            }
        }
    }
}

/// Calls `visit` for each value that `steps` select from `value`, until it breaks. `root` is what the program runs on.
fn walk<'a>(
    steps: &'a [Step],
    value: &'a Value,
    root: &'a Value,
    visit: &mut dyn FnMut(&'a Value) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some((step, rest)) = steps.split_first() else {
        return visit(value);
    };
    match step {
        Step::Child(name) => match member(value, name) {
            None | Some(Value::Null) => Continue(()),
            Some(Value::Array(items)) => items
                .iter()
                .filter(|item| !item.is_null())
                .try_for_each(|item| walk(rest, item, root, visit)),
            Some(child) => walk(rest, child, root, visit),
        },
        Step::Where(condition) => match condition.holds(value, root) {
            true => walk(rest, value, root, visit),
            false => Continue(()),
        },
        Step::First => {
            walk(rest, value, root, visit)?;
            Break(())
        }
    }
}

/// Calls `visit` for each value of the branches, until it breaks.
fn each<'a>(
    branches: &'a [Branch],
    value: &'a Value,
    root: &'a Value,
    visit: &mut dyn FnMut(&'a Value) -> ControlFlow<()>,
) {
    for branch in branches {
        let mut found = false;
        for path in &branch.paths {
            // Breaking is also how `first()` ends, so only `visit` knows whether it wants more; it may be called once more per path.
            let _ = walk(&path.steps, value, root, &mut |item| {
                found = true;
                match branch.first {
                    true => {
                        let _ = visit(item);
                        Break(())
                    }
                    false => visit(item),
                }
            });
            if branch.first && found {
                break;
            }
        }
    }
}

impl Condition {
    fn holds(&self, value: &Value, root: &Value) -> bool {
        match self {
            Condition::Exists(branches) => {
                let mut found = false;
                each(branches, value, root, &mut |_| {
                    found = true;
                    Break(())
                });
                found
            }
            Condition::Equals {
                branches,
                literal,
                negated,
            } => {
                let (mut count, mut equal) = (0, true);
                each(branches, value, root, &mut |item| {
                    count += 1;
                    equal &= item == literal;
                    Continue(())
                });
                count > 0 && (count == 1 && equal) != *negated
            }
            Condition::And(a, b) => a.holds(value, root) && b.holds(value, root),
            Condition::Or(a, b) => a.holds(value, root) || b.holds(value, root),
            Condition::RefersTo(type_name) => refers_to(value, root) == Some(type_name),
            Condition::ResourceType(type_name) => {
                json::text(value, "resourceType") == Some(type_name)
            }
        }
    }
}

/// The type of the resource that a Reference, canonical or uri points to, as far as the text says it.
fn refers_to<'a>(value: &'a Value, root: &'a Value) -> Option<&'a str> {
    let (text, declared) = match value {
        Value::String(text) => (Some(text.as_str()), None),
        _ => (
            value.get("reference").and_then(Value::as_str),
            value.get("type").and_then(Value::as_str),
        ),
    };
    let said = match text.map(|text| (text, Reference::parse(text, None))) {
        Some((_, Reference::Contained(""))) => root.get("resourceType").and_then(Value::as_str),
        Some((_, Reference::Contained(id))) => root
            .get("contained")
            .and_then(Value::as_array)
            .and_then(|all| {
                all.iter()
                    .find(|r| r.get("id").and_then(Value::as_str) == Some(id))
            })
            .and_then(|resource| resource.get("resourceType")?.as_str()),
        Some((text, Reference::Local { .. })) => text.split('/').next(),
        Some((_, Reference::Conditional { resource_type, .. })) => Some(resource_type),
        Some((text, Reference::Other(_))) => type_in_url(text),
        Some((_, Reference::Urn(_))) | None => None,
    };
    said.or(declared)
}

/// `Patient` of `https://host/base/Patient/1` and of `https://host/base/Patient/1/_history/2`.
fn type_in_url(url: &str) -> Option<&str> {
    let url = url.split(['|', '#', '?']).next()?;
    let plain = url
        .split_once("/_history/")
        .map_or(url, |(before, _)| before);
    let mut parts = plain.rsplit('/');
    parts.next()?;
    parts
        .next()
        .filter(|name| fhir_model::reference::is_type_name(name))
}
