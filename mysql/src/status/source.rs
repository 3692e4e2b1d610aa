//! What a server offers to replicas: what it has executed, where its binlog stands, who is attached.
//! In: a session. Out: [`Source`]. The executed set is everything that the server holds, whoever wrote it first.

use millrace_schemas::gtid::GtidSet;

use crate::connect::Session;
use crate::error::Error;
use crate::flavour::Dialect;

/// A replica that is attached to a server now, as it reported itself. A replica that is gone stays listed until the server
/// notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its `server_id`.
    pub server_id: u32,
    /// Its `report_host`, if it has one.
    pub host: Option<String>,
    /// Its `report_port`.
    pub port: u16,
    /// Its `server_uuid` (MySQL).
    pub server_uuid: Option<String>,
}

/// What a server has and offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// All transactions that it holds: `gtid_executed`; on `MariaDB` its binlog's state and its replication position together.
    pub executed: GtidSet,
    /// `MariaDB`: the state of its binlog alone, which names the last transaction of each server that wrote into it.
    pub binlog_state: Option<GtidSet>,
    /// MySQL: what it holds but can no longer send, since its binlogs are gone.
    pub purged: Option<GtidSet>,
    /// The binlog file that it writes to; `None` without a binlog.
    pub file: Option<String>,
    /// The position in that file.
    pub position: Option<u64>,
    /// The replicas that are attached to it.
    pub attached: Vec<Attached>,
}

/// Asks a server.
pub async fn read(session: &mut Session, dialect: Dialect) -> Result<Source, Error> {
    let statement = dialect.select_executed();
    let row = session.first(statement).await?;
    let set = |name: &str| {
        let Some(text) = row.as_ref().and_then(|row| row.text(name)) else { return Ok(None) };
        let set = GtidSet::parse(dialect.flavour, &text);
        set.map(Some).map_err(|error| session.unreadable(statement, format_args!("{name}: {error}")))
    };
    let executed = set("executed")?.ok_or_else(|| session.unreadable(statement, "the executed set is missing"))?;
    let purged = set("purged")?;
    let replicated = set("replicated")?;
    let (executed, binlog_state) = match replicated {
        None => (executed, None),
        Some(replicated) => {
            let all = executed.union(&replicated).map_err(|error| session.unreadable(statement, error))?;
            (all, Some(executed))
        }
    };
    let position = session.first(dialect.show_own_position()).await?;
    let attached = session.rows(dialect.show_attached_replicas()).await?;
    let attached = attached.iter().filter_map(|row| {
        Some(Attached {
            server_id: u32::try_from(row.number("Server_Id")?).ok()?,
            host: row.text("Host").filter(|host| !host.is_empty()),
            port: u16::try_from(row.number("Port")?).ok()?,
            server_uuid: row.text_of(&["Replica_UUID", "Slave_UUID"]),
        })
    });
    Ok(Source {
        executed,
        binlog_state,
        purged,
        file: position.as_ref().and_then(|row| row.text("File")),
        position: position.as_ref().and_then(|row| row.number("Position")),
        attached: attached.collect(),
    })
}
