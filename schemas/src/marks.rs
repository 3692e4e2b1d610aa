//! De-duplication: what a reader has already had from each producer, kept inside the snapshot of the key it folds.
//! The bus appends at least once; with these marks a record counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// 4,096: more than a producer has in flight at once, so a record that was retried and landed behind its successors is
/// still recognised as new; anything older can only be a repeat.
const BEHIND_MAX: u64 = 4_096;

/// Numbers what one producer sends. Observers: (start of the process, counter). Derived records: (input offset, index).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Sequence {
    /// Rises at each start of the producer, or with each input record of a processor.
    pub incarnation: u64,
    /// Rises by one with each record of the incarnation, from 0.
    pub counter: u64,
}

/// Text that numbers nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not INCARNATION-COUNTER, two hexadecimal numbers")]
pub struct BadSequence(String);

/// `INCARNATION-COUNTER`, 16 hexadecimal digits each: so events and batches carry it.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.incarnation, self.counter)
    }
}

impl FromStr for Sequence {
    type Err = BadSequence;

    fn from_str(text: &str) -> Result<Self, BadSequence> {
        let number = |part: &str| u64::from_str_radix(part, 16).ok();
        let read = text.split_once('-').and_then(|(incarnation, counter)| {
            Some(Self { incarnation: number(incarnation)?, counter: number(counter)? })
        });
        read.ok_or_else(|| BadSequence(text.to_owned()))
    }
}

/// What has been had from one producer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    incarnation: u64,
    high: u64,
    /// Counters below `high` that have not been seen, at most `BEHIND_MAX` behind it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    missing: BTreeSet<u64>,
}

/// Marks of all producers of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(BTreeMap<String, Mark>);

impl Marks {
    /// True when this record has not been had before; it is marked as had.
    /// A record of an older incarnation is never fresh: its process is gone and its words are about the past.
    pub fn fresh(&mut self, producer: &str, sequence: Sequence) -> bool {
        let Some(mark) = self.0.get_mut(producer) else {
            self.0.insert(producer.to_owned(), Mark::first(sequence));
            return true;
        };
        if sequence.incarnation != mark.incarnation {
            let newer = sequence.incarnation > mark.incarnation;
            if newer {
                *mark = Mark::first(sequence);
            }
            return newer;
        }
        mark.advance(sequence.counter)
    }
}

impl Mark {
    fn first(sequence: Sequence) -> Self {
        // Counters below the first one seen belong to records before this reader's time: only those that a retry could
        // still bring are held open.
        let from = sequence.counter.saturating_sub(BEHIND_MAX.min(16));
        Self { incarnation: sequence.incarnation, high: sequence.counter, missing: (from..sequence.counter).collect() }
    }

    fn advance(&mut self, counter: u64) -> bool {
        if counter <= self.high {
            return self.missing.remove(&counter);
        }
        let from = (self.high + 1).max(counter.saturating_sub(BEHIND_MAX));
        self.missing.extend(from..counter);
        self.high = counter;
        let floor = counter.saturating_sub(BEHIND_MAX);
        self.missing = self.missing.split_off(&floor);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(incarnation: u64, counter: u64) -> Sequence {
        Sequence { incarnation, counter }
    }

    #[test]
    fn a_repeat_is_not_fresh_and_a_straggler_is() {
        let mut marks = Marks::default();
        let mut check = |sequence, expected| assert_eq!(marks.fresh("a", sequence), expected, "{sequence:?}");
        check(at(1, 0), true);
        check(at(1, 0), false);
        check(at(1, 2), true);
        check(at(1, 1), true); // retried, landed behind its successor
        check(at(1, 1), false);
        check(at(2, 0), true); // restarted
        check(at(1, 3), false); // of a process that is gone
        check(at(2, 10_000), true);
        check(at(2, 5_000), false); // too far behind to be a straggler
    }

    #[test]
    fn producers_do_not_share_marks() {
        let mut marks = Marks::default();
        assert!(marks.fresh("a", at(1, 0)));
        assert!(marks.fresh("b", at(1, 0)));
    }

    proptest! {
        #[test]
        fn each_record_counts_once_however_often_and_in_which_order_it_comes(
            order in proptest::collection::vec(0_u64..200, 1..600)
        ) {
            let mut marks = Marks::default();
            marks.fresh("p", at(1, 0));
            let mut had = BTreeSet::from([0]);
            for counter in order {
                prop_assert_eq!(marks.fresh("p", at(1, counter)), had.insert(counter));
            }
        }
    }
}
