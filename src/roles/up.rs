//! `millrace up`: every role in one process, on the local bus; or one of them. Started and stopped as one; the demo runs
//! the same. A role that ends by an error is started again: nobody has to watch the watchers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_collectors::host;
use millrace_processors::alerts;
use millrace_schemas::event::Subject;
use millrace_schemas::metrics::{PROCESS_MEMORY, Registry};
use millrace_schemas::topics::journal::{Command, Fact};
use tokio::sync::watch;

use super::lag::Lags;
use super::speaker::Speaker;
use super::{agent, anomalies, execute, lake, notify, process, refusals, rules, sink, store, windows};
use crate::bus::SharedBus;
use crate::bus::http::{self, HttpBus, Token};
use crate::bus::kafka::KafkaBus;
use crate::bus::local::LocalBus;
use crate::bus::signed::trusting;
use crate::config::{self, Settings, Watched};
use crate::console::{Shown, scrape};
use crate::trust::Trust;

/// 5 s: what has not stopped by then is left to the end of the process; everything that matters is on the bus already.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// 10 s between looks at this process's memory: a leak takes minutes, and a scrape comes every 15 s.
const MEMORY_EVERY: Duration = Duration::from_secs(10);

/// 1 s before a role that ended by an error is started again: a fault that stays is told once a second, not in a storm.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Which roles run in a process. One process opens the bus file; others with other roles reach it where that one listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Agents of the hosts in the configuration.
    pub agents: bool,
    /// Processors: failover, routes, windows, digests.
    pub process: bool,
    /// An executor.
    pub execute: bool,
    /// The archive, stores and channels.
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
    /// Where other processes reach the bus.
    pub bus_address: Option<SocketAddr>,
    /// Who it is among the processes of the site.
    name: String,
    shown: OnceLock<Shown>,
    lags: Lags,
    signal: watch::Sender<bool>,
    flag: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Up {
    /// Starts `roles` as `settings` say. Needs a tokio runtime around it.
    pub fn start(settings: &Settings, roles: Roles) -> anyhow::Result<Self> {
        let metrics = Arc::new(Registry::new());
        // First of all: who cannot know whom to believe must not begin.
        let trust = settings.trust.as_ref().map(|trust| Trust::open(trust, Arc::clone(&metrics)).map(Arc::new));
        let trust = trust.transpose()?;
        let (inside, served) = open(&settings.bus, &settings.name, &metrics)?;
        let bus = trusting(Arc::clone(&inside), trust.as_ref(), &metrics);
        let state = settings.bus.state().to_owned();
        let (signal, _) = watch::channel(false);
        let name = settings.name.clone();
        let bus_address = served.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        let (flag, shown, lags, threads) = (Arc::default(), OnceLock::new(), Lags::default(), Vec::new());
        let mut up = Self { bus, metrics, state, bus_address, name, shown, lags, signal, flag, threads };
        up.measure_memory();
        if let Some(listen) = settings.metrics {
            up.serve_metrics(listen)?;
        }
        if let Some((listener, token)) = served {
            // As it is: whoever asks signs and judges for itself.
            up.serve_bus(inside, listener, token)?;
        }
        if let Some(listen) = settings.console.filter(|_| roles.console) {
            up.start_console(listen)?;
        }
        if roles.process {
            up.start_deciders(settings.told.clone())?;
            if trust.is_some() {
                up.start_refusals()?;
            }
            up.start_rules(settings)?;
            up.start_anomalies(settings.anomalies.clone())?;
            up.start_windows()?;
            up.enrol(settings.clusters.clone())?;
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
        for store in settings.stores.iter().filter(|_| roles.sink) {
            up.start_store(store.clone())?;
        }
        for lake in settings.lakes.iter().filter(|_| roles.sink) {
            up.start_lake(lake.clone())?;
        }
        for channel in settings.channels.iter().filter(|_| roles.sink) {
            up.start_channel(channel.clone())?;
        }
        up.measure_lags()?;
        Ok(up)
    }

    /// What tells async parts to stop.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.signal.subscribe()
    }

    /// Runs `work` on a thread of its own, again when it ends by an error, until it is to stop.
    fn thread(
        &mut self,
        name: &'static str,
        work: impl Fn(&Arc<AtomicBool>) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let flag = Arc::clone(&self.flag);
        let run = move || {
            while let Err(error) = work(&flag) {
                if flag.load(Ordering::Relaxed) {
                    return;
                }
                tracing::error!("{name} ended and is started again: {error:#}");
                std::thread::sleep(AGAIN_AFTER);
            }
        };
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run).context("no thread")?);
        Ok(())
    }

    /// Someone of this process who speaks: `ROLE/NAME`.
    fn speaker(&self, role: &str) -> anyhow::Result<Speaker> {
        Speaker::new(format!("{role}/{}", self.name), &self.state, Arc::clone(&self.bus))
    }

    fn start_deciders(&mut self, told: alerts::Settings) -> anyhow::Result<()> {
        let (bus, metrics, speaker) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.speaker("ticker")?);
        let lags = self.lags.clone();
        self.thread("deciders", move |stop| {
            process::run(&bus, &speaker, &metrics, &lags.stage("deciders"), &told, stop)
        })
    }

    /// Where records are judged, somebody tells of those that are refused.
    fn start_refusals(&mut self) -> anyhow::Result<()> {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        let lags = self.lags.clone();
        self.thread("refusals", move |stop| refusals::run(&bus, &metrics, &lags.stage("refusals"), stop))
    }

    /// What is judged by rules. A file of rules that cannot be used ends the start: nobody must believe that it were in force.
    fn start_rules(&mut self, settings: &Settings) -> anyhow::Result<()> {
        let rules = Arc::new(config::rules(settings.rules.as_deref())?);
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("rules", move |stop| rules::run(&bus, &rules, &metrics, &lags.stage("rules"), stop))
    }

    /// What is unusual. Switched off, nothing is read.
    fn start_anomalies(&mut self, judged: millrace_processors::anomalies::Settings) -> anyhow::Result<()> {
        if judged.off {
            return Ok(());
        }
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("anomalies", move |stop| anomalies::run(&bus, &judged, &metrics, &lags.stage("anomalies"), stop))
    }

    fn start_executor(&mut self) -> anyhow::Result<()> {
        let (bus, speaker, lags) = (Arc::clone(&self.bus), self.speaker("executor")?, self.lags.clone());
        self.thread("executor", move |stop| execute::run(&bus, &speaker, &lags.stage("executor"), stop))
    }

    fn start_agent(&self, settings: crate::config::Agent) {
        let (bus, metrics, stop) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.stopping());
        let lags = self.lags.clone();
        tokio::spawn(async move {
            let host = settings.host.clone();
            if let Err(error) = agent::run(bus, settings, metrics, &lags, stop).await {
                tracing::error!(%host, "agent ended: {error:#}");
            }
        });
    }

    /// Windows and digests, for people.
    fn start_windows(&mut self) -> anyhow::Result<()> {
        let (bus, name, metrics) = (Arc::clone(&self.bus), self.name.clone(), Arc::clone(&self.metrics));
        let lags = self.lags.clone();
        self.thread("windows", move |stop| windows::run(&bus, &name, &metrics, &lags.stage("windows"), stop))?;
        let (bus, speaker, lags) = (Arc::clone(&self.bus), self.speaker("digests.1")?, self.lags.clone());
        self.thread("digests", move |stop| windows::parse_digests(&bus, &speaker, &lags.stage("digests"), stop))
    }

    fn start_sink(&mut self, dir: PathBuf) -> anyhow::Result<()> {
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("archive", move |stop| sink::run(&bus, &dir, &metrics, &lags.stage("archive"), stop))
    }

    fn start_store(&mut self, settings: config::Store) -> anyhow::Result<()> {
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("store", move |stop| {
            store::run(&bus, &settings, &metrics, &lags.stage(format!("store/{}", settings.name)), stop)
        })
    }

    fn start_lake(&mut self, settings: config::Lake) -> anyhow::Result<()> {
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("lake", move |stop| {
            lake::run(&bus, &settings, &metrics, &lags.stage(format!("store/{}", settings.name)), stop)
        })
    }

    fn start_channel(&mut self, settings: config::Channel) -> anyhow::Result<()> {
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("channel", move |stop| {
            notify::run(&bus, &settings, &metrics, &lags.stage(format!("channel/{}", settings.name())), stop)
        })
    }

    fn start_console(&self, listen: SocketAddr) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::from_std(bind("the console", listen)?)?;
        let (bus, shown, metrics) = (Arc::clone(&self.bus), self.shown(), Arc::clone(&self.metrics));
        let stop = self.stopping();
        tokio::spawn(async move {
            if let Err(error) = crate::console::serve(bus, shown, listener, metrics, stop).await {
                tracing::error!("the console ended: {error:#}");
            }
        });
        Ok(())
    }

    /// Measures how far each stage is behind.
    fn measure_lags(&mut self) -> anyhow::Result<()> {
        let (bus, metrics, lags) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), self.lags.clone());
        self.thread("lag", move |stop| {
            lags.run(&bus, &metrics, stop);
            Ok(())
        })
    }

    /// Lets this process be scraped, whatever its roles.
    fn serve_metrics(&self, listen: SocketAddr) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::from_std(bind("/metrics", listen)?)?;
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stopping());
        tokio::spawn(async move {
            if let Err(error) = scrape::serve(listener, metrics, stop).await {
                tracing::error!("the metrics cannot be scraped any more: {error:#}");
            }
        });
        Ok(())
    }

    /// Counts what this process itself needs.
    fn measure_memory(&self) {
        let (metrics, mut stop) = (Arc::clone(&self.metrics), self.stopping());
        tokio::spawn(async move {
            loop {
                metrics.set(&PROCESS_MEMORY, &[], host::own_memory_bytes() as f64);
                tokio::select! {
                    () = tokio::time::sleep(MEMORY_EVERY) => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        });
    }

    /// What the bus has told, for people; followed from the first time it is asked for.
    pub fn shown(&self) -> Shown {
        self.shown.get_or_init(|| Shown::follow(&self.bus, self.stopping())).clone()
    }

    /// Lets other processes of this host use the bus.
    fn serve_bus(&self, bus: SharedBus, listener: std::net::TcpListener, token: Token) -> anyhow::Result<()> {
        let stop = self.stopping();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(async move {
            if let Err(error) = http::serve(bus, listener, token, stop).await {
                tracing::error!("the bus is not served any more: {error}");
            }
        });
        Ok(())
    }

    /// Tells the journal of the clusters that the configuration says to watch.
    fn enrol(&mut self, clusters: Vec<Watched>) -> anyhow::Result<()> {
        if clusters.is_empty() {
            return Ok(());
        }
        let speaker = Speaker::new("operator/config".to_owned(), &self.state, Arc::clone(&self.bus))?;
        self.thread("enrolment", move |_| {
            for cluster in &clusters {
                let command = Command::Enrol(Box::new(cluster.spec.clone()));
                speaker.say(Subject::cluster(cluster.id.clone()), None, Fact::Command(command)).wait()?;
            }
            Ok(())
        })
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

/// An address that a process must have and cannot.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot listen on {address}: {error}; stop what listens there, or configure another address")]
pub struct Taken {
    what: &'static str,
    address: SocketAddr,
    error: std::io::Error,
}

fn bind(what: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, Taken> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| Taken { what, address, error })
}

/// Who asks for the bus at the address, and with what.
type Served = Option<(std::net::TcpListener, Token)>;

/// Opens the bus file, and the address where others reach it; or finds the way to the process that has it.
fn open(bus: &config::Bus, name: &str, metrics: &Arc<Registry>) -> anyhow::Result<(SharedBus, Served)> {
    match bus {
        config::Bus::File { file, listen, token_file } => {
            let bus = Arc::new(LocalBus::open(file, Arc::clone(metrics))?);
            let Some(listen) = listen else { return Ok((bus, None)) };
            let listener = bind("the bus", *listen)?;
            Ok((bus, Some((listener, Token::read_or_make(token_file)?))))
        }
        config::Bus::Remote { address, token_file, .. } => {
            let bus = HttpBus::counted(*address, token_file, Arc::clone(metrics))?;
            match bus.ping() {
                Ok(()) => {}
                // Everybody waits for the bus, and goes on when it is there.
                Err(error @ crate::bus::Error::Unavailable(_)) => tracing::warn!("{error}; it is waited for"),
                Err(error) => return Err(error.into()),
            }
            Ok((Arc::new(bus), None))
        }
        config::Bus::Kafka(kafka) => {
            let bus = KafkaBus::new(kafka, name, Arc::clone(metrics))?;
            match bus.ping() {
                Ok(()) => {}
                Err(error @ crate::bus::Error::Unavailable(_)) => tracing::warn!("{error}; it is waited for"),
                Err(error) => return Err(error.into()),
            }
            Ok((Arc::new(bus), None))
        }
    }
}

/// Resolves at SIGTERM or SIGINT.
pub async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}
