//! `--since` and `--until`: a time with its zone, a local time, or how long ago.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Instant};
use millrace_schemas::time::Timestamp;

/// A point in time as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When(pub(super) Timestamp);

impl std::str::FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        at(text, Instant::now(), &TimeZone::system()).map(|at| When(Timestamp(at.as_microsecond())))
    }
}

fn at(text: &str, now: Instant, zone: &TimeZone) -> Result<Instant, String> {
    if let Ok(at) = text.parse::<Instant>() {
        return Ok(at);
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return local.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string());
    }
    let ago = text.parse::<Span>().ok().filter(|ago| !ago.is_negative());
    let at = ago.and_then(|ago| now.to_zoned(zone.clone()).checked_sub(ago).ok());
    at.map(|at| at.timestamp()).ok_or_else(|| {
        format!(
            "'{text}' is no time: give one with its zone (2026-11-21T09:00:00Z), a local one ('2026-11-21 09:00'), or how \
             long ago (1h)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_three_forms() {
        let now: Instant = "2026-11-21T12:00:00Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let check = |text: &str, expected: &str| {
            assert_eq!(at(text, now, &zone).map(|at| at.to_string()).as_deref(), Ok(expected), "{text}");
        };
        check("2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z");
        check("2026-11-21T09:00:00.5+01:00", "2026-11-21T08:00:00.5Z");
        check("2026-11-21 09:00", "2026-11-21T07:00:00Z");
        check("2026-11-21T09:00:30", "2026-11-21T07:00:30Z");
        check("2026-11-21", "2026-11-20T22:00:00Z");
        check("1h", "2026-11-21T11:00:00Z");
        check("1h 30m", "2026-11-21T10:30:00Z");
        check("2d", "2026-11-19T12:00:00Z");
        for text in ["", "yesterday", "-1h", "12"] {
            assert!(at(text, now, &zone).expect_err(text).contains("is no time"));
        }
    }
}
