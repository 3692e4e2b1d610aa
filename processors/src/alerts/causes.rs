//! Which alert follows from which: one cause is told of, what follows from it is shown as hidden by it.

use std::collections::BTreeMap;

use millrace_schemas::ids::EventId;
use millrace_schemas::topics::alerts::{Hidden, Quiet};

use super::life::Life;

/// How far a cause reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Cluster,
    Instance,
}

/// What each cause hides. A primary that is gone stops its replicas and makes their delay grow, and clients see errors; commits
/// that wait for an acknowledgement pile up as threads and connections; a replica that has stopped lags; a disk that is nearly full
/// will be full.
pub(super) const CAUSES: [(&str, Reach, &[&str]); 7] = [
    ("PrimaryDown", Reach::Cluster, &OF_A_LOST_PRIMARY),
    ("PrimaryStopped", Reach::Cluster, &OF_A_LOST_PRIMARY),
    (
        "WritesBlocked",
        Reach::Cluster,
        &["SemiSyncDegraded", "ThreadsRunningHigh", "ConnectionsHigh", "LongTransaction"],
    ),
    ("ReplicationStopped", Reach::Instance, &["LagHigh"]),
    ("DiskAlmostFull", Reach::Instance, &["DiskFullSoon"]),
    ("ErrantTransactions", Reach::Instance, &["ErrantGTID"]),
    ("FailoverRefused", Reach::Cluster, &["NoPromotableReplica"]),
];

/// Never that a second server is open: nothing may hide that.
const OF_A_LOST_PRIMARY: [&str; 8] = [
    "ReplicationStopped",
    "LagHigh",
    "SemiSyncDegraded",
    "WritesBlocked",
    "ErrorsHigh",
    "AgentSilent",
    "ThreadsRunningHigh",
    "ConnectionsHigh",
];

/// Whether an alert of this rule can follow from another one, so that it is worth a moment to wait for that.
pub(super) fn can_follow(rule: &str) -> bool {
    CAUSES.iter().any(|(_, _, effects)| effects.contains(&rule))
}

/// Who hides whom.
#[derive(Default)]
pub(super) struct Relations {
    hidden_by: BTreeMap<EventId, Quiet>,
    hides: BTreeMap<EventId, Vec<Hidden>>,
}

impl Relations {
    /// Of one alert: by what it is hidden, and what it hides.
    pub(super) fn of(&self, fingerprint: &EventId) -> (Option<&Quiet>, &[Hidden]) {
        (self.hidden_by.get(fingerprint), self.hides.get(fingerprint).map_or(&[], Vec::as_slice))
    }
}

/// Of everything that lives. A cause that nobody is notified of by its rule hides nothing, and a test neither hides nor is hidden.
pub(super) fn relations(alive: &BTreeMap<EventId, Life>) -> Relations {
    let mut relations = Relations::default();
    for (rule, reach, effects) in CAUSES {
        for (cause, life) in alive.iter().filter(|(_, life)| life.rule() == rule && life.notifies() && !life.is_test())
        {
            let about = life.instance();
            let follows = |other: &Life| {
                effects.contains(&other.rule())
                    && !other.is_test()
                    && (reach == Reach::Cluster || (about.is_some() && other.instance() == about))
            };
            for (fingerprint, effect) in alive.iter().filter(|(_, other)| follows(other)) {
                let by = Quiet::HiddenBy { rule: rule.to_owned(), fingerprint: *cause };
                relations.hidden_by.entry(*fingerprint).or_insert(by);
                let hidden = Hidden { rule: effect.rule().to_owned(), instance: effect.instance().cloned() };
                relations.hides.entry(*cause).or_default().push(hidden);
            }
        }
    }
    for hidden in relations.hides.values_mut() {
        hidden.sort();
        hidden.dedup();
    }
    relations
}
