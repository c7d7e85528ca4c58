//! What relations may be, and what they write, as data. Whole messages are in process/relation_tests.rs.

use super::*;

#[test]
fn references_lead_elsewhere() {
    let mut body = json!({
        "subject": {"reference": "Patient/a"},
        "performer": [{"reference": "Patient/a"}, {"reference": "Patient/ab"}],
        "focus": [{"reference": "Patient/a/_history/2"}],
        "note": [{"text": "Patient/a"}],
    });
    assert!(redirect(&mut body, "Patient/a", "Patient/b"));
    assert_eq!(
        body,
        json!({
            "subject": {"reference": "Patient/b"},
            "performer": [{"reference": "Patient/b"}, {"reference": "Patient/ab"}],
            "focus": [{"reference": "Patient/a/_history/2"}],
            "note": [{"text": "Patient/a"}],
        })
    );
    assert!(!redirect(&mut body, "Patient/a", "Patient/b"));
}

#[test]
fn links_and_identifiers() {
    let mut body = Object::new();
    let link = |id: &str| json!({"other": {"reference": id}, "type": "seealso"});
    for id in ["Patient/a", "Patient/a", "Patient/b"] {
        put_link(&mut body, link(id));
    }
    take_link(&mut body, &link("Patient/b"));
    assert_eq!(body["link"], json!([link("Patient/a")]));
    take_link(&mut body, &link("Patient/a"));
    assert!(body.is_empty());

    let own = |value: &str| json!({"system": "s", "value": value});
    let old = |value: &str| json!({"use": "old", "system": "s", "value": value});
    add_old(&mut body, own("1"));
    add_old(&mut body, own("1"));
    body.entry("identifier")
        .or_insert_with(|| json!([]))
        .as_array_mut()
        .unwrap()
        .push(own("2"));
    add_old(&mut body, own("2"));
    assert_eq!(body["identifier"], json!([old("1"), own("2")]));
    retire(&mut body, own("2"));
    retire(&mut body, old("3"));
    assert_eq!(body["identifier"][1]["use"], "old");
    assert_eq!(body["identifier"].as_array().unwrap().len(), 3);
}
