//! Functional lists (<https://hl7.org/fhir/R5/lifecycle.html#current>): `_list=$current-problems` and its like, as clauses.
//!
//! The specification names the lists and leaves to the server what is on them. Here: where a patient has a List with status `current` and one of the
//! codes below, what that refers to. Else what the resources say of themselves, in the rows below; a status that is missing excludes nothing, as
//! <https://hl7.org/fhir/R5/search.html#missing> asks for. Whose list it is, is said by the other parameters (`patient=42`), a compartment or a chain.
//! Refuses other names; of a type that is never on the list none is found.

use crate::parse::Refusal;
use crate::parse_clause::Parser;
use crate::query::{ChainedClause, Clause, DateMatch, Modifier, Prefix, ValueMatch};
use fhir_model::DateRange;

struct FunctionalList {
    name: &'static str,
    /// `List.code` of one that somebody keeps.
    codes: &'static str,
    /// The types on it, and what such a resource must meet.
    members: &'static [(&'static str, &'static [(&'static str, &'static str)])],
}

const NOT_REFUTED: (&str, &str) = ("verification-status:not", "refuted,entered-in-error");

/// Those of [`ALLERGIES`] that are to a medication.
const DRUG_ALLERGIES: &str = "$current-drug-allergies";
const ALLERGIES: &str = "$current-allergies";

const LISTS: [FunctionalList; 3] = [
    FunctionalList {
        name: "$current-problems",
        codes: "http://terminology.hl7.org/CodeSystem/list-example-use-codes|problems,http://loinc.org|11450-4,http://loinc.org|46105-3",
        members: &[(
            "Condition",
            &[
                (
                    "category",
                    "http://terminology.hl7.org/CodeSystem/condition-category|problem-list-item",
                ),
                ("clinical-status:not", "inactive,remission,resolved"),
                NOT_REFUTED,
            ],
        )],
    },
    FunctionalList {
        name: "$current-medications",
        codes: "http://terminology.hl7.org/CodeSystem/list-example-use-codes|medications,http://loinc.org|10160-0,http://loinc.org|57828-6",
        members: &[
            (
                "MedicationRequest",
                &[("status", "active"), ("intent:not", "proposal,plan,option")],
            ),
            (
                "MedicationStatement",
                &[
                    ("status", "recorded"),
                    (
                        "adherence:not",
                        "not-taking,stopped,stopped-as-directed,stopped-not-as-directed,on-hold,on-hold-as-directed,on-hold-not-as-directed",
                    ),
                ],
            ),
        ],
    },
    FunctionalList {
        name: ALLERGIES,
        codes: "http://terminology.hl7.org/CodeSystem/list-example-use-codes|allergies,http://terminology.hl7.org/CodeSystem/list-example-use-codes|adverserxns,http://loinc.org|48765-2,http://loinc.org|52472-8",
        members: &[(
            "AllergyIntolerance",
            &[("clinical-status:not", "inactive,resolved"), NOT_REFUTED],
        )],
    },
];

/// Whether a resource of the type is on the functional list `name`.
pub(crate) fn clause(
    parser: &mut Parser<'_>,
    resource_type: &str,
    name: &str,
    depth: usize,
) -> Result<Clause, Refusal> {
    if name == DRUG_ALLERGIES && resource_type == "AllergyIntolerance" {
        return Ok(Clause::All(vec![
            parser.clause(resource_type, "category", "medication", depth)?,
            clause(parser, resource_type, ALLERGIES, depth)?,
        ]));
    }
    let Some(list) = LISTS.iter().find(|list| list.name == name) else {
        if name == DRUG_ALLERGIES {
            return Ok(Clause::Any(Vec::new()));
        }
        let names: Vec<&str> = LISTS.iter().map(|list| list.name).collect();
        return Err(Refusal::invalid(format!(
            "the functional lists are {} and {DRUG_ALLERGIES}",
            names.join(", ")
        )));
    };
    let member = list
        .members
        .iter()
        .find(|(member, _)| *member == resource_type);
    let Some((_, conditions)) = member else {
        return Ok(Clause::Any(Vec::new()));
    };
    let mut all = conditions
        .iter()
        .map(|(name, text)| parser.clause(resource_type, name, text, depth))
        .collect::<Result<Vec<_>, _>>()?;
    if resource_type == "MedicationStatement" {
        all.push(not_over(parser)?);
    }
    let mut kept = || {
        Ok(Clause::All(vec![
            parser.clause("List", "status", "current", depth)?,
            parser.clause("List", "code", list.codes, depth)?,
        ]))
    };
    let (of_item, of_patient) = (Box::new(kept()?), Box::new(kept()?));
    let parameter = |resource_type, code| parser.parameter(resource_type, code);
    let has_list = Clause::Has {
        parameter: parameter("List", "patient")?,
        clause: of_patient,
    };
    all.push(Clause::Not(Box::new(Clause::Chain {
        parameter: parameter(resource_type, "patient")?,
        types: vec!["Patient".into()],
        clause: Box::new(ChainedClause {
            by_type: vec![("Patient".into(), has_list)],
        }),
    })));
    Ok(Clause::Any(vec![
        Clause::Has {
            parameter: parameter("List", "item")?,
            clause: of_item,
        },
        Clause::All(all),
    ]))
}

/// What has been taken until a time that is past is not taken now.
fn not_over(parser: &Parser<'_>) -> Result<Clause, Refusal> {
    let now = parser.context.now_micros;
    let date = DateMatch {
        prefix: Prefix::Eb,
        range: DateRange { lo: now, hi: now },
    };
    Ok(Clause::Not(Box::new(Clause::Param {
        parameter: parser.parameter("MedicationStatement", "effective")?,
        modifier: Modifier::None,
        values: vec![ValueMatch::Date(date)],
    })))
}
