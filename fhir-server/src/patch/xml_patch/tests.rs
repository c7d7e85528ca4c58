use super::XmlPatch;
use crate::xml;
use fhir_model::{IssueKind, json};
use serde_json::Value;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/r5-patch");

/// The official tests (`xml-patch-tests.xml` of `org.hl7.fhir.testcases:fhir-test-cases`), compared but for white space between elements.
#[test]
fn official_suite() {
    let Ok(text) = std::fs::read_to_string(Path::new(FOLDER).join("xml-patch-tests.xml")) else {
        eprintln!("skipped: no .cache/r5-patch, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    // Some cases of the file are commented out.
    let mut live = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("<!--") {
        let (inside, after) = after.split_once("-->").unwrap();
        live.push_str(before);
        if !inside.contains("<case") && !inside.contains("removal tests") {
            live.push_str(&format!("<!--{inside}-->"));
        }
        rest = after;
    }
    live.push_str(rest);
    let plain = |xml: &str| {
        let parts = xml.split('>').map(str::trim).collect::<Vec<_>>().join(">");
        let parts: Vec<&str> = parts.split('<').map(str::trim).collect();
        let mut plain = parts.join("<").replace("\" xmlns", "\"xmlns");
        // `<a></a>` is `<a/>`; attributes have no order.
        plain = plain.replace("<foo t=\"2\"></foo>", "<foo t=\"2\"/>");
        plain = plain.replace(
            " a=\"new value\"xmlns=\"http://hl7.org/fhir\"",
            " xmlns=\"http://hl7.org/fhir\" a=\"new value\"",
        );
        plain
            .replace("\"xmlns", "\" xmlns")
            .replace("\"></doc>", "\"/>")
    };
    let mut failed = Vec::new();
    let cases: Vec<&str> = live.split("<case name=\"").skip(1).collect();
    for case in &cases {
        let name = case.split('"').next().unwrap();
        let between = |start: &str, end: &str| {
            let (before, rest) = case.split_once(start)?;
            let at = before.len();
            let (inside, _) = rest.split_once(end)?;
            Some(case[at + start.len()..at + start.len() + inside.len()].trim())
        };
        let patch = between("<patch", "</patch>").map(|inside| format!("<patch {inside}</patch>"));
        let target = between("<target>", "</target>").unwrap();
        let found =
            XmlPatch::read(patch.expect(name).as_bytes()).and_then(|patch| patch.apply_to(target));
        let is_right = match (between("<patched>", "</patched>"), &found) {
            (Some(expected), Ok(found)) => plain(found) == plain(expected),
            (None, found) => found.is_err() && case.contains("<error"),
            (Some(_), Err(_)) => false,
        };
        if !is_right {
            failed.push(format!("{name}: {found:?}"));
        }
    }
    assert_eq!(cases.len(), 29);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","text":{"status":"empty","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"> <b>x</b>\n<br/>y</div>"},"extension":[{"url":"http://x","valueDecimal":1.50}],"active":true,"name":[{"use":"official","given":["a","b"]},{"use":"usual","text":"a \"b\"\n<c>"}],"birthDate":"2000","_birthDate":{"id":"i"}}"#;

/// Operations; the members of PATIENT that are other ones after it, by JSON pointer.
fn check(operations: &str, expect: Result<&[(&str, &str)], IssueKind>) {
    let mut resource = json::parse(PATIENT.as_bytes()).unwrap();
    let patch = format!(
        r#"<diff xmlns="http://hl7.org/fhir" xmlns:g="http://hl7.org/fhir" xmlns:x="http://www.w3.org/1999/xhtml">{operations}</diff>"#
    );
    let found = XmlPatch::read(patch.as_bytes())
        .and_then(|patch| patch.apply(&mut resource).map(|()| resource));
    let expect = expect.map(|changes| {
        let mut whole: Value = json::parse(PATIENT.as_bytes()).unwrap();
        for (pointer, value) in changes {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = whole.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match *value {
                "" => drop(parent.remove(name)),
                value => drop(parent.insert(name.into(), serde_json::from_str(value).unwrap())),
            }
        }
        whole
    });
    let found = found.map_err(|issue| issue.kind);
    assert_eq!(found, expect, "{operations}");
}

#[test]
fn resources() {
    for (operations, expect) in [
        (
            r#"<replace sel="f:Patient/f:active/@value">false</replace>"#,
            &[("/active", "false")][..],
        ),
        (
            r#"<replace sel="/Patient/active/@value">false</replace>"#,
            &[("/active", "false")],
        ),
        (
            r#"<replace sel="/g:Patient/*[g:use/@value = 'usual']/g:text/@value">a"&lt;</replace>"#,
            &[("/name/1/text", r#""a\"<""#)],
        ),
        (
            r#"<remove sel="Patient/name[2]"/>"#,
            &[("/name", r#"[{"use":"official","given":["a","b"]}]"#)],
        ),
        (
            r#"<remove sel="Patient/name[use/@value='official']/given[1]"/>"#,
            &[("/name/0/given", r#"["b"]"#)],
        ),
        (
            r#"<add sel="Patient/name[1]"><given value="c"/><g:given value="d"/></add>"#,
            &[("/name/0/given", r#"["a","b","c","d"]"#)],
        ),
        (
            r#"<add sel="Patient/name[1]/given[1]" pos="before"><given value="c"/></add>"#,
            &[("/name/0/given", r#"["c","a","b"]"#)],
        ),
        (
            r#"<add sel="Patient/name[1]/given[1]" pos="after"><given value="c"/></add>"#,
            &[("/name/0/given", r#"["a","c","b"]"#)],
        ),
        (
            r#"<add sel="Patient/name[2]" pos="prepend"><extension url="u"><valueDecimal value="2.00"/></extension></add>"#,
            &[("/name/1/extension", r#"[{"url":"u","valueDecimal":2.00}]"#)],
        ),
        (
            r#"<add sel="Patient/birthDate" type="@value">x</add><remove sel="Patient/active"/>"#,
            &[][..],
        ),
        (
            r#"<add sel="Patient/active" type="@id">x</add>"#,
            &[("/_active", r#"{"id":"x"}"#)],
        ),
        (
            r#"<remove sel="Patient/birthDate/@id"/>"#,
            &[("/_birthDate", "")],
        ),
        (
            r#"<remove sel="Patient/birthDate[@value='2000']/@value"/>"#,
            &[("/birthDate", "")],
        ),
        (
            r#"<replace sel="Patient/birthDate"><birthDate value="2001"/></replace>"#,
            &[("/birthDate", r#""2001""#), ("/_birthDate", "")],
        ),
        (
            r#"<add sel="Patient/birthDate" pos="after"><deceasedBoolean value="true"/><!-- c --></add>"#,
            &[("/deceasedBoolean", "true")],
        ),
        // The narrative.
        (
            r#"<replace sel="Patient/text/x:div/x:b/text()">z</replace>"#,
            &[(
                "/text/div",
                r#""<div xmlns=\"http://www.w3.org/1999/xhtml\"> <b>z</b>\n<br/>y</div>""#,
            )],
        ),
        (
            r#"<replace sel="Patient/text/h:div"><x:div>a &amp; <x:i>b</x:i></x:div></replace>"#,
            &[(
                "/text/div",
                r#""<div xmlns=\"http://www.w3.org/1999/xhtml\">a &amp; <i>b</i></div>""#,
            )],
        ),
        (
            r#"<remove sel="Patient/text/h:div/h:br" ws="before"/>"#,
            &[(
                "/text/div",
                r#""<div xmlns=\"http://www.w3.org/1999/xhtml\"> <b>x</b>y</div>""#,
            )],
        ),
    ] {
        match operations.contains(r#"type="@value""#) {
            // It is there already.
            true => check(operations, Err(IssueKind::BusinessRule)),
            false => check(operations, Ok(expect)),
        }
    }
}

#[test]
fn refused() {
    use IssueKind::{BusinessRule, Structure, Syntax};
    for (operations, expect) in [
        (r#"<remove sel="Patient/gender"/>"#, BusinessRule),
        (r#"<remove sel="Patient/name"/>"#, BusinessRule),
        (r#"<remove sel="Patient/name[3]"/>"#, BusinessRule),
        (r#"<remove sel="Patient/name[0]"/>"#, BusinessRule),
        (r#"<remove sel="Patient"/>"#, BusinessRule),
        (r#"<remove sel="Patient/active/@nosuch"/>"#, BusinessRule),
        (
            r#"<remove sel="Patient/active" ws="before"/>"#,
            BusinessRule,
        ),
        (r#"<replace sel="Patient/active">x</replace>"#, BusinessRule),
        (
            r#"<replace sel="Patient/active"><active value="true"/><gender value="male"/></replace>"#,
            BusinessRule,
        ),
        (
            r#"<add sel="Patient" pos="before"><Patient/></add>"#,
            BusinessRule,
        ),
        (
            r#"<add xmlns:y="urn:y" sel="Patient/active"><extension y:a="1" url="u"/></add>"#,
            BusinessRule,
        ),
        // What it makes is no resource.
        (r#"<add sel="Patient"><id value="x"/></add>"#, Structure),
        (r#"<add sel="Patient"><nosuch value="x"/></add>"#, Structure),
        (r#"<add sel="Patient">text</add>"#, Structure),
        (
            r#"<add sel="Patient/active" type="@nosuch">x</add>"#,
            Structure,
        ),
        (
            r#"<add sel="Patient/active"><active xmlns="urn:y" value="x"/></add>"#,
            Structure,
        ),
        (
            r#"<replace sel="Patient/text/h:div"><div>x</div></replace>"#,
            Structure,
        ),
        // It is no patch.
        ("", Syntax),
        ("text only", Syntax),
        ("<change sel='Patient'/>", Syntax),
        ("<remove/>", Syntax),
        (r#"<remove sel="Patient/active" pos="before"/>"#, Syntax),
        (r#"<remove sel="Patient/active" nosuch="1"/>"#, Syntax),
        (r#"<add sel="Patient/active" pos="middle"/>"#, Syntax),
        (r#"<add sel="Patient/active/@value">x</add>"#, Syntax),
        (r#"<add sel="Patient/active" type="id">x</add>"#, Syntax),
        (r#"<add sel="Patient/active" type="@id"><x/></add>"#, Syntax),
        (
            r#"<replace sel="Patient/active/@value"><x/></replace>"#,
            Syntax,
        ),
        (r#"<remove sel=""/>"#, Syntax),
        (r#"<remove sel="/"/>"#, Syntax),
        (r#"<remove sel="//name"/>"#, Syntax),
        (r#"<remove sel="Patient//name"/>"#, Syntax),
        (r#"<remove sel="Patient/name[last()]"/>"#, Syntax),
        (
            r#"<remove sel="Patient/name[use='x' or use='y']"/>"#,
            Syntax,
        ),
        (r#"<remove sel="Patient/name[use"/>"#, Syntax),
        (r#"<remove sel="Patient/name[use=x]"/>"#, Syntax),
        (r#"<remove sel="id('x')"/>"#, Syntax),
        (r#"<remove sel="Patient/parent::x"/>"#, Syntax),
        (r#"<remove sel="n:Patient/n:name"/>"#, Syntax),
        (
            r#"<remove sel="Patient/processing-instruction('x')"/>"#,
            Syntax,
        ),
        ("<remove sel='Patient/active'>", Syntax),
        ("<remove sel='Patient/active'>&nosuch;</remove>", Syntax),
    ] {
        check(operations, Err(expect));
    }
    for document in [
        "",
        "<",
        "<diff/>",
        "<diff><y:remove sel='x'/></diff>",
        "<diff><remove sel='x'/></diff><diff/>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><diff><remove sel='&a;'/></diff>",
        "<?xml version='1.0' encoding='ISO-8859-1'?><diff><remove sel='x'/></diff>",
    ] {
        assert!(XmlPatch::read(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn limits() {
    let many = |operation: &str, count: usize| format!("<diff>{}</diff>", operation.repeat(count));
    let read = |patch: &str| XmlPatch::read(patch.as_bytes()).map_err(|issue| issue.kind);
    let remove = "<remove sel='f:Patient/f:active'/>";
    assert!(read(&many(remove, 1000)).is_ok());
    assert_eq!(read(&many(remove, 1001)).unwrap_err(), IssueKind::TooCostly);
    let nested = |depth: usize| {
        format!(
            "<diff><add sel='f:Patient'>{}{}</add></diff>",
            "<a>".repeat(depth),
            "</a>".repeat(depth)
        )
    };
    let mut patient = json::parse(PATIENT.as_bytes()).unwrap();
    assert!(read(&nested(900)).unwrap().apply(&mut patient).is_err());
    assert_eq!(read(&nested(100_000)).unwrap_err(), IssueKind::Syntax);
    let deep = format!(
        r#"{{"resourceType":"Patient","text":{{"status":"empty","div":"<div>{}{}</div>"}},"active":true}}"#,
        "<b>".repeat(2000),
        "</b>".repeat(2000)
    );
    let mut deep = json::parse(deep.as_bytes()).unwrap();
    let refused = read("<diff><remove sel='f:Patient/f:active'/></diff>")
        .unwrap()
        .apply(&mut deep);
    assert_eq!(refused.unwrap_err().kind, IssueKind::BusinessRule);
    // What is looked through is counted.
    let names: Vec<Value> = (0..20_000)
        .map(|n| serde_json::json!({"family": n.to_string()}))
        .collect();
    let mut large = serde_json::json!({"resourceType": "Patient", "name": names});
    let slow = many(
        "<replace sel=\"f:Patient/f:name[f:family/@value='19999']/f:family/@value\">19999</replace>",
        200,
    );
    let ended = read(&slow)
        .unwrap()
        .apply(&mut large)
        .map_err(|issue| issue.kind);
    assert_eq!(ended, Err(IssueKind::TooCostly));
}

#[test]
fn what_is_not_touched_stays() {
    let resource = json::parse(PATIENT.as_bytes()).unwrap();
    let text = xml::write(resource, false).unwrap();
    let patch =
        XmlPatch::read(b"<diff><replace sel='f:Patient/f:active/@value'>true</replace></diff>")
            .unwrap();
    let declaration = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    assert_eq!(
        patch.apply_to(&text).unwrap(),
        text.strip_prefix(declaration).unwrap()
    );
}
