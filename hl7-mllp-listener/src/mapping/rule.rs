//! The one-line rules of the mapping language, read into a syntax tree. The language is described in docs/mapping-language.md.
//!
//! ```text
//! rule       target ':' value [ '|' converter ] [ '->' vocabulary ] [ 'when' condition ]
//! target     step { '.' step }                  step   name [ '[]' | '[+]' | '[label]' | '[x]' ]      a ':' written '?:' fills only what is absent
//! value      atom { 'or' atom }                 atom   address | "text with {address}" | $name
//! address    PID-3.1.2  PID-3*  PID-3[2]  PID-3[2*]  NK1*  NTE*.3  .1.2  .
//! converter  Name.name [ '(' name=value { ',' name=value } ')' ]
//! condition  value [ = "x" | != "x" | in ("x", "y") | like "x*" ]  not … , … and …, … or …, ( … )
//! ```

mod relation;

pub use relation::{Line, Relation, Verb};

use crate::structure::is_segment_name;

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub target: Vec<Step>,
    /// Written `?:`, sets the target only when it is still absent.
    pub fallback: bool,
    pub value: Vec<Atom>,
    pub converter: Option<Call>,
    pub vocabulary: Option<String>,
    pub when: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: String,
    pub index: Index,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Index {
    /// A single element.
    One,
    /// `[]`: a new item of the list for every value.
    Each,
    /// `[+]`: one new item.
    New,
    /// `[label]`: the item that this label names, the same for every rule of the map.
    Label(String),
    /// `[x]`: a choice element; the converter says the type.
    Choice,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Atom {
    Address(Address),
    /// Pieces of a text; an address without a value makes the whole text absent, unless it is written `{address?}`.
    Template(Vec<Piece>),
    /// `$name`.
    Variable(String),
    /// `$name*`: every one of a list.
    Every(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Text(String),
    Part { value: Vec<Atom>, optional: bool },
}

/// Where a value stands. 0 is "the whole".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Address {
    /// Empty in a datatype map: the value the map was called with.
    pub segment: String,
    /// Of every segment of that name in reach, not of the first alone.
    pub every: bool,
    pub field: usize,
    /// Every repetition from `repetition` on.
    pub each: bool,
    pub repetition: usize,
    pub component: usize,
    pub subcomponent: usize,
    /// `.4*`: the components from there on, as one value.
    pub rest: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub name: String,
    pub arguments: Vec<(String, Vec<Atom>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Valued(Vec<Atom>),
    In(Vec<Atom>, Vec<String>),
    Like(Vec<Atom>, String),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

/// `let name = Map(argument=value) when …`, `let name* = …`, `let name, list* = …`, or the call alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub names: Vec<LetName>,
    pub call: Call,
    pub when: Option<Condition>,
}

/// What a `let` gives a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct LetName {
    pub name: String,
    /// Written with a star: it is added to a list.
    pub list: bool,
}

/// Reads one rule.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn rule(text: &str) -> Result<Rule, String> {
    let mut p = Tokens::new(text)?;
    let mut target = vec![p.step()?];
    while p.take(".") {
        target.push(p.step()?);
    }
    let fallback = p.take("?");
    p.need(":")?;
    let value = p.value()?;
    let converter = if p.take("|") { Some(p.call()?) } else { None };
    let vocabulary = if p.take("->") { Some(p.name()?) } else { None };
    let when = p.when()?;
    p.end()?;
    Ok(Rule {
        target,
        fallback,
        value,
        converter,
        vocabulary,
        when,
    })
}

/// Reads one statement of a message map.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn statement(text: &str) -> Result<Line, String> {
    let mut p = Tokens::new(text)?;
    if let Some(relation) = relation::relation(&mut p)? {
        return Ok(Line::Relate(relation));
    }
    let mut names = Vec::new();
    if p.take("let") {
        loop {
            let name = p.name()?;
            let list = p.take("*");
            names.push(LetName { name, list });
            if !p.take(",") {
                break;
            }
        }
        p.need("=")?;
    }
    let call = p.call()?;
    let when = p.when()?;
    p.end()?;
    Ok(Line::Make(Statement { names, call, when }))
}

/// Reads `value | converter`, as in `identifier:` of a map.
///
/// # Errors
/// What is wrong, in a sentence.
pub fn source(text: &str) -> Result<(Vec<Atom>, Option<Call>), String> {
    let mut p = Tokens::new(text)?;
    let value = p.value()?;
    let call = if p.take("|") { Some(p.call()?) } else { None };
    p.end()?;
    Ok((value, call))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Letters, digits, `_` and `-` inside: names, addresses up to their field, keywords.
    Word(String),
    Text(String),
    Mark(&'static str),
}

const MARKS: [&str; 17] = [
    "->", "!=", "[", "]", "(", ")", ".", ":", "?", "|", "=", ",", "*", "+", "$", "{", "}",
];

struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn new(text: &str) -> Result<Tokens, String> {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let taken = if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted
                    .find('"')
                    .ok_or_else(|| "a text is not closed with \"".to_owned())?;
                tokens.push(Token::Text(quoted[..end].to_owned()));
                end + 2
            } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                tokens.push(Token::Mark(mark));
                mark.len()
            } else {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let mut end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
                // A hyphen belongs to the word when more of it follows: PID-3, v2-0001, but not `a -> b`.
                while rest[end..].starts_with('-') && rest[end + 1..].starts_with(word) {
                    let more = &rest[end + 1..];
                    end += 1 + more.find(|c: char| !word(c)).unwrap_or(more.len());
                }
                if end == 0 {
                    return Err(format!(
                        "`{}` is not understood",
                        rest.chars().next().unwrap_or(' ')
                    ));
                }
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            };
            rest = rest[taken..].trim_start();
        }
        Ok(Tokens { tokens, at: 0 })
    }

    fn peek(&self, text: &str) -> bool {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => word == text,
            Some(Token::Mark(mark)) => *mark == text,
            _ => false,
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.peek(text);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, text: &str) -> Result<(), String> {
        match self.take(text) {
            true => Ok(()),
            false => Err(format!("`{text}` is expected{}", self.found())),
        }
    }

    fn found(&self) -> String {
        match self.tokens.get(self.at) {
            None => " at the end".into(),
            Some(Token::Word(word)) => format!(" before `{word}`"),
            Some(Token::Text(text)) => format!(" before \"{text}\""),
            Some(Token::Mark(mark)) => format!(" before `{mark}`"),
        }
    }

    fn end(&self) -> Result<(), String> {
        match self.at == self.tokens.len() {
            true => Ok(()),
            false => Err(format!("nothing more is expected{}", self.found())),
        }
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word.clone())
            }
            _ => Err(format!("{what} is expected{}", self.found())),
        }
    }

    fn name(&mut self) -> Result<String, String> {
        self.word("a name")
    }

    fn text(&mut self) -> Result<String, String> {
        match self.tokens.get(self.at) {
            Some(Token::Text(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(format!("\"text\" is expected{}", self.found())),
        }
    }

    fn number(&mut self) -> Result<usize, String> {
        let word = self.word("a number")?;
        match word.parse() {
            Ok(number @ 1..=9999) => Ok(number),
            _ => Err(format!("`{word}` is no position (1 to 9999)")),
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        let name = self.word("an element name")?;
        let index = if !self.take("[") {
            Index::One
        } else if self.take("]") {
            Index::Each
        } else {
            let index = match self.take("+") {
                true => Index::New,
                false => match self.word("`]`, `+`, `x` or a label")? {
                    label if label == "x" => Index::Choice,
                    label => Index::Label(label),
                },
            };
            self.need("]")?;
            index
        };
        Ok(Step { name, index })
    }

    fn value(&mut self) -> Result<Vec<Atom>, String> {
        let mut atoms = vec![self.atom()?];
        while self.take("or") {
            atoms.push(self.atom()?);
        }
        Ok(atoms)
    }

    fn atom(&mut self) -> Result<Atom, String> {
        if let Ok(text) = self.text() {
            return template(&text).map(Atom::Template);
        }
        if self.take("$") {
            let mut name = self.name()?;
            while self.take(".") {
                name = format!("{name}.{}", self.name()?);
            }
            return Ok(match self.take("*") {
                true => Atom::Every(name),
                false => Atom::Variable(name),
            });
        }
        self.address().map(Atom::Address)
    }

    fn address(&mut self) -> Result<Address, String> {
        let mut address = Address::default();
        if self.take(".") {
            if matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w.bytes().all(|b| b.is_ascii_digit()))
            {
                address.component = self.number()?;
                if self.take("*") {
                    address.rest = true;
                } else if self.take(".") {
                    address.subcomponent = self.number()?;
                }
            }
            return Ok(address);
        }
        let word = self.word("an address such as PID-3.1")?;
        let (segment, field) = match word.split_once('-') {
            Some((segment, field)) => (segment, Some(field)),
            None => (word.as_str(), None),
        };
        if !is_segment_name(segment) {
            return Err(format!(
                "`{word}` is no address (PID-3.1), \"text\" or $name"
            ));
        }
        address.segment = segment.to_owned();
        if let Some(field) = field {
            address.field = match field.parse() {
                Ok(field @ 1..=999) => field,
                _ => return Err(format!("`{word}`: fields are numbered from 1 to 999")),
            };
        }
        if self.take("*") {
            address.each = true;
        } else if self.take("[") {
            address.repetition = self.number()?;
            address.each = self.take("*");
            self.need("]")?;
        }
        // `NTE*.3`: the field of every one.
        if address.field == 0 && address.each {
            address.every = true;
            if !self.take(".") {
                return Ok(address);
            }
            address.field = self.number()?;
        }
        if address.field != 0 && self.take(".") {
            address.component = self.number()?;
            if self.take(".") {
                address.subcomponent = self.number()?;
            }
        }
        Ok(address)
    }

    fn call(&mut self) -> Result<Call, String> {
        let mut name = self.name()?;
        while self.take(".") {
            name = format!("{name}.{}", self.name()?);
        }
        let mut arguments: Vec<(String, Vec<Atom>)> = Vec::new();
        if self.take("(") && !self.take(")") {
            loop {
                let argument = self.name()?;
                self.need("=")?;
                // A bare word is a text: use=work.
                let value = match self.tokens.get(self.at) {
                    Some(Token::Word(word))
                        if !is_segment_name(word.split('-').next().unwrap_or_default()) =>
                    {
                        let text = word.clone();
                        self.at += 1;
                        vec![Atom::Template(vec![Piece::Text(text)])]
                    }
                    _ => self.value()?,
                };
                if arguments.iter().any(|(name, _)| *name == argument) {
                    return Err(format!("`{argument}` is given twice"));
                }
                arguments.push((argument, value));
                if self.take(")") {
                    break;
                }
                self.need(",")?;
            }
        }
        Ok(Call { name, arguments })
    }

    fn when(&mut self) -> Result<Option<Condition>, String> {
        match self.take("when") {
            true => self.any().map(Some),
            false => Ok(None),
        }
    }

    fn any(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.all()?];
        while self.take("or") {
            parts.push(self.all()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Condition::Any(parts),
        })
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.test()?];
        while self.take("and") {
            parts.push(self.test()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Condition::All(parts),
        })
    }

    fn test(&mut self) -> Result<Condition, String> {
        if self.take("not") {
            return Ok(Condition::Not(Box::new(self.test()?)));
        }
        if self.take("(") {
            let inner = self.any()?;
            self.need(")")?;
            return Ok(inner);
        }
        let value = vec![self.atom()?];
        if self.take("=") {
            Ok(Condition::In(value, vec![self.text()?]))
        } else if self.take("!=") {
            let equal = Condition::In(value, vec![self.text()?]);
            Ok(Condition::Not(Box::new(equal)))
        } else if self.take("like") {
            Ok(Condition::Like(value, self.text()?))
        } else if self.take("in") {
            self.need("(")?;
            let mut texts = vec![self.text()?];
            while self.take(",") {
                texts.push(self.text()?);
            }
            self.need(")")?;
            Ok(Condition::In(value, texts))
        } else {
            Ok(Condition::Valued(value))
        }
    }
}

fn template(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let end = rest[start..]
            .find('}')
            .ok_or_else(|| "`{` in a text is not closed".to_owned())?
            + start;
        if start > 0 {
            pieces.push(Piece::Text(rest[..start].to_owned()));
        }
        let mut p = Tokens::new(&rest[start + 1..end])?;
        let value = p.value()?;
        let optional = p.take("?");
        p.end()?;
        pieces.push(Piece::Part { value, optional });
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
