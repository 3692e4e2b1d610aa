//! Writes numbers to a store that people look at. In: samples, closed windows, heartbeats and digests from the bus. Out: points with
//! the time that they speak of. A position is saved only once the store has what lies before it, and had time to keep it; after
//! every break of the store it reads again from there. So nothing is lost and, by the times of the points, nothing doubled. While
//! the store is away it waits for ever; a line that the store refuses goes to `dead`, with its record.

mod carrier;
mod positions;
mod shipment;

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::event::Unreadable;
use millrace_schemas::metrics::{
    Registry, STORE_BAD_LINES, STORE_FAILED, STORE_LATE, STORE_LINES, STORE_REFUSED_POINTS, STORE_REPLACED,
    STORE_REWINDS, STORE_UNKNOWN_SERIES, STORE_UNREADABLE,
};
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_sinks::graphite;
use millrace_sinks::points::Points;
use millrace_sinks::store::Store as Way;
use millrace_sinks::witness::Witness;
use reqwest::Url;

use super::deliver::{Outbox, Stopped, loaded, pause};
use super::lag::Lag;
use super::process::dead;
use crate::bus::{Assignment, Polled, Reader, SharedBus};
use crate::config;
use carrier::{Carried, Carrier};
use positions::Positions;
use shipment::Shipment;

/// 200 ms: how long a poll waits at most before the clock is looked at.
const WAIT: Duration = Duration::from_millis(200);
/// 5 s between saved positions, as other processors have it.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// 250 ms to 10 s between attempts while the store is away: a store of a site comes back in minutes.
const RETRY_FROM: Duration = Duration::from_millis(250);
const RETRY_TO: Duration = Duration::from_secs(10);
/// 10,000 records whose refused lines were told are remembered, so that reading again does not tell them again.
const TOLD_MAX: usize = 10_000;
/// 1 KiB of a refused line tells which one it is; the record has all of it.
const LINE_SHOWN: usize = 1 << 10;

/// How reading ended.
enum End {
    /// It is to stop.
    Stopped,
    /// The store had a break: what it was given last is given again.
    Broke,
}

/// A store, and how far it is.
struct Store<'a> {
    settings: &'a config::Store,
    bus: &'a SharedBus,
    metrics: &'a Registry,
    lag: &'a Lag,
    stop: &'a AtomicBool,
    witness: Witness,
    points: Points,
    positions: Positions,
    /// When the store was last seen to have run on.
    stood: Instant,
    saved: Instant,
    /// Records whose refused lines were told.
    told: BTreeSet<(Topic, u32, u64)>,
}

/// Runs the sink into the store until `stop`.
pub fn run(
    bus: &SharedBus,
    settings: &config::Store,
    metrics: &Registry,
    lag: &Lag,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let token = settings.token_file.as_ref().map(|file| {
        let read = std::fs::read_to_string(file);
        read.with_context(|| format!("the token of the store {} in {} cannot be read", settings.name, file.display()))
    });
    let token = token.transpose()?.unwrap_or_default();
    let way = Way::new(&settings.url, &settings.api, token.trim(), settings.ca_file.as_deref())?;
    let url = Url::parse(&settings.url).context("the store's address")?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let witness = Witness::new(host, url.port_or_known_default().unwrap_or(graphite::PORT));
    // A rate sees the first one only where there was a 0 before.
    for counter in [&STORE_LINES, &STORE_FAILED, &STORE_BAD_LINES] {
        metrics.add(counter, &[&settings.name], 0);
    }
    let Some(saved) = loaded(bus, &processor(settings), stop)? else { return Ok(()) };
    let positions = Positions::restored(&saved);
    let carrier = Carrier { name: &settings.name, metrics, stop, way };
    let points = Points::new(settings.series);
    let (stood, saved, told) = (Instant::now(), Instant::now(), BTreeSet::new());
    let mut store = Store { settings, bus, metrics, lag, stop, witness, points, positions, stood, saved, told };
    while store.await_store() {
        match store.ship(&carrier)? {
            End::Stopped => break,
            End::Broke => {
                metrics.add(&STORE_REWINDS, &[&settings.name], 1);
                tracing::info!(store = settings.name, "the store had a break; what it was given last is given again");
                store.positions.forget();
            }
        }
    }
    store.save();
    Ok(())
}

/// The name under which the positions of a store are kept.
pub fn processor(settings: &config::Store) -> String {
    format!("store.{}.v1", settings.name)
}

impl Store<'_> {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until the store can be reached; false when it is to stop.
    fn await_store(&mut self) -> bool {
        let mut wait = RETRY_FROM;
        let mut warned = false;
        while !self.is_stopping() {
            if self.witness.begin() {
                return true;
            }
            if !std::mem::replace(&mut warned, true) {
                tracing::warn!(
                    store = self.name(),
                    url = self.settings.url,
                    "the store cannot be reached; it is waited for"
                );
            }
            pause(self.stop, wait);
            wait = (wait * 2).min(RETRY_TO);
        }
        false
    }

    /// Reads from what is safe, and ships, until the store breaks. While one shipment is on its way the next one is made: making
    /// one takes about as long as a store takes for it.
    fn ship(&mut self, carrier: &Carrier) -> anyhow::Result<End> {
        let assignment = Assignment::Manual(self.positions.begin());
        let mut reader = self.bus.reader(assignment).context("the store's sink cannot read")?;
        let mut shipment = Shipment::new(&self.settings.api);
        self.points.begin();
        std::thread::scope(|scope| {
            let mut underway: Option<ScopedJoinHandle<'_, (Shipment, Option<Carried>)>> = None;
            while !self.is_stopping() {
                let now = Instant::now();
                if !self.witness.ran_on() {
                    return Ok(End::Broke);
                }
                self.stood = now;
                self.read(reader.as_mut(), &mut shipment);
                let is_due = shipment.is_due();
                if let Some(came) = underway.take_if(|it| is_due || it.is_finished()) {
                    let (shipment, carried) = came.join().unwrap_or_else(|panic| resume_unwind(panic));
                    if let Some(end) = self.arrived(&shipment, carried) {
                        return Ok(end);
                    }
                }
                if is_due {
                    let full = std::mem::replace(&mut shipment, Shipment::new(&self.settings.api));
                    underway = Some(scope.spawn(move || {
                        let carried = carrier.carry(&full);
                        (full, carried)
                    }));
                }
                if self.saved.elapsed() >= SAVE_EVERY {
                    self.save();
                }
            }
            Ok(End::Stopped)
        })
    }

    fn read(&mut self, reader: &mut dyn Reader, shipment: &mut Shipment) {
        match reader.poll(WAIT.min(shipment.linger())) {
            Ok(polled) => {
                for item in polled {
                    self.take(item, shipment);
                }
            }
            Err(error) => {
                tracing::warn!(%error, store = self.name(), "what is stored cannot be read");
                std::thread::sleep(WAIT);
            }
        }
    }

    fn take(&mut self, item: Polled, shipment: &mut Shipment) {
        let record = match item {
            Polled::Record(record) => record,
            // What nobody believes is not shown.
            Polled::Refused { record, .. } => return shipment.pass(&record),
            Polled::Gained { .. } | Polled::Lost { .. } => return self.lag.note(&item),
        };
        let unknown = self.points.unknown;
        let points = match self.points.of(&record) {
            Ok(points) => points,
            Err(error) => {
                self.unreadable(&record, &error);
                return shipment.pass(&record);
            }
        };
        let encoded = shipment.take(record, &points);
        let counts = [
            (&STORE_UNKNOWN_SERIES, self.points.unknown - unknown),
            (&STORE_REPLACED, encoded.replaced),
            (&STORE_REFUSED_POINTS, encoded.refused),
        ];
        for (metric, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            self.metrics.add(metric, &[self.name()], count);
        }
    }

    /// A newer kind is skipped. What is no record of its topic is counted; deciders tell of the journal's.
    fn unreadable(&mut self, record: &Record, error: &Unreadable) {
        if !matches!(error, Unreadable::Malformed(_)) {
            return;
        }
        self.metrics.add(&STORE_UNREADABLE, &[self.name()], 1);
        if record.topic != Topic::Journal && self.is_news(record) {
            let letter = dead(record, &processor(self.settings), &error.to_string());
            drop(self.bus.append(vec![letter])); // what is refused the bus counts
        }
    }

    fn is_news(&mut self, record: &Record) -> bool {
        if self.told.len() >= TOLD_MAX {
            self.told.pop_first();
        }
        self.told.insert((record.topic, record.partition, record.offset))
    }

    /// A shipment came back. Says so when reading has to end.
    fn arrived(&mut self, shipment: &Shipment, carried: Option<Carried>) -> Option<End> {
        let Some(Carried { bad, late, broke }) = carried else { return Some(End::Stopped) };
        if self.tell(shipment, &bad).is_err() {
            return Some(End::Stopped);
        }
        if late > 0 {
            self.metrics.add(&STORE_LATE, &[self.name()], late);
        }
        self.metrics.add(&STORE_LINES, &[self.name()], (shipment.lines() - bad.len()) as u64 - late);
        let (reached, dealt) = shipment.reached();
        self.positions.acknowledge(reached, Instant::now());
        dealt.for_each(|(topic, partition, next, at)| self.lag.reached(topic, partition, next, at));
        broke.then_some(End::Broke)
    }

    /// Tells `dead` of the records whose lines were refused: each once, as it is, with the first such line.
    fn tell(&mut self, shipment: &Shipment, bad: &[(usize, String)]) -> Result<(), Stopped> {
        let mut letters = Vec::new();
        for (at, words) in bad {
            self.metrics.add(&STORE_BAD_LINES, &[self.name()], 1);
            let (line, record) = shipment.line(*at);
            if self.is_news(record) {
                tracing::warn!(
                    store = self.name(),
                    offset = record.offset,
                    "a line was refused, its record went to dead: {words}"
                );
                let mut letter = dead(record, &processor(self.settings), words);
                let shown = line.chars().take(LINE_SHOWN).collect();
                letter.headers.insert("millrace.errors.line".to_owned(), shown);
                letters.push(letter);
            }
        }
        let mut outbox = Outbox::new(self.bus, "store", self.stop);
        outbox.put(letters)?;
        outbox.settle()
    }

    fn save(&mut self) {
        self.saved = Instant::now();
        // Not until now: what came between was not seen yet, and the margin counts time in which the store ran.
        self.positions.settle(self.stood);
        let snapshots = self.positions.saved(&processor(self.settings));
        if !snapshots.is_empty()
            && let Err(error) = self.bus.save(snapshots)
        {
            tracing::warn!(%error, store = self.name(), "the store's positions were not saved; a restart reads more");
        }
    }
}
