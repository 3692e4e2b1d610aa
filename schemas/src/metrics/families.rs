//! Status variables that are one metric with a label: what is counted per command, handler, error, kind of page or of row. In: the
//! name of a status variable. Out: the metric that it is of, and its label's value. The rules are those of the exporter that the
//! world's dashboards were made for.

use super::{Metric, named};

macro_rules! family {
    ($kind:ident $field:literal $unit:literal $label:literal $help:literal) => {
        table! { "mysql_global_status", ["cluster", "instance", "host", $label], "SHOW GLOBAL STATUS", $kind $field $unit Both $help; }[0]
    };
}

/// The metrics.
pub(super) const FAMILIES: &[Metric] = &[
    family!(Counter "commands_total" "statements" "command" "Statements by their kind, as the server's Com_ counters name it."),
    family!(Counter "handlers_total" "calls" "handler" "Calls of storage engines by what was asked of them."),
    family!(Counter "connection_errors_total" "errors" "error" "Connections that failed inside the server, by where."),
    family!(Gauge "buffer_pool_pages" "pages" "state" "Pages of the buffer pool by what is in them: they add up to the whole."),
    family!(Counter "buffer_pool_page_changes_total" "pages" "operation" "Pages of the buffer pool by what was done to them."),
    family!(Counter "innodb_row_ops_total" "rows" "operation" "Rows that InnoDB read, inserted, updated and deleted."),
    family!(Counter "performance_schema_lost_total" "events" "instrumentation" "What performance_schema had no room for."),
];

/// Where a status variable belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The metric.
    pub metric: &'static Metric,
    /// The value of its label, if it has one.
    pub label: Option<String>,
}

/// Pages of the buffer pool that add up to the whole.
const STATES: [&str; 4] = ["data", "free", "misc", "old"];

/// Where the status variable `name`, in any letter case, belongs; `None` for those that are not kept.
pub fn status_place(name: &str) -> Option<Place> {
    let name = name.to_ascii_lowercase();
    let family = |metric: &str, label: &str| {
        let metric = named(&format!("mysql_global_status_{metric}"))?;
        Some(Place { metric, label: Some(label.to_owned()) })
    };
    let plain = |name: &str| Some(Place { metric: named(&format!("mysql_global_status_{name}"))?, label: None });
    if let Some(command) = name.strip_prefix("com_") {
        return family("commands_total", command);
    }
    if let Some(handler) = name.strip_prefix("handler_") {
        return family("handlers_total", handler);
    }
    if let Some(error) = name.strip_prefix("connection_errors_") {
        return family("connection_errors_total", error);
    }
    if let Some(operation) = name.strip_prefix("innodb_rows_") {
        return family("innodb_row_ops_total", operation);
    }
    if let Some(lost) = name.strip_prefix("performance_schema_") {
        return family("performance_schema_lost_total", lost.strip_suffix("_lost")?);
    }
    match name.strip_prefix("innodb_buffer_pool_pages_") {
        Some("total") => None, // the sum of the states
        Some("dirty") => plain("buffer_pool_dirty_pages"),
        Some(state) if STATES.contains(&state) => family("buffer_pool_pages", state),
        Some(operation) => family("buffer_pool_page_changes_total", operation),
        None => match name.strip_prefix("rpl_semi_sync_") {
            // Dashboards know the names from before they were changed.
            Some(rest) => {
                plain(&format!("rpl_semi_sync_{}", rest.replace("source", "master").replace("replica", "slave")))
            }
            None => plain(&name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_variable_is_found_under_the_name_that_dashboards_know() {
        let check = |name: &str, expected: Option<(&str, Option<&str>)>| {
            let place = status_place(name);
            let found = place.as_ref().map(|place| (place.metric.name, place.label.as_deref()));
            assert_eq!(found, expected, "{name}");
        };
        check("Threads_running", Some(("mysql_global_status_threads_running", None)));
        check("Com_select", Some(("mysql_global_status_commands_total", Some("select"))));
        check("Handler_read_rnd_next", Some(("mysql_global_status_handlers_total", Some("read_rnd_next"))));
        check("Connection_errors_accept", Some(("mysql_global_status_connection_errors_total", Some("accept"))));
        check("Innodb_buffer_pool_pages_free", Some(("mysql_global_status_buffer_pool_pages", Some("free"))));
        check("Innodb_buffer_pool_pages_dirty", Some(("mysql_global_status_buffer_pool_dirty_pages", None)));
        check("Innodb_buffer_pool_pages_total", None);
        check(
            "Innodb_buffer_pool_pages_flushed",
            Some(("mysql_global_status_buffer_pool_page_changes_total", Some("flushed"))),
        );
        check("Innodb_rows_read", Some(("mysql_global_status_innodb_row_ops_total", Some("read"))));
        check(
            "Performance_schema_digest_lost",
            Some(("mysql_global_status_performance_schema_lost_total", Some("digest"))),
        );
        check("Performance_schema_session_connect_attrs_longest_seen", None);
        check("Rpl_semi_sync_source_status", Some(("mysql_global_status_rpl_semi_sync_master_status", None)));
        check("Rpl_semi_sync_replica_status", Some(("mysql_global_status_rpl_semi_sync_slave_status", None)));
        check("Caching_sha2_password_rsa_public_key", None);
    }
}
