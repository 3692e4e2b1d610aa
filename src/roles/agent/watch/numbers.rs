//! Every 10 s, after a heartbeat was said: the numbers of the server, of its host and of its replication, as one record of
//! `samples`. It has what is left of the heartbeat's second, and is given up where that does not do: no heartbeat waits for it.

use std::path::PathBuf;
use std::time::Duration;

use millrace_collectors::numbers::{Values, add_channels, within};
use millrace_collectors::{host, server};
use millrace_mysql::status::Channel;
use millrace_schemas::metrics::{SAMPLES_MISSED, SERIES, SERIES_BUDGET, SERIES_LEFT_OUT, SERIES_PER_SAMPLE, series};
use millrace_schemas::topics::samples::{EVERY, Sample, Taken};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Watch;
use crate::roles::speaker::now;

/// 700 ms after a beat was due: what has not come by then would reach into the next one.
const BY: Duration = Duration::from_millis(700);
/// Every sixth sample has the settings: once a minute, since people change them and load does not.
const SETTINGS_EVERY: u32 = 6;

/// When numbers are taken.
#[derive(Debug)]
pub(super) struct Rounds {
    next: Instant,
    taken: u32,
    /// Reads the host's numbers; a disk that hangs holds this up, and nothing else.
    host: Option<JoinHandle<Values>>,
}

/// What the heartbeat's sample has for this one.
#[derive(Debug)]
pub(super) struct Seen {
    channels: Vec<Channel>,
    datadir: Option<PathBuf>,
}

impl Seen {
    pub(super) fn of(sample: &server::Sample) -> Self {
        Self { channels: sample.status.channels.clone(), datadir: sample.status.server.datadir.clone() }
    }
}

impl Rounds {
    /// The first is due within 10 s: agents that start together do not all ask in the same second.
    pub(super) fn new(instance: &str) -> Self {
        let spread = millrace_schemas::record::partition_of(instance, EVERY.as_secs() as u32);
        let next = Instant::now() + Duration::from_secs(u64::from(spread));
        Self { next, taken: 0, host: None }
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
        let (channels, datadir) = seen.map_or((Vec::new(), None), |seen| (seen.channels, seen.datadir));
        let taken = now();
        let mut values = self.numbers.host(datadir.filter(|_| self.here), by).await;
        match timeout_at(by, self.sampler.numbers(with_settings)).await {
            Ok(Some(Ok(server))) => {
                self.numbers.taken += 1;
                values.extend(server);
                add_channels(&mut values, &channels);
            }
            Ok(None) => {} // the heartbeat says that it does not answer
            Ok(Some(Err(_))) | Err(_) => self.agent.metrics.add(&SAMPLES_MISSED, &self.labels(), 1),
        }
        self.say_numbers(values, taken);
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
