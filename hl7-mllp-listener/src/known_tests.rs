//! What a message asks of the server: as little as decides it, and more when that was too little.

use super::*;

/// An order's result, with who placed the order.
fn placed(control: &str, order: &str) -> String {
    let who = format!("ORC|RE|{order}^HIS|F{order}^LAB|||||||||D10^HOUSE^^^^^^^GH&1.2.3.4&ISO\r");
    oru(control, "0", "F", &[("1-1", "5", "F")])
        .replace("ORC|RE|O1^HIS|F1^LAB\r", &who)
        .replace("|O1^HIS|F1^LAB|", &format!("|{order}^HIS|F{order}^LAB|"))
}

const OF_EVERY_RESULT: &str = "DiagnosticReport?_id Observation?_id Patient?identifier ServiceRequest?identifier Task?identifier";

/// What was asked since the last time, by type and parameter.
fn asked(server: &FakeServer) -> String {
    let asked = std::mem::take(&mut *server.asked.lock().unwrap());
    let mut asked: Vec<&str> = asked
        .iter()
        .map(|url| url.split('=').next().unwrap())
        .collect();
    asked.sort_unstable();
    asked.join(" ")
}

/// The references of all orders to who placed them.
fn requesters(server: &FakeServer) -> Vec<String> {
    let orders = server.all("ServiceRequest");
    let mut found: Vec<String> = orders
        .iter()
        .map(|order| order["requester"]["reference"].as_str().unwrap().to_owned())
        .collect();
    found.sort_unstable();
    found
}

fn doctor(id: &str, value: &str) -> Json {
    json!({"resourceType": "Practitioner", "id": id, "identifier": [{"system": "urn:oid:1.2.3.4", "value": value}]})
}

#[tokio::test]
async fn who_is_named_again_is_not_looked_up_again() {
    let server = FakeServer::default();
    let processor = processor(&server);
    put(
        &mut server.rows.lock().unwrap(),
        "Practitioner/one",
        doctor("one", "D10"),
    );
    let with_practitioner = OF_EVERY_RESULT.replace("Patient?", "Patient?identifier Practitioner?");
    assert_eq!(send(&processor, &[placed("1", "A")]).await, ["AA"]);
    assert_eq!(asked(&server), with_practitioner);
    assert_eq!(send(&processor, &[placed("2", "B")]).await, ["AA"]);
    assert_eq!(asked(&server), OF_EVERY_RESULT);
    assert_eq!(requesters(&server), ["Practitioner/one"; 2]);

    // Another has changed who that is: what is remembered does not hold, and the message is decided anew.
    for (change, expect) in [
        ("changed", ["Practitioner/one"; 1]),
        ("replaced", ["Practitioner/two"; 1]),
    ] {
        {
            let mut rows = server.rows.lock().unwrap();
            match change {
                "changed" => {
                    let mut doctor = doctor("one", "D10");
                    doctor["active"] = json!(true);
                    put(&mut rows, "Practitioner/one", doctor);
                }
                _ => {
                    put(&mut rows, "Practitioner/one", doctor("one", "D11"));
                    put(&mut rows, "Practitioner/two", doctor("two", "D10"));
                }
            }
            rows.retain(|url, _| !url.starts_with("ServiceRequest/"));
        }
        assert_eq!(send(&processor, &[placed(change, change)]).await, ["AA"]);
        assert!(asked(&server).contains("Practitioner?_id Practitioner?identifier"));
        assert_eq!(requesters(&server), expect, "{change}");
    }
    {
        let mut rows = server.rows.lock().unwrap();
        rows.remove("Practitioner/two");
        rows.retain(|url, _| !url.starts_with("ServiceRequest/"));
    }
    assert_eq!(send(&processor, &[placed("3", "C")]).await, ["AA"]);
    // Deleted, it is made anew.
    let doctors = server.all("Practitioner");
    let made = doctors.iter().find(|own| own["id"] != "one").unwrap();
    let made = format!("Practitioner/{}", made["id"].as_str().unwrap());
    assert_eq!(requesters(&server), [made]);
}

#[tokio::test]
async fn an_id_is_asked_for_only_when_it_is_there() {
    let server = FakeServer::default();
    let processor = processor(&server);
    assert_eq!(send(&processor, &[adt("A01", "1", "")]).await, ["AA"]);
    asked(&server);
    // Somebody took the identifier away; the id that is derived from it is still the patient's.
    let mut patient = server.all("Patient")[0].clone();
    patient.as_object_mut().unwrap().remove("identifier");
    let url = format!("Patient/{}", patient["id"].as_str().unwrap());
    put(&mut server.rows.lock().unwrap(), &url, patient);
    let again = adt("A08", "2", "").replace("ALICE", "ALICIA");
    assert_eq!(send(&processor, &[again]).await, ["AA"]);
    let patients = server.all("Patient");
    assert_eq!(
        (patients.len(), &patients[0]["name"][0]["given"][0]),
        (1, &json!("ALICIA"))
    );
    let asked = asked(&server);
    assert_eq!(asked.matches("Patient?identifier").count(), 2, "{asked}");
    assert_eq!(asked.matches("Patient?_id").count(), 1, "{asked}");
}
