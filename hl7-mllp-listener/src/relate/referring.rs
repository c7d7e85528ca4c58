//! What refers to a thing that is merged away or moves, by the searches that FHIR gives everybody: compartments and reference parameters.
//! What no search parameter leads from is not found.

use super::Effect;
use crate::mapping::program::Verb;
use crate::server_api::{Api, ApiError, SEARCH_VALUES_MAX};
use fhir_model::ResourceKey;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Most resources that one step moves: they are one transaction.
const STEP_MAX: usize = 500;

/// Types of the Patient compartment, but the records of what was: Provenance and AuditEvent, and Patient itself.
const OF_A_PATIENT: &str = "Account,AdverseEvent,AllergyIntolerance,Appointment,AppointmentResponse,Basic,BiologicallyDerivedProductDispense,\
BodyStructure,CarePlan,CareTeam,ChargeItem,Claim,ClaimResponse,ClinicalImpression,Communication,CommunicationRequest,Composition,Condition,\
Consent,Contract,Coverage,CoverageEligibilityRequest,CoverageEligibilityResponse,DetectedIssue,DeviceAssociation,DeviceRequest,DeviceUsage,\
DiagnosticReport,DocumentReference,Encounter,EncounterHistory,EnrollmentRequest,EpisodeOfCare,ExplanationOfBenefit,FamilyMemberHistory,Flag,\
GenomicStudy,Goal,Group,GuidanceResponse,ImagingSelection,ImagingStudy,Immunization,ImmunizationEvaluation,ImmunizationRecommendation,Invoice,\
List,MeasureReport,MedicationAdministration,MedicationDispense,MedicationRequest,MedicationStatement,MolecularSequence,NutritionIntake,\
NutritionOrder,Observation,Person,Procedure,QuestionnaireResponse,RelatedPerson,RequestOrchestration,ResearchSubject,RiskAssessment,Schedule,\
ServiceRequest,Specimen,SupplyDelivery,SupplyRequest,Task,VisionPrescription";

/// Types that refer to a visit, with a parameter `encounter` (DocumentReference: `context`) and one `patient`.
const OF_A_VISIT: [&str; 25] = [
    "CarePlan",
    "ChargeItem",
    "Claim",
    "ClinicalImpression",
    "Communication",
    "CommunicationRequest",
    "Composition",
    "Condition",
    "DeviceRequest",
    "DiagnosticReport",
    "DocumentReference",
    "EncounterHistory",
    "ExplanationOfBenefit",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "NutritionIntake",
    "NutritionOrder",
    "Observation",
    "Procedure",
    "QuestionnaireResponse",
    "RequestOrchestration",
    "ServiceRequest",
    "Task",
];

/// Types with a parameter `account`.
const OF_AN_ACCOUNT: [&str; 3] = ["ChargeItem", "Encounter", "Invoice"];

/// What has to lead elsewhere.
#[derive(Debug, Default)]
pub struct Referring {
    /// Each with the number of its effect.
    pub resources: Vec<(usize, Json)>,
    /// There is no more.
    pub is_all: bool,
}

/// Reads what refers to the things that go away; nothing while one of them is not marked yet.
///
/// # Errors
/// When the server does not answer, or not as a server should.
pub async fn referring(api: &Api, effects: &[Effect]) -> Result<Referring, ApiError> {
    let mut found = Referring {
        resources: Vec::new(),
        is_all: true,
    };
    if effects.iter().any(|effect| !effect.is_marked) {
        return Ok(found);
    }
    let mut seen = BTreeSet::new();
    for (index, effect) in effects.iter().enumerate() {
        let urls = match (effect.verb, &effect.what) {
            (Verb::Merge, _) | (Verb::Move, None) => to_what_goes(&effect.from),
            (Verb::Move, Some(what)) => with_what_moves(api, what, &effect.from).await?,
            _ => continue,
        };
        let matches = api.follow(api.searches(&urls).await?, STEP_MAX).await?;
        found.is_all &= matches.is_all;
        for resource in matches.resources {
            let key = format!(
                "{}/{}",
                text(&resource, "resourceType"),
                text(&resource, "id")
            );
            match found.resources.len() < STEP_MAX && seen.insert(key) {
                true => found.resources.push((index, resource)),
                // Also one that another effect changes in this step.
                false => found.is_all = false,
            }
        }
    }
    Ok(found)
}

fn to_what_goes(from: &ResourceKey) -> Vec<String> {
    match from.resource_type.as_str() {
        "Patient" => vec![format!("{from}/*?_type={OF_A_PATIENT}&_count={STEP_MAX}")],
        "Encounter" => of_visits(&[from.id.as_str()], ""),
        _ => of_account(from, ""),
    }
}

/// The searches for what refers to the thing that moves and to whose it was. With an account its visits move, and with a visit what belongs to it.
async fn with_what_moves(
    api: &Api,
    what: &ResourceKey,
    from: &ResourceKey,
) -> Result<Vec<String>, ApiError> {
    let of_patient = format!("&patient={from}");
    if what.resource_type == "Encounter" {
        return Ok(of_visits(&[what.id.as_str()], &of_patient));
    }
    let visits = format!("Encounter?account={what}&_count={STEP_MAX}");
    let visits = api.all(&[visits]).await?;
    let mut urls = of_account(what, &of_patient);
    let ids: Vec<&str> = visits.iter().map(|visit| text(visit, "id")).collect();
    for ids in ids.chunks(SEARCH_VALUES_MAX) {
        urls.extend(of_visits(ids, &of_patient));
    }
    Ok(urls)
}

fn of_visits(ids: &[&str], more: &str) -> Vec<String> {
    let visits: Vec<String> = ids.iter().map(|id| format!("Encounter/{id}")).collect();
    let visits = visits.join(",");
    let url = |kind: &&str| {
        let parameter = match *kind {
            "DocumentReference" => "context",
            _ => "encounter",
        };
        format!("{kind}?{parameter}={visits}{more}&_count={STEP_MAX}")
    };
    OF_A_VISIT.iter().map(url).collect()
}

fn of_account(account: &ResourceKey, more: &str) -> Vec<String> {
    let url = |kind: &&str| format!("{kind}?account={account}{more}&_count={STEP_MAX}");
    OF_AN_ACCOUNT.iter().map(url).collect()
}

fn text<'a>(resource: &'a Json, name: &str) -> &'a str {
    resource[name].as_str().unwrap_or_default()
}
