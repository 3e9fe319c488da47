//! Dates, times of day and timestamps as RFC 3339 writes them, and back.

use super::node::Unit;

const DAY_SECONDS: i64 = 86_400;

/// `2024-05-01`; None: RFC 3339 has no such year.
pub(super) fn date(days: i64) -> Option<String> {
    let (year, month, day) = civil(days)?;
    (0..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// `23:59:59.999`, with as many digits as the unit has.
pub(super) fn time(count: i64, unit: Unit) -> String {
    let (seconds, fraction) = (count.div_euclid(unit.per_second()), count.rem_euclid(unit.per_second()));
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{fraction:0width$}", width = unit.digits())
}

pub(super) fn timestamp(count: i64, unit: Unit, is_local: bool) -> Option<String> {
    let day = DAY_SECONDS * unit.per_second();
    let date = date(count.div_euclid(day))?;
    let zone = if is_local { "" } else { "Z" };
    Some(format!("{date}T{}{zone}", time(count.rem_euclid(day), unit)))
}

pub(super) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let days = days(year, month, day);
    // The 31st of February is another day.
    (civil(days)? == (year, month, day)).then_some(days)
}

pub(super) fn parse_time(text: &str, unit: Unit) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if hour > 23 || minute > 59 || second > 59 || text.ends_with('.') {
        return None;
    }
    // Digits that the unit does not have are lost, unless they are zeros.
    let kept = fraction.get(..unit.digits()).unwrap_or(fraction);
    if !fraction.bytes().all(|it| it.is_ascii_digit()) || fraction[kept.len()..].bytes().any(|it| it != b'0') {
        return None;
    }
    let fraction = if kept.is_empty() { 0 } else { kept.parse::<i64>().ok()? };
    let fraction = fraction * 10_i64.pow((unit.digits() - kept.len()) as u32);
    Some((hour * 3600 + minute * 60 + second) * unit.per_second() + fraction)
}

/// With a zone, `Z` or an offset, unless it is local.
pub(super) fn parse_timestamp(text: &str, unit: Unit, is_local: bool) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let (time, offset) = if is_local { (rest, 0) } else { zone(rest)? };
    let within = i128::from(parse_time(time, unit)?) - i128::from(offset) * 60 * i128::from(unit.per_second());
    // The first day that a long can reach begins before it.
    let day = i128::from(DAY_SECONDS * unit.per_second());
    i64::try_from(i128::from(parse_date(date)?) * day + within).ok()
}

/// The time, and the offset of its zone in minutes.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (hour, minute) = text[at + 1..].split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let sign = if text[at..].starts_with('-') { -1 } else { 1 };
    (hour < 24 && minute < 60).then_some((&text[..at], sign * (hour * 60 + minute)))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let is_number = text.len() == count && text.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(719_468)?;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Some((year_of_era + era * 400 + i64::from(month <= 2), month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_back() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (19_783, "2024-03-01"),
            (11_016, "2000-02-29"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (2_932_896, "9999-12-31"),
            (-719_528, "0000-01-01"),
        ] {
            assert_eq!(date(days).as_deref(), Some(text));
            assert_eq!(parse_date(text), Some(days), "{text}");
        }
        assert_eq!([2_932_897, -719_529, i64::MAX, i64::MIN].map(date), [None, None, None, None]);
        for wrong in ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-01", "24-01-01", "2024-1-1", "+024-01-01", ""]
        {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
        for days in (-719_528..2_932_897).step_by(97) {
            assert_eq!(date(days).and_then(|it| parse_date(&it)), Some(days));
        }
    }

    #[test]
    fn times_and_back() {
        assert_eq!(time(86_399_999, Unit::Millis), "23:59:59.999");
        assert_eq!(parse_time("23:59:59.999", Unit::Millis), Some(86_399_999));
        assert_eq!(parse_time("00:00:01", Unit::Micros), Some(1_000_000));
        assert_eq!(parse_time("00:00:00.5", Unit::Nanos), Some(500_000_000));
        assert_eq!(parse_time("00:00:00.500000", Unit::Millis), Some(500));
        for wrong in
            ["24:00:00", "00:60:00", "00:00:60", "0:00:00", "00:00:00.0001", "00:00:00.", "00:00", "00:00:00.1x"]
        {
            assert_eq!(parse_time(wrong, Unit::Millis), None, "{wrong}");
        }
    }

    #[test]
    fn timestamps_and_back() {
        let text = "2024-05-01T12:34:56.789Z";
        let millis = parse_timestamp(text, Unit::Millis, false).unwrap();
        assert_eq!(millis, 1_714_566_896_789);
        assert_eq!(timestamp(millis, Unit::Millis, false).as_deref(), Some(text));
        assert_eq!(parse_timestamp("2024-05-01T14:34:56.789+02:00", Unit::Millis, false), Some(millis));
        assert_eq!(parse_timestamp("2024-05-01T10:04:56.789-02:30", Unit::Millis, false), Some(millis));
        assert_eq!(parse_timestamp("2024-05-01T12:34:56.789", Unit::Millis, true), Some(millis));
        assert_eq!(parse_timestamp("2024-05-01T12:34:56.789", Unit::Millis, false), None);
        assert_eq!(timestamp(-1, Unit::Micros, true).as_deref(), Some("1969-12-31T23:59:59.999999"));
        assert_eq!(timestamp(i64::MIN, Unit::Nanos, false).as_deref(), Some("1677-09-21T00:12:43.145224192Z"));
        assert_eq!(parse_timestamp("1677-09-21T00:12:43.145224192Z", Unit::Nanos, false), Some(i64::MIN));
        assert_eq!(timestamp(i64::MAX, Unit::Millis, false), None);
        assert_eq!(parse_timestamp("9999-12-31T00:00:00Z", Unit::Nanos, false), None);
    }
}
