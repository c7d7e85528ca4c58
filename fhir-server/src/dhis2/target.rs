//! A DHIS2 server that figures go to: `targets/*.yaml`. Addresses and secrets stay in the environment; the file names the variables.

use super::content::Source;
use fhir_definitions::DataError;
use serde::Deserialize;
use serde_saphyr::Spanned;

/// Longest wait for one answer that a target may ask for, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 600;
/// Most attempts at one request.
const ATTEMPTS_MAX: u32 = 10;

/// A target, checked.
#[derive(Clone, Debug)]
pub struct Target {
    pub url_variable: String,
    /// Tried first; where the variable is not set, user and password are used.
    pub token_variable: Option<String>,
    pub user_variable: Option<String>,
    pub password_variable: Option<String>,
    /// Where a day, and with it a period, begins: seconds east of UTC.
    pub utc_offset_seconds: i32,
    pub id_schemes: IdSchemes,
    pub timeout_seconds: u64,
    pub attempts_max: u32,
}

/// How each kind of thing is named in what is sent: `uid`, `code`, `name` or `attribute:UID`. Always sent, never left to a default:
/// the defaults of DHIS2's formats differ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct IdSchemes {
    pub data_set: String,
    pub data_element: String,
    pub org_unit: String,
    pub category_option_combo: String,
    pub attribute_option_combo: String,
}

impl IdSchemes {
    /// DHIS2's parameters that say how a data value names things; the same in what is sent and what is asked for.
    pub fn of_values(&self) -> [(&'static str, &str); 4] {
        [
            ("dataElementIdScheme", &self.data_element),
            ("orgUnitIdScheme", &self.org_unit),
            ("categoryOptionComboIdScheme", &self.category_option_combo),
            ("attributeOptionComboIdScheme", &self.attribute_option_combo),
        ]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TargetFile {
    url_variable: String,
    token_variable: Option<String>,
    user_variable: Option<String>,
    password_variable: Option<String>,
    utc_offset: Spanned<String>,
    id_schemes: Spanned<IdSchemes>,
    timeout_seconds: Spanned<u64>,
    attempts_max: Spanned<u32>,
}

impl Target {
    /// # Errors
    /// One per problem.
    pub fn read(source: &Source<'_>) -> Result<Target, Vec<DataError>> {
        let file: TargetFile = source.parse()?;
        let mut errors = Vec::new();
        let utc_offset_seconds = offset_seconds(&file.utc_offset.value).unwrap_or_else(|| {
            errors.push(source.at(
                &file.utc_offset,
                "utcOffset is like +03:00, at most 14 hours",
            ));
            0
        });
        if !file
            .id_schemes
            .value
            .all()
            .iter()
            .all(|scheme| is_id_scheme(scheme))
        {
            errors.push(source.at(
                &file.id_schemes,
                "an id scheme is uid, code, name or attribute:UID",
            ));
        }
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&file.timeout_seconds.value) {
            errors.push(source.at(
                &file.timeout_seconds,
                format!("timeoutSeconds is 1 to {TIMEOUT_SECONDS_MAX}"),
            ));
        }
        if !(1..=ATTEMPTS_MAX).contains(&file.attempts_max.value) {
            errors.push(source.at(
                &file.attempts_max,
                format!("attemptsMax is 1 to {ATTEMPTS_MAX}"),
            ));
        }
        if file.token_variable.is_none()
            && (file.user_variable.is_none() || file.password_variable.is_none())
        {
            errors.push(source.error(
                None,
                "tokenVariable, or userVariable and passwordVariable, must be there",
            ));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Target {
            url_variable: file.url_variable,
            token_variable: file.token_variable,
            user_variable: file.user_variable,
            password_variable: file.password_variable,
            utc_offset_seconds,
            id_schemes: file.id_schemes.value,
            timeout_seconds: file.timeout_seconds.value,
            attempts_max: file.attempts_max.value,
        })
    }
}

impl IdSchemes {
    fn all(&self) -> [&str; 5] {
        [
            &self.data_set,
            &self.data_element,
            &self.org_unit,
            &self.category_option_combo,
            &self.attribute_option_combo,
        ]
    }
}

fn is_id_scheme(text: &str) -> bool {
    match text.strip_prefix("attribute:") {
        Some(uid) => uid.len() == 11 && uid.bytes().all(|b| b.is_ascii_alphanumeric()),
        None => ["uid", "code", "name"].contains(&text),
    }
}

/// `+03:00` in seconds.
fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let two = |digits: &str| {
        digits
            .parse::<i32>()
            .ok()
            .filter(|_| digits.len() == 2 && !digits.starts_with(['+', '-']))
    };
    let minutes = two(hours)? * 60 + two(minutes).filter(|m| *m < 60)?;
    (minutes <= 14 * 60).then_some(sign * minutes * 60)
}
