//! Each role may do with the lists of `deploy/kafka/acls` what it needs, and nothing else: what is expected is written down here a
//! second time, and every role tries every topic.

use std::sync::Mutex;
use std::time::Instant;

use millrace_test_servers::KafkaOptions;
use rdkafka::admin::ResourceSpecifier;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::*;

/// What a role may do, by the topics' short names.
struct Role {
    name: &'static str,
    writes: &'static [&'static str],
    reads: &'static [&'static str],
    groups: &'static [&'static str],
    /// Whether it may look at how topics are set up.
    looks: bool,
}

/// Every group that somebody may use.
const GROUPS: [&str; 6] = [
    "millrace.agent-h1",
    "millrace.windows.1",
    "millrace.digests.1",
    "millrace.refusals.1",
    "millrace.channel.ops.v1",
    "subscriber-1",
];

const ALL: &[&str] = &[
    "journal",
    "queries",
    "slow-queries",
    "samples",
    "digests",
    "windows",
    "inventory",
    "actions",
    "alerts",
    "routes",
    "dead",
    "state",
];

const ROLES: [Role; 8] = [
    Role {
        name: "agent",
        writes: &["journal", "queries", "slow-queries", "samples", "digests", "inventory", "dead"],
        reads: &["actions"],
        groups: &["millrace.agent-h1"],
        looks: true,
    },
    Role {
        name: "process",
        writes: &["journal", "digests", "windows", "actions", "alerts", "routes", "dead", "state"],
        reads: &["journal", "queries", "samples", "digests", "windows", "actions", "alerts", "routes", "state"],
        groups: &["millrace.windows.1", "millrace.digests.1", "millrace.refusals.1"],
        looks: true,
    },
    Role {
        name: "execute",
        writes: &["journal", "actions", "state"],
        reads: &["journal", "actions", "state"],
        groups: &[],
        looks: true,
    },
    Role {
        name: "sink",
        writes: &["dead", "state"],
        reads: &["journal", "queries", "samples", "slow-queries", "digests", "windows", "actions", "alerts", "state"],
        groups: &["millrace.channel.ops.v1"],
        looks: true,
    },
    Role { name: "console", writes: &[], reads: ALL, groups: &[], looks: true },
    Role { name: "operator", writes: &["journal"], reads: ALL, groups: &[], looks: true },
    Role { name: "subscriber", writes: &[], reads: &["alerts", "routes"], groups: &["subscriber-1"], looks: false },
    Role { name: "stranger", writes: &[], reads: &[], groups: &[], looks: false },
];

/// What became of each record, by its topic.
#[derive(Default)]
struct Reports(Mutex<Vec<(String, Result<(), Code>)>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let (topic, outcome) = match report {
            Ok(message) => (message.topic().to_owned(), Ok(())),
            Err((error, message)) => {
                (message.topic().to_owned(), Err(error.rdkafka_error_code().unwrap_or(Code::Fail)))
            }
        };
        self.0.lock().expect("nobody panicked").push((topic, outcome));
    }
}

/// The topics that take a record of this client. Producers are idempotent, as Millrace's are.
fn written(config: &ClientConfig) -> Vec<String> {
    let mut config = config.clone();
    config.set("enable.idempotence", "true").set("message.timeout.ms", WAIT_MAX.as_millis().to_string());
    let producer = BaseProducer::<Reports>::from_config_and_context(&config, Reports::default())
        .expect("the settings are librdkafka's");
    // One at a time: a refusal must not be that of another topic's record in the same request.
    for topic in topics() {
        match producer.send(BaseRecord::<(), str>::to(&topic).payload("a record")) {
            Ok(()) => producer.flush(WAIT_MAX).expect("the broker answers"),
            // Who may write nowhere gets no number as a producer, and is told at once from then on.
            Err((KafkaError::MessageProduction(Code::Fatal), _)) => {
                let (why, _) = producer.client().fatal_error().expect("there is one");
                assert_eq!(why, Code::ClusterAuthorizationFailed);
                return Vec::new();
            }
            Err((other, _)) => panic!("{topic}: {other}"),
        }
    }
    let reports = producer.context().0.lock().expect("nobody panicked");
    let refusals = [Code::TopicAuthorizationFailed, Code::ClusterAuthorizationFailed];
    let taken = |(topic, outcome): &(String, Result<(), Code>)| match outcome {
        Ok(()) => Some(topic.clone()),
        Err(code) if refusals.contains(code) => None,
        Err(other) => panic!("{topic}: {other}, which is neither taken nor refused"),
    };
    assert_eq!(reports.len(), topics().len(), "{reports:?}");
    reports.iter().filter_map(taken).collect()
}

/// The topics that this client can read.
fn read(config: &ClientConfig) -> Vec<String> {
    let consumer: BaseConsumer = config
        .clone()
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .create()
        .expect("the settings are librdkafka's");
    topics().into_iter().filter(|topic| is_readable(&consumer, topic)).collect()
}

fn is_readable(consumer: &BaseConsumer, topic: &str) -> bool {
    let metadata = consumer.fetch_metadata(Some(topic), WAIT_MAX).expect("the broker answers");
    if metadata.topics()[0].error().is_some() {
        // It is not even told that there is such a topic.
        return false;
    }
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Offset(0)).expect("an offset");
    consumer.assign(&assignment).expect("the assignment is taken");
    let start = Instant::now();
    while start.elapsed() < WAIT_MAX {
        match consumer.poll(WAIT_MAX) {
            Some(Ok(message)) => {
                assert_eq!(message.topic(), topic);
                return true;
            }
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => return false,
            // A connection that is just being made, for instance.
            Some(Err(_)) | None => {}
        }
    }
    panic!("{topic} gave neither a record nor a refusal");
}

/// The groups as a member of which this client is given a topic that it may read.
fn joined(config: &ClientConfig, topic: &str) -> Vec<&'static str> {
    let is_let_in = |group: &&str| {
        let consumer: BaseConsumer = config
            .clone()
            .set("group.id", *group)
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("the settings are librdkafka's");
        consumer.subscribe(&[&format!("millrace.{topic}")]).expect("the name is one");
        let start = Instant::now();
        while start.elapsed() < WAIT_MAX {
            match consumer.poll(WAIT_MAX) {
                Some(Ok(_)) => return true,
                Some(Err(error)) if error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed) => return false,
                // A coordinator that is just being found, for instance.
                Some(Err(_)) | None => {}
            }
        }
        panic!("{group} gave neither a record nor a refusal");
    };
    GROUPS.into_iter().filter(is_let_in).collect()
}

/// Whether this client may look at the set-up of topics; and it must not be able to change it.
async fn looks(config: &ClientConfig) -> bool {
    let admin: AdminClient<DefaultClientContext> = config.create().expect("the settings are librdkafka's");
    let new = NewTopic::new("millrace.extra", 1, TopicReplication::Fixed(1));
    let made = admin.create_topics(&[new], &options()).await.expect("the broker answers");
    assert!(made[0].is_err(), "it can make topics");
    let gone = admin.delete_topics(&["millrace.journal"], &options()).await.expect("the broker answers");
    assert!(gone[0].is_err(), "it can delete topics");
    let asked = [ResourceSpecifier::Topic("millrace.journal")];
    // A refusal arrives as a topic without any setting.
    let described = admin.describe_configs(&asked, &options()).await.expect("the broker answers");
    described[0].as_ref().is_ok_and(|topic| !topic.entries.is_empty())
}

fn named(topics: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = topics.iter().map(|topic| format!("millrace.{topic}")).collect();
    names.sort();
    names
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn each_role_may_do_what_its_list_says_and_nothing_else() {
    let kafka = Kafka::start(&KafkaOptions { open: false, ..KafkaOptions::default() }).await;
    create_topics(&kafka).await;
    // Something to read in each.
    assert_eq!(written(&client(&kafka.with_certificate("admin"))).len(), topics().len());
    let lists: Vec<PathBuf> = ROLES.iter().map(|role| role.name).filter(|name| *name != "stranger").map(list).collect();
    let there = std::fs::read_dir(root().join("deploy/kafka/acls")).unwrap().count();
    assert_eq!(lists.len(), there, "deploy/kafka/acls has other lists than are tested here");
    kafka.grant(&lists);
    // At once, since each of them mostly waits to be refused. A certificate and a password are the same principal.
    std::thread::scope(|scope| {
        for (at, role) in ROLES.iter().enumerate() {
            let by_certificate = at % 2 == 0;
            let settings =
                if by_certificate { kafka.with_certificate(role.name) } else { kafka.with_password(role.name) };
            scope.spawn(move || check(role, &client(&settings)));
        }
    });
}

fn check(role: &Role, config: &ClientConfig) {
    assert_eq!(sorted(written(config)), named(role.writes), "what {} writes", role.name);
    assert_eq!(sorted(read(config)), named(role.reads), "what {} reads", role.name);
    if let Some(topic) = role.reads.first() {
        assert_eq!(joined(config, topic), role.groups, "the groups of {}", role.name);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    assert_eq!(runtime.block_on(looks(config)), role.looks, "whether {} looks at the set-up", role.name);
}
