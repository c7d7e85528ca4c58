//! FHIRPath text to a syntax tree (<https://hl7.org/fhirpath/#operator-precedence>). Refuses what is no expression, with the place.

use crate::ast::{Expression, Kind, Literal, Operator, TypeName, TypeOperator};
use crate::lexer::{Token, tokens};
use crate::path::CompileError;

/// Deepest nesting of brackets, arguments and right operands.
const DEPTH_MAX: usize = 64;
/// Highest tree: a chain of members or operators counts each link. Whoever walks the tree recurses at most so deep.
pub(crate) const HEIGHT_MAX: usize = 160;

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

/// What an infix operator makes.
#[derive(Clone, Copy)]
enum Infix {
    Binary(Operator),
    Type(TypeOperator),
    Union,
}

/// The infix operator and how tightly it binds; a greater number binds tighter.
fn infix(token: &Token) -> Option<(Infix, u8)> {
    use Operator::*;
    let (operator, binding) = match token {
        Token::Name(name) => match name.as_str() {
            "implies" => (Implies, 1),
            "or" => (Or, 2),
            "xor" => (Xor, 2),
            "and" => (And, 3),
            "in" => (In, 4),
            "contains" => (Contains, 4),
            "is" => return Some((Infix::Type(TypeOperator::Is), 8)),
            "as" => return Some((Infix::Type(TypeOperator::As), 8)),
            "div" => (Div, 10),
            "mod" => (Mod, 10),
            _ => return None,
        },
        Token::Symbol(symbol) => match *symbol {
            "=" => (Equal, 5),
            "!=" => (NotEqual, 5),
            "~" => (Equivalent, 5),
            "!~" => (NotEquivalent, 5),
            "<" => (Less, 6),
            "<=" => (LessOrEqual, 6),
            ">" => (Greater, 6),
            ">=" => (GreaterOrEqual, 6),
            "|" => return Some((Infix::Union, 7)),
            "+" => (Add, 9),
            "-" => (Subtract, 9),
            "&" => (Concatenate, 9),
            "*" => (Multiply, 10),
            "/" => (Divide, 10),
            _ => return None,
        },
        _ => return None,
    };
    Some((Infix::Binary(operator), binding))
}

impl Parser {
    fn expression(&mut self, above: u8) -> Result<Expression, CompileError> {
        self.enter()?;
        let mut left = self.prefix()?;
        while let Some((operator, binding)) = infix(self.peek()).filter(|(_, b)| *b > above) {
            let position = left.position;
            self.next();
            left = match operator {
                Infix::Union => {
                    let right = self.expression(binding)?;
                    let height = right.height;
                    match left.kind {
                        Kind::Union(mut operands) => {
                            operands.push(right);
                            let below = (left.height - 1).max(height);
                            self.node(Kind::Union(operands), position, &[below])?
                        }
                        _ => {
                            let below = left.height.max(height);
                            self.node(Kind::Union(vec![left, right]), position, &[below])?
                        }
                    }
                }
                Infix::Type(operator) => {
                    let below = [left.height];
                    let kind = Kind::Type(operator, Box::new(left), self.type_name()?);
                    self.node(kind, position, &below)?
                }
                Infix::Binary(operator) => {
                    let right = self.expression(binding)?;
                    let below = [left.height, right.height];
                    let kind = Kind::Binary(operator, Box::new(left), Box::new(right));
                    self.node(kind, position, &below)?
                }
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    /// A sign binds looser than `.` and `[]`: `-1.abs()` is `-(1.abs())`.
    fn prefix(&mut self) -> Result<Expression, CompileError> {
        let position = self.position();
        let negative = match self.peek() {
            Token::Symbol("-") => true,
            Token::Symbol("+") => false,
            _ => return self.postfix(),
        };
        self.next();
        self.enter()?;
        let of = self.prefix()?;
        self.depth -= 1;
        let below = [of.height];
        let kind = match negative {
            true => Kind::Negate(Box::new(of)),
            false => Kind::Plus(Box::new(of)),
        };
        self.node(kind, position, &below)
    }

    fn postfix(&mut self) -> Result<Expression, CompileError> {
        let mut left = self.term()?;
        loop {
            let position = left.position;
            let mut below = vec![left.height];
            let kind = if self.take(".") {
                let name = self.name()?;
                match self.take("(") {
                    true => {
                        let arguments = self.arguments()?;
                        below.extend(arguments.iter().map(|a| a.height));
                        Kind::Call {
                            of: Some(Box::new(left)),
                            name,
                            arguments,
                        }
                    }
                    false => Kind::Member(Box::new(left), name),
                }
            } else if self.take("[") {
                let index = self.expression(0)?;
                self.expect("]")?;
                below.push(index.height);
                Kind::At(Box::new(left), Box::new(index))
            } else {
                return Ok(left);
            };
            left = self.node(kind, position, &below)?;
        }
    }

    fn term(&mut self) -> Result<Expression, CompileError> {
        let position = self.position();
        let mut below = Vec::new();
        let kind = match self.next() {
            Token::Symbol("(") => {
                let inner = self.expression(0)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Symbol("{") => {
                self.expect("}")?;
                Kind::Empty
            }
            Token::Symbol("%") => match self.next() {
                Token::Name(name) | Token::Quoted(name) | Token::String(name) => {
                    Kind::Variable(name)
                }
                _ => return Err(CompileError::new("a name was expected after '%'", position)),
            },
            Token::String(text) => Kind::Literal(Literal::String(text)),
            Token::Number(text) => Kind::Literal(self.number(text)),
            Token::Long(text) => Kind::Literal(Literal::Long(text)),
            Token::Date(text) => Kind::Literal(Literal::Date(text)),
            Token::DateTime(text) => Kind::Literal(Literal::DateTime(text)),
            Token::Time(text) => Kind::Literal(Literal::Time(text)),
            Token::Dollar("this") => Kind::This,
            Token::Dollar("index") => Kind::Index,
            Token::Dollar(_) => Kind::Total,
            Token::Name(name) if name == "true" || name == "false" => {
                Kind::Literal(Literal::Boolean(name == "true"))
            }
            Token::Name(name) | Token::Quoted(name) => match self.take("(") {
                true => {
                    let arguments = self.arguments()?;
                    below.extend(arguments.iter().map(|a| a.height));
                    Kind::Call {
                        of: None,
                        name,
                        arguments,
                    }
                }
                false => Kind::Name(name),
            },
            _ => {
                return Err(CompileError::new(
                    "a path, a literal or '(' was expected",
                    position,
                ));
            }
        };
        self.node(kind, position, &below)
    }

    /// A number, or a quantity where a unit follows it.
    fn number(&mut self, value: String) -> Literal {
        let (unit, quoted) = match self.peek() {
            Token::String(unit) => (unit.clone(), true),
            Token::Name(name) if crate::quantity::CalendarUnit::named(name).is_some() => {
                (name.clone(), false)
            }
            _ => return Literal::Number(value),
        };
        self.at += 1;
        Literal::Quantity {
            value,
            unit,
            quoted,
        }
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
    fn type_name(&mut self) -> Result<TypeName, CompileError> {
        let name = self.name()?;
        Ok(match self.take(".") {
            true => TypeName {
                namespace: Some(name),
                name: self.name()?,
            },
            false => TypeName {
                namespace: None,
                name,
            },
        })
    }

    fn name(&mut self) -> Result<String, CompileError> {
        match self.peek().clone() {
            Token::Name(name) | Token::Quoted(name) => {
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

    /// A node over others of these heights.
    fn node(
        &self,
        kind: Kind,
        position: usize,
        below: &[usize],
    ) -> Result<Expression, CompileError> {
        let height = 1 + below.iter().max().copied().unwrap_or_default();
        match height > HEIGHT_MAX {
            true => Err(self.error("the expression is nested too deeply")),
            false => Ok(Expression {
                kind,
                position,
                height,
            }),
        }
    }

    fn enter(&mut self) -> Result<(), CompileError> {
        self.depth += 1;
        match self.depth > DEPTH_MAX {
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
            Kind::Empty => "{}".into(),
            Kind::Literal(Literal::String(s)) => format!("{s:?}"),
            Kind::Literal(Literal::Number(n)) => n.clone(),
            Kind::Literal(Literal::Long(n)) => format!("{n}L"),
            Kind::Literal(Literal::Boolean(b)) => b.to_string(),
            Kind::Literal(Literal::Date(d)) => format!("@{d}"),
            Kind::Literal(Literal::DateTime(d)) => format!("@@{d}"),
            Kind::Literal(Literal::Time(t)) => format!("@T{t}"),
            Kind::Literal(Literal::Quantity {
                value,
                unit,
                quoted,
            }) => format!("<{value} {unit} {quoted}>"),
            Kind::This => "$this".into(),
            Kind::Index => "$index".into(),
            Kind::Total => "$total".into(),
            Kind::Variable(name) => format!("%{name}"),
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
            Kind::At(of, index) => format!("{}[{}]", show(of), show(index)),
            Kind::Union(operands) => format!("({})", list(operands, " | ")),
            Kind::Negate(of) => format!("-({})", show(of)),
            Kind::Plus(of) => format!("+({})", show(of)),
            Kind::Binary(op, a, b) => format!("({} {op:?} {})", show(a), show(b)),
            Kind::Type(op, of, t) => {
                let namespace = t.namespace.as_ref().map(|n| n.clone() + ".");
                format!(
                    "({} {op:?} {}{})",
                    show(of),
                    namespace.unwrap_or_default(),
                    t.name
                )
            }
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
                "A.b.where((resolve() Is FHIR.C))",
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
            // Precedence.
            ("1 | 1 is Integer", "(1 | (1 Is Integer))"),
            ("1 > 2 is Boolean", "(1 Greater (2 Is Boolean))"),
            ("1+2*3+4", "((1 Add (2 Multiply 3)) Add 4)"),
            ("a & b + c", "((a Concatenate b) Add c)"),
            ("-1.abs()", "-(1.abs())"),
            ("-1 + +2", "(-(1) Add +(2))"),
            ("a div 2 mod 3", "((a Div 2) Mod 3)"),
            (
                "a implies b or c xor d and e",
                "(a Implies ((b Or c) Xor (d And e)))",
            ),
            ("a in b = c", "(a In (b Equal c))"),
            ("a < b = c > d", "((a Less b) Equal (c Greater d))"),
            ("a ~ b !~ c", "((a Equivalent b) NotEquivalent c)"),
            ("a contains 1 and true", "((a Contains 1) And true)"),
            // Literals.
            ("{}.a", "{}.a"),
            ("5L + 1", "(5L Add 1)"),
            ("4 days", "<4 days false>"),
            ("4.5 'mg'", "<4.5 mg true>"),
            ("1.a", "1.a"),
            ("@2015", "@2015"),
            ("@2015T", "@@2015T"),
            (
                "@2015-02-04T14:34:28.123+10:00.is(DateTime)",
                "@@2015-02-04T14:34:28.123+10:00.is(DateTime)",
            ),
            (
                "@2015-02-04T14 - 1 hour",
                "(@@2015-02-04T14 Subtract <1 hour false>)",
            ),
            ("@T14:34.x", "@T14:34.x"),
            ("'P\\u0065\\ud83d\\ude00'", "\"Pe😀\""),
            ("%`vs-a`.x", "%vs-a.x"),
            ("%'a b'", "%a b"),
            ("%resource.id", "%resource.id"),
            ("contains.is.as.div", "contains.is.as.div"),
            ("$index + $total", "($index Add $total)"),
            ("a.contains(\":\")", "a.contains(\":\")"),
            // Comments.
            ("1 // one\n + /* two */ 2", "(1 Add 2)"),
            ("1 // the end", "1"),
        ] {
            assert_eq!(show(&parse(text).expect(text)), expect, "{text}");
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
            ("a ? b", 2),
            ("where(", 6),
            ("a[0", 3),
            ("a | ", 4),
            ("é", 0),
            ("'\\q'", 2),
            ("'\\ud800'", 2),
            ("{a}", 1),
            ("@", 0),
            ("@T12:00Z", 7),
            ("@T12:00+01:00", 10),
            ("1 /* open", 2),
            ("%", 0),
            ("2 + 2 /", 7),
        ] {
            assert_eq!(parse(text).unwrap_err().position, position, "{text}");
        }
        for text in [
            "(".repeat(10_000),
            "-".repeat(10_000) + "1",
            "a.".repeat(10_000) + "a",
            "a and ".repeat(10_000) + "a",
            "a(".repeat(60) + &"b.c".repeat(60),
        ] {
            assert!(parse(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-zA-Z0-9.|()='\\[\\], $`!\\\\é@%{}~<>+*/&:-]{0,60}") { let _ = parse(&text); }
    }
}
