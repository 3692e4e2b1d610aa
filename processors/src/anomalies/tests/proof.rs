//! `make prove-anomaly`: four weeks of a thousand digests, and the first and second weeks of five hundred instances, judged as `quality.rs`
//! does. Each goal is asserted after all is printed. `MILLRACE_SEED=N` is added to every seed: judged is what nothing was tuned on, too.

use std::time::Instant;

use super::numbers::NAMES;
use super::quality::{DAY, Detected, Quiet, WEEK, World, detect, detect_new, detect_numbers, quiet, quiet_of, speed};

/// Seeds of the weeks of instances: the first three were looked at while it was tuned, the others were not.
const SEEDS: [u64; 5] = [0, 7, 23, 101, 4_242];
/// So many instances of each.
const INSTANCES: u64 = 100;

fn seed() -> u64 {
    std::env::var("MILLRACE_SEED").map_or(0, |text| text.parse().expect("MILLRACE_SEED is a number"))
}

/// 19 of 20.
fn are_found(seen: &Detected) -> bool {
    seen.in_time * 100 >= seen.cases * 95
}

#[test]
#[ignore = "four weeks of a thousand digests: make prove-anomaly runs it, built for release"]
fn four_weeks() {
    let seed = seed();
    println!("MILLRACE_SEED={seed}");
    println!("seeded traffic: Zipf load, days and weeks, deploys, batch jobs, locks, a restart a week");
    let slow = slow_statements(seed);
    let new = new_statements(seed);
    let numbers = [8, 1].map(|days| sampled(seed, days));
    let began = Instant::now();
    let month = quiet(1 + seed, 1_000, 4 * WEEK);
    println!("1,000 digests, four weeks without an event: {month:?} ({:.0?})", began.elapsed());
    let (rate, bytes) = speed();
    let second = 1e5 / rate;
    println!("{rate:.0} values/s on one core: 100,000 series in {second:.2} s of 10; {bytes} bytes each in memory");
    assert!(are_found(&slow), "{slow:?}");
    for seen in &new {
        assert!(are_found(seen) && seen.false_findings == 0, "{seen:?}");
    }
    let [known, young] = &numbers;
    for ((name, known), young) in NAMES.iter().zip(known).zip(young) {
        assert!(are_found(known) && known.false_findings == 0, "{name}: {known:?}");
        // In the first week jobs are not known, and what they move must be more than any that is.
        let is_of_jobs = matches!(*name, "processors" | "files");
        assert!((is_of_jobs || are_found(young)) && young.false_findings == 0, "{name}: {young:?}");
    }
    assert!(month.findings <= 4 && month.new_statements() == 0, "more than one a week: {month:?}");
    assert!(rate >= 1e4, "100,000 series do not fit into ten seconds");
}

/// A statement that takes twice as long.
fn slow_statements(seed: u64) -> Detected {
    let began = Instant::now();
    let seen = detect(2_026 + seed, 1_000, 200);
    println!("1,000 digests, one takes twice as long for 5 min (share >= 2 %, >= 100 calls in 10 s):");
    println!("  found within 2 windows   {:>4} of {}", seen.in_time, seen.cases);
    println!("  found later              {:>4}", seen.late);
    println!("  over within 2 min        {:>4}", seen.over);
    let (days, took) = (seen.windows as f64 / DAY as f64, began.elapsed());
    println!("  false findings meanwhile {:>4} in {days:.1} days   ({took:.0?})", seen.false_findings);
    seen
}

/// A statement that never was.
fn new_statements(seed: u64) -> [Detected; 2] {
    let seen = detect_new(23 + seed, 300, 200);
    println!("300 digests, known for a week; a statement that never was, for 5 min:");
    for (what, seen) in
        ["15 to 50 % of the load: within 2 windows", "1.5 to 5 s a call:      within 2 min   "].iter().zip(&seen)
    {
        told(what, seen);
    }
    seen
}

/// What is sampled of an instance that is known for so many days.
fn sampled(seed: u64, days: usize) -> [Detected; NAMES.len()] {
    println!(
        "what is sampled, an incident of 5 min of each, found within 2 values (threads: 3); known for {days} days:"
    );
    let seen = detect_numbers(17 + seed, days, 50 * NAMES.len());
    for (name, seen) in NAMES.iter().zip(&seen) {
        told(&format!("{name:<12}"), seen);
    }
    seen
}

fn told(what: &str, seen: &Detected) {
    let Detected { cases, in_time, late, over, false_findings, .. } = seen;
    println!("  {what} {in_time:>3} of {cases}, {late} later, {over} over within 2 min, {false_findings} false");
}

#[test]
#[ignore = "a thousand weeks of instances: make prove-anomaly runs them, built for release"]
fn first_weeks() {
    let base = seed();
    // Two at a time: a seed takes a minute of a core.
    let mut weeks: Vec<(u64, [Quiet; 2])> = Vec::new();
    for some in SEEDS.chunks(2) {
        std::thread::scope(|scope| {
            let started = some.iter().map(|seed| (base + seed, scope.spawn(move || weeks_of(base + seed))));
            let started: Vec<_> = started.collect();
            weeks.extend(started.into_iter().map(|(seed, weeks)| (seed, weeks.join().expect("no panic"))));
        });
    }
    println!("40 digests, {INSTANCES} instances of each seed, their first and their second week without an event:");
    for (seed, each) in &weeks {
        for (which, Quiet { findings, notified, of }) in ["first", "second"].iter().zip(each) {
            let a_week = *findings as f64 / INSTANCES as f64;
            println!(
                "  seed {seed:>5}, {which:<6} {findings:>3} findings ({a_week:.2} a week), {notified} notifications in 100 weeks: {of:?}"
            );
        }
    }
    for (seed, each) in &weeks {
        for week in each {
            assert!(week.findings as u64 <= INSTANCES, "seed {seed}: more than one finding a week");
            assert!(week.notified <= 1, "seed {seed}: more than one notification in 100 weeks");
            assert!(week.new_statements() <= 5, "seed {seed}: more than one statement in twenty weeks is called new");
        }
    }
}

/// The first and the second week of the instances of a seed.
fn weeks_of(seed: u64) -> [Quiet; 2] {
    let mut weeks: [Quiet; 2] = Default::default();
    for instance in 0..INSTANCES {
        let seed = 100 + 1_000 * seed + instance;
        let mut world = World::new(seed, 40);
        for week in &mut weeks {
            week.add(quiet_of(&mut world, seed, WEEK));
        }
    }
    weeks
}
