//! Batches that cannot be unpacked: damaged ones, and bombs that are far larger than they look. The library reports such a batch at
//! each fetch for ever, without saying where it ends; so its end is looked for, and the partition moves on after it.

use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::ends::Edge;
use super::{ASK_WITHIN, Shared};
use crate::bus::Error;

/// 3 s for the first answer of a fetch.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// True for errors that say so of a batch.
pub(super) fn is_unreadable(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BadCompression | Code::BadMessage | Code::Underflow | Code::InvalidMessage | Code::InvalidMessageSize
        )
    )
}

/// The first offset after `next` that can be read, when the one at `next` cannot.
pub(super) fn end_of_unreadable(bus: &Shared, topic: &str, partition: u32, next: u64) -> Result<Option<u64>, Error> {
    let ends = bus.edges(topic, Edge::End, ASK_WITHIN)?;
    let end = ends.get(partition as usize).copied().unwrap_or(0);
    if next >= end || reads(bus, topic, partition, next)? {
        return Ok(None);
    }
    // Doubling steps to an offset that can be read, or the end; then the first one in between.
    let (mut bad, mut step) = (next, 1);
    let mut good = loop {
        let further = (bad + step).min(end);
        if further == end || reads(bus, topic, partition, further)? {
            break further;
        }
        (bad, step) = (further, step * 2);
    };
    while bad + 1 < good {
        let middle = bad + (good - bad) / 2;
        if reads(bus, topic, partition, middle)? { good = middle } else { bad = middle }
    }
    Ok(Some(good))
}

/// True when a fetch at this offset gives something that can be read.
fn reads(bus: &Shared, topic: &str, partition: u32, offset: u64) -> Result<bool, Error> {
    let explain = |error| bus.client.explain(&error);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bus.client.topic(topic), partition as i32, Offset::Offset(offset as i64))
        .map_err(explain)?;
    let consumer = bus.client.consumer(None)?;
    consumer.assign(&list).map_err(explain)?;
    match consumer.poll(ANSWER_WITHIN) {
        Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => Ok(true),
        Some(Err(error)) if is_unreadable(&error) => Ok(false),
        Some(Err(error)) => Err(explain(error)),
        None => Err(Error::Unavailable("no answer while the end of an unreadable batch was looked for".to_owned())),
    }
}
