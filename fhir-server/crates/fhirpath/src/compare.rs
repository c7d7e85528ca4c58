//! The order of values (<https://hl7.org/fhirpath/#comparison>).

use crate::ast::Operator;
use crate::error::{Fault, Result};
use crate::item::{Item, System};
use crate::operators::as_quantity;
use crate::temporal::TemporalKind;
use std::cmp::Ordering;

/// `<`, `<=`, `>`, `>=`; `None` where a side is empty or the precisions leave it open.
pub(crate) fn compare(
    operator: Operator,
    a: Option<Item<'_>>,
    b: Option<Item<'_>>,
) -> Result<Option<bool>> {
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(None);
    };
    let order = order(&a, &b)?;
    Ok(order.map(|order| match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

/// Which comes first.
pub(crate) fn order(a: &Item<'_>, b: &Item<'_>) -> Result<Option<Ordering>> {
    let has_no_value = |item: &Item| matches!(item, Item::Element(e) if e.value.is_none());
    if has_no_value(a) || has_no_value(b) {
        return Ok(None);
    }
    let incomparable = || {
        Fault::invalid(format!(
            "{} and {} have no order",
            a.type_info().name,
            b.type_info().name
        ))
    };
    let (Some(a), Some(b)) = (a.system(), b.system()) else {
        return Err(incomparable());
    };
    match (&a, &b) {
        (System::String(a), System::String(b)) => Ok(Some(a.cmp(b))),
        (System::Temporal(a), System::Temporal(b))
            if (a.kind == TemporalKind::Time) == (b.kind == TemporalKind::Time) =>
        {
            Ok(a.order(b))
        }
        (System::Quantity(_), _) | (_, System::Quantity(_)) => {
            match (as_quantity(&a), as_quantity(&b)) {
                (Some(a), Some(b)) => Ok(a.order(&b)),
                _ => Err(incomparable()),
            }
        }
        _ => match (a.number(), b.number()) {
            (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
            _ => Err(incomparable()),
        },
    }
}
