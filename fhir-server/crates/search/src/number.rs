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

use crate::query::{NumberMatch, Prefix};
use fhir_model::Decimal;

impl NumberMatch {
    /// Whether a stored `[lo, hi]` satisfies the condition.
    pub fn matches(&self, lo: Option<&Decimal>, hi: Option<&Decimal>) -> bool {
        let value = &self.value;
        match self.prefix {
            Prefix::Eq => self.inside(lo, hi),
            Prefix::Ne => !self.inside(lo, hi),
            Prefix::Gt => hi.is_none_or(|hi| hi > value),
            Prefix::Lt => lo.is_none_or(|lo| lo < value),
            Prefix::Ge => hi.is_none_or(|hi| hi >= value),
            Prefix::Le => lo.is_none_or(|lo| lo <= value),
            Prefix::Sa => lo.is_some_and(|lo| lo > value),
            Prefix::Eb => hi.is_some_and(|hi| hi < value),
            Prefix::Ap => {
                let (from, to) = self.approximate();
                lo.is_none_or(|lo| *lo <= to) && hi.is_none_or(|hi| *hi >= from)
            }
        }
    }

    /// What the written digits stand for: `[value - half a unit, value + half a unit)`; for `eq` and `ne`.
    pub fn implicit(&self) -> (Decimal, Decimal) {
        let half = self.value.half_unit();
        (self.value.sub(&half), self.value.add(&half))
    }

    /// What `ap` allows, both ends included.
    pub fn approximate(&self) -> (Decimal, Decimal) {
        let width = self.value.tenth().max(self.value.half_unit());
        (self.value.sub(&width), self.value.add(&width))
    }

    fn inside(&self, lo: Option<&Decimal>, hi: Option<&Decimal>) -> bool {
        let (from, to) = self.implicit();
        lo.is_some_and(|lo| *lo >= from) && hi.is_some_and(|hi| *hi < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Option<Decimal> {
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
                    let number = NumberMatch {
                        prefix,
                        value: decimal(value).unwrap(),
                    };
                    number.matches(decimal(lo).as_ref(), decimal(hi).as_ref())
                })
                .collect();
            assert_eq!(got, expect, "{value} against [{lo}, {hi}]");
        }
    }
}
