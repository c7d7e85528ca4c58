//! DTM, TS, DT, TM (v2.9 section 2.A.21): precision as sent, offset as sent, else the zone of the sender.
//! FHIR has no hours without minutes: they are filled with 00 and the sender is told. Impossible dates are left out.

use super::{Given, Scope};
use crate::ack::ErrorCode;
use crate::mapping::value::Value;
use serde_json::{Map, Value as Json};

#[derive(Debug, PartialEq)]
struct Moment {
    /// `2026`, `2026-01` or `2026-01-31`.
    date: String,
    /// `08:00:00.5`, only on a full date.
    time: Option<String>,
    /// `+01:00`, as sent.
    offset: Option<String>,
    /// Only the hour was sent.
    minutes_filled: bool,
}

pub fn date(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    Some(read(scope, value)?.date.into())
}

pub fn date_time(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let moment = read(scope, value)?;
    Some(full(scope, &moment).unwrap_or(moment.date).into())
}

pub fn instant(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let moment = read(scope, value)?;
    let instant = full(scope, &moment);
    if instant.is_none() {
        scope.warn(
            ErrorCode::DataType,
            "a time of day is needed here, the value was left out",
        );
    }
    instant.map(Json::from)
}

pub fn time(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.text()?;
    let clock = text.split(['+', '-']).next().unwrap_or_default();
    match time_of_day(clock) {
        Some((time, _)) => Some(time.into()),
        None => {
            scope.warn(
                ErrorCode::DataType,
                "this is no time, the value was left out",
            );
            None
        }
    }
}

/// A period from its start and its end; nothing when neither was sent.
pub fn period(scope: &mut Scope<'_>, bounds: [Option<Value<'_>>; 2]) -> Option<Json> {
    let none = Given {
        arguments: &[],
        vocabulary: None,
    };
    let mut period = Map::new();
    for (name, bound) in ["start", "end"].into_iter().zip(bounds) {
        if let Some(time) = bound.and_then(|bound| date_time(scope, bound, &none)) {
            period.insert(name.into(), time);
        }
    }
    (!period.is_empty()).then_some(Json::Object(period))
}

/// The end of what begins at a time and lasts: `duration` in `units` (minutes when there are none).
pub fn end(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    let lasting = given.text(0)?;
    let minutes = minutes(&lasting, given.text(1).as_deref())?;
    let text = value.text()?;
    let moment = parse(&text)?;
    let time = moment.time.as_deref()?;
    let offset = moment.offset.as_deref().unwrap_or(scope.zone);
    let start: jiff::civil::DateTime = format!("{}T{time}", moment.date).parse().ok()?;
    let end = start
        .checked_add(jiff::SignedDuration::from_mins(minutes))
        .ok()?;
    Some(format!("{}{offset}", end.strftime("%Y-%m-%dT%H:%M:%S")).into())
}

/// A number of `units` in minutes.
pub fn nm_minutes(scope: &mut Scope<'_>, value: Value<'_>, given: &Given<'_, '_>) -> Option<Json> {
    counted(scope, &value.text()?, given.text(0).as_deref())
}

/// CQ: number .1 of units .2 in minutes.
pub fn cq_minutes(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    counted(scope, &value.part_text(1)?, value.part_text(2).as_deref())
}

fn counted(scope: &mut Scope<'_>, number: &str, units: Option<&str>) -> Option<Json> {
    let minutes = minutes(number, units);
    if minutes.is_none() {
        scope.warn(
            ErrorCode::DataType,
            "this is no duration, the value was left out",
        );
    }
    minutes.map(Json::from)
}

/// Most minutes of a duration: ten years.
const MINUTES_MAX: i64 = 5_256_000;

/// Whole minutes, rounded up; units as v2 and UCUM write them, minutes when there are none.
fn minutes(number: &str, units: Option<&str>) -> Option<i64> {
    let number: f64 = number.trim().parse().ok()?;
    let seconds = match units.map(str::to_lowercase).as_deref() {
        None | Some("min" | "m" | "mins" | "minute" | "minutes" | "minuten") => 60.0,
        Some("s" | "sec" | "second" | "seconds") => 1.0,
        Some("h" | "hr" | "hrs" | "hour" | "hours") => 3_600.0,
        Some("d" | "day" | "days") => 86_400.0,
        Some(_) => return None,
    };
    let minutes = (number * seconds / 60.0).ceil() as i64;
    (1..=MINUTES_MAX).contains(&minutes).then_some(minutes)
}

fn full(scope: &Scope<'_>, moment: &Moment) -> Option<String> {
    let time = moment.time.as_deref()?;
    let offset = moment.offset.as_deref().unwrap_or(scope.zone);
    Some(format!("{}T{time}{offset}", moment.date))
}

fn read(scope: &mut Scope<'_>, value: Value<'_>) -> Option<Moment> {
    let text = value.text()?;
    let moment = parse(&text);
    match &moment {
        None => scope.warn(
            ErrorCode::DataType,
            "this is no date or time, the value was left out",
        ),
        Some(moment) if moment.minutes_filled => {
            scope.warn(ErrorCode::DataType, "minutes are missing, 00 was taken");
        }
        Some(_) => {}
    }
    moment
}

fn parse(text: &str) -> Option<Moment> {
    let (clock, offset) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], Some(offset(&text[at..])?)),
        None => match text.strip_suffix('Z') {
            Some(clock) => (clock, Some("Z".to_owned())),
            None => (text, None),
        },
    };
    let digits = clock.split('.').next().unwrap_or_default();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year = digits.get(..4).filter(|year| *year != "0000")?;
    let mut moment = Moment {
        date: year.to_owned(),
        time: None,
        offset,
        minutes_filled: false,
    };
    let Some(month) = digits.get(4..6) else {
        return (digits.len() == 4).then_some(moment);
    };
    let number = |text: &str| text.parse::<i8>().ok();
    let day = digits.get(6..8);
    let checked_day = day.map_or(Some(1), number)?;
    jiff::civil::Date::new(year.parse().ok()?, number(month)?, checked_day).ok()?;
    moment.date = format!("{year}-{month}");
    let Some(day) = day else {
        return (digits.len() == 6).then_some(moment);
    };
    moment.date = format!("{year}-{month}-{day}");
    if clock.len() > 8 {
        let (time, filled) = time_of_day(&clock[8..])?;
        moment.time = Some(time);
        moment.minutes_filled = filled;
    }
    Some(moment)
}

/// `HH[MM[SS[.S…]]]`; whether the minutes had to be filled.
fn time_of_day(text: &str) -> Option<(String, bool)> {
    let (digits, fraction) = match text.split_once('.') {
        Some((digits, fraction)) => (digits, Some(fraction)),
        None => (text, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(digits) || !matches!(digits.len(), 2 | 4 | 6) {
        return None;
    }
    let hour = &digits[..2];
    let minute = digits.get(2..4).unwrap_or("00");
    let second = digits.get(4..6).unwrap_or("00");
    if hour > "23" || minute > "59" || second > "59" {
        return None;
    }
    let mut time = format!("{hour}:{minute}:{second}");
    if let Some(fraction) = fraction {
        if digits.len() != 6 || !all_digits(fraction) || fraction.len() > 9 {
            return None;
        }
        time.push('.');
        time.push_str(fraction);
    }
    Some((time, digits.len() == 2))
}

/// `+0100` -> `+01:00`.
fn offset(text: &str) -> Option<String> {
    let digits = &text[1..];
    let valid = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    if !valid || &digits[..2] > "14" || &digits[2..] > "59" || digits > "1400" {
        return None;
    }
    Some(format!("{}{}:{}", &text[..1], &digits[..2], &digits[2..]))
}
