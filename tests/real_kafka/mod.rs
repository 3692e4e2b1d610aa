//! Tests with a real Kafka. The name of this module says so to `scripts/test.sh`, which leaves out and counts what lies in modules of
//! this name where there is none.

mod access;
mod subscribers;

use std::path::{Path, PathBuf};

use millrace_schemas::topics::Topic;
use millrace_test_servers::{Kafka, Settings, WAIT_MAX};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A client's configuration.
fn client(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in settings {
        config.set(*name, value);
    }
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT_MAX)).request_timeout(Some(WAIT_MAX))
}

/// Every topic of Millrace by its name on the brokers, and where snapshots are.
fn topics() -> Vec<String> {
    let names = Topic::ALL.iter().map(|topic| topic.name()).chain(["state"]);
    names.map(|name| format!("millrace.{name}")).collect()
}

/// Makes every topic, with one partition.
async fn create_topics(kafka: &Kafka) {
    let admin: AdminClient<DefaultClientContext> =
        client(&kafka.with_certificate("admin")).create().expect("the settings are librdkafka's");
    let topics = topics();
    let new: Vec<_> = topics.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
    for made in admin.create_topics(&new, &options()).await.expect("the broker answers") {
        made.expect("the topic is made");
    }
}

/// The list of a role.
fn list(role: &str) -> PathBuf {
    root().join(format!("deploy/kafka/acls/{role}.acls"))
}
