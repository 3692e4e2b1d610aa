//! Whether a cluster has a backup that is young enough. In: what samples of its members say: how old the newest may be, where was looked,
//! and when the newest was finished. Out: its age as a share of what is allowed, with words for people. One policy per cluster: it is
//! kept when any member's newest is young enough. A policy under which nobody has seen a backup is broken since it is known.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::ids::InstanceId;
use millrace_schemas::metrics::{BACKUP_AGE, BACKUP_LAST, BACKUP_WITHIN};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::samples::Sample;
use serde::{Deserialize, Serialize};

use super::engine::labels_of;
use super::facts::{NEWEST, Numbers};
use super::summary::duration;

/// 64 members of a cluster, as everywhere.
const MEMBERS: usize = 64;
/// A day of silence: what an instance that was removed has seen counts no more.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// 1 s, so that nothing is divided by nothing.
const WITHIN_LEAST: Duration = Duration::from_secs(1);

fn share(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.max(WITHIN_LEAST).as_secs_f64()
}

/// What the members of a cluster say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Backups {
    /// Since when there is a policy.
    since: Timestamp,
    members: BTreeMap<InstanceId, Member>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    /// When it spoke last.
    at: Timestamp,
    /// How old the newest backup may be.
    within: Duration,
    looked_in: String,
    /// When the newest backup was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Timestamp>,
}

impl Backups {
    /// No member has a policy.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member's sample; the numbers of the cluster, if it has a policy.
    pub(super) fn heard(&mut self, instance: &InstanceId, sample: &Sample, now: Timestamp) -> Option<Numbers> {
        let from = format!("{}{{", BACKUP_WITHIN.name);
        let (series, within) = sample.values.range(from.clone()..).next().filter(|(key, _)| key.starts_with(&from))?;
        let within = Duration::try_from_secs_f64(*within).ok()?;
        let looked_in = labels_of(series, BACKUP_WITHIN.name)?.remove("looked_in")?;
        let newest = sample.values.get(BACKUP_LAST.name).map(|seconds| Timestamp((seconds * 1e6) as i64));
        self.members.retain(|_, member| now.since(member.at) < FORGOTTEN);
        if self.members.is_empty() {
            self.since = now;
        }
        if self.members.len() < MEMBERS || self.members.contains_key(instance) {
            self.members.insert(instance.clone(), Member { at: now, within, looked_in, newest });
        }
        let values = BTreeMap::from([(BACKUP_AGE.name.to_owned(), self.age(now))]);
        Some(Numbers { values, words: Some((NEWEST, self.words(now))), ..Numbers::default() })
    }

    /// The age of the newest as a share of what is allowed; more than that where none is known.
    pub(super) fn age(&self, now: Timestamp) -> f64 {
        if let Some((_, _, age)) = self.newest(now) {
            return age;
        }
        let within = self.members.values().map(|member| member.within).min().unwrap_or(WITHIN_LEAST);
        1.0 + share(now.since(self.since), within)
    }

    /// The backup that is the youngest by its policy, and its age as a share of that.
    fn newest(&self, now: Timestamp) -> Option<(&InstanceId, &Member, f64)> {
        let known = self
            .members
            .iter()
            .filter_map(|(instance, member)| Some((instance, member, share(now.since(member.newest?), member.within))));
        known.min_by(|one, other| one.2.total_cmp(&other.2))
    }

    fn words(&self, now: Timestamp) -> String {
        if let Some((instance, member, _)) = self.newest(now) {
            let age = duration(member.newest.map_or(Duration::ZERO, |newest| now.since(newest)));
            return format!("the newest, found by {instance}, is {age} old and may be {}", duration(member.within));
        }
        let mut places: Vec<&str> = self.members.values().map(|member| member.looked_in.as_str()).collect();
        places.sort_unstable();
        places.dedup();
        let members: Vec<&str> = self.members.keys().map(InstanceId::as_str).collect();
        format!("none was ever seen; {} looked in {}", members.join(", "), places.join("; "))
    }
}
