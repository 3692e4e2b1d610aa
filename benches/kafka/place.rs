//! Where a measurement takes place: topics of its own on the broker, and a folder.

use std::path::Path;
use std::sync::Arc;

use millrace::bus::SharedBus;
use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::Topics;
use millrace::config;
use millrace_schemas::metrics::Registry;
use millrace_schemas::topics::Topic;
use rdkafka::ClientConfig;

/// 24, as by default.
const PARTITIONS: u32 = 24;

pub(crate) struct Place {
    pub(crate) settings: config::Kafka,
    folder: tempfile::TempDir,
}

impl Place {
    /// New topics, whose names begin with `prefix`.
    pub(crate) fn new(servers: &str, prefix: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-bench-").tempdir().expect("a folder");
        let settings = config::Kafka {
            servers: servers.to_owned(),
            // A broker that is shared may have those of an earlier run.
            prefix: format!("{prefix}{}.", std::process::id()),
            partitions: PARTITIONS,
            replication: 1,
            tls: None,
            sasl: None,
            state: folder.path().join("bench"),
        };
        Topics::new(&settings).and_then(|topics| topics.apply()).expect("the topics are made");
        Self { settings, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.settings.partitions
    }

    /// A topic's name on the broker.
    pub(crate) fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.settings.prefix, topic.name())
    }

    /// The bus, with connections of its own.
    pub(crate) fn bus(&self, name: &str) -> SharedBus {
        Arc::new(KafkaBus::new(&self.settings, name, Arc::new(Registry::new())).expect("a client"))
    }

    /// The library without Millrace.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.servers);
        config
    }
}
