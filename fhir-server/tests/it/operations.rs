//! Operations: where they are, what a call may carry, what comes back, alone and in bundles.

use crate::site::{id_of, shared, with_settings};
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
        (add, &parameters(r#"{"name":"meta","valueMeta":{}},{"name":"meta","valueMeta":{}}"#), "400"),
        (add, &parameters(r#"{"name":"meta","valueMeta":{"tag":[{"code":"a"}]}},{"name":"meta","valueMeta":{"tag":[{"code":"a"}]}}"#), "400 ; ~more often"),
        (add, &meta(r#""tag":[{"code":1}]"#), "400 ; /issue/0/expression/0 = Parameters.parameter[0].value.ofType(Meta).tag[0].code"),
        (add, &meta(r#""nosuch":1"#), "400"),
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
        // A named query is no operation: searches have it.
        let (queries, operations): (Vec<_>, Vec<_>) = names(&resource["operation"])
            .into_iter()
            .partition(|name| name == "results-since");
        assert_eq!(queries.len(), usize::from(kind == "Observation"));
        for name in operations {
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

#[tokio::test]
async fn fhirpath() {
    let site = shared();
    let expression = |text: &str| format!(r#"{{"name":"expression","valueString":"{text}"}}"#);
    let on = |text: &str, resource: &str| {
        parameters(&format!(
            r#"{},{{"name":"resource","resource":{resource}}}"#,
            expression(text)
        ))
    };
    let encounter =
        r#"{"resourceType":"Encounter","status":"planned","subject":{"reference":"Patient/op-8"}}"#;
    let organization = r#"{"resourceType":"Organization","id":"op-8","name":"Camp"}"#;
    let managed = r#"{"resourceType":"Patient","id":"op-8","name":[{"family":"Ngo"}],"managingOrganization":{"reference":"Organization/op-8"}}"#;
    let many: Vec<String> = (0..101)
        .map(|n| format!(r#"{{"actor":{{"reference":"Patient/none-{n}"}}}}"#))
        .collect();
    let many = format!(
        r#"{{"resourceType":"Encounter","status":"planned","participant":[{}]}}"#,
        many.join(",")
    );
    site.table(&[
        ("PUT Organization/op-8", organization, "201"),
        ("PUT Patient/op-8", managed, "201"),
        ("POST $fhirpath", &on("name.given | 1.50", r#"{"resourceType":"Patient","name":[{"given":["A"]}]}"#), "200 ; /parameter/0/name = result ; /parameter/0/valueString = A ; ~1.50"),
        // What is not valid can be looked at, too.
        ("POST $fhirpath", &on("nosuch", r#"{"resourceType":"Patient","nosuch":"x"}"#), "200"),
        ("POST $fhirpath", &on("name", r#"{"resourceType":"Patient"}"#), "200 ; /resourceType = Parameters ; /parameter absent"),
        ("POST $fhirpath", &parameters(&expression("1 + 1")), "200 ; /parameter/0/valueInteger = 2"),
        ("POST $fhirpath", &parameters(&expression("now() > @2020")), "200 ; /parameter/0/valueBoolean = true"),
        ("POST $fhirpath", &on("subject.resolve().managingOrganization.resolve().name", encounter), "200 ; /parameter/0/valueString = Camp"),
        ("POST $fhirpath", &on("subject.resolve()", encounter), "200 ; /parameter/0/resource/id = op-8"),
        ("POST $fhirpath", &on("participant.actor.resolve().count()", &many), "422 ; /issue/0/code = too-costly"),
        ("POST $fhirpath\nAccept: application/fhir+xml", &on("name.family", managed), "200 ; ~<valueString value=\"Ngo\"/>"),
        ("POST $fhirpath\nContent-Type: application/fhir+xml", r#"<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="expression"/><valueString value="name.family"/></parameter><parameter><name value="resource"/><resource><Patient><name><family value="Ngo"/></name></Patient></resource></parameter></Parameters>"#, "200 ; /parameter/0/valueString = Ngo"),
        ("POST $fhirpath", &parameters(r#"{"name":"expression","valueString":"%who"},{"name":"variables","part":[{"name":"who","valueString":"me"}]}"#), "200 ; /parameter/0/valueString = me"),
        ("POST $fhirpath", &parameters(r#"{"name":"resource","resource":{"resourceType":"Patient"}}"#), "400 ; ~the parameter expression is missing"),
        ("POST $fhirpath", r#"{"resourceType":"Patient"}"#, "400 ; ~expression is missing"),
        ("POST $fhirpath", &parameters(&expression("1 +")), "400"),
        ("POST $fhirpath", &parameters(&expression("%nosuch")), "422"),
        ("POST $fhirpath", &parameters(&expression("'a'.memberOf('http://x')")), "400 ; /issue/0/code = not-supported"),
        ("GET $fhirpath?expression=1", "", "200 ; /parameter/0/valueInteger = 1"),
        ("POST $fhirpath", &parameters(&expression("'male'.memberOf('http://hl7.org/fhir/ValueSet/administrative-gender')")), "200 ; /parameter/0/valueBoolean = true"),
        ("POST $fhirpath", &on("gender.memberOf('http://hl7.org/fhir/ValueSet/administrative-gender')", r#"{"resourceType":"Patient","gender":"man"}"#), "200 ; /parameter/0/valueBoolean = false"),
        ("POST $fhirpath", &parameters(&expression("%terminologies.subsumes('http://hl7.org/fhir/fhir-types', %a, %b).parameter.value")).replace(r#""parameter":["#, r#""parameter":[{"name":"variables","part":[{"name":"a","valueCode":"Element"},{"name":"b","valueCode":"HumanName"}]},"#), "200 ; ~subsumes"),
        ("POST Patient/$fhirpath", "", "400"),
    ])
    .await;
}

/// Without one there is a warning.
const NARRATIVE: &str =
    r#""text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}"#;

#[tokio::test]
async fn validate() {
    let site = shared();
    let observation = &format!(
        r#"{{"resourceType":"Observation",{NARRATIVE},"status":"final","code":{{"text":"x"}}}}"#
    );
    let wrong = r#"{"resourceType":"Observation","status":"nosuch","nosuch":1}"#;
    let of = |resource: &str, more: &str| {
        parameters(&format!(
            r#"{{"name":"resource","resource":{resource}}}{more}"#
        ))
    };
    let mode = |mode: &str| format!(r#",{{"name":"mode","valueCode":"{mode}"}}"#);
    let profile = |url: &str| format!(r#",{{"name":"profile","valueCanonical":"{url}"}}"#);
    let claims = &format!(
        r#"{{"resourceType":"Observation","meta":{{"profile":["http://op/unknown"]}},{NARRATIVE},"status":"final","code":{{"text":"x"}}}}"#
    );
    let outcome = "200 ; /resourceType = OperationOutcome";
    let fine = format!("{outcome} ; /issue/0/severity = information ; /issue/1 absent");
    let not_checked =
        format!("{outcome} ; /issue/0/severity = error ; /issue/0/code = not-supported");
    site.table(&[
        ("PUT Observation/op-9", &observation.replacen('{', r#"{"id":"op-9","#, 1), "201"),
        ("POST Observation/$validate", observation, &fine),
        ("POST Observation/$validate", &of(observation, ""), &fine),
        ("POST Observation/$validate", wrong, &format!("{outcome} ; /issue/0/severity = error ; ~Observation.status ; ~Observation.nosuch ; ~Observation.code")),
        ("POST Observation/$validate\nContent-Type: application/fhir+xml", r#"<Observation xmlns="http://hl7.org/fhir"><status value="final"/></Observation>"#, &format!("{outcome} ; /issue/0/expression/0 = Observation.code")),
        ("POST Observation/$validate", r#"{"resourceType":"Patient"}"#, &format!("{outcome} ; /issue/0/code = structure")),
        ("POST Observation/$validate\nContent-Type: application/fhir+xml",
            r#"<Observation xmlns="http://hl7.org/fhir"><status value="final"/><nosuch/><code><text value="x"/></code></Observation>"#,
            &format!("{outcome} ; /issue/0/severity = error ; /issue/0/code = structure"),
        ),
        (
            "POST Observation/$validate\nContent-Type: application/fhir+xml",
            r#"<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="resource"/><resource><Observation><nosuch/></Observation></resource></parameter></Parameters>"#,
            &format!("{outcome} ; /issue/0/severity = error"),
        ),
        (
            "POST Observation/$validate\nContent-Type: application/fhir+xml",
            r#"<Parameters xmlns="http://hl7.org/fhir"><nosuch/></Parameters>"#,
            "400",
        ),
        (
            "POST Observation/$validate\nPrefer: return=minimal", wrong, outcome),
        ("POST Observation/$validate", &of(observation, &mode("create")), &fine),
        ("POST Observation/$validate?mode=create", observation, &fine),
        ("POST Observation/$validate?mode=nosuch", observation, "400"),
        ("POST Observation/$validate?mode=update", observation, "400"),
        ("POST Observation/$validate?mode=delete", "", "400"),
        ("POST Observation/$validate", "", "400 ; ~resource is missing"),
        ("POST Observation/$validate", "{", "400"),
        ("POST Observation/op-9/$validate", "", &fine),
        ("POST Observation/op-none/$validate", "", "404"),
        ("POST Observation/op-9/$validate?mode=update", &observation.replacen('{', r#"{"id":"op-9","#, 1), &fine),
        ("POST Observation/op-9/$validate?mode=update", observation, &format!("{outcome} ; /issue/0/expression/0 = Observation.id")),
        ("POST Observation/op-9/$validate?mode=update", r#"{"resourceType":"Observation","id":"op-9","meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]},"status":"final","code":{"text":"x"}}"#, &format!("{outcome} ; /issue/0/severity = error")),
        ("POST Observation/op-9/$validate?mode=delete", "", &fine),
        ("POST Observation/op-none/$validate?mode=delete", "", &format!("{outcome} ; /issue/0/severity = warning")),
        ("POST Observation/op-9/$validate?mode=profile", "", "400 ; ~needs the parameter profile"),
        ("POST Observation/op-9/$validate?mode=profile&profile=http://hl7.org/fhir/StructureDefinition/Observation", "", &fine),
        ("POST Observation/op-9/$validate?mode=profile&profile=http://op/unknown", "", &not_checked),
        ("POST Observation/op-9/$validate?mode=profile&profile=http://op/unknown", observation, "400"),
        ("POST Observation/$validate", &of(observation, &profile("http://hl7.org/fhir/StructureDefinition/DomainResource")), &fine),
        ("POST Observation/$validate", &of(observation, &profile("http://hl7.org/fhir/StructureDefinition/Patient")), &not_checked),
        ("POST Observation/$validate", &of(observation, &profile("urn:fhir-humanitarian:StructureDefinition:displacement-status")), &format!("{not_checked} ; ~is known")),
        ("POST Observation/$validate", claims, &format!("{outcome} ; /issue/0/severity = warning ; /issue/0/expression/0 = Observation.meta.profile[0]")),
        ("GET Observation/op-9/$validate", "", "200 ; /issue/0/severity = information"),
        ("POST $validate", observation, "400"),
        ("GET Observation/op-9", "", "200 ; /meta/versionId = \"1\""),
    ])
    .await;
}

#[tokio::test]
async fn convert() {
    let site = shared();
    let json = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50}}"#;
    let xml = r#"<Observation xmlns="http://hl7.org/fhir"><status value="final"/><code><text value="x"/></code><valueQuantity><value value="1.50"/></valueQuantity></Observation>"#;
    site.table(&[
        (
            "POST $convert\nAccept: application/fhir+xml",
            json,
            &format!("200 ; Content-Type: application/fhir+xml ; ~{xml}"),
        ),
        (
            "POST $convert\nContent-Type: application/fhir+xml",
            xml,
            &format!("200 ; ~{json}"),
        ),
        (
            "POST $convert?_format=json\nContent-Type: application/fhir+xml",
            xml,
            &format!("200 ; ~{json}"),
        ),
        (
            "POST $convert",
            &parameters(&format!(r#"{{"name":"resource","resource":{json}}}"#)),
            &format!("200 ; ~{json}"),
        ),
        ("POST $convert", "", "400 ; ~resource is missing"),
        (
            "POST $convert",
            r#"{"resourceType":"Observation","status":"nosuch"}"#,
            "200 ; /status = nosuch",
        ),
        (
            "POST $convert",
            r#"{"resourceType":"Observation","code":{}}"#,
            "400 ; /issue/0/expression/0 = Observation.code",
        ),
        ("POST Observation/$convert", json, "400"),
        ("GET $convert", "", "405"),
    ])
    .await;
}

#[tokio::test]
async fn diff() {
    let site = shared();
    let patient = |members: &str| format!(r#"{{"resourceType":"Patient","id":"op-10"{members}}}"#);
    let both = |from: &str, to: &str| {
        parameters(&format!(
            r#"{{"name":"from","resource":{from}}},{{"name":"to","resource":{to}}}"#
        ))
    };
    let (one, two) = (patient(r#","active":true"#), patient(r#","active":false"#));
    let inactive = "200 ; /parameter/0/name = operation ; /parameter/0/part/0/valueCode = replace ; /parameter/0/part/1/valueString = Patient.active ; /parameter/0/part/2/valueBoolean = false ; /parameter/1 absent";
    site.table(&[
        ("POST $diff", &both(&one, &two), inactive),
        ("POST $diff", &both(&one, &one), "200 ; /parameter absent"),
        (
            "POST $diff",
            &both(&one, r#"{"resourceType":"Basic","code":{"text":"x"}}"#),
            "400",
        ),
        (
            "POST $diff",
            &both(&one, r#"{"resourceType":"Patient","nosuch":1}"#),
            "400 ; /issue/0/expression/0 = Parameters.parameter.where(name = 'to').resource.nosuch",
        ),
        ("POST $diff", &one, "400"),
        ("GET Patient/op-10/$diff", "", "404"),
        ("PUT Patient/op-10", &one, "201"),
        ("GET Patient/op-10/$diff", "", "404 ; ~no version before"),
        ("PUT Patient/op-10", &two, "200"),
        ("GET Patient/op-10/$diff", "", inactive),
        (
            "GET Patient/op-10/$diff?from=2&to=1",
            "",
            "200 ; /parameter/0/part/2/valueBoolean = true",
        ),
        (
            "GET Patient/op-10/$diff?from=2",
            "",
            "200 ; /parameter absent",
        ),
        (
            "POST Patient/op-10/$diff",
            &parameters(r#"{"name":"to","valueId":"2"}"#),
            inactive,
        ),
        ("GET Patient/op-10/$diff?from=7", "", "404"),
        ("GET Patient/op-10/$diff?from=x", "", "404"),
        ("DELETE Patient/op-10", "", "204"),
        ("GET Patient/op-10/$diff", "", "410"),
        ("GET Patient/op-10/$diff?to=2", "", inactive),
    ])
    .await;
}

#[tokio::test]
async fn own_definitions() {
    let site = shared();
    let base = site.base();
    let statement = site.check("GET metadata", "", "200").await.json();
    let operations = statement["rest"][0]["operation"].as_array().unwrap();
    for (name, id) in [("fhirpath", "fhirpath"), ("diff", "diff")] {
        let url = format!("{base}/OperationDefinition/{id}");
        let declared = operations
            .iter()
            .find(|operation| operation["name"] == name);
        assert_eq!(declared.unwrap()["definition"], url);
        let expect = format!("200 ; /url = {url} ; /code = {name}");
        let definition = site.check(&format!("GET {url}"), "", &expect).await;
        // It has no narrative.
        let fine = "200 ; ~dom-6 ; /issue/1 absent";
        site.check("POST OperationDefinition/$validate", &definition.text, fine)
            .await;
    }
    let request = json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "GET", "url": "OperationDefinition/diff"}}]});
    let stored = r#"{"resourceType":"OperationDefinition","id":"diff-versions","name":"Mine","status":"draft","kind":"operation","code":"mine","system":true,"type":false,"instance":false}"#;
    site.table(&[
        (
            "POST ",
            &request.to_string(),
            "200 ; /entry/0/resource/code = diff",
        ),
        (
            "GET OperationDefinition/diff?_elements=code",
            "",
            "200 ; /code = diff ; /description absent",
        ),
        ("GET OperationDefinition/diff/_history/1", "", "404"),
        ("GET OperationDefinition/nosuch", "", "404"),
        ("GET OperationDefinition?code=diff", "", "200 ; /total = 0"),
        (
            "GET OperationDefinition/diff-versions",
            "",
            "200 ; /code = diff",
        ),
        // Whoever stores another under the same id sees that one.
        ("PUT OperationDefinition/diff-versions", stored, "201"),
        (
            "GET OperationDefinition/diff-versions",
            "",
            "200 ; /code = mine",
        ),
        ("DELETE OperationDefinition/diff-versions", "", "204"),
        ("GET OperationDefinition/diff-versions", "", "410"),
    ])
    .await;
}

/// The resources of a Bundle, and how they came there.
fn entries(bundle: &serde_json::Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let mut entries: Vec<String> = entries
        .map(|entry| {
            let resource = &entry["resource"];
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
            let mode = match entry.pointer("/search/mode").and_then(|mode| mode.as_str()) {
                Some("include") => "+",
                _ => "",
            };
            format!(
                "{mode}{}/{}",
                text(&resource["resourceType"]),
                text(&resource["id"])
            )
        })
        .collect();
    entries.sort();
    entries
}

#[tokio::test]
async fn everything() {
    let site = shared();
    let put = |resource: serde_json::Value| {
        let key = format!(
            "{}/{}",
            resource["resourceType"].as_str().unwrap(),
            resource["id"].as_str().unwrap()
        );
        json!({"resource": resource, "request": {"method": "PUT", "url": key}})
    };
    let observation = |id: &str, date: &str, patient: &str| {
        let mut observation = json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{patient}")}, "performer": [{"reference": "Practitioner/ev-doctor"}]});
        if !date.is_empty() {
            observation["effectiveDateTime"] = date.into();
        }
        put(observation)
    };
    let resources = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        put(json!({"resourceType": "Organization", "id": "ev-camp"})),
        put(json!({"resourceType": "Practitioner", "id": "ev-doctor"})),
        put(json!({"resourceType": "Medication", "id": "ev-pill"})),
        put(json!({"resourceType": "Binary", "id": "ev-scan", "contentType": "text/plain"})),
        put(json!({"resourceType": "Patient", "id": "ev-1", "managingOrganization": {"reference": "Organization/ev-camp"}})),
        put(json!({"resourceType": "Patient", "id": "ev-2"})),
        put(json!({"resourceType": "Patient", "id": "ev-3"})),
        put(json!({"resourceType": "Encounter", "id": "ev-visit", "status": "completed", "subject": {"reference": "Patient/ev-1"}, "actualPeriod": {"start": "2020-05-01", "end": "2020-05-03"}})),
        observation("ev-old", "2019-03-01", "ev-1"),
        observation("ev-new", "2020-05-02", "ev-1"),
        observation("ev-undated", "", "ev-1"),
        observation("ev-other", "2020-05-02", "ev-2"),
        put(json!({"resourceType": "Observation", "id": "ev-within", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/ev-3"}, "encounter": {"reference": "Encounter/ev-visit"}})),
        put(json!({"resourceType": "MedicationRequest", "id": "ev-order", "status": "active", "intent": "order", "subject": {"reference": "Patient/ev-1"}, "medication": {"reference": {"reference": "Medication/ev-pill"}}})),
        put(json!({"resourceType": "DocumentReference", "id": "ev-paper", "status": "current", "subject": {"reference": "Patient/ev-1"}, "content": [{"attachment": {"url": "Binary/ev-scan"}}]})),
        put(json!({"resourceType": "Group", "id": "ev-group", "type": "person", "membership": "enumerated", "member": [
            {"entity": {"reference": "Patient/ev-2"}}, {"entity": {"reference": "Patient/ev-1"}, "inactive": true}, {"entity": {"reference": "Patient/ev-3"}}]})),
        put(json!({"resourceType": "Group", "id": "ev-nobody", "type": "person", "membership": "enumerated"})),
    ]});
    site.check("POST ", &resources.to_string(), "200").await;
    let all = "+Binary/ev-scan +Medication/ev-pill +Organization/ev-camp +Practitioner/ev-doctor DocumentReference/ev-paper Encounter/ev-visit Group/ev-group \
         MedicationRequest/ev-order Observation/ev-new Observation/ev-old Observation/ev-undated Patient/ev-1";
    let group = "+Encounter/ev-visit +Practitioner/ev-doctor Group/ev-group Observation/ev-other Observation/ev-within Patient/ev-2 Patient/ev-3";
    for (url, expect) in [
        ("Patient/ev-1/$everything", all),
        // A part of what is there: also what others than these refer to.
        (
            "Patient/ev-1/$everything?_type=Observation,Patient",
            "Observation/ev-new Observation/ev-old Observation/ev-undated Patient/ev-1",
        ),
        (
            "Patient/ev-1/$everything?_type=Medication&_type=Practitioner",
            "+Medication/ev-pill +Practitioner/ev-doctor",
        ),
        // By the date of care; what has none stays, and what comes with an encounter that is out of it.
        (
            "Patient/ev-1/$everything?start=2020-05-02&_type=Observation,Encounter",
            "Encounter/ev-visit Observation/ev-new Observation/ev-undated",
        ),
        (
            "Patient/ev-1/$everything?end=2020-05-01&_type=Observation,Encounter",
            "Encounter/ev-visit Observation/ev-old Observation/ev-undated",
        ),
        (
            "Patient/ev-1/$everything?start=2019&end=2019-12&_type=Observation,Encounter",
            "Observation/ev-old Observation/ev-undated",
        ),
        ("Patient/ev-1/$everything?_since=2000-01-01T00:00:00Z", all),
        ("Patient/ev-1/$everything?_since=2999-01-01T00:00:00Z", ""),
        (
            "Encounter/ev-visit/$everything",
            "+Patient/ev-1 +Patient/ev-3 Encounter/ev-visit Observation/ev-within",
        ),
        ("Group/ev-group/$everything", group),
        ("Group/ev-nobody/$everything", "Group/ev-nobody"),
    ] {
        let bundle = site
            .check(
                &format!("GET {url}"),
                "",
                "200 ; /type = searchset ; /total absent",
            )
            .await
            .json();
        assert_eq!(entries(&bundle).join(" "), expect, "{url}");
    }
    // Page by page, each resource of the compartment once.
    for count in ["1", "2", "3", "7", "8", "1000"] {
        let mut request = format!("GET Patient/ev-1/$everything?_count={count}");
        let mut seen = Vec::new();
        for _ in 0..20 {
            let page = site.check(&request, "", "200").await.json();
            let (includes, matches): (Vec<String>, Vec<String>) = entries(&page)
                .into_iter()
                .partition(|entry| entry.starts_with('+'));
            assert!(matches.len() <= count.parse().unwrap(), "{page}");
            seen.extend(matches);
            assert!(
                includes
                    .iter()
                    .all(|include| !include.contains("Patient/ev-1"))
            );
            let mut links = page["link"].as_array().unwrap().iter();
            let Some(next) = links.find(|link| link["relation"] == "next") else {
                break;
            };
            request = format!("GET {}", next["url"].as_str().unwrap());
        }
        seen.sort();
        let expect: Vec<&str> = all
            .split(' ')
            .filter(|entry| !entry.starts_with('+'))
            .collect();
        assert_eq!(seen, expect, "_count={count}");
    }
    let by_post = parameters(
        r#"{"name":"_type","valueString":"Patient"},{"name":"_count","valuePositiveInt":5}"#,
    );
    site.table(&[
        (
            "POST Patient/ev-1/$everything",
            &by_post,
            "200 ; /entry/0/resource/id = ev-1 ; /entry/1 absent ; ~_type=Patient&_count=5",
        ),
        (
            "GET Patient/ev-1/$everything?_format=xml",
            "",
            "200 ; Content-Type: application/fhir+xml ; ~<Bundle",
        ),
        ("GET Patient/ev-none/$everything", "", "404"),
        (
            "GET Observation/ev-new/$everything",
            "",
            "400 ; ~[base]/Patient/[id]",
        ),
        ("GET Patient/$everything", "", "400"),
        (
            "GET Patient/ev-1/$everything?start=soon",
            "",
            "400 ; ~the parameter start must be a date",
        ),
        ("GET Patient/ev-1/$everything?_type=Nosuch", "", "400"),
        ("GET Patient/ev-1/$everything?_count=0", "", "400"),
        ("GET Patient/ev-1/$everything?_count=x", "", "400"),
        ("GET Patient/ev-1/$everything?_page=x", "", "400"),
        ("GET Patient/ev-1/$everything?_page=x&_count=1", "", "400"),
    ])
    .await;
}

/// More patients than are searched for together, one resource of several of them, and pages that end within and between.
#[tokio::test]
async fn everything_of_a_large_group() {
    let site = shared();
    let put = |resource: serde_json::Value| {
        let key = format!(
            "{}/{}",
            resource["resourceType"].as_str().unwrap(),
            resource["id"].as_str().unwrap()
        );
        json!({"resource": resource, "request": {"method": "PUT", "url": key}})
    };
    let patients: Vec<String> = (10..70).map(|n| format!("lg-{n}")).collect();
    let reference = |id: &String| json!({"reference": format!("Patient/{id}")});
    let mut entries: Vec<_> = patients
        .iter()
        .flat_map(|id| {
            [
                put(json!({"resourceType": "Patient", "id": id})),
                put(json!({"resourceType": "Flag", "id": id, "status": "active", "code": {"text": "x"}, "subject": reference(id), "author": {"reference": "Practitioner/lg-doctor"}})),
            ]
        })
        .collect();
    let participants = ["lg-11", "lg-40", "lg-69"]
        .map(|id| json!({"actor": reference(&id.to_string()), "status": "accepted"}));
    entries.push(put(json!({"resourceType": "Appointment", "id": "lg-meeting", "status": "booked", "participant": participants})));
    entries.push(put(
        json!({"resourceType": "Practitioner", "id": "lg-doctor"}),
    ));
    let members: Vec<_> = patients
        .iter()
        .map(|id| json!({"entity": reference(id)}))
        .collect();
    entries.push(put(json!({"resourceType": "Group", "id": "lg-group", "type": "person", "membership": "enumerated", "member": members})));
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    site.check("POST ", &bundle.to_string(), "200").await;
    for count in [7, 50, 122, 1000] {
        let mut request = format!("GET Group/lg-group/$everything?_count={count}");
        let mut seen = Vec::new();
        let mut pages = 0;
        loop {
            let page = site.check(&request, "", "200").await.json();
            let (_, matches): (Vec<String>, Vec<String>) = self::entries(&page)
                .into_iter()
                .partition(|entry| entry.starts_with('+'));
            assert!(matches.len() <= count);
            seen.extend(matches);
            pages += 1;
            let mut links = page["link"].as_array().unwrap().iter();
            match links.find(|link| link["relation"] == "next") {
                Some(next) => request = format!("GET {}", next["url"].as_str().unwrap()),
                None => break,
            }
        }
        assert!(
            pages <= 122_usize.div_ceil(count) + 1,
            "{pages} pages of {count}"
        );
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((all, seen.len()), (122, 122), "_count={count}");
        assert!(seen.contains(&"Appointment/lg-meeting".to_string()));
    }
    // The first patient leaves the group when the first 25 are done: all others come nevertheless.
    let mut seen = Vec::new();
    let mut request = "GET Group/lg-group/$everything?_count=10".to_string();
    for page in 0.. {
        if page == 6 {
            let group = json!({"resourceType": "Group", "id": "lg-group", "type": "person", "membership": "enumerated", "member": members[1..]});
            site.check("PUT Group/lg-group", &group.to_string(), "200")
                .await;
        }
        let answer = site.check(&request, "", "200").await.json();
        seen.extend(self::entries(&answer));
        let mut links = answer["link"].as_array().unwrap().iter();
        match links.find(|link| link["relation"] == "next") {
            Some(next) => request = format!("GET {}", next["url"].as_str().unwrap()),
            None => break,
        }
    }
    for id in &patients {
        let flag = format!("Flag/{id}");
        assert!(seen.contains(&flag), "{flag}");
    }
}

#[tokio::test]
async fn graph() {
    let site = shared();
    let put = |resource: serde_json::Value| {
        let key = format!(
            "{}/{}",
            resource["resourceType"].as_str().unwrap(),
            resource["id"].as_str().unwrap()
        );
        json!({"resource": resource, "request": {"method": "PUT", "url": key}})
    };
    let graph = |id: &str, links: serde_json::Value| {
        put(
            json!({"resourceType": "GraphDefinition", "id": id, "url": format!("http://op/{id}"), "name": "G", "status": "active", "start": "p",
            "node": [{"nodeId": "p", "type": "Patient"}, {"nodeId": "o", "type": "Observation"}, {"nodeId": "d", "type": "Practitioner"}, {"nodeId": "c", "type": "Organization"}],
            "link": links}),
        )
    };
    let resources = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        put(json!({"resourceType": "Organization", "id": "gr-camp"})),
        put(json!({"resourceType": "Practitioner", "id": "gr-doctor"})),
        put(json!({"resourceType": "Patient", "id": "gr-1", "managingOrganization": {"reference": "Organization/gr-camp"}, "link": [{"other": {"reference": "Patient/gr-2"}, "type": "seealso"}]})),
        put(json!({"resourceType": "Patient", "id": "gr-2", "link": [{"other": {"reference": "Patient/gr-1"}, "type": "seealso"}]})),
        put(json!({"resourceType": "Observation", "id": "gr-o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/gr-1"}, "performer": [{"reference": "Practitioner/gr-doctor"}, {"reference": "Organization/gr-camp"}, {"reference": "Practitioner/gr-none"}]})),
        graph("gr-path", json!([{"sourceId": "p", "path": "managingOrganization", "targetId": "c"}])),
        graph("gr-both", json!([{"sourceId": "p", "params": "patient={ref}&_sort=date", "targetId": "o"}, {"sourceId": "o", "path": "Observation.performer", "targetId": "d"}])),
        graph("gr-round", json!([{"sourceId": "p", "path": "link.other", "targetId": "p"}])),
        graph("gr-rule", json!([{"sourceId": "p", "path": "link.other", "targetId": "p", "compartment": [{"use": "where", "rule": "identical", "code": "Patient"}]}])),
        graph("gr-broken", json!([{"sourceId": "p", "path": "link.", "targetId": "p"}])),
        graph("gr-wrong", json!([{"sourceId": "p", "params": "nosuch={ref}", "targetId": "o"}])),
        graph("gr-nowhere", json!([{"sourceId": "p", "path": "link.other", "targetId": "x"}])),
    ]});
    site.check("POST ", &resources.to_string(), "200").await;
    for (url, expect) in [
        ("http://op/gr-path", "Organization/gr-camp Patient/gr-1"),
        ("http://op/gr-path|", "Organization/gr-camp Patient/gr-1"),
        (
            "GraphDefinition/gr-path",
            "Organization/gr-camp Patient/gr-1",
        ),
        (
            "http://op/gr-both",
            "Observation/gr-o Patient/gr-1 Practitioner/gr-doctor",
        ),
        ("http://op/gr-round", "Patient/gr-1 Patient/gr-2"),
    ] {
        // Its parameter out is not called return, so it comes in Parameters.
        let expected = "200 ; /resourceType = Parameters ; /parameter/0/name = result ; /parameter/0/resource/type = collection";
        let answer = site
            .check(
                &format!("GET Patient/gr-1/$graph?graph={url}"),
                "",
                expected,
            )
            .await
            .json();
        let found = entries(&answer["parameter"][0]["resource"]);
        assert_eq!(found.join(" "), expect, "{url}");
    }
    site.table(&[
        ("GET Patient/gr-1/$graph", "", "400 ; ~graph is missing"),
        ("GET Patient/gr-1/$graph?graph=http://op/none", "", "404"),
        (
            "GET Patient/gr-1/$graph?graph=GraphDefinition/gr-none",
            "",
            "404",
        ),
        (
            "GET Patient/gr-1/$graph?graph=http://op/gr-path|9",
            "",
            "404",
        ),
        (
            "GET Patient/gr-none/$graph?graph=http://op/gr-path",
            "",
            "404",
        ),
        (
            "GET Observation/gr-o/$graph?graph=http://op/gr-path",
            "",
            "422 ; ~starts at another type",
        ),
        (
            "GET Patient/gr-1/$graph?graph=http://op/gr-rule",
            "",
            "400 ; /issue/0/expression/0 = GraphDefinition.link[0]",
        ),
        (
            "GET Patient/gr-1/$graph?graph=http://op/gr-broken",
            "",
            "422 ; /issue/0/expression/0 = GraphDefinition.link[0].path",
        ),
        (
            "GET Patient/gr-1/$graph?graph=http://op/gr-wrong",
            "",
            "400 ; /issue/0/expression/0 = GraphDefinition.link[0].params",
        ),
        (
            "GET Patient/gr-1/$graph?graph=http://op/gr-nowhere",
            "",
            "422",
        ),
    ])
    .await;
}

/// `$validate` says what the site's policies will, and leaves nothing behind.
#[tokio::test]
async fn validate_by_policies() {
    let site = with_settings(&[
        ("reference_integrity", "both"),
        ("if_match_types", "Basic"),
        ("client_ids", "none"),
    ]);
    let observation = |subject: &str| {
        format!(
            r#"{{"resourceType":"Observation",{NARRATIVE},"status":"final","code":{{"text":"x"}},"subject":{{"reference":"{subject}"}}}}"#
        )
    };
    let basic = |id: &str| {
        format!(r#"{{"resourceType":"Basic",{NARRATIVE},"id":"{id}","code":{{"text":"x"}}}}"#)
    };
    let patient = site
        .check("POST Patient", r#"{"resourceType":"Patient"}"#, "201")
        .await;
    let patient = format!("Patient/{}", id_of(&patient));
    let stored = site
        .check(
            "POST Basic",
            r#"{"resourceType":"Basic","code":{"text":"x"}}"#,
            "201",
        )
        .await;
    let stored = id_of(&stored);
    let fine = "200 ; /issue/0/severity = information ; /issue/1 absent";
    let wrong = |code: &str| format!("200 ; /issue/0/severity = error ; /issue/0/code = {code}");
    let create = "POST Observation/$validate?mode=create";
    let update = format!("POST Basic/{stored}/$validate?mode=update");
    site.table(&[
        (create, &observation(&patient), fine),
        (
            create,
            &observation("Patient/nobody"),
            &format!("{} ; ~Observation.subject", wrong("business-rule")),
        ),
        (
            "POST Observation/$validate",
            &observation("Patient/nobody"),
            fine,
        ),
        (&format!("POST {patient}/$validate?mode=delete"), "", fine),
        ("POST Observation", &observation(&patient), "201"),
        (
            &format!("POST {patient}/$validate?mode=delete"),
            "",
            &wrong("conflict"),
        ),
        (&update, &basic(&stored), &wrong("required")),
        (
            &format!("{update}\nIf-Match: W/\"9\""),
            &basic(&stored),
            &wrong("conflict"),
        ),
        (
            &format!("{update}\nIf-Match: W/\"1\""),
            &basic(&stored),
            fine,
        ),
        (
            "POST Patient/chosen/$validate?mode=update",
            r#"{"resourceType":"Patient","id":"chosen"}"#,
            "200 ; /issue/0/severity = error",
        ),
        // It was all talk.
        (
            &format!("GET {patient}"),
            "",
            "200 ; /meta/versionId = \"1\"",
        ),
        ("GET Observation?_summary=count", "", "200 ; /total = 1"),
        ("GET _history?_summary=false", "", "200 ; /entry/3 absent"),
        (
            "POST Observation/$validate?mode=create",
            &observation(&patient),
            fine,
        ),
    ])
    .await;
}

#[tokio::test]
async fn document() {
    let site = shared();
    let composition = |id: &str, more: &str| {
        format!(
            r#"{{"resourceType":"Composition","id":"{id}","status":"final","type":{{"text":"x"}},"date":"2024","title":"t","author":[{{"reference":"Practitioner/do-1"}}],
                "subject":[{{"reference":"Patient/do-1"}}]{more}}}"#
        )
    };
    let observation = r#"{"resourceType":"Observation","id":"do-1","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50},"subject":{"reference":"Patient/do-1"},"performer":[{"reference":"Organization/do-1"}]}"#;
    let section = r#","section":[{"entry":[{"reference":"Observation/do-1"},{"reference":"http://elsewhere/Observation/1"}]}]"#;
    let graph = r#"{"resourceType":"GraphDefinition","id":"do-1","url":"http://op/do-graph","status":"active","name":"G","start":"c","node":[{"nodeId":"c","type":"Composition"},{"nodeId":"o","type":"Observation"},{"nodeId":"g","type":"Organization"}],
        "link":[{"sourceId":"c","path":"section.entry","targetId":"o"},{"sourceId":"o","path":"performer","targetId":"g"}]}"#;
    site.table(&[
        ("PUT Patient/do-1", &patient("do-1"), "201"),
        ("PUT Practitioner/do-1", r#"{"resourceType":"Practitioner","id":"do-1"}"#, "201"),
        ("PUT Organization/do-1", r#"{"resourceType":"Organization","id":"do-1"}"#, "201"),
        ("PUT Observation/do-1", observation, "201"),
        ("PUT GraphDefinition/do-1", graph, "201"),
        ("PUT Composition/do-1", &composition("do-1", section), "201"),
        ("PUT Composition/do-2", &composition("do-2", r#","encounter":{"reference":"Encounter/do-gone"}"#), "201"),
        ("GET Composition/do-1/$document", "", "200 ; /resourceType = Bundle ; /type = document ; /identifier/system = urn:ietf:rfc:3986 ; ~urn:uuid: ; /entry/0/resource/id = do-1 ; /entry/0/resource/resourceType = Composition ; /entry/3/resource/resourceType = Practitioner ; /entry/4 absent ; ~1.50 ; ~/Observation/do-1\""),
        ("POST Composition/do-1/$document", "", "200 ; /type = document"),
        ("GET Composition/do-1/$document?graph=http://op/do-graph", "", "200 ; /entry/0/resource/resourceType = Composition ; ~/Organization/do-1\" ; ~/Practitioner/do-1\" ; /entry/4/resource/resourceType = Practitioner ; /entry/5 absent"),
        ("GET Composition/do-1/$document?graph=http://op/do-none", "", "404"),
        ("GET Composition/do-2/$document", "", "422 ; ~Encounter/do-gone"),
        ("GET Composition/do-none/$document", "", "404"),
        ("GET Patient/do-1/$document", "", "400"),
    ])
    .await;
    let stored = site
        .check(
            "GET Composition/do-1/$document?persist=true",
            "",
            "200 ; /type = document ; /meta/versionId = \"1\"",
        )
        .await
        .json();
    let id = stored["id"].as_str().unwrap();
    let request = format!("GET Bundle/{id}");
    let expect = "200 ; /type = document ; /entry/0/resource/resourceType = Composition";
    site.check(&request, "", expect).await;
    // It is a valid document; its resources have no narratives.
    let request = format!("GET Bundle/{id}/$validate");
    site.check(&request, "", "200 ; /issue/0/severity = warning ; ~dom-6")
        .await;
}
