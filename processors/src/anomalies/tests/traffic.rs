//! Traffic of an instance, from a seed: statements with Zipf's load, days and weeks, deploys, batch jobs, locks, restarts. Windows
//! leave, each with the sums that the processor over `queries` would have made. The one place where random numbers are drawn.

use millrace_schemas::ids::DigestId;

use crate::anomalies::{Measured, Sums};

/// A Monday, at midnight.
pub(in crate::anomalies) const MONDAY: i64 = 1_699_833_600;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(in crate::anomalies) struct Dice(u64);

impl Dice {
    pub(in crate::anomalies) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly in 0..1.
    pub(in crate::anomalies) fn even(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(in crate::anomalies) fn below(&mut self, most: usize) -> usize {
        (self.even() * most as f64) as usize
    }

    /// Evenly on a scale of factors.
    pub(in crate::anomalies) fn factor(&mut self, from: f64, to: f64) -> f64 {
        (from.ln() + (to / from).ln() * self.even()).exp()
    }

    /// About normal: four even numbers, which reach to 3.5 deviations; tails are made elsewhere, on purpose.
    pub(in crate::anomalies) fn normal(&mut self) -> f64 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|at| (bits >> (16 * at)) & 0xffff).sum();
        (sum as f64 / 65_536.0 - 2.0) * 1.732
    }

    pub(in crate::anomalies) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 12.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.even(), 0);
        while product > limit {
            product *= self.even();
            count += 1;
        }
        count
    }
}

/// When a batch job runs: second of the day or the hour, how long, and only on this weekday.
#[derive(Clone, Copy, Debug)]
pub(in crate::anomalies) struct Job {
    every: i64,
    at: i64,
    lasts: i64,
}

/// The jobs: each night at two, each hour at a quarter past, each Sunday at four.
pub(in crate::anomalies) const JOBS: [Job; 3] = [
    Job { every: DAY, at: 2 * 3_600, lasts: 1_800 },
    Job { every: 3_600, at: 900, lasts: 180 },
    Job { every: WEEK, at: 6 * DAY + 4 * 3_600, lasts: 7_200 },
];

impl Job {
    pub(in crate::anomalies) fn runs(self, second: i64) -> bool {
        (second - MONDAY - self.at).rem_euclid(self.every) < self.lasts
    }
}

#[derive(Clone, Debug)]
pub(in crate::anomalies) struct Statement {
    pub(in crate::anomalies) id: DigestId,
    /// Calls a second, on an average weekday.
    pub(in crate::anomalies) rate: f64,
    time_us: f64,
    /// How unlike its calls are: the deviation of the logarithm of their times.
    sigma: f64,
    errors: f64,
    job: Option<usize>,
    /// What the minutes before have left.
    drift: f64,
    born: i64,
}

/// The traffic of one instance.
#[derive(Clone, Debug)]
pub(in crate::anomalies) struct Traffic {
    pub(in crate::anomalies) dice: Dice,
    pub(in crate::anomalies) statements: Vec<Statement>,
    /// The start of the next window.
    pub(in crate::anomalies) start: i64,
    drift: f64,
    /// When the server was started last.
    restarted: i64,
    count: u64,
    /// The statement that takes so many times as long from then until then.
    pub(in crate::anomalies) slow: Option<(DigestId, f64, i64, i64)>,
    /// So many times the errors, from then until then.
    pub(in crate::anomalies) failing: Option<(f64, i64, i64)>,
}

/// What the journal would tell beside the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::anomalies) enum Told {
    Nothing,
    /// The server was started again.
    Restarted,
}

impl Traffic {
    /// So many digests, 2,000 statements a second.
    pub(in crate::anomalies) fn new(seed: u64, digests: usize) -> Self {
        let mut traffic = Self {
            dice: Dice::new(seed),
            statements: Vec::new(),
            start: MONDAY,
            drift: 0.0,
            restarted: 0,
            count: 0,
            slow: None,
            failing: None,
        };
        let all: f64 = (1..=digests).map(|rank| 1.0 / rank as f64).sum();
        for rank in 1..=digests {
            let one = traffic.statement(2_000.0 / all / rank as f64, None);
            traffic.statements.push(one);
        }
        for job in 0..JOBS.len() {
            for _ in 0..3 {
                let rate = traffic.dice.factor(5.0, 300.0);
                let one = traffic.statement(rate, Some(job));
                traffic.statements.push(one);
            }
        }
        traffic
    }

    fn statement(&mut self, rate: f64, job: Option<usize>) -> Statement {
        self.count += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.dice.next().to_be_bytes());
        id[8..].copy_from_slice(&self.count.to_be_bytes());
        let errors = if self.dice.even() < 0.1 { 0.002 } else { 0.0 };
        Statement {
            id: DigestId(id),
            rate,
            time_us: self.dice.factor(200.0, 20_000.0),
            sigma: self.dice.factor(0.4, 1.0),
            errors,
            job,
            drift: 0.0,
            born: self.start,
        }
    }

    /// How busy people are: four times as much at noon as at midnight, and less at the weekend.
    pub(in crate::anomalies) fn rhythm(second: i64) -> f64 {
        let of_day = (second - MONDAY).rem_euclid(DAY) as f64 / DAY as f64;
        let weekend = if (second - MONDAY).rem_euclid(WEEK) >= 5 * DAY { 0.6 } else { 1.0 };
        weekend * (-0.7 * (std::f64::consts::TAU * of_day).cos()).exp()
    }

    /// Statements that are always there, have been for two hours, and that `calls` a window and `share` of the load are of now.
    pub(in crate::anomalies) fn felt(&self, share: f64, calls: f64) -> Vec<DigestId> {
        let busy = Self::rhythm(self.start);
        let runs = |one: &&Statement| one.job.is_none_or(|job| JOBS[job].runs(self.start));
        let all: f64 = self.statements.iter().filter(runs).map(|one| one.rate * one.time_us).sum();
        let felt = self.statements.iter().filter(|one| {
            one.job.is_none()
                && self.start - one.born >= 7_200
                && one.rate * one.time_us >= share * all
                && one.rate * 10.0 * busy >= calls
        });
        felt.map(|one| one.id).collect()
    }

    /// A statement that never was: it takes that share of the load of now. `time_us` is what a call of it takes.
    pub(in crate::anomalies) fn adds(&mut self, share: f64, time_us: f64) -> DigestId {
        let busy = Self::rhythm(self.start);
        let now = |one: &Statement| match one.job {
            Some(job) => {
                if JOBS[job].runs(self.start) {
                    1.0
                } else {
                    0.0
                }
            }
            None => busy,
        };
        let mean = |one: &Statement| one.time_us * (one.sigma * one.sigma / 2.0).exp();
        let load: f64 = self.statements.iter().map(|one| one.rate * now(one) * mean(one)).sum();
        let one = Statement { time_us, born: self.start, ..self.statement(1.0, None) };
        let rate = load * share / (1.0 - share) / mean(&one) / busy;
        self.statements.push(Statement { rate, ..one });
        self.statements.last().map_or(DigestId::OTHER, |one| one.id)
    }

    /// It is not asked for any more.
    pub(in crate::anomalies) fn drops(&mut self, id: DigestId) {
        self.statements.retain(|one| one.id != id);
    }

    /// The next window. `rows` takes its digests.
    pub(in crate::anomalies) fn window(&mut self, rows: &mut Vec<Measured<'static>>) -> (i64, Sums, Told) {
        let start = self.start;
        self.start += 10;
        let told = self.happens(start);
        rows.clear();
        let mut total = Sums { p99_us: 1, ..Sums::default() };
        if start - self.restarted < 20 {
            return (start, total, told); // it is down: nothing is counted
        }
        let busy = Self::rhythm(start);
        self.drift = 0.99 * self.drift + 0.004 * self.dice.normal();
        let jobs = JOBS.map(|job| job.runs(start));
        let cold = 1.0 + 2.0 * (-((start - self.restarted) as f64) / 90.0).exp();
        let flush = if start.rem_euclid(600) < 60 { 1.2 } else { 1.0 };
        let batch = if jobs.contains(&true) { 1.1 } else { 1.0 };
        let common = self.drift.exp() * (1.0 + 0.1 * busy) * cold * flush * batch;
        let failing = self.failing.filter(|(_, from, until)| (*from..*until).contains(&start)).map_or(1.0, |one| one.0);
        let slow = self.slow;
        let Self { dice, statements, .. } = self;
        for one in statements.iter_mut() {
            let rate = match one.job {
                Some(job) if !jobs[job] => continue,
                Some(_) => one.rate,
                None => one.rate * busy,
            };
            one.drift = 0.97 * one.drift + 0.008 * dice.normal();
            let slower = slow.filter(|slow| slow.0 == one.id).map_or(1.0, |(_, factor, from, until)| {
                let part = (until.min(start + 10) - from.max(start)).max(0) as f64 / 10.0;
                1.0 + (factor - 1.0) * part
            });
            let Some(sums) = sums(dice, one, rate * 10.0, common * slower, failing) else { continue };
            total.count += sums.count;
            total.errors += sums.errors;
            total.rt_sum_us += sums.rt_sum_us;
            rows.push(Measured { digest: one.id, user: "app", sums });
        }
        (start, total, told)
    }

    /// Deploys on Tuesdays and Fridays at ten, a restart on Wednesdays at four in the morning.
    fn happens(&mut self, start: i64) -> Told {
        let of_week = (start - MONDAY).rem_euclid(WEEK);
        if of_week == 2 * DAY + 4 * 3_600 {
            self.restarted = start;
            return Told::Restarted;
        }
        if of_week == DAY + 10 * 3_600 || of_week == 4 * DAY + 10 * 3_600 {
            for at in 0..self.statements.len() {
                let (dice, job) = (self.dice.even(), self.statements[at].job);
                if dice < 0.03 && job.is_none() {
                    // Another text for the same work.
                    let Statement { rate, time_us, sigma, .. } = self.statements[at];
                    let time_us = time_us * self.dice.factor(0.75, 1.33);
                    self.statements[at] = Statement { time_us, sigma, ..self.statement(rate, None) };
                } else if dice < 0.08 {
                    let (time, rate) = (self.dice.factor(0.75, 1.33), self.dice.factor(0.7, 1.4));
                    self.statements[at].time_us *= time;
                    self.statements[at].rate *= rate;
                }
            }
        }
        Told::Nothing
    }
}

/// What one statement did: counts are Poisson's, times log-normal, and once in ten thousand windows it waits for a lock.
fn sums(dice: &mut Dice, one: &Statement, calls: f64, slower: f64, failing: f64) -> Option<Sums> {
    let count = dice.poisson(calls);
    if count == 0 {
        return None;
    }
    let time = one.time_us * one.drift.exp() * slower;
    let n = count as f64;
    let (mean, p99) = if count < 12 {
        let times: Vec<f64> = (0..count).map(|_| time * (one.sigma * dice.normal()).exp()).collect();
        (times.iter().sum::<f64>() / n, times.iter().copied().fold(0.0, f64::max))
    } else {
        let usual = time * (one.sigma * one.sigma / 2.0).exp();
        let unlike = ((one.sigma * one.sigma).exp() - 1.0).sqrt() / n.sqrt();
        let tail = one.sigma * (2.326 + 3.73 / n.sqrt() * dice.normal());
        (usual * (1.0 + unlike * dice.normal()).max(0.2), time * tail.exp())
    };
    let locked = dice.even() < 1e-4;
    let mut sum = mean * n;
    if locked {
        sum += 2e6 * (1.0 + dice.even());
    }
    let errors =
        if one.errors > 0.0 || failing > 1.0 { dice.poisson(n * one.errors.max(0.000_1) * failing) } else { 0 };
    let p99_us = if locked && count < 200 { 2_000_000 } else { p99 as u64 };
    Some(Sums { count, errors: errors.min(count), rt_sum_us: sum as u64, p99_us, rows_examined: None })
}
