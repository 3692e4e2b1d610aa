//! What a server offers to replicas: what it has executed, where its binlog stands, who is attached.
//! In: a session. Out: [`Source`]. The executed set is everything that the server holds, whoever wrote it first.

use millrace_schemas::gtid::GtidSet;

use crate::connect::Session;
use crate::error::Error;
use crate::flavour::Dialect;

/// `ER_SPECIFIC_ACCESS_DENIED_ERROR`: the account lacks a privilege, which the message names.
const ACCESS_DENIED: u16 = 1227;

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

/// The replicas that are attached to a server, or why nobody knows them. Not knowing them is never the same as there being none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachedReplicas {
    /// All that are attached now.
    Known(Vec<Attached>),
    /// The account may not ask.
    Denied {
        /// What the server said, with the privilege that it misses.
        why: Box<str>,
    },
}

impl AttachedReplicas {
    /// Those that are known to be attached, which proves nothing about others.
    pub fn known(&self) -> &[Attached] {
        match self {
            Self::Known(replicas) => replicas,
            Self::Denied { .. } => &[],
        }
    }

    /// Why they are not known, if they are not.
    pub fn denied(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Denied { why } => Some(why),
        }
    }
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
    pub attached: AttachedReplicas,
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
    let attached = attached(session, dialect).await?;
    Ok(Source {
        executed,
        binlog_state,
        purged,
        file: position.as_ref().and_then(|row| row.text("File")),
        position: position.as_ref().and_then(|row| row.number("Position")),
        attached,
    })
}

/// Listing replicas takes a privilege that allows far more than looking, so an account may rightly lack it.
async fn attached(session: &mut Session, dialect: Dialect) -> Result<AttachedReplicas, Error> {
    let rows = match session.rows(dialect.show_attached_replicas()).await {
        Ok(rows) => rows,
        Err(Error::Server { code: ACCESS_DENIED, message, .. }) => {
            return Ok(AttachedReplicas::Denied { why: message });
        }
        Err(error) => return Err(error),
    };
    let attached = rows.iter().filter_map(|row| {
        Some(Attached {
            server_id: u32::try_from(row.number("Server_Id")?).ok()?,
            host: row.text("Host").filter(|host| !host.is_empty()),
            port: u16::try_from(row.number("Port")?).ok()?,
            server_uuid: row.text_of(&["Replica_UUID", "Slave_UUID"]),
        })
    });
    Ok(AttachedReplicas::Known(attached.collect()))
}
