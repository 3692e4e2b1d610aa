//! The bus over Apache Kafka, for fleets: any number of processes and hosts. Calls of the `Bus` trait in, requests to the brokers
//! out. Correctness rests on ids and marks inside the events, so that at least once is enough: producers are idempotent and wait
//! for all in-sync replicas, and no transactions are used.
//! It refuses to work on topics that are not as [`topics`] wants them: a wrong clock or a wrong partition count would make
//! decisions wrong, silently.

mod client;
mod ends;
mod producer;
mod reader;
mod refusal;
mod state;
pub mod topics;
mod unreadable;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_schemas::metrics::{BUS_APPENDED, BUS_REFUSED, Registry};
use millrace_schemas::record::{NewRecord, partition_of};
use millrace_schemas::topics::Topic;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use self::client::{Client, Told};
use self::ends::Edge;
use self::producer::{Batch, Producers};
use self::reader::KafkaReader;
use super::{Assignment, Bus, Error, Reader, Receipt, Snapshot, tally, too_large};
use crate::config;

/// 5 s for an answer about topics and offsets: a leader election takes two.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// 1 s for an answer for which who polls waits: a sign of life of a broker that was away, or where partitions end.
const LIFE_WITHIN: Duration = Duration::from_secs(1);

/// The bus over Kafka. Clones share their connections.
#[derive(Clone)]
pub struct KafkaBus(Arc<Shared>);

struct Shared {
    client: Client,
    producers: Producers,
    /// Asks about topics and offsets; it reads nothing, so that no answer waits behind a long poll.
    asks: BaseConsumer<Told>,
    /// How many partitions each topic has, once the set-up was found right.
    layout: Mutex<Option<BTreeMap<String, u32>>>,
    metrics: Arc<Registry>,
}

impl std::fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaBus({})", self.0.client.settings.servers)
    }
}

impl KafkaBus {
    /// The bus that `settings` describe, for the process `name`. Asks nothing yet: brokers that are away now may come.
    pub fn new(settings: &config::Kafka, name: &str, metrics: Arc<Registry>) -> Result<Self, Error> {
        let client = Client::new(settings.clone(), name)?;
        let producers = Producers::default();
        let asks = client.consumer(None)?;
        Ok(Self(Arc::new(Shared { client, producers, asks, layout: Mutex::new(None), metrics })))
    }

    /// Fails when no broker answers, or the topics are not as they must be.
    pub fn ping(&self) -> Result<(), Error> {
        self.0.partitions(Topic::Journal.name()).map(|_| ())
    }
}

impl Shared {
    /// How many partitions a topic has. The first time the whole set-up is looked at.
    fn partitions(&self, topic: &str) -> Result<u32, Error> {
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        if layout.is_none() {
            *layout = Some(topics::checked(&self.client, &self.asks)?);
        }
        let found = layout.as_ref().and_then(|layout| layout.get(topic).copied());
        found.ok_or_else(|| Error::Unavailable(format!("the topic {topic} is not known")))
    }

    /// The partition that everything with this key is in.
    fn place(&self, topic: &str, key: &str) -> Result<i32, Error> {
        Ok(partition_of(key, self.partitions(topic)?) as i32)
    }

    /// One offset of each partition of a topic.
    fn edges(&self, topic: &str, edge: Edge, within: Duration) -> Result<Vec<u64>, Error> {
        let partitions = self.partitions(topic)?;
        ends::edges(&self.client, &self.asks, &self.client.topic(topic), partitions, edge, within)
    }

    /// The first offset that is kept of each partition of a topic, and the one after the last.
    fn ranges(&self, topic: &str) -> Result<Vec<(u64, u64)>, Error> {
        let first = self.edges(topic, Edge::First, ASK_WITHIN)?;
        Ok(first.into_iter().zip(self.edges(topic, Edge::End, ASK_WITHIN)?).collect())
    }

    /// Fails when no broker answers.
    fn reach(&self) -> Result<(), Error> {
        let topic = self.client.topic(Topic::Journal.name());
        let answer = self.asks.fetch_metadata(Some(&topic), LIFE_WITHIN);
        answer.map(|_| self.client.why.answered()).map_err(|error| self.client.explain_to(&self.asks, &error))
    }

    fn send(&self, records: &[NewRecord]) -> Result<Receipt, Error> {
        if let Some(error) = records.iter().find_map(too_large) {
            return Err(error);
        }
        let placed = records.iter().map(|record| self.place(record.topic.name(), &record.partition_key));
        let placed: Vec<i32> = placed.collect::<Result<_, _>>()?;
        let topics = records.iter().map(|record| record.topic).collect();
        let (batch, receipt) = Batch::new(topics, Arc::clone(&self.metrics));
        for (at, (record, partition)) in records.iter().zip(placed).enumerate() {
            self.producers.send(&self.client, record, partition, &batch, at);
        }
        Ok(receipt)
    }
}

impl Bus for KafkaBus {
    fn append(&self, records: Vec<NewRecord>) -> Receipt {
        if records.is_empty() {
            let (reply, receipt) = Receipt::pending();
            let _ = reply.send(Ok(Vec::new()));
            return receipt;
        }
        self.0.send(&records).unwrap_or_else(|error| {
            tally(&self.0.metrics, &BUS_REFUSED, records.iter().map(|record| record.topic));
            let (reply, receipt) = Receipt::pending();
            let _ = reply.send(Err(error));
            receipt
        })
    }

    fn reader(&self, assignment: Assignment) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(KafkaReader::open(Arc::clone(&self.0), assignment)?))
    }

    fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        self.0.partitions(topic.name())
    }

    fn ends(&self, topic: Topic) -> Result<Vec<u64>, Error> {
        self.0.edges(topic.name(), Edge::End, ASK_WITHIN)
    }

    fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        state::save(&self.0, &snapshots)
    }

    fn load(&self, processor: &str) -> Result<Vec<Snapshot>, Error> {
        state::load(&self.0, processor)
    }
}

/// Counts what became of the records of a batch.
fn count(metrics: &Registry, topics: &[Topic], done: bool) {
    let counter = if done { &BUS_APPENDED } else { &BUS_REFUSED };
    tally(metrics, counter, topics.iter().copied());
}

/// True when the error says that no broker can be reached, now.
fn is_away(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve)
    )
}
