//! A bus on which nobody is believed without a signature: around any other bus. In: records to append, which are signed with the
//! key of this process; records that were read, which are judged by the roster. Out: what is believed as it was, and what is not
//! as [`Polled::Refused`], counted, so that positions move on and nothing is done.
//! It never holds a refused record back or changes one: whoever tells of it shows what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::metrics::{BUS_REFUSED, REFUSED, Registry};
use millrace_schemas::record::{NewRecord, Record, partition_of};
use millrace_schemas::signing::{Refusal, Roster, SIGNATURE, is_due};
use millrace_schemas::topics::Topic;

use super::{Assignment, Bus, Error, Polled, Reader, Receipt, SharedBus, Snapshot, tally};
use crate::trust::Trust;

/// A bus whose records are signed and judged.
pub struct SignedBus {
    bus: SharedBus,
    trust: Arc<Trust>,
    metrics: Arc<Registry>,
}

impl fmt::Debug for SignedBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedBus({:?})", self.trust.signer())
    }
}

impl SignedBus {
    /// `bus`, spoken to and read as `trust` says.
    pub fn new(bus: SharedBus, trust: Arc<Trust>, metrics: Arc<Registry>) -> Self {
        Self { bus, trust, metrics }
    }
}

/// `bus` as it is where nobody is to be judged, else around it a [`SignedBus`].
pub fn trusting(bus: SharedBus, trust: Option<&Arc<Trust>>, metrics: &Arc<Registry>) -> SharedBus {
    match trust {
        Some(trust) => Arc::new(SignedBus::new(bus, Arc::clone(trust), Arc::clone(metrics))),
        None => bus,
    }
}

impl Bus for SignedBus {
    fn append(&self, mut records: Vec<NewRecord>) -> Receipt {
        if let Some(signer) = self.trust.signer() {
            for record in &mut records {
                signer.sign(record);
            }
        } else if let Some(record) =
            records.iter().find(|one| is_due(one.topic) && !one.headers.contains_key(SIGNATURE))
        {
            // Nobody would believe it: better said here than refused by everybody else.
            let (reply, receipt) = Receipt::pending();
            tally(&self.metrics, &BUS_REFUSED, records.iter().map(|record| record.topic));
            let _ = reply.send(Err(Error::NoKey { topic: record.topic }));
            return receipt;
        }
        self.bus.append(records)
    }

    fn reader(&self, assignment: Assignment) -> Result<Box<dyn Reader>, Error> {
        let mut partitions = BTreeMap::new();
        for topic in assignment.topics().into_iter().filter(|topic| is_due(*topic)) {
            partitions.insert(topic, self.bus.partitions(topic)?);
        }
        let reader = self.bus.reader(assignment)?;
        Ok(Box::new(SignedReader {
            reader,
            trust: Arc::clone(&self.trust),
            metrics: Arc::clone(&self.metrics),
            partitions,
        }))
    }

    fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        self.bus.partitions(topic)
    }

    fn ends(&self, topic: Topic) -> Result<Vec<u64>, Error> {
        self.bus.ends(topic)
    }

    fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        self.bus.save(snapshots)
    }

    fn load(&self, processor: &str) -> Result<Vec<Snapshot>, Error> {
        self.bus.load(processor)
    }
}

struct SignedReader {
    reader: Box<dyn Reader>,
    trust: Arc<Trust>,
    metrics: Arc<Registry>,
    /// Of each topic that is judged.
    partitions: BTreeMap<Topic, u32>,
}

impl SignedReader {
    fn judged(&self, record: Record, roster: &Roster) -> Polled {
        let partitions = self.partitions.get(&record.topic).copied().unwrap_or(1);
        let judged = self.trust.judge(roster, &record).and_then(|()| placed(&record, partitions));
        match judged {
            Ok(()) => Polled::Record(record),
            Err(why) => {
                self.metrics.add(&REFUSED, &[record.topic.name(), why.reason()], 1);
                Polled::Refused { record, why }
            }
        }
    }
}

/// Whether a record that is believed lies where its cluster's records lie: deciders keep what they know by partition, so a copy
/// in another one would be news there.
fn placed(record: &Record, partitions: u32) -> Result<(), Refusal> {
    if !is_due(record.topic) {
        return Ok(());
    }
    // Keys are `CLUSTER` or `CLUSTER/WHAT`, and were just found to be the record's own.
    let cluster = record.key.split('/').next().unwrap_or_default();
    let (found, expected) = (record.partition, partition_of(cluster, partitions));
    if found == expected { Ok(()) } else { Err(Refusal::Misplaced { found, expected }) }
}

impl Reader for SignedReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Polled>, Error> {
        let polled = self.reader.poll(wait)?;
        if polled.is_empty() || self.partitions.is_empty() {
            return Ok(polled);
        }
        let roster = self.trust.roster();
        let judged = polled.into_iter().map(|item| match item {
            Polled::Record(record) => self.judged(record, &roster),
            other => other,
        });
        Ok(judged.collect())
    }

    fn commit(&mut self, topic: Topic, partition: u32, next: u64) -> Result<(), Error> {
        self.reader.commit(topic, partition, next)
    }

    fn unread(&mut self) -> Result<BTreeSet<u32>, Error> {
        self.reader.unread()
    }
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
