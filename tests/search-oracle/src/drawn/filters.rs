//! Random `_filter`s (<https://hl7.org/fhir/R5/search_filter.html>): tests of what resources hold, with every operator that the type of the parameter has,
//! over chains, on one element, and joined.

use super::searches::Draw;
use super::values::{self, Found};
use super::{chance, pick};
use crate::elements::Element;
use crate::{Resource, text};
use fhir_definitions::{ParameterType, SearchParameter};
use serde_json::Value;
use std::sync::Arc;

/// Most links of a path, and most levels of parentheses.
const LINKS_MAX: usize = 2;
const LEVELS_MAX: usize = 2;

impl Draw<'_, '_> {
    /// A filter over these types.
    pub fn filtered(&mut self, types: &[String]) -> Option<(String, String)> {
        let of = pick(self.rng, types).clone();
        Some(("_filter".into(), self.filter(&of, 0, 0)?))
    }

    fn filter(&mut self, of: &str, level: usize, links: usize) -> Option<String> {
        if level == LEVELS_MAX {
            return self.test(of, links);
        }
        Some(match self.rng.u8(..12) {
            0..=5 => self.test(of, links)?,
            6 => format!("not ({})", self.filter(of, level + 1, links)?),
            7 => format!("({})", self.filter(of, level + 1, links)?),
            8 => self.joined(of, level, links, &["and", "or"])?,
            9 | 10 => self.joined(of, level, links, &["and"])?,
            _ => self.joined(of, level, links, &["or"])?,
        })
    }

    /// Two or three, from left to right.
    fn joined(&mut self, of: &str, level: usize, links: usize, by: &[&str]) -> Option<String> {
        let mut text = self.filter(of, level + 1, links)?;
        for _ in 0..self.rng.usize(1..=2) {
            let word = *pick(self.rng, by);
            text = format!("{text} {word} {}", self.filter(of, level + 1, links)?);
        }
        Some(text)
    }

    /// One test, or one at the end of a chain.
    fn test(&mut self, of: &str, links: usize) -> Option<String> {
        match self.rng.u8(..20) {
            0 | 1 if links < LINKS_MAX => self.chained(of, links),
            2 if links < LINKS_MAX => self.referring(of, links),
            3..=6 => self.of_one_element(of).or_else(|| self.plain(of)),
            7 => self.of_every_type(of),
            _ => self.plain(of),
        }
    }

    fn chained(&mut self, of: &str, links: usize) -> Option<String> {
        let parameter = self.known(of, |it| it.kind == ParameterType::Reference)?;
        let target = self.target(of, &parameter)?;
        let bound = match chance(self.rng, 30) {
            true => format!("[{}]", self.filter(&target, LEVELS_MAX - 1, links + 1)?),
            false => String::new(),
        };
        let rest = self.test(&target, links + 1)?;
        Some(format!("{}:{target}{bound}.{rest}", parameter.code))
    }

    fn referring(&mut self, of: &str, links: usize) -> Option<String> {
        let (source, code) = self.referrer(of)?;
        Some(format!(
            "_has:{source}:{code}:{}",
            self.test(&source, links + 1)?
        ))
    }

    /// `outer[a eq b].c eq d`: both of the same element.
    fn of_one_element(&mut self, of: &str) -> Option<String> {
        let all = self.world.definitions.search_parameters(of);
        let within = |outer: &SearchParameter| -> Vec<Arc<SearchParameter>> {
            let is_within = |inner: &&Arc<SearchParameter>| {
                let programs = inner.program.as_ref().zip(outer.program.as_ref());
                inner.code != outer.code
                    && programs.is_some_and(|(inner, outer)| inner.selects_within(outer))
            };
            all.iter().filter(is_within).cloned().collect()
        };
        let outer = self.known(of, |it| {
            it.kind != ParameterType::Reference && !within(it).is_empty()
        })?;
        let inner = within(&outer);
        let mut one = || {
            let parameter = Arc::clone(pick(self.rng, &inner));
            self.asked(of, &parameter)
        };
        let (bound, rest) = (one()?, one()?);
        let not = if chance(self.rng, 10) { "not " } else { "" };
        Some(match not {
            "" => format!("{}[{bound}].{rest}", outer.code),
            not => format!("{}[{not}({bound})].{rest}", outer.code),
        })
    }

    /// By `id` or `_lastUpdated`.
    fn of_every_type(&mut self, of: &str) -> Option<String> {
        let resource = self.one(of)?;
        Some(match self.rng.bool() {
            true => {
                let operator = *pick(self.rng, &["eq", "ne"]);
                format!("id {operator} {}", resource.key.id)
            }
            false => {
                let operator = *pick(self.rng, &["eq", "ne", "gt", "lt", "ge", "le", "po"]);
                let text = fhir_model::date::instant_text(resource.updated_ms);
                format!("_lastUpdated {operator} {text}")
            }
        })
    }

    fn plain(&mut self, of: &str) -> Option<String> {
        use ParameterType::{Date, Number, String};
        let kind = self.rng.u8(..10);
        let parameter = self
            .known(of, |it| match kind {
                0..=5 => it.kind == String,
                6..=7 => matches!(it.kind, Date | Number),
                _ => it.kind != String,
            })
            .or_else(|| self.known(of, |_| true))?;
        self.asked(of, &parameter)
    }

    /// `code operator value`, made of what some resource has.
    fn asked(&mut self, of: &str, parameter: &SearchParameter) -> Option<String> {
        let code = &parameter.code;
        if parameter.kind != ParameterType::Composite && chance(self.rng, 7) {
            return Some(format!("{code} pr {}", self.rng.bool()));
        }
        let holders = self.holders(of, parameter);
        if holders.is_empty() {
            return None;
        }
        let resource: &Resource = pick::<&Resource>(self.rng, &holders);
        let elements = self.world.elements(parameter, resource);
        let found = Found {
            world: self.world,
            parameter,
            resource,
            element: pick(self.rng, &elements),
        };
        let (operator, value) = self.operation(&found)?;
        let value = match is_word(&value) && self.rng.bool() {
            true => value,
            false => Value::String(value).to_string(),
        };
        Some(format!("{code} {operator} {value}"))
    }

    fn operation(&mut self, found: &Found<'_>) -> Option<(&'static str, String)> {
        use ParameterType::{Composite, Date, Number, Quantity, Reference, String, Token, Uri};
        const ORDERED: &[&str] = &["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];
        let rng = &mut *self.rng;
        Some(match found.parameter.kind {
            String => of_string(rng, found.element)?,
            Date | Number | Quantity => {
                let own: &[&'static str] = match found.parameter.kind {
                    Date => &["co", "co", "po"],
                    Number => &["co", "co"],
                    _ => &[],
                };
                let operator = match !own.is_empty() && chance(rng, 45) {
                    true => *pick(rng, own),
                    false => *pick(rng, ORDERED),
                };
                let value = values::value(rng, found, "")?;
                let value = value.trim_start_matches(|c: char| c.is_ascii_alphabetic());
                (operator, value.to_owned())
            }
            Token => {
                let (operator, modifier) = match values::modifier(rng, found) {
                    "in" => ("in", "in"),
                    "not-in" => ("ni", "in"),
                    "below" => ("ss", "below"),
                    "above" => ("sb", "above"),
                    _ => (*pick(rng, &["eq", "eq", "ne"]), ""),
                };
                (operator, values::value(rng, found, modifier)?)
            }
            Reference => ("re", values::value(rng, found, "")?),
            Uri => {
                let uri = found.element.value.as_str()?;
                match rng.u8(..3) {
                    0 => ("co", uri[rng.usize(..uri.len())..].to_owned()),
                    1 => ("ne", uri.to_owned()),
                    _ => ("eq", uri.to_owned()),
                }
            }
            Composite => (
                *pick(rng, &["eq", "eq", "ne"]),
                values::value(rng, found, "")?,
            ),
            _ => return None,
        })
    }
}

/// The whole string, or the part that the operator looks for.
fn of_string(rng: &mut fastrand::Rng, element: &Element) -> Option<(&'static str, String)> {
    let strings = text::strings(element);
    let whole = values::one_of(rng, &strings)?.clone();
    let characters: Vec<char> = whole.chars().collect();
    let place = rng.usize(..characters.len().max(1));
    let start = || characters.iter().take(place + 1).collect();
    let end = || characters.iter().skip(place).collect();
    Some(match rng.u8(..16) {
        0 => ("co", end()),
        1 => ("sw", start()),
        2..=3 => ("ew", end()),
        4..=5 => ("gt", whole),
        6..=7 => ("lt", whole),
        8..=9 => ("ge", whole),
        10..=11 => ("le", whole),
        12..=13 => ("ne", whole),
        14 => ("eq", whole),
        // Of another it may be the whole.
        _ => ("eq", end()),
    })
}

/// What needs no quotation marks.
fn is_word(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.:/".contains(&b))
}
