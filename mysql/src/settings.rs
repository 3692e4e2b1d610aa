//! A server's variables: read once as text, then asked by name and type. In: `SHOW GLOBAL VARIABLES`. Out: values, under the
//! newest name where a dialect has an older one. A variable that a server does not have is `None`, never a default:
//! "it has no `super_read_only`" and "it is off" are different answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connect::Session;
use crate::error::Error;
use crate::flavour::names::renamed;

/// What is read: only this, since listing all of a server's 600 to 1,000 variables each second would cost more than the rest of
/// a sample. Names that a server does not know cost nothing.
const READ: &[&str] = &[
    "binlog_format",
    "binlog_row_image",
    "character_set_server",
    "datadir",
    "gtid_domain_id",
    "gtid_mode",
    "gtid_strict_mode",
    "hostname",
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "log_bin_basename",
    "log_error",
    "log_output",
    "log_replica_updates",
    "log_slave_updates",
    "log_slow_extra",
    "log_slow_rate_limit",
    "log_slow_verbosity",
    "long_query_time",
    "max_connections",
    "offline_mode",
    "performance_schema",
    "pid_file",
    "port",
    "read_only",
    "relay_log_recovery",
    "replica_net_timeout",
    "report_host",
    "report_port",
    "server_id",
    "server_uid",
    "server_uuid",
    "slave_net_timeout",
    "slow_query_log",
    "slow_query_log_file",
    "socket",
    "sql_mode",
    "super_read_only",
    "sync_binlog",
    "sync_relay_log",
    "version",
    "version_comment",
];

/// The variables of a server that Millrace reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads them in one statement.
    pub async fn read(session: &mut Session) -> Result<Self, Error> {
        let names: Vec<String> = READ.iter().map(|name| format!("'{name}'")).collect();
        let statement = format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name LIKE 'rpl_semi_sync%' OR Variable_name IN ({})",
            names.join(",")
        );
        let rows = session.rows(&statement).await?;
        Ok(rows.into_iter().filter_map(|row| row.nth(0).zip(row.nth(1))).collect())
    }

    /// The variable's text. `name` is the newest name, in lower case.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variable's text, if there is any.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The variable as a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The variable as a switch.
    pub fn switch(&self, name: &str) -> Option<bool> {
        match self.text(name)?.to_ascii_uppercase().as_str() {
            "ON" | "1" | "YES" => Some(true),
            "OFF" | "0" | "NO" => Some(false),
            _ => None,
        }
    }

    /// The variable as a time, where the server counts it in seconds with a fraction.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.text(name)?.parse().ok()?).ok()
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (renamed(&name), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_variable_is_read_by_type_and_never_guessed() {
        let read = variables(&[
            ("read_only", "ON"),
            ("log_slave_updates", "1"),
            ("gtid_mode", "ON_PERMISSIVE"),
            ("long_query_time", "0.250000"),
            ("port", "3306"),
            ("report_host", ""),
        ]);
        assert_eq!(read.switch("read_only"), Some(true));
        assert_eq!(read.switch("log_replica_updates"), Some(true));
        assert_eq!(read.switch("gtid_mode"), None);
        assert_eq!(read.switch("super_read_only"), None);
        assert_eq!(read.number("port"), Some(3306));
        assert_eq!(read.number("gtid_mode"), None);
        assert_eq!(read.seconds("long_query_time"), Some(Duration::from_millis(250)));
        assert_eq!((read.text("report_host"), read.filled("report_host")), (Some(""), None));
    }
}
