//! Snapshots in one compacted topic: the key is `PROCESSOR/ENTITY`, the partition that of the input, a header says the next input
//! offset. One topic for all processors: a new version of one needs no new topic, and an operator has one list of topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::producer::{Batch, Slot};
use super::topics::STATE;
use super::{ASK_WITHIN, Shared};
use crate::bus::{Error, Snapshot};

/// The next input offset.
const NEXT: &str = "next";

/// Stores in order: each partition's records stay in the order in which they are given.
pub(super) fn save(bus: &Shared, snapshots: &[Snapshot]) -> Result<(), Error> {
    if snapshots.is_empty() {
        return Ok(());
    }
    let partitions = bus.partitions(STATE)?.max(1);
    let topic = bus.client.topic(STATE);
    let (batch, receipt) = Batch::of(snapshots.len(), Vec::new(), Arc::clone(&bus.metrics));
    for (at, snapshot) in snapshots.iter().enumerate() {
        let key = format!("{}/{}", snapshot.processor, snapshot.entity);
        let next = snapshot.next.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: NEXT, value: Some(&next) });
        let message = BaseRecord::with_opaque_to(&topic, Box::new(Slot { batch: Arc::clone(&batch), at }))
            .partition((snapshot.partition % partitions) as i32)
            .key(key.as_bytes())
            .payload(snapshot.value.as_slice())
            .headers(headers);
        bus.producers.send_state(&bus.client, message);
    }
    receipt.wait().map(|_| ())
}

/// Reads the topic to its end of now, and keeps the newest of each entity.
pub(super) fn load(bus: &Shared, processor: &str) -> Result<Vec<Snapshot>, Error> {
    let topic = bus.client.topic(STATE);
    let mut ends = BTreeMap::new();
    for (partition, (low, high)) in (0..).zip(bus.ranges(STATE)?) {
        if low < high {
            ends.insert(partition, high as i64);
        }
    }
    let explain = |error| bus.client.explain(&error);
    let mut assigned = TopicPartitionList::new();
    for partition in ends.keys() {
        assigned.add_partition_offset(&topic, *partition, Offset::Beginning).map_err(explain)?;
    }
    let consumer = bus.client.consumer(None)?;
    consumer.assign(&assigned).map_err(explain)?;
    let mut found: BTreeMap<(u32, String), Snapshot> = BTreeMap::new();
    let mut last = Instant::now();
    while !ends.is_empty() {
        if last.elapsed() > ASK_WITHIN {
            return Err(Error::Unavailable("the snapshots could not be read to their end".to_owned()));
        }
        match consumer.poll(ASK_WITHIN) {
            Some(Ok(message)) => {
                last = Instant::now();
                let partition = message.partition();
                let next = message.offset() + 1;
                ends.retain(|at, end| *at != partition || next < *end);
                let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
                let Some(entity) = key.strip_prefix(processor).and_then(|rest| rest.strip_prefix('/')) else {
                    continue;
                };
                let at = (partition as u32, entity.to_owned());
                match (message.payload(), next_of(&message)) {
                    (Some(value), Some(next)) => {
                        let snapshot = Snapshot {
                            processor: processor.to_owned(),
                            partition: at.0,
                            entity: at.1.clone(),
                            next,
                            value: value.to_vec(),
                        };
                        found.insert(at, snapshot);
                    }
                    _ => drop(found.remove(&at)),
                }
            }
            // Where compaction has taken the last record, its offset never comes.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.remove(&partition)),
            Some(Err(error)) if super::is_away(&error) => return Err(bus.client.explain(&error)),
            Some(Err(error)) => tracing::debug!(%error, "while snapshots are read"),
            None => {}
        }
    }
    Ok(found.into_values().collect())
}

fn next_of(message: &rdkafka::message::BorrowedMessage<'_>) -> Option<u64> {
    let header = message.headers()?.iter().find(|header| header.key == NEXT)?;
    std::str::from_utf8(header.value?).ok()?.parse().ok()
}
