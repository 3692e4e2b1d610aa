//! What a server says of itself and of its place in replication, as values. In: a session. Out: [`Status`], complete or an error.
//! It reports and does not judge: thread states, for example, are no evidence of anything, and whoever decides knows that.

pub mod replica;
pub mod semi_sync;
pub mod server;
pub mod source;

use crate::connect::Session;
use crate::counters::Counters;
use crate::error::Error;
use crate::flavour::Dialect;
use crate::settings::Variables;

pub use replica::Channel;
pub use semi_sync::SemiSync;
pub use server::Server;
pub use source::Source;

/// Everything that one sample of a server holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Identity, switches, paths.
    pub server: Server,
    /// What it has executed and where its binlog stands.
    pub source: Source,
    /// Both sides of semi-synchronous replication.
    pub semi_sync: SemiSync,
    /// Its replication channels; empty for a server that replicates from nobody.
    pub channels: Vec<Channel>,
    /// Its counters.
    pub counters: Counters,
}

/// Reads it all, in seven statements. The parts are milliseconds apart: a set read later may hold more than one read earlier.
pub async fn read(session: &mut Session) -> Result<Status, Error> {
    let dialect = Dialect::detect(session).await?;
    let variables = Variables::read(session).await?;
    let counters = Counters::read(session).await?;
    let server = Server::of(dialect, &variables, &counters)
        .ok_or_else(|| session.unreadable("SHOW GLOBAL VARIABLES", "server_id, port or read_only is missing"))?;
    let channels = replica::read(session, dialect).await?;
    let source = source::read(session, dialect).await?;
    let semi_sync = semi_sync::read(session, &variables).await?;
    Ok(Status { server, source, semi_sync, channels, counters })
}
