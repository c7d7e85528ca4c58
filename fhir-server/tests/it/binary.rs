//! Binaries in their own form: bytes in, the same bytes out, and what is told beside them.

use crate::site::{Site, id_of, shared};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Every byte, so that no text is left.
fn bytes() -> Vec<u8> {
    (0..=255u8).rev().collect()
}

struct Received {
    status: u16,
    headers: reqwest::header::HeaderMap,
    bytes: Vec<u8>,
}

/// As [`Site::send`], with bodies that are no text.
async fn send(site: &Site, request: &str, body: Vec<u8>) -> Received {
    let mut lines = request.lines();
    let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
    let url = format!("{}/{path}", site.base());
    let mut builder = site.client.request(method.parse().unwrap(), url);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    let response = builder.body(body).send().await.unwrap();
    Received {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        bytes: response.bytes().await.unwrap().to_vec(),
    }
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

#[tokio::test]
async fn bytes_in_and_out() {
    let site = shared();
    for content_type in [
        "image/png",
        "application/pdf",
        "text/plain; charset=latin1",
        "application/fhir+json",
    ] {
        // FHIR's own type needs FHIR's syntax; what is a resource of another type is the content.
        let sent = match content_type {
            "application/fhir+json" => br#"{"resourceType":"Basic","id":"x"}"#.to_vec(),
            _ => bytes(),
        };
        let request =
            format!("POST Binary\nContent-Type: {content_type}\nX-Security-Context: Patient/p1");
        let created = send(&site, &request, sent.clone()).await;
        assert_eq!(created.status, 201, "{content_type}");
        assert_eq!(created.header("etag"), "W/\"1\"");
        let location = created.header("location").to_string();
        let id = location.split('/').rev().nth(2).unwrap().to_string();
        for path in [format!("Binary/{id}"), format!("Binary/{id}/_history/1")] {
            for accept in [
                "*/*",
                "image/*",
                "text/html,application/xml;q=0.9,*/*;q=0.8",
            ] {
                let read = send(&site, &format!("GET {path}\nAccept: {accept}"), Vec::new()).await;
                assert_eq!(read.status, 200, "{path} {accept}");
                assert_eq!(read.bytes, sent, "{path} {accept}");
                assert_eq!(read.header("content-type"), content_type);
                assert_eq!(read.header("x-security-context"), "Patient/p1");
                assert_eq!(read.header("x-content-type-options"), "nosniff");
                assert_eq!(read.header("etag"), "W/\"1\"");
                assert!(read.headers.contains_key("last-modified"));
            }
            let head = send(&site, &format!("HEAD {path}"), Vec::new()).await;
            assert_eq!(head.header("content-length"), sent.len().to_string());
            assert_eq!(head.header("content-type"), content_type);
            assert!(head.bytes.is_empty());
            let resource = format!(
                "200 ; content-type: application/fhir+json ; /contentType = {content_type} ; /securityContext/reference = Patient/p1 ; /data = {}",
                STANDARD.encode(&sent)
            );
            site.check(
                &format!("GET {path}\nAccept: application/fhir+json"),
                "",
                &resource,
            )
            .await;
            site.check(&format!("GET {path}?_format=json"), "", &resource)
                .await;
            let xml = send(
                &site,
                &format!("GET {path}\nAccept: application/fhir+xml"),
                Vec::new(),
            )
            .await;
            assert!(
                xml.bytes.starts_with(b"<?xml") && xml.status == 200,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn updates_and_conditions() {
    let site = shared();
    let text = "\nContent-Type: text/plain";
    site.table(&[
        (&format!("PUT Binary/up{text}"), "one", "201 ; etag: W/\"1\" ; /contentType = text/plain ; /id = up"),
        (&format!("PUT Binary/up{text}"), "one", "200 ; etag: W/\"1\""),
        (&format!("PUT Binary/up{text}\nIf-Match: W/\"9\""), "two", "412"),
        (&format!("PUT Binary/up{text}\nIf-Match: W/\"1\"\nX-Security-Context: Patient/a"), "two", "200 ; etag: W/\"2\" ; /securityContext/reference = Patient/a"),
        ("GET Binary/up\nAccept: text/plain", "", "200 ; x-security-context: Patient/a ; ~two"),
        ("GET Binary/up/_history/1", "", "200 ; ~one"),
        ("GET Binary/up\nIf-None-Match: W/\"2\"", "", "304 ; empty"),
        ("GET Binary/up\nAccept: image/png\nIf-None-Match: W/\"2\"", "", "304 ; empty"),
        (&format!("PUT Binary/up{text}\nPrefer: return=minimal"), "three", "200 ; empty"),
        (&format!("PUT Binary?_id=up{text}"), "four", "200 ; etag: W/\"4\""),
        ("GET Binary/up?_summary=true", "", "200 ; /resourceType = Binary ; /data absent ; /meta/tag/0/code = SUBSETTED"),
        ("GET Binary?_id=up", "", "200 ; /entry/0/resource/data = Zm91cg=="),
        ("GET Binary/up/_history", "", "200 ; /total = 4 ; /entry/3/resource/data = b25l"),
        ("POST ", r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Binary/up"}}]}"#, "200 ; /entry/0/resource/data = Zm91cg=="),
        // The resource itself, as any other.
        ("PUT Binary/up", r#"{"resourceType":"Binary","id":"up","contentType":"text/html","data":"PGI+"}"#, "200"),
        ("GET Binary/up", "", "200 ; content-type: text/html ; content-disposition: attachment ; content-security-policy: sandbox ; ~<b>"),
        ("PUT Binary/up", r#"{"resourceType":"Binary","id":"other","contentType":"text/html"}"#, "400"),
        ("PUT Binary/up", r#"{"resourceType":"Binary","id":"up","contentType":"text/html"}"#, "200"),
        ("GET Binary/up", "", "200 ; empty ; content-type: text/html"),
        ("PUT Binary/up", r#"{"resourceType":"Binary","id":"up","data":"PGI+"}"#, "422"),
        ("DELETE Binary/up", "", "204"),
        ("GET Binary/up\nAccept: image/png", "", "410 ; content-type: application/fhir+json"),
        ("GET Binary/none", "", "404"),
        ("GET Binary/up/_history/1\nAccept: application/fhir+json; fhirVersion=4.0", "", "406"),
        ("GET Binary/up/_history/1?_format=png", "", "406"),
    ])
    .await;
    let once = format!("POST Binary\nIf-None-Exist: _tag=urn:none|none{text}");
    let created = site.check(&once, "x", "201").await;
    let id = id_of(&created);
    site.check(&format!("GET Binary/{id}"), "", "200 ; ~x")
        .await;
    // Nothing is guessed.
    let untyped = send(&site, "POST Binary", b"x".to_vec()).await;
    assert_eq!(untyped.status, 415);
    // Other types take no content.
    site.check(&format!("POST Basic{text}"), "x", "415").await;
}

#[tokio::test]
async fn large_content() {
    let site = shared();
    let request = "PUT Binary/large\nContent-Type: application/octet-stream";
    let large = vec![7; 1_000_000];
    assert_eq!(send(&site, request, large.clone()).await.status, 201);
    assert_eq!(
        send(&site, "GET Binary/large", Vec::new()).await.bytes,
        large
    );
}
