//! A processor over all partitions that it reads: one [`Fold`] each, since order and time hold within a partition only.
//! In: records of any of them, and what was saved. Out: what each fold gives, what is to be saved, and where to read on.

use std::collections::BTreeMap;

use millrace_schemas::event::{Event, Unreadable};
use millrace_schemas::ids::ClusterId;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;

use crate::fold::{Fold, Folded, Processor, Saved};

/// The folds of a processor.
#[derive(Clone)]
pub struct Folds<P: Processor> {
    processor: P,
    partitions: BTreeMap<u32, Fold<P>>,
}

impl<P: Processor + Clone + Default> Default for Folds<P> {
    fn default() -> Self {
        Self::new(P::default())
    }
}

impl<P: Processor> std::fmt::Debug for Folds<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {} partitions", P::NAME, self.partitions.len())
    }
}

impl<P: Processor + Clone> Folds<P> {
    /// Nothing known yet.
    pub fn new(processor: P) -> Self {
        Self { processor, partitions: BTreeMap::new() }
    }

    /// What was saved, taken up.
    pub fn restored(processor: P, saved: Vec<Saved>) -> Result<Self, String> {
        let mut by_partition: BTreeMap<u32, Vec<Saved>> = BTreeMap::new();
        for one in saved {
            by_partition.entry(one.partition).or_default().push(one);
        }
        let mut folds = Self::new(processor);
        for (partition, saved) in by_partition {
            folds.partition(partition).restore(&saved)?;
        }
        Ok(folds)
    }

    fn partition(&mut self, partition: u32) -> &mut Fold<P> {
        let Self { processor, partitions } = self;
        partitions.entry(partition).or_insert_with(|| Fold::new(processor.clone(), partition))
    }

    /// Folds one record.
    pub fn fold(&mut self, record: &Record) -> Folded {
        self.partition(record.partition).fold(record)
    }

    /// Folds one record that was read already.
    pub fn fold_read(&mut self, record: &Record, read: &Result<Event<P::In>, Unreadable>) -> Folded {
        self.partition(record.partition).fold_read(record, read)
    }

    /// All states of a partition, to be stored in this order.
    pub fn save(&self, partition: u32) -> Vec<Saved> {
        self.partitions.get(&partition).map(Fold::save).unwrap_or_default()
    }

    /// Where each partition goes on; the others begin at their start.
    pub fn next(&self) -> BTreeMap<u32, u64> {
        self.partitions.iter().map(|(partition, fold)| (*partition, fold.next())).collect()
    }

    /// The newest append time seen.
    pub fn now(&self) -> Timestamp {
        self.partitions.values().map(Fold::now).max().unwrap_or(Timestamp::ZERO)
    }

    /// The state of a cluster.
    pub fn state(&self, cluster: &ClusterId) -> Option<&P::State> {
        self.partitions.values().find_map(|fold| fold.state(cluster))
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = (&ClusterId, &P::State)> {
        self.partitions.values().flat_map(Fold::clusters)
    }

    /// A cluster of each partition that has one.
    pub fn one_of_each(&self) -> impl Iterator<Item = (u32, &ClusterId)> {
        self.partitions.iter().filter_map(|(at, fold)| fold.clusters().next().map(|(cluster, _)| (*at, cluster)))
    }
}
