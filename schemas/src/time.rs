//! Points in time as the pipeline counts them: microseconds since 1970-01-01 UTC, as integers.
//! Nothing here reads a clock: the bus stamps append times, agents stamp what they sample.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The epoch itself: "never" in states that have seen nothing yet.
    pub const ZERO: Self = Self(0);

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The start of the slot of `width` that this time lies in (windows, seconds).
    #[must_use]
    pub fn floor(self, width: Duration) -> Self {
        let width = i64::try_from(width.as_micros()).unwrap_or(i64::MAX).max(1);
        Self(self.0 - self.0.rem_euclid(width))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_microsecond()))
            .map_err(|error| format!("'{text}' is not a UTC time such as 2026-11-21T10:00:00Z: {error}"))
    }
}

/// A length of time as people write it, in files and on command lines alike: `30s`, `5m`, `7d`. A day has 24 hours.
pub fn length(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::Span>().ok();
    let length = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
    let length = length.and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| format!("'{text}' is no length of time: give one such as 500ms, 30s, 5m, 2h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_to_the_start_of_the_slot() {
        let check = |at, expected| assert_eq!(Timestamp(at).floor(Duration::from_secs(10)), Timestamp(expected));
        check(12_345_678, 10_000_000);
        check(10_000_000, 10_000_000);
        check(-1, -10_000_000);
    }

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            let read = length(text);
            assert_eq!(read.clone().ok(), expected.map(Duration::from_millis), "{text}");
            assert!(read.is_ok() || read.is_err_and(|why| why.contains(&format!("'{text}' is no length of time"))));
        };
        check("500ms", Some(500));
        check("30s", Some(30_000));
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check("2h", Some(7_200_000));
        check("7d", Some(604_800_000));
        check("3 days", Some(259_200_000));
        for text in ["", "5", "m", "-1s", "soon", "2 months", "99999999999d", "5\u{b5}"] {
            check(text, None);
        }
    }

    #[test]
    fn prints_and_reads_utc() {
        let time = Timestamp(1_700_000_000_123_456);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
