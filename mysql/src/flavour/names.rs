//! What the dialects call the variables of semi-synchronous replication, and how a name that a server prints is brought to the
//! one form that the rest of Millrace knows: MySQL's newest (`source`, `replica`).

use super::Dialect;

/// The variables of semi-synchronous replication in one dialect. `None` where the dialect has no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SemiSyncNames {
    /// Switches the source side.
    pub source_enabled: &'static str,
    /// Milliseconds until the source falls back to asynchronous replication.
    pub timeout: &'static str,
    /// When the source waits: `AFTER_SYNC` is the lossless one.
    pub wait_point: &'static str,
    /// Whether the source waits although no replica is connected.
    pub wait_no_replica: &'static str,
    /// How many acknowledgements a commit needs; `MariaDB` always needs one.
    pub wait_for_count: Option<&'static str>,
    /// Switches the replica side.
    pub replica_enabled: &'static str,
}

/// MySQL from 8.0.26 on, with the plugins of the same names.
const RENAMED: SemiSyncNames = SemiSyncNames {
    source_enabled: "rpl_semi_sync_source_enabled",
    timeout: "rpl_semi_sync_source_timeout",
    wait_point: "rpl_semi_sync_source_wait_point",
    wait_no_replica: "rpl_semi_sync_source_wait_no_replica",
    wait_for_count: Some("rpl_semi_sync_source_wait_for_replica_count"),
    replica_enabled: "rpl_semi_sync_replica_enabled",
};

/// MySQL before.
const ORIGINAL: SemiSyncNames = SemiSyncNames {
    source_enabled: "rpl_semi_sync_master_enabled",
    timeout: "rpl_semi_sync_master_timeout",
    wait_point: "rpl_semi_sync_master_wait_point",
    wait_no_replica: "rpl_semi_sync_master_wait_no_slave",
    wait_for_count: Some("rpl_semi_sync_master_wait_for_slave_count"),
    replica_enabled: "rpl_semi_sync_slave_enabled",
};

/// `MariaDB`, where it is built in and knows no count.
const MARIADB: SemiSyncNames = SemiSyncNames { wait_for_count: None, ..ORIGINAL };

impl Dialect {
    /// What this dialect calls the variables of semi-synchronous replication.
    pub fn semi_sync_names(self) -> SemiSyncNames {
        if !self.is_mysql() {
            MARIADB
        } else if self.mysql_from(8, 0, 26) {
            RENAMED
        } else {
            ORIGINAL
        }
    }

    /// The plugins that a configuration file must load for semi-synchronous replication; none where it is built in.
    pub fn semi_sync_plugins(self) -> &'static [&'static str] {
        if !self.is_mysql() {
            &[]
        } else if self.mysql_from(8, 0, 26) {
            &["semisync_source.so", "semisync_replica.so"]
        } else {
            &["semisync_master.so", "semisync_slave.so"]
        }
    }
}

/// The newest name of a variable or status that a server prints under an older one, in lower case. Between 8.0.26 and 8.4
/// either set of plugins may be loaded, so what is read goes by the name and not by the version.
pub(crate) fn renamed(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("rpl_semi_sync_") {
        Some(rest) => format!("rpl_semi_sync_{}", rest.replace("master", "source").replace("slave", "replica")),
        None if name == "log_slave_updates" => "log_replica_updates".into(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::flavour::Flavour;

    use super::super::Version;
    use super::*;

    #[test]
    fn every_dialect_has_its_names() {
        let check = |flavour, version: (u32, u32, u32), enabled: &str, count: Option<&str>, plugin: Option<&str>| {
            let dialect = Dialect { flavour, version: Version::new(version.0, version.1, version.2) };
            let names = dialect.semi_sync_names();
            assert_eq!((names.source_enabled, names.wait_for_count), (enabled, count), "{dialect}");
            assert_eq!(dialect.semi_sync_plugins().first().copied(), plugin, "{dialect}");
        };
        let old = Some("rpl_semi_sync_master_wait_for_slave_count");
        let new = Some("rpl_semi_sync_source_wait_for_replica_count");
        check(Flavour::MySql, (5, 7, 44), "rpl_semi_sync_master_enabled", old, Some("semisync_master.so"));
        check(Flavour::MySql, (8, 0, 25), "rpl_semi_sync_master_enabled", old, Some("semisync_master.so"));
        check(Flavour::MySql, (8, 0, 26), "rpl_semi_sync_source_enabled", new, Some("semisync_source.so"));
        check(Flavour::MySql, (8, 4, 0), "rpl_semi_sync_source_enabled", new, Some("semisync_source.so"));
        check(Flavour::MySql, (9, 7, 4), "rpl_semi_sync_source_enabled", new, Some("semisync_source.so"));
        check(Flavour::MariaDb, (10, 11, 19), "rpl_semi_sync_master_enabled", None, None);
    }

    #[test]
    fn printed_names_are_brought_to_their_newest_form() {
        let check = |name: &str, expected: &str| assert_eq!(renamed(name), expected);
        check("Rpl_semi_sync_master_clients", "rpl_semi_sync_source_clients");
        check("rpl_semi_sync_master_wait_no_slave", "rpl_semi_sync_source_wait_no_replica");
        check("rpl_semi_sync_master_wait_for_slave_count", "rpl_semi_sync_source_wait_for_replica_count");
        check("Rpl_semi_sync_slave_status", "rpl_semi_sync_replica_status");
        check("log_slave_updates", "log_replica_updates");
        check("Slave_open_temp_tables", "slave_open_temp_tables");
    }
}
