//! What the windows' role adds to the windows: silence that is doubted, loads that are too old, drops that are counted.

use std::collections::BTreeSet;

use millrace_schemas::ids::{ClusterId, DigestId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::Load;

use super::*;
use crate::bus::Error;

fn record(fact: Fact) -> NewRecord {
    Event {
        id: EventId::derive(&["load"]),
        source: "windows.1/queries/0".to_owned(),
        sequence: Sequence::default(),
        at: Timestamp::ZERO,
        appended: Timestamp::ZERO,
        subject: Subject::cluster(ClusterId::parse("shop").expect("legal")),
        cause: None,
        payload: fact,
    }
    .to_record()
}

#[test]
fn a_load_of_long_ago_is_skipped_and_counted() {
    const NOW: i64 = 1_700_000_000;
    let check = |ended_seconds_ago: i64, kept: bool| {
        let start = Timestamp((NOW - ended_seconds_ago - 10) * 1_000_000);
        let load = Load { start, width_seconds: 10, statements: 1, errors: 0, p50_us: 1, p99_us: 1 };
        let mut out = vec![record(Fact::Load(load)), record(Fact::Tick {})];
        let metrics = Registry::new();
        skip_old_loads(&mut out, Timestamp(NOW * 1_000_000), &metrics);
        assert_eq!(out.len(), 1 + usize::from(kept), "ended {ended_seconds_ago} s ago");
        assert_eq!(metrics.get(&LOADS_SKIPPED, &["shop"]) as u64, u64::from(!kept));
    };
    check(-5, true);
    check(3, true);
    check(60, true);
    check(61, false);
    check(86_400, false);
}

#[test]
fn what_windows_drop_is_counted_once() {
    let (metrics, mut counted) = (Registry::new(), Dropped::default());
    count_dropped(&mut counted, Dropped { late: 3, ahead: 0, beyond: 1 }, &metrics);
    count_dropped(&mut counted, Dropped { late: 5, ahead: 0, beyond: 1 }, &metrics);
    let rows = ["late", "ahead", "beyond"].map(|reason| metrics.get(&WINDOW_ROWS_DROPPED, &[reason]) as u64);
    assert_eq!(rows, [5, 0, 1]);
}

/// A bus that is asked where partitions end, and answers as the test says.
struct Says(Result<BTreeSet<u32>, Error>);

impl Reader for Says {
    fn poll(&mut self, _: Duration) -> Result<Vec<Polled>, Error> {
        unreachable!("it is only asked")
    }
    fn commit(&mut self, _: Topic, _: u32, _: u64) -> Result<(), Error> {
        unreachable!("it is only asked")
    }
    fn unread(&mut self) -> Result<BTreeSet<u32>, Error> {
        self.0.clone()
    }
}

/// A pane with an open window, of which nothing has come for `silent`.
fn pane(silent: Duration) -> Pane {
    let row = examples::row(1_700_000_000, DigestId([1; 16]), 1, 100);
    let record = examples::counted("shop", "agent/h1", 1, &[row]).stored(0, 0, Timestamp(1_700_000_001 * 1_000_000));
    let mut pane = Pane::restored(&[], 0).expect("nothing to restore");
    pane.take(&record, &Registry::new());
    assert!(pane.windows.is_open());
    pane.heard = Instant::now().checked_sub(silent).expect("the machine runs for longer");
    pane
}

#[test]
fn only_a_bus_that_says_that_there_is_nothing_more_is_silent() {
    let away = || Err(Error::Unavailable("it stands still".to_owned()));
    let check = |says: Result<BTreeSet<u32>, Error>, silent: Duration, stays_silent: bool| {
        let mut panes = BTreeMap::from([(0, pane(silent))]);
        doubt_silence(&mut panes, &mut Says(says.clone()));
        assert_eq!(panes[&0].heard.elapsed() >= silent, stays_silent, "{silent:?} and {says:?}");
    };
    check(Ok(BTreeSet::new()), ASK_EVERY, true);
    check(Ok([1].into()), ASK_EVERY, true);
    check(Ok([0].into()), ASK_EVERY, false);
    check(away(), ASK_EVERY, false);
    // Who has just heard something does not ask.
    check(away(), ASK_EVERY / 2, true);
}

#[test]
fn windows_close_when_the_silence_was_not_doubted() {
    let mut panes = BTreeMap::from([(0, pane(Duration::from_mins(1)))]);
    assert!(!in_silence(&mut panes).is_empty());
    doubt_silence(&mut panes, &mut Says(Err(Error::Unavailable("it stands still".to_owned()))));
    assert!(in_silence(&mut panes).is_empty());
}
