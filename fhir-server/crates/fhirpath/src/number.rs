//! Decimals (<https://hl7.org/fhirpath/#decimal>): exact, and of bounded length. What cannot be exact (quotients, roots, logarithms) is
//! rounded to [`PRECISION`] significant digits.

use bigdecimal::num_bigint::Sign;
use bigdecimal::{BigDecimal, One, RoundingMode, ToPrimitive, Zero};
use fhir_model::Decimal;
use std::num::NonZeroU64;

/// Significant digits of a rounded result.
pub(crate) const PRECISION: u64 = 34;
/// Longest result in digits, before and after the point together.
const DIGITS_MAX: u64 = 1_000;

/// The exponents that logarithms and powers are computed for; beyond them a result has more digits than allowed.
const EXPONENT_MAX: i64 = 2_000;

pub(crate) fn parse(text: &str) -> Option<BigDecimal> {
    Decimal::parse(text).map(BigDecimal::from)
}

/// Plain notation, with the places it has.
pub(crate) fn text(value: &BigDecimal) -> String {
    value.to_plain_string()
}

/// Places after the point; never negative.
pub(crate) fn places(value: &BigDecimal) -> i64 {
    value.fractional_digit_count().max(0)
}

/// Whether a result may be kept.
pub(crate) fn is_bounded(value: &BigDecimal) -> bool {
    value.digits() <= DIGITS_MAX && value.fractional_digit_count().unsigned_abs() <= DIGITS_MAX
}

/// `a / b`; `b` is not zero.
pub(crate) fn divide(a: &BigDecimal, b: &BigDecimal) -> BigDecimal {
    round_to(&(a / b), PRECISION).normalized()
}

fn round_to(value: &BigDecimal, digits: u64) -> BigDecimal {
    match NonZeroU64::new(digits) {
        Some(digits) if value.digits() > digits.get() => {
            value.with_precision_round(digits, RoundingMode::HalfEven)
        }
        _ => value.clone(),
    }
}

/// Equal when rounded to the places of the one with fewer.
pub(crate) fn is_equivalent(a: &BigDecimal, b: &BigDecimal) -> bool {
    let places = places(a).min(places(b));
    let round = |value: &BigDecimal| value.with_scale_round(places, RoundingMode::HalfUp);
    round(a) == round(b)
}

/// Without its fraction.
pub(crate) fn truncate(value: &BigDecimal) -> BigDecimal {
    value.with_scale_round(0, RoundingMode::Down)
}

pub(crate) fn sqrt(value: &BigDecimal) -> Option<BigDecimal> {
    let root = value.sqrt()?;
    Some(round_to(&root, PRECISION).normalized())
}

/// e to the `value`; `None` beyond the bounds.
pub(crate) fn exp(value: &BigDecimal) -> Option<BigDecimal> {
    let bound = BigDecimal::from(EXPONENT_MAX);
    if value.abs() > bound {
        return None;
    }
    // exp(x) = exp(x / 2^k)^(2^k), with a series for the small argument.
    let mut halvings = 0;
    let mut small = value.clone();
    while small.abs() > BigDecimal::new(1.into(), 1) {
        small = small.half();
        halvings += 1;
    }
    let working = PRECISION + 16;
    let small = round_to(&small, working);
    let (mut sum, mut term) = (BigDecimal::one(), BigDecimal::one());
    for n in 1..60 {
        term = round_to(&(term * &small / BigDecimal::from(n)), working);
        if term.is_zero() {
            break;
        }
        sum += &term;
    }
    for _ in 0..halvings {
        sum = round_to(&sum.square(), working);
    }
    Some(round_to(&sum, PRECISION).normalized())
}

/// The natural logarithm; `None` of what is not positive.
pub(crate) fn ln(value: &BigDecimal) -> Option<BigDecimal> {
    if value.sign() != Sign::Plus {
        return None;
    }
    let working = PRECISION + 16;
    // value = m * 10^k with m near 1, then halved into [0.7, 1.4].
    let k = value.order_of_magnitude();
    let (digits, scale) = value.as_bigint_and_exponent();
    let mut m = round_to(&BigDecimal::new(digits, scale + k), working);
    let mut twos = 0;
    while m > BigDecimal::new(14.into(), 1) {
        m = m.half();
        twos += 1;
    }
    let ln2 = two_artanh(&BigDecimal::from(2), working);
    // ln 10 = 3 ln 2 + ln 1.25
    let ln10 = BigDecimal::from(3) * &ln2 + two_artanh(&BigDecimal::new(125.into(), 2), working);
    let result =
        two_artanh(&m, working) + BigDecimal::from(twos) * ln2 + BigDecimal::from(k) * ln10;
    // The last digits are noise; a logarithm that is whole comes out whole.
    Some(
        result
            .with_scale_round(PRECISION as i64, RoundingMode::HalfEven)
            .normalized(),
    )
}

/// ln(m) = 2 artanh((m - 1) / (m + 1)).
fn two_artanh(m: &BigDecimal, working: u64) -> BigDecimal {
    let x = round_to(
        &((m - BigDecimal::one()) / (m + BigDecimal::one())),
        working,
    );
    let square = round_to(&x.square(), working);
    let (mut power, mut sum) = (x.clone(), x);
    for n in 1..120_i64 {
        power = round_to(&(power * &square), working);
        let term = round_to(&(&power / BigDecimal::from(2 * n + 1)), working);
        if term.is_zero() || term.order_of_magnitude() < -(working as i64) {
            break;
        }
        sum += term;
    }
    sum.double()
}

/// `base` to the `exponent`; `None` where it is no real number or beyond the bounds.
pub(crate) fn power(base: &BigDecimal, exponent: &BigDecimal) -> Option<BigDecimal> {
    if exponent.is_integer() {
        let n = exponent.to_i64().filter(|n| n.abs() <= EXPONENT_MAX)?;
        let digits = base.normalized().digits().saturating_mul(n.unsigned_abs());
        if n >= 0 && digits <= DIGITS_MAX {
            let result = (0..n).fold(BigDecimal::one(), |product, _| product * base);
            return Some(result).filter(is_bounded);
        }
        if base.is_zero() {
            return (n > 0).then(BigDecimal::zero);
        }
        let mut result = BigDecimal::one();
        for bit in (0..64).rev() {
            result = round_to(&result.square(), PRECISION + 8);
            if n.unsigned_abs() >> bit & 1 == 1 {
                result = round_to(&(result * base), PRECISION + 8);
            }
        }
        if n < 0 {
            result = BigDecimal::one() / result;
        }
        return Some(round_to(&result, PRECISION).normalized()).filter(is_bounded);
    }
    if base.is_zero() {
        return (exponent.sign() == Sign::Plus).then(BigDecimal::zero);
    }
    exp(&(exponent * ln(base)?)).filter(is_bounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn n(text: &str) -> BigDecimal {
        text.parse().unwrap()
    }

    #[test]
    fn functions() {
        for (found, expect) in [
            (ln(&n("1")), Some("0")),
            (ln(&n("2")), Some("0.693147180559945309417232121458176568")),
            (
                ln(&n("0.001")),
                Some("-6.907755278982137052053974364053093"),
            ),
            (ln(&n("0")), None),
            (ln(&n("-1")), None),
            (exp(&n("0")), Some("1")),
            (exp(&n("1")), Some("2.718281828459045235360287471352662")),
            (exp(&n("-1")), Some("0.3678794411714423215955237701614609")),
            (exp(&n("1e9")), None),
            (power(&n("2.5"), &n("2")), Some("6.25")),
            (power(&n("2"), &n("-2")), Some("0.25")),
            (power(&n("-1"), &n("0.5")), None),
            (power(&n("0"), &n("0")), Some("1")),
            (power(&n("0"), &n("-1")), None),
            (power(&n("10"), &n("1000000")), None),
            (sqrt(&n("81")), Some("9")),
            (sqrt(&n("-1")), None),
        ] {
            let close = match (&found, expect) {
                (Some(found), Some(expect)) => (found - n(expect)).abs() < n("1e-32"),
                (None, None) => true,
                _ => false,
            };
            assert!(close, "{found:?} {expect:?}");
        }
    }

    proptest! {
        #[test]
        fn logarithm_undoes_the_exponential(value in -20_000_i64..20_000) {
            let x = BigDecimal::new(value.into(), 3);
            let back = ln(&exp(&x).unwrap()).unwrap();
            prop_assert!((back - x).abs() < n("1e-29"));
        }
    }
}
