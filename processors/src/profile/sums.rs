//! What statements did, in sum: integers, so that the order of adding does not matter.

use millrace_schemas::profile::{LatencyBucket, Measures, OrderBy};
use millrace_schemas::sketch::Sketch;
use millrace_schemas::time::Timestamp;

use super::{Observed, Times, plausible};

/// `ER_QUERY_INTERRUPTED`, MariaDB's `ER_STATEMENT_TIMEOUT`, MySQL's `ER_QUERY_TIMEOUT`.
const KILLED: [u32; 3] = [1317, 1969, 3024];

/// 3 standard errors: of a thousand medians about one lies further off by chance.
const STANDARD_ERRORS: f64 = 3.0;

#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    pub(super) calls: u64,
    entries: u64,
    factor: u64,
    pub(super) time_us: u64,
    /// None while no call has a time.
    min_us: Option<u64>,
    max_us: u64,
    times: Sketch,
    lock_us: Option<u64>,
    rows_sent: u64,
    rows_examined: Option<u64>,
    rows_affected: Option<u64>,
    bytes_sent: Option<u64>,
    errors: Option<u64>,
    killed: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Sums {
    pub(super) fn add(&mut self, one: &Observed<'_>) {
        let times = one.factor;
        let many = |value: u64| value.saturating_mul(times);
        self.calls = self.calls.saturating_add(many(one.calls));
        self.entries += one.calls;
        self.factor = self.factor.max(one.factor);
        match one.times {
            Times::One(us) => {
                self.times.add_n(us, times);
                self.timed(many(us), us, us);
            }
            Times::Many { sketch, sum_us, min_us, max_us } if !sketch.is_empty() => {
                (0..times).for_each(|_| self.times.merge(sketch));
                self.timed(many(sum_us), min_us, max_us);
            }
            Times::Many { .. } => {}
        }
        add(&mut self.lock_us, one.lock_us.map(many));
        self.rows_sent = self.rows_sent.saturating_add(many(one.rows_sent));
        add(&mut self.rows_examined, one.rows_examined.map(many));
        add(&mut self.rows_affected, one.rows_affected.map(many));
        add(&mut self.bytes_sent, one.bytes_sent.map(many));
        add(&mut self.errors, one.errors.map(many));
        if KILLED.contains(&one.error_code) {
            self.killed = self.killed.saturating_add(many(one.calls));
        }
        let at = plausible(one.ended);
        self.seen(at, at);
    }

    pub(super) fn merge(&mut self, other: &Sums) {
        self.calls = self.calls.saturating_add(other.calls);
        self.entries += other.entries;
        self.factor = self.factor.max(other.factor);
        self.times.merge(&other.times);
        if let Some(min_us) = other.min_us {
            self.timed(other.time_us, min_us, other.max_us);
        }
        add(&mut self.lock_us, other.lock_us);
        self.rows_sent = self.rows_sent.saturating_add(other.rows_sent);
        add(&mut self.rows_examined, other.rows_examined);
        add(&mut self.rows_affected, other.rows_affected);
        add(&mut self.bytes_sent, other.bytes_sent);
        add(&mut self.errors, other.errors);
        self.killed = self.killed.saturating_add(other.killed);
        self.seen(other.first, other.last);
    }

    fn timed(&mut self, sum_us: u64, min_us: u64, max_us: u64) {
        self.time_us = self.time_us.saturating_add(sum_us);
        self.min_us = Some(self.min_us.map_or(min_us, |known| known.min(min_us)));
        self.max_us = self.max_us.max(max_us);
    }

    pub(super) fn seen(&mut self, first: Option<Timestamp>, last: Option<Timestamp>) {
        self.first = self.first.into_iter().chain(first).min();
        self.last = self.last.max(last);
    }

    /// What groups are ranked by.
    pub(super) fn weight(&self, order: OrderBy) -> u64 {
        match order {
            OrderBy::Time => self.time_us,
            OrderBy::Count => self.calls,
            OrderBy::Max => self.max_us,
            OrderBy::Rows => self.rows_examined.unwrap_or(self.rows_sent),
            OrderBy::Lock => self.lock_us.unwrap_or(0),
        }
    }

    /// Seconds from the first to the last statement; at least one, which is what times are exact to.
    pub(super) fn seconds(&self) -> f64 {
        let span = self.first.zip(self.last).map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        if span < 1.0 { 1.0 } else { span }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.times.heap_bytes()
    }

    pub(super) fn measures(&self) -> Measures {
        let timed = self.times.count();
        let quantile = |q| {
            let value = self.times.quantile(q).unwrap_or(0);
            value.clamp(self.min_us.unwrap_or(0), self.max_us)
        };
        // The median's place among n calls is spread by half the root of n; entries, since what sampling puts back is no evidence.
        let around = 0.5 * STANDARD_ERRORS / (self.entries.max(1) as f64).sqrt();
        let mean = if timed == 0 { 0.0 } else { self.time_us as f64 / timed as f64 };
        let examined = self.rows_examined.filter(|_| self.rows_sent > 0);
        Measures {
            calls: self.calls,
            entries: self.entries,
            sample_factor: self.factor.max(1),
            time_us: self.time_us,
            min_us: self.min_us.unwrap_or(0),
            max_us: self.max_us,
            mean_us: mean.round() as u64,
            p50_us: quantile(0.5),
            p50_low_us: quantile(0.5 - around),
            p50_high_us: quantile(0.5 + around),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
            lock_time_us: self.lock_us,
            rows_sent: self.rows_sent,
            rows_examined: self.rows_examined,
            rows_examined_per_row_sent: examined.map(|examined| rounded(examined as f64 / self.rows_sent as f64)),
            rows_affected: self.rows_affected,
            bytes_sent: self.bytes_sent,
            errors: self.errors,
            killed: self.killed,
            first_seen: self.first.map(|at| at.to_string()),
            last_seen: self.last.map(|at| at.to_string()),
        }
    }

    /// Calls by duration, in steps of 1, 2 and 5.
    pub(super) fn latency(&self) -> Vec<LatencyBucket> {
        let mut buckets: Vec<LatencyBucket> = Vec::new();
        for (us, calls) in self.times.buckets() {
            let up_to_us = step_above(us);
            match buckets.last_mut() {
                Some(last) if last.up_to_us == up_to_us => last.calls = last.calls.saturating_add(calls),
                _ => buckets.push(LatencyBucket { up_to_us, calls }),
            }
        }
        buckets
    }
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

/// Ratios are printed with three places: more would be noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The least of 1, 2, 5, 10, 20, 50 and so on that is not below `us`.
fn step_above(us: u64) -> u64 {
    let mut tens = 1_u64;
    loop {
        for step in [1, 2, 5] {
            let bound = tens.saturating_mul(step);
            if us <= bound {
                return bound;
            }
        }
        tens = tens.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_what_is_counted() {
        let check = |us, expected| assert_eq!(step_above(us), expected);
        check(0, 1);
        check(2, 2);
        check(3, 5);
        check(1_001, 2_000);
        check(u64::MAX, u64::MAX);
    }
}
