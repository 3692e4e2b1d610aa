//! Replication channels, as the replica reports them. In: `SHOW REPLICA STATUS` in any dialect. Out: one [`Channel`] each.
//! That a thread runs proves nothing about its source: a stopped source leaves it running until the network time-out.

use millrace_schemas::gtid::{GtidError, GtidSet};

use crate::connect::Session;
use crate::error::Error;
use crate::flavour::Dialect;
use crate::rows::Row;

/// What the receiver (I/O thread) says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// It has a connection.
    Running,
    /// It tries to get one.
    Connecting,
    /// It was stopped, or gave up after an error.
    Stopped,
}

/// An error that stopped a thread, or that it retries after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadError {
    /// The server's error code.
    pub code: u64,
    /// The server's words.
    pub message: String,
}

/// One replication channel of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name; empty for the default channel.
    pub name: String,
    /// The host that it replicates from.
    pub source_host: String,
    /// The port that it replicates from.
    pub source_port: u16,
    /// The account that it uses.
    pub source_user: Option<String>,
    /// `server_id` of the source, once it was connected.
    pub source_server_id: Option<u32>,
    /// `server_uuid` of the source (MySQL), once it was connected.
    pub source_server_uuid: Option<String>,
    /// The receiver.
    pub receiver: Receiver,
    /// Whether the applier (SQL thread) runs.
    pub applier_running: bool,
    /// What was received. MySQL: since the relay logs were last reset, so a part of the history; `MariaDB`: the position.
    pub received: GtidSet,
    /// What was applied and is kept: `gtid_executed` of the replica, or `gtid_slave_pos`.
    pub executed: GtidSet,
    /// What stopped the receiver.
    pub receiver_error: Option<ThreadError>,
    /// What stopped the applier.
    pub applier_error: Option<ThreadError>,
    /// The server's own idea of its delay, in whole seconds; NULL when it has none. The heartbeat row is the measure.
    pub seconds_behind: Option<u64>,
    /// The deliberate delay.
    pub delay_seconds: u64,
    /// The source's binlog file and the position up to which it was received.
    pub received_position: Option<(String, u64)>,
    /// The source's binlog file and the position up to which it was applied.
    pub applied_position: Option<(String, u64)>,
    /// The relay log file and position that the applier reads at.
    pub relay_position: Option<(String, u64)>,
    /// Bytes of relay logs that lie on disk.
    pub relay_bytes: Option<u64>,
    /// Whether it finds its place by GTID.
    pub auto_position: bool,
}

/// Asks a server for all its channels.
pub async fn read(session: &mut Session, dialect: Dialect) -> Result<Vec<Channel>, Error> {
    let statement = dialect.show_channels();
    let rows = session.rows(statement).await?;
    // A channel without a source is what remains of a reset one.
    let rows = rows.iter().filter(|row| row.text_of(&SOURCE_HOST).is_some_and(|host| !host.is_empty()));
    rows.map(|row| channel_of(row, dialect).map_err(|why| session.unreadable(statement, why))).collect()
}

const SOURCE_HOST: [&str; 2] = ["Source_Host", "Master_Host"];

fn channel_of(row: &Row, dialect: Dialect) -> Result<Channel, String> {
    let missing = |column: &str| format!("column {column} is missing or of another type");
    let text = |names: &[&str]| row.text_of(names).ok_or_else(|| missing(names[0]));
    let set = |names: &[&str]| parse_set(dialect, row.text_of(names)).map_err(|error| format!("{}: {error}", names[0]));
    Ok(Channel {
        name: row.text_of(&["Channel_Name", "Connection_name"]).unwrap_or_default(),
        source_host: text(&SOURCE_HOST)?,
        source_port: row
            .number_of(&["Source_Port", "Master_Port"])
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| missing("Source_Port"))?,
        source_user: row.text_of(&["Source_User", "Master_User"]).filter(|user| !user.is_empty()),
        source_server_id: row
            .number_of(&["Source_Server_Id", "Master_Server_Id"])
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| *id != 0),
        source_server_uuid: row.text_of(&["Source_UUID", "Master_UUID"]).filter(|uuid| !uuid.is_empty()),
        receiver: match text(&["Replica_IO_Running", "Slave_IO_Running"])?.as_str() {
            "Yes" => Receiver::Running,
            "No" => Receiver::Stopped,
            // "Connecting", and MariaDB's "Preparing": started, and without a stream yet.
            _ => Receiver::Connecting,
        },
        applier_running: text(&["Replica_SQL_Running", "Slave_SQL_Running"])? == "Yes",
        received: set(&["Retrieved_Gtid_Set", "Gtid_IO_Pos"])?,
        executed: set(&["Executed_Gtid_Set", "Gtid_Slave_Pos"])?,
        receiver_error: error_of(row, "Last_IO_Errno", "Last_IO_Error"),
        applier_error: error_of(row, "Last_SQL_Errno", "Last_SQL_Error"),
        seconds_behind: row.number_of(&["Seconds_Behind_Source", "Seconds_Behind_Master"]),
        delay_seconds: row.number("SQL_Delay").unwrap_or(0),
        received_position: position_of(
            row,
            &["Source_Log_File", "Master_Log_File"],
            &["Read_Source_Log_Pos", "Read_Master_Log_Pos"],
        ),
        applied_position: position_of(
            row,
            &["Relay_Source_Log_File", "Relay_Master_Log_File"],
            &["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"],
        ),
        relay_position: position_of(row, &["Relay_Log_File"], &["Relay_Log_Pos"]),
        relay_bytes: row.number("Relay_Log_Space"),
        auto_position: row.number("Auto_Position") == Some(1)
            || row.text("Using_Gtid").is_some_and(|mode| mode.ends_with("_Pos")),
    })
}

fn parse_set(dialect: Dialect, text: Option<String>) -> Result<GtidSet, GtidError> {
    GtidSet::parse(dialect.flavour, &text.unwrap_or_default())
}

fn error_of(row: &Row, code: &str, message: &str) -> Option<ThreadError> {
    let code = row.number(code).filter(|code| *code != 0)?;
    Some(ThreadError { code, message: row.text(message).unwrap_or_default() })
}

fn position_of(row: &Row, file: &[&str], position: &[&str]) -> Option<(String, u64)> {
    row.text_of(file).filter(|file| !file.is_empty()).zip(row.number_of(position))
}
