//! Compiles message maps: names of groups and segments become ways through the structure, `let` names become numbers.

use super::{Compiler, Names};
use crate::mapping::load::{BlockSource, MessageSource, StepSource};
use crate::mapping::program::*;
use crate::mapping::rule::{Atom, Condition, Line, Relation, Statement};
use crate::structure::{ItemKind, Structure, is_segment_name};

impl Compiler {
    /// `every` are the statements of every message, which come after its own and know none of its names.
    pub(super) fn message(&mut self, source: &MessageSource, every: &[MessageSource]) {
        match source.structures.as_slice() {
            [structure] => self.message_of(source, every, &source.name, structure),
            several => {
                for structure in several {
                    self.message_of(source, every, structure, structure);
                }
            }
        }
    }

    fn message_of(
        &mut self,
        source: &MessageSource,
        every: &[MessageSource],
        name: &str,
        structure: &str,
    ) {
        let structures = &self.program.structures;
        let Some(structure) = structures.iter().position(|s| s.name == structure) else {
            let reason = format!("no structure `{structure}`");
            return self.fail(&source.file, source.line, reason);
        };
        let mut scope = MessageScope {
            file: &source.file,
            structure,
            group: 0,
            loops: Vec::new(),
            names: Vec::new(),
            ones: 0,
            lists: 0,
        };
        let mut outer = Vec::new();
        let mut block = self.block(&source.block, &mut scope, &mut outer);
        for source in every {
            scope.file = &source.file;
            scope.names.clear();
            let mut last = self.block(&source.block, &mut scope, &mut outer);
            block.resets.append(&mut last.resets);
            block.steps.append(&mut last.steps);
        }
        block.resets.append(&mut outer);
        self.program.messages.push(MessageMap {
            name: name.to_owned(),
            structure,
            ones: scope.ones,
            lists: scope.lists,
            block,
        });
    }

    /// `outer` takes the lists that belong to the block around this one.
    fn block(
        &mut self,
        source: &BlockSource,
        scope: &mut MessageScope<'_>,
        outer: &mut Vec<Store>,
    ) -> Block {
        let mut block = Block::default();
        block.require.clone_from(&source.require);
        let known = scope.names.len();
        let mut lists = Vec::new();
        for step in &source.steps {
            match step {
                StepSource::Line(line, Line::Relate(relation)) => {
                    match self.relate(relation, scope) {
                        Ok(step) => block.steps.push(Step::Relate(Box::new(step))),
                        Err(reason) => self.fail(scope.file, *line, reason),
                    }
                }
                StepSource::Line(line, Line::Make(statement)) => {
                    match self.call(statement, scope) {
                        Ok(call) => {
                            for store in &call.stores {
                                match store {
                                    Store::One(_) => block.resets.push(*store),
                                    Store::List(_) if !outer.contains(store) => outer.push(*store),
                                    Store::List(_) => {}
                                }
                            }
                            block.steps.push(Step::Call(Box::new(call)));
                        }
                        Err(reason) => self.fail(scope.file, *line, reason),
                    }
                }
                StepSource::For(line, name, inner) => {
                    match self.over(name, inner, scope, &mut lists) {
                        Ok(step) => block.steps.push(step),
                        Err(reason) => self.fail(scope.file, *line, reason),
                    }
                }
            }
        }
        block.resets.append(&mut lists);
        // Names of this block end with it; its lists go on in the block around it.
        let own = scope.names.split_off(known);
        let going_on = own.into_iter().filter(|(_, store)| outer.contains(store));
        scope.names.extend(going_on);
        block
    }

    fn over(
        &mut self,
        name: &str,
        inner: &BlockSource,
        scope: &mut MessageScope<'_>,
        lists: &mut Vec<Store>,
    ) -> Result<Step, String> {
        let structure = &self.program.structures[scope.structure];
        if let Some((route, group)) = route_to_group(structure, scope.group, name) {
            let around = std::mem::replace(&mut scope.group, group);
            let block = self.block(inner, scope, lists);
            scope.group = around;
            return Ok(Step::Group { route, block });
        }
        if !is_segment_name(name) {
            return Err(format!("`{name}` is no group here, and no segment"));
        }
        let bind = self.bind(scope, name);
        scope.loops.push(name.to_owned());
        let block = self.block(inner, scope, lists);
        scope.loops.pop();
        Ok(Step::Segment { bind, block })
    }

    fn call(
        &self,
        statement: &Statement,
        scope: &mut MessageScope<'_>,
    ) -> Result<CallStep, String> {
        let name = &statement.call.name;
        let mut maps = self.program.maps.iter();
        let map = maps.position(|map| map.name == *name && !map.of_value);
        let map = map.ok_or_else(|| format!("no map `{name}` in segments/"))?;
        let target = &self.program.maps[map];
        let mut frame = Frame::default();
        let mut names = Names {
            frame: &mut frame,
            labels: Vec::new(),
            element: None,
        };
        let mut arguments = vec![Vec::new(); target.frame.parameters.len()];
        for (argument, value) in &statement.call.arguments {
            let parameters = &target.frame.parameters;
            let index = parameters
                .iter()
                .position(|parameter| parameter == argument);
            let index = index.ok_or_else(|| format!("{name} uses no `${argument}`"))?;
            let sources = self.handles(self.sources(value, &mut names)?, &names, scope)?;
            let sources = sources.into_iter().zip(value);
            arguments[index] = sources.map(|(source, atom)| only(source, atom)).collect();
        }
        let when = self.when(statement.when.as_ref(), &mut names, scope)?;
        let binds = target
            .frame
            .segments
            .iter()
            .map(|s| self.bind(scope, s))
            .collect();
        let own = frame.segments.iter().map(|s| self.bind(scope, s)).collect();
        let stores = statement.names.iter();
        let stores = stores.map(|own| scope.declare(&own.name, own.list));
        let stores = stores.collect::<Result<_, _>>()?;
        Ok(CallStep {
            map,
            binds,
            arguments,
            stores,
            when,
            own,
        })
    }

    fn relate(&self, relation: &Relation, scope: &MessageScope<'_>) -> Result<RelateStep, String> {
        let mut frame = Frame::default();
        let mut names = Names {
            frame: &mut frame,
            labels: Vec::new(),
            element: None,
        };
        let mut handle = |atom: &Atom| {
            let source = self.source(atom, &mut names)?;
            let handle = self.handles(vec![source], &names, scope)?.pop();
            handle.ok_or_else(|| "a name is expected".to_owned())
        };
        let (from, to) = (handle(&relation.from)?, handle(&relation.to)?);
        let what = relation.what.as_ref().map(&mut handle).transpose()?;
        let when = self.when(relation.when.as_ref(), &mut names, scope)?;
        let own = frame.segments.iter().map(|s| self.bind(scope, s)).collect();
        Ok(RelateStep {
            verb: relation.verb,
            what,
            from,
            to,
            when,
            own,
        })
    }

    fn when(
        &self,
        when: Option<&Condition>,
        names: &mut Names<'_>,
        scope: &MessageScope<'_>,
    ) -> Result<Option<Test>, String> {
        let test = when.map(|when| self.test(when, names)).transpose()?;
        let test = test.map(|test| self.test_handles(test, names, scope));
        test.transpose()
    }

    /// In a message map `$name` is a handle.
    fn handles(
        &self,
        sources: Vec<Source>,
        names: &Names<'_>,
        scope: &MessageScope<'_>,
    ) -> Result<Vec<Source>, String> {
        let handle = |index: usize| {
            let name = &names.frame.parameters[index];
            let known = scope.names.iter().rev().find(|(known, _)| known == name);
            match known {
                Some((_, store)) => Ok(Source::Handle(*store)),
                None => Err(format!("`${name}` is not known here")),
            }
        };
        let replace = |source| match source {
            Source::Argument(index) => handle(index),
            Source::Element { of, element } => match *of {
                Source::Argument(index) => Ok(Source::Element {
                    of: Box::new(handle(index)?),
                    element,
                }),
                _ => Ok(Source::Element { of, element }),
            },
            other => Ok(other),
        };
        sources.into_iter().map(replace).collect()
    }

    fn test_handles(
        &self,
        test: Test,
        names: &Names<'_>,
        scope: &MessageScope<'_>,
    ) -> Result<Test, String> {
        let each = |parts: Vec<Test>| -> Result<Vec<Test>, String> {
            let parts = parts.into_iter();
            parts
                .map(|part| self.test_handles(part, names, scope))
                .collect()
        };
        Ok(match test {
            Test::Valued(value) => Test::Valued(self.handles(value, names, scope)?),
            Test::In(value, texts) => Test::In(self.handles(value, names, scope)?, texts),
            Test::Like(value, text) => Test::Like(self.handles(value, names, scope)?, text),
            Test::Not(inner) => Test::Not(Box::new(self.test_handles(*inner, names, scope)?)),
            Test::All(parts) => Test::All(each(parts)?),
            Test::Any(parts) => Test::Any(each(parts)?),
        })
    }

    fn bind(&self, scope: &MessageScope<'_>, name: &str) -> Bind {
        if let Some(index) = scope.loops.iter().rposition(|own| own == name) {
            return Bind::Loop(index);
        }
        let structure = &self.program.structures[scope.structure];
        let (mut group, mut up) = (scope.group, 0);
        loop {
            let mut places = Vec::new();
            add_places(structure, group, name, &[], &mut places);
            if !places.is_empty() {
                return Bind::Places { up, places };
            }
            if group == 0 {
                return Bind::Nowhere;
            }
            group = structure.groups[group].parent;
            up += 1;
        }
    }
}

/// An argument: `$list*` gives all of a list, `$list` the one that it holds.
fn only(source: Source, atom: &Atom) -> Source {
    match (source, atom) {
        (Source::Handle(Store::List(list)), Atom::Variable(_)) => Source::Only(list),
        (source, _) => source,
    }
}

struct MessageScope<'a> {
    file: &'a str,
    structure: usize,
    group: usize,
    loops: Vec<String>,
    names: Vec<(String, Store)>,
    ones: usize,
    lists: usize,
}

impl MessageScope<'_> {
    fn declare(&mut self, name: &str, list: bool) -> Result<Store, String> {
        if let Some((_, store)) = self.names.iter().find(|(known, _)| known == name) {
            return match (store, list) {
                (Store::List(_), true) => Ok(*store),
                _ => Err(format!("`{name}` is named twice")),
            };
        }
        let (store, count) = match list {
            true => (Store::List(self.lists), &mut self.lists),
            false => (Store::One(self.ones), &mut self.ones),
        };
        *count += 1;
        self.names.push((name.to_owned(), store));
        Ok(store)
    }
}

/// Where a segment stands directly in a group and in the groups inside it that do not repeat.
fn add_places(
    structure: &Structure,
    group: usize,
    name: &str,
    down: &[usize],
    places: &mut Vec<Place>,
) {
    for (index, item) in structure.groups[group].items.iter().enumerate() {
        match &item.kind {
            ItemKind::Segment(own) if own == name => places.push(Place {
                down: down.to_vec(),
                item: index,
            }),
            ItemKind::Group(inner) if !item.repeats => {
                add_places(structure, *inner, name, &[down, &[index]].concat(), places);
            }
            _ => {}
        }
    }
}

/// A group below another, through groups that do not repeat: the items to walk, and the group.
fn route_to_group(structure: &Structure, group: usize, name: &str) -> Option<(Vec<usize>, usize)> {
    let items = &structure.groups[group].items;
    for (index, item) in items.iter().enumerate() {
        if let ItemKind::Group(inner) = item.kind
            && structure.groups[inner].name == name
        {
            return Some((vec![index], inner));
        }
    }
    items
        .iter()
        .enumerate()
        .find_map(|(index, item)| match item.kind {
            ItemKind::Group(inner) if !item.repeats => {
                let (mut route, found) = route_to_group(structure, inner, name)?;
                route.insert(0, index);
                Some((route, found))
            }
            _ => None,
        })
}
