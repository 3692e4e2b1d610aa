//! The statements that differ between dialects. Pure text; nothing is sent from here. Values that come from outside are quoted so
//! that no `sql_mode` changes their meaning, and what cannot be quoted that way is refused.

use std::time::Duration;

use millrace_schemas::gtid::{GtidSet, mysql::Gtid};

use super::Dialect;

/// The longest time-out that both servers take for semi-synchronous replication, about 50 days: with it a commit waits for
/// its acknowledgement for ever in practice, which is what lossless means.
pub const SEMI_SYNC_TIMEOUT_MAX_MS: u64 = 4_294_967_295;

/// How often a source that is silent says that it is alive, and (four times that) when a replica gives it up: so short that
/// a cut shows within two seconds, long enough not to load a quiet fleet.
const HEARTBEAT_SECONDS: &str = "0.5";

/// Where a replica is to replicate from, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name or address of the source's host.
    pub host: String,
    /// The source's port.
    pub port: u16,
    /// The replication account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Whether the connection must be encrypted. Without, MySQL asks the source for its public key to hide the password.
    pub tls: bool,
    /// Whether this server was a primary a moment ago: its own transactions then count as its position (`MariaDB` keeps them
    /// apart from what it replicated).
    pub was_primary: bool,
}

/// Something that a statement of this dialect cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unspeakable {
    /// A text holds a character whose meaning depends on the server's `sql_mode`, or no visible one.
    #[error("the {what} holds a backslash or a control character, which cannot be sent safely; choose another")]
    Text {
        /// What the text was for.
        what: &'static str,
    },
    /// The GTID set belongs to the other flavour, or is no position.
    #[error("`{0}` is no position for this server")]
    Position(String),
    /// `MariaDB` acknowledges with one replica, always.
    #[error("{0} acknowledgements per commit were asked for, and mariadb always waits for exactly one")]
    Acknowledgements(u32),
    /// Only MySQL lets a transaction be given a number.
    #[error("an empty transaction cannot be written on mariadb under a number of another server")]
    EmptyTransaction,
}

impl Dialect {
    /// Whether statements say `REPLICA` (true) or `SLAVE`.
    fn says_replica(self) -> bool {
        self.mysql_from(8, 0, 22)
    }

    fn replica_word(self) -> &'static str {
        if self.says_replica() { "REPLICA" } else { "SLAVE" }
    }

    /// Lists all replication channels, one row each.
    pub fn show_channels(self) -> &'static str {
        match (self.is_mysql(), self.says_replica()) {
            (true, true) => "SHOW REPLICA STATUS",
            (true, false) => "SHOW SLAVE STATUS",
            (false, _) => "SHOW ALL SLAVES STATUS",
        }
    }

    /// Lists the replicas that are attached now and reported themselves.
    pub fn show_attached_replicas(self) -> &'static str {
        if self.says_replica() { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" }
    }

    /// Shows the server's own binlog file and position.
    pub fn show_own_position(self) -> &'static str {
        if self.mysql_from(8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" }
    }

    /// Selects what the server has executed, as columns `executed` (MySQL: all of it; `MariaDB`: its binlog's state) and
    /// `replicated` (`MariaDB` only: its replication position).
    pub fn select_executed(self) -> &'static str {
        if self.is_mysql() {
            "SELECT @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged"
        } else {
            "SELECT @@GLOBAL.gtid_binlog_state AS executed, @@GLOBAL.gtid_slave_pos AS replicated"
        }
    }

    /// Starts the receiver and the applier.
    pub fn start_replication(self) -> String {
        format!("START {}", self.replica_word())
    }

    /// Stops the receiver and the applier.
    pub fn stop_replication(self) -> String {
        format!("STOP {}", self.replica_word())
    }

    /// Stops the receiver alone; what was received goes on being applied.
    pub fn stop_receiver(self) -> String {
        format!("STOP {} IO_THREAD", self.replica_word())
    }

    /// Starts the applier alone, to apply what was received.
    pub fn start_applier(self) -> String {
        format!("START {} SQL_THREAD", self.replica_word())
    }

    /// Forgets the source, its credentials and the relay logs. Only after everything received was applied.
    pub fn forget_source(self) -> String {
        format!("RESET {} ALL", self.replica_word())
    }

    /// Empties the binlog and, on MySQL, the executed set. Only for a server that nobody replicates from.
    pub fn reset_binlog(self) -> &'static str {
        if self.mysql_from(8, 2, 0) { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" }
    }

    /// Points the (stopped) replica at `source`, by GTID.
    pub fn change_source(self, source: &Source) -> Result<String, Unspeakable> {
        let host = quoted("source's host", &source.host)?;
        let user = quoted("replication user", &source.user)?;
        let password = quoted("replication password", &source.password)?;
        let port = source.port;
        let tls = u8::from(source.tls);
        if self.is_mysql() {
            let renamed = self.mysql_from(8, 0, 23);
            let (verb, p) = if renamed { ("CHANGE REPLICATION SOURCE", "SOURCE") } else { ("CHANGE MASTER", "MASTER") };
            let key = if renamed && !source.tls { ", GET_SOURCE_PUBLIC_KEY=1" } else { "" };
            return Ok(format!(
                "{verb} TO {p}_HOST={host}, {p}_PORT={port}, {p}_USER={user}, {p}_PASSWORD={password}, \
                 {p}_AUTO_POSITION=1, {p}_SSL={tls}, {p}_HEARTBEAT_PERIOD={HEARTBEAT_SECONDS}, {p}_CONNECT_RETRY=1, \
                 {p}_RETRY_COUNT=86400{key}"
            ));
        }
        // From 10.10 on a former primary's own transactions are merged into its position by a word; before, by the mode.
        let merges = self.version >= super::Version::new(10, 10, 0);
        let (mode, demote) = match (source.was_primary, merges) {
            (true, true) => ("slave_pos", ", MASTER_DEMOTE_TO_SLAVE=1"),
            (true, false) => ("current_pos", ""),
            (false, _) => ("slave_pos", ""),
        };
        Ok(format!(
            "CHANGE MASTER TO MASTER_HOST={host}, MASTER_PORT={port}, MASTER_USER={user}, MASTER_PASSWORD={password}, \
             MASTER_USE_GTID={mode}, MASTER_SSL={tls}, MASTER_HEARTBEAT_PERIOD={HEARTBEAT_SECONDS}, \
             MASTER_CONNECT_RETRY=1{demote}"
        ))
    }

    /// Points the receiver alone at `source`, while the applier goes on: nothing that was received is thrown away or fetched
    /// again. Only MySQL can, on a channel that finds its place by GTID already; its receiver must be stopped.
    pub fn change_receiver(self, source: &Source) -> Result<Option<String>, Unspeakable> {
        if !self.mysql_from(8, 0, 23) {
            return Ok(None);
        }
        let whole = self.change_source(source)?;
        Ok(Some(whole.replace(" SOURCE_AUTO_POSITION=1,", "")))
    }

    /// Waits until `set` is applied, at most `within`: the first column is 0 when it is.
    pub fn wait_for(self, set: &GtidSet, within: Duration) -> Result<String, Unspeakable> {
        let position = self.position(set)?;
        let seconds = within.as_secs_f64();
        Ok(if self.is_mysql() {
            format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds:.3})")
        } else {
            format!("SELECT MASTER_GTID_WAIT('{position}', {seconds:.3})")
        })
    }

    /// Says that everything in `set` is already here, on a fresh copy of a server that had it.
    pub fn set_position(self, set: &GtidSet) -> Result<String, Unspeakable> {
        let position = self.position(set)?;
        let variable = if self.is_mysql() { "gtid_purged" } else { "gtid_slave_pos" };
        Ok(format!("SET GLOBAL {variable}='{position}'"))
    }

    /// Gives the number `gtid` to an empty transaction, so that a server counts it as executed. All statements in one session;
    /// the last must be sent even if one before fails.
    pub fn write_empty_transaction(self, gtid: &Gtid) -> Result<[String; 4], Unspeakable> {
        if !self.is_mysql() {
            return Err(Unspeakable::EmptyTransaction);
        }
        let next = format!("SET SESSION gtid_next='{gtid}'");
        Ok([next, "BEGIN".into(), "COMMIT".into(), "SET SESSION gtid_next='AUTOMATIC'".into()])
    }

    /// Makes the source side lossless and switches it on: each commit waits for `acknowledgements` members, without limit.
    pub fn enable_semi_sync_source(self, acknowledgements: u32) -> Result<Vec<String>, Unspeakable> {
        let names = self.semi_sync_names();
        let mut statements = vec![
            format!("SET GLOBAL {}='AFTER_SYNC'", names.wait_point),
            format!("SET GLOBAL {}={SEMI_SYNC_TIMEOUT_MAX_MS}", names.timeout),
            format!("SET GLOBAL {}=ON", names.wait_no_replica),
        ];
        match names.wait_for_count {
            Some(name) => statements.push(format!("SET GLOBAL {name}={acknowledgements}")),
            None if acknowledgements != 1 => return Err(Unspeakable::Acknowledgements(acknowledgements)),
            None => {}
        }
        statements.push(format!("SET GLOBAL {}=ON", names.source_enabled));
        Ok(statements)
    }

    /// Switches the source side off. Releases waiting commits with OK: never while one waits.
    pub fn disable_semi_sync_source(self) -> String {
        format!("SET GLOBAL {}=OFF", self.semi_sync_names().source_enabled)
    }

    /// Switches the replica side; a receiver that runs must be restarted to notice.
    pub fn set_semi_sync_replica(self, on: bool) -> String {
        format!("SET GLOBAL {}={}", self.semi_sync_names().replica_enabled, if on { "ON" } else { "OFF" })
    }

    /// The first step of closing, without waiting for any lock: on MySQL it cuts every unprivileged client off, also those whose
    /// commit waits, without OK. (The thread of such a commit goes on waiting all the same.) `MariaDB` has nothing like it:
    /// there the sessions are killed while [`Dialect::make_read_only`] runs.
    pub fn shut_clients_out(self) -> Option<&'static str> {
        self.is_mysql().then_some("SET GLOBAL offline_mode=ON")
    }

    /// Lets clients log in again, on a server that is read-only or is to be opened.
    pub fn let_clients_in(self) -> Option<&'static str> {
        self.is_mysql().then_some("SET GLOBAL offline_mode=OFF")
    }

    /// Refuses all writes from now on. It hangs behind a commit that waits for an acknowledgement: on `MariaDB` until that
    /// session is killed, on MySQL 9.7 for good. So its wait is bounded by the caller, who kills the server if it fails.
    pub fn make_read_only(self) -> &'static str {
        if self.is_mysql() { "SET GLOBAL super_read_only=ON" } else { "SET GLOBAL read_only=ON" }
    }

    /// Opens the server to writes. Only the owner of the epoch sends this.
    pub fn open(self) -> &'static [&'static str] {
        if self.is_mysql() {
            &["SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF", "SET GLOBAL offline_mode=OFF"]
        } else {
            &["SET GLOBAL read_only=OFF"]
        }
    }

    /// Selects what closing is confirmed by: column `closed` is 1 when no client can write.
    pub fn select_closed(self) -> &'static str {
        if self.is_mysql() {
            // While a super_read_only hangs it already shows 1, with read_only still 0.
            "SELECT @@GLOBAL.super_read_only AND @@GLOBAL.read_only AS closed"
        } else {
            "SELECT @@GLOBAL.read_only AS closed"
        }
    }

    /// Lists the ids of all client sessions but this one.
    pub fn list_other_sessions(self) -> &'static str {
        "SELECT ID AS id, USER AS user FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND ID <> 0 \
         AND USER NOT IN ('system user', 'event_scheduler')"
    }

    /// Ends a session without releasing a waiting commit with OK.
    pub fn kill_session(self, id: u64) -> String {
        if self.is_mysql() { format!("KILL CONNECTION {id}") } else { format!("KILL HARD CONNECTION {id}") }
    }

    /// Lists the appliers, by the ids under which [`Dialect::kill_session`] ends them. `None` where an applier always lets
    /// itself be stopped; MySQL's waits a minute for the rest of a transaction of which it has read the beginning.
    pub fn list_appliers(self) -> Option<&'static str> {
        let list = "SELECT PROCESSLIST_ID AS id FROM performance_schema.threads \
             WHERE NAME IN ('thread/sql/replica_sql', 'thread/sql/slave_sql') AND PROCESSLIST_ID IS NOT NULL";
        self.is_mysql().then_some(list)
    }

    fn position(self, set: &GtidSet) -> Result<String, Unspeakable> {
        let position = if set.flavour() == self.flavour { set.position() } else { None };
        position.ok_or_else(|| Unspeakable::Position(set.to_string()))
    }
}

/// A string literal that means the same under every `sql_mode`.
fn quoted(what: &'static str, text: &str) -> Result<String, Unspeakable> {
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Err(Unspeakable::Text { what });
    }
    Ok(format!("'{}'", text.replace('\'', "''")))
}

#[cfg(test)]
mod tests;
