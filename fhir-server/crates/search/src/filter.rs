//! The grammar of `_filter` (<https://hl7.org/fhir/R5/search_filter.html>): text to a tree that knows where each part stands. What the names
//! and operators mean is said by `filter_clause`.
//!
//! - `and` and `or` have no precedence: `a or b and c` is `(a or b) and c`. `not` stands before a parenthesis only.
//! - Keywords and operators in any case. A value is a JSON string, or everything up to white space, `)` or `]`.
//! - A name may say the type a reference leads to, as elsewhere in a search: `subject:Patient.name`.
//!
//! Refuses more than [`DEPTH_MAX`] levels and [`TESTS_MAX`] tests. An error names the character, never the text.

use std::fmt;

/// Most levels of parentheses and brackets.
pub const DEPTH_MAX: usize = 20;
/// Most tests in one filter, those in brackets too.
pub const TESTS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Test(Test),
    Not(Box<Filter>),
    /// `and`.
    All(Vec<Filter>),
    /// `or`.
    Any(Vec<Filter>),
}

/// `path operator value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Never empty; the last is a name without a filter.
    pub path: Vec<Link>,
    pub operator: Operator,
    /// Of the operator: the character in the filter, from 1.
    pub operator_at: usize,
    pub value: String,
    /// Of the value.
    pub value_at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The character in the filter, from 1.
    pub at: usize,
    pub step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `name`, `name:Type`, `name[filter]`.
    Name {
        code: String,
        target: Option<String>,
        filter: Option<Box<Filter>>,
    },
    /// `_has:Type:name:`.
    Has { source: String, code: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Lt,
    Ge,
    Le,
    Ap,
    Sa,
    Eb,
    Pr,
    Po,
    Ss,
    Sb,
    In,
    Ni,
    Re,
}

const OPERATORS: [(&str, Operator); 19] = [
    ("eq", Operator::Eq),
    ("ne", Operator::Ne),
    ("co", Operator::Co),
    ("sw", Operator::Sw),
    ("ew", Operator::Ew),
    ("gt", Operator::Gt),
    ("lt", Operator::Lt),
    ("ge", Operator::Ge),
    ("le", Operator::Le),
    ("ap", Operator::Ap),
    ("sa", Operator::Sa),
    ("eb", Operator::Eb),
    ("pr", Operator::Pr),
    ("po", Operator::Po),
    ("ss", Operator::Ss),
    ("sb", Operator::Sb),
    ("in", Operator::In),
    ("ni", Operator::Ni),
    ("re", Operator::Re),
];

impl Operator {
    pub fn name(self) -> &'static str {
        let found = OPERATORS.iter().find(|(_, operator)| *operator == self);
        found.map_or("", |(name, _)| name)
    }
}

/// Why a filter was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The character, from 1.
    pub at: usize,
    pub kind: ErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    Expected(&'static str),
    TooDeep,
    TooMany,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.kind {
            ErrorKind::Expected(what) => write!(f, "{what} is expected at character {at}"),
            ErrorKind::TooDeep => write!(f, "more than {DEPTH_MAX} levels at character {at}"),
            ErrorKind::TooMany => write!(f, "more than {TESTS_MAX} tests at character {at}"),
        }
    }
}

/// Understands a filter.
///
/// # Errors
/// The first place that does not fit the grammar or is beyond a limit.
pub fn parse(text: &str) -> Result<Filter, Error> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        tests: 0,
    };
    let filter = reader.filter()?;
    match reader.rest().is_empty() {
        true => Ok(filter),
        false => Err(reader.expected("and, or or the end")),
    }
}

struct Reader<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    depth: usize,
    tests: usize,
}

impl<'t> Reader<'t> {
    fn filter(&mut self) -> Result<Filter, Error> {
        if self.depth > DEPTH_MAX {
            return Err(self.error(ErrorKind::TooDeep));
        }
        let mut filter = self.one()?;
        loop {
            self.space();
            if self.rest().is_empty() || self.rest().starts_with([')', ']']) {
                return Ok(filter);
            }
            filter = match self.keyword(&["and", "or"]) {
                Some("and") => match (filter, self.one()?) {
                    (Filter::All(mut all), next) => {
                        all.push(next);
                        Filter::All(all)
                    }
                    (first, next) => Filter::All(vec![first, next]),
                },
                Some(_) => match (filter, self.one()?) {
                    (Filter::Any(mut any), next) => {
                        any.push(next);
                        Filter::Any(any)
                    }
                    (first, next) => Filter::Any(vec![first, next]),
                },
                None => return Err(self.expected("and, or or the end")),
            };
        }
    }

    /// A test, or a filter in parentheses.
    fn one(&mut self) -> Result<Filter, Error> {
        self.space();
        if self.rest().starts_with('(') {
            return self.bracketed('(', ')', "`)`");
        }
        let start = self.at;
        if self.keyword(&["not"]).is_some() {
            self.space();
            match self.rest().starts_with('(') {
                true => {
                    let inner = self.bracketed('(', ')', "`)`")?;
                    return Ok(Filter::Not(Box::new(inner)));
                }
                // A parameter may have that name.
                false => self.at = start,
            }
        }
        self.tests += 1;
        if self.tests > TESTS_MAX {
            return Err(self.error(ErrorKind::TooMany));
        }
        self.test().map(Filter::Test)
    }

    fn bracketed(
        &mut self,
        open: char,
        close: char,
        expected: &'static str,
    ) -> Result<Filter, Error> {
        self.take(open);
        self.depth += 1;
        let filter = self.filter()?;
        self.depth -= 1;
        match self.take(close) {
            true => Ok(filter),
            false => Err(self.expected(expected)),
        }
    }

    fn test(&mut self) -> Result<Test, Error> {
        let mut path = Vec::new();
        while self.link(&mut path)? {}
        self.space();
        let operator_at = self.character();
        let name = self.word(|c| c.is_ascii_alphabetic());
        let operator = OPERATORS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, operator)| *operator);
        let Some(operator) = operator else {
            self.at -= name.len();
            return Err(self.expected("an operator"));
        };
        if !self.rest().starts_with(char::is_whitespace) {
            return Err(self.expected("a blank"));
        }
        self.space();
        let value_at = self.character();
        let value = self.value()?;
        Ok(Test {
            path,
            operator,
            operator_at,
            value,
            value_at,
        })
    }

    /// Adds one link of a path; whether another follows.
    fn link(&mut self, path: &mut Vec<Link>) -> Result<bool, Error> {
        let at = self.character();
        let mut push = |step| path.push(Link { at, step });
        if self.rest().starts_with("_has:") {
            self.at += "_has:".len();
            let source = self.name("a resource type")?;
            if !self.take(':') {
                return Err(self.expected("`:`"));
            }
            let code = self.name("the name of a reference parameter")?;
            if !self.take(':') {
                return Err(self.expected("`:`"));
            }
            push(Step::Has { source, code });
            return Ok(true);
        }
        let code = self.name("the name of a search parameter")?;
        let target = match self.take(':') {
            true => Some(self.name("a resource type")?),
            false => None,
        };
        let filter = match self.rest().starts_with('[') {
            true => Some(Box::new(self.bracketed('[', ']', "`]`")?)),
            false => None,
        };
        let bound = filter.is_some();
        push(Step::Name {
            code,
            target,
            filter,
        });
        match (self.take('.'), bound) {
            (false, true) => Err(self.expected("`.` and a name")),
            (more, _) => Ok(more),
        }
    }

    fn name(&mut self, expected: &'static str) -> Result<String, Error> {
        let starts = self
            .rest()
            .starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
        if !starts {
            return Err(self.expected(expected));
        }
        let name = self.word(|c| matches!(c, '_' | '-') || c.is_ascii_alphanumeric());
        Ok(name.to_owned())
    }

    fn value(&mut self) -> Result<String, Error> {
        if self.rest().starts_with('"') {
            return self.string();
        }
        match self.word(|c| !c.is_whitespace() && !matches!(c, ')' | ']')) {
            value if !value.is_empty() && !value.contains('\0') => Ok(value.to_owned()),
            _ => Err(self.expected("a value")),
        }
    }

    /// A JSON string.
    fn string(&mut self) -> Result<String, Error> {
        let mut escaped = false;
        let end = self.rest().char_indices().skip(1).find_map(|(at, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(at + 1)
        });
        let json = end.and_then(|end| self.rest().get(..end));
        let read = json.and_then(|json| serde_json::from_str::<String>(json).ok());
        let (Some(end), Some(value)) = (end, read.filter(|value| !value.contains('\0'))) else {
            return Err(self.expected("a JSON string"));
        };
        self.at += end;
        let ends = self.rest().is_empty()
            || self
                .rest()
                .starts_with(|c: char| c.is_whitespace() || matches!(c, ')' | ']'));
        match ends {
            true => Ok(value),
            false => Err(self.expected("a blank")),
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, c: char) -> bool {
        let there = self.rest().starts_with(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn word(&mut self, part: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// One of these words, in any case, if it comes next.
    fn keyword(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let start = self.at;
        let next = self.word(|c| matches!(c, '_' | '-') || c.is_ascii_alphanumeric());
        let found = words.iter().find(|word| word.eq_ignore_ascii_case(next));
        if found.is_none() {
            self.at = start;
        }
        found.copied()
    }

    /// Where it stands, in characters from 1.
    fn character(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn expected(&self, what: &'static str) -> Error {
        self.error(ErrorKind::Expected(what))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error {
            at: self.character(),
            kind,
        }
    }
}

/// As it could be written: a filter that is read from it is this one but for the places.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, between) = match self {
            Filter::Test(test) => return test.fmt(f),
            Filter::Not(inner) => return write!(f, "not ({inner})"),
            Filter::All(parts) => (parts, " and "),
            Filter::Any(parts) => (parts, " or "),
        };
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(between)?;
            }
            match part {
                Filter::All(_) | Filter::Any(_) => write!(f, "({part})")?,
                part => part.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.path.iter().enumerate() {
            match &link.step {
                Step::Has { source, code } => write!(f, "_has:{source}:{code}:")?,
                Step::Name {
                    code,
                    target,
                    filter,
                } => {
                    f.write_str(code)?;
                    if let Some(target) = target {
                        write!(f, ":{target}")?;
                    }
                    if let Some(filter) = filter {
                        write!(f, "[{filter}]")?;
                    }
                    if index + 1 < self.path.len() {
                        f.write_str(".")?;
                    }
                }
            }
        }
        let value = serde_json::Value::String(self.value.clone());
        write!(f, " {} {value}", self.operator.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads() {
        for (text, expect) in [
            ("name co \"pet\"", r#"name co "pet""#),
            (
                "a eq 1 or b eq 2 and c eq 3",
                r#"(a eq "1" or b eq "2") and c eq "3""#,
            ),
            (
                "a eq 1 or (b eq 2 and c eq 3)",
                r#"a eq "1" or (b eq "2" and c eq "3")"#,
            ),
            (
                "a eq 1 and b eq 2 and c eq 3",
                r#"a eq "1" and b eq "2" and c eq "3""#,
            ),
            ("NOT(a EQ 1)AND b Ne x", r#"not (a eq "1") and b ne "x""#),
            ("not (not (a pr true))", r#"not (not (a pr "true"))"#),
            (" ( ( a eq b ) ) ", r#"a eq "b""#),
            ("not eq 1", r#"not eq "1""#),
            ("and eq or or or eq and", r#"and eq "or" or or eq "and""#),
            (
                "related[type eq has-component].target re Observation/4",
                r#"related[type eq "has-component"].target re "Observation/4""#,
            ),
            (
                "subject:Patient[gender eq male and (a eq b)].name co x",
                r#"subject:Patient[gender eq "male" and a eq "b"].name co "x""#,
            ),
            (
                "_has:Observation:patient:code eq http://loinc.org|1234-5",
                r#"_has:Observation:patient:code eq "http://loinc.org|1234-5""#,
            ),
            (
                "_has:A:b:_has:C:d:e.f eq 2014-10-10T10:00:00+01:00",
                r#"_has:A:b:_has:C:d:e.f eq "2014-10-10T10:00:00+01:00""#,
            ),
            (
                r#"a eq "q\"\\\u00e9) ] and (" or b eq c"#,
                r#"a eq "q\"\\é) ] and (" or b eq "c""#,
            ),
        ] {
            let filter = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.to_string(), expect, "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, at, expected) in [
            ("", 1, "the name of a search parameter"),
            ("  ", 3, "the name of a search parameter"),
            ("name", 5, "an operator"),
            ("name is 1", 6, "an operator"),
            ("name eq", 8, "a blank"),
            ("name eq ", 9, "a value"),
            ("name eq )", 9, "a value"),
            ("name eq a\0", 11, "a value"),
            ("ü eq 1", 1, "the name of a search parameter"),
            ("name eq \"é", 9, "a JSON string"),
            (r#"name eq "\u0000""#, 9, "a JSON string"),
            (r#"name eq "a"b"#, 12, "a blank"),
            ("name eq é x", 11, "and, or or the end"),
            ("name eq a and", 14, "the name of a search parameter"),
            ("(name eq a", 11, "`)`"),
            ("name eq a)", 10, "and, or or the end"),
            ("a[b eq c] eq d", 10, "`.` and a name"),
            ("a[b eq c", 9, "`]`"),
            ("a[b eq c).d eq e", 9, "`]`"),
            ("a. eq b", 3, "the name of a search parameter"),
            ("_has:A eq b", 7, "`:`"),
            ("_has:A:b eq c", 9, "`:`"),
            ("not a eq b", 5, "an operator"),
        ] {
            let error = parse(text).expect_err(text);
            let kind = ErrorKind::Expected(expected);
            assert_eq!(error, Error { at, kind }, "{text}");
        }
    }

    #[test]
    fn limits() {
        let deep = |levels: usize| format!("{}a eq b{}", "(".repeat(levels), ")".repeat(levels));
        assert!(parse(&deep(DEPTH_MAX)).is_ok());
        let error = parse(&deep(DEPTH_MAX + 1)).expect_err("too deep");
        assert_eq!(error.kind, ErrorKind::TooDeep);
        let many = |tests: usize| vec!["a eq b"; tests].join(" or ");
        assert!(parse(&many(TESTS_MAX)).is_ok());
        let error = parse(&many(TESTS_MAX + 1)).expect_err("too many");
        assert_eq!(error.kind, ErrorKind::TooMany);
    }

    /// The value of a filter whose tests are `a eq true` or `a eq false`.
    fn holds(filter: &Filter) -> bool {
        match filter {
            Filter::Test(test) => test.value == "true",
            Filter::Not(inner) => !holds(inner),
            Filter::All(parts) => parts.iter().all(holds),
            Filter::Any(parts) => parts.iter().any(holds),
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            (
                "[a-z_][a-z0-9_-]{0,4}",
                "[^\\s)\\]\"\\x00][^\\s)\\]\\x00]{0,6}"
            )
                .prop_map(|(name, value)| format!("{name} eq {value}")),
            ("[a-z]{1,3}", "\\PC{0,8}").prop_map(|(name, value)| {
                format!("{name}.{name} co {}", serde_json::Value::String(value))
            }),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|inner| format!("not({inner})")),
                inner.clone().prop_map(|inner| format!("a[{inner}].b ne 1")),
                (
                    inner.clone(),
                    prop::sample::select(vec!["and", "OR"]),
                    inner
                )
                    .prop_map(|(a, word, b)| format!("({a}) {word} {b}")),
            ]
        })
    }

    proptest! {
        /// What is read means what is written, from left to right.
        #[test]
        fn from_left_to_right(first in any::<bool>(), rest in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..8)) {
            let mut text = format!("a eq {first}");
            let mut expect = first;
            for (and, not, value) in rest {
                let one = if not { format!("not (a eq {value})") } else { format!("a eq {value}") };
                text += &format!(" {} {one}", if and { "and" } else { "or" });
                let value = value != not;
                expect = if and { expect && value } else { expect || value };
            }
            prop_assert_eq!(holds(&parse(&text).unwrap()), expect, "{}", text);
        }

        #[test]
        fn written_reads_back(text in text()) {
            let once = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string();
            prop_assert_eq!(parse(&once).unwrap().to_string(), once);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_ .:()\\[\\]\"\\\\|é]{0,40}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.at <= text.chars().count() + 1);
            }
        }
    }
}
