//! Equality and equivalence (<https://hl7.org/fhirpath/#equality>), and the functions of sets that stand on them. Each comparison costs steps.

use crate::error::Result;
use crate::evaluate::Budget;
use crate::item::{Collection, Element, Item, System};
use crate::number;
use crate::operators::as_quantity;
use crate::temporal::{Temporal, TemporalKind};
use serde_json::Value as Json;
use std::cmp::Ordering;

/// `=`: `None` where a side is empty, or precisions leave it open.
pub(crate) fn equal(a: &[Item<'_>], b: &[Item<'_>], budget: &mut Budget) -> Result<Option<bool>> {
    if a.is_empty() || b.is_empty() {
        return Ok(None);
    }
    if a.len() != b.len() {
        return Ok(Some(false));
    }
    let mut open = false;
    for (a, b) in a.iter().zip(b) {
        match items_equal(a, b, budget)? {
            Some(true) => {}
            Some(false) => return Ok(Some(false)),
            None => open = true,
        }
    }
    Ok(Some(true).filter(|_| !open))
}

/// `~`: in any order.
pub(crate) fn equivalent(a: &[Item<'_>], b: &[Item<'_>], budget: &mut Budget) -> Result<bool> {
    pair_up(a, b, |a, b| items_equivalent(a, b, budget))
}

/// Whether each of `a` has one of its own in `b`, and none is left.
fn pair_up<T>(a: &[T], b: &[T], mut is_pair: impl FnMut(&T, &T) -> Result<bool>) -> Result<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut left: Vec<&T> = b.iter().collect();
    for a in a {
        let mut found = None;
        for (index, b) in left.iter().enumerate() {
            if is_pair(a, b)? {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => drop(left.swap_remove(index)),
            None => return Ok(false),
        }
    }
    Ok(true)
}

pub(crate) fn contains(all: &[Item<'_>], one: &Item<'_>, budget: &mut Budget) -> Result<bool> {
    for item in all {
        if items_equal(item, one, budget)? == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Without repetitions, the first of each kept.
pub(crate) fn distinct<'a>(all: Collection<'a>, budget: &mut Budget) -> Result<Collection<'a>> {
    let mut out: Collection<'a> = Vec::with_capacity(all.len());
    for item in all {
        if !contains(&out, &item, budget)? {
            out.push(item);
        }
    }
    Ok(out)
}

fn items_equal(a: &Item<'_>, b: &Item<'_>, budget: &mut Budget) -> Result<Option<bool>> {
    budget.spend(1)?;
    if let (Item::Element(a), Item::Element(b)) = (a, b)
        && (a.value.is_none() || b.value.is_none() || a.system().is_none() || b.system().is_none())
    {
        return elements_equal(a, b, budget).map(Some);
    }
    let (Some(x), Some(y)) = (a.system(), b.system()) else {
        return Ok(Some(match (a, b) {
            (Item::Type(a), Item::Type(b)) => a == b,
            (Item::Terminologies, Item::Terminologies) => true,
            _ => false,
        }));
    };
    Ok(match (&x, &y) {
        (System::Boolean(a), System::Boolean(b)) => Some(a == b),
        (System::String(a), System::String(b)) => {
            budget.spend(a.len().min(b.len()) / 64)?;
            Some(a == b)
        }
        (System::Temporal(a), System::Temporal(b)) if same_family(a, b) => {
            a.order(b).map(Ordering::is_eq)
        }
        (System::Quantity(a), System::Quantity(b)) => match a.order(b) {
            Some(order) => Some(order.is_eq()),
            // Different measures are different; a calendar year against a UCUM one is open.
            None if a.is_comparable(b) => None,
            None => Some(false),
        },
        (System::Quantity(_), _) | (_, System::Quantity(_)) => {
            match (as_quantity(&x), as_quantity(&y)) {
                (Some(a), Some(b)) => Some(a.order(&b).is_some_and(Ordering::is_eq)),
                _ => Some(false),
            }
        }
        _ => match (x.number(), y.number()) {
            (Some(a), Some(b)) => Some(a == b),
            _ => Some(false),
        },
    })
}

fn items_equivalent(a: &Item<'_>, b: &Item<'_>, budget: &mut Budget) -> Result<bool> {
    budget.spend(1)?;
    let (Some(x), Some(y)) = (a.system(), b.system()) else {
        return match (a, b) {
            (Item::Element(a), Item::Element(b)) => elements_equivalent(a, b, budget),
            _ => Ok(items_equal(a, b, budget)?.unwrap_or(false)),
        };
    };
    Ok(match (&x, &y) {
        (System::String(a), System::String(b)) => {
            budget.spend((a.len() + b.len()) / 16)?;
            folded(a) == folded(b)
        }
        (System::Temporal(a), System::Temporal(b)) if same_family(a, b) => {
            a.precision == b.precision && a.order(b).is_some_and(Ordering::is_eq)
        }
        (System::Quantity(_), _) | (_, System::Quantity(_)) => {
            match (as_quantity(&x), as_quantity(&y)) {
                (Some(a), Some(b)) => a.is_equivalent(&b),
                _ => false,
            }
        }
        _ => match (x.number(), y.number()) {
            (Some(a), Some(b)) => number::is_equivalent(&a, &b),
            _ => items_equal(a, b, budget)?.unwrap_or(false),
        },
    })
}

/// Times are equal to times only; a Date is a DateTime of less precision.
fn same_family(a: &Temporal, b: &Temporal) -> bool {
    (a.kind == TemporalKind::Time) == (b.kind == TemporalKind::Time)
}

/// Case and white space do not count.
fn folded(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// Every child, in order, extensions and ids included.
fn elements_equal(a: &Element<'_>, b: &Element<'_>, budget: &mut Budget) -> Result<bool> {
    Ok(optional(a.value, b.value, budget, json_equal)?
        && optional(a.sibling, b.sibling, budget, json_equal)?)
}

fn elements_equivalent(a: &Element<'_>, b: &Element<'_>, budget: &mut Budget) -> Result<bool> {
    optional(a.value, b.value, budget, json_equivalent)
}

type Test = fn(&Json, &Json, &mut Budget) -> Result<bool>;

fn optional(a: Option<&Json>, b: Option<&Json>, budget: &mut Budget, test: Test) -> Result<bool> {
    match (a, b) {
        (Some(a), Some(b)) => test(a, b, budget),
        (None, None) => Ok(true),
        _ => Ok(false),
    }
}

/// The same but for the places of decimals. JSON from outside is at most 100 deep.
fn json_equal(a: &Json, b: &Json, budget: &mut Budget) -> Result<bool> {
    budget.spend(1)?;
    if std::ptr::eq(a, b) {
        return Ok(true);
    }
    match (a, b) {
        (Json::Number(a), Json::Number(b)) if a.as_str() != b.as_str() => {
            let (a, b) = (number::parse(a.as_str()), number::parse(b.as_str()));
            Ok(a.is_some() && a == b)
        }
        (Json::Array(a), Json::Array(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !json_equal(a, b, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Json::Object(a), Json::Object(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, a) in a {
                match b.get(key) {
                    Some(b) if json_equal(a, b, budget)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => Ok(a == b),
    }
}

/// Texts folded, decimals rounded, arrays in any order; ids do not count.
fn json_equivalent(a: &Json, b: &Json, budget: &mut Budget) -> Result<bool> {
    budget.spend(1)?;
    match (a, b) {
        (Json::String(a), Json::String(b)) => {
            budget.spend((a.len() + b.len()) / 16)?;
            Ok(folded(a) == folded(b))
        }
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (number::parse(a.as_str()), number::parse(b.as_str()));
            Ok(matches!((a, b), (Some(a), Some(b)) if number::is_equivalent(&a, &b)))
        }
        (Json::Array(a), Json::Array(b)) => pair_up(a, b, |a, b| json_equivalent(a, b, budget)),
        (Json::Object(a), Json::Object(b)) => {
            let keys = |object: &serde_json::Map<String, Json>| {
                object.keys().filter(|key| *key != "id").count()
            };
            if keys(a) != keys(b) {
                return Ok(false);
            }
            for (key, a) in a.iter().filter(|(key, _)| *key != "id") {
                match b.get(key) {
                    Some(b) if json_equivalent(a, b, budget)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => Ok(a == b),
    }
}
