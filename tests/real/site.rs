//! A site for tests: a folder, configurations, the program's processes as children, and a cluster of real servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::http::HttpBus;
use millrace::bus::local::LocalBus;
use millrace::bus::{Assignment, Bus as _, From, Polled, SharedBus};
use millrace::demo::site::{cluster_of, end};
use millrace::journal::appended_to;
use millrace_executors::hands::files::Instance;
use millrace_mysql::status::replica::Receiver;
use millrace_mysql::{Flavour, Session, status};
use millrace_schemas::cluster::{ClusterSpec, Member};
use millrace_schemas::event::Event;
use millrace_schemas::ids::HostId;
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::journal;
use millrace_test_servers::Port;

/// 180 s for what takes 5: a busy machine must not fail a test, and a step that failed on one is tried again after 30 to 60 s.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// The cluster of a site.
pub(crate) const CLUSTER: &str = "c-test";

/// A process of the site. `Up` is all of them in one; `Process` has the bus, and the others reach it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Up,
    Process,
    Execute,
    Agent,
}

/// Deciders, executor and agents, each in a process of its own.
pub(super) const APART: [Role; 3] = [Role::Process, Role::Execute, Role::Agent];

impl Role {
    fn command(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Process => "process",
            Self::Execute => "execute",
            Self::Agent => "agent",
        }
    }

    /// Who has the bus reads one configuration, the others another.
    fn config(self) -> &'static str {
        if matches!(self, Self::Up | Self::Process) { "millrace.toml" } else { "other.toml" }
    }
}

pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    pub(crate) spec: ClusterSpec,
    running: BTreeMap<Role, Child>,
    /// Heartbeats of before the agents were started last say nothing about them.
    heard_from: u64,
    bus_address: SocketAddr,
    _ports: Vec<Port>,
    _folder: tempfile::TempDir,
}

/// The folder of the templates that `make servers` makes.
pub(crate) fn templates() -> PathBuf {
    let root = std::env::var_os("MILLRACE_SERVERS").map_or_else(
        || {
            let home = std::env::var_os("HOME").expect("HOME is set");
            let cache =
                std::env::var_os("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
            cache.join("millrace/servers")
        },
        PathBuf::from,
    );
    let templates = root.join("templates");
    assert!(templates.is_dir(), "{} is missing: run `make servers`", templates.display());
    templates
}

/// The binary under test.
pub(crate) fn millrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace"))
}

impl Site {
    /// A configuration with three hosts; nothing runs yet.
    pub(crate) fn new(flavour: Flavour) -> Self {
        let folder = tempfile::Builder::new().prefix("mr-").tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        let hosts: Vec<HostId> = (1..=3).map(|n| HostId::parse(format!("h{n}")).expect("legal")).collect();
        let template = if flavour == Flavour::MySql { "mysql-9.7" } else { "mariadb-10.11" };
        let mut spec = cluster_of(flavour, template, &hosts).expect("free ports");
        // Several sites live in this process at once: ports that are held until they end.
        let mut ports: Vec<Port> = (0..=hosts.len()).map(|_| millrace_test_servers::free_port()).collect();
        let listen = SocketAddr::from(([127, 0, 0, 1], ports.pop().expect("one more than hosts").number));
        for (member, port) in spec.members.iter_mut().zip(&ports) {
            member.port = port.number;
        }
        let mut agents = String::new();
        for host in &hosts {
            let _ = write!(
                agents,
                "[[agent]]\nhost = \"{host}\"\nstate-dir = \"{0}/{host}-agent\"\ninstances-dir = \"{0}/{host}\"\ntemplates-dir = \"{1}\"\n",
                dir.display(),
                templates().display()
            );
        }
        let root = dir.display();
        let owner = format!("[bus]\nfile = \"{root}/bus.db\"\nlisten = \"{listen}\"\n{agents}");
        let other = format!(
            "name = \"other\"\n[bus]\nurl = \"http://{listen}\"\ntoken-file = \"{root}/bus.token\"\nstate-dir = \"{root}/other\"\n{agents}"
        );
        std::fs::write(dir.join("millrace.toml"), owner).expect("writable");
        std::fs::write(dir.join("other.toml"), other).expect("writable");
        let running = BTreeMap::new();
        Self { dir, spec, running, heard_from: 0, bus_address: listen, _ports: ports, _folder: folder }
    }

    /// Starts a process, which is to die at `failpoint`.
    pub(crate) fn start(&mut self, role: Role, failpoint: Option<&str>) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("up.log")).expect("a log");
        let mut command = millrace();
        command.args([role.command(), "--config"]).arg(self.dir.join(role.config()));
        if let Some(failpoint) = failpoint {
            command.env("MILLRACE_FAILPOINT", failpoint);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("millrace starts");
        let before = self.running.insert(role, child);
        assert!(before.is_none(), "{role:?} runs already");
        if matches!(role, Role::Up | Role::Process) {
            self.reachable();
        }
        if matches!(role, Role::Up | Role::Agent) {
            self.heard_from = self.bus().end(Topic::Journal, 0).expect("the bus answers");
        }
    }

    /// Waits until the bus answers.
    fn reachable(&self) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = HttpBus::new(self.bus_address, &self.dir.join("bus.token")).and_then(|bus| bus.ping()) {
            assert!(Instant::now() < until, "the bus does not answer: {error}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The bus of the process that runs.
    pub(super) fn bus(&self) -> SharedBus {
        Arc::new(HttpBus::new(self.bus_address, &self.dir.join("bus.token")).expect("a way there"))
    }

    /// `millrace cluster ...`, as an operator types it.
    pub(super) fn operator(&self, arguments: &[&str]) -> Output {
        let mut command = millrace();
        command.arg("cluster").args(arguments).arg("--config").arg(self.dir.join("millrace.toml"));
        command.output().expect("it runs")
    }

    /// What a command that reads says, asked with the owner's configuration.
    pub(crate) fn asked(&self, arguments: &[&str]) -> String {
        let output =
            millrace().args(arguments).arg("--config").arg(self.dir.join("millrace.toml")).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the agents of all hosts have spoken: their inventory comes with their first words.
    pub(super) fn heard_of_hosts(&self) {
        let until = Instant::now() + PATIENCE;
        let bus = self.bus();
        while bus.end(Topic::Inventory, 0).expect("the bus answers") < self.spec.members.len() as u64 {
            assert!(Instant::now() < until, "not every agent has spoken\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets an operator create the cluster, and waits until it is there.
    pub(crate) fn create(&self, mode: &str) {
        let created = self.creating(mode).wait_with_output().expect("waitable");
        let told = String::from_utf8_lossy(&created.stdout);
        assert!(created.status.success(), "{told}\n{}\n{}", String::from_utf8_lossy(&created.stderr), self.log());
        assert!(told.contains(" open: done"), "{told}");
    }

    /// Lets an operator create the cluster.
    pub(super) fn creating(&self, mode: &str) -> Child {
        self.heard_of_hosts();
        let mut command = millrace();
        command.args(["cluster", "create", CLUSTER, "--config"]).arg(self.dir.join("millrace.toml"));
        command.args(["--flavour", &self.spec.flavour.to_string(), "--mode", mode, "--template"]);
        command.arg(self.spec.template.as_deref().expect("of a template"));
        for member in &self.spec.members {
            command.arg("--member").arg(format!("{}@{}:{}", member.instance, member.host, member.endpoint()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    }

    /// What is under way and what waits for approval, as `millrace cluster list` tells it.
    pub(super) fn listed(&self) -> serde_json::Value {
        let listed = self.operator(&["list", "--output", "json"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let all: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        all["clusters"][0].clone()
    }

    /// Waits until a process has died; false when it does not.
    pub(super) fn died(&mut self, role: Role) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut child = self.running.remove(&role).expect("it was started");
        while Instant::now() < until {
            if child.try_wait().expect("waitable").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.running.insert(role, child);
        false
    }

    /// Ends a process with SIGKILL.
    pub(super) fn end(&mut self, role: Role) {
        let mut child = self.running.remove(&role).expect("it was started");
        child.kill().expect("it runs");
        child.wait().expect("waitable");
    }

    /// Waits until the agents have been heard from now on.
    pub(super) async fn heard_again(&mut self) {
        self.heard_from = self.bus().end(Topic::Journal, 0).expect("the bus answers");
        self.heard().await;
    }

    /// Asks every process to stop, who has the bus last.
    pub(crate) fn stop(&mut self) {
        for (_, mut child) in std::mem::take(&mut self.running).into_iter().rev() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }

    /// With nothing running and nothing under way: every agent has noted that it has dealt with every step. One that was stopped
    /// just before would rightly perform its last step again when it starts, and reach a failpoint that is meant for the next.
    pub(super) fn note_positions(&self) {
        let bus = LocalBus::open(&self.dir.join("bus.db"), Arc::default()).expect("nobody has it");
        let end = bus.end(Topic::Actions, 0).expect("an end");
        for member in &self.spec.members {
            let group = format!("agent-{}", member.host);
            let mut reader =
                bus.reader(Assignment::Group { group, topics: vec![Topic::Actions] }).expect("a member of the group");
            reader.poll(Duration::ZERO).expect("it is there");
            reader.commit(Topic::Actions, 0, end).expect("it is noted");
        }
    }

    pub(crate) fn instance(&self, member: &Member) -> Option<Instance> {
        Instance::read(&self.dir.join(member.host.as_str()).join(member.instance.as_str())).ok().flatten()
    }

    /// Waits until exactly one member is open, the others follow it and nothing is under way; returns the open one.
    pub(crate) async fn settled(&self) -> Member {
        let until = Instant::now() + PATIENCE;
        loop {
            let trouble = match self.look().await {
                Ok(primary) => {
                    let listed = self.listed();
                    if listed["under_way"].is_null() && listed["primary"] == primary.instance.as_str() {
                        return primary;
                    }
                    listed.to_string()
                }
                Err(why) => why,
            };
            assert!(Instant::now() < until, "the cluster did not settle: {trouble}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the agents that were started last have told of each instance three times what its server says.
    pub(super) async fn heard(&self) {
        let mut reader = self
            .bus()
            .reader(Assignment::Manual(vec![(Topic::Journal, From::Offset(self.heard_from))]))
            .expect("the bus answers");
        let mut beats: BTreeMap<String, usize> = BTreeMap::new();
        let until = Instant::now() + PATIENCE;
        while beats.len() < self.spec.members.len() || beats.values().any(|beats| *beats < 3) {
            assert!(Instant::now() < until, "not heard: {beats:?}\n{}", self.log());
            for item in reader.poll(Duration::ZERO).unwrap_or_default() {
                if let Polled::Record(record) = item
                    && let Ok(event) = Event::<journal::Fact>::from_record(&record)
                    && let journal::Fact::Heartbeat(heartbeat) = &event.payload
                    && heartbeat.server.is_some()
                    && let Some(instance) = event.subject.instance
                {
                    *beats.entry(instance.to_string()).or_default() += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// True when a failover was decided because `primary` runs, but is closed to clients.
    pub(super) fn came_back_closed(&self, primary: &Member) -> bool {
        let reason = format!("{} runs, but is closed to clients", primary.instance);
        self.told(Topic::Actions).iter().any(|record| {
            matches!(Event::<Order>::from_record(record), Ok(Event { payload: Order::Action(action), .. }) if action.reason == reason)
        })
    }

    /// Everything that is in a topic now.
    pub(super) fn told(&self, topic: Topic) -> Vec<Record> {
        appended_to(&self.bus(), topic).and_then(Iterator::collect).expect("the bus answers")
    }

    /// The end of what `millrace up` said.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("up.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Stops, and says why the cluster is as it is.
    pub(super) fn why(&mut self) -> String {
        self.stop();
        let output = millrace().args(["why", CLUSTER, "--bus"]).arg(self.dir.join("bus.db")).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn look(&self) -> Result<Member, String> {
        let mut open = Vec::new();
        let mut following = Vec::new();
        for member in &self.spec.members {
            let instance = self.instance(member).ok_or("an instance is not there yet")?;
            let asked = async {
                let mut session = Session::open(&instance.target()).await?;
                status::read(&mut session).await
            };
            let status = asked.await.map_err(|error| error.to_string())?;
            if status.server.is_open() {
                open.push(member.clone());
            } else if let Some(channel) = status.channels.first()
                && channel.receiver == Receiver::Running
                && channel.applier_running
            {
                following.push(channel.source_port);
            }
        }
        match open.as_slice() {
            [primary] if following == [primary.port, primary.port] => Ok(primary.clone()),
            _ => Err(format!("open: {}, following ports {following:?}", open.len())),
        }
    }

    /// A session as the agent's account.
    pub(super) async fn session(&self, member: &Member) -> Session {
        let instance = self.instance(member).expect("it was made");
        let mut target = instance.target();
        // A busy machine must not fail a test.
        (target.connect_within, target.answer_within) = (PATIENCE, PATIENCE);
        Session::open(&target).await.expect("it answers")
    }

    /// Waits until a member's server runs.
    pub(super) async fn runs(&self, member: &Member) {
        let until = Instant::now() + PATIENCE;
        while self.pid(member).is_none() {
            assert!(Instant::now() < until, "{} does not run\n{}", member.instance, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn pid(&self, member: &Member) -> Option<rustix::process::Pid> {
        let instance = self.instance(member).expect("it was made");
        let state = std::fs::read(instance.dir.join(millrace_executors::guard::STATE)).expect("a state");
        let state: millrace_executors::guard::State = serde_json::from_slice(&state).expect("readable");
        rustix::process::Pid::from_raw(state.server.process()?.pid as i32)
    }

    /// Kills a member's server, while every process of the site is alive to see it.
    pub(super) fn kill(&mut self, member: &Member) {
        for (role, child) in &mut self.running {
            assert!(child.try_wait().expect("waitable").is_none(), "{role:?} has ended before");
        }
        let pid = self.pid(member).expect("it runs");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it can be killed");
    }

    /// Ends everything.
    pub(crate) async fn remove(mut self) {
        self.stop();
        for member in &self.spec.members {
            if let Some(instance) = self.instance(member) {
                end(instance).await;
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end_after_a_panic(
            std::mem::take(&mut self.running).into_values(),
            self.spec.members.iter().filter_map(|member| self.instance(member)).collect(),
        );
    }
}

/// Ends processes of a test that left them, and after a failed assertion its servers too: nothing is left running.
pub(crate) fn end_after_a_panic(processes: impl Iterator<Item = Child>, servers: Vec<Instance>) {
    for mut child in processes {
        let _ = child.kill();
        let _ = child.wait();
    }
    if !std::thread::panicking() {
        return;
    }
    // A thread of its own: the panic may be in a runtime, which cannot wait for another.
    let ended = std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(async {
                for server in servers {
                    end(server).await;
                }
            });
        }
    });
    let _ = ended.join();
}
