//! What is counted: `indicators/*.yaml`. A FHIR search, and the search parameters that say when, whose and where an event was.
//!
//! Everything is named by search parameters, so that the start can check it against the definitions and the database can answer it.

use super::content::Source;
use super::period::Period;
use fhir_definitions::{DataError, Definitions, ParameterType};
use fhir_model::Issue;
use fhir_search::parse::Context;
use fhir_search::{Handling, Query};
use jiff::ToSpan;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_saphyr::Spanned;

/// Resources read at a time.
const PAGE: usize = 500;
/// Longest chain of references to an org unit.
const STEPS_MAX: usize = 4;

/// An indicator, checked.
#[derive(Clone, Debug)]
pub struct Indicator {
    pub title: String,
    pub resource_type: String,
    parameters: Vec<(String, String)>,
    /// Codes of search parameters of `resource_type`: the date of the event (the start, if it has a length) and whose it was.
    pub date: String,
    pub subject: String,
    pub count: Count,
    /// Ways to the org unit in order of preference, each a chain of reference parameters: `encounter.service-provider`.
    pub org_unit: Vec<Vec<String>>,
}

/// What is counted of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Each.
    Resources,
    /// Each subject once per period and org unit, where its first event falls.
    Subjects,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IndicatorFile {
    title: String,
    search: Spanned<String>,
    date: Spanned<String>,
    subject: Spanned<String>,
    count: Count,
    org_unit: Vec<Spanned<String>>,
}

impl Indicator {
    /// # Errors
    /// One per problem.
    pub fn read(
        source: &Source<'_>,
        definitions: &Definitions,
    ) -> Result<Indicator, Vec<DataError>> {
        let file: IndicatorFile = source.parse()?;
        let Some((resource_type, parameters)) = file.search.value.split_once('?') else {
            return Err(vec![
                source.at(&file.search, "a search is like Observation?code=…"),
            ]);
        };
        let indicator = Indicator {
            title: file.title,
            resource_type: resource_type.to_string(),
            parameters: parameters.split('&').map(parameter).collect(),
            date: file.date.value.clone(),
            subject: file.subject.value.clone(),
            count: file.count,
            org_unit: file
                .org_unit
                .iter()
                .map(|way| way.value.split('.').map(str::to_string).collect())
                .collect(),
        };
        let mut errors: Vec<DataError> =
            match indicator.parse(definitions, indicator.parameters.clone()) {
                Ok(_) => Vec::new(),
                Err(issues) => issues
                    .into_iter()
                    .map(|issue| source.at(&file.search, issue.diagnostics))
                    .collect(),
            };
        let own = [resource_type.to_string()];
        let has = |types: &[String], code: &str, kind| {
            types.iter().any(|base| {
                definitions
                    .search_parameter(base, code)
                    .is_some_and(|found| found.kind == kind)
            })
        };
        if !has(&own, &file.date.value, ParameterType::Date) {
            errors.push(source.at(
                &file.date,
                format!("{resource_type} has no date search parameter of this name"),
            ));
        }
        if !has(&own, &file.subject.value, ParameterType::Reference) {
            errors.push(source.at(
                &file.subject,
                format!("{resource_type} has no reference search parameter of this name"),
            ));
        }
        for (written, way) in file.org_unit.iter().zip(&indicator.org_unit) {
            let mut types = own.to_vec();
            for code in way {
                if !has(&types, code, ParameterType::Reference) {
                    errors.push(source.at(
                        written,
                        format!(
                            "{} has no reference search parameter {code}",
                            types.join(" or ")
                        ),
                    ));
                    break;
                }
                types = types
                    .iter()
                    .filter_map(|base| definitions.search_parameter(base, code))
                    .flat_map(|found| found.targets.iter().cloned())
                    .collect();
            }
            if way.len() > STEPS_MAX {
                errors.push(source.at(written, format!("at most {STEPS_MAX} steps")));
            }
        }
        if errors.is_empty() {
            Ok(indicator)
        } else {
            Err(errors)
        }
    }

    /// The search for all that may have happened in the period: a day more on each side, because a day may begin elsewhere than in UTC.
    ///
    /// # Errors
    /// When the definitions have changed under the file.
    pub fn query(&self, definitions: &Definitions, period: &Period) -> Result<Query, Vec<Issue>> {
        let mut parameters = self.parameters.clone();
        parameters.push((self.date.clone(), format!("ge{}", period.start - 1.day())));
        parameters.push((self.date.clone(), format!("le{}", period.end + 1.day())));
        parameters.push(("_total".into(), "none".into()));
        self.parse(definitions, parameters)
    }

    /// The search for all that has no date and so is in no period. Only its total is of interest.
    ///
    /// # Errors
    /// When the definitions have changed under the file.
    pub fn undated(&self, definitions: &Definitions) -> Result<Query, Vec<Issue>> {
        let mut parameters = self.parameters.clone();
        parameters.push((format!("{}:missing", self.date), "true".into()));
        parameters.push(("_summary".into(), "count".into()));
        self.parse(definitions, parameters)
    }

    fn parse(
        &self,
        definitions: &Definitions,
        parameters: Vec<(String, String)>,
    ) -> Result<Query, Vec<Issue>> {
        let context = Context {
            definitions,
            terminology: None,
            base: None,
            handling: Handling::Strict,
            count_default: PAGE,
            count_max: PAGE,
            // Only the prefix `ap` asks for the time; about a date that moves with the clock nothing can be reported.
            now_micros: 0,
        };
        fhir_search::parse(&context, &[&self.resource_type], &parameters)
    }
}

fn parameter(written: &str) -> (String, String) {
    let (name, value) = written.split_once('=').unwrap_or((written, ""));
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (decoded(name), decoded(value))
}
