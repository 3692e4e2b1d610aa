//! `my.cnf` of an instance that Millrace makes. In: the template and what the instance is to be. Out: the text. Whatever starts the
//! server finds it closed: read-only, replication not started, the source side of semi-sync off. Only the owner of an epoch
//! opens it, by statements, never by this file.

use std::fmt::Write;
use std::path::Path;

use millrace_mysql::flavour::SEMI_SYNC_TIMEOUT_MAX_MS;
use millrace_schemas::flavour::Flavour;

use super::{FilesError, NewInstance, Template};

/// What both servers need, each line with its reason above it.
const BOTH: &str = "\
# Closed: nobody writes here until the owner of an epoch says so.
read-only=ON
# Names in grants are addresses: a slow name server must not slow logins.
skip-name-resolve
# Every commit is on the disk before anybody hears of it.
sync-binlog=1
innodb-flush-log-at-trx-commit=1
# What was received and acknowledged survives a power cut, and a restart does not throw it away.
sync-relay-log=1
relay-log-recovery=OFF
binlog-format=ROW
# 30 days: a replica that was away that long is made anew.
binlog-expire-logs-seconds=2592000
# The counters that Millrace's own are compared with.
performance-schema=ON
slow-query-log=ON
log-output=FILE
long-query-time=0.5
";

/// What only MySQL knows. The semi-sync source side is lossless the moment it is switched on.
const MYSQL: &str = "\
super-read-only=ON
skip-replica-start=ON
gtid-mode=ON
enforce-gtid-consistency=ON
log-replica-updates=ON
# A silent source is given up after 2 s; its heartbeats come every 0.5 s.
replica-net-timeout=2
log-slow-extra=ON
mysqlx=OFF
secure-file-priv=NULL
plugin-load-add=semisync_source.so
plugin-load-add=semisync_replica.so
rpl-semi-sync-source-enabled=OFF
rpl-semi-sync-source-wait-point=AFTER_SYNC
rpl-semi-sync-source-wait-no-replica=ON
";

/// What only MariaDB knows. Not `init-rpl-role=SLAVE`: a primary that crashed and is opened again must keep what it wrote, and
/// only the guard knows that a start is one after another server was promoted.
const MARIADB: &str = "\
skip-slave-start=ON
gtid-domain-id=0
gtid-strict-mode=ON
log-slave-updates=ON
# A silent source is given up after 2 s; its heartbeats come every 0.5 s.
slave-net-timeout=2
# One applier thread does some 600 transactions a second.
slave-parallel-threads=4
rpl-semi-sync-master-enabled=OFF
rpl-semi-sync-master-wait-point=AFTER_SYNC
rpl-semi-sync-master-wait-no-slave=ON
";

/// The whole file.
pub(super) fn text(dir: &Path, template: &Template, new: &NewInstance) -> Result<String, FilesError> {
    let dir = plain("folder", &dir.display().to_string())?;
    let address = plain("address", &new.address)?;
    let mut text =
        String::from("# Made by millrace. What it needs stands last and wins over anything before it.\n[mysqld]\n");
    if !template.extra.is_empty() {
        text.push_str(&template.extra);
        // The extra lines may end in a group of their own.
        text.push_str("\n[mysqld]\n");
    }
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={value}");
    };
    if rustix::process::geteuid().is_root() {
        // As root a server refuses to run unless it is told that this is meant.
        line("user", "root");
    }
    for (name, path) in [
        ("basedir", &template.basedir),
        ("plugin-dir", &template.plugin_dir),
        ("lc-messages-dir", &template.lc_messages_dir),
        ("character-sets-dir", &template.character_sets_dir),
    ] {
        line(name, &plain("template's path", &path.display().to_string())?);
    }
    for (name, file) in [
        ("datadir", "data"),
        ("socket", "s"),
        ("pid-file", "pid"),
        ("log-error", "error.log"),
        ("slow-query-log-file", "slow.log"),
        ("log-bin", "data/binlog"),
        ("relay-log", "data/relay"),
    ] {
        line(name, &format!("{dir}/{file}"));
    }
    line("bind-address", &address);
    line("port", &new.port.to_string());
    line("report-host", &address);
    line("report-port", &new.port.to_string());
    line("server-id", &new.server_id.to_string());
    let acknowledges = if new.acknowledger { "ON" } else { "OFF" };
    let (timeout, replica_side) = match new.flavour {
        Flavour::MySql => ("rpl-semi-sync-source-timeout", "rpl-semi-sync-replica-enabled"),
        Flavour::MariaDb => ("rpl-semi-sync-master-timeout", "rpl-semi-sync-slave-enabled"),
    };
    line(timeout, &SEMI_SYNC_TIMEOUT_MAX_MS.to_string());
    line(replica_side, acknowledges);
    text.push_str(BOTH);
    text.push_str(match new.flavour {
        Flavour::MySql => MYSQL,
        Flavour::MariaDb => MARIADB,
    });
    Ok(text)
}

/// A value that means itself in an option file.
fn plain(what: &'static str, value: &str) -> Result<String, FilesError> {
    if value.is_empty() || value.chars().any(|c| c.is_control() || matches!(c, '#' | '"' | '\'' | '\\')) {
        return Err(FilesError::Unwritable { what, value: value.to_owned() });
    }
    Ok(value.to_owned())
}
