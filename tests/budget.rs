//! The journal stays small: a cluster of three appends at most 50 records in any second, while nothing happens and while a failover
//! runs. Measured on the golden journals and on simulated schedules, which hold everything that agents, executors and
//! operators say, with their crashes and repetitions. What an agent must keep to itself for that is tested beside it.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;

use millrace::simulation::{Options, run};
use millrace_schemas::time::Timestamp;
use serde_json::Value;

/// 50: the design's budget for a cluster. The archive, every decider and every replay pay for each record.
const PER_SECOND_MAX: usize = 50;

/// 300 schedules: hundreds of failovers, each with faults of its own, in a second or two.
const SCHEDULES: u64 = 300;

/// The most records that any second of a journal holds; each journal here is of one cluster.
fn busiest(appended: impl Iterator<Item = Timestamp>) -> usize {
    let mut second: VecDeque<Timestamp> = VecDeque::new();
    let mut most = 0;
    for at in appended {
        while second.front().is_some_and(|first| at.since(*first) >= Duration::from_secs(1)) {
            second.pop_front();
        }
        second.push_back(at);
        most = most.max(second.len());
    }
    most
}

#[test]
fn the_busiest_second_is_found_wherever_it_begins() {
    let check = |at_ms: &[i64], expected: usize| {
        assert_eq!(busiest(at_ms.iter().map(|ms| Timestamp(ms * 1_000))), expected, "{at_ms:?}");
    };
    check(&[], 0);
    check(&[0, 1_000, 2_000], 1);
    check(&[0, 600, 1_200, 1_400, 1_599, 1_600], 4);
}

#[test]
fn golden_journals_keep_the_budget() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journals");
    let mut seen = 0;
    for file in fs::read_dir(folder).expect("there are golden journals").flatten().map(|entry| entry.path()) {
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a golden journal can be read");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of a journal"));
        let most = busiest(lines.map(|line| Timestamp(line["appended"].as_i64().expect("its append time"))));
        println!("{}: {most} records in its busiest second", file.display());
        assert!(most <= PER_SECOND_MAX, "{}: {most} records in one second", file.display());
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} golden journals were found");
}

#[test]
fn failovers_of_a_cluster_of_three_keep_the_budget() {
    let (mut most, mut promotions) = (0, 0);
    for seed in 0..SCHEDULES {
        let outcome = run(seed, Options::default());
        let busiest = busiest(outcome.journal.iter().map(|record| record.appended));
        assert!(busiest <= PER_SECOND_MAX, "seed {seed}: {busiest} records in one second");
        (most, promotions) = (most.max(busiest), promotions + outcome.promotions);
    }
    println!("{SCHEDULES} schedules with {promotions} promotions: at most {most} records in one second");
    assert!(promotions > 100, "the schedules hardly promote anybody: {promotions}");
}
