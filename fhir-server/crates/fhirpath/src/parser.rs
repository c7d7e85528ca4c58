//! FHIRPath text to a syntax tree (<https://hl7.org/fhirpath/#operator-precedence>). Refuses what is not read yet, with the place.

use crate::ast::{Expression, Kind, Literal, Operator, TypeOperator};
use crate::lexer::{Token, tokens};
use crate::path::CompileError;

/// Deepest nesting: brackets, chained members and operators together.
const DEPTH_MAX: usize = 32;

pub(crate) fn parse(text: &str) -> Result<Expression, CompileError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expression = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok(expression),
        _ => Err(parser.error("an operator or the end was expected")),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

/// How tightly an infix operator binds; a greater number binds tighter.
fn precedence(token: &Token) -> Option<u8> {
    match token {
        Token::Name(name) => match name.as_str() {
            "or" => Some(1),
            "and" => Some(2),
            "is" | "as" => Some(4),
            _ => None,
        },
        Token::Symbol("=" | "!=") => Some(3),
        Token::Symbol("|") => Some(5),
        _ => None,
    }
}

impl Parser {
    fn expression(&mut self, above: u8) -> Result<Expression, CompileError> {
        self.enter()?;
        let mut left = self.postfix()?;
        let mut links = 0;
        while let Some(binding) = precedence(self.peek()).filter(|p| *p > above) {
            let position = left.position;
            let operator = self.next();
            let kind = match &operator {
                Token::Symbol("|") => {
                    let right = self.expression(binding)?;
                    match left.kind {
                        Kind::Union(mut operands) => {
                            operands.push(right);
                            Kind::Union(operands)
                        }
                        _ => Kind::Union(vec![left, right]),
                    }
                }
                Token::Name(name) if name == "is" || name == "as" => {
                    let operator = match name.as_str() {
                        "is" => TypeOperator::Is,
                        _ => TypeOperator::As,
                    };
                    Kind::Type(operator, Box::new(left), self.type_name()?)
                }
                operator => {
                    let operator = match operator {
                        Token::Symbol("=") => Operator::Equal,
                        Token::Symbol(_) => Operator::NotEqual,
                        Token::Name(name) if name == "and" => Operator::And,
                        _ => Operator::Or,
                    };
                    let right = self.expression(binding)?;
                    Kind::Binary(operator, Box::new(left), Box::new(right))
                }
            };
            left = Expression { kind, position };
            if !matches!(left.kind, Kind::Union(_)) {
                links += 1;
                self.bound(links)?;
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    fn postfix(&mut self) -> Result<Expression, CompileError> {
        let mut left = self.term()?;
        let mut links = 0;
        loop {
            let position = left.position;
            let kind = if self.take(".") {
                let name = self.name()?;
                match self.take("(") {
                    true => Kind::Call {
                        of: Some(Box::new(left)),
                        name,
                        arguments: self.arguments()?,
                    },
                    false => Kind::Member(Box::new(left), name),
                }
            } else if self.take("[") {
                let index = self.expression(0)?;
                self.expect("]")?;
                Kind::Index(Box::new(left), Box::new(index))
            } else {
                return Ok(left);
            };
            left = Expression { kind, position };
            links += 1;
            self.bound(links)?;
        }
    }

    fn term(&mut self) -> Result<Expression, CompileError> {
        let position = self.position();
        let kind = match self.next() {
            Token::Symbol("(") => {
                let inner = self.expression(0)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::String(text) => Kind::Literal(Literal::String(text)),
            Token::Number(mut text) => {
                if matches!(
                    (
                        self.peek(),
                        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
                    ),
                    (Token::Symbol("."), Token::Number(_))
                ) {
                    self.next();
                    if let Token::Number(fraction) = self.next() {
                        text.push('.');
                        text.push_str(&fraction);
                    }
                }
                Kind::Literal(Literal::Number(text))
            }
            Token::This => Kind::This,
            Token::Name(name) if name == "true" || name == "false" => {
                Kind::Literal(Literal::Boolean(name == "true"))
            }
            Token::Name(name) => match self.take("(") {
                true => Kind::Call {
                    of: None,
                    name,
                    arguments: self.arguments()?,
                },
                false => Kind::Name(name),
            },
            _ => {
                return Err(CompileError::new(
                    "a path, a literal or '(' was expected",
                    position,
                ));
            }
        };
        Ok(Expression { kind, position })
    }

    fn arguments(&mut self) -> Result<Vec<Expression>, CompileError> {
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(0)?);
            if self.take(")") {
                return Ok(arguments);
            }
            self.expect(",")?;
        }
    }

    /// `Patient` or `FHIR.Patient`.
    fn type_name(&mut self) -> Result<String, CompileError> {
        let name = self.name()?;
        match name == "FHIR" && self.take(".") {
            true => self.name(),
            false => Ok(name),
        }
    }

    fn name(&mut self) -> Result<String, CompileError> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.error("a name was expected")),
        }
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), CompileError> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(self.error(format!("'{symbol}' was expected"))),
        }
    }

    fn enter(&mut self) -> Result<(), CompileError> {
        self.depth += 1;
        self.bound(self.depth)
    }

    fn bound(&self, depth: usize) -> Result<(), CompileError> {
        match depth > DEPTH_MAX {
            true => Err(self.error("the expression is nested too deeply")),
            false => Ok(()),
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn position(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn error(&self, message: impl Into<String>) -> CompileError {
        CompileError::new(message, self.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree, written with every bracket.
    fn show(e: &Expression) -> String {
        let list =
            |items: &[Expression], by: &str| items.iter().map(show).collect::<Vec<_>>().join(by);
        match &e.kind {
            Kind::Literal(Literal::String(s)) => format!("{s:?}"),
            Kind::Literal(Literal::Number(n)) => n.clone(),
            Kind::Literal(Literal::Boolean(b)) => b.to_string(),
            Kind::This => "$this".into(),
            Kind::Name(name) => name.clone(),
            Kind::Member(of, name) => format!("{}.{name}", show(of)),
            Kind::Call {
                of,
                name,
                arguments,
            } => format!(
                "{}{name}({})",
                of.as_ref().map(|of| show(of) + ".").unwrap_or_default(),
                list(arguments, ", ")
            ),
            Kind::Index(of, index) => format!("{}[{}]", show(of), show(index)),
            Kind::Union(operands) => format!("({})", list(operands, " | ")),
            Kind::Binary(op, a, b) => format!("({} {op:?} {})", show(a), show(b)),
            Kind::Type(op, of, name) => format!("({} {op:?} {name})", show(of)),
        }
    }

    #[test]
    fn trees() {
        for (text, expect) in [
            ("Patient.name", "Patient.name"),
            ("A.b | A.c|A.d", "(A.b | A.c | A.d)"),
            ("(A.b | A.c).d", "(A.b | A.c).d"),
            ("A.b.where(c='x').d", "A.b.where((c Equal \"x\")).d"),
            (
                "A.b.where(resolve() is FHIR.C)",
                "A.b.where((resolve() Is C))",
            ),
            ("A.e[0].r as C", "(A.e[0].r As C)"),
            (
                "A.d.exists() and A.d != false or x",
                "((A.d.exists() And (A.d NotEqual false)) Or x)",
            ),
            ("a | b = c | d", "((a | b) Equal (c | d))"),
            ("a.`div`", "a.div"),
            ("a = 'it\\'s'", "(a Equal \"it's\")"),
            ("a = 1.50", "(a Equal 1.50)"),
            ("$this.a", "$this.a"),
        ] {
            assert_eq!(show(&parse(text).unwrap()), expect, "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, position) in [
            ("", 0),
            ("a.", 2),
            ("a b", 2),
            ("a.(b)", 2),
            ("a = 'x", 4),
            ("a & b", 2),
            ("where(", 6),
            ("a[0", 3),
            ("a | ", 4),
            ("é", 0),
            ("'\\q'", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().position, position, "{text}");
        }
        for text in [
            "(".repeat(10_000),
            "a.".repeat(10_000) + "a",
            "a and ".repeat(10_000) + "a",
        ] {
            assert!(parse(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-zA-Z0-9.|()='\\[\\], $`!\\\\é]{0,60}") { let _ = parse(&text); }
    }
}
