//! The topics on the brokers: what the configuration wants in, what differs from it out. Creates what is missing and sets what can
//! be set; how many partitions a topic has is fixed at its creation, since another number would put clusters elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use millrace_schemas::topics::{Retention, Topic};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfig as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::metadata::MetadataTopic;
use serde::Serialize;

use super::ASK_WITHIN;
use super::client::{Client, RECORD_BYTES_MAX, Told};
use super::ends::{Edge, edges, metadata};
use crate::bus::Error;
use crate::config;

/// Where snapshots are.
pub(super) const STATE: &str = "state";
/// 10 min until a segment of a compacted topic can be compacted: readers of the whole topic then find little that is old.
const COMPACTED_SEGMENT_MS: &str = "600000";
/// 16 MiB for the same reason.
const COMPACTED_SEGMENT_BYTES: &str = "16777216";
/// A day for readers of a compacted topic to see that a key is gone.
const TOMBSTONES_KEPT_MS: &str = "86400000";

/// 30 s for new topics to be known to all brokers and to have their files: it takes some 100 ms, on a busy disk ten seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
const SEEN_LOOK: Duration = Duration::from_millis(50);

/// A topic as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Its name on the brokers.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many brokers have each.
    pub replication: u32,
    /// Its settings.
    pub settings: BTreeMap<&'static str, String>,
}

/// What is otherwise than wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// `partitions`, `replication`, a setting, or `topic` where there is none.
    pub what: String,
    /// What is there.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// True when nothing may run on it.
    pub wrong: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, what, found, wanted, .. } = self;
        if what == "topic" {
            return write!(f, "{topic} is missing");
        }
        write!(f, "{topic}: {what} is {found}; {wanted} is wanted")
    }
}

/// All topics that the settings want.
pub fn wanted(settings: &config::Kafka) -> Vec<Wanted> {
    let topics = Topic::ALL.iter().map(|topic| (topic.name(), topic.retention()));
    topics.chain([(STATE, Retention::Compacted)]).map(|(name, retention)| one(settings, name, retention)).collect()
}

fn one(settings: &config::Kafka, name: &str, retention: Retention) -> Wanted {
    // Two copies of an acknowledged record, where there are three brokers; with fewer there is no choice.
    let in_sync = if settings.replication >= 3 { 2 } else { 1 };
    let mut all = BTreeMap::from([
        ("max.message.bytes", RECORD_BYTES_MAX.to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("min.insync.replicas", in_sync.to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ]);
    match retention {
        Retention::For(time) => {
            all.insert("cleanup.policy", "delete".to_owned());
            all.insert("retention.ms", time.as_millis().to_string());
        }
        Retention::Compacted => {
            all.insert("cleanup.policy", "compact".to_owned());
            all.insert("segment.ms", COMPACTED_SEGMENT_MS.to_owned());
            all.insert("segment.bytes", COMPACTED_SEGMENT_BYTES.to_owned());
            all.insert("delete.retention.ms", TOMBSTONES_KEPT_MS.to_owned());
        }
    }
    Wanted {
        name: format!("{}{name}", settings.prefix),
        partitions: settings.partitions,
        replication: settings.replication,
        settings: all,
    }
}

/// A connection for looking at topics and changing them.
pub struct Topics {
    client: Client,
    asks: BaseConsumer<Told>,
}

impl Topics {
    /// For the brokers that `settings` name.
    pub fn new(settings: &config::Kafka) -> Result<Self, Error> {
        let client = Client::new(settings.clone(), "topics")?;
        let asks = client.consumer(None)?;
        Ok(Self { client, asks })
    }

    /// What differs from the settings.
    pub fn differences(&self) -> Result<Vec<Difference>, Error> {
        differences(&self.client, &self.asks).map(|(found, _)| found)
    }

    /// Creates what is missing and sets what can be set; what it did, in sentences.
    pub fn apply(&self) -> Result<Vec<String>, Error> {
        let found = self.differences()?;
        let all = wanted(&self.client.settings);
        let is_missing = |topic: &&Wanted| found.iter().any(|one| one.topic == topic.name && one.what == "topic");
        let missing: Vec<&Wanted> = all.iter().filter(is_missing).collect();
        let mut done = self.create(&missing)?;
        for topic in &all {
            let differs = |one: &&Difference| one.topic == topic.name && topic.settings.contains_key(one.what.as_str());
            let settings: Vec<&Difference> = found.iter().filter(differs).collect();
            if !settings.is_empty() {
                let values: BTreeMap<&str, &str> =
                    topic.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
                self.set(&topic.name, &values)?;
                done.extend(settings.iter().map(|one| format!("{}: {} set to {}", one.topic, one.what, one.wanted)));
            }
        }
        Ok(done)
    }

    fn create(&self, topics: &[&Wanted]) -> Result<Vec<String>, Error> {
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(topic.replication as i32);
                let new = NewTopic::new(&topic.name, topic.partitions as i32, replication);
                topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let admin = admin(&self.client)?;
        let answers = waited(admin.create_topics(&new, &options())).map_err(|error| self.client.explain(&error))?;
        let mut done = Vec::new();
        for answer in answers {
            match answer {
                Ok(topic) => done.push(format!("{topic} created")),
                Err((topic, code)) => return Err(self.refused(&format!("{topic} was not created: {code}"))),
            }
        }
        self.seen(topics)?;
        Ok(done)
    }

    /// Waits until the brokers know of topics that were created, and each of their partitions can be used.
    fn seen(&self, topics: &[&Wanted]) -> Result<(), Error> {
        let until = Instant::now() + SEEN_WITHIN;
        loop {
            let metadata = metadata(&self.asks, None).map_err(|error| self.client.explain_to(&self.asks, &error))?;
            let is_led = |topic: &&MetadataTopic| topic.partitions().iter().all(|one| one.leader() >= 0);
            let led: BTreeSet<&str> = metadata.topics().iter().filter(is_led).map(MetadataTopic::name).collect();
            match topics.iter().find(|topic| !led.contains(topic.name.as_str())) {
                None => break,
                Some(_) if Instant::now() < until => std::thread::sleep(SEEN_LOOK),
                Some(topic) => return Err(self.refused(&format!("{} was created, and has no leader yet", topic.name))),
            }
        }
        // Brokers name the leaders before these have made the files, and until then whoever asks for the partition is told to
        // ask another.
        for topic in topics {
            let left = until.saturating_duration_since(Instant::now()).max(ASK_WITHIN);
            edges(&self.client, &self.asks, &topic.name, topic.partitions, Edge::End, left)?;
        }
        Ok(())
    }

    /// Sets `values` of a topic, and leaves its other settings as they are.
    pub fn set(&self, topic: &str, values: &BTreeMap<&str, &str>) -> Result<(), Error> {
        let admin = admin(&self.client)?;
        let asked = [ResourceSpecifier::Topic(topic)];
        let described =
            waited(admin.describe_configs(&asked, &options())).map_err(|error| self.client.explain(&error))?;
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for resource in described {
            let resource = resource.map_err(|code| self.refused(&format!("{topic} cannot be looked at: {code}")))?;
            // The call replaces everything that was set: what others set is set again.
            let set = resource.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
            all.extend(set.filter_map(|entry| entry.value.map(|value| (entry.name, value))));
        }
        all.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let change = all.iter().fold(AlterConfig::new(asked[0]), |change, (name, value)| change.set(name, value));
        let answers =
            waited(admin.alter_configs([&change], &options())).map_err(|error| self.client.explain(&error))?;
        for answer in answers {
            answer.map_err(|(_, code)| self.refused(&format!("the settings of {topic} were not changed: {code}")))?;
        }
        Ok(())
    }

    fn refused(&self, problem: &str) -> Error {
        Error::Refused { address: self.client.settings.servers.clone(), problem: problem.to_owned() }
    }
}

/// How many partitions each topic has, if everything may run on them.
pub(super) fn checked(client: &Client, asks: &BaseConsumer<Told>) -> Result<BTreeMap<String, u32>, Error> {
    let (found, layout) = differences(client, asks)?;
    let wrong: Vec<String> = found.iter().filter(|one| one.wrong).map(ToString::to_string).collect();
    if wrong.is_empty() {
        return Ok(layout);
    }
    let problem = format!("{} (`millrace topics --check` tells more, `--apply` mends what can be)", wrong.join("; "));
    Err(Error::Refused { address: client.settings.servers.clone(), problem })
}

fn differences(client: &Client, asks: &BaseConsumer<Told>) -> Result<(Vec<Difference>, BTreeMap<String, u32>), Error> {
    let metadata = metadata(asks, None).map_err(|error| client.explain_to(asks, &error))?;
    client.why.answered();
    let there: BTreeMap<&str, &MetadataTopic> =
        metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| (topic.name(), topic)).collect();
    let all = wanted(&client.settings);
    let (mut found, mut layout) = (Vec::new(), BTreeMap::new());
    for topic in &all {
        let Some(real) = there.get(topic.name.as_str()) else {
            is_hidden(client, asks, topic)?;
            found.push(differs(topic, "topic", "missing", "there", true));
            continue;
        };
        let partitions = real.partitions().len() as u32;
        layout.insert(topic.name[client.settings.prefix.len()..].to_owned(), partitions);
        if partitions != topic.partitions {
            found.push(differs(topic, "partitions", &partitions.to_string(), &topic.partitions.to_string(), true));
        }
        let replication = real.partitions().iter().map(|one| one.replicas().len()).min().unwrap_or(0) as u32;
        if replication != topic.replication {
            found.push(differs(topic, "replication", &replication.to_string(), &topic.replication.to_string(), false));
        }
    }
    let present: Vec<&Wanted> = all.iter().filter(|topic| there.contains_key(topic.name.as_str())).collect();
    found.extend(settings(client, &present)?);
    Ok((found, layout))
}

/// Fails where the brokers would not say whether there is such a topic: who may not look at it is not told of it.
fn is_hidden(client: &Client, asks: &BaseConsumer<Told>, topic: &Wanted) -> Result<(), Error> {
    let name = &topic.name;
    let metadata = metadata(asks, Some(name)).map_err(|error| client.explain_to(asks, &error))?;
    let refusal = metadata.topics().first().and_then(MetadataTopic::error);
    if refusal == Some(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        return Err(client.why.refused(format!(
            "its principal may not look at the topic {name}: grant what deploy/kafka/acls lists for its role (describe)"
        )));
    }
    Ok(())
}

/// How the settings of these topics differ.
fn settings(client: &Client, topics: &[&Wanted]) -> Result<Vec<Difference>, Error> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let admin = admin(client)?;
    let asked: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let described = waited(admin.describe_configs(&asked, &options())).map_err(|error| client.explain(&error))?;
    let mut found = Vec::new();
    for resource in described {
        let resource = resource.map_err(|code| Error::Refused {
            address: client.settings.servers.clone(),
            problem: format!("the settings of the topics cannot be looked at: {code}"),
        })?;
        let is_it = |topic: &&&Wanted| resource.specifier == OwnedResourceSpecifier::Topic(topic.name.clone());
        let Some(topic) = topics.iter().find(is_it) else { continue };
        // The library hands on a refusal as a topic without any settings; every real one has dozens.
        if resource.entries.is_empty() {
            return Err(client.why.refused(format!(
                "its principal may not look at the settings of {}: grant what deploy/kafka/acls lists for its role \
                 (describe-configs)",
                topic.name
            )));
        }
        let real = resource.entry_map();
        for (name, value) in &topic.settings {
            let set = real.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or("not set");
            if set != value {
                found.push(differs(topic, name, set, value, is_wrong(name, set, value)));
            }
        }
    }
    Ok(found)
}

/// True for settings without which decisions would be wrong: other clocks, lost keys, records that do not fit. How long records
/// stay and how many copies there are is the owner's choice.
fn is_wrong(name: &str, found: &str, wanted: &str) -> bool {
    match name {
        "cleanup.policy" | "message.timestamp.type" => true,
        "max.message.bytes" => found.parse::<u64>().ok() < wanted.parse::<u64>().ok(),
        _ => false,
    }
}

fn differs(topic: &Wanted, what: &str, found: &str, wanted: &str, wrong: bool) -> Difference {
    let (topic, what) = (topic.name.clone(), what.to_owned());
    Difference { topic, what, found: found.to_owned(), wanted: wanted.to_owned(), wrong }
}

fn admin(client: &Client) -> Result<AdminClient<impl ClientContext + use<>>, Error> {
    AdminClient::<DefaultClientContext>::from_config(&client.base()).map_err(|error| client.explain(&error))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_WITHIN)).operation_timeout(Some(ASK_WITHIN))
}

/// The answer of an asynchronous call, for callers on any thread, also on one of a runtime.
fn waited<F: Future + Send>(call: F) -> F::Output
where
    F::Output: Send,
{
    std::thread::scope(|scope| {
        let wait = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O needs nothing");
            runtime.block_on(call)
        };
        scope.spawn(wait).join().expect("it does not panic")
    })
}
