//! Samples a server once a second: status in, the state that a heartbeat carries out. One session, kept open and renewed when
//! it breaks; every wait is bounded by it. Changes nothing on the server.

use std::sync::Arc;
use std::time::Instant;

use millrace_mysql::status::{Channel, Status, replica::Receiver as Thread};
use millrace_mysql::{Error, Session, numbers, status, threads};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::topics::journal::{Receiver, SemiSync, ServerState, StoppedChannel};

use crate::log_in::LogIn;
use crate::numbers::{Values, add_innodb, add_settings, add_states, add_status, settings};

/// 400 bytes: a longer GTID set would not leave a heartbeat within its budget, and no decision reads it from there.
const SET_BYTES_MAX: usize = 400;

/// Channels of group replication, which looks after them itself: the one for recovery stands once it is done.
const OF_GROUPS: &str = "group_replication_";

/// 30 samples, 5 min, without a look at threads after one that failed: a server where it is slow or not allowed is not asked each time.
const STATES_REST: u32 = 30;

/// Samples one server.
#[derive(Debug)]
pub struct Sampler {
    log_in: Arc<LogIn>,
    session: Option<Session>,
    /// When the last sample was taken, and its count of questions.
    last: Option<(Instant, u64)>,
    /// What it is, as the last sample said.
    flavour: Option<Flavour>,
    /// So many samples do not look at its threads.
    states_rest: u32,
}

/// A sample: the state for the journal, and everything that was read.
#[derive(Debug)]
pub struct Sample {
    /// For the heartbeat.
    pub state: ServerState,
    /// Everything.
    pub status: Status,
}

impl Sampler {
    /// Connects at the first sample.
    pub fn new(log_in: Arc<LogIn>) -> Self {
        Self { log_in, session: None, last: None, flavour: None, states_rest: 0 }
    }

    /// The age of the newest heartbeat row of `cluster`, over the session of the last sample.
    pub async fn delay_us(&mut self, cluster: &ClusterId) -> Option<u64> {
        // Taken: if this is dropped while it waits, the session goes with the answer that it has in flight.
        let mut session = self.session.take()?;
        let delay = crate::pulse::delay_us(&mut session, cluster).await;
        self.session = Some(session);
        delay.ok().flatten()
    }

    /// The server's numbers for a sample, with its settings where `with_settings`, over the session of the last sample; `None`
    /// without one.
    pub async fn numbers(&mut self, with_settings: bool) -> Option<Result<Values, Error>> {
        // Taken for the same reason as above.
        let mut session = self.session.take()?;
        let mut values = Values::new();
        let read = async {
            add_status(&mut values, &numbers::status(&mut session).await?);
            // An account that may not ask this has no number for it, and all others.
            if let Ok(innodb) = numbers::innodb(&mut session).await {
                add_innodb(&mut values, &innodb);
            }
            if with_settings {
                add_settings(&mut values, &numbers::settings(&mut session, &settings()).await?);
            }
            Ok(())
        };
        let read: Result<(), Error> = read.await;
        if let (Ok(()), Some(flavour)) = (&read, self.flavour) {
            self.states(&mut session, flavour, &mut values).await;
        }
        self.session = Some(session);
        Some(read.map(|()| values))
    }

    /// Adds what the threads do. Last, because a session that was too slow for it answers nothing else, and the next sample has another.
    async fn states(&mut self, session: &mut Session, flavour: Flavour, values: &mut Values) {
        if self.states_rest > 0 {
            self.states_rest -= 1;
            return;
        }
        match threads::states(session, flavour).await {
            Ok(states) => add_states(values, &states),
            Err(_) => self.states_rest = STATES_REST,
        }
    }

    /// Asks the server. After an error, or when it was dropped while it waited, the next sample connects anew; an account that
    /// was refused is restated as such, and tried again later and later.
    pub async fn sample(&mut self) -> Result<Sample, Error> {
        let mut session = match self.session.take() {
            Some(session) if session.is_usable() => session,
            _ => self.log_in.open().await?,
        };
        let status = status::read(&mut session).await?;
        self.session = Some(session);
        self.flavour = Some(status.server.dialect.flavour);
        let now = Instant::now();
        let questions = status.counters.get("questions");
        let rate = self.last.zip(questions).and_then(|((then, before), count)| {
            let seconds = now.duration_since(then).as_secs_f64();
            (seconds > 0.0).then(|| count.checked_sub(before).map(|by| by as f64 / seconds)).flatten()
        });
        self.last = questions.map(|count| (now, count));
        Ok(Sample { state: state(&status, rate), status })
    }
}

fn state(status: &Status, rate: Option<f64>) -> ServerState {
    let counter = |name| status.counters.get(name).map_or(0, |count| count as u32);
    let executed = status.source.executed.clone();
    ServerState {
        flavour: status.server.dialect.flavour,
        version: status.server.version_text.clone(),
        server_id: status.server.server_id,
        open: status.server.is_open(),
        executed: (executed.to_string().len() <= SET_BYTES_MAX).then_some(executed),
        receiver: status.channels.first().map(|channel| Receiver {
            channel: channel.name.clone(),
            source: source(channel),
            receiving: channel.receiver == Thread::Running,
            applying: channel.applier_running,
            error: channel
                .receiver_error
                .as_ref()
                .or(channel.applier_error.as_ref())
                .map(|error| format!("{}: {}", error.code, error.message.chars().take(160).collect::<String>())),
            delay_us: None,
        }),
        stopped_channel: stopped(&status.channels),
        semi_sync: SemiSync {
            source_enabled: status.semi_sync.source_enabled,
            source_active: status.semi_sync.source_active,
            lossless: status.semi_sync.is_lossless(),
            acknowledgers: status.semi_sync.clients as u32,
            replica_enabled: status.semi_sync.replica_enabled,
        },
        queries_per_second: rate.map(|rate| (rate * 10.0).round() / 10.0),
        threads_running: counter("threads_running"),
        connections: counter("threads_connected"),
        host_load: None,
    }
}

fn source(channel: &Channel) -> String {
    format!("{}:{}", channel.source_host, channel.source_port)
}

/// The first channel behind the first that has stopped.
fn stopped(channels: &[Channel]) -> Option<StoppedChannel> {
    let runs = |channel: &Channel| channel.receiver == Thread::Running && channel.applier_running;
    let stands = |channel: &&Channel| !runs(channel) && !channel.name.starts_with(OF_GROUPS);
    let found = channels.iter().skip(1).find(stands);
    found.map(|channel| StoppedChannel { channel: channel.name.clone(), source: source(channel) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::tests::channel;

    #[test]
    fn of_the_other_channels_the_first_that_stands_is_spoken_of() {
        use Thread::{Connecting, Running, Stopped};
        let check = |channels: &[(&str, Thread, bool)], expected: Option<&str>| {
            let made = channels.iter().map(|(name, receiver, applier_running)| Channel {
                name: (*name).to_owned(),
                receiver: *receiver,
                applier_running: *applier_running,
                ..channel()
            });
            let made: Vec<Channel> = made.collect();
            assert_eq!(stopped(&made).map(|stopped| stopped.channel).as_deref(), expected, "{channels:?}");
        };
        check(&[], None);
        check(&[("a", Stopped, true)], None);
        check(&[("a", Stopped, true), ("b", Running, true)], None);
        check(&[("a", Running, true), ("b", Running, false), ("c", Stopped, true)], Some("b"));
        check(&[("a", Running, true), ("b", Connecting, true)], Some("b"));
        check(&[("", Running, true), ("group_replication_recovery", Stopped, false)], None);
    }
}
