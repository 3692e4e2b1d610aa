//! The metrics of Millrace itself: what its processes count, and what they say of instances. Each has a constant, by which it is
//! counted, and is in the table once.

use super::{Metric, Type};

macro_rules! catalogue {
    ($table:ident; $($name:ident: $kind:ident, $measurement:literal $field:literal, $unit:literal, [$($label:literal),*], $source:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric {
                name: concat!($measurement, "_", $field),
                measurement: $measurement,
                field: $field,
                unit: $unit,
                kind: Type::$kind,
                labels: &[$($label),*],
                only: None,
                source: $source,
                help: $help,
            };
        )*
        /// Every metric of this table, in order of their constants.
        pub const $table: &[&Metric] = &[$(&$name),*];
    };
}
pub(super) use catalogue;

catalogue! {
    CATALOGUE;
    BUS_APPENDED: Counter, "millrace_bus" "appended_records_total", "records", ["topic"], "bus", "Records that this process made durable in a topic.";
    BUS_REFUSED: Counter, "millrace_bus" "refused_records_total", "records", ["topic"], "bus", "Records whose append failed; where an answer was lost on its way from another process, some may be there all the same.";
    BUS_UNREADABLE: Counter, "millrace_bus" "unreadable_records_total", "records", ["topic"], "bus", "Records that a reader passed over, because the batch that holds them cannot be unpacked or is larger than 9 MiB once it is.";
    BUS_COMMITS: Counter, "millrace_bus" "commits_total", "commits", [], "bus", "Group commits of the local bus file.";
    BUS_EXPIRED: Counter, "millrace_bus" "expired_records_total", "records", ["topic"], "bus", "Records that retention or compaction removed.";
    REFUSED: Counter, "millrace_refused" "records_total", "records", ["topic", "reason"], "bus", "Records that a reader of this process did not believe: unsigned, forged, expired and so on; each reader counts for itself.";
    REFUSALS_TOLD: Counter, "millrace_refusals" "told_total", "records", ["topic", "reason", "fate"], "processors", "Records not believed by any reader, told once for the fleet: dead, or left where they lie because there were too many in that second.";
    STAGE_LAG_RECORDS: Gauge, "millrace_stage" "lag_records", "records", ["stage", "topic"], "process", "Records that a stage of this process has not dealt with yet, over the partitions that it holds; left out while it holds none, or while the bus does not tell the ends.";
    STAGE_LAG_SECONDS: Gauge, "millrace_stage" "lag_seconds", "seconds", ["stage", "topic"], "process", "How old the oldest record that a stage has not dealt with is at most, by the bus's time, in its partition that is furthest behind: 0 when nothing is left, else from the append time of the last record dealt with (or from when it was last seen that nothing was left; before the first record, from when the partition was gained) until now by the clock of this host.";
    ROSTER_KEYS: Gauge, "millrace_roster" "keys", "keys", [], "process", "Keys of the roster in force that are not revoked.";
    ROSTER_STALE: Gauge, "millrace_roster" "stale", "boolean", [], "process", "1 while the roster file cannot be used and the last good one stays in force.";
    FOLD_RECORDS: Counter, "millrace_fold" "records_total", "records", ["processor"], "processors", "Records folded by a processor.";
    FOLD_DUPLICATES: Counter, "millrace_fold" "duplicate_records_total", "records", ["processor"], "processors", "Records dropped because they had been had.";
    FOLD_DEAD: Counter, "millrace_fold" "dead_records_total", "records", ["processor"], "processors", "Records that could not be read and went to the topic dead.";
    FOLD_SKIPPED: Counter, "millrace_fold" "skipped_records_total", "records", ["processor"], "processors", "Records of an unknown kind that was not evidence.";
    WIRE_BYTES: Counter, "millrace_wire" "payload_bytes_total", "bytes", ["host", "fate"], "collectors", "Captured TCP payload by what became of it: decoded, encrypted, duplicate, skipped, shed or undecodable.";
    WIRE_MISSING: Counter, "millrace_wire" "missing_bytes_total", "bytes", ["host"], "collectors", "Payload that sequence numbers say was never captured.";
    WIRE_KERNEL_RECEIVED: Counter, "millrace_wire" "kernel_received_packets_total", "packets", ["host"], "collectors", "Packets that passed the filter of the capture, those that the kernel dropped among them.";
    WIRE_KERNEL_DROPS: Counter, "millrace_wire" "kernel_dropped_packets_total", "packets", ["host"], "collectors", "Packets that the kernel dropped before the capture read them.";
    WIRE_SAMPLE_FACTOR: Gauge, "millrace_wire" "sample_factor", "connections", ["host"], "collectors", "One of so many connections is followed: more than 1 when packets come faster than they can be decoded.";
    WIRE_STATEMENTS: Counter, "millrace_wire" "statements_total", "statements", ["instance"], "collectors", "Statements decoded from packets.";
    WIRE_UNSENT: Counter, "millrace_wire" "unsent_rows_total", "rows", ["host"], "collectors", "Rows of counted statements that were not sent: they cannot be encoded, or are of an instance that is not watched any more.";
    STATEMENTS_SOURCE: Gauge, "millrace" "statements_source", "boolean", ["instance", "source"], "collectors", "1 for the source that counts the statements of an instance now, 0 for the other.";
    STATEMENTS_UNSEEN: Gauge, "millrace_statements" "unseen_ratio", "ratio", ["instance"], "collectors", "Share of the statements that the server counted in the last ten seconds and no packet showed: sent over a Unix socket, or on an interface that is not captured.";
    STATEMENTS_CHANGES: Counter, "millrace_statements" "source_changes_total", "changes", ["instance", "source"], "collectors", "Times that another source began to count the statements of an instance, by the one that did; each change leaves up to two seconds uncounted.";
    STATEMENTS_SET_ASIDE: Counter, "millrace_statements" "set_aside_total", "statements", ["instance", "source"], "collectors", "Statements that a source saw in seconds that another one counts: they are in no row.";
    WINDOW_ROWS_DROPPED: Counter, "millrace_windows" "dropped_rows_total", "rows", ["reason"], "processors", "Rows that were in no window: late, ahead of the clock, or beyond the limit of instances.";
    LOADS_SKIPPED: Counter, "millrace_windows" "skipped_loads_total", "facts", ["cluster"], "processors", "Load facts of windows that had ended too long ago when they were made up for; the windows themselves are there.";
    SLOW_ENTRIES: Counter, "millrace_slow_log" "entries_total", "entries", ["instance"], "collectors", "Entries read from the slow log.";
    SLOW_UNREADABLE: Counter, "millrace_slow_log" "unreadable_total", "entries", ["instance"], "collectors", "Entries of the slow log that could not be read.";
    SLOW_BROKEN: Counter, "millrace_slow_log" "broken_total", "times", ["instance"], "collectors", "Times that what followed the last entry read was gone: the slow log was cut off or removed, and no copy was left.";
    SLOW_SUPPRESSED: Counter, "millrace_slow_log" "suppressed_total", "entries", ["instance"], "collectors", "Slow statements not sent because of the limit per digest.";
    SLOW_UNSENT: Counter, "millrace_slow_log" "unsent_rows_total", "rows", ["instance"], "collectors", "Rows of slow statements that were not sent, because they cannot be encoded.";
    SLOW_TABLE_SECONDS: Gauge, "millrace_slow_log" "table_look_seconds", "seconds", ["instance"], "collectors", "How long the last look at the table of slow statements took: it has no index, so that each scans it; the next one comes after twenty times as long.";
    SLOW_ROTATED: Counter, "millrace_slow_log" "rotations_total", "times", ["instance"], "executors", "Times that the slow log of a server that Millrace created was rotated.";
    SLOW_REMOVED: Counter, "millrace_slow_log" "removed_total", "files", ["instance"], "executors", "Rotated slow logs that were removed, because newer ones are as many as are kept.";
    SLOW_FACTOR: Gauge, "millrace_slow_log" "sample_factor", "statements", ["instance"], "collectors", "How many slow statements each that is logged stands for, as the server's rate limit says; MariaDB marks none of its entries with it.";
    COUNTERS_LACK: Counter, "millrace_performance_schema" "lacking_total", "events", ["instance", "what"], "collectors", "What a server's own counts of its statements lack: digests whose counters were set back (reset), statements only in the row for all beyond its table (beyond), digests that came into view of unknown age (unknown).";
    INSTANCE_UP: Gauge, "mysql" "up", "boolean", ["cluster", "instance", "host"], "collectors", "1 when the agent could ask the server in the last heartbeat.";
    INSTANCE_OPEN: Gauge, "millrace_instance" "open", "boolean", ["cluster", "instance", "host"], "collectors", "1 when clients can write to the server.";
    REPLICA_DELAY: Gauge, "millrace_replica" "delay_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "Age of the newest heartbeat row on a replica.";
    REPLICA_LAG: Gauge, "millrace_replica" "lag_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "In samples: how far a replica is behind. Of servers that Millrace created the age of the newest heartbeat row, of others, and where there is no row, what the server itself says of its slowest channel; absent while neither is known, and of what is no replica.";
    REPLICA_RUNNING: Gauge, "millrace_replica" "running", "boolean", ["cluster", "instance", "host"], "collectors", "1 while receiver and applier of a replica run.";
    SEMI_SYNC_ACTIVE: Gauge, "millrace_semi_sync" "active", "boolean", ["cluster", "instance", "host"], "collectors", "1 while commits wait for an acknowledgement, 0 where they should and do not; absent where the source side of semi-synchronous replication is off.";
    WRONGLY_OPEN: Gauge, "millrace_instance" "wrongly_open", "boolean", ["cluster", "instance"], "processors", "1 for a server that clients can write to while it replicates from another one, or while another one of its cluster is open too.";
    ERRANT: Gauge, "millrace_replica" "errant_transactions", "transactions", ["cluster", "instance"], "processors", "Transactions that a replica has executed and its primary has not; absent where a set is too long for a heartbeat.";
    PROMOTABLE: Gauge, "millrace_cluster" "promotable_replicas", "replicas", ["cluster"], "processors", "Replicas whose server answers, that replicate, and that are less than a minute behind.";
    UNDECIDED: Gauge, "millrace_cluster" "undecided_seconds", "seconds", ["cluster"], "processors", "How long a primary has been down that its guard holds down, without a word of a decider.";
    BACKUP_AGE: Gauge, "millrace_cluster" "backup_age_ratio", "ratio", ["cluster"], "processors", "Age of the newest backup of a cluster, as a share of what its policy allows: above 1 it is too old. Where no backup was ever seen, 1 and the share of the time since the policy is known; absent without a policy.";
    RULES_BEYOND: Counter, "millrace_rules" "beyond_total", "numbers", [], "processors", "Numbers that no rule judged, because it had a thousand series of that cluster already.";
    ANOMALIES_FIRING: Gauge, "millrace_anomalies" "firing", "anomalies", ["cluster", "instance"], "processors", "Anomalies of an instance that hold: what is unusual, and that nothing explains.";
    ANOMALIES_SERIES: Gauge, "millrace_anomalies" "series", "series", [], "processors", "Series that are judged by their own past: five of each digest that is followed, and six of each instance that is sampled.";
    ANOMALIES_BEYOND: Counter, "millrace_anomalies" "beyond_total", "rows", [], "processors", "Rows of digests that were not judged, because a thousand others of their instance have more load.";
    CANARY_SECONDS: Gauge, "millrace_canary" "write_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "How long the last canary write took.";
    THREADS_RUNNING: Gauge, "mysql_global_status" "threads_running", "threads", ["cluster", "instance", "host"], "collectors", "Threads running in the server.";
    CONNECTIONS: Gauge, "mysql_global_status" "threads_connected", "connections", ["cluster", "instance", "host"], "collectors", "Connections open in the server.";
    HOST_LOAD: Gauge, "millrace_host" "load1", "processes", ["host"], "collectors", "One-minute load average of the host.";
    ALERTS_FIRING: Gauge, "millrace_alerts" "firing", "alerts", ["cluster", "severity", "quiet"], "processors", "Alerts that fire; those with quiet=\"true\" are told to nobody, because they follow from another one, are silenced, or are only shown.";
    EPOCH: Gauge, "millrace_cluster" "epoch", "epochs", ["cluster"], "processors", "Role changes of the cluster so far.";
    ACTIONS: Counter, "millrace_actions" "total", "actions", ["kind"], "processors", "Actions that this process decided and appended.";
    JOURNAL_COALESCED: Counter, "millrace_journal" "coalesced_changes_total", "changes", ["cluster", "instance"], "collectors", "Changes of a server process that were too many to be told one by one; the next heartbeat restates what holds.";
    STEPS: Counter, "millrace_steps" "total", "steps", ["step", "outcome"], "executors", "Steps that agents of this process performed.";
    ARCHIVED: Counter, "millrace_archive" "records_total", "records", ["topic"], "sinks", "Records written to the archive.";
    STORE_LINES: Counter, "millrace_store" "lines_total", "lines", ["store"], "sinks", "Lines that a store acknowledged, or rows that are in files; lines that were sent again after a break count again.";
    STORE_BAD_LINES: Counter, "millrace_store" "bad_lines_total", "lines", ["store"], "sinks", "Lines that a store refused; their records went to the topic dead.";
    STORE_LATE: Counter, "millrace_store" "late_points_total", "points", ["store"], "sinks", "Points that a store did not take because it has newer ones of their series, after a break perhaps these too (Prometheus takes them with `out_of_order_time_window`), or because they are older than what it keeps.";
    STORE_REPLACED: Counter, "millrace_store" "replaced_characters_total", "characters", ["store"], "sinks", "Characters of labels that lines cannot carry: another one stands for them.";
    STORE_REFUSED_POINTS: Counter, "millrace_store" "refused_points_total", "points", ["store"], "sinks", "Points that no line can be made of, because a number was none.";
    STORE_UNKNOWN_SERIES: Counter, "millrace_store" "unknown_series_total", "numbers", ["store"], "sinks", "Numbers of samples whose series this version does not know: agents are newer.";
    STORE_UNREADABLE: Counter, "millrace_store" "unreadable_records_total", "records", ["store"], "sinks", "Records that no points could be made of, because they cannot be read.";
    STORE_FAILED: Counter, "millrace_store" "failed_requests_total", "requests", ["store"], "sinks", "Requests to a store that failed and were made again.";
    STORE_REWINDS: Counter, "millrace_store" "rewinds_total", "times", ["store"], "sinks", "Times that a store had a break, and was given again what it had acknowledged in the 15 s before.";
    STORE_FILES: Counter, "millrace_store" "files_total", "files", ["store"], "sinks", "Parquet files that are where they are to be.";
    STORE_REPEATED: Counter, "millrace_store" "repeated_rows_total", "rows", ["store"], "sinks", "Rows that came again and are in files once.";
    STORE_MISSING: Counter, "millrace_store" "missing_records_total", "records", ["store"], "sinks", "Records that the bus had forgotten before they were in files.";
    CHANNEL_DELIVERED: Counter, "millrace_channel" "delivered_total", "alerts", ["channel"], "sinks", "Alerts that a channel took, alone or in a bundle; one that was sent again after a crash counts again.";
    CHANNEL_FAILED: Counter, "millrace_channel" "failed_messages_total", "messages", ["channel"], "sinks", "Messages to a channel that failed and are sent again.";
    CHANNEL_BUNDLED: Counter, "millrace_channel" "bundled_total", "alerts", ["channel"], "sinks", "Alerts that were above the rate of a channel, and that it was told of in a message with others.";
    CHANNEL_PASSED: Counter, "millrace_channel" "passed_over_total", "alerts", ["channel"], "sinks", "States of alerts that a channel was not told of, because they had waited for an hour and a newer state of the same alert was there.";
    CHANNEL_DEAD: Counter, "millrace_channel" "dead_total", "alerts", ["channel"], "sinks", "Alerts that a channel refused for ever or did not take within a day; they went to the topic dead.";
    CHANNEL_OLDEST: Gauge, "millrace_channel" "oldest_seconds", "seconds", ["channel"], "sinks", "How old the oldest alert is that a channel has not taken yet, from its append time; 0 while none waits.";
    ALERT_FIRING: Gauge, "millrace_alert" "firing", "boolean", ["cluster", "instance", "alertname", "severity"], "alerts", "In stores, at each word about an alert: 1 while it fires, 0 when it is over or goes on with another severity; the watchdog has none.";
    ALERT_QUIET: Gauge, "millrace_alert" "quiet", "boolean", ["cluster", "instance", "alertname", "severity"], "alerts", "In stores, beside `millrace_alert_firing`: 1 where nobody is told of it, because it follows from another one, is silenced, or is only shown.";
    PROCESS_MEMORY: Gauge, "process" "resident_memory_bytes", "bytes", [], "process", "Resident memory of this process.";
    SERIES: Gauge, "millrace_series" "sampled", "series", ["cluster", "instance", "host"], "collectors", "Series in the last sample of an instance's numbers.";
    SERIES_BUDGET: Gauge, "millrace_series" "budget", "series", ["cluster", "instance", "host"], "collectors", "Series that an instance may have in a sample.";
    SERIES_LEFT_OUT: Gauge, "millrace_series" "left_out", "series", ["cluster", "instance", "host"], "collectors", "Series that the last sample of an instance left out, because there were more than its budget.";
    OLDEST_TRANSACTION: Gauge, "millrace_innodb" "oldest_transaction_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "How long the oldest open transaction of InnoDB is open; absent where the account may not ask.";
    DEADLOCKS: Counter, "millrace_innodb" "deadlocks_total", "deadlocks", ["cluster", "instance", "host"], "collectors", "Deadlocks that ended a transaction; absent where the account may not ask.";
    KEY_USED: Gauge, "millrace_key" "used_ratio", "ratio", ["cluster", "schema", "table", "column"], "collectors", "Share of its numbers that a key has given out: columns that count up, and primary keys of one whole number; the 20 fullest of the server that is written to, looked at once an hour.";
    BACKUP_LAST: Gauge, "millrace_backup" "last_timestamp_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "When the newest whole backup was finished that the agent of an instance knows of, in seconds since 1970, where its cluster has a policy; absent where none was ever seen.";
    BACKUP_WITHIN: Gauge, "millrace_backup" "within_seconds", "seconds", ["cluster", "instance", "host", "looked_in"], "collectors", "How old the newest backup of the cluster may be by its policy, and where it is looked for; absent without one.";
    SAMPLES_MISSED: Counter, "millrace_samples" "missed_total", "samples", ["cluster", "instance", "host"], "collectors", "Samples of an instance's numbers that were not taken: the server did not answer in time for the next heartbeat.";
}
