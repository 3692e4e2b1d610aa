//! Stops replication for good, whatever the relay log ends in. In: a server that a step owns, whose receiver was stopped and whose
//! relay log was applied as far as it is needed. Out: both threads stopped. MySQL's applier that has read the beginning of a
//! transaction waits a minute for the rest, which never comes when the source is gone: its thread is killed meanwhile, over a
//! second session. Half a transaction was never acknowledged, so nothing is lost. It must never start such an applier again on
//! the same relay log, where it would stand still: whoever stopped it so must forget the source first.

use std::convert::Infallible;
use std::time::Duration;

use millrace_mysql::{Error, Session, Target};

use super::{Owned, STOP_WITHIN};

/// 50 ms: an applier that may stop does so in some 10 ms; one that waits is cut off before a failover feels it.
const CUT_OFF_EVERY: Duration = Duration::from_millis(50);

/// Whether an applier let itself be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It did: what it had not applied may still be applied.
    Whole,
    /// It may have been killed in the middle of a transaction: its relay log must be thrown away.
    CutOff,
}

/// Stops the receiver and the applier.
pub(super) async fn stop_replication(server: &mut Owned) -> Result<Stopped, Error> {
    let stop = server.dialect.stop_replication();
    let Some(list) = server.dialect.list_appliers() else {
        server.session.execute_within(&stop, STOP_WITHIN).await?;
        return Ok(Stopped::Whole);
    };
    let mut cut_off = Stopped::Whole;
    let target = server.target.clone();
    let stopped = tokio::select! {
        stopped = server.session.execute_within(&stop, STOP_WITHIN) => stopped,
        never = cut_off_appliers(&target, list, server.dialect, &mut cut_off) => match never {},
    };
    stopped.map(|()| cut_off)
}

/// Kills the appliers again and again, since a kill that comes before the stop has its hands on them has no effect on it.
async fn cut_off_appliers(
    target: &Target,
    list: &str,
    dialect: millrace_mysql::Dialect,
    cut_off: &mut Stopped,
) -> Infallible {
    let mut session: Option<Session> = None;
    loop {
        tokio::time::sleep(CUT_OFF_EVERY).await;
        if session.as_ref().is_none_or(|session| !session.is_usable()) {
            session = Session::open(target).await.ok(); // tried again, as long as the stop itself is waited for
        }
        let Some(session) = &mut session else { continue };
        for row in session.rows(list).await.unwrap_or_default() {
            if let Some(id) = row.number("id") {
                *cut_off = Stopped::CutOff;
                let _ = session.execute(&dialect.kill_session(id)).await; // it may have gone by itself
            }
        }
    }
}
