//! Replication and failover: who follows whom, how far behind, who acknowledges, and what stands in the way of a failover.

use super::super::board::{Bad, Board, CLUSTERS, INSTANCES, Panel, Row, Unit};
use super::super::query::{Across, Query, last, now, peak, rate, status, variable};
use super::uid;

pub(super) fn board() -> Board {
    Board {
        uid: uid::REPLICATION,
        title: "Replication and failover",
        description: "Roles, sources, delay, semi-synchronous acknowledgements, binary logs, and changes of the primary.",
        variables: vec![CLUSTERS, INSTANCES],
        rows: vec![
            Row { title: "Who is what", panels: roles() },
            Row { title: "Delay", panels: delay() },
            Row { title: "Acknowledgements", panels: acknowledgements() },
            Row { title: "Logs", panels: logs() },
            Row { title: "Decisions", panels: decisions() },
        ],
    }
}

/// A number of the replication, by instance.
fn replica(name: &str) -> String {
    format!("mysql_slave_status_{name}")
}

fn by_instance(query: Query) -> Vec<Query> {
    vec![query.by(&["instance"]).called("{instance}")]
}

fn roles() -> Vec<Panel> {
    let by: &[&'static str] = &["cluster", "instance"];
    vec![
        Panel::table(
            "Members",
            Unit::Count,
            "Each instance: what it is, whom it follows, whether its receiver and applier run, and what stopped them. \
             A replica whose receiver or applier stands, or an error number that is not 0, is no candidate for a failover.",
            vec![
                now("millrace_instance_open").by(by).called("Open").unit(Unit::Flag),
                now("millrace_instance_role").by(&["cluster", "instance", "role"]).equal_to(1).called("is").labels_only(),
                now("millrace_replica_source").by(&["cluster", "instance", "source"]).called("follows").labels_only(),
                now(&replica("slave_io_running")).across(Across::Min).by(by).called("Receiver").unit(Unit::Flag),
                now(&replica("slave_sql_running")).across(Across::Min).by(by).called("Applier").unit(Unit::Flag),
                now(&replica("last_io_errno")).by(by).called("Receiver's error").unit(Unit::Plain),
                now(&replica("last_sql_errno")).by(by).called("Applier's error").unit(Unit::Plain),
                last(&variable("read_only")).by(by).called("Read-only").unit(Unit::Flag),
                peak("millrace_replica_lag_seconds").by(by).called("Longest delay").unit(Unit::Seconds),
            ],
        )
        .to(uid::INSTANCE, "instance"),
        Panel::lines(
            "Open for writes",
            Unit::Flag,
            "1 for whom clients can write to. Two of one cluster at 1 at the same time are two primaries; none is an outage of writes.",
            by_instance(now("millrace_instance_open")),
        ),
        Panel::lines(
            "Receivers",
            Unit::Flag,
            "1 while a replica has a connection to its source. A 0 that stays: it gets nothing, and acknowledges nothing.",
            by_instance(now(&replica("slave_io_running")).across(Across::Min)),
        )
        .bad(Bad::Below(1.0)),
        Panel::lines(
            "Appliers",
            Unit::Flag,
            "1 while a replica applies what it received. A 0 that stays: an error stopped it, and its number is in the table above.",
            by_instance(now(&replica("slave_sql_running")).across(Across::Min)),
        )
        .bad(Bad::Below(1.0)),
    ]
}

fn delay() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Delay",
            Unit::Seconds,
            "Age of the newest heartbeat row on each replica: the honest measure. A line that climbs by a second per second: nothing arrives. Of servers that are only watched, which have no such rows, what they say themselves.",
            by_instance(now("millrace_replica_lag_seconds")),
        ),
        Panel::lines(
            "Delay as servers say it",
            Unit::Seconds,
            "Seconds_Behind_Source. It is 0 while nothing arrives at all, and absent while replication stands: read it beside the other.",
            by_instance(now(&replica("seconds_behind_master"))),
        ),
        Panel::lines(
            "Delay that was asked for",
            Unit::Seconds,
            "How long replicas wait on purpose. A delayed replica is no candidate for a quick failover.",
            by_instance(now(&replica("sql_delay"))),
        ),
    ]
}

fn acknowledgements() -> Vec<Panel> {
    let source = |name: &str| status(&format!("rpl_semi_sync_master_{name}"));
    vec![
        Panel::lines(
            "Replicas that acknowledge",
            Unit::Count,
            "Replicas on whose word commits wait. Fewer than the cluster needs: commits hang, or the next crash loses writes.",
            by_instance(now(&source("clients"))),
        ),
        Panel::lines(
            "Commits wait for an acknowledgement",
            Unit::Flag,
            "1 while a primary is semi-synchronous. 0 on a primary: it fell back, and a crash now can lose acknowledged writes.",
            by_instance(now(&source("status"))),
        ),
        Panel::lines(
            "Sessions that wait",
            Unit::Count,
            "Sessions that wait for an acknowledgement. More than a handful that stay: the replicas are cut off or slow to sync.",
            by_instance(now(&source("wait_sessions"))),
        ),
        Panel::lines(
            "Acknowledged commits",
            Unit::PerSecond,
            "Commits per second that a replica acknowledged. Nothing on a primary with writes: it does not wait for replicas.",
            by_instance(rate(&source("yes_tx"))),
        ),
        Panel::lines(
            "Commits without an acknowledgement",
            Unit::PerSecond,
            "Commits per second that no replica acknowledged in time. Any are writes that only one host has.",
            by_instance(rate(&source("no_tx"))),
        ),
        Panel::lines(
            "Wait for an acknowledgement",
            Unit::Microseconds,
            "Mean wait of a transaction since the server started. It is part of each commit's response time: network and the replica's disk.",
            by_instance(now(&source("tx_avg_wait_time"))),
        ),
        Panel::lines(
            "Canary writes",
            Unit::Seconds,
            "How long the agent's own write took. Seconds, while statements read well, say that commits wait.",
            by_instance(now("millrace_canary_write_seconds")),
        ),
    ]
}

fn logs() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Relay logs",
            Unit::Bytes,
            "Received and not yet purged. They grow while the applier is slower than the receiver, and fill the disk in the end.",
            by_instance(now(&replica("relay_log_space"))),
        ),
        Panel::lines(
            "Transactions in the binary log",
            Unit::PerSecond,
            "Transactions per second that went through the cache of the binary log: what is written, and on replicas what is applied. A replica below its source for long: it falls behind.",
            by_instance(rate(&status("binlog_cache_use"))),
        ),
        Panel::lines(
            "Transactions beyond the log's cache",
            Unit::PerSecond,
            "Transactions per second that did not fit into the cache of the binary log and went through a file. Many: binlog_cache_size is too small.",
            by_instance(rate(&status("binlog_cache_disk_use"))),
        ),
        Panel::lines(
            "Source's binary log received",
            Unit::Bytes,
            "Position in the source's current file up to where each replica received. One that stands while others move is cut off.",
            by_instance(now(&replica("read_master_log_pos"))),
        ),
    ]
}

fn decisions() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Epochs",
            Unit::Count,
            "Role changes of each cluster so far. A step is a failover or a switchover; several in a row, a cluster that does not come to rest.",
            vec![now("millrace_cluster_epoch").by(&["cluster"]).called("{cluster}")],
        )
        .wide(12),
        Panel::lines(
            "Steps of agents",
            Unit::PerSecond,
            "Steps of runbooks that agents performed, by outcome. Outcomes other than done: look at `millrace why CLUSTER`.",
            vec![rate("millrace_steps_total").by(&["step", "outcome"]).called("{step} {outcome}")],
        )
        .wide(12),
    ]
}
