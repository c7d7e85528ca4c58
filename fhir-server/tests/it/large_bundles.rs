//! Transactions as large as they may be. Each has a server of its own: what others ask of the shared one should not wait for these.

use crate::site::{Site, with_settings};
use serde_json::{Value, json};

const ENTRIES: usize = 5_000;
/// Observations about each patient.
const ABOUT: usize = 9;

fn bundle(entries: &[Value]) -> String {
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }).to_string()
}

fn url(number: usize) -> String {
    format!("urn:uuid:5a1f0a52-0000-4000-8000-{number:012}")
}

/// How a result says who it is about.
#[derive(Clone, Copy, PartialEq)]
enum By {
    FullUrl,
    Identifier,
}

/// Patients and results about them, which come first; every patient names the next. `run` is in no other bundle.
fn records(run: &str, by: By, condition: bool) -> Vec<Value> {
    let mut entries = Vec::with_capacity(ENTRIES);
    let patients = ENTRIES / (ABOUT + 1);
    for number in 0..patients {
        for _ in 0..ABOUT {
            let subject = match by {
                By::FullUrl => url(number),
                By::Identifier => format!("Patient?identifier=urn:{run}|{number}"),
            };
            entries.push(json!({
                "resource": {
                    "resourceType": "Observation", "status": "final", "code": { "text": "x" }, "subject": { "reference": subject },
                    "meta": { "tag": [{ "code": run }] },
                },
                "request": { "method": "POST", "url": "Observation" },
            }));
        }
        let next = url((number + 1) % patients);
        let mut entry = json!({
            "fullUrl": url(number),
            "resource": {
                "resourceType": "Patient",
                "identifier": [{ "system": format!("urn:{run}"), "value": number.to_string() }],
                "link": [{ "other": { "reference": next }, "type": "seealso" }],
            },
            "request": { "method": "POST", "url": "Patient" },
        });
        if condition {
            entry["request"]["ifNoneExist"] = format!("identifier=urn:{run}|{number}").into();
        }
        entries.push(entry);
    }
    entries
}

fn run() -> String {
    format!("large-{}", uuid::Uuid::new_v4())
}

/// The places of the entries, each with its status.
async fn transact(site: &Site, entries: &[Value]) -> Vec<(String, String)> {
    let answer = site.check("POST ", &bundle(entries), "200").await.json();
    let answers = answer["entry"].as_array().unwrap();
    assert_eq!(answers.len(), entries.len());
    let read = |entry: &Value| {
        let response = &entry["response"];
        let place = response["location"].as_str().unwrap();
        let status = response["status"].as_str().unwrap();
        (
            place.split("/_history").next().unwrap().to_string(),
            status.to_string(),
        )
    };
    answers.iter().map(read).collect()
}

/// Each result is about the patient of its record, and each patient names the next one.
async fn linked(site: &Site, places: &[(String, String)]) {
    let patient = |number: usize| {
        let at = number % (ENTRIES / (ABOUT + 1)) * (ABOUT + 1) + ABOUT;
        places[at].0.as_str()
    };
    for number in [0, 1, 250, 432, 499] {
        let first = number * (ABOUT + 1);
        let of_record = &places[first..first + ABOUT];
        let search = format!("GET Observation?subject={}", patient(number));
        let found = site.check(&search, "", "200").await.json();
        let mut found: Vec<String> = found["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| format!("Observation/{}", entry["resource"]["id"].as_str().unwrap()))
            .collect();
        found.sort();
        let mut sent: Vec<&str> = of_record.iter().map(|(place, _)| place.as_str()).collect();
        sent.sort_unstable();
        assert_eq!(found, sent);
        let expect = format!("200 ; /link/0/other/reference = {}", patient(number + 1));
        site.check(&format!("GET {}", patient(number)), "", &expect)
            .await;
    }
}

/// How many results of the run are there.
async fn count(site: &Site, run: &str, expect: usize) {
    let search = format!("GET Observation?_tag={run}&_summary=count");
    let said = format!("200 ; /total = {expect} ; /entry absent");
    site.check(&search, "", &said).await;
}

#[tokio::test]
async fn entries_that_refer_to_each_other() {
    let site = with_settings(&[]);
    let run = run();
    let places = transact(&site, &records(&run, By::FullUrl, false)).await;
    assert!(places.iter().all(|(_, status)| status == "201 Created"));
    linked(&site, &places).await;
    count(&site, &run, ENTRIES / (ABOUT + 1) * ABOUT).await;
}

/// What is referred to is known only when the conditions are decided; the second time all patients are there.
#[tokio::test]
async fn entries_that_refer_to_conditional_creates() {
    let site = with_settings(&[]);
    let run = run();
    let first = transact(&site, &records(&run, By::FullUrl, true)).await;
    linked(&site, &first).await;
    let again = transact(&site, &records(&run, By::FullUrl, true)).await;
    for (at, (first, again)) in first.iter().zip(&again).enumerate() {
        match at % (ABOUT + 1) {
            ABOUT => {
                assert_eq!(first.0, again.0);
                assert_eq!(again.1, "200 OK");
            }
            _ => assert_ne!(first.0, again.0),
        }
    }
}

#[tokio::test]
async fn entries_that_refer_by_identifier() {
    let site = with_settings(&[]);
    let run = run();
    let places = transact(&site, &records(&run, By::Identifier, false)).await;
    linked(&site, &places).await;
}

/// Found before anything is sent to the database, found by its constraints, found by a condition: the entry is named, and nothing is there.
#[tokio::test]
async fn the_entry_that_fails_is_named() {
    const AT: usize = 4_321;
    let site = with_settings(&[]);
    let invalid = |entry: &mut Value| entry["resource"]["status"] = json!("nosuch");
    let stale = |entry: &mut Value| {
        entry["resource"]["id"] = json!("none");
        entry["request"] =
            json!({ "method": "PUT", "url": "Observation/none", "ifMatch": "W/\"7\"" });
    };
    let nobody = |entry: &mut Value| {
        entry["resource"]["subject"]["reference"] = json!("Patient?identifier=urn:nobody|1");
    };
    type Spoil = fn(&mut Value);
    let cases: [(Spoil, &str); 3] = [
        (
            invalid,
            "422 ; /issue/0/expression/0 = Bundle.entry[4321].resource.status",
        ),
        (stale, "412 ; /issue/0/expression/0 = Bundle.entry[4321]"),
        (nobody, "404 ; /issue/0/expression/0 = Bundle.entry[4321]"),
    ];
    for (spoil, expect) in cases {
        let run = run();
        let mut entries = records(&run, By::FullUrl, false);
        spoil(&mut entries[AT]);
        site.check("POST ", &bundle(&entries), expect).await;
        count(&site, &run, 0).await;
    }
}

#[tokio::test]
async fn one_more_is_too_many() {
    let mut entries = records(&run(), By::FullUrl, false);
    entries.push(entries[0].clone());
    let expect = "422 ; /issue/0/code = too-costly ; /issue/0/expression/0 = Bundle.entry";
    let site = with_settings(&[]);
    site.check("POST ", &bundle(&entries), expect).await;
}

/// Entries that cannot be stored, wherever they stand, take nothing from the others.
#[tokio::test]
async fn a_batch_is_as_large() {
    let site = with_settings(&[]);
    let run = run();
    let mut entries = records(&run, By::FullUrl, true);
    let mut expect = vec!["201"; ENTRIES];
    for at in (0..ENTRIES).step_by(300) {
        entries[at]["resource"]["status"] = json!("nosuch");
        expect[at] = "422";
    }
    // One after the other: each sees what the ones before it made.
    for (at, if_match, status) in [
        (2_000, json!("*"), "412"),
        (3_000, Value::Null, "201"),
        (4_000, json!("W/\"7\""), "412"),
        (4_998, json!("*"), "200"),
    ] {
        let mut request = json!({ "method": "PUT", "url": format!("Basic/{run}") });
        if !if_match.is_null() {
            request["ifMatch"] = if_match;
        }
        let basic =
            json!({ "resourceType": "Basic", "id": run, "code": { "text": at.to_string() } });
        entries[at] = json!({ "resource": basic, "request": request });
        expect[at] = status;
    }
    let body = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries }).to_string();
    let answer = site.check("POST ", &body, "200").await.json();
    let statuses: Vec<&str> = answer["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["response"]["status"].as_str().unwrap()[..3])
        .collect();
    for (at, (status, expect)) in statuses.iter().zip(&expect).enumerate() {
        assert_eq!(status, expect, "entry {at}");
    }
    assert_eq!(statuses.len(), ENTRIES);
}
