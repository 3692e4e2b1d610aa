//! What a channel was told, kept beside its positions: from where on it is told at all, and the alerts that it believes to fire. Who was
//! told that an alert fires is told what becomes of it, also where that is less bad than what the channel is for; and an
//! Alertmanager is told of what fires again and again. Also the ids of what was dealt with last: of two processors that say the same, one
//! is heard.

use std::collections::{BTreeMap, VecDeque};

use millrace_schemas::event::Event;
use millrace_schemas::ids::EventId;
use millrace_schemas::topics::alerts::{AlertState, Notice};
use millrace_sinks::channels::style::alert;
use serde::{Deserialize, Serialize};

use super::untaken::Untaken;
use crate::bus::Snapshot;

/// 500 alerts of a partition that fire: their texts are 500 KB of a snapshot, which may have 1 MiB. Of more, the end is told by the
/// channel's own settings.
const FIRING_MAX: usize = 500;
/// 1,000 ids: processors that run beside each other say the same within a second, also in a storm. They are 35 KB of a snapshot.
const HAD_MAX: usize = 1_000;
/// What the snapshot is called.
const ENTITY: &str = "told";

/// Of one partition.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// The first record that it is told of.
    pub(super) begun: u64,
    /// The alerts that fire, each as it was told last; without text where nobody asks for it.
    firing: BTreeMap<EventId, String>,
    /// What was dealt with last.
    #[serde(default)]
    had: VecDeque<EventId>,
    /// What fires and nobody has taken, where the channel hears only of that.
    #[serde(default)]
    pub(super) untaken: Untaken,
    /// It is not saved yet.
    #[serde(skip)]
    pub(super) is_new: bool,
}

impl Told {
    /// It begins at `end`.
    pub(super) fn begin(end: u64) -> Self {
        Self { begun: end, firing: BTreeMap::new(), had: VecDeque::new(), untaken: Untaken::default(), is_new: true }
    }

    /// What was saved of a partition.
    pub(super) fn restored(saved: &[Snapshot], partition: u32) -> Option<Self> {
        let own = saved.iter().find(|one| one.partition == partition && one.entity == ENTITY)?;
        serde_json::from_slice(&own.value)
            .inspect_err(|error| tracing::warn!(%error, partition, "what a channel was told cannot be read"))
            .ok()
    }

    /// To be saved.
    pub(super) fn snapshot(&self, processor: &str, partition: u32) -> Snapshot {
        Snapshot {
            processor: processor.to_owned(),
            partition,
            entity: ENTITY.to_owned(),
            next: self.begun,
            value: serde_json::to_vec(self).expect("plain data"),
        }
    }

    /// The channel was told that it fires.
    pub(super) fn fires(&self, fingerprint: EventId) -> bool {
        self.firing.contains_key(&fingerprint)
    }

    /// The event was dealt with before.
    pub(super) fn had(&self, event: EventId) -> bool {
        self.had.contains(&event)
    }

    /// The event is dealt with.
    pub(super) fn done(&mut self, event: EventId) {
        if self.had.len() >= HAD_MAX {
            self.had.pop_front();
        }
        self.had.push_back(event);
        self.is_new = true;
    }

    /// The channel was told of it.
    pub(super) fn note(&mut self, event: &Event<Notice>, whole: bool) {
        let alert = alert(event);
        self.is_new = true;
        if alert.state == AlertState::Resolved {
            self.firing.remove(&alert.fingerprint);
            return;
        }
        if !self.fires(alert.fingerprint) && self.firing.len() >= FIRING_MAX {
            return;
        }
        let text = if whole { event.to_json() } else { String::new() };
        self.firing.insert(alert.fingerprint, text);
    }

    /// What fires, where it was kept whole.
    pub(super) fn firing(&self) -> impl Iterator<Item = Event<Notice>> {
        self.firing.values().filter_map(|text| Event::from_json(text.as_bytes(), false).ok())
    }
}
