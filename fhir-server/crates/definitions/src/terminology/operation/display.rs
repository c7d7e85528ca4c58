//! How a concept is called, in the language that is asked for.

use super::super::{Concept, Member};
use serde_json::Value;

/// The designations of a member: the value set's, then the code system's.
pub(super) fn of_member(member: &Member) -> Vec<&Value> {
    let own = member.designations.iter();
    let concept = member.concept.as_ref();
    let of_system = concept.map(|(system, at)| &system.concepts()[*at]);
    own.chain(
        of_system
            .into_iter()
            .flat_map(|concept| &concept.designations),
    )
    .collect()
}

/// The display of a member: in a language, where there is one.
pub(super) fn shown<'m>(member: &'m Member, language: Option<&str>) -> Option<&'m str> {
    in_language(&of_member(member), language).or(member.display.as_deref())
}

pub(super) fn of_concept<'c>(concept: &'c Concept, language: Option<&str>) -> Option<&'c str> {
    let all: Vec<&Value> = concept.designations.iter().collect();
    in_language(&all, language).or(concept.display.as_deref())
}

/// `de` is answered by `de` and `de-CH`; of a list (`fr-CH, fr;q=0.9`) the first that there is.
fn in_language<'v>(designations: &[&'v Value], language: Option<&str>) -> Option<&'v str> {
    let wanted = language?.split(',');
    let mut wanted = wanted.map(|one| one.split(';').next().unwrap_or_default().trim());
    wanted.find_map(|wanted| {
        let mut all = designations.iter();
        let found = all.find(|designation| is_in(designation, wanted));
        found.and_then(|designation| designation["value"].as_str())
    })
}

pub(super) fn is_in(designation: &Value, wanted: &str) -> bool {
    let language = designation["language"].as_str().unwrap_or_default();
    let start = language.get(..wanted.len());
    !wanted.is_empty()
        && start.is_some_and(|start| start.eq_ignore_ascii_case(wanted))
        && (language.len() == wanted.len() || language.as_bytes()[wanted.len()] == b'-')
}

/// Whether a display that is given is one of the concept's, whatever its letter case and spaces.
pub(super) fn fits(given: &str, display: Option<&str>, designations: &[&Value]) -> bool {
    let values = designations.iter();
    let values = values.filter_map(|designation| designation["value"].as_str());
    let given = folded(given);
    display
        .into_iter()
        .chain(values)
        .any(|one| folded(one) == given)
}

fn folded(text: &str) -> String {
    let words = text.split_whitespace();
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}
