//! Ten thousand schedules of crashes, duplicates, delays and step time-outs: without two primaries, without a second promotion
//! in an epoch, without a lost write, without a server left down for good, without a failover that the fleet did not permit or
//! an operator approve; and each replay decides the same.
//! A failure prints its seed: `MILLRACE_SEED=N cargo test --test main one_schedule` runs that schedule alone.

use std::io::Write as _;
use std::time::Duration;

use millrace::simulation::{Options, run};

const SCHEDULES: u64 = 10_000;

/// What came of a range of schedules.
#[derive(Default)]
struct Sum {
    broken: Vec<String>,
    promotions: usize,
    acknowledged: usize,
    refused: u64,
    refused_by_fleet: u64,
    longest: Duration,
}

/// Ten broken schedules show enough of what is wrong.
const BROKEN_MAX: usize = 10;

fn schedules(seeds: impl Iterator<Item = u64>) -> Sum {
    let mut sum = Sum::default();
    for seed in seeds {
        let outcome = run(seed, Options::default());
        sum.promotions += outcome.promotions;
        sum.acknowledged += outcome.acknowledged;
        sum.refused += u64::from(outcome.refused);
        sum.refused_by_fleet += u64::from(outcome.refused_by_fleet > 0);
        sum.longest = sum.longest.max(outcome.took);
        sum.broken.extend(outcome.violation);
        if sum.broken.len() >= BROKEN_MAX {
            break;
        }
    }
    sum
}

/// Says it whether or not the test passes: the test runner keeps what `println!` says of a test that passed. The line begins anew,
/// since the runner may stand behind the name of a test.
fn say(line: &str) {
    // In one piece, and who closed the error output does not want to know.
    let _ = std::io::stderr().write_all(format!("\n{line}\n").as_bytes());
}

#[test]
fn ten_thousand_schedules_break_nothing() {
    let from: u64 = std::env::var("MILLRACE_SEED_FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    // Linux lowers the priority of this thread alone: tests with real servers run beside it, and their seconds are real.
    rustix::process::nice(10).expect("anybody may be nicer");
    let Sum { broken, promotions, acknowledged, refused, refused_by_fleet, longest } =
        schedules(from..from + SCHEDULES);
    assert!(broken.is_empty(), "broken:\n{}", broken.join("\n"));
    say(&format!(
        "{SCHEDULES} schedules from seed {from}: {promotions} promotions, {acknowledged} writes acknowledged, longest {longest:?}"
    ));
    say(&format!("{refused} ended in a refusal for a person, because histories had gone apart"));
    say(&format!(
        "{refused_by_fleet} were refused a failover by the fleet, and went on by an operator's word or a returned permit"
    ));
    assert!(refused_by_fleet > SCHEDULES / 50, "the fleet hardly refuses anything: {refused_by_fleet}");
    assert!(refused < SCHEDULES / 1_000, "{refused} refusals for a person are more than double faults explain");
    assert!(promotions as u64 > SCHEDULES / 2, "the schedules hardly promote anybody: {promotions}");
    assert!(acknowledged as u64 > SCHEDULES * 5, "the clients hardly write: {acknowledged}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    for seed in 0..40 {
        let (one, two) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(one.hash, two.hash, "seed {seed}");
        assert_ne!(one.hash, run(seed + 1_000_000, Options::default()).hash, "seed {seed}");
    }
}

#[test]
fn where_nothing_breaks_nothing_is_done() {
    for seed in 0..40 {
        let outcome = run(seed, Options { faults: false, ..Options::default() });
        assert_eq!(outcome.violation, None);
        assert!(outcome.promotions <= 1, "seed {seed}: {} promotions without a fault", outcome.promotions);
    }
}

#[test]
fn one_schedule() {
    let seed = std::env::var("MILLRACE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let outcome = run(seed, Options::default());
    for record in outcome.journal.iter().chain(&outcome.actions) {
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
        println!("{:>10} {} {} {value}", record.appended.0, record.topic, record.offset);
    }
    assert_eq!(outcome.violation, None);
}
