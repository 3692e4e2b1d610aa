//! One replica unlike the others: its 99th percentile and its statements, each beside the median of the other replicas in the same
//! window, as a series of its own. A replica that was always the slowest is as usual; one that has become so is not. Loads of closed
//! windows enter, in the order of the journal; what they say of a replica leaves, a window later, when all have spoken.

use std::collections::BTreeMap;

use millrace_schemas::ids::InstanceId;
use millrace_schemas::topics::journal::Load;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::instance::WIDTH;
use super::series::Series;

/// Two others at least: of one alone nobody can say who is the odd one.
const OTHERS_LEAST: usize = 2;
/// 64 replicas, as many as a cluster has members.
const REPLICAS: usize = 64;
/// 100 statements: a percentile of fewer is one of them.
const STATEMENTS_LEAST: u64 = 100;
/// Twice as far from the others as usual, in time; three times in statements: those are shared out by others.
const TIME_FACTOR: f32 = 2.0;
const STATEMENTS_FACTOR: f32 = 3.0;
/// 10 ms: less is felt by nobody.
const TIME_LEAST_US: f32 = 10_000.0;

/// The replicas of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Peers(BTreeMap<InstanceId, Peer>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Peer {
    /// Its last two windows, the newest last: start, statements, 99th percentile.
    last: [(i64, u64, u64); 2],
    time: Series,
    statements: Series,
}

/// What is unusual of one replica.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Odd {
    pub(super) instance: InstanceId,
    /// The start of the window.
    pub(super) start: i64,
    /// How many windows showed it, where that has just been found.
    pub(super) windows: i64,
    /// Of its times, else of its statements.
    pub(super) of_time: bool,
    /// How many times as far from the others as usual.
    pub(super) factor: f32,
    /// What it has, and the median of the others.
    pub(super) own: u64,
    pub(super) others: u64,
    pub(super) holds: bool,
}

impl Peers {
    /// It is no replica, or another one than it was.
    pub(super) fn forget(&mut self, instance: &InstanceId) {
        self.0.remove(instance);
    }

    /// A replica has told of a window; the one before is judged. `was` says whether it was odd before.
    pub(super) fn load(&mut self, instance: &InstanceId, load: &Load, settings: &Settings) -> Option<Odd> {
        let start = load.start.0.div_euclid(1_000_000);
        if i64::from(load.width_seconds) != WIDTH || (self.0.len() >= REPLICAS && !self.0.contains_key(instance)) {
            return None;
        }
        let peer = self.0.entry(instance.clone()).or_default();
        if start <= peer.last[1].0 {
            return None;
        }
        peer.last = [peer.last[1], (start, load.statements, load.p99_us)];
        let (window, statements, p99) = peer.last[0];
        let others: Vec<(u64, u64)> = self
            .0
            .iter()
            .filter(|(other, _)| *other != instance)
            .filter_map(|(_, other)| other.last.into_iter().find(|one| one.0 == window))
            .map(|(_, statements, p99)| (statements, p99))
            .collect();
        let enough = statements >= STATEMENTS_LEAST && others.iter().all(|(count, _)| *count >= STATEMENTS_LEAST);
        if others.len() < OTHERS_LEAST || !enough {
            return None;
        }
        let (usual_statements, usual_p99) = (median(&others, |one| one.0), median(&others, |one| one.1));
        let ratio = |own: u64, other: u64| (own.max(1) as f32 / other.max(1) as f32).ln();
        let peer = self.0.get_mut(instance)?;
        let slow = p99 as f32 - usual_p99 as f32 >= TIME_LEAST_US;
        let was = peer.time.is_unusual() || peer.statements.is_unusual();
        peer.time.observe(ratio(p99, usual_p99), 1.0, &settings.bar(TIME_FACTOR), |by| by > 0.0 && slow);
        peer.statements.observe(ratio(statements, usual_statements), 1.0, &settings.bar(STATEMENTS_FACTOR), |_| true);
        let of_time = peer.time.is_unusual();
        let series = if of_time { &peer.time } else { &peer.statements };
        let holds = series.is_unusual();
        (was || holds).then(|| Odd {
            instance: instance.clone(),
            start: window,
            windows: series.windows(),
            of_time,
            factor: series.deviation().exp(),
            own: if of_time { p99 } else { statements },
            others: if of_time { usual_p99 } else { usual_statements },
            holds,
        })
    }
}

/// The one in the middle, the lower of two.
fn median(all: &[(u64, u64)], of: impl Fn(&(u64, u64)) -> u64) -> u64 {
    let mut values: Vec<u64> = all.iter().map(of).collect();
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}
