//! From the syntax tree to a path program, with the types of every step known.

use crate::ast::{Expression, Kind, Literal, Operator, TypeOperator};
use crate::parser::parse;
use crate::path::{Body, Branch, CompileError, Condition, Path, PathProgram, Step};
use crate::types::TypeModel;
use serde_json::Value;

pub(crate) fn compile(
    expression: &str,
    base: &str,
    model: &dyn TypeModel,
) -> Result<PathProgram, CompileError> {
    let tree = parse(expression)?;
    let compiler = Compiler { model };
    let focus = Path::at(base);
    let body = match is_condition(&tree) {
        true => Body::Test(compiler.condition(&tree, &focus)?),
        false => Body::Select(
            compiler
                .branches(&tree, &focus)
                .map_err(|refusal| refusal.error)?,
        ),
    };
    Ok(PathProgram { body })
}

struct Compiler<'m> {
    model: &'m dyn TypeModel,
}

/// Why a branch gives no program.
struct Refusal {
    error: CompileError,
    /// It is well-formed, but selects nothing from this base: in a union other branches may.
    elsewhere: bool,
}

impl Refusal {
    fn elsewhere(message: String, position: usize) -> Refusal {
        Refusal {
            error: CompileError { message, position },
            elsewhere: true,
        }
    }
}

impl From<CompileError> for Refusal {
    fn from(error: CompileError) -> Refusal {
        Refusal {
            error,
            elsewhere: false,
        }
    }
}

impl Path {
    fn at(type_name: &str) -> Path {
        Path {
            steps: Vec::new(),
            type_name: type_name.to_owned(),
            system: None,
            repeats: false,
            choice: None,
        }
    }

    /// This path, one step on.
    fn then(&self, step: Step) -> Path {
        let mut path = self.clone();
        path.steps.push(step);
        path
    }
}

fn is_condition(expression: &Expression) -> bool {
    match &expression.kind {
        Kind::Binary(..) | Kind::Type(TypeOperator::Is, ..) => true,
        Kind::Call { name, .. } => name == "exists",
        _ => false,
    }
}

impl Compiler<'_> {
    /// The branches that `expression` selects from `focus`.
    fn branches(&self, expression: &Expression, focus: &Path) -> Result<Vec<Branch>, Refusal> {
        let position = expression.position;
        let unsupported = |what: &str| {
            Refusal::from(CompileError::new(
                format!("{what} cannot be used in a search parameter here"),
                position,
            ))
        };
        match &expression.kind {
            Kind::This => Ok(vec![Branch::of(vec![focus.clone()])]),
            Kind::Name(name) => self.name(name, position, focus),
            Kind::Member(of, name) => {
                let of = self.branches(of, focus)?;
                self.each_path(of, position, |path| Ok(self.child(path, name)))
            }
            Kind::Call {
                of,
                name,
                arguments,
            } => {
                let of = match of {
                    Some(of) => self.branches(of, focus)?,
                    None => vec![Branch::of(vec![focus.clone()])],
                };
                self.call(of, name, arguments, position)
            }
            Kind::Type(TypeOperator::As, of, type_name) => {
                let of = self.branches(of, focus)?;
                self.of_type(of, &type_name.name, position)
            }
            Kind::At(of, index) => match &index.kind {
                Kind::Literal(Literal::Number(number)) if number == "0" => {
                    let of = self.branches(of, focus)?;
                    first(of, position)
                }
                _ => Err(unsupported("an index other than 0")),
            },
            Kind::Union(operands) => self.union(operands, focus),
            Kind::Literal(_) => Err(unsupported("a literal")),
            Kind::Empty | Kind::Index | Kind::Total | Kind::Variable(_) => {
                Err(unsupported("an expression without a path"))
            }
            Kind::Binary(..)
            | Kind::Negate(_)
            | Kind::Plus(_)
            | Kind::Type(TypeOperator::Is, ..) => Err(unsupported("an operator")),
        }
    }

    /// The operands that serve the base. One that starts at another type serves another base, one that narrows a choice to a type it
    /// lacks selects nothing, and one without a type in front whose element the base lacks (clinical-date has `start`, meant for
    /// Appointment) is for another base too, as long as any operand is left.
    fn union(&self, operands: &[Expression], focus: &Path) -> Result<Vec<Branch>, Refusal> {
        let mut branches = Vec::new();
        let mut refused = None;
        for operand in operands {
            match self.branches(operand, focus) {
                Ok(found) => branches.extend(found),
                Err(refusal) if !refusal.elsewhere && starts_at_type(operand) => {
                    return Err(refusal);
                }
                Err(refusal) => {
                    refused.get_or_insert(refusal);
                }
            }
        }
        match refused {
            Some(refusal) if branches.is_empty() => Err(refusal),
            _ => Ok(branches),
        }
    }

    fn name(&self, name: &str, position: usize, focus: &Path) -> Result<Vec<Branch>, Refusal> {
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
            return self.each_path(vec![Branch::of(vec![focus.clone()])], position, |path| {
                Ok(self.child(path, name))
            });
        }
        match focus.steps.is_empty() && self.model.is_a(&focus.type_name, name) {
            true => Ok(vec![Branch::of(vec![focus.clone()])]),
            false => Err(Refusal::elsewhere(
                format!("the path starts at {name}, and {} is none", focus.type_name),
                position,
            )),
        }
    }

    /// The paths to the element `name`: one, or one per type of a choice. Empty where the type has no such element.
    fn child(&self, path: &Path, name: &str) -> Vec<Path> {
        let Some(element) = self.model.element(&path.type_name, name) else {
            return Vec::new();
        };
        // What is said of a primitive stands in its sibling.
        let mut path = path.clone();
        if path.type_name.starts_with(|c: char| c.is_ascii_lowercase())
            && let Some(Step::Child(key)) = path.steps.last_mut()
        {
            key.insert(0, '_');
        }
        let system = self.model.code_system(&path.type_name, name);
        element
            .types
            .into_iter()
            .map(|type_name| {
                let key = match element.choice {
                    true => choice_key(name, type_name),
                    false => name.to_owned(),
                };
                let mut child = path.then(Step::Child(key));
                child.system = system.clone().filter(|_| type_name == "code");
                child.type_name = type_name.to_owned();
                child.repeats |= element.array;
                child.choice = element.choice.then(|| name.to_owned());
                child
            })
            .collect()
    }

    fn call(
        &self,
        of: Vec<Branch>,
        name: &str,
        arguments: &[Expression],
        position: usize,
    ) -> Result<Vec<Branch>, Refusal> {
        match (name, arguments) {
            ("ofType" | "as", [argument]) => {
                let type_name = match &argument.kind {
                    Kind::Name(name) => name,
                    Kind::Member(of, name) if of.kind == Kind::Name("FHIR".into()) => name,
                    _ => return Err(CompileError::new("a type was expected", position).into()),
                };
                self.of_type(of, type_name, position)
            }
            ("where", [argument]) => self.each_path(of, position, |path| {
                let condition = self.condition(argument, &Path::at(&path.type_name))?;
                Ok(vec![path.then(Step::Where(condition))])
            }),
            ("extension", [argument]) => match &argument.kind {
                Kind::Literal(Literal::String(url)) => self.each_path(of, position, |path| {
                    let url_is = Condition::Equals {
                        branches: vec![Branch::of(vec![
                            Path::at("Extension").then(Step::Child("url".into())),
                        ])],
                        literal: Value::String(url.clone()),
                        negated: false,
                    };
                    let children = self.child(path, "extension");
                    Ok(children
                        .iter()
                        .map(|child| child.then(Step::Where(url_is.clone())))
                        .collect())
                }),
                _ => Err(CompileError::new("a URL in quotes was expected", position).into()),
            },
            ("first", []) => first(of, position),
            _ => Err(CompileError::new(
                format!(
                    "{name}() with {} arguments cannot be used in a search parameter here",
                    arguments.len()
                ),
                position,
            )
            .into()),
        }
    }

    /// The paths whose type is `type_name` or derived from it; a path to any resource is narrowed by its `resourceType`.
    fn of_type(
        &self,
        of: Vec<Branch>,
        type_name: &str,
        position: usize,
    ) -> Result<Vec<Branch>, Refusal> {
        let narrowed = self.each_path(of, position, |path| {
            if self.model.is_a(&path.type_name, type_name) {
                return Ok(vec![path.clone()]);
            }
            let resource = self.model.is_a(type_name, "Resource");
            if !resource || !self.model.is_a(type_name, &path.type_name) {
                return Ok(Vec::new());
            }
            let narrowed = Condition::ResourceType(type_name.to_owned());
            let mut path = path.then(Step::Where(narrowed));
            path.type_name = type_name.to_owned();
            Ok(vec![path])
        });
        narrowed.map_err(|refusal| Refusal {
            elsewhere: true,
            ..refusal
        })
    }

    /// Replaces each path by what `next` makes of it; an error when nothing is left at all.
    fn each_path(
        &self,
        branches: Vec<Branch>,
        position: usize,
        next: impl Fn(&Path) -> Result<Vec<Path>, CompileError>,
    ) -> Result<Vec<Branch>, Refusal> {
        let types = branches
            .iter()
            .flat_map(|branch| branch.paths.iter().map(|path| path.type_name.clone()))
            .collect::<Vec<_>>();
        let mut out = Vec::new();
        for mut branch in branches {
            if branch.first && branch.paths.len() > 1 {
                return Err(
                    CompileError::new("first() of several paths must come last", position).into(),
                );
            }
            if branch.first {
                branch.paths.iter_mut().for_each(|p| {
                    p.steps.push(Step::First);
                    p.repeats = false;
                });
            }
            let mut paths = Vec::new();
            for path in &branch.paths {
                paths.extend(next(path)?);
            }
            if !paths.is_empty() {
                out.push(Branch::of(paths));
            }
        }
        match out.is_empty() {
            true => Err(CompileError::new(
                format!("{} has no such element or type", types.join(", ")),
                position,
            )
            .into()),
            false => Ok(out),
        }
    }

    /// A condition on an element of the type of `focus`.
    fn condition(&self, expression: &Expression, focus: &Path) -> Result<Condition, CompileError> {
        let position = expression.position;
        let select = |of: &Expression| self.branches(of, focus).map_err(|refusal| refusal.error);
        match &expression.kind {
            Kind::Binary(Operator::And, a, b) => Ok(Condition::And(
                Box::new(self.condition(a, focus)?),
                Box::new(self.condition(b, focus)?),
            )),
            Kind::Binary(Operator::Or, a, b) => Ok(Condition::Or(
                Box::new(self.condition(a, focus)?),
                Box::new(self.condition(b, focus)?),
            )),
            Kind::Binary(operator @ (Operator::Equal | Operator::NotEqual), path, literal) => {
                let literal = match &literal.kind {
                    Kind::Literal(Literal::String(text)) => Value::String(text.clone()),
                    Kind::Literal(Literal::Boolean(value)) => Value::Bool(*value),
                    _ => {
                        return Err(CompileError::new(
                            "a text or boolean was expected",
                            literal.position,
                        ));
                    }
                };
                Ok(Condition::Equals {
                    branches: select(path)?,
                    literal,
                    negated: *operator == Operator::NotEqual,
                })
            }
            Kind::Call {
                of: Some(of),
                name,
                arguments,
            } if name == "exists" && arguments.is_empty() => Ok(Condition::Exists(select(of)?)),
            Kind::Type(TypeOperator::Is, of, type_name) => match &of.kind {
                Kind::Call {
                    of: None,
                    name,
                    arguments,
                } if name == "resolve" && arguments.is_empty() => {
                    Ok(Condition::RefersTo(type_name.name.clone()))
                }
                _ => Err(CompileError::new(
                    "'is' can only be asked of resolve() here",
                    position,
                )),
            },
            _ => Err(CompileError::new("a condition was expected", position)),
        }
    }
}

impl Branch {
    fn of(paths: Vec<Path>) -> Branch {
        Branch {
            paths,
            first: false,
        }
    }
}

/// All the branches together, of which only the first result counts.
fn first(of: Vec<Branch>, position: usize) -> Result<Vec<Branch>, Refusal> {
    if of.iter().any(|branch| branch.first) && of.len() > 1 {
        return Err(CompileError::new("first() of first() cannot be used here", position).into());
    }
    Ok(vec![Branch {
        paths: of.into_iter().flat_map(|branch| branch.paths).collect(),
        first: true,
    }])
}

/// Whether the leftmost name is a type's.
fn starts_at_type(expression: &Expression) -> bool {
    match &expression.kind {
        Kind::Name(name) => name.starts_with(|c: char| c.is_ascii_uppercase()),
        Kind::Member(of, _)
        | Kind::At(of, _)
        | Kind::Type(_, of, _)
        | Kind::Negate(of)
        | Kind::Plus(of) => starts_at_type(of),
        Kind::Call { of: Some(of), .. } => starts_at_type(of),
        Kind::Union(operands) => operands.iter().all(starts_at_type),
        Kind::Binary(_, left, _) => starts_at_type(left),
        Kind::Call { of: None, .. }
        | Kind::Literal(_)
        | Kind::This
        | Kind::Index
        | Kind::Total
        | Kind::Variable(_)
        | Kind::Empty => false,
    }
}

/// The JSON name of a choice: `valueQuantity` of `value` and `Quantity`.
fn choice_key(name: &str, type_name: &str) -> String {
    let mut letters = type_name.chars();
    let initial = letters.next().map(|c| c.to_ascii_uppercase());
    name.chars().chain(initial).chain(letters).collect()
}
