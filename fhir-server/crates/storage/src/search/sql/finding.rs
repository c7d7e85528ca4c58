//! All rows that meet a filter, each found once. What it begins with is read once and as a whole, the rest is tested on each of those rows: whatever
//! the planner takes for small, nothing is read again for each row of something else.

use super::condition::ordered_table;
use super::{Selection, Sql};
use crate::search::estimate::is_led;
use crate::search::flat::Test;
use crate::search::span::Span;
use sqlx::{Postgres, QueryBuilder};

/// In a fence, so that it is looked up by its key and nothing else.
const ENTRY_OF_ROW: &str =
    " CROSS JOIN LATERAL (SELECT * FROM entry i WHERE i.pk = w.pk OFFSET 0) e";

/// The tests at the places `lead`, and the others, without the one at `except`.
fn led<'t>(
    filter: &'t [Test],
    lead: &[usize],
    except: Option<usize>,
) -> (Vec<&'t Test>, Vec<&'t Test>) {
    let tests = filter.iter().enumerate();
    let tests = tests.filter(|(at, _)| except != Some(*at));
    let (first, rest): (Vec<_>, Vec<_>) = tests.partition(|(at, _)| lead.contains(at));
    let plain = |tests: Vec<(usize, &'t Test)>| tests.into_iter().map(|(_, test)| test).collect();
    (plain(first), plain(rest))
}

impl Sql {
    /// `SELECT columns` of the entries `e` that meet the filter, beginning with the tests at the places `lead`.
    pub(super) fn found(&mut self, columns: &str, types: &[i16], filter: &[Test], lead: &[usize]) {
        let (first, rest) = led(filter, lead, None);
        self.of_types(columns, &first, rest, Some(types));
    }

    /// `(pk, value)` of the rows that meet the filter, of which the test at the place `date` is on the only date they may have: the rows of the index
    /// that it reads anyway have what is sorted by, and are looked for among those of the other tests of the `lead`.
    pub(super) fn found_dates(&mut self, date: usize, filter: &[Test], lead: &[usize]) {
        let (first, rest) = led(filter, lead, Some(date));
        self.push("SELECT w.pk, w.lo AS value FROM sp_date w");
        let row = match rest.iter().all(|test| test.asks_for_key_only()) {
            true => "w",
            false => {
                self.push(ENTRY_OF_ROW);
                "e"
            }
        };
        self.push(" WHERE ");
        self.ordered_row(&filter[date], "w");
        self.row_bounds(&filter[date], "w");
        if !first.is_empty() {
            self.push(" AND ");
            self.among("w", &first);
        }
        for test in rest {
            self.push(" AND (");
            self.test(test, row);
            self.push(")");
        }
    }

    /// The same where nothing was estimated: it begins with what an index leads to.
    pub(super) fn found_by_form(&mut self, columns: &str, filter: &[Test], types: Option<&[i16]>) {
        let mut tests: Vec<&Test> = filter.iter().collect();
        while let Some(at) = tests.iter().position(|test| matches!(test, Test::All(_))) {
            if let Test::All(all) = tests.remove(at) {
                tests.extend(all);
            }
        }
        let (first, rest) = match tests.iter().any(|test| is_led(test)) {
            true => (Vec::new(), tests),
            false => tests.into_iter().partition(|test| test.positive()),
        };
        self.of_types(columns, &first, rest, types);
    }

    fn of_types(
        &mut self,
        columns: &str,
        first: &[&Test],
        rest: Vec<&Test>,
        types: Option<&[i16]>,
    ) {
        let of_types = types.map(|types| Test::Type(types.to_vec()));
        let mut rest = rest;
        if !first.iter().chain(&rest).any(|test| test.typed()) {
            rest.extend(&of_types);
        }
        self.beginning(columns, first, &rest);
    }

    /// The tests that a walk makes on each row, but for the one at the place `made`.
    pub(super) fn walked_tests(
        &mut self,
        selection: Selection<'_>,
        row: &str,
        made: Option<usize>,
    ) {
        for (at, test) in selection.filter.iter().enumerate() {
            if made == Some(at) {
                continue;
            }
            self.push(" AND (");
            if selection.known.contains(&at) {
                self.among(row, &[test]);
            } else {
                self.test(test, row);
            }
            self.push(")");
        }
    }

    /// Whether a row is among those that meet all tests, to each of which an index leads: they are read once, into a hash.
    fn among(&mut self, row: &str, tests: &[&Test]) {
        self.push(&format!("({row}.pk IN (SELECT k.pk FROM ("));
        match tests {
            [only] => self.keys_of(only, "SELECT"),
            _ => self.keys_of_all(tests),
        }
        // `IS TRUE` keeps the planner from joining. It makes a hash of what it believes to have room there, and may believe in a third of a table where its plan
        // is for all values. What is always true, and no column that it has seen, it takes for one row in two hundred.
        self.push(") k WHERE k.pk & 0 = 0)) IS TRUE");
    }

    /// Joins the entries of rows, where the filter asks of them; gives what stands for them in its tests.
    pub(super) fn entries_of(&mut self, rows: &'static str, filter: &[Test]) -> &'static str {
        if filter.iter().all(Test::asks_for_key_only) {
            return rows;
        }
        self.push(&format!(" JOIN entry e ON e.pk = {rows}.pk"));
        "e"
    }

    fn beginning(&mut self, columns: &str, first: &[&Test], rest: &[&Test]) {
        self.push(&format!("SELECT {columns} FROM "));
        let is_entry_read = !rest.is_empty() || columns != "e.pk";
        match first {
            [] => {
                self.push("entry e");
            }
            _ if is_entry_read => {
                self.push("(");
                self.keys_of_all(first);
                self.push(") w").push(ENTRY_OF_ROW);
            }
            _ => {
                self.push("(");
                self.keys_of_all(first);
                self.push(") e");
            }
        }
        self.push(" WHERE true");
        for test in rest {
            self.push(" AND (");
            self.test(test, "e");
            self.push(")");
        }
    }

    /// `(pk)` of the rows that meet all tests, to each of which an index leads.
    fn keys_of_all(&mut self, tests: &[&Test]) {
        let (led, others): (Vec<&Test>, Vec<&Test>) = tests.iter().partition(|test| is_led(test));
        if let ([], [only]) = (led.as_slice(), others.as_slice()) {
            self.keys_of(only, "SELECT DISTINCT");
            return;
        }
        let mut between = "";
        if !led.is_empty() {
            self.push("(SELECT g.pk FROM entry g WHERE true");
            for test in led {
                self.push(" AND (");
                self.test(test, "g");
                self.push(")");
            }
            self.push(")");
            between = " INTERSECT ";
        }
        for test in others {
            self.push(between).push("(");
            self.keys_of(test, "SELECT");
            self.push(")");
            between = " INTERSECT ";
        }
    }

    /// `(pk)` of the rows that meet the test.
    fn keys_of(&mut self, test: &Test, select: &str) {
        match test {
            Test::Any(any) => {
                let mut between = "";
                for test in any {
                    self.push(between).push("(");
                    self.keys_of(test, "SELECT");
                    self.push(")");
                    between = " UNION ";
                }
            }
            test if test.is_ordered() => {
                let row = self.alias();
                self.push(&format!(
                    "{select} {row}.pk FROM {} {row} WHERE ",
                    ordered_table(test)
                ));
                self.ordered_row(test, &row);
                self.row_bounds(test, &row);
            }
            test => self.found_by_form("e.pk", std::slice::from_ref(test), None),
        }
    }

    /// Where the dates lie in the index, which the conditions on them do not always tell it.
    fn row_bounds(&mut self, test: &Test, row: &str) {
        let Test::Dates(dates) = test else { return };
        let Some(bounds) = dates.row_bounds() else {
            return;
        };
        if bounds.lo > i64::MIN {
            self.push(&format!(" AND {row}.lo >= ")).bind(bounds.lo);
        }
        if bounds.hi < i64::MAX {
            self.push(&format!(" AND {row}.lo < ")).bind(bounds.hi);
        }
    }

    /// The number of rows of the span, up to `most`.
    fn span(&mut self, span: &Span, most: i64) {
        self.push("(SELECT count(*) FROM (SELECT FROM ");
        match span {
            Span::Dates { key, lo, hi } => {
                self.push("sp_date w WHERE w.key = ").bind(*key);
                self.push(" AND w.lo >= ").bind(*lo);
                self.push(" AND w.lo <= ").bind(*hi);
                self.push(" ORDER BY w.lo");
            }
            Span::Numbers {
                key,
                marker,
                lo,
                hi,
            } => {
                self.push("sp_quantity w WHERE w.key = ").bind(*key);
                self.push(" AND w.marker = ").bind(*marker);
                for (operator, bound) in [(">=", lo), ("<=", hi)] {
                    if let Some(bound) = bound {
                        self.push(&format!(" AND w.lo {operator} "))
                            .number(bound.clone());
                    }
                }
                self.push(" ORDER BY w.lo");
            }
            Span::Strings { rows, lo, hi } => {
                self.push("sp_string w WHERE ");
                self.strings_of("w", *rows);
                self.push(" AND w.value >= ").bind(lo.clone());
                if let Some(hi) = hi {
                    self.push(" AND w.value <= ").bind(hi.clone());
                }
                self.push(" ORDER BY w.value");
            }
        }
        // In the order of the index: a plan that collects all of them first would not end at the limit.
        self.push(" LIMIT ").bind(most).push(") n)");
    }
}

/// One row of `(rows bigint[])`: how many lie in each list of spans, up to `most` in a span.
pub(in crate::search) fn rows_within(wanted: &[&Vec<Span>], most: i64) -> QueryBuilder<Postgres> {
    let mut sql = Sql::new("SELECT ARRAY[");
    for (at, spans) in wanted.iter().enumerate() {
        if at > 0 {
            sql.push(", ");
        }
        sql.push("0");
        for span in *spans {
            sql.push(" + ");
            sql.span(span, most);
        }
    }
    sql.push("]::bigint[]");
    sql.builder
}
