//! `lowBoundary()`, `highBoundary()` and `precision()` (<https://hl7.org/fhirpath/N1/#lowboundaryprecision-integer-decimal--date--datetime--time>).

use crate::item::System;
use crate::number;
use crate::quantity::Quantity;
use crate::temporal::{Temporal, TemporalKind, TemporalPrecision, month_days};
use bigdecimal::{BigDecimal, RoundingMode, Zero};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Low,
    High,
}

/// Most places of a decimal's boundary.
const PLACES_MAX: i64 = 28;

/// The least or greatest value that, written less precisely, may have been meant. `None` for a precision that the type does not have.
pub(crate) fn boundary(
    value: &System<'_>,
    precision: Option<i64>,
    side: Side,
) -> Option<System<'static>> {
    match value {
        System::Temporal(value) => temporal(value, precision, side).map(System::Temporal),
        System::Quantity(quantity) => Some(System::Quantity(Quantity {
            value: decimal(&quantity.value, precision, side)?,
            unit: quantity.unit.clone(),
        })),
        other => {
            let number = other.number()?;
            decimal(&number, precision, side).map(System::Decimal)
        }
    }
}

/// Digits of a date or time, places of a decimal and so on: how precise it is.
pub(crate) fn precision(value: &System<'_>) -> Option<i64> {
    match value {
        System::Temporal(value) => Some(digits(value.precision, value.kind, value.fraction > 0)),
        System::Quantity(quantity) => Some(number::places(&quantity.value)),
        other => other.number().map(|number| number::places(&number)),
    }
}

fn digits(precision: TemporalPrecision, kind: TemporalKind, fraction: bool) -> i64 {
    let all = match precision {
        TemporalPrecision::Year => 4,
        TemporalPrecision::Month => 6,
        TemporalPrecision::Day => 8,
        TemporalPrecision::Hour => 10,
        TemporalPrecision::Minute => 12,
        TemporalPrecision::Second if fraction => 17,
        TemporalPrecision::Second => 14,
    };
    match kind {
        TemporalKind::Time => all - 8,
        _ => all,
    }
}

fn decimal(value: &BigDecimal, precision: Option<i64>, side: Side) -> Option<BigDecimal> {
    let precision = precision.unwrap_or(8);
    if !(0..=PLACES_MAX).contains(&precision) {
        return None;
    }
    let half = BigDecimal::new(5.into(), number::places(value) + 1);
    let (low, high) = (value - &half, value + &half);
    let vanishes = |bound: &BigDecimal| {
        let nearest = bound.with_scale_round(precision, RoundingMode::HalfEven);
        nearest.is_zero()
    };
    // What is nothing at this precision stays nothing: 0.0034 to one place is 0.0.
    if number::places(value) > precision && vanishes(&low) && vanishes(&high) {
        return Some(BigDecimal::zero().with_scale(precision));
    }
    Some(match side {
        Side::Low => low.with_scale_round(precision, RoundingMode::Floor),
        Side::High => high.with_scale_round(precision, RoundingMode::Ceiling),
    })
}

fn temporal(value: &Temporal, precision: Option<i64>, side: Side) -> Option<Temporal> {
    use TemporalPrecision::*;
    let default = match value.kind {
        TemporalKind::Date => 8,
        TemporalKind::DateTime => 17,
        TemporalKind::Time => 9,
    };
    let wanted = precision.unwrap_or(default);
    let (target, fraction) = [Year, Month, Day, Hour, Minute, Second]
        .into_iter()
        .map(|p| (p, false))
        .chain([(Second, true)])
        .find(|(p, fraction)| {
            let exists = match value.kind {
                TemporalKind::Date => *p <= Day,
                TemporalKind::DateTime => true,
                TemporalKind::Time => *p >= Hour,
            };
            exists && digits(*p, value.kind, *fraction) == wanted
        })?;
    let mut out = value.clone();
    if side == Side::High {
        let written = value.precision;
        out.month = if written >= Month { out.month } else { 12 };
        if written < Day {
            out.day = month_days(out.year, out.month);
        }
        out.hour = if written >= Hour { out.hour } else { 23 };
        out.minute = if written >= Minute { out.minute } else { 59 };
        out.second = if written >= Second { out.second } else { 59 };
        let rest = 1_000_000_000 / 10_i64.pow(u32::from(value.fraction));
        out.nano += if written >= Second {
            rest - 1
        } else {
            999_999_999
        };
    }
    out.precision = target;
    out.fraction = if fraction { 3 } else { 0 };
    let kept = 10_i64.pow(9 - u32::from(out.fraction));
    out.nano = out.nano / kept * kept;
    if target >= Hour && value.kind == TemporalKind::DateTime {
        // The earliest moment of a day is in the easternmost zone.
        out.offset = value.offset.or(Some(match side {
            Side::Low => 14 * 60,
            Side::High => -12 * 60,
        }));
    } else {
        out.offset = None;
    }
    Some(out)
}
