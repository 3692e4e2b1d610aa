//! What is sampled of the instance beside its traffic, from a seed: transactions, running threads, lag, processors, files, connections.
//! They follow the traffic, with noise of their own: a sample of threads is one moment and meets a convoy now and then, a backup reads
//! each night, each hour a job writes, replicas lag behind both, and a deploy takes the connections of a pool and gives them back.

use millrace_schemas::ids::HostId;
use millrace_schemas::time::Timestamp;

use super::super::signals::Reading;
use super::traffic::{Dice, JOBS, MONDAY, Traffic};
use crate::anomalies::Sums;

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Cores of the host.
const CORES: f64 = 16.0;
/// The names, in the order of a reading.
pub(super) const NAMES: [&str; 6] = ["transactions", "threads", "lag", "processors", "files", "connections"];

/// The host, and what its server counts.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    dice: Dice,
    drift: [f64; 6],
    commits: f64,
    files: f64,
    busy: f64,
    /// How much larger the job of a Sunday is than that of a night.
    weekly: f64,
    /// This number is so many times as much, or so much more where it is usually none, from then until then.
    pub(super) event: Option<(usize, f64, i64, i64)>,
}

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        let weekly = Dice::new(seed ^ 0xba_c409).factor(0.5, 2.5);
        let dice = Dice::new(seed ^ 0x5eed);
        Self { dice, drift: [0.0; 6], commits: 0.0, files: 0.0, busy: 0.0, weekly, event: None }
    }

    pub(super) fn host() -> HostId {
        HostId::parse("h1").expect("legal")
    }

    /// The sample that is taken in the window that starts then; none while the server is down.
    pub(super) fn sample(&mut self, start: i64, total: &Sums) -> Option<Reading> {
        for drift in &mut self.drift {
            *drift = 0.98 * *drift + 0.01 * self.dice.normal();
        }
        if total.count == 0 {
            (self.commits, self.files) = (0.0, 0.0); // the server counts from nothing
            return None;
        }
        let now = self.usual(start, total);
        let noise = |dice: &mut Dice, by: f64| (by * dice.normal()).exp();
        let [commits, threads, lag, share, files, connections] = now;
        self.commits += commits * 10.0 * noise(&mut self.dice, 0.05);
        self.files += files * 10.0 * noise(&mut self.dice, 0.15);
        self.busy += (share * noise(&mut self.dice, 0.08)).min(1.0) * CORES * 10.0;
        let convoy = if self.dice.even() < 0.003 { 6.0 } else { 1.0 };
        let threads = self.dice.poisson(threads * convoy) as f64;
        let lag = self.dice.poisson(lag) as f64;
        let connections = self.dice.poisson(connections) as f64;
        // In the midst of the window, not to the microsecond.
        let taken = start as f64 + 5.0 + 0.3 * self.dice.normal();
        let gauge = |value: f64| Some((value, 1.0));
        let values = [
            Some((self.commits, taken)),
            gauge(threads),
            gauge(lag),
            Some((self.busy * 100.0, taken * CORES)),
            Some((self.files, taken)),
            gauge(connections),
        ];
        Some(Reading { taken: Timestamp((taken * 1e6) as i64), values })
    }

    /// What is usual at that time.
    fn usual(&self, start: i64, total: &Sums) -> [f64; 6] {
        let rhythm = Traffic::rhythm(start);
        let [nightly, hourly, weekly] = JOBS.map(|job| job.runs(start));
        let concurrency = total.rt_sum_us as f64 / 1e7;
        let flush = if start.rem_euclid(600) < 60 { 1.4 } else { 1.0 };
        let of_week = (start - MONDAY).rem_euclid(WEEK);
        let deploy = [DAY + 10 * 3_600, 4 * DAY + 10 * 3_600].into_iter().any(|at| (0..60).contains(&(of_week - at)));
        let mut now = [
            total.count as f64 / 10.0 * if hourly { 0.4 } else { 0.3 },
            2.0 + concurrency.min(40.0),
            if nightly || weekly { 4.0 } else { 0.1 },
            0.05 + 0.2 * rhythm + if nightly || weekly { 0.15 } else { 0.0 },
            (60.0 + 120.0 * rhythm) * flush
                + if nightly { 500.0 } else { 0.0 }
                + if weekly { 500.0 * self.weekly } else { 0.0 }
                + if hourly { 80.0 } else { 0.0 },
            (80.0 + 60.0 * rhythm) * if deploy { 1.3 } else { 1.0 },
        ];
        for (value, drift) in now.iter_mut().zip(self.drift) {
            *value *= drift.exp();
        }
        if let Some((at, factor, from, until)) = self.event
            && (from..until).contains(&start)
        {
            now[at] = (now[at] * factor).max(if NAMES[at] == "lag" { factor } else { 0.0 });
        }
        now
    }
}
