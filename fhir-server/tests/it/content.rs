//! What the bytes of requests and answers may be: compressed, laid out for people, from browsers.

use crate::site::{Site, shared, with_settings};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use std::io::Read;

#[tokio::test]
async fn answers_are_compressed_where_asked() {
    let site = shared();
    let long = format!(
        r#"{{"resourceType":"Basic","id":"gz","code":{{"text":"{}"}}}}"#,
        "x".repeat(5000)
    );
    site.check("PUT Basic/gz", &long, "201").await;
    for (accept, expect) in [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br;q=0.5, gzip;q=0.8, *;q=0.1", "gzip"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br"),
        ("gzip, deflate, br, zstd", "br"),
        ("identity", ""),
        ("gzip;q=0", ""),
        ("", ""),
    ] {
        let url = format!("{}/Basic/gz", site.base());
        let client = reqwest::Client::builder().no_gzip().build().unwrap();
        let answer = client
            .get(url)
            .header("accept-encoding", accept)
            .send()
            .await
            .unwrap();
        let encoding = answer.headers().get("content-encoding");
        let encoding = encoding.map_or("", |value| value.to_str().unwrap());
        assert_eq!(encoding, expect, "{accept}");
        assert_eq!(answer.headers()["etag"], "W/\"1\"");
        let bytes = answer.bytes().await.unwrap();
        let mut text = String::new();
        match expect {
            "gzip" => GzDecoder::new(&bytes[..])
                .read_to_string(&mut text)
                .unwrap(),
            "br" => brotli::Decompressor::new(&bytes[..], 4096)
                .read_to_string(&mut text)
                .unwrap(),
            _ => (&bytes[..]).read_to_string(&mut text).unwrap(),
        };
        assert!(text.contains(&"x".repeat(5000)), "{accept}");
    }
}

#[tokio::test]
async fn bodies_may_be_compressed_and_count_by_what_they_become() {
    let site = with_settings(&[("body_max_bytes", "100000")]);
    let basic = |length: usize| {
        let text = "x".repeat(length);
        format!(r#"{{"resourceType":"Basic","code":{{"text":"{text}"}}}}"#)
    };
    let whole = gzip(&basic(50_000));
    for (encoding, body, expect) in [
        ("gzip", whole.clone(), 201),
        ("GZip", whole.clone(), 201),
        ("x-gzip", whole.clone(), 201),
        ("identity", basic(10).into_bytes(), 201),
        ("Identity", basic(10).into_bytes(), 201),
        ("gzip", gzip(&basic(100_000)), 413),
        // A thousand times its own size.
        ("gzip", gzip(&basic(50_000_000)), 413),
        ("gzip", whole[..whole.len() / 2].to_vec(), 400),
        ("gzip", basic(10).into_bytes(), 400),
        ("br", basic(10).into_bytes(), 415),
        ("gzip, gzip", gzip(&basic(10)), 415),
    ] {
        let length = body.len();
        assert_eq!(
            post(&site, encoding, body).await,
            expect,
            "{encoding} {length}"
        );
    }
}

#[tokio::test]
async fn a_pretty_answer_differs_by_white_space() {
    let site = shared();
    let body = r#"{"resourceType":"Basic","id":"pretty","code":{"text":"a \"b\": {"},"extension":[{"url":"u","valueDecimal":1.50}]}"#;
    site.table(&[
        (
            "PUT Basic/pretty?_pretty=true",
            body,
            "201 ; ~\n  \"code\": {\n    \"text\": \"a \\\"b\\\": {\"\n  }",
        ),
        (
            "GET Basic/pretty?_pretty=true",
            "",
            "200 ; ~\"valueDecimal\": 1.50\n",
        ),
        (
            "GET Basic/pretty?_pretty=false",
            "",
            "200 ; ~\"valueDecimal\": 1.50}]",
        ),
        ("GET Basic/none?_pretty=true", "", "404 ; ~\n  \"issue\": ["),
        ("GET Nosuch?_pretty=true", "", "404 ; ~\n  \"issue\": ["),
        (
            "POST Basic/_search\nContent-Type: application/x-www-form-urlencoded",
            "_id=pretty&_pretty=true&_format=json",
            "200 ; ~\n  \"type\": \"searchset\"",
        ),
        (
            "POST Basic/_search\nContent-Type: application/x-www-form-urlencoded",
            "_id=pretty&_format=nosuch",
            "406",
        ),
    ])
    .await;
}

#[tokio::test]
async fn browsers_read_what_the_setting_allows() {
    let site = with_settings(&[("cors_origins", "https://a.example, http://b.example:8080")]);
    let preflight = |origin: &str| {
        format!(
            "OPTIONS Basic/1\nOrigin: {origin}\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: if-match"
        )
    };
    site.table(&[
        (&preflight("https://a.example"), "", "204 ; access-control-allow-origin: https://a.example ; access-control-allow-headers: if-match"),
        ("GET Basic/none\nOrigin: http://b.example:8080", "", "404 ; access-control-allow-origin: http://b.example:8080 ; vary: Origin"),
        // Not a question of a browser: what the URL allows.
        ("OPTIONS Basic/1", "", "204 ; allow: PUT"),
    ])
    .await;
    for request in [
        preflight("https://other.example"),
        "GET metadata\nOrigin: null".into(),
    ] {
        let answer = site.send(&request, "").await;
        assert!(
            answer.headers.get("access-control-allow-origin").is_none(),
            "{request}"
        );
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzEncoder::new(text.as_bytes(), Compression::fast())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

async fn post(site: &Site, encoding: &str, body: Vec<u8>) -> u16 {
    reqwest::Client::new()
        .post(format!("{}/Basic", site.base()))
        .header("content-type", "application/fhir+json")
        .header("content-encoding", encoding)
        .body(body)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn parts_of_resources() {
    let site = shared();
    let body = r#"{"resourceType":"Patient","id":"part","meta":{"tag":[{"system":"urn:t","code":"part"}]},"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},"name":[{"family":"Part"}],"photo":[{"title":"p"}]}"#;
    let part = r#"{"resourceType":"Patient","id":"part","meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}}"#;
    let subsetted = "/meta/tag/1/code = SUBSETTED";
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/part?_summary=text"}}]}"#;
    let transaction = batch.replace("batch", "transaction");
    let in_entry =
        "200 ; /entry/0/resource/name absent ; /entry/0/resource/meta/tag/1/code = SUBSETTED";
    site.table(&[
        ("PUT Patient/part", body, "201"),
        ("GET Patient/part?_summary=true", "", &format!("200 ; {subsetted} ; /name/0/family = Part ; /photo absent ; /text absent")),
        ("GET Patient/part?_summary=text", "", &format!("200 ; {subsetted} ; /text/status = generated ; /name absent")),
        ("GET Patient/part?_summary=data", "", &format!("200 ; {subsetted} ; /photo/0/title = p ; /text absent")),
        ("GET Patient/part?_summary=false", "", "200 ; /meta/tag/1 absent ; /photo/0/title = p ; /text/status = generated"),
        ("GET Patient/part?_elements=photo", "", &format!("200 ; {subsetted} ; /photo/0/title = p ; /name absent")),
        ("GET Patient/part?_summary=count", "", "400"),
        ("GET Patient/part?_summary=nosuch", "", "400"),
        ("GET Patient/part?_elements=photo&nosuch=1", "", "400"),
        ("GET Patient/part/_history/1?_elements=photo", "", &format!("200 ; {subsetted} ; /name absent")),
        ("GET Patient/part/_history?_elements=photo", "", "200 ; /entry/0/resource/name absent ; /entry/0/resource/photo/0/title = p ; /link/0/url = \"$base/Patient/part/_history?_elements=photo\""),
        ("GET Patient?_tag=urn:t|part&_summary=true", "", "200 ; /total = 1 ; /entry/0/resource/photo absent ; /entry/0/resource/name/0/family = Part ; /entry/0/resource/meta/tag/1/code = SUBSETTED ; ~_summary=true"),
        ("GET Patient?_tag=urn:t|part&_elements=photo", "", "200 ; /entry/0/resource/name absent ; ~_elements=photo"),
        ("GET Patient?_tag=urn:t|part&_summary=text&_revinclude=Observation:subject", "", "400"),
        ("POST ", batch, in_entry),
        ("POST ", &transaction, in_entry),
        ("GET metadata?_elements=software", "", "200 ; /software/name = fhir-server ; /fhirVersion = 5.0.0 ; /implementation absent"),
        ("GET metadata?_summary=true", "", "200 ; /fhirVersion = 5.0.0 ; /text absent"),
        ("PUT Patient/part", part, "422 ; /issue/0/expression/0 = Patient.meta.tag[0]"),
    ].map(|(request, body, expect)| (request, body, expect.replace("$base", &site.base())))
     .iter().map(|(request, body, expect)| (*request, *body, expect.as_str())).collect::<Vec<_>>())
    .await;
    // A later page is cut as the first.
    for id in ["p1", "p2"] {
        let body = body
            .replace(r#""id":"part""#, &format!(r#""id":"{id}""#))
            .replace("urn:t", "urn:pages");
        site.check(&format!("PUT Patient/{id}"), &body, "201").await;
    }
    let page = site
        .check(
            "GET Patient?_tag=urn:pages|part&_elements=photo&_count=1",
            "",
            "200",
        )
        .await
        .json();
    let next = page["link"][1]["url"].as_str().unwrap();
    site.check(
        &format!("GET {next}"),
        "",
        "200 ; /entry/0/resource/name absent ; /entry/0/resource/photo/0/title = p",
    )
    .await;
}

#[tokio::test]
async fn numbers_keep_their_text() {
    let site = shared();
    let numbers = r#""extension":[{"url":"u","valueDecimal":1E-17},{"url":"u","valueDecimal":1.0e5},{"url":"u","valueDecimal":-0.0}]"#;
    let body = |text: &str| {
        format!(r#"{{"resourceType":"Basic","id":"nt","code":{{"text":"{text}"}},{numbers}}}"#)
    };
    let patch = "PATCH Basic/nt\nContent-Type: application/json-patch+json";
    let kept = format!("200 ; ~{numbers}");
    let same = format!("{kept} ; etag: W/\"1\"");
    site.table(&[
        ("PUT Basic/nt", &body("a"), "201"),
        // What is the same is no new version, in XML neither.
        ("PUT Basic/nt", &body("a"), &same),
        ("GET Basic/nt", "", &same),
        ("PUT Basic/nt\nContent-Type: application/fhir+xml", r#"<Basic xmlns="http://hl7.org/fhir"><id value="nt"/><extension url="u"><valueDecimal value="1E-17"/></extension><extension url="u"><valueDecimal value="1.0e5"/></extension><extension url="u"><valueDecimal value="-0.0"/></extension><code><text value="a"/></code></Basic>"#, &same),
        // A patch leaves alone what it does not name.
        (patch, r#"[{"op":"replace","path":"/code/text","value":"b"}]"#, &kept),
        ("GET Basic/nt", "", &kept),
        ("GET Basic/nt/_history/1", "", &kept),
    ])
    .await;
}
