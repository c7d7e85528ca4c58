//! <https://hl7.org/fhirpath/#conversion>: `toX()` is empty where it cannot convert, `convertsToX()` is false there.

use super::{Call, Function, function, value};
use crate::error::Result;
use crate::evaluate::{Evaluator, Frame, truth};
use crate::item::{Collection, Item, System};
use crate::operators::as_quantity;
use crate::quantity::{CalendarUnit, Quantity, Unit};
use crate::temporal::{Temporal, TemporalKind};
use crate::{number, operators};
use bigdecimal::{BigDecimal, One, Zero};

pub(super) const FUNCTIONS: &[Function] = &[
    function("iif", 2, 3, iif),
    function("toBoolean", 0, 0, |_, call| to(call, boolean)),
    function("convertsToBoolean", 0, 0, |_, call| converts(call, boolean)),
    function("toInteger", 0, 0, |_, call| to(call, integer)),
    function("convertsToInteger", 0, 0, |_, call| converts(call, integer)),
    function("toLong", 0, 0, |_, call| to(call, long)),
    function("convertsToLong", 0, 0, |_, call| converts(call, long)),
    function("toDecimal", 0, 0, |_, call| to(call, decimal)),
    function("convertsToDecimal", 0, 0, |_, call| converts(call, decimal)),
    function("toString", 0, 0, |_, call| to(call, string)),
    function("convertsToString", 0, 0, |_, call| converts(call, string)),
    function("toDate", 0, 0, |_, call| to(call, date)),
    function("convertsToDate", 0, 0, |_, call| converts(call, date)),
    function("toDateTime", 0, 0, |_, call| to(call, date_time)),
    function("convertsToDateTime", 0, 0, |_, call| {
        converts(call, date_time)
    }),
    function("toTime", 0, 0, |_, call| to(call, time)),
    function("convertsToTime", 0, 0, |_, call| converts(call, time)),
    function("toQuantity", 0, 1, |e, call| {
        let found = to_quantity(e, call)?;
        Ok(found.flatten().map(Item::System).into_iter().collect())
    }),
    function("convertsToQuantity", 0, 1, |e, call| {
        let found = to_quantity(e, call)?;
        Ok(found
            .map(|q| Item::boolean(q.is_some()))
            .into_iter()
            .collect())
    }),
];

type Conversion = for<'a> fn(System<'a>) -> Option<System<'a>>;

fn to<'a>(call: Call<'_, 'a>, convert: Conversion) -> Result<Collection<'a>> {
    let converted = value(call.input)?.and_then(convert);
    Ok(converted.map(Item::System).into_iter().collect())
}

fn converts<'a>(call: Call<'_, 'a>, convert: Conversion) -> Result<Collection<'a>> {
    let value = value(call.input)?;
    let verdict = value.map(|value| Item::boolean(convert(value).is_some()));
    Ok(verdict.into_iter().collect())
}

/// The criterion and the branches see the input as `$this`; only the branch that is chosen runs.
fn iif<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    if call.input.len() > 1 {
        return Err(crate::error::Fault::invalid("iif() takes one item at most"));
    }
    // Called on nothing it stands alone, and sees what is around it.
    let frame = match call.input.is_empty() {
        true => call.frame,
        false => Frame {
            this: &call.input,
            ..call.frame
        },
    };
    let criterion = e.operand(&call.arguments[0], frame)?;
    let branch = match truth(&criterion)? {
        Some(true) => call.arguments.get(1),
        _ => call.arguments.get(2),
    };
    match branch {
        Some(branch) => e.operand(branch, frame),
        None => Ok(Vec::new()),
    }
}

fn boolean(value: System<'_>) -> Option<System<'_>> {
    let truth = match &value {
        System::Boolean(value) => Some(*value),
        System::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        other => {
            let number = other.number()?;
            match () {
                () if *number == BigDecimal::one() => Some(true),
                () if number.is_zero() => Some(false),
                () => None,
            }
        }
    };
    truth.map(System::Boolean)
}

fn integer(value: System<'_>) -> Option<System<'_>> {
    match value {
        System::Integer(_) => Some(value),
        System::Long(value) => i32::try_from(value).ok().map(System::Integer),
        System::Boolean(value) => Some(System::Integer(value.into())),
        System::String(text) => text.parse().ok().map(System::Integer),
        _ => None,
    }
}

fn long(value: System<'_>) -> Option<System<'_>> {
    match value {
        System::Integer(value) => Some(System::Long(value.into())),
        System::Long(_) => Some(value),
        System::Boolean(value) => Some(System::Long(value.into())),
        System::String(text) => text.parse().ok().map(System::Long),
        _ => None,
    }
}

fn decimal(value: System<'_>) -> Option<System<'_>> {
    match &value {
        System::Boolean(value) => Some(System::Decimal(i64::from(*value).into())),
        System::String(text) => parse_decimal(text).map(System::Decimal),
        other => Some(System::Decimal(other.number()?.into_owned())),
    }
}

/// `(\+|-)?\d+(\.\d+)?`.
fn parse_decimal(text: &str) -> Option<BigDecimal> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (numeric(whole) && numeric(fraction))
        .then(|| number::parse(text))
        .flatten()
}

fn string(value: System<'_>) -> Option<System<'_>> {
    Some(match value {
        System::String(_) => value,
        other => System::String(other.text().into_owned().into()),
    })
}

fn date(value: System<'_>) -> Option<System<'_>> {
    temporal(value, TemporalKind::Date)
}

fn date_time(value: System<'_>) -> Option<System<'_>> {
    temporal(value, TemporalKind::DateTime)
}

fn time(value: System<'_>) -> Option<System<'_>> {
    temporal(value, TemporalKind::Time)
}

fn temporal<'a>(value: System<'a>, kind: TemporalKind) -> Option<System<'a>> {
    let converted = match value {
        System::Temporal(value) if value.kind == kind => Some(value),
        System::Temporal(value)
            if kind != TemporalKind::Time && value.kind != TemporalKind::Time =>
        {
            Some(value.as_kind(kind))
        }
        System::String(text) => match kind {
            // A date and time has a date.
            TemporalKind::Date => Temporal::parse(TemporalKind::DateTime, &text)
                .map(|value| value.as_kind(TemporalKind::Date)),
            TemporalKind::Time => Temporal::parse(kind, text.strip_prefix('T').unwrap_or(&text)),
            TemporalKind::DateTime => Temporal::parse(kind, &text),
        },
        _ => None,
    };
    converted.map(System::Temporal)
}

/// `None` for an empty input; inside, what it converts to. With a unit: the value in that unit.
fn to_quantity<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
) -> Result<Option<Option<System<'a>>>> {
    let unit = e.text_argument(&call, 0)?;
    let Some(value) = value(call.input)? else {
        return Ok(None);
    };
    let quantity = match &value {
        System::Boolean(value) => Some(Quantity {
            value: i64::from(*value).into(),
            unit: Unit::one(),
        }),
        System::String(text) => parse_quantity(text),
        other => as_quantity(other),
    };
    let quantity = match (quantity, unit) {
        (Some(quantity), Some(unit)) => quantity.converted(&Unit::quoted(&unit)),
        (quantity, _) => quantity,
    };
    Ok(Some(quantity.map(System::Quantity)))
}

/// `4`, `4.5 'mg'`, `4 days`.
fn parse_quantity(text: &str) -> Option<Quantity> {
    let text = text.trim();
    let (value, unit) = match text.split_once(char::is_whitespace) {
        Some((value, unit)) => (value, Some(unit.trim())),
        None => (text, None),
    };
    let unit = match unit {
        None => Unit::one(),
        Some(unit) => match unit.strip_prefix('\'').and_then(|u| u.strip_suffix('\'')) {
            Some(code) => Unit::quoted(code),
            None => Unit::Calendar(CalendarUnit::named(unit)?),
        },
    };
    Some(Quantity {
        value: parse_decimal(value)?,
        unit,
    })
}

/// The System type of a whole number.
pub(super) fn whole<'a>(value: &BigDecimal) -> Option<Item<'a>> {
    operators::whole(value).map(Item::System)
}
