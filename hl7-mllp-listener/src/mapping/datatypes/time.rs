//! DTM, TS, DT, TM (v2.9 section 2.A.21): precision as sent, offset as sent, else the zone of the sender.
//! FHIR has no hours without minutes: they are filled with 00 and the sender is told. Impossible dates are left out.

use super::{Given, Scope};
use crate::ack::ErrorCode;
use crate::mapping::value::Value;
use serde_json::{Map, Value as Json};

#[derive(Debug, PartialEq)]
struct Moment<'t> {
    /// `2026`, `2026-01`, `2026-01-31` or `2026-01-31T08:00:00.5`.
    local: String,
    /// Whether it has a time of day.
    is_timed: bool,
    /// `+0100` or `Z`, as sent.
    offset: Option<&'t str>,
    /// Only the hour was sent.
    minutes_filled: bool,
}

pub fn date(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let mut date = read(scope, &value.text()?)?.local;
    date.truncate("2026-01-31".len());
    Some(date.into())
}

pub fn date_time(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.text()?;
    let moment = read(scope, &text)?;
    Some(written(scope, moment).into())
}

pub fn instant(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.text()?;
    let moment = read(scope, &text)?;
    if !moment.is_timed {
        scope.warn(
            ErrorCode::DataType,
            "a time of day is needed here, the value was left out",
        );
        return None;
    }
    Some(written(scope, moment).into())
}

pub fn time(scope: &mut Scope<'_>, value: Value<'_>, _: &Given<'_, '_>) -> Option<Json> {
    let text = value.text()?;
    let clock = text.split(['+', '-']).next().unwrap_or_default();
    let mut time = String::new();
    match push_time_of_day(&mut time, clock) {
        Some(_) => Some(time.into()),
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
    if !moment.is_timed {
        return None;
    }
    let start: jiff::civil::DateTime = moment.local.parse().ok()?;
    let end = start
        .checked_add(jiff::SignedDuration::from_mins(minutes))
        .ok()?;
    let local = end.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    Some(written(scope, Moment { local, ..moment }).into())
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

/// With the offset that was sent, else that of the sender.
fn written(scope: &Scope<'_>, moment: Moment<'_>) -> String {
    let mut text = moment.local;
    match moment.offset {
        _ if !moment.is_timed => {}
        None => text.push_str(scope.zone),
        Some(offset) => {
            let (hours, minutes) = offset.split_at(offset.len().min(3));
            text.push_str(hours);
            if !minutes.is_empty() {
                text.push(':');
                text.push_str(minutes);
            }
        }
    }
    text
}

fn read<'t>(scope: &mut Scope<'_>, text: &'t str) -> Option<Moment<'t>> {
    let moment = parse(text);
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

fn parse(text: &str) -> Option<Moment<'_>> {
    let (clock, offset) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], Some(offset(&text[at..])?)),
        None => match text.strip_suffix('Z') {
            Some(clock) => (clock, Some("Z")),
            None => (text, None),
        },
    };
    let digits = clock.split('.').next().unwrap_or_default();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year = digits.get(..4).filter(|year| *year != "0000")?;
    let mut local = String::with_capacity("2026-01-31T08:00:00.123456789+01:00".len());
    local.push_str(year);
    let mut moment = Moment {
        local,
        is_timed: false,
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
    moment.local.push('-');
    moment.local.push_str(month);
    let Some(day) = day else {
        return (digits.len() == 6).then_some(moment);
    };
    moment.local.push('-');
    moment.local.push_str(day);
    if clock.len() > 8 {
        moment.local.push('T');
        moment.minutes_filled = push_time_of_day(&mut moment.local, &clock[8..])?;
        moment.is_timed = true;
    }
    Some(moment)
}

/// Appends `HH[MM[SS[.S…]]]`; whether the minutes had to be filled. `None` where it is none.
fn push_time_of_day(out: &mut String, text: &str) -> Option<bool> {
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
    for part in [hour, ":", minute, ":", second] {
        out.push_str(part);
    }
    if let Some(fraction) = fraction {
        if digits.len() != 6 || !all_digits(fraction) || fraction.len() > 9 {
            return None;
        }
        out.push('.');
        out.push_str(fraction);
    }
    Some(digits.len() == 2)
}

/// `+0100`, if there is such an offset.
fn offset(text: &str) -> Option<&str> {
    let digits = &text[1..];
    let valid = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    (valid && &digits[..2] <= "14" && &digits[2..] <= "59" && digits <= "1400").then_some(text)
}
