//! The grammar of rules, as data.

use super::*;

fn address(segment: &str, numbers: [usize; 4], each: bool) -> Address {
    let [field, repetition, component, subcomponent] = numbers;
    Address {
        segment: segment.into(),
        every: field == 0 && each,
        field,
        each,
        repetition,
        component,
        subcomponent,
        ..Address::default()
    }
}

#[test]
fn addresses() {
    for (text, expect) in [
        ("PID-3", address("PID", [3, 0, 0, 0], false)),
        ("PID-3*", address("PID", [3, 0, 0, 0], true)),
        ("PID-3[2].1", address("PID", [3, 2, 1, 0], false)),
        ("OBX-5[2*]", address("OBX", [5, 2, 0, 0], true)),
        ("PID-3.4.2", address("PID", [3, 0, 4, 2], false)),
        ("NK1*", address("NK1", [0, 0, 0, 0], true)),
        (
            "NTE*.3.1",
            Address {
                every: true,
                ..address("NTE", [3, 0, 1, 0], true)
            },
        ),
        (".4.2", address("", [0, 0, 4, 2], false)),
        (".", address("", [0, 0, 0, 0], false)),
    ] {
        assert_eq!(
            source(text),
            Ok((vec![Atom::Address(expect)], None)),
            "{text}"
        );
    }
}

#[test]
fn whole_rules() {
    let read = rule("contact[nk].name: PID-5* or $p.x | XPN.HumanName(use=work) -> 0001 when PID-30 = \"Y\" and not (PV1 or PID-8 in (\"a\", \"b\"))").unwrap();
    assert_eq!(read.target[0].index, Index::Label("nk".into()));
    assert_eq!(read.target[1].index, Index::One);
    assert_eq!(read.value[1], Atom::Variable("p.x".into()));
    assert_eq!(read.converter.unwrap().arguments[0].0, "use");
    assert_eq!(read.vocabulary.as_deref(), Some("0001"));
    let Some(Condition::All(parts)) = read.when else {
        panic!("and")
    };
    assert!(matches!(&parts[1], Condition::Not(inner) if matches!(**inner, Condition::Any(_))));

    assert!(rule("status?: \"unknown\"").unwrap().fallback);
    assert_eq!(
        rule("value[x]: OBX-5").unwrap().target[0].index,
        Index::Choice
    );
    let text = rule("a: \"x {PID-3.1} {PID-4?}\"").unwrap();
    assert_eq!(
        text.value,
        vec![Atom::Template(vec![
            Piece::Text("x ".into()),
            Piece::Part {
                value: vec![Atom::Address(address("PID", [3, 0, 1, 0], false))],
                optional: false
            },
            Piece::Text(" ".into()),
            Piece::Part {
                value: vec![Atom::Address(address("PID", [4, 0, 0, 0], false))],
                optional: true
            },
        ])]
    );
}

fn made(text: &str) -> Statement {
    match statement(text) {
        Ok(Line::Make(made)) => made,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn statements() {
    let read = made("let o* = OBX.Observation(subject=$p, specimen=$s*) when OBX-3");
    let names = |read: &Statement| -> Vec<(String, bool)> {
        let names = read.names.iter();
        names.map(|own| (own.name.clone(), own.list)).collect()
    };
    assert_eq!(names(&read), [("o".to_owned(), true)]);
    let given: Vec<_> = read.call.arguments.into_iter().map(|(_, v)| v).collect();
    let expect = [Atom::Variable("p".into()), Atom::Every("s".into())];
    assert_eq!(given.concat(), expect);
    assert!(read.when.is_some());
    let read = made("let own, all* = SPM.Specimen");
    let expect = [("own".to_owned(), false), ("all".to_owned(), true)];
    assert_eq!(names(&read), expect);
    assert!(made("PV1.Encounter").names.is_empty());
}

#[test]
fn relations() {
    let name = |text: &str| Atom::Variable(text.to_owned());
    for (text, verb, what, from, to) in [
        ("merge $a into $b", Verb::Merge, None, "a", "b"),
        ("move $x from $a to $b", Verb::Move, Some("x"), "a", "b"),
        ("move $a to $b", Verb::Move, None, "a", "b"),
        ("change $a to $b", Verb::Change, None, "a", "b"),
        ("link $a with $b", Verb::Link, None, "a", "b"),
        ("unlink $a from $b when PV1", Verb::Unlink, None, "a", "b"),
    ] {
        let Ok(Line::Relate(read)) = statement(text) else {
            panic!("{text}")
        };
        let found = (read.verb, read.what, read.from, read.to);
        assert_eq!(
            found,
            (verb, what.map(name), name(from), name(to)),
            "{text}"
        );
        assert_eq!(read.when.is_some(), text.contains("when"));
    }
    for (text, reason) in [
        ("merge $a", "`into` is expected at the end"),
        ("merge PID into $b", "`$` is expected before `PID`"),
        ("link $a with $b $c", "nothing more"),
    ] {
        assert!(statement(text).unwrap_err().contains(reason), "{text}");
    }
}

#[test]
fn refusals() {
    for (text, reason) in [
        ("gender PID-8", "`:` is expected before `PID-8`"),
        ("gender: PID-0", "numbered from 1"),
        ("gender: PID-8.0", "no position"),
        ("gender: PI-8", "no address"),
        ("gender: pid-8", "no address"),
        ("gender: \"x", "not closed"),
        ("gender: \"{PID-8\"", "not closed"),
        ("gender: PID-8 | ", "a name is expected at the end"),
        ("gender: PID-8 when", "address such as"),
        ("gender: PID-8 when PID-8 =", "\"text\" is expected"),
        ("gender: PID-8 | code(a=b, a=c)", "given twice"),
        ("gender: PID-8 extra", "nothing more"),
        ("a[: PID-8", "label"),
        ("a: PID-8 % 3", "`%` is not understood"),
    ] {
        let error = rule(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,60}") {
        let _ = rule(&text);
        let _ = statement(&text);
    }

    #[test]
    fn never_panics_on_near_rules(text in "[a-zPID0-9\\[\\]\\*\\.\\-:|>\"{}$ ()=,?]{0,60}") {
        let _ = rule(&text);
    }
}
