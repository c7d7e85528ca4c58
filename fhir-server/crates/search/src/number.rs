//! What a number or quantity condition means (<https://hl7.org/fhir/R5/search.html#prefix>, #number). Never a float.
//!
//! With the stored `[lo, hi]` (one point, unless it is a Range or has a comparator; a missing side is infinite) and the written `value`:
//!
//! | prefix | matches when |
//! |---|---|
//! | eq | `lo >= value - half && hi < value + half`, half a unit of the last written place: 100 is `[99.5, 100.5)` |
//! | ne | not eq |
//! | gt, lt, ge, le | `hi > value`, `lo < value`, `hi >= value`, `lo <= value`: the exact value |
//! | sa, eb | `lo > value`, `hi < value`: all of it above, below |
//! | ap | `[lo, hi]` overlaps the value and a tenth of it (at least half a unit) on both sides |
//! | co | `value` is in `[lo, hi]` and half a unit of their last written places (of `_filter` alone) |

use crate::query::{NumberMatch, Prefix, UnitMatch};
use crate::token::Hashes;
use crate::unit::{self, UCUM, Unit};
use fhir_model::Decimal;
use fhir_model::json::{member, text};
use fhirpath::Node;
use serde_json::Value;

/// A condition with its bounds, which for most prefixes are both the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRange {
    pub prefix: Prefix,
    /// Of `eq` and `ne` included, as of `ap`.
    pub from: Decimal,
    /// Of `eq` and `ne` excluded, of `ap` included.
    pub to: Decimal,
}

impl NumberRange {
    /// Whether a stored `[lo, hi]` satisfies the condition.
    pub fn matches(&self, lo: Option<&Decimal>, hi: Option<&Decimal>) -> bool {
        let (value, to) = (&self.from, &self.to);
        match self.prefix {
            Prefix::Eq => self.inside(lo, hi),
            Prefix::Ne => !self.inside(lo, hi),
            Prefix::Gt => hi.is_none_or(|hi| hi > value),
            Prefix::Lt => lo.is_none_or(|lo| lo < value),
            Prefix::Ge => hi.is_none_or(|hi| hi >= value),
            Prefix::Le => lo.is_none_or(|lo| lo <= value),
            Prefix::Sa => lo.is_some_and(|lo| lo > value),
            Prefix::Eb => hi.is_some_and(|hi| hi < value),
            Prefix::Ap => lo.is_none_or(|lo| lo <= to) && hi.is_none_or(|hi| hi >= value),
            Prefix::Co => {
                lo.is_none_or(|lo| lo.sub(&lo.plain_half_unit()) <= *value)
                    && hi.is_none_or(|hi| hi.add(&hi.plain_half_unit()) > *value)
            }
        }
    }

    fn inside(&self, lo: Option<&Decimal>, hi: Option<&Decimal>) -> bool {
        lo.is_some_and(|lo| *lo >= self.from) && hi.is_some_and(|hi| *hi < self.to)
    }
}

impl NumberMatch {
    /// The condition with its bounds.
    pub fn range(&self) -> NumberRange {
        let value = &self.value;
        let width = match self.prefix {
            Prefix::Eq | Prefix::Ne => Some(value.half_unit()),
            Prefix::Ap => Some(value.tenth().max(value.half_unit())),
            _ => None,
        };
        let around = |width: Decimal| (value.sub(&width), value.add(&width));
        let (from, to) = width.map_or_else(|| (value.clone(), value.clone()), around);
        NumberRange {
            prefix: self.prefix,
            from,
            to,
        }
    }

    /// Whether a stored `[lo, hi]` satisfies the condition.
    pub fn matches(&self, lo: Option<&Decimal>, hi: Option<&Decimal>) -> bool {
        self.range().matches(lo, hi)
    }
}

/// A condition on a number in a unit, ready to be asked of many.
pub(crate) struct Measure {
    range: NumberRange,
    hash: Option<i64>,
    unit: Option<Unit>,
}

impl Measure {
    pub(crate) fn new(hashes: Hashes, number: &NumberMatch, unit: &UnitMatch) -> Measure {
        Measure {
            range: number.range(),
            hash: hashes.unit_match(unit),
            unit: unit::of_match(unit),
        }
    }

    /// Whether `[lo, hi]` meets it, in the unit that has these hashes, and this code if it is one of UCUM.
    pub(crate) fn matches(
        &self,
        (lo, hi): (Option<&Decimal>, Option<&Decimal>),
        units: &[i64],
        ucum: Option<&str>,
    ) -> bool {
        if self.hash.is_none_or(|hash| units.contains(&hash)) {
            return self.range.matches(lo, hi);
        }
        let there = ucum.and_then(Unit::parse);
        self.unit.as_ref().zip(there).is_some_and(|(asked, there)| {
            asked.is_commensurable(&there) && self.range.converted(asked, &there).matches(lo, hi)
        })
    }
}

/// A number or quantity of a resource: `[lo, hi]`, a missing side infinite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured<'a> {
    pub lo: Option<Decimal>,
    pub hi: Option<Decimal>,
    system: Option<&'a str>,
    code: Option<&'a str>,
    unit: Option<&'a str>,
}

impl Measured<'_> {
    /// `system|code` of its unit.
    pub(crate) fn unit_of_system(&self) -> Option<String> {
        let (system, code) = self.system.zip(self.code)?;
        Some(format!("{system}|{code}"))
    }

    /// The code of its unit, if that is of UCUM.
    pub(crate) fn ucum(&self) -> Option<String> {
        let code = self.code.filter(|_| self.system == Some(UCUM));
        code.map(str::to_owned)
    }

    /// The hashes of the units by which it can be asked for, sorted.
    pub(crate) fn units(&self, hashes: Hashes) -> Vec<i64> {
        let both = self.system.zip(self.code).map(|(s, c)| hashes.unit(s, c));
        let text = self.unit.filter(|unit| Some(*unit) != self.code);
        let texts = [self.code, text].into_iter().flatten();
        let texts = texts.map(|text| hashes.unit_code_or_text(text));
        let mut units: Vec<i64> = both.into_iter().chain(texts).collect();
        units.sort_unstable();
        units
    }
}

/// What an element measures: a number, a Quantity and its kinds, Money (units are its currencies), a Range. A comparator opens the side it
/// points to: `<5` is everything up to 5.
pub(crate) fn measured(node: Node<'_>) -> Option<Measured<'_>> {
    match node.type_name {
        "Range" => {
            let low = member(node.value, "low").and_then(quantity);
            let high = member(node.value, "high").and_then(quantity);
            let unit = low.clone().or_else(|| high.clone())?;
            Some(Measured {
                lo: low.and_then(|low| low.lo),
                hi: high.and_then(|high| high.hi),
                ..unit
            })
        }
        "Money" => {
            let value = decimal(member(node.value, "value")?)?;
            let code = text(node.value, "currency");
            Some(Measured {
                lo: Some(value.clone()),
                hi: Some(value),
                system: code.map(|_| "urn:iso:std:iso:4217"),
                code,
                unit: None,
            })
        }
        _ => match node.value {
            Value::Object(_) => quantity(node.value),
            value => {
                let value = decimal(value)?;
                Some(Measured {
                    lo: Some(value.clone()),
                    hi: Some(value),
                    system: None,
                    code: None,
                    unit: None,
                })
            }
        },
    }
}

fn quantity(value: &Value) -> Option<Measured<'_>> {
    let number = decimal(member(value, "value")?)?;
    let (lo, hi) = match text(value, "comparator") {
        Some("<" | "<=") => (None, Some(number)),
        Some(">" | ">=" | "ad") => (Some(number), None),
        _ => (Some(number.clone()), Some(number)),
    };
    Some(Measured {
        lo,
        hi,
        system: text(value, "system"),
        code: text(value, "code"),
        unit: text(value, "unit"),
    })
}

/// A JSON number, or an integer64, which is a string.
fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Decimal::parse(number.as_str()),
        Value::String(text) => Decimal::parse(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<Decimal> {
        (!text.is_empty()).then(|| Decimal::parse(text).unwrap())
    }

    /// Which prefixes match a stored range (an empty text is no bound).
    #[test]
    fn prefixes() {
        use Prefix::*;
        for (value, lo, hi, expect) in [
            ("100", "100", "100", vec![Eq, Ge, Le, Ap]),
            ("100", "99.5", "99.5", vec![Eq, Lt, Le, Eb, Ap]),
            ("100", "100.5", "100.5", vec![Ne, Gt, Ge, Sa, Ap]),
            ("100", "110", "110", vec![Ne, Gt, Ge, Sa, Ap]),
            ("100", "110.1", "110.1", vec![Ne, Gt, Ge, Sa]),
            ("100.00", "100.004", "100.004", vec![Eq, Gt, Ge, Sa, Ap]),
            ("100.00", "100.005", "100.005", vec![Ne, Gt, Ge, Sa, Ap]),
            ("1e2", "149", "149", vec![Eq, Gt, Ge, Sa, Ap]),
            ("1e2", "150", "150", vec![Ne, Gt, Ge, Sa, Ap]),
            ("5", "4", "6", vec![Ne, Gt, Lt, Ge, Le, Ap]),
            ("5", "", "5", vec![Ne, Lt, Ge, Le, Ap]),
            ("5", "9", "", vec![Ne, Gt, Ge, Sa]),
            ("-5", "-5", "-5", vec![Eq, Ge, Le, Ap]),
        ] {
            let got: Vec<_> = [Eq, Ne, Gt, Lt, Ge, Le, Sa, Eb, Ap]
                .into_iter()
                .filter(|&prefix| {
                    let condition = NumberMatch {
                        prefix,
                        value: number(value).unwrap(),
                    };
                    condition.matches(number(lo).as_ref(), number(hi).as_ref())
                })
                .collect();
            assert_eq!(got, expect, "{value} against [{lo}, {hi}]");
        }
    }

    #[test]
    fn measures() {
        use crate::token::STORED;
        use serde_json::json;
        for (type_name, value, lo, hi, units) in [
            ("decimal", json!(1.50), "1.5", "1.5", 0),
            ("integer64", json!("7"), "7", "7", 0),
            (
                "Quantity",
                json!({"value": 5, "system": "u", "code": "mg", "unit": "mg"}),
                "5",
                "5",
                2,
            ),
            (
                "Quantity",
                json!({"value": 5, "system": "u", "code": "mg", "unit": "milligram"}),
                "5",
                "5",
                3,
            ),
            ("Quantity", json!({"value": 5, "unit": "mg"}), "5", "5", 1),
            ("Age", json!({"value": 5, "comparator": "<"}), "", "5", 0),
            (
                "Quantity",
                json!({"value": 5, "comparator": ">="}),
                "5",
                "",
                0,
            ),
            ("Money", json!({"value": 5, "currency": "EUR"}), "5", "5", 2),
            (
                "Range",
                json!({"low": {"value": 1, "unit": "a"}, "high": {"value": 2}}),
                "1",
                "2",
                1,
            ),
            ("Range", json!({"high": {"value": 2}}), "", "2", 0),
        ] {
            let measured = measured(Node {
                value: &value,
                type_name,
                system: None,
            })
            .unwrap();
            assert_eq!(
                (measured.lo.clone(), measured.hi.clone()),
                (number(lo), number(hi)),
                "{value}"
            );
            assert_eq!(measured.units(STORED).len(), units, "{value}");
        }
        for value in [
            json!({"code": "mg"}),
            json!("x"),
            json!(null),
            json!([]),
            json!({"value": "x"}),
        ] {
            assert_eq!(
                measured(Node {
                    value: &value,
                    type_name: "Quantity",
                    system: None
                }),
                None
            );
        }
    }
}
