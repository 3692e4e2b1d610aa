//! `millrace up`: every role in one process, on the local bus; or one of them. Started and stopped as one; the demo runs
//! the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::event::Subject;
use millrace_schemas::metrics::Registry;
use millrace_schemas::topics::journal::{Command, Fact};
use tokio::sync::watch;

use super::speaker::Speaker;
use super::{agent, execute, process, sink, windows};
use crate::bus::SharedBus;
use crate::bus::local::LocalBus;
use crate::config::Settings;

/// 5 s: what has not stopped by then is left to the end of the process; everything that matters is on the bus already.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Which roles run in a process. With the local bus there is one process, so one role alone is for looking at a bus file or
/// for taking a role out; with a broker, fleets spread them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Agents of the hosts in the configuration.
    pub agents: bool,
    /// Processors: failover, routes, windows, digests.
    pub process: bool,
    /// An executor.
    pub execute: bool,
    /// The archive.
    pub sink: bool,
    /// The console.
    pub console: bool,
}

impl Roles {
    /// None.
    pub const NONE: Self = Self { agents: false, process: false, execute: false, sink: false, console: false };
    /// All: `millrace up`.
    pub const ALL: Self = Self { agents: true, process: true, execute: true, sink: true, console: true };
}

/// Everything that runs.
#[derive(Debug)]
pub struct Up {
    /// The bus.
    pub bus: SharedBus,
    /// What is counted.
    pub metrics: Arc<Registry>,
    /// Where this process keeps its own state.
    pub state: PathBuf,
    signal: watch::Sender<bool>,
    flag: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Up {
    /// Starts `roles` as `settings` say. Needs a tokio runtime around it.
    pub fn start(settings: &Settings, roles: Roles) -> anyhow::Result<Self> {
        let metrics = Arc::new(Registry::new());
        let bus: SharedBus = Arc::new(LocalBus::open(&settings.bus_file, Arc::clone(&metrics))?);
        let state = settings.bus_file.parent().map_or_else(|| Path::new(".").to_owned(), Path::to_owned);
        let (signal, _) = watch::channel(false);
        let mut up = Self { bus, metrics, state, signal, flag: Arc::default(), threads: Vec::new() };
        if roles.process {
            up.start_deciders()?;
            up.start_windows()?;
            up.enrol(settings)?;
        }
        if roles.execute {
            up.start_executor()?;
        }
        for agent in settings.agents.iter().filter(|_| roles.agents) {
            up.start_agent(agent.clone());
        }
        if let Some(dir) = settings.archive.clone().filter(|_| roles.sink) {
            up.start_sink(dir)?;
        }
        if let Some(listen) = settings.console.filter(|_| roles.console) {
            up.start_console(listen);
        }
        Ok(up)
    }

    /// What tells async parts to stop.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.signal.subscribe()
    }

    /// Runs `work` on a thread of its own until it ends.
    fn thread(
        &mut self,
        name: &'static str,
        work: impl FnOnce(Arc<AtomicBool>) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let flag = Arc::clone(&self.flag);
        let run = move || {
            if let Err(error) = work(flag) {
                tracing::error!("{name} ended: {error:#}");
            }
        };
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run).context("no thread")?);
        Ok(())
    }

    fn start_deciders(&mut self) -> anyhow::Result<()> {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        let speaker = Speaker::new("ticker".to_owned(), &self.state, Arc::clone(&self.bus))?;
        self.thread("deciders", move |stop| process::run(&bus, &speaker, &metrics, &stop))
    }

    fn start_executor(&mut self) -> anyhow::Result<()> {
        let bus = Arc::clone(&self.bus);
        let speaker = Speaker::new("executor/local".to_owned(), &self.state, Arc::clone(&self.bus))?;
        self.thread("executor", move |stop| execute::run(&bus, &speaker, &stop))
    }

    fn start_agent(&self, settings: crate::config::Agent) {
        let (bus, metrics, stop) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.stopping());
        tokio::spawn(async move {
            let host = settings.host.clone();
            if let Err(error) = agent::run(bus, settings, metrics, stop).await {
                tracing::error!(%host, "agent ended: {error:#}");
            }
        });
    }

    /// Windows and digests, for people.
    fn start_windows(&mut self) -> anyhow::Result<()> {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        self.thread("windows", move |stop| windows::run(&bus, &metrics, &stop))?;
        let bus = Arc::clone(&self.bus);
        let speaker = Speaker::new("digests.1".to_owned(), &self.state, Arc::clone(&self.bus))?;
        self.thread("digests", move |stop| windows::parse_digests(&bus, &speaker, &stop))
    }

    fn start_sink(&mut self, dir: PathBuf) -> anyhow::Result<()> {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        self.thread("archive", move |stop| sink::run(&bus, &dir, &metrics, &stop))
    }

    fn start_console(&self, listen: SocketAddr) {
        let (bus, metrics, stop) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.stopping());
        tokio::spawn(async move {
            if let Err(error) = crate::console::run(bus, listen, metrics, stop).await {
                tracing::error!("the console ended: {error:#}");
            }
        });
    }

    /// Tells the journal of the clusters that the configuration says to watch.
    fn enrol(&self, settings: &Settings) -> anyhow::Result<()> {
        let speaker = Speaker::new("operator/config".to_owned(), &self.state, Arc::clone(&self.bus))?;
        for cluster in &settings.clusters {
            let command = Command::Enrol(Box::new(cluster.spec.clone()));
            drop(speaker.say(Subject::cluster(cluster.id.clone()), None, Fact::Command(command)));
        }
        Ok(())
    }

    /// Stops everything; servers go on running under their guards.
    pub async fn stop(self) {
        self.signal.send_replace(true);
        self.flag.store(true, Ordering::Relaxed);
        let until = Instant::now() + STOP_WITHIN;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
