//! Follows a slow log that is a table, where there is no file to follow: over a session of its own, in bounded looks, each of which
//! scans the table. How long that takes is told as a metric, and decides how often it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_collectors::slow_log::{Looked, TableFollower, TablePosition};
use millrace_schemas::metrics::{SLOW_BROKEN, SLOW_TABLE_SECONDS};

use super::{ANSWERS_WITHIN, Bookmark, LOOK_EVERY, Rate, Slowly};
use crate::roles::agent::{Agent, Place, stopped};

/// 60 s after a look that failed: a server that takes longer for a scan than is waited for still scans.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Follows the table from now on.
pub(in crate::roles::agent) fn start(agent: &Arc<Agent>, place: &Place) -> Rate {
    let slowly = Slowly::new(agent, place);
    let rate = slowly.rate.clone();
    tokio::spawn(run(slowly));
    rate
}

async fn run(mut slowly: Slowly) {
    let name = format!("{}.slow-log-table", slowly.place.instance);
    let mut bookmark = Bookmark::of(slowly.agent.state.join(name));
    // What was written while nobody looked is read; the first time, only what comes from now on.
    let mut follower = TableFollower::new(Arc::clone(&slowly.place.log_in), bookmark.stored());
    let mut stop = slowly.agent.stop.clone();
    let (mut next, mut failing) = (Instant::now(), false);
    while !*stop.borrow() {
        if Instant::now() >= next {
            let looked = tokio::select! {
                looked = follower.look(|found| slowly.take(found)) => looked,
                () = stopped(&mut stop) => break,
            };
            next = Instant::now() + looked.as_ref().map_or(AGAIN_AFTER, Looked::rest);
            match looked {
                Ok(looked) => {
                    failing = false;
                    slowly.looked(looked);
                }
                // A refused account is said by the heartbeat.
                Err(error) if failing || error.is_credentials() => {
                    tracing::debug!(%error, "mysql.slow_log is not read");
                }
                Err(error) => {
                    failing = true;
                    let instance = &slowly.place.instance;
                    tracing::warn!(%instance, %error, "mysql.slow_log is not read: it needs SELECT on the table, and a table that takes too long to scan must be emptied");
                }
            }
        }
        bookmark.advance(slowly.behind(follower.position()), &mut slowly.unanswered);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopped(&mut stop) => {}
        }
    }
    finish(&mut slowly, &mut bookmark, follower.position()).await;
}

/// Sends what was read, and waits a while for the answers.
async fn finish(slowly: &mut Slowly, bookmark: &mut Bookmark<TablePosition>, at: Option<TablePosition>) {
    slowly.tell(true);
    let until = Instant::now() + ANSWERS_WITHIN;
    while bookmark.is_behind(at) && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY / 10).await;
        bookmark.advance(at, &mut slowly.unanswered);
    }
}

impl Slowly {
    /// Tells of what a look at the table found, apart from its entries, and sends their rows: the next look comes later.
    fn looked(&mut self, looked: Looked) {
        let instance = self.place.instance.as_str();
        self.agent.metrics.set(&SLOW_TABLE_SECONDS, &[instance], looked.took.as_secs_f64());
        if looked.emptied {
            self.agent.metrics.add(&SLOW_BROKEN, &[instance], 1);
            tracing::warn!(%instance, "mysql.slow_log was emptied: what came after the last row read is gone");
        }
        self.tell(true);
    }
}
