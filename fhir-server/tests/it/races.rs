//! Many clients at once on one identity: exactly one resource, never an error that is ours, no lost update (design invariant 9).

use crate::site::{self, Site, id_of};
use tokio::task::JoinSet;

const SYSTEM: &str = "http://races.example.org";

fn patient(value: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","identifier":[{{"system":"{SYSTEM}","value":"{value}"}}]}}"#
    )
}

/// A conditional create and an observation that points at whoever won it.
fn transaction(value: &str, text: &str) -> String {
    let url = "urn:uuid:5a1f0a52-0000-4000-8000-000000000001";
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
        {{"fullUrl":"{url}","resource":{},"request":{{"method":"POST","url":"Patient","ifNoneExist":"identifier={SYSTEM}|{value}"}}}},
        {{"resource":{{"resourceType":"Observation","status":"final","code":{{"text":"{text}"}},"subject":{{"reference":"{url}"}}}},
          "request":{{"method":"POST","url":"Observation"}}}}]}}"#,
        patient(value)
    )
}

/// A third each: conditional creates, conditional updates, conditional creates inside transactions.
async fn ask(site: Site, value: String, number: usize) -> u16 {
    let answer = match number % 3 {
        0 => {
            let bundle = transaction(&value, &format!("n{number}"));
            site.send("POST ", &bundle).await
        }
        1 => {
            let request = format!("PUT Patient?identifier={SYSTEM}|{value}");
            site.send(&request, &patient(&value)).await
        }
        _ => {
            let request = format!("POST Patient\nIf-None-Exist: identifier={SYSTEM}|{value}");
            site.send(&request, &patient(&value)).await
        }
    };
    answer.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_conditional_writes_of_one_identity_make_one_resource() {
    let site = site::shared();
    let value = uuid::Uuid::new_v4().to_string();
    let mut asked = JoinSet::new();
    for number in 0..200 {
        asked.spawn(ask(site.clone(), value.clone(), number));
    }
    for status in asked.join_all().await {
        assert!(matches!(status, 200 | 201), "{status}");
    }
    let search = format!("GET Patient?identifier={SYSTEM}|{value}");
    let found = site.check(&search, "", "200 ; /total = 1").await.json();
    let id = found["entry"][0]["resource"]["id"].as_str().unwrap();
    // Each transaction's observation points at the one that won.
    let search = format!("GET Observation?subject=Patient/{id}&_summary=count");
    site.check(&search, "", "200 ; /total = 67").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_under_if_match() {
    const CLIENTS: usize = 8;
    const EACH: usize = 10;
    let site = site::shared();
    let body = r#"{"resourceType":"Basic","code":{"text":"0"}}"#;
    let id = id_of(&site.check("POST Basic", body, "201").await);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (site, id) = (site.clone(), id.clone());
        clients.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let read = site.check(&format!("GET Basic/{id}"), "", "200").await;
                let mut resource = read.json();
                let count: usize = resource["code"]["text"].as_str().unwrap().parse().unwrap();
                resource["code"]["text"] = (count + 1).to_string().into();
                let request = format!("PUT Basic/{id}\nIf-Match: {}", read.header("etag"));
                match site.send(&request, &resource.to_string()).await.status {
                    200 => done += 1,
                    412 => {}
                    status => panic!("{status}"),
                }
            }
        });
    }
    clients.join_all().await;
    let expect = format!(
        "200 ; /code/text = {} ; /meta/versionId = {}",
        CLIENTS * EACH,
        CLIENTS * EACH + 1
    );
    site.check(&format!("GET Basic/{id}"), "", &expect).await;
}
