//! What the threads of a server do, under the name that dashboards know for it.

use super::Metric;

/// The table.
pub(super) const THREADS: &[Metric] = table! {
    "mysql_info_schema", ["cluster", "instance", "host", "state"], "SHOW PROCESSLIST",
    Gauge "threads" "threads" Both "Threads by what they do, as the list of processes has it: idle waits for its client, none says nothing, other is what is beyond the 20 states that most are in; absent where the account may not look, or performance_schema of a MySQL is off.";
};

/// Threads by their state.
pub const THREAD_STATES: &Metric = &THREADS[0];
