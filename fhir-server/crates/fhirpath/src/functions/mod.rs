//! The functions, by topic (<https://hl7.org/fhirpath/#functions>, <https://hl7.org/fhir/R5/fhirpath.html#functions>). A function is one row of
//! a table: its name, how many arguments it takes, and what it does.

mod combining;
mod conversion;
mod encoding;
mod existence;
mod fhir;
mod filtering;
pub mod html;
mod math;
mod strings;
mod terminology;
mod values;

use crate::error::{Fault, Result};
use crate::evaluate::{Evaluator, Frame, integer, single};
use crate::item::{Collection, Item, System};
use crate::program::Op;
use std::borrow::Cow;
use std::fmt;

pub(crate) struct Function {
    pub name: &'static str,
    /// Fewest and most.
    pub arguments: (usize, usize),
    pub run: Run,
}

type Run = for<'f, 'a> fn(&mut Evaluator<'a>, Call<'f, 'a>) -> Result<Collection<'a>>;

/// What a function is called with. An argument is evaluated by the function: once in the frame of the call, or for each item of the input.
pub(crate) struct Call<'f, 'a> {
    pub input: Collection<'a>,
    pub arguments: &'a [Op],
    pub frame: Frame<'f, 'a>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn function(name: &'static str, min: usize, max: usize, run: Run) -> Function {
    Function {
        name,
        arguments: (min, max),
        run,
    }
}

const ALL: [&[Function]; 10] = [
    existence::FUNCTIONS,
    filtering::FUNCTIONS,
    combining::FUNCTIONS,
    conversion::FUNCTIONS,
    strings::FUNCTIONS,
    encoding::FUNCTIONS,
    math::FUNCTIONS,
    values::FUNCTIONS,
    fhir::FUNCTIONS,
    terminology::FUNCTIONS,
];

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name)
}

/// The names of all functions; `is`, `as` and `ofType` are operators to this engine, and not among them.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    all().map(|function| function.name)
}

fn all() -> impl Iterator<Item = &'static Function> {
    ALL.into_iter().flatten()
}

impl<'a> Evaluator<'a> {
    /// The argument, in the frame of the call. Empty where it was not given.
    fn argument(&mut self, call: &Call<'_, 'a>, index: usize) -> Result<Collection<'a>> {
        match call.arguments.get(index) {
            Some(argument) => self.operand(argument, call.frame),
            None => Ok(Vec::new()),
        }
    }

    fn text_argument(&mut self, call: &Call<'_, 'a>, index: usize) -> Result<Option<Cow<'a, str>>> {
        let argument = self.argument(call, index)?;
        text(argument)
    }

    fn integer_argument(&mut self, call: &Call<'_, 'a>, index: usize) -> Result<Option<i64>> {
        let argument = self.argument(call, index)?;
        integer(&argument)
    }
}

/// At most one string.
fn text<'a>(items: Collection<'a>) -> Result<Option<Cow<'a, str>>> {
    match single(items)? {
        None => Ok(None),
        Some(Item::Element(element)) if element.is_primitive() && element.value.is_none() => {
            Ok(None)
        }
        Some(item) => match item.system() {
            Some(System::String(text)) => Ok(Some(text)),
            _ => Err(Fault::invalid(format!(
                "a string was expected, not {}",
                item.type_info().name
            ))),
        },
    }
}

/// At most one System value; `None` for a primitive without one.
fn value<'a>(items: Collection<'a>) -> Result<Option<System<'a>>> {
    match single(items)? {
        None => Ok(None),
        Some(Item::Element(element)) if element.value.is_none() => Ok(None),
        Some(item) => match item.system() {
            Some(value) => Ok(Some(value)),
            None => Err(Fault::invalid(format!(
                "a value was expected, not {}",
                item.type_info().name
            ))),
        },
    }
}

fn one<'a>(item: Option<Item<'a>>) -> Result<Collection<'a>> {
    Ok(item.into_iter().collect())
}

fn verdict<'a>(value: bool) -> Result<Collection<'a>> {
    Ok(vec![Item::boolean(value)])
}
