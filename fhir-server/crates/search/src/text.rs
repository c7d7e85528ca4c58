//! Searches of words (`_text`, `_content`, a document's `section-text`): what of a resource is text, what a query of words means, and how well a text answers it
//! (<https://hl7.org/fhir/R5/search.html#_text>).
//!
//! The specification leaves the language to "typical text indexing services" and writes `(bone OR liver) and metastases`. Here: words and
//! `"phrases"`, `word*` for its beginning, AND between what stands side by side, AND and OR in any case, NOT in capitals only (in small letters
//! it is a word of the text), parentheses. AND binds closer than OR. Words are compared whole, in the normal form of strings. A word that is
//! several in that form (Jean-Luc) is a phrase. Refuses queries without a word, parentheses and quotes that do not close, and more than
//! [`TERMS_MAX`] terms.

use crate::query::TextOf;
use crate::string::words_into;
use serde_json::Value;

/// A query of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextQuery {
    /// Words that stand side by side, in the normal form, with single spaces; with `begins` the last one is the beginning of a word.
    Words {
        text: String,
        begins: bool,
    },
    All(Vec<TextQuery>),
    Any(Vec<TextQuery>),
    Not(Box<TextQuery>),
}

/// Most words, phrases, operators and parentheses of one query.
pub const TERMS_MAX: usize = 100;
/// Most parentheses and NOTs around a word, and sections around a section.
const DEPTH_MAX: usize = 20;

impl TextQuery {
    /// Reads a query.
    ///
    /// # Errors
    /// What is wrong with it, to follow the parameter's name.
    pub fn parse(text: &str) -> Result<TextQuery, &'static str> {
        let terms = terms(text)?;
        let mut parser = Parser { terms, at: 0 };
        let query = parser.any(0)?;
        match parser.at == parser.terms.len() {
            true => Ok(query),
            false => Err("has a ) without its ("),
        }
    }

    /// One of these.
    pub fn any(queries: Vec<TextQuery>) -> TextQuery {
        one_or(queries, TextQuery::Any)
    }

    /// How well the text answers, between 0 and 1, the better the higher; `None` when it does not. A text that answers by what it does not
    /// hold alone has 0.
    pub fn score(&self, text: &Words) -> Option<f64> {
        let score = self.weighed(text)?;
        Some((score.unwrap_or(0.0) * PRECISION).round() / PRECISION)
    }

    /// `Some(None)`: it holds, and has no weight.
    fn weighed(&self, text: &Words) -> Option<Option<f64>> {
        match self {
            TextQuery::Words {
                text: words,
                begins,
            } => match text.count(words, *begins) {
                0 => None,
                count => Some(Some(text.weight(count))),
            },
            TextQuery::All(parts) => {
                let weights: Option<Vec<_>> = parts.iter().map(|part| part.weighed(text)).collect();
                let weights: Vec<f64> = weights?.into_iter().flatten().collect();
                let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
                Some((!weights.is_empty()).then_some(mean))
            }
            // Each that is there adds to what the others leave of 1.
            TextQuery::Any(parts) => {
                let found: Vec<_> = parts.iter().filter_map(|part| part.weighed(text)).collect();
                let left = found.iter().flatten().map(|weight| 1.0 - weight);
                let weighed = found.iter().any(Option::is_some);
                (!found.is_empty()).then(|| weighed.then(|| 1.0 - left.product::<f64>()))
            }
            TextQuery::Not(part) => match part.weighed(text) {
                Some(_) => None,
                None => Some(None),
            },
        }
    }
}

/// Four digits of a score say enough.
const PRECISION: f64 = 10_000.0;

/// A text in the normal form: one space around each word, and a mark where one element's text ends and another's begins.
#[derive(Clone, Debug)]
pub struct Words {
    text: String,
    number: usize,
}

const MARK: &str = "\u{1} ";

impl Words {
    /// What a search of words looks at.
    pub fn of(of: TextOf, resource: &Value) -> Words {
        match of {
            TextOf::Narrative => Words::of_narrative(resource),
            TextOf::Sections => Words::of_sections(resource),
            TextOf::Content => Words::of_content(resource),
        }
    }

    /// Of the narrative (`_text`): what `text.div` shows.
    fn of_narrative(resource: &Value) -> Words {
        let mut words = Words::none();
        words.add_narrative(resource);
        words
    }

    /// Of the narratives of a document's sections (`section-text`).
    fn of_sections(resource: &Value) -> Words {
        let mut words = Words::none();
        words.add_sections(resource, 0);
        words
    }

    fn add_sections(&mut self, within: &Value, depth: usize) {
        let sections = within.get("section").and_then(Value::as_array);
        for section in sections.into_iter().flatten() {
            self.add_narrative(section);
            if depth < DEPTH_MAX {
                self.add_sections(section, depth + 1);
            }
        }
    }

    fn add_narrative(&mut self, of: &Value) {
        if let Some(Value::String(div)) = of.get("text").and_then(|text| text.get("div")) {
            self.add(&shown(div));
        }
    }

    /// Of the whole resource (`_content`): the narrative and every other text in it, codes and URLs too, also of what it contains.
    fn of_content(resource: &Value) -> Words {
        let mut words = Words::none();
        words.add_all(resource);
        words
    }

    /// Of a text in the normal form.
    pub fn of_text(normal: &str) -> Words {
        Words {
            text: format!(" {normal} "),
            number: normal.matches(' ').count() + 1,
        }
    }

    /// The texts of the elements, each in the normal form: words of two of them do not stand side by side.
    pub fn elements(&self) -> impl Iterator<Item = &str> {
        let elements = self.text.split(MARK.trim_end()).map(str::trim);
        elements.filter(|text| !text.is_empty())
    }

    fn none() -> Words {
        Words {
            text: " ".to_owned(),
            number: 0,
        }
    }

    fn add_all(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(div) if name == "div" => self.add(&shown(div)),
                        member => self.add_all(member),
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        // Base64, which is no words.
        if text.len() > WORD_MAX && !text.contains(char::is_whitespace) {
            return;
        }
        let before = self.text.len();
        words_into(text, &mut self.text);
        if self.text.len() > before {
            self.text.push(' ');
            self.number += self.text[before..].matches(' ').count();
            self.text.push_str(MARK);
        }
    }

    /// How often the words stand there.
    fn count(&self, words: &str, begins: bool) -> usize {
        let sought = match begins {
            true => format!(" {words}"),
            false => format!(" {words} "),
        };
        let (mut count, mut from) = (0, 0);
        while let Some(at) = self.text[from..].find(&sought) {
            count += 1;
            // The space behind one is the space before the next.
            from += at + 1;
        }
        count
    }

    /// Frequency, of which the first times count most, and less in a long text: BM25 without the rarity of the words, which only an index
    /// knows.
    fn weight(&self, count: usize) -> f64 {
        let length = self.number as f64 / USUAL_LENGTH;
        let count = count as f64;
        count / (count + 1.2 * (0.25 + 0.75 * length))
    }
}

/// Longest word, in bytes.
const WORD_MAX: usize = 256;
/// Words of a text that is neither short nor long.
const USUAL_LENGTH: f64 = 100.0;

/// What a narrative's XHTML shows, with a space for each tag.
fn shown(div: &str) -> String {
    let mut out = String::with_capacity(div.len());
    let mut rest = div;
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (end, after) = match rest.strip_prefix("<!--") {
            Some(_) => ("-->", 3),
            None if rest.starts_with('<') => (">", 1),
            None => (";", 1),
        };
        match rest.find(end) {
            Some(close) if end != ";" => {
                out.push(' ');
                rest = &rest[close + after..];
            }
            Some(close) if close <= ENTITY_MAX => {
                out.push(entity(&rest[1..close]));
                rest = &rest[close + 1..];
            }
            _ => {
                out.push(' ');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Longest name of a character, with the `&`.
const ENTITY_MAX: usize = 10;

/// The character of that name; a space for one that is not among those of XML or a number.
fn entity(name: &str) -> char {
    let number = name.strip_prefix('#');
    let code = number.and_then(|number| match number.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok(),
        None => number.parse().ok(),
    });
    match (name, code) {
        (_, Some(code)) => char::from_u32(code).unwrap_or(' '),
        ("amp", _) => '&',
        ("lt", _) => '<',
        ("gt", _) => '>',
        ("quot", _) => '"',
        ("apos", _) => '\'',
        _ => ' ',
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Open,
    Close,
    And,
    Or,
    Not,
    Words { text: String, begins: bool },
}

fn terms(text: &str) -> Result<Vec<Term>, &'static str> {
    let mut terms = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' => {
                terms.push(Term::Open);
                1
            }
            ')' => {
                terms.push(Term::Close);
                1
            }
            '"' => {
                let close = rest[1..].find('"').ok_or("has a \" that does not close")?;
                terms.extend(words(&rest[1..=close], false));
                close + 2
            }
            _ => {
                let end = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"');
                let word = &rest[..rest.find(end).unwrap_or(rest.len())];
                match word {
                    "NOT" => terms.push(Term::Not),
                    _ if word.eq_ignore_ascii_case("and") => terms.push(Term::And),
                    _ if word.eq_ignore_ascii_case("or") => terms.push(Term::Or),
                    _ => terms.extend(words(word, word.ends_with('*'))),
                }
                word.len()
            }
        };
        rest = rest[length..].trim_start();
        if terms.len() > TERMS_MAX {
            return Err("has more than 100 words");
        }
    }
    Ok(terms)
}

/// Nothing, where a word is punctuation alone.
fn words(text: &str, begins: bool) -> Option<Term> {
    let mut normal = String::new();
    words_into(text, &mut normal);
    (!normal.is_empty()).then_some(Term::Words {
        text: normal,
        begins,
    })
}

struct Parser {
    terms: Vec<Term>,
    at: usize,
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<TextQuery, &'static str> {
        let mut parts = vec![self.all(depth)?];
        while self.take(&Term::Or) {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, TextQuery::Any))
    }

    fn all(&mut self, depth: usize) -> Result<TextQuery, &'static str> {
        let mut parts = vec![self.part(depth)?];
        loop {
            let ends = matches!(self.terms.get(self.at), None | Some(Term::Or | Term::Close));
            if ends {
                return Ok(one_or(parts, TextQuery::All));
            }
            self.take(&Term::And);
            parts.push(self.part(depth)?);
        }
    }

    fn part(&mut self, depth: usize) -> Result<TextQuery, &'static str> {
        if depth > DEPTH_MAX {
            return Err("has more than 20 parentheses in each other");
        }
        let term = self.terms.get(self.at).cloned();
        self.at += 1;
        match term {
            Some(Term::Words { text, begins }) => Ok(TextQuery::Words { text, begins }),
            Some(Term::Not) => Ok(TextQuery::Not(Box::new(self.part(depth + 1)?))),
            Some(Term::Open) => {
                let inner = self.any(depth + 1)?;
                match self.take(&Term::Close) {
                    true => Ok(inner),
                    false => Err("has a ( without its )"),
                }
            }
            Some(Term::Close | Term::And | Term::Or) => {
                Err("must have a word on each side of AND and OR, and in parentheses")
            }
            None => Err("must have a word, also after AND, OR and NOT"),
        }
    }

    fn take(&mut self, term: &Term) -> bool {
        let there = self.terms.get(self.at) == Some(term);
        self.at += usize::from(there);
        there
    }
}

fn one_or(mut parts: Vec<TextQuery>, several: fn(Vec<TextQuery>) -> TextQuery) -> TextQuery {
    match parts.len() {
        1 => parts.remove(0),
        _ => several(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn resource() -> Value {
        json!({"resourceType": "Condition", "text": {"status": "generated",
            "div": "<div xmlns='x'><p>Bone&nbsp;metastases, <b>liv</b>er &lt; 2 cm&#33;</p><!-- not shown > --><p title='tip'>Fièvre &amp; toux. Liver again</p></div>"},
            "code": {"text": "Jean-Luc's pain", "coding": [{"system": "http://loinc.org", "code": "718-7"}]},
            "note": [{"text": "went home"}, {"text": "alone"}], "data": "AAAA".repeat(100)})
    }

    #[test]
    fn holds() {
        let (narrative, content) = (
            Words::of_narrative(&resource()),
            Words::of_content(&resource()),
        );
        for (text, in_narrative, in_content) in [
            ("metastases", true, true),
            ("METASTASES bone", true, true),
            ("(bone OR liver) and metastases", true, true),
            ("(spleen OR kidney) and metastases", false, false),
            ("spleen or kidney or liver", true, true),
            ("bone AND spleen OR liver", true, true),
            ("liver OR bone AND spleen", true, true),
            ("(liver OR bone) AND spleen", false, false),
            ("NOT spleen", true, true),
            ("bone NOT liver", false, false),
            ("bone AND NOT (spleen OR liver)", false, false),
            ("NOT NOT liver", true, true),
            ("\"bone metastases\"", true, true),
            ("\"metastases bone\"", false, false),
            ("fievre", true, true),
            ("FIEVRE \"& toux\"", true, true),
            ("metas*", true, true),
            ("etastases", false, false),
            ("metas", false, false),
            ("\"bone meta*\"", false, false),
            ("tip", false, false),
            ("shown", false, false),
            ("not", false, false),
            ("2 cm", true, true),
            ("jean-lucs", false, true),
            ("lucs", false, true),
            ("718-7", false, true),
            ("\"718 7\"", false, true),
            ("\"7 718\"", false, false),
            ("loinc*", false, true),
            ("\"went home\"", false, true),
            ("\"home alone\"", false, false),
            ("generated", false, true),
            ("AAAA*", false, false),
        ] {
            let query = TextQuery::parse(text).unwrap();
            assert_eq!(query.score(&narrative).is_some(), in_narrative, "{text}");
            assert_eq!(query.score(&content).is_some(), in_content, "{text}");
        }
    }

    #[test]
    fn texts_of_elements() {
        let of = |words: Words| words.elements().collect::<Vec<_>>().join("|");
        assert_eq!(
            of(Words::of_content(&resource())),
            "condition|generated|bone metastases liv er < 2 cm fievre toux liver again|jean lucs pain|http loincorg|718 7|went home|alone"
        );
        assert_eq!(of(Words::of_narrative(&json!({}))), "");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            " ",
            "()",
            "(a",
            "a)",
            "a AND",
            "OR a",
            "NOT",
            "\"a",
            "\"\"",
            "...",
            "a AND OR b",
        ] {
            assert!(TextQuery::parse(text).is_err(), "{text}");
        }
        assert!(TextQuery::parse(&"(".repeat(90)).is_err());
        assert!(TextQuery::parse(&"a ".repeat(101)).is_err());
    }

    #[test]
    fn scores() {
        let words = |text: &str| {
            let mut words = Words::none();
            words.add(text);
            words
        };
        let score = |query: &str, text: &str| {
            TextQuery::parse(query)
                .unwrap()
                .score(&words(text))
                .unwrap()
        };
        let long = "b ".repeat(500);
        assert!(score("a", "a a b") > score("a", "a b b"));
        assert!(score("a", "a b") > score("a", &format!("a {long}")));
        assert!(score("a or b", "a b") > score("a or b", "a c"));
        assert_eq!(score("a NOT c", "a b"), score("a", "a b"));
        assert_eq!(score("NOT c", "a b"), 0.0);
        assert_eq!(words("a a a").count("a a", false), 2);
        assert!((0.0..1.0).contains(&score("a", &"a ".repeat(9_999))));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a \"()*NOTANDé<&;#-]{0,40}", div in "[a<>&;#x!é -]{0,40}") {
            let words = Words::of_narrative(&json!({"text": {"div": div}}));
            if let Ok(query) = TextQuery::parse(&text) {
                let score = query.score(&words).unwrap_or(0.5);
                prop_assert!((0.0..=1.0).contains(&score));
            }
        }
    }
}
