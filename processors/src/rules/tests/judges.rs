//! Each way to make a number: rates and restarts, divisions, lines, peers, the past, silence, changes.

use super::stage::{finding, journal, primary, replica, rules, samples};

fn rule(rest: &str) -> String {
    format!("[[rule]]\nname = \"It\"\nsummary = \"{{value}}\"\n{rest}\n")
}

const QUESTIONS: &str = "mysql_global_status_questions";
const THREADS: &str = "mysql_global_status_threads_connected";

#[test]
fn a_rate_is_over_its_whole_span() {
    let text = rule("judge = \"rate\"\nmetric = \"mysql_global_status_questions\"\nspan = \"60s\"\nabove = 10");
    let run = |values: &[f64]| samples(&rules(&text)).series(QUESTIONS, values);
    let steady = |each: f64| (0..12).map(|at| 1e9 + f64::from(at) * each).collect::<Vec<_>>();
    assert_eq!(run(&steady(100.0)), [] as [&str; 0], "10 a second is not above 10");
    assert_eq!(run(&steady(101.0)), ["60 It db1 warning since 60 = 10.1"], "not before a whole span is known");
}

#[test]
fn a_counter_that_was_set_back_has_counted_since() {
    let text = rule("judge = \"rate\"\nmetric = \"mysql_global_status_questions\"\nspan = \"60s\"\nabove = 10");
    // 50 in 10 s, the server restarts and goes on so.
    let mut values: Vec<f64> = (0..10).map(|at| 1e9 + f64::from(at) * 50.0).collect();
    values.extend((0..10).map(|at| f64::from(at) * 50.0));
    assert_eq!(samples(&rules(&text)).series(QUESTIONS, &values), [] as [&str; 0]);
    // A hole of more than a span begins anew, whatever the counter says after it.
    let mut stage = samples(&rules(&text));
    stage.series(QUESTIONS, &[0.0, 50.0]);
    assert_eq!(stage.sample(71.0, "db1", &[(QUESTIONS, 1e9)]), [] as [&str; 0]);
    assert_eq!(stage.sample(81.0, "db1", &[(QUESTIONS, 1e9)]), [] as [&str; 0]);
}

#[test]
fn a_rate_is_divided_by_a_rate() {
    let text = rule(
        "judge = \"rate\"\nmetric = \"mysql_global_status_created_tmp_disk_tables\"\n\
         per = \"mysql_global_status_created_tmp_tables\"\nspan = \"30s\"\nabove = 0.5\nminimum = 5",
    );
    let run = |disk: f64, all: f64| {
        let mut stage = samples(&rules(&text));
        let each = |at: i32| {
            let values = [
                ("mysql_global_status_created_tmp_disk_tables", f64::from(at) * disk),
                ("mysql_global_status_created_tmp_tables", f64::from(at) * all),
            ];
            stage.sample(f64::from(at) * 10.0, "db1", &values)
        };
        (0..5).flat_map(each).collect::<Vec<_>>()
    };
    assert_eq!(run(6.0, 10.0), ["It db1 warning since 30 = 0.6"]);
    assert_eq!(run(5.0, 10.0), [] as [&str; 0]);
    assert_eq!(run(1.0, 1.0), [] as [&str; 0], "3 in 30 s are too few");
    assert_eq!(run(0.0, 0.0), [] as [&str; 0]);
}

#[test]
fn a_divisor_may_be_known_from_before_but_not_for_ever() {
    let text = rule(
        "judge = \"threshold\"\nmetric = \"mysql_global_status_threads_connected\"\n\
         per = \"mysql_global_variables_max_connections\"\nabove = 0.8",
    );
    let most = "mysql_global_variables_max_connections";
    let mut stage = samples(&rules(&text));
    assert_eq!(stage.sample(0.0, "db1", &[(THREADS, 150.0)]), [] as [&str; 0], "of how many is not known");
    assert_eq!(stage.sample(10.0, "db1", &[(THREADS, 80.0), (most, 100.0)]), [] as [&str; 0]);
    assert_eq!(stage.sample(20.0, "db1", &[(THREADS, 81.0)]), ["It db1 warning since 20 = 0.81"]);
    assert_eq!(finding(&stage.out[0]).summary, "81%");
    // 200 s after it was told it is not known any more: that ends nothing.
    assert_eq!(stage.sample(211.0, "db1", &[(THREADS, 1.0)]), [] as [&str; 0]);
    assert_eq!(stage.sample(221.0, "db1", &[(THREADS, 1.0), (most, 0.0)]), [] as [&str; 0]);
    assert_eq!(stage.sample(231.0, "db1", &[(THREADS, 1.0), (most, 100.0)]), ["It db1 over since 20 = 0.01"]);
}

#[test]
fn a_line_tells_when_a_limit_will_be_reached() {
    let text = rule(
        "judge = \"forecast\"\nmetric = \"millrace_host_datadir_free_bytes\"\nspan = \"1h\"\nreaches = 0\nwithin = \"10h\"\n\
         clear-within = \"20h\"\ncritical-within = \"2h\"",
    );
    let free = "millrace_host_datadir_free_bytes";
    // From 1,100 by 100 an hour: at the middle of the second hour 1,000 are left, which is 10 h.
    let falling = |from: f64, each: f64| (0..360).map(|at| from - each * f64::from(at) / 360.0).collect::<Vec<_>>();
    let run = |values: &[f64]| samples(&rules(&text)).series(free, values);
    let found = run(&falling(1_040.0, 100.0));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("18"), "not before half of the span is known: {found:?}");
    assert!(found[0].ends_with("= 9.9"), "{found:?}");
    assert_eq!(run(&falling(2_000.0, 100.0)), [] as [&str; 0], "20 h are left");
    assert_eq!(run(&falling(1_000.0, -100.0)), [] as [&str; 0], "it gets better");
    assert_eq!(run(&[1_000.0; 360]), [] as [&str; 0]);
    assert_eq!(run(&falling(1_000.0, 600.0))[0].split(' ').nth(3), Some("critical"));
    // It falls, and then stands: the line flattens, and it is over.
    let mut stops = falling(1_040.0, 100.0);
    stops.extend([940.0; 360]);
    let found = run(&stops);
    assert!(found.len() == 2 && found[1].contains(" over "), "{found:?}");
}

#[test]
fn a_saw_is_no_trend() {
    let text = rule(
        "judge = \"forecast\"\nmetric = \"millrace_host_datadir_free_bytes\"\nper = \"millrace_host_datadir_bytes\"\n\
         span = \"6h\"\nreaches = 0\nwithin = \"24h\"\nonly-below = 0.25\nfor = \"30m\"",
    );
    let run = |free: &dyn Fn(i32) -> f64| {
        let mut stage = samples(&rules(&text));
        let each = |at: i32| {
            let values = [("millrace_host_datadir_free_bytes", free(at)), ("millrace_host_datadir_bytes", 1_000.0)];
            stage.sample(f64::from(at) * 10.0, "db1", &values)
        };
        (0..8_640).flat_map(each).collect::<Vec<_>>()
    };
    // Binlogs grow for an hour and are removed.
    assert_eq!(run(&|at| 200.0 - f64::from(at % 360) * 0.1), [] as [&str; 0]);
    // It would be full in 20 h, but more than a quarter is free.
    assert_eq!(run(&|at| 1_000.0 - f64::from(at) * 0.08), [] as [&str; 0]);
    assert!(run(&|at| 240.0 - f64::from(at) * 0.027)[0].contains("It db1 warning"));
}

#[test]
fn one_that_is_unlike_the_others_is_found_and_the_others_are_not() {
    let text = rule(&format!("judge = \"peers\"\nmetric = \"{THREADS}\"\nabove = 3\nclear = 2\nminimum = 20"));
    let mut stage = samples(&rules(&text));
    let mut second = 0.0;
    let mut round = |values: [f64; 4]| {
        second += 10.0;
        let each = ["db1", "db2", "db3", "db4"].into_iter().zip(values);
        each.flat_map(|(about, value)| stage.sample(second, about, &[(THREADS, value)])).collect::<Vec<_>>()
    };
    assert_eq!(round([10.0, 10.0, 10.0, 10.0]), [] as [&str; 0]);
    assert_eq!(round([10.0, 11.0, 30.0, 9.0]), [] as [&str; 0], "three times is not more than three times");
    assert_eq!(round([10.0, 11.0, 40.0, 9.0]), ["It db3 warning since 30 = 4"]);
    assert_eq!(round([10.0, 10.0, 20.0, 10.0]), ["It db3 over since 30 = 2"]);
    assert_eq!(round([1.0, 1.0, 19.0, 1.0]), [] as [&str; 0], "too small to speak of");
    assert_eq!(round([0.0, 0.0, 21.0, 0.0]), ["It db3 warning since 60 = 1000"]);
    // One other alone cannot say who is the odd one.
    let mut two = samples(&rules(&text));
    two.sample(0.0, "db1", &[(THREADS, 1.0)]);
    assert_eq!(two.sample(0.0, "db2", &[(THREADS, 100.0)]), [] as [&str; 0]);
}

#[test]
fn the_same_hour_of_yesterday_and_of_last_week_is_compared() {
    let hour = |at: i32| (at / 360) % 24;
    // Nights are calm, days are not; the tenth day has one bad hour, and Mondays have one too.
    let usual = |at: i32| if (8..20).contains(&hour(at)) { 100.0 } else { 10.0 };
    let run = |text: &str, days: i32, value: &dyn Fn(i32) -> f64| {
        let mut stage = samples(&rules(text));
        // Every minute is often enough here.
        let each = |at: i32| stage.sample(f64::from(at) * 10.0, "db1", &[(THREADS, value(at * 10 / 10))]);
        (0..days * 8_640).step_by(6).flat_map(each).collect::<Vec<_>>()
    };
    let both = rule(&format!("judge = \"history\"\nmetric = \"{THREADS}\"\nabove = 3"));
    assert_eq!(run(&both, 9, &usual), [] as [&str; 0], "the rhythm of a day is usual");
    let bad = |at: i32| if at / 360 == 8 * 24 + 3 { 100.0 } else { usual(at) };
    let found = run(&both, 9, &bad);
    let since = (8 * 24 + 3) * 3_600 + 600;
    assert_eq!(found, [format!("It db1 warning since {since} = 10"), format!("It db1 over since {since} = 1")]);
    // Every seventh night is busy: against yesterday alone that is unusual, against both it is not.
    let weekly = |at: i32| if hour(at) == 3 && (at / 8_640) % 7 == 1 { 100.0 } else { usual(at) };
    let yesterday = rule(&format!("judge = \"history\"\nmetric = \"{THREADS}\"\nabove = 3\nagainst = [\"yesterday\"]"));
    assert_eq!(run(&yesterday, 9, &weekly).len(), 4);
    assert_eq!(run(&both, 9, &weekly).len(), 2, "the first week knows no week before");
}

#[test]
fn a_series_that_is_not_told_any_more_is_found_unless_nobody_could() {
    let text = rule(&format!("judge = \"absence\"\nmetric = \"{THREADS}\"\nfor = \"60s\""));
    let mut stage = samples(&rules(&text));
    stage.sample(0.0, "db1", &[(THREADS, 1.0)]);
    // db2 goes on; db1 does not tell the number, or nothing at all.
    let mut said = Vec::new();
    for at in 1..=8 {
        said.extend(stage.sample(f64::from(at) * 10.0, "db2", &[(THREADS, 1.0)]));
    }
    assert_eq!(said, ["It db1 warning since 0 = 60"]);
    assert_eq!(stage.sample(90.0, "db1", &[(THREADS, 1.0)]), ["It db1 over since 0"]);
    // Nothing for ten minutes from anybody is an outage: silence counts from its end.
    assert_eq!(stage.sample(690.0, "db2", &[(THREADS, 1.0)]), [] as [&str; 0]);
    let said: Vec<_> =
        (1..=6).flat_map(|at| stage.sample(690.0 + f64::from(at) * 10.0, "db2", &[(THREADS, 1.0)])).collect();
    assert_eq!(said, ["It db1 warning since 690 = 60"]);
}

#[test]
fn a_state_that_changes_too_often_is_found() {
    let text = rule(&format!("judge = \"change\"\nmetric = \"{THREADS}\"\nspan = \"60s\"\nabove = 2"));
    let run = |values: &[f64]| samples(&rules(&text)).series(THREADS, values);
    assert_eq!(run(&[1.0, 0.0, 1.0, 1.0, 1.0]), [] as [&str; 0]);
    let found = run(&[1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(found, ["30 It db1 warning since 30 = 3", "70 It db1 over since 30 = 2"]);
}

#[test]
fn a_role_that_ends_ends_what_was_said_of_it() {
    let text =
        rule("judge = \"threshold\"\nmetric = \"millrace_replica_delay_seconds\"\nabove = 30\nrole = \"replica\"");
    let mut stage = journal(&rules(&text));
    stage.beat(0.0, "db1", Some(primary("")));
    assert_eq!(stage.beat(0.1, "db2", Some(replica("", 31.0))), ["It db2 warning since 0.1 = 31"]);
    assert_eq!(stage.beat(1.1, "db2", None), [] as [&str; 0], "a server that does not answer says nothing");
    // It is promoted.
    stage.beat(2.0, "db1", None);
    assert_eq!(stage.beat(2.1, "db2", Some(primary(""))), ["It db2 over since 0.1"]);
    assert!(finding(&stage.out[1]).summary.contains("its role changed"));
}

#[test]
fn a_late_heartbeat_says_nothing_about_now() {
    let text = rule("judge = \"threshold\"\nmetric = \"millrace_replica_delay_seconds\"\nabove = 30");
    let mut stage = journal(&rules(&text));
    assert_eq!(stage.beat(0.0, "db2", Some(replica("", 1.0))), [] as [&str; 0]);
    let process = millrace_schemas::cluster::Process::Running { pid: 1 };
    let old = super::stage::heartbeat(1.0, "db2", process, Some(replica("", 99.0)));
    let fact = millrace_schemas::topics::journal::Fact::Heartbeat(Box::new(old));
    assert_eq!(stage.say(4.0, Some("db2"), fact), [] as [&str; 0]);
    assert_eq!(stage.beat(4.5, "db2", Some(replica("", 99.0))), ["It db2 warning since 4.5 = 99"]);
}
