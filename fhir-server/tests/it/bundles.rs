//! Batch and transaction. Long because each case is a whole bundle.

use crate::site::{Answer, Site, shared};
use serde_json::{Value, json};

fn bundle(kind: &str, entries: &[Value]) -> String {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries }).to_string()
}

fn entry(method: &str, url: &str, resource: Value) -> Value {
    let mut entry = json!({ "request": { "method": method, "url": url } });
    if !resource.is_null() {
        entry["resource"] = resource;
    }
    entry
}

fn basic(id: &str) -> Value {
    json!({ "resourceType": "Basic", "id": id, "code": { "text": id } })
}

fn with(mut entry: Value, name: &str, value: &str) -> Value {
    entry["request"][name] = json!(value);
    entry
}

fn at(mut entry: Value, full_url: &str) -> Value {
    entry["fullUrl"] = json!(full_url);
    entry
}

async fn transact(site: &Site, entries: &[Value], expect: &str) -> Answer {
    site.check("POST ", &bundle("transaction", entries), expect)
        .await
}

fn statuses(answer: &Answer) -> Vec<String> {
    let answer = answer.json();
    let entries = answer["entry"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| entry["response"]["status"].as_str().unwrap()[..3].to_string())
        .collect()
}

#[tokio::test]
async fn batch_entries_are_for_themselves() {
    let site = shared();
    let entries = [
        entry("GET", "Basic/batch-1", Value::Null),
        entry("PUT", "Basic/batch-1", basic("batch-1")),
        entry(
            "POST",
            "Basic",
            json!({ "resourceType": "Basic", "nonsense": 1 }),
        ),
        entry("POST", "Foo", json!({ "resourceType": "Foo" })),
        entry("GET", "Basic?_id=batch-1", Value::Null),
        entry("DELETE", "Basic/batch-2", Value::Null),
        entry("GET", "Basic?nonsense=1", Value::Null),
        json!({ "resource": basic("x") }),
        entry("PATCH", "Basic/batch-1", Value::Null),
        entry(
            "POST",
            "",
            json!({ "resourceType": "Bundle", "type": "batch" }),
        ),
        json!("no entry"),
    ];
    let answer = site
        .check(
            "POST ",
            &bundle("batch", &entries),
            "200 ; /type = batch-response",
        )
        .await;
    assert_eq!(
        statuses(&answer),
        [
            "200", "201", "400", "404", "200", "204", "400", "400", "400", "400", "400"
        ]
    );
    let answer = answer.json();
    assert_eq!(answer["entry"][0]["resource"]["id"], "batch-1");
    assert_eq!(
        answer["entry"][1]["response"]["location"],
        "Basic/batch-1/_history/1"
    );
    assert_eq!(answer["entry"][1]["response"]["etag"], "W/\"1\"");
    assert_eq!(
        answer["entry"][2]["response"]["outcome"]["issue"][0]["expression"][0],
        "Bundle.entry[2].resource.nonsense"
    );
    assert_eq!(answer["entry"][4]["resource"]["type"], "searchset");
    assert_eq!(
        answer["entry"][7]["response"]["outcome"]["issue"][0]["expression"][0],
        "Bundle.entry[7].request.method"
    );
}

#[tokio::test]
async fn batch_writes_together_or_alone() {
    let site = shared();
    let once = |value: &str| {
        let patient = json!({ "resourceType": "Patient", "identifier": [{ "system": "urn:b", "value": value }] });
        with(
            entry("POST", "Patient", patient),
            "ifNoneExist",
            &format!("identifier=urn:b|{value}"),
        )
    };
    for (entries, expect) in [
        (
            vec![once("1"), once("2"), once("1")],
            vec!["201", "201", "200"],
        ),
        (
            vec![
                entry("PUT", "Basic/b1", basic("b1")),
                entry("PUT", "Basic/b1", basic("b1")),
            ],
            vec!["201", "200"],
        ),
        (
            vec![
                with(entry("PUT", "Basic/b2", basic("b2")), "ifMatch", "W/\"5\""),
                entry("PUT", "Basic/b3", basic("b3")),
            ],
            vec!["412", "201"],
        ),
        (
            vec![
                entry("PUT", "Basic/b4", basic("b4")),
                entry("DELETE", "Basic/b1", Value::Null),
            ],
            vec!["201", "204"],
        ),
    ] {
        let answer = site.check("POST ", &bundle("batch", &entries), "200").await;
        assert_eq!(statuses(&answer), expect, "{}", answer.text);
    }
}

#[tokio::test]
async fn transaction_is_all_or_nothing() {
    let site = shared();
    let bad = [
        entry("PUT", "Basic/nothing-1", basic("nothing-1")),
        entry(
            "PUT",
            "Basic/nothing-2",
            json!({ "resourceType": "Basic", "id": "nothing-2", "bad": 1 }),
        ),
    ];
    transact(
        &site,
        &bad,
        "400 ; /issue/0/expression/0 = Bundle.entry[1].resource.bad",
    )
    .await;
    let conflict = [
        entry("PUT", "Basic/nothing-1", basic("nothing-1")),
        with(
            entry("PUT", "Basic/nothing-2", basic("nothing-2")),
            "ifMatch",
            "W/\"7\"",
        ),
    ];
    transact(&site, &conflict, "412 ; ~Bundle.entry[1]").await;
    site.table(&[
        ("GET Basic/nothing-1", "", "404"),
        ("GET Basic/nothing-2", "", "404"),
    ])
    .await;
}

#[tokio::test]
async fn references_between_entries() {
    let site = shared();
    let (a, b) = (
        "urn:uuid:11111111-1111-1111-1111-111111111111",
        "urn:uuid:22222222-2222-2222-2222-222222222222",
    );
    let entries = [
        at(
            entry(
                "POST",
                "Observation",
                json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" },
            "subject": { "reference": a }, "derivedFrom": [{ "reference": b }] }),
            ),
            b,
        ),
        at(
            entry(
                "POST",
                "Patient",
                json!({ "resourceType": "Patient", "link": [{ "other": { "reference": a }, "type": "seealso" }] }),
            ),
            a,
        ),
        at(
            entry(
                "POST",
                "Observation",
                json!({ "resourceType": "Observation", "status": "final", "code": { "text": "y" },
            "subject": { "reference": "Patient/p7" } }),
            ),
            "http://elsewhere/fhir/Observation/o7",
        ),
        at(
            entry("POST", "Patient", json!({ "resourceType": "Patient" })),
            "http://elsewhere/fhir/Patient/p7",
        ),
    ];
    let answer = transact(
        &site,
        &entries,
        "200 ; /type = transaction-response ; /entry/0/resource absent",
    )
    .await;
    assert_eq!(statuses(&answer), ["201", "201", "201", "201"]);
    let answer = answer.json();
    let place = |index: usize| {
        let location = answer["entry"][index]["response"]["location"]
            .as_str()
            .unwrap();
        location.strip_suffix("/_history/1").unwrap().to_string()
    };
    let observation = site
        .check(&format!("GET {}", place(0)), "", "200")
        .await
        .json();
    assert_eq!(observation["subject"]["reference"], place(1));
    assert_eq!(observation["derivedFrom"][0]["reference"], place(0));
    let patient = site
        .check(&format!("GET {}", place(1)), "", "200")
        .await
        .json();
    assert_eq!(patient["link"][0]["other"]["reference"], place(1));
    let other = site
        .check(&format!("GET {}", place(2)), "", "200")
        .await
        .json();
    assert_eq!(other["subject"]["reference"], place(3));
}

#[tokio::test]
async fn conditional_references() {
    let site = shared();
    let patient = |value: &str| json!({ "resourceType": "Patient", "identifier": [{ "system": "urn:r", "value": value }] });
    let about = |value: &str| {
        entry(
            "POST",
            "Observation",
            json!({ "resourceType": "Observation", "status": "final", "code": { "text": "x" },
            "subject": { "reference": format!("Patient?identifier=urn:r|{value}") } }),
        )
    };
    for value in ["one", "two", "two"] {
        site.check("POST Patient", &patient(value).to_string(), "201")
            .await;
    }
    let answer = site
        .check(
            "POST \nPrefer: return=representation",
            &bundle("transaction", &[about("one")]),
            "200",
        )
        .await
        .json();
    let reference = answer["entry"][0]["resource"]["subject"]["reference"]
        .as_str()
        .unwrap();
    assert!(reference.starts_with("Patient/"), "{reference}");
    transact(
        &site,
        &[about("none")],
        "404 ; /issue/0/expression/0 = Bundle.entry[0]",
    )
    .await;
    transact(
        &site,
        &[entry("PUT", "Basic/cr", basic("cr")), about("two")],
        "412 ; /issue/0/expression/0 = Bundle.entry[1]",
    )
    .await;
    site.check("GET Basic/cr", "", "404").await;
}

#[tokio::test]
async fn order_conditions_and_reads() {
    let site = shared();
    site.check("PUT Basic/order-1", &basic("order-1").to_string(), "201")
        .await;
    let entries = [
        entry("GET", "Basic/order-2", Value::Null),
        with(
            entry("PUT", "Basic/order-2", basic("order-2")),
            "ifNoneMatch",
            "*",
        ),
        entry("GET", "/Basic/order-1", Value::Null),
        with(
            entry("DELETE", "Basic/order-1", Value::Null),
            "ifMatch",
            "W/\"1\"",
        ),
        with(
            entry(
                "POST",
                "Patient",
                json!({ "resourceType": "Patient", "identifier": [{ "value": "order é|3" }] }),
            ),
            "ifNoneExist",
            "Patient?identifier=order é%5C|3",
        ),
        entry(
            "GET",
            &format!("{}/Basic?_id=order-2", site.base()),
            Value::Null,
        ),
        entry("HEAD", "Basic/order-2", Value::Null),
    ];
    let answer = transact(&site, &entries, "200").await;
    assert_eq!(
        statuses(&answer),
        ["200", "201", "410", "204", "201", "200", "200"]
    );
    let answer = answer.json();
    assert_eq!(answer["entry"][0]["resource"]["id"], "order-2");
    assert_eq!(
        answer["entry"][5]["resource"]["entry"][0]["resource"]["id"],
        "order-2"
    );
}

#[tokio::test]
async fn refusals() {
    let site = shared();
    let put = |id: &str| entry("PUT", &format!("Basic/{id}"), basic(id));
    for (entries, expect) in [
        (
            vec![put("dup"), put("dup")],
            "400 ; /issue/0/code = duplicate ; ~Bundle.entry[1]",
        ),
        (
            vec![put("dup"), entry("DELETE", "Basic/dup", Value::Null)],
            "400 ; /issue/0/code = duplicate",
        ),
        (
            vec![at(put("d1"), "urn:uuid:1"), at(put("d2"), "URN:UUID:1")],
            "400 ; /issue/0/expression/0 = Bundle.entry[1].fullUrl",
        ),
        (
            vec![entry("PUT", "Basic/x", basic("y"))],
            "400 ; ~Bundle.entry[0]",
        ),
        (
            vec![entry("POST", "Basic", Value::Null)],
            "400 ; ~Bundle.entry[0]",
        ),
        (
            vec![entry("POST", "Foo", json!({ "resourceType": "Foo" }))],
            "404 ; /issue/0/expression/0 = Bundle.entry[0].request.url",
        ),
        (
            vec![entry("PUT", "http://elsewhere/fhir/Basic/x", basic("x"))],
            "400 ; ~Bundle.entry[0].request.url",
        ),
        (vec![entry("PUT", "Basic/%zz", basic("x"))], "400"),
        (vec![entry("PUT", "Basic/a%5Fb", basic("a_b"))], "400"),
        (vec![entry("FROB", "Basic/x", basic("x"))], "405"),
        (vec![entry("GET", "Basic/x/y/z/w", Value::Null)], "404"),
        (
            vec![json!({ "request": { "method": 1, "url": "Basic" } })],
            "400 ; /issue/0/expression/0 = Bundle.entry[0].request.method",
        ),
        (vec![json!(1)], "400"),
        (
            vec![json!({ "resource": "text", "request": { "method": "POST", "url": "Basic" } })],
            "400 ; ~Bundle.entry[0]",
        ),
        (
            vec![with(put("nm"), "ifMatch", "W/\"x")],
            "400 ; ~Bundle.entry[0]",
        ),
    ] {
        transact(&site, &entries, expect).await;
    }
    site.table(&[
        (
            "POST ",
            &bundle("collection", &[]),
            "400 ; /issue/0/expression/0 = Bundle.type",
        ),
        ("POST ", r#"{"resourceType":"Bundle"}"#, "400"),
        ("POST ", r#"{"resourceType":"Bundle","type":7}"#, "400"),
        (
            "POST ",
            r#"{"resourceType":"Bundle","type":"batch","entry":{}}"#,
            "400 ; /issue/0/expression/0 = Bundle.entry",
        ),
        ("POST ", r#"{"resourceType":"Patient"}"#, "400"),
        ("POST ", "[]", "400"),
        ("POST ", "", "400"),
        (
            "POST ",
            &bundle("transaction", &[]),
            "200 ; /type = transaction-response ; /entry absent",
        ),
        (
            "POST ",
            r#"{"resourceType":"Bundle","type":"batch"}"#,
            "200 ; /type = batch-response",
        ),
    ])
    .await;
}

#[tokio::test]
async fn percent_encoded_and_representation() {
    let site = shared();
    let entries = [entry("PUT", "Basic/enc%2D1", basic("enc-1"))];
    let answer = site
        .check(
            "POST \nPrefer: return=representation",
            &bundle("transaction", &entries),
            "200 ; /entry/0/resource/id = enc-1",
        )
        .await
        .json();
    assert_eq!(
        answer["entry"][0]["fullUrl"],
        format!("{}/Basic/enc-1", site.base())
    );
    site.check("POST \nPrefer: return=OperationOutcome", &bundle("transaction", &[entry("PUT", "Basic/enc-2", basic("enc-2"))]),
        "200 ; /entry/0/resource absent ; /entry/0/response/outcome/resourceType = OperationOutcome").await;
}

#[tokio::test]
async fn deletions_come_before_creates() {
    let site = shared();
    let patient = json!({ "resourceType": "Patient", "id": "old-one",
        "identifier": [{ "system": "http://order.example.org", "value": "1" }] });
    site.check("PUT Patient/old-one", &patient.to_string(), "201")
        .await;
    let condition = "identifier=http://order.example.org|1";
    let answer = transact(
        &site,
        &[
            with(entry("POST", "Patient", patient), "ifNoneExist", condition),
            entry("DELETE", "Patient/old-one", Value::Null),
        ],
        "200",
    )
    .await;
    assert_eq!(statuses(&answer), ["201", "204"]);
    site.check("GET Patient/old-one", "", "410").await;
    site.check(&format!("GET Patient?{condition}"), "", "200 ; /total = 1")
        .await;
}

#[tokio::test]
async fn a_reference_can_ask_for_the_version_made() {
    let site = shared();
    site.check("PUT Basic/pinned", &basic("pinned").to_string(), "201")
        .await;
    let specific = json!([{ "url": "http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific", "valueBoolean": true }]);
    let url = "urn:uuid:7d2d7f40-0000-4000-8000-000000000001";
    let provenance = json!({ "resourceType": "Provenance", "id": "pins", "recorded": "2026-01-01T00:00:00Z",
        "agent": [{ "who": { "display": "x" } }],
        "target": [
            { "reference": url, "extension": specific },
            { "reference": "Basic/pinned", "extension": specific, "display": "d" },
            { "reference": "Basic/elsewhere", "extension": specific },
            { "reference": "Basic/pinned" },
        ] });
    let mut changed = basic("pinned");
    changed["language"] = json!("en");
    let answer = transact(
        &site,
        &[
            entry("PUT", "Provenance/pins", provenance),
            at(entry("POST", "Basic", basic("x")), url),
            entry("PUT", "Basic/pinned", changed),
        ],
        "200",
    )
    .await;
    assert_eq!(statuses(&answer), ["201", "201", "200"]);
    let targets = site.check("GET Provenance/pins", "", "200").await.json()["target"].clone();
    let first = targets[0]["reference"].as_str().unwrap();
    assert!(
        first.starts_with("Basic/") && first.ends_with("/_history/1"),
        "{targets}"
    );
    assert_eq!(targets[0].get("extension"), None);
    assert_eq!(
        targets[1],
        json!({ "reference": "Basic/pinned/_history/2", "display": "d" })
    );
    assert_eq!(targets[2]["extension"], specific);
    assert_eq!(targets[3]["reference"], "Basic/pinned");
    site.check("GET Provenance?target=Basic/pinned", "", "200 ; /total = 1")
        .await;
}

/// What names a version of the source's goes on naming one, ours, and never one of another resource that has the source's id here.
#[tokio::test]
async fn a_reference_to_a_version_follows_its_target() {
    let site = shared();
    site.check("PUT Basic/lab7", &basic("lab7").to_string(), "201")
        .await;
    let lab = "http://lab.example.org/fhir";
    let named = |id: &str, references: &[&str]| {
        let targets: Vec<Value> = references
            .iter()
            .map(|it| json!({ "reference": it }))
            .collect();
        json!({ "resourceType": "Provenance", "id": id, "agent": [{ "who": { "display": "x" } }], "target": targets })
    };
    let absolute = format!("{lab}/Basic/lab7/_history/3");
    let own = format!("{}/Basic/own7", site.base());
    let mut created = basic("lab7");
    created["identifier"] = json!([{ "value": "lab7" }]);
    let once = with(
        entry("POST", "Basic", created),
        "ifNoneExist",
        "identifier=lab7-absent",
    );
    let entries = [
        at(
            entry(
                "PUT",
                "Provenance/follows",
                named(
                    "follows",
                    &[
                        "Basic/lab7/_history/3",
                        "Basic/lab8/_history/3",
                        "Basic/other/_history/3",
                    ],
                ),
            ),
            &format!("{lab}/Provenance/follows"),
        ),
        entry(
            "PUT",
            "Provenance/follows-2",
            named(
                "follows-2",
                &[&absolute, "Basic/lab7/_history/1", "Basic/own7/_history/1"],
            ),
        ),
        at(
            entry("POST", "Basic", basic("lab7")),
            &format!("{lab}/Basic/lab7"),
        ),
        at(once, &format!("{lab}/Basic/lab8")),
        at(entry("PUT", "Basic/own7", basic("own7")), &own),
    ];
    let answer = transact(&site, &entries, "200").await.json();
    let place = |index: usize| answer["entry"][index]["response"]["location"].clone();
    for (id, expect) in [
        (
            "follows",
            [place(2), place(3), json!("Basic/other/_history/3")],
        ),
        (
            "follows-2",
            [
                place(2),
                json!("Basic/lab7/_history/1"),
                json!("Basic/own7/_history/1"),
            ],
        ),
    ] {
        let left = site
            .check(&format!("GET Provenance/{id}"), "", "200")
            .await
            .json();
        let targets = left["target"].as_array().unwrap().iter();
        let references: Vec<Value> = targets.map(|it| it["reference"].clone()).collect();
        assert_eq!(references, expect, "{id}");
    }
}
