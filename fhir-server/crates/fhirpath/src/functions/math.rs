//! <https://hl7.org/fhirpath/#math>: what is no real number is empty.

use super::{Call, Function, conversion::whole, function, one, value};
use crate::error::{Fault, Result};
use crate::evaluate::{Evaluator, decimal};
use crate::item::{Collection, Item, System};
use crate::number;
use crate::quantity::Quantity;
use bigdecimal::{BigDecimal, RoundingMode, Zero};

pub(super) const FUNCTIONS: &[Function] = &[
    function("abs", 0, 0, abs),
    function("ceiling", 0, 0, |_, call| {
        round(call, RoundingMode::Ceiling)
    }),
    function("floor", 0, 0, |_, call| round(call, RoundingMode::Floor)),
    function("truncate", 0, 0, |_, call| round(call, RoundingMode::Down)),
    function("round", 0, 1, |e, call| {
        let places = e.integer_argument(&call, 0)?.unwrap_or(0);
        if !(0..=100).contains(&places) {
            return Err(Fault::invalid("round() takes 0 to 100 places"));
        }
        let value = value(call.input)?;
        quantity_or_number(value, |n| n.with_scale_round(places, RoundingMode::HalfUp))
    }),
    function("sqrt", 0, 0, |e, call| real(e, call, number::sqrt)),
    function("exp", 0, 0, |e, call| real(e, call, number::exp)),
    function("ln", 0, 0, |e, call| real(e, call, number::ln)),
    function("log", 1, 1, |e, call| {
        two(e, call, |value, base| {
            let (value, base) = (number::ln(value)?, number::ln(base)?);
            (!base.is_zero()).then(|| {
                // One digit less than the logarithms have: log 16 to the base 2 is 4.
                let quotient = number::divide(&value, &base);
                quotient
                    .with_scale_round(28, RoundingMode::HalfEven)
                    .normalized()
            })
        })
    }),
    function("power", 1, 1, power),
];

fn abs<'a>(_: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    match value(call.input)? {
        None => Ok(Vec::new()),
        Some(System::Integer(value)) => {
            one(value.checked_abs().map(System::Integer).map(Item::System))
        }
        Some(System::Long(value)) => one(value.checked_abs().map(System::Long).map(Item::System)),
        value => quantity_or_number(value, BigDecimal::abs),
    }
}

/// Applies it to a number, or to the value of a quantity.
fn quantity_or_number<'a>(
    value: Option<System<'a>>,
    apply: impl Fn(&BigDecimal) -> BigDecimal,
) -> Result<Collection<'a>> {
    one(match value {
        None => None,
        Some(System::Quantity(quantity)) => Some(Item::System(System::Quantity(Quantity {
            value: apply(&quantity.value),
            unit: quantity.unit,
        }))),
        Some(value) => match value.number() {
            Some(number) => Some(Item::decimal(apply(&number))),
            None => return Err(Fault::invalid("a number was expected")),
        },
    })
}

fn round<'a>(call: Call<'_, 'a>, mode: RoundingMode) -> Result<Collection<'a>> {
    let rounded = |number: &BigDecimal| number.with_scale_round(0, mode);
    match value(call.input)? {
        value @ Some(System::Quantity(_)) => quantity_or_number(value, rounded),
        None => Ok(Vec::new()),
        Some(value) => match value.number() {
            Some(number) => one(whole(&rounded(&number))),
            None => Err(Fault::invalid("a number was expected")),
        },
    }
}

/// What costs as much as a few hundred steps.
const HARD_STEPS: usize = 500;

fn real<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    apply: fn(&BigDecimal) -> Option<BigDecimal>,
) -> Result<Collection<'a>> {
    e.budget.spend(HARD_STEPS)?;
    let result = decimal(&call.input)?.and_then(|value| apply(&value));
    e.bounded(result.map(Item::decimal))
}

fn two<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    apply: fn(&BigDecimal, &BigDecimal) -> Option<BigDecimal>,
) -> Result<Collection<'a>> {
    e.budget.spend(HARD_STEPS)?;
    let argument = e.argument(&call, 0)?;
    let result = match (decimal(&call.input)?, decimal(&argument)?) {
        (Some(a), Some(b)) => apply(&a, &b),
        _ => None,
    };
    e.bounded(result.map(Item::decimal))
}

/// Of Integers with a whole result: an Integer.
fn power<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let integers = matches!(
        call.input.first().and_then(Item::system),
        Some(System::Integer(_) | System::Long(_))
    );
    let result = two(e, call, number::power)?;
    match result.first() {
        Some(Item::System(System::Decimal(value))) if integers && value.is_integer() => {
            Ok(whole(value).map_or(result, |item| vec![item]))
        }
        _ => Ok(result),
    }
}
