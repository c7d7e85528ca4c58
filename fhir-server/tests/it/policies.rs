//! What a site may decide about writes: each setting against a server that has it, and the defaults in the other tests.

use crate::site::{Site, id_of, shared, with_settings};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

/// A server of its own, with few connections: there are many of them at one time.
fn serving(settings: &[(&'static str, &str)]) -> Site {
    let few = [("write_connections", "3"), ("search_connections", "1")];
    with_settings(&[settings, &few].concat())
}

const PATIENT: &str = r#"{"resourceType":"Patient","active":true}"#;

fn body(resource: &str, id: &str) -> String {
    let mut resource: Value = serde_json::from_str(resource).unwrap();
    resource["id"] = id.into();
    resource.to_string()
}

fn of_patient(id: &str, reference: &str) -> String {
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, "subject": {"reference": reference}})
        .to_string()
}

fn bundle(entries: &[(&str, &str, &str)]) -> String {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(method, url, resource)| {
            let mut entry = json!({"request": {"method": method, "url": url}});
            if !resource.is_empty() {
                entry["resource"] = serde_json::from_str(resource).unwrap();
            }
            entry
        })
        .collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string()
}

#[tokio::test]
async fn ids_that_clients_choose() {
    let tagged = r#"{"resourceType":"Patient","identifier":[{"system":"urn:p","value":"1"}]}"#;
    let site = serving(&[("client_ids", "none")]);
    let created = site.check("POST Patient", PATIENT, "201").await;
    let id = created.json()["id"].as_str().unwrap().to_string();
    site.table(&[
        (
            "GET metadata",
            "",
            "200 ; /rest/0/resource/0/updateCreate = false",
        ),
        (
            "PUT Patient/chosen",
            &body(PATIENT, "chosen"),
            "405 ; /issue/0/code = not-supported",
        ),
        (
            "POST ",
            &bundle(&[("PUT", "Patient/chosen", &body(PATIENT, "chosen"))]),
            "405 ; /issue/0/expression/0 = Bundle.entry[0]",
        ),
        (
            "PUT Patient?identifier=urn:p|1",
            &body(tagged, "chosen"),
            "405",
        ),
        ("PUT Patient?identifier=urn:p|1", tagged, "201"),
        (
            &format!("PUT Patient/{id}"),
            &body(r#"{"resourceType":"Patient"}"#, &id),
            "200",
        ),
        // It was here.
        (&format!("DELETE Patient/{id}"), "", "204"),
        (
            &format!("PUT Patient/{id}"),
            &body(PATIENT, &id),
            "201 ; ETag: W/\"4\"",
        ),
        // Only referred to, it never was.
        (
            "POST Observation",
            &of_patient("o", "Patient/chosen"),
            "201",
        ),
        ("PUT Patient/chosen", &body(PATIENT, "chosen"), "405"),
    ])
    .await;
    let site = serving(&[("client_ids", "alphanumeric")]);
    site.table(&[
        (
            "GET metadata",
            "",
            "200 ; /rest/0/resource/0/updateCreate = true",
        ),
        ("PUT Patient/123", &body(PATIENT, "123"), "405"),
        ("PUT Patient/a123", &body(PATIENT, "a123"), "201"),
    ])
    .await;
}

#[tokio::test]
async fn versions_must_be_named() {
    let site = serving(&[("if_match_types", "Patient,Group")]);
    let inactive = r#"[{"op":"replace","path":"/active","value":false}]"#;
    let patch = "PATCH Patient/a\nContent-Type: application/json-patch+json";
    let basic =
        |text: &str| format!(r#"{{"resourceType":"Basic","id":"a","code":{{"text":"{text}"}}}}"#);
    site.table(&[
        // There is no version to name yet.
        ("PUT Patient/a", &body(PATIENT, "a"), "201"),
        (
            "PUT Patient/a",
            &body(PATIENT, "a"),
            "400 ; /issue/0/code = required",
        ),
        ("PUT Patient?_id=a", PATIENT, "400"),
        (patch, inactive, "400"),
        ("DELETE Patient/a", "", "400"),
        ("DELETE Patient?_id=a", "", "400"),
        (
            "POST ",
            &bundle(&[("DELETE", "Patient/a", "")]),
            "400 ; /issue/0/expression/0 = Bundle.entry[0]",
        ),
        (&format!("{patch}\nIf-Match: W/\"1\""), inactive, "200"),
        ("DELETE Patient/a\nIf-Match: W/\"1\"", "", "412"),
        ("DELETE Patient/a\nIf-Match: W/\"2\"", "", "204"),
        ("DELETE Patient/a", "", "204"),
        ("DELETE Patient/never", "", "204"),
        ("PUT Basic/a", &basic("x"), "201"),
        ("PUT Basic/a", &basic("y"), "200"),
    ])
    .await;
}

#[tokio::test]
async fn an_update_that_changes_nothing() {
    let site = serving(&[("no_op_update", "version")]);
    let patch = "PATCH Patient/a\nContent-Type: application/json-patch+json";
    site.table(&[
        ("PUT Patient/a", &body(PATIENT, "a"), "201 ; ETag: W/\"1\""),
        ("PUT Patient/a", &body(PATIENT, "a"), "200 ; ETag: W/\"2\""),
        (patch, "[]", "200 ; ETag: W/\"3\""),
        ("GET Patient/a/_history", "", "200 ; /total = 3"),
    ])
    .await;
}

#[tokio::test]
async fn tags_of_an_update() {
    let tagged = |codes: &[&str]| {
        let tags: Vec<Value> = codes
            .iter()
            .map(|code| json!({"system": "urn:t", "code": code}))
            .collect();
        json!({"resourceType": "Patient", "id": "a", "meta": {"tag": tags, "profile": ["http://example.org/p"]}}).to_string()
    };
    let patch = "PATCH Patient/a\nContent-Type: application/json-patch+json";
    let site = serving(&[("meta_on_update", "merge")]);
    site.table(&[
        ("PUT Patient/a", &tagged(&["x"]), "201"),
        (
            "PUT Patient/a",
            &tagged(&["y"]),
            "200 ; /meta/tag/0/code = y ; /meta/tag/1/code = x ; /meta/profile/1 absent",
        ),
        (
            "PUT Patient/a",
            &tagged(&["x", "y"]),
            "200 ; ETag: W/\"3\" ; /meta/tag/2 absent",
        ),
        (
            "PUT Patient/a",
            r#"{"resourceType":"Patient","id":"a"}"#,
            "200 ; /meta/tag/1/code = y",
        ),
        (
            "GET Patient?_tag=urn:t|x&_summary=count",
            "",
            "200 ; /total = 1",
        ),
        (
            patch,
            r#"[{"op":"remove","path":"/meta/tag/0"}]"#,
            "200 ; /meta/tag/0/code = y ; /meta/tag/1 absent",
        ),
        (
            "GET Patient?_tag=urn:t|x&_summary=count",
            "",
            "200 ; /total = 0",
        ),
    ])
    .await;
}

#[tokio::test]
async fn references_must_lead_somewhere() {
    let site = serving(&[("reference_integrity", "write")]);
    let base = site.base();
    let contained = r##"{"resourceType":"Observation","id":"c","status":"final","code":{"text":"x"},"contained":[{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"Organization/none"}}],"subject":{"reference":"#p"}}"##;
    let extended = r#"{"resourceType":"Basic","code":{"text":"x"},"extension":[{"url":"urn:x","valueReference":{"reference":"Patient/none"}}]}"#;
    let document = r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:a","resource":{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"Patient/none"}}}]}"#;
    site.table(&[
        (
            "PUT Observation/o",
            &of_patient("o", "Patient/a"),
            "422 ; /issue/0/code = business-rule ; /issue/0/expression/0 = Observation.subject",
        ),
        ("POST Observation", &of_patient("o", "Patient/a"), "422"),
        ("POST Observation", &of_patient("o", "Nosuch/a"), "422"),
        (
            "POST Observation",
            &of_patient("o", &format!("{base}/Patient/a")),
            "422",
        ),
        (
            "POST Observation",
            &of_patient("o", "Patient/a/_history/1"),
            "422",
        ),
        (
            "POST Observation",
            &of_patient("o", "http://elsewhere.example.org/fhir/Patient/a"),
            "201",
        ),
        (
            "POST Observation",
            contained,
            "422 ; /issue/0/expression/0 = Observation.contained[0].managingOrganization",
        ),
        (
            "POST Basic",
            extended,
            "422 ; /issue/0/expression/0 = Basic.extension[0].valueReference",
        ),
        ("POST Bundle", document, "201"),
        ("PUT Patient/a", &body(PATIENT, "a"), "201"),
        ("PUT Observation/o", &of_patient("o", "Patient/a"), "201"),
        (
            "POST Observation",
            &of_patient("o", &format!("{base}/Patient/a")),
            "201",
        ),
        (
            "PATCH Observation/o\nContent-Type: application/json-patch+json",
            r#"[{"op":"replace","path":"/subject/reference","value":"Patient/b"}]"#,
            "422",
        ),
        // What is written together leads to each other; what is deleted together is gone.
        (
            "POST ",
            &bundle(&[
                ("PUT", "Observation/q", &of_patient("q", "Patient/q")),
                ("PUT", "Patient/q", &body(PATIENT, "q")),
            ]),
            "200",
        ),
        (
            "POST ",
            &bundle(&[
                ("PUT", "Observation/r", &of_patient("r", "Patient/r")),
                (
                    "POST",
                    "Basic",
                    r#"{"resourceType":"Basic","code":{"text":"x"}}"#,
                ),
            ]),
            "422 ; /issue/0/expression/0 = Bundle.entry[0].resource.subject",
        ),
        (
            "POST ",
            &bundle(&[
                ("PUT", "Observation/q", &of_patient("q", "Patient/a")),
                ("DELETE", "Patient/a", ""),
            ]),
            "422",
        ),
        (
            "POST ",
            &bundle(&[("POST", "Observation", &of_patient("s", "Patient?_id=a"))]),
            "200",
        ),
        // Deletions are free.
        ("DELETE Patient/a", "", "204"),
        ("POST Observation", &of_patient("o", "Patient/a"), "422"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_referred_to_stays() {
    let site = serving(&[
        ("reference_integrity", "both"),
        ("conditional_delete", "multiple"),
    ]);
    let of_itself = r#"{"resourceType":"Patient","id":"self","link":[{"other":{"reference":"Patient/self"},"type":"seealso"}]}"#;
    site.table(&[
        ("GET metadata", "", "200 ; ~enforced"),
        ("PUT Patient/a", &body(PATIENT, "a"), "201"),
        ("PUT Patient/b", &body(PATIENT, "b"), "201"),
        ("PUT Observation/o", &of_patient("o", "Patient/a"), "201"),
        (
            "DELETE Patient/a",
            "",
            "409 ; /issue/0/code = conflict ; ~Observation/o refers to Patient/a",
        ),
        ("DELETE Patient?_id=a", "", "409"),
        ("DELETE Patient?_id=a,b", "", "409"),
        ("GET Patient/b", "", "200"),
        (
            "POST ",
            &bundle(&[("DELETE", "Patient/a", "")]),
            "409 ; /issue/0/expression/0 = Bundle.entry[0]",
        ),
        // Together, or once it is not referred to any more.
        (
            "POST ",
            &bundle(&[("DELETE", "Patient/a", ""), ("DELETE", "Observation/o", "")]),
            "200",
        ),
        ("PUT Patient/a", &body(PATIENT, "a"), "201"),
        ("PUT Observation/o", &of_patient("o", "Patient/a"), "201"),
        (
            "POST ",
            &bundle(&[
                ("DELETE", "Patient/a", ""),
                ("PUT", "Observation/o", &of_patient("o", "Patient/b")),
            ]),
            "200",
        ),
        ("DELETE Patient/b", "", "409"),
        ("DELETE Observation/o", "", "204"),
        ("DELETE Patient/b", "", "204"),
        ("PUT Patient/self", of_itself, "201"),
        ("DELETE Patient/self", "", "204"),
    ])
    .await;
}

/// Who refers and who deletes at one time: never is something referred to that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_refers_to_what_is_deleted_meanwhile() {
    let site = serving(&[("reference_integrity", "both")]);
    for round in 0..25 {
        let id = format!("r{round}");
        site.check(&format!("PUT Patient/{id}"), &body(PATIENT, &id), "201")
            .await;
        let mut clients = JoinSet::new();
        for number in 0..6 {
            let (site, id) = (site.clone(), id.clone());
            clients.spawn(async move {
                let own = format!("{id}-{number}");
                let reference = of_patient(&own, &format!("Patient/{id}"));
                let answer = match number {
                    0 | 1 => site.send(&format!("DELETE Patient/{id}"), "").await,
                    2 => site.send("POST Observation", &reference).await,
                    4 => {
                        let reference = of_patient(&own, &format!("Patient?_id={id}"));
                        let entry = ("PUT", format!("Observation/{own}"));
                        let entries = [(entry.0, entry.1.as_str(), reference.as_str())];
                        site.send("POST ", &bundle(&entries)).await
                    }
                    3 => {
                        site.send(
                            "POST ",
                            &bundle(&[("PUT", &format!("Observation/{own}"), &reference)]),
                        )
                        .await
                    }
                    _ => {
                        site.send(&format!("PUT Observation/{own}"), &reference)
                            .await
                    }
                };
                assert!(
                    [200, 201, 204, 404, 409, 422].contains(&answer.status),
                    "{answer:?}"
                );
            });
        }
        clients.join_all().await;
        let patient = site.send(&format!("GET Patient/{id}"), "").await.status;
        let found = site
            .check(
                &format!("GET Observation?subject=Patient/{id}&_summary=count"),
                "",
                "200",
            )
            .await;
        let referring = found.json()["total"].as_u64().unwrap();
        assert_eq!(
            patient == 410,
            referring == 0,
            "{patient}, {referring} refer to it"
        );
    }
}

#[tokio::test]
async fn versions_in_references() {
    let with = |text: &str| {
        let extension = r#","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/resolve-as-version-specific","valueBoolean":true}]"#;
        format!(
            r#"{{"resourceType":"Basic","id":"v","code":{{"text":"x"}},"subject":{{"reference":"{text}"}},"extension":[{{"url":"urn:x","valueReference":{{"reference":"{text}"{extension}}}}}]}}"#
        )
    };
    for (setting, expect) in [("keep", "Patient/a/_history/1"), ("strip", "Patient/a")] {
        let site = serving(&[("versioned_references", setting)]);
        let base = site.base();
        let kept = "/extension/0/valueReference/reference = Patient/a/_history/1";
        site.table(&[
            ("PUT Patient/a", &body(PATIENT, "a"), "201"),
            (
                "PUT Basic/v",
                &with("Patient/a/_history/1"),
                &format!("201 ; /subject/reference = {expect} ; {kept}"),
            ),
            (
                "PUT Basic/v",
                &with("http://elsewhere.example.org/Patient/a/_history/1"),
                "200 ; /subject/reference = http://elsewhere.example.org/Patient/a/_history/1",
            ),
            (
                "PUT Basic/v",
                &with(&format!("{base}/Patient/a/_history/1")),
                &format!("200 ; /subject/reference = {base}/{expect}"),
            ),
            (
                "GET Basic?subject=Patient/a&_summary=count",
                "",
                "200 ; /total = 1",
            ),
        ])
        .await;
    }
}

#[tokio::test]
async fn conditional_deletes() {
    let tagged = |id: &str| {
        body(
            r#"{"resourceType":"Basic","code":{"text":"x"},"identifier":[{"system":"urn:d","value":"1"}]}"#,
            id,
        )
    };
    let site = serving(&[("conditional_delete", "none")]);
    site.table(&[
        (
            "GET metadata",
            "",
            "200 ; ~\"conditionalDelete\":\"not-supported\"",
        ),
        ("PUT Basic/a", &tagged("a"), "201"),
        (
            "DELETE Basic?identifier=urn:d|1",
            "",
            "405 ; Allow: POST, GET, PUT, PATCH, HEAD, OPTIONS",
        ),
        ("DELETE Basic/a", "", "204"),
    ])
    .await;
    let site = serving(&[
        ("conditional_delete", "multiple"),
        ("conditional_delete_max", "3"),
    ]);
    let all = "DELETE Basic?identifier=urn:d|1";
    site.table(&[
        (
            "GET metadata",
            "",
            "200 ; ~\"conditionalDelete\":\"multiple\"",
        ),
        (all, "", "204"),
        ("PUT Basic/a", &tagged("a"), "201"),
        (all, "", "204 ; ETag: W/\"2\""),
        ("PUT Basic/a", &tagged("a"), "201"),
        ("PUT Basic/b", &tagged("b"), "201"),
        ("PUT Basic/c", &tagged("c"), "201"),
        ("PUT Basic/d", &tagged("d"), "201"),
        (all, "", "422 ; /issue/0/code = too-costly"),
        (
            "GET Basic?identifier=urn:d|1&_summary=count",
            "",
            "200 ; /total = 4",
        ),
        ("DELETE Basic?", "", "400"),
        ("DELETE Basic/d", "", "204"),
        (
            &format!("{all}\nPrefer: return=OperationOutcome"),
            "",
            "200 ; ~3 resources deleted",
        ),
        (
            "GET Basic?identifier=urn:d|1&_summary=count",
            "",
            "200 ; /total = 0",
        ),
        ("GET Basic/b", "", "410"),
        // Not by token, and in a transaction; who is deleted is not matched by another entry.
        ("PUT Basic/a", &tagged("a"), "201"),
        ("PUT Basic/b", &tagged("b"), "201"),
        (
            "DELETE Basic?identifier=urn:d|1&_lastUpdated=gt2020",
            "",
            "204",
        ),
        ("PUT Basic/a", &tagged("a"), "201"),
        ("PUT Basic/b", &tagged("b"), "201"),
        (
            "POST ",
            &bundle(&[
                ("DELETE", "Basic?identifier=urn:d|1", ""),
                ("DELETE", "Basic/b", ""),
            ]),
            "400",
        ),
        (
            "POST ",
            &bundle(&[
                ("DELETE", "Basic?identifier=urn:d|1", ""),
                ("PUT", "Patient/p", &body(PATIENT, "p")),
            ]),
            "200 ; /entry/0/response/status = 204 No Content",
        ),
        ("GET Basic/a", "", "410"),
        ("GET Basic/b", "", "410"),
        // A condition on the version holds for each.
        ("PUT Basic/e", &tagged("e"), "201"),
        ("PUT Basic/a", &tagged("a"), "201"),
        (&format!("{all}\nIf-Match: W/\"1\""), "", "412"),
        ("GET Basic/e", "", "200"),
    ])
    .await;
}

/// What was acknowledged before a conditional delete began is gone when it is done, whatever is written meanwhile; and it is gone once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_delete_leaves_nothing_that_was_there() {
    let site = serving(&[("conditional_delete", "multiple")]);
    let body = r#"{"resourceType":"Basic","code":{"text":"x"},"identifier":[{"system":"urn:d","value":"race"}]}"#;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (site, acknowledged) = (site.clone(), acknowledged.clone());
        clients.spawn(async move {
            for _ in 0..20 {
                if client < 4 {
                    let id = id_of(&site.check("POST Basic", body, "201").await);
                    acknowledged.lock().unwrap().push(id);
                    continue;
                }
                let before: Vec<String> = acknowledged.lock().unwrap().clone();
                site.check("DELETE Basic?identifier=urn:d|race", "", "204")
                    .await;
                for id in before {
                    site.check(&format!("GET Basic/{id}"), "", "410 ; ETag: W/\"2\"")
                        .await;
                }
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test]
async fn histories_that_are_deleted() {
    let patient =
        |active: bool| format!(r#"{{"resourceType":"Patient","id":"gone-1","active":{active}}}"#);
    let site = shared();
    site.table(&[
        ("PUT Patient/gone-1", &patient(true), "201"),
        (
            "DELETE Patient/gone-1/_history",
            "",
            "405 ; Allow: GET, HEAD, OPTIONS",
        ),
        ("DELETE Patient/gone-1/_history/1", "", "405"),
    ])
    .await;
    let site = serving(&[("history_deletion", "true")]);
    site.table(&[
        ("OPTIONS Patient/gone-1/_history", "", "204"),
        ("GET metadata", "", "200 ; ~removes older versions for good"),
        ("DELETE Patient/gone-1/_history", "", "204"),
        ("DELETE Patient/gone-1/_history/1", "", "204"),
        ("PUT Patient/gone-1", &patient(true), "201"),
        ("DELETE Patient/gone-1/_history", "", "204"),
        ("DELETE Patient/gone-1/_history/1", "", "409"),
        ("PUT Patient/gone-1", &patient(false), "200"),
        ("PUT Patient/gone-1", &patient(true), "200"),
        ("DELETE Patient/gone-1", "", "204"),
        ("PUT Patient/gone-1", &patient(false), "201 ; ETag: W/\"5\""),
        ("DELETE Patient/gone-1/_history/2", "", "204"),
        ("DELETE Patient/gone-1/_history/2", "", "204"),
        ("DELETE Patient/gone-1/_history/x", "", "204"),
        ("DELETE Patient/gone-1/_history/9?x=1", "", "400"),
        ("GET Patient/gone-1/_history/2", "", "404"),
        ("GET Patient/gone-1/_history/1", "", "200 ; /active = true"),
        ("GET Patient/gone-1/_history", "", "200 ; /total = 4 ; /entry/0/response/etag = W/\"5\" ; /entry/2/response/etag = W/\"3\" ; /entry/3/response/etag = W/\"1\""),
        ("DELETE Patient/gone-1/_history/5", "", "409 ; /issue/0/code = conflict"),
        ("DELETE Patient/gone-1/_history", "", "204"),
        ("GET Patient/gone-1/_history", "", "200 ; /total = 1 ; /entry/0/response/etag = W/\"5\""),
        ("GET Patient/gone-1/_history/1", "", "404"),
        ("GET Patient/gone-1", "", "200 ; /active = false"),
        ("PUT Patient/gone-1", &patient(true), "200 ; ETag: W/\"6\""),
        // The placeholder of a deletion stays, too.
        ("DELETE Patient/gone-1", "", "204"),
        ("DELETE Patient/gone-1/_history", "", "204"),
        ("GET Patient/gone-1", "", "410"),
        ("GET Patient/gone-1/_history/7", "", "410"),
        ("GET Patient/gone-1/_history/6", "", "404"),
        ("GET Patient/gone-1/_history", "", "200 ; /total = 1 ; /entry/0/request/method = DELETE"),
        ("DELETE Patient/gone-1/_history/7", "", "409"),
        ("PUT Patient/gone-1", &patient(true), "201 ; ETag: W/\"8\""),
        ("POST ", &bundle(&[("DELETE", "Patient/gone-1/_history", "")]), "400 ; /issue/0/expression/0 = Bundle.entry[0].request.url"),
        ("GET _history", "", "200"),
    ])
    .await;
}
