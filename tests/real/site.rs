//! A site for tests: a folder, a configuration, `millrace up` as a child process, and a cluster of real servers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::bus::local::LocalBus;
use millrace::demo::site::{cluster_of, end};
use millrace::roles::speaker::Speaker;
use millrace_executors::hands::files::Instance;
use millrace_mysql::status::replica::Receiver;
use millrace_mysql::{Flavour, Session, status};
use millrace_schemas::event::Subject;
use millrace_schemas::ids::{ClusterId, HostId};
use millrace_schemas::metrics::Registry;
use millrace_schemas::topics::actions::{ClusterSpec, Member};
use millrace_schemas::topics::journal;

/// 60 s for what takes 5: a busy machine must not fail a test.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

pub(super) struct Site {
    pub(super) dir: PathBuf,
    pub(super) spec: ClusterSpec,
    up: Option<Child>,
    _folder: tempfile::TempDir,
}

/// The folder of the templates that `make servers` makes.
pub(super) fn templates() -> PathBuf {
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
pub(super) fn millrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace"))
}

impl Site {
    /// A configuration with three hosts, and a journal in which an operator asks for a cluster.
    pub(super) async fn new(flavour: Flavour) -> Self {
        let folder = tempfile::Builder::new().prefix("mr-").tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        let hosts: Vec<HostId> = (1..=3).map(|n| HostId::parse(format!("h{n}")).expect("legal")).collect();
        let template = if flavour == Flavour::MySql { "mysql-9.7" } else { "mariadb-10.11" };
        let spec = cluster_of(flavour, template, &hosts).expect("free ports");
        let mut config = format!("[bus]\nfile = \"{}\"\n", dir.join("bus.db").display());
        for host in &hosts {
            let _ = write!(
                config,
                "[[agent]]\nhost = \"{host}\"\nstate-dir = \"{0}/{host}-agent\"\ninstances-dir = \"{0}/{host}\"\ntemplates-dir = \"{1}\"\n",
                dir.display(),
                templates().display()
            );
        }
        std::fs::write(dir.join("millrace.toml"), config).expect("writable");
        let site = Self { dir, spec, up: None, _folder: folder };
        site.command(journal::Command::CreateCluster(Box::new(site.spec.clone()))).await;
        site
    }

    async fn command(&self, command: journal::Command) {
        let bus: SharedBus =
            Arc::new(LocalBus::open(&self.dir.join("bus.db"), Arc::new(Registry::new())).expect("a bus"));
        let speaker = Speaker::new("operator/test".to_owned(), &self.dir, Arc::clone(&bus)).expect("a speaker");
        let cluster = ClusterId::parse("c-test").expect("legal");
        speaker.say(Subject::cluster(cluster), None, journal::Fact::Command(command)).await.expect("appended");
    }

    /// Starts `millrace up`, which is to die at `failpoint`.
    pub(super) fn up(&mut self, failpoint: Option<&str>) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("up.log")).expect("a log");
        let mut command = millrace();
        command.args(["up", "--config"]).arg(self.dir.join("millrace.toml"));
        if let Some(failpoint) = failpoint {
            command.env("MILLRACE_FAILPOINT", failpoint);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.up = Some(command.spawn().expect("millrace starts"));
    }

    /// Waits until `millrace up` has died; false when it does not.
    pub(super) fn died(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        let child = self.up.as_mut().expect("it was started");
        while Instant::now() < until {
            if child.try_wait().expect("waitable").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Asks `millrace up` to stop, and says how long it took.
    pub(super) fn stop(&mut self) -> Duration {
        let Some(mut child) = self.up.take() else { return Duration::ZERO };
        let began = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = child.wait();
        began.elapsed()
    }

    pub(super) fn instance(&self, member: &Member) -> Option<Instance> {
        Instance::read(&self.dir.join(member.host.as_str()).join(member.instance.as_str())).ok().flatten()
    }

    /// Waits until exactly one member is open and the others follow it; returns the open one.
    pub(super) async fn settled(&self) -> Member {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.look().await {
                Ok(primary) => return primary,
                Err(why) if Instant::now() > until => {
                    panic!("the cluster did not settle: {why}\n{}", self.log());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until the agents that were just started have been heard: three beats.
    pub(super) async fn heard(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// The end of what `millrace up` said.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("up.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Stops, and says why the cluster is as it is.
    pub(super) fn why(&mut self) -> String {
        self.stop();
        let output =
            millrace().args(["why", "c-test", "--bus"]).arg(self.dir.join("bus.db")).output().expect("it runs");
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
        Session::open(&instance.target()).await.expect("it answers")
    }

    /// Kills a member's server.
    pub(super) fn kill(&self, member: &Member) {
        let instance = self.instance(member).expect("it was made");
        let state = std::fs::read(instance.dir.join(millrace_executors::guard::STATE)).expect("a state");
        let state: millrace_executors::guard::State = serde_json::from_slice(&state).expect("readable");
        let pid = state.server.process().expect("it runs").pid;
        let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it can be killed");
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

impl Drop for Site {
    fn drop(&mut self) {
        // After a failed assertion too, nothing is left running.
        if let Some(mut child) = self.up.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let instances: Vec<Instance> = self.spec.members.iter().filter_map(|member| self.instance(member)).collect();
        if std::thread::panicking() {
            let ended = std::thread::spawn(move || {
                if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    runtime.block_on(async {
                        for instance in instances {
                            end(instance).await;
                        }
                    });
                }
            });
            let _ = ended.join();
        }
    }
}
