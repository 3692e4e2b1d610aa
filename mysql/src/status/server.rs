//! Identity, switches and paths of a server. In: its variables and counters. Out: [`Server`].

use std::path::PathBuf;
use std::time::Duration;

use crate::counters::Counters;
use crate::flavour::Dialect;
use crate::settings::Variables;

/// What a server is. `Option` means that this server has no such thing, or leaves it empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Flavour and version.
    pub dialect: Dialect,
    /// The version as the server writes it.
    pub version_text: String,
    /// `server_id`, unique in a cluster.
    pub server_id: u32,
    /// `server_uuid`; `MariaDB` has none.
    pub server_uuid: Option<String>,
    /// The host's name as the server knows it.
    pub hostname: Option<String>,
    /// The port that it listens on.
    pub port: u16,
    /// The host that it tells its source.
    pub report_host: Option<String>,
    /// The port that it tells its source.
    pub report_port: Option<u16>,
    /// How long it has been running.
    pub uptime: Option<Duration>,
    /// Whether ordinary users are refused writes.
    pub read_only: bool,
    /// Whether privileged users are too; `MariaDB` cannot.
    pub super_read_only: Option<bool>,
    /// Whether ordinary users are shut out; `MariaDB` cannot.
    pub offline_mode: Option<bool>,
    /// Whether it writes a binlog.
    pub log_bin: bool,
    /// Whether what it replicates goes to its binlog too.
    pub log_replica_updates: Option<bool>,
    /// `ROW`, `STATEMENT` or `MIXED`.
    pub binlog_format: Option<String>,
    /// After how many commit groups the binlog is synced; 1 survives a power cut.
    pub sync_binlog: Option<u64>,
    /// After how many events the relay log is synced; 1 survives a power cut.
    pub sync_relay_log: Option<u64>,
    /// 1 survives a power cut.
    pub innodb_flush_log_at_trx_commit: Option<u64>,
    /// Whether a restart throws away what was received and not applied; `MariaDB` too.
    pub relay_log_recovery: Option<bool>,
    /// `ON`, `OFF` or between (MySQL).
    pub gtid_mode: Option<String>,
    /// Whether numbers must ascend (`MariaDB`).
    pub gtid_strict_mode: Option<bool>,
    /// The domain of its own transactions (`MariaDB`).
    pub gtid_domain_id: Option<u32>,
    /// Whether `performance_schema` counts.
    pub performance_schema: bool,
    /// Whether slow statements are logged.
    pub slow_log: bool,
    /// Where to: an absolute path, if the server logs to a file.
    pub slow_log_file: Option<PathBuf>,
    /// Whether it logs to the table `mysql.slow_log`, beside a file or alone.
    pub slow_log_table: bool,
    /// From which duration on a statement is slow.
    pub long_query_time: Option<Duration>,
    /// One in how many slow statements is logged (`MariaDB`).
    pub slow_log_rate: Option<u64>,
    /// `@@global.sql_mode`: how statements of sessions are read that set nothing else.
    pub sql_mode: String,
    /// The data directory.
    pub datadir: Option<PathBuf>,
    /// The file with its process id.
    pub pid_file: Option<PathBuf>,
    /// Its Unix socket.
    pub socket: Option<PathBuf>,
    /// Its error log, if it is a file.
    pub error_log: Option<PathBuf>,
    /// How many clients may connect.
    pub max_connections: Option<u64>,
}

impl Server {
    /// What the variables and counters say. `None` if one is missing that every server has.
    pub fn of(dialect: Dialect, variables: &Variables, counters: &Counters) -> Option<Self> {
        let datadir = variables.filled("datadir").map(PathBuf::from);
        // Servers print paths as configured; relative ones are relative to the data directory.
        let path = |name: &str| {
            let text = variables.filled(name)?;
            Some(datadir.as_ref().map_or_else(|| PathBuf::from(text), |datadir| datadir.join(text)))
        };
        let owned = |name: &str| variables.filled(name).map(str::to_owned);
        let port_of = |name: &str| variables.number(name).and_then(|number| u16::try_from(number).ok());
        let outputs = variables.text("log_output").unwrap_or_default();
        let to_file = variables.text("log_output").is_none_or(|outputs| outputs.contains("FILE"));
        Some(Self {
            dialect,
            version_text: variables.text("version")?.to_owned(),
            server_id: u32::try_from(variables.number("server_id")?).ok()?,
            server_uuid: owned("server_uuid"),
            hostname: owned("hostname"),
            port: port_of("port")?,
            report_host: owned("report_host"),
            report_port: port_of("report_port").filter(|port| *port != 0),
            uptime: counters.get("uptime").map(Duration::from_secs),
            read_only: variables.switch("read_only")?,
            super_read_only: variables.switch("super_read_only"),
            offline_mode: variables.switch("offline_mode"),
            log_bin: variables.switch("log_bin")?,
            log_replica_updates: variables.switch("log_replica_updates"),
            binlog_format: owned("binlog_format"),
            sync_binlog: variables.number("sync_binlog"),
            sync_relay_log: variables.number("sync_relay_log"),
            innodb_flush_log_at_trx_commit: variables.number("innodb_flush_log_at_trx_commit"),
            relay_log_recovery: variables.switch("relay_log_recovery"),
            gtid_mode: owned("gtid_mode"),
            gtid_strict_mode: variables.switch("gtid_strict_mode"),
            gtid_domain_id: variables.number("gtid_domain_id").and_then(|number| u32::try_from(number).ok()),
            performance_schema: variables.switch("performance_schema").unwrap_or(false),
            slow_log: variables.switch("slow_query_log").unwrap_or(false),
            slow_log_file: path("slow_query_log_file").filter(|_| to_file),
            slow_log_table: outputs.contains("TABLE"),
            long_query_time: variables.seconds("long_query_time"),
            slow_log_rate: variables.number("log_slow_rate_limit"),
            sql_mode: variables.text("sql_mode").unwrap_or_default().to_owned(),
            pid_file: path("pid_file"),
            socket: path("socket"),
            error_log: path("log_error").filter(|path| !path.ends_with("stderr")),
            max_connections: variables.number("max_connections"),
            datadir,
        })
    }

    /// Whether ordinary users can write.
    pub fn is_open(&self) -> bool {
        !self.read_only && self.super_read_only != Some(true) && self.offline_mode != Some(true)
    }
}

#[cfg(test)]
mod tests {
    use crate::flavour::Version;
    use millrace_schemas::flavour::Flavour;

    use super::*;

    fn server(more: &[(&str, &str)]) -> Option<Server> {
        let base = [("version", "9.7.4"), ("server_id", "7"), ("port", "3306"), ("log_bin", "ON"), ("datadir", "/d/")];
        let pairs = base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let dialect = Dialect { flavour: Flavour::MySql, version: Version::new(9, 7, 4) };
        Server::of(dialect, &pairs.collect(), &Counters::default())
    }

    #[test]
    fn a_server_is_open_only_if_nothing_closes_it() {
        let check = |more: &[(&str, &str)], expected| assert_eq!(server(more).unwrap().is_open(), expected, "{more:?}");
        check(&[("read_only", "OFF")], true);
        check(&[("read_only", "ON")], false);
        check(&[("read_only", "OFF"), ("super_read_only", "ON")], false);
        check(&[("read_only", "OFF"), ("offline_mode", "ON")], false);
        check(&[("read_only", "OFF"), ("super_read_only", "OFF"), ("offline_mode", "OFF")], true);
    }

    #[test]
    fn a_server_that_does_not_say_whether_it_is_read_only_is_not_guessed_at() {
        assert_eq!(server(&[]), None);
    }

    #[test]
    fn paths_are_absolute_and_only_files() {
        let read =
            [("read_only", "ON"), ("slow_query_log_file", "slow.log"), ("log_error", "stderr"), ("socket", "/s")];
        let found = server(&read).unwrap();
        assert_eq!(found.slow_log_file, Some(PathBuf::from("/d/slow.log")));
        assert_eq!(found.error_log, None);
        assert_eq!(found.socket, Some(PathBuf::from("/s")));
        let table = server(&[("read_only", "ON"), ("slow_query_log_file", "slow.log"), ("log_output", "TABLE")]);
        assert_eq!(table.map(|server| (server.slow_log_file, server.slow_log_table)), Some((None, true)));
    }
}
