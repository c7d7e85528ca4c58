//! Where in the order of a date the matches lie: what the conditions on a date say about its beginning, by which it is sorted. Pure.
//!
//! It is known only where a resource has one date by the parameter: of several dates one can meet the condition and another be the sort key.

use super::flat::{Column, Dates, Order, Test};
use fhir_model::DateRange;
use fhir_search::query::{DateMatch, Prefix};

/// Every match begins at or after `lo` and before `hi`, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub lo: i64,
    pub hi: i64,
}

impl Bounds {
    const NONE: Bounds = Bounds {
        lo: i64::MIN,
        hi: i64::MAX,
    };
}

impl Dates {
    /// Where the matches begin, if a resource has one date and the conditions bound it.
    pub fn bounds(&self) -> Option<Bounds> {
        self.bounds_of(self.single?)
    }

    /// Where a row of the index begins that meets the conditions, if they bound it.
    pub fn row_bounds(&self) -> Option<Bounds> {
        self.bounds_of(self.single.unwrap_or(i64::MAX))
    }

    /// The same as [`Dates::bounds`] if no date were longer than a moment: where nearly all of the matches begin.
    pub fn most(&self) -> Option<Bounds> {
        self.single.and(self.bounds_of(0))
    }

    fn bounds_of(&self, longest: i64) -> Option<Bounds> {
        let bounds = self.all.iter().fold(Bounds::NONE, |bounds, any| {
            let one = any
                .iter()
                .map(|test| of_match(&test.date, longest))
                .reduce(|a, b| Bounds {
                    lo: a.lo.min(b.lo),
                    hi: a.hi.max(b.hi),
                })
                .unwrap_or(Bounds::NONE);
            Bounds {
                lo: bounds.lo.max(one.lo),
                hi: bounds.hi.min(one.hi),
            }
        });
        (bounds != Bounds::NONE).then_some(bounds)
    }
}

/// The conditions on the one date that the order is by.
pub(super) struct OfOrder<'f> {
    /// Their place in the filter.
    pub at: usize,
    pub dates: &'f Dates,
    pub bounds: Bounds,
}

/// The conditions on the one date that the order is by, if they bound it.
pub(super) fn of_order<'f>(filter: &'f [Test], order: &[Order]) -> Option<OfOrder<'f>> {
    let [
        Order {
            by: Column::Date { key, .. },
            ..
        },
    ] = order
    else {
        return None;
    };
    filter.iter().enumerate().find_map(|(at, test)| match test {
        Test::Dates(dates) if dates.key == *key => Some(OfOrder {
            at,
            dates,
            bounds: dates.bounds()?,
        }),
        _ => None,
    })
}

/// What [`DateMatch::matches`] needs of the beginning of a date that is no longer than `longest`.
fn of_match(date: &DateMatch, longest: i64) -> Bounds {
    let DateRange { lo: from, hi: to } = date.range;
    // It ends after `end`, so it begins no more than its length before.
    let ends_after = |end: i64| match longest {
        i64::MAX => i64::MIN,
        longest => end.saturating_sub(longest),
    };
    let (lo, hi) = match date.prefix {
        Prefix::Eq => (from, to),
        Prefix::Ne => (i64::MIN, i64::MAX),
        Prefix::Gt => (ends_after(to), i64::MAX),
        Prefix::Lt => (i64::MIN, from),
        Prefix::Ge => (ends_after(to).min(from), i64::MAX),
        Prefix::Le => (i64::MIN, to),
        Prefix::Sa => (to, i64::MAX),
        Prefix::Eb => (i64::MIN, from),
        Prefix::Ap => (ends_after(from), to),
        Prefix::Co => (ends_after(to), from.saturating_add(1)),
    };
    Bounds { lo, hi }
}

#[cfg(test)]
mod tests {
    use super::super::flat::DateTest;
    use super::*;

    /// Whatever matches begins within the bounds.
    #[test]
    fn hold_for_what_matches() {
        use Prefix::*;
        const LONGEST: i64 = 3;
        for prefix in [Eq, Ne, Gt, Lt, Ge, Le, Sa, Eb, Ap, Co] {
            for (from, to) in [(10, 11), (10, 14)] {
                let date = DateMatch {
                    prefix,
                    range: DateRange { lo: from, hi: to },
                };
                for lo in (0..25).chain([i64::MIN]) {
                    for hi in (0..30).filter(|hi| *hi > lo).chain([i64::MAX]) {
                        let longest = match hi.checked_sub(lo) {
                            Some(length) if length <= LONGEST => LONGEST,
                            _ => i64::MAX,
                        };
                        let bounds = of_match(&date, longest);
                        assert!(
                            !date.matches(lo, hi) || (bounds.lo <= lo && lo < bounds.hi),
                            "{prefix:?} [{from}, {to}): [{lo}, {hi}), {bounds:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn of_several() {
        let test = |prefix, lo, hi| DateTest {
            marker: 0,
            date: DateMatch {
                prefix,
                range: DateRange { lo, hi },
            },
        };
        let since = vec![test(Prefix::Ge, 10, 11)];
        let until = vec![test(Prefix::Lt, 20, 21)];
        let either = vec![test(Prefix::Eq, 3, 4), test(Prefix::Eq, 8, 9)];
        let open = (i64::MIN, i64::MAX);
        for (single, all, expect) in [
            (Some(2), vec![since.clone()], Some((9, open.1))),
            (Some(2), vec![since.clone(), until.clone()], Some((9, 20))),
            (
                Some(i64::MAX),
                vec![since.clone(), until.clone()],
                Some((open.0, 20)),
            ),
            (Some(2), vec![either.clone()], Some((3, 9))),
            (Some(2), vec![either, until.clone()], Some((3, 9))),
            (Some(i64::MAX), vec![since], None),
            (Some(2), vec![vec![test(Prefix::Ne, 1, 2)]], None),
            (None, vec![until], None),
        ] {
            let order = [Order::new(Column::Date { key: 1, present: 0 }, false)];
            let dates = Test::Dates(Dates {
                key: 1,
                single,
                all,
            });
            let filter = [Test::Type(vec![7]), dates];
            let found = of_order(&filter, &order).map(|own| (own.bounds.lo, own.bounds.hi));
            assert_eq!(found, expect, "{filter:?}");
        }
    }
}
