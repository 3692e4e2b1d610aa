//! How good the judgement is, measured with seeded traffic: a day and two hundred slow statements in `cargo test`; `proof.rs` has
//! weeks of them. What is measured is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use millrace_schemas::ids::DigestId;
use millrace_schemas::topics::alerts::{AlertState, Finding};
use millrace_schemas::topics::journal::Fact;

use super::super::{Measured, NEW, Settings};
use super::numbers::{NAMES, Numbers};
use super::site::Site;
use super::traffic::{Told, Traffic};

/// A stated share: 2 % of the load, and a hundred calls in a window.
const SHARE: f64 = 0.02;
const CALLS: f64 = 100.0;
/// Windows of an hour, a day and a week.
const HOUR: usize = 360;
pub(super) const DAY: usize = 24 * HOUR;
pub(super) const WEEK: usize = 7 * DAY;

fn loud() -> Settings {
    Settings { notify_errors: true, notify_share: Some(0.3), ..Settings::default() }
}

/// Traffic and who judges it.
pub(super) struct World {
    traffic: Traffic,
    numbers: Numbers,
    site: Site,
    rows: Vec<Measured<'static>>,
}

impl World {
    pub(super) fn new(seed: u64, digests: usize) -> Self {
        let mut site = Site::new(loud());
        site.restart(super::traffic::MONDAY - 86_400);
        Self { traffic: Traffic::new(seed, digests), numbers: Numbers::new(seed), site, rows: Vec::new() }
    }

    fn next(&mut self) -> (i64, Vec<Finding>) {
        let (start, total, told) = self.traffic.window(&mut self.rows);
        let mut found = Vec::new();
        if told == Told::Restarted {
            found.extend(self.site.restart(start));
        }
        if total.count > 0 {
            found.extend(self.site.window(start, &total, &self.rows, &()));
        }
        if let Some(reading) = self.numbers.sample(start, &total) {
            found.extend(self.site.sample(&reading));
        }
        if start % 600 == 0 {
            found.extend(self.site.fact(&super::site::db1(), start + 12, Fact::Tick {}));
        }
        (start, found)
    }
}

/// What came of slow statements.
#[derive(Debug, Default)]
pub(super) struct Detected {
    pub(super) cases: usize,
    pub(super) in_time: usize,
    pub(super) late: usize,
    /// Over within two minutes after it was put right.
    pub(super) over: usize,
    pub(super) false_findings: usize,
    pub(super) windows: usize,
}

/// Makes one statement take twice as long for five minutes, each half hour.
pub(super) fn detect(seed: u64, digests: usize, cases: usize) -> Detected {
    let mut world = World::new(seed, digests);
    let mut seen = Detected::default();
    for _ in 0..3 * HOUR {
        seen.windows += 1;
        seen.false_findings += firing(&world.next().1).count();
    }
    while seen.cases < cases {
        let felt = world.traffic.felt(SHARE, CALLS);
        let victim = felt[world.traffic.dice.below(felt.len())];
        // In the midst of a window: the first whole one begins after it.
        let from = world.traffic.start + world.traffic.dice.below(10) as i64;
        world.traffic.slow = Some((victim, 2.0, from, from + 300));
        let second_whole = from + (10 - from.rem_euclid(10)) % 10 + 10;
        let (mut found_at, mut over_at) = (None, None);
        for _ in 0..HOUR / 2 {
            let (start, found) = world.next();
            seen.windows += 1;
            for one in found {
                let is_its = one.labels.get("digest") == Some(&victim.to_string());
                match one.state {
                    AlertState::Firing if is_its => drop(found_at.get_or_insert(start)),
                    AlertState::Firing => {
                        println!("  false: {}", one.summary);
                        seen.false_findings += 1;
                    }
                    AlertState::Resolved if is_its => over_at = Some(start),
                    AlertState::Resolved => {}
                }
            }
        }
        seen.cases += 1;
        seen.in_time += usize::from(found_at.is_some_and(|at| at <= second_whole));
        seen.late += usize::from(found_at.is_some_and(|at| at > second_whole));
        seen.over += usize::from(over_at.is_some_and(|at| at <= from + 300 + 120));
    }
    seen
}

/// A statement that never was comes for five minutes, each half hour, on an instance that is known for a week: one that takes much of
/// the load, or one that takes long each time. The first is told with its second window, the second within two minutes.
pub(super) fn detect_new(seed: u64, digests: usize, cases: usize) -> [Detected; 2] {
    let mut world = World::new(seed, digests);
    let mut seen: [Detected; 2] = Default::default();
    let of_new = |found: &[Finding]| firing(found).filter(|one| one.rule == NEW).count();
    for _ in 0..WEEK {
        seen[0].false_findings += of_new(&world.next().1);
    }
    for case in 0..cases {
        let (from, dice) = (world.traffic.start, &mut world.traffic.dice);
        let (share, time_us) = match case % 2 {
            0 => (dice.factor(0.15, 0.5), dice.factor(2e3, 5e4)),
            _ => (dice.factor(0.05, 0.1), dice.factor(1.5e6, 5e6)),
        };
        let id = world.traffic.adds(share, time_us);
        let in_time = from + [10, 120][case % 2];
        let (mut found_at, mut over_at) = (None, None);
        for window in 0..HOUR / 2 {
            if window == 30 {
                world.traffic.drops(id);
            }
            let (start, found) = world.next();
            for one in found.into_iter().filter(|one| one.rule == NEW) {
                let is_its = one.labels.get("digest") == Some(&id.to_string());
                match one.state {
                    AlertState::Firing if is_its => drop(found_at.get_or_insert(start)),
                    AlertState::Firing => {
                        println!("  false: {}", one.summary);
                        seen[case % 2].false_findings += 1;
                    }
                    AlertState::Resolved if is_its => over_at = Some(start),
                    AlertState::Resolved => {}
                }
            }
        }
        let seen = &mut seen[case % 2];
        seen.cases += 1;
        seen.in_time += usize::from(found_at.is_some_and(|at| at <= in_time));
        seen.late += usize::from(found_at.is_some_and(|at| at > in_time));
        seen.over += usize::from(over_at.is_some_and(|at| at <= from + 300 + 120));
    }
    seen
}

/// Each of the sampled numbers in turn is so many times as much for five minutes, each half hour: how many were found in time
/// (within two values, three of threads), how many later, how many were over within two minutes, and what was found beside them.
/// The instance is known for so many days and three hours before; of eight the last is no Sunday, whose job would be yesterday's.
pub(super) fn detect_numbers(seed: u64, days: usize, cases: usize) -> [Detected; NAMES.len()] {
    // As large as an incident: commits of a client that repeats without end, threads behind a lock, a replica that stands still, a
    // host that is full, a scan, a pool without a limit.
    const FACTORS: [f64; NAMES.len()] = [4.0, 8.0, 60.0, 4.0, 8.0, 3.0];
    // 18 hours of each world: what was there at this hour of the day before would be a rhythm.
    const OF_A_WORLD: usize = 6 * NAMES.len();
    let mut seen: [Detected; NAMES.len()] = Default::default();
    let mut world = World::new(seed, 40);
    for case in 0..cases {
        if case % OF_A_WORLD == 0 {
            world = World::new(seed + (case / OF_A_WORLD) as u64, 40);
            for _ in 0..days * DAY + 3 * HOUR {
                let of_numbers = firing(&world.next().1).filter(|one| is_of_a_number(one)).count();
                assert_eq!(of_numbers, 0, "nothing has happened");
            }
        }
        let at = case % NAMES.len();
        let from = world.traffic.start;
        world.numbers.event = Some((at, FACTORS[at], from, from + 300));
        let (mut found_at, mut over_at) = (None, None);
        for _ in 0..HOUR / 2 {
            let (start, found) = world.next();
            for one in found {
                let is_its = one.labels.get("of").is_some_and(|of| of == NAMES[at]);
                match one.state {
                    AlertState::Firing if is_its => drop(found_at.get_or_insert(start)),
                    // What a deploy did to statements is counted elsewhere.
                    AlertState::Firing if is_of_a_number(&one) => {
                        println!("  false: {}", one.summary);
                        seen[at].false_findings += 1;
                    }
                    AlertState::Resolved if is_its => over_at = Some(start),
                    AlertState::Firing | AlertState::Resolved => {}
                }
            }
        }
        let seen = &mut seen[at];
        seen.cases += 1;
        // Two values, three of threads, of which the last is known when the next sample comes.
        let in_time = from + if NAMES[at] == "threads" { 30 } else { 20 };
        seen.in_time += usize::from(found_at.is_some_and(|at| at <= in_time));
        seen.late += usize::from(found_at.is_some_and(|at| at > in_time));
        seen.over += usize::from(over_at.is_some_and(|at| at <= from + 300 + 120));
    }
    seen
}

fn is_of_a_number(found: &Finding) -> bool {
    found.labels.get("of").is_some_and(|of| NAMES.contains(&of.as_str()))
}

fn firing(found: &[Finding]) -> impl Iterator<Item = &Finding> {
    found.iter().filter(|one| one.state == AlertState::Firing)
}

/// What is found where nothing is wrong, and of how much of it people would be notified.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Quiet {
    pub(super) findings: usize,
    pub(super) notified: usize,
    /// How many of each kind.
    pub(super) of: BTreeMap<String, usize>,
}

impl Quiet {
    pub(super) fn add(&mut self, other: Self) {
        (self.findings, self.notified) = (self.findings + other.findings, self.notified + other.notified);
        for (of, count) in other.of {
            *self.of.entry(of).or_default() += count;
        }
    }

    pub(super) fn new_statements(&self) -> usize {
        self.of.get(NEW).copied().unwrap_or(0)
    }
}

pub(super) fn quiet(seed: u64, digests: usize, windows: usize) -> Quiet {
    quiet_of(&mut World::new(seed, digests), seed, windows)
}

pub(super) fn quiet_of(world: &mut World, seed: u64, windows: usize) -> Quiet {
    // In other words it is the same finding.
    let (mut findings, mut notified) = (BTreeSet::new(), BTreeSet::new());
    let mut quiet = Quiet::default();
    for _ in 0..windows {
        let (_, found) = world.next();
        for one in firing(&found) {
            let name = (one.fingerprint, one.since);
            if findings.insert(name) {
                println!("  false, of seed {seed}: {}", one.summary);
                *quiet.of.entry(one.labels.get("of").unwrap_or(&one.rule).clone()).or_default() += 1;
            }
            if one.notifies {
                notified.insert(name);
            }
        }
    }
    Quiet { findings: findings.len(), notified: notified.len(), ..quiet }
}

#[test]
fn nineteen_of_twenty_slow_statements_are_found_with_their_second_window() {
    let began = Instant::now();
    let seen = detect(7, 150, 200);
    println!("150 digests, twice as slow for 5 min, share >= 2 %, >= 100 calls: {seen:?}, {:.1?}", began.elapsed());
    assert!(seen.in_time * 100 >= seen.cases * 95, "{seen:?}");
    assert!(seen.over * 100 >= seen.cases * 95, "{seen:?}");
    assert!(seen.false_findings <= 1, "in four days: {seen:?}");
}

#[test]
fn nineteen_of_twenty_incidents_of_what_is_sampled_are_found_in_time() {
    let seen = detect_numbers(17, 8, 20 * NAMES.len());
    for (name, seen) in NAMES.iter().zip(&seen) {
        println!("{name}: {seen:?}");
    }
    for (name, seen) in NAMES.iter().zip(&seen) {
        assert!(seen.in_time * 100 >= seen.cases * 95, "{name}: {seen:?}");
        assert!(seen.over * 100 >= seen.cases * 95, "{name}: {seen:?}");
        assert_eq!(seen.false_findings, 0, "{name}: {seen:?}");
    }
}

#[test]
fn nineteen_of_twenty_new_statements_that_are_slow_are_found_in_time() {
    let seen = detect_new(23, 40, 40);
    println!("new statements, much of the load, and long: {seen:?}");
    for seen in &seen {
        assert!(seen.in_time * 100 >= seen.cases * 95 && seen.over * 100 >= seen.cases * 95, "{seen:?}");
        assert_eq!(seen.false_findings, 0, "{seen:?}");
    }
}

#[test]
fn a_day_without_an_event_has_no_finding() {
    let began = Instant::now();
    let found = quiet(11, 300, DAY);
    println!("300 digests, one day: {found:?} findings and notifications, {:.1?}", began.elapsed());
    assert_eq!(found, Quiet::default());
}

#[test]
fn errors_of_an_instance_are_found_and_told() {
    let mut world = World::new(3, 60);
    for _ in 0..2 * HOUR {
        assert_eq!(world.next().1, []);
    }
    let from = world.traffic.start;
    world.traffic.failing = Some((500.0, from, from + 120));
    let found: Vec<Finding> = (0..40).flat_map(|_| world.next().1).collect();
    let of_errors: Vec<&Finding> =
        found.iter().filter(|one| one.labels.get("of").is_some_and(|of| of == "errors")).collect();
    let [began, .., over] = of_errors.as_slice() else { panic!("{found:#?}") };
    assert!(began.notifies && began.state == AlertState::Firing, "{began:?}");
    assert_eq!((began.since, over.state), (super::super::seconds(from), AlertState::Resolved));
    assert!(began.summary.contains("of statements of db1 fail since"), "{}", began.summary);
}

/// Values that are judged in a second, with everything around them; and the room of a series.
pub(super) fn speed() -> (f64, usize) {
    let mut traffic = Traffic::new(5, 1_000);
    let mut rows = Vec::new();
    let mut windows = Vec::new();
    for _ in 0..100 {
        let (start, total, _) = traffic.window(&mut rows);
        windows.push((start, total, rows.clone()));
    }
    let settings = Settings::default();
    let beside = super::super::Beside { names: &(), settings: &settings, instance: "db1" };
    let mut instances = vec![super::super::Instance::default(); 20];
    let began = Instant::now();
    let mut values = 0;
    for (start, total, rows) in &windows {
        for instance in &mut instances {
            assert_eq!(instance.window(*start, total, rows, &beside), []);
            values += instance.counted().0;
        }
    }
    let each = size_of::<super::super::digest::Digest>() + size_of::<DigestId>();
    (values as f64 / began.elapsed().as_secs_f64(), each.div_ceil(5))
}

#[test]
fn a_hundred_thousand_series_fit_into_ten_seconds() {
    let (rate, bytes) = speed();
    println!("{rate:.0} values/s, {bytes} bytes a series");
    assert!(rate >= 1e5 && bytes <= 1_024, "{rate} {bytes}");
}
