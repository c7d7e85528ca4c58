//! `$validate-code` of value sets and code systems (<https://hl7.org/fhir/R5/valueset-operation-validate-code.html>,
//! <https://hl7.org/fhir/R5/codesystem-operation-validate-code.html>): `code`, `coding` or `codeableConcept`, of which one coding must be right.
//!
//! A code without a system has the one system under which the value set has it. A display that is none of the concept's is an error, an inactive code a
//! warning; an abstract code is one where `abstract` is false. A value set of a standard that is not here, but whose codes have a form
//! (languages, MIME types, countries), is judged by the form. Refuses `context`, `date` and supplements.

use super::super::{
    CodeSystem, Content, Expansion, Member, Terminology, TerminologyError, ValueSet, binding,
};
use super::{Asked, Coded, display, parameter, parameters, question};
use fhir_model::issue::operation_outcome;
use fhir_model::{Issue, IssueKind, Severity};
use serde_json::{Value, json};

/// What was found of one coding.
struct Judged {
    coded: Coded,
    /// As it should be shown.
    display: Option<String>,
    issues: Vec<Issue>,
}

impl Judged {
    fn is_right(&self) -> bool {
        !self.issues.iter().any(Issue::is_error)
    }
}

/// # Errors
/// What cannot be expanded, or is not supported.
pub fn validate_in_value_set(
    terminology: &Terminology<'_>,
    set: &ValueSet,
    asked: Asked<'_>,
) -> Result<Value, TerminologyError> {
    asked.refuse(&["context", "date", "useSupplement"])?;
    let codings = codings(asked, asked.text("system"), asked.text("systemVersion"))?;
    let rule = binding::rule(set.url());
    let expansion = match rule {
        Some(_) => Expansion::default(),
        None => terminology.expand(set)?,
    };
    let judged = codings.into_iter().map(|(place, coded)| match rule {
        Some(rule) => by_form(rule(&coded.code), coded, &place),
        None => in_expansion(terminology, set, &expansion, coded, &place, asked),
    });
    answer(judged.collect(), asked)
}

/// # Errors
/// A code system that is not all here, or what is not supported.
pub fn validate_in_code_system(
    system: &CodeSystem,
    asked: Asked<'_>,
) -> Result<Value, TerminologyError> {
    asked.refuse(&["date"])?;
    if system.content == Content::Supplement || system.content == Content::NotPresent {
        return Err(TerminologyError::NotPresent(system.url().to_string()));
    }
    let codings = codings(asked, Some(system.url()), None)?;
    let judged = codings
        .into_iter()
        .map(|(place, coded)| in_code_system(system, coded, &place, asked));
    answer(judged.collect(), asked)
}

/// What is to be judged, and where it stands.
fn codings(
    asked: Asked<'_>,
    system: Option<&str>,
    version: Option<&str>,
) -> Result<Vec<(String, Coded)>, TerminologyError> {
    let given = ["code", "coding", "codeableConcept"];
    let mut given = given.into_iter().filter(|name| asked.value(name).is_some());
    let (Some(name), None) = (given.next(), given.next()) else {
        return Err(question(
            "exactly one of code, coding and codeableConcept says what to validate",
        ));
    };
    let value = asked.value(name).unwrap_or(&Value::Null);
    let codings: Vec<(String, Coded)> = match name {
        "code" => vec![(
            "code".to_owned(),
            Coded {
                system: system.map(str::to_owned),
                version: version.map(str::to_owned),
                code: value.as_str().unwrap_or_default().to_owned(),
                display: asked.text("display").map(str::to_owned),
            },
        )],
        "coding" => {
            let coding = Coded::read(value).into_iter();
            coding.map(|coded| ("Coding".to_owned(), coded)).collect()
        }
        _ => {
            let all = Coded::all(value).into_iter().enumerate();
            all.map(|(at, coded)| (format!("CodeableConcept.coding[{at}]"), coded))
                .collect()
        }
    };
    match codings.is_empty() {
        true => Err(question(format!("the {name} has no code"))),
        false => Ok(codings),
    }
}

fn by_form(fits: bool, coded: Coded, place: &str) -> Judged {
    let issue = match fits {
        true => Issue {
            severity: Severity::Information,
            ..Issue::error(
                IssueKind::Informational,
                "the codes of this value set are not here: the code has the form of one",
            )
        },
        false => Issue::error(
            IssueKind::CodeInvalid,
            "the code has not the form of a code of this value set",
        ),
    };
    Judged {
        coded,
        display: None,
        issues: vec![issue.at(place)],
    }
}

fn in_expansion(
    terminology: &Terminology<'_>,
    set: &ValueSet,
    expansion: &Expansion,
    mut coded: Coded,
    place: &str,
    asked: Asked<'_>,
) -> Judged {
    let mut issues = Vec::new();
    if coded.system.is_none() {
        match systems_of(expansion, &coded.code).as_slice() {
            [system] => coded.system = Some(system.to_string()),
            [] => {}
            _ => issues.push(Issue::error(
                IssueKind::CodeInvalid,
                "the value set has this code in several code systems: a system must say which",
            )),
        }
    }
    let system = coded.system.clone().unwrap_or_default();
    let member = expansion.member(&system, &coded.code);
    let mut shown = None;
    match member {
        Some(member) => {
            shown = display::shown(member, asked.text("displayLanguage")).map(str::to_owned);
            issues.extend(of_member(member, &coded, asked));
        }
        None if expansion.whole.iter().any(|whole| **whole == *system) => {
            issues.push(Issue::error(
                IssueKind::NotSupported,
                format!("all codes of {system} are in the value set, but they are not all here: whether this is one of them cannot be said"),
            ));
        }
        None if issues.is_empty() => {
            let code = &coded.code;
            issues.push(Issue::error(
                IssueKind::CodeInvalid,
                format!(
                    "the code {code} of {} is not in the value set {}",
                    said(&system),
                    set.canonical()
                ),
            ));
            issues.extend(unknown(terminology, &system, code));
        }
        None => {}
    }
    let (known, version) = (terminology.code_system(&system), coded.version.as_deref());
    if let (Ok(known), Some(version)) = (known, version)
        && known.version().is_some_and(|there| there != version)
    {
        issues.push(Issue::warning(
            IssueKind::NotSupported,
            format!(
                "the code was validated with another version of {system}, the one that is here"
            ),
        ));
    }
    Judged {
        coded,
        display: shown,
        issues: issues.into_iter().map(|issue| issue.at(place)).collect(),
    }
}

fn said(system: &str) -> &str {
    match system {
        "" => "no code system",
        system => system,
    }
}

/// Whether the code is none of its code system at all.
fn unknown(terminology: &Terminology<'_>, system: &str, code: &str) -> Option<Issue> {
    if system.is_empty() {
        return None;
    }
    match terminology.code_system(system) {
        Ok(known) if known.content == Content::Complete && known.concept(code).is_none() => {
            Some(Issue::error(
                IssueKind::CodeInvalid,
                format!("the code system {system} has no code {code}"),
            ))
        }
        Ok(_) => None,
        Err(error) => Some(Issue::error(IssueKind::NotFound, error.to_string())),
    }
}

/// The code systems under which it has the code.
fn systems_of<'e>(expansion: &'e Expansion, code: &str) -> Vec<&'e str> {
    let members = expansion.members.iter();
    let called = members.filter(|member| member.is_called(code));
    let mut systems: Vec<&str> = called.map(|member| &*member.system).collect();
    systems.sort_unstable();
    systems.dedup();
    systems
}

fn of_member(member: &Member, coded: &Coded, asked: Asked<'_>) -> Vec<Issue> {
    let designations = display::of_member(member);
    let standing = Standing {
        display: member.display.as_deref(),
        designations: &designations,
        is_abstract: member.is_abstract(),
        is_inactive: member.is_inactive(),
    };
    standing.judge(coded, asked)
}

fn in_code_system(system: &CodeSystem, coded: Coded, place: &str, asked: Asked<'_>) -> Judged {
    let url = system.url();
    let mut shown = None;
    let other = coded.system.as_deref().is_some_and(|of| of != &**url);
    let issues = match system.concept(&coded.code) {
        _ if other => vec![Issue::error(
            IssueKind::CodeInvalid,
            format!("the code is of another code system than {url}"),
        )],
        Some(concept) => {
            shown = display::of_concept(concept, asked.text("displayLanguage")).map(str::to_owned);
            let standing = Standing {
                display: concept.display.as_deref(),
                designations: &concept.designations.iter().collect::<Vec<_>>(),
                is_abstract: system.is_abstract(concept),
                is_inactive: system.is_inactive(concept),
            };
            standing.judge(&coded, asked)
        }
        None if system.content == Content::Complete => vec![Issue::error(
            IssueKind::CodeInvalid,
            format!("the code system {url} has no code {}", coded.code),
        )],
        None => vec![Issue::error(
            IssueKind::NotSupported,
            format!(
                "the concepts of {url} are not all here: whether this is one of them cannot be said"
            ),
        )],
    };
    Judged {
        coded: Coded {
            system: Some(url.to_string()),
            ..coded
        },
        display: shown,
        issues: issues.into_iter().map(|issue| issue.at(place)).collect(),
    }
}

/// What a concept is, beside that it is there.
struct Standing<'c> {
    display: Option<&'c str>,
    designations: &'c [&'c Value],
    is_abstract: bool,
    is_inactive: bool,
}

impl Standing<'_> {
    fn judge(&self, coded: &Coded, asked: Asked<'_>) -> Vec<Issue> {
        let mut issues = Vec::new();
        if let Some(given) = &coded.display
            && !display::fits(given, self.display, self.designations)
            && self.display.is_some()
        {
            issues.push(Issue::error(
                IssueKind::Value,
                format!(
                    "the display is none of the code {}; it is called {}",
                    coded.code,
                    self.display.unwrap_or_default()
                ),
            ));
        }
        if self.is_abstract && asked.flag("abstract") == Some(false) {
            issues.push(Issue::error(
                IssueKind::BusinessRule,
                format!("the code {} is abstract: it only groups others", coded.code),
            ));
        }
        if self.is_inactive {
            issues.push(Issue::warning(
                IssueKind::BusinessRule,
                format!(
                    "the code {} is inactive: it is no longer to be used",
                    coded.code
                ),
            ));
        }
        issues
    }
}

/// The first that is right speaks for all; of the others is said what is wrong.
fn answer(judged: Vec<Judged>, asked: Asked<'_>) -> Result<Value, TerminologyError> {
    let right = judged.iter().position(Judged::is_right);
    let Some(told) = judged.get(right.unwrap_or(0)) else {
        return Err(question("there is no code to validate"));
    };
    let mut out = vec![parameter("result", "valueBoolean", right.is_some())];
    out.push(parameter("code", "valueCode", told.coded.code.as_str()));
    for (name, member, value) in [
        ("system", "valueUri", &told.coded.system),
        ("version", "valueString", &told.coded.version),
        ("display", "valueString", &told.display),
    ] {
        if let Some(value) = value {
            out.push(parameter(name, member, value.as_str()));
        }
    }
    if let Some(concept) = asked.value("codeableConcept") {
        out.push(parameter(
            "codeableConcept",
            "valueCodeableConcept",
            concept.clone(),
        ));
    }
    let mut issues: Vec<Issue> = judged.iter().flat_map(|one| one.issues.clone()).collect();
    if right.is_some() {
        for issue in issues.iter_mut().filter(|issue| issue.is_error()) {
            issue.severity = Severity::Information;
        }
    }
    let is_said = |issue: &&Issue| right.is_none() == issue.is_error();
    let said = issues.iter().filter(is_said);
    let message: Vec<&str> = said.map(|issue| issue.diagnostics.as_str()).collect();
    if !message.is_empty() {
        out.push(parameter("message", "valueString", message.join("; ")));
    }
    if !issues.is_empty() {
        out.push(json!({ "name": "issues", "resource": operation_outcome(&issues) }));
    }
    Ok(parameters(out))
}
