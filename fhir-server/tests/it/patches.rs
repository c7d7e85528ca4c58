//! PATCH by id and by condition, alone and in bundles.

use crate::site::shared;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const JSON_PATCH: &str = "Content-Type: application/json-patch+json";

fn patient(id: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"{id}","identifier":[{{"system":"urn:patch","value":"{id}"}}],"active":true,"extension":[{{"url":"http://x","valueDecimal":1.50}}]}}"#
    )
}

const INACTIVE: &str = r#"[{"op":"replace","path":"/active","value":false}]"#;

#[tokio::test]
async fn by_id() {
    let site = shared();
    let patch = |id: &str| format!("PATCH Patient/{id}\n{JSON_PATCH}");
    site.table(&[
        (&patch("patch-1"), INACTIVE, "404 ; /issue/0/code = not-found"),
        ("PUT Patient/patch-1", &patient("patch-1"), "201"),
        (&patch("patch-1"), INACTIVE, "200 ; ETag: W/\"2\" ; /active = false ; /meta/versionId = \"2\" ; ~1.50"),
        (&patch("patch-1"), INACTIVE, "200 ; ETag: W/\"2\""),
        (&format!("{}\nPrefer: return=minimal", patch("patch-1")), r#"[{"op":"remove","path":"/active"}]"#, "200 ; ETag: W/\"3\" ; empty"),
        (&format!("{}\nIf-Match: W/\"2\"", patch("patch-1")), INACTIVE, "412"),
        (&format!("{}\nIf-Match: W/\"3\"", patch("patch-1")), r#"[{"op":"add","path":"/active","value":true}]"#, "200 ; ETag: W/\"4\""),
        // It does not apply, or what it makes is no Patient.
        (&patch("patch-1"), r#"[{"op":"test","path":"/active","value":false},{"op":"remove","path":"/identifier"}]"#, "422 ; /issue/0/code = business-rule"),
        (&patch("patch-1"), r#"[{"op":"add","path":"/nonsense","value":1}]"#, "400 ; /issue/0/expression/0 = Patient.nonsense"),
        (&patch("patch-1"), r#"[{"op":"add","path":"/birthDate","value":"soon"}]"#, "400"),
        (&patch("patch-1"), r#"[{"op":"replace","path":"/id","value":"other"}]"#, "422"),
        (&patch("patch-1"), r#"[{"op":"replace","path":"/resourceType","value":"Basic"}]"#, "422"),
        // It is no patch.
        (&patch("patch-1"), "{}", "400"),
        (&patch("patch-1"), "[", "400"),
        (&patch("patch-1"), "", "400"),
        (&patch("patch-1"), r#"[{"op":"change","path":"/active"}]"#, "400"),
        ("PATCH Patient/patch-1\nContent-Type: application/json", INACTIVE, "200 ; /active = false"),
        ("PATCH Patient/patch-1\nContent-Type: application/json", r#"{"active":true}"#, "415"),
        ("PATCH Patient/patch-1\nContent-Type: application/merge-patch+json", r#"{"active":true}"#, "415"),
        ("PATCH Patient/patch-1\nContent-Type: text/plain", INACTIVE, "415"),
        ("GET Patient/patch-1", "", "200 ; /meta/versionId = \"5\" ; /active = false ; ~1.50"),
        ("GET Patient/patch-1/_history", "", "200 ; /total = 5 ; /entry/0/request/method = PUT"),
        ("DELETE Patient/patch-1", "", "204"),
        (&patch("patch-1"), INACTIVE, "410"),
    ])
    .await;
}

#[tokio::test]
async fn other_kinds() {
    let site = shared();
    let patch = |query: &str, content_type: &str| {
        format!("PATCH Patient{query}\nContent-Type: {content_type}")
    };
    let (id, condition) = ("/patch-5", "?identifier=urn:patch|patch-5");
    let operation = |kind: &str, rest: &str| {
        format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"operation","part":[{{"name":"type","valueCode":"{kind}"}},{rest}]}}]}}"#
        )
    };
    let replace = |value: bool| {
        operation(
            "replace",
            &format!(
                r#"{{"name":"path","valueString":"Patient.active"}},{{"name":"value","valueBoolean":{value}}}"#
            ),
        )
    };
    let in_xml = r#"<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="operation"/><part><name value="type"/><valueCode value="add"/></part><part><name value="path"/><valueString value="Patient"/></part><part><name value="name"/><valueString value="gender"/></part><part><name value="value"/><valueCode value="GENDER"/></part></parameter></Parameters>"#;
    let female = in_xml.replace("GENDER", "female");
    let xml_patch = |sel: &str, text: &str| {
        format!(r#"<diff xmlns="http://hl7.org/fhir"><replace sel="{sel}">{text}</replace></diff>"#)
    };
    let json = "application/fhir+json; charset=utf-8";
    site.table(&[
        (&patch(id, json), &replace(false), "404"),
        ("PUT Patient/patch-5", &patient("patch-5"), "201"),
        (
            &patch(id, json),
            &replace(false),
            "200 ; ETag: W/\"2\" ; /active = false ; ~1.50",
        ),
        (
            &patch(condition, "application/json"),
            &replace(true),
            "200 ; ETag: W/\"3\" ; /active = true",
        ),
        (
            &patch(id, "application/fhir+xml"),
            &female,
            "200 ; ETag: W/\"4\" ; /gender = female",
        ),
        (
            &patch(id, "application/fhir+xml"),
            &female,
            "422 ; /issue/0/code = business-rule",
        ),
        (
            &patch(id, "application/xml-patch+xml"),
            &xml_patch("f:Patient/f:gender/@value", "other"),
            "200 ; ETag: W/\"5\" ; /gender = other ; ~1.50",
        ),
        (
            &patch(condition, "application/xml-patch+xml"),
            &xml_patch("Patient/gender/@value", "unknown"),
            "200 ; ETag: W/\"6\" ; /gender = unknown",
        ),
        (
            &format!("{}\nIf-Match: W/\"5\"", patch(id, json)),
            &replace(false),
            "412",
        ),
        // It does not apply, or what it makes is no Patient.
        (
            &patch(id, json),
            &operation("delete", r#"{"name":"path","valueString":"Patient.id"}"#),
            "422",
        ),
        (
            &patch(id, json),
            &operation(
                "delete",
                r#"{"name":"path","valueString":"Patient | Patient.active"}"#,
            ),
            "422 ; /issue/0/code = business-rule",
        ),
        (
            &patch(id, "application/xml-patch+xml"),
            &xml_patch("Patient/id/@value", "x"),
            "422",
        ),
        (
            &patch(id, "application/xml-patch+xml"),
            &xml_patch("Patient/gender/@value", "x"),
            "422 ; /issue/0/expression/0 = Patient.gender",
        ),
        (
            &patch(id, "application/xml-patch+xml"),
            &xml_patch("Patient/birthDate", "x"),
            "422 ; /issue/0/code = business-rule",
        ),
        // It is no patch.
        (
            &patch(id, json),
            &operation("change", r#"{"name":"path","valueString":"Patient.id"}"#),
            "400 ; /issue/0/expression/0 = Parameters.parameter[0]",
        ),
        (
            &patch(id, json),
            &operation("delete", r#"{"name":"path","valueString":"Patient..id"}"#),
            "400",
        ),
        (
            &patch(id, json),
            r#"{"resourceType":"Patient","id":"patch-5"}"#,
            "415",
        ),
        (&patch(id, "application/xml-patch+xml"), "<diff/>", "400"),
        (
            &patch(id, "application/xml-patch+xml"),
            "<!DOCTYPE x><diff/>",
            "400",
        ),
        (
            &patch(id, "application/fhir+xml"),
            "<diff xmlns=\"http://hl7.org/fhir\"/>",
            "400",
        ),
        (
            "GET Patient/patch-5",
            "",
            "200 ; /meta/versionId = \"6\" ; /gender = unknown ; /active = true ; ~1.50",
        ),
    ])
    .await;
    let entry = |resource: Value| {
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"resource": resource, "request": {"method": "PATCH", "url": "Patient/patch-5"}},
            {"request": {"method": "GET", "url": "Patient/patch-5"}},
        ]})
        .to_string()
    };
    let parameters: Value = serde_json::from_str(&replace(false)).unwrap();
    let binary = |content_type: &str, patch: &str| json!({"resourceType": "Binary", "contentType": content_type, "data": STANDARD.encode(patch)});
    site.table(&[
        (
            "POST ",
            &entry(parameters),
            "200 ; /entry/0/response/etag = W/\"7\" ; /entry/1/resource/active = false",
        ),
        (
            "POST ",
            &entry(binary("application/fhir+json", &replace(true))),
            "200 ; /entry/1/resource/active = true",
        ),
        (
            "POST ",
            &entry(binary(
                "application/xml-patch+xml",
                &xml_patch("Patient/active/@value", "false"),
            )),
            "200 ; /entry/1/resource/active = false",
        ),
        (
            "POST ",
            &entry(json!({"resourceType": "Basic", "code": {}})),
            "415 ; /issue/0/expression/0 = Bundle.entry[0]",
        ),
    ])
    .await;
}

/// JSON Patch, FHIRPath Patch and XML Patch leave the numbers that they do not touch as they were written, exponents too.
#[tokio::test]
async fn numbers_keep_their_text() {
    let site = shared();
    let numbers = ["1.50", "1E3", "1.20e-3", "-0.0", "100"];
    let extensions: Vec<String> = numbers
        .iter()
        .map(|number| format!(r#"{{"url":"http://x","valueDecimal":{number}}}"#))
        .collect();
    let patient = format!(
        r#"{{"resourceType":"Patient","id":"patch-6","active":true,"extension":[{}]}}"#,
        extensions.join(",")
    );
    site.check("PUT Patient/patch-6", &patient, "201").await;
    site.check("PUT Patient/patch-6", &patient, "200 ; ETag: W/\"1\"")
        .await;
    let operation = r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"active"},{"name":"value","valueBoolean":true}]}]}"#;
    let diff = r#"<diff><replace sel="f:Patient/f:active/@value">false</replace></diff>"#;
    for (content_type, patch) in [
        ("application/json-patch+json", INACTIVE),
        ("application/fhir+json", operation),
        ("application/xml-patch+xml", diff),
    ] {
        let request = format!("PATCH Patient/patch-6\nContent-Type: {content_type}");
        site.check(&request, patch, "200").await;
        let found = site.check("GET Patient/patch-6", "", "200").await;
        for number in numbers {
            let written = format!("\"valueDecimal\":{number}}}");
            let text = found.text.replace(' ', "");
            assert!(text.contains(&written), "{content_type}: {text}");
        }
    }
}

#[tokio::test]
async fn by_condition() {
    let site = shared();
    let patch = |value: &str| format!("PATCH Patient?identifier=urn:patch|{value}\n{JSON_PATCH}");
    site.table(&[
        (&patch("patch-2"), INACTIVE, "404"),
        ("PUT Patient/patch-2", &patient("patch-2"), "201"),
        (
            &patch("patch-2"),
            INACTIVE,
            "200 ; /id = patch-2 ; /active = false",
        ),
        (&patch("patch-2,patch-3"), INACTIVE, "200"),
        ("PUT Patient/patch-3", &patient("patch-3"), "201"),
        (
            &patch("patch-2,patch-3"),
            INACTIVE,
            "412 ; /issue/0/code = multiple-matches",
        ),
        (
            &format!("PATCH Patient?nonsense=1\n{JSON_PATCH}"),
            INACTIVE,
            "400",
        ),
        (&format!("PATCH Patient\n{JSON_PATCH}"), INACTIVE, "400"),
    ])
    .await;
}

#[tokio::test]
async fn in_bundles() {
    let site = shared();
    let binary = |patch: &str| json!({"resourceType": "Binary", "contentType": "application/json-patch+json", "data": STANDARD.encode(patch)});
    let bundle = |kind: &str, url: &str, patch: &str| {
        json!({"resourceType": "Bundle", "type": kind, "entry": [
            {"resource": {"resourceType": "Basic", "code": {"text": "beside"}}, "request": {"method": "POST", "url": "Basic"}},
            {"resource": binary(patch), "request": {"method": "PATCH", "url": url}},
            {"request": {"method": "GET", "url": "Patient/patch-4"}},
        ]})
        .to_string()
    };
    let by_condition = "Patient?identifier=urn:patch|patch-4";
    let wrong = r#"[{"op":"remove","path":"/birthDate"}]"#;
    let active = r#"[{"op":"replace","path":"/active","value":true}]"#;
    site.table(&[
        ("PUT Patient/patch-4", &patient("patch-4"), "201"),
        ("POST ", &bundle("transaction", "Patient/patch-4", INACTIVE), "200 ; /entry/1/response/etag = W/\"2\" ; /entry/2/resource/active = false"),
        ("POST ", &bundle("transaction", by_condition, active), "200 ; /entry/1/response/etag = W/\"3\" ; /entry/2/resource/active = true"),
        ("POST ", &bundle("transaction", "Patient/patch-4", wrong), "422 ; /issue/0/expression/0 = Bundle.entry[1]"),
        ("POST ", &bundle("batch", "Patient/patch-4", wrong), "200 ; /entry/1/response/status = 422 Unprocessable Entity ; /entry/2/resource/active = true"),
        ("POST ", &bundle("batch", by_condition, INACTIVE), "200 ; /entry/0/response/status = 201 Created ; /entry/2/resource/active = false"),
    ])
    .await;
}
