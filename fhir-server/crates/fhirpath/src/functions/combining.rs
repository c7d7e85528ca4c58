//! <https://hl7.org/fhirpath/#combining> and the sets of `#subsetting`.

use super::{Function, function};
use crate::equality;

pub(super) const FUNCTIONS: &[Function] = &[
    function("union", 1, 1, |e, mut call| {
        let other = e.argument(&call, 0)?;
        call.input.extend(other);
        equality::distinct(call.input, &mut e.budget)
    }),
    function("combine", 1, 2, |e, mut call| {
        let other = e.argument(&call, 0)?;
        call.input.extend(other);
        Ok(call.input)
    }),
    function("intersect", 1, 1, |e, call| {
        let other = e.argument(&call, 0)?;
        let mut out = Vec::new();
        for item in call.input {
            if equality::contains(&other, &item, &mut e.budget)? {
                out.push(item);
            }
        }
        equality::distinct(out, &mut e.budget)
    }),
    function("exclude", 1, 1, |e, call| {
        let other = e.argument(&call, 0)?;
        let mut out = Vec::new();
        for item in call.input {
            if !equality::contains(&other, &item, &mut e.budget)? {
                out.push(item);
            }
        }
        Ok(out)
    }),
];
