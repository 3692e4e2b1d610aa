//! Connections to the brokers: settings in, clients of the library out, and its errors as the bus's own, with what to do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::refusal::Why;
use crate::bus::Error;
use crate::config;

/// 2 MiB for a record with its key and headers: the value may have one.
pub(super) const RECORD_BYTES_MAX: &str = "2097152";
/// 9 MiB for an answer of a broker, a fetch and its frame, also once a batch is decompressed: ours hold 1 MiB, and a bomb of 100
/// times its size stays outside.
const ANSWER_BYTES_MAX: &str = "9437184";
/// 1 MiB per fetch as it is packed, since all of it is unpacked at once: instances that are alike pack thirty to one, and 8 MiB
/// were 240. And 16 MiB of fetched records that wait per reader: a process has up to eight readers within its 256 MiB.
const FETCH_BYTES_MAX: &str = "1048576";
const FETCHED_KIBIBYTES_MAX: &str = "16384";
/// 10 s until a broker that does not answer counts as away: longer than any pause of a healthy one.
const SOCKET_TIMEOUT_MS: &str = "10000";
/// 50 ms to 1 s between attempts to reach a broker: one that is back is found within a second.
const RECONNECT_FROM_MS: &str = "50";
const RECONNECT_TO_MS: &str = "1000";
/// 10 s between looks who leads which partition. The library's 5 min are how long nothing comes of a partition that nobody led
/// when it first asked.
const LEADERS_EVERY_MS: &str = "10000";
/// 10 s without a sign of life and a member's partitions go to the others. It says one every second, and learns by the answer
/// that somebody joined.
const SESSION_MS: &str = "10000";
const SIGN_OF_LIFE_MS: &str = "1000";

/// 100: more than the library says between two looks, at one word per broker and second.
const WORDS_AT_ONCE: usize = 100;

/// How clients are made.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) settings: config::Kafka,
    base: ClientConfig,
    /// What the clients of this process were last refused for.
    pub(super) why: Why,
}

impl Client {
    pub(super) fn new(settings: config::Kafka, name: &str) -> Result<Self, Error> {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", &settings.servers)
            .set("client.id", format!("millrace-{name}"))
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", RECONNECT_FROM_MS)
            .set("reconnect.backoff.max.ms", RECONNECT_TO_MS)
            .set("topic.metadata.refresh.interval.ms", LEADERS_EVERY_MS)
            .set("allow.auto.create.topics", "false")
            .set("receive.message.max.bytes", ANSWER_BYTES_MAX)
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Error);
        let secured = settings.tls.is_some();
        let protocol = match (&settings.sasl, secured) {
            (Some(_), _) => "sasl_ssl",
            (None, true) => "ssl",
            (None, false) => "plaintext",
        };
        base.set("security.protocol", protocol);
        if let Some(tls) = &settings.tls {
            base.set("ssl.ca.location", tls.authority.to_string_lossy())
                .set("ssl.endpoint.identification.algorithm", "https");
            if let Some((certificate, key)) = &tls.own {
                base.set("ssl.certificate.location", certificate.to_string_lossy())
                    .set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(sasl) = &settings.sasl {
            let secret = std::fs::read_to_string(&sasl.password_file).map_err(|error| Error::Refused {
                address: settings.servers.clone(),
                problem: format!("the password in {} cannot be read: {error}", sasl.password_file.display()),
            })?;
            base.set("sasl.mechanism", "SCRAM-SHA-512")
                .set("sasl.username", &sasl.user)
                .set("sasl.password", secret.trim_end_matches(['\r', '\n']));
        }
        let why = Why::new(&settings);
        Ok(Self { settings, base, why })
    }

    /// The name of a topic on the brokers.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.settings.prefix)
    }

    /// What all clients have in common.
    pub(super) fn base(&self) -> ClientConfig {
        self.base.clone()
    }

    /// A consumer; `group` shares or commits.
    pub(super) fn consumer(&self, group: Option<&str>) -> Result<BaseConsumer<Told>, Error> {
        let mut config = self.base();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true")
            .set("fetch.min.bytes", "1")
            .set("fetch.max.bytes", FETCH_BYTES_MAX)
            .set("queued.max.messages.kbytes", FETCHED_KIBIBYTES_MAX)
            .set("fetch.message.max.bytes", RECORD_BYTES_MAX)
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "50");
        // The library wants a group also from who only assigns; no broker hears of it.
        config.set("group.id", format!("{}{}", self.settings.prefix, group.unwrap_or("reader")));
        if group.is_some() {
            config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", SESSION_MS)
                .set("heartbeat.interval.ms", SIGN_OF_LIFE_MS);
        }
        let told = Told { changes: Mutex::default(), why: self.why.clone() };
        BaseConsumer::from_config_and_context(&config, told).map_err(|error| self.explain(&error))
    }

    /// The bus's own error for one of the library.
    pub(super) fn explain(&self, error: &KafkaError) -> Error {
        self.why.explain(error)
    }

    /// The bus's own error for a call of a consumer that is never polled: why it was refused waits in its queue.
    pub(super) fn explain_to(&self, asks: &BaseConsumer<Told>, error: &KafkaError) -> Error {
        hear(asks);
        self.explain(error)
    }
}

/// Empties the queue of a consumer that reads nothing: what is in there are the library's words, which nobody else would take out.
pub(super) fn hear(asks: &BaseConsumer<Told>) {
    for _ in 0..WORDS_AT_ONCE {
        let _ = asks.poll(Duration::ZERO);
    }
}

/// What the library tells a consumer besides records.
#[derive(Debug)]
pub(super) struct Told {
    /// Partitions that came and went, in order.
    pub(super) changes: Mutex<Vec<Change>>,
    why: Why,
}

/// A change of a group member's share.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Gained(Vec<(String, i32)>),
    Lost(Vec<(String, i32)>),
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        self.why.heard(&error, reason);
    }
}

impl ConsumerContext for Told {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &rdkafka::consumer::Rebalance<'_>) {
        if let rdkafka::consumer::Rebalance::Revoke(list) = rebalance {
            self.note(Change::Lost(places(list)));
        }
    }
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &rdkafka::consumer::Rebalance<'_>) {
        if let rdkafka::consumer::Rebalance::Assign(list) = rebalance {
            self.note(Change::Gained(places(list)));
        }
    }
}

impl Told {
    fn note(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

fn places(list: &rdkafka::TopicPartitionList) -> Vec<(String, i32)> {
    list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect()
}

/// The library's log lines, one level lower: what matters of them comes back as an error of a call.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::warn!("kafka {facility}: {message}");
        }
        _ => tracing::debug!("kafka {facility}: {message}"),
    }
}
