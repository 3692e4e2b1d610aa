//! Runs the agent of a host: finds its instances, watches each, captures packets, follows slow logs, and performs the steps
//! that executors ask of this host. It observes and does; it decides nothing.

mod authority;
mod capture;
mod changes;
mod counters;
mod names;
mod rotation;
mod slow;
mod statements;
mod steps;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use millrace_collectors::log_in::LogIn;
use millrace_collectors::{host, wire};
use millrace_executors::guard;
use millrace_executors::hands::Hands;
use millrace_executors::hands::files::Instance;
use millrace_executors::promises::Promises;
use millrace_mysql::{Target, connect};
use millrace_schemas::digest::{Charset, SqlMode, Syntax};
use millrace_schemas::event::Subject;
use millrace_schemas::ids;
use millrace_schemas::ids::{ClusterId, HostId, InstanceId};
use millrace_schemas::metrics::Registry;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::inventory::{Host as HostItem, Item};
use millrace_schemas::topics::queries::Source;
use tokio::sync::watch as signal;

use authority::Authorities;

use super::lag::Lags;
use super::speaker::Speaker;
use crate::bus::SharedBus;
use crate::config;

/// 500 ms: a created instance is watched before its server answers.
const DISCOVER_EVERY: Duration = Duration::from_millis(500);
/// 1 s before a word that the bus did not take is said again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What all parts of an agent share.
struct Agent {
    host: HostId,
    bus: SharedBus,
    speaker: Speaker,
    metrics: Arc<Registry>,
    /// Absent where Millrace only watches.
    hands: Option<Hands>,
    watched: wire::Watched,
    /// Which source counts the statements of each instance.
    authorities: Authorities,
    /// Which cluster each watched instance belongs to.
    clusters: Mutex<HashMap<InstanceId, ClusterId>>,
    /// What the servers have as `@@global.sql_mode`, where they said it.
    modes: Mutex<HashMap<InstanceId, SqlMode>>,
    /// The bus's time as this agent last learned it: from the append times of what it said.
    bus_now: Mutex<Timestamp>,
    /// Where positions are kept.
    state: PathBuf,
    /// How old backups may be, and where they are found.
    backups: Vec<config::Backup>,
    stop: signal::Receiver<bool>,
}

/// An instance that the agent watches.
#[derive(Clone)]
struct Place {
    cluster: ClusterId,
    instance: InstanceId,
    address: String,
    port: u16,
    /// How status is read.
    target: Target,
    /// Whoever asks with it shares this.
    log_in: Arc<LogIn>,
    /// How the pulse is written; absent for servers that are only observed.
    pulse: Option<Target>,
    /// The instance's folder, when Millrace created it.
    guarded: Option<Instance>,
    slow_log: Option<PathBuf>,
    /// Where its statements are counted; absent: as the agent sees fit.
    statements: Option<Source>,
}

impl Agent {
    fn cluster_of(&self, instance: &InstanceId) -> Option<ClusterId> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    fn learn_mode(&self, instance: &InstanceId, mode: SqlMode) {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.clone(), mode);
    }

    /// How statements of an instance are to be read whose session said nothing.
    fn syntax_of(&self, instance: &InstanceId) -> Syntax {
        let modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
        Syntax { mode: modes.get(instance).copied().unwrap_or_default(), charset: Charset::default() }
    }

    fn policy_of(&self, cluster: &ClusterId) -> Option<config::Backup> {
        self.backups.iter().find(|policy| policy.cluster == *cluster).cloned()
    }

    fn learn(&self, appended: Timestamp) {
        let mut now = self.bus_now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (*now).max(appended);
    }

    fn bus_now(&self) -> Timestamp {
        *self.bus_now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn subject(&self) -> Subject {
        Subject::instance(self.cluster.clone(), self.instance.clone())
    }
}

/// Runs the agent until `stop`.
pub async fn run(
    bus: SharedBus,
    settings: config::Agent,
    metrics: Arc<Registry>,
    lags: &Lags,
    stop: signal::Receiver<bool>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.state).with_context(|| format!("cannot make {}", settings.state.display()))?;
    let speaker = Speaker::new(format!("agent/{}", settings.host), &settings.state, Arc::clone(&bus))?;
    let hands = match (&settings.instances, &settings.templates) {
        (Some(instances), Some(templates)) => {
            std::fs::create_dir_all(instances).with_context(|| format!("cannot make {}", instances.display()))?;
            let promises = Promises::open(&settings.state.join("promises.json"))?;
            let program = crate::program::path()?;
            Some(Hands::new(program, instances.clone(), templates.clone(), promises))
        }
        _ => None,
    };
    let agent = Arc::new(Agent {
        host: settings.host.clone(),
        bus,
        speaker,
        metrics,
        hands,
        watched: wire::Watched::default(),
        authorities: Authorities::default(),
        clusters: Mutex::default(),
        modes: Mutex::default(),
        bus_now: Mutex::new(Timestamp::ZERO),
        state: settings.state.clone(),
        backups: settings.backups.clone(),
        stop,
    });
    tokio::spawn(say_host(Arc::clone(&agent)));
    if agent.hands.is_some() {
        // As it speaks: several agents of one process read the same steps, each for its own host.
        steps::run(Arc::clone(&agent), lags.stage(format!("agent/{}", agent.host)));
    }
    if let Some(live) = settings.capture.clone() {
        capture::start(&agent, live);
    }
    discover(&agent, &settings).await;
    Ok(())
}

/// Finds instances as they come, and watches each.
async fn discover(agent: &Arc<Agent>, settings: &config::Agent) {
    let mut known: BTreeMap<InstanceId, Place> = BTreeMap::new();
    let mut watching = Vec::new();
    let mut stop = agent.stop.clone();
    loop {
        let found = places(agent, settings);
        let fresh: Vec<Place> = found.into_iter().filter(|place| !known.contains_key(&place.instance)).collect();
        if !fresh.is_empty() {
            for place in fresh {
                tracing::info!(instance = %place.instance, port = place.port, "watching");
                let mut clusters = agent.clusters.lock().unwrap_or_else(PoisonError::into_inner);
                clusters.insert(place.instance.clone(), place.cluster.clone());
                drop(clusters);
                known.insert(place.instance.clone(), place.clone());
                agent.authorities.add(&place, settings.capture.is_some(), &agent.metrics);
                if place.statements != Some(Source::Wire) {
                    tokio::spawn(statements::run(Arc::clone(agent), place.clone()));
                }
                if settings.capture.is_some() && place.statements != Some(Source::PerformanceSchema) {
                    tokio::spawn(names::run(Arc::clone(agent), place.clone()));
                }
                if let (Some(instance), Some(keep)) = (place.guarded.clone(), settings.keep_slow_logs) {
                    tokio::spawn(rotation::run(Arc::clone(agent), instance, keep));
                }
                tokio::spawn(watch::run(Arc::clone(agent), place));
            }
        }
        let captured = known.values().filter(|place| place.statements != Some(Source::PerformanceSchema));
        let servers: Vec<wire::Server> = captured.map(|place| server(agent, place)).collect();
        if watching != servers {
            watching.clone_from(&servers);
            agent.watched.set(servers);
        }
        tokio::select! {
            () = tokio::time::sleep(DISCOVER_EVERY) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

fn server(agent: &Agent, place: &Place) -> wire::Server {
    wire::Server {
        address: place.address.parse::<IpAddr>().ok(),
        port: place.port,
        instance: place.instance.clone(),
        syntax: agent.syntax_of(&place.instance),
    }
}

fn places(agent: &Agent, settings: &config::Agent) -> Vec<Place> {
    let created = agent.hands.iter().flat_map(Hands::instances).map(|instance| {
        let target = instance.target();
        Place {
            cluster: instance.cluster.clone(),
            instance: instance.instance.clone(),
            address: instance.address.clone(),
            port: instance.port,
            log_in: Arc::new(LogIn::new(target.clone())),
            target,
            pulse: Some(instance.target_over_tcp(&instance.accounts.pulse)),
            slow_log: Some(instance.slow_log()),
            statements: None,
            guarded: Some(instance),
        }
    });
    let watched = settings.servers.iter().map(|server| {
        let address = connect::Address::Tcp { host: server.address.clone(), port: server.port };
        let account = connect::Account { user: server.user.clone(), password_file: server.password_file.clone() };
        let target = Target::new(server.instance.to_string(), address, account);
        Place {
            cluster: server.cluster.clone(),
            instance: server.instance.clone(),
            address: server.address.clone(),
            port: server.port,
            log_in: Arc::new(LogIn::new(target.clone())),
            target,
            pulse: None,
            guarded: None,
            slow_log: server.slow_log.clone(),
            statements: server.statements,
        }
    });
    created.chain(watched).collect()
}

/// Tells of the host, until the bus has it: operators place instances by it.
async fn say_host(agent: Arc<Agent>) {
    let item = Item::Host(HostItem {
        host: agent.host.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory_bytes: host::memory_bytes(),
        kernel: host::kernel(),
    });
    let mut stop = agent.stop.clone();
    while let Err(error) = agent.speaker.say(Subject::cluster(ids::fleet()), None, item.clone()).await {
        tracing::warn!(%error, "the host is not told of yet");
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Resolves when the agent is to stop.
async fn stopped(stop: &mut signal::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The state of a guard as a fact of the journal.
fn process_fact(state: Option<&guard::State>) -> millrace_schemas::cluster::Process {
    state.map_or(millrace_schemas::cluster::Process::Unknown, millrace_executors::hands::fact)
}
