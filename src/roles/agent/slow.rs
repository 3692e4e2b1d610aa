//! Follows the slow log of one instance and publishes its entries to `slow-queries`, literals masked. At most one entry per
//! digest and second is sent; how many were not is told by the next one that is.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_collectors::slow_log::{Dialect, Follower, Found, Position, SlowEntry, Start};
use millrace_schemas::digest::{Scanner, mask};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::DigestId;
use millrace_schemas::metrics::{SLOW_ENTRIES, SLOW_SUPPRESSED, SLOW_UNREADABLE};
use millrace_schemas::topics::slow_queries::{SQL_BYTES_MAX, Slow, SlowQuery};

use super::{Agent, Place};

/// 200 ms between looks at the file: a slow statement is shown within half a second of its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One entry per digest and second: ten slow statements a second tell no more than one and their number.
const PER_DIGEST: Duration = Duration::from_secs(1);
/// 2,000 digests are remembered for that; beyond, all are forgotten and each may be sent once more.
const DIGESTS_MAX: usize = 2_000;

struct Slowly {
    agent: Arc<Agent>,
    place: Place,
    scanner: Scanner,
    sent: HashMap<DigestId, (Instant, u64)>,
}

pub(super) fn start(agent: &Arc<Agent>, place: &Place, flavour: Flavour, file: PathBuf) {
    let dialect = match flavour {
        Flavour::MySql => Dialect::MySql,
        Flavour::MariaDb => Dialect::MariaDb,
    };
    let mut slowly =
        Slowly { agent: Arc::clone(agent), place: place.clone(), scanner: Scanner::new(), sent: HashMap::new() };
    let place_file = agent.state.join(format!("{}.slow-log", place.instance));
    let run = move || {
        // What was written while nobody looked is read; the first time, only what comes from now on.
        let known = fs::read(&place_file).ok().and_then(|bytes| serde_json::from_slice::<Position>(&bytes).ok());
        let start = known.map_or(Start::End, Start::At);
        let mut follower = Follower::new(file, dialect, start);
        let mut stored = None;
        while !*slowly.agent.stop.borrow() {
            match follower.poll(|found| slowly.take(found)) {
                Ok(polled) if polled.more => continue,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the slow log cannot be read yet"),
            }
            let position = follower.position();
            if position != stored
                && let Some(at) = &position
            {
                // Not fsynced: after a power cut some entries are read again, under the same numbers of the file.
                let _ = serde_json::to_vec(at).map(|bytes| fs::write(&place_file, bytes));
                stored = position;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("slow-log".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread for the slow log; everything else runs");
    }
}

impl Slowly {
    fn take(&mut self, found: Found) {
        let instance = self.place.instance.as_str();
        match found {
            Found::Entry(entry) => {
                self.agent.metrics.add(&SLOW_ENTRIES, &[instance], 1);
                if entry.admin_command.is_none() {
                    self.publish(&entry);
                }
            }
            Found::Unreadable(unreadable) => {
                self.agent.metrics.add(&SLOW_UNREADABLE, &[instance], 1);
                tracing::warn!(%instance, offset = unreadable.offset, reason = %unreadable.reason, "an entry of the slow log cannot be read");
            }
        }
    }

    fn publish(&mut self, entry: &SlowEntry) {
        let digest = self.scanner.id_of(&entry.sql);
        if self.sent.len() >= DIGESTS_MAX {
            self.sent.clear();
        }
        let now = Instant::now();
        let suppressed = match self.sent.get_mut(&digest) {
            Some((at, suppressed)) if now.duration_since(*at) < PER_DIGEST => {
                *suppressed += 1;
                self.agent.metrics.add(&SLOW_SUPPRESSED, &[self.place.instance.as_str()], 1);
                return;
            }
            Some((_, suppressed)) => *suppressed,
            None => 0,
        };
        self.sent.insert(digest, (now, 0));
        let mut sql = mask(&entry.sql);
        let mut end = sql.len().min(SQL_BYTES_MAX);
        while !sql.is_char_boundary(end) {
            end -= 1;
        }
        sql.truncate(end);
        let query = SlowQuery {
            ts: entry.ts,
            user: entry.user.clone(),
            host: if entry.host.is_empty() { entry.ip.clone() } else { entry.host.clone() },
            schema: entry.schema.clone(),
            query_time_us: entry.query_time_us,
            lock_time_us: entry.lock_time_us,
            rows_sent: entry.rows_sent,
            rows_examined: entry.rows_examined,
            digest,
            sql,
            sql_bytes: entry.sql_bytes,
            suppressed,
        };
        // Not waited for: a log that grows must not be read ever later, and the bus counts what it refuses.
        drop(self.agent.speaker.say(self.place.subject(), None, Slow::Query(query)));
    }
}
