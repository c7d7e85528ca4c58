//! Quantities (<https://hl7.org/fhirpath/#quantity>): a decimal with a calendar duration or a UCUM unit, converted exactly.

use crate::number;
use bigdecimal::{BigDecimal, One, Zero};
use octofhir_ucum::{Dimension, EvalResult};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    pub value: BigDecimal,
    pub unit: Unit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `year`, `days`, …: a duration by the calendar.
    Calendar(CalendarUnit),
    /// A UCUM code; `1` for none.
    Ucum(Arc<str>),
}

/// Longest UCUM expression that is read, in bytes.
const UNIT_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarUnit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl CalendarUnit {
    /// `year`, `years`, …
    pub fn named(name: &str) -> Option<CalendarUnit> {
        Some(match name.strip_suffix('s').unwrap_or(name) {
            "year" => CalendarUnit::Year,
            "month" => CalendarUnit::Month,
            "week" => CalendarUnit::Week,
            "day" => CalendarUnit::Day,
            "hour" => CalendarUnit::Hour,
            "minute" => CalendarUnit::Minute,
            "second" => CalendarUnit::Second,
            "millisecond" => CalendarUnit::Millisecond,
            _ => return None,
        })
    }

    /// The UCUM unit that is equivalent; up to a week it is equal too.
    fn ucum(self) -> &'static str {
        match self {
            CalendarUnit::Year => "a",
            CalendarUnit::Month => "mo",
            CalendarUnit::Week => "wk",
            CalendarUnit::Day => "d",
            CalendarUnit::Hour => "h",
            CalendarUnit::Minute => "min",
            CalendarUnit::Second => "s",
            CalendarUnit::Millisecond => "ms",
        }
    }

    /// The calendar duration of a UCUM unit (<https://hl7.org/fhir/R5/fhirpath.html#quantity>).
    pub(crate) fn of_ucum(code: &str) -> Option<CalendarUnit> {
        [
            CalendarUnit::Year,
            CalendarUnit::Month,
            CalendarUnit::Week,
            CalendarUnit::Day,
            CalendarUnit::Hour,
            CalendarUnit::Minute,
            CalendarUnit::Second,
            CalendarUnit::Millisecond,
        ]
        .into_iter()
        .find(|unit| unit.ucum() == code)
    }

    /// Nanoseconds; years and months have no fixed length.
    pub(crate) fn nanos(self) -> Option<i64> {
        const SECOND: i64 = 1_000_000_000;
        Some(match self {
            CalendarUnit::Year | CalendarUnit::Month => return None,
            CalendarUnit::Week => 7 * 86_400 * SECOND,
            CalendarUnit::Day => 86_400 * SECOND,
            CalendarUnit::Hour => 3600 * SECOND,
            CalendarUnit::Minute => 60 * SECOND,
            CalendarUnit::Second => SECOND,
            CalendarUnit::Millisecond => SECOND / 1000,
        })
    }

    fn name(self) -> &'static str {
        match self {
            CalendarUnit::Year => "year",
            CalendarUnit::Month => "month",
            CalendarUnit::Week => "week",
            CalendarUnit::Day => "day",
            CalendarUnit::Hour => "hour",
            CalendarUnit::Minute => "minute",
            CalendarUnit::Second => "second",
            CalendarUnit::Millisecond => "millisecond",
        }
    }
}

impl Unit {
    /// The unit in quotes, or the name of a calendar duration.
    pub(crate) fn quoted(text: &str) -> Unit {
        match CalendarUnit::named(text) {
            Some(unit) => Unit::Calendar(unit),
            None => Unit::Ucum(text.into()),
        }
    }

    pub(crate) fn one() -> Unit {
        Unit::Ucum("1".into())
    }

    /// As UCUM writes it.
    pub fn code(&self) -> &str {
        match self {
            Unit::Calendar(unit) => unit.ucum(),
            Unit::Ucum(code) => code,
        }
    }

    /// The calendar duration that it is, or that a UCUM unit up to a week equals.
    pub(crate) fn duration(&self) -> Option<CalendarUnit> {
        match self {
            Unit::Calendar(unit) => Some(*unit),
            Unit::Ucum(code) => CalendarUnit::of_ucum(code).filter(|unit| unit.nanos().is_some()),
        }
    }
}

impl fmt::Display for Quantity {
    /// As a literal: `4 days`, `4.5 'mg'`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", number::text(&self.value))?;
        match &self.unit {
            Unit::Calendar(unit) => {
                let plural = if self.value.is_one() { "" } else { "s" };
                write!(f, "{}{plural}", unit.name())
            }
            Unit::Ucum(code) => write!(f, "'{code}'"),
        }
    }
}

/// A unit in base units: `value * factor + offset` of them.
struct Scale {
    factor: BigDecimal,
    offset: BigDecimal,
    measures: Measures,
}

/// What is measured: only quantities of the same can be compared.
#[derive(PartialEq)]
enum Measures {
    /// Years and months, counted in months.
    Months,
    Ucum(Dimension, Vec<(&'static str, i32)>),
    /// A unit on a scale of its own, such as pH.
    Special(&'static str),
}

impl Scale {
    fn of(unit: &Unit, years_are_ucum: bool) -> Option<Scale> {
        if let (Unit::Calendar(calendar @ (CalendarUnit::Year | CalendarUnit::Month)), false) =
            (unit, years_are_ucum)
        {
            return Some(Scale {
                factor: BigDecimal::from(if *calendar == CalendarUnit::Year {
                    12
                } else {
                    1
                }),
                offset: BigDecimal::zero(),
                measures: Measures::Months,
            });
        }
        let term = evaluate(unit.code())?;
        let (digits, exponent) = term.factor.to_integer_and_exponent();
        let mut factor = BigDecimal::new(digits.into(), -i64::from(exponent));
        let mut offset = BigDecimal::zero();
        let mut measures = Measures::Ucum(term.dim, term.arbitrary);
        if let Some(special) = term.special {
            let (digits, exponent) = special.scale.to_integer_and_exponent();
            let scale = BigDecimal::new(digits.into(), -i64::from(exponent));
            match special.unit.code {
                "Cel" => {
                    factor = scale;
                    offset = BigDecimal::new(27_315.into(), 2);
                }
                "[degF]" => {
                    let ratio = number::divide(&BigDecimal::from(5), &BigDecimal::from(9));
                    offset = &ratio * BigDecimal::new(45_967.into(), 2);
                    factor = ratio * scale;
                }
                code => measures = Measures::Special(code),
            }
        }
        Some(Scale {
            factor,
            offset,
            measures,
        })
    }
}

fn evaluate(code: &str) -> Option<EvalResult> {
    if code.len() > UNIT_MAX {
        return None;
    }
    octofhir_ucum::evaluate(&octofhir_ucum::parse_expression(code).ok()?).ok()
}

impl Quantity {
    /// The other's value in this one's unit, for `=` and the order. `None` when they measure different things, or a calendar year or
    /// month stands against a UCUM one.
    fn in_base(&self, other: &Quantity, years_are_ucum: bool) -> Option<(BigDecimal, BigDecimal)> {
        if self.unit == other.unit {
            return Some((self.value.clone(), other.value.clone()));
        }
        let a = Scale::of(&self.unit, years_are_ucum)?;
        let b = Scale::of(&other.unit, years_are_ucum)?;
        (a.measures == b.measures).then(|| {
            (
                &self.value * a.factor + a.offset,
                &other.value * b.factor + b.offset,
            )
        })
    }

    pub(crate) fn order(&self, other: &Quantity) -> Option<Ordering> {
        // Fahrenheit's factor is rounded at the 34th digit.
        let (a, b) = self.in_base(other, false)?;
        Some(a.with_prec(30).cmp(&b.with_prec(30)))
    }

    /// Rounded to the precision of the less precise, in the coarser of both units.
    pub(crate) fn is_equivalent(&self, other: &Quantity) -> bool {
        if self.unit == other.unit {
            return number::is_equivalent(&self.value, &other.value);
        }
        let scales = (Scale::of(&self.unit, true), Scale::of(&other.unit, true));
        let (Some(a), Some(b)) = scales else {
            return false;
        };
        if a.measures != b.measures || a.factor.is_zero() || b.factor.is_zero() {
            return false;
        }
        let convert = |value: &BigDecimal, from: &Scale, to: &Scale| {
            number::divide(
                &(value * &from.factor + &from.offset - &to.offset),
                &to.factor,
            )
        };
        match a.factor >= b.factor {
            true => number::is_equivalent(&self.value, &convert(&other.value, &b, &a)),
            false => number::is_equivalent(&convert(&self.value, &a, &b), &other.value),
        }
    }

    /// The same in another unit; `None` when that measures something else.
    pub(crate) fn converted(&self, unit: &Unit) -> Option<Quantity> {
        let same = *unit == self.unit;
        let (from, to) = (Scale::of(&self.unit, true)?, Scale::of(unit, true)?);
        if from.measures != to.measures || to.factor.is_zero() {
            return None;
        }
        let value = match same {
            true => self.value.clone(),
            false => {
                let base = &self.value * &from.factor + &from.offset - &to.offset;
                number::divide(&base, &to.factor)
            }
        };
        Some(Quantity {
            value,
            unit: unit.clone(),
        })
    }

    pub(crate) fn is_comparable(&self, other: &Quantity) -> bool {
        self.in_base(other, true).is_some()
    }

    /// The sum in the more granular unit of both; `None` when they measure different things.
    pub(crate) fn plus(&self, other: &Quantity) -> Option<Quantity> {
        if self.unit == other.unit {
            return Some(Quantity {
                value: &self.value + &other.value,
                unit: self.unit.clone(),
            });
        }
        let a = Scale::of(&self.unit, false)?;
        let b = Scale::of(&other.unit, false)?;
        if a.measures != b.measures || !a.offset.is_zero() || !b.offset.is_zero() {
            return None;
        }
        let (unit, factor) = match a.factor <= b.factor {
            true => (&self.unit, &a.factor),
            false => (&other.unit, &b.factor),
        };
        let sum = &self.value * &a.factor + &other.value * &b.factor;
        Some(Quantity {
            value: number::divide(&sum, factor),
            unit: unit.clone(),
        })
    }

    /// `self * other` or `self / other`, with the unit composed. `None` when the divisor is zero or a unit cannot be composed.
    pub(crate) fn times(&self, other: &Quantity, divide: bool) -> Option<Quantity> {
        let value = match divide {
            true if other.value.is_zero() => return None,
            true => number::divide(&self.value, &other.value),
            false => &self.value * &other.value,
        };
        let (a, b) = (self.unit.code(), other.unit.code());
        let code = match (a, b, divide) {
            (a, "1", _) => a.to_owned(),
            ("1", b, false) => b.to_owned(),
            ("1", b, true) => format!("/{}", bracketed(b)),
            (a, b, true) if a == b => "1".to_owned(),
            (a, b, true) => format!("{a}/{}", bracketed(b)),
            (a, b, false) => format!("{a}.{}", bracketed(b)),
        };
        let unit = match b {
            "1" => self.unit.clone(),
            _ => {
                evaluate(&code)?;
                Unit::Ucum(code.into())
            }
        };
        Some(Quantity { value, unit })
    }
}

/// In brackets where a `/` or `.` would bind wrongly.
fn bracketed(code: &str) -> String {
    match code.contains(['/', '.']) {
        true => format!("({code})"),
        false => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(value: &str, unit: &str) -> Quantity {
        Quantity {
            value: value.parse().unwrap(),
            unit: Unit::quoted(unit),
        }
    }

    #[test]
    fn orders() {
        use Ordering::*;
        for (a, b, expect) in [
            (("4", "g"), ("4000", "mg"), Some(Equal)),
            (("7", "days"), ("1", "wk"), Some(Equal)),
            (("12", "months"), ("1", "year"), Some(Equal)),
            (("1", "year"), ("1", "a"), None),
            (("1", "year"), ("365", "days"), None),
            (("37", "Cel"), ("98.6", "[degF]"), Some(Equal)),
            (("37", "Cel"), ("310.15", "K"), Some(Equal)),
            (("7", "[pH]"), ("8", "[pH]"), Some(Less)),
            (("1", "m"), ("1", "s"), None),
            (("1", "nonsense"), ("1", "m"), None),
            (("1", "m"), ("99", "cm"), Some(Greater)),
            (("1", "[iU]"), ("1", "g"), None),
        ] {
            let found = quantity(a.0, a.1).order(&quantity(b.0, b.1));
            assert_eq!(found, expect, "{a:?} {b:?}");
        }
    }

    #[test]
    fn equivalent() {
        for (a, b, expect) in [
            (("4", "g"), ("4040", "mg"), true),
            (("4.0", "g"), ("4040", "mg"), true),
            (("4.00", "g"), ("4040", "mg"), false),
            (("1", "year"), ("1", "a"), true),
            (("1", "m"), ("1", "s"), false),
        ] {
            let (a, b) = (quantity(a.0, a.1), quantity(b.0, b.1));
            assert_eq!(a.is_equivalent(&b), expect, "{a} {b}");
            assert_eq!(b.is_equivalent(&a), expect, "{b} {a}");
        }
    }

    #[test]
    fn computes() {
        let show = |q: Option<Quantity>| q.map(|q| q.to_string()).unwrap_or_default();
        let (cm, m) = (quantity("50", "cm"), quantity("1", "m"));
        assert_eq!(show(m.plus(&cm)), "150 'cm'");
        assert_eq!(show(m.plus(&quantity("1", "s"))), "");
        assert_eq!(show(m.times(&cm, false)), "50 'm.cm'");
        assert_eq!(show(m.times(&quantity("2", "m/s"), true)), "0.5 'm/(m/s)'");
        assert_eq!(show(m.times(&quantity("0", "m"), true)), "");
        assert_eq!(show(m.times(&m, true)), "1 '1'");
    }
}
