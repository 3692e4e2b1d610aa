//! Questions to the brokers that no record answers: which topics there are, and where their partitions begin and end. Who asks
//! while a partition changes its leader is asked to ask again.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::ASK_WITHIN;
use super::client::{Client, Told};
use crate::bus::Error;

/// 50 ms between looks whether a partition has a leader.
const ELECTION_LOOK: Duration = Duration::from_millis(50);

/// What the brokers say of a topic, or of all. The first connection of a client is given up for the brokers' own ones, and who
/// asks over it right then is asked to ask again.
pub(super) fn metadata(asks: &BaseConsumer<Told>, topic: Option<&str>) -> Result<Metadata, KafkaError> {
    led(ASK_WITHIN, || asks.fetch_metadata(topic, ASK_WITHIN), || {})
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edge {
    /// The first that is kept.
    First,
    /// The one after the last.
    End,
}

/// That offset of each partition of the topic with this full name: one question to each broker, however many partitions there
/// are. The answer must come `within`, also where a partition has no leader.
pub(super) fn edges(
    client: &Client,
    asks: &BaseConsumer<Told>,
    topic: &str,
    partitions: u32,
    edge: Edge,
    within: Duration,
) -> Result<Vec<u64>, Error> {
    // The library believes for 30 s what it last heard of a topic that it does not read, also that nobody leads it.
    let look_again = || drop(asks.fetch_metadata(Some(topic), within));
    let found = led(within, || offsets(asks, topic, partitions, edge, within), look_again);
    let found = found.map_err(|error| match error.rdkafka_error_code() {
        // What it says when it knows of no leader of any of the partitions; a topic that is missing has another code.
        Some(Code::UnknownPartition) => Error::Unavailable(format!("nobody leads a partition of {topic} now")),
        _ => client.explain_to(asks, &error),
    })?;
    client.why.answered();
    Ok(found)
}

fn offsets(
    asks: &BaseConsumer<Told>,
    topic: &str,
    partitions: u32,
    edge: Edge,
    within: Duration,
) -> Result<Vec<u64>, KafkaError> {
    let which = match edge {
        Edge::First => Offset::Beginning,
        Edge::End => Offset::End,
    };
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, which)?;
    }
    // A question by time, in which the protocol has these two for the first and the last.
    let answer = asks.offsets_for_times(list, within)?;
    let known = |offset| if let Offset::Offset(offset) = offset { offset.max(0) as u64 } else { 0 };
    answer.elements().iter().map(|one| one.error().map(|()| known(one.offset()))).collect()
}

/// Asks until the brokers agree on who leads, for at most `within`; between two attempts it looks again who does.
fn led<T>(within: Duration, ask: impl Fn() -> Result<T, KafkaError>, look_again: impl Fn()) -> Result<T, KafkaError> {
    let until = Instant::now() + within;
    loop {
        match ask() {
            Err(error) if has_no_leader(&error) && Instant::now() < until => {
                std::thread::sleep(ELECTION_LOOK);
                look_again();
            }
            answer => return answer,
        }
    }
}

/// True while the brokers agree on who leads a partition, or a client on whom it asks.
fn has_no_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                // It asked by an epoch of before the last change of leader, or by one that the broker has not heard of yet.
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::DestroyBroker
        )
    )
}
