//! Which facts are late: those that took more than 2 s longer from their sampling to the bus than the fastest of the same
//! agent in the last 60 s. The agent's `CLOCK_BOOTTIME` and the bus's append time are compared; wall clocks play no part.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

/// 2 s: two missed heartbeats; a bus that is slower than that says nothing about now.
const LATE: Duration = Duration::from_secs(2);
/// 60 s: a broker whose clock stepped is forgiven after a minute.
const WINDOW: Duration = Duration::from_mins(1);

/// The smallest differences of the last minute, as a queue whose front is the smallest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lateness(VecDeque<(Timestamp, i64)>);

impl Lateness {
    /// Takes a fact in and says whether it is late.
    pub fn is_late(&mut self, appended: Timestamp, boot_us: u64) -> bool {
        let took = appended.0.saturating_sub(i64::try_from(boot_us).unwrap_or(i64::MAX));
        while self.0.front().is_some_and(|(at, _)| appended.since(*at) > WINDOW) {
            self.0.pop_front();
        }
        let late = self.0.front().is_some_and(|(_, least)| {
            took.saturating_sub(*least) > i64::try_from(LATE.as_micros()).unwrap_or(i64::MAX)
        });
        while self.0.back().is_some_and(|(_, other)| *other >= took) {
            self.0.pop_back();
        }
        self.0.push_back((appended, took));
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn late_is_relative_to_the_fastest_of_the_last_minute() {
        let mut lateness = Lateness::default();
        let mut check = |appended: i64, boot: i64, expected| {
            assert_eq!(lateness.is_late(Timestamp(appended * S), boot as u64), expected, "appended at {appended} s");
        };
        check(1_000, 10 * S, false);
        check(1_001, 11 * S, false);
        check(1_004, 12 * S, false); // 2 s slower, not more
        check(1_007, 13 * S, true); // 4 s slower
        check(1_008, 18 * S, false);
    }

    #[test]
    fn a_broker_whose_clock_stepped_back_and_forth_is_forgiven_after_a_minute() {
        let mut lateness = Lateness::default();
        assert!(!lateness.is_late(Timestamp(997 * S), 10_500_000)); // stepped back 2.5 s: the smallest difference
        assert!(lateness.is_late(Timestamp(1_001 * S), 11 * S as u64));
        for second in 2..=57 {
            assert!(lateness.is_late(Timestamp((1_000 + second) * S), (10 + second) as u64 * S as u64));
        }
        assert!(!lateness.is_late(Timestamp(1_060 * S), 70 * S as u64));
    }
}
