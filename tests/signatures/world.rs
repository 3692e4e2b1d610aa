//! A site with every role, whose keys are in a roster; and whoever can write to its bus without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::bus::http::HttpBus;
use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::Topics;
use millrace::bus::signed::SignedBus;
use millrace::config::{self, Settings};
use millrace::journal::appended_to;
use millrace::roles::speaker::{Speaker, now};
use millrace::roles::up::{Roles, Up};
use millrace::trust::{Trust, key_file, roster_file};
use millrace_schemas::cluster::{ClusterSpec, Member};
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::{Metric, Registry};
use millrace_schemas::record::{NewRecord, Record, partition_of};
use millrace_schemas::signing::{Entry, Role, Signer};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact};
use millrace_test_servers::shared_kafka;
use tokio::runtime::Runtime;

/// 60 s: everything here takes a second or two, on a machine that does something else too, ten.
const WITHIN: Duration = Duration::from_mins(1);

/// The private keys: of the site's process, an operator, another executor, another host's agent, and a stranger.
pub(super) struct Keys {
    pub(super) operator: Signer,
    pub(super) executor: Signer,
    pub(super) agent: Signer,
    pub(super) stranger: Signer,
}

pub(super) struct World {
    folder: tempfile::TempDir,
    up: Option<Up>,
    runtime: Runtime,
    pub(super) metrics: Arc<Registry>,
    /// The bus as whoever reaches it has it: nothing is signed, nobody is judged.
    pub(super) bus: SharedBus,
    pub(super) keys: Keys,
    operator: Speaker,
}

pub(super) fn shop() -> ClusterId {
    ClusterId::parse("shop").expect("legal")
}

/// A cluster of one member of `h1`, of a template that is not there: its creation is tried, and fails.
pub(super) fn spec() -> ClusterSpec {
    let member = Member {
        instance: "db1".parse().expect("legal"),
        host: "h1".parse().expect("legal"),
        address: "127.0.0.1".to_owned(),
        port: 33_999,
    };
    ClusterSpec {
        members: vec![member.clone()],
        primary: member.instance.clone(),
        acknowledgers: vec![member.instance],
        acknowledgements: 0,
        template: Some("none".to_owned()),
        ..examples::spec()
    }
}

/// What `source` says, unsigned.
pub(super) fn said<P: Payload>(source: &str, counter: u64, at: Timestamp, subject: Subject, payload: P) -> NewRecord {
    let id = EventId::derive(&["signatures", source, &counter.to_string()]);
    let sequence = Sequence { incarnation: 1, counter };
    let (source, appended, cause) = (source.to_owned(), Timestamp::ZERO, None);
    Event { id, source, sequence, at, appended, subject, cause, payload }.to_record()
}

impl World {
    /// On a bus file that the site's process opens, and others reach through it.
    pub(super) fn on_a_file() -> Self {
        Self::on(|folder| config::Bus::File {
            file: folder.join("bus.db"),
            listen: Some(([127, 0, 0, 1], 0).into()),
            token_file: folder.join("bus.token"),
        })
    }

    /// On a real broker, with several partitions.
    pub(super) fn on_kafka() -> Self {
        let mut settings = crate::bus::real_kafka_settings(shared_kafka());
        Topics::new(&settings).and_then(|topics| topics.apply()).expect("the topics are made");
        Self::on(|folder| {
            folder.clone_into(&mut settings.state);
            config::Bus::Kafka(settings)
        })
    }

    fn on(bus: impl FnOnce(&Path) -> config::Bus) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bus = bus(folder.path());
        let path = |name: &str| folder.path().join(name);
        let roster = path("roster.toml");
        let key = |file: &str, roles: &[Role], host: Option<&str>, name: Option<&str>, about: &str| {
            let signer = key_file::make(&path(file)).expect("made");
            let entry = Entry {
                public: signer.public(),
                roles: roles.iter().copied().collect(),
                hosts: host.map(|host| host.parse().expect("legal")).into_iter().collect(),
                names: name.map(str::to_owned).into_iter().collect(),
                about: vec![about.parse().expect("legal")],
                revoked: None,
            };
            roster_file::enrol(&roster, &entry, now()).expect("enrolled");
            signer
        };
        key("site.key", &[Role::Agent, Role::Process, Role::Execute], Some("h1"), Some("site"), "*");
        let keys = Keys {
            operator: key("operator.key", &[Role::Operator], None, Some("ops-0"), "*"),
            executor: key("executor.key", &[Role::Execute], None, Some("e2"), "*"),
            agent: key("agent.key", &[Role::Agent], Some("h2"), None, "shop/db2"),
            stranger: key_file::make(&path("stranger.key")).expect("made"),
        };
        let settings = settings(folder.path(), bus, roster.clone());
        let runtime = Runtime::new().expect("threads");
        let up = {
            let _inside = runtime.enter();
            Up::start(&settings, Roles { console: false, ..Roles::ALL }).expect("it starts")
        };
        let bus: SharedBus = if let config::Bus::Kafka(kafka) = &settings.bus {
            Arc::new(KafkaBus::new(kafka, "past-everybody", Arc::default()).expect("a client"))
        } else {
            let address = up.bus_address.expect("it listens");
            Arc::new(HttpBus::new(address, &path("bus.token")).expect("a way"))
        };
        let trust = config::Trust { key_file: Some(path("operator.key")), roster };
        let trust = Arc::new(Trust::open(&trust, Arc::default()).expect("right"));
        let signed: SharedBus = Arc::new(SignedBus::new(Arc::clone(&bus), trust, Arc::default()));
        let operator = Speaker::new("operator/ops-0".to_owned(), &path("operator"), signed).expect("alone");
        let metrics = Arc::clone(&up.metrics);
        Self { folder, up: Some(up), runtime, metrics, bus, keys, operator }
    }

    /// The operator's own word; the id of the fact.
    pub(super) fn command(&self, command: Command) -> EventId {
        let said = self.operator.say(Subject::cluster(shop()), None, Fact::Command(command));
        let landed = said.wait().expect("said")[0];
        let all = self.all(Topic::Journal);
        let record = all
            .iter()
            .find(|record| (record.partition, record.offset) == (landed.partition, landed.offset))
            .expect("it is there");
        Event::<Fact>::from_record(record).expect("a fact").id
    }

    /// Appends past everybody.
    pub(super) fn smuggle(&self, record: NewRecord) -> u64 {
        self.bus.append(vec![record]).wait().expect("the bus takes everything")[0].offset
    }

    pub(super) fn all(&self, topic: Topic) -> Vec<Record> {
        appended_to(&self.bus, topic).expect("readable").map(|record| record.expect("readable")).collect()
    }

    pub(super) fn events<P: Payload>(&self) -> Vec<(u64, Event<P>)> {
        let read = |record: &Record| Some((record.offset, Event::<P>::from_record(record).ok()?));
        self.all(P::TOPIC).iter().filter_map(read).collect()
    }

    pub(super) fn end(&self, topic: Topic) -> u64 {
        self.bus.end(topic, self.place()).expect("there")
    }

    /// The partition of everything about shop.
    pub(super) fn place(&self) -> u32 {
        partition_of(shop().as_str(), self.bus.partitions(Topic::Journal).expect("there"))
    }

    pub(super) fn count(&self, metric: &'static Metric, labels: &[&str]) -> u64 {
        self.metrics.get(metric, labels) as u64
    }

    /// Looks until `what` is there.
    pub(super) fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let from = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(from.elapsed() < WITHIN, "{what}: not within {} s", WITHIN.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(up) = self.up.take() {
            self.runtime.block_on(up.stop());
        }
        assert!(self.folder.path().exists(), "it is removed last");
    }
}

fn settings(folder: &Path, bus: config::Bus, roster: PathBuf) -> Settings {
    let agent = config::Agent {
        host: "h1".parse().expect("legal"),
        state: folder.join("agent"),
        instances: Some(folder.join("instances")),
        templates: Some(folder.join("templates")),
        capture: None,
        keep_slow_logs: None,
        servers: Vec::new(),
        backups: Vec::new(),
    };
    let trust = config::Trust { key_file: Some(folder.join("site.key")), roster };
    Settings { trust: Some(trust), agents: vec![agent], ..Settings::new("site", bus) }
}
