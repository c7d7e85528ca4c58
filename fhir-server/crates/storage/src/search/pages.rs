//! Which pages come before and after a page (<https://hl7.org/fhir/R5/http.html#paging>), and how many matches a page may have. Pure.
//!
//! A page after another begins behind its last match, one before it ends in front of its first, and the last page is read from the end: so
//! all of them stay what they are while others write. With `_maxresults` there is no last page, as the end is not the last match.

use super::keys::{Keys, Place};
use super::keyset::Keyset;
use fhir_search::Query;

/// The keysets of other pages.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub next: Option<Vec<u8>>,
    pub previous: Option<Vec<u8>>,
    pub last: Option<Vec<u8>>,
}

/// Matches to find for the page, those before its `_getpagesoffset` among them, and how many of them are passed over.
pub(super) fn extent(query: &Query, at: Option<&Keyset>) -> (usize, usize) {
    let Some(keyset) = at else {
        let count = query.count.min(query.results_max.unwrap_or(usize::MAX));
        return (query.offset + count, query.offset);
    };
    let count = match (query.results_max, keyset.total) {
        // What is left of them.
        (Some(most), _) if !keyset.backwards => {
            (most as u64).saturating_sub(keyset.passed).max(1) as usize
        }
        // The last page is as long as if all before it had been full.
        (None, Some(total)) if keyset.backwards && keyset.values.is_empty() => {
            match (total % query.count.max(1) as u64) as usize {
                0 => query.count,
                rest => rest,
            }
        }
        _ => query.count,
    };
    (count.min(query.count), 0)
}

/// The pages around the one that `keys` were found for, in the order in which they were found.
pub(super) fn around(
    query: &Query,
    at: Option<&Keyset>,
    keys: &Keys,
    horizon: i64,
    total: Option<u64>,
) -> Pages {
    let place = |place: Option<&Place>, backwards, passed| {
        let (pk, values) = place.cloned().unwrap_or_default();
        Keyset {
            values,
            pk,
            horizon,
            total,
            backwards,
            passed,
        }
    };
    let from_end = || {
        query
            .results_max
            .is_none()
            .then(|| place(None, true, 0).to_bytes())
    };
    let found = keys.found.len() as u64;
    let passed = at.map_or(0, |keyset| keyset.passed);
    match at {
        Some(keyset) if keyset.backwards => {
            let is_last = keyset.values.is_empty();
            let before = passed.saturating_sub(found);
            Pages {
                next: (!is_last).then(|| place(keys.found.first(), false, passed).to_bytes()),
                previous: keys
                    .next
                    .as_ref()
                    .map(|next| place(Some(next), true, before).to_bytes()),
                last: if is_last { None } else { from_end() },
            }
        }
        _ => {
            let after = passed + found;
            let more = query.results_max.is_none_or(|most| after < most as u64);
            let next = keys.next.as_ref().filter(|_| more);
            let first = keys.found.first();
            let previous = match at {
                Some(keyset) if !keyset.values.is_empty() => {
                    let own = (keyset.pk, keyset.values.clone());
                    Some(place(first.or(Some(&own)), true, passed))
                }
                None if query.offset > 0 => first.map(|first| place(Some(first), true, passed)),
                _ => None,
            };
            Pages {
                next: next.map(|next| place(Some(next), false, after).to_bytes()),
                previous: previous.map(|keyset| keyset.to_bytes()),
                last: next.and_then(|_| from_end()),
            }
        }
    }
}
