//! A complete FHIRPath expression, compiled: literals read, functions found and their arguments counted.

use crate::ast::{Expression, Kind, Literal, Operator, TypeName, TypeOperator};
use crate::check;
use crate::context::Context;
use crate::error::{EvaluationError, Reason};
use crate::evaluate::{Budget, Evaluator, Frame};
use crate::functions::{self, Function};
use crate::item::{Item, System};
use crate::number;
use crate::parser::parse;
use crate::path::CompileError;
use crate::quantity::{Quantity, Unit};
use crate::temporal::{Temporal, TemporalKind};
use crate::types::TypeModel;

/// An expression that is ready to run, any number of times, from any thread.
#[derive(Debug)]
pub struct Program {
    root: Op,
}

#[derive(Debug)]
pub(crate) struct Op {
    pub kind: OpKind,
    /// Character offset in the text.
    pub position: usize,
}

#[derive(Debug)]
pub(crate) enum OpKind {
    Empty,
    Constant(System<'static>),
    This,
    Index,
    Total,
    Variable(String),
    /// An element of the focus, or the focus itself where it is of this type.
    Name(String),
    Member(Box<Op>, String),
    Call {
        of: Option<Box<Op>>,
        function: &'static Function,
        arguments: Vec<Op>,
    },
    At(Box<Op>, Box<Op>),
    Union(Vec<Op>),
    Negate(Box<Op>),
    Plus(Box<Op>),
    Binary(Operator, Box<Op>, Box<Op>),
    Type(TypeTest, Box<Op>, TypeName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeTest {
    Is,
    As,
    OfType,
}

impl Program {
    /// Compiles `expression` and checks it for instances of `base` (a type name): an element that no type has that can stand there, a text
    /// function on what is no text, or the order of what has none is refused.
    ///
    /// # Errors
    /// [`CompileError`] with the place.
    pub fn compile(
        expression: &str,
        base: &str,
        model: &dyn TypeModel,
    ) -> Result<Program, CompileError> {
        let tree = parse(expression)?;
        check::check(&tree, base, model)?;
        Program::lower(&tree)
    }

    /// Compiles `expression` for whatever it will meet: what is not there is empty. The names of choices with their type (`valueQuantity`)
    /// are understood too.
    ///
    /// # Errors
    /// [`CompileError`] with the place.
    pub fn parse(expression: &str) -> Result<Program, CompileError> {
        Program::lower(&parse(expression)?)
    }

    /// Of an expression that ends in the name of an element, `Patient.name.given`: what stands before it, `$this` where nothing does, and
    /// the name. The expression itself where it ends in anything else.
    ///
    /// # Errors
    /// The program, unchanged.
    pub fn split_last(self) -> Result<(Program, String), Program> {
        let Op { kind, position } = self.root;
        let (root, name) = match kind {
            OpKind::Member(of, name) => (*of, name),
            OpKind::Name(name) => {
                let kind = OpKind::This;
                (Op { kind, position }, name)
            }
            kind => {
                let root = Op { kind, position };
                return Err(Program { root });
            }
        };
        Ok((Program { root }, name))
    }

    fn lower(tree: &Expression) -> Result<Program, CompileError> {
        Ok(Program { root: lower(tree)? })
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`EvaluationError`] with the place in the expression.
    pub fn evaluate<'a>(
        &'a self,
        context: &'a Context<'a>,
    ) -> Result<Vec<Item<'a>>, EvaluationError> {
        Ok(Evaluator::new(context).run(&self.root)?)
    }

    /// Runs it on one item instead of the context's.
    ///
    /// # Errors
    /// [`EvaluationError`] with the place in the expression.
    pub fn evaluate_on<'a>(
        &'a self,
        context: &'a Context<'a>,
        item: &Item<'a>,
    ) -> Result<Vec<Item<'a>>, EvaluationError> {
        let focus = std::slice::from_ref(item);
        Ok(Evaluator::new(context).eval(&self.root, Frame::on(focus))?)
    }

    /// Runs an expression that is a condition, such as an invariant: empty is false, one item that is no boolean is true. It takes as many of
    /// `steps` as it needs, and not more than the context allows one evaluation.
    ///
    /// # Errors
    /// [`EvaluationError`], also when there are several items.
    pub fn holds<'a>(
        &'a self,
        context: &'a Context<'a>,
        steps: &mut u64,
    ) -> Result<bool, EvaluationError> {
        let mut evaluator = Evaluator::new(context);
        let given = (*steps).min(evaluator.budget.steps());
        evaluator.budget = Budget::new(given);
        let items = evaluator.run(&self.root);
        *steps -= match &items {
            Err(fault) if fault.reason == Reason::Limit => given,
            _ => given - evaluator.budget.steps(),
        };
        let held = crate::evaluate::truth(&items?)?;
        Ok(held.unwrap_or(false))
    }
}

fn boxed(tree: &Expression) -> Result<Box<Op>, CompileError> {
    lower(tree).map(Box::new)
}

fn lower(tree: &Expression) -> Result<Op, CompileError> {
    let position = tree.position;
    let kind = match &tree.kind {
        Kind::Empty => OpKind::Empty,
        Kind::Literal(literal) => OpKind::Constant(constant(literal, position)?),
        Kind::This => OpKind::This,
        Kind::Index => OpKind::Index,
        Kind::Total => OpKind::Total,
        Kind::Variable(name) => OpKind::Variable(name.clone()),
        Kind::Name(name) => OpKind::Name(name.clone()),
        Kind::Member(of, name) => OpKind::Member(boxed(of)?, name.clone()),
        Kind::Call {
            of,
            name,
            arguments,
        } => return call(of.as_deref(), name, arguments, position),
        Kind::At(of, index) => OpKind::At(boxed(of)?, boxed(index)?),
        Kind::Union(operands) => {
            OpKind::Union(operands.iter().map(lower).collect::<Result<_, _>>()?)
        }
        Kind::Negate(of) => OpKind::Negate(boxed(of)?),
        Kind::Plus(of) => OpKind::Plus(boxed(of)?),
        Kind::Binary(operator, a, b) => OpKind::Binary(*operator, boxed(a)?, boxed(b)?),
        Kind::Type(operator, of, name) => {
            let test = match operator {
                TypeOperator::Is => TypeTest::Is,
                TypeOperator::As => TypeTest::As,
            };
            OpKind::Type(test, boxed(of)?, name.clone())
        }
    };
    Ok(Op { kind, position })
}

fn call(
    of: Option<&Expression>,
    name: &str,
    arguments: &[Expression],
    position: usize,
) -> Result<Op, CompileError> {
    let test = match name {
        "is" => Some(TypeTest::Is),
        "as" => Some(TypeTest::As),
        "ofType" => Some(TypeTest::OfType),
        _ => None,
    };
    let of = of.map(boxed).transpose()?;
    if let Some(test) = test {
        let type_name = match arguments {
            [argument] => type_argument(argument),
            _ => None,
        }
        .ok_or_else(|| CompileError::new(format!("{name}() takes a type"), position))?;
        let focus = || {
            Box::new(Op {
                kind: OpKind::This,
                position,
            })
        };
        let kind = OpKind::Type(test, of.unwrap_or_else(focus), type_name);
        return Ok(Op { kind, position });
    }
    let function = functions::find(name)
        .ok_or_else(|| CompileError::new(format!("there is no function {name}()"), position))?;
    let (min, max) = function.arguments;
    if !(min..=max).contains(&arguments.len()) {
        let message = match min == max {
            true => format!("{name}() takes {min} arguments, not {}", arguments.len()),
            false => format!(
                "{name}() takes {min} to {max} arguments, not {}",
                arguments.len()
            ),
        };
        return Err(CompileError::new(message, position));
    }
    let kind = OpKind::Call {
        of,
        function,
        arguments: arguments.iter().map(lower).collect::<Result<_, _>>()?,
    };
    Ok(Op { kind, position })
}

/// `Patient` or `FHIR.Patient` as an argument.
pub(crate) fn type_argument(argument: &Expression) -> Option<TypeName> {
    let (namespace, name) = match &argument.kind {
        Kind::Name(name) => (None, name),
        Kind::Member(of, name) => match &of.kind {
            Kind::Name(namespace) => (Some(namespace.clone()), name),
            _ => return None,
        },
        _ => return None,
    };
    Some(TypeName {
        namespace,
        name: name.clone(),
    })
}

fn constant(literal: &Literal, position: usize) -> Result<System<'static>, CompileError> {
    let wrong = |what: &str| CompileError::new(format!("not a valid {what}"), position);
    let decimal = |text: &str| number::parse(text).ok_or_else(|| wrong("decimal"));
    let temporal = |kind, text: &str, what| {
        Temporal::parse(kind, text)
            .map(System::Temporal)
            .ok_or_else(|| wrong(what))
    };
    Ok(match literal {
        Literal::String(text) => System::String(text.clone().into()),
        Literal::Boolean(value) => System::Boolean(*value),
        Literal::Long(text) => System::Long(text.parse().map_err(|_| wrong("Long"))?),
        Literal::Number(text) if text.contains('.') => System::Decimal(decimal(text)?),
        Literal::Number(text) => {
            let integer = text.parse();
            System::Integer(integer.map_err(|_| wrong("Integer (a Long ends in L)"))?)
        }
        Literal::Date(text) => temporal(TemporalKind::Date, text, "date")?,
        Literal::DateTime(text) => {
            let text = text.strip_suffix('T').unwrap_or(text);
            temporal(TemporalKind::DateTime, text, "date and time")?
        }
        Literal::Time(text) => temporal(TemporalKind::Time, text, "time")?,
        Literal::Quantity { value, unit, .. } => System::Quantity(Quantity {
            value: decimal(value)?,
            unit: Unit::quoted(unit),
        }),
    })
}
