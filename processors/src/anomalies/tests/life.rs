//! Groups, what explains something, replicas, records in parts, snapshots, limits.

use std::collections::BTreeMap;

use millrace_schemas::cluster::Process;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::{DigestId, Epoch, EventId, HostId, InstanceId};
use millrace_schemas::record::{Bytes, NewRecord, Record};
use millrace_schemas::topics::alerts::{AlertState, Finding, Silence, Word};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Canary, Fact, Heartbeat, Load, Receiver, SemiSync, ServerState};
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{TOTAL, Window};

use super::super::instance::DIGESTS;
use super::super::{Anomalies, Measured, Names, REGRESSED, Settings, Sums, seconds};
use super::site::{Site, db1};
use super::traffic::{MONDAY, Traffic};
use crate::fold::Saved;

/// Tables by digest.
#[derive(Default)]
struct Tables(BTreeMap<DigestId, Vec<String>>);

impl Names for Tables {
    fn tables(&self, digest: DigestId) -> &[String] {
        self.0.get(&digest).map_or(&[], Vec::as_slice)
    }

    fn text(&self, digest: DigestId) -> Option<&str> {
        self.0.contains_key(&digest).then_some("SELECT ...")
    }
}

fn digest(number: usize) -> DigestId {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    DigestId(id)
}

/// A window in which each digest has 200 calls of so many microseconds.
fn rows(times: &[u64]) -> (Sums, Vec<Measured<'static>>) {
    let rows: Vec<Measured<'static>> = (0..)
        .zip(times)
        .filter(|(_, us)| **us > 0)
        .map(|(number, us)| {
            let sums = Sums { count: 200, errors: 0, rt_sum_us: us * 200, p99_us: us * 3, rows_examined: Some(2_000) };
            Measured { digest: digest(number), user: "app", sums }
        })
        .collect();
    let mut total = Sums { rows_examined: Some(0), ..Sums::default() };
    for row in &rows {
        total.count += row.sums.count;
        total.rt_sum_us += row.sums.rt_sum_us;
    }
    (total, rows)
}

/// A stage for windows of these times.
struct Stage {
    site: Site,
    names: Tables,
    start: i64,
}

impl Stage {
    fn new() -> Self {
        Self { site: Site::new(Settings::default()), names: Tables::default(), start: MONDAY }
    }

    fn windows(&mut self, count: usize, times: &[u64]) -> Vec<Finding> {
        let (total, rows) = rows(times);
        let mut found = Vec::new();
        for _ in 0..count {
            self.start += 10;
            found.extend(self.site.window(self.start, &total, &rows, &self.names));
        }
        found
    }
}

fn lines(found: &[Finding]) -> Vec<String> {
    let line = |one: &Finding| {
        let labels: Vec<&str> = one.labels.values().map(String::as_str).collect();
        format!("{:?} {} {:.1}", one.state, labels.join(" "), one.value.unwrap_or(0.0))
    };
    found.iter().map(line).collect()
}

#[test]
fn fifty_statements_of_a_table_that_lost_its_index_are_one_finding() {
    let mut stage = Stage::new();
    let mut times = [1_000; 60];
    for number in 0..50 {
        stage.names.0.insert(digest(number), vec!["orders".to_owned()]);
    }
    stage.names.0.insert(digest(3), vec!["customers".to_owned(), "orders".to_owned()]);
    assert_eq!(stage.windows(100, &times), []);
    times[..50].fill(5_000); // none of them is felt alone
    times[3] = 20_000;
    let found = stage.windows(3, &times);
    assert_eq!(lines(&found), ["Firing statements orders 20.0"]);
    let told = &found[0];
    assert!(!told.notifies && told.rule == REGRESSED, "{told:?}");
    assert_eq!(told.since, seconds(MONDAY + 1_010));
    assert!(
        told.summary.starts_with(
            "statements on orders of db1 take 20 times as long since 00:16:50 UTC: 20.0 ms instead of 1.00 ms;"
        ),
        "{}",
        told.summary
    );
    assert!(told.summary.contains("digest 00000000 of user app and 49 others: SELECT ..."), "{}", told.summary);
    times.fill(1_000);
    assert_eq!(lines(&stage.windows(10, &times)), ["Resolved statements orders 20.0"]);
    assert_eq!(stage.windows(30, &times), []);
}

#[test]
fn an_instance_on_which_everything_is_slow_is_one_finding_too() {
    let mut stage = Stage::new();
    for number in 0..20 {
        stage.names.0.insert(digest(number), vec![format!("t{number}")]);
    }
    assert_eq!(stage.windows(100, &[2_000; 20]), []);
    assert_eq!(lines(&stage.windows(3, &[6_000; 20])), ["Firing statements 3.0"]);
    // Three tables are three stories.
    let mut stage = Stage::new();
    stage.names.0 = (0..20).map(|number| (digest(number), vec![format!("t{number}")])).collect();
    assert_eq!(stage.windows(100, &[2_000; 20]), []);
    let mut times = [2_000; 20];
    times[4..7].fill(6_000);
    let expected = ["Firing statements t4 3.0", "Firing statements t5 3.0", "Firing statements t6 3.0"];
    assert_eq!(lines(&stage.windows(3, &times)), expected);
    // A story that gets worse is told again, a minute later at the earliest.
    times[4] = 30_000;
    assert_eq!(lines(&stage.windows(9, &times)), ["Firing statements t4 15.0"]);
}

#[test]
fn what_nobody_feels_is_no_finding() {
    let check = |before: &[u64], after: &[u64]| {
        let mut stage = Stage::new();
        assert_eq!(stage.windows(100, before), []);
        assert_eq!(stage.windows(20, after), [], "{after:?}");
    };
    check(&[1_000, 100_000], &[1_900, 100_000]); // a share below 2 %
    check(&[50, 60], &[120, 60]); // 70 us more
    check(&[1_000, 1_000], &[1_400, 1_000]); // less than half as much again
    check(&[1_000, 1_000], &[1_000, 0]); // a statement that is not asked for any more
    check(&[1_000], &[1_000, 900_000]); // a statement that nobody knows yet
}

#[test]
fn a_series_that_comes_seldom_is_judged_when_it_comes() {
    let mut stage = Stage::new();
    for _ in 0..70 {
        assert_eq!(stage.windows(1, &[1_000, 5_000]), []);
        assert_eq!(stage.windows(5, &[1_000, 0]), []);
    }
    // Two windows that lie apart are no proof; two in a row are.
    assert_eq!(stage.windows(1, &[1_000, 20_000]), []);
    assert_eq!(stage.windows(5, &[1_000, 0]), []);
    assert_eq!(lines(&stage.windows(2, &[1_000, 20_000])).len(), 1);
    assert_eq!(stage.windows(20, &[1_000, 0]).len(), 1, "it is over when nothing is heard of it");
}

#[test]
fn a_tail_that_was_slow_is_over_also_where_too_few_calls_follow_to_tell() {
    let mut stage = Stage::new();
    let windows = |stage: &mut Stage, windows: usize, count: u64, tail_us: u64| {
        let sums = Sums { count, errors: 0, rt_sum_us: 3_000 * count, p99_us: tail_us, rows_examined: None };
        let rows = [Measured { digest: digest(1), user: "app", sums }];
        let mut found = Vec::new();
        for _ in 0..windows {
            stage.start += 10;
            found.extend(stage.site.window(stage.start, &sums, &rows, &stage.names));
        }
        lines(&found)
    };
    assert_eq!(windows(&mut stage, 100, 200, 10_000), [""; 0]);
    assert_eq!(windows(&mut stage, 3, 200, 90_000), [format!("Firing {} statements 9.0", digest(1))]);
    let over = windows(&mut stage, 8, 60, 90_000); // of 60 calls no hundredth is known
    assert_eq!(over, [format!("Resolved {} statements 9.0", digest(1))]);
}

#[test]
fn a_restart_explains_ten_minutes_and_a_slow_server_is_told_then() {
    let mut stage = Stage::new();
    stage.site.restart(MONDAY);
    assert_eq!(stage.windows(100, &[1_000; 5]), []);
    stage.site.restart(stage.start + 10);
    assert_eq!(stage.windows(30, &[3_000; 5]), []);
    assert_eq!(stage.windows(20, &[1_000; 5]), [], "a cold cache is nobody's business");
    stage.site.restart(stage.start + 10);
    let began = stage.start + 10;
    assert_eq!(stage.windows(60, &[3_000; 5]), []);
    let found = stage.site.fact(&db1(), stage.start + 20, Fact::Tick {});
    assert_eq!(lines(&found), ["Firing statements 3.0"]);
    assert_eq!(found[0].since, seconds(began));
}

fn heartbeat(host: &str, open: bool, replica: bool) -> Fact {
    let receiver = replica.then(|| Receiver {
        channel: String::new(),
        source: "db1:3306".to_owned(),
        receiving: true,
        applying: true,
        error: None,
        delay_us: None,
    });
    Fact::Heartbeat(Box::new(Heartbeat {
        host: HostId::parse(host).expect("legal"),
        boot_us: 1,
        process: Process::Unknown,
        promised: Epoch(0),
        server: Some(ServerState {
            flavour: Flavour::MySql,
            version: "9".to_owned(),
            server_id: 1,
            open,
            executed: None,
            receiver,
            stopped_channel: None,
            semi_sync: SemiSync::default(),
            queries_per_second: None,
            threads_running: 1,
            connections: 1,
            host_load: None,
        }),
        server_error: None,
        canary: Canary::Off,
    }))
}

#[test]
fn another_role_and_a_maintenance_window_explain_what_begins_in_them() {
    let mut stage = Stage::new();
    stage.site.fact(&db1(), MONDAY, heartbeat("h1", false, true));
    assert_eq!(stage.windows(100, &[1_000; 5]), []);
    stage.site.fact(&db1(), stage.start + 5, heartbeat("h1", true, false));
    assert_eq!(stage.windows(200, &[4_000; 5]), [], "it is another server now, and learns");
    assert_eq!(stage.windows(100, &[4_000; 5]), []);
    let silence = Silence {
        id: EventId::derive(&["silence"]),
        rule: None,
        instance: None,
        from: seconds(stage.start),
        until: seconds(stage.start + 600),
        by: "ann".to_owned(),
        reason: "deploy 7".to_owned(),
    };
    stage.site.fact(&db1(), stage.start, Fact::AlertWord(Word::Silence(silence)));
    assert_eq!(stage.windows(30, &[12_000; 5]), []);
    assert_eq!(stage.windows(60, &[4_000; 5]), []);
    assert!(!stage.windows(3, &[12_000; 5]).is_empty(), "after it, as ever");
}

#[test]
fn one_replica_unlike_the_others_is_found_and_one_that_was_always_so_is_not() {
    let mut site = Site::new(Settings::default());
    let names: Vec<InstanceId> =
        ["db1", "db2", "db3", "db4"].into_iter().map(|name| InstanceId::parse(name).expect("legal")).collect();
    for (at, name) in names.iter().enumerate() {
        site.fact(name, MONDAY, heartbeat("h1", at == 0, at > 0));
    }
    let mut start = MONDAY;
    let mut windows = |site: &mut Site, count: usize, p99: [u64; 4]| -> Vec<Finding> {
        let mut found = Vec::new();
        for _ in 0..count {
            start += 10;
            for (name, p99_us) in names.iter().zip(p99) {
                let load =
                    Load { start: seconds(start), width_seconds: 10, statements: 500, errors: 0, p50_us: 9, p99_us };
                found.extend(site.fact(name, start + 12, Fact::Load(load)));
            }
        }
        found
    };
    assert_eq!(windows(&mut site, 100, [5_000, 10_000, 11_000, 90_000]), []);
    assert_eq!(windows(&mut site, 30, [5_000, 30_000, 33_000, 270_000]), [], "all of them are slower");
    let found = windows(&mut site, 4, [5_000, 10_000, 80_000, 90_000]);
    assert_eq!(lines(&found), ["Firing peers 7.3"]);
    assert_eq!(found[0].instance.as_ref().map(InstanceId::as_str), Some("db3"));
    assert_eq!(lines(&windows(&mut site, 10, [5_000, 10_000, 11_000, 90_000])), ["Resolved peers 1.0"]);
}

#[test]
fn who_takes_the_states_up_goes_on_to_the_same_bytes() {
    let mut traffic = Traffic::new(5, 80);
    let mut stage = Site::new(Settings { learns: std::time::Duration::from_secs(100), ..Settings::default() });
    let mut rows = Vec::new();
    let mut other: Option<Site> = None;
    for at in 0..600 {
        if at == 300 {
            traffic.slow = traffic
                .felt(0.02, 100.0)
                .first()
                .or(traffic.statements.first().map(|one| &one.id))
                .map(|id| (*id, 3.0, traffic.start + 5, traffic.start + 600));
        }
        if at == 302 {
            other = Some(stage.restored()); // in the midst of it
        }
        let (start, total, _) = traffic.window(&mut rows);
        let found = stage.window(start, &total, &rows, &());
        if let Some(other) = &mut other {
            assert_eq!(other.window(start, &total, &rows, &()), found);
        }
    }
    let other = other.expect("taken up");
    assert_eq!(other.instance, stage.instance);
    assert_eq!(other.save(), stage.save());
}

#[test]
fn a_state_is_bounded_and_those_with_the_most_load_are_in_it() {
    let mut stage = Stage::new();
    let times: Vec<u64> = (1..=2_000).map(|rank| 2_000_000 / rank).collect();
    stage.windows(80, &times);
    let (series, beyond) = stage.site.instance.counted();
    assert_eq!((series, beyond), (2 + 5 * DIGESTS, 80 * 1_000));
    let (bytes, _) = stage.site.save();
    println!("a state of {DIGESTS} digests: {} bytes", bytes.len());
    assert!(bytes.len() < 900 << 10, "{}", bytes.len());
    // One that was nothing, and is now most of it, finds its place.
    let mut late = times.clone();
    late[1_500] = 9_000_000;
    stage.windows(1, &late);
    assert_eq!(stage.site.instance.counted().0, 2 + 5 * DIGESTS);
    let (saved, _) = stage.site.save();
    let saved = String::from_utf8(saved).expect("JSON");
    assert!(saved.contains(&digest(1_500).to_string()) && !saved.contains(&digest(1_999).to_string()));
}

fn row(start: i64, number: usize, user: &str, us: u64) -> Row {
    Row { instance: db1(), user: user.into(), ..examples::row(start, digest(number), 100, us) }
}

fn record(offset: u64, start: i64, closed: bool, rows: Vec<Row>) -> Record {
    let window = |row| Window { width_seconds: 10, revision: 3, closed, row };
    let windows: Vec<Window> = rows.into_iter().map(window).collect();
    examples::windowed("c1", offset, &windows).stored(2, offset, seconds(start + 12))
}

/// A window of 200 calls of two users, its total first.
fn parts(start: i64, us: u64) -> (Vec<Row>, Vec<Row>) {
    let (one, two) = (row(start, 1, "app", us), row(start, 1, "batch", us));
    let mut total = Row { digest: TOTAL, user: String::new(), schema: String::new(), ..one.clone() };
    total.merge(&two);
    (vec![total, one], vec![two])
}

fn unusual(out: &[NewRecord]) -> Vec<(Finding, usize)> {
    let events = out.iter().map(|record| {
        let json = record.value.as_deref().expect("a value");
        let event = millrace_schemas::event::Event::<Fact>::from_json(json, false).expect("an event");
        let Fact::Unusual(unusual) = event.payload else { panic!("{:?}", event.payload) };
        (unusual.finding, unusual.windows.len())
    });
    events.collect()
}

#[test]
fn windows_come_open_in_parts_and_twice_and_count_once() {
    let mut judge = Anomalies::new(2, Settings::default());
    let mut offset = 0;
    let mut out = Vec::new();
    for window in 0..103 {
        let start = MONDAY + window * 10;
        let us = if window < 100 { 2_000 } else { 9_000 };
        let (first, second) = parts(start, us);
        for (closed, rows) in [(false, first.clone()), (true, first), (true, second.clone()), (true, second)] {
            offset += 1;
            let record = record(offset, start, closed, rows);
            if window == 101 && offset % 2 == 0 {
                // Another process takes it up between the parts of a window.
                let saved: Vec<Saved> = judge.entities().filter_map(|entity| judge.save(&entity)).collect();
                assert_eq!(saved.len(), 2, "an instance and its cluster");
                judge = Anomalies::new(2, Settings::default());
                judge.restore(&saved).expect("reads");
                assert!(saved.iter().all(|one| judge.save(&one.entity).as_ref() == Some(one)));
            }
            out.extend(judge.fold(&record, &()).out);
        }
    }
    let found = unusual(&out);
    let [(found, windows)] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((found.state, *windows), (AlertState::Firing, 2));
    assert!(found.summary.contains("take 4.5 times") || found.summary.contains("takes 4.5 times"), "{}", found.summary);
    assert_eq!(judge.counted().0, 7);
    let mut off = Anomalies::new(2, Settings { off: true, ..Settings::default() });
    assert_eq!(off.fold(&record(1, MONDAY, true, parts(MONDAY, 1).0), &()).out.len() + off.counted().0, 0);
    let broken =
        Record { value: Some(Bytes::from(&b"none"[..])), ..record(offset + 1, MONDAY, true, parts(MONDAY, 1).0) };
    assert!(matches!(judge.fold(&broken, &()).fate, crate::fold::Fate::Dead(_)));
    let mut open = Record { offset: offset + 2, ..broken };
    open.headers.insert("final".to_owned(), "false".to_owned());
    assert_eq!(judge.fold(&open, &()).fate, crate::fold::Fate::Folded, "of what is open nothing is read");
}

#[test]
fn an_anomaly_of_which_nothing_is_heard_is_over_in_the_end() {
    let mut stage = Stage::new();
    assert_eq!(stage.windows(100, &[1_000; 3]), []);
    let found = stage.windows(3, &[3_000; 3]);
    assert!(!found.is_empty());
    let out = stage.site.fact(&db1(), stage.start + 2_500, Fact::Tick {});
    assert_eq!(out.len(), found.len());
    assert!(out.iter().all(|one| one.state == AlertState::Resolved && one.summary.starts_with("nothing was heard")));
}

#[test]
fn every_rule_of_what_is_found_has_its_page() {
    let page = include_str!("../../../../docs/alerts.md");
    for (rule, _) in super::super::FINDINGS {
        assert!(page.contains(&format!("\n## {rule}\n")), "docs/alerts.md has no section {rule}");
    }
}
