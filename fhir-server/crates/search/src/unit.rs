//! Units of UCUM (<https://ucum.org/ucum>), so that a quantity is found in whatever commensurable unit it is written
//! (<https://hl7.org/fhir/R5/search.html#quantity>): 5.4 mg finds 0.0054 g.
//!
//! A condition is converted into the other unit, never a stored value: its bounds are fractions of decimals, written with so many digits
//! that no stored number lies between a bound and what is written. The tables have 28 digits of factors that are no decimals (π, a knot);
//! bounds that depend on those are rounded to `ROUNDED_DIGITS`.
//!
//! Temperatures have their offsets. Units on other scales of their own (pH, bel) and codes that are no UCUM are compared as they are written.

use crate::number::NumberRange;
use crate::query::{NumberMatch, Prefix, UnitMatch};
use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, One, RoundingMode, Signed, Zero};
use fhir_model::Decimal;
use octofhir_ucum::{Case, Dimension, Number, SpecialKind, UnitExpr};

/// The system of UCUM codes.
pub const UCUM: &str = "http://unitsofmeasure.org";

/// Longest code that is read, in bytes.
const CODE_BYTES_MAX: usize = 256;
/// Largest power of a unit that is read: 10*999999999 would be a number of so many digits.
const POWER_MAX: u32 = 99;
/// Digits of a bound that has no end; more than a stored number can have.
const DIGITS: u64 = 160;
/// Digits of a bound whose factors are not exact.
const ROUNDED_DIGITS: u64 = 24;
/// A factor with so many digits has been rounded.
const INEXACT_DIGITS: u64 = 27;
/// Decimal places of numbers in base units, so that 60 /h and 1 /min are the same.
pub const BASE_PLACES: i64 = 60;

/// What a unit measures, and how: a value `v` is `(v * scale + offset) * factor` of the base units.
#[derive(Clone, Debug)]
pub struct Unit {
    dimension: Dimension,
    arbitrary: Vec<(&'static str, i32)>,
    scale: BigDecimal,
    offset: BigDecimal,
    factor: Fraction,
}

/// From a unit to base units (g, m, s, …): a value `v` is `v * factor + offset` of them, to [`BASE_PLACES`].
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub factor: Decimal,
    pub offset: Decimal,
}

impl Scale {
    pub fn in_base_units(&self, value: &Decimal) -> Decimal {
        let number = |decimal: &Decimal| BigDecimal::from(decimal.clone());
        let scaled = number(value) * number(&self.factor) + number(&self.offset);
        let rounded = scaled.with_scale_round(BASE_PLACES, RoundingMode::HalfUp);
        Decimal::from(rounded.normalized())
    }
}

#[derive(Clone, Debug)]
struct Fraction {
    numerator: BigDecimal,
    denominator: BigDecimal,
    exact: bool,
}

impl Unit {
    /// `None` for what is no UCUM code, and for a unit on a scale that is not linear.
    pub fn parse(code: &str) -> Option<Unit> {
        if code.len() > CODE_BYTES_MAX {
            return None;
        }
        let expression = octofhir_ucum::parse_expression(code).ok()?;
        let term = octofhir_ucum::evaluate(&expression).ok()?;
        let (scale, offset, factor) = match term.special {
            None => (
                BigDecimal::one(),
                BigDecimal::zero(),
                Fraction::of(&expression)?,
            ),
            Some(special) => {
                let offset = |hundredths: i64| BigDecimal::new(hundredths.into(), 2);
                let kelvins = |over: i64, under: i64| Fraction::exact(over.into(), under.into());
                let (offset, factor) = match special.unit.special {
                    SpecialKind::Celsius => (offset(27_315), kelvins(1, 1)),
                    SpecialKind::Fahrenheit => (offset(45_967), kelvins(5, 9)),
                    SpecialKind::Reaumur => (offset(21_852), kelvins(5, 4)),
                    _ => return None,
                };
                (decimal(special.scale), offset, factor)
            }
        };
        let positive = scale.is_positive() && factor.numerator.is_positive();
        positive.then_some(Unit {
            dimension: term.dim,
            arbitrary: term.arbitrary,
            scale,
            offset,
            factor,
        })
    }

    pub fn is_commensurable(&self, other: &Unit) -> bool {
        self.dimension == other.dimension && self.arbitrary == other.arbitrary
    }

    /// How its numbers compare with those in other units of its dimension.
    pub fn scale(&self) -> Scale {
        let Fraction {
            numerator,
            denominator,
            exact,
        } = &self.factor;
        let in_base_units = |value: &BigDecimal| {
            let (low, _) = divided(&(value * numerator), denominator);
            let low = BigDecimal::from(low);
            Decimal::from(match exact {
                true => low,
                false => low.with_prec(ROUNDED_DIGITS).normalized(),
            })
        };
        Scale {
            factor: in_base_units(&self.scale),
            offset: in_base_units(&self.offset),
        }
    }

    /// The bound in the other unit, the greatest decimal not above it and the least not below.
    fn bound(&self, value: &Decimal, to: &Unit) -> (Decimal, Decimal) {
        let value = BigDecimal::from(value.clone());
        let (a, b) = (&self.factor, &to.factor);
        let below = &a.denominator * &b.numerator;
        let above = (value * &self.scale + &self.offset) * &a.numerator * &b.denominator
            - &to.offset * &below;
        let below = below * &to.scale;
        if a.exact && b.exact {
            return divided(&above, &below);
        }
        let (low, _) = divided(&above, &below);
        let rounded = Decimal::from(BigDecimal::from(low).with_prec(ROUNDED_DIGITS).normalized());
        (rounded.clone(), rounded)
    }
}

impl Fraction {
    fn exact(numerator: BigDecimal, denominator: BigDecimal) -> Fraction {
        Fraction {
            numerator,
            denominator,
            exact: true,
        }
    }

    /// The magnitude of a proper unit.
    fn of(expression: &UnitExpr) -> Option<Fraction> {
        let one = || Fraction::exact(BigDecimal::one(), BigDecimal::one());
        Some(match expression {
            UnitExpr::Symbol(code) => {
                let (prefix, unit) = octofhir_ucum::lookup_unit(code, Case::Sensitive)?;
                let factor = decimal(unit.factor);
                let prefix = prefix.map_or_else(BigDecimal::one, |prefix| decimal(prefix.factor));
                Fraction {
                    exact: factor.normalized().digits() < INEXACT_DIGITS,
                    numerator: factor * prefix,
                    denominator: BigDecimal::one(),
                }
            }
            UnitExpr::Numeric(number) => Fraction::exact(decimal(*number), BigDecimal::one()),
            UnitExpr::Annotation(_) => one(),
            UnitExpr::Annotated(inner, _) => Fraction::of(inner)?,
            UnitExpr::Power(base, exponent) => {
                if exponent.unsigned_abs() > POWER_MAX {
                    return None;
                }
                let base = Fraction::of(base)?;
                let base = match exponent.is_negative() {
                    true => base.inverted(),
                    false => base,
                };
                let mut power = one();
                for _ in 0..exponent.unsigned_abs() {
                    power = power.times(&base);
                }
                power
            }
            UnitExpr::Product(terms) => {
                let mut product = one();
                for term in terms {
                    product = product.times(&Fraction::of(term)?);
                }
                product
            }
            UnitExpr::Quotient(a, b) => Fraction::of(a)?.times(&Fraction::of(b)?.inverted()),
            UnitExpr::Reciprocal(inner) => Fraction::of(inner)?.inverted(),
        })
    }

    fn times(self, other: &Fraction) -> Fraction {
        Fraction {
            numerator: self.numerator * &other.numerator,
            denominator: self.denominator * &other.denominator,
            exact: self.exact && other.exact,
        }
    }

    fn inverted(self) -> Fraction {
        Fraction {
            numerator: self.denominator,
            denominator: self.numerator,
            exact: self.exact,
        }
    }
}

/// What `number` in `unit` asks of a quantity in each of the `used` units (`system|code`, all that resources have): its own unit first.
pub fn in_units(
    number: &NumberMatch,
    unit: &UnitMatch,
    used: &[String],
) -> Vec<(NumberRange, UnitMatch)> {
    let mut all = vec![(number.range(), unit.clone())];
    if let Some(asked) = of_match(unit) {
        for code in used.iter().filter_map(|unit| code_of(unit)) {
            let known = matches!(unit, UnitMatch::SystemAndCode(_, own) if own == code);
            let Some(there) = Unit::parse(code).filter(|_| !known) else {
                continue;
            };
            if asked.is_commensurable(&there) {
                let unit = UnitMatch::SystemAndCode(UCUM.to_owned(), code.to_owned());
                all.push((number.range().converted(&asked, &there), unit));
            }
        }
    }
    all
}

/// The unit that a condition names, if others are commensurable with it.
pub fn of_match(unit: &UnitMatch) -> Option<Unit> {
    match unit {
        UnitMatch::SystemAndCode(system, code) if system == UCUM => Unit::parse(code),
        _ => None,
    }
}

/// A value in another unit, to 24 digits; `None` where they measure different things.
pub fn convert(value: &Decimal, from: &str, to: &str) -> Option<Decimal> {
    let (from, to) = (Unit::parse(from)?, Unit::parse(to)?);
    from.is_commensurable(&to).then(|| {
        let (low, _) = from.bound(value, &to);
        Decimal::from(BigDecimal::from(low).with_prec(ROUNDED_DIGITS).normalized())
    })
}

/// The code of `system|code`, where the system is UCUM.
pub fn code_of(unit: &str) -> Option<&str> {
    unit.strip_prefix(UCUM)?.strip_prefix('|')
}

impl NumberRange {
    /// The same condition on a number in the unit `to`.
    pub fn converted(&self, from: &Unit, to: &Unit) -> NumberRange {
        let (from_low, from_high) = from.bound(&self.from, to);
        let (to_low, to_high) = from.bound(&self.to, to);
        // Where a bound has no end, no number is equal to it: the nearest one on the right side says the same.
        let (first, last) = match self.prefix {
            Prefix::Eq | Prefix::Ne => (from_high, to_high),
            Prefix::Gt | Prefix::Le | Prefix::Sa => (from_low.clone(), from_low),
            Prefix::Lt | Prefix::Ge | Prefix::Eb => (from_high.clone(), from_high),
            Prefix::Ap | Prefix::Co => (from_high, to_low),
        };
        NumberRange {
            prefix: self.prefix,
            from: first,
            to: last,
        }
    }
}

/// `above / below`, rounded down and rounded up; both the same where it ends.
fn divided(above: &BigDecimal, below: &BigDecimal) -> (Decimal, Decimal) {
    let (a, a_scale) = above.as_bigint_and_exponent();
    let (b, b_scale) = below.as_bigint_and_exponent();
    let digits = |number: &BigInt| BigDecimal::from(number.clone()).digits();
    let more = (DIGITS + digits(&b)).saturating_sub(digits(&a));
    let a = BigDecimal::new(a, -i64::try_from(more).unwrap_or(0));
    let (a, _) = a.with_scale(0).into_bigint_and_exponent();
    let scale = a_scale - b_scale + i64::try_from(more).unwrap_or(0);
    let (quotient, rest) = (&a / &b, &a % &b);
    let decimal = |number: BigInt| Decimal::from(BigDecimal::new(number, scale).normalized());
    match (rest.is_zero(), rest.is_negative() != b.is_negative()) {
        (true, _) => (decimal(quotient.clone()), decimal(quotient)),
        (false, true) => (decimal(&quotient - 1), decimal(quotient)),
        (false, false) => (decimal(quotient.clone()), decimal(quotient + 1)),
    }
}

fn decimal(number: Number) -> BigDecimal {
    let (digits, exponent) = number.to_integer_and_exponent();
    BigDecimal::new(digits.into(), -i64::from(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    fn range(prefix: Prefix, value: &str) -> NumberRange {
        let value = number(value);
        NumberMatch { prefix, value }.range()
    }

    /// Whether a value in a unit is found by a condition in another.
    fn finds(prefix: Prefix, asked: (&str, &str), there: (&str, &str)) -> bool {
        let (from, to) = (Unit::parse(asked.1).unwrap(), Unit::parse(there.1).unwrap());
        assert!(from.is_commensurable(&to), "{asked:?} {there:?}");
        let value = number(there.0);
        let range = range(prefix, asked.0).converted(&from, &to);
        range.matches(Some(&value), Some(&value))
    }

    #[test]
    fn finds_in_other_units() {
        use Prefix::*;
        for (prefix, asked, there, expect) in [
            (Eq, ("5.4", "mg"), ("0.0054", "g"), true),
            (Eq, ("5.4", "mg"), ("0.00535", "g"), true),
            (Eq, ("5.4", "mg"), ("0.00545", "g"), false),
            (Eq, ("5.4", "mg"), ("0.00534999", "g"), false),
            (Ne, ("5.4", "mg"), ("0.00545", "g"), true),
            (Ne, ("5.4", "mg"), ("5400", "ug"), false),
            (Gt, ("1", "g"), ("1000", "mg"), false),
            (Ge, ("1", "g"), ("1000", "mg"), true),
            (Gt, ("1", "g"), ("1000.000000000000000001", "mg"), true),
            (Lt, ("1", "g"), ("999.999999999999999999", "mg"), true),
            (Le, ("1", "g"), ("1000", "mg"), true),
            (Sa, ("1", "g"), ("1001", "mg"), true),
            (Eb, ("1", "g"), ("1001", "mg"), false),
            (Ap, ("1", "g"), ("1500", "mg"), true),
            (Ap, ("1", "g"), ("1501", "mg"), false),
            (Ap, ("100", "g"), ("0.110", "kg"), true),
            (Ap, ("100", "g"), ("0.1101", "kg"), false),
            // Thirds have no end; nothing is equal to one.
            (Ge, ("1", "d"), ("24", "h"), true),
            (
                Le,
                ("8", "h"),
                ("0.33333333333333333333333333333333333333", "d"),
                true,
            ),
            (
                Ge,
                ("8", "h"),
                ("0.33333333333333333333333333333333333333", "d"),
                false,
            ),
            (
                Gt,
                ("8", "h"),
                ("0.33333333333333333333333333333333333334", "d"),
                true,
            ),
            (Eq, ("60", "/min"), ("1", "/s"), true),
            (Eq, ("60", "/min"), ("1", "Hz"), true),
            (Eq, ("120", "mm[Hg]"), ("16", "kPa"), true),
            (Eq, ("7.0", "mmol/L"), ("7.0", "umol/mL"), true),
            (Eq, ("1", "[lb_av]"), ("0.45359237", "kg"), true),
            (Ge, ("1", "[lb_av]"), ("453.59237", "g"), true),
            (Gt, ("1", "[lb_av]"), ("453.59237", "g"), false),
            // Offsets.
            (Ge, ("37", "Cel"), ("98.6", "[degF]"), true),
            (Gt, ("37", "Cel"), ("98.6", "[degF]"), false),
            (Le, ("98.6", "[degF]"), ("37", "Cel"), true),
            (Lt, ("98.6", "[degF]"), ("37", "Cel"), false),
            (Eq, ("37.0", "Cel"), ("310.15", "K"), true),
            (Eq, ("37.0", "Cel"), ("98.69", "[degF]"), false),
            (Eq, ("37.0", "Cel"), ("98.68", "[degF]"), true),
            (Eq, ("-40", "Cel"), ("-40", "[degF]"), true),
            (Ge, ("0", "Cel"), ("32", "[degF]"), true),
            (Gt, ("100.3", "[degF]"), ("38", "Cel"), true),
            // Factors that are no decimals.
            (Le, ("10", "[kn_i]"), ("18.52", "km/h"), true),
            (Ge, ("10", "[kn_i]"), ("18.52", "km/h"), true),
            (Gt, ("10", "[kn_i]"), ("18.52", "km/h"), false),
            (Le, ("180", "deg"), ("3.14159", "rad"), true),
            (Ge, ("180", "deg"), ("3.14160", "rad"), true),
            // Annotations mean nothing.
            (Eq, ("5", "10*9/L"), ("5", "10*9{cells}/L"), true),
        ] {
            assert_eq!(
                finds(prefix, asked, there),
                expect,
                "{prefix:?} {asked:?} {there:?}"
            );
        }
    }

    #[test]
    fn units() {
        for (a, b, expect) in [
            ("mg", "kg", true),
            ("mg", "mL", false),
            ("Cel", "[degF]", true),
            ("[iU]/mL", "[iU]/L", true),
            ("[iU]", "[arb'U]", false),
            ("%", "1", true),
        ] {
            let (a, b) = (Unit::parse(a).unwrap(), Unit::parse(b).unwrap());
            assert_eq!(a.is_commensurable(&b), expect);
        }
        for code in [
            "[pH]",
            "dB",
            "milligram",
            "",
            "mg/",
            "10*999999999",
            "%-100000000",
            &"m.".repeat(200),
        ] {
            assert!(Unit::parse(code).is_none(), "{code}");
        }
    }

    #[test]
    fn compared_in_base_units() {
        for (one, other, order) in [
            (("5.4", "mg"), ("0.0054", "g"), Ordering::Equal),
            (
                ("5.4", "mg"),
                ("0.00540000000000000000001", "g"),
                Ordering::Less,
            ),
            (("2", "kg"), ("2500", "g"), Ordering::Less),
            (("60", "/h"), ("1", "/min"), Ordering::Equal),
            (("3600", "/h"), ("1", "Hz"), Ordering::Equal),
            (("37", "Cel"), ("98.6", "[degF]"), Ordering::Equal),
            (("37", "Cel"), ("310", "K"), Ordering::Greater),
            (("-1", "Cel"), ("31", "[degF]"), Ordering::Less),
        ] {
            let [one, other] = [one, other].map(|(value, code)| {
                let scale = Unit::parse(code).unwrap().scale();
                scale.in_base_units(&number(value))
            });
            assert_eq!(
                one.cmp(&other),
                order,
                "{} {}",
                one.to_plain(),
                other.to_plain()
            );
        }
    }

    #[test]
    fn among_the_used() {
        let used = [
            "|mg",
            "http://unitsofmeasure.org|mg",
            "http://unitsofmeasure.org|g",
            "http://unitsofmeasure.org|mL",
            "urn:own|g",
            "http://unitsofmeasure.org|tablet",
        ]
        .map(str::to_owned);
        let of = |system: &str, code: &str| {
            let unit = UnitMatch::SystemAndCode(system.into(), code.into());
            let value = number("5.4");
            let found = in_units(
                &NumberMatch {
                    prefix: Prefix::Ge,
                    value,
                },
                &unit,
                &used,
            );
            let show = |(range, unit): &(NumberRange, UnitMatch)| match unit {
                UnitMatch::SystemAndCode(_, code) => format!("{} {code}", range.from.to_plain()),
                unit => format!("{unit:?}"),
            };
            found.iter().map(show).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(of(UCUM, "mg"), "5.4 mg, 0.0054 g");
        assert_eq!(of(UCUM, "kg"), "5.4 kg, 5400000 mg, 5400 g");
        assert_eq!(of(UCUM, "[pH]"), "5.4 [pH]");
        assert_eq!(of(UCUM, "tablet"), "5.4 tablet");
        assert_eq!(of("urn:own", "mg"), "5.4 mg");
        assert_eq!(convert(&number("1"), "km", "m").unwrap().to_plain(), "1000");
        assert!(convert(&number("1"), "km", "g").is_none());
    }

    proptest! {
        /// A number is found where the one it is equal to in another unit is: between decimal units there is no rounding.
        #[test]
        fn the_same_in_another_unit(
            asked in -10_000i64..10_000, there in -10_000i64..10_000, scale in 0i64..4,
            prefix in prop::sample::select(vec![Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le, Prefix::Sa, Prefix::Eb, Prefix::Ap]),
        ) {
            let written = |number: i64, scale: i64| BigDecimal::new(number.into(), scale).to_string();
            let plain = range(prefix, &written(asked, scale));
            let value = number(&written(there, scale));
            let milli = number(&written(there, scale + 3));
            let converted = plain.converted(&Unit::parse("mg").unwrap(), &Unit::parse("g").unwrap());
            prop_assert_eq!(
                plain.matches(Some(&value), Some(&value)),
                converted.matches(Some(&milli), Some(&milli))
            );
        }

        /// Every code is read or left.
        #[test]
        fn any_code(code in "[a-zA-Z0-9/.\\[\\]{}()*'-]{0,24}") {
            let _ = Unit::parse(&code);
        }
    }
}
