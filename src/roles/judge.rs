//! Runs judges: processors that read several topics by hand and find something in them. Each record is folded, what comes out is appended,
//! and snapshots are stored with the offsets that they stand for. A thread of its own: no decision waits for a judgement. What a
//! judge reads of one topic and of another has no order; it folds each by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::topics::Topic;

use super::deliver::{Outbox, Stopped};
use super::lag::Lag;
use crate::bus::{Assignment, From, Polled, SharedBus};

/// 200 ms: a finding within a quarter of a second of what it is about.
pub(super) const WAIT: Duration = Duration::from_millis(200);
/// 100 ms between attempts to read while the bus is unavailable.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// 5 s between looks at what follows for the metrics: a third of the time between two scrapes.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// What judges.
pub(super) trait Judges {
    /// What people read of it in a log.
    const WHAT: &'static str;
    /// How long between two snapshots.
    const STORE_EVERY: Duration;
    /// What it reads, and from where on.
    fn begin(&self) -> Vec<(Topic, From)>;
    /// Folds a record; what comes out is to be appended.
    fn fold(&mut self, record: &Record, metrics: &Registry) -> Vec<NewRecord>;
    /// Says what it counts.
    fn measure(&mut self, metrics: &Registry);
    /// Stores snapshots: all of them when it is the `last` time.
    fn store(&mut self, bus: &SharedBus, last: bool);
}

/// Judges until `stop`.
pub(super) fn judge<J: Judges>(
    mut judges: J,
    bus: &SharedBus,
    metrics: &Registry,
    lag: &Lag,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let assignment = Assignment::Manual(judges.begin());
    let mut reader = bus.reader(assignment).with_context(|| format!("{} cannot read", J::WHAT))?;
    let mut outbox = Outbox::new(bus, J::WHAT, stop);
    let (mut stored, mut measured) = (Instant::now(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "{}: nothing can be read", J::WHAT);
                std::thread::sleep(AGAIN_AFTER);
                continue;
            }
        };
        for item in &polled {
            if let Polled::Record(record) = item
                && let Err(Stopped) = outbox.put(judges.fold(record, metrics))
            {
                return Ok(()); // not stored: who takes them up finds it again
            }
        }
        if let Err(Stopped) = outbox.settle() {
            return Ok(());
        }
        lag.note_all(&polled);
        if measured.elapsed() >= MEASURE_EVERY {
            measured = Instant::now();
            judges.measure(metrics);
        }
        if stored.elapsed() >= J::STORE_EVERY {
            stored = Instant::now();
            judges.store(bus, false);
        }
    }
    judges.store(bus, true);
    Ok(())
}
