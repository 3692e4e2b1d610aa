//! Appending: records in, their places out once all in-sync replicas have them. Two producers, since what is good for one path is
//! bad for the other: decisions are sent at once and given up after seconds, because a stale one is worse than none; data is
//! batched, compressed, and waits in a bounded buffer while the brokers are away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_schemas::metrics::Registry;
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;

use super::client::{Client, RECORD_BYTES_MAX, log};
use super::count;
use super::refusal::Why;
use crate::bus::{Error, Landed, Receipt};

/// 5 s: longer than the election of a leader, shorter than anything that waits for a decision.
const DECISION_TIMEOUT_MS: &str = "5000";
/// 5 min or 64 MiB of data wait for brokers that are away: an agent at 5,000 statements a second fills about 15 MiB in that time.
const DATA_TIMEOUT_MS: &str = "300000";
const DATA_KIBIBYTES_MAX: &str = "65536";
/// 16 MiB of decisions: 5 s of a thousand clusters.
const DECISION_KIBIBYTES_MAX: &str = "16384";
/// 20 ms until a batch is sent that is not full: nobody looks at windows more often than that.
const DATA_LINGER_MS: &str = "20";
/// 1 MiB per batch of data: what a topic takes at once.
const DATA_BATCH_BYTES: &str = "1000000";
/// Level 1 of zstd: windows take 25 % of their size, at level 3 they take 24 % and two thirds more of a core's time.
const DATA_LEVEL: &str = "1";

/// 15 s at least between two producers of a path: a broker that is away makes records time out too, and then a new one helps nobody.
const RENEWED_EVERY: Duration = Duration::from_secs(15);

type Sender = ThreadedProducer<Delivered>;

/// A producer, and since when.
struct Made {
    sender: Sender,
    at: Instant,
    /// A record of it timed out: after a pause of its broker the library has been seen (2.12.1) to send no more to a partition.
    timed_out: Arc<AtomicBool>,
}

/// The producers of a process, made when they are first wanted: the brokers refuse one to who may write nothing.
#[derive(Default)]
pub(super) struct Producers {
    decisions: Mutex<Option<Made>>,
    data: Mutex<Option<Made>>,
}

/// True for what nobody waits for in milliseconds.
fn is_data(topic: Topic) -> bool {
    matches!(
        topic,
        Topic::Queries | Topic::SlowQueries | Topic::Samples | Topic::Digests | Topic::Windows | Topic::Dead
    )
}

impl Producers {
    /// Sends one record of a batch; what becomes of it is told to the batch.
    pub(super) fn send(&self, client: &Client, record: &NewRecord, partition: i32, batch: &Arc<Batch>, at: usize) {
        let topic = client.topic(record.topic.name());
        let names = record.headers.iter();
        let headers =
            names.fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let slot = Box::new(Slot { batch: Arc::clone(batch), at });
        let mut message =
            BaseRecord::with_opaque_to(&topic, slot).partition(partition).key(record.key.as_bytes()).headers(headers);
        message.payload = record.value.as_deref();
        let path = if is_data(record.topic) { &self.data } else { &self.decisions };
        give(path, client, is_data(record.topic), message);
    }

    /// Sends a snapshot: it is part of the decision path, since the next start waits for it.
    pub(super) fn send_state(&self, client: &Client, message: BaseRecord<'_, [u8], [u8], Box<Slot>>) {
        give(&self.decisions, client, false, message);
    }
}

/// Hands a record to a producer, which is made where there is none.
fn give(path: &Mutex<Option<Made>>, client: &Client, of_data: bool, message: BaseRecord<'_, [u8], [u8], Box<Slot>>) {
    let mut kept = path.lock().unwrap_or_else(PoisonError::into_inner);
    // An idempotent producer that lost its thread cannot go on; a new one numbers from the start. Ids and marks see to repeats.
    let is_lost = |made: &Made| {
        let stuck = made.timed_out.load(Ordering::Relaxed) && made.at.elapsed() >= RENEWED_EVERY;
        stuck || made.sender.client().fatal_error().is_some()
    };
    if kept.as_ref().is_some_and(is_lost) {
        tracing::warn!("a producer was given up and is made anew");
        *kept = None;
    }
    let made = match kept.take() {
        Some(made) => Ok(made),
        None if of_data => data(client),
        None => decisions(client),
    };
    let (slot, error) = match made {
        Ok(made) => match kept.insert(made).sender.send(message) {
            Ok(()) => return,
            Err((error, message)) => (message.delivery_opaque, client.explain(&error)),
        },
        Err(error) => (message.delivery_opaque, error),
    };
    slot.batch.done(slot.at, Err(error));
}

fn decisions(client: &Client) -> Result<Made, Error> {
    let mut config = client.base();
    config
        .set("linger.ms", "0")
        .set("message.timeout.ms", DECISION_TIMEOUT_MS)
        .set("queue.buffering.max.kbytes", DECISION_KIBIBYTES_MAX);
    made(client, config)
}

fn data(client: &Client) -> Result<Made, Error> {
    let mut config = client.base();
    config
        .set("linger.ms", DATA_LINGER_MS)
        .set("batch.size", DATA_BATCH_BYTES)
        .set("compression.type", "zstd")
        .set("compression.level", DATA_LEVEL)
        .set("message.timeout.ms", DATA_TIMEOUT_MS)
        .set("queue.buffering.max.kbytes", DATA_KIBIBYTES_MAX);
    made(client, config)
}

fn made(client: &Client, mut config: rdkafka::ClientConfig) -> Result<Made, Error> {
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.max.bytes", RECORD_BYTES_MAX)
        .set("retry.backoff.ms", "50");
    let timed_out = Arc::<AtomicBool>::default();
    let told = Delivered { why: client.why.clone(), timed_out: Arc::clone(&timed_out) };
    let sender = ThreadedProducer::from_config_and_context(&config, told).map_err(|error| client.explain(&error))?;
    Ok(Made { sender, at: Instant::now(), timed_out })
}

/// The records of one append.
pub(super) struct Batch {
    left: AtomicUsize,
    state: Mutex<State>,
    topics: Vec<Topic>,
    metrics: Arc<Registry>,
}

struct State {
    landed: Vec<Option<Landed>>,
    error: Option<Error>,
    reply: Option<oneshot::Sender<Result<Vec<Landed>, Error>>>,
}

/// One record of a batch.
pub(super) struct Slot {
    pub(super) batch: Arc<Batch>,
    pub(super) at: usize,
}

impl Batch {
    /// A batch of as many records as `topics` has, and the receipt for it.
    pub(super) fn new(topics: Vec<Topic>, metrics: Arc<Registry>) -> (Arc<Self>, Receipt) {
        let records = topics.len();
        Self::of(records, topics, metrics)
    }

    /// The same for records that belong to no topic that is counted.
    pub(super) fn of(records: usize, topics: Vec<Topic>, metrics: Arc<Registry>) -> (Arc<Self>, Receipt) {
        let (reply, receipt) = Receipt::pending();
        let state = Mutex::new(State { landed: vec![None; records], error: None, reply: Some(reply) });
        (Arc::new(Self { left: AtomicUsize::new(records), state, topics, metrics }), receipt)
    }

    /// What became of one record; the last one answers for all.
    pub(super) fn done(&self, at: usize, outcome: Result<Landed, Error>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(landed) => state.landed[at] = Some(landed),
            Err(error) => {
                state.error.get_or_insert(error);
            }
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        for (topic, landed) in self.topics.iter().zip(&state.landed) {
            count(&self.metrics, std::slice::from_ref(topic), landed.is_some());
        }
        let answer = match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.landed.drain(..).flatten().collect()),
        };
        if let Some(reply) = state.reply.take() {
            // Who does not wait dropped the receipt; it is counted all the same.
            let _ = reply.send(answer);
        }
    }
}

/// Hands the library's answers to their batches.
pub(super) struct Delivered {
    why: Why,
    timed_out: Arc<AtomicBool>,
}

impl ClientContext for Delivered {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        self.why.heard(&error, reason);
    }
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<Slot>) {
        let outcome = match result {
            Ok(message) => {
                self.why.answered();
                Ok(Landed {
                    partition: message.partition() as u32,
                    offset: message.offset() as u64,
                    appended: Timestamp(message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000)),
                })
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.timed_out.store(true, Ordering::Relaxed);
                }
                Err(self.why.explain(error))
            }
        };
        slot.batch.done(slot.at, outcome);
    }
}
