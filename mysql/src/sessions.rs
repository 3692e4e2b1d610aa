//! The server's list of its sessions: whose each connection is. Only an account with PROCESS sees those of others.

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
