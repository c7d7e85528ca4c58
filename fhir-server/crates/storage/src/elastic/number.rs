//! Decimals as keywords that sort like them: exact where a double of Elasticsearch would not be, and 1.5 is 1.50. Pure.
//!
//! A number is 0.DIGITS times ten to the exponent. Its sign comes first, then the exponent, then the digits without zeros at their end; of a
//! negative one exponent and digits are turned around.

/// Added to the exponent, so that it is never negative: Postgres has at most 131,072 digits before the point and 16,383 after it.
const BIAS: i64 = 200_000;
const EXPONENT_MAX: i64 = 999_999;

/// The keyword of a decimal in plain notation (`-12.50`).
pub(crate) fn keyword(plain: &str) -> String {
    let (negative, unsigned) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(plain)),
    };
    let (whole, places) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all = format!("{whole}{places}");
    let significant = all.trim_start_matches('0');
    let zeros = all.len() - significant.len();
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return "1".to_owned();
    }
    let exponent = (whole.len() as i64 - zeros as i64 + BIAS).clamp(0, EXPONENT_MAX);
    match negative {
        false => format!("2{exponent:06}{digits}"),
        true => {
            let turned = digits
                .bytes()
                .map(|digit| char::from(b'9' - (digit - b'0')));
            let turned: String = turned.collect();
            // What ends sooner is less far from zero, so it comes later.
            format!("0{:06}{turned}~", EXPONENT_MAX - exponent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_model::Decimal;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_like_the_number(a in "-?[0-9]{1,12}(\\.[0-9]{1,12})?", b in "-?[0-9]{1,12}(\\.[0-9]{1,12})?") {
            let (left, right) = (Decimal::parse(&a).unwrap(), Decimal::parse(&b).unwrap());
            prop_assert_eq!(keyword(&a).cmp(&keyword(&b)), left.cmp(&right), "{} {}", a, b);
        }
    }

    #[test]
    fn ascends() {
        let ascending = [
            "-100000000000000000000000000000000000001",
            "-100000000000000000000000000000000000000",
            "-10.01",
            "-10",
            "-9.999",
            "-1.001",
            "-1",
            "-0.5",
            "-0.05",
            "0",
            "0.0499999999999999999999999999999999",
            "0.05",
            "0.1",
            "0.123",
            "0.1231",
            "1",
            "1.0000000000000000000000000000000001",
            "9",
            "10",
            "11",
            "99",
            "100",
            "123456789012345678901234567890.5",
        ];
        for pair in ascending.windows(2) {
            assert!(keyword(pair[0]) < keyword(pair[1]), "{pair:?}");
        }
        for (a, b) in [
            ("1.50", "1.5"),
            ("-1.50", "-1.5"),
            ("0.00", "0"),
            ("-0", "0"),
            ("100", "100.0"),
            ("007", "7"),
        ] {
            assert_eq!(keyword(a), keyword(b));
        }
    }
}
