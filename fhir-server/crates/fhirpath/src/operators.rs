//! Arithmetic and logic (<https://hl7.org/fhirpath/#math>, `#boolean-logic`, `#datetime-arithmetic`). Overflow and division by zero are empty.

use crate::ast::Operator;
use crate::error::{Fault, Result};
use crate::item::{Item, System};
use crate::number;
use crate::quantity::{Quantity, Unit};
use crate::temporal::Temporal;
use bigdecimal::{BigDecimal, Zero};

/// Three-valued logic; `None` is empty.
pub(crate) fn logic(operator: Operator, a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (operator, a, b) {
        (Operator::And, Some(false), _) | (Operator::And, _, Some(false)) => Some(false),
        (Operator::And, Some(true), Some(true)) => Some(true),
        (Operator::Or, Some(true), _) | (Operator::Or, _, Some(true)) => Some(true),
        (Operator::Or, Some(false), Some(false)) => Some(false),
        (Operator::Xor, Some(a), Some(b)) => Some(a != b),
        (Operator::Implies, Some(false), _) | (Operator::Implies, _, Some(true)) => Some(true),
        (Operator::Implies, Some(true), b) => b,
        _ => None,
    }
}

/// `-a`.
pub(crate) fn negate<'a>(of: Option<Item<'a>>) -> Result<Vec<Item<'a>>> {
    let Some(value) = operand(of)? else {
        return Ok(Vec::new());
    };
    let negated = match value {
        System::Integer(value) => value.checked_neg().map(System::Integer),
        System::Long(value) => value.checked_neg().map(System::Long),
        System::Decimal(value) => Some(System::Decimal(-value)),
        System::Quantity(quantity) => Some(System::Quantity(Quantity {
            value: -quantity.value,
            unit: quantity.unit,
        })),
        other => {
            return Err(Fault::invalid(format!(
                "a {} has no sign",
                other.type_name()
            )));
        }
    };
    Ok(negated.map(Item::System).into_iter().collect())
}

/// `+a`.
pub(crate) fn plus<'a>(of: Option<Item<'a>>) -> Result<Vec<Item<'a>>> {
    match operand(of)? {
        None => Ok(Vec::new()),
        Some(value) if value.number().is_some() || matches!(value, System::Quantity(_)) => {
            Ok(vec![Item::System(value)])
        }
        Some(other) => Err(Fault::invalid(format!(
            "a {} has no sign",
            other.type_name()
        ))),
    }
}

/// The System value of an operand; `None` where there is none.
fn operand<'a>(item: Option<Item<'a>>) -> Result<Option<System<'a>>> {
    match item {
        None => Ok(None),
        Some(Item::Element(element)) if element.value.is_none() => Ok(None),
        Some(item) => match item.system() {
            Some(value) => Ok(Some(value)),
            None => Err(Fault::invalid(format!(
                "{} is no value to compute with",
                item.type_info().name
            ))),
        },
    }
}

pub(crate) fn arithmetic<'a>(
    operator: Operator,
    a: Option<Item<'a>>,
    b: Option<Item<'a>>,
) -> Result<Option<Item<'a>>> {
    let (a, b) = (operand(a)?, operand(b)?);
    if operator == Operator::Concatenate {
        return concatenate(a, b).map(Some);
    }
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(None);
    };
    let result = match (operator, &a, &b) {
        (Operator::Add, System::String(a), System::String(b)) => {
            Some(System::String(format!("{a}{b}").into()))
        }
        (
            Operator::Add | Operator::Subtract,
            System::Temporal(date),
            System::Quantity(quantity),
        ) => temporal(date, quantity, operator == Operator::Subtract)?.map(System::Temporal),
        (_, System::Integer(a), System::Integer(b)) if operator != Operator::Divide => {
            integer(operator, i64::from(*a), i64::from(*b))
                .and_then(|result| i32::try_from(result).ok())
                .map(System::Integer)
        }
        (_, System::Integer(_) | System::Long(_), System::Integer(_) | System::Long(_))
            if operator != Operator::Divide =>
        {
            integer(operator, long(&a), long(&b)).map(System::Long)
        }
        (_, System::Quantity(_), _) | (_, _, System::Quantity(_)) => {
            match (as_quantity(&a), as_quantity(&b)) {
                (Some(a), Some(b)) => quantities(operator, &a, &b)?.map(System::Quantity),
                _ => return Err(mismatch(operator, &a, &b)),
            }
        }
        _ => match (a.number(), b.number()) {
            (Some(x), Some(y)) => decimals(operator, &x, &y),
            _ => return Err(mismatch(operator, &a, &b)),
        },
    };
    Ok(result.map(Item::System))
}

fn mismatch(operator: Operator, a: &System<'_>, b: &System<'_>) -> Fault {
    Fault::invalid(format!(
        "{operator:?} is not defined for {} and {}",
        a.type_name(),
        b.type_name()
    ))
}

/// `&`: empty is the empty string.
fn concatenate<'a>(a: Option<System<'a>>, b: Option<System<'a>>) -> Result<Item<'a>> {
    let text = |value: Option<System<'a>>| match value {
        None => Ok("".into()),
        Some(System::String(text)) => Ok(text),
        Some(other) => Err(Fault::invalid(format!(
            "'&' joins strings, not {}",
            other.type_name()
        ))),
    };
    let (a, b) = (text(a)?, text(b)?);
    Ok(Item::string(format!("{a}{b}")))
}

fn long(value: &System<'_>) -> i64 {
    match value {
        System::Integer(value) => i64::from(*value),
        System::Long(value) => *value,
        _ => 0,
    }
}

fn integer(operator: Operator, a: i64, b: i64) -> Option<i64> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Div => a.checked_div(b),
        Operator::Mod => a.checked_rem(b),
        _ => None,
    }
}

fn decimals(operator: Operator, a: &BigDecimal, b: &BigDecimal) -> Option<System<'static>> {
    let divisor = !b.is_zero();
    Some(match operator {
        Operator::Add => System::Decimal(a + b),
        Operator::Subtract => System::Decimal(a - b),
        Operator::Multiply => System::Decimal(a * b),
        Operator::Divide if divisor => System::Decimal(number::divide(a, b)),
        Operator::Div if divisor => whole(&number::truncate(&(a / b)))?,
        Operator::Mod if divisor => System::Decimal(a % b),
        _ => return None,
    })
}

/// An Integer, or a Long where it does not fit; `None` beyond both.
pub(crate) fn whole(value: &BigDecimal) -> Option<System<'static>> {
    let long = number::text(value).parse::<i64>().ok()?;
    Some(match i32::try_from(long) {
        Ok(value) => System::Integer(value),
        Err(_) => System::Long(long),
    })
}

/// Numbers are quantities without a unit.
pub(crate) fn as_quantity(value: &System<'_>) -> Option<Quantity> {
    match value {
        System::Quantity(quantity) => Some(quantity.clone()),
        other => Some(Quantity {
            value: other.number()?.into_owned(),
            unit: Unit::one(),
        }),
    }
}

fn quantities(operator: Operator, a: &Quantity, b: &Quantity) -> Result<Option<Quantity>> {
    let negative = |quantity: &Quantity| Quantity {
        value: -&quantity.value,
        unit: quantity.unit.clone(),
    };
    Ok(match operator {
        Operator::Add => a.plus(b),
        Operator::Subtract => a.plus(&negative(b)),
        Operator::Multiply => a.times(b, false),
        Operator::Divide => a.times(b, true),
        _ => {
            return Err(Fault::invalid(format!(
                "{operator:?} is not defined for quantities"
            )));
        }
    })
}

fn temporal(date: &Temporal, quantity: &Quantity, subtract: bool) -> Result<Option<Temporal>> {
    let Some(unit) = quantity.unit.duration() else {
        return Err(Fault::invalid(
            "only a calendar duration, or a UCUM one up to weeks, can be added to a date",
        ));
    };
    let amount = match subtract {
        true => -&quantity.value,
        false => quantity.value.clone(),
    };
    Ok(date.plus(&amount, unit))
}
