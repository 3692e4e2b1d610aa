//! Each setting is called what it is, with its cost and its remedy.

use std::path::PathBuf;

use millrace_mysql::GtidSet;
use millrace_mysql::counters::Counters;
use millrace_mysql::status::source::AttachedReplicas;
use millrace_mysql::status::{SemiSync, Server, Source, Status};
use millrace_schemas::ids::{ClusterId, InstanceId};

use super::super::Level;
use super::*;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A server that leaves nothing to wish for but what `more` says.
fn status(flavour: Flavour, more: &[(&str, &str)]) -> Status {
    let good = [
        ("version", "1"),
        ("server_id", "1"),
        ("port", "3306"),
        ("read_only", "ON"),
        ("log_bin", "ON"),
        ("gtid_mode", "ON"),
        ("sync_binlog", "1"),
        ("sync_relay_log", "1"),
        ("innodb_flush_log_at_trx_commit", "1"),
        ("performance_schema", "ON"),
        ("slow_query_log", "ON"),
        ("slow_query_log_file", "/dev/null"),
        ("long_query_time", "0.5"),
    ];
    let all: Vec<(&str, &str)> = good.iter().chain(more).copied().collect();
    let dialect = Dialect { flavour, version: Version::new(10, 11, 0) };
    let empty = GtidSet::empty(flavour);
    Status {
        server: Server::of(dialect, &variables(&all), &Counters::default()).unwrap(),
        source: Source {
            executed: empty,
            binlog_state: None,
            purged: None,
            file: None,
            position: None,
            attached: AttachedReplicas::Known(Vec::new()),
        },
        semi_sync: SemiSync::default(),
        channels: Vec::new(),
        counters: Counters::default(),
    }
}

fn watched() -> WatchedServer {
    WatchedServer {
        statements: None,
        instance: InstanceId::parse("db1").unwrap(),
        cluster: ClusterId::parse("shop").unwrap(),
        address: "127.0.0.1".into(),
        port: 3306,
        user: "millrace".into(),
        password_file: None,
        slow_log: None,
    }
}

/// Judges the settings of a server and compares what is not ok: the check and a part of the finding.
fn check(flavour: Flavour, more: &[(&str, &str)], expected: &[(&str, &str)]) {
    let found =
        settings(&str::to_owned, &status(flavour, more), &variables(&[("replica_net_timeout", "4")]), &watched());
    let wrong: Vec<&Finding> = found.iter().filter(|finding| finding.level != Level::Ok).collect();
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
    for (finding, (name, part)) in wrong.iter().zip(expected) {
        assert!(finding.check == *name && finding.found.contains(part), "{finding:?} is not {name}: {part}");
        assert!(finding.costs.is_some() && finding.remedy.is_some(), "{finding:?}");
    }
}

#[test]
fn a_server_that_has_all_needs_nothing() {
    check(Flavour::MySql, &[], &[]);
    check(Flavour::MariaDb, &[("gtid_strict_mode", "ON")], &[]);
}

#[test]
fn what_a_setting_lacks_is_named() {
    let mysql = |more: (&str, &str), name: &str, part: &str| check(Flavour::MySql, &[more], &[(name, part)]);
    mysql(("performance_schema", "OFF"), "performance_schema", "off");
    mysql(("slow_query_log", "OFF"), "slow log", "off");
    mysql(("log_output", "TABLE"), "slow log", "to a table");
    mysql(("slow_query_log_file", "/nosuch/slow.log"), "slow log", "/nosuch/slow.log");
    mysql(("log_bin", "OFF"), "binlog", "off");
    mysql(("gtid_mode", "OFF_PERMISSIVE"), "GTID", "OFF_PERMISSIVE");
    mysql(("sync_binlog", "0"), "power cut", "sync_binlog=0");
    mysql(("innodb_flush_log_at_trx_commit", "2"), "power cut", "innodb_flush_log_at_trx_commit=2");
    mysql(("read_only", "OFF"), "semi-sync", "open, source side off");
    check(Flavour::MariaDb, &[("gtid_strict_mode", "OFF")], &[("GTID", "gtid_strict_mode is off")]);
}

#[test]
fn a_slow_log_that_this_user_cannot_read_is_a_problem_only_where_it_lies_here() {
    let status = status(Flavour::MySql, &[("slow_query_log_file", "/nosuch/slow.log")]);
    assert_eq!(slow_log("s".into(), &status, &watched()).level, Level::Problem);
    let elsewhere = WatchedServer { address: "db1.example".into(), ..watched() };
    assert_eq!(slow_log("s".into(), &status, &elsewhere).level, Level::Note);
    let named = WatchedServer { slow_log: Some(PathBuf::from("/dev/null")), ..watched() };
    assert_eq!(slow_log("s".into(), &status, &named).level, Level::Ok);
}

#[test]
fn a_network_time_out_is_short_long_or_not_known() {
    let level = |pairs: &[(&str, &str)]| net_timeout("n".into(), &variables(pairs)).level;
    assert_eq!(level(&[("replica_net_timeout", "2")]), Level::Ok);
    assert_eq!(level(&[("slave_net_timeout", "60")]), Level::Note);
    assert_eq!(level(&[]), Level::Note);
}

#[test]
fn old_versions_are_refused_by_family() {
    let level = |flavour, major, minor, patch| {
        version("v".into(), Dialect { flavour, version: Version::new(major, minor, patch) }).level
    };
    assert_eq!(level(Flavour::MySql, 5, 6, 51), Level::Problem);
    assert_eq!(level(Flavour::MySql, 8, 0, 36), Level::Ok);
    assert_eq!(level(Flavour::MariaDb, 10, 3, 0), Level::Problem);
    assert_eq!(level(Flavour::MariaDb, 10, 11, 19), Level::Ok);
}

#[test]
fn a_denied_statement_names_the_grant_for_the_account_of_the_session() {
    let denied =
        Error::Server { target: "db1".into(), statement: "x".into(), code: 1227, message: "access denied".into() };
    let check = |flavour, name: &str, user: &str, level: Level, expected: &str| {
        let abilities = abilities(Dialect { flavour, version: Version::new(10, 11, 0) });
        let ability = abilities.iter().find(|ability| ability.name == name).unwrap();
        let finding = granted("g".into(), ability, flavour, user, Some(&denied));
        assert_eq!((finding.level, finding.remedy.as_deref()), (level, Some(expected)));
        assert_eq!(granted("g".into(), ability, flavour, user, None).level, Level::Ok);
    };
    let (mysql, mariadb) = (Flavour::MySql, Flavour::MariaDb);
    let status = "GRANT REPLICATION CLIENT ON *.* TO 'millrace'@'10.0.0.%'";
    check(mysql, "replication status", "millrace@10.0.0.%", Level::Problem, status);
    check(mariadb, "replication status", "o'neil@%", Level::Problem, "GRANT SLAVE MONITOR ON *.* TO 'o''neil'@'%'");
    // The agent works without knowing who is attached.
    check(mysql, "attached replicas", "m@%", Level::Note, "GRANT REPLICATION SLAVE ON *.* TO 'm'@'%'");
    check(mariadb, "attached replicas", "m@%", Level::Note, "GRANT REPLICATION MASTER ADMIN ON *.* TO 'm'@'%'");
}

#[test]
fn what_does_not_come_in_the_clear_is_told_with_its_share() {
    let ways = |pairs: &[(&str, u64)]| {
        let pairs: Vec<(String, u64)> = pairs.iter().map(|(way, count)| ((*way).to_owned(), *count)).collect();
        transport("t".into(), &pairs)
    };
    assert_eq!(ways(&[]).level, Level::Ok);
    assert_eq!(ways(&[("TCP/IP", 10)]).level, Level::Ok);
    let mixed = ways(&[("TCP/IP", 60), ("Socket", 25), ("SSL/TLS", 15)]);
    assert!(mixed.level == Level::Note && mixed.found.contains("Socket 25 %, SSL/TLS 15 %"), "{mixed:?}");
    assert_eq!(unknown_transport("t".into(), "denied").level, Level::Note);
}

#[test]
fn a_refusal_of_the_account_points_at_the_account() {
    let server = |code| Error::Server { target: "db1".into(), statement: "connect".into(), code, message: "no".into() };
    let check = |error: &Error, part: &str| {
        let finding = refused(&watched(), error);
        assert!(finding.level == Level::Problem && finding.remedy.as_ref().unwrap().contains(part), "{finding:?}");
    };
    check(&server(1045), "password-file");
    check(&Error::Connect { target: "db1".into(), why: "refused".into() }, "listens on 127.0.0.1:3306");
}
