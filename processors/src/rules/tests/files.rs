//! Files: what a user's file changes, and every problem of one at once, with its line.

use millrace_schemas::metrics;
use millrace_schemas::topics::alerts::Severity;

use super::super::rule::{Judge, input_of};
use super::super::summary::number;
use super::super::{Rules, SHIPPED};

#[test]
fn a_file_changes_switches_off_and_adds() {
    let text = "[[rule]]\nname = \"LagHigh\"\nabove = 60\nseverity = \"critical\"\n\
                [[rule]]\nname = \"ErrantGTID\"\noff = true\n\
                [[rule]]\nname = \"Mine\"\njudge = \"threshold\"\nmetric = \"mysql_up\"\nbelow = 1\nsummary = \"{instance}\"\n";
    let (rules, shipped) = (Rules::read(text).expect("right"), Rules::shipped());
    let lag = rules.named("LagHigh").expect("there");
    let before = shipped.named("LagHigh").expect("there");
    assert_eq!((lag.limit.at, lag.limit.clear, lag.limit.critical), (60.0, 20.0, Some(300.0)));
    assert_eq!((lag.severity, lag.changed, lag.limit.lasts), (Severity::Critical, true, before.limit.lasts));
    assert_eq!((&lag.summary, lag.runbook.as_str()), (&before.summary, "docs/alerts.md#laghigh"));
    assert!(rules.named("ErrantGTID").is_none());
    assert_eq!(rules.off, ["ErrantGTID"]);
    let mine = rules.named("Mine").expect("there");
    assert_eq!((mine.runbook.as_str(), mine.notifies), ("docs/alerts.md#mine", true));
    assert_eq!(rules.all.len(), shipped.all.len());
    assert_ne!(rules.set, shipped.set);
    assert_eq!(Rules::read(text).expect("right").set, rules.set, "the same text is the same set");
}

#[test]
fn a_condition_is_changed_as_a_whole() {
    let text =
        "[[rule]]\nname = \"LagHigh\"\njudge = \"threshold\"\nmetric = \"millrace_replica_delay_seconds\"\nabove = 5\n";
    let rules = Rules::read(text).expect("right");
    let lag = rules.named("LagHigh").expect("there");
    assert_eq!((lag.limit.at, lag.limit.clear, lag.limit.critical, lag.limit.lasts.as_secs()), (5.0, 5.0, None, 0));
    assert_eq!(lag.summary, Rules::shipped().named("LagHigh").expect("there").summary);
}

fn check(text: &str, expected: &[(usize, &str)]) {
    let problems = Rules::read(text).err().unwrap_or_default();
    assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
    for (problem, (line, what)) in problems.iter().zip(expected) {
        assert!(problem.line == *line && problem.what.contains(what), "{what} in line {line}\n{problem:?}\n{text}");
    }
}

/// A rule that is right but for `rest`, which begins in line 4.
fn rule(judge: &str, rest: &str, line_and_what: &[(usize, &str)]) {
    check(&format!("[[rule]]\nname = \"It\"\njudge = \"{judge}\"\n{rest}\nsummary = \"x\"\n"), line_and_what);
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    check(
        "[[rule]]\nname = \"One\"\njudge = \"treshold\"\n[[rule]]\nname = \"two\"\njudge = \"threshold\"\nmetric = \"mysql_upp\"\n\
         above = 1\ncolour = 2\nseverity = \"bad\"\nsummary = \"{nobody}\"\n[[rule]]\nname = \"LagHihg\"\noff = true\n[[rules]]\n",
        &[
            (3, "judge = \"treshold\" is not known"),
            (5, "\"two\" is no name of a rule"),
            (7, "mysql_upp is no metric; mysql_up is probably meant"),
            (9, "colour is not known"),
            (10, "\"bad\" is no severity"),
            (14, "LagHihg is no shipped rule that could be switched off; LagHigh is probably meant"),
            (15, "rules is not known; rule is probably meant"),
        ],
    );
    check("[[rule]]\nname = \"LagHigh\"\n[[rule]]\nname = \"LagHigh\"\n", &[(4, "LagHigh is there already (line 2)")]);
    check("[[rule]\n", &[(1, "unclosed"), (1, "needs name")]);
}

#[test]
fn counters_need_a_rate_and_numbers_need_a_place() {
    let status = |name: &str| format!("metric = \"mysql_global_status_{name}\"\nabove = 1");
    rule("threshold", &status("questions"), &[(4, "is a counter, which only rises: judge = \"rate\"")]);
    rule("rate", &format!("{}\nspan = \"1m\"", status("threads_running")), &[(4, "is a gauge and has no rate")]);
    rule("rate", &status("questions"), &[(2, "needs span")]);
    rule("threshold", "metric = \"millrace_bus_commits_total\"\nabove = 1", &[(4, "told at /metrics only")]);
    rule(
        "threshold",
        "metric = \"millrace_replica_delay_seconds\"\nper = \"millrace_host_cores\"\nabove = 1",
        &[(5, "is not told together with")],
    );
    rule(
        "threshold",
        "metric = \"mysql_global_status_threads_running\"\nper = \"mysql_slave_status_sql_delay\"\nabove = 1",
        &[(5, "has labels that")],
    );
    rule(
        "threshold",
        "metric = \"millrace_host_cores\"\nabove = 1\nrole = \"replica\"",
        &[(6, "role is known in the journal")],
    );
    rule("threshold", "metric = \"mysql_up\"\nbelow = 1\nonly = { mode = \"x\" }", &[(6, "mode is no label")]);
    rule("absence", "metric = \"mysql_up\"\nfor = \"1m\"", &[(4, "the journal has heartbeats")]);
}

#[test]
fn absurd_values_are_refused() {
    let threads = |rest: &str| format!("metric = \"mysql_global_status_threads_running\"\n{rest}");
    rule("threshold", &threads(""), &[(2, "needs above or below")]);
    rule("threshold", &threads("above = -1"), &[(5, "always hold")]);
    rule("threshold", &threads("below = 0"), &[(5, "never hold")]);
    rule("threshold", &threads("above = 1\nbelow = 2"), &[(6, "exclude each other")]);
    rule("threshold", &threads("above = 10\nclear = 11"), &[(6, "clear lies beyond the limit")]);
    rule("threshold", &threads("below = 10\nclear = 9"), &[(6, "clear lies beyond the limit")]);
    rule("threshold", &threads("above = 10\ncritical = 10"), &[(6, "critical lies beyond the limit, or")]);
    rule("threshold", &threads("above = 10\nfor = \"2d\""), &[(6, "for is a day at most")]);
    rule("threshold", &threads("above = nan"), &[(2, "needs above"), (5, "a number is expected")]);
    rule("threshold", &threads("above = 10\nfor = \"soon\""), &[(6, "is no length of time")]);
    rule("threshold", "metric = \"mysql_up\"\nabove = 1", &[(5, "never above 1")]);
    rule("threshold", "metric = \"mysql_up\"\nbelow = 2", &[(5, "always below that")]);
    rule("peers", &threads("above = 1"), &[(5, "more than 1")]);
    rule("change", &threads("span = \"1s\"\nabove = 1"), &[(5, "span is from 30s to 7d")]);
    rule("change", &threads("span = \"1m\"\nabove = 1\nreaches = 1"), &[(7, "reaches is for judge = forecast")]);
    rule("history", &threads("above = 2\nagainst = [\"tomorrow\"]"), &[(6, "against is a list")]);
    rule("absence", "for = \"1s\"", &[(4, "of 5s at least")]);
    let disk = |rest: &str| format!("metric = \"millrace_host_datadir_free_bytes\"\nspan = \"1h\"\n{rest}");
    rule("forecast", &disk("within = \"1h\""), &[(2, "needs reaches")]);
    rule("forecast", &disk("reaches = 0"), &[(2, "needs within")]);
    rule("forecast", &disk("reaches = 0\nwithin = \"2h\"\nclear-within = \"1h\""), &[(8, "clear-within is longer")]);
    rule(
        "forecast",
        &disk("reaches = 0\nwithin = \"2h\"\ncritical-within = \"3h\""),
        &[(8, "critical-within is shorter")],
    );
    let held = "[[rule]]\nname = \"LagHigh\"\n[[rule.override]]\nabove = 3\n";
    check(held, &[(3, "an override names a cluster, an instance, or both")]);
    let held = "[[rule]]\nname = \"LagHigh\"\n[[rule.override]]\ncluster = \"c1\"\nabove = 3\nclear = 4\n";
    check(held, &[(6, "clear lies beyond the limit")]);
}

#[test]
fn every_metric_that_a_rule_can_read_is_told_somewhere() {
    let known: Vec<_> = metrics::all().filter(|metric| input_of(metric).is_some()).collect();
    assert!(known.len() > 200, "{}", known.len());
    assert!(
        known.iter().all(|metric| ["host", "instance", "cluster"].iter().any(|label| metric.labels.contains(label)))
    );
}

/// A number means nothing without its unit, and a limit nothing without a reason: each rule of the file has one above it.
#[test]
fn every_shipped_rule_has_its_reason_and_its_page() {
    let page = include_str!("../../../../docs/alerts.md");
    for rule in &Rules::shipped().all {
        let at = SHIPPED.find(&format!("[[rule]]\nname = \"{}\"", rule.name)).expect("it is written so");
        let before = SHIPPED[..at].trim_end().lines().next_back().expect("a line");
        assert!(before.starts_with("# "), "{} has no reason above it", rule.name);
        assert!(page.contains(&format!("\n## {}\n", rule.name)), "docs/alerts.md has no section {}", rule.name);
        assert!(matches!(rule.judge, Judge::Always) || !number(rule.limit.at, rule.unit()).is_empty());
    }
}
