//! A fleet for tests: brokers of its own, the program's roles as processes, a cluster of real servers. Roles are named as
//! operators would: `p1` and `p2` process, `e1` and `e2` execute, `s1` archives, `a-h1` to `a-h3` are agents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::Topics;
use millrace::config;
use millrace::demo::site::{cluster_of, end};
use millrace::journal::appended_to;
use millrace_executors::guard;
use millrace_executors::hands::files::Instance;
use millrace_mysql::Flavour;
use millrace_schemas::cluster::{ClusterSpec, Member};
use millrace_schemas::event::Event;
use millrace_schemas::ids::HostId;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, Order};
use millrace_schemas::topics::journal::{Ended, Fact};
use millrace_schemas::topics::routes::{Route, Routing};
use millrace_test_servers::{Island, Kafka, KafkaOptions, Port, all_stopped};
use rustix::process::{Pid, Signal, kill_process};

use crate::real::site::{PATIENCE, end_after_a_panic, millrace, templates};

/// The cluster of a fleet.
pub(super) const CLUSTER: &str = "c-fleet";
/// 6 partitions: enough for shares, few enough for one broker of a test.
const PARTITIONS: u32 = 6;
/// 256 MiB: what a process may have, whatever is away.
pub(super) const MEMORY_MAX: u64 = 256 << 20;

/// A role that runs.
struct Running {
    command: &'static str,
    child: Child,
}

/// Where a role reaches the brokers, and what its configuration says besides: how it logs in, and where it listens.
pub(super) type Access = Box<dyn Fn(&Kafka, &str) -> (String, String) + Send + Sync>;

pub(super) struct Fleet {
    pub(super) kafka: Kafka,
    /// Absent: roles come in without TLS, and may do everything.
    pub(super) access: Option<Access>,
    pub(super) settings: config::Kafka,
    pub(super) dir: PathBuf,
    pub(super) spec: ClusterSpec,
    /// Where the host h1 is, if not among the others; its servers' addresses are in `spec`.
    pub(super) island: Option<Island>,
    running: BTreeMap<String, Running>,
    /// The most memory that a role of this name had.
    memory: BTreeMap<String, u64>,
    _ports: Vec<Port>,
    _folder: tempfile::TempDir,
}

/// What a role is called on the command line.
fn command_of(name: &str) -> &'static str {
    match name.as_bytes()[0] {
        b'p' => "process",
        b'e' => "execute",
        b's' => "sink",
        b'c' => "console",
        _ => "agent",
    }
}

impl Fleet {
    /// Brokers and topics; no role runs yet.
    pub(super) async fn new(options: &KafkaOptions) -> Self {
        let fleet = Self::over(Kafka::start(options).await, options.brokers as u32, "fleet.");
        Topics::new(&fleet.settings).and_then(|topics| topics.apply()).expect("the topics are made");
        fleet
    }

    /// A fleet over these brokers, whose topics somebody else makes.
    pub(super) fn over(kafka: Kafka, replication: u32, prefix: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("mr-").tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        let settings = config::Kafka {
            servers: kafka.bootstrap().to_owned(),
            prefix: prefix.to_owned(),
            partitions: PARTITIONS,
            replication,
            tls: None,
            sasl: None,
            state: dir.join("test"),
        };
        let hosts: Vec<HostId> = (1..=3).map(|n| HostId::parse(format!("h{n}")).expect("legal")).collect();
        let mut spec = cluster_of(Flavour::MariaDb, "mariadb-10.11", &hosts).expect("free ports");
        let ports: Vec<Port> = hosts.iter().map(|_| millrace_test_servers::free_port()).collect();
        for (member, port) in spec.members.iter_mut().zip(&ports) {
            member.port = port.number;
        }
        let (running, memory) = (BTreeMap::new(), BTreeMap::new());
        Self { kafka, access: None, settings, dir, spec, island: None, running, memory, _ports: ports, _folder: folder }
    }

    /// Writes a role's configuration: where the brokers are reached, and what it has of its own.
    pub(super) fn configure(&self, name: &str, servers: &str) -> PathBuf {
        let access = self.access.as_ref().map(|access| access(&self.kafka, name));
        let (servers, more) = access.unwrap_or_else(|| (servers.to_owned(), String::new()));
        let (root, config::Kafka { prefix, partitions, replication, .. }) = (self.dir.display(), &self.settings);
        let mut text = format!(
            "name = \"{name}\"\n[bus]\nkind = \"kafka\"\nservers = \"{servers}\"\nprefix = \"{prefix}\"\npartitions = {partitions}\n\
             replication = {replication}\nstate-dir = \"{root}/{name}-state\"\n{more}"
        );
        if let Some(host) = name.strip_prefix("a-") {
            let templates = templates();
            let _ = write!(
                text,
                "[[agent]]\nhost = \"{host}\"\nstate-dir = \"{root}/{host}-agent\"\ninstances-dir = \"{root}/{host}\"\n\
                 templates-dir = \"{}\"\n",
                templates.display()
            );
        } else if name.starts_with('s') {
            let _ = write!(text, "[archive]\ndir = \"{root}/archive\"\n");
        }
        let file = self.dir.join(format!("{name}.toml"));
        std::fs::write(&file, text).expect("writable");
        file
    }

    /// Starts a role, which reaches the brokers at their own address.
    pub(super) fn start(&mut self, name: &str) {
        let servers = self.settings.servers.clone();
        self.start_at(name, &servers);
    }

    /// Starts a role, which is to die at `failpoint`.
    pub(super) fn start_to_die(&mut self, name: &str, failpoint: &str) {
        let servers = self.settings.servers.clone();
        self.spawn(name, &servers, Some(failpoint));
    }

    /// Waits until a role that was to die has.
    pub(super) async fn died(&mut self, name: &str) {
        let mut role = self.running.remove(name).expect("it was started");
        let until = Instant::now() + PATIENCE;
        while role.child.try_wait().expect("waitable").is_none() {
            assert!(Instant::now() < until, "{name} does not die\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a role, which reaches the brokers at `servers`.
    pub(super) fn start_at(&mut self, name: &str, servers: &str) {
        self.spawn(name, servers, None);
    }

    fn spawn(&mut self, name: &str, servers: &str, failpoint: Option<&str>) {
        let config = self.configure(name, servers);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_of(name)).expect("a log");
        let mut command: Command = millrace();
        command.arg(command_of(name)).arg("--config").arg(config);
        if let Some(island) = self.island.as_ref().filter(|_| name == "a-h1") {
            command = island.enter(&command);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(failpoint) = failpoint {
            command.env("MILLRACE_FAILPOINT", failpoint);
        }
        let child = command.spawn().expect("millrace starts");
        let before = self.running.insert(name.to_owned(), Running { command: command_of(name), child });
        assert!(before.is_none(), "{name} runs already");
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Ends a role with SIGKILL.
    pub(super) fn kill9(&mut self, name: &str) {
        self.weigh();
        let mut role = self.running.remove(name).unwrap_or_else(|| panic!("{name} does not run"));
        let ended = role.child.try_wait().expect("waitable");
        assert!(ended.is_none(), "{name} ended by itself with {ended:?}\n{}", self.log(name));
        role.child.kill().expect("it runs");
        role.child.wait().expect("waitable");
    }

    /// Asks a role to end, and waits until it has.
    pub(super) fn leave(&mut self, name: &str) {
        kill_process(self.pid(name), Signal::TERM).expect("it is our child");
        let mut role = self.running.remove(name).expect("it runs");
        let status = role.child.wait().expect("waitable");
        assert!(status.success(), "{name} ended with {status}\n{}", self.log(name));
    }

    fn pid(&self, name: &str) -> Pid {
        Pid::from_child(&self.running[name].child)
    }

    /// Stops a role in its tracks.
    pub(super) fn pause(&self, name: &str) {
        kill_process(self.pid(name), Signal::STOP).expect("it is our child");
        let until = Instant::now() + PATIENCE;
        while all_stopped(self.running[name].child.id()).is_none() {
            assert!(Instant::now() < until, "{name} does not stand still");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets it go on.
    pub(super) fn resume(&self, name: &str) {
        kill_process(self.pid(name), Signal::CONT).expect("it is our child");
    }

    /// Fails when a role has ended that nobody ended.
    pub(super) fn all_run(&mut self) {
        let ended = |(name, role): (&String, &mut Running)| Some((name.clone(), role.child.try_wait().ok().flatten()?));
        let ended: Vec<_> = self.running.iter_mut().filter_map(ended).collect();
        let logs: Vec<String> = ended.iter().map(|(name, _)| self.log(name)).collect();
        assert!(ended.is_empty(), "ended by themselves: {ended:?}\n{}", logs.join("\n"));
    }

    /// Notes how much memory each role has had.
    pub(super) fn weigh(&mut self) {
        for (name, role) in &self.running {
            let status = std::fs::read_to_string(format!("/proc/{}/status", role.child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            let most = self.memory.entry(name.clone()).or_default();
            *most = (*most).max(kib << 10);
        }
    }

    /// The role that had the most memory, and how much.
    pub(super) fn heaviest(&mut self) -> (String, u64) {
        self.weigh();
        let most = self.memory.iter().max_by_key(|(_, bytes)| **bytes).expect("a role ran");
        (most.0.clone(), *most.1)
    }

    /// The bus, as the test itself reaches it.
    pub(super) fn bus(&self) -> SharedBus {
        Arc::new(KafkaBus::new(&self.settings, "test", Arc::new(Registry::new())).expect("a client"))
    }

    /// Everything that is in a topic now.
    pub(super) fn told(&self, topic: Topic) -> Vec<Record> {
        appended_to(&self.bus(), topic).and_then(Iterator::collect).expect("the bus answers")
    }

    /// Creates the cluster, as an operator does, and waits until it is there.
    pub(super) fn create(&self) {
        let config = self.configure("operator", &self.settings.servers);
        let until = Instant::now() + PATIENCE;
        while self.told(Topic::Inventory).len() < self.spec.members.len() {
            assert!(Instant::now() < until, "not every agent has spoken\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut command = millrace();
        command.args(["cluster", "create", CLUSTER, "--flavour", "mariadb", "--mode", "auto", "--config"]).arg(config);
        command.arg("--template").arg(self.spec.template.as_deref().expect("of a template"));
        for member in &self.spec.members {
            command.arg("--member").arg(format!("{}@{}:{}", member.instance, member.host, member.endpoint()));
        }
        let made = command.output().expect("it runs");
        let (out, error) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
        assert!(made.status.success(), "{out}\n{error}\n{}", self.logs());
    }

    /// The newest route of the cluster.
    pub(super) fn route(&self) -> Option<Route> {
        let routes = self.told(Topic::Routes);
        let of_ours = routes.iter().rev().filter_map(|record| Event::<Routing>::from_record(record).ok());
        let mut of_ours = of_ours.filter(|event| event.subject.cluster.as_str() == CLUSTER);
        of_ours.next().map(|event| {
            let Routing::Route(route) = event.payload;
            route
        })
    }

    /// Waits until the route names a primary, another one than `old`.
    pub(super) async fn primary(&self, old: Option<&Member>) -> Member {
        let until = Instant::now() + PATIENCE;
        loop {
            let primary = self.route().and_then(|route| route.primary);
            let named = primary.and_then(|one| self.spec.members.iter().find(|member| member.instance == one.instance));
            if let Some(member) = named
                && Some(member) != old
            {
                return member.clone();
            }
            assert!(Instant::now() < until, "no primary was published\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All actions of the cluster, each once.
    pub(super) fn actions(&self) -> Vec<Action> {
        let mut found = BTreeMap::new();
        for record in self.told(Topic::Actions) {
            if let Ok(Event { payload: Order::Action(action), subject, .. }) = Event::<Order>::from_record(&record)
                && subject.cluster.as_str() == CLUSTER
            {
                found.insert(action.id, *action);
            }
        }
        found.into_values().collect()
    }

    /// All ends of actions, as often as they were told, without repeats of the same record.
    pub(super) fn ends(&self) -> Vec<Ended> {
        let mut found = BTreeMap::new();
        for record in self.told(Topic::Journal) {
            if let Ok(Event { payload: Fact::Ended(ended), id, .. }) = Event::<Fact>::from_record(&record) {
                found.insert(id, ended);
            }
        }
        found.into_values().collect()
    }

    /// Waits until an action of this kind has ended as many `times`.
    pub(super) async fn ended(&self, kind: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let actions: Vec<_> = self.actions().into_iter().filter(|action| action.kind.name() == kind).collect();
            let ends = self.ends();
            let done = actions.iter().filter(|action| ends.iter().any(|end| end.action == action.id)).count();
            if done >= times {
                return;
            }
            assert!(Instant::now() < until, "{done} of {times} {kind} have ended\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) fn instance(&self, member: &Member) -> Option<Instance> {
        Instance::read(&self.dir.join(member.host.as_str()).join(member.instance.as_str())).ok().flatten()
    }

    /// Kills a member's server (SIGKILL).
    pub(super) fn kill_server(&self, member: &Member) {
        let instance = self.instance(member).expect("it was made");
        let state = std::fs::read(instance.dir.join(guard::STATE)).expect("a state");
        let state: guard::State = serde_json::from_slice(&state).expect("readable");
        let process = state.server.process().expect("it runs");
        kill_process(Pid::from_raw(process.pid as i32).expect("a pid"), Signal::KILL).expect("it can be killed");
    }

    /// The end of a role's log.
    fn log(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.log_of(name)).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(12).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The ends of all logs.
    pub(super) fn logs(&self) -> String {
        // Processors first: what went wrong is most often seen there.
        let (first, then): (Vec<_>, Vec<_>) = self.running.iter().partition(|(name, _)| name.starts_with('p'));
        let named = first.into_iter().chain(then);
        let names = named.map(|(name, role)| format!("{name} ({}):\n{}", role.command, self.log(name)));
        let mut lines: Vec<String> = names.collect();
        for topic in [Topic::Journal, Topic::Actions] {
            let of_ours = self.told(topic).into_iter().filter(|record| record.key == CLUSTER);
            let texts: Vec<String> = of_ours
                .map(|record| {
                    format!(
                        "{}: {}",
                        record.appended,
                        String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
                    )
                })
                .filter(|text| !text.contains(".heartbeat.") && !text.contains(".tick."))
                .collect();
            lines.push(format!("{topic}:"));
            lines.extend(texts.iter().rev().take(12).rev().map(|text| text.chars().take(400).collect()));
        }
        lines.join("\n")
    }

    fn stop(&mut self) {
        let running: Vec<Running> = std::mem::take(&mut self.running).into_values().collect();
        for role in &running {
            let pid = Pid::from_child(&role.child);
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, Signal::TERM);
        }
        for mut role in running {
            let until = Instant::now() + Duration::from_secs(10);
            while matches!(role.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = role.child.kill();
            let _ = role.child.wait();
        }
    }

    /// Ends everything.
    pub(super) async fn remove(mut self) {
        self.stop();
        for member in &self.spec.members {
            if let Some(instance) = self.instance(member) {
                end(instance).await;
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        end_after_a_panic(
            std::mem::take(&mut self.running).into_values().map(|role| role.child),
            self.spec.members.iter().filter_map(|member| self.instance(member)).collect(),
        );
    }
}
