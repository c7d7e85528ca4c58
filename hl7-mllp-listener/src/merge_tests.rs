//! Authority, order and null rules, as data.

use super::*;
use crate::mapping::program::Frame;
use serde_json::json;

fn object(json: Json) -> Object<String, Json> {
    json.as_object().unwrap().clone()
}

fn map() -> Map {
    Map {
        name: "M".into(),
        file: "M".into(),
        resource_type: "T".into(),
        reference_type: String::new(),
        of_value: false,
        identifiers: Vec::new(),
        prefer: Vec::new(),
        keys: Vec::new(),
        write: vec![("ADT".into(), Write::Upsert), ("*".into(), Write::Create)],
        union: vec!["identifier".into(), "period".into()],
        order: Some(Order {
            element: "status".into(),
            ranks: vec![
                vec!["low".into()],
                vec!["mid".into(), "mid2".into()],
                vec!["high".into()],
            ],
            skip_lower: false,
            newer: Some("issued".into()),
        }),
        from: Vec::new(),
        succession: None,
        back: Vec::new(),
        snapshot: vec!["flag".into(), "value".into()],
        best_match: false,
        contained: false,
        numbered: false,
        frame: Frame::default(),
        ops: Vec::new(),
        new: Vec::new(),
    }
}

fn draft(body: Json, deletes: &[&str]) -> Draft {
    Draft {
        map: 0,
        body: object(body),
        new: object(json!({"status": "low"})),
        deletes: deletes.iter().map(|path| (*path).to_owned()).collect(),
        identifiers: Vec::new(),
        keys: Vec::new(),
        lines: Vec::new(),
        from: Vec::new(),
        back: None,
    }
}

#[test]
fn merges() {
    let id = |value: &str| json!({"system": "s", "value": value});
    for (current, new, deletes, expect) in [
        (
            json!({"a": 1, "b": 2}),
            json!({"a": 3}),
            &[][..],
            json!({"a": 3, "b": 2}),
        ),
        (json!({"a": 1, "b": 2}), json!({}), &["a"], json!({"b": 2})),
        (json!({"a": {"b": 1}}), json!({}), &["a.b"], json!({})),
        (
            json!({"valueString": "x"}),
            json!({"valueQuantity": {}}),
            &[],
            json!({"valueQuantity": {}}),
        ),
        (
            json!({"valueString": "x"}),
            json!({}),
            &["value"],
            json!({}),
        ),
        (
            json!({"birthDate": "1", "_birthDate": {}}),
            json!({"birthDate": "2"}),
            &[],
            json!({"birthDate": "2"}),
        ),
        (
            json!({"identifier": [id("1")]}),
            json!({"identifier": [id("2"), id("1")]}),
            &[],
            json!({"identifier": [id("1"), id("2")]}),
        ),
        (
            json!({"period": {"start": "1"}}),
            json!({"period": {"end": "2"}}),
            &[],
            json!({"period": {"start": "1", "end": "2"}}),
        ),
        (
            json!({"status": "mid", "a": 1}),
            json!({"status": "low", "a": 2}),
            &[],
            json!({"status": "mid", "a": 2}),
        ),
        (
            json!({"status": "mid"}),
            json!({"status": "mid2"}),
            &[],
            json!({"status": "mid2"}),
        ),
        (
            json!({"flag": "H", "a": 1}),
            json!({"a": 1}),
            &[],
            json!({"a": 1}),
        ),
        (
            json!({"valueString": "x"}),
            json!({"a": 1}),
            &[],
            json!({"a": 1}),
        ),
        (
            json!({"status": "other"}),
            json!({"status": "low"}),
            &[],
            json!({"status": "low"}),
        ),
    ] {
        let merged = merge(
            &map(),
            "ADT",
            &draft(new.clone(), deletes),
            &object(current.clone()),
        );
        assert_eq!(merged, Merged::Changed(object(expect)), "{current} + {new}");
    }
}

#[test]
fn leaves_alone() {
    let at = |status: &str, hour: u8| json!({"status": status, "issued": format!("2026-01-01T0{hour}:00:00Z")});
    let skip = |map: &mut Map| map.order.as_mut().unwrap().skip_lower = true;
    let mut strict = map();
    skip(&mut strict);
    for (map, kind, current, new, expect) in [
        (
            &map(),
            "ORU",
            json!({"a": 1}),
            json!({"a": 2}),
            Merged::Kept,
        ),
        (
            &strict,
            "ADT",
            json!({"status": "mid"}),
            json!({"status": "low"}),
            Merged::Stale,
        ),
        (&map(), "ADT", at("mid", 2), at("mid", 1), Merged::Stale),
        (
            &map(),
            "ADT",
            at("mid", 1),
            at("mid", 2),
            Merged::Changed(object(at("mid", 2))),
        ),
    ] {
        assert_eq!(merge(map, kind, &draft(new, &[]), &object(current)), expect);
    }
    assert_eq!(
        create(&map(), draft(json!({"a": 1}), &[])),
        object(json!({"a": 1, "status": "low"}))
    );
}

#[test]
fn fills_what_is_lacking() {
    let current = object(json!({"a": 1, "valueString": "x"}));
    let earlier = object(json!({"a": 0, "deleted": 1}));
    let said = draft(
        json!({"a": 2, "b": 3, "deleted": 1, "valueQuantity": {}}),
        &["a"],
    );
    let expect = object(json!({"a": 1, "b": 3, "valueString": "x"}));
    let filled = |kind| fill(&map(), kind, &said, &current, &earlier);
    assert_eq!(filled("ADT"), Merged::Changed(expect));
    assert_eq!(filled("ORU"), Merged::Kept);
}

/// What is contained comes and goes with what refers to it, also by way of one another; what others contain is theirs.
#[test]
fn what_is_contained_goes_with_its_last_reference() {
    let inside = |id: &str| json!({"resourceType": "T", "id": id});
    let to = |id: &str| json!({"reference": format!("#{id}")});
    let role = json!({"resourceType": "T", "id": "role", "practitioner": to("who")});
    for (current, new, expect) in [
        (
            json!({"by": to("1"), "contained": [inside("1")]}),
            json!({"a": 1}),
            json!({"by": to("1"), "contained": [inside("1")], "a": 1}),
        ),
        (
            json!({"by": to("1"), "at": to("2"), "contained": [inside("1"), inside("2")]}),
            json!({"by": to("3"), "contained": [inside("3")]}),
            json!({"by": to("3"), "at": to("2"), "contained": [inside("2"), inside("3")]}),
        ),
        (
            json!({"by": to("role"), "contained": [inside("who"), role]}),
            json!({"by": {"reference": "P/1"}}),
            json!({"by": {"reference": "P/1"}}),
        ),
        (
            json!({"contained": [inside("others")]}),
            json!({"by": to("role"), "contained": [inside("who"), role]}),
            json!({"by": to("role"), "contained": [inside("others"), inside("who"), role]}),
        ),
        (
            json!({"identifier": [{"value": "1", "assigner": to("1")}], "contained": [inside("1")]}),
            json!({"identifier": [{"value": "2", "assigner": to("2")}], "contained": [inside("2")]}),
            json!({"identifier": [{"value": "1", "assigner": to("1")}, {"value": "2", "assigner": to("2")}],
                "contained": [inside("1"), inside("2")]}),
        ),
    ] {
        let merged = merge(
            &map(),
            "ADT",
            &draft(new.clone(), &[]),
            &object(current.clone()),
        );
        assert_eq!(merged, Merged::Changed(object(expect)), "{current} + {new}");
    }
}

#[test]
fn what_is_lacking_brings_what_it_refers_to() {
    let inside = |id: &str| json!({"resourceType": "T", "id": id});
    let current = object(json!({"a": {"reference": "#1"}, "contained": [inside("1")]}));
    let said = draft(
        json!({"a": {"reference": "#2"}, "b": {"reference": "#3"}, "contained": [inside("2"), inside("3")]}),
        &[],
    );
    let expect = json!({"a": {"reference": "#1"}, "b": {"reference": "#3"}, "contained": [inside("1"), inside("3")]});
    let filled = fill(&map(), "ADT", &said, &current, &object(json!({})));
    assert_eq!(filled, Merged::Changed(object(expect)));
}
