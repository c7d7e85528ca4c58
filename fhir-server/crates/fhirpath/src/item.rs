//! What a collection holds: elements of the resource, borrowed, and values that were computed
//! (<https://hl7.org/fhirpath/#types-and-reflection>).

use crate::number;
use crate::quantity::{CalendarUnit, Quantity, Unit};
use crate::temporal::{Temporal, TemporalKind};
use bigdecimal::BigDecimal;
use serde_json::{Map, Value as Json};
use std::borrow::Cow;

#[derive(Clone, Debug)]
pub enum Item<'a> {
    Element(Element<'a>),
    System(System<'a>),
    /// What `type()` gives.
    Type(TypeInfo<'a>),
    /// `%terminologies`.
    Terminologies,
}

/// An element of a resource, or a resource.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// `None` for a primitive that has only extensions.
    pub value: Option<&'a Json>,
    /// Of a primitive: the member `_name` beside it, with its id and extensions.
    pub sibling: Option<&'a Json>,
    /// `Patient`, `HumanName`, `code`, or the path of a backbone element (`Patient.contact`).
    pub type_name: &'a str,
    /// The resource it stands in; of a resource, itself.
    pub resource: &'a Json,
}

/// A value of one of the System types.
#[derive(Clone, Debug)]
pub enum System<'a> {
    Boolean(bool),
    String(Cow<'a, str>),
    Integer(i32),
    Long(i64),
    Decimal(BigDecimal),
    /// Date, DateTime or Time.
    Temporal(Temporal),
    Quantity(Quantity),
}

/// A type's name as reflection shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo<'a> {
    /// `System` or `FHIR`.
    pub namespace: &'a str,
    pub name: &'a str,
}

pub(crate) type Collection<'a> = Vec<Item<'a>>;

impl<'a> Item<'a> {
    pub(crate) fn boolean(value: bool) -> Item<'a> {
        Item::System(System::Boolean(value))
    }

    pub(crate) fn string(text: impl Into<Cow<'a, str>>) -> Item<'a> {
        Item::System(System::String(text.into()))
    }

    /// A count; beyond an Integer it is a Long.
    pub(crate) fn integer(value: i64) -> Item<'a> {
        Item::System(match i32::try_from(value) {
            Ok(value) => System::Integer(value),
            Err(_) => System::Long(value),
        })
    }

    pub(crate) fn decimal(value: BigDecimal) -> Item<'a> {
        Item::System(System::Decimal(value))
    }

    /// The System value that it is, or that a FHIR primitive or Quantity converts to. `None` for other elements and those without a value.
    pub fn system(&self) -> Option<System<'a>> {
        match self {
            Item::System(value) => Some(value.clone()),
            Item::Element(element) => element.system(),
            Item::Type(_) | Item::Terminologies => None,
        }
    }

    pub fn type_info(&self) -> TypeInfo<'a> {
        match self {
            Item::Element(element) => TypeInfo {
                namespace: "FHIR",
                name: element.type_name,
            },
            Item::System(value) => TypeInfo {
                namespace: "System",
                name: value.type_name(),
            },
            Item::Type(_) => TypeInfo {
                namespace: "System",
                name: "ClassInfo",
            },
            Item::Terminologies => TypeInfo {
                namespace: "System",
                name: "Terminologies",
            },
        }
    }

    /// The FHIR type and JSON value that carry it in a resource, for instance in `Parameters.parameter.value[x]`. `None` for what has no value.
    pub fn to_fhir(&self) -> Option<(&'a str, Cow<'a, Json>)> {
        match self {
            Item::Element(element) => Some((element.type_name, Cow::Borrowed(element.value?))),
            Item::System(value) => Some(value.to_fhir()),
            Item::Type(info) => {
                let text = format!("{}.{}", info.namespace, info.name);
                Some(("string", Cow::Owned(Json::String(text))))
            }
            Item::Terminologies => None,
        }
    }
}

/// Whether a FHIR type is a primitive: their names begin with a small letter.
pub(crate) fn is_primitive(type_name: &str) -> bool {
    type_name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Whether it is Quantity or one of its specializations.
pub(crate) fn is_quantity(type_name: &str) -> bool {
    matches!(
        type_name,
        "Quantity" | "Age" | "Count" | "Distance" | "Duration" | "SimpleQuantity"
    )
}

impl<'a> Element<'a> {
    /// A resource as the root of an evaluation; `None` when it says no type.
    pub(crate) fn resource(value: &'a Json) -> Option<Element<'a>> {
        Some(Element {
            value: Some(value),
            sibling: None,
            type_name: value.get("resourceType")?.as_str()?,
            resource: value,
        })
    }

    pub(crate) fn is_primitive(&self) -> bool {
        is_primitive(self.type_name)
    }

    /// The object that holds its children: of a primitive, the sibling.
    pub(crate) fn object(&self) -> Option<&'a Map<String, Json>> {
        match self.is_primitive() {
            true => self.sibling?.as_object(),
            false => self.value?.as_object(),
        }
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        self.value?.as_str()
    }

    pub(crate) fn system(&self) -> Option<System<'a>> {
        let value = self.value?;
        Some(match (self.type_name, value) {
            ("boolean", Json::Bool(value)) => System::Boolean(*value),
            ("integer" | "unsignedInt" | "positiveInt", Json::Number(number)) => {
                System::Integer(number.as_str().parse().ok()?)
            }
            ("integer64", Json::String(text)) => System::Long(text.parse().ok()?),
            ("decimal", Json::Number(number)) => System::Decimal(number::parse(number.as_str())?),
            ("date", Json::String(text)) => temporal(TemporalKind::Date, text)?,
            ("dateTime" | "instant", Json::String(text)) => temporal(TemporalKind::DateTime, text)?,
            ("time", Json::String(text)) => temporal(TemporalKind::Time, text)?,
            (name, Json::String(text)) if is_primitive(name) => System::String(Cow::Borrowed(text)),
            (name, Json::Object(object)) if is_quantity(name) => {
                System::Quantity(quantity(object)?)
            }
            _ => return None,
        })
    }
}

fn temporal<'a>(kind: TemporalKind, text: &str) -> Option<System<'a>> {
    Temporal::parse(kind, text).map(System::Temporal)
}

/// A FHIR Quantity with a UCUM code, or with no unit at all (<https://hl7.org/fhir/R5/fhirpath.html#quantity>).
fn quantity(object: &Map<String, Json>) -> Option<Quantity> {
    let text = |name: &str| object.get(name).and_then(Json::as_str);
    if object.contains_key("comparator") {
        return None;
    }
    let Json::Number(number) = object.get("value")? else {
        return None;
    };
    let unit = match (text("system"), text("code")) {
        (Some("http://unitsofmeasure.org"), Some(code)) => match CalendarUnit::of_ucum(code) {
            Some(unit) => Unit::Calendar(unit),
            None => Unit::Ucum(code.into()),
        },
        (None, None) if text("unit").is_none() => Unit::one(),
        _ => return None,
    };
    Some(Quantity {
        value: number::parse(number.as_str())?,
        unit,
    })
}

impl<'a> System<'a> {
    pub fn type_name(&self) -> &'static str {
        match self {
            System::Boolean(_) => "Boolean",
            System::String(_) => "String",
            System::Integer(_) => "Integer",
            System::Long(_) => "Long",
            System::Decimal(_) => "Decimal",
            System::Temporal(temporal) => match temporal.kind {
                TemporalKind::Date => "Date",
                TemporalKind::DateTime => "DateTime",
                TemporalKind::Time => "Time",
            },
            System::Quantity(_) => "Quantity",
        }
    }

    /// The same value; a text is borrowed.
    pub(crate) fn borrowed(&'a self) -> System<'a> {
        match self {
            System::String(text) => System::String(Cow::Borrowed(text)),
            other => other.clone(),
        }
    }

    /// An Integer, Long or Decimal.
    pub(crate) fn number(&self) -> Option<Cow<'_, BigDecimal>> {
        Some(match self {
            System::Integer(value) => Cow::Owned(BigDecimal::from(*value)),
            System::Long(value) => Cow::Owned(BigDecimal::from(*value)),
            System::Decimal(value) => Cow::Borrowed(value),
            _ => return None,
        })
    }

    /// What `toString()` gives.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            System::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            System::String(text) => Cow::Borrowed(text),
            System::Integer(value) => Cow::Owned(value.to_string()),
            System::Long(value) => Cow::Owned(value.to_string()),
            System::Decimal(value) => Cow::Owned(number::text(value)),
            System::Temporal(value) => Cow::Owned(value.to_string()),
            System::Quantity(value) => Cow::Owned(value.to_string()),
        }
    }

    fn to_fhir(&self) -> (&'static str, Cow<'a, Json>) {
        let number = |text: &str| {
            let number = serde_json::from_str(text);
            Cow::Owned(number.expect("a decimal in plain notation is a JSON number"))
        };
        let string = |text: String| Cow::Owned(Json::String(text));
        match self {
            System::Boolean(value) => ("boolean", Cow::Owned(Json::Bool(*value))),
            System::String(text) => ("string", string(text.to_string())),
            System::Integer(value) => ("integer", Cow::Owned((*value).into())),
            System::Long(value) => ("integer64", string(value.to_string())),
            System::Decimal(value) => ("decimal", number(&number::text(value))),
            System::Temporal(value) => {
                let name = match value.kind {
                    TemporalKind::Date => "date",
                    TemporalKind::DateTime => "dateTime",
                    TemporalKind::Time => "time",
                };
                (name, string(value.to_string()))
            }
            System::Quantity(value) => {
                let mut object = Map::new();
                let decimal = number(&number::text(&value.value)).into_owned();
                object.insert("value".into(), decimal);
                if value.unit != Unit::one() {
                    object.insert("system".into(), "http://unitsofmeasure.org".into());
                    object.insert("code".into(), value.unit.code().into());
                }
                ("Quantity", Cow::Owned(Json::Object(object)))
            }
        }
    }
}
