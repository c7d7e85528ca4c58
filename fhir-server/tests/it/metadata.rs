//! What the server says of itself: that it is valid, and that it is true.

use crate::clients::third_party;
use crate::site::{Site, shared};
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

#[tokio::test]
async fn modes() {
    let site = shared();
    for (mode, resource_type) in [
        ("", "CapabilityStatement"),
        ("?mode=full", "CapabilityStatement"),
        ("?mode=normative", "CapabilityStatement"),
        ("?mode=terminology", "TerminologyCapabilities"),
    ] {
        let expect = format!("200 ; /resourceType = {resource_type}");
        let statement = site
            .check(&format!("GET metadata{mode}"), "", &expect)
            .await;
        // Its own validation finds nothing in it but that it has no narrative.
        let request = format!("POST {resource_type}/$validate");
        site.check(&request, &statement.text, "200 ; ~dom-6 ; /issue/1 absent")
            .await;
        let etag = statement.header("etag");
        let again = format!("GET metadata{mode}\nIf-None-Match: {etag}");
        site.check(&again, "", "304 ; empty").await;
        let request = format!("GET metadata{mode}\nAccept: application/fhir+xml");
        site.check(&request, "", &format!("200 ; ~<{resource_type} xmlns"))
            .await;
    }
    site.table(&[
        ("GET metadata?mode=nosuch", "", "400"),
        ("GET metadata?mode=terminology", "", "200 ; /codeSystem/0/uri = urn:fhir-humanitarian:CodeSystem:displacement-status ; /codeSystem/0/content = complete ; ~administrative-gender ; /expansion/paging = true ; ~exclude-system ; /translation/needsMap = false ; /closure absent"),
        ("GET metadata?mode=terminology&_elements=kind", "", "200 ; /kind = instance ; /software absent"),
    ])
    .await;
}

/// Of any type.
const FILTER: &str = "_id%20eq%20nosuch";

/// A value that each parameter of the type can have.
fn value(parameter: &SearchParameter) -> String {
    match parameter.kind {
        _ if parameter.code == "_type" => parameter.resource_type.clone(),
        _ if parameter.code == "_in" => "Group/nosuch".to_string(),
        _ if parameter.code == "_filter" => FILTER.to_string(),
        ParameterType::Special if parameter.code == "near" => "1|2|3|km".to_string(),
        ParameterType::Special if parameter.code == "contains" => "1|2".to_string(),
        ParameterType::Composite => {
            let parts = parameter.components.iter().map(|it| of_kind(it.kind));
            parts.collect::<Vec<_>>().join("$")
        }
        kind => of_kind(kind).to_string(),
    }
}

fn of_kind(kind: ParameterType) -> &'static str {
    match kind {
        ParameterType::Number | ParameterType::Quantity => "1",
        ParameterType::Date => "1990",
        ParameterType::Reference => "Patient/nosuch",
        // Of a boolean, too.
        ParameterType::Token => "true",
        _ => "nosuch",
    }
}

#[tokio::test]
async fn every_search_parameter_and_include_that_is_declared_works() {
    let site = shared();
    let definitions = Definitions::load(&[]).unwrap();
    let statement = site.check("GET metadata", "", "200").await.json();
    let mut urls = Vec::new();
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        for declared in resource["searchParam"].as_array().unwrap() {
            let name = declared["name"].as_str().unwrap();
            let value = definitions.search_parameter(kind, name).map(|it| value(it));
            urls.push(format!(
                "{kind}?{name}={}",
                value.unwrap_or("nosuch".into())
            ));
        }
        for (parameter, list) in [
            ("_include", "searchInclude"),
            ("_revinclude", "searchRevInclude"),
        ] {
            for declared in resource[list].as_array().into_iter().flatten() {
                urls.push(format!(
                    "{kind}?_id=nosuch&{parameter}={}",
                    declared.as_str().unwrap()
                ));
            }
        }
    }
    for declared in statement["rest"][0]["searchParam"].as_array().unwrap() {
        let name = declared["name"].as_str().unwrap();
        let value = match name {
            "_lastUpdated" => "1990",
            "_type" => "Patient",
            "_filter" => FILTER,
            _ => "nosuch",
        };
        urls.push(format!("?{name}={value}"));
    }
    let mut wrong = Vec::new();
    for urls in urls.chunks(1000) {
        let entries = urls
            .iter()
            .map(|url| json!({"request": {"method": "GET", "url": url}}));
        let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": entries.collect::<Vec<_>>()});
        let answer = site.check("POST ", &batch.to_string(), "200").await.json();
        for (url, entry) in urls.iter().zip(answer["entry"].as_array().unwrap()) {
            if entry["response"]["status"] != "200 OK" {
                wrong.push(format!("{url}: {}", entry["response"]));
            }
        }
    }
    assert!(
        urls.len() > 4_000 && wrong.is_empty(),
        "{} of {}: {}",
        wrong.len(),
        urls.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[tokio::test]
async fn openapi() {
    let site = shared();
    let document = site
        .check(
            "GET openapi.json",
            "",
            "200 ; Content-Type: application/json ; ETag: W/ ; /openapi = 3.1.0 ; /paths/~1_job~1{id}/get/responses/202/description = done ; /paths/~1Binary/post/requestBody/content/*~1* = {}",
        )
        .await;
    let etag = document.header("etag");
    site.table(&[
        (&format!("GET openapi.json\nIf-None-Match: {etag}"), "", "304 ; empty"),
        ("HEAD openapi.json", "", "200 ; empty"),
        ("POST openapi.json", "", "405 ; Allow: GET, HEAD, OPTIONS"),
        ("GET openapi.json?x=1", "", "400"),
        ("GET openapi.json/x", "", "404"),
        ("POST ", r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"openapi.json"}}]}"#, "200 ; /entry/0/response/status = 400 Bad Request"),
    ])
    .await;
    let document = document.json();
    assert_eq!(document["servers"][0]["url"], site.base());
    let paths = document["paths"].as_object().unwrap();
    let parameters = paths["/Patient"]["get"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|it| it["name"] == "birthdate"));
    for (path, place) in paths.iter().filter(|(path, _)| !is_of_another_type(path)) {
        is_true(&site, path, place).await;
    }
    validated(&document.to_string());
}

/// One type stands for all of them.
fn is_of_another_type(path: &str) -> bool {
    let first = path[1..].split('/').next().unwrap();
    first.starts_with(|c: char| c.is_ascii_uppercase()) && !["Patient", "Group"].contains(&first)
}

/// What is at the path allows the methods that the document has for it, and no others.
async fn is_true(site: &Site, path: &str, place: &Value) {
    let url = [
        ("{type}", "Patient"),
        ("{id}", "x"),
        ("{version}", "1"),
        ("{member}", "Observation"),
    ]
    .iter()
    .fold(path[1..].to_string(), |url, (name, value)| {
        url.replace(name, value)
    });
    let answer = site.send(&format!("OPTIONS {url}"), "").await;
    assert_eq!(answer.status, 204, "{url}");
    let mut allowed: Vec<String> = answer
        .header("allow")
        .split(", ")
        .map(str::to_lowercase)
        .collect();
    allowed.retain(|method| method != "head" && method != "options");
    let mut documented: Vec<String> = place.as_object().unwrap().keys().cloned().collect();
    documented.retain(|name| name != "parameters");
    allowed.sort();
    documented.sort();
    assert_eq!(documented, allowed, "{url}");
}

fn validated(document: &str) {
    let Some(python) = third_party("venv/bin/python") else {
        return;
    };
    let script = "import json, sys; from openapi_spec_validator import validate; validate(json.load(sys.stdin)); print('valid')";
    let mut program = Command::new(python);
    let program = program.args(["-c", script]).stdin(Stdio::piped());
    let mut running = program
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    running
        .stdin
        .take()
        .unwrap()
        .write_all(document.as_bytes())
        .unwrap();
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "valid",
        "{said}"
    );
}
