//! A [`Test`] as a condition on one row of `entry`. What prefixes mean is said by [`DateMatch::matches`] and
//! [`fhir_search::query::NumberMatch::matches`]; here the same stands in a form that indexes serve.

use super::{Sql, TARGET, TARGET_BITS};
use crate::search::flat::{DateTest, QuantityTest, StringTest, Test};
use crate::search::span::{after_all_that_begin_with, latitudes};
use fhir_definitions::StringRows;
use fhir_search::document::STRING_MAX;
use fhir_search::position::{EARTH_METRES, Near, Point};
use fhir_search::query::{DateMatch, Prefix, TextComparison};
use fhir_search::text::TextQuery;

/// The table in which an ordered index has what the test asks for; [`Test::is_ordered`] says which tests those are.
pub(super) fn ordered_table(test: &Test) -> &'static str {
    match test {
        Test::Dates(_) => "sp_date",
        Test::Strings(..) => "sp_string",
        _ => "sp_quantity",
    }
}

impl Sql {
    /// The filter, and the type where the filter does not imply it.
    pub(super) fn all(&mut self, filter: &[Test], types: &[i16], alias: &str) {
        self.every(filter, alias);
        if !filter.iter().any(Test::typed) {
            self.push(" AND ");
            self.test(&Test::Type(types.to_vec()), alias);
        }
    }

    pub(super) fn every(&mut self, tests: &[Test], alias: &str) {
        self.list(tests, alias, " AND ", "true");
    }

    pub(super) fn list(&mut self, tests: &[Test], alias: &str, between: &str, empty: &str) {
        if tests.is_empty() {
            self.push(empty);
        }
        for (index, test) in tests.iter().enumerate() {
            if index > 0 {
                self.push(between);
            }
            self.push("(");
            self.test(test, alias);
            self.push(")");
        }
    }

    pub(super) fn test(&mut self, test: &Test, alias: &str) {
        match test {
            Test::Type(types) => match types.as_slice() {
                [one] => {
                    self.push(alias).push(".type = ").bind(*one);
                }
                _ => {
                    self.push(alias)
                        .push(".type = ANY(")
                        .bind(types.clone())
                        .push(")");
                }
            },
            Test::Tokens(tokens) => self.overlap(alias, "tokens", tokens),
            Test::References(references) => self.overlap(alias, "refs", references),
            Test::Rows(rows) => {
                self.push(alias)
                    .push(".pk = ANY(")
                    .bind(rows.clone())
                    .push(")");
            }
            Test::Dates(_) | Test::Quantities(..) | Test::Strings(..) | Test::Near(..) => {
                self.exists(test, alias);
            }
            Test::Updated(any) => {
                self.any(any, |sql, date| sql.updated(alias, date));
            }
            // Rows by now.
            Test::Words(..) => {
                debug_assert!(false, "words are read, not asked for");
                self.push("false");
            }
            Test::AnyOfReferences(references) => {
                let r = self.alias();
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM unnest({alias}.refs) {r} WHERE {r} = ANY("
                ));
                self.bind(references.clone()).push("))");
            }
            Test::Points(key, to) => {
                let (r, target) = (self.alias(), self.alias());
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM unnest({alias}.refs) {r} JOIN entry {target} ON {target}.pk = ({r} & {TARGET}) WHERE {r} >> 40 = "
                ));
                self.bind(i64::from(*key)).push(" AND (");
                self.test(to, &target);
                self.push("))");
            }
            Test::PointedAt(key, by) => {
                let (source, r) = (self.alias(), self.alias());
                if self.many {
                    self.push(&format!("{alias}.pk IN (SELECT {r} & {TARGET} FROM ("));
                    self.found_by_form("e.refs", std::slice::from_ref(&**by), None);
                    self.push(&format!(
                        ") {source}, unnest({source}.refs) {r} WHERE {r} >> 40 = "
                    ));
                    self.bind(i64::from(*key)).push(")");
                    return;
                }
                self.push(&format!(
                    "EXISTS (SELECT 1 FROM entry {source} WHERE {source}.refs @> ARRAY[("
                ));
                self.bind(i64::from(*key) << TARGET_BITS);
                self.push(&format!(" | {alias}.pk)] AND ("));
                self.test(by, &source);
                self.push("))");
            }
            Test::Any(tests) => self.list(tests, alias, " OR ", "false"),
            Test::All(tests) => self.list(tests, alias, " AND ", "true"),
            Test::Not(test) => {
                self.push("NOT (");
                self.test(test, alias);
                self.push(")");
            }
        }
    }

    pub(super) fn overlap(&mut self, alias: &str, column: &str, values: &[i64]) {
        let operator = if values.len() == 1 { "@>" } else { "&&" };
        self.push(&format!("{alias}.{column} {operator} "))
            .bind(values.to_vec());
    }

    fn exists(&mut self, test: &Test, alias: &str) {
        let inner = self.alias();
        self.push(&format!(
            "EXISTS (SELECT 1 FROM {} {inner} WHERE {inner}.pk = {alias}.pk AND ",
            ordered_table(test)
        ));
        self.ordered_row(test, &inner);
        if self.row_by_row {
            // The planner would make a join of it, and begin with whatever it takes for small.
            self.push(" OFFSET 0");
        }
        self.push(")");
    }

    /// The condition on one row of [`ordered_table`].
    pub(super) fn ordered_row(&mut self, test: &Test, row: &str) {
        let key = |sql: &mut Sql, key: i16| {
            sql.push(row).push(".key = ").bind(key).push(" AND ");
        };
        match test {
            Test::Dates(dates) => {
                key(self, dates.key);
                self.dates(row, &dates.all);
            }
            Test::Quantities(of, any) => {
                key(self, *of);
                self.any(any, |sql, test| sql.quantity(row, test));
            }
            Test::Strings(of, any) => {
                self.strings_of(row, *of);
                self.push(" AND ");
                self.any(any, |sql, test| sql.string(row, test));
            }
            Test::Near(of, any) => {
                key(self, *of);
                self.any(any, |sql, near| sql.near(row, near));
            }
            _ => {
                self.push("false");
            }
        }
    }

    /// The rows of `sp_string` that are a parameter's.
    pub(super) fn strings_of(&mut self, row: &str, rows: StringRows) {
        self.push(row).push(".key = ").bind(rows.key.0);
        if rows.parts != 0 {
            self.push(&format!(" AND {row}.parts & "))
                .bind(rows.parts)
                .push(" <> 0");
        }
    }

    /// The conditions on one row of `sp_date`.
    pub(super) fn dates(&mut self, alias: &str, all: &[Vec<DateTest>]) {
        for (index, any) in all.iter().enumerate() {
            if index > 0 {
                self.push(" AND ");
            }
            self.any(any, |sql, test| {
                if test.marker != 0 {
                    sql.push(alias)
                        .push(".marker = ")
                        .bind(test.marker)
                        .push(" AND ");
                }
                sql.push("(");
                sql.date(&format!("{alias}.lo"), &format!("{alias}.hi"), &test.date);
                sql.push(")");
            });
        }
    }

    pub(super) fn any<T>(&mut self, any: &[T], write: impl Fn(&mut Sql, &T)) {
        self.push("(");
        if any.is_empty() {
            self.push("false");
        }
        for (index, value) in any.iter().enumerate() {
            if index > 0 {
                self.push(" OR ");
            }
            self.push("(");
            write(self, value);
            self.push(")");
        }
        self.push(")");
    }

    /// The stored range against the date, <https://hl7.org/fhir/R5/search.html#date>. Both are half open.
    pub(super) fn date(&mut self, lo: &str, hi: &str, date: &DateMatch) {
        let (a, b) = (date.range.lo, date.range.hi);
        let mut conditions: Vec<(&str, &str, i64)> = Vec::new();
        let between = match date.prefix {
            // The middle one follows from the others; it bounds the index scan.
            Prefix::Eq => {
                conditions.extend([(lo, ">=", a), (lo, "<", b), (hi, "<=", b)]);
                " AND "
            }
            Prefix::Ne => {
                conditions.extend([(lo, "<", a), (hi, ">", b)]);
                " OR "
            }
            Prefix::Gt => {
                conditions.push((hi, ">", b));
                ""
            }
            Prefix::Lt => {
                conditions.push((lo, "<", a));
                ""
            }
            // Greater, or equal.
            Prefix::Ge => {
                conditions.extend([(hi, ">", b), (lo, ">=", a)]);
                " OR "
            }
            Prefix::Le => {
                conditions.extend([(lo, "<", a), (hi, "<=", b)]);
                " OR "
            }
            Prefix::Sa => {
                conditions.push((lo, ">=", b));
                ""
            }
            Prefix::Eb => {
                conditions.extend([(hi, "<=", a), (lo, "<", a)]);
                " AND "
            }
            Prefix::Ap => {
                conditions.extend([(lo, "<", b), (hi, ">", a)]);
                " AND "
            }
            Prefix::Co => {
                conditions.extend([(lo, "<=", a), (hi, ">=", b)]);
                " AND "
            }
        };
        for (index, (column, operator, bound)) in conditions.into_iter().enumerate() {
            if index > 0 {
                self.push(between);
            }
            self.push(&format!("{column} {operator} ")).bind(bound);
        }
    }

    /// `meta.lastUpdated` covers one millisecond.
    pub(super) fn updated(&mut self, alias: &str, date: &DateMatch) {
        const MILLISECOND: i64 = 1_000;
        let (a, b) = (date.range.lo, date.range.hi);
        let last = b.saturating_sub(MILLISECOND);
        let bounds: &[(&str, i64)] = match date.prefix {
            Prefix::Eq => &[(">=", a), ("<=", last)],
            Prefix::Ne => {
                self.push("NOT (");
                self.updated(
                    alias,
                    &DateMatch {
                        prefix: Prefix::Eq,
                        range: date.range,
                    },
                );
                self.push(")");
                return;
            }
            Prefix::Gt => &[(">", last)],
            Prefix::Lt => &[("<", a)],
            Prefix::Ge => &[(">=", a)],
            Prefix::Le => &[("<=", last)],
            Prefix::Sa => &[(">=", b)],
            Prefix::Eb => &[("<=", a.saturating_sub(MILLISECOND))],
            Prefix::Ap => &[("<", b), (">", a.saturating_sub(MILLISECOND))],
            Prefix::Co => &[("<=", a), (">=", last)],
        };
        for (index, (operator, bound)) in bounds.iter().enumerate() {
            if index > 0 {
                self.push(" AND ");
            }
            self.push(&format!("{alias}.last_updated {operator} "))
                .instant(*bound);
        }
    }

    /// The stored closed range against the number, <https://hl7.org/fhir/R5/search.html#number>: the written precision counts for
    /// eq, ne and ap only.
    pub(super) fn quantity(&mut self, alias: &str, test: &QuantityTest) {
        // Always the marker, even 0: the indexes have it in front of the number.
        self.push(alias)
            .push(".marker = ")
            .bind(test.marker)
            .push(" AND ");
        if let Some(unit) = test.unit {
            self.push(alias)
                .push(".units @> ")
                .bind(vec![unit])
                .push(" AND ");
        }
        let number = &test.number;
        let lo = format!("coalesce({alias}.lo, '-infinity'::numeric)");
        let hi = format!("coalesce({alias}.hi, 'infinity'::numeric)");
        let (from, to) = (number.from.to_plain(), number.to.to_plain());
        let conditions: Vec<(String, &str, String)> = match number.prefix {
            // Bare columns, so that the index is of use: an open side never lies inside.
            Prefix::Eq => vec![
                (format!("{alias}.lo"), ">=", from),
                (format!("{alias}.lo"), "<", to.clone()),
                (format!("{alias}.hi"), "<", to),
            ],
            Prefix::Ne => {
                self.push(&format!("({lo} < ")).number(from);
                self.push(&format!(" OR {hi} >= ")).number(to).push(")");
                return;
            }
            Prefix::Gt | Prefix::Ge => {
                // A point is above when its lower end is, which the index on it tells; the few that are no points have their own index.
                let operator = if number.prefix == Prefix::Gt {
                    ">"
                } else {
                    ">="
                };
                self.push(&format!("({alias}.lo {operator} "))
                    .number(from.clone());
                self.push(&format!(
                    " OR ({alias}.lo IS DISTINCT FROM {alias}.hi AND {hi} {operator} "
                ));
                self.number(from).push("))");
                return;
            }
            Prefix::Lt | Prefix::Le => {
                let operator = if number.prefix == Prefix::Lt {
                    "<"
                } else {
                    "<="
                };
                self.push(&format!("({alias}.lo IS NULL OR {alias}.lo {operator} "));
                self.number(from).push(")");
                return;
            }
            Prefix::Sa => vec![(format!("{alias}.lo"), ">", from)],
            Prefix::Eb => vec![(format!("{alias}.hi"), "<", from)],
            Prefix::Ap => vec![(lo, "<=", to), (hi, ">=", from)],
            Prefix::Co => {
                // Half a unit of the last place that is stored.
                let half =
                    |column: &str| format!("('5e-' || (scale({alias}.{column}) + 1))::numeric");
                let lo = format!(
                    "coalesce({alias}.lo - {}, '-infinity'::numeric)",
                    half("lo")
                );
                let hi = format!("coalesce({alias}.hi + {}, 'infinity'::numeric)", half("hi"));
                vec![(lo, "<=", from.clone()), (hi, ">", from)]
            }
        };
        for (index, (column, operator, bound)) in conditions.into_iter().enumerate() {
            if index > 0 {
                self.push(" AND ");
            }
            self.push(&format!("{column} {operator} ")).number(bound);
        }
    }

    /// The same distance as [`Near::matches`]; the latitude bounds the index scan.
    fn near(&mut self, alias: &str, near: &Near) {
        let Point {
            latitude,
            longitude,
        } = near.at;
        let angle = near.reach_metres() / EARTH_METRES;
        let (south, north) = latitudes(near);
        self.push(alias).push(".marker = 0 AND ");
        for (operator, bound) in [(">=", south), ("<=", north)] {
            self.push(&format!("{alias}.lo {operator} "))
                .number(bound)
                .push(" AND ");
        }
        self.push(&format!(
            "asin(sqrt(least(1, power(sind(({alias}.lo::float8 - "
        ));
        self.bind(latitude)
            .push(&format!(") / 2), 2) + cosd({alias}.lo::float8) * cosd("));
        self.bind(latitude)
            .push(&format!(") * power(sind(({alias}.hi::float8 - "));
        self.bind(longitude).push(") / 2), 2)))) <= ");
        // No two places are farther from each other than half way around.
        self.bind((angle / 2.0).min(2.0));
    }

    pub(super) fn number(&mut self, plain: String) -> &mut Sql {
        self.bind(plain).push("::text::numeric")
    }

    /// Whether normalised text answers the query, as [`TextQuery::score`] says.
    fn words(&mut self, text: &str, query: &TextQuery) {
        let (parts, between) = match query {
            TextQuery::Words {
                text: words,
                begins,
            } => {
                let end = if *begins { "" } else { " " };
                self.push(&format!("strpos(' ' || {text} || ' ', "))
                    .bind(format!(" {words}{end}"))
                    .push(") > 0");
                return;
            }
            TextQuery::Not(query) => {
                self.push("NOT (");
                self.words(text, query);
                self.push(")");
                return;
            }
            TextQuery::All(parts) => (parts, " AND "),
            TextQuery::Any(parts) => (parts, " OR "),
        };
        for (index, part) in parts.iter().enumerate() {
            self.push(if index > 0 { between } else { "" }).push("(");
            self.words(text, part);
            self.push(")");
        }
    }

    pub(super) fn string(&mut self, alias: &str, test: &StringTest) {
        match test {
            StringTest::StartsWith(prefix) => {
                self.push(alias).push(".value >= ").bind(prefix.clone());
                self.push(&format!(" AND {alias}.value < "))
                    .bind(after_all_that_begin_with(prefix));
            }
            StringTest::Is(TextComparison::EndsWith, end) => {
                self.push(&format!("char_length({alias}.value) < {STRING_MAX} AND right({alias}.value, char_length("));
                self.bind(end.clone()).push("::text)) = ").bind(end.clone());
            }
            StringTest::Is(comparison, text) => {
                let operator = match comparison {
                    TextComparison::Equal | TextComparison::EndsWith => "=",
                    TextComparison::Unequal => "<>",
                    TextComparison::Greater => ">",
                    TextComparison::Less => "<",
                    TextComparison::GreaterOrEqual => ">=",
                    TextComparison::LessOrEqual => "<=",
                };
                self.push(&format!("{alias}.value {operator} "))
                    .bind(text.clone());
            }
            StringTest::Cut => {
                self.push(&format!("char_length({alias}.value) >= {STRING_MAX}"));
            }
            StringTest::Contains(part) => {
                self.push("strpos(")
                    .push(alias)
                    .push(".value, ")
                    .bind(part.clone())
                    .push(") > 0");
            }
            StringTest::Words(query) => {
                // Of a longer one the words that are cut off count too.
                self.push(&format!("char_length({alias}.value) < {STRING_MAX} AND ("));
                self.words(&format!("{alias}.value"), query);
                self.push(")");
            }
        }
    }
}
