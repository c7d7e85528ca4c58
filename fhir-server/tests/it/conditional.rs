//! Conditional create, update and delete: exact, and never wider than what was asked.

use crate::site::{self, id_of, shared};

fn patient(identifier: &str, extra: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:c","value":"{identifier}"}}]{extra}}}"#
    )
}

#[tokio::test]
async fn create() {
    let site = shared();
    let first = site
        .check(
            "POST Patient\nIf-None-Exist: identifier=urn:c|create-1",
            &patient("create-1", ""),
            "201 ; ETag: W/\"1\"",
        )
        .await;
    let id = id_of(&first);
    for condition in [
        "identifier=urn:c|create-1",
        "identifier=urn%3Ac%7Ccreate-1",
        "?identifier=urn:c|create-1",
        "Patient?identifier=urn:c|create-1",
        "identifier%3Durn%3Ac%7Ccreate-1",
    ] {
        let found = site
            .check(
                &format!("POST Patient\nIf-None-Exist: {condition}"),
                &patient("create-1", ""),
                "200 ; ETag: W/\"1\"",
            )
            .await;
        assert_eq!(id_of(&found), id, "{condition}");
    }
    site.table(&[
        ("POST Patient", &patient("create-2", ""), "201"),
        ("POST Patient", &patient("create-2", ""), "201"),
        (
            "POST Patient\nIf-None-Exist: identifier=urn:c|create-2",
            &patient("create-2", ""),
            "412 ; /issue/0/code = multiple-matches",
        ),
        (
            "POST Patient\nIf-None-Exist: nonsense=1",
            &patient("create-3", ""),
            "400",
        ),
        (
            "POST Patient\nIf-None-Exist: nonsense=1\nPrefer: handling=lenient",
            &patient("create-3", ""),
            "400",
        ),
        (
            "POST Patient\nIf-None-Exist: identifier=",
            &patient("create-3", ""),
            "400",
        ),
        (
            "POST Patient\nIf-None-Exist: ",
            &patient("create-3", ""),
            "400",
        ),
        (
            "POST Patient\nIf-None-Exist: Observation?code=1",
            &patient("create-3", ""),
            "400",
        ),
        (
            "POST Patient\nIf-None-Exist: identifier=%zz",
            &patient("create-3", ""),
            "400",
        ),
        (
            "GET Patient?identifier=urn:c|create-3",
            "",
            "200 ; /total = 0",
        ),
    ])
    .await;
}

#[tokio::test]
async fn create_by_criteria_in_the_url() {
    let site = shared();
    let post = "POST Patient?identifier=urn:c|url-1";
    let first = site.check(post, &patient("url-1", ""), "201").await;
    let again = site.check(post, &patient("url-1", ""), "200").await;
    assert_eq!(id_of(&first), id_of(&again));
    site.table(&[
        (
            &format!("{post}\nIf-None-Exist: identifier=urn:c|url-1"),
            &patient("url-1", ""),
            "400",
        ),
        (
            "POST Patient?nonsense=1\nPrefer: handling=lenient",
            &patient("url-2", ""),
            "400",
        ),
        (
            "GET Patient?identifier=urn:c|url-1,urn:c|url-2",
            "",
            "200 ; /total = 1",
        ),
    ])
    .await;
}

#[tokio::test]
async fn update() {
    let site = shared();
    let query = |identifier: &str| format!("PUT Patient?identifier=urn:c|{identifier}");
    let created = site
        .check(&query("update-1"), &patient("update-1", ""), "201")
        .await;
    let id = id_of(&created);
    let updated = site
        .check(
            &query("update-1"),
            &patient("update-1", r#","active":true"#),
            "200 ; ETag: W/\"2\"",
        )
        .await;
    assert_eq!(id_of(&updated), id);
    site.table(&[
        (
            &query("update-1"),
            &patient("update-1", &format!(r#","active":false,"id":"{id}""#)),
            "200 ; ETag: W/\"3\"",
        ),
        (
            &query("update-1"),
            &patient("update-1", r#","id":"another""#),
            "400",
        ),
        (
            &query("update-2"),
            &patient("update-2", r#","id":"update-2""#),
            "201 ; Location: /Patient/update-2/_history/1",
        ),
        (
            &query("update-none"),
            &patient("update-3", r#","id":"update-2""#),
            "409",
        ),
        ("POST Patient", &patient("update-4", ""), "201"),
        ("POST Patient", &patient("update-4", ""), "201"),
        (&query("update-4"), &patient("update-4", ""), "412"),
        ("PUT Patient?foo=bar", &patient("x", ""), "400"),
        ("PUT Patient?identifier=", &patient("x", ""), "400"),
    ])
    .await;
}

#[tokio::test]
async fn delete() {
    let site = shared();
    site.table(&[
        (
            "PUT Patient/delete-1",
            &patient("delete-1", r#","id":"delete-1""#),
            "201",
        ),
        ("DELETE Patient?identifier=urn:c|delete-1", "", "204"),
        ("GET Patient/delete-1", "", "410"),
        ("DELETE Patient?identifier=urn:c|delete-1", "", "204"),
        ("POST Patient", &patient("delete-2", ""), "201"),
        ("POST Patient", &patient("delete-2", ""), "201"),
        ("DELETE Patient?identifier=urn:c|delete-2", "", "412"),
        (
            "GET Patient?identifier=urn:c|delete-2",
            "",
            "200 ; /total = 2",
        ),
        ("DELETE Patient", "", "400"),
        ("DELETE Patient?foo=bar", "", "400"),
        ("DELETE Patient?identifier=", "", "400"),
        ("DELETE Patient?_count=5", "", "400"),
    ])
    .await;
}

/// What a conditional create sent is not there when it found what it asked for: other entries must see what was found.
#[tokio::test]
async fn what_was_found_counts_not_what_was_sent() {
    let site = shared();
    let id = id_of(
        &site
            .check("POST Patient", &patient("found-1", ""), "201")
            .await,
    );
    let once = |sent: &str, condition: &str| {
        format!(
            r#"{{"resource":{},"request":{{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:c|{condition}"}}}}"#,
            patient(sent, "")
        )
    };
    let transaction = |first: String, second: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{first},{second}]}}"#)
    };
    let observation = r#"{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},
        "subject":{"reference":"Patient?identifier=urn:c|found-1"}},"request":{"method":"POST","url":"Observation"}}"#;
    site.table(&[
        (
            "POST ",
            &transaction(once("found-2", "found-1"), observation),
            "200 ; /entry/0/response/status = 200 OK ; /entry/1/response/status = 201 Created",
        ),
        (
            &format!("GET Observation?subject=Patient/{id}"),
            "",
            "200 ; /total = 1",
        ),
        (
            "POST ",
            &transaction(once("found-2", "found-1"), &once("found-2", "found-2")),
            "200 ; /entry/0/response/status = 200 OK ; /entry/1/response/status = 201 Created",
        ),
        // Under one condition twice: nothing is changed where one is there, and one of two would be too many where none is.
        (
            "POST ",
            &transaction(once("found-1", "found-1"), &once("found-1", "found-1")),
            "200 ; /entry/0/response/status = 200 OK ; /entry/1/response/status = 200 OK",
        ),
        (
            "POST ",
            &transaction(once("found-3", "found-3"), &once("found-3", "found-3")),
            "400 ; /issue/0/code = duplicate ; /issue/0/expression/0 = Bundle.entry[1]",
        ),
        (
            "POST ",
            &transaction(once("found-4", "found-3"), &once("found-5", "found-3")),
            "400 ; /issue/0/code = duplicate ; /issue/0/expression/0 = Bundle.entry[1]",
        ),
    ])
    .await;
}

/// Deletions come before creates, whether by id or by condition, and however many there are.
#[tokio::test]
async fn a_conditional_create_does_not_find_what_is_deleted_with_it() {
    let site = shared();
    let create = |value: &str| {
        format!(
            r#"{{"resource":{},"request":{{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:c|{value}"}}}}"#,
            patient(value, "")
        )
    };
    let delete = |url: &str| format!(r#"{{"request":{{"method":"DELETE","url":"{url}"}}}}"#);
    let transaction = |entries: &[String]| {
        let entries = entries.join(",");
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
    };
    let tagged = r#","meta":{"tag":[{"system":"urn:c","code":"going"}]}"#;
    site.check("POST Patient", &patient("gone-1", tagged), "201")
        .await;
    let entries = [create("gone-1"), delete("Patient?_tag=urn:c|going")];
    site.check(
        "POST ",
        &transaction(&entries),
        "200 ; /entry/0/response/status = 201 Created ; /entry/1/response/status = 204 No Content",
    )
    .await;
    let mut entries = vec![create("gone-2")];
    for number in 0..5 {
        let body = patient("gone-2", "");
        let id = id_of(&site.check("POST Patient", &body, "201").await);
        if number < 4 {
            entries.push(delete(&format!("Patient/{id}")));
        }
    }
    site.table(&[
        (
            "POST ",
            &transaction(&entries),
            "200 ; /entry/0/response/status = 200 OK",
        ),
        (
            "GET Patient?identifier=urn:c|gone-2",
            "",
            "200 ; /total = 1",
        ),
    ])
    .await;
}

#[tokio::test]
async fn many_at_once_make_one() {
    let site = site::for_crowds();
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient","identifier":[{"system":"urn:c","value":"race"}]},
        "request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:c|race"}}]}"#;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let site = site.clone();
        tasks.spawn(async move {
            match number % 2 {
                0 => {
                    site.send(
                        "POST Patient\nIf-None-Exist: identifier=urn:c|race",
                        &patient("race", ""),
                    )
                    .await
                }
                _ => site.send("POST ", bundle).await,
            }
        });
    }
    let mut created = 0;
    while let Some(answer) = tasks.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.status < 300, "{answer:?}");
        created += usize::from(answer.status == 201 || answer.text.contains("201 Created"));
    }
    assert_eq!(created, 1);
    site.check("GET Patient?identifier=urn:c|race", "", "200 ; /total = 1")
        .await;
}

#[tokio::test]
async fn concurrent_updates_with_one_if_match_have_one_winner() {
    let site = shared();
    site.check(
        "PUT Basic/winner",
        r#"{"resourceType":"Basic","id":"winner","code":{"text":"0"}}"#,
        "201",
    )
    .await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=30 {
        let site = site.clone();
        tasks.spawn(async move {
            let body =
                format!(r#"{{"resourceType":"Basic","id":"winner","code":{{"text":"{number}"}}}}"#);
            site.send("PUT Basic/winner\nIf-Match: W/\"1\"", &body)
                .await
                .status
        });
    }
    let mut statuses = Vec::new();
    while let Some(status) = tasks.join_next().await {
        statuses.push(status.unwrap());
    }
    statuses.sort();
    assert_eq!(statuses[0], 200);
    assert!(
        statuses[1..].iter().all(|status| *status == 412),
        "{statuses:?}"
    );
}

/// A value set that a client stored counts wherever a search does: in conditions of writes, in transactions, in graphs.
#[tokio::test]
async fn stored_terminology() {
    let site = shared();
    let set = r#"{"resourceType":"ValueSet","id":"st-set","url":"http://st/set","status":"active","compose":{"include":[{"system":"urn:st","concept":[{"code":"a"}]}]}}"#;
    let basic = |id: &str, code: &str, more: &str| {
        format!(
            r#"{{"resourceType":"Basic","id":"{id}","code":{{"coding":[{{"system":"urn:st","code":"{code}"}}]}}{more}}}"#
        )
    };
    let entry = |method: &str, url: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"request":{{"method":"{method}","url":"{url}"}}}}]}}"#
        )
    };
    let graph = r#"{"resourceType":"GraphDefinition","id":"st","url":"http://st/graph","status":"active","name":"G","start":"p","node":[{"nodeId":"p","type":"Patient"},{"nodeId":"b","type":"Basic"}],
        "link":[{"sourceId":"p","params":"subject={ref}&code:in=http://st/set","targetId":"b"}]}"#;
    let subject = r#","subject":{"reference":"Patient/st-p"}"#;
    site.table(&[
        ("PUT ValueSet/st-set", set, "201"),
        ("PUT GraphDefinition/st", graph, "201"),
        ("PUT Patient/st-p", r#"{"resourceType":"Patient","id":"st-p"}"#, "201"),
        ("PUT Basic/st-1", &basic("st-1", "a", subject), "201"),
        ("PUT Basic/st-2", &basic("st-2", "b", subject), "201"),
        (
            "POST Basic\nIf-None-Exist: code:in=http://st/set",
            &basic("x", "a", ""),
            "200",
        ),
        (
            "PUT Basic?code:in=ValueSet/st-set",
            &basic("st-1", "a", &format!(r#"{subject},"created":"2026-01-01""#)),
            "200 ; /id = st-1",
        ),
        (
            "GET Patient/st-p/$graph?graph=http://st/graph",
            "",
            "200 ; ~/Basic/st-1\" ; /entry/2 absent",
        ),
        (
            "POST $fhirpath",
            r#"{"resourceType":"Parameters","parameter":[{"name":"expression","valueString":"'a'.memberOf('http://st/set') | code.memberOf('http://st/set')"},{"name":"resource","resource":{"resourceType":"Basic","code":{"coding":[{"system":"urn:st","code":"a"}]}}}]}"#,
            "200 ; /parameter/0/valueBoolean = true",
        ),
        (
            "POST ",
            &entry("DELETE", "Basic?code:in=http://st/set"),
            "200 ; /entry/0/response/status = \"204 No Content\"",
        ),
        ("GET Basic/st-1", "", "410"),
        ("GET Basic/st-2", "", "200"),
        ("DELETE Basic?code:in=http://st/unknown", "", "400 ; ~is not known here"),
    ])
    .await;
}
