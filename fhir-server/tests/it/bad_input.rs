//! What a hostile or broken client sends: a clear OperationOutcome each time, and the server keeps serving.

use crate::site::{shared, with_settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn bodies() {
    let site = shared();
    let deep = format!(
        r#"{{"resourceType":"Basic","extension":{}"#,
        "[{\"extension\":".repeat(10_000)
    );
    let nested = format!(
        r#"{{"resourceType":"Basic","code":{{"text":"x"}},"extension":{}[]{}}}"#,
        r#"[{"url":"u","extension":"#.repeat(55),
        "}]".repeat(55)
    );
    site.table(&[
        (
            "POST Patient",
            "{",
            "400 ; /issue/0/code = invalid ; ~line 1",
        ),
        ("POST Patient", r#"{"resourceType":"Patient",}"#, "400"),
        ("POST Patient", "{}{}", "400"),
        ("POST Patient", "null", "400"),
        ("POST Patient", "garbage", "400"),
        ("POST Patient", "", "400"),
        ("POST Patient", &deep, "400"),
        ("POST Basic", &nested, "422 ; /issue/0/code = too-costly"),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","name":[{"family":"a\u0000b"}]}"#,
            "400 ; /issue/0/expression/0 = Patient.name[0].family",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","na\u0000me":1}"#,
            "400",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","name":[{"family":"\ud800"}]}"#,
            "400",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","multipleBirthInteger":1e999999}"#,
            "422",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","multipleBirthInteger":3000000000}"#,
            "400",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","name":[null]}"#,
            "400",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","name":[]}"#,
            "400",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","name":[{}]}"#,
            "400",
        ),
        (
            "POST Patient",
            r#"{"resourceType":"Patient","name":[{"family":""}]}"#,
            "400",
        ),
        ("POST Patient", r#"{"resourceType":["Patient"]}"#, "400"),
    ])
    .await;
    let latin = site
        .client
        .post(format!("{}/Patient", site.base()))
        .header("content-type", "application/fhir+json");
    let answer = latin
        .body(b"{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"M\xfcller\"}]}".to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn urls() {
    let site = shared();
    let long = format!("GET Patient?name={}", "x".repeat(40_000));
    let many = format!("GET Patient?{}", "name=x&".repeat(4_000));
    site.table(&[
        (&long, "", "414 ; /issue/0/code = too-long"),
        (
            &format!("GET Patient?family={}", "x".repeat(257)),
            "",
            "400 ; /issue/0/code = too-long",
        ),
        (
            &format!("GET Patient?family={}", "x".repeat(256)),
            "",
            "200",
        ),
        (
            &format!("GET Observation?code-value-string=x${}", "x".repeat(257)),
            "",
            "400 ; /issue/0/code = too-long",
        ),
        ("GET Patient/%ff", "", "400"),
        ("GET Patient/%00", "", "400"),
        ("GET Patient/..%2f..%2fetc", "", "400"),
        ("GET Patient/1%27;drop", "", "400"),
        ("GET %50atient/none", "", "404"),
        ("GET Patient/none?_format=%zz", "", "400"),
    ])
    .await;
    assert!(site.send(&many, "").await.status < 500);
}

/// Speaks raw bytes, and reads until the server has nothing more to say.
async fn raw(origin: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(origin.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let wait = std::time::Duration::from_secs(5);
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(wait, stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..read]);
        if answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn sockets() {
    let site = shared();
    for (bytes, expect) in [
        (&b"\x00\x01\x02garbage\r\n\r\n"[..], "400"),
        (b"GET /fhir/Patient/none HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", "400"),
        (b"GET /fhir/Patient/none HTTP/1.1\r\nHost: x<script>\r\nConnection: close\r\n\r\n", "400"),
        (b"GET /fhir/Patient/none HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "400"),
        (b"GET /fhir/Patient/none HTTP/1.0\r\n\r\n", "404"),
        (b"POST /fhir/Patient HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{", "413"),
        (b"POST /fhir/Patient HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"POST /fhir/Patient HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
        (b"POST /fhir/Patient HTTP/1.1\r\nHost: h\r\nIf-None-Exist: identifier=\xff\xfe\r\nContent-Type: application/json\r\nContent-Length: 26\r\nConnection: close\r\n\r\n{\"resourceType\":\"Patient\"}", "400"),
    ] {
        let answer = raw(&site.origin, bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expect}")) || answer.starts_with(&format!("HTTP/1.0 {expect}")), "{expect}: {answer}");
    }
    site.check("GET Patient/none", "", "404").await;
}

/// A client that sends all before it listens gets its answer, also where the body is refused before it is read.
#[tokio::test]
async fn what_is_refused_unread_is_answered() {
    let site = with_settings(&[
        ("body_max_bytes", "2000"),
        ("mllp_message_max_bytes", "2000"),
    ]);
    let length = 20_000_000;
    for (path, content_type, expect) in [
        ("/hl7v2", "application/hl7-v2", "413"),
        ("/hl7v2", "text/plain", "415"),
        ("/fhir/Patient", "application/fhir+json", "413"),
        ("/fhir/Patient", "image/png", "415"),
        ("/fhir/Nothing", "application/fhir+json", "404"),
    ] {
        for is_chunked in [false, true] {
            let (how, begin, end) = match is_chunked {
                false => (format!("Content-Length: {length}"), String::new(), ""),
                true => (
                    "Transfer-Encoding: chunked".to_owned(),
                    format!("{length:x}\r\n"),
                    "\r\n0\r\n\r\n",
                ),
            };
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\n{how}\r\n\r\n{begin}"
            );
            let mut bytes = head.into_bytes();
            bytes.resize(bytes.len() + length, b'x');
            bytes.extend_from_slice(end.as_bytes());
            let answer = raw(&site.origin, &bytes).await;
            let status = format!("HTTP/1.1 {expect}");
            assert!(
                answer.starts_with(&status),
                "{path} {content_type} {how}: {answer}"
            );
        }
    }
    // Who asks first whether to send is told at once, and sends nothing.
    let asks = b"POST /hl7v2 HTTP/1.1\r\nHost: h\r\nContent-Type: application/hl7-v2\r\nContent-Length: 3000\r\nExpect: 100-continue\r\n\r\n";
    let answer = raw(&site.origin, asks).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_thousand_idle_connections_and_half_open_ones() {
    hl7_mllp_listener::server::raise_open_file_limit();
    let site = shared();
    let address = site.origin.strip_prefix("http://").unwrap().to_string();
    let mut idle = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if number % 4 == 0 {
            stream.write_all(b"POST /fhir/Patient HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"res").await.unwrap();
        } else if number % 4 == 1 {
            stream.write_all(b"GET /fhir/Pat").await.unwrap();
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        site.check("GET Patient/none", "", "404").await;
    }
    site.check(
        "POST Basic",
        r#"{"resourceType":"Basic","code":{"text":"x"}}"#,
        "201",
    )
    .await;
    drop(idle);
    site.check("GET Patient/none", "", "404").await;
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let site = with_settings(&[("header_timeout_ms", "200"), ("body_timeout_ms", "200")]);
    let slow_body = raw(&site.origin, b"POST /fhir/Patient HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{").await;
    assert!(slow_body.starts_with("HTTP/1.1 408"), "{slow_body}");
    let mut stream = TcpStream::connect(site.origin.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(b"GET /fh").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(
        std::time::Duration::from_secs(5),
        stream.read_to_end(&mut rest),
    )
    .await;
    assert!(ended.is_ok(), "the connection must be closed");
}

#[tokio::test]
async fn clients_that_do_not_read_are_let_go() {
    let site = with_settings(&[("send_timeout_ms", "500")]);
    let text = "x".repeat(900_000);
    let body = format!(r#"{{"resourceType":"Basic","id":"large","code":{{"text":"{text}"}}}}"#);
    site.check("PUT Basic/large", &body, "201").await;
    let mut stream = TcpStream::connect(site.origin.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let request = "GET /fhir/Basic/large HTTP/1.1\r\nHost: h\r\n\r\n";
    stream
        .write_all(request.repeat(30).as_bytes())
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let mut taken = Vec::new();
    let ended = stream.read_to_end(&mut taken).await;
    assert!(
        ended.is_err() || taken.len() < 30 * text.len(),
        "all of {} bytes were kept",
        taken.len()
    );
}
