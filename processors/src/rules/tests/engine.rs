//! Limits, durations, holes, words, bounds, snapshots.

use std::sync::Arc;

use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::samples::{Sample, Taken};

use super::super::engine::SERIES;
use super::super::{Rules, Sampled};
use super::stage::{finding, host, line, rules, samples};

const THREADS: &str = "mysql_global_status_threads_connected";

/// Above 10 for 20 s, over at 5, critical above 100.
const HIGH: &str = r#"
[[rule]]
name = "High"
judge = "threshold"
metric = "mysql_global_status_threads_connected"
above = 10
clear = 5
critical = 100
for = "20s"
summary = "{instance} has {value}, more than {limit}, for {for}"
"#;

fn high(values: &[f64]) -> Vec<String> {
    samples(&rules(HIGH)).series(THREADS, values)
}

#[test]
fn exactly_at_a_limit_is_not_beyond_it() {
    assert_eq!(high(&[10.0; 9]), [] as [&str; 0]);
    assert_eq!(high(&[10.1, 10.1, 10.1]), ["20 High db1 warning since 0 = 10.1"]);
    // 20 s are enough exactly; one sample less is not.
    assert_eq!(high(&[10.1, 10.1]), [] as [&str; 0]);
    // What dips has to begin again.
    assert_eq!(high(&[11.0, 11.0, 10.0, 11.0, 11.0]), [] as [&str; 0]);
    assert_eq!(high(&[11.0, 11.0, 10.0, 11.0, 11.0, 11.0]), ["50 High db1 warning since 30 = 11"]);
}

#[test]
fn it_is_over_at_the_limit_for_that_and_not_before() {
    let over = "30 High db1 over since 0 = 5";
    assert_eq!(high(&[11.0, 11.0, 11.0, 5.0]), ["20 High db1 warning since 0 = 11", over]);
    assert_eq!(high(&[11.0, 11.0, 11.0, 5.1, 9.0, 5.1]), ["20 High db1 warning since 0 = 11"]);
    // The same limit again is a new story.
    let again = high(&[11.0, 11.0, 11.0, 5.0, 11.0, 11.0, 11.0]);
    assert_eq!(again[1..], [over, "60 High db1 warning since 40 = 11"]);
}

#[test]
fn what_is_below_is_judged_like_what_is_above() {
    let low = r#"
[[rule]]
name = "Low"
judge = "threshold"
metric = "mysql_global_status_threads_connected"
below = 5
clear = 10
summary = "{value}"
"#;
    let found = samples(&rules(low)).series(THREADS, &[5.0, 4.9, 5.0, 9.9, 10.0]);
    assert_eq!(found, ["10 Low db1 warning since 10 = 4.9", "40 Low db1 over since 10 = 10"]);
}

#[test]
fn a_number_that_is_missing_neither_begins_nor_ends_anything() {
    let mut stage = samples(&rules(HIGH));
    let mut said = Vec::new();
    said.extend(stage.sample(0.0, "db1", &[(THREADS, 11.0)]));
    said.extend(stage.sample(10.0, "db1", &[]));
    said.extend(stage.sample(20.0, "db1", &[("mysql_global_status_uptime", 1.0)]));
    assert_eq!(said, [] as [&str; 0]);
    // 30 s are no hole yet.
    assert_eq!(stage.sample(30.0, "db1", &[(THREADS, 11.0)]), ["High db1 warning since 0 = 11"]);
    for second in 1..200 {
        let said = stage.sample(30.0 + f64::from(second) * 10.0, "db1", &[("mysql_global_status_uptime", 1.0)]);
        assert_eq!(said, [] as [&str; 0], "it holds, and is not restated");
    }
    assert_eq!(stage.sample(2_040.0, "db1", &[(THREADS, 1.0)]), ["High db1 over since 0 = 1"]);
}

#[test]
fn a_hole_restarts_what_has_not_begun() {
    let mut stage = samples(&rules(HIGH));
    assert_eq!(stage.sample(0.0, "db1", &[(THREADS, 11.0)]), [] as [&str; 0]);
    assert_eq!(stage.sample(35.1, "db1", &[(THREADS, 11.0)]), [] as [&str; 0], "nobody knows what was in between");
    assert_eq!(stage.sample(45.1, "db1", &[(THREADS, 11.0)]), [] as [&str; 0]);
    assert_eq!(stage.sample(55.1, "db1", &[(THREADS, 11.0)]), ["High db1 warning since 35.1 = 11"]);
}

#[test]
fn it_is_said_again_only_where_what_it_says_changes() {
    let mut values = vec![11.0; 3];
    values.extend([12.0, 15.0, 21.0, 21.0, 21.0]); // up to 70 s: 22 would be twice as much
    values.extend([22.0]); // at 80 s: twice, and a minute after
    values.extend([101.0]); // critical at once
    values.extend([50.0, 50.0]); // still beyond the first limit, and too soon for another word
    values.extend([8.0]); // not beyond the first limit: a warning again
    values.extend([5.0]);
    assert_eq!(
        high(&values),
        [
            "20 High db1 warning since 0 = 11",
            "80 High db1 warning since 0 = 22",
            "90 High db1 critical since 0 = 101",
            "120 High db1 warning since 0 = 8",
            "130 High db1 over since 0 = 5",
        ]
    );
}

#[test]
fn a_finding_says_the_same_thing_under_one_fingerprint() {
    let mut stage = samples(&rules(HIGH));
    stage.series(THREADS, &[11.0, 11.0, 11.0, 200.0, 5.0]);
    let found: Vec<_> = stage.out.iter().map(finding).collect();
    assert!(
        found.iter().all(|one| one.fingerprint == found[0].fingerprint && one.since == found[0].since && one.notifies)
    );
    let summaries: Vec<&str> = found.iter().map(|one| one.summary.as_str()).collect();
    assert_eq!(
        summaries,
        [
            "db1 has 11 connections, more than 10 connections, for 20 s",
            "db1 has 200 connections, more than 10 connections, for 20 s",
            "over after 40 s: db1 has 200 connections, more than 10 connections, for 20 s",
        ]
    );
}

#[test]
fn clusters_and_instances_have_limits_of_their_own() {
    let text = format!(
        "{HIGH}[[rule.override]]\ncluster = \"c1\"\nabove = 50\n[[rule.override]]\ninstance = \"db2\"\noff = true\n\
         [[rule.override]]\ncluster = \"c2\"\ninstance = \"db1\"\nfor = \"0s\"\n"
    );
    let rules = rules(&text);
    let check = |cluster, about, value, expected: &[&str]| {
        let mut stage = samples(&rules);
        stage.cluster = cluster;
        let said: Vec<_> =
            (0..4).flat_map(|at| stage.sample(f64::from(at) * 10.0, about, &[(THREADS, value)])).collect();
        assert_eq!(said, expected, "{cluster} {about}");
    };
    check("c1", "db1", 50.0, &[]);
    check("c1", "db1", 51.0, &["High db1 warning since 0 = 51"]);
    check("c1", "db2", 51.0, &[]);
    check("c2", "db1", 11.0, &["High db1 warning since 0 = 11"]);
    check("c3", "db1", 11.0, &["High db1 warning since 0 = 11"]);
    // What is cleared keeps its proportion to the limit.
    let rule = rules.named("High").expect("there");
    let limit = rule.overrides[0].limit.expect("on");
    assert_eq!((limit.at, limit.clear, limit.critical), (50.0, 25.0, Some(100.0)));
}

#[test]
fn a_rule_that_is_gone_says_no_more() {
    let mut stage = samples(&rules(HIGH));
    stage.series(THREADS, &[11.0, 11.0, 11.0]);
    let none = Arc::new(Rules { all: Vec::new(), off: Vec::new(), set: 1 });
    let mut stage = stage.restarted(Sampled::new(none));
    assert_eq!(stage.sample(30.0, "db1", &[(THREADS, 11.0)]), ["High db1 over since 0"]);
    assert_eq!(stage.sample(40.0, "db1", &[(THREADS, 11.0)]), [] as [&str; 0]);
    // Off for the instance alone.
    let mut stage = samples(&rules(HIGH));
    stage.series(THREADS, &[11.0, 11.0, 11.0]);
    let off = rules(&format!("{HIGH}[[rule.override]]\ninstance = \"db1\"\noff = true\n"));
    let mut stage = stage.restarted(Sampled::new(off));
    assert_eq!(stage.sample(30.0, "db1", &[(THREADS, 11.0)]), ["High db1 over since 0"]);
}

#[test]
fn an_instance_that_was_removed_is_forgotten_after_a_day() {
    let mut stage = samples(&rules(HIGH));
    stage.series(THREADS, &[11.0, 11.0, 11.0]);
    let mut said = Vec::new();
    for hour in 1..=25 {
        said.extend(stage.sample(f64::from(hour) * 3_600.0, "db2", &[(THREADS, 1.0)]));
        if hour == 24 {
            assert_eq!(said, [] as [&str; 0]);
        }
    }
    assert_eq!(said, ["High db1 over since 0"]);
    assert!(finding(stage.out.last().expect("one")).summary.contains("nothing was known of it for a day"));
}

#[test]
fn series_are_bounded_and_the_others_are_counted() {
    let rule = r#"
[[rule]]
name = "Commands"
judge = "rate"
metric = "mysql_global_status_commands_total"
span = "30s"
above = 1
summary = "{command} on {instance}"
"#;
    let mut stage = samples(&rules(rule));
    let mut sizes = Vec::new();
    for at in 0..20 {
        let values = (0..SERIES + 50).map(|command| {
            let series = format!("mysql_global_status_commands_total{{command=\"c{command:04}\"}}");
            (series, f64::from(at) * 5.0)
        });
        let sample = Sample { host: host("db1"), taken: Timestamp(0), values: values.collect(), left_out: 0 };
        let said = stage.say(f64::from(at) * 10.0, Some("db1"), Taken::Sample(sample));
        assert!(at != 0 || said.is_empty());
        let bytes: usize = stage.fold.save().iter().map(|one| one.value.len()).sum();
        sizes.push(bytes);
    }
    let state = stage.fold.clusters().next().expect("one").1;
    assert_eq!((state.beyond(), state.judged.rules["Commands"].len()), (20 * 50, SERIES));
    // No rate is above 1: 5 in 10 s. And nothing grows once the span is full.
    assert_eq!(stage.out.len(), 0);
    assert!(sizes[19] <= sizes[10] + SERIES * 8, "{sizes:?}");
    assert!(sizes[19] / SERIES < 600, "{} bytes a series", sizes[19] / SERIES);
}

/// A day of a cluster, with everything that a state can hold.
fn day() -> Vec<(f64, &'static str, f64)> {
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1_u32 << 31)
    };
    (0..400_i32)
        .flat_map(|at| {
            let calm = if at % 100 < 60 { 4.0 } else { 12.0 };
            ["db1", "db2", "db3"].map(|about| (f64::from(at) * 10.0, about, (calm + random() * 8.0).round()))
        })
        .filter(|(second, _, value)| *value as i64 % 7 != 0 || *second < 100.0)
        .collect()
}

fn every_judge() -> Arc<Rules> {
    let other = |name: &str, rest: &str| format!("[[rule]]\nname = \"{name}\"\nsummary = \"{{value}}\"\n{rest}\n");
    let metric = "metric = \"mysql_global_status_threads_connected\"";
    let text = [
        HIGH.to_owned(),
        other("Peers", &format!("judge = \"peers\"\n{metric}\nabove = 1.5")),
        other("Changes", &format!("judge = \"change\"\n{metric}\nspan = \"60s\"\nabove = 3")),
        other("Silent", &format!("judge = \"absence\"\n{metric}\nfor = \"30s\"")),
        other("Soon", &format!("judge = \"forecast\"\n{metric}\nspan = \"10m\"\nreaches = 40\nwithin = \"1h\"")),
        other("Rate", "judge = \"rate\"\nmetric = \"mysql_global_status_questions\"\nspan = \"60s\"\nabove = 0.5"),
        other("Past", &format!("judge = \"history\"\n{metric}\nabove = 2")),
    ];
    rules(&text.concat())
}

#[test]
fn a_restart_anywhere_and_a_replay_give_the_same_bytes() {
    let rules = every_judge();
    let run = |restart: Option<usize>| {
        let mut stage = samples(&rules);
        for (at, (second, about, value)) in day().into_iter().enumerate() {
            if restart.is_some_and(|every| at % every == 0) {
                stage = stage.restarted(Sampled::new(Arc::clone(&rules)));
            }
            stage.sample(second, about, &[(THREADS, value), ("mysql_global_status_questions", value * second)]);
        }
        (stage.out, stage.fold.save())
    };
    let (live, saved) = run(None);
    let kinds: std::collections::BTreeSet<String> = live.iter().map(|record| finding(record).rule).collect();
    assert!(live.len() > 50 && kinds.len() >= 6, "{} findings of {kinds:?}", live.len());
    assert!(run(None) == (live.clone(), saved.clone()), "a replay");
    for every in [1, 7, 100] {
        assert!(run(Some(every)) == (live.clone(), saved.clone()), "restarted after every {every} records");
    }
}

#[test]
fn each_series_of_a_label_is_judged_for_itself() {
    let text = r#"
[[rule]]
name = "Broken"
judge = "threshold"
metric = "mysql_slave_status_slave_sql_running"
below = 1
summary = "{channel_name} of {instance}"
"#;
    let series = |name: &str| {
        format!("mysql_slave_status_slave_sql_running{{channel_name=\"{name}\",connection_name=\"{name}\"}}")
    };
    let (one, two) = (series("a"), series("b"));
    let values = [(one.as_str(), 1.0), (two.as_str(), 0.0)];
    let said = samples(&rules(text)).sample(0.0, "db1", &values);
    assert_eq!(said, ["Broken db1 channel_name=b connection_name=b warning since 0 = 0"]);
    let only = format!("{text}only = {{ channel_name = \"a\" }}\n");
    assert_eq!(samples(&rules(&only)).sample(0.0, "db1", &values), [] as [&str; 0]);
}

#[test]
fn what_a_host_has_is_told_once_for_its_host() {
    let text = r#"
[[rule]]
name = "Load"
judge = "threshold"
metric = "millrace_host_load1"
above = 5
summary = "{host} has {value}"
notifies = false
"#;
    let mut stage = samples(&rules(text));
    assert_eq!(stage.sample(0.0, "db1", &[("millrace_host_load1", 6.0)]), ["Load host=h-db1 warning since 0 = 6"]);
    let told = finding(&stage.out[0]);
    assert_eq!((told.summary.as_str(), told.notifies), ("h-db1 has 6 processes", false));
    assert_eq!(line(&told), "Load host=h-db1 warning since 0 = 6");
}
