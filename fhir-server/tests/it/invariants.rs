//! What the server itself makes keeps the invariants of its type (<https://hl7.org/fhir/R5/conformance-rules.html#constraints>), by our own FHIRPath.

use crate::process::ROOT;
use crate::site::shared;
use fhir_definitions::Definitions;
use fhirpath::{Context, Item, Program, Reason, System};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::sync::LazyLock;

/// Of resources: the path they are declared at, the key, and what must hold there.
static INVARIANTS: LazyLock<Vec<[String; 3]>> = LazyLock::new(|| {
    let path = format!("{ROOT}/fhir-server/crates/definitions/r5/constraints.tsv.gz");
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let rows = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let errors = rows.filter(|row| row[2] == "error");
    errors
        .map(|row| [row[0], row[1], row[3]].map(str::to_string))
        .collect()
});
static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| Definitions::load(&[]).unwrap());

/// How many invariants were looked at. What needs a terminology service is not.
fn hold(resource: &Value) -> usize {
    let kind = resource["resourceType"].as_str().unwrap();
    let below = format!("{kind}.");
    let context = Context::new(resource, &*DEFINITIONS);
    let mut held = 0;
    for [path, key, expression] in INVARIANTS
        .iter()
        .filter(|row| row[0] == kind || row[0].starts_with(&below))
    {
        let program = Program::parse(expression).unwrap();
        for item in Program::parse(path).unwrap().evaluate(&context).unwrap() {
            match program.evaluate_on(&context, &item) {
                Ok(found) => {
                    let is_true = matches!(found.as_slice(), [Item::System(System::Boolean(true))]);
                    assert!(is_true, "{key} at {path}: {expression}\n{resource:#}");
                    held += 1;
                }
                Err(error) => assert_eq!(error.reason, Reason::Unsupported, "{key}: {error}"),
            }
        }
    }
    let entries = resource["entry"].as_array().into_iter().flatten();
    let within =
        entries.filter_map(|entry| entry.get("resource").or(entry["response"].get("outcome")));
    held + within.map(hold).sum::<usize>()
}

#[tokio::test]
async fn of_what_the_server_makes() {
    let site = shared();
    let put = |resource: Value| {
        let key = format!(
            "{}/{}",
            resource["resourceType"].as_str().unwrap(),
            resource["id"].as_str().unwrap()
        );
        json!({"resource": resource, "request": {"method": "PUT", "url": key}})
    };
    let graph = json!({"resourceType": "GraphDefinition", "id": "inv", "url": "http://inv", "name": "Inv", "status": "active", "start": "p",
        "node": [{"nodeId": "p", "type": "Patient"}, {"nodeId": "f", "type": "Flag"}], "link": [{"sourceId": "p", "params": "patient={ref}", "targetId": "f"}]});
    let flag = json!({"resourceType": "Flag", "id": "inv", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/inv"}, "author": {"reference": "Practitioner/inv"}});
    let entries = json!([
        put(json!({"resourceType": "Patient", "id": "inv"})),
        put(json!({"resourceType": "Practitioner", "id": "inv"})),
        put(flag),
        put(graph),
        {"request": {"method": "GET", "url": "Patient/nosuch"}},
        {"request": {"method": "GET", "url": "Patient?_id=inv"}},
    ]);
    let bundle =
        |kind: &str| json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string();
    let parameters =
        |given: Value| json!({"resourceType": "Parameters", "parameter": given}).to_string();
    let changed = |active: bool| json!({"resourceType": "Patient", "contact": [{"gender": "male"}], "active": active, "text": {"status": "empty", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}});
    let tag = parameters(json!([{"name": "meta", "valueMeta": {"tag": [{"code": "inv"}]}}]));
    let diff = parameters(
        json!([{"name": "from", "resource": {"resourceType": "Patient"}}, {"name": "to", "resource": changed(true)}]),
    );
    let expression = parameters(
        json!([{"name": "expression", "valueString": "$this | active | name"}, {"name": "resource", "resource": changed(false)}]),
    );
    for (request, body, least) in [
        ("POST ", bundle("batch"), 20),
        ("POST ", bundle("transaction"), 20),
        ("GET metadata", String::new(), 100),
        ("GET metadata?mode=terminology", String::new(), 5),
        ("GET OperationDefinition/fhirpath", String::new(), 15),
        ("GET OperationDefinition/diff", String::new(), 10),
        ("GET OperationDefinition/diff-versions", String::new(), 10),
        (
            "GET Patient?_id=inv&_revinclude=Flag:subject",
            String::new(),
            10,
        ),
        (
            "GET Patient?_id=inv&nosuch=1\nPrefer: handling=lenient",
            String::new(),
            10,
        ),
        ("POST Patient/inv/$meta-add", tag, 1),
        ("GET Patient/inv/_history", String::new(), 10),
        ("GET Patient/inv/_history?_count=1", String::new(), 10),
        ("GET Patient/inv/$meta", String::new(), 1),
        ("GET Patient/inv/$everything", String::new(), 10),
        ("GET Patient/inv/$everything?_type=Nosuch", String::new(), 0),
        ("GET Patient/inv/$graph?graph=http://inv", String::new(), 1),
        ("GET Patient/inv/$diff", String::new(), 1),
        ("POST $diff", diff, 3),
        ("POST $fhirpath", expression, 2),
        (
            "POST Flag/$validate",
            json!({"resourceType": "Flag"}).to_string(),
            0,
        ),
    ] {
        let answer = site.send(request, &body).await;
        let held = hold(&answer.json());
        assert!(held >= least, "{request}: {held}\n{}", answer.text);
    }
}
