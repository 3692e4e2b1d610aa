//! The server's list of its sessions: whose each connection is, and how many statements each user has sent, by whatever way. Only an
//! account with PROCESS sees the sessions of others.

use crate::connect::Session;
use crate::error::Error;
use crate::rows::Row;

/// A client's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its number in the server.
    pub id: u32,
    /// The user that it logged in as.
    pub user: String,
    /// Where it comes from, as the server says it: address or name, and port.
    pub host: String,
    /// The current schema.
    pub schema: Option<String>,
}

/// Threads of the server itself, and who has not logged in yet.
const NO_CLIENTS: &str = "'system user', 'event_scheduler', 'unauthenticated user'";

/// Lists the sessions that came over TCP: a socket has no port.
pub async fn over_tcp(session: &mut Session) -> Result<Vec<Client>, Error> {
    let statement = format!(
        "SELECT ID, USER, HOST, DB FROM information_schema.PROCESSLIST WHERE HOST LIKE '%:%' AND USER NOT IN ({NO_CLIENTS})"
    );
    let rows = session.rows(&statement).await?;
    rows.iter()
        .map(|row| client(row).ok_or_else(|| session.unreadable(&statement, "an id, user or host is missing")))
        .collect()
}

fn client(row: &Row) -> Option<Client> {
    Some(Client {
        id: u32::try_from(row.number("ID")?).ok()?,
        user: row.text("USER")?,
        host: row.text("HOST")?,
        schema: row.text("DB"),
    })
}

/// Statements that clients sent, each as the server counts it: also each one of a request with several, and executions of prepared
/// ones; not what procedures do inside.
const BY_USER: &str = "SELECT USER, SUM(COUNT_STAR) AS statements \
     FROM performance_schema.events_statements_summary_by_user_by_event_name \
     WHERE USER IS NOT NULL AND (EVENT_NAME LIKE 'statement/sql/%' OR EVENT_NAME = 'statement/com/Execute') GROUP BY USER";

/// How many statements each user has sent since the server started, or since its table was emptied: exactly, since each session counts
/// its own. Where `performance_schema` is off the list is empty, which says nothing of how many there were.
pub async fn statements_by_user(session: &mut Session) -> Result<Vec<(String, u64)>, Error> {
    let rows = session.rows(BY_USER).await?;
    Ok(rows.iter().filter_map(|row| Some((row.text("USER")?, row.number("statements")?))).collect())
}
