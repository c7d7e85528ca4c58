//! The words of a FHIRPath expression (<https://hl7.org/fhirpath/#grammar>), comments left out.

use crate::path::CompileError;

/// Longest expression, in characters. The longest of R5 has 5,000.
pub(crate) const EXPRESSION_MAX: usize = 32_768;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword.
    Name(String),
    /// A name in backticks: never a keyword.
    Quoted(String),
    /// `$this`, `$index`, `$total`, without the `$`.
    Dollar(&'static str),
    String(String),
    /// `12`, `1.50`, without a sign.
    Number(String),
    /// `12L`, without the letter.
    Long(String),
    /// After the `@`.
    Date(String),
    DateTime(String),
    /// After `@T`.
    Time(String),
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 26] = [
    "!=", "!~", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ".", "|", "=", "~", "<", ">", "+",
    "-", "*", "/", "&", "%", "$this", "$index", "$total",
];

/// The tokens with their character offsets; the last is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, CompileError> {
    let characters: Vec<char> = text.chars().take(EXPRESSION_MAX + 1).collect();
    if characters.len() > EXPRESSION_MAX {
        return Err(CompileError::new(
            "the expression is too long",
            EXPRESSION_MAX,
        ));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let start = at;
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if let Some(end) = comment(&characters, at)? {
            at = end;
            continue;
        }
        let token = if c.is_ascii_alphabetic() || c == '_' {
            let name = run(&characters, at, |c| c.is_ascii_alphanumeric() || c == '_');
            at += name.len();
            Token::Name(name)
        } else if c.is_ascii_digit() {
            number(&characters, &mut at)
        } else if c == '@' {
            temporal(&characters, &mut at)?
        } else if matches!(c, '\'' | '`' | '"') {
            // Double quotes are not in the grammar, but in an invariant of R5 (eld-11).
            let (text, end) = quoted(&characters, start)?;
            at = end;
            match c {
                '`' => Token::Quoted(text),
                _ => Token::String(text),
            }
        } else {
            let symbol = SYMBOLS
                .iter()
                .find(|s| {
                    s.chars()
                        .eq(characters[start..].iter().copied().take(s.len()))
                })
                .ok_or_else(|| CompileError::new(format!("unexpected '{c}'"), start))?;
            at += symbol.len();
            match symbol.strip_prefix('$') {
                Some(name) => Token::Dollar(name),
                None => Token::Symbol(symbol),
            }
        };
        tokens.push((token, start));
    }
    tokens.push((Token::End, at));
    Ok(tokens)
}

/// The characters from `at` on that are kept.
fn run(characters: &[char], at: usize, keep: impl Fn(char) -> bool) -> String {
    let rest = characters.get(at..).unwrap_or_default();
    rest.iter().copied().take_while(|c| keep(*c)).collect()
}

/// The offset after the comment that begins at `at`, if one does.
fn comment(characters: &[char], at: usize) -> Result<Option<usize>, CompileError> {
    match (characters[at], characters.get(at + 1)) {
        ('/', Some('/')) => {
            let length = characters[at..].iter().take_while(|c| **c != '\n').count();
            Ok(Some(at + length))
        }
        ('/', Some('*')) => {
            let end = characters[at + 2..]
                .windows(2)
                .position(|w| w == ['*', '/']);
            match end {
                Some(length) => Ok(Some(at + 2 + length + 2)),
                None => Err(CompileError::new("the comment is not closed", at)),
            }
        }
        _ => Ok(None),
    }
}

fn number(characters: &[char], at: &mut usize) -> Token {
    let digits = |at: usize| run(characters, at, |c| c.is_ascii_digit());
    let mut text = digits(*at);
    *at += text.len();
    if characters.get(*at) == Some(&'L') {
        *at += 1;
        return Token::Long(text);
    }
    // `1.convertsToInteger()` is a call.
    if characters.get(*at) == Some(&'.') {
        let fraction = digits(*at + 1);
        if !fraction.is_empty() {
            *at += 1 + fraction.len();
            text.push('.');
            text.push_str(&fraction);
        }
    }
    Token::Number(text)
}

/// `@2026`, `@2026-01-31`, `@2026T`, `@2026-01-31T12:00:00.0+02:00`, `@T12:00`. What the digits mean is decided by the reader of the value.
fn temporal(characters: &[char], at: &mut usize) -> Result<Token, CompileError> {
    let start = *at;
    *at += 1;
    let date = run(characters, *at, |c| c.is_ascii_digit() || c == '-');
    *at += date.len();
    if characters.get(*at) != Some(&'T') {
        return match date.is_empty() {
            true => Err(CompileError::new("a date was expected after '@'", start)),
            false => Ok(Token::Date(date)),
        };
    }
    *at += 1;
    let mut time = run(characters, *at, |c| c.is_ascii_digit() || c == ':');
    *at += time.len();
    if characters.get(*at) == Some(&'.')
        && characters.get(*at + 1).is_some_and(char::is_ascii_digit)
    {
        let fraction = run(characters, *at + 1, |c| c.is_ascii_digit());
        *at += 1 + fraction.len();
        time.push('.');
        time.push_str(&fraction);
    }
    if date.is_empty() {
        return Ok(Token::Time(time));
    }
    let mut zone = String::new();
    if !time.is_empty() {
        match characters.get(*at) {
            Some('Z') => zone.push('Z'),
            Some('+' | '-') => {
                // `-` may also be a minus: a zone is sign, two digits, colon, two digits.
                let text: String = characters[*at..].iter().take(6).collect();
                let shape = |(index, c): (usize, char)| match index {
                    0 => true,
                    3 => c == ':',
                    _ => c.is_ascii_digit(),
                };
                if text.len() == 6 && text.chars().enumerate().all(shape) {
                    zone = text;
                }
            }
            _ => {}
        }
    }
    *at += zone.len();
    Ok(Token::DateTime(format!("{date}T{time}{zone}")))
}

/// The text between the quote at `start` and its partner, escapes resolved, and the offset after it.
fn quoted(characters: &[char], start: usize) -> Result<(String, usize), CompileError> {
    let unterminated = || CompileError::new("the quote is not closed", start);
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        match *characters.get(at).ok_or_else(unterminated)? {
            c if c == characters[start] => return Ok((text, at + 1)),
            '\\' => {
                at += 1;
                text.push(match *characters.get(at).ok_or_else(unterminated)? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'f' => '\u{c}',
                    'u' => {
                        let c = unicode(characters, &mut at)?;
                        at -= 1;
                        c
                    }
                    c @ ('\'' | '"' | '`' | '\\' | '/') => c,
                    _ => return Err(CompileError::new("unknown escape", at)),
                });
            }
            c => text.push(c),
        }
        at += 1;
    }
}

/// The character of `uXXXX` at `at`, which may be a pair of surrogates; `at` goes behind it.
fn unicode(characters: &[char], at: &mut usize) -> Result<char, CompileError> {
    let start = *at;
    let unit = |at: usize| {
        let digits = characters.get(at + 1..at + 5)?;
        u32::from_str_radix(&digits.iter().collect::<String>(), 16).ok()
    };
    let wrong = || CompileError::new("four hexadecimal digits were expected after \\u", start);
    let high = unit(*at).ok_or_else(wrong)?;
    *at += 5;
    let code = match (high, characters.get(*at..*at + 2)) {
        (0xD800..0xDC00, Some(['\\', 'u'])) => {
            let low = unit(*at + 1).filter(|low| (0xDC00..0xE000).contains(low));
            *at += 6;
            0x10000 + ((high - 0xD800) << 10) + (low.ok_or_else(wrong)? - 0xDC00)
        }
        _ => high,
    };
    char::from_u32(code).ok_or_else(wrong)
}
