//! Messages that take back, merge, move and rename, against a server in memory.

use super::*;

const VISIT: &str = "PV1|1|I|W1^101^A||||||||||||||||V9^^^GH&1.2.3.4&ISO^VN\r";

fn pid(number: &str) -> String {
    format!("PID|1||{number}^^^GH&1.2.3.4&ISO^MR||TEST^ALICE||19800229|F\r")
}

fn mrg(number: &str) -> String {
    format!("MRG|{number}^^^GH&1.2.3.4&ISO^MR\r")
}

fn event(name: &str, control: &str, lines: &[&str]) -> String {
    let header = msh(&format!("ADT^{name}"), control);
    format!("{header}EVN|{name}|20260302080000+0100\r{}", lines.concat())
}

fn result(control: &str, number: &str) -> String {
    let header = msh("ORU^R01", control);
    format!(
        "{header}{}OBR|1||F{control}^LAB|24320-4^Chem^LN\rOBX|1|NM|2823-3^K^LN||4.1||||||F\r",
        pid(number)
    )
}

async fn accepted(processor: &Processor, messages: &[String]) {
    for message in messages {
        let answer = processor.answer(message.as_bytes()).await;
        assert_eq!(answer.code, AckCode::AA, "{message}\n{answer:?}");
    }
}

fn patient(server: &FakeServer, number: &str) -> Json {
    let all = server.all("Patient");
    let own = all.into_iter().find(|own| {
        let identifiers = own["identifier"].as_array().unwrap();
        identifiers
            .iter()
            .any(|i| i["value"] == number && i["use"] != "old")
    });
    own.unwrap_or_default()
}

fn reference(resource: &Json) -> String {
    format!(
        "{}/{}",
        resource["resourceType"].as_str().unwrap(),
        resource["id"].as_str().unwrap()
    )
}

/// A server gives pages as long as it likes, whatever is asked for.
#[tokio::test]
async fn everything_moves_however_short_pages_are() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let admit = |number: &str, control: &str| event("A01", control, &[&pid(number), VISIT]);
    let results: Vec<String> = (10..17).map(|n| result(&n.to_string(), "1")).collect();
    accepted(&processor, &[admit("1", "1")]).await;
    accepted(&processor, &results).await;
    *server.page_max.lock().unwrap() = Some(2);
    let merge = event("A40", "3", &[&pid("2"), &mrg("1")]);
    accepted(&processor, &[merge]).await;
    let survivor = reference(&patient(&server, "2"));
    let moved = ["Encounter", "Observation", "DiagnosticReport"];
    for resource in moved.iter().flat_map(|kind| server.all(kind)) {
        assert_eq!(resource["subject"]["reference"], survivor, "{resource}");
    }
}

#[tokio::test]
async fn what_is_taken_back() {
    let admit = || event("A01", "1", &[&pid("1"), VISIT]);
    let transfer = || {
        event(
            "A02",
            "2",
            &[&pid("1"), &VISIT.replace("W1^101^A", "ICU^1^1")],
        )
    };
    let ended = "|||||||||||||||||||||||||20260301|20260305\r";
    let discharge = || event("A03", "3", &[&pid("1"), &VISIT.replace('\r', ended)]);
    let cancel = |name: &str| event(name, "9", &[&pid("1"), VISIT]);
    let planned = || event("A14", "4", &[&pid("1"), &VISIT.replace("|I|", "|P|")]);
    for (messages, status, places) in [
        (vec![admit(), cancel("A11")], "cancelled", vec!["W1"]),
        (vec![cancel("A11"), admit()], "cancelled", vec!["W1"]),
        (vec![admit(), transfer()], "in-progress", vec!["W1", "ICU"]),
        (
            vec![admit(), transfer(), cancel("A12")],
            "in-progress",
            vec!["W1"],
        ),
        (vec![admit(), discharge()], "completed", vec!["W1"]),
        (
            vec![admit(), discharge(), cancel("A08")],
            "completed",
            vec!["W1"],
        ),
        (
            vec![admit(), discharge(), cancel("A13")],
            "in-progress",
            vec!["W1"],
        ),
        // What is not so cannot be taken back.
        (vec![admit(), cancel("A38")], "in-progress", vec!["W1"]),
        (vec![admit(), cancel("A27")], "in-progress", vec!["W1"]),
        (vec![planned(), cancel("A27")], "cancelled", vec!["W1"]),
        (
            vec![admit(), discharge(), cancel("A11"), cancel("A13")],
            "cancelled",
            vec!["W1"],
        ),
    ] {
        let server = FakeServer::default();
        let processor = processor(&server);
        let planned = messages[0].contains("^A14");
        let messages: Vec<String> = messages
            .into_iter()
            .map(|m| {
                if planned {
                    m.replace("^A14", "^A08")
                } else {
                    m
                }
            })
            .collect();
        accepted(&processor, &messages).await;
        // Said again under another number, it changes nothing.
        accepted(
            &processor,
            &[messages
                .last()
                .unwrap()
                .replace("|9|", "|10|")
                .replace("|3|P", "|33|P")],
        )
        .await;
        let encounter = &server.all("Encounter")[0];
        assert_eq!(encounter["status"], status, "{messages:#?}");
        let found: Vec<&str> = encounter["location"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|own| {
                own["location"]["identifier"]["value"]
                    .as_str()
                    .or(own["location"]["display"].as_str())
                    .unwrap()
            })
            .collect();
        assert!(
            found.len() == places.len()
                && found
                    .iter()
                    .zip(&places)
                    .all(|(own, place)| own.contains(place)),
            "{messages:#?} {found:?}"
        );
        if status == "in-progress" {
            assert_eq!(encounter["actualPeriod"].get("end"), None, "{messages:#?}");
            let places = encounter["location"].as_array().unwrap();
            assert_eq!(places.last().unwrap()["status"], "active");
        }
    }
}

#[tokio::test]
async fn a_merge() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let merge =
        |control: &str, from: &str, to: &str| event("A40", control, &[&pid(to), &mrg(from)]);
    accepted(
        &processor,
        &[
            result("1", "1"),
            event("A01", "2", &[&pid("1"), VISIT]),
            event("A08", "3", &[&pid("2")]),
            merge("4", "1", "2"),
            result("5", "1"),
            event("A08", "6", &[&pid("1").replace("ALICE", "ALICIA")]),
        ],
    )
    .await;
    let (gone, survivor) = (patient(&server, "1"), patient(&server, "2"));
    assert_eq!(
        (&gone["active"], &survivor["active"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        gone["link"],
        json!([{"other": {"reference": reference(&survivor)}, "type": "replaced-by"}])
    );
    assert_eq!(
        survivor["link"],
        json!([{"other": {"reference": reference(&gone)}, "type": "replaces"}])
    );
    assert_eq!(survivor["name"][0]["given"][0], "ALICIA");
    let old = survivor["identifier"].as_array().unwrap();
    assert!(
        old.iter()
            .any(|own| own["value"] == "1" && own["use"] == "old"),
        "{survivor}"
    );
    for kind in ["Observation", "DiagnosticReport", "Encounter"] {
        for resource in server.all(kind) {
            assert_eq!(
                resource["subject"]["reference"],
                reference(&survivor),
                "{kind}"
            );
        }
    }
    let tasks = server.all("Task");
    assert!(
        tasks
            .iter()
            .all(|task| task["for"]["reference"] == reference(&survivor))
    );
    let merged = tasks
        .iter()
        .find(|task| task["code"]["text"] == "ADT^A40")
        .unwrap();
    let provenance = server.all("Provenance").into_iter().find(|own| {
        own["entity"][0]["what"]["reference"] == merged["input"][0]["valueReference"]["reference"]
    });
    let targets = provenance.unwrap()["target"].clone();
    for key in [&gone, &survivor, &server.all("Encounter")[0]] {
        let own = format!("{}/_history/", reference(key));
        let names = |target: &Json| target["reference"].as_str().unwrap().starts_with(&own);
        assert!(targets.as_array().unwrap().iter().any(names), "{targets}");
    }

    // Again, and on along the chain; but not back, and not elsewhere.
    let before = (patient(&server, "1"), patient(&server, "2"));
    accepted(
        &processor,
        &[merge("7", "1", "2").replace("ALICE", "ALICIA")],
    )
    .await;
    assert_eq!((patient(&server, "1"), patient(&server, "2")), before);
    accepted(
        &processor,
        &[
            merge("8", "2", "3"),
            merge("9", "1", "2"),
            result("10", "1"),
        ],
    )
    .await;
    let last = patient(&server, "3");
    assert!(
        server
            .all("Observation")
            .iter()
            .all(|own| own["subject"]["reference"] == reference(&last))
    );
    for message in [merge("11", "3", "1"), merge("12", "1", "4")] {
        let answer = processor.answer(message.as_bytes()).await;
        assert_eq!(
            (answer.code, answer.errors[0].code),
            (AckCode::AE, ErrorCode::DuplicateKey),
            "{message}"
        );
    }
    let nobody = event("A40", "13", &[&pid("2"), "MRG|\r"]);
    let answer = processor.answer(nobody.as_bytes()).await;
    assert_eq!(
        (answer.code, answer.errors[0].code),
        (AckCode::AE, ErrorCode::RequiredField)
    );
}

#[tokio::test]
async fn a_merge_before_anything_is_known() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let merge = event("A40", "1", &[&pid("2"), &mrg("1"), &pid("2"), &mrg("3")]);
    accepted(&processor, &[merge, result("2", "1"), result("3", "3")]).await;
    let survivor = patient(&server, "2");
    assert_eq!(survivor["link"].as_array().unwrap().len(), 2);
    for number in ["1", "3"] {
        assert_eq!(patient(&server, number)["active"], false);
    }
    for resource in server.all("Observation") {
        assert_eq!(resource["subject"]["reference"], reference(&survivor));
    }
}

/// A result comes in between any two steps of a merge, written by one who read the patient before.
#[tokio::test]
async fn a_result_races_a_merge() {
    let server = FakeServer::default();
    let processor = processor(&server);
    accepted(
        &processor,
        &[result("1", "1"), event("A08", "2", &[&pid("2")])],
    )
    .await;
    let gone = reference(&patient(&server, "1"));
    server.meanwhile.lock().unwrap().push(Box::new(move |rows| {
        let late =
            json!({"resourceType": "Observation", "id": "late", "subject": {"reference": gone}});
        put(rows, "Observation/late", late);
    }));
    accepted(&processor, &[event("A40", "3", &[&pid("2"), &mrg("1")])]).await;
    let survivor = reference(&patient(&server, "2"));
    let observations = server.all("Observation");
    assert_eq!(observations.len(), 2);
    for resource in observations {
        assert_eq!(resource["subject"]["reference"], survivor);
    }
}

#[tokio::test]
async fn a_visit_moves_and_is_renamed_and_merged() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let result_of_visit = result("2", "1").replace("\rOBR", &format!("\r{VISIT}OBR"));
    let visit_number =
        |number: &str| format!("MRG|1^^^GH&1.2.3.4&ISO^MR||||{number}^^^GH&1.2.3.4&ISO^VN\r");
    accepted(
        &processor,
        &[
            event("A01", "1", &[&pid("1"), VISIT]),
            result_of_visit,
            result("3", "1"),
            event("A45", "4", &[&pid("2"), &visit_number("V9"), VISIT]),
        ],
    )
    .await;
    let (one, two) = (
        reference(&patient(&server, "1")),
        reference(&patient(&server, "2")),
    );
    let encounter = server.all("Encounter")[0].clone();
    assert_eq!(encounter["subject"]["reference"], two);
    let mut subjects: Vec<bool> = Vec::new();
    for own in server.all("Observation") {
        let is_of_visit = own["encounter"]["reference"] == reference(&encounter);
        assert_eq!(
            own["subject"]["reference"],
            *if is_of_visit { &two } else { &one }
        );
        subjects.push(is_of_visit);
    }
    subjects.sort_unstable();
    assert_eq!(subjects, [false, true]);

    let other = VISIT.replace("|V9^", "|V10^");
    let mrg = visit_number("V9").replace("|1^", "|2^");
    accepted(
        &processor,
        &[
            event("A50", "5", &[&pid("2"), &mrg, &other]),
            // By the number it had it is still found.
            event("A08", "6", &[&pid("2"), VISIT]),
        ],
    )
    .await;
    let encounters = server.all("Encounter");
    assert_eq!(
        (encounters.len(), &encounters[0]["id"]),
        (1, &encounter["id"])
    );

    accepted(
        &processor,
        &[
            event("A01", "7", &[&pid("2"), &VISIT.replace("|V9^", "|V11^")]),
            event(
                "A42",
                "8",
                &[
                    &pid("2"),
                    &mrg.replace("V9", "V10"),
                    &VISIT.replace("|V9^", "|V11^"),
                ],
            ),
            event("A08", "9", &[&pid("2"), &other.replace("|I|", "|E|")]),
        ],
    )
    .await;
    let encounters = server.all("Encounter");
    let gone = encounters
        .iter()
        .find(|own| own["id"] == encounter["id"])
        .unwrap();
    let survivor = encounters
        .iter()
        .find(|own| own["id"] != encounter["id"])
        .unwrap();
    assert_eq!(
        (encounters.len(), &gone["status"]),
        (2, &json!("entered-in-error"))
    );
    assert_eq!(
        survivor["class"][0]["coding"][0]["code"], "EMER",
        "{survivor}"
    );
    let of_visit = server
        .all("Observation")
        .into_iter()
        .filter(|own| own["encounter"].is_object());
    for own in of_visit {
        assert_eq!(own["encounter"]["reference"], reference(survivor));
    }
}

#[tokio::test]
async fn other_identifiers_and_links() {
    let server = FakeServer::default();
    let processor = processor(&server);
    accepted(
        &processor,
        &[
            event("A08", "1", &[&pid("1")]),
            event("A47", "2", &[&pid("2"), &mrg("1")]),
            event("A47", "3", &[&pid("2"), &mrg("1")]),
            result("4", "1"),
            result("5", "2"),
        ],
    )
    .await;
    let all = server.all("Patient");
    assert_eq!(all.len(), 1, "{all:#?}");
    let identifiers = all[0]["identifier"].as_array().unwrap();
    let of = |number: &str| {
        identifiers
            .iter()
            .find(|own| own["value"] == number)
            .unwrap()
    };
    assert_eq!(
        (identifiers.len(), &of("1")["use"], of("2").get("use")),
        (2, &json!("old"), None)
    );

    accepted(&processor, &[event("A08", "6", &[&pid("3")])]).await;
    let answer = processor
        .answer(event("A47", "7", &[&pid("3"), &mrg("2")]).as_bytes())
        .await;
    assert_eq!(
        (answer.code, answer.errors[0].code),
        (AckCode::AE, ErrorCode::DuplicateKey)
    );

    accepted(&processor, &[event("A24", "8", &[&pid("2"), &pid("3")])]).await;
    let link = |to: &Json| json!([{"other": {"reference": reference(to)}, "type": "seealso"}]);
    let (two, three) = (patient(&server, "2"), patient(&server, "3"));
    assert_eq!((&two["link"], &three["link"]), (&link(&three), &link(&two)));
    accepted(&processor, &[event("A37", "9", &[&pid("2"), &pid("3")])]).await;
    assert_eq!(
        (
            patient(&server, "2").get("link"),
            patient(&server, "3").get("link")
        ),
        (None, None)
    );
}

#[tokio::test]
async fn a_number_moves_between_patients() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let both = |master: &str| format!("{master}^^^EMPI&1.9&ISO^PI~7^^^GH&1.2.3.4&ISO^MR");
    let pid = |ids: &str| pid("7").replace("7^^^GH&1.2.3.4&ISO^MR", ids);
    accepted(
        &processor,
        &[
            event("A08", "1", &[&pid(&both("E1"))]),
            event("A08", "2", &[&pid("E2^^^EMPI&1.9&ISO^PI")]),
            result("3", "7"),
            event(
                "A43",
                "4",
                &[&pid(&both("E2")), &format!("MRG|{}\r", both("E1"))],
            ),
            result("5", "7"),
        ],
    )
    .await;
    let (from, to) = (patient(&server, "E1"), patient(&server, "E2"));
    assert_ne!(from["id"], to["id"]);
    assert_eq!(patient(&server, "7")["id"], to["id"]);
    assert_eq!(from["active"], true);
    for own in server.all("Observation") {
        assert_eq!(own["subject"]["reference"], reference(&to));
    }
}

#[tokio::test]
async fn what_repeats_in_a_message_is_told_of_one_thing() {
    let server = FakeServer::default();
    let processor = processor(&server);
    let person = "PID|1||1^^^GH&1.2.3.4&ISO^MR||TEST^ALICE||19800229|F||||||||||77\r";
    let diagnoses = "DG1|1||I10^Pain^I10|||A\rDG1|2||I11^Ache^I10|||F\r";
    let guarantors = "GT1|1||DOE^BOB||||||||FTH||20260301\rGT1|2||DOE^EVA||||||||MTH\r";
    let admit = event("A01", "1", &[person, VISIT, diagnoses, guarantors]);
    accepted(&processor, &[admit]).await;
    let told = |path: &str| -> Vec<Json> {
        let (kind, list) = path.split_once('.').unwrap();
        let all = server.all(kind);
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0][list].as_array().cloned().unwrap_or_default()
    };
    let uses: Vec<Json> = told("Encounter.diagnosis")
        .iter()
        .map(|own| own["use"][0]["coding"][0]["code"].clone())
        .collect();
    assert_eq!(uses, ["AD", "final"]);
    let starts: Vec<Json> = told("Account.guarantor")
        .iter()
        .map(|own| own["period"]["start"].clone())
        .collect();
    assert_eq!(starts, [Json::from("2026-03-01"), Json::Null]);

    // The next message tells the diagnoses anew, and nothing of guarantors.
    let update = event("A08", "2", &[person, VISIT, "DG1|1||I12^Ouch^I10|||W\r"]);
    accepted(&processor, &[update]).await;
    let left = told("Encounter.diagnosis");
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0]["use"][0]["coding"][0]["code"], "working");
    assert_eq!(told("Account.guarantor").len(), 2);
}
