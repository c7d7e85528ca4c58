//! FHIR decimals (<https://hl7.org/fhir/R5/datatypes.html#decimal>): text with a precision, never a float.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use std::str::FromStr;

/// Longest literal that is read, in characters; the specification asks for at least 18 digits.
pub const DIGITS_MAX: usize = 128;
/// Largest absolute exponent that is read. Beyond it an innocent looking literal would need gigabytes.
pub const EXPONENT_MAX: i64 = 400;

/// An exact decimal that remembers how many places it was written with (1.50 has two).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(BigDecimal);

impl Decimal {
    /// Reads a JSON number literal, or `None` when it is no number or beyond [`DIGITS_MAX`] or [`EXPONENT_MAX`].
    pub fn parse(text: &str) -> Option<Decimal> {
        if text.is_empty()
            || text.len() > DIGITS_MAX
            || !text
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        {
            return None;
        }
        if let Some((_, exponent)) = text.split_once(['e', 'E'])
            && exponent.parse::<i64>().ok()?.abs() > EXPONENT_MAX
        {
            return None;
        }
        BigDecimal::from_str(text).ok().map(Decimal)
    }

    /// Plain notation, for Postgres `numeric` and for messages.
    pub fn to_plain(&self) -> String {
        self.0.to_plain_string()
    }

    /// Half of one unit in the last written place: the implicit precision of
    /// <https://hl7.org/fhir/R5/search.html#number>. 100 gives 0.5, 5.40 gives 0.005, 1e2 gives 50.
    pub fn half_unit(&self) -> Decimal {
        let (_, scale) = self.0.as_bigint_and_exponent();
        Decimal(BigDecimal::new(BigInt::from(5), scale + 1))
    }

    /// The same for the number in plain notation, which is how Postgres keeps it: 1e2 gives 0.5.
    pub fn plain_half_unit(&self) -> Decimal {
        let (_, scale) = self.0.as_bigint_and_exponent();
        Decimal(BigDecimal::new(BigInt::from(5), scale.max(0) + 1))
    }

    /// Whether the plain notations are the same, to the last place: 1.5 and 1.50 are not.
    pub fn is_written_as(&self, other: &Decimal) -> bool {
        self == other && self.plain_half_unit() == other.plain_half_unit()
    }

    pub fn add(&self, other: &Decimal) -> Decimal {
        Decimal(&self.0 + &other.0)
    }

    pub fn sub(&self, other: &Decimal) -> Decimal {
        Decimal(&self.0 - &other.0)
    }

    /// A tenth of the absolute value: what `ap` allows on each side.
    pub fn tenth(&self) -> Decimal {
        Decimal(self.0.abs() * BigDecimal::new(BigInt::from(1), 1))
    }
}

/// Of arithmetic beyond sums; the places are those of the result.
impl From<BigDecimal> for Decimal {
    fn from(decimal: BigDecimal) -> Decimal {
        Decimal(decimal)
    }
}

/// For arithmetic beyond sums.
impl From<Decimal> for BigDecimal {
    fn from(decimal: Decimal) -> BigDecimal {
        decimal.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implicit_precision() {
        for (text, low, high) in [
            ("100", "99.5", "100.5"),
            ("100.00", "99.995", "100.005"),
            ("1e2", "50", "150"),
            ("-1.5", "-1.55", "-1.45"),
        ] {
            let d = Decimal::parse(text).unwrap();
            assert_eq!(
                d.sub(&d.half_unit()),
                Decimal::parse(low).unwrap(),
                "{text}"
            );
            assert_eq!(
                d.add(&d.half_unit()),
                Decimal::parse(high).unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            "NaN",
            "1e999999999",
            "0x1",
            "1e",
            "--1",
            &"1".repeat(129),
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn plain() {
        for (text, plain) in [("1.50", "1.50"), ("1e3", "1000"), ("-0.0", "0.0")] {
            assert_eq!(Decimal::parse(text).unwrap().to_plain(), plain);
        }
    }
}
