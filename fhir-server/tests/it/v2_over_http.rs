//! HL7 over HTTP: the same messages as over MLLP, with the same effects and answers.

use crate::mllp::{adt, msa, oru};
use crate::site::{Site, shared, with_settings};

const ER7: &str = "application/hl7-v2";

/// Sends a body; the status, and MSA-1 of each acknowledgement in the answer.
async fn post(site: &Site, content_type: &str, body: &str) -> (u16, Vec<String>) {
    let request = site.client.post(format!("{}/hl7v2", site.origin));
    let request = request
        .header("content-type", content_type)
        .body(body.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let lines = text.split('\r').filter(|line| line.starts_with("MSA|"));
    (status, lines.map(|line| msa(line).0.to_owned()).collect())
}

async fn check(content_type: &str, body: &str, status: u16, codes: &[&str]) {
    let (found, said) = post(&shared(), content_type, body).await;
    assert_eq!(
        (found, &said[..]),
        (
            status,
            &codes.iter().map(|&c| c.to_owned()).collect::<Vec<_>>()[..]
        ),
        "{content_type} {body:?}"
    );
}

#[tokio::test]
async fn messages_are_answered_in_the_body() {
    let message = adt("A04", "H1", 70_001);
    for content_type in [
        ER7,
        "application/hl7-v2; charset=UTF-8",
        "application/hl7-v2+er7",
        "x-application/hl7-v2+er7",
    ] {
        check(content_type, &message, 200, &["AA"]).await;
    }
    shared()
        .check(
            "GET Patient?identifier=M70001&_summary=count",
            "",
            "200 ; /total = 1",
        )
        .await;
    check(ER7, "no message", 200, &["AR"]).await;
    let enhanced = |accept, application| {
        let id = format!("H{accept}{application}");
        adt("A04", &id, 70_002).replace(
            "|2.5.1|||||||",
            &format!("|2.5.1|||{accept}|{application}|||"),
        )
    };
    check(ER7, &enhanced("AL", "NE"), 200, &["CA"]).await;
    check(ER7, &enhanced("AL", "AL"), 200, &["AA"]).await;
    check(ER7, &enhanced("NE", "NE"), 204, &[]).await;
}

#[tokio::test]
async fn batches_are_answered_as_batches() {
    let (one, two) = (adt("A04", "HB1", 70_003), adt("A04", "HB2", 70_004));
    let batch = format!("FHS|^~\\&|X\rBHS|^~\\&|X\r{one}{two}BTS|2\rFTS|1\r");
    check(ER7, &batch, 200, &["AA", "AA"]).await;
    check(ER7, &batch.replace("BTS|2", "BTS|3"), 200, &["AE", "AE"]).await;
}

/// What refers to the one who goes is more than a page of this site holds.
#[tokio::test]
async fn a_merge_moves_everything_however_short_pages_are() {
    let site = with_settings(&[("count_max", "2")]);
    let merge = adt("A40", "HM3", 70_012).replace("ADT_A40", "ADT_A39");
    let merge = merge.split("PV1|").next().unwrap();
    for message in [
        adt("A04", "HM1", 70_011),
        oru("HM2", 70_011, "70011", 7),
        format!("{merge}MRG|M70011^^^CAMP4^MR\r"),
    ] {
        assert_eq!(post(&site, ER7, &message).await, (200, vec!["AA".into()]));
    }
    let found = site
        .check(
            "GET Patient?identifier=M70012&active=true",
            "",
            "200 ; /total = 1",
        )
        .await
        .json();
    let survivor = found["entry"][0]["resource"]["id"].as_str().unwrap();
    for kind in [
        "Observation",
        "DiagnosticReport",
        "Encounter",
        "ServiceRequest",
    ] {
        let count = |query: &str| format!("GET {kind}?{query}_summary=count");
        let all = site.check(&count(""), "", "200").await.json()["total"].clone();
        let expect = format!("200 ; /total = {all}");
        site.check(&count(&format!("patient={survivor}&")), "", &expect)
            .await;
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_in_the_words_of_http() {
    let message = adt("A04", "H9", 70_009);
    for content_type in [
        "",
        "text/plain",
        "application/json",
        "application/hl7-v2+xml",
    ] {
        check(content_type, &message, 415, &[]).await;
    }
    let site = shared();
    let url = format!("{}/hl7v2", site.origin);
    let response = site.client.get(&url).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    // The limit is one of the site: a body that long is sent whole before the answer comes.
    let small = with_settings(&[("mllp_message_max_bytes", "2000")]);
    assert_eq!(post(&small, ER7, &"x".repeat(2_001)).await, (413, vec![]));
}
