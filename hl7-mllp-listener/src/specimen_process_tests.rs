//! Specimens in end states: what names one finds it, and what two specimens of one order have in common are two things.

use super::*;

fn report(control: &str, segments: &str) -> String {
    let header = msh("ORU^R01", control);
    format!("{header}{PID}OBR|1|O1^HIS|F1^LAB|1-1^x^LN\r{segments}")
}

/// Id and number of every specimen.
fn specimens(server: &FakeServer) -> Vec<(String, String)> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let all = server.all("Specimen");
    let mut all: Vec<_> = all
        .iter()
        .map(|own| (text(&own["identifier"][0]["value"]), text(&own["id"])))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_result_finds_the_specimen_that_it_names() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let both = "SPM|1|S1&HIS||BLD\rSPM|2|S2&HIS||UR\r";
    let result = |code: &str, specimen: &str| {
        format!("OBX|1|NM|{code}^x^LN||1||||||F{:|<22}{specimen}\r", "")
    };
    let codes = send(
        &processor,
        &[
            // Of this message, and of a message that is still to come.
            report(
                "1",
                &format!("{}{}{both}", result("a", "S2&HIS"), result("b", "S3&HIS")),
            ),
            report("2", "SPM|1|S3&HIS||CSF\r"),
            // Of a message that came before.
            report("3", &result("c", "S1&HIS")),
        ],
    )
    .await;
    assert_eq!(codes, ["AA"; 3]);
    let specimens = specimens(&server);
    let numbers: Vec<&str> = specimens.iter().map(|(number, _)| &**number).collect();
    assert_eq!(numbers, ["S1", "S2", "S3"]);
    let types: Vec<Json> = server
        .all("Specimen")
        .iter()
        .map(|s| s["type"].clone())
        .collect();
    assert!(types.iter().all(|own| !own.is_null()), "{types:?}");
    for observation in server.all("Observation") {
        let number = match observation["code"]["coding"][0]["code"].as_str() {
            Some("a") => "S2",
            Some("b") => "S3",
            _ => "S1",
        };
        let (_, id) = specimens.iter().find(|(own, _)| own == number).unwrap();
        let expect = json!({"reference": format!("Specimen/{id}")});
        assert_eq!(observation["specimen"], expect, "{observation}");
    }
}

/// The same was observed of both; a message that tells of the second alone does not change the first.
#[tokio::test]
async fn each_specimen_has_observations_of_its_own() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let volume = |number: u32, ml: u32| {
        format!("SPM|{number}|S{number}&HIS||BLD\rOBX|1|NM|V^volume^L||{ml}|mL^^UCUM|||||F\r")
    };
    let messages = [
        report("1", &format!("{}{}", volume(1, 5), volume(2, 9))),
        report("2", &volume(2, 8)),
    ];
    assert_eq!(send(&processor, &messages).await, ["AA"; 2]);
    let specimens = specimens(&server);
    let mut found: Vec<(String, Json)> = Vec::new();
    for observation in server.all("Observation") {
        let about = &observation["focus"][0]["reference"];
        assert_eq!(observation["specimen"]["reference"], *about);
        let about = about.as_str().unwrap();
        let (number, _) = specimens
            .iter()
            .find(|(_, id)| about.ends_with(id))
            .unwrap();
        found.push((
            number.clone(),
            observation["valueQuantity"]["value"].clone(),
        ));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        found,
        [("S1".to_owned(), json!(5)), ("S2".to_owned(), json!(8))]
    );
}
