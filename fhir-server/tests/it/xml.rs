//! XML at the edge: what is written is FHIR's XML, and what is read from it is the JSON it was made of. Over the official examples:
//! `examples.rs`.

use crate::site::shared;

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
