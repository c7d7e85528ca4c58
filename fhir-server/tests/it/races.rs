//! Many clients at once on one identity: exactly one resource, never an error that is ours (design invariant 9).

use crate::child::Server;
use serde_json::{Value, json};
use std::sync::Arc;

const SYSTEM: &str = "http://it.example.org/race";

fn patient(value: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}]})
}

fn transaction(value: &str, with: &str) -> Value {
    let url = "urn:uuid:5a1f0a52-0000-4000-8000-000000000001";
    let condition = format!("identifier={SYSTEM}|{value}");
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": url, "resource": patient(value), "request": {"method": "POST", "url": "Patient", "ifNoneExist": condition}},
        {"resource": {"resourceType": "Observation", "status": "final", "code": {"text": with}, "subject": {"reference": url}},
         "request": {"method": "POST", "url": "Observation"}},
    ]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_conditional_creates_make_one_resource() {
    let server = Arc::new(Server::start(&[]).await);
    let mut tasks = Vec::new();
    for n in 0..200 {
        let server = server.clone();
        tasks.push(tokio::spawn(async move {
            match n % 3 {
                // A transaction that also points at the one that won.
                0 => server.try_post("", &transaction("one", &format!("n{n}"))).await.expect("an answer").0,
                // A conditional update of the same identity.
                1 => {
                    let url = format!("{}/Patient?identifier={SYSTEM}|one", server.base);
                    let body = patient("one").to_string();
                    server.client.put(url).header("content-type", "application/fhir+json").body(body).send().await.expect("an answer").status().as_u16()
                }
                _ => {
                    let request = server.client.post(format!("{}/Patient", server.base)).header("content-type", "application/fhir+json");
                    let request = request.header("if-none-exist", format!("identifier={SYSTEM}|one")).body(patient("one").to_string());
                    request.send().await.expect("an answer").status().as_u16()
                }
            }
        }));
    }
    for task in tasks {
        let status = task.await.expect("no panic");
        assert!(matches!(status, 200 | 201), "{status}");
    }
    assert_eq!(server.count(&format!("Patient?identifier={SYSTEM}|one")).await, 1);
    assert_eq!(server.count("Patient").await, 1);
    // Every transaction's observation points at that patient.
    let (_, bundle) = server.get(&format!("Patient?identifier={SYSTEM}|one")).await;
    let id = bundle["entry"][0]["resource"]["id"].as_str().expect("an id");
    assert_eq!(server.count(&format!("Observation?subject=Patient/{id}")).await, 67);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_under_if_match() {
    let server = Arc::new(Server::start(&[]).await);
    let (_, created) = server.try_post("Basic", &json!({"resourceType": "Basic", "code": {"text": "0"}})).await.expect("an answer");
    let id = created["id"].as_str().expect("an id").to_owned();
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (server, id) = (server.clone(), id.clone());
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let (_, mut resource) = server.get(&format!("Basic/{id}")).await;
                let version = resource["meta"]["versionId"].as_str().expect("a version").to_owned();
                let count: u32 = resource["code"]["text"].as_str().expect("a text").parse().expect("a count");
                resource["code"]["text"] = json!((count + 1).to_string());
                let request = server.client.put(format!("{}/Basic/{id}", server.base)).header("content-type", "application/fhir+json");
                let answer = request.header("if-match", format!("W/\"{version}\"")).body(resource.to_string()).send().await.expect("an answer");
                match answer.status().as_u16() {
                    200 => done += 1,
                    412 => {}
                    status => panic!("{status}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let (_, resource) = server.get(&format!("Basic/{id}")).await;
    assert_eq!((resource["code"]["text"].as_str(), resource["meta"]["versionId"].as_str()), (Some("80"), Some("81")));
}
