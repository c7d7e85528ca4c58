//! What can be known of an expression before it runs, from the types alone (<https://hl7.org/fhirpath/#type-safety-and-strict-evaluation>):
//! an element that none of the possible types has, a text function on what is no text, a criterion that is no boolean, the first of what
//! has no order. What cannot be known is left to the evaluation.

use crate::ast::{Expression, Kind, Literal, TypeName, TypeOperator};
use crate::item::is_primitive;
use crate::path::CompileError;
use crate::program::type_argument;
use crate::types::TypeModel;

pub(crate) fn check(
    tree: &Expression,
    base: &str,
    model: &dyn TypeModel,
) -> Result<(), CompileError> {
    let checker = Checker { model };
    checker.infer(tree, &Known::of(base)).map(drop)
}

/// What is known of a collection.
#[derive(Clone)]
struct Known {
    /// The types its items can have, those of System as `System.String`. `None`: any.
    types: Option<Vec<String>>,
    ordered: bool,
}

impl Known {
    fn of(type_name: &str) -> Known {
        Known {
            types: Some(vec![type_name.to_owned()]),
            ordered: true,
        }
    }

    fn any() -> Known {
        Known {
            types: None,
            ordered: true,
        }
    }

    fn or(mut self, other: Known) -> Known {
        match (&mut self.types, other.types) {
            (Some(types), Some(others)) => types.extend(others),
            (types, _) => *types = None,
        }
        self.ordered &= other.ordered;
        self
    }

    /// Whether it cannot be what `may` says.
    fn cannot(&self, may: impl Fn(&str) -> bool) -> bool {
        let types = self.types.as_deref().unwrap_or_default();
        !types.is_empty() && !types.iter().any(|t| is_open(t) || may(t))
    }
}

/// A type whose instances are of types derived from it, with elements of their own.
fn is_open(type_name: &str) -> bool {
    matches!(
        type_name,
        "Resource"
            | "DomainResource"
            | "Base"
            | "Element"
            | "DataType"
            | "BackboneElement"
            | "BackboneType"
            | "PrimitiveType"
    )
}

fn is_text(type_name: &str) -> bool {
    match type_name.strip_prefix("System.") {
        Some(name) => name == "String",
        None => {
            is_primitive(type_name)
                && !matches!(
                    type_name,
                    "boolean"
                        | "integer"
                        | "unsignedInt"
                        | "positiveInt"
                        | "integer64"
                        | "decimal"
                        | "date"
                        | "dateTime"
                        | "instant"
                        | "time"
                )
        }
    }
}

struct Checker<'m> {
    model: &'m dyn TypeModel,
}

impl Checker<'_> {
    fn infer(&self, tree: &Expression, focus: &Known) -> Result<Known, CompileError> {
        match &tree.kind {
            Kind::Empty | Kind::Total | Kind::Variable(_) => Ok(Known::any()),
            Kind::Literal(literal) => Ok(Known::of(literal_type(literal))),
            Kind::This => Ok(focus.clone()),
            Kind::Index => Ok(Known::of("System.Integer")),
            Kind::Name(name) => self.name(tree, name, focus),
            Kind::Member(of, name) => {
                let of = self.infer(of, focus)?;
                self.child(tree, &of, name)
            }
            Kind::At(of, index) => {
                let of = self.infer(of, focus)?;
                self.infer(index, focus)?;
                self.ordered(tree, of)
            }
            Kind::Union(operands) => {
                let mut all = Known {
                    types: Some(Vec::new()),
                    ordered: true,
                };
                for operand in operands {
                    all = all.or(self.infer(operand, focus)?);
                }
                Ok(all)
            }
            Kind::Negate(of) | Kind::Plus(of) => self.infer(of, focus),
            Kind::Binary(_, a, b) => {
                self.infer(a, focus)?;
                self.infer(b, focus)?;
                Ok(Known::any())
            }
            Kind::Type(operator, of, name) => {
                self.infer(of, focus)?;
                Ok(match operator {
                    TypeOperator::Is => Known::of("System.Boolean"),
                    TypeOperator::As => self.named(name),
                })
            }
            Kind::Call {
                of,
                name,
                arguments,
            } => {
                let of = match of {
                    Some(of) => self.infer(of, focus)?,
                    None => focus.clone(),
                };
                self.call(tree, of, name, arguments, focus)
            }
        }
    }

    fn named(&self, name: &TypeName) -> Known {
        let fhir = name.namespace.as_deref() != Some("System") && self.model.is_type(&name.name);
        match fhir {
            true => Known::of(&name.name),
            false => Known::of(&format!("System.{}", name.name)),
        }
    }

    fn name(&self, tree: &Expression, name: &str, focus: &Known) -> Result<Known, CompileError> {
        if is_primitive(name) || !self.model.is_type(name) {
            return self.child(tree, focus, name);
        }
        let is = |t: &str| self.model.is_a(t, name) || self.model.is_a(name, t);
        match focus.cannot(is) {
            true => Err(CompileError::new(
                format!("the path starts at {name}, which is not what it runs on"),
                tree.position,
            )),
            false => Ok(match &focus.types {
                None => Known::of(name),
                Some(_) => focus.clone(),
            }),
        }
    }

    fn child(&self, tree: &Expression, of: &Known, name: &str) -> Result<Known, CompileError> {
        let Some(types) = &of.types else {
            return Ok(Known::any());
        };
        let mut found = Vec::new();
        for type_name in types {
            let value = name == "value" && is_primitive(type_name);
            if value || is_open(type_name) || type_name.starts_with("System.") {
                return Ok(Known::any());
            }
            if let Some(element) = self.model.element(type_name, name) {
                found.extend(element.types.into_iter().map(str::to_owned));
            }
        }
        match found.is_empty() && !types.is_empty() {
            true => Err(CompileError::new(
                format!("{} has no element {name}", types.join(", ")),
                tree.position,
            )),
            false => Ok(Known {
                types: Some(found),
                ordered: of.ordered,
            }),
        }
    }

    fn ordered(&self, tree: &Expression, of: Known) -> Result<Known, CompileError> {
        match of.ordered {
            true => Ok(of),
            false => Err(CompileError::new(
                "what comes first among children or descendants is not defined",
                tree.position,
            )),
        }
    }

    fn call(
        &self,
        tree: &Expression,
        of: Known,
        name: &str,
        arguments: &[Expression],
        focus: &Known,
    ) -> Result<Known, CompileError> {
        if matches!(name, "is" | "as" | "ofType") {
            return Ok(match (name, arguments.first().and_then(type_argument)) {
                ("is", _) => Known::of("System.Boolean"),
                (_, Some(type_name)) => Known {
                    ordered: of.ordered,
                    ..self.named(&type_name)
                },
                _ => Known::any(),
            });
        }
        let item = Known {
            ordered: true,
            ..of.clone()
        };
        // These see the items of the input, others what is around the call.
        let inside = matches!(
            name,
            "where"
                | "select"
                | "exists"
                | "all"
                | "repeat"
                | "repeatAll"
                | "sort"
                | "aggregate"
                | "trace"
                | "iif"
                | "defineVariable"
        );
        let mut known = Vec::with_capacity(arguments.len());
        for argument in arguments {
            known.push(self.infer(argument, if inside { &item } else { focus })?);
        }
        let error = |message: &str| {
            Err(CompileError::new(
                format!("{name}() {message}"),
                tree.position,
            ))
        };
        match name {
            "first" | "last" | "tail" | "skip" | "take" => self.ordered(tree, of),
            "where" | "trace" | "single" | "distinct" | "exclude" | "intersect"
            | "defineVariable" => Ok(of),
            "sort" => Ok(item),
            "select" | "coalesce" => Ok(Known {
                ordered: of.ordered,
                ..known.pop().unwrap_or(of)
            }),
            "union" | "combine" => Ok(known.into_iter().fold(of, Known::or)),
            "children" | "descendants" => Ok(Known {
                types: None,
                ordered: false,
            }),
            "extension" => self.child(tree, &of, name),
            "iif" => {
                let boolean = |t: &str| matches!(t, "System.Boolean" | "boolean");
                let mut known = known.into_iter();
                if known
                    .next()
                    .is_some_and(|criterion| criterion.cannot(boolean))
                {
                    return error("takes a boolean");
                }
                Ok(known.reduce(Known::or).unwrap_or(of))
            }
            "empty" | "exists" | "all" | "allTrue" | "anyTrue" | "allFalse" | "anyFalse"
            | "not" | "isDistinct" | "subsetOf" | "supersetOf" | "hasValue" | "htmlChecks" => {
                Ok(Known::of("System.Boolean"))
            }
            "count" => Ok(Known::of("System.Integer")),
            "toString" => Ok(Known::of("System.String")),
            "length" | "indexOf" | "lastIndexOf" | "startsWith" | "endsWith" | "contains"
            | "matches" | "matchesFull" | "substring" | "upper" | "lower" | "replace"
            | "replaceMatches" | "trim" | "split" | "toChars" | "encode" | "decode" | "escape"
            | "unescape" => match of.cannot(is_text) {
                true => error("takes a string"),
                false => Ok(Known::of(match name {
                    "length" | "indexOf" | "lastIndexOf" => "System.Integer",
                    "startsWith" | "endsWith" | "contains" | "matches" | "matchesFull" => {
                        "System.Boolean"
                    }
                    _ => "System.String",
                })),
            },
            _ => Ok(Known::any()),
        }
    }
}

fn literal_type(literal: &Literal) -> &'static str {
    match literal {
        Literal::String(_) => "System.String",
        Literal::Number(text) if text.contains('.') => "System.Decimal",
        Literal::Number(_) => "System.Integer",
        Literal::Long(_) => "System.Long",
        Literal::Boolean(_) => "System.Boolean",
        Literal::Date(_) => "System.Date",
        Literal::DateTime(_) => "System.DateTime",
        Literal::Time(_) => "System.Time",
        Literal::Quantity { .. } => "System.Quantity",
    }
}
