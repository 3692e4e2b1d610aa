//! Follows the slow log of one instance and publishes its entries to `slow-queries`, literals masked. At most one entry per
//! digest and second is sent; how many were not is told by the next one that is.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_collectors::slow_log::{Dialect, Follower, Found, Polled, Position, SlowEntry, Start};
use millrace_schemas::digest::{Scanner, Syntax, mask};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::DigestId;
use millrace_schemas::metrics::{SLOW_BROKEN, SLOW_ENTRIES, SLOW_SUPPRESSED, SLOW_UNREADABLE};
use millrace_schemas::topics::slow_queries::{SQL_BYTES_MAX, Slow, SlowQuery};

use super::{Agent, Place};
use crate::bus::Receipt;

/// 200 ms between looks at the file: a slow statement is shown within half a second of its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One entry per digest and second: ten slow statements a second tell no more than one and their number.
const PER_DIGEST: Duration = Duration::from_secs(1);
/// 2 s at the end for answers that are on their way.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// 2,000 digests are remembered for that; beyond, all are forgotten and each may be sent once more.
const DIGESTS_MAX: usize = 2_000;

struct Slowly {
    agent: Arc<Agent>,
    place: Place,
    scanner: Scanner,
    sent: HashMap<DigestId, (Instant, u64)>,
    /// Of entries that the bus has not answered for, when it was last looked.
    unanswered: Vec<Receipt>,
}

/// How far the log was published, on disk.
struct Bookmark {
    file: PathBuf,
    stored: Option<Position>,
    /// The place to store once these are answered.
    next: Option<(Position, Vec<Receipt>)>,
}

pub(super) fn start(agent: &Arc<Agent>, place: &Place, flavour: Flavour, file: PathBuf) {
    let dialect = match flavour {
        Flavour::MySql => Dialect::MySql,
        Flavour::MariaDb => Dialect::MariaDb,
    };
    let (scanner, sent, unanswered) = (Scanner::new(), HashMap::new(), Vec::new());
    let mut slowly = Slowly { agent: Arc::clone(agent), place: place.clone(), scanner, sent, unanswered };
    let mut bookmark = Bookmark::of(agent.state.join(format!("{}.slow-log", place.instance)));
    let run = move || {
        // What was written while nobody looked is read; the first time, only what comes from now on.
        let start = bookmark.stored.map_or(Start::End, Start::At);
        let mut follower = Follower::new(file, dialect, start);
        while !*slowly.agent.stop.borrow() {
            match follower.poll(|found| slowly.take(found)) {
                Ok(polled) => {
                    slowly.look(polled);
                    if polled.more {
                        continue;
                    }
                }
                Err(error) => tracing::debug!(%error, "the slow log cannot be read yet"),
            }
            bookmark.advance(follower.position(), &mut slowly.unanswered);
            std::thread::sleep(LOOK_EVERY);
        }
        let until = Instant::now() + ANSWERS_WITHIN;
        while bookmark.is_behind(follower.position()) && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY / 10);
            bookmark.advance(follower.position(), &mut slowly.unanswered);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("slow-log".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread for the slow log; everything else runs");
    }
}

impl Bookmark {
    fn of(file: PathBuf) -> Self {
        let stored = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file, stored, next: None }
    }

    fn is_behind(&self, position: Option<Position>) -> bool {
        position.is_some() && position != self.stored
    }

    /// Stores a place once all entries before it are answered for: what was refused is counted by the bus, what was never
    /// answered is read again by the next run. `now` is the place behind all entries of `unanswered`.
    fn advance(&mut self, now: Option<Position>, unanswered: &mut Vec<Receipt>) {
        if self.next.is_none()
            && self.is_behind(now)
            && let Some(now) = now
        {
            self.next = Some((now, std::mem::take(unanswered)));
        }
        let Some((position, receipts)) = &mut self.next else { return };
        receipts.retain_mut(|receipt| receipt.answer().is_none());
        if receipts.is_empty() {
            // Not fsynced: after a power cut some entries are read again.
            let _ = serde_json::to_vec(position).map(|bytes| fs::write(&self.file, bytes));
            self.stored = Some(*position);
            self.next = None;
        }
    }
}

impl Slowly {
    /// Tells of what a look at the file found, apart from its entries.
    fn look(&self, polled: Polled) {
        let instance = self.place.instance.as_str();
        if polled.broken {
            self.agent.metrics.add(&SLOW_BROKEN, &[instance], 1);
            tracing::warn!(%instance, "the slow log was cut off or removed, and no copy is beside it: what came after the last entry read is gone");
        }
    }

    fn take(&mut self, found: Found<'_>) {
        let instance = self.place.instance.as_str();
        match found {
            Found::Entry(entry) => {
                self.agent.metrics.add(&SLOW_ENTRIES, &[instance], 1);
                if entry.admin_command.is_none() {
                    self.publish(entry);
                }
            }
            Found::Unreadable(unreadable) => {
                self.agent.metrics.add(&SLOW_UNREADABLE, &[instance], 1);
                tracing::warn!(%instance, offset = unreadable.offset, reason = %unreadable.reason, "an entry of the slow log cannot be read");
            }
        }
    }

    fn publish(&mut self, entry: &SlowEntry) {
        let digest = self.scanner.id_of(entry.sure_sql());
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
        let mut sql = mask(entry.sure_sql(), Syntax::default());
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
        self.unanswered.push(self.agent.speaker.say(self.place.subject(), None, Slow::Query(query)));
    }
}
