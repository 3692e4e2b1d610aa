//! The conformance suite on a real Kafka, and what only Kafka has to do. Tests that take the broker away have one of their own; the
//! others share one, each with topics of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::{Topics, wanted};
use millrace::bus::{Assignment, Bus as _, From, SharedBus};
use millrace::config;
use millrace_schemas::metrics::Registry;
use millrace_schemas::topics::{Retention, Topic};
use millrace_test_servers::{Kafka, KafkaOptions, shared_kafka};
use tokio::runtime::Runtime;

use super::{Lab, append, plain, records};

/// 3 partitions: enough that order between them is not kept.
const PARTITIONS: u32 = 3;

/// A set of topics on a broker.
struct KafkaLab {
    /// The broker, where the test has its own, and what waits for it.
    own: Option<(Runtime, Kafka)>,
    settings: config::Kafka,
    bus: KafkaBus,
}

/// Topics that nobody else has.
pub(crate) fn settings(servers: &str) -> config::Kafka {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    config::Kafka {
        servers: servers.to_owned(),
        prefix: format!("test-{}-{number}.", std::process::id()),
        partitions: PARTITIONS,
        replication: 1,
        tls: None,
        sasl: None,
        state: std::env::temp_dir(),
    }
}

fn open(settings: &config::Kafka) -> KafkaBus {
    KafkaBus::new(settings, "test", Arc::new(Registry::new())).expect("a client")
}

impl KafkaLab {
    fn new(test: &str) -> Self {
        let takes_it_away = [
            "append_times_never_go_back",
            "snapshots_keep_their_offsets",
            "a_restart_forgets_nothing",
            "while_it_is_away_it_says_so_and_does_nothing",
            "retention_removes_records_and_keeps_offsets",
        ];
        let own = takes_it_away.contains(&test).then(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let kafka = runtime.block_on(Kafka::start(&KafkaOptions::default()));
            (runtime, kafka)
        });
        let servers = own.as_ref().map_or_else(|| shared_kafka().to_owned(), |(_, kafka)| kafka.bootstrap().to_owned());
        let settings = settings(&servers);
        Topics::new(&settings).and_then(|topics| topics.apply()).expect("the topics are made");
        let bus = open(&settings);
        Self { own, settings, bus }
    }

    fn topic(&self, topic: Topic) -> String {
        format!("{}{topic}", self.settings.prefix)
    }

    /// What a topic holds now.
    fn held(&self, topic: Topic) -> Vec<millrace_schemas::record::Record> {
        let mut reader = self.bus.reader(Assignment::Manual(vec![(topic, From::Start)])).expect("a reader");
        let mut items = Vec::new();
        while items.is_empty() || reader.unread() != Ok([].into()) {
            items.extend(reader.poll(Duration::from_millis(50)).expect("the bus is there"));
        }
        records(&items)
    }

    /// Waits until the broker has removed at least one record of `topic`, and what it wants to remove seems to be gone.
    fn removed(&self, topic: Topic, before: usize) -> u64 {
        let until = Instant::now() + Duration::from_mins(1);
        let (mut left, mut since) = (before, Instant::now());
        while Instant::now() < until {
            let now = self.held(topic).len();
            if now != left {
                (left, since) = (now, Instant::now());
            }
            if left < before && since.elapsed() > Duration::from_secs(2) {
                return (before - left) as u64;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{topic}: the broker removed nothing of {before}");
    }
}

impl Lab for KafkaLab {
    fn bus(&self) -> SharedBus {
        Arc::new(self.bus.clone())
    }

    fn restart(&mut self) {
        let (runtime, kafka) = self.own.as_mut().expect("this test has a broker of its own");
        kafka.kill9(1);
        runtime.block_on(kafka.start_again(1));
        self.bus = open(&self.settings);
    }

    fn away(&mut self, away: bool) -> bool {
        let (runtime, kafka) = self.own.as_mut().expect("this test has a broker of its own");
        if away {
            kafka.kill9(1);
        } else {
            runtime.block_on(kafka.start_again(1));
        }
        true
    }

    /// A broker cannot be sent into the future; it is told instead that records are kept so much shorter.
    fn expire(&self, later: Duration) -> u64 {
        let topics = Topics::new(&self.settings).expect("a client");
        let mut removed = 0;
        for topic in Topic::ALL {
            let held = self.held_if_any(topic);
            if held.is_empty() {
                continue;
            }
            match topic.retention() {
                Retention::For(time) if time > later => {}
                Retention::For(_) => {
                    topics.set(&self.topic(topic), &BTreeMap::from([("retention.ms", "1")])).expect("set");
                    removed += self.removed(topic, held.len());
                    let wanted = wanted(&self.settings).into_iter().find(|one| one.name == self.topic(topic));
                    let kept = wanted.expect("a topic of ours").settings["retention.ms"].clone();
                    topics.set(&self.topic(topic), &BTreeMap::from([("retention.ms", kept.as_str())])).expect("set");
                }
                Retention::Compacted => {
                    let eager = BTreeMap::from([("segment.ms", "1"), ("min.cleanable.dirty.ratio", "0.01")]);
                    topics.set(&self.topic(topic), &eager).expect("set");
                    // Only a segment that is not written to any more is compacted: the newest of each partition comes again.
                    let newest: BTreeMap<u32, _> = held.iter().map(|record| (record.partition, record)).collect();
                    for record in newest.values() {
                        let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
                        append(&self.bus(), &[plain(topic, &record.key, &text)]);
                    }
                    removed += self.removed(topic, held.len() + newest.len());
                }
            }
        }
        removed
    }

    fn is_exact(&self) -> bool {
        true
    }
}

impl KafkaLab {
    fn held_if_any(&self, topic: Topic) -> Vec<millrace_schemas::record::Record> {
        let any = (0..PARTITIONS).any(|at| self.bus.end(topic, at).expect("the broker answers") > 0);
        if any { self.held(topic) } else { Vec::new() }
    }
}

macro_rules! conformance_on_kafka {
    ($($name:ident),* $(,)?) => {
        mod conformance {
            $(#[test] fn $name() { super::super::suite::$name(&mut super::KafkaLab::new(stringify!($name))); })*
        }
    };
}

super::promises!(conformance_on_kafka);
