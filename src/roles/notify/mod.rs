//! Tells a channel of alerts. In: the topic `alerts`, as a member of the channel's group. Out: messages; what the channel never takes goes
//! to `dead`. A position moves only when the channel has what lies before it: so each alert comes at least once, and a repeat
//! after a crash has the same id. A channel that is new begins at the end of the topic: nobody is woken for last month.

mod queue;
mod told;
mod untaken;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::event::{Event, Unreadable};
use millrace_schemas::ids::ClusterId;
use millrace_schemas::metrics::{
    CHANNEL_BUNDLED, CHANNEL_DEAD, CHANNEL_DELIVERED, CHANNEL_FAILED, CHANNEL_OLDEST, CHANNEL_PASSED, Registry,
};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice, Told as Why};
use millrace_sinks::channels::style::alert;
use millrace_sinks::channels::way::{hears_who_took_it, may_bundle};
use millrace_sinks::channels::{Again, Failed, Kind, Way, alertmanager};

use super::deliver::{Outbox, Stopped};
use super::lag::Lag;
use super::process::dead;
use super::speaker::now;
use crate::bus::{Assignment, Polled, Reader, SharedBus};
use crate::config;
use queue::{Queue, Waiting, retry_after};
use told::Told;
use untaken::waits_for_somebody;

/// 200 ms: how long a poll waits at most before the clock is looked at.
const WAIT: Duration = Duration::from_millis(200);
/// 1 s of sending, then it is read again: a group misses a member that does not.
const TURN: Duration = Duration::from_secs(1);
/// 1 day: an alert that no channel took for so long wakes nobody any more.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// A channel, and how far it is.
struct Notifier<'a> {
    settings: &'a config::Channel,
    bus: &'a SharedBus,
    metrics: &'a Registry,
    lag: &'a Lag,
    stop: &'a AtomicBool,
    queue: Queue,
    told: BTreeMap<u32, Told>,
    committed: BTreeMap<u32, u64>,
    /// Open until something fails: then it is opened anew, with what its files have by then.
    way: Option<Way>,
    /// Since when each attempt says that nothing else would be taken either.
    failing: Option<Instant>,
    /// Nothing is sent before.
    not_before: Instant,
    /// When what fires was posted last; absent: not since it runs.
    posted: Option<Instant>,
}

/// Runs a channel until `stop`.
pub fn run(
    bus: &SharedBus,
    settings: &config::Channel,
    metrics: &Registry,
    lag: &Lag,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let assignment = Assignment::Group { group: processor(settings), topics: vec![Topic::Alerts] };
    let mut reader = bus.reader(assignment).context("the alerts of a channel cannot be read")?;
    // A rate sees the first one only where there was a 0 before, and for a channel the first one matters.
    for counter in [&CHANNEL_DELIVERED, &CHANNEL_FAILED, &CHANNEL_BUNDLED, &CHANNEL_PASSED, &CHANNEL_DEAD] {
        metrics.add(counter, &[settings.name()], 0);
    }
    let now = Instant::now();
    let mut notifier = Notifier {
        settings,
        bus,
        metrics,
        lag,
        stop,
        queue: Queue::new(settings.rate, now),
        told: BTreeMap::new(),
        committed: BTreeMap::new(),
        way: None,
        failing: None,
        not_before: now,
        posted: None,
    };
    while !stop.load(Ordering::Relaxed) {
        match reader.poll(notifier.patience()) {
            Ok(polled) => {
                if notifier.take_all(polled)? == Gone::Stopped {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(%error, channel = settings.name(), "alerts cannot be read");
                std::thread::sleep(WAIT);
            }
        }
        if notifier.turn(reader.as_mut()) == Gone::Stopped {
            break; // what is given up is not in dead, so no position moves
        }
    }
    Ok(())
}

/// The group, and the name under which positions and states are kept.
pub fn processor(settings: &config::Channel) -> String {
    format!("channel.{}.v1", settings.name())
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    On,
    /// It is to stop, before all that is given up was appended to `dead`.
    Stopped,
}

impl Notifier<'_> {
    fn name(&self) -> &str {
        self.settings.name()
    }

    fn take_all(&mut self, polled: Vec<Polled>) -> anyhow::Result<Gone> {
        let gains = polled.iter().any(|item| matches!(item, Polled::Gained { .. }));
        // Once for all that were gained together: on Kafka it reads a topic.
        let saved = if gains { self.bus.load(&processor(self.settings)) } else { Ok(Vec::new()) };
        let saved = saved.context("what a channel was told cannot be loaded")?;
        let all = !polled.iter().any(|item| matches!(item, Polled::Record(_) | Polled::Refused { .. }));
        for item in polled {
            self.lag_of(&item);
            match item {
                Polled::Gained { partition, next, .. } => {
                    let told = Told::restored(&saved, partition);
                    let told = told.map_or_else(|| self.begin(partition), Ok)?;
                    self.told.insert(partition, told);
                    self.queue.gained(partition, next, now());
                }
                Polled::Lost { partition, .. } => {
                    self.queue.lost(partition);
                    self.told.remove(&partition);
                    self.committed.remove(&partition);
                }
                // What nobody believes is not told.
                Polled::Refused { record, .. } => self.queue.pass(&record),
                Polled::Record(record) => {
                    if self.take(record) == Gone::Stopped {
                        return Ok(Gone::Stopped);
                    }
                }
            }
        }
        Ok(self.escalate(all))
    }

    /// What nobody took for so long is to be told now, where the channel is for that. `all`: everything that there is was read.
    fn escalate(&mut self, all: bool) -> Gone {
        let Some(within) = self.settings.untaken_for else { return Gone::On };
        let due: Vec<(Event<Notice>, Record)> =
            self.told.iter().flat_map(|(partition, told)| told.untaken.due((within, *partition), all, now())).collect();
        for (event, record) in due {
            if self.queue.fires(alert(&event).fingerprint) {
                continue;
            }
            let bundles = may_bundle(&self.settings.kind, &event);
            if let Some(oldest) = self.queue.push_kept(Waiting::new(event, record, bundles, Instant::now()))
                && self.bury_all(&[oldest], "too many newer alerts wait for the channel") == Gone::Stopped
            {
                return Gone::Stopped;
            }
        }
        Gone::On
    }

    /// Partitions come and go at once; how far one is dealt with is told when it is.
    fn lag_of(&self, item: &Polled) {
        if matches!(item, Polled::Gained { .. } | Polled::Lost { .. }) {
            self.lag.note(item);
        }
    }

    /// A partition that this channel never had begins at its end, which is kept before anything is told.
    fn begin(&self, partition: u32) -> anyhow::Result<Told> {
        let end = self.bus.end(Topic::Alerts, partition).context("the end of the alerts is not known")?;
        let mut told = Told::begin(end);
        let snapshot = told.snapshot(&processor(self.settings), partition);
        self.bus.save(vec![snapshot]).context("where a channel begins cannot be kept")?;
        told.is_new = false;
        tracing::info!(channel = self.name(), partition, offset = end, "a new channel begins at the end of the alerts");
        Ok(told)
    }

    fn take(&mut self, record: Record) -> Gone {
        let event = match Event::<Notice>::from_record(&record) {
            Ok(event) => event,
            Err(error) => {
                self.queue.pass(&record);
                // A newer kind is skipped.
                let unreadable = matches!(error, Unreadable::Malformed(_)) && self.is_due(&record);
                return if unreadable { self.bury(&[record], &error.to_string()) } else { Gone::On };
            }
        };
        let had = self.told.get(&record.partition).is_some_and(|told| told.had(event.id)) || self.queue.has(event.id);
        if self.settings.untaken_for.is_some() && !had && !self.fires(&record, alert(&event)) {
            self.waits(&record, &event);
            self.queue.pass(&record);
            return Gone::On;
        }
        if had || !self.is_due(&record) || !self.wants(&record, alert(&event), &event) {
            self.queue.pass(&record);
            return Gone::On;
        }
        let bundles = may_bundle(&self.settings.kind, &event);
        match self.queue.push(Waiting::new(event, record, bundles, Instant::now())) {
            Some(oldest) => self.bury_all(&[oldest], "too many newer alerts wait for the channel"),
            None => Gone::On,
        }
    }

    /// By what the channel was told, or is about to be.
    fn fires(&self, record: &Record, alert: &Alert) -> bool {
        let told = self.told.get(&record.partition);
        told.is_some_and(|told| told.fires(alert.fingerprint)) || self.queue.fires(alert.fingerprint)
    }

    /// An alert that the channel hears of when nobody takes it in time.
    fn waits(&mut self, record: &Record, event: &Event<Notice>) {
        let alert = alert(event);
        let waits = self.is_due(record) && waits_for_somebody(alert) && self.is_for(alert, &event.subject.cluster);
        if let Some(told) = self.told.get_mut(&record.partition) {
            told.untaken.heard(event, record, waits);
            told.is_new = true;
        }
    }

    /// It came after the channel began.
    fn is_due(&self, record: &Record) -> bool {
        self.told.get(&record.partition).is_some_and(|told| record.offset >= told.begun)
    }

    fn wants(&self, record: &Record, alert: &Alert, event: &Event<Notice>) -> bool {
        let Some(why) = alert.told else { return false };
        if why == Why::Acknowledged && !hears_who_took_it(&self.settings.kind) {
            return false;
        }
        if self.fires(record, alert) {
            return true;
        }
        // Who was not told that it fires is not told who has taken it.
        if why == Why::Acknowledged {
            return false;
        }
        let loud = !self.settings.escalations || why == Why::Escalated;
        loud && self.is_for(alert, &event.subject.cluster)
    }

    /// The channel is for such alerts.
    fn is_for(&self, alert: &Alert, cluster: &ClusterId) -> bool {
        let settings = self.settings;
        (settings.clusters.is_empty() || settings.clusters.contains(cluster))
            && (settings.rules.is_empty() || settings.rules.contains(&alert.name))
            && alert.severity >= settings.severity
    }

    /// How long a poll may wait: no longer than until what waits for the channel is tried again.
    fn patience(&self) -> Duration {
        let left = self.not_before.saturating_duration_since(Instant::now());
        if left.is_zero() || self.queue.is_empty() { WAIT } else { left.min(WAIT) }
    }

    /// Sends what may be sent now, and keeps how far it came.
    fn turn(&mut self, reader: &mut dyn Reader) -> Gone {
        let passed = self.queue.superseded(now());
        if !passed.is_empty() {
            self.metrics.add(&CHANNEL_PASSED, &[self.name()], passed.len() as u64);
            self.dealt(&passed);
        }
        let ends = Instant::now() + TURN;
        while (self.not_before..ends).contains(&Instant::now()) && !self.stop.load(Ordering::Relaxed) {
            let message = self.queue.next(Instant::now());
            if message.is_empty() {
                break;
            }
            if self.send(&message) == Gone::Stopped {
                return Gone::Stopped;
            }
            self.settle(reader);
        }
        self.post_again();
        self.settle(reader);
        let age = self.queue.oldest().map_or(0.0, |at| now().since(at).as_secs_f64());
        self.metrics.set(&CHANNEL_OLDEST, &[self.name()], age);
        Gone::On
    }

    /// Over the way that is open, or a new one.
    fn deliver(&mut self, events: &[Event<Notice>]) -> Result<String, Failed> {
        let (settings, open) = (self.settings, self.way.take());
        let opened = || Way::open(&settings.kind, &settings.style, settings.timeout, settings.ca_file.as_deref());
        let way = open.map_or_else(opened, Ok)?;
        let said = way.deliver(events)?;
        self.way = Some(way);
        Ok(said)
    }

    fn send(&mut self, message: &[Waiting]) -> Gone {
        let events: Vec<Event<Notice>> = message.iter().map(|one| one.event.clone()).collect();
        let sent = self.deliver(&events);
        if !matches!(sent, Err(Failed::Later { all: true, .. })) && self.failing.take().is_some() {
            tracing::info!(channel = self.name(), "the channel answers again");
        }
        match sent {
            Ok(said) => {
                tracing::debug!(channel = self.name(), alerts = events.len(), "told: {said}");
                self.taken(message);
                Gone::On
            }
            Err(Failed::Refused(_)) if message.len() > 1 => {
                self.queue.alone(message);
                Gone::On
            }
            Err(Failed::Refused(why)) => {
                self.queue.done(message);
                self.bury_all(message, &why)
            }
            Err(Failed::Later { why, again, all }) => self.failed(message, &why, again, all),
        }
    }

    fn taken(&mut self, message: &[Waiting]) {
        let (name, alerts) = (self.settings.name(), message.len() as u64);
        self.metrics.add(&CHANNEL_DELIVERED, &[name], alerts);
        if alerts > 1 {
            self.metrics.add(&CHANNEL_BUNDLED, &[name], alerts);
        }
        let whole = matches!(self.settings.kind, Kind::Alertmanager(_));
        for one in message {
            if let Some(told) = self.told.get_mut(&one.record.partition) {
                told.note(&one.event, whole);
                told.untaken.done(alert(&one.event).fingerprint);
            }
        }
        self.dealt(message);
        self.queue.done(message);
    }

    fn failed(&mut self, message: &[Waiting], why: &str, again: Again, all: bool) -> Gone {
        self.metrics.add(&CHANNEL_FAILED, &[self.name()], 1);
        if all {
            self.rest(why, again);
        } else {
            tracing::warn!(channel = self.name(), alerts = message.len(), "an alert is not told yet: {why}");
            self.queue.alone(message);
            self.queue.later(message, again, Instant::now());
        }
        let old = |one: &&Waiting| now().since(one.record.appended) >= GIVE_UP_AFTER;
        let old: Vec<Waiting> = message.iter().filter(old).cloned().collect();
        self.queue.drop_all(&old);
        self.bury_all(&old, &format!("not taken within a day: {why}"))
    }

    /// The channel as a whole is left alone for a time.
    fn rest(&mut self, why: &str, again: Again) {
        if self.failing.is_none() {
            tracing::warn!(channel = self.settings.name(), "the channel cannot be told anything now: {why}");
        }
        let now = Instant::now();
        self.not_before = now + retry_after(*self.failing.get_or_insert(now), again, now);
    }

    /// An Alertmanager is told of what fires before it takes it for resolved.
    fn post_again(&mut self) {
        let due = self.posted.is_none_or(|at| at.elapsed() >= alertmanager::AGAIN_EVERY);
        if !due || Instant::now() < self.not_before || !matches!(self.settings.kind, Kind::Alertmanager(_)) {
            return;
        }
        let firing: Vec<Event<Notice>> = self.told.values().flat_map(Told::firing).collect();
        debug_assert!(firing.iter().all(|event| alert(event).state == AlertState::Firing), "only what fires is kept");
        if firing.is_empty() {
            return;
        }
        self.posted = Some(Instant::now());
        match self.deliver(&firing) {
            Ok(_) => self.failing = None,
            Err(failed) => {
                self.metrics.add(&CHANNEL_FAILED, &[self.name()], 1);
                match failed {
                    Failed::Refused(why) => self.rest(&why, Again::Seldom),
                    Failed::Later { why, again, .. } => self.rest(&why, again),
                }
            }
        }
    }

    /// Who replays one from `dead` is heard again.
    fn bury_all(&mut self, message: &[Waiting], why: &str) -> Gone {
        for one in message {
            if let Some(told) = self.told.get_mut(&one.record.partition) {
                told.untaken.done(alert(&one.event).fingerprint);
                told.is_new = true;
            }
        }
        let records: Vec<Record> = message.iter().map(|one| one.record.clone()).collect();
        self.bury(&records, why)
    }

    /// Who says it again is not heard.
    fn dealt(&mut self, message: &[Waiting]) {
        for one in message {
            if let Some(told) = self.told.get_mut(&one.record.partition) {
                told.done(one.event.id);
            }
        }
    }

    /// Alerts that are given up go to `dead`, with the reason, before their positions move.
    fn bury(&self, records: &[Record], why: &str) -> Gone {
        if records.is_empty() {
            return Gone::On;
        }
        tracing::error!(channel = self.name(), alerts = records.len(), "alerts were not told and went to dead: {why}");
        let letters = records.iter().map(|record| dead(record, &processor(self.settings), why)).collect();
        let mut outbox = Outbox::new(self.bus, "alerts that were not told", self.stop);
        if let Err(Stopped) = outbox.put(letters).and_then(|()| outbox.settle()) {
            return Gone::Stopped;
        }
        self.metrics.add(&CHANNEL_DEAD, &[self.name()], records.len() as u64);
        Gone::On
    }

    /// Keeps what was told, and only then how far it came.
    fn settle(&mut self, reader: &mut dyn Reader) {
        let name = processor(self.settings);
        let news = self.told.iter().filter(|(_, told)| told.is_new);
        let snapshots: Vec<_> = news.map(|(partition, told)| told.snapshot(&name, *partition)).collect();
        if !snapshots.is_empty() {
            if let Err(error) = self.bus.save(snapshots) {
                return tracing::warn!(%error, channel = self.name(), "what a channel was told is not kept yet");
            }
            self.told.values_mut().for_each(|told| told.is_new = false);
        }
        let reached: Vec<(u32, u64, Timestamp)> = self.queue.reached().collect();
        for (partition, next, at) in reached {
            if self.committed.get(&partition) == Some(&next) {
                continue;
            }
            match reader.commit(Topic::Alerts, partition, next) {
                Ok(()) => {
                    self.committed.insert(partition, next);
                    self.lag.reached(Topic::Alerts, partition, next, at);
                }
                Err(error) => {
                    tracing::warn!(%error, channel = self.name(), "how far a channel is told is not kept yet");
                }
            }
        }
    }
}
