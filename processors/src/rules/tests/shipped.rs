//! Every shipped rule: a bad series lets it begin, a good one after that ends it, and a healthy busy cluster hears nothing of any.

use std::collections::BTreeSet;

use millrace_schemas::cluster::Process;
use millrace_schemas::topics::journal::{Fact, ProcessChanged, ServerState, StoppedChannel};

use super::super::rule::Input;
use super::super::{Journal, Rules};
use super::stage::{START, Stage, finding, heartbeat, host, instance, journal, primary, replica, samples, shipped};

/// The uuid of a server, and another one's.
const OWN: &str = "11111111-1111-1111-1111-111111111111";
const OTHER: &str = "22222222-2222-2222-2222-222222222222";

/// What a cluster of three says in a second; `None`: nothing.
type Moment = [Option<Option<ServerState>>; 3];

fn calm(second: f64) -> Moment {
    let executed = |at: f64| format!("{OWN}:1-{}", 1_000 + (at * 500.0) as u64);
    // Replicas speak after the primary, and are ahead of what it said.
    [
        Some(Some(primary(&executed(second)))),
        Some(Some(replica(&executed(second + 0.3), 0.5))),
        Some(Some(replica(&executed(second + 0.6), 1.5))),
    ]
}

/// Plays seconds; what is found of `rule` and how.
fn play(stage: &mut Stage<Journal>, seconds: std::ops::Range<i32>, moment: impl Fn(f64) -> Moment) -> Vec<String> {
    let mut said = Vec::new();
    for at in seconds {
        for (name, (state, after)) in
            ["db1", "db2", "db3"].into_iter().zip(moment(f64::from(at)).into_iter().zip([0.0, 0.3, 0.6]))
        {
            if let Some(state) = state {
                said.extend(stage.beat(f64::from(at) + after, name, state));
            }
        }
    }
    said
}

/// A bad time after a minute of calm, and calm again. Just before `begins` it is silent.
fn heartbeats(rule: &str, begins: i32, bad: impl Fn(f64) -> Moment, expected: [&str; 2]) {
    let mut stage = journal(&shipped(rule));
    assert_eq!(play(&mut stage, 0..60, calm), [] as [&str; 0], "{rule}");
    assert_eq!(play(&mut stage, 60..60 + begins, &bad), [] as [&str; 0], "{rule} begins too soon");
    let begun = play(&mut stage, 60 + begins..200, &bad);
    assert_eq!(begun.first().map(String::as_str), Some(expected[0]), "{rule}: {begun:?}");
    let over = play(&mut stage, 200..300, calm);
    assert_eq!(over, [expected[1]], "{rule}");
}

fn with(change: impl Fn(&mut [ServerState; 3])) -> impl Fn(f64) -> Moment {
    move |second| {
        let mut states = calm(second).map(|state| state.flatten().expect("it is there"));
        change(&mut states);
        states.map(|state| Some(Some(state)))
    }
}

fn stopped(state: &mut ServerState) {
    state.receiver.as_mut().expect("a replica").applying = false;
}

/// A replica of several sources: its agent speaks of another channel that has stopped.
#[test]
fn the_channel_that_stands_is_named_and_so_is_another_one_that_does_after_it() {
    let mut stage = journal(&shipped("ReplicationStopped"));
    for second in 0..240 {
        let channel = [None, Some("a"), Some("b"), None][second / 60];
        let mut state = replica(&format!("{OWN}:1-9"), 0.1);
        let stopped = |channel: &str| StoppedChannel { channel: channel.to_owned(), source: "h-db7:3306".to_owned() };
        state.stopped_channel = channel.map(stopped);
        stage.beat(second as f64, "db3", Some(state));
    }
    let said: Vec<_> = stage.out.iter().map(finding).collect();
    let words: Vec<&str> = said.iter().map(|one| one.summary.as_str()).collect();
    let expected = [
        "replication of db3 from a (h-db7:3306) has stopped",
        "replication of db3 from b (h-db7:3306) has stopped",
        "over after 2 min: replication of db3 from b (h-db7:3306) has stopped",
    ];
    assert_eq!(words, expected);
    assert!(said.iter().all(|one| one.fingerprint == said[0].fingerprint), "one alert");
}

#[test]
fn rules_over_heartbeats_begin_and_end() {
    heartbeats(
        "NoPromotableReplica",
        60,
        with(|all| all[1..].iter_mut().for_each(stopped)),
        ["NoPromotableReplica warning since 60.6 = 0", "NoPromotableReplica over since 60.6 = 1"],
    );
    heartbeats(
        "ReplicationStopped",
        30,
        with(|all| stopped(&mut all[2])),
        ["ReplicationStopped db3 warning since 60.6 = 0", "ReplicationStopped db3 over since 60.6 = 1"],
    );
    heartbeats(
        "SemiSyncDegraded",
        30,
        with(|all| all[0].semi_sync.source_active = false),
        ["SemiSyncDegraded db1 warning since 60 = 0", "SemiSyncDegraded db1 over since 60 = 1"],
    );
    heartbeats(
        "ReadOnlyWrong",
        10,
        with(|all| all[2].open = true),
        ["ReadOnlyWrong db3 critical since 60.6 = 1", "ReadOnlyWrong db3 over since 60.6 = 0"],
    );
    heartbeats(
        "AgentSilent",
        29,
        |second| {
            let mut moment = calm(second);
            moment[1] = None;
            moment
        },
        ["AgentSilent db2 warning since 59.3 = 30", "AgentSilent db2 over since 59.3"],
    );
}

#[test]
fn a_replica_with_a_transaction_of_its_own_is_found() {
    let errant = |second: f64| {
        let mut moment = calm(second);
        let own = format!("{OWN}:1-{},{OTHER}:1-2", 1_000 + (second * 500.0) as u64);
        moment[1] = Some(Some(replica(&own, 0.5)));
        moment
    };
    heartbeats(
        "ErrantGTID",
        60,
        errant,
        ["ErrantGTID db2 warning since 62.3 = 2", "ErrantGTID db2 over since 62.3 = 0"],
    );
}

/// The primary is written to all the time, and its heartbeat is always older than those of its replicas.
#[test]
fn no_phase_of_heartbeats_makes_a_transaction_errant() {
    let ahead = |second: f64| {
        let executed = |at: f64| format!("{OWN}:1-{}", 1_000 + (at * 5_000.0) as u64);
        [
            Some(Some(primary(&executed(second - 0.9)))),
            Some(Some(replica(&executed(second), 0.0))),
            Some(Some(replica(&executed(second), 0.0))),
        ]
    };
    assert_eq!(play(&mut journal(&shipped("ErrantGTID")), 1..200, ahead), [] as [&str; 0]);
}

#[test]
fn a_decider_that_says_nothing_is_found() {
    let run = |word: Option<Fact>| {
        let mut stage = journal(&shipped("DeciderStalled"));
        play(&mut stage, 0..20, calm);
        let process = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
        let change = ProcessChanged { host: host("db1"), boot_us: 1, process: process.clone(), exited_boot_us: None };
        stage.say(20.0, Some("db1"), Fact::ProcessChanged(change));
        if let Some(word) = word {
            let record = stage.record(21.0, None, "failover.2/journal/0", word);
            stage.fold(&record);
        }
        let mut said = Vec::new();
        for at in 21..40 {
            let beat = heartbeat(f64::from(at), "db1", process.clone(), None);
            said.extend(stage.say(f64::from(at), Some("db1"), Fact::Heartbeat(Box::new(beat))));
            said.extend(stage.beat(f64::from(at) + 0.3, "db2", Some(replica("", 1.0))));
        }
        said.extend(play(&mut stage, 40..42, calm));
        said
    };
    let begun = "DeciderStalled critical since 30.3 = 10.3";
    let over = "DeciderStalled over since 30.3 = 0";
    assert_eq!(run(None), [begun, over]);
    let finding = millrace_schemas::topics::alerts::Finding {
        fingerprint: millrace_schemas::ids::EventId(1),
        rule: "PrimaryDown".to_owned(),
        instance: Some(instance("db1")),
        labels: std::collections::BTreeMap::new(),
        severity: millrace_schemas::topics::alerts::Severity::Critical,
        state: millrace_schemas::topics::alerts::AlertState::Firing,
        since: millrace_schemas::time::Timestamp(0),
        summary: "db1 is down".to_owned(),
        value: None,
        notifies: true,
    };
    assert_eq!(run(Some(Fact::Finding(Box::new(finding)))), [] as [&str; 0]);
}

#[test]
fn silence_after_an_outage_is_nobodys() {
    let mut stage = journal(&shipped("AgentSilent"));
    play(&mut stage, 0..20, calm);
    // Nothing at all for a minute: the bus was away.
    let said = play(&mut stage, 80..105, |second| [calm(second)[0].clone(), None, None]);
    assert_eq!(said, [] as [&str; 0]);
    let said = play(&mut stage, 105..112, |second| [calm(second)[0].clone(), None, None]);
    assert_eq!(said, ["AgentSilent db2 warning since 80 = 30", "AgentSilent db3 warning since 80 = 30"]);
}

#[test]
fn errors_of_statements_are_found() {
    let mut stage = journal(&shipped("ErrorsHigh"));
    let mut run = |from: i32, windows: i32, statements, errors| {
        let each = |at: i32| stage.load(f64::from((from + at) * 10), "db1", statements, errors);
        (0..windows).flat_map(each).collect::<Vec<_>>()
    };
    assert_eq!(run(0, 20, 1_000, 100), [] as [&str; 0], "one of ten exactly");
    assert_eq!(run(20, 20, 50, 19), [] as [&str; 0], "too few to speak of");
    assert_eq!(run(40, 20, 1_000, 200), ["ErrorsHigh db1 warning since 400 = 0.2"]);
    assert_eq!(run(60, 2, 1_000, 50), ["ErrorsHigh db1 over since 400 = 0.05"]);
}

#[test]
fn the_watchdog_always_holds_and_says_so_each_minute() {
    let mut stage = journal(&shipped("Watchdog"));
    assert_eq!(play(&mut stage, 0..150, calm), ["Watchdog info since 0 = 0"; 3]);
}

/// Plays samples: a day is 8,640 of them. `value` gives the numbers of one.
fn sampled(rule: &str, values: impl Fn(i32) -> Vec<(&'static str, f64)>, samples_played: i32) -> Vec<String> {
    let mut stage = samples(&shipped(rule));
    let each = |at: i32| stage.sample(f64::from(at) * 10.0, "db1", &values(at));
    (0..samples_played).flat_map(each).map(|line| line.split(" since").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn rules_over_samples_begin_and_end() {
    // Each: bad from the 30th sample on, good again from the 100th.
    let check = |rule: &str, bad: &[(&'static str, f64)], good: &[(&'static str, f64)], expected: [&str; 2]| {
        let found = sampled(rule, |at| if (30..100).contains(&at) { bad.to_vec() } else { good.to_vec() }, 200);
        assert_eq!(found, expected, "{rule}");
    };
    let connections =
        |used| [("mysql_global_status_threads_connected", used), ("mysql_global_variables_max_connections", 151.0)];
    check(
        "ConnectionsHigh",
        &connections(121.0),
        &connections(100.0),
        ["ConnectionsHigh db1 warning", "ConnectionsHigh db1 over"],
    );
    check(
        "ConnectionsHigh",
        &connections(145.0),
        &connections(100.0),
        ["ConnectionsHigh db1 critical", "ConnectionsHigh db1 over"],
    );
    let threads = |running| [("mysql_global_status_threads_running", running), ("millrace_host_cores", 8.0)];
    check(
        "ThreadsRunningHigh",
        &threads(33.0),
        &threads(16.0),
        ["ThreadsRunningHigh db1 warning", "ThreadsRunningHigh db1 over"],
    );
    let oldest = |seconds| [("millrace_innodb_oldest_transaction_seconds", seconds)];
    check(
        "LongTransaction",
        &oldest(1_801.0),
        &oldest(1_800.0),
        ["LongTransaction db1 warning", "LongTransaction db1 over"],
    );
    let free = |share: f64| [("millrace_host_datadir_free_bytes", share * 1e12), ("millrace_host_datadir_bytes", 1e12)];
    check("DiskAlmostFull", &free(0.04), &free(0.09), ["DiskAlmostFull db1 warning", "DiskAlmostFull db1 over"]);
    let load = |load| [("millrace_host_load5", load), ("millrace_host_cores", 4.0)];
    check(
        "HostOverloaded",
        &load(17.0),
        &load(8.0),
        ["HostOverloaded host=h-db1 warning", "HostOverloaded host=h-db1 over"],
    );
    let memory =
        |share: f64| [("millrace_host_memory_available_bytes", share * 1e11), ("millrace_host_memory_bytes", 1e11)];
    check(
        "HostMemoryLow",
        &memory(0.02),
        &memory(0.07),
        ["HostMemoryLow host=h-db1 warning", "HostMemoryLow host=h-db1 over"],
    );
}

#[test]
fn a_replica_that_is_behind_is_found_and_over_when_it_is_none_any_more() {
    let lag =
        |seconds| vec![("mysql_global_status_uptime", 9.0), (RUNS, 1.0), ("millrace_replica_lag_seconds", seconds)];
    let found = sampled("LagHigh", |at| lag(if (30..100).contains(&at) { 31.0 } else { 9.0 }), 200);
    assert_eq!(found, ["LagHigh db1 warning", "LagHigh db1 over"]);
    let then = |after: &[(&'static str, f64)]| {
        let after = after.to_vec();
        sampled("LagHigh", move |at| if at < 100 { lag(301.0) } else { after.clone() }, 200)
    };
    let critical = "LagHigh db1 critical";
    assert_eq!(
        then(&[("mysql_global_status_uptime", 9.0)]),
        [critical, "LagHigh db1 over"],
        "it is no replica any more"
    );
    assert_eq!(
        then(&[("mysql_global_status_uptime", 9.0), (RUNS, 0.0)]),
        [critical],
        "how far it is behind is unknown"
    );
    assert_eq!(then(&[("millrace_host_cores", 4.0)]), [critical], "it did not answer");
}

#[test]
fn a_cluster_whose_newest_backup_is_too_old_is_found_once_and_one_that_any_member_has_is_enough() {
    const WITHIN: &str = "millrace_backup_within_seconds{looked_in=\"/backups\"}";
    const LAST: &str = "millrace_backup_last_timestamp_seconds";
    let rules = shipped("BackupStale");
    let hours = |hours: i64| (START + hours * 3_600) as f64;
    let mut stage = samples(&rules);
    let mut play = |from: i32, until: i32, last: [Option<f64>; 2]| {
        let mut said = Vec::new();
        for second in (from * 3_600..until * 3_600).step_by(60) {
            for part in [0, 30] {
                for (after, (name, last)) in ["db1", "db2"].into_iter().zip(last).enumerate() {
                    let mut values = vec![(WITHIN, 26.0 * 3_600.0)];
                    values.extend(last.map(|last| (LAST, last)));
                    said.extend(stage.sample(f64::from(second + part) + after as f64, name, &values));
                }
                // A member whose agent has no policy.
                stage.sample(f64::from(second + part) + 3.0, "db3", &[("mysql_global_status_uptime", 1.0)]);
            }
        }
        said
    };
    // 20 h old at first, of one of both; then nobody makes another one.
    assert_eq!(play(0, 6, [None, Some(hours(-20))]), [] as [&str; 0]);
    let stale = play(6, 33, [Some(hours(-30)), Some(hours(-20))]);
    assert_eq!(stale, ["BackupStale warning since 21601 = 1.006", "BackupStale critical since 21601 = 2"]);
    assert_eq!(play(33, 34, [Some(hours(32)), None]), ["BackupStale over since 21601 = 0.038"]);

    let (mut never, mut told) = (samples(&rules), Vec::new());
    for second in (0..1_800).step_by(10) {
        told.extend(never.sample(f64::from(second), "db1", &[(WITHIN, 93_600.0)]));
    }
    assert_eq!(told, ["BackupStale warning since 10 = 1.007"], "it is told, and is no number that is missing");
    let words = finding(&never.out[0]).summary;
    assert_eq!(words, "c1 has no backup that is young enough: none was ever seen; db1 looked in /backups");
    let words = finding(&stage.out[0]).summary;
    assert_eq!(words, "c1 has no backup that is young enough: the newest, found by db2, is 26 h old and may be 26 h");
}

/// What any replica says.
const RUNS: &str = "mysql_slave_status_slave_io_running{channel_name=\"\",connection_name=\"\"}";

#[test]
fn what_is_lost_on_the_way_is_found() {
    // 1.2 % of the packets for ten minutes, from the fifth on.
    let dropped = |at: i32| f64::from(at.clamp(30, 90) - 30) * 120.0;
    let packets = |at: i32| {
        vec![
            ("millrace_wire_kernel_received_packets_total", f64::from(at) * 10_000.0),
            ("millrace_wire_kernel_dropped_packets_total", dropped(at)),
        ]
    };
    let found = sampled("CaptureDrops", packets, 200);
    assert_eq!(found.first().map(String::as_str), Some("CaptureDrops host=h-db1 warning"), "{found:?}");
    assert_eq!(found.last().map(String::as_str), Some("CaptureDrops host=h-db1 over"), "{found:?}");
    let broken = |at: i32| vec![("millrace_slow_log_broken_total", f64::from(i32::from(at >= 120)))];
    assert_eq!(sampled("SlowLogGap", broken, 400), ["SlowLogGap db1 warning", "SlowLogGap db1 over"]);
}

#[test]
fn a_key_that_is_nearly_used_up_is_found_once_for_its_cluster() {
    let rules = shipped("AutoIncrementNearEnd");
    let mut stage = samples(&rules);
    let series = "millrace_key_used_ratio{schema=\"shop\",table=\"orders\",column=\"id\"}";
    let mut told = Vec::new();
    // Once a minute at most, by whichever server is written to: the primary changes in the middle.
    for (at, used) in [0.79, 0.81, 0.82, 0.96, 0.96, 0.3].into_iter().enumerate() {
        let instance = if at < 3 { "db1" } else { "db2" };
        told.extend(stage.sample(at as f64 * 60.0, instance, &[(series, used)]));
    }
    let labels = "column=id schema=shop table=orders";
    let expected = [
        format!("AutoIncrementNearEnd {labels} warning since 60 = 0.81"),
        format!("AutoIncrementNearEnd {labels} critical since 60 = 0.96"),
        format!("AutoIncrementNearEnd {labels} over since 60 = 0.3"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn deadlocks_that_come_too_often_are_found() {
    // One in fifty seconds, then one in four for ten minutes, then none.
    let ended = |at: i32| match at {
        0..60 => f64::from(at) * 0.2,
        60..120 => 12.0 + f64::from(at - 60) * 2.5,
        _ => 162.0,
    };
    let found = sampled("Deadlocks", |at| vec![("millrace_innodb_deadlocks_total", ended(at))], 200);
    // The second word is of the fall: half of what was told.
    assert_eq!(found, ["Deadlocks db1 warning", "Deadlocks db1 warning", "Deadlocks db1 over"]);
}

#[test]
fn a_disk_that_will_be_full_is_found() {
    let free =
        |share: f64| vec![("millrace_host_datadir_free_bytes", share * 1e12), ("millrace_host_datadir_bytes", 1e12)];
    // A tenth of a percent in ten minutes, from a tenth; after 12 h somebody clears a fifth.
    let value = |at: i32| free(if at < 4_320 { 0.12 - f64::from(at) * 1e-3 / 60.0 } else { 0.3 });
    let found = sampled("DiskFullSoon", value, 6_000);
    assert_eq!(found.first().map(String::as_str), Some("DiskFullSoon db1 warning"));
    assert_eq!(found.last().map(String::as_str), Some("DiskFullSoon db1 over"));
}

/// Two hours of a busy cluster: peaks, restarts of counters, a switch of primaries, and a replica that is behind for a moment.
#[test]
fn a_healthy_busy_cluster_hears_of_nothing() {
    let rules = Rules::shipped();
    let mut stage = journal(&rules);
    let busy = |second: f64| {
        let mut moment = calm(second);
        let at = second as i64;
        if at % 600 < 20
            && let Some(Some(state)) = &mut moment[2]
        {
            state.receiver.as_mut().expect("a replica").delay_us = Some(45_000_000); // one large transaction
        }
        if at % 900 < 8 {
            moment[1] = Some(None); // its server restarts
        }
        moment
    };
    let mut said = play(&mut stage, 0..3_600, busy);
    // A switch of primaries: closed, then open elsewhere; replicas follow after some seconds.
    said.extend(play(&mut stage, 3_600..3_605, |second| {
        let [one, _, three] = calm(second);
        let closed = one.flatten().map(|state| ServerState { open: false, ..state });
        [Some(closed), None, three]
    }));
    said.extend(play(&mut stage, 3_605..7_200, |second| {
        let [one, two, three] = calm(second);
        [two, one, three]
    }));
    for at in 720..1_440 {
        let errors = if at % 60 < 10 { 300 } else { 20 }; // a deployment fails for a while, and is taken back
        said.extend(stage.load(f64::from(at) * 10.0, "db2", 2_000, errors));
    }
    assert!(said.iter().all(|word| word == "Watchdog info since 0 = 0"), "{said:?}");

    let mut stage = samples(&rules);
    let mut said = Vec::new();
    for at in 0..8_640_i32 {
        let wave = f64::from(at % 360) / 360.0;
        let peak = if at % 720 < 9 { 0.3 } else { 0.0 }; // 90 s of a burst every two hours
        let values = [
            ("mysql_global_status_threads_connected", 60.0 + 40.0 * wave),
            ("mysql_global_status_threads_running", 6.0 + 100.0 * peak),
            ("mysql_global_variables_max_connections", 151.0),
            ("millrace_host_cores", 2.0),
            ("millrace_innodb_oldest_transaction_seconds", 900.0 * wave),
            ("millrace_innodb_deadlocks_total", f64::from(at) / 10.0),
            ("millrace_host_load1", 3.0 + 10.0 * wave),
            ("millrace_host_load5", 3.0 + 4.0 * wave),
            ("millrace_host_memory_bytes", 1e10),
            ("millrace_host_memory_available_bytes", 1e9 - 5e8 * wave),
            ("millrace_host_datadir_bytes", 1e12),
            ("millrace_host_datadir_free_bytes", 2e11 - 5e10 * wave), // binlogs come and go
        ];
        said.extend(stage.sample(f64::from(at) * 10.0, "db1", &values));
    }
    assert_eq!(said, [] as [&str; 0]);
}

/// What is added to the file must be played here too.
#[test]
fn every_shipped_rule_is_played() {
    let text = include_str!("shipped.rs");
    let rules = Rules::shipped();
    let missing: BTreeSet<&str> =
        rules.all.iter().map(|rule| rule.name.as_str()).filter(|name| !text.contains(&format!("\"{name}\""))).collect();
    assert_eq!(missing, BTreeSet::new());
    assert!(rules.all.iter().any(|rule| rule.input == Input::Samples));
    let told = finding(&{
        let mut stage = journal(&shipped("Watchdog"));
        stage.beat(0.0, "db1", None);
        stage.out.remove(0)
    });
    assert_eq!(told.summary, "alerts of c1 are watched");
}
