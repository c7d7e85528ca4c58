//! The words of a FHIRPath expression (<https://hl7.org/fhirpath/#grammar>).

use crate::path::CompileError;

/// Longest expression, in characters. The longest of R5 has 5,000.
pub(crate) const EXPRESSION_MAX: usize = 32_768;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword, or a name in backticks.
    Name(String),
    /// `$this`.
    This,
    String(String),
    Number(String),
    /// `(`, `)`, `[`, `]`, `,`, `.`, `|`, `=`, `!=`.
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 9] = ["!=", "(", ")", "[", "]", ",", ".", "|", "="];

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
        let run = |keep: fn(char) -> bool| {
            let rest = &characters[start..];
            let length = rest.iter().take_while(|c| keep(**c)).count();
            rest[..length].iter().collect::<String>()
        };
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let token = if c.is_ascii_alphabetic() || c == '_' {
            let name = run(|c| c.is_ascii_alphanumeric() || c == '_');
            at += name.len();
            Token::Name(name)
        } else if c.is_ascii_digit() {
            let number = run(|c| c.is_ascii_digit());
            at += number.len();
            Token::Number(number)
        } else if c == '\'' || c == '`' {
            let (text, end) = quoted(&characters, start)?;
            at = end;
            match c {
                '`' => Token::Name(text),
                _ => Token::String(text),
            }
        } else if characters[start..].starts_with(&['$', 't', 'h', 'i', 's']) {
            at += 5;
            Token::This
        } else if let Some(symbol) = SYMBOLS.iter().find(|s| {
            s.chars()
                .eq(characters[start..].iter().copied().take(s.len()))
        }) {
            at += symbol.len();
            Token::Symbol(symbol)
        } else {
            return Err(CompileError::new(format!("unexpected '{c}'"), start));
        };
        tokens.push((token, start));
    }
    tokens.push((Token::End, at));
    Ok(tokens)
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
                    c @ ('\'' | '"' | '`' | '\\' | '/') => c,
                    _ => return Err(CompileError::new("unknown escape", at)),
                });
            }
            c => text.push(c),
        }
        at += 1;
    }
}
