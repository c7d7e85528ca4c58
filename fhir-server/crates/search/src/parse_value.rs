//! The values of a search parameter: alternatives, escapes, prefixes, and the form of each type
//! (<https://hl7.org/fhir/R5/search.html#escaping>). Normalised exactly as the document normalises them.

use crate::coding::is_coded;
use crate::date::approximate;
use crate::document::{STRING_MAX, is_canonical};
use crate::hierarchy;
use crate::parse::{Context, Refusal, VALUES_MAX};
use crate::position::{Near, Point, is_contains, is_near};
use crate::query::{
    DateMatch, Modifier, NumberMatch, Prefix, ReferenceMatch, TokenMatch, UnitMatch, ValueMatch,
};
use crate::string::normalise;
use crate::text::TextQuery;
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::key::is_id;
use fhir_model::{Decimal, Issue, IssueKind, PartialDate, Reference, ResourceKey};
use std::cell::Cell;
use std::sync::Arc;

/// What a value is read for.
pub(crate) struct Reading<'a> {
    pub context: &'a Context<'a>,
    pub parameter: &'a Arc<SearchParameter>,
    /// `:[type]`.
    pub target: Option<&'a str>,
    /// How many concepts the values of the search parameter stand for so far.
    pub concepts: &'a Cell<usize>,
}

/// Splits `text` at unescaped commas; empty alternatives (`a,,b`) are left out, but not all may be. The parts are still escaped.
pub(crate) fn alternatives<'t>(text: &'t str, code: &str) -> Result<Vec<&'t str>, Refusal> {
    let mut parts = split(text, ',');
    parts.retain(|part| !part.is_empty());
    match parts.len() {
        0 => Err(Refusal::invalid(format!(
            "the search parameter {code} has no value"
        ))),
        1..=VALUES_MAX => Ok(parts),
        _ => Err(Refusal::too_costly(format!(
            "more than {VALUES_MAX} values of the search parameter {code}"
        ))),
    }
}

/// The alternatives of `_id`.
pub(crate) fn ids(text: &str) -> Result<Vec<String>, Refusal> {
    texts(text, "_id")
}

/// The alternatives, unescaped.
pub(crate) fn texts(text: &str, code: &str) -> Result<Vec<String>, Refusal> {
    Ok(alternatives(text, code)?
        .into_iter()
        .map(unescape)
        .collect())
}

/// The alternatives of `_lastUpdated`.
pub(crate) fn dates(
    context: &Context<'_>,
    text: &str,
    code: &str,
) -> Result<Vec<DateMatch>, Refusal> {
    alternatives(text, code)?
        .into_iter()
        .map(|one| date(context, code, &[], one))
        .collect()
}

/// The value of `:missing`.
pub(crate) fn flag(code: &str, text: &str) -> Result<bool, Refusal> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::invalid(format!(
            "{code}:missing must be true or false"
        ))),
    }
}

/// A name from the client, fit for a message.
pub(crate) fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl Reading<'_> {
    /// Reads one alternative.
    pub(crate) fn value(&self, modifier: Modifier, text: &str) -> Result<ValueMatch, Refusal> {
        match modifier {
            Modifier::In | Modifier::NotIn => self.value_set(unescape(text)),
            Modifier::Above | Modifier::Below if self.parameter.kind == ParameterType::Token => {
                self.related(modifier, self.system_and_code(text)?, unescape(text))
            }
            Modifier::Above | Modifier::Below => self.hierarchy(modifier, text),
            Modifier::Text if self.parameter.kind == ParameterType::String => self.words(text),
            Modifier::Text => self.string(modifier, text),
            Modifier::TextAdvanced => self.words(text),
            Modifier::CodeText => self.code_text(text),
            Modifier::OfType => self.of_type(text),
            Modifier::Identifier => Ok(ValueMatch::Reference(ReferenceMatch::Identifier(
                self.system_and_code(text)?,
            ))),
            _ => match self.parameter.kind {
                ParameterType::Composite => self.composite(text),
                ParameterType::String => self.string(modifier, text),
                kind => self.plain(kind, &self.types(), text),
            },
        }
    }

    /// Reads a value of `kind`, of a parameter or component whose elements have these types.
    fn plain(
        &self,
        kind: ParameterType,
        types: &[&str],
        text: &str,
    ) -> Result<ValueMatch, Refusal> {
        let (code, allowed) = (&self.parameter.code, &self.parameter.comparators);
        match kind {
            ParameterType::Token => Ok(ValueMatch::Token(self.token(types, text)?)),
            ParameterType::String => self.string(Modifier::None, text),
            ParameterType::Uri => Ok(ValueMatch::Uri(unescape(text))),
            ParameterType::Reference => self.reference(types, text),
            ParameterType::Date => Ok(ValueMatch::Date(date(self.context, code, allowed, text)?)),
            ParameterType::Number => Ok(ValueMatch::Number(self.number(text)?)),
            ParameterType::Quantity => self.quantity(text),
            ParameterType::Special if is_near(self.parameter) => Near::read(&split(text, '|'))
                .map(ValueMatch::Near)
                .map_err(|reason| self.invalid(reason)),
            ParameterType::Special if is_contains(self.parameter) => Point::read(&split(text, '|'))
                .map(ValueMatch::Point)
                .map_err(|reason| self.invalid(reason)),
            ParameterType::Composite | ParameterType::Special | ParameterType::Resource => {
                Err(self.invalid("has no values that can be read"))
            }
        }
    }

    fn words(&self, text: &str) -> Result<ValueMatch, Refusal> {
        TextQuery::parse(&unescape(text))
            .map(ValueMatch::Words)
            .map_err(|wrong| self.invalid(wrong))
    }

    /// The beginning of a code or of a text beside it. Codes that are as many as there are resources have no list that could be looked
    /// through.
    fn code_text(&self, text: &str) -> Result<ValueMatch, Refusal> {
        let of_codes = self.types().iter().any(|name| is_coded(name));
        if self.parameter.kind == ParameterType::Token && !of_codes {
            return Err(Refusal::Unknown(Issue::error(
                IssueKind::NotSupported,
                format!(
                    "the modifier :code-text is not supported on {}: its values are not codes of a code system",
                    self.parameter.code
                ),
            )));
        }
        self.string(Modifier::CodeText, text)
    }

    /// A uri, a canonical, or a resource of a type that forms a hierarchy.
    fn hierarchy(&self, modifier: Modifier, text: &str) -> Result<ValueMatch, Refusal> {
        let value = unescape(text);
        let types = self.types();
        match self.parameter.kind {
            ParameterType::Uri if hierarchy::is_url(&value) => Ok(ValueMatch::Uri(value)),
            ParameterType::Uri => Err(self.invalid("has paths of URLs above and below, not urns")),
            ParameterType::Reference if are_canonicals(&types) => {
                let (_, version) = hierarchy::canonical(&value);
                match modifier == Modifier::Above && !version.is_some_and(hierarchy::is_ordered) {
                    true => Err(self.invalid(
                        "with :above must be url|version, the version numbers with dots between them",
                    )),
                    false => Ok(ValueMatch::Reference(ReferenceMatch::Url(value))),
                }
            }
            ParameterType::Reference => self.part_or_whole(&types, text),
            kind => self.plain(kind, &types, text),
        }
    }

    fn part_or_whole(&self, types: &[&str], text: &str) -> Result<ValueMatch, Refusal> {
        let in_hierarchy = |key: &ResourceKey| {
            hierarchy::parent_of(self.context.definitions, &key.resource_type).is_some()
        };
        match self.reference(types, text)? {
            ValueMatch::Reference(ReferenceMatch::Local(keys)) if keys.iter().any(in_hierarchy) => {
                let keys = keys.into_iter().filter(in_hierarchy).collect();
                Ok(ValueMatch::Reference(ReferenceMatch::Local(keys)))
            }
            _ => Err(self.invalid(
                "with :above or :below must name a resource of this server, of a type that is part of others of it",
            )),
        }
    }

    fn string(&self, modifier: Modifier, text: &str) -> Result<ValueMatch, Refusal> {
        let text = unescape(text);
        if modifier == Modifier::Exact {
            return Ok(ValueMatch::String(text));
        }
        let normal = match modifier {
            Modifier::CodeText => text.clone(),
            _ => normalise(&text),
        };
        if text.chars().count() > STRING_MAX {
            return Err(Refusal::Invalid(Issue::error(
                IssueKind::SearchValueTooLong,
                format!(
                    "a value of the search parameter {} is longer than {STRING_MAX} characters",
                    self.parameter.code
                ),
            )));
        }
        Ok(ValueMatch::String(normal))
    }

    /// `code`, `system|code`, `|code`, `system|`; where the elements have no system, the code alone.
    fn token(&self, types: &[&str], text: &str) -> Result<TokenMatch, Refusal> {
        let token = self.system_and_code(text)?;
        let all = |names: &[&str]| !types.is_empty() && types.iter().all(|t| names.contains(t));
        match &token {
            TokenMatch::Code(code) if !all(&["boolean"]) || code == "true" || code == "false" => {}
            TokenMatch::Code(_) => return Err(self.invalid("must be true or false")),
            _ if all(&["boolean", "ContactPoint", "uri", "id", "string"]) => {
                return Err(self.invalid("has no system; a | in the value must be escaped"));
            }
            _ => {}
        }
        Ok(token)
    }

    pub(crate) fn system_and_code(&self, text: &str) -> Result<TokenMatch, Refusal> {
        let parts = split(text, '|');
        match parts.as_slice() {
            [code] => Ok(TokenMatch::Code(unescape(code))),
            ["", ""] => Err(self.invalid("must not be | alone")),
            ["", code] => Ok(TokenMatch::NoSystem(unescape(code))),
            [system, ""] => Ok(TokenMatch::System(unescape(system))),
            [system, code] => Ok(TokenMatch::SystemAndCode(unescape(system), unescape(code))),
            _ => Err(self.invalid("must be code, system|code, |code or system|")),
        }
    }

    fn of_type(&self, text: &str) -> Result<ValueMatch, Refusal> {
        match split(text, '|').as_slice() {
            [system, code, value] if ![system, code, value].iter().any(|part| part.is_empty()) => {
                Ok(ValueMatch::OfType {
                    system: unescape(system),
                    code: unescape(code),
                    value: unescape(value),
                })
            }
            _ => Err(self.invalid("with :of-type must be system|code|value")),
        }
    }

    fn number(&self, text: &str) -> Result<NumberMatch, Refusal> {
        let (prefix, rest) = prefix(&self.parameter.code, &self.parameter.comparators, text)?;
        match Decimal::parse(&unescape(rest)) {
            Some(value) => Ok(NumberMatch { prefix, value }),
            None => Err(self.invalid("must be a number")),
        }
    }

    fn quantity(&self, text: &str) -> Result<ValueMatch, Refusal> {
        let parts = split(text, '|');
        let (number, unit) = match parts.as_slice() {
            [number] | [number, "", ""] => (number, UnitMatch::Any),
            [number, "", code] => (number, UnitMatch::CodeOrUnit(unescape(code))),
            [number, system, code] if !code.is_empty() => {
                let unit = UnitMatch::SystemAndCode(unescape(system), unescape(code));
                (number, unit)
            }
            _ => return Err(self.invalid("must be number, number|system|code or number||code")),
        };
        Ok(ValueMatch::Quantity {
            number: self.number(number)?,
            unit,
        })
    }

    /// `id`, `Type/id`, a URL, or of a canonical `url|version`.
    fn reference(&self, types: &[&str], text: &str) -> Result<ValueMatch, Refusal> {
        let text = unescape(text);
        let definitions = self.context.definitions;
        let url = || Ok(ValueMatch::Reference(ReferenceMatch::Url(text.clone())));
        let canonical = are_canonicals(types);
        if is_id(&text) && !canonical {
            let all = definitions.resource_types();
            let targets = match self.target {
                Some(target) => vec![target.to_owned()],
                None if self.parameter.refers_to_any() => all.to_vec(),
                None => self.parameter.targets.clone(),
            };
            let keys = targets
                .into_iter()
                .map(|target| ResourceKey::new(target, text.clone()))
                .collect();
            return Ok(ValueMatch::Reference(ReferenceMatch::Local(keys)));
        }
        match Reference::parse(&text, self.context.base) {
            Reference::Local { key, .. }
                if definitions.type_number(&key.resource_type).is_none() =>
            {
                url()
            }
            Reference::Local {
                key,
                version: Some(version),
            } => Ok(ValueMatch::Reference(ReferenceMatch::Url(format!(
                "{key}/_history/{version}"
            )))),
            Reference::Local { key, version: None } => {
                let fits = self.target.is_none_or(|target| target == key.resource_type);
                let keys = fits.then_some(key).into_iter().collect();
                Ok(ValueMatch::Reference(ReferenceMatch::Local(keys)))
            }
            _ => url(),
        }
    }

    /// `value$value`, one per component.
    fn composite(&self, text: &str) -> Result<ValueMatch, Refusal> {
        let parts = split(text, '$');
        let components = &self.parameter.components;
        if parts.len() != components.len() || parts.iter().any(|part| part.is_empty()) {
            return Err(self.invalid(&format!(
                "must be {} values with $ between them",
                components.len()
            )));
        }
        parts
            .into_iter()
            .zip(components)
            .map(|(part, component)| {
                let value = self.plain(component.kind, &component.program.types(), part)?;
                match value {
                    ValueMatch::Token(TokenMatch::System(_)) => {
                        Err(self.invalid("cannot have a system without a code in a part"))
                    }
                    value => Ok(value),
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map(ValueMatch::Composite)
    }

    pub(crate) fn types(&self) -> Vec<&str> {
        self.parameter
            .program
            .as_ref()
            .map(|program| program.types())
            .unwrap_or_default()
    }

    pub(crate) fn invalid(&self, what: &str) -> Refusal {
        Refusal::invalid(format!(
            "the search parameter {} {what}",
            self.parameter.code
        ))
    }
}

pub(crate) fn date(
    context: &Context<'_>,
    code: &str,
    allowed: &[String],
    text: &str,
) -> Result<DateMatch, Refusal> {
    let (prefix, rest) = prefix(code, allowed, text)?;
    // A `+` of the zone that was not percent-encoded has become a space.
    let written = unescape(rest).replace(' ', "+");
    let Some(PartialDate { range, .. }) = PartialDate::parse(&written) else {
        return Err(Refusal::invalid(format!(
            "the search parameter {code} must be a date: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm[:ss][zone]"
        )));
    };
    let range = match prefix {
        Prefix::Ap => approximate(range, context.now_micros),
        _ => range,
    };
    Ok(DateMatch { prefix, range })
}

/// The prefix, `eq` where none is written, and the rest.
fn prefix<'t>(code: &str, allowed: &[String], text: &'t str) -> Result<(Prefix, &'t str), Refusal> {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if letters == 0 {
        return Ok((Prefix::Eq, text));
    }
    let (name, rest) = text.split_at(letters);
    let prefix = match name {
        "eq" => Prefix::Eq,
        "ne" => Prefix::Ne,
        "gt" => Prefix::Gt,
        "lt" => Prefix::Lt,
        "ge" => Prefix::Ge,
        "le" => Prefix::Le,
        "sa" => Prefix::Sa,
        "eb" => Prefix::Eb,
        "ap" => Prefix::Ap,
        _ => {
            return Err(Refusal::unknown(format!(
                "a value of the search parameter {code} begins with letters that are no prefix"
            )));
        }
    };
    match allowed.is_empty() || allowed.iter().any(|a| a == name) {
        true => Ok((prefix, rest)),
        false => Err(Refusal::unknown(format!(
            "the prefix {name} cannot be used on the search parameter {code}"
        ))),
    }
}

/// Whether references of these types are canonical urls.
fn are_canonicals(types: &[&str]) -> bool {
    !types.is_empty() && types.iter().all(|name| is_canonical(name))
}

/// Splits at unescaped `separator`s. The parts are still escaped.
pub(crate) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Resolves `\,`, `\|`, `\$` and `\\`; any other backslash stands for itself.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, characters.peek()) {
            ('\\', Some(',' | '|' | '$' | '\\')) => out.extend(characters.next()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes() {
        for (text, expect) in [
            ("a,b", vec!["a", "b"]),
            (r"a\,b,c", vec!["a,b", "c"]),
            (r"a\\,b", vec![r"a\", "b"]),
            (r"a\\\,b", vec![r"a\,b"]),
            (r"\|\$\x", vec![r"|$\x"]),
            (",a,,b,", vec!["a", "b"]),
            (r"a\", vec![r"a\"]),
            ("é,ü", vec!["é", "ü"]),
        ] {
            let got: Vec<_> = alternatives(text, "x")
                .unwrap()
                .into_iter()
                .map(unescape)
                .collect();
            assert_eq!(got, expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_text_reads_back(text in "[a,|$\\\\é]{0,20}") {
            let escaped: String = text.chars().flat_map(|c| match c {
                ',' | '|' | '$' | '\\' => vec!['\\', c],
                c => vec![c],
            }).collect();
            prop_assert_eq!(split(&escaped, ',').len(), 1);
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
