//! The tokens that a value set or a concept stands for: `:in`, `:not-in`, `:above` and `:below` of token parameters
//! (<https://hl7.org/fhir/R5/search.html#modifierin>, <https://hl7.org/fhir/R5/search.html#modifierbelow>).
//!
//! A value set is `ValueSet/[id]` or an address on the own base, where there is one; else a canonical url, with or without `|version`. A concept that
//! names no system is looked for in every code system that has it. `:above` and `:below` include the concept itself.
//!
//! A code system that a value set takes whole, and that is not here, stands for all of its codes. An element of type `code` whose binding names several
//! systems has none to compare: its code alone decides.
//!
//! MIME types are no code system that is here; their hierarchy is in how they are written: `image` is above `image/png`, `text/xml` above
//! `text/xml;charset=UTF-8` (<https://hl7.org/fhir/R5/search.html#mimetype>), in any letter case.
//!
//! Refuses value sets and code systems that are not known, what is made of them, and more than [`CONCEPTS_MAX`] concepts.

use crate::filter::{self, Filter, Operator, Step};
use crate::named_query;
use crate::parse::Refusal;
use crate::parse_value::{Reading, alternatives, split, unescape};
use crate::query::{Clause, Modifier, TokenMatch, ValueMatch};
use fhir_definitions::{Definitions, Terminology, TerminologyError};
use fhir_model::{Issue, IssueKind, Reference};
use std::sync::Arc;

/// Most concepts that one value of a search parameter may stand for.
pub const CONCEPTS_MAX: usize = 20_000;
/// Most of all values together, in every type that a chain or a search over several types asks.
const ALL_CONCEPTS_MAX: usize = 200_000;

/// The system of MIME types.
const MIME_TYPES: &str = "urn:ietf:bcp:13";

/// The value sets and code systems that a search names: what the caller looks up before it parses, where the definitions do not have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// As they are written: `ValueSet/[id]`, addresses, canonical urls.
    pub value_sets: Vec<String>,
    /// Canonical urls.
    pub code_systems: Vec<String>,
}

impl Named {
    fn add_system_of(&mut self, token: &str) {
        if let [system, code] = split(token, '|').as_slice()
            && !system.is_empty()
            && !code.is_empty()
        {
            self.code_systems.push(unescape(system));
        }
    }

    fn add(&mut self, filter: &Filter) {
        match filter {
            Filter::Not(filter) => self.add(filter),
            Filter::All(filters) | Filter::Any(filters) => {
                for filter in filters {
                    self.add(filter);
                }
            }
            Filter::Test(test) => {
                match test.operator {
                    Operator::In | Operator::Ni => self.value_sets.push(unescape(&test.value)),
                    Operator::Ss | Operator::Sb => self.add_system_of(&test.value),
                    _ => {}
                }
                for link in &test.path {
                    if let Step::Name {
                        filter: Some(filter),
                        ..
                    } = &link.step
                    {
                        self.add(filter);
                    }
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.value_sets.is_empty() && self.code_systems.is_empty()
    }
}

/// What the parameters of a search over `types` name, by their modifiers, in `_filter` and by a named query; whether it can be searched by them is not asked.
pub fn named(definitions: &Definitions, types: &[&str], parameters: &[(String, String)]) -> Named {
    let mut named = Named::default();
    let query_by_name = named_query::named(definitions, types, parameters);
    let behind = query_by_name.ok().flatten().map(|query| query.search);
    for (name, text) in parameters.iter().chain(behind.iter().flatten()) {
        if name == "_filter" {
            if let Ok(filter) = filter::parse(text) {
                named.add(&filter);
            }
            continue;
        }
        let modifier = name.rsplit_once(':').map(|(_, modifier)| modifier);
        let Some(modifier @ ("in" | "not-in" | "above" | "below")) = modifier else {
            continue;
        };
        for one in alternatives(text, name).unwrap_or_default() {
            match modifier {
                "in" | "not-in" => named.value_sets.push(unescape(one)),
                _ => named.add_system_of(one),
            }
        }
    }
    named
}

impl Reading<'_> {
    /// `:in` and `:not-in`.
    pub(crate) fn value_set(&self, asked: String) -> Result<ValueMatch, Refusal> {
        let terminology = self.terminology();
        let literal = match Reference::parse(&asked, self.context.base) {
            Reference::Local { key, version: None } if key.resource_type == "ValueSet" => {
                terminology.value_set_of_id(&key.id)
            }
            _ => None,
        };
        let set = match literal {
            Some(set) => set,
            None => terminology.value_set(&asked).map_err(|_| {
                self.invalid("names a value set that is not known here: it is neither stored on this server nor among its definitions")
            })?,
        };
        let expansion = terminology
            .expand(&set)
            .map_err(|error| self.refusal(error))?;
        let by_code = self.code_systems().contains(&None);
        if by_code && !expansion.whole.is_empty() {
            return Err(self.refusal(TerminologyError::NotPresent(String::new())));
        }
        let mut tokens = Vec::with_capacity(expansion.members.len());
        for member in &expansion.members {
            tokens.push(exactly(&member.system, &member.code));
            if by_code {
                tokens.push(TokenMatch::Code(member.code.to_string()));
            }
        }
        let whole = expansion.whole.iter();
        tokens.extend(whole.map(|system| TokenMatch::System(system.to_string())));
        self.concepts(asked, tokens)
    }

    /// Whether all elements are codes of MIME types.
    pub(crate) fn is_of_mime_types(&self) -> bool {
        let types = self.types();
        !types.is_empty()
            && types.iter().all(|name| *name == "code")
            && self
                .code_systems()
                .iter()
                .all(|system| *system == Some(MIME_TYPES))
    }

    /// `:above` and `:below` of MIME types.
    pub(crate) fn mime_types(&self, modifier: Modifier, texts: &[&str]) -> Result<Clause, Refusal> {
        let (mut whole, mut beginnings) = (Vec::new(), Vec::new());
        for text in texts {
            let code = match self.system_and_code(text)? {
                TokenMatch::Code(code) => code,
                TokenMatch::SystemAndCode(system, code) if system == MIME_TYPES => code,
                _ => {
                    return Err(
                        self.invalid("must be a MIME type, or the part of one before the /")
                    );
                }
            };
            match modifier {
                Modifier::Above => {
                    let without_parameters = code.split(';').next().unwrap_or_default().trim();
                    let kind = without_parameters.split('/').next().unwrap_or_default();
                    for above in [without_parameters, kind] {
                        whole.push(ValueMatch::Token(TokenMatch::Code(above.to_owned())));
                    }
                }
                _ => {
                    let next = if code.contains('/') { ';' } else { '/' };
                    beginnings.push(ValueMatch::String(format!("{code}{next}")));
                }
            }
            whole.push(ValueMatch::Token(TokenMatch::Code(code)));
        }
        let clause = |modifier, values| Clause::Param {
            parameter: Arc::clone(self.parameter),
            modifier,
            values,
        };
        let whole = clause(Modifier::None, whole);
        Ok(match beginnings.is_empty() {
            true => whole,
            false => Clause::Any(vec![whole, clause(Modifier::CodeText, beginnings)]),
        })
    }

    /// `:above` and `:below`.
    pub(crate) fn related(
        &self,
        modifier: Modifier,
        token: TokenMatch,
        asked: String,
    ) -> Result<ValueMatch, Refusal> {
        let terminology = self.terminology();
        let systems = match &token {
            TokenMatch::SystemAndCode(system, code) => {
                let system = terminology.code_system(system);
                vec![(system.map_err(|error| self.refusal(error))?, code.clone())]
            }
            TokenMatch::Code(code) => {
                // What a code of a system that is not here is above or below is not known.
                for url in self.code_systems().into_iter().flatten() {
                    let system = terminology.code_system(url);
                    let known = system.and_then(|system| system.subsumed(code));
                    known
                        .map_err(|_| self.refusal(TerminologyError::NotPresent(url.to_owned())))?;
                }
                let systems = terminology.code_systems_of(code).into_iter();
                systems.map(|system| (system, code.clone())).collect()
            }
            // Nothing is above or below them.
            TokenMatch::NoSystem(_) | TokenMatch::System(_) => Vec::new(),
        };
        let mut tokens = vec![token.clone()];
        for (system, code) in systems {
            let related: Result<Vec<Arc<str>>, _> = match modifier {
                Modifier::Above => system.subsuming(&code),
                _ => system.subsumed(&code),
            };
            let related = related.map_err(|error| self.refusal(error))?;
            let related = related.iter().map(|code| exactly(system.url(), code));
            tokens.extend(related.filter(|other| *other != token));
        }
        self.concepts(asked, tokens)
    }

    /// Of the elements of the type code the systems that are implied.
    fn code_systems(&self) -> Vec<Option<&str>> {
        let program = self.parameter.program.as_ref();
        program
            .map(|program| program.code_systems())
            .unwrap_or_default()
    }

    fn terminology(&self) -> Terminology<'_> {
        let known = self.context.definitions.terminology();
        match self.context.terminology {
            Some(given) => known.with(given),
            None => known,
        }
    }

    fn concepts(&self, asked: String, tokens: Vec<TokenMatch>) -> Result<ValueMatch, Refusal> {
        let all = self.concepts.get() + tokens.len();
        self.concepts.set(all);
        match tokens.len() > CONCEPTS_MAX || all > ALL_CONCEPTS_MAX {
            true => Err(self.refusal(TerminologyError::TooCostly)),
            false => Ok(ValueMatch::Concepts { asked, tokens }),
        }
    }

    /// What the client named is not repeated.
    fn refusal(&self, error: TerminologyError) -> Refusal {
        use TerminologyError::{NotPresent, TooCostly, TooDeep};
        let parameter = &self.parameter.code;
        match error {
            NotPresent(_) => Refusal::Invalid(Issue::error(
                IssueKind::NotSupported,
                format!(
                    "the search parameter {parameter} asks for concepts of a code system that is not here, or not as a whole; add it to the site's terminology folder"
                ),
            )),
            TooCostly | TooDeep(_) => Refusal::too_costly(format!(
                "the values of the search parameter {parameter} stand for more than {CONCEPTS_MAX} concepts"
            )),
            TerminologyError::Invalid(reason) => {
                self.invalid(&format!("names a value set that cannot be expanded: {reason}"))
            }
            TerminologyError::Cycle(_) => {
                self.invalid("names a value set that is made of itself")
            }
            _ => self.invalid("names a code system, or a value set made of one, that is not known here: it is neither stored on this server nor among its definitions"),
        }
    }
}

fn exactly(system: &str, code: &str) -> TokenMatch {
    TokenMatch::SystemAndCode(system.to_owned(), code.to_owned())
}
