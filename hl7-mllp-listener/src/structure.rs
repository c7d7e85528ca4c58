//! Message structures: the group grammar of an HL7 v2 message and a tolerant matcher
//! (HL7 v2.5.1 chapter 2, section 2.5.2; the group names are those of the chapter that defines the message).
//!
//! Real messages omit, repeat and reorder. So no cardinality is enforced here: a segment goes to the nearest place where it may stand,
//! and one that may stand nowhere is unplaced, never lost. What a message must have is said by its map (`require`).

/// A compiled structure. Group 0 is the message itself.
#[derive(Debug, PartialEq)]
pub struct Structure {
    pub name: String,
    pub groups: Vec<GroupDef>,
}

#[derive(Debug, PartialEq)]
pub struct GroupDef {
    pub name: String,
    pub parent: usize,
    /// Where the group stands in its parent.
    pub item: usize,
    pub repeats: bool,
    pub items: Vec<Item>,
}

#[derive(Debug, PartialEq)]
pub struct Item {
    pub kind: ItemKind,
    pub repeats: bool,
    pub optional: bool,
}

#[derive(Debug, PartialEq)]
pub enum ItemKind {
    Segment(String),
    Group(usize),
}

/// One group as it occurs in a message.
#[derive(Debug, PartialEq)]
pub struct Group {
    pub def: usize,
    pub parent: usize,
    pub members: Vec<(usize, Member)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Member {
    /// Index of a segment in the message.
    Segment(usize),
    /// Index of a [`Group`].
    Group(usize),
}

/// The segments of a message, placed. Group 0 is the message.
#[derive(Debug, PartialEq)]
pub struct Tree {
    pub groups: Vec<Group>,
    /// Segments that the structure has no place for, in message order.
    pub unplaced: Vec<usize>,
}

impl Structure {
    /// Compiles a grammar: `MSH EVN? PID NK1* PROCEDURE*[PR1 ROL*]`; `?` optional, `*` optional and repeating, `+` repeating.
    ///
    /// # Errors
    /// What is wrong with the grammar, in a sentence.
    pub fn parse(name: &str, grammar: &str) -> Result<Structure, String> {
        let spaced = grammar.replace('[', " [ ").replace(']', " ] ");
        let mut structure = Structure {
            name: name.to_owned(),
            groups: vec![GroupDef {
                name: name.to_owned(),
                parent: 0,
                item: 0,
                repeats: false,
                items: Vec::new(),
            }],
        };
        let (mut current, mut depth) = (0, 0);
        let mut words = spaced.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if word == "]" {
                if depth == 0 {
                    return Err("`]` closes nothing".into());
                }
                depth -= 1;
                current = structure.groups[current].parent;
                continue;
            }
            let stem = word.trim_end_matches(['?', '*', '+']);
            let (repeats, optional) = match &word[stem.len()..] {
                "" => (false, false),
                "?" => (false, true),
                "*" => (true, true),
                "+" => (true, false),
                other => return Err(format!("`{other}` after `{stem}`: use ?, * or +")),
            };
            let item = structure.groups[current].items.len();
            let kind = if words.peek() == Some(&"[") {
                words.next();
                structure.groups.push(GroupDef {
                    name: stem.to_owned(),
                    parent: current,
                    item,
                    repeats,
                    items: Vec::new(),
                });
                ItemKind::Group(structure.groups.len() - 1)
            } else if is_segment_name(stem) {
                ItemKind::Segment(stem.to_owned())
            } else {
                return Err(format!(
                    "`{stem}` is neither a segment nor followed by [...]"
                ));
            };
            let opened = match kind {
                ItemKind::Group(group) => Some(group),
                ItemKind::Segment(_) => None,
            };
            structure.groups[current].items.push(Item {
                kind,
                repeats,
                optional,
            });
            if let Some(group) = opened {
                current = group;
                depth += 1;
            }
        }
        match depth {
            0 if structure.groups[0].items.is_empty() => Err("no segments".into()),
            0 => Ok(structure),
            _ => Err(format!(
                "`[` of {} is not closed",
                structure.groups[current].name
            )),
        }
    }

    /// Places the segments of a message, by name.
    pub fn place<'a>(&self, names: impl Iterator<Item = &'a str>) -> Tree {
        let mut tree = Tree {
            groups: vec![Group {
                def: 0,
                parent: 0,
                members: Vec::new(),
            }],
            unplaced: Vec::new(),
        };
        let mut current = 0;
        for (index, name) in names.enumerate() {
            let placed = self
                .step(&mut tree, current, name, index, true)
                .or_else(|| self.step(&mut tree, current, name, index, false))
                .or_else(|| self.step_back(&mut tree, current, name, index));
            match placed {
                Some(group) => current = group,
                None => tree.unplaced.push(index),
            }
        }
        tree
    }

    /// Finds the nearest place for a segment: further on in the current group, in a new repetition of it, then in the groups around it.
    /// With `strict`, a group is entered only through a segment that may open it; without, through any of its segments.
    fn step(
        &self,
        tree: &mut Tree,
        current: usize,
        name: &str,
        segment: usize,
        strict: bool,
    ) -> Option<usize> {
        let mut at = current;
        loop {
            let def = tree.groups[at].def;
            let last = tree.groups[at].members.last().map(|(item, _)| *item);
            let forward = self.groups[def]
                .items
                .iter()
                .enumerate()
                .filter(|(index, item)| {
                    last.is_none_or(|l| *index > l || (*index == l && item.repeats))
                })
                .find_map(|(index, item)| match &item.kind {
                    ItemKind::Segment(own) if own == name => Some(vec![index]),
                    ItemKind::Segment(_) => None,
                    // A group is repeated only by what may open it, entered for the first time by anything in it.
                    ItemKind::Group(group) => self
                        .route(*group, name, strict || last == Some(index))
                        .map(|mut route| {
                            route.push(index);
                            route
                        }),
                });
            if let Some(route) = forward {
                return Some(self.enter(tree, at, route, segment));
            }
            if at == 0 {
                return None;
            }
            let parent = tree.groups[at].parent;
            if self.groups[def].repeats
                && let Some(mut route) = self.route(def, name, true)
            {
                route.push(self.groups[def].item);
                return Some(self.enter(tree, parent, route, segment));
            }
            at = parent;
        }
    }

    /// A segment out of order: a place directly in a group around, before what stood there last, that is free or repeats; or a group there that
    /// begins with it, such as the specimen that is told after its results.
    fn step_back(
        &self,
        tree: &mut Tree,
        current: usize,
        name: &str,
        segment: usize,
    ) -> Option<usize> {
        // These speak of the segment before them and mean nothing elsewhere.
        if matches!(name, "NTE" | "PRT" | "ROL") {
            return None;
        }
        let mut at = current;
        loop {
            let group = &tree.groups[at];
            let place = self.groups[group.def]
                .items
                .iter()
                .enumerate()
                .find(|(index, item)| {
                    matches!(&item.kind, ItemKind::Segment(own) if own == name)
                        && (item.repeats || group.members.iter().all(|(taken, _)| taken != index))
                });
            if let Some((index, _)) = place {
                // In its place among the others, so that what comes next still goes on from the end.
                let members = &mut tree.groups[at].members;
                let before = members.iter().take_while(|(own, _)| *own <= index).count();
                members.insert(before, (index, Member::Segment(segment)));
                return Some(current);
            }
            if let Some((index, inner)) = self.group_back(tree, at, name) {
                let opened = tree.groups.len();
                tree.groups.push(Group {
                    def: inner,
                    parent: at,
                    members: vec![(0, Member::Segment(segment))],
                });
                let members = &mut tree.groups[at].members;
                let before = members.iter().take_while(|(own, _)| *own <= index).count();
                members.insert(before, (index, Member::Group(opened)));
                return Some(opened);
            }
            if at == 0 {
                return None;
            }
            at = tree.groups[at].parent;
        }
    }

    /// A group directly in `at` that repeats, or is not there yet, and begins with the segment. An observation alone opens none: in another
    /// place it would be one of somebody else.
    fn group_back(&self, tree: &Tree, at: usize, name: &str) -> Option<(usize, usize)> {
        if name == "OBX" {
            return None;
        }
        let group = &tree.groups[at];
        let mut items = self.groups[group.def].items.iter().enumerate();
        items.find_map(|(index, item)| {
            let ItemKind::Group(inner) = item.kind else {
                return None;
            };
            let first = &self.groups[inner].items.first()?.kind;
            let begins = matches!(first, ItemKind::Segment(own) if own == name);
            let is_free = item.repeats || group.members.iter().all(|(taken, _)| *taken != index);
            (begins && is_free).then_some((index, inner))
        })
    }

    /// The items to walk from a group to a segment, last first.
    fn route(&self, group: usize, name: &str, strict: bool) -> Option<Vec<usize>> {
        for (index, item) in self.groups[group].items.iter().enumerate() {
            match &item.kind {
                ItemKind::Segment(own) if own == name => return Some(vec![index]),
                ItemKind::Segment(_) => {}
                ItemKind::Group(inner) => {
                    if let Some(mut route) = self.route(*inner, name, strict) {
                        route.push(index);
                        return Some(route);
                    }
                }
            }
            if strict && !item.optional {
                return None;
            }
        }
        None
    }

    /// Opens the groups along a route and puts the segment at its end. Returns the group that holds it.
    fn enter(&self, tree: &mut Tree, at: usize, mut route: Vec<usize>, segment: usize) -> usize {
        let mut at = at;
        while let Some(item) = route.pop() {
            let def = tree.groups[at].def;
            match self.groups[def].items[item].kind {
                ItemKind::Segment(_) => tree.groups[at]
                    .members
                    .push((item, Member::Segment(segment))),
                ItemKind::Group(group) => {
                    let opened = tree.groups.len();
                    tree.groups.push(Group {
                        def: group,
                        parent: at,
                        members: Vec::new(),
                    });
                    tree.groups[at].members.push((item, Member::Group(opened)));
                    at = opened;
                }
            }
        }
        at
    }
}

/// Three characters, the first a capital letter, the rest capitals or digits.
pub fn is_segment_name(text: &str) -> bool {
    text.len() == 3
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORU: &str = "MSH SFT* PATIENT_RESULT+[PATIENT?[PID PD1? NTE* NK1* VISIT?[PV1 PV2?]] \
        ORDER_OBSERVATION+[ORC? OBR NTE* OBSERVATION*[OBX NTE*] SPECIMEN*[SPM OBX*] FINANCIAL*[FT1]]]";

    fn shape(structure: &Structure, tree: &Tree, group: usize, names: &[&str]) -> String {
        let members: Vec<String> = tree.groups[group]
            .members
            .iter()
            .map(|(_, member)| match member {
                Member::Segment(s) => names[*s].to_owned(),
                Member::Group(g) => shape(structure, tree, *g, names),
            })
            .collect();
        format!(
            "{}({})",
            structure.groups[tree.groups[group].def]
                .name
                .chars()
                .next()
                .unwrap(),
            members.join(" ")
        )
    }

    #[test]
    fn places() {
        let structure = Structure::parse("X", ORU).unwrap();
        for (segments, expect, unplaced) in [
            (
                "MSH PID PV1 ORC OBR OBX NTE OBX",
                "X(MSH P(P(PID V(PV1)) O(ORC OBR O(OBX NTE) O(OBX))))",
                0,
            ),
            (
                "MSH PID OBR OBX OBR OBX",
                "X(MSH P(P(PID) O(OBR O(OBX)) O(OBR O(OBX))))",
                0,
            ),
            (
                "MSH PID OBR ORC OBR",
                "X(MSH P(P(PID) O(OBR) O(ORC OBR)))",
                0,
            ),
            (
                "MSH PID OBR NTE SPM OBX",
                "X(MSH P(P(PID) O(OBR NTE S(SPM OBX))))",
                0,
            ),
            (
                "MSH PID OBR PID OBR",
                "X(MSH P(P(PID) O(OBR)) P(P(PID) O(OBR)))",
                0,
            ),
            ("MSH PID OBX", "X(MSH P(P(PID) O(O(OBX))))", 0),
            // A specimen after the charge that should follow it, with what is of it; then results of the order again.
            (
                "MSH PID OBR FT1 SPM OBX FT1",
                "X(MSH P(P(PID) O(OBR S(SPM OBX) F(FT1) F(FT1))))",
                0,
            ),
            (
                "MSH PID OBR SPM NTE OBX",
                "X(MSH P(P(PID) O(OBR S(SPM OBX))))",
                1,
            ),
            ("MSH PID ZPI PV1 OBR", "X(MSH P(P(PID V(PV1)) O(OBR)))", 1),
            ("MSH PV1 PID", "X(MSH P(P(V(PV1))) P(P(PID)))", 0),
            ("MSH PID NK1 PD1 PV1", "X(MSH P(P(PID PD1 NK1 V(PV1))))", 0),
            ("", "X()", 0),
        ] {
            let names: Vec<&str> = segments.split_whitespace().collect();
            let tree = structure.place(names.iter().copied());
            let got = shape(&structure, &tree, 0, &names);
            assert_eq!(
                (got.as_str(), tree.unplaced.len()),
                (expect.replace("  ", " ").as_str(), unplaced),
                "{segments}"
            );
        }
    }

    #[test]
    fn refuses() {
        for (grammar, reason) in [
            ("MSH PID]", "closes nothing"),
            ("MSH G[PID", "not closed"),
            ("MSH pid", "neither"),
            ("MSH PID??", "use ?"),
            ("", "no segments"),
        ] {
            let error = Structure::parse("X", grammar).unwrap_err();
            assert!(error.contains(reason), "{grammar}: {error}");
        }
    }
}
