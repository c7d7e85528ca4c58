//! What `$fhirpath` answers, over the types of R5.

use fhir_definitions::Definitions;
use fhirpath::{NoHost, evaluate_parameters};
use serde_json::{Value, json};

#[test]
fn answers() {
    let definitions = Definitions::load(&[]).unwrap();
    let patient = json!({"resourceType": "Patient", "id": "p", "active": true, "birthDate": "1970",
        "contact": [{"gender": "male"}], "name": [{"family": "Ngo", "given": ["A", "B"]}, {"given": ["C"]}]});
    let check = |parameters: Vec<Value>, expect: Value| {
        let mut all = vec![json!({"name": "resource", "resource": patient})];
        all.extend(parameters);
        let asked = json!({"resourceType": "Parameters", "parameter": all});
        let answer = evaluate_parameters(&asked, &definitions, &NoHost, "2026-01-31T08:00:00.000Z");
        let found = match answer {
            Ok(answer) => answer["parameter"].clone(),
            Err(error) => json!(error.to_string()),
        };
        assert_eq!(found, expect);
    };
    let expression = |text: &str| json!({"name": "expression", "valueString": text});
    check(
        vec![expression("name.given | birthDate")],
        json!([
            {"name": "result", "valueString": "A"}, {"name": "result", "valueString": "B"},
            {"name": "result", "valueString": "C"}, {"name": "result", "valueDate": "1970"}
        ]),
    );
    check(
        vec![expression("$this")],
        json!([{"name": "result", "resource": patient}]),
    );
    check(vec![expression("name.suffix")], json!([]));
    check(
        vec![expression("1.50 | 4 'mg'")],
        json!([
            {"name": "result", "valueDecimal": serde_json::from_str::<Value>("1.50").unwrap()},
            {"name": "result", "valueQuantity": {"value": 4, "system": "http://unitsofmeasure.org", "code": "mg"}}
        ]),
    );
    check(
        vec![
            expression("given.count()"),
            json!({"name": "context", "valueString": "name"}),
        ],
        json!([{"name": "result", "valueInteger": 2}, {"name": "result", "valueInteger": 1}]),
    );
    check(
        vec![
            expression("%a & %b.family"),
            json!({"name": "variables", "part": [
            {"name": "a", "valueCode": "x"}, {"name": "b", "valueHumanName": {"family": "y"}}]}),
        ],
        json!([{"name": "result", "valueString": "xy"}]),
    );
    check(
        vec![expression("contact")],
        json!([{"name": "result", "extension": [
        {"url": "http://fhir.forms-lab.com/StructureDefinition/json-value", "valueString": "{\"gender\":\"male\"}"}]}]),
    );
    check(vec![], json!("the parameter expression is missing"));
    check(
        vec![expression("name.")],
        json!("the expression is refused: a name was expected (at character 5)"),
    );
    check(
        vec![expression("name.single()")],
        json!("the expression ended: several items, where one was expected (at character 0)"),
    );
}
