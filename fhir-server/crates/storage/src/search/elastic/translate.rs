//! A [`Test`] as a query of Elasticsearch over [documents](crate::elastic::document), with the same meaning to the last bit as the SQL of
//! [`crate::search::sql`]: what cannot be said so is named, and the whole search is then answered by Postgres. At the edge of a circle alone
//! rows may be told wrong; these are masked ([`super::places`]). Pure.
//!
//! All conditions on one value stand in one nested query: they meet in the same element.

use super::{Reason, places, words};
use crate::elastic::document::{instant, keyword, parameter_keyword, string_keyword, type_keyword};
use crate::elastic::mapping::TERMS_MAX;
use crate::elastic::number;
use crate::search::flat::{DateTest, QuantityTest, StringTest, Test};
use fhir_definitions::StringRows;
use fhir_search::query::{DateMatch, Prefix, TextComparison};
use serde_json::{Value, json};

const MILLISECOND: i64 = 1_000;

/// The documents of `types` that meet all tests and are none of the `masked` rows. No types: of all.
pub(super) fn filter(types: &[i16], tests: &[Test], masked: &[i64]) -> Result<Value, Reason> {
    let mut all = Vec::with_capacity(tests.len() + 1);
    if !types.is_empty() {
        all.push(of_types(types));
    }
    for test in tests {
        all.push(query(test)?);
    }
    let mut none = vec![json!({"term": {"deleted": true}})];
    if !masked.is_empty() {
        none.push(json!({"terms": {"pk": masked}}));
    }
    Ok(json!({"bool": {"filter": all, "must_not": none}}))
}

/// # Errors
/// What Elasticsearch does not evaluate as Postgres does.
pub(super) fn query(test: &Test) -> Result<Value, Reason> {
    Ok(match test {
        Test::Type(types) => of_types(types),
        Test::Tokens(tokens) => terms("tokens", tokens.iter().copied().map(keyword))?,
        Test::References(references) | Test::AnyOfReferences(references) => {
            terms("refs", references.iter().copied().map(keyword))?
        }
        Test::Rows(rows) => terms("pk", rows.iter().copied())?,
        Test::Dates(dates) => {
            let all = dates.all.iter().map(|tests| {
                let each = tests.iter().map(|test| date(dates.key, test));
                any(each.collect())
            });
            nested("dates", every(all.collect()))
        }
        Test::Quantities(key, tests) => {
            let each = tests.iter().map(|test| quantity(*key, test));
            nested("quantities", any(each.collect::<Result<_, _>>()?))
        }
        Test::Strings(rows, tests) => {
            let each = tests.iter().map(|test| string(*rows, test));
            nested("strings", any(each.collect::<Result<_, _>>()?))
        }
        Test::Updated(dates) => any(dates.iter().map(updated).collect()),
        Test::Any(tests) => any(tests.iter().map(query).collect::<Result<_, _>>()?),
        Test::All(tests) => every(tests.iter().map(query).collect::<Result<_, _>>()?),
        Test::Not(test) => not(query(test)?),
        Test::Near(key, circles) => places::query(*key, circles),
        Test::Words(of, text) => words::query(*of, text),
        // Those that it can follow are lists by now.
        Test::Points(..) | Test::PointedAt(..) => return Err("joins"),
    })
}

/// Why the test cannot be said to Elasticsearch even when all that it joins is known.
pub(super) fn unable(test: &Test) -> Option<Reason> {
    match test {
        Test::Points(_, test) | Test::PointedAt(_, test) | Test::Not(test) => unable(test),
        Test::Any(tests) | Test::All(tests) => tests.iter().find_map(unable),
        Test::Tokens(list)
        | Test::References(list)
        | Test::AnyOfReferences(list)
        | Test::Rows(list) => (list.len() > TERMS_MAX).then_some(TOO_LONG),
        test => query(test).err(),
    }
}

fn of_types(types: &[i16]) -> Value {
    let names: Vec<String> = types.iter().copied().map(type_keyword).collect();
    json!({"terms": {"type": names}})
}

/// More than a list may have.
const TOO_LONG: Reason = "terms";

fn terms<T: Into<Value>>(
    field: &str,
    values: impl ExactSizeIterator<Item = T>,
) -> Result<Value, Reason> {
    match values.len() {
        0 => Ok(nothing()),
        1..=TERMS_MAX => {
            let values: Vec<Value> = values.map(Into::into).collect();
            Ok(json!({"terms": {field: values}}))
        }
        _ => Err(TOO_LONG),
    }
}

fn nothing() -> Value {
    json!({"match_none": {}})
}

pub(super) fn any(mut queries: Vec<Value>) -> Value {
    match queries.len() {
        0 => nothing(),
        1 => queries.remove(0),
        _ => json!({"bool": {"should": queries, "minimum_should_match": 1}}),
    }
}

pub(super) fn every(mut queries: Vec<Value>) -> Value {
    match queries.len() {
        0 => json!({"match_all": {}}),
        1 => queries.remove(0),
        _ => json!({"bool": {"filter": queries}}),
    }
}

pub(super) fn not(query: Value) -> Value {
    json!({"bool": {"must_not": [query]}})
}

pub(super) fn nested(path: &str, query: Value) -> Value {
    json!({"nested": {"path": path, "query": query, "score_mode": "none"}})
}

pub(super) fn term(field: &str, value: impl Into<Value>) -> Value {
    let value: Value = value.into();
    json!({"term": {field: value}})
}

fn range(field: &str, operator: &str, bound: impl Into<Value>) -> Value {
    let bound: Value = bound.into();
    json!({"range": {field: {operator: bound}}})
}

/// <https://hl7.org/fhir/R5/search.html#date>, on half open ranges.
fn date(key: i16, test: &DateTest) -> Value {
    const LO: &str = "dates.lo";
    const HI: &str = "dates.hi";
    let DateMatch { prefix, range: of } = test.date;
    let (a, b) = (instant(of.lo), instant(of.hi));
    let at = |field, operator, bound: i64| range(field, operator, bound);
    let meets = match prefix {
        Prefix::Eq => every(vec![at(LO, "gte", a), at(LO, "lt", b), at(HI, "lte", b)]),
        Prefix::Ne => any(vec![at(LO, "lt", a), at(HI, "gt", b)]),
        Prefix::Gt => at(HI, "gt", b),
        Prefix::Lt => at(LO, "lt", a),
        Prefix::Ge => any(vec![at(HI, "gt", b), at(LO, "gte", a)]),
        Prefix::Le => any(vec![at(LO, "lt", a), at(HI, "lte", b)]),
        Prefix::Sa => at(LO, "gte", b),
        Prefix::Eb => every(vec![at(HI, "lte", a), at(LO, "lt", a)]),
        Prefix::Ap => every(vec![at(LO, "lt", b), at(HI, "gt", a)]),
        Prefix::Co => every(vec![at(LO, "lte", a), at(HI, "gte", b)]),
    };
    every(vec![
        term("dates.key", parameter_keyword(key, test.marker)),
        meets,
    ])
}

/// `meta.lastUpdated` covers one millisecond.
fn updated(date: &DateMatch) -> Value {
    let (a, b) = (date.range.lo, date.range.hi);
    let last = b.saturating_sub(MILLISECOND);
    let before_a = a.saturating_sub(MILLISECOND);
    let at = |operator, bound: i64| range("updated", operator, bound);
    match date.prefix {
        Prefix::Eq => every(vec![at("gte", a), at("lte", last)]),
        Prefix::Ne => not(every(vec![at("gte", a), at("lte", last)])),
        Prefix::Gt => at("gt", last),
        Prefix::Lt => at("lt", a),
        Prefix::Ge => at("gte", a),
        Prefix::Le => at("lte", last),
        Prefix::Sa => at("gte", b),
        Prefix::Eb => at("lte", before_a),
        Prefix::Ap => every(vec![at("lt", b), at("gt", before_a)]),
        Prefix::Co => every(vec![at("lte", a), at("gte", last)]),
    }
}

/// <https://hl7.org/fhir/R5/search.html#number>, on closed ranges of which a side may be open.
fn quantity(key: i16, test: &QuantityTest) -> Result<Value, Reason> {
    const LO: &str = "quantities.lo";
    const HI: &str = "quantities.hi";
    let from = number::keyword(&test.number.from.to_plain());
    let to = number::keyword(&test.number.to.to_plain());
    let at = |field, operator, bound: &String| range(field, operator, bound.as_str());
    let open = |side: &str| term("quantities.open", side);
    // A side that is open on purpose has another one.
    let no_end = || every(vec![open("hi"), not(open("lo"))]);
    let meets = match test.number.prefix {
        Prefix::Eq => every(vec![
            at(LO, "gte", &from),
            at(LO, "lt", &to),
            at(HI, "lt", &to),
        ]),
        Prefix::Ne => any(vec![
            open("lo"),
            at(LO, "lt", &from),
            open("hi"),
            at(HI, "gte", &to),
        ]),
        Prefix::Gt => any(vec![at(LO, "gt", &from), at(HI, "gt", &from), no_end()]),
        Prefix::Ge => any(vec![at(LO, "gte", &from), at(HI, "gte", &from), no_end()]),
        Prefix::Lt => any(vec![open("lo"), at(LO, "lt", &from)]),
        Prefix::Le => any(vec![open("lo"), at(LO, "lte", &from)]),
        Prefix::Sa => at(LO, "gt", &from),
        Prefix::Eb => at(HI, "lt", &from),
        Prefix::Ap => every(vec![
            any(vec![open("lo"), at(LO, "lte", &to)]),
            any(vec![open("hi"), at(HI, "gte", &from)]),
        ]),
        // How many places were written is not in the index.
        Prefix::Co => return Err("written places"),
    };
    let mut all = vec![
        term("quantities.key", parameter_keyword(key, test.marker)),
        meets,
    ];
    all.extend(
        test.unit
            .map(|unit| term("quantities.units", keyword(unit))),
    );
    Ok(every(all))
}

fn string(rows: StringRows, test: &StringTest) -> Result<Value, Reason> {
    const VALUE: &str = "strings.value";
    let cut = || term("strings.cut", true);
    let at = |operator, text: &String| range(VALUE, operator, text.as_str());
    let meets = match test {
        // As in SQL: from the beginning on, up to all that begin with it.
        StringTest::StartsWith(prefix) => json!({"range": {VALUE: {
            "gte": prefix,
            "lt": crate::search::span::after_all_that_begin_with(prefix),
        }}}),
        StringTest::Contains(part) => part_of(VALUE, part, "*"),
        StringTest::Is(TextComparison::EndsWith, end) => {
            every(vec![part_of(VALUE, end, ""), not(cut())])
        }
        StringTest::Is(TextComparison::Equal, text) => term(VALUE, text.as_str()),
        StringTest::Is(TextComparison::Unequal, text) => not(term(VALUE, text.as_str())),
        StringTest::Is(TextComparison::Greater, text) => at("gt", text),
        StringTest::Is(TextComparison::Less, text) => at("lt", text),
        StringTest::Is(TextComparison::GreaterOrEqual, text) => at("gte", text),
        StringTest::Is(TextComparison::LessOrEqual, text) => at("lte", text),
        StringTest::Cut => cut(),
        StringTest::Words(_) => return Err("words"),
    };
    Ok(every(vec![
        term("strings.key", string_keyword(rows)),
        meets,
    ]))
}

/// Values in which the text stands, with what `after` stands for behind it.
fn part_of(field: &str, text: &str, after: &str) -> Value {
    if text.is_empty() {
        return json!({"match_all": {}});
    }
    let mut pattern = String::from("*");
    for character in text.chars() {
        if matches!(character, '*' | '?' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str(after);
    json!({"wildcard": {field: {"value": pattern}}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::flat::Dates;
    use fhir_definitions::ParameterKey;
    use fhir_model::Decimal;
    use fhir_search::number::NumberRange;

    fn number(prefix: Prefix) -> Test {
        let five = || Decimal::parse("5").unwrap();
        let (from, to) = (five(), five());
        let number = NumberRange { prefix, from, to };
        let test = QuantityTest {
            marker: 0,
            number,
            unit: None,
        };
        Test::Quantities(5, vec![test])
    }

    /// Wherever it stands.
    #[test]
    fn names_what_it_cannot_say() {
        let long = |count: usize| Test::Tokens((0..count as i64).collect());
        let dates = || Test::Dates(Dates::any(3));
        for (test, expect) in [
            (long(TERMS_MAX), None),
            (long(TERMS_MAX + 1), Some("terms")),
            (number(Prefix::Eq), None),
            (number(Prefix::Co), Some("written places")),
            (number(Prefix::Co).negate(), Some("written places")),
            (Test::Near(4, Vec::new()), None),
            (
                Test::Any(vec![dates(), number(Prefix::Co)]),
                Some("written places"),
            ),
            (Test::Points(2, Box::new(dates())), None),
            (
                Test::PointedAt(2, Box::new(long(TERMS_MAX + 1))),
                Some("terms"),
            ),
            (Test::never(), None),
        ] {
            assert_eq!(unable(&test), expect);
        }
    }

    /// The conditions on one value stand together, with its parameter.
    #[test]
    fn says_a_range_of_numbers() {
        let range = json!({"range": {"quantities.lo": {"gt": number::keyword("5")}}});
        let said = query(&number(Prefix::Sa)).unwrap();
        let both = &said["nested"]["query"]["bool"]["filter"];
        assert_eq!(both[0], json!({"term": {"quantities.key": "5"}}));
        assert_eq!(both[1], range);
    }

    /// What would stand for something in a pattern is written as itself.
    #[test]
    fn parts_are_no_patterns() {
        let part = StringTest::Contains("a*?\\b".into());
        let said = query(&Test::Strings(StringRows::all(ParameterKey(8)), vec![part])).unwrap();
        let pattern = &said["nested"]["query"]["bool"]["filter"][1]["wildcard"]["strings.value"];
        assert_eq!(pattern["value"], "*a\\*\\?\\\\b*");
    }
}
