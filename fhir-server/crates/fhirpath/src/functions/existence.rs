//! <https://hl7.org/fhirpath/#existence>

use super::{Call, Function, function, verdict};
use crate::error::{Fault, Result};
use crate::evaluate::Evaluator;
use crate::item::{Collection, Item, System};
use crate::{equality, evaluate};

pub(super) const FUNCTIONS: &[Function] = &[
    function("empty", 0, 0, |_, call| verdict(call.input.is_empty())),
    function("exists", 0, 1, exists),
    function("all", 1, 1, all),
    function("allTrue", 0, 0, |_, call| {
        booleans(call, |all| all.iter().all(|b| *b))
    }),
    function("anyTrue", 0, 0, |_, call| {
        booleans(call, |all| all.iter().any(|b| *b))
    }),
    function("allFalse", 0, 0, |_, call| {
        booleans(call, |all| all.iter().all(|b| !*b))
    }),
    function("anyFalse", 0, 0, |_, call| {
        booleans(call, |all| all.iter().any(|b| !*b))
    }),
    function("subsetOf", 1, 1, |e, call| {
        let other = e.argument(&call, 0)?;
        subset(e, &call.input, &other)
    }),
    function("supersetOf", 1, 1, |e, call| {
        let other = e.argument(&call, 0)?;
        subset(e, &other, &call.input)
    }),
    function("count", 0, 0, |_, call| {
        Ok(vec![Item::integer(call.input.len() as i64)])
    }),
    function("distinct", 0, 0, |e, call| {
        equality::distinct(call.input, &mut e.budget)
    }),
    function("isDistinct", 0, 0, |e, call| {
        let count = call.input.len();
        verdict(equality::distinct(call.input, &mut e.budget)?.len() == count)
    }),
    function("not", 0, 0, |_, call| {
        let truth = evaluate::truth(&call.input)?;
        Ok(truth
            .map(|truth| Item::boolean(!truth))
            .into_iter()
            .collect())
    }),
];

fn exists<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let [criterion] = call.arguments else {
        return verdict(!call.input.is_empty());
    };
    for (index, item) in call.input.iter().enumerate() {
        if e.criterion(criterion, item, index)? == Some(true) {
            return verdict(true);
        }
    }
    verdict(false)
}

fn all<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    for (index, item) in call.input.iter().enumerate() {
        if e.criterion(&call.arguments[0], item, index)? != Some(true) {
            return verdict(false);
        }
    }
    verdict(true)
}

fn booleans<'a>(call: Call<'_, 'a>, test: fn(&[bool]) -> bool) -> Result<Collection<'a>> {
    let mut all = Vec::with_capacity(call.input.len());
    for item in &call.input {
        match item.system() {
            Some(System::Boolean(value)) => all.push(value),
            _ => return Err(Fault::invalid("booleans were expected")),
        }
    }
    verdict(test(&all))
}

fn subset<'a>(
    e: &mut Evaluator<'a>,
    part: &[Item<'a>],
    whole: &[Item<'a>],
) -> Result<Collection<'a>> {
    for item in part {
        if !equality::contains(whole, item, &mut e.budget)? {
            return verdict(false);
        }
    }
    verdict(true)
}
