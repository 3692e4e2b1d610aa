//! What Millrace needs of a server that it watches, and what that server risks by its settings. In: how to reach it. Out:
//! findings. Grants are found out by doing once what the agent does all the time, since a list of grants does not tell what
//! roles and dialects make of it. It only reads.

use std::time::Duration;

use millrace_mysql::connect::{Account, Address};
use millrace_mysql::settings::Variables;
use millrace_mysql::{Dialect, Error, Flavour, Row, Session, Target, Version, status};
use rustix::fs::{Access, access};

use super::Finding;
use crate::config::WatchedServer;

/// The oldest versions that the statements of this program are written for; older ones may answer, and nobody tried.
const OLDEST: [(Flavour, Version); 2] =
    [(Flavour::MySql, Version::new(5, 7, 6)), (Flavour::MariaDb, Version::new(10, 5, 2))];

/// 10 s: a replica that waits longer for a silent source shows a cut only after more than any failover takes.
const NET_TIMEOUT_MAX_SECONDS: u64 = 10;

/// Statements of the connections that are open now, by the way they came.
const BY_TRANSPORT: &str = "SELECT t.CONNECTION_TYPE AS way, SUM(s.COUNT_STAR) AS statements \
     FROM performance_schema.threads t \
     JOIN performance_schema.events_statements_summary_by_thread_by_event_name s ON s.THREAD_ID = t.THREAD_ID \
     WHERE t.PROCESSLIST_ID <> CONNECTION_ID() AND t.CONNECTION_TYPE IS NOT NULL \
     AND (s.EVENT_NAME LIKE 'statement/sql/%' OR s.EVENT_NAME = 'statement/com/Execute') GROUP BY t.CONNECTION_TYPE";

/// Something that the agent does, and what it needs for it.
#[derive(Debug)]
struct Ability {
    name: &'static str,
    statement: &'static str,
    /// What to grant: MySQL, MariaDB.
    grants: [&'static str; 2],
    /// Whether lacking it is a problem. Else it is a note: the privilege allows far more than looking, and may rightly be
    /// withheld.
    needed: bool,
    costs: &'static str,
}

fn abilities(dialect: Dialect) -> [Ability; 6] {
    [
        Ability {
            name: "PROCESS",
            statement: "SELECT COUNT(*) FROM information_schema.INNODB_TRX",
            grants: ["PROCESS ON *.*"; 2],
            needed: true,
            costs: "other sessions and their transactions are not seen",
        },
        Ability {
            name: "replication status",
            statement: dialect.show_channels(),
            grants: ["REPLICATION CLIENT ON *.*", "SLAVE MONITOR ON *.*"],
            needed: true,
            costs: "the server cannot be sampled: its state stays unknown",
        },
        Ability {
            name: "binlog position",
            statement: dialect.show_own_position(),
            grants: ["REPLICATION CLIENT ON *.*", "BINLOG MONITOR ON *.*"],
            needed: true,
            costs: "the server cannot be sampled: its state stays unknown",
        },
        Ability {
            name: "attached replicas",
            statement: dialect.show_attached_replicas(),
            grants: ["REPLICATION SLAVE ON *.*", "REPLICATION MASTER ADMIN ON *.*"],
            needed: false,
            costs: "the replicas attached to it are not known: `millrace topology` finds those whose binlog readers it can see \
                    and reach on the same port, and calls the rest unknown",
        },
        Ability {
            name: "statement counters",
            statement: "SELECT COUNT(*) FROM performance_schema.events_statements_summary_by_digest",
            grants: ["SELECT ON performance_schema.*"; 2],
            needed: true,
            costs: "statements of encrypted sessions have no digest, and nothing is counted where no packets are captured",
        },
        Ability {
            name: "connection types",
            statement: "SELECT COUNT(*) FROM performance_schema.threads",
            grants: ["SELECT ON performance_schema.*"; 2],
            needed: true,
            costs: "how much of the load comes by socket or encrypted, unseen on the wire, is not known",
        },
    ]
}

pub(super) async fn examine(server: WatchedServer) -> Vec<Finding> {
    let address = Address::Tcp { host: server.address.clone(), port: server.port };
    let account = Account { user: server.user.clone(), password_file: server.password_file.clone() };
    let target = Target::new(server.instance.to_string(), address, account);
    match Session::open(&target).await {
        Err(error) => vec![refused(&server, &error)],
        Ok(mut session) => {
            let found = look(&server, &mut session).await;
            session.close().await;
            found.unwrap_or_else(|error| vec![refused(&server, &error)])
        }
    }
}

fn refused(server: &WatchedServer, error: &Error) -> Finding {
    let check = format!("server {}", server.instance);
    let costs = "nothing is known of the server but what its packets and logs show";
    let remedy = if error.is_credentials() {
        format!("see `user` and `password-file` of this instance, and that {} may log in from this host", server.user)
    } else {
        format!(
            "see that the server runs and listens on {}:{}, and that nothing between filters it",
            server.address, server.port
        )
    };
    Finding::problem(check, error.to_string(), costs, remedy)
}

async fn look(server: &WatchedServer, session: &mut Session) -> Result<Vec<Finding>, Error> {
    let name = |what: &str| format!("server {}: {what}", server.instance);
    let dialect = Dialect::detect(session).await?;
    let mut findings = vec![version(name("version"), dialect)];
    let user = session.value("SELECT CURRENT_USER()").await?.unwrap_or_else(|| server.user.clone());
    for ability in abilities(dialect) {
        // An error that is none of the server's ends the session, and with it the check.
        let denied = match session.rows(ability.statement).await {
            Ok(_) => None,
            Err(error) if error.code().is_some() => Some(error),
            Err(error) => return Err(error),
        };
        findings.push(granted(name(ability.name), &ability, dialect.flavour, &user, denied.as_ref()));
    }
    let variables = Variables::read(session).await?;
    match status::read(session).await {
        Ok(status) => findings.extend(settings(&name, &status, &variables, server)),
        // Which grant it is stands above.
        Err(error) if error.code().is_some() => findings.push(Finding::problem(
            name("settings"),
            format!("not known: {error}"),
            "the agent cannot sample the server either",
            "grant what is named above, and run doctor again",
        )),
        Err(error) => return Err(error),
    }
    let ways = session.rows(BY_TRANSPORT).await;
    findings.push(match ways {
        Ok(rows) => transport(name("transport"), &rows.iter().filter_map(way).collect::<Vec<_>>()),
        Err(error) if error.code().is_some() => unknown_transport(name("transport"), &error.to_string()),
        Err(error) => return Err(error),
    });
    Ok(findings)
}

fn version(check: String, dialect: Dialect) -> Finding {
    let old = OLDEST.iter().find(|(flavour, oldest)| *flavour == dialect.flavour && dialect.version < *oldest);
    match old {
        None => Finding::ok(check, dialect.to_string()),
        Some((_, oldest)) => Finding::problem(
            check,
            format!("{dialect} is older than {oldest}"),
            "nobody tried: statements may fail, and what they answer may be read wrongly",
            format!("upgrade to {oldest} or newer, or leave the instance out"),
        ),
    }
}

fn granted(check: String, ability: &Ability, flavour: Flavour, user: &str, denied: Option<&Error>) -> Finding {
    let Some(error) = denied else { return Finding::ok(check, "allowed") };
    let grant = ability.grants[usize::from(flavour == Flavour::MariaDb)];
    // `user@host`, as the server names the account; its parts may hold any character but a quote that matters here.
    let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let remedy = format!("GRANT {grant} TO {}@{}", quoted(name), quoted(host));
    let finding = if ability.needed { Finding::problem } else { Finding::note };
    finding(check, error.to_string(), ability.costs, remedy)
}

/// What the settings of the server cost.
fn settings(
    name: &impl Fn(&str) -> String,
    status: &status::Status,
    variables: &Variables,
    watched: &WatchedServer,
) -> Vec<Finding> {
    let mut findings =
        vec![performance_schema(name("performance_schema"), status), slow_log(name("slow log"), status, watched)];
    findings.extend(replication(name, status));
    findings.push(power(name("power cut"), status));
    findings.push(net_timeout(name("network time-out"), variables));
    findings
}

fn performance_schema(check: String, status: &status::Status) -> Finding {
    if status.server.performance_schema {
        return Finding::ok(check, "on");
    }
    Finding::note(
        check,
        "off",
        "what is counted on the wire cannot be compared with the server's own counters, and what is not has no digest",
        "put performance_schema=ON under [mysqld] and restart; it takes some 100 MiB of memory",
    )
}

fn slow_log(check: String, status: &status::Status, watched: &WatchedServer) -> Finding {
    let costs = "slow statements are known by their digest only, without rows examined and lock times";
    let server = &status.server;
    if !server.slow_log {
        return Finding::note(check, "off", costs, "put slow_query_log=ON and long_query_time=0.5 under [mysqld]");
    }
    let seconds = server.long_query_time.unwrap_or(Duration::ZERO).as_secs_f64();
    let Some(file) = watched.slow_log.clone().or_else(|| server.slow_log_file.clone()) else {
        let costs = "each look scans the whole of mysql.slow_log, which has no index";
        let remedy = "put log_output=FILE under [mysqld], or grant SELECT on mysql.slow_log and empty it daily";
        return Finding::note(check, "on, to a table and not to a file", costs, remedy);
    };
    let local = ["127.0.0.1", "::1", "localhost"].contains(&watched.address.as_str());
    match access(&file, Access::READ_OK) {
        Ok(()) => Finding::ok(check, format!("{}, from {seconds} s on", file.display())),
        Err(error) if local => Finding::problem(
            check,
            format!("{}: {error}", file.display()),
            costs,
            format!(
                "let the user who runs millrace read it: setfacl -m u:USER:r {}, and its folders x",
                file.display()
            ),
        ),
        Err(_) => Finding::note(
            check,
            format!("{} lies on another host", file.display()),
            costs,
            "run an agent on that host to follow it",
        ),
    }
}

fn replication(name: &impl Fn(&str) -> String, status: &status::Status) -> [Finding; 3] {
    let server = &status.server;
    let log = if server.log_bin {
        Finding::ok(name("binlog"), "on")
    } else {
        let remedy = "put log_bin and a server_id of its own under [mysqld] and restart";
        Finding::note(name("binlog"), "off", "no replica can follow this server, so nothing can take over", remedy)
    };
    let strict = server.gtid_strict_mode != Some(false);
    let gtid = match (server.dialect.flavour, server.gtid_mode.as_deref()) {
        (Flavour::MySql, Some("ON")) => Finding::ok(name("GTID"), "on"),
        (Flavour::MySql, mode) => Finding::note(
            name("GTID"),
            format!("gtid_mode is {}", mode.unwrap_or("not known")),
            "positions of servers cannot be compared, so nobody can say what a replica lacks",
            "switch gtid_mode and enforce_gtid_consistency on, in the steps that the server's manual gives",
        ),
        (Flavour::MariaDb, _) if strict => Finding::ok(name("GTID"), "strict"),
        (Flavour::MariaDb, _) => Finding::note(
            name("GTID"),
            "gtid_strict_mode is off",
            "two servers may give one number to two transactions, and a replica does not notice",
            "put gtid_strict_mode=ON under [mysqld]",
        ),
    };
    let semi_sync = &status.semi_sync;
    let semi = if !server.is_open() {
        Finding::ok(name("semi-sync"), format!("closed; replica side {}", on_off(semi_sync.replica_enabled)))
    } else if semi_sync.is_lossless() {
        Finding::ok(name("semi-sync"), format!("lossless, {} clients", semi_sync.clients))
    } else {
        Finding::note(
            name("semi-sync"),
            format!(
                "open, source side {}{}",
                on_off(semi_sync.source_enabled),
                if semi_sync.source_enabled {
                    ", with a way out: a time-out, AFTER_COMMIT, or no wait for replicas"
                } else {
                    ""
                }
            ),
            "a crash of this server may lose writes that were acknowledged to clients",
            "switch semi-synchronous replication on with AFTER_SYNC, the longest time-out and waiting without replicas",
        )
    };
    [log, gtid, semi]
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Whether what was acknowledged survives when the machine loses its power.
fn power(check: String, status: &status::Status) -> Finding {
    let server = &status.server;
    let mut weak = Vec::new();
    let mut expect_one = |name: &str, value: Option<u64>| {
        if value != Some(1) {
            weak.push(format!("{name}={}", value.map_or_else(|| "?".to_owned(), |value| value.to_string())));
        }
    };
    expect_one("innodb_flush_log_at_trx_commit", server.innodb_flush_log_at_trx_commit);
    if server.log_bin {
        expect_one("sync_binlog", server.sync_binlog);
    }
    let replicates = !status.channels.is_empty();
    if replicates && status.semi_sync.replica_enabled {
        expect_one("sync_relay_log", server.sync_relay_log);
    }
    // An acknowledgement means "received"; with this on, a restart throws away what was received and not applied yet.
    if replicates && server.relay_log_recovery == Some(true) {
        weak.push("relay_log_recovery=ON".to_owned());
    }
    if weak.is_empty() {
        return Finding::ok(check, "what was committed or acknowledged is on disk");
    }
    Finding::note(
        check,
        format!("not power-safe: {}", weak.join(", ")),
        "after a power cut or a restart transactions may be gone that clients or the source were told of",
        "set the numbers to 1 and relay_log_recovery to OFF under [mysqld], where the disks can bear it",
    )
}

fn net_timeout(check: String, variables: &Variables) -> Finding {
    match variables.number("replica_net_timeout").or_else(|| variables.number("slave_net_timeout")) {
        Some(seconds) if seconds <= NET_TIMEOUT_MAX_SECONDS => Finding::ok(check, format!("{seconds} s")),
        found => Finding::note(
            check,
            found.map_or_else(|| "not known".to_owned(), |seconds| format!("{seconds} s")),
            "as a replica it believes for so long in a source that went silent",
            "put replica_net_timeout=4 (slave_net_timeout where it is called so) under [mysqld]",
        ),
    }
}

/// A way that statements came, and how many.
fn way(row: &Row) -> Option<(String, u64)> {
    Some((row.text("way")?, row.number("statements")?))
}

fn transport(check: String, ways: &[(String, u64)]) -> Finding {
    let all: u64 = ways.iter().map(|(_, statements)| statements).sum();
    if all == 0 {
        return Finding::ok(check, "no other connection has sent a statement yet");
    }
    let seen: u64 = ways.iter().filter(|(way, _)| way == "TCP/IP").map(|(_, statements)| statements).sum();
    let shares: Vec<String> = ways
        .iter()
        .filter(|(_, statements)| *statements > 0)
        .map(|(way, statements)| format!("{way} {:.0} %", *statements as f64 * 100.0 / all as f64))
        .collect();
    let found = format!("statements of the connections open now: {}", shares.join(", "));
    if seen == all {
        return Finding::ok(check, found);
    }
    Finding::note(
        check,
        found,
        "what comes by socket or encrypted is not seen on the wire; slow logs and the server's counters still show it",
        "let clients on this network connect by TCP without TLS where that is allowed, or take the counts from the server",
    )
}

fn unknown_transport(check: String, why: &str) -> Finding {
    Finding::note(
        check,
        format!("how statements come is not known: {why}"),
        "what comes by socket or encrypted is missing on the wire, and nobody says how much",
        "grant SELECT ON performance_schema.*, and switch performance_schema on",
    )
}

#[cfg(test)]
mod tests;
