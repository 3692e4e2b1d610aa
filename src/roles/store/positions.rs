//! How far a store has what was read. In: what it acknowledged, with when. Out: the positions that are safe: a store that is killed
//! may forget what it acknowledged in its last seconds, so only what it acknowledged longer ago counts.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use millrace_schemas::topics::Topic;
use millrace_sinks::points::TOPICS;

use crate::bus::{From, Snapshot};

/// 15 s: VictoriaMetrics, killed, forgets up to 5 s of what it acknowledged, and others sync their logs each second or at once.
pub(super) const MARGIN: Duration = Duration::from_secs(15);

/// The next offset of partitions.
pub(super) type Reached = BTreeMap<(Topic, u32), u64>;

/// Positions of one store.
#[derive(Debug, Default)]
pub(super) struct Positions {
    settled: Reached,
    acknowledged: VecDeque<(Instant, Reached)>,
}

impl Positions {
    /// Those that were saved.
    pub(super) fn restored(saved: &[Snapshot]) -> Self {
        let position = |one: &Snapshot| Some(((one.entity.parse().ok()?, one.partition), one.next));
        Self { settled: saved.iter().filter_map(position).collect(), acknowledged: VecDeque::new() }
    }

    /// The store has everything before `reached`.
    pub(super) fn acknowledge(&mut self, reached: Reached, now: Instant) {
        self.acknowledged.push_back((now, reached));
    }

    /// What was acknowledged longer than the margin before `stood` is safe: the store ran on until then.
    pub(super) fn settle(&mut self, stood: Instant) {
        while let Some((at, reached)) = self.acknowledged.pop_front() {
            if stood.saturating_duration_since(at) < MARGIN {
                self.acknowledged.push_front((at, reached));
                return;
            }
            self.settled.extend(reached);
        }
    }

    /// The store may have forgotten what is not safe.
    pub(super) fn forget(&mut self) {
        self.acknowledged.clear();
    }

    /// Where to read from.
    pub(super) fn begin(&self) -> Vec<(Topic, From)> {
        let of = |topic: Topic| {
            let own = self.settled.iter().filter(move |((one, _), _)| *one == topic);
            From::Offsets(own.map(|((_, partition), next)| (*partition, *next)).collect())
        };
        TOPICS.into_iter().map(|topic| (topic, of(topic))).collect()
    }

    /// What is to be saved under `processor`. Digests are read from their start by each process: it needs their texts.
    pub(super) fn saved(&self, processor: &str) -> Vec<Snapshot> {
        let kept = self.settled.iter().filter(|((topic, _), _)| *topic != Topic::Digests);
        let snapshot = |((topic, partition), next): (&(Topic, u32), &u64)| Snapshot {
            processor: processor.to_owned(),
            partition: *partition,
            entity: topic.name().to_owned(),
            next: *next,
            value: Vec::new(),
        };
        kept.map(snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(topic: Topic, next: u64) -> Reached {
        Reached::from([((topic, 3), next)])
    }

    #[test]
    fn only_what_was_acknowledged_long_enough_ago_is_safe() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut positions = Positions::default();
        positions.acknowledge(reached(Topic::Windows, 5), began);
        positions.acknowledge(reached(Topic::Windows, 9), after(10));
        positions.acknowledge(reached(Topic::Digests, 2), after(10));
        let next = |positions: &Positions| positions.saved("store.a.v1").first().map(|one| one.next);
        positions.settle(after(14));
        assert_eq!(next(&positions), None);
        positions.settle(after(16));
        assert_eq!(next(&positions), Some(5));
        positions.settle(after(26));
        assert_eq!((next(&positions), positions.saved("x").len()), (Some(9), 1), "digests are not saved");
        positions.acknowledge(reached(Topic::Windows, 12), after(30));
        positions.forget();
        positions.settle(after(90));
        assert_eq!(next(&positions), Some(9));
    }

    #[test]
    fn who_starts_again_goes_on_where_it_is_safe() {
        let began = Instant::now();
        let mut positions = Positions::default();
        positions.acknowledge(reached(Topic::Samples, 7), began);
        positions.settle(began + MARGIN);
        let again = Positions::restored(&positions.saved("store.a.v1"));
        let begin: BTreeMap<_, _> = again.begin().into_iter().collect();
        assert_eq!(begin[&Topic::Samples], From::Offsets(BTreeMap::from([(3, 7)])));
        assert_eq!(begin[&Topic::Windows], From::Offsets(BTreeMap::new()), "from the start");
    }
}
