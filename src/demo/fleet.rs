//! The demo's roles as processes of their own, as a fleet runs them over Kafka: three agents, three processors, two executors and
//! a sink, each but the sink with a key of its own. On the way some are killed, as hosts and people do; the others must not need them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::ids::{ClusterId, HostId};
use millrace_schemas::signing::Role;

use super::keys::{self, As};
use super::screen::say;
use crate::bus::kafka::topics::Topics;
use crate::config::Kafka;

/// 24 partitions, as a fleet has; one copy, since the demo has one broker.
const PARTITIONS: u32 = 24;
/// 10 s for a process to end when it is asked to; then it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);

const PROCESSORS: [&str; 3] = ["p1", "p2", "p3"];
const EXECUTORS: [&str; 2] = ["e1", "e2"];
/// The demo itself, and whoever uses the configuration that it leaves.
pub(super) const OPERATOR: &str = "millrace";

/// A role in a process of its own.
#[derive(Debug)]
struct Running {
    /// What it is called, and its configuration file.
    name: String,
    process: Child,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Fleet {
    roles: Vec<Running>,
}

/// Where the brokers are, and how the demo's topics are called on them.
pub(super) fn kafka(servers: &str, dir: &Path) -> Kafka {
    Kafka {
        servers: servers.to_owned(),
        prefix: format!("demo-{}.", std::process::id()),
        partitions: PARTITIONS,
        replication: 1,
        tls: None,
        sasl: None,
        state: dir.to_owned(),
    }
}

impl Fleet {
    /// Makes the topics and the keys, and starts every role; `store` is the section of the sink's store.
    pub(super) fn start(
        kafka: &Kafka,
        dir: &Path,
        cluster: &ClusterId,
        hosts: &[HostId],
        templates: &Path,
        store: &str,
    ) -> anyhow::Result<Self> {
        Topics::new(kafka)?.apply()?;
        enrol(dir, cluster, hosts)?;
        let mut fleet = Self { roles: Vec::new() };
        for name in PROCESSORS {
            fleet.run("process", name, kafka, dir, "")?;
        }
        for name in EXECUTORS {
            fleet.run("execute", name, kafka, dir, "")?;
        }
        fleet.run("sink", "s1", kafka, dir, &format!("[archive]\ndir = \"{}/archive\"\n{store}", dir.display()))?;
        for host in hosts {
            let (dir_text, templates) = (dir.display(), templates.display());
            let agent = format!(
                "[[agent]]\nhost = \"{host}\"\nstate-dir = \"{dir_text}/{host}-agent\"\ninstances-dir = \"{dir_text}/{host}\"\n\
                 templates-dir = \"{templates}\"\ncapture = \"{}\"\n",
                super::site::INTERFACE
            );
            fleet.run("agent", &format!("a-{host}"), kafka, dir, &agent)?;
        }
        Ok(fleet)
    }

    fn run(&mut self, role: &str, name: &str, kafka: &Kafka, dir: &Path, more: &str) -> anyhow::Result<()> {
        let config = config(name, kafka, dir, more)?;
        let program = crate::program::path()?;
        let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
        let process = Command::new(program)
            .arg(role)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("millrace {role} cannot be started"))?;
        self.roles.push(Running { name: name.to_owned(), process });
        Ok(())
    }

    /// Kills one of them (SIGKILL).
    pub(super) fn kill(&mut self, name: &str, what: &str) -> anyhow::Result<()> {
        let role =
            self.roles.iter_mut().find(|role| role.name == name).with_context(|| format!("there is no {name}"))?;
        role.process.kill()?;
        role.process.wait()?;
        say(&format!("  killed on the way: {name}, {what}"));
        Ok(())
    }

    /// The roles that ended by themselves: none may.
    pub(super) fn ended(&mut self, killed: &[&str]) -> Vec<String> {
        let mut ended = Vec::new();
        for role in self.roles.iter_mut().filter(|role| !killed.contains(&role.name.as_str())) {
            if let Ok(Some(status)) = role.process.try_wait() {
                ended.push(format!("{} ended with {status}", role.name));
            }
        }
        ended
    }

    /// Ends all of them.
    pub(super) fn stop(&mut self) {
        for role in &mut self.roles {
            if let Some(pid) = i32::try_from(role.process.id()).ok().and_then(rustix::process::Pid::from_raw)
                && matches!(role.process.try_wait(), Ok(None))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let until = Instant::now() + STOP_WITHIN;
        for role in &mut self.roles {
            while matches!(role.process.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = role.process.kill();
            let _ = role.process.wait();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Everybody's key, before anybody runs: who reads a roster without the key of another would refuse what that one says.
fn enrol(dir: &Path, cluster: &ClusterId, hosts: &[HostId]) -> anyhow::Result<()> {
    let instances = format!("{cluster}/*");
    for name in PROCESSORS {
        keys::enrol(dir, name, As::Named(Role::Process, vec![name.to_owned()]), "*")?;
    }
    for name in EXECUTORS {
        keys::enrol(dir, name, As::Named(Role::Execute, vec![name.to_owned()]), "*")?;
    }
    for host in hosts {
        keys::enrol(dir, &format!("a-{host}"), As::Agent(host), &instances)?;
    }
    // The demo gives one command itself; where it is left running, you may give others by its configuration.
    let you = format!("{OPERATOR}-{}", rustix::process::getuid().as_raw());
    keys::enrol(dir, OPERATOR, As::Named(Role::Operator, vec!["demo".to_owned(), you]), &instances)
}

/// Writes the configuration of a process of the fleet.
pub(super) fn config(name: &str, kafka: &Kafka, dir: &Path, more: &str) -> anyhow::Result<PathBuf> {
    let Kafka { servers, prefix, partitions, replication, .. } = kafka;
    let state = dir.join(format!("{name}-state"));
    let text = format!(
        "name = \"{name}\"\n[bus]\nkind = \"kafka\"\nservers = \"{servers}\"\nprefix = \"{prefix}\"\npartitions = {partitions}\n\
         replication = {replication}\nstate-dir = \"{}\"\n{}{more}",
        state.display(),
        keys::section(dir, name)
    );
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
