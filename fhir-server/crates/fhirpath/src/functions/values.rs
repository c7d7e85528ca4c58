//! Utility functions, boundaries and the parts of dates (<https://hl7.org/fhirpath/#utility-functions>, <https://hl7.org/fhirpath/N1/>).

use super::{Call, Function, function, one, text, value};
use crate::boundary::{self, Side};
use crate::error::{Fault, Result};
use crate::evaluate::{Evaluator, Frame};
use crate::item::{Collection, Item, System};
use crate::operators::as_quantity;
use crate::temporal::{Temporal, TemporalKind, TemporalPrecision};
use bigdecimal::BigDecimal;

pub(super) const FUNCTIONS: &[Function] = &[
    function("trace", 1, 2, trace),
    function("defineVariable", 1, 2, define_variable),
    function("now", 0, 0, |e, _| clock(e, TemporalKind::DateTime)),
    function("today", 0, 0, |e, _| clock(e, TemporalKind::Date)),
    function("timeOfDay", 0, 0, |e, _| clock(e, TemporalKind::Time)),
    function("type", 0, 0, |_, call| {
        Ok(call
            .input
            .iter()
            .map(|item| Item::Type(item.type_info()))
            .collect())
    }),
    function("coalesce", 1, 16, |e, call| {
        for index in 0..call.arguments.len() {
            let found = e.argument(&call, index)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }),
    function("lowBoundary", 0, 1, |e, call| bound(e, call, Side::Low)),
    function("highBoundary", 0, 1, |e, call| bound(e, call, Side::High)),
    function("precision", 0, 0, |_, call| {
        let precision = value(call.input)?.and_then(|value| boundary::precision(&value));
        one(precision.map(Item::integer))
    }),
    function("comparable", 1, 1, |e, call| {
        let other = e.argument(&call, 0)?;
        let (a, b) = (value(call.input)?, value(other)?);
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(Vec::new());
        };
        match (as_quantity(&a), as_quantity(&b)) {
            (Some(a), Some(b)) => Ok(vec![Item::boolean(a.is_comparable(&b))]),
            _ => Err(Fault::invalid("comparable() takes quantities")),
        }
    }),
    function("yearOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Year, |t| t.year)
    }),
    function("monthOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Month, |t| t.month)
    }),
    function("dayOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Day, |t| t.day)
    }),
    function("hourOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Hour, |t| t.hour)
    }),
    function("minuteOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Minute, |t| t.minute)
    }),
    function("secondOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Second, |t| t.second)
    }),
    function("millisecondOf", 0, 0, |_, call| {
        part(call, TemporalPrecision::Second, |t| t.nano / 1_000_000)
    }),
    function("timezoneOffsetOf", 0, 0, |_, call| {
        let offset = temporal(call)?.and_then(|t| t.offset);
        one(offset.map(|minutes| {
            Item::decimal((BigDecimal::from(minutes) / BigDecimal::from(60)).normalized())
        }))
    }),
    function("dateOf", 0, 0, |_, call| {
        one(temporal(call)?
            .filter(|t| t.kind != TemporalKind::Time)
            .map(|t| Item::System(System::Temporal(t.as_kind(TemporalKind::Date)))))
    }),
    function("timeOf", 0, 0, |_, call| {
        one(temporal(call)?
            .filter(|t| t.precision >= TemporalPrecision::Hour)
            .map(|t| Item::System(System::Temporal(time_of(&t)))))
    }),
];

fn trace<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let name = e.text_argument(&call, 0)?.unwrap_or_default();
    match call.arguments.get(1) {
        None => e.context.host.trace(&name, &call.input),
        Some(projection) => {
            let mut shown = Vec::new();
            for (index, item) in call.input.iter().enumerate() {
                shown.extend(e.each(projection, item, index)?);
            }
            e.context.host.trace(&name, &shown);
        }
    }
    Ok(call.input)
}

/// The arguments see the whole input as their focus.
fn define_variable<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let frame = Frame {
        this: &call.input,
        ..call.frame
    };
    let name = e.operand(&call.arguments[0], frame)?;
    let Some(name) = text(name)? else {
        return Err(Fault::invalid("a variable needs a name"));
    };
    let value = match call.arguments.get(1) {
        Some(argument) => e.operand(argument, frame)?,
        None => call.input.clone(),
    };
    e.define(name.into_owned(), value)?;
    Ok(call.input)
}

fn clock<'a>(e: &mut Evaluator<'a>, kind: TemporalKind) -> Result<Collection<'a>> {
    let Some(now) = &e.context.now else {
        return Err(Fault::unsupported(
            "no clock is there to say what time it is",
        ));
    };
    let value = match kind {
        TemporalKind::Time => time_of(now),
        kind => now.as_kind(kind),
    };
    Ok(vec![Item::System(System::Temporal(value))])
}

fn time_of(value: &Temporal) -> Temporal {
    let mut time = value.clone();
    time.kind = TemporalKind::Time;
    (time.year, time.month, time.day, time.offset) = (1, 1, 1, None);
    time
}

fn bound<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>, side: Side) -> Result<Collection<'a>> {
    let precision = e.integer_argument(&call, 0)?;
    let value = value(call.input)?;
    let bound = value.and_then(|value| boundary::boundary(&value, precision, side));
    one(bound.map(Item::System))
}

fn temporal(call: Call<'_, '_>) -> Result<Option<Temporal>> {
    match value(call.input)? {
        None => Ok(None),
        Some(System::Temporal(value)) => Ok(Some(value)),
        Some(other) => Err(Fault::invalid(format!(
            "a date or time was expected, not {}",
            other.type_name()
        ))),
    }
}

fn part<'a>(
    call: Call<'_, 'a>,
    precision: TemporalPrecision,
    part: fn(&Temporal) -> i64,
) -> Result<Collection<'a>> {
    let dated = precision <= TemporalPrecision::Day;
    one(temporal(call)?
        .filter(|t| t.precision >= precision && !(dated && t.kind == TemporalKind::Time))
        .map(|t| Item::integer(part(&t))))
}
