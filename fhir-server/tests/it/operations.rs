//! Operations: where they are, what a call may carry, what comes back, alone and in bundles.

use crate::site::shared;
use serde_json::json;

fn patient(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","active":true}}"#)
}

fn parameters(given: &str) -> String {
    format!(r#"{{"resourceType":"Parameters","parameter":[{given}]}}"#)
}

fn meta(meta: &str) -> String {
    parameters(&format!(r#"{{"name":"meta","valueMeta":{{{meta}}}}}"#))
}

#[tokio::test]
async fn routes() {
    let site = shared();
    site.table(&[
        ("PUT Patient/op-1", &patient("op-1"), "201"),
        ("GET Patient/op-1/$meta", "", "200 ; /resourceType = Parameters ; /parameter/0/name = return ; /parameter/0/valueMeta/versionId = \"1\""),
        ("POST Patient/op-1/$meta", "", "200 ; /parameter/0/valueMeta/versionId = \"1\""),
        ("POST Patient/op-1/$meta", &parameters("").replace(r#","parameter":[]"#, ""), "200"),
        ("HEAD Patient/op-1/$meta", "", "200 ; empty"),
        ("GET Patient/op-1/$meta?_format=xml", "", "200 ; Content-Type: application/fhir+xml ; ~<valueMeta>"),
        ("GET Patient/op-none/$meta", "", "404 ; /issue/0/code = not-found"),
        // There is none of this name, or not there, or not by this method.
        ("GET $nosuch", "", "404 ; /issue/0/code = not-supported"),
        ("GET Patient/$nosuch", "", "404"),
        ("GET Patient/op-1/$nosuch", "", "404"),
        ("GET Nosuch/$meta", "", "404"),
        ("GET Patient/op_1/$meta", "", "400"),
        ("POST Patient/$meta-add", "", "400 ; ~[base]/[type]/[id]"),
        ("POST $meta-add", "", "400"),
        ("GET Patient/op-1/$meta-add", "", "405 ; Allow: POST, OPTIONS"),
        ("PUT Patient/op-1/$meta", "", "405 ; Allow: GET, POST, HEAD, OPTIONS"),
        ("OPTIONS Patient/op-1/$meta-add", "", "204 ; Allow: POST, OPTIONS"),
        ("GET Patient/op-1/$meta/x", "", "404"),
    ])
    .await;
}

#[tokio::test]
async fn parameters_in() {
    let site = shared();
    let add = "POST Patient/op-2/$meta-add";
    site.table(&[
        ("PUT Patient/op-2", &patient("op-2"), "201"),
        ("GET Patient/op-2/$meta?color=red", "", "400 ; ~has no parameter color; it takes none"),
        ("GET Patient/op-2/$meta?color=red\nPrefer: handling=lenient", "", "200"),
        (add, "", "400 ; ~the parameter meta is missing"),
        (add, &parameters(r#"{"name":"nosuch","valueString":"x"}"#), "400 ; ~it takes meta"),
        (add, &parameters(r#"{"name":"meta","valueString":"x"}"#), "400 ; /issue/0/expression/0 = Parameters.parameter[0]"),
        (add, &parameters(r#"{"name":"meta"}"#), "400"),
        (add, &parameters(r#"{"name":"meta","valueMeta":{}},{"name":"meta","valueMeta":{}}"#), "422"),
        (add, &parameters(r#"{"name":"meta","valueMeta":{"tag":[{"code":"a"}]}},{"name":"meta","valueMeta":{"tag":[{"code":"a"}]}}"#), "400 ; ~more often"),
        (add, &meta(r#""tag":[{"code":1}]"#), "422 ; /issue/0/expression/0 = Parameters.parameter[0].value.ofType(Meta).tag[0].code"),
        (add, &meta(r#""nosuch":1"#), "422"),
        (add, &patient("op-2"), "400 ; ~must be Parameters"),
        (add, "{}", "400 ; /issue/0/expression/0 = resourceType"),
        (add, "[]", "400"),
        (add, "{", "400"),
        ("POST Patient/op-2/$meta-add?meta=x", "", "400 ; ~no primitive value"),
        ("POST Patient/op-2/$meta-add\nContent-Type: text/plain", "x", "415"),
        ("GET Patient/op-2", "", "200 ; /meta/versionId = \"1\""),
    ])
    .await;
}

#[tokio::test]
async fn meta_of_an_instance() {
    let site = shared();
    let (add, delete) = (
        "POST Patient/op-3/$meta-add",
        "POST Patient/op-3/$meta-delete",
    );
    let tag = r#""tag":[{"system":"urn:op","code":"op-3","display":"three"}]"#;
    site.table(&[
        (add, &meta(tag), "404"),
        ("PUT Patient/op-3", &patient("op-3"), "201"),
        (add, &meta(tag), "200 ; ETag: W/\"2\" ; /parameter/0/valueMeta/tag/0/display = three ; /parameter/0/valueMeta/versionId = \"2\""),
        // The same label, whatever it is called: nothing changes.
        (add, &meta(r#""tag":[{"system":"urn:op","code":"op-3"}],"versionId":"7","source":"urn:x""#), "200 ; ETag: W/\"2\" ; /parameter/0/valueMeta/tag/1 absent ; /parameter/0/valueMeta/source absent"),
        (add, &meta(r#""profile":["http://op/1"],"security":[{"code":"R"}]"#), "200 ; ETag: W/\"3\""),
        ("GET Patient/op-3", "", "200 ; /meta/profile/0 = http://op/1 ; /meta/security/0/code = R ; /meta/tag/0/code = op-3 ; /active = true"),
        ("GET Patient?_tag=urn:op|op-3", "", "200 ; /total = 1"),
        ("GET Patient/op-3/_history", "", "200 ; /total = 3"),
        (delete, &meta(r#""tag":[{"system":"urn:op","code":"other"}]"#), "200 ; ETag: W/\"3\""),
        (&format!("{delete}\nIf-Match: W/\"2\""), &meta(tag), "412"),
        (&format!("{delete}\nIf-Match: W/\"3\""), &meta(tag), "200 ; ETag: W/\"4\" ; /parameter/0/valueMeta/tag absent ; /parameter/0/valueMeta/profile/0 = http://op/1"),
        ("GET Patient?_tag=urn:op|op-3", "", "200 ; /total = 0"),
        ("DELETE Patient/op-3", "", "204"),
        (add, &meta(tag), "410"),
        ("GET Patient/op-3/$meta", "", "410"),
    ])
    .await;
}

#[tokio::test]
async fn meta_in_use() {
    let site = shared();
    let labels = r#""profile":["http://op/4"],"tag":[{"system":"urn:op","code":"op-4"},{"system":"urn:op","code":"op-5"}]"#;
    let basic = |id: &str, meta: &str| {
        json!({"resourceType": "Flag", "id": id, "status": "active", "code": {"text": "x"}, "subject": {"display": "x"}}).to_string().replacen('{', &format!(r#"{{"meta":{{{meta}}},"#), 1)
    };
    site.table(&[
        ("GET Flag/$meta", "", "200 ; /resourceType = Parameters ; /parameter absent"),
        ("PUT Flag/op-4", &basic("op-4", labels), "201"),
        ("PUT Flag/op-5", &basic("op-5", r#""tag":[{"system":"urn:op","code":"op-5","display":"again"}]"#), "201"),
        ("GET Flag/$meta", "", "200 ; /parameter/0/valueMeta/profile = [\"http://op/4\"] ; /parameter/0/valueMeta/tag/1/code = op-5 ; /parameter/0/valueMeta/tag/2 absent ; /parameter/0/valueMeta/versionId absent"),
        ("GET $meta", "", "200 ; ~http://op/4"),
        ("DELETE Flag/op-4", "", "204"),
        ("GET Flag/$meta", "", "200 ; /parameter/0/valueMeta/profile absent ; /parameter/0/valueMeta/tag/0/code = op-5"),
    ])
    .await;
}

#[tokio::test]
async fn in_bundles() {
    let site = shared();
    let add = |id: &str| json!({"resource": serde_json::from_str::<serde_json::Value>(&meta(r#""tag":[{"code":"t"}]"#)).unwrap(), "request": {"method": "POST", "url": format!("Patient/{id}/$meta-add")}});
    let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let bundle = |kind: &str, entries: Vec<serde_json::Value>| {
        json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string()
    };
    let there = [add("op-6"), get("Patient/op-6/$meta"), get("Patient/op-6")];
    site.table(&[
        ("PUT Patient/op-6", &patient("op-6"), "201"),
        ("POST ", &bundle("batch", vec![add("op-none"), get("$nosuch"), get("Patient/op-6/$meta"), add("op-6"), get("Patient/op-6/$meta?x=1")]),
            "200 ; /entry/0/response/status = 404 Not Found ; /entry/1/response/status = 404 Not Found ; /entry/2/resource/parameter/0/valueMeta/tag/0/code = t \
             ; /entry/3/resource/resourceType = Parameters ; /entry/3/response/etag = W/\"2\" ; /entry/4/response/status = 400 Bad Request"),
        ("PUT Patient/op-6", &patient("op-6"), "200 ; ETag: W/\"3\""),
        ("POST ", &bundle("transaction", there.to_vec()),
            "200 ; /entry/0/resource/parameter/0/valueMeta/versionId = \"4\" ; /entry/1/resource/parameter/0/valueMeta/tag/0/code = t ; /entry/2/resource/meta/versionId = \"4\""),
        // A call that does not fit undoes the rest.
        ("POST ", &bundle("transaction", vec![add("op-none"), json!({"resource": {"resourceType": "Patient", "id": "op-7"}, "request": {"method": "PUT", "url": "Patient/op-7"}})]), "404 ; /issue/0/expression/0 = Bundle.entry[0]"),
        ("POST ", &bundle("transaction", vec![get("Patient/op-6/$meta?x=1"), json!({"resource": {"resourceType": "Patient", "id": "op-7"}, "request": {"method": "PUT", "url": "Patient/op-7"}})]), "400 ; /issue/0/expression/0 = Bundle.entry[0]"),
        ("GET Patient/op-7", "", "404"),
    ])
    .await;
}

#[tokio::test]
async fn declared() {
    let site = shared();
    let statement = site.check("GET metadata", "", "200").await.json();
    let rest = &statement["rest"][0];
    let names = |operations: &serde_json::Value| -> Vec<String> {
        let all = operations.as_array().unwrap().iter();
        all.map(|operation| operation["name"].as_str().unwrap().to_string())
            .collect()
    };
    // Each name that stands there leads somewhere, and none that does not.
    for name in names(&rest["operation"]) {
        let answer = site.send(&format!("OPTIONS ${name}"), "").await;
        assert_eq!(answer.status, 204, "{name}");
    }
    for resource in rest["resource"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        for name in names(&resource["operation"]) {
            let on_type = site.send(&format!("OPTIONS {kind}/${name}"), "").await;
            let on_instance = site.send(&format!("OPTIONS {kind}/x/${name}"), "").await;
            assert!(
                on_type.status == 204 || on_instance.status == 204,
                "{kind} {name}"
            );
        }
    }
    assert!(names(&rest["operation"]).contains(&"meta".to_string()));
    assert!(!names(&rest["operation"]).contains(&"meta-add".to_string()));
}
