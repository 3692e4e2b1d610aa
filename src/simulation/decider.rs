//! A hot decider: folds the journal, appends what comes out, stores snapshots, ticks silences. It may die between any two of
//! these, and goes on from its snapshot.

use std::time::Duration;

use millrace_processors::alerts::Alerts;
use millrace_processors::failover::Failover;
use millrace_processors::fold::{Fold, Processor, Saved};
use millrace_processors::permits::Permits;
use millrace_processors::routes::Routes;
use millrace_schemas::event::Subject;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;

use super::voice::{Inbox, Library, Outbox, Voice};
use super::world::World;
use crate::bus::memory::MemoryBus;
use crate::bus::{Bus as _, Snapshot};

/// 500 ms: below the gap of 1 s that restarts silence timers, and few enough records for ten thousand schedules.
const TICK_AFTER: Duration = Duration::from_millis(500);
/// 5 s, as in the role: some deciders die with a fresh snapshot, some with an old one, some with none.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);

/// A decider.
pub(super) struct Decider {
    cluster: ClusterId,
    pub(super) back_at: Timestamp,
    pub(super) fold: Fold<Failover>,
    permits: Fold<Permits>,
    routes: Fold<Routes>,
    alerts: Fold<Alerts>,
    inbox: Inbox,
    pub(super) next: u64,
    outbox: Outbox,
    saved: Timestamp,
    quiet_since: Timestamp,
    voice: Voice,
}

impl Decider {
    pub(super) fn new(bus: &MemoryBus, cluster: &ClusterId, number: usize) -> Self {
        Self {
            cluster: cluster.clone(),
            back_at: Timestamp::ZERO,
            fold: Fold::new(Failover, 0),
            permits: Fold::new(Permits, 0),
            routes: Fold::new(Routes, 0),
            alerts: Fold::new(Alerts::default(), 0),
            inbox: Inbox::new(bus, &[(Topic::Journal, 0)]),
            next: 0,
            outbox: Outbox::default(),
            saved: Timestamp::ZERO,
            quiet_since: Timestamp::ZERO,
            voice: Voice::new(format!("decider/{number}")),
        }
    }

    /// Dies; is back at `back_at`, knowing only what was stored.
    pub(super) fn die(&mut self, bus: &MemoryBus, back_at: Timestamp) {
        self.back_at = back_at;
        self.fold = Fold::new(Failover, 0);
        self.permits = Fold::new(Permits, 0);
        self.routes = Fold::new(Routes, 0);
        self.alerts = Fold::new(Alerts::default(), 0);
        restore(bus, &mut self.fold);
        restore(bus, &mut self.permits);
        restore(bus, &mut self.routes);
        restore(bus, &mut self.alerts);
        let others = [self.permits.next(), self.routes.next(), self.alerts.next()];
        self.next = others.into_iter().fold(self.fold.next(), u64::min);
        self.inbox = Inbox::new(bus, &[(Topic::Journal, self.next)]);
        self.outbox = Outbox::default();
        self.voice.restart();
    }

    /// Does one thing.
    pub(super) fn step(&mut self, bus: &MemoryBus, library: &mut Library, world: &mut World) {
        if world.now < self.back_at || !self.outbox.flush(bus) {
            return;
        }
        for _ in 0..=world.dice.below(6) {
            let Some(record) = self.inbox.next(bus) else { break };
            self.quiet_since = world.now;
            self.take(library, &record);
        }
        if self.outbox.0.is_empty() && world.now.since(self.quiet_since) > TICK_AFTER {
            self.quiet_since = world.now;
            let tick = self.voice.say(world.now, Subject::cluster(self.cluster.clone()), None, Fact::Tick {});
            drop(bus.append(vec![tick]));
        }
        if self.outbox.0.is_empty() && world.now.since(self.saved) > SNAPSHOT_EVERY {
            self.saved = world.now;
            self.store(bus);
        }
    }

    fn take(&mut self, library: &mut Library, record: &Record) {
        self.next = record.offset + 1;
        let read = library.fact(record);
        self.outbox.0.extend(self.fold.fold_read(record, read).out);
        self.outbox.0.extend(self.permits.fold_read(record, read).out);
        self.outbox.0.extend(self.routes.fold_read(record, read).out);
        self.outbox.0.extend(self.alerts.fold_read(record, read).out);
    }

    /// Folds and appends everything that there is.
    pub(super) fn finish(&mut self, bus: &MemoryBus, library: &mut Library) {
        for _ in 0..1_000 {
            while let Some(record) = self.inbox.next(bus) {
                self.take(library, &record);
            }
            self.outbox.flush(bus);
            let end = bus.end(Topic::Journal, 0).unwrap_or(u64::MAX);
            if self.next >= end && self.outbox.0.is_empty() {
                break;
            }
        }
    }

    fn store(&self, bus: &MemoryBus) {
        let mut all = Vec::new();
        for (processor, saved) in [
            (Fold::<Failover>::stored_as(), self.fold.save()),
            (Fold::<Permits>::stored_as(), self.permits.save()),
            (Fold::<Routes>::stored_as(), self.routes.save()),
            (Fold::<Alerts>::stored_as(), self.alerts.save()),
        ] {
            all.extend(saved.into_iter().map(|Saved { partition, entity, next, value }| Snapshot {
                processor: processor.clone(),
                partition,
                entity,
                next,
                value,
            }));
        }
        drop(bus.save(all)); // what was not stored is folded again
    }
}

/// Takes up what was stored.
fn restore<P: Processor>(bus: &MemoryBus, fold: &mut Fold<P>) {
    let snapshots = bus.load(&Fold::<P>::stored_as()).unwrap_or_default();
    let saved: Vec<Saved> = snapshots
        .into_iter()
        .map(|Snapshot { partition, entity, next, value, .. }| Saved { partition, entity, next, value })
        .collect();
    fold.restore(&saved).expect("a fold reads what it wrote");
}
