//! Closing a server, so that it cannot acknowledge a write any more. In: how to reach it, and how long that may take. Out: closed
//! and confirmed, or the reason why not, after which only SIGKILL is safe. Everything at once, because each part alone hangs
//! behind a commit that waits for an acknowledgement. Never: SIGTERM, KILL QUERY, or semi-sync off, each of which can report
//! such a commit to its client as done.

use std::time::Duration;

use millrace_mysql::{Dialect, Error, Session, Target};

/// 20 ms between rounds of killing: sessions that log in meanwhile are caught, and the server is not kept busy with it.
const KILL_EVERY: Duration = Duration::from_millis(20);

/// A server was not confirmed closed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotClosed {
    /// Something it answered.
    #[error("not closed: {0}")]
    Server(#[from] Error),
    /// It did not finish in time.
    #[error("not closed within {0:?}: something holds its locks, or it hangs")]
    Late(Duration),
    /// It finished, and still says that it is open.
    #[error("not closed: every statement succeeded, and yet it takes writes")]
    StillOpen,
}

/// Closes the server within `within`.
pub async fn close(target: &Target, within: Duration) -> Result<(), NotClosed> {
    tokio::time::timeout(within, closing(target)).await.unwrap_or(Err(NotClosed::Late(within)))
}

async fn closing(target: &Target) -> Result<(), NotClosed> {
    let mut hands = Session::open(target).await?;
    let dialect = Dialect::detect(&mut hands).await?;
    if let Some(statement) = dialect.shut_clients_out() {
        hands.execute(statement).await?;
    }
    let mut closer = Session::open(target).await?;
    // An orphaned statement that goes on waiting would close the server at some later time, by surprise.
    closer.execute("SET SESSION lock_wait_timeout=1").await?;
    let spared = u64::from(closer.id());
    tokio::select! {
        closed = closer.execute(dialect.make_read_only()) => closed?,
        failed = kill_all(&mut hands, dialect, spared) => return Err(failed.into()),
    }
    if says_closed(target, dialect).await? { Ok(()) } else { Err(NotClosed::StillOpen) }
}

/// Asks in a session of its own: the killing one was interrupted between a question and its answer.
async fn says_closed(target: &Target, dialect: Dialect) -> Result<bool, Error> {
    let mut session = Session::open(target).await?;
    Ok(session.value(dialect.select_closed()).await?.as_deref() == Some("1"))
}

/// Ends every session but its own and `spared`, again and again; returns only when it cannot go on.
async fn kill_all(hands: &mut Session, dialect: Dialect, spared: u64) -> Error {
    loop {
        let sessions = match hands.rows(dialect.list_other_sessions()).await {
            Ok(sessions) => sessions,
            Err(error) => return error,
        };
        for id in sessions.iter().filter_map(|row| row.number("id")).filter(|id| *id != spared) {
            // An error from the server itself means that the session had ended already.
            if let Err(error) = hands.execute(&dialect.kill_session(id)).await
                && error.code().is_none()
            {
                return error;
            }
        }
        tokio::time::sleep(KILL_EVERY).await;
    }
}
