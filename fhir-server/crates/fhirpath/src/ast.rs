//! The syntax tree of a FHIRPath expression (<https://hl7.org/fhirpath/#grammar>), as much of it as is read today.

/// An expression and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub kind: Kind,
    /// Character offset in the text.
    pub position: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Literal(Literal),
    /// `$this`.
    This,
    /// `a` alone: an element of the focus, or the type that the path starts from.
    Name(String),
    /// `of.name`.
    Member(Box<Expression>, String),
    /// `of.name(arguments)`; without `of` it is called on the focus.
    Call {
        of: Option<Box<Expression>>,
        name: String,
        arguments: Vec<Expression>,
    },
    /// `of[index]`.
    Index(Box<Expression>, Box<Expression>),
    /// `a | b | c`, flat.
    Union(Vec<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// `of is Type`, `of as Type`.
    Type(TypeOperator, Box<Expression>, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    String(String),
    /// As written.
    Number(String),
    Boolean(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeOperator {
    Is,
    As,
}
