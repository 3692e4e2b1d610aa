//! What a channel hears of only where nobody takes it: alerts that fire, each since when it was first said loudly enough. Words about
//! alerts enter; what nobody took for long enough leaves, once, as an escalation. It is kept with what the channel was told, before
//! positions move: a restart neither forgets one nor begins its time anew.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::Event;
use millrace_schemas::ids::EventId;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice, Told as Why, WATCHDOG};
use millrace_sinks::channels::style::alert;
use serde::{Deserialize, Serialize};

/// 400 alerts of a partition wait: their texts are 400 KB of a snapshot, which may have 1 MiB. Of more the oldest are told at once.
const WAIT_MAX: usize = 400;

/// Those of one partition.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Untaken {
    waiting: BTreeMap<EventId, One>,
    /// What lies before was looked at: who reads it again begins nothing anew.
    next: u64,
    /// The append time of what was read last.
    read: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct One {
    /// Of the word with which the channel will be told: a repeat after a crash has the same.
    id: EventId,
    since: Timestamp,
    offset: u64,
    /// As it was said last.
    event: String,
}

/// Whether somebody has yet to take an alert; nobody takes a watchdog.
pub(super) fn waits_for_somebody(alert: &Alert) -> bool {
    let is_loud = alert.state == AlertState::Firing && alert.quiet.is_none() && alert.name != WATCHDOG;
    is_loud && alert.acknowledged_by.is_none()
}

impl Untaken {
    /// A word was read; `waits`: somebody has yet to take its alert, and the channel is for such.
    pub(super) fn heard(&mut self, event: &Event<Notice>, record: &Record, waits: bool) {
        if record.offset < self.next {
            return;
        }
        (self.next, self.read) = (record.offset + 1, record.appended);
        let fingerprint = alert(event).fingerprint;
        if !waits {
            self.waiting.remove(&fingerprint);
            return;
        }
        let new = (EventId::derive(&["untaken", &event.id.to_string()]), record.appended);
        let (id, since) = self.waiting.get(&fingerprint).map_or(new, |one| (one.id, one.since));
        self.waiting.insert(fingerprint, One { id, since, offset: record.offset, event: event.to_json() });
    }

    /// What nobody took `within` a time, each with a record of its own. Where not all was read yet (`all` is false), only by the time
    /// of what was: the next record may say that somebody has taken it.
    pub(super) fn due(
        &self,
        (within, partition): (Duration, u32),
        all: bool,
        now: Timestamp,
    ) -> Vec<(Event<Notice>, Record)> {
        let now = if all { now } else { self.read };
        let mut by_age: Vec<(&EventId, &One)> = self.waiting.iter().collect();
        by_age.sort_by_key(|(_, one)| one.since);
        let too_many = by_age.len().saturating_sub(WAIT_MAX);
        let due = by_age.into_iter().enumerate();
        let due = due.filter(|(at, (_, one))| *at < too_many || now.since(one.since) >= within);
        due.filter_map(|(_, (_, one))| escalated(one, partition, now)).collect()
    }

    /// The channel has it, or gave it up.
    pub(super) fn done(&mut self, fingerprint: EventId) {
        self.waiting.remove(&fingerprint);
    }
}

/// The word with which the channel is told.
fn escalated(one: &One, partition: u32, now: Timestamp) -> Option<(Event<Notice>, Record)> {
    let mut event: Event<Notice> = Event::from_json(one.event.as_bytes(), false).ok()?;
    let Notice::Alert(alert) = &mut event.payload;
    alert.told = Some(Why::Escalated);
    event.id = one.id;
    // As if it were said now: a channel has its day to take it.
    let record = event.to_record().stored(partition, one.offset, now);
    Some((event, record))
}

#[cfg(test)]
#[path = "untaken_tests.rs"]
mod tests;
