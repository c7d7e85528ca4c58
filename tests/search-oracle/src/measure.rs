//! Numbers and quantities (<https://hl7.org/fhir/R5/search.html#number>, #quantity): exact decimals, never floats.
//!
//! Readings: implicit precision counts for `eq` and `ne` only (100 is from 99.5 to below 100.5); `gt`, `lt`, `ge`, `le`, `sa` and `eb` compare the
//! exact value; `ap` is a tenth of the value, at least half a unit. A comparator leaves the side open that it points to (`<5` is up to 5), and a
//! Range is everything from low to high.

use crate::elements::Element;
use bigdecimal::BigDecimal;
use fhir_search::query::{NumberMatch, Prefix, UnitMatch};
use serde_json::Value;
use std::str::FromStr;

/// A value of a resource: all from `low` to `high`; `None`: without bound.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub low: Option<BigDecimal>,
    pub high: Option<BigDecimal>,
    system: Option<String>,
    code: Option<String>,
    unit: Option<String>,
}

/// What an element measures.
pub(crate) fn measure(element: &Element) -> Option<Measure> {
    let value = &element.value;
    match (element.type_name.as_str(), value) {
        ("Range", _) => {
            let low = value.get("low").and_then(quantity);
            let high = value.get("high").and_then(quantity);
            let unit = low.clone().or(high.clone())?;
            Some(Measure {
                low: low.and_then(|low| low.low),
                high: high.and_then(|high| high.high),
                ..unit
            })
        }
        ("Money", _) => {
            let mut money = point(value.get("value")?)?;
            money.code = text(value, "currency");
            money.system = money
                .code
                .as_ref()
                .map(|_| "urn:iso:std:iso:4217".to_owned());
            Some(money)
        }
        (_, Value::Object(_)) => quantity(value),
        _ => point(value),
    }
}

/// Whether a value of a resource meets the condition.
pub(crate) fn meets(measure: &Measure, condition: &NumberMatch) -> bool {
    let value = BigDecimal::from(condition.value.clone());
    let half_a_unit = half_unit(&value);
    let above = |bound: &BigDecimal| measure.high.as_ref().is_none_or(|high| high > bound);
    let below = |bound: &BigDecimal| measure.low.as_ref().is_none_or(|low| low < bound);
    let from = &value - &half_a_unit;
    let to = &value + &half_a_unit;
    let contained = !below(&from) && measure.high.as_ref().is_some_and(|high| *high < to);
    match condition.prefix {
        Prefix::Eq => contained,
        Prefix::Ne => !contained,
        Prefix::Gt => above(&value),
        Prefix::Lt => below(&value),
        Prefix::Ge => above(&value) || measure.high.as_ref() == Some(&value),
        Prefix::Le => below(&value) || measure.low.as_ref() == Some(&value),
        Prefix::Sa => !below(&value) && measure.low.as_ref() != Some(&value),
        Prefix::Eb => !above(&value) && measure.high.as_ref() != Some(&value),
        Prefix::Ap => {
            let tenth = value.abs() / BigDecimal::from(10);
            let width = tenth.max(half_a_unit);
            let (from, to) = (&value - &width, &value + &width);
            let starts_after = measure.low.as_ref().is_some_and(|low| *low > to);
            let ends_before = measure.high.as_ref().is_some_and(|high| *high < from);
            !starts_after && !ends_before
        }
        // Of `_filter`: the range of the resource, with its own implicit precision, contains the value.
        Prefix::Co => {
            let from = measure.low.as_ref().map(|low| low - plain_half_unit(low));
            let to = measure
                .high
                .as_ref()
                .map(|high| high + plain_half_unit(high));
            from.is_none_or(|from| from <= value) && to.is_none_or(|to| to > value)
        }
    }
}

/// The value in the unit asked for: by system and code, or by the code or the unit as it is written; of UCUM also converted.
pub(crate) fn in_unit(measure: &Measure, unit: &UnitMatch) -> Option<Measure> {
    let is = |have: &Option<String>, wanted: &str| have.as_deref() == Some(wanted);
    let same = match unit {
        UnitMatch::Any => true,
        UnitMatch::CodeOrUnit(text) => is(&measure.code, text) || is(&measure.unit, text),
        UnitMatch::SystemAndCode(system, code) => {
            is(&measure.system, system) && is(&measure.code, code)
        }
    };
    match unit {
        _ if same => Some(measure.clone()),
        UnitMatch::SystemAndCode(system, wanted) if system == UCUM && is(&measure.system, UCUM) => {
            let (of, size) = size(measure.code.as_deref()?)?;
            let (of_wanted, size_wanted) = self::size(wanted)?;
            let converted = |bound: &BigDecimal| bound * &size / &size_wanted;
            (of == of_wanted).then(|| Measure {
                low: measure.low.as_ref().map(converted),
                high: measure.high.as_ref().map(converted),
                ..measure.clone()
            })
        }
        _ => None,
    }
}

const UCUM: &str = "http://unitsofmeasure.org";

impl Measure {
    /// Where it begins, else where it ends; in base units where it is in one of UCUM.
    pub(crate) fn in_base_units(self) -> Option<BigDecimal> {
        let number = self.low.or(self.high)?;
        let size = match (self.system.as_deref(), self.code.as_deref()) {
            (Some(UCUM), Some(code)) => size(code),
            _ => None,
        };
        Some(match size {
            Some((_, size)) => number * size,
            None => number,
        })
    }
}

/// What a unit measures, and how large it is in base units of UCUM (grams, metres, seconds): those that are drawn.
fn size(code: &str) -> Option<(&'static str, BigDecimal)> {
    let (of, size) = match code {
        // A decilitre is the ten thousandth part of a cubic metre.
        "g/dL" => ("concentration", "10000"),
        "mg/dL" => ("concentration", "10"),
        "g" => ("mass", "1"),
        "kg" => ("mass", "1000"),
        // 133.322 Pa, each 1000 g/(m.s2).
        "mm[Hg]" => ("pressure", "133322"),
        // 365.25 days.
        "a" => ("time", "31557600"),
        _ => return None,
    };
    Some((of, BigDecimal::from_str(size).ok()?))
}

/// Half of one in the last written place.
fn half_unit(value: &BigDecimal) -> BigDecimal {
    let (_, places) = value.as_bigint_and_exponent();
    BigDecimal::new(5.into(), places + 1)
}

/// The same of a stored number, which counts in plain notation: 1e2 is 100, to the unit.
fn plain_half_unit(value: &BigDecimal) -> BigDecimal {
    let (_, places) = value.as_bigint_and_exponent();
    BigDecimal::new(5.into(), places.max(0) + 1)
}

fn quantity(value: &Value) -> Option<Measure> {
    let number = point(value.get("value")?)?;
    let (low, high) = match value.get("comparator").and_then(Value::as_str) {
        Some("<" | "<=") => (None, number.high),
        Some(">" | ">=" | "ad") => (number.low, None),
        _ => (number.low, number.high),
    };
    Some(Measure {
        low,
        high,
        system: text(value, "system"),
        code: text(value, "code"),
        unit: text(value, "unit"),
    })
}

fn point(value: &Value) -> Option<Measure> {
    let number = match value {
        Value::Number(number) => BigDecimal::from_str(number.as_str()).ok()?,
        Value::String(text) => BigDecimal::from_str(text).ok()?,
        _ => return None,
    };
    Some(Measure {
        low: Some(number.clone()),
        high: Some(number),
        system: None,
        code: None,
        unit: None,
    })
}

fn text(value: &Value, member: &str) -> Option<String> {
    Some(value.get(member)?.as_str()?.to_owned())
}
