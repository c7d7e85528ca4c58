//! `memberOf()`, `subsumes()`, `subsumedBy()` and `%terminologies` (<https://hl7.org/fhir/R5/fhirpath.html#txapi>). The host answers.

use super::{Call, Function, function, verdict};
use crate::error::{Fault, Result};
use crate::evaluate::{Evaluator, single};
use crate::item::{Collection, Element, Item};
use serde_json::{Value as Json, json};
use std::borrow::Cow;

pub(super) const FUNCTIONS: &[Function] = &[
    function("memberOf", 1, 1, member_of),
    function("subsumes", 1, 4, |e, call| match is_service(&call) {
        true => service(e, call, "subsumes"),
        false => subsumption(e, call, "subsumes"),
    }),
    function("subsumedBy", 1, 1, |e, call| {
        subsumption(e, call, "subsumed-by")
    }),
    function("expand", 1, 2, |e, call| service(e, call, "expand")),
    function("lookup", 1, 2, |e, call| service(e, call, "lookup")),
    function("validateVS", 2, 3, |e, call| service(e, call, "validateVS")),
    function("validateCS", 2, 3, |e, call| service(e, call, "validateCS")),
    function("translate", 2, 3, |e, call| service(e, call, "translate")),
];

fn is_service(call: &Call<'_, '_>) -> bool {
    matches!(call.input[..], [Item::Terminologies])
}

fn service<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>, name: &str) -> Result<Collection<'a>> {
    if !is_service(&call) {
        return Err(Fault::invalid(format!(
            "{name}() is a function of %terminologies"
        )));
    }
    let mut arguments = Vec::new();
    for index in 0..call.arguments.len() {
        let argument = single(e.argument(&call, index)?)?;
        arguments.push(argument.and_then(|item| Some(item.to_fhir()?.1)));
    }
    let answer = ask(e, name, &arguments)?;
    Ok(Element::resource(e.keep(answer))
        .map(Item::Element)
        .into_iter()
        .collect())
}

fn ask(e: &mut Evaluator<'_>, name: &str, arguments: &[Option<Cow<'_, Json>>]) -> Result<Json> {
    const NOTHING: &Json = &Json::Null;
    e.budget.spend(1_000)?;
    let arguments: Vec<&Json> = arguments
        .iter()
        .map(|argument| argument.as_deref().unwrap_or(NOTHING))
        .collect();
    let answer = e.context.host.terminology(name, &arguments);
    answer.map_err(Fault::unsupported)
}

/// The value of a parameter.
fn parameter<'a>(answer: &'a Json, name: &str, value: &str) -> Option<&'a Json> {
    let all = answer.get("parameter")?.as_array()?;
    let found = all
        .iter()
        .find(|p| p.get("name").and_then(Json::as_str) == Some(name));
    found?.get(value)
}

fn member_of<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let value_set = e.text_argument(&call, 0)?;
    let coded = single(call.input)?.and_then(|item| Some(item.to_fhir()?.1));
    let (Some(value_set), Some(coded)) = (value_set, coded) else {
        return Ok(Vec::new());
    };
    let url = Cow::Owned(Json::String(value_set.into_owned()));
    let answer = ask(e, "validateVS", &[Some(url), Some(coded)])?;
    let result = parameter(&answer, "result", "valueBoolean").and_then(Json::as_bool);
    Ok(result.map(Item::boolean).into_iter().collect())
}

fn subsumption<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    wanted: &str,
) -> Result<Collection<'a>> {
    let other = single(e.argument(&call, 0)?)?;
    let (Some(a), Some(b)) = (single(call.input)?, other) else {
        return Ok(Vec::new());
    };
    for a in codings(&a) {
        for b in codings(&b) {
            if a.get("system") != b.get("system") {
                continue;
            }
            if a.get("code") == b.get("code") {
                return verdict(true);
            }
            let system = a.get("system").cloned().unwrap_or_default();
            let arguments = [system, a.clone(), b].map(|json| Some(Cow::Owned(json)));
            let answer = ask(e, "subsumes", &arguments)?;
            let outcome = parameter(&answer, "outcome", "valueCode").and_then(Json::as_str);
            if outcome == Some(wanted) || outcome == Some("equivalent") {
                return verdict(true);
            }
        }
    }
    verdict(false)
}

/// The Codings of a Coding, CodeableConcept or code.
fn codings(item: &Item<'_>) -> Vec<Json> {
    let Some((type_name, value)) = item.to_fhir() else {
        return Vec::new();
    };
    match type_name {
        "CodeableConcept" => {
            let codings = value.get("coding").and_then(Json::as_array);
            codings.cloned().unwrap_or_default()
        }
        "Coding" => vec![value.into_owned()],
        _ => vec![json!({"code": value})],
    }
}
