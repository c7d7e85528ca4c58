//! XML at the edge: what is written is FHIR's XML, and what is read from it is the JSON it was made of.
//!
//! Over all official examples where they were fetched (`scripts/fetch-fhir-packages.sh examples`); against the R5 schema, too, where
//! `xmllint` is there and the schema in `.cache/r5-xsd`.

use crate::site::shared;
use fhir_model::json;
use fhir_server::xml;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache");

/// Examples that the schema refuses, with the reason. All of them come back as they were.
const NOT_OF_THE_SCHEMA: [(&str, &str); 1] = [(
    "Bundle-dataelements",
    "ElementDefinition.type.code is `DataRequirement.subject[x]` and the like: no uri, to the letter",
)];

#[test]
fn official_examples_come_back_as_they_were() {
    let folder = Path::new(CACHE).join("r5-examples/package");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no .cache/r5-examples, run scripts/fetch-fhir-packages.sh examples");
        return;
    };
    let written = tempfile::tempdir().unwrap();
    let (mut same, mut wrong) = (0, Vec::new());
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let Ok(resource) = json::parse(&bytes) else {
            continue;
        };
        if json::resource_type(&resource).is_none() {
            continue;
        }
        let back = xml::write(resource.clone(), false)
            .map_err(|failure| failure.issues[0].diagnostics.clone())
            .and_then(|text| {
                std::fs::write(written.path().join(&name).with_extension("xml"), &text).unwrap();
                xml::read(text.as_bytes())
                    .map_err(|issue| format!("{} {:?}", issue.diagnostics, issue.expression))
            });
        match back {
            Ok(back) if back == resource => same += 1,
            Ok(back) => wrong.push(format!("{name}: {}", difference(&resource, &back, ""))),
            Err(reason) => wrong.push(format!("{name}: {reason}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{same} same, {} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(same > 2_000, "{same}");
    let refused = against_schema(written.path());
    assert!(
        refused.is_empty(),
        "not of the schema:\n{}",
        refused.join("\n")
    );
}

/// What `xmllint` says against any of the files.
fn against_schema(folder: &Path) -> Vec<String> {
    let schema = Path::new(CACHE).join("r5-xsd/fhir-single.xsd");
    if !schema.exists() || Command::new("xmllint").arg("--version").output().is_err() {
        eprintln!("skipped: no xmllint (libxml2-utils), or no .cache/r5-xsd");
        return Vec::new();
    }
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let mut known = NOT_OF_THE_SCHEMA.iter().map(|(name, _)| *name);
            !known.any(|name| path.file_stem().is_some_and(|stem| stem == name))
        })
        .collect();
    let mut said = Vec::new();
    // A command line has a length.
    for some in files.chunks(500) {
        let lint = Command::new("xmllint")
            .args(["--noout", "--nonet", "--huge", "--schema"])
            .arg(&schema)
            .args(some)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&lint.stderr).into_owned();
        said.extend(
            errors
                .lines()
                .filter(|line| !line.ends_with(" validates"))
                .map(str::to_owned),
        );
    }
    said
}

/// The first place where two values differ.
fn difference(a: &Value, b: &Value, place: &str) -> String {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                match b.get(name) {
                    None => return format!("{place}.{name} is lost"),
                    Some(other) if other != value => {
                        return difference(value, other, &format!("{place}.{name}"));
                    }
                    Some(_) => {}
                }
            }
            let more = b.keys().find(|name| !a.contains_key(*name));
            format!("{place}.{} is new", more.map_or("", String::as_str))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            difference(&a[at], &b[at], &format!("{place}[{at}]"))
        }
        _ => format!("{place}: {a:.300} became {b:.300}"),
    }
}

#[tokio::test]
async fn every_interaction() {
    let site = shared();
    let xml = |id: &str, more: &str| {
        format!(r#"<Patient xmlns="http://hl7.org/fhir"><id value="{id}"/>{more}</Patient>"#)
    };
    let named = xml("x1", r#"<name><family value="Éa&#10;b"/></name>"#);
    let bundle = r#"<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/><entry><fullUrl value="urn:uuid:7d0b0a43-4a1b-4f3e-9f7e-000000000001"/><resource><Patient><active value="true"/></Patient></resource><request><method value="POST"/><url value="Patient"/></request></entry><entry><request><method value="GET"/><url value="Patient/x1"/></request></entry></Bundle>"#;
    let typed = |request: &str| format!("{request}\nContent-Type: application/fhir+xml");
    let both = |request: &str| {
        format!("{request}\nContent-Type: application/xml\nAccept: application/fhir+xml")
    };
    for (request, body, status, part) in [
        (
            both("PUT Patient/x1"),
            named.as_str(),
            201,
            r#"<versionId value="1"/>"#,
        ),
        (typed("PUT Patient/x1"), named.as_str(), 200, r#""family":"#),
        (
            "GET Patient/x1?_format=xml".into(),
            "",
            200,
            "<family value=\"Éa&#10;b\"/>",
        ),
        (
            "GET Patient/x1?_format=xml&_pretty=true".into(),
            "",
            200,
            "\n  <name>\n    <family",
        ),
        (
            "GET Patient/x1?_format=xml&_elements=gender".into(),
            "",
            200,
            r#"<code value="SUBSETTED"/>"#,
        ),
        (
            "GET Patient/x1/_history?_format=text/xml".into(),
            "",
            200,
            r#"<type value="history"/>"#,
        ),
        (
            "GET Patient?_id=x1&_format=application/xml".into(),
            "",
            200,
            r#"<type value="searchset"/>"#,
        ),
        (
            "GET Patient/none?_format=xml".into(),
            "",
            404,
            r#"<OperationOutcome xmlns="http://hl7.org/fhir">"#,
        ),
        (
            "GET Patient?nosuch=1&_format=xml".into(),
            "",
            400,
            "<issue>",
        ),
        ("GET Nosuch?_format=xml".into(), "", 404, "<issue>"),
        (
            "GET metadata?_format=xml".into(),
            "",
            200,
            r#"<format value="xml"/>"#,
        ),
        (
            both("POST "),
            bundle,
            200,
            r#"<type value="transaction-response"/>"#,
        ),
        (both("POST Patient"), "<Patient", 400, "<issue>"),
        (
            both("POST Patient"),
            r#"<Patient xmlns="http://hl7.org/fhir"><active value="1"/></Patient>"#,
            400,
            "Patient.active",
        ),
        (
            both("POST Patient"),
            r#"<!DOCTYPE a [<!ENTITY x "y">]><Patient xmlns="http://hl7.org/fhir"/>"#,
            400,
            "<issue>",
        ),
        (both("POST Patient"), "{}", 400, "<issue>"),
        (
            both("POST Patient"),
            r#"<Patient xmlns="http://hl7.org/fhir"><gender value="male"/><active value="true"/></Patient>"#,
            400,
            "Patient.active",
        ),
        (
            both("POST Patient"),
            r#"<Patient xmlns="http://hl7.org/fhir"><gender value="nosuch"/></Patient>"#,
            422,
            "Patient.gender",
        ),
    ] {
        let answer = site.send(&request, body).await;
        assert_eq!(answer.status, status, "{request}\n{}", answer.text);
        assert!(
            answer.text.contains(part),
            "{request}: {part}\n{}",
            answer.text
        );
        let wants_xml = request.contains("xml&")
            || request.ends_with("xml") && !request.contains("Content-Type: application/fhir+xml")
            || request.contains("Accept");
        assert_eq!(
            answer.header("content-type").contains("xml"),
            wants_xml,
            "{request}"
        );
    }
}
