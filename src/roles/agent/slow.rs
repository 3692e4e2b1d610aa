//! Follows the slow log of one instance: its entries to `slow-queries`, literals masked, and what they add up to as rows of
//! `queries` with the slow log as their source. At most one entry per digest and second is sent; how many were not is told by
//! the next one that is, and all are in the rows.

mod bookmark;
mod table;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use millrace_collectors::slow_log::{Dialect, Follower, Found, Polled, Rows, SlowEntry, Start, factor};
use millrace_schemas::digest::mask;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::DigestId;
use millrace_schemas::metrics::{
    SLOW_BROKEN, SLOW_ENTRIES, SLOW_FACTOR, SLOW_SUPPRESSED, SLOW_UNREADABLE, SLOW_UNSENT,
};
use millrace_schemas::topics::queries;
use millrace_schemas::topics::slow_queries::{SQL_BYTES_MAX, Slow, SlowQuery};

use super::capture::{batch, entry, fleet};
use super::{Agent, Place};
use crate::bus::Receipt;
use bookmark::Bookmark;
pub(super) use table::start as start_table;

/// 200 ms between looks at the file: a slow statement is shown within half a second of its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// One entry per digest and second: ten slow statements a second tell no more than one and their number.
const PER_DIGEST: Duration = Duration::from_secs(1);
/// 1 s: rows are of seconds, and a log that never rests must not keep them back for longer.
const ROWS_WITHIN: Duration = Duration::from_secs(1);
/// 2 s at the end for answers that are on their way.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// 2,000 digests are remembered for that; beyond, all are forgotten and each may be sent once more.
const DIGESTS_MAX: usize = 2_000;

/// How many statements each stands for that a server logs, as it says now. What is read is marked with what held when it was
/// read: of what a server wrote before the agent looked nobody knows what it left out.
#[derive(Debug, Clone)]
pub(super) struct Rate(Arc<AtomicU32>);

impl Rate {
    pub(super) fn set(&self, agent: &Agent, place: &Place, rate: Option<u64>) {
        let rate = u32::try_from(rate.unwrap_or(1)).unwrap_or(u32::MAX).max(1);
        self.0.store(rate, Ordering::Relaxed);
        agent.metrics.set(&SLOW_FACTOR, &[place.instance.as_str()], f64::from(rate));
    }
}

/// What becomes of entries, wherever they come from.
struct Slowly {
    agent: Arc<Agent>,
    place: Place,
    rate: Rate,
    rows: Rows,
    /// Since when rows wait to be sent.
    waiting: Option<Instant>,
    /// How many batches of rows were sent: their sequence.
    number: u64,
    sent: HashMap<DigestId, (Instant, u64)>,
    /// Of what the bus has not answered for, when it was last looked.
    unanswered: Vec<Receipt>,
}

/// Follows the log in `file` from now on.
pub(super) fn start(agent: &Arc<Agent>, place: &Place, flavour: Flavour, file: PathBuf) -> Rate {
    let dialect = match flavour {
        Flavour::MySql => Dialect::MySql,
        Flavour::MariaDb => Dialect::MariaDb,
    };
    let mut slowly = Slowly::new(agent, place);
    let rate = slowly.rate.clone();
    let mut bookmark = Bookmark::of(agent.state.join(format!("{}.slow-log", place.instance)));
    let run = move || {
        // What was written while nobody looked is read; the first time, only what comes from now on.
        let start = bookmark.stored().map_or(Start::End, Start::At);
        let mut follower = Follower::new(file, dialect, start);
        while !*slowly.agent.stop.borrow() {
            follower.read_as(slowly.agent.syntax_of(&slowly.place.instance));
            match follower.poll(|found| slowly.take(found)) {
                Ok(polled) => {
                    slowly.look(polled);
                    slowly.tell(polled.bytes == 0);
                    if polled.more {
                        continue;
                    }
                }
                Err(error) => tracing::debug!(%error, "the slow log cannot be read yet"),
            }
            bookmark.advance(slowly.behind(follower.position()), &mut slowly.unanswered);
            std::thread::sleep(LOOK_EVERY);
        }
        slowly.tell(true);
        let until = Instant::now() + ANSWERS_WITHIN;
        while bookmark.is_behind(follower.position()) && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY / 10);
            bookmark.advance(follower.position(), &mut slowly.unanswered);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("slow-log".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread for the slow log; everything else runs");
    }
    rate
}

impl Slowly {
    fn new(agent: &Arc<Agent>, place: &Place) -> Self {
        Self {
            agent: Arc::clone(agent),
            place: place.clone(),
            rate: Rate(Arc::new(AtomicU32::new(1))),
            rows: Rows::new(place.instance.clone()),
            waiting: None,
            number: 0,
            sent: HashMap::new(),
            unanswered: Vec::new(),
        }
    }

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

    /// A place in the log, if everything before it was sent.
    fn behind<P>(&self, position: Option<P>) -> Option<P> {
        position.filter(|_| self.rows.is_empty())
    }

    /// Sends the rows that wait, if nothing more comes at once or they have waited for long enough.
    fn tell(&mut self, quiet: bool) {
        let long = self.waiting.is_some_and(|since| since.elapsed() >= ROWS_WITHIN);
        if self.waiting.is_some() && (quiet || long) {
            self.send();
        }
    }

    fn send(&mut self) {
        self.waiting = None;
        let (agent, instance) = (&self.agent, &self.place.instance);
        for new in self.rows.take_new() {
            // Not waited for: a text that did not get through is told again after a restart.
            drop(agent.speaker.say(fleet(), None, entry(new)));
        }
        let rows = self.rows.take();
        match queries::encode(&rows) {
            Ok(value) => {
                let producer = queries::slow_log_producer(agent.speaker.source(), instance);
                let of = (self.place.cluster.clone(), instance);
                let record = batch(agent, of, &producer, &mut self.number, value);
                self.unanswered.push(agent.bus.append(vec![record]));
            }
            Err(error) => {
                agent.metrics.add(&SLOW_UNSENT, &[instance.as_str()], rows.len() as u64);
                tracing::error!(%error, "rows could not be encoded");
            }
        }
    }

    fn publish(&mut self, entry: &SlowEntry) {
        let rate = self.rate.0.load(Ordering::Relaxed);
        let syntax = self.agent.syntax_of(&self.place.instance);
        let digest = self.rows.add(entry, rate, syntax);
        self.waiting.get_or_insert_with(Instant::now);
        if self.rows.is_full() {
            self.send();
        }
        let Some(suppressed) = self.may(digest) else { return };
        let mut sql = mask(entry.sure_sql(), syntax);
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
            error: entry.error,
            sample_factor: factor(entry, rate),
        };
        // Not waited for: a log that grows must not be read ever later, and the bus counts what it refuses.
        self.unanswered.push(self.agent.speaker.say(self.place.subject(), None, Slow::Query(query)));
    }

    /// How many of a digest were not sent since the last one that was; none if this one is not to be sent either.
    fn may(&mut self, digest: DigestId) -> Option<u64> {
        if self.sent.len() >= DIGESTS_MAX {
            self.sent.clear();
        }
        let now = Instant::now();
        let suppressed = match self.sent.get_mut(&digest) {
            Some((at, suppressed)) if now.duration_since(*at) < PER_DIGEST => {
                *suppressed += 1;
                self.agent.metrics.add(&SLOW_SUPPRESSED, &[self.place.instance.as_str()], 1);
                return None;
            }
            Some((_, suppressed)) => *suppressed,
            None => 0,
        };
        self.sent.insert(digest, (now, 0));
        Some(suppressed)
    }
}
