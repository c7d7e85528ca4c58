//! create, read, vread, update, delete, instance history, OPTIONS, formats.

use crate::site::{id_of, shared};

const JSON: &str = "Content-Type: application/fhir+json; charset=utf-8";

#[tokio::test]
async fn create_and_read() {
    let site = shared();
    let body = r#"{"resourceType":"Patient","id":"mine","meta":{"versionId":"99","lastUpdated":"1990-01-01T00:00:00Z","tag":[{"code":"t"}]},
        "name":[{"family":"Müller","given":["José","😀"]}],"multipleBirthInteger":2,"extension":[{"url":"http://x","valueDecimal":1.50}],
        "_birthDate":{"extension":[{"url":"http://y","valueString":"unknown"}]}}"#;
    let created = site
        .check("POST Patient", body, &format!("201 ; {JSON} ; ETag: W/\"1\" ; Last-Modified: GMT ; Location: /_history/1 ; /meta/versionId = \"1\""))
        .await;
    let id = id_of(&created);
    assert_ne!(id, "mine", "the client's id is ignored");
    assert!(created.header("location").starts_with(&site.base()));
    assert_eq!(created.json()["id"], id.as_str());
    assert!(!created.text.contains("1990"));
    let read = site
        .check(&format!("GET Patient/{id}"), "", &format!("200 ; {JSON} ; ETag: W/\"1\" ; /name/0/family = Müller ; /name/0/given/1 = 😀 ; ~1.50 ; /_birthDate/extension/0/url = http://y ; /meta/tag/0/code = t"))
        .await;
    assert_eq!(read.json(), created.json());
    let head = site
        .check(
            &format!("HEAD Patient/{id}"),
            "",
            "200 ; ETag: W/\"1\" ; Last-Modified: GMT ; empty",
        )
        .await;
    assert_eq!(head.header("last-modified"), read.header("last-modified"));
    site.table(&[
        (
            &format!("GET Patient/{id}\nIf-None-Match: W/\"1\""),
            "",
            "304 ; ETag: W/\"1\" ; empty",
        ),
        (
            &format!("GET Patient/{id}\nIf-None-Match: \"1\""),
            "",
            "304",
        ),
        (
            &format!("GET Patient/{id}\nIf-None-Match: W/\"2\", W/\"1\""),
            "",
            "304",
        ),
        (
            &format!("GET Patient/{id}\nIf-None-Match: W/\"2\""),
            "",
            "200",
        ),
        (
            &format!(
                "GET Patient/{id}\nIf-Modified-Since: {}",
                read.header("last-modified")
            ),
            "",
            "304",
        ),
        (
            &format!("GET Patient/{id}\nIf-Modified-Since: Mon, 01 Jan 1990 00:00:00 GMT"),
            "",
            "200",
        ),
        (&format!("GET Patient/{id}/"), "", "200"),
        (&format!("GET {}/Patient/{id}", site.base()), "", "200"),
    ])
    .await;
}

#[tokio::test]
async fn read_refusals() {
    shared()
        .table(&[
            ("GET Patient/never", "", "404 ; /issue/0/code = not-found"),
            ("GET Patient/a_b", "", "400"),
            (&format!("GET Patient/{}", "x".repeat(65)), "", "400"),
            ("GET patient/1", "", "404 ; /issue/0/code = not-supported"),
            ("GET Foo/1", "", "404"),
            ("GET Foo", "", "404"),
            ("POST Foo", "{}", "404"),
            ("GET Patient/1/2/3/4", "", "404"),
            ("GET Patient/1/_history/1/2", "", "404"),
            ("GET Patient/never/_history", "", "404"),
            ("GET Patient/never/_history/1", "", "404"),
            ("GET Patient/never/_history/x", "", "404"),
            ("GET Patient/never?foo=bar", "", "400"),
            (
                "GET Patient/never?foo=bar\nPrefer: handling=lenient",
                "",
                "404",
            ),
            ("GET Patient/$nothing", "", "404"),
            ("GET _nothing", "", "404"),
            ("GET DomainResource/1", "", "404"),
        ])
        .await;
}

#[tokio::test]
async fn update_delete_and_versions() {
    let site = shared();
    let body = |text: &str| {
        format!(r#"{{"resourceType":"Basic","id":"versions","code":{{"text":"{text}"}}}}"#)
    };
    site.table(&[
        ("PUT Basic/versions", &body("a"), "201 ; ETag: W/\"1\" ; Location: /fhir/Basic/versions/_history/1"),
        ("PUT Basic/versions", &body("a"), "200 ; ETag: W/\"1\""),
        ("PUT Basic/versions", &body("b"), "200 ; ETag: W/\"2\" ; /code/text = b"),
        ("PUT Basic/versions\nIf-Match: W/\"1\"", &body("c"), "412 ; /issue/0/code = conflict"),
        ("PUT Basic/versions\nIf-Match: W/\"2\"", &body("c"), "200 ; ETag: W/\"3\""),
        ("PUT Basic/versions\nIf-Match: x", &body("c"), "400"),
        ("PUT Basic/versions\nIf-None-Match: *", &body("d"), "412"),
        ("PUT Basic/versions\nIf-None-Match: W/\"3\"", &body("d"), "400"),
        ("PUT Basic/versions\nIf-None-Match: *\nIf-Match: W/\"3\"", &body("d"), "400"),
        ("GET Basic/versions/_history/1", "", "200 ; /code/text = a ; /meta/versionId = \"1\" ; ETag: W/\"1\""),
        ("GET Basic/versions/_history/9", "", "404"),
        ("DELETE Basic/versions\nIf-Match: W/\"1\"", "", "412"),
        ("DELETE Basic/versions", "", "204 ; ETag: W/\"4\" ; empty"),
        ("DELETE Basic/versions", "", "204"),
        ("DELETE Basic/never-was", "", "204"),
        ("GET Basic/versions", "", "410 ; /issue/0/code = deleted ; ETag: W/\"4\""),
        ("HEAD Basic/versions", "", "410 ; empty"),
        ("GET Basic/versions/_history/4", "", "410"),
        ("GET Basic/versions/_history/2", "", "200 ; /code/text = b"),
        ("PUT Basic/versions\nIf-None-Match: *", &body("e"), "201 ; ETag: W/\"5\""),
        ("GET Basic/versions/_history", "", "200 ; /type = history ; /total = 5 ; /entry/0/resource/code/text = e ; /entry/0/response/status = 201 Created ; /entry/0/response/etag = W/\"5\" ; /entry/1/request/method = DELETE ; /entry/1/resource absent ; /entry/4/response/status = 201 Created ; /entry/4/resource/code/text = a"),
        ("GET Basic/versions/_history?_count=1", "", "200 ; /entry/0/response/status = 201 Created ; /entry/1 absent"),
        ("GET Basic/versions/_history?_since=2020-01-01", "", "200 ; /total = 5"),
        ("GET Basic/versions/_history?_type=Basic", "", "400"),
        ("GET Basic/versions/_history?_count=x", "", "400"),
    ])
    .await;
    let mut url = "Basic/versions/_history?_count=2".to_string();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let page = site.check(&format!("GET {url}"), "", "200").await.json();
        for entry in page["entry"].as_array().unwrap() {
            seen.push(entry["response"]["etag"].as_str().unwrap().to_string());
        }
        url = page["link"][1]["url"].as_str().unwrap_or("").to_string();
    }
    assert_eq!(
        seen,
        ["W/\"5\"", "W/\"4\"", "W/\"3\"", "W/\"2\"", "W/\"1\""]
    );
    assert_eq!(url, "");
}

#[tokio::test]
async fn write_refusals() {
    shared()
        .table(&[
            (
                "PUT Patient/w",
                r#"{"resourceType":"Patient"}"#,
                "400 ; /issue/0/expression/0 = Patient.id",
            ),
            (
                "PUT Patient/w",
                r#"{"resourceType":"Patient","id":"v"}"#,
                "400",
            ),
            (
                "PUT Patient/w",
                r#"{"resourceType":"Patient","id":7}"#,
                "400",
            ),
            (
                "PUT Patient/w",
                r#"{"resourceType":"Basic","id":"w"}"#,
                "400",
            ),
            (
                "PUT Patient/a_b",
                r#"{"resourceType":"Patient","id":"a_b"}"#,
                "400",
            ),
            ("POST Patient", r#"{"resourceType":"Observation"}"#, "400"),
            ("POST Patient", r#"{"name":[]}"#, "400"),
            ("POST Patient", "[]", "400"),
            ("POST Patient", "\"Patient\"", "400"),
            (
                "POST Patient?nonsense=x",
                r#"{"resourceType":"Patient"}"#,
                "400",
            ),
            (
                "POST Patient",
                r#"{"resourceType":"Patient","nonsense":1}"#,
                "400 ; /issue/0/expression/0 = Patient.nonsense",
            ),
            (
                "POST Patient",
                r#"{"resourceType":"Patient","active":"yes"}"#,
                "400 ; /issue/0/expression/0 = Patient.active",
            ),
            (
                "POST Patient",
                r#"{"resourceType":"Patient","birthDate":"31.12.1990"}"#,
                "400 ; /issue/0/expression/0 = Patient.birthDate",
            ),
            (
                "POST Patient",
                r#"{"resourceType":"Patient","gender":"m"}"#,
                "422 ; /issue/0/expression/0 = Patient.gender",
            ),
            (
                "POST Patient",
                r#"{"resourceType":"Patient","name":{"family":"x"}}"#,
                "400",
            ),
            (
                "POST Observation",
                r#"{"resourceType":"Observation"}"#,
                "422",
            ),
        ])
        .await;
}

#[tokio::test]
async fn prefer() {
    let site = shared();
    let body = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
    site.table(&[
        (
            "POST Basic\nPrefer: return=minimal",
            body,
            "201 ; Location: /fhir/Basic/ ; ETag: W/\"1\" ; empty",
        ),
        (
            "POST Basic\nPrefer: return=representation",
            body,
            "201 ; /resourceType = Basic",
        ),
        (
            "POST Basic\nPrefer: return=OperationOutcome",
            body,
            "201 ; /resourceType = OperationOutcome ; /issue/0/severity = information",
        ),
        (
            "DELETE Basic/prefer\nPrefer: return=OperationOutcome",
            "",
            "200 ; /resourceType = OperationOutcome",
        ),
        (
            "POST Basic\nPrefer: respond-sync",
            body,
            "201 ; /resourceType = Basic",
        ),
    ])
    .await;
}

#[tokio::test]
async fn formats_methods_and_ids_of_requests() {
    let site = shared();
    site.check(
        "PUT Basic/f",
        r#"{"resourceType":"Basic","id":"f","code":{"text":"x"}}"#,
        "201",
    )
    .await;
    let body = r#"{"resourceType":"Basic","code":{"text":"x"}}"#;
    site.table(&[
        (
            "GET Basic/f\nAccept: application/json",
            "",
            "200 ; Content-Type: application/json",
        ),
        ("GET Basic/f\nAccept: */*", "", &format!("200 ; {JSON}")),
        (
            "GET Basic/f\nAccept: application/fhir+json; fhirVersion=5.0",
            "",
            "200",
        ),
        (
            "GET Basic/f\nAccept: application/fhir+json; fhirVersion=3.0",
            "",
            "406",
        ),
        (
            "GET Basic/f\nAccept: text/turtle",
            "",
            "406 ; /issue/0/code = not-supported",
        ),
        ("GET Basic/f\nAccept: image/png", "", "406"),
        (
            "GET Basic/f?_format=json\nAccept: application/fhir+xml",
            "",
            "200",
        ),
        ("GET Basic/f?_format=application/fhir%2Bjson", "", "200"),
        ("GET Basic/f?_format=application/fhir+json", "", "200"),
        ("GET Basic/f?_format=ttl", "", "406"),
        ("GET Basic/f?_pretty=true", "", "200"),
        ("POST Basic\nContent-Type: text/plain", body, "415"),
        (
            "POST Basic\nContent-Type: text/turtle",
            "[] a <Basic> .",
            "415",
        ),
        ("POST Basic\nContent-Type: application/json", body, "201"),
        (
            "POST Basic\nContent-Type: application/fhir+json; charset=latin1",
            body,
            "415",
        ),
        (
            "POST Basic\nContent-Type: application/fhir+json; fhirVersion=4.0",
            body,
            "415",
        ),
        (
            "OPTIONS Basic/f",
            "",
            "204 ; Allow: GET ; Allow: PUT ; Allow: DELETE",
        ),
        ("OPTIONS Foo/f", "", "404"),
        ("PATCH metadata", "{}", "405 ; Allow: GET"),
        ("PATCH Basic/f/_history/1", "{}", "405 ; Allow: GET"),
        ("POST Basic/f", body, "405"),
        ("DELETE ", "", "405 ; Allow: POST"),
        ("PUT Basic", body, "400"),
        (
            "GET Basic/f\nX-Request-Id: abc-1",
            "",
            "200 ; X-Request-Id: abc-1",
        ),
        (
            "GET Basic/f\nX-Request-Id: has space",
            "",
            "200 ; X-Request-Id: -",
        ),
        ("GET Basic/f", "", "200 ; X-Request-Id: -"),
    ])
    .await;
}

#[tokio::test]
async fn every_resource_type_is_there() {
    let site = shared();
    let statement = site
        .check("GET metadata", "", "200 ; /resourceType = CapabilityStatement ; /fhirVersion = 5.0.0 ; /kind = instance ; /rest/0/mode = server ; ETag: W/")
        .await;
    let etag = statement.header("etag").to_string();
    site.check(&format!("GET metadata\nIf-None-Match: {etag}"), "", "304")
        .await;
    site.check("GET metadata?mode=full", "", "200").await;
    let statement = statement.json();
    assert_eq!(statement["implementation"]["url"], site.base().as_str());
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    assert_eq!(resources.len(), 157);
    for resource in resources {
        let resource_type = resource["type"].as_str().unwrap();
        let codes: Vec<&str> = resource["interaction"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["code"].as_str().unwrap())
            .collect();
        assert_eq!(
            codes,
            [
                "create",
                "search-type",
                "history-type",
                "read",
                "update",
                "patch",
                "delete",
                "history-instance",
                "vread"
            ]
        );
        site.check(&format!("GET {resource_type}/none"), "", "404")
            .await;
    }
    let patient = resources
        .iter()
        .find(|resource| resource["type"] == "Patient")
        .unwrap();
    let names: Vec<&str> = patient["searchParam"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    for name in [
        "_id",
        "_lastUpdated",
        "birthdate",
        "family",
        "general-practitioner",
        "identifier",
        "name",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let includes = patient["searchRevInclude"].as_array().unwrap();
    assert!(
        includes
            .iter()
            .any(|include| include == "Observation:subject")
    );
}

#[tokio::test]
async fn health_and_metrics() {
    let site = shared();
    let get = async |path: &str| site.send(&format!("GET {}{path}", site.origin), "").await;
    assert_eq!(get("/health/live").await.status, 200);
    assert_eq!(get("/health/ready").await.status, 200);
    site.check("GET Patient/none", "", "404").await;
    let metrics = get("/metrics").await.text;
    for line in [
        "fhir_requests_total{interaction=\"read\",status=\"404\"}",
        "fhir_request_duration_seconds_bucket{interaction=\"read\"",
        "fhir_database_connections{pool=\"write\",state=\"open\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!(get("/nothing").await.status, 404);
    assert_eq!(get("/fhirx").await.status, 404);
}
