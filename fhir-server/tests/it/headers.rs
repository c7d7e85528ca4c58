//! Methods and headers that every interaction shares.

use crate::site::shared;

#[tokio::test]
async fn what_a_url_allows() {
    let site = shared();
    for (path, expect) in [
        ("", "GET, POST, HEAD, OPTIONS"),
        ("metadata", "GET, HEAD, OPTIONS"),
        ("Basic", "POST, GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("Basic/_search", "POST, OPTIONS"),
        ("Basic/1", "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("Basic/1/_history/1", "GET, HEAD, OPTIONS"),
    ] {
        // A method may be allowed later: those that are there must be told.
        let mut wanted = expect.split(", ");
        let sorted = |text: &str| {
            let mut methods: Vec<String> = text.split(", ").map(str::to_string).collect();
            methods.sort();
            methods
        };
        for method in ["OPTIONS", "TRACE"] {
            let answer = site
                .send(&format!("{method} {path}\nAccept: image/png"), "")
                .await;
            assert_eq!(
                answer.status,
                if method == "OPTIONS" { 204 } else { 405 },
                "{method} {path}"
            );
            let allow = answer.header("allow").to_string();
            assert!(
                wanted.all(|one| sorted(&allow).iter().any(|found| found == one)),
                "{path}: {allow}"
            );
        }
    }
    site.check("OPTIONS Nosuch", "", "404").await;
}

#[tokio::test]
async fn where_an_answer_stays() {
    let site = shared();
    let base = site.base();
    let at = |version: u8| format!("content-location: {base}/Basic/cl/_history/{version}");
    let basic =
        |text: &str| format!(r#"{{"resourceType":"Basic","id":"cl","code":{{"text":"{text}"}}}}"#);
    site.table(&[
        (
            "PUT Basic/cl",
            &basic("a"),
            &format!("201 ; {} ; vary: Accept", at(1)),
        ),
        ("PUT Basic/cl", &basic("b"), &format!("200 ; {}", at(2))),
        (
            "GET Basic/cl",
            "",
            &format!("200 ; {} ; vary: Accept", at(2)),
        ),
        ("GET Basic/cl?_format=xml", "", &format!("200 ; {}", at(2))),
        ("GET Basic/cl/_history/1", "", &format!("200 ; {}", at(1))),
        ("HEAD Basic/cl", "", &format!("200 ; {}", at(2))),
        (
            "GET Basic/cl\nIf-None-Match: W/\"2\"",
            "",
            &format!("304 ; empty ; {} ; etag: W/\"2\" ; vary: Accept", at(2)),
        ),
    ])
    .await;
    for (request, body) in [
        ("PUT Basic/cl\nPrefer: return=minimal", basic("c")),
        ("PUT Basic/cl\nPrefer: return=OperationOutcome", basic("d")),
        ("GET Basic/none", String::new()),
        ("GET Basic?_id=cl", String::new()),
        ("GET Basic/cl/_history", String::new()),
        ("DELETE Basic/cl", String::new()),
        ("GET Basic/cl", String::new()),
    ] {
        let answer = site.send(request, &body).await;
        assert!(
            !answer.headers.contains_key("content-location"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_version_is_sent_once() {
    let site = shared();
    let basic =
        |text: &str| format!(r#"{{"resourceType":"Basic","id":"v","code":{{"text":"{text}"}}}}"#);
    let batch = |condition: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"request":{{"method":"GET","url":"Basic/v/_history/1","ifNoneMatch":"{condition}"}}}}]}}"#
        )
    };
    let later = "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT";
    let earlier = "If-Modified-Since: Fri, 31 Dec 1999 23:59:59 GMT";
    let answered = "200 ; /code/text = a";
    site.table(&[
        ("PUT Basic/v", &basic("a"), "201"),
        ("PUT Basic/v", &basic("b"), "200"),
        (
            "GET Basic/v/_history/1\nIf-None-Match: W/\"1\"",
            "",
            "304 ; empty ; etag: W/\"1\"",
        ),
        (
            "GET Basic/v/_history/1\nIf-None-Match: W/\"2\"",
            "",
            answered,
        ),
        (
            "GET Basic/v/_history/1\nIf-None-Match: *",
            "",
            "304 ; empty",
        ),
        (
            &format!("GET Basic/v/_history/1\n{later}"),
            "",
            "304 ; empty",
        ),
        (&format!("GET Basic/v/_history/1\n{earlier}"), "", answered),
        (
            &format!("GET Basic/v/_history/1\n{later}\nIf-None-Match: W/\"9\""),
            "",
            answered,
        ),
        (
            "POST ",
            &batch("W/\\\"1\\\""),
            "200 ; /entry/0/response/status = 304 Not Modified ; /entry/0/resource absent",
        ),
        (
            "POST ",
            &batch("W/\\\"2\\\""),
            "200 ; /entry/0/response/status = 200 OK",
        ),
        ("DELETE Basic/v", "", "204"),
        ("GET Basic/v/_history/3\nIf-None-Match: W/\"3\"", "", "410"),
    ])
    .await;
}

#[tokio::test]
async fn request_ids() {
    let site = shared();
    for (sent, kept) in [
        ("abc-1.2:3_X", true),
        (&"x".repeat(65), false),
        ("a b", false),
    ] {
        let answer = site
            .send(&format!("GET Basic/none\nX-Request-Id: {sent}"), "")
            .await;
        assert_eq!(answer.header("x-request-id") == sent, kept, "{sent}");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn what_writes_answer() {
    let site = shared();
    let body = r#"{"resourceType":"Basic","id":"pr","code":{"text":"a"}}"#;
    let patch = "PATCH Basic/pr\nContent-Type: application/json-patch+json";
    let add = |text: &str| format!(r#"[{{"op":"add","path":"/code/text","value":"{text}"}}]"#);
    let outcome = "/resourceType = OperationOutcome ; /issue/0/severity = information";
    for (method, body, status, again) in [
        ("POST Basic", body.to_string(), 201, 201),
        ("PUT Basic/pr", body.to_string(), 201, 200),
        (patch, add("b"), 200, 200),
        ("DELETE Basic/pr", String::new(), 204, 204),
    ] {
        let prefer = |what: &str| format!("{method}\nPrefer: return={what}");
        let is_delete = method.starts_with("DELETE");
        site.check(&prefer("minimal"), &body, &format!("{status} ; empty"))
            .await;
        let told = if is_delete { 200 } else { again };
        site.check(
            &prefer("OperationOutcome"),
            &body,
            &format!("{told} ; {outcome}"),
        )
        .await;
        let shown = if is_delete {
            "empty"
        } else {
            "/resourceType = Basic"
        };
        site.check(
            &prefer("representation"),
            &body,
            &format!("{again} ; {shown}"),
        )
        .await;
    }
}

/// What was written is never told as refused: XML has no U+FDD0, which a string of FHIR may hold.
#[tokio::test]
async fn what_xml_cannot_hold() {
    let site = shared();
    let body = r#"{"resourceType":"Basic","id":"cx","code":{"text":"a\ufdd0"}}"#;
    site.check(
        "PUT Basic/cx\nAccept: application/fhir+xml",
        body,
        "201 ; ETag: W/\"1\" ; Content-Type: application/fhir+json ; /id = cx",
    )
    .await;
    let read = site.send("GET Basic/cx\nAccept: application/fhir+xml", "");
    assert_eq!(read.await.status, 406);
    let body = r#"{"resourceType":"Basic","id":"cx","code":{"text":"a\u000b"}}"#;
    site.check(
        "PUT Basic/cx",
        body,
        "400 ; /issue/0/expression/0 = Basic.code.text",
    )
    .await;
}

#[tokio::test]
async fn narratives_with_names_of_characters() {
    let site = shared();
    let body = r#"{"resourceType":"Basic","id":"nb","code":{"text":"x"},"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a&nbsp;&mdash;&lt;</div>"}}"#;
    site.table(&[
        ("PUT Basic/nb", body, "201"),
        ("GET Basic/nb", "", "200 ; ~a&nbsp;&mdash;&lt;<"),
        ("GET Basic/nb?_format=xml", "", "200 ; ~a&#160;&#8212;&lt;<"),
    ])
    .await;
}
