//! Every statement in every dialect, as the manuals of 5.7, 8.0, 8.4 and 9.7 and of MariaDB 10.11 have them.

use millrace_schemas::flavour::Flavour;

use super::super::Version;
use super::*;

const DIALECTS: [Dialect; 5] = [
    Dialect { flavour: Flavour::MySql, version: Version::new(5, 7, 44) },
    Dialect { flavour: Flavour::MySql, version: Version::new(8, 0, 36) },
    Dialect { flavour: Flavour::MySql, version: Version::new(8, 4, 3) },
    Dialect { flavour: Flavour::MySql, version: Version::new(9, 7, 4) },
    Dialect { flavour: Flavour::MariaDb, version: Version::new(10, 11, 19) },
];

fn check<T: Into<String>>(say: impl Fn(Dialect) -> T, expected: [&str; 5]) {
    for (dialect, expected) in DIALECTS.into_iter().zip(expected) {
        assert_eq!(say(dialect).into(), expected, "{dialect}");
    }
}

#[test]
fn status_statements() {
    let replica = "SHOW REPLICA STATUS";
    check(Dialect::show_channels, ["SHOW SLAVE STATUS", replica, replica, replica, "SHOW ALL SLAVES STATUS"]);
    let old = "SHOW SLAVE HOSTS";
    check(Dialect::show_attached_replicas, [old, "SHOW REPLICAS", "SHOW REPLICAS", "SHOW REPLICAS", old]);
    let (old, new) = ("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS");
    check(Dialect::show_own_position, [old, old, new, new, old]);
}

#[test]
fn start_stop_and_reset() {
    let (old, new) = ("START SLAVE", "START REPLICA");
    check(Dialect::start_replication, [old, new, new, new, old]);
    let (old, new) = ("STOP SLAVE", "STOP REPLICA");
    check(Dialect::stop_replication, [old, new, new, new, old]);
    let (old, new) = ("STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD");
    check(Dialect::stop_receiver, [old, new, new, new, old]);
    let (old, new) = ("START SLAVE SQL_THREAD", "START REPLICA SQL_THREAD");
    check(Dialect::start_applier, [old, new, new, new, old]);
    let (old, new) = ("RESET SLAVE ALL", "RESET REPLICA ALL");
    check(Dialect::forget_source, [old, new, new, new, old]);
    let (old, new) = ("RESET MASTER", "RESET BINARY LOGS AND GTIDS");
    check(Dialect::reset_binlog, [old, old, new, new, old]);
}

fn source() -> Source {
    Source {
        host: "10.0.0.7".into(),
        port: 3307,
        user: "repl".into(),
        password: "it's".into(),
        tls: false,
        was_primary: false,
    }
}

#[test]
fn the_source_is_changed_by_gtid() {
    let old = "CHANGE MASTER TO MASTER_HOST='10.0.0.7', MASTER_PORT=3307, MASTER_USER='repl', MASTER_PASSWORD='it''s', \
               MASTER_AUTO_POSITION=1, MASTER_SSL=0, MASTER_HEARTBEAT_PERIOD=0.5, MASTER_CONNECT_RETRY=1, \
               MASTER_RETRY_COUNT=86400";
    let new = "CHANGE REPLICATION SOURCE TO SOURCE_HOST='10.0.0.7', SOURCE_PORT=3307, SOURCE_USER='repl', \
               SOURCE_PASSWORD='it''s', SOURCE_AUTO_POSITION=1, SOURCE_SSL=0, SOURCE_HEARTBEAT_PERIOD=0.5, \
               SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, GET_SOURCE_PUBLIC_KEY=1";
    let mariadb = "CHANGE MASTER TO MASTER_HOST='10.0.0.7', MASTER_PORT=3307, MASTER_USER='repl', \
                   MASTER_PASSWORD='it''s', MASTER_USE_GTID=slave_pos, MASTER_SSL=0, MASTER_HEARTBEAT_PERIOD=0.5, \
                   MASTER_CONNECT_RETRY=1";
    check(|dialect| dialect.change_source(&source()).unwrap(), [old, new, new, new, mariadb]);
}

#[test]
fn a_former_primary_of_mariadb_takes_its_own_transactions_into_its_position() {
    let former = Source { was_primary: true, tls: true, ..source() };
    let say = |minor| {
        let dialect = Dialect { flavour: Flavour::MariaDb, version: Version::new(10, minor, 0) };
        dialect.change_source(&former).unwrap()
    };
    assert!(say(11).contains("MASTER_USE_GTID=slave_pos, MASTER_SSL=1"), "{}", say(11));
    assert!(say(11).ends_with(", MASTER_DEMOTE_TO_SLAVE=1"));
    assert!(say(6).contains("MASTER_USE_GTID=current_pos"));
    assert!(!say(6).contains("DEMOTE"));
    let newest = DIALECTS[3].change_source(&former).unwrap();
    assert!(newest.contains("SOURCE_SSL=1") && !newest.contains("PUBLIC_KEY"), "{newest}");
}

#[test]
fn what_no_sql_mode_may_reinterpret_is_refused() {
    for password in ["back\\slash", "new\nline", "nul\0"] {
        let unsafe_source = Source { password: password.into(), ..source() };
        let expected = Err(Unspeakable::Text { what: "replication password" });
        assert_eq!(DIALECTS[3].change_source(&unsafe_source), expected);
    }
}

#[test]
fn positions_are_waited_for_in_the_servers_own_words() {
    let mysql = GtidSet::parse(Flavour::MySql, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5").unwrap();
    let mariadb = GtidSet::parse(Flavour::MariaDb, "0-1-105,0-2-107").unwrap();
    let wait = |dialect: Dialect, set| dialect.wait_for(set, Duration::from_millis(1500));
    assert_eq!(
        wait(DIALECTS[3], &mysql).unwrap(),
        "SELECT WAIT_FOR_EXECUTED_GTID_SET('3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5', 1.500)"
    );
    assert_eq!(wait(DIALECTS[4], &mariadb).unwrap(), "SELECT MASTER_GTID_WAIT('0-2-107', 1.500)");
    assert_eq!(wait(DIALECTS[4], &mysql), Err(Unspeakable::Position(mysql.to_string())));
    let rest = mariadb.subtract(&GtidSet::parse(Flavour::MariaDb, "0-1-105").unwrap()).unwrap();
    assert_eq!(wait(DIALECTS[4], &rest), Err(Unspeakable::Position("0:106-107@2-107".into())));
    assert_eq!(DIALECTS[4].set_position(&mariadb).unwrap(), "SET GLOBAL gtid_slave_pos='0-2-107'");
}

#[test]
fn semi_sync_becomes_lossless_before_it_is_switched_on() {
    let mysql = DIALECTS[3].enable_semi_sync_source(2).unwrap();
    assert_eq!(mysql.first().unwrap(), "SET GLOBAL rpl_semi_sync_source_wait_point='AFTER_SYNC'");
    assert!(mysql.contains(&"SET GLOBAL rpl_semi_sync_source_wait_for_replica_count=2".to_owned()));
    assert_eq!(mysql.last().unwrap(), "SET GLOBAL rpl_semi_sync_source_enabled=ON");
    let mariadb = DIALECTS[4].enable_semi_sync_source(1).unwrap();
    assert!(mariadb.contains(&"SET GLOBAL rpl_semi_sync_master_timeout=4294967295".to_owned()));
    assert_eq!(mariadb.last().unwrap(), "SET GLOBAL rpl_semi_sync_master_enabled=ON");
    assert_eq!(DIALECTS[4].enable_semi_sync_source(2), Err(Unspeakable::Acknowledgements(2)));
    assert_eq!(DIALECTS[0].set_semi_sync_replica(false), "SET GLOBAL rpl_semi_sync_slave_enabled=OFF");
}

#[test]
fn closing_and_opening() {
    let (mysql, mariadb) = ("SET GLOBAL super_read_only=ON", "SET GLOBAL read_only=ON");
    check(Dialect::make_read_only, [mysql, mysql, mysql, mysql, mariadb]);
    let (mysql, mariadb) = ("KILL CONNECTION 7", "KILL HARD CONNECTION 7");
    check(|dialect| dialect.kill_session(7), [mysql, mysql, mysql, mysql, mariadb]);
    let (named, none) = ("thread/sql/replica_sql", "none");
    let appliers =
        |dialect: Dialect| dialect.list_appliers().map_or(none, |list| &list[list.find(named).unwrap()..][..22]);
    check(appliers, [named, named, named, named, none]);
    let offline = "SET GLOBAL offline_mode=ON";
    check(|dialect| dialect.shut_clients_out().unwrap_or("none"), [offline, offline, offline, offline, "none"]);
    check(
        |dialect| dialect.open()[0].to_owned(),
        [
            "SET GLOBAL super_read_only=OFF",
            "SET GLOBAL super_read_only=OFF",
            "SET GLOBAL super_read_only=OFF",
            "SET GLOBAL super_read_only=OFF",
            "SET GLOBAL read_only=OFF",
        ],
    );
}

#[test]
fn an_empty_transaction_gives_the_session_back_its_own_numbers() {
    let set = GtidSet::parse(Flavour::MySql, "3e11fa47-71ca-11e1-9e33-c80aa9429562:t:5").unwrap();
    let GtidSet::MySql(set) = set else { unreachable!("it was parsed as MySQL's") };
    let gtid = set.gtids().next().unwrap();
    let statements = DIALECTS[3].write_empty_transaction(&gtid).unwrap();
    assert_eq!(statements[0], "SET SESSION gtid_next='3e11fa47-71ca-11e1-9e33-c80aa9429562:t:5'");
    assert_eq!(statements[3], "SET SESSION gtid_next='AUTOMATIC'");
    assert_eq!(DIALECTS[4].write_empty_transaction(&gtid), Err(Unspeakable::EmptyTransaction));
}
