//! Watches one instance: a heartbeat each second, and what changes between heartbeats at once. A server that does not answer
//! is reported as such after 800 ms; the heartbeat never waits for it longer.

mod backups;
mod numbers;

use std::sync::Arc;
use std::time::Duration;

use millrace_collectors::pulse::Pulse;
use millrace_collectors::server::{Sample, Sampler};
use millrace_collectors::{host, process};
use millrace_executors::guard::GuardClient;
use millrace_schemas::cluster::Process;
use millrace_schemas::digest::SqlMode;
use millrace_schemas::ids::Epoch;
use millrace_schemas::metrics::{
    CANARY_SECONDS, CONNECTIONS, HOST_LOAD, INSTANCE_OPEN, INSTANCE_UP, REPLICA_DELAY, REPLICA_RUNNING,
    SEMI_SYNC_ACTIVE, THREADS_RUNNING,
};
use millrace_schemas::topics::inventory::{Instance as InstanceItem, Item};
use millrace_schemas::topics::journal::{Canary, Fact, Gap, Heartbeat, ProcessChanged, ServerState};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::changes::{Change, Changes};
use super::slow::{self, Rate};
use super::{Agent, Place, process_fact};
use backups::Backups;
use numbers::{Rounds, Seen};

/// One heartbeat a second: the rate that silence is judged by.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// 800 ms for a sample: it leaves a heartbeat time to go out within its second.
const SAMPLE_WITHIN: Duration = Duration::from_millis(800);
/// 2 s for a guard to answer when its instance is first seen; it is asked again at each beat.
const GUARD_WITHIN: Duration = Duration::from_secs(2);

/// 2 s for the name of a server to be resolved; one that is not is taken for another host's, whose exits heartbeats tell.
const NAME_WITHIN: Duration = Duration::from_secs(2);
/// 100 ms: a heartbeat that an exit cut short is begun again, when the guard has said what it will.
const BEAT_AGAIN_AFTER: Duration = Duration::from_millis(100);

struct Watch {
    agent: Arc<Agent>,
    place: Place,
    sampler: Sampler,
    pulse: Option<Pulse>,
    guard: Option<GuardClient>,
    /// What was last said of the process.
    process: Process,
    /// For servers without a guard: resolves at the exit of the process that is watched.
    exit: Option<oneshot::Receiver<u64>>,
    /// What the inventory was told last.
    told: Option<InstanceItem>,
    /// The slow log is followed; how much of it the server leaves out is said here.
    slow: Option<Rate>,
    /// Since when no heartbeat has reached the bus: the next one that does is told with the gap before it.
    unheard_since: Option<u64>,
    /// Whether the server runs on this host: what it says of its files and its process is looked for here only then.
    here: bool,
    /// Why the last sample failed, which is said once.
    failed: Option<String>,
    /// Whether the heartbeat of this second is said.
    beaten: bool,
    /// How far the server was behind by the newest heartbeat row, where Millrace writes them.
    lag: Option<Duration>,
    numbers: Rounds,
    backups: Backups,
}

pub(super) async fn run(agent: Arc<Agent>, place: Place) {
    let mut watch = Watch {
        sampler: Sampler::new(Arc::clone(&place.log_in)),
        pulse: place.pulse.clone().map(|target| Pulse::new(target, place.cluster.clone())),
        guard: guard_of(&agent, &place).await,
        process: Process::Unknown,
        exit: None,
        told: None,
        slow: None,
        unheard_since: None,
        here: is_here(&place).await,
        failed: None,
        beaten: false,
        lag: None,
        numbers: Rounds::new(place.instance.as_str()),
        backups: Backups::new(agent.policy_of(&place.cluster)),
        agent,
        place,
    };
    let mut stop = watch.agent.stop.clone();
    let mut beat = interval_at(Instant::now() + to_next_second(), BEAT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip); // late beats are not made up for: each speaks of now
    let mut changes = Changes::new(Arc::clone(&watch.agent.metrics), &watch.place.cluster, &watch.place.instance);
    changes.follow(watch.guard.as_ref());
    loop {
        tokio::select! {
            biased;
            () = super::stopped(&mut stop) => return,
            change = changes.next() => watch.say_process(change),
            exited_boot_us = exited(&mut watch.exit) => {
                let process = Process::Exited { code: None, signal: None, requested: false, held: false };
                watch.say_process(Change { process, exited_boot_us });
            }
            due = beat.tick() => {
                if watch.guard.is_none() && watch.place.guarded.is_some() {
                    watch.guard = guard_of(&watch.agent, &watch.place).await;
                    changes.follow(watch.guard.as_ref());
                }
                watch.beaten = false;
                // An exit must not wait for a sample of the server that just died.
                tokio::select! {
                    biased;
                    change = changes.next() => {
                        watch.say_process(change);
                        // One heartbeat a second, also when something happens in the middle of it.
                        if !watch.beaten {
                            beat.reset_after(BEAT_AGAIN_AFTER);
                        }
                    }
                    () = watch_beat(&mut watch, due) => {}
                }
            }
        }
    }
}

/// Beats fall on the beginning of a second of the wall clock, so that a replica knows when the next heartbeat row is due.
fn to_next_second() -> Duration {
    let into = crate::roles::speaker::now().0.rem_euclid(1_000_000);
    Duration::from_micros(u64::try_from(1_000_000 - into).unwrap_or(0))
}

async fn watch_beat(watch: &mut Watch, due: Instant) {
    let sample = match timeout(SAMPLE_WITHIN, watch.sampler.sample()).await {
        Ok(Ok(sample)) => Ok(sample),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{}: no answer within {} ms", watch.place.instance, SAMPLE_WITHIN.as_millis())),
    };
    watch.warn(sample.as_ref().err());
    let with_numbers = watch.numbers.is_due();
    let seen = sample.as_ref().ok().filter(|_| with_numbers).map(Seen::of);
    watch.beat(sample).await;
    if with_numbers {
        watch.take_numbers(seen, due).await;
    }
}

/// When the process that is watched ended.
async fn exited(exit: &mut Option<oneshot::Receiver<u64>>) -> Option<u64> {
    match exit {
        Some(receiver) => {
            let at = receiver.await.ok();
            *exit = None;
            at
        }
        None => std::future::pending().await,
    }
}

/// Whether a place is on this host. A name counts when it can be resolved, to addresses of this host only.
pub(super) async fn is_here(place: &Place) -> bool {
    if place.guarded.is_some() {
        return true;
    }
    let found = timeout(NAME_WITHIN, tokio::net::lookup_host((place.address.as_str(), place.port))).await;
    let Ok(Ok(found)) = found else { return false };
    let mut found = found.peekable();
    found.peek().is_some() && found.all(|address| host::is_own(address.ip()))
}

async fn guard_of(agent: &Agent, place: &Place) -> Option<GuardClient> {
    let (hands, instance) = (agent.hands.as_ref()?, place.guarded.as_ref()?);
    match timeout(GUARD_WITHIN, hands.process(instance)).await {
        Ok(Ok(process)) => Some(process.guard().clone()),
        Ok(Err(error)) => {
            tracing::warn!(instance = %place.instance, %error, "no guard");
            None
        }
        Err(_) => None,
    }
}

impl Watch {
    /// Warns when samples begin to fail, or fail for another reason; the heartbeats restate it.
    fn warn(&mut self, error: Option<&String>) {
        if self.failed.as_ref() == error {
            return;
        }
        if let Some(error) = error {
            tracing::warn!(instance = %self.place.instance, "cannot ask the server: {error}");
        } else {
            tracing::info!(instance = %self.place.instance, "the server answers again");
        }
        self.failed = error.cloned();
    }

    fn say_process(&mut self, Change { process, exited_boot_us }: Change) {
        self.process = process.clone();
        let fact = ProcessChanged { host: self.agent.host.clone(), boot_us: host::boot_us(), process, exited_boot_us };
        // Not waited for: the next heartbeat restates it, and the bus counts what it refuses.
        drop(self.agent.speaker.say(self.place.subject(), None, Fact::ProcessChanged(fact)));
    }

    async fn beat(&mut self, sample: Result<Sample, String>) {
        let boot_us = host::boot_us();
        let (mut server, server_error) = match sample {
            Ok(sample) => {
                self.tell_inventory(&sample);
                self.follow_slow_log(&sample);
                self.watch_process(&sample);
                (Some(sample.state), None)
            }
            Err(error) => (None, Some(error.chars().take(200).collect::<String>())),
        };
        if let Some(state) = &mut server {
            state.host_load = host::load_one_minute();
            if let Some(receiver) = &mut state.receiver {
                receiver.delay_us =
                    timeout(SAMPLE_WITHIN, self.sampler.delay_us(&self.place.cluster)).await.ok().flatten();
            }
        }
        // Of a cluster that is only watched a row may be there, and old: nobody writes it.
        let receiver = server.as_ref().and_then(|state| state.receiver.as_ref()).filter(|_| self.pulse.is_some());
        self.lag = receiver.and_then(|receiver| receiver.delay_us).map(Duration::from_micros);
        if self.guard.is_some() {
            self.process = process_fact(self.guard.as_ref().and_then(GuardClient::state).as_ref());
        }
        let canary = self.canary(server.as_ref());
        self.measure(server.as_ref(), &canary);
        let promised = self.promised();
        let heartbeat = Heartbeat {
            host: self.agent.host.clone(),
            boot_us,
            process: self.process.clone(),
            promised,
            server,
            server_error,
            canary,
        };
        let gap = self
            .unheard_since
            .map(|from_boot_us| Fact::Gap(Gap { host: self.agent.host.clone(), from_boot_us, to_boot_us: boot_us }));
        let facts = gap.into_iter().chain([Fact::Heartbeat(Box::new(heartbeat))]);
        let said = self.agent.speaker.say_all(facts.map(|fact| (self.place.subject(), None, fact)).collect());
        self.beaten = true;
        match said.await {
            Ok(landed) => {
                self.unheard_since = None;
                for landed in landed {
                    self.agent.learn(landed.appended);
                }
            }
            Err(error) => {
                if self.unheard_since.is_none() {
                    tracing::warn!(instance = %self.place.instance, %error, "a heartbeat was lost; the next one speaks of now");
                }
                self.unheard_since.get_or_insert(boot_us);
                self.told = None; // nor was what the inventory says of it, perhaps
            }
        }
    }

    fn promised(&self) -> Epoch {
        let hands = self.agent.hands.as_ref();
        hands.map_or(Epoch(0), |hands| hands.promise(&self.place.cluster, &self.place.instance).epoch)
    }

    /// Only an open server of ours is written to.
    fn canary(&mut self, server: Option<&ServerState>) -> Canary {
        let promised = self.promised();
        match (&mut self.pulse, server) {
            (Some(pulse), Some(server)) if server.open => pulse.beat(promised, server.semi_sync.acknowledgers),
            (Some(pulse), None) => pulse.canary(),
            _ => Canary::Off,
        }
    }

    fn watch_process(&mut self, sample: &Sample) {
        if self.place.guarded.is_some() || self.exit.is_some() || !self.here {
            return;
        }
        let pid = sample.status.server.pid_file.as_deref().and_then(process::pid_in);
        if let Some(pid) = pid {
            self.exit = process::watch(pid);
            self.process = Process::Running { pid };
        }
    }

    fn tell_inventory(&mut self, sample: &Sample) {
        let item = InstanceItem {
            instance: self.place.instance.clone(),
            host: self.agent.host.clone(),
            endpoint: format!("{}:{}", self.place.address, self.place.port),
            flavour: sample.state.flavour,
            version: sample.state.version.clone(),
            guarded: self.place.guarded.is_some(),
            counting: self.agent.authorities.counting(&self.place.instance),
        };
        if self.told.as_ref() != Some(&item) {
            self.told = Some(item.clone());
            drop(self.agent.speaker.say(self.place.subject(), None, Item::Instance(item)));
        }
    }

    /// Once it is known where the server writes it.
    fn follow_slow_log(&mut self, sample: &Sample) {
        let server = &sample.status.server;
        self.agent.learn_mode(&self.place.instance, SqlMode::of_server(&server.sql_mode));
        if self.slow.is_none() {
            let named = server.slow_log_file.clone().filter(|_| server.slow_log && self.here);
            let file = self.place.slow_log.clone().or(named);
            let (agent, place) = (&self.agent, &self.place);
            self.slow = match file {
                Some(file) => Some(slow::start(agent, place, sample.state.flavour, file)),
                None if server.slow_log && server.slow_log_table => Some(slow::start_table(agent, place)),
                None => None,
            };
        }
        if let Some(rate) = &self.slow {
            rate.set(&self.agent, &self.place, server.slow_log_rate);
        }
    }

    fn labels(&self) -> [&str; 3] {
        [self.place.cluster.as_str(), self.place.instance.as_str(), self.agent.host.as_str()]
    }

    fn measure(&self, server: Option<&ServerState>, canary: &Canary) {
        let labels = self.labels();
        let metrics = &self.agent.metrics;
        metrics.set(&INSTANCE_UP, &labels, f64::from(u8::from(server.is_some())));
        let flag = |on: bool| f64::from(u8::from(on));
        let seconds = |us: u64| us as f64 / 1e6;
        let written = if let Canary::Written { took_us } = canary { Some(seconds(*took_us)) } else { None };
        let receiver = server.and_then(|server| server.receiver.as_ref());
        let waits = server.filter(|server| server.semi_sync.source_enabled);
        let gauges = [
            (&CANARY_SECONDS, written),
            (&INSTANCE_OPEN, server.map(|server| flag(server.open))),
            (&THREADS_RUNNING, server.map(|server| f64::from(server.threads_running))),
            (&CONNECTIONS, server.map(|server| f64::from(server.connections))),
            (&REPLICA_RUNNING, server.and_then(ServerState::replicates).map(flag)),
            (&REPLICA_DELAY, receiver.and_then(|receiver| receiver.delay_us).map(seconds)),
            (&SEMI_SYNC_ACTIVE, waits.map(|server| flag(server.semi_sync.source_active))),
        ];
        for (metric, value) in gauges {
            match value {
                Some(value) => metrics.set(metric, &labels, value),
                None => metrics.forget(metric, &labels), // it is down, or no replica, or waits for nobody
            }
        }
        if let Some(load) = server.and_then(|server| server.host_load) {
            metrics.set(&HOST_LOAD, &[self.agent.host.as_str()], load);
        }
    }
}
