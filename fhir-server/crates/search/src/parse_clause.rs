//! One parameter of a search to its clause: names, modifiers, chains, `_has` (<https://hl7.org/fhir/R5/search.html#chaining>).

use crate::parse::{CHAIN_MAX, Context, Refusal};
use crate::parse_value::{self as value, shown};
use crate::position::{is_contains, is_near};
use crate::query::{ChainedClause, Clause, Modifier, TextOf, ValueMatch};
use crate::text::TextQuery;
use fhir_definitions::{Definitions, ParameterType, SearchParameter, State};
use std::cell::Cell;
use std::sync::Arc;

/// Most clauses that one parameter may stand for: a chain over references to any type multiplies.
const CLAUSES_MAX: usize = 1_000;

/// Understands `name=text` in a search over `types`.
pub(crate) fn parse(
    context: &Context<'_>,
    types: &[&str],
    name: &str,
    text: &str,
) -> Result<Clause, Refusal> {
    let mut parser = Parser::new(context);
    match types {
        [resource_type] => parser.clause(resource_type, name, text, 0),
        _ => Ok(match parser.by_type(types, name, text, 0)? {
            // What can have no narrative has none.
            ChainedClause { mut by_type }
                if by_type
                    .first()
                    .is_some_and(|(_, clause)| is_of_any_type(clause)) =>
            {
                by_type.swap_remove(0).1
            }
            // A parameter that some of the types lack would leave those unfiltered.
            ChainedClause { by_type } if by_type.len() < types.len() => {
                return Err(Refusal::unknown(format!(
                    "not all of the types searched have the search parameter {}",
                    shown(name)
                )));
            }
            chained => Clause::ByType(chained),
        }),
    }
}

/// The search parameter `code` of a type, where it answers.
pub(crate) fn parameter(
    definitions: &Definitions,
    resource_type: &str,
    code: &str,
) -> Result<Arc<SearchParameter>, Refusal> {
    let found = definitions.search_parameter(resource_type, code);
    match found.map(|parameter| (parameter, definitions.state(parameter))) {
        Some((parameter, State::Answers)) => Ok(parameter.clone()),
        // Never ignored: what it would have left out, it may have been the only one to.
        Some((parameter, State::Indexing(percent))) => Err(Refusal::invalid(format!(
            "the search parameter {} of {resource_type} is being indexed, {percent} %; try again later",
            parameter.code
        ))),
        Some((parameter, State::Retired)) => Err(Refusal::unknown(format!(
            "the search parameter {} of {resource_type} is retired on this server",
            parameter.code
        ))),
        None => Err(Refusal::unknown(format!(
            "{resource_type} has no search parameter {}",
            shown(code)
        ))),
    }
}

/// `_id`, `_lastUpdated`, membership and words mean the same in every type.
fn is_of_any_type(clause: &Clause) -> bool {
    match clause {
        Clause::Id(_) | Clause::LastUpdated(_) | Clause::MemberOf { .. } | Clause::Text { .. } => {
            true
        }
        Clause::Not(clause) => is_of_any_type(clause),
        _ => false,
    }
}

/// Makes the clauses of one parameter of the URL, and counts them.
pub(crate) struct Parser<'a> {
    pub context: &'a Context<'a>,
    clauses: usize,
    /// How many concepts the values stand for so far.
    concepts: Cell<usize>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Parser<'a> {
        Parser {
            context,
            clauses: 0,
            concepts: Cell::new(0),
        }
    }

    /// Counts one clause more, `depth` links from the resources searched.
    pub(crate) fn count(&mut self, depth: usize) -> Result<(), Refusal> {
        self.clauses += 1;
        match depth > CHAIN_MAX || self.clauses > CLAUSES_MAX {
            true => Err(Refusal::too_costly(format!(
                "a chain of more than {CHAIN_MAX} links, or over too many types; name the type as in subject:Patient.name"
            ))),
            false => Ok(()),
        }
    }

    pub(crate) fn parameter(
        &self,
        resource_type: &str,
        code: &str,
    ) -> Result<Arc<SearchParameter>, Refusal> {
        parameter(self.context.definitions, resource_type, code)
    }

    pub(crate) fn clause(
        &mut self,
        resource_type: &str,
        name: &str,
        text: &str,
        depth: usize,
    ) -> Result<Clause, Refusal> {
        self.count(depth)?;
        if let Some(rest) = name.strip_prefix("_has:") {
            return self.has(resource_type, rest, text, depth);
        }
        let (head, rest) = match name.split_once('.') {
            Some((head, rest)) => (head, Some(rest)),
            None => (name, None),
        };
        let (code, modifier) = match head.split_once(':') {
            Some((code, modifier)) => (code, Some(modifier)),
            None => (head, None),
        };
        match (code, modifier, rest) {
            ("_text", None, None) => {
                return self.text(resource_type, code, TextOf::Narrative, text);
            }
            ("section-text", None, None) => {
                return self.text(resource_type, code, TextOf::Sections, text);
            }
            ("_content", None, None) => {
                return self.text(resource_type, code, TextOf::Content, text);
            }
            ("_text" | "_content", _, _) => {
                return Err(Refusal::unknown(format!("{code} takes no modifier here")));
            }
            _ => {}
        }
        if rest.is_none()
            && let Some(clause) = self.special(resource_type, code, modifier, text, depth)
        {
            return clause;
        }
        let parameter = self.parameter(resource_type, code)?;
        if let Some(rest) = rest {
            return self.chain(parameter, modifier, rest, text, depth);
        }
        if modifier == Some("missing") {
            allowed(&parameter, "missing")?;
            // "For all parameters (except combinations)".
            if parameter.kind == ParameterType::Composite {
                return Err(Refusal::unknown(format!(
                    "the modifier :missing cannot be used on {code}, a composite"
                )));
            }
            let missing = value::flag(code, text)?;
            supported(&parameter)?;
            return Ok(Clause::Missing { parameter, missing });
        }
        supported(&parameter)?;
        let (modifier, target) = match modifier {
            None => (Modifier::None, None),
            Some(name) if parameter.kind == ParameterType::Reference && is_type(name) => (
                Modifier::None,
                Some(target(self.context.definitions, &parameter, name)?),
            ),
            Some(name) => (self::modifier(&parameter, name)?, None),
        };
        let values = value::alternatives(text, code)?;
        if values.len() > 1 && !parameter.multiple_or {
            return Err(Refusal::invalid(format!(
                "the search parameter {code} takes one value only"
            )));
        }
        self.param(&parameter, modifier, target.as_deref(), &values)
    }

    /// The parameter with one of these values, which are still escaped.
    pub(crate) fn param(
        &self,
        parameter: &Arc<SearchParameter>,
        modifier: Modifier,
        target: Option<&str>,
        values: &[&str],
    ) -> Result<Clause, Refusal> {
        let reading = self.reading(parameter, target);
        if matches!(modifier, Modifier::Above | Modifier::Below) && reading.is_of_mime_types() {
            return reading.mime_types(modifier, values);
        }
        let values = values
            .iter()
            .map(|one| reading.value(modifier, one))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Clause::Param {
            parameter: Arc::clone(parameter),
            modifier,
            values,
        })
    }

    /// `_text`, `_content`, `section-text`. A comma is OR, as everywhere.
    fn text(
        &self,
        resource_type: &str,
        code: &str,
        of: TextOf,
        text: &str,
    ) -> Result<Clause, Refusal> {
        // Bundle, Binary and Parameters have no narrative, documents alone have sections.
        parameter(self.context.definitions, resource_type, code)?;
        let queries = value::texts(text, code)?
            .iter()
            .map(|text| TextQuery::parse(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|what| Refusal::invalid(format!("the search parameter {code} {what}")))?;
        let query = TextQuery::any(queries);
        Ok(Clause::Text { of, query })
    }

    /// One value, which is still escaped.
    pub(crate) fn value(
        &self,
        parameter: &Arc<SearchParameter>,
        modifier: Modifier,
        target: Option<&str>,
        text: &str,
    ) -> Result<ValueMatch, Refusal> {
        self.reading(parameter, target).value(modifier, text)
    }

    fn reading<'r>(
        &'r self,
        parameter: &'r Arc<SearchParameter>,
        target: Option<&'r str>,
    ) -> value::Reading<'r> {
        value::Reading {
            context: self.context,
            parameter,
            target,
            concepts: &self.concepts,
        }
    }

    /// `Type:parameter:rest`.
    fn has(
        &mut self,
        resource_type: &str,
        rest: &str,
        text: &str,
        depth: usize,
    ) -> Result<Clause, Refusal> {
        let mut parts = rest.splitn(3, ':');
        let (Some(source), Some(code), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::invalid(
                "_has must be _has:Type:reference parameter:parameter",
            ));
        };
        let parameter = self.referrer(resource_type, source, code)?;
        let clause = self.clause(source, rest, text, depth + 1)?;
        Ok(Clause::Has {
            parameter,
            clause: Box::new(clause),
        })
    }

    /// The reference parameter `code` of the type `source`, which can refer to `resource_type`.
    pub(crate) fn referrer(
        &self,
        resource_type: &str,
        source: &str,
        code: &str,
    ) -> Result<Arc<SearchParameter>, Refusal> {
        if self.context.definitions.type_number(source).is_none() {
            return Err(Refusal::unknown(format!(
                "_has names {}, and this server has no such type",
                shown(source)
            )));
        }
        let parameter = parameter(self.context.definitions, source, code)?;
        let reaches =
            parameter.kind == ParameterType::Reference && parameter.may_refer_to(resource_type);
        if !reaches {
            return Err(Refusal::unknown(format!(
                "{source}.{code} does not refer to {resource_type}"
            )));
        }
        Ok(parameter)
    }

    /// `parameter[:Type].rest`.
    fn chain(
        &mut self,
        parameter: Arc<SearchParameter>,
        modifier: Option<&str>,
        rest: &str,
        text: &str,
        depth: usize,
    ) -> Result<Clause, Refusal> {
        let types = chained_types(self.context.definitions, &parameter, modifier, rest)?;
        let names: Vec<&str> = types.iter().map(String::as_str).collect();
        let clause = Box::new(self.by_type(&names, rest, text, depth + 1)?);
        Ok(Clause::Chain {
            parameter,
            types: clause
                .by_type
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            clause,
        })
    }

    /// The clause in each type that has the parameter; a refusal when none has.
    fn by_type(
        &mut self,
        types: &[&str],
        name: &str,
        text: &str,
        depth: usize,
    ) -> Result<ChainedClause, Refusal> {
        each_type(types, |resource_type| {
            self.clause(resource_type, name, text, depth)
        })
    }
}

/// The types of the resources that `parameter[:Type].rest` leads to.
pub(crate) fn chained_types(
    definitions: &Definitions,
    parameter: &SearchParameter,
    modifier: Option<&str>,
    rest: &str,
) -> Result<Vec<String>, Refusal> {
    // `_in` names the groups themselves; whose members have something is asked by `_has`.
    if parameter.kind != ParameterType::Reference || parameter.code == "_in" {
        return Err(Refusal::unknown(format!(
            "{} is no reference: nothing can be chained to it",
            parameter.code
        )));
    }
    supported(parameter)?;
    let next = rest.split(['.', ':']).next().unwrap_or_default();
    if !parameter.chains.is_empty() && !parameter.chains.iter().any(|code| code == next) {
        return Err(Refusal::unknown(format!(
            "{} cannot be chained to {}",
            shown(next),
            parameter.code
        )));
    }
    Ok(match modifier {
        Some(name) => vec![target(definitions, parameter, name)?],
        None if parameter.refers_to_any() => definitions.resource_types().to_vec(),
        // A definition may name types that are never stored.
        None => {
            let targets = parameter.targets.iter();
            let known = |name: &&String| definitions.type_number(name).is_some();
            targets.filter(known).cloned().collect()
        }
    })
}

/// `:[type]`: the type, if the parameter can refer to it.
pub(crate) fn target(
    definitions: &Definitions,
    parameter: &SearchParameter,
    name: &str,
) -> Result<String, Refusal> {
    let known = definitions.type_number(name).is_some();
    match known && parameter.may_refer_to(name) {
        true => Ok(name.to_owned()),
        false => Err(Refusal::unknown(format!(
            "{} does not refer to {}",
            parameter.code,
            shown(name)
        ))),
    }
}

/// The clause in each type that understands it: what a type does not know is refused only when none does.
pub(crate) fn each_type(
    types: &[impl AsRef<str>],
    mut clause: impl FnMut(&str) -> Result<Clause, Refusal>,
) -> Result<ChainedClause, Refusal> {
    let mut by_type = Vec::new();
    let mut unknown = None;
    for resource_type in types {
        let resource_type = resource_type.as_ref();
        match clause(resource_type) {
            Ok(clause) => by_type.push((resource_type.to_owned(), clause)),
            Err(Refusal::Unknown(issue)) => {
                unknown.get_or_insert(issue);
            }
            Err(invalid) => return Err(invalid),
        }
    }
    match unknown {
        Some(issue) if by_type.is_empty() => Err(Refusal::Unknown(issue)),
        _ => Ok(ChainedClause { by_type }),
    }
}

fn is_type(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
}

/// A parameter that has values to search.
pub(crate) fn supported(parameter: &SearchParameter) -> Result<(), Refusal> {
    let special = matches!(
        parameter.kind,
        ParameterType::Special | ParameterType::Resource
    ) && !is_near(parameter)
        && !is_contains(parameter);
    let halved = parameter.kind == ParameterType::Composite && parameter.components.len() < 2;
    match special || halved || parameter.program.is_none() {
        true => Err(Refusal::Unknown(fhir_model::Issue::error(
            fhir_model::IssueKind::NotSupported,
            format!(
                "the search parameter {} is not supported on {}",
                parameter.code, parameter.resource_type
            ),
        ))),
        false => Ok(()),
    }
}

/// The modifier, if the specification has it for the parameter's type and the parameter does not forbid it
/// (<https://hl7.org/fhir/R5/search.html#modifiers>).
pub(crate) fn modifier(parameter: &SearchParameter, name: &str) -> Result<Modifier, Refusal> {
    use ParameterType::{Reference, String, Token, Uri};
    let (modifier, kinds): (Modifier, &[ParameterType]) = match name {
        "exact" => (Modifier::Exact, &[String]),
        "contains" => (Modifier::Contains, &[String, Uri]),
        "text" => (Modifier::Text, &[Token, Reference, String]),
        "text-advanced" => (Modifier::TextAdvanced, &[Token, Reference]),
        "code-text" => (Modifier::CodeText, &[Token, Reference]),
        "not" => (Modifier::Not, &[Token]),
        "in" => (Modifier::In, &[Token]),
        "not-in" => (Modifier::NotIn, &[Token]),
        "above" => (Modifier::Above, &[Token, Reference, Uri]),
        "below" => (Modifier::Below, &[Token, Reference, Uri]),
        "of-type" => (Modifier::OfType, &[Token]),
        "identifier" => (Modifier::Identifier, &[Reference]),
        _ => {
            return Err(Refusal::unknown(format!(
                "{} has no modifier {}",
                parameter.code,
                shown(name)
            )));
        }
    };
    let on = |names: &[&str]| {
        let types = parameter.program.as_ref().map(|program| program.types());
        types.is_some_and(|types| types.iter().any(|name| names.contains(name)))
    };
    let fits = match name {
        "of-type" => on(&["Identifier"]),
        // "Only tokens targeting value sets are allowed (e.g., a boolean token parameter target is not allowed)."
        "in" | "not-in" | "above" | "below" if parameter.kind == Token => {
            on(&["Coding", "CodeableConcept", "CodeableReference", "code"])
        }
        _ => true,
    };
    if !kinds.contains(&parameter.kind) || !fits {
        return Err(Refusal::unknown(format!(
            "the modifier :{name} cannot be used on {}",
            parameter.code
        )));
    }
    allowed(parameter, name)?;
    Ok(modifier)
}

/// Whether the parameter's own list of modifiers, if it has one, has this.
pub(crate) fn allowed(parameter: &SearchParameter, name: &str) -> Result<(), Refusal> {
    match parameter.modifiers.is_empty() || parameter.modifiers.iter().any(|m| m == name) {
        true => Ok(()),
        false => Err(Refusal::unknown(format!(
            "the modifier :{name} cannot be used on {}",
            parameter.code
        ))),
    }
}
