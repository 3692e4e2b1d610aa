//! The metric catalogue: every number Millrace exposes, once, with unit, type, labels and source. `/metrics` is rendered
//! from it, and nothing that is not in it can be counted: a `Registry` takes catalogue entries only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only rises, until the process restarts.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The Prometheus name; counters end in `_total`, the unit stands before it.
    pub name: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// How it behaves.
    pub kind: Type,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// Where the number comes from.
    pub source: &'static str,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($name:ident: $kind:ident, $text:literal, $unit:literal, [$($label:literal),*], $source:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric {
                name: $text, unit: $unit, kind: Type::$kind, labels: &[$($label),*], source: $source, help: $help,
            };
        )*
        /// Every metric, in order of their constants.
        pub const CATALOGUE: &[&Metric] = &[$(&$name),*];
    };
}

catalogue! {
    BUS_APPENDED: Counter, "millrace_bus_appended_records_total", "records", ["topic"], "bus", "Records that this process made durable in a topic.";
    BUS_REFUSED: Counter, "millrace_bus_refused_records_total", "records", ["topic"], "bus", "Records whose append failed; where an answer was lost on its way from another process, some may be there all the same.";
    BUS_UNREADABLE: Counter, "millrace_bus_unreadable_records_total", "records", ["topic"], "bus", "Records that a reader passed over, because the batch that holds them cannot be unpacked or is larger than 9 MiB once it is.";
    BUS_COMMITS: Counter, "millrace_bus_commits_total", "commits", [], "bus", "Group commits of the local bus file.";
    BUS_EXPIRED: Counter, "millrace_bus_expired_records_total", "records", ["topic"], "bus", "Records that retention or compaction removed.";
    REFUSED: Counter, "millrace_refused_records_total", "records", ["topic", "reason"], "bus", "Records that a reader of this process did not believe: unsigned, forged, expired and so on; each reader counts for itself.";
    REFUSALS_TOLD: Counter, "millrace_refusals_told_total", "records", ["topic", "reason", "fate"], "processors", "Records not believed by any reader, told once for the fleet: dead, or left where they lie because there were too many in that second.";
    STAGE_LAG_RECORDS: Gauge, "millrace_stage_lag_records", "records", ["stage", "topic"], "process", "Records that a stage of this process has not dealt with yet, over the partitions that it holds; left out while it holds none, or while the bus does not tell the ends.";
    STAGE_LAG_SECONDS: Gauge, "millrace_stage_lag_seconds", "seconds", ["stage", "topic"], "process", "How old the oldest record that a stage has not dealt with is at most, by the bus's time, in its partition that is furthest behind: 0 when nothing is left, else from the append time of the last record dealt with (or from when it was last seen that nothing was left; before the first record, from when the partition was gained) until now by the clock of this host.";
    ROSTER_KEYS: Gauge, "millrace_roster_keys", "keys", [], "process", "Keys of the roster in force that are not revoked.";
    ROSTER_STALE: Gauge, "millrace_roster_stale", "boolean", [], "process", "1 while the roster file cannot be used and the last good one stays in force.";
    FOLD_RECORDS: Counter, "millrace_fold_records_total", "records", ["processor"], "processors", "Records folded by a processor.";
    FOLD_DUPLICATES: Counter, "millrace_fold_duplicate_records_total", "records", ["processor"], "processors", "Records dropped because they had been had.";
    FOLD_DEAD: Counter, "millrace_fold_dead_records_total", "records", ["processor"], "processors", "Records that could not be read and went to the topic dead.";
    FOLD_SKIPPED: Counter, "millrace_fold_skipped_records_total", "records", ["processor"], "processors", "Records of an unknown kind that was not evidence.";
    WIRE_BYTES: Counter, "millrace_wire_payload_bytes_total", "bytes", ["host", "fate"], "collectors", "Captured TCP payload by what became of it: decoded, encrypted, duplicate, skipped, shed or undecodable.";
    WIRE_MISSING: Counter, "millrace_wire_missing_bytes_total", "bytes", ["host"], "collectors", "Payload that sequence numbers say was never captured.";
    WIRE_KERNEL_DROPS: Counter, "millrace_wire_kernel_dropped_packets_total", "packets", ["host"], "collectors", "Packets that the kernel dropped before the capture read them.";
    WIRE_SAMPLE_FACTOR: Gauge, "millrace_wire_sample_factor", "connections", ["host"], "collectors", "One of so many connections is followed: more than 1 when packets come faster than they can be decoded.";
    WIRE_STATEMENTS: Counter, "millrace_wire_statements_total", "statements", ["instance"], "collectors", "Statements decoded from packets.";
    WIRE_UNSENT: Counter, "millrace_wire_unsent_rows_total", "rows", ["host"], "collectors", "Rows of counted statements that were not sent: they cannot be encoded, or are of an instance that is not watched any more.";
    STATEMENTS_SOURCE: Gauge, "millrace_statements_source", "boolean", ["instance", "source"], "collectors", "1 for the source that counts the statements of an instance now, 0 for the other.";
    STATEMENTS_UNSEEN: Gauge, "millrace_statements_unseen_ratio", "ratio", ["instance"], "collectors", "Share of the statements that the server counted in the last ten seconds and no packet showed: sent over a Unix socket, or on an interface that is not captured.";
    STATEMENTS_CHANGES: Counter, "millrace_statements_source_changes_total", "changes", ["instance", "source"], "collectors", "Times that another source began to count the statements of an instance, by the one that did; each change leaves up to two seconds uncounted.";
    STATEMENTS_SET_ASIDE: Counter, "millrace_statements_set_aside_total", "statements", ["instance", "source"], "collectors", "Statements that a source saw in seconds that another one counts: they are in no row.";
    WINDOW_ROWS_DROPPED: Counter, "millrace_windows_dropped_rows_total", "rows", ["reason"], "processors", "Rows that were in no window: late, ahead of the clock, or beyond the limit of instances.";
    LOADS_SKIPPED: Counter, "millrace_windows_skipped_loads_total", "facts", ["cluster"], "processors", "Load facts of windows that had ended too long ago when they were made up for; the windows themselves are there.";
    SLOW_ENTRIES: Counter, "millrace_slow_log_entries_total", "entries", ["instance"], "collectors", "Entries read from the slow log.";
    SLOW_UNREADABLE: Counter, "millrace_slow_log_unreadable_total", "entries", ["instance"], "collectors", "Entries of the slow log that could not be read.";
    SLOW_BROKEN: Counter, "millrace_slow_log_broken_total", "times", ["instance"], "collectors", "Times that what followed the last entry read was gone: the slow log was cut off or removed, and no copy was left.";
    SLOW_SUPPRESSED: Counter, "millrace_slow_log_suppressed_total", "entries", ["instance"], "collectors", "Slow statements not sent because of the limit per digest.";
    SLOW_UNSENT: Counter, "millrace_slow_log_unsent_rows_total", "rows", ["instance"], "collectors", "Rows of slow statements that were not sent, because they cannot be encoded.";
    SLOW_TABLE_SECONDS: Gauge, "millrace_slow_log_table_look_seconds", "seconds", ["instance"], "collectors", "How long the last look at the table of slow statements took: it has no index, so that each scans it; the next one comes after twenty times as long.";
    SLOW_ROTATED: Counter, "millrace_slow_log_rotations_total", "times", ["instance"], "executors", "Times that the slow log of a server that Millrace created was rotated.";
    SLOW_REMOVED: Counter, "millrace_slow_log_removed_total", "files", ["instance"], "executors", "Rotated slow logs that were removed, because newer ones are as many as are kept.";
    SLOW_FACTOR: Gauge, "millrace_slow_log_sample_factor", "statements", ["instance"], "collectors", "How many slow statements each that is logged stands for, as the server's rate limit says; MariaDB marks none of its entries with it.";
    COUNTERS_LACK: Counter, "millrace_performance_schema_lacking_total", "events", ["instance", "what"], "collectors", "What a server's own counts of its statements lack: digests whose counters were set back (reset), statements only in the row for all beyond its table (beyond), digests that came into view of unknown age (unknown).";
    INSTANCE_UP: Gauge, "mysql_up", "boolean", ["cluster", "instance", "host"], "collectors", "1 when the agent could ask the server in the last heartbeat.";
    INSTANCE_OPEN: Gauge, "millrace_instance_open", "boolean", ["cluster", "instance", "host"], "collectors", "1 when clients can write to the server.";
    REPLICA_DELAY: Gauge, "millrace_replica_delay_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "Age of the newest heartbeat row on a replica.";
    CANARY_SECONDS: Gauge, "millrace_canary_write_seconds", "seconds", ["cluster", "instance", "host"], "collectors", "How long the last canary write took.";
    THREADS_RUNNING: Gauge, "mysql_global_status_threads_running", "threads", ["cluster", "instance", "host"], "collectors", "Threads running in the server.";
    CONNECTIONS: Gauge, "mysql_global_status_threads_connected", "connections", ["cluster", "instance", "host"], "collectors", "Connections open in the server.";
    HOST_LOAD: Gauge, "millrace_host_load1", "processes", ["host"], "collectors", "One-minute load average of the host.";
    EPOCH: Gauge, "millrace_cluster_epoch", "epochs", ["cluster"], "processors", "Role changes of the cluster so far.";
    ACTIONS: Counter, "millrace_actions_total", "actions", ["kind"], "processors", "Actions that this process decided and appended.";
    JOURNAL_COALESCED: Counter, "millrace_journal_coalesced_changes_total", "changes", ["cluster", "instance"], "collectors", "Changes of a server process that were too many to be told one by one; the next heartbeat restates what holds.";
    STEPS: Counter, "millrace_steps_total", "steps", ["step", "outcome"], "executors", "Steps that agents of this process performed.";
    ARCHIVED: Counter, "millrace_archive_records_total", "records", ["topic"], "sinks", "Records written to the archive.";
    PROCESS_MEMORY: Gauge, "process_resident_memory_bytes", "bytes", [], "process", "Resident memory of this process.";
}

/// Values of catalogue metrics. Cheap enough for a count per batch; hot loops add up first.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<&'static str, BTreeMap<Vec<String>, f64>>>);

impl Registry {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Adds to a counter.
    pub fn add(&self, metric: &'static Metric, labels: &[&str], by: u64) {
        debug_assert_eq!(metric.kind, Type::Counter, "{} is no counter", metric.name);
        self.with(metric, labels, |value| *value += by as f64);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: &'static Metric, labels: &[&str], to: f64) {
        debug_assert_eq!(metric.kind, Type::Gauge, "{} is no gauge", metric.name);
        self.with(metric, labels, |value| *value = to);
    }

    /// Takes a gauge back that is not known any more: it is left out until it is set again.
    pub fn forget(&self, metric: &'static Metric, labels: &[&str]) {
        debug_assert_eq!(metric.kind, Type::Gauge, "{} is no gauge", metric.name);
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = values.get_mut(metric.name) {
            series.retain(|given, _| given != labels);
            if series.is_empty() {
                values.remove(metric.name);
            }
        }
    }

    /// The value, zero when it was never touched.
    pub fn get(&self, metric: &'static Metric, labels: &[&str]) -> f64 {
        let mut found = 0.0;
        self.with(metric, labels, |value| found = *value);
        found
    }

    fn with(&self, metric: &'static Metric, labels: &[&str], change: impl FnOnce(&mut f64)) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{} takes {:?}", metric.name, metric.labels);
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = labels.iter().map(|label| (*label).to_owned()).collect();
        change(values.entry(metric.name).or_default().entry(key).or_insert(0.0));
    }

    /// Prometheus text exposition, version 0.0.4. Metrics without a value are left out.
    pub fn render(&self) -> String {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        for metric in CATALOGUE {
            let Some(series) = values.get(metric.name) else { continue };
            let kind = if metric.kind == Type::Counter { "counter" } else { "gauge" };
            let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
            for (labels, value) in series {
                let _ = writeln!(out, "{}{} {value}", metric.name, render_labels(metric.labels, labels));
            }
        }
        out
    }
}

fn render_labels(names: &[&str], values: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in CATALOGUE {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Type::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}: a sentence", metric.name);
        }
    }

    #[test]
    fn renders_only_what_has_a_value_and_escapes_labels() {
        let registry = Registry::new();
        registry.add(&BUS_APPENDED, &["jour\"nal"], 2);
        registry.add(&BUS_APPENDED, &["jour\"nal"], 1);
        registry.set(&PROCESS_MEMORY, &[], 7.0);
        assert_eq!(
            registry.render(),
            "# HELP millrace_bus_appended_records_total Records that this process made durable in a topic.\n\
             # TYPE millrace_bus_appended_records_total counter\n\
             millrace_bus_appended_records_total{topic=\"jour\\\"nal\"} 3\n\
             # HELP process_resident_memory_bytes Resident memory of this process.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes 7\n"
        );
    }

    #[test]
    fn a_gauge_that_is_forgotten_is_left_out() {
        let registry = Registry::new();
        registry.set(&EPOCH, &["c1"], 1.0);
        registry.set(&EPOCH, &["c2"], 2.0);
        registry.forget(&EPOCH, &["c1"]);
        let left = registry.render();
        assert!(left.contains("cluster=\"c2\"") && !left.contains("cluster=\"c1\""), "{left}");
        registry.forget(&EPOCH, &["c2"]);
        assert_eq!(registry.render(), "");
    }
}
