//! Runs a program over borrowed JSON (<https://hl7.org/fhirpath/#functions>). Every operation, item and comparison costs a step.

use crate::ast::{Operator, TypeName};
use crate::context::Context;
use crate::error::{Fault, Result};
use crate::functions::Call;
use crate::item::{Collection, Element, Item, System, is_primitive};
use crate::program::{Op, OpKind, TypeTest};
use crate::{compare, equality, navigation, operators};
use bigdecimal::BigDecimal;
use regex::Regex;
use std::collections::HashMap;
use std::rc::Rc;

pub(crate) struct Evaluator<'a> {
    pub context: &'a Context<'a>,
    pub budget: Budget,
    /// Those of `defineVariable()`, innermost last. An operand or argument forgets what was defined in it.
    variables: Vec<(String, Collection<'a>)>,
    pub regexes: HashMap<String, Rc<Regex>>,
    pub resolves: usize,
}

/// What is left of the limits.
pub(crate) struct Budget {
    steps: u64,
}

impl Budget {
    pub fn new(steps: u64) -> Budget {
        Budget { steps }
    }

    /// What is left.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub fn spend(&mut self, steps: usize) -> Result<()> {
        match self.steps.checked_sub(steps as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(Fault::limit("the expression takes too many steps")),
        }
    }
}

/// What names and `$this` mean.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'f, 'a> {
    pub this: &'f [Item<'a>],
    pub index: Option<usize>,
    pub total: Option<&'f [Item<'a>]>,
}

impl<'f, 'a> Frame<'f, 'a> {
    pub fn on(this: &'f [Item<'a>]) -> Frame<'f, 'a> {
        Frame {
            this,
            index: None,
            total: None,
        }
    }
}

impl<'a> Evaluator<'a> {
    pub fn new(context: &'a Context<'a>) -> Evaluator<'a> {
        Evaluator {
            context,
            budget: Budget::new(context.limits.steps),
            variables: Vec::new(),
            regexes: HashMap::new(),
            resolves: 0,
        }
    }

    pub fn run(&mut self, root: &'a Op) -> Result<Collection<'a>> {
        self.eval(root, Frame::on(&self.context.focus))
    }

    /// Variables that are defined in it stay.
    pub fn eval(&mut self, op: &'a Op, frame: Frame<'_, 'a>) -> Result<Collection<'a>> {
        let items = self
            .kind(op, frame)
            .map_err(|fault| fault.at(op.position))?;
        self.budget
            .spend(1 + items.len() / 8)
            .map_err(|fault| fault.at(op.position))?;
        match items.len() > self.context.limits.items {
            true => Err(Fault::limit("a collection has too many items").at(op.position)),
            false => Ok(items),
        }
    }

    /// Variables that are defined in it end with it.
    pub fn operand(&mut self, op: &'a Op, frame: Frame<'_, 'a>) -> Result<Collection<'a>> {
        let defined = self.variables.len();
        let items = self.eval(op, frame);
        self.variables.truncate(defined);
        items
    }

    fn kind(&mut self, op: &'a Op, frame: Frame<'_, 'a>) -> Result<Collection<'a>> {
        match &op.kind {
            OpKind::Empty => Ok(Vec::new()),
            OpKind::Constant(value) => Ok(vec![Item::System(value.borrowed())]),
            OpKind::This => Ok(frame.this.to_vec()),
            OpKind::Index => Ok(frame
                .index
                .map(|index| Item::integer(index as i64))
                .into_iter()
                .collect()),
            OpKind::Total => Ok(frame.total.unwrap_or_default().to_vec()),
            OpKind::Variable(name) => self.variable(name),
            OpKind::Name(name) => Ok(self.name(name, frame)),
            OpKind::Member(of, name) => {
                let of = self.eval(of, frame)?;
                self.member(&of, name)
            }
            OpKind::Call {
                of,
                function,
                arguments,
            } => {
                let input = match of {
                    Some(of) => self.eval(of, frame)?,
                    None => frame.this.to_vec(),
                };
                (function.run)(
                    self,
                    Call {
                        input,
                        arguments,
                        frame,
                    },
                )
            }
            OpKind::At(of, index) => self.at(of, index, frame),
            OpKind::Union(operands) => {
                let mut all = Vec::new();
                for operand in operands {
                    all.extend(self.operand(operand, frame)?);
                }
                equality::distinct(all, &mut self.budget)
            }
            OpKind::Negate(of) => {
                let of = self.eval(of, frame)?;
                operators::negate(single(of)?)
            }
            OpKind::Plus(of) => {
                let of = self.eval(of, frame)?;
                operators::plus(single(of)?)
            }
            OpKind::Binary(operator, a, b) => self.binary(*operator, a, b, frame),
            OpKind::Type(test, of, name) => {
                let of = self.eval(of, frame)?;
                self.type_test(*test, of, name)
            }
        }
    }

    #[inline(never)]
    fn name(&mut self, name: &str, frame: Frame<'_, 'a>) -> Collection<'a> {
        let mut out = Vec::new();
        for item in frame.this {
            match item {
                Item::Element(element)
                    if !is_primitive(name) && self.context.model.is_a(element.type_name, name) =>
                {
                    out.push(item.clone());
                }
                _ => navigation::child(item, name, self.context.model, &mut out),
            }
        }
        out
    }

    #[inline(never)]
    fn member(&mut self, of: &[Item<'a>], name: &str) -> Result<Collection<'a>> {
        self.budget.spend(of.len())?;
        let mut out = Vec::new();
        for item in of {
            navigation::child(item, name, self.context.model, &mut out);
        }
        Ok(out)
    }

    #[inline(never)]
    fn at(&mut self, of: &'a Op, index: &'a Op, frame: Frame<'_, 'a>) -> Result<Collection<'a>> {
        let mut of = self.eval(of, frame)?;
        let index = self.operand(index, frame)?;
        let Some(index) = integer(&index)? else {
            return Ok(Vec::new());
        };
        Ok(
            match usize::try_from(index).ok().filter(|i| *i < of.len()) {
                Some(index) => vec![of.swap_remove(index)],
                None => Vec::new(),
            },
        )
    }

    #[inline(never)]
    fn binary(
        &mut self,
        operator: Operator,
        a: &'a Op,
        b: &'a Op,
        frame: Frame<'_, 'a>,
    ) -> Result<Collection<'a>> {
        let a = self.operand(a, frame)?;
        // The right side of what is decided already is not run.
        match (operator, &a[..]) {
            (Operator::And, [Item::System(System::Boolean(false))]) => {
                return Ok(vec![Item::boolean(false)]);
            }
            (Operator::Or, [Item::System(System::Boolean(true))])
            | (Operator::Implies, [Item::System(System::Boolean(false))]) => {
                return Ok(vec![Item::boolean(true)]);
            }
            _ => {}
        }
        let b = self.operand(b, frame)?;
        let verdict = match operator {
            Operator::Equal => equality::equal(&a, &b, &mut self.budget)?,
            Operator::NotEqual => equality::equal(&a, &b, &mut self.budget)?.map(|equal| !equal),
            Operator::Equivalent => Some(equality::equivalent(&a, &b, &mut self.budget)?),
            Operator::NotEquivalent => Some(!equality::equivalent(&a, &b, &mut self.budget)?),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => compare::compare(operator, single(a)?, single(b)?)?,
            Operator::And | Operator::Or | Operator::Xor | Operator::Implies => {
                operators::logic(operator, truth(&a)?, truth(&b)?)
            }
            Operator::In => self.contains(b, a)?,
            Operator::Contains => self.contains(a, b)?,
            _ => {
                let (a, b) = (single(a)?, single(b)?);
                let result = operators::arithmetic(operator, a, b)?;
                return self.bounded(result);
            }
        };
        Ok(verdict.map(Item::boolean).into_iter().collect())
    }

    fn contains(&mut self, all: Collection<'a>, one: Collection<'a>) -> Result<Option<bool>> {
        match single(one)? {
            None => Ok(None),
            Some(one) => equality::contains(&all, &one, &mut self.budget).map(Some),
        }
    }

    /// A result that is not longer than allowed.
    pub fn bounded(&mut self, item: Option<Item<'a>>) -> Result<Collection<'a>> {
        match &item {
            Some(Item::System(System::String(text))) => {
                self.budget.spend(text.len() / 64)?;
                if text.len() > self.context.limits.string_bytes {
                    return Err(Fault::limit("a string is too long"));
                }
            }
            Some(Item::System(System::Decimal(value))) if !crate::number::is_bounded(value) => {
                return Err(Fault::limit("a decimal is too long"));
            }
            Some(Item::System(System::Quantity(value)))
                if !crate::number::is_bounded(&value.value) || value.unit.code().len() > 256 =>
            {
                return Err(Fault::limit("a quantity is too long"));
            }
            _ => {}
        }
        Ok(item.into_iter().collect())
    }

    #[inline(never)]
    fn type_test(
        &mut self,
        test: TypeTest,
        of: Collection<'a>,
        name: &TypeName,
    ) -> Result<Collection<'a>> {
        let known = match name.namespace.as_deref() {
            Some("System") => true,
            Some("FHIR") => self.context.model.is_type(&name.name),
            None => is_system_type(&name.name) || self.context.model.is_type(&name.name),
            Some(_) => false,
        };
        if !known {
            return Err(Fault::invalid(format!("there is no type {}", name.name)));
        }
        match test {
            TypeTest::Is => Ok(single(of)?
                .map(|item| Item::boolean(self.is_of(&item, name, false)))
                .into_iter()
                .collect()),
            TypeTest::As => Ok(single(of)?
                .filter(|item| self.is_of(item, name, true))
                .into_iter()
                .collect()),
            TypeTest::OfType => Ok(of
                .into_iter()
                .filter(|item| self.is_of(item, name, true))
                .collect()),
        }
    }

    /// `exactly`: a `code` is a `string`, but is not taken for one by `as` and `ofType`. Other types are what they derive from throughout.
    fn is_of(&self, item: &Item<'a>, name: &TypeName, exactly: bool) -> bool {
        let info = item.type_info();
        if name.namespace.as_ref().is_some_and(|n| n != info.namespace) {
            return false;
        }
        info.name == name.name
            || (info.namespace == "FHIR"
                && !(exactly && is_primitive(info.name))
                && self.context.model.is_a(info.name, &name.name))
    }

    fn variable(&mut self, name: &str) -> Result<Collection<'a>> {
        if let Some((_, value)) = self.variables.iter().rev().find(|(n, _)| n == name) {
            return Ok(value.clone());
        }
        let element =
            |element: Option<Element<'a>>| Ok(element.map(Item::Element).into_iter().collect());
        let text = |text: String| Ok(vec![Item::string(text)]);
        match name {
            "context" => return Ok(self.context.focus.clone()),
            "resource" => return element(self.context.resource),
            "rootResource" => return element(self.context.root),
            "ucum" => return text("http://unitsofmeasure.org".into()),
            "sct" => return text("http://snomed.info/sct".into()),
            "loinc" => return text("http://loinc.org".into()),
            "terminologies" => return Ok(vec![Item::Terminologies]),
            _ => {}
        }
        if let Some((_, value)) = self.context.variables.iter().find(|(n, _)| n == name) {
            return Ok(value.clone());
        }
        if let Some(id) = name.strip_prefix("vs-") {
            return text(format!("http://hl7.org/fhir/ValueSet/{id}"));
        }
        if let Some(id) = name.strip_prefix("ext-") {
            return text(format!("http://hl7.org/fhir/StructureDefinition/{id}"));
        }
        Err(Fault::invalid(format!("there is no variable %{name}")))
    }

    /// `defineVariable()`.
    pub fn define(&mut self, name: String, value: Collection<'a>) -> Result<()> {
        match self.variable(&name) {
            Ok(_) => Err(Fault::invalid(format!("%{name} is defined already"))),
            Err(_) => {
                self.budget.spend(value.len())?;
                self.variables.push((name, value));
                Ok(())
            }
        }
    }

    /// An argument that is evaluated for each item of the input.
    pub fn each(&mut self, op: &'a Op, item: &Item<'a>, index: usize) -> Result<Collection<'a>> {
        self.operand(
            op,
            Frame {
                index: Some(index),
                ..Frame::on(std::slice::from_ref(item))
            },
        )
    }

    /// A criterion for one item.
    pub fn criterion(&mut self, op: &'a Op, item: &Item<'a>, index: usize) -> Result<Option<bool>> {
        let verdict = self.each(op, item, index)?;
        truth(&verdict).map_err(|fault| fault.at(op.position))
    }

    /// A resource for items that nothing contains: JSON made on the way lives as long as the context.
    pub fn keep(&self, value: serde_json::Value) -> &'a serde_json::Value {
        self.context.made.keep(value)
    }
}

fn is_system_type(name: &str) -> bool {
    matches!(
        name,
        "Boolean"
            | "String"
            | "Integer"
            | "Long"
            | "Decimal"
            | "Date"
            | "DateTime"
            | "Time"
            | "Quantity"
    )
}

/// At most one item.
pub(crate) fn single<'a>(mut items: Collection<'a>) -> Result<Option<Item<'a>>> {
    match items.len() {
        0 | 1 => Ok(items.pop()),
        _ => Err(Fault::invalid("several items, where one was expected")),
    }
}

/// One boolean; one item of another type is true (<https://hl7.org/fhirpath/#singleton-evaluation-of-collections>).
pub(crate) fn truth(items: &[Item<'_>]) -> Result<Option<bool>> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(match item.system() {
            Some(System::Boolean(value)) => value,
            _ => true,
        })),
        _ => Err(Fault::invalid(
            "several items, where one boolean was expected",
        )),
    }
}

/// At most one integer.
pub(crate) fn integer(items: &[Item<'_>]) -> Result<Option<i64>> {
    match items {
        [] => Ok(None),
        [item] => match item.system() {
            Some(System::Integer(value)) => Ok(Some(i64::from(value))),
            Some(System::Long(value)) => Ok(Some(value)),
            None if matches!(item, Item::Element(e) if e.value.is_none()) => Ok(None),
            _ => Err(Fault::invalid("an integer was expected")),
        },
        _ => Err(Fault::invalid(
            "several items, where one integer was expected",
        )),
    }
}

/// At most one number.
pub(crate) fn decimal(items: &[Item<'_>]) -> Result<Option<BigDecimal>> {
    match items {
        [] => Ok(None),
        [item] => match item.system() {
            Some(value) => match value.number() {
                Some(number) => Ok(Some(number.into_owned())),
                None => Err(Fault::invalid("a number was expected")),
            },
            None if matches!(item, Item::Element(e) if e.value.is_none()) => Ok(None),
            None => Err(Fault::invalid("a number was expected")),
        },
        _ => Err(Fault::invalid(
            "several items, where one number was expected",
        )),
    }
}
