//! The fleet at a glance: what is down, who is what, and which instances lead in what hurts.

use super::super::board::{Bad, Board, CLUSTERS, Panel, Row, Unit};
use super::super::query::{Across, Only, Query, highest, last, now, peak, per_second, rate, status, whole_per_second};
use super::uid;

/// Five of each: what is worth a look is among them.
const TOP: u32 = 5;

pub(super) fn board() -> Board {
    Board {
        uid: uid::FLEET,
        title: "Fleet",
        description: "Every cluster: what is up, who is the primary, and which instances are first in load, errors and delay.",
        variables: vec![CLUSTERS],
        rows: vec![
            Row { title: "Now", panels: now_panels() },
            Row { title: "Instances", panels: vec![instances()] },
            Row { title: "First in what hurts", panels: first() },
            Row { title: "Over time", panels: over_time() },
        ],
    }
}

/// What stores have of the sink is there once more where processes are scraped.
fn counted(name: &str, across: Across) -> Query {
    now(name).repeated().across(across).by(&[]).called("value")
}

fn now_panels() -> Vec<Panel> {
    let primaries = now("millrace_instance_role").only("role", Only::Is("primary"));
    vec![
        Panel::stat(
            "Instances",
            Unit::Count,
            "Instances that agents speak of. A number that falls without your doing says that an agent is silent.",
            counted("mysql_up", Across::Count),
        ),
        Panel::stat(
            "Up",
            Unit::Count,
            "Instances that answered in the last heartbeat. Fewer than there are instances: a server is down or cannot be asked.",
            counted("mysql_up", Across::Sum),
        ),
        Panel::stat(
            "Primaries",
            Unit::Count,
            "Instances that clients can write to. Fewer than there are clusters: one of them takes no writes. More: somebody opened a second one.",
            primaries.across(Across::Sum).by(&[]).called("value"),
        ),
        Panel::stat(
            "Statements",
            Unit::PerSecond,
            "Statements of all instances per second. A sudden fall is an outage of clients or servers, a sudden rise a storm of retries.",
            per_second("millrace_load_queries").by(&[]).called("value"),
        ),
        Panel::stat(
            "Errors",
            Unit::PerSecond,
            "Statements per second that ended in an error. More than a few: read which ones on the board Statements.",
            per_second("millrace_load_errors").by(&[]).called("value"),
        ),
        Panel::stat(
            "Longest delay",
            Unit::Seconds,
            "How far the replica is behind that is furthest: by the heartbeat rows of Millrace, or by its own word where there are none. Above some seconds reads are stale, and a failover to it waits.",
            now("millrace_replica_lag_seconds").by(&[]).called("value"),
        )
        .bad(Bad::From(10.0)),
    ]
}

fn instances() -> Panel {
    let by: &[&'static str] = &["cluster", "instance"];
    Panel::table(
        "Instances",
        Unit::Count,
        "Each instance with its role and version, and its load in the time that is shown. An instance that is not up, a cluster without a primary, \
         or one instance unlike its peers is where to look first; a click on it opens its board.",
        vec![
            whole_per_second("millrace_load_queries").by(by).called("Statements").unit(Unit::PerSecond),
            now("millrace_instance_role").by(&["cluster", "instance", "role"]).equal_to(1).called("is").labels_only(),
            now("mysql_version_info").by(&["cluster", "instance", "version"]).called("runs").labels_only(),
            now("mysql_up").by(by).called("Up").unit(Unit::Flag),
            whole_per_second("millrace_load_errors").by(by).called("Errors").unit(Unit::PerSecond),
            peak("millrace_load_p99_seconds").by(by).called("Highest p99").unit(Unit::Seconds),
            last(&status("threads_running")).by(by).called("Running"),
            peak("millrace_replica_lag_seconds").by(by).called("Longest delay").unit(Unit::Seconds),
        ],
    )
    .to(uid::INSTANCE, "instance")
}

fn first() -> Vec<Panel> {
    let bars = |title, unit, description, query: Query| {
        Panel::bars(title, unit, description, query.top(TOP).called("{instance}")).to(uid::INSTANCE, "instance")
    };
    vec![
        bars(
            "Most threads running",
            Unit::Count,
            "Threads that work right now. More than the host has cores for longer than a moment: statements wait for each other or for the disk.",
            now(&status("threads_running")),
        ),
        bars(
            "Most connections",
            Unit::Count,
            "Open connections. One instance far above its peers has a client that opens more than it closes.",
            now(&status("threads_connected")),
        ),
        bars(
            "Most slow statements",
            Unit::PerSecond,
            "Statements per second over long_query_time. Their texts are on the board Statements.",
            rate(&status("slow_queries")),
        ),
        bars(
            "Most aborted connections",
            Unit::PerSecond,
            "Attempts to connect that failed, per second. A steady rate is a wrong password or a scanner.",
            rate(&status("aborted_connects")),
        ),
        bars(
            "Most row lock waits",
            Unit::PerSecond,
            "Waits for row locks per second: transactions that touch the same rows. Many of them say that response times depend on each other.",
            rate(&status("innodb_row_lock_waits")),
        ),
        bars(
            "Most data read",
            Unit::BytesPerSecond,
            "Bytes per second that InnoDB reads from its files. High beside a busy disk: the buffer pool is too small for what is read.",
            rate(&status("innodb_data_read")),
        ),
    ]
}

fn over_time() -> Vec<Panel> {
    let line = |title, unit, description, query: Query| {
        Panel::lines(title, unit, description, vec![query.called("{instance}")]).to(uid::INSTANCE, "instance")
    };
    vec![
        line(
            "Statements",
            Unit::PerSecond,
            "Statements per second of each instance, as packets or the server's own counters show them. One line that leaves the others is a client that moved.",
            per_second("millrace_load_queries"),
        ),
        line(
            "99th percentile of the response time",
            Unit::Seconds,
            "99 of 100 statements did not take longer. A rise at equal load is a worse plan, a lock or a slower disk.",
            highest("millrace_load_p99_seconds"),
        ),
        line(
            "Replication delay",
            Unit::Seconds,
            "How far each replica is behind, by heartbeat rows or its own word. A line that climbs by a second per second: the applier stands. No line of a replica: it stands, and has no heartbeat rows.",
            now("millrace_replica_lag_seconds"),
        ),
        line(
            "Errors",
            Unit::PerSecond,
            "Statements per second that ended in an error, by instance. A step up after a release is that release.",
            per_second("millrace_load_errors"),
        ),
        line(
            "Up",
            Unit::Flag,
            "1 while an instance answers its agent. A gap says that the agent is silent, a 0 that the server is.",
            now("mysql_up"),
        )
        .bad(Bad::Below(1.0)),
        line(
            "Canary writes",
            Unit::Seconds,
            "How long the agent's own write took on each primary. Seconds say that commits wait: for a disk, or for an acknowledgement.",
            now("millrace_canary_write_seconds"),
        ),
    ]
}
