//! The syntax tree of a FHIRPath expression (<https://hl7.org/fhirpath/#grammar>).

/// An expression and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub kind: Kind,
    /// Character offset in the text.
    pub position: usize,
    /// How many nodes stand one under the other, this one included.
    pub height: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{}`.
    Empty,
    Literal(Literal),
    /// `$this`.
    This,
    /// `$index`.
    Index,
    /// `$total`.
    Total,
    /// `%name`.
    Variable(String),
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
    At(Box<Expression>, Box<Expression>),
    /// `a | b | c`, flat.
    Union(Vec<Expression>),
    /// `-a`.
    Negate(Box<Expression>),
    /// `+a`.
    Plus(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// `of is Type`, `of as Type`.
    Type(TypeOperator, Box<Expression>, TypeName),
}

/// `Patient`, `FHIR.Patient`, `System.String`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeName {
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    String(String),
    /// As written.
    Number(String),
    /// `5L`, without the letter.
    Long(String),
    Boolean(bool),
    /// `@2026-01`, without the `@`.
    Date(String),
    /// `@2026-01-01T` or with a time, without the `@`.
    DateTime(String),
    /// `@T12:00`, without `@T`.
    Time(String),
    /// `4 days`, `4 'mg'`.
    Quantity {
        value: String,
        unit: String,
        /// The unit stands in quotes.
        quoted: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
    Implies,
    In,
    Contains,
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    Div,
    Mod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeOperator {
    Is,
    As,
}
