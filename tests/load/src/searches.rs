//! The searches that a million resources make dear (docs/benchmarks.md, "A million resources"): what is asked, and what the answer must be.

use crate::workload::{Target, Workload, encode, entries, matches, same};
use load_driver::client::{Client, Failure};
use load_driver::generate::{self, IDENTIFIER_SYSTEM, LOINC, OBSERVATIONS, Random};
use reqwest::Method;
use serde_json::{Value, json};

/// Pages of a walk by `next`, before it begins anew.
pub const DEEP_PAGES: u64 = 1_000;
const DEEP_COUNT: usize = 20;

const UCUM: &str = "http://unitsofmeasure.org";
const HEMOGLOBIN: &str = "718-7";

/// The ids of the patients who were loaded first.
pub async fn first_patients(target: &Target) -> Result<Vec<String>, Failure> {
    let url = format!(
        "{}/Patient?_sort=_lastUpdated&_count=1000&_elements=id",
        target.base
    );
    let answer = Client::default().ask(Method::GET, &url, &[], None).await?;
    let ids = matches(&answer.body).into_iter();
    let ids: Vec<String> = ids
        .filter_map(|patient| patient["id"].as_str().map(str::to_owned))
        .collect();
    match ids.is_empty() {
        true => Err(format!("{url}: {} and no patients", answer.status)),
        false => Ok(ids),
    }
}

/// The URL of a search, relative to the base; `None` where the workload is none of these.
pub fn url(workload: Workload, target: &Target, n: u64, random: &mut Random) -> Option<String> {
    let patient = || &target.patients[(n % target.patients.len().max(1) as u64) as usize];
    Some(match workload {
        Workload::PatientCodeDate => {
            let year = 2024 + random.below(2);
            format!(
                "Observation?patient={}&code={LOINC}|{HEMOGLOBIN}&date=ge{year}&date=lt{}&_sort=-date&_count=50",
                patient(),
                year + 2
            )
        }
        Workload::CodeValue => format!(
            "Observation?code={LOINC}|{HEMOGLOBIN}&value-quantity=gt{}|{UCUM}|g/dL&_count=20",
            10 + random.below(7)
        ),
        Workload::Has => {
            let code = generate::observation(target.seed, n, 0, "Patient/1", None);
            let code = code["code"]["coding"][0]["code"].as_str()?.to_owned();
            format!("Patient?_has:Observation:patient:code={LOINC}|{code}&_count=20")
        }
        Workload::Includes => format!(
            "Encounter?identifier=http://records.example.org/visit|V{n:08}&_include=Encounter:subject&_revinclude=Observation:encounter"
        ),
        Workload::Rare => format!(
            "Patient?identifier=http://registration.example.org/household|HH-{:07}&_sort=_lastUpdated",
            n / 5
        ),
        Workload::AccurateTotal => {
            "Observation?category=laboratory&_total=accurate&_count=1".to_owned()
        }
        Workload::DeepPage => format!("Observation?status=final&_count={DEEP_COUNT}"),
        Workload::SortedByToken => format!(
            "Patient?family={}&birthdate=2001&_sort=gender,-birthdate&_count=20",
            encode(generate::person(target.seed, n).family)
        ),
        // Each another one: an answer that somebody remembers would cost nothing.
        Workload::FilteredTotal => {
            let (year, day) = (2024 + random.below(2), 1 + random.below(28));
            format!(
                "Observation?code={LOINC}|{HEMOGLOBIN}&value-quantity=gt{}.{}|{UCUM}|g/dL&date=ge{year}-03-{day:02}&date=lt{}-03-{day:02}&_summary=count",
                10 + random.below(5),
                random.below(10),
                year + 1
            )
        }
        _ => return None,
    })
}

/// Whether the answer is the right one, as far as what was loaded tells.
pub fn check(workload: Workload, target: &Target, n: u64, bundle: &Value) -> Result<(), Failure> {
    let found = matches(bundle);
    let included = entries(bundle).count() - found.len();
    let of = |name: &str, path: &str, expect: &Value| {
        let wrong = found.iter().find(|one| one.pointer(path) != Some(expect));
        wrong.map_or(Ok(()), |one| same(name, &one[name], expect))
    };
    match workload {
        Workload::PatientCodeDate | Workload::CodeValue => {
            of("code", "/code/coding/0/code", &json!(HEMOGLOBIN))
        }
        Workload::Has | Workload::AccurateTotal if found.is_empty() => {
            Err("nothing found".to_owned())
        }
        Workload::AccurateTotal => {
            let least = target.records * OBSERVATIONS;
            match bundle["total"].as_u64() {
                Some(total) if total >= least => Ok(()),
                total => Err(format!("{total:?} in all instead of {least} or more")),
            }
        }
        Workload::FilteredTotal if bundle["total"].as_u64().unwrap_or(0) == 0 => {
            Err("nothing counted".to_owned())
        }
        Workload::Includes if (found.len(), included) != (1, OBSERVATIONS as usize + 1) => {
            Err(format!("{} found, {included} included", found.len()))
        }
        Workload::Rare if found.is_empty() || found.len() > 5 => {
            let identifier = generate::person(target.seed, n).identifier;
            Err(format!(
                "{} of the household of {IDENTIFIER_SYSTEM}|{identifier}",
                found.len()
            ))
        }
        Workload::DeepPage if found.len() != DEEP_COUNT => {
            Err(format!("{} on a page", found.len()))
        }
        _ => Ok(()),
    }
}

/// The link to the page after this one.
pub fn next(bundle: &Value) -> Option<String> {
    let mut links = bundle["link"].as_array().into_iter().flatten();
    let next = links.find(|link| link["relation"] == "next")?;
    next["url"].as_str().map(str::to_owned)
}
