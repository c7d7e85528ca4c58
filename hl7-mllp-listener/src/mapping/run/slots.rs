//! Where the segments that a map reads stand in the message at hand.

use super::State;
use crate::mapping::program::{Bind, Place};
use crate::structure::Member;
use smallvec::SmallVec;

/// Numbers of segments or of groups: few, so that they need no memory of their own.
pub(super) type Numbers = SmallVec<[usize; 12]>;

/// For each segment of a frame, where it occurs.
#[derive(Default)]
pub(super) struct Slots {
    segments: Numbers,
    /// For each slot, how many segments there are up to its last.
    ends: SmallVec<[usize; 12]>,
}

impl Slots {
    /// So many slots, in all of which one segment stands.
    pub fn repeat(segment: usize, slots: usize) -> Slots {
        Slots {
            segments: SmallVec::from_elem(segment, slots),
            ends: (1..=slots).collect(),
        }
    }

    pub fn of(&self, slot: usize) -> &[usize] {
        let start = slot.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.segments[start..self.ends[slot]]
    }
}

impl State<'_> {
    /// Where names lead to from a group.
    pub(super) fn slots(&self, binds: &[Bind], group: usize) -> Slots {
        let mut slots = Slots::default();
        for bind in binds {
            self.find_into(bind, group, &mut slots.segments);
            slots.ends.push(slots.segments.len());
        }
        slots
    }

    /// The segments a name leads to from a group.
    pub(super) fn find(&self, bind: &Bind, group: usize) -> Numbers {
        let mut found = Numbers::new();
        self.find_into(bind, group, &mut found);
        found
    }

    fn find_into(&self, bind: &Bind, group: usize, found: &mut Numbers) {
        let (up, places) = match bind {
            Bind::Loop(index) => return found.push(self.loops[*index]),
            Bind::Nowhere => return,
            Bind::Places { up, places } => (*up, places),
        };
        let mut group = group;
        for _ in 0..up {
            group = self.tree.groups[group].parent;
        }
        for Place { down, item } in places {
            let Some(inner) = self.first_group(group, down) else {
                continue;
            };
            let members = self.tree.groups[inner].members.iter();
            found.extend(members.filter_map(|(own, member)| match member {
                Member::Segment(segment) if own == item => Some(*segment),
                _ => None,
            }));
        }
    }

    /// The groups at the end of a way down.
    pub(super) fn groups(&self, group: usize, route: &[usize]) -> Numbers {
        let mut found = Numbers::new();
        self.groups_into(group, route, &mut found);
        found
    }

    fn groups_into(&self, group: usize, route: &[usize], found: &mut Numbers) {
        let Some((item, rest)) = route.split_first() else {
            return found.push(group);
        };
        for inner in self.inner_groups(group, *item) {
            self.groups_into(inner, rest, found);
        }
    }

    /// The same of a way on which groups do not repeat.
    fn first_group(&self, group: usize, route: &[usize]) -> Option<usize> {
        let Some((item, rest)) = route.split_first() else {
            return Some(group);
        };
        let mut inner = self.inner_groups(group, *item);
        inner.find_map(|inner| self.first_group(inner, rest))
    }

    fn inner_groups(&self, group: usize, item: usize) -> impl Iterator<Item = usize> {
        let members = self.tree.groups[group].members.iter();
        members.filter_map(move |(own, member)| match member {
            Member::Group(inner) if *own == item => Some(*inner),
            _ => None,
        })
    }
}
