//! <https://hl7.org/fhirpath/#filtering-and-projection>, `#subsetting`, `#tree-navigation`, aggregates and sort.

use super::{Call, Function, function};
use crate::error::{Fault, Result};
use crate::evaluate::{Evaluator, Frame, single};
use crate::item::{Collection, Item};
use crate::program::{Op, OpKind};
use crate::{compare, equality, navigation};
use std::cmp::Ordering;

pub(super) const FUNCTIONS: &[Function] = &[
    function("where", 1, 1, |e, call| {
        let mut out = Vec::new();
        for (index, item) in call.input.into_iter().enumerate() {
            if e.criterion(&call.arguments[0], &item, index)? == Some(true) {
                out.push(item);
            }
        }
        Ok(out)
    }),
    function("select", 1, 1, |e, call| {
        let mut out = Vec::new();
        for (index, item) in call.input.iter().enumerate() {
            out.extend(e.each(&call.arguments[0], item, index)?);
            bound(e, &out)?;
        }
        Ok(out)
    }),
    function("repeat", 1, 1, |e, call| repeat(e, call, false)),
    function("repeatAll", 1, 1, |e, call| repeat(e, call, true)),
    function("children", 0, 0, |e, call| {
        let mut out = Vec::new();
        for item in &call.input {
            children(e, item, &mut out)?;
        }
        Ok(out)
    }),
    function("descendants", 0, 0, descendants),
    function("single", 0, 0, |_, call| {
        Ok(single(call.input)?.into_iter().collect())
    }),
    function("first", 0, 0, |_, call| {
        Ok(call.input.into_iter().take(1).collect())
    }),
    function("last", 0, 0, |_, mut call| {
        Ok(call.input.pop().into_iter().collect())
    }),
    function("tail", 0, 0, |_, call| {
        Ok(call.input.into_iter().skip(1).collect())
    }),
    function("skip", 1, 1, |e, call| {
        let count = e.integer_argument(&call, 0)?.unwrap_or(0).max(0);
        Ok(call.input.into_iter().skip(count as usize).collect())
    }),
    function("take", 1, 1, |e, call| {
        let count = e.integer_argument(&call, 0)?.unwrap_or(0).max(0);
        Ok(call.input.into_iter().take(count as usize).collect())
    }),
    function("aggregate", 1, 2, aggregate),
    function("sort", 0, 16, sort),
];

fn bound(e: &Evaluator<'_>, items: &[Item<'_>]) -> Result<()> {
    match items.len() > e.context.limits.items {
        true => Err(Fault::limit("a collection has too many items")),
        false => Ok(()),
    }
}

fn children<'a>(e: &mut Evaluator<'a>, of: &Item<'a>, out: &mut Collection<'a>) -> Result<()> {
    let before = out.len();
    navigation::children(of, e.context.model, out);
    e.budget.spend(1 + out.len() - before)?;
    bound(e, out)
}

/// Depth first, as the document has them.
fn descendants<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let mut out = Vec::new();
    let mut left: Collection<'a> = Vec::new();
    for item in call.input.iter().rev() {
        let from = left.len();
        children(e, item, &mut left)?;
        left[from..].reverse();
    }
    while let Some(item) = left.pop() {
        let from = left.len();
        children(e, &item, &mut left)?;
        left[from..].reverse();
        out.push(item);
        bound(e, &out)?;
    }
    Ok(out)
}

/// Level by level, until nothing new comes; `all` keeps repetitions, and ends by the limits where the expression does not.
fn repeat<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>, all: bool) -> Result<Collection<'a>> {
    let mut out: Collection<'a> = Vec::new();
    let mut level = call.input;
    while !level.is_empty() {
        let mut next: Collection<'a> = Vec::new();
        for (index, item) in level.iter().enumerate() {
            for found in e.each(&call.arguments[0], item, index)? {
                if all || !equality::contains(&out, &found, &mut e.budget)? {
                    out.push(found.clone());
                    next.push(found);
                }
            }
            bound(e, &out)?;
        }
        level = next;
    }
    Ok(out)
}

fn aggregate<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let mut total = e.argument(&call, 1)?;
    for (index, item) in call.input.iter().enumerate() {
        let frame = Frame {
            this: std::slice::from_ref(item),
            index: Some(index),
            total: Some(&total),
        };
        total = e.operand(&call.arguments[0], frame)?;
        e.budget.spend(total.len())?;
    }
    Ok(total)
}

/// By the keys, the first first; `-key` turns the order, of strings as well. Items without a key come first, either way.
fn sort<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let directed = |op: &'a Op| match &op.kind {
        OpKind::Negate(of) => (&**of, true),
        _ => (op, false),
    };
    let keys: Vec<(&Op, bool)> = call.arguments.iter().map(directed).collect();
    let mut rows = Vec::with_capacity(call.input.len());
    for (index, item) in call.input.into_iter().enumerate() {
        let mut values = Vec::with_capacity(keys.len());
        for (key, _) in &keys {
            values.push(single(e.each(key, &item, index)?)?);
        }
        if keys.is_empty() {
            values.push(Some(item.clone()));
        }
        rows.push((values, item));
    }
    let count = rows.len().max(1);
    e.budget.spend(count * (1 + count.ilog2() as usize))?;
    let rows = sorted(rows, &mut |(a, _), (b, _)| {
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            let turned = keys.get(index).is_some_and(|(_, turned)| *turned);
            let order = match (a, b) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(a), Some(b)) => {
                    let order = compare::order(a, b)?.unwrap_or(Ordering::Equal);
                    if turned { order.reverse() } else { order }
                }
            };
            if order.is_ne() {
                return Ok(order);
            }
        }
        Ok(Ordering::Equal)
    })?;
    Ok(rows.into_iter().map(|(_, item)| item).collect())
}

/// By merging, stable. The standard library's may panic where the order is none: 2024 is neither before nor after 2024-05 and 2024-06.
fn sorted<T>(
    mut rows: Vec<T>,
    order: &mut impl FnMut(&T, &T) -> Result<Ordering>,
) -> Result<Vec<T>> {
    if rows.len() < 2 {
        return Ok(rows);
    }
    let right = rows.split_off(rows.len() / 2);
    let mut left = sorted(rows, order)?.into_iter().peekable();
    let mut right = sorted(right, order)?.into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    loop {
        let from_right = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => order(b, a)?.is_lt(),
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (None, None) => return Ok(merged),
        };
        merged.extend(if from_right {
            right.next()
        } else {
            left.next()
        });
    }
}
