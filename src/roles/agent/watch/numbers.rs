//! Every 10 s, after a heartbeat was said: the numbers of the server, of its host and of its replication, as one record of
//! `samples`. It has what is left of the heartbeat's second, and is given up where that does not do: no heartbeat waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_collectors::log_in::LogIn;
use millrace_collectors::numbers::{Values, add_channels, add_keys, add_lag, within};
use millrace_collectors::{host, server};
use millrace_mysql::status::Channel;
use millrace_mysql::{Flavour, keys};
use millrace_schemas::metrics::{
    SAMPLES_MISSED, SERIES, SERIES_BUDGET, SERIES_LEFT_OUT, SERIES_PER_SAMPLE, SLOW_BROKEN, WIRE_KERNEL_DROPS,
    WIRE_KERNEL_RECEIVED, series,
};
use millrace_schemas::topics::samples::{EVERY, Sample, Taken};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Watch;
use crate::roles::speaker::now;

/// 700 ms after a beat was due: what has not come by then would reach into the next one.
const BY: Duration = Duration::from_millis(700);
/// Every sixth sample has the settings: once a minute, since people change them and load does not.
const SETTINGS_EVERY: u32 = 6;
/// 1 h between looks at how full keys are: what fills in less has been seen to fill.
const KEYS_EVERY: Duration = Duration::from_hours(1);
/// 3 h: a look that failed twice leaves what was seen before; after that it is not known.
const KEYS_LIVE: Duration = Duration::from_hours(3);

/// When numbers are taken.
#[derive(Debug)]
pub(super) struct Rounds {
    next: Instant,
    taken: u32,
    /// Reads the host's numbers; a disk that hangs holds this up, and nothing else.
    host: Option<JoinHandle<Values>>,
    keys: Keys,
}

/// How full the server's keys are. It is asked in a session of its own: with many tables that takes seconds.
#[derive(Debug, Default)]
struct Keys {
    asking: Option<JoinHandle<Option<Values>>>,
    asked: Option<Instant>,
    known: Option<(Instant, Values)>,
}

impl Keys {
    /// What is to be said of them: what is new, or, with the settings, what is known. Asks again where that is due.
    async fn look(&mut self, log_in: &Arc<LogIn>, flavour: Flavour, with_settings: bool) -> Values {
        let mut say = with_settings;
        if self.asking.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(asked) = self.asking.take()
            && let Ok(Some(values)) = asked.await
        {
            self.known = Some((Instant::now(), values));
            say = true;
        }
        if self.asking.is_none() && self.asked.is_none_or(|at| at.elapsed() >= KEYS_EVERY) {
            self.asked = Some(Instant::now());
            self.asking = Some(tokio::spawn(ask_keys(Arc::clone(log_in), flavour)));
        }
        let known = self.known.as_ref().filter(|(at, _)| say && at.elapsed() < KEYS_LIVE);
        known.map_or_else(Values::new, |(_, values)| values.clone())
    }
}

async fn ask_keys(log_in: Arc<LogIn>, flavour: Flavour) -> Option<Values> {
    let mut session = log_in.open().await.ok()?; // the heartbeat says why
    let found = keys::fullest(&mut session, flavour).await;
    session.close().await;
    let found = found.inspect_err(|error| tracing::info!(%error, "how full keys are is not known")).ok()?;
    let mut values = Values::new();
    add_keys(&mut values, &found);
    Some(values)
}

/// What the heartbeat's sample has for this one.
#[derive(Debug)]
pub(super) struct Seen {
    channels: Vec<Channel>,
    datadir: Option<PathBuf>,
    flavour: Flavour,
    open: bool,
}

impl Seen {
    pub(super) fn of(sample: &server::Sample) -> Self {
        let server = &sample.status.server;
        Self {
            channels: sample.status.channels.clone(),
            datadir: server.datadir.clone(),
            flavour: server.dialect.flavour,
            open: sample.state.open,
        }
    }
}

impl Rounds {
    /// The first is due within 10 s: agents that start together do not all ask in the same second.
    pub(super) fn new(instance: &str) -> Self {
        let spread = millrace_schemas::record::partition_of(instance, EVERY.as_secs() as u32);
        let next = Instant::now() + Duration::from_secs(u64::from(spread));
        Self { next, taken: 0, host: None, keys: Keys::default() }
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// The host's numbers, unless a disk hangs.
    async fn host(&mut self, datadir: Option<PathBuf>, by: Instant) -> Values {
        let read =
            self.host.get_or_insert_with(|| tokio::task::spawn_blocking(move || host::numbers(datadir.as_deref())));
        match timeout_at(by, read).await {
            Ok(read) => {
                self.host = None;
                read.unwrap_or_default()
            }
            Err(_) => Values::new(),
        }
    }
}

impl Watch {
    /// Takes a sample and says it. `beat` is when the heartbeat was due.
    pub(super) async fn take_numbers(&mut self, seen: Option<Seen>, beat: Instant) {
        let by = beat + BY;
        self.numbers.next = Instant::now() + EVERY - Duration::from_millis(500); // the beat that is nearest to 10 s from now
        let with_settings = self.numbers.taken.is_multiple_of(SETTINGS_EVERY);
        let taken = now();
        let datadir = seen.as_ref().and_then(|seen| seen.datadir.clone()).filter(|_| self.here);
        let mut values = self.numbers.host(datadir, by).await;
        values.extend(self.own_counters());
        values.extend(self.backups.look(&self.place.log_in).await);
        // Of a server that nobody writes to nothing is said: its primary says it.
        if let Some(seen) = seen.as_ref().filter(|seen| seen.open) {
            values.extend(self.numbers.keys.look(&self.place.log_in, seen.flavour, with_settings).await);
        }
        match timeout_at(by, self.sampler.numbers(with_settings)).await {
            Ok(Some(Ok(server))) => {
                self.numbers.taken += 1;
                values.extend(server);
                let channels = seen.as_ref().map_or(&[][..], |seen| &seen.channels);
                add_channels(&mut values, channels);
                add_lag(&mut values, channels, self.lag);
            }
            Ok(None) => {} // the heartbeat says that it does not answer
            Ok(Some(Err(_))) | Err(_) => self.agent.metrics.add(&SAMPLES_MISSED, &self.labels(), 1),
        }
        self.say_numbers(values, taken);
    }

    /// What this agent counts, and rules judge.
    fn own_counters(&self) -> impl Iterator<Item = (String, f64)> {
        let (host, instance) = (self.agent.host.as_str(), self.place.instance.as_str());
        let counters = [(&WIRE_KERNEL_RECEIVED, host), (&WIRE_KERNEL_DROPS, host), (&SLOW_BROKEN, instance)];
        counters.map(|(metric, of)| (series::text(metric, &[]), self.agent.metrics.get(metric, &[of]))).into_iter()
    }

    fn say_numbers(&self, mut values: Values, taken: millrace_schemas::time::Timestamp) {
        let left_out = within(&mut values, SERIES_PER_SAMPLE);
        let sizes =
            [(&SERIES, values.len()), (&SERIES_BUDGET, SERIES_PER_SAMPLE), (&SERIES_LEFT_OUT, left_out as usize)];
        for (metric, size) in sizes {
            self.agent.metrics.set(metric, &self.labels(), size as f64);
            values.insert(series::text(metric, &[]), size as f64);
        }
        let sample = Sample { host: self.agent.host.clone(), taken, values, left_out };
        // Not waited for: the bus counts what it refuses, and the next sample speaks of its own time.
        drop(self.agent.speaker.say(self.place.subject(), None, Taken::Sample(sample)));
    }
}
