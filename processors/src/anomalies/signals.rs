//! The numbers of an instance that are sampled, not counted statement by statement: transactions, running threads, lag, processors,
//! files, connections. Samples enter, in the order of the records; words leave about what is unusual. A value is the mean of what was
//! sampled in ten seconds by the samples' own time, and is judged as windows are (`series.rs`), when a sample of later ones comes: no
//! value depends on what came after it. What a rise means is told by the numbers below; who asks for it, by the windows.

use millrace_schemas::ids::HostId;
use millrace_schemas::metrics::{CONNECTIONS, HOST_CPU, Metric, THREADS_RUNNING, named, series};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::samples::Sample;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::groups::{About, Groups, Holds, Now, Word};
use super::hours::Hours;
use super::instance::{HOLE, HOLE_PASSES, WIDTH};
use super::series::{Bar, HIT_MOST, Series, Verdict};
use super::words;

/// How many signals an instance has.
const SIGNALS: usize = 6;
/// A minute between two values of a counter, six samples: what it rose by over longer is no value of ten seconds.
const RISE_MOST: f64 = 60.0;
/// The values of a day.
const DAY_OF_VALUES: u16 = 8_640;
/// In microseconds, as long as a value.
const WIDTH_US: i64 = WIDTH * 1_000_000;

/// What is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Signal {
    /// Commits and rollbacks of storage engines, a second: those of statements that commit themselves are among them.
    Transactions,
    /// Threads that run in the server at the moment of the sample.
    Threads,
    /// Seconds behind the source, by the server's own idea; of several channels the most.
    Lag,
    /// Per cent of the processors of the host that are busy.
    Processors,
    /// Reads and writes of files by the server's engine, a second.
    Files,
    /// Connections.
    Connections,
}

use Signal::{Connections, Files, Lag, Processors, Threads, Transactions};

const ALL: [Signal; SIGNALS] = [Transactions, Threads, Lag, Processors, Files, Connections];

/// From where on a signal is an event.
struct Limits {
    /// So many times as much as usual, at the middle sensitivity.
    factor: f32,
    /// So much more than usual, in its unit.
    least: f32,
    /// Added to each value before its logarithm is taken: below it a factor means nothing.
    floor: f32,
}

impl Signal {
    /// The value of the label `of`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Transactions => "transactions",
            Threads => "threads",
            Lag => "lag",
            Processors => "processors",
            Files => "files",
            Connections => "connections",
        }
    }

    const fn limits(self) -> Limits {
        match self {
            // As statements of an instance: three times, and 20 a second, since who commits less often is busy with itself.
            Transactions => Limits { factor: 3.0, least: 20.0, floor: 1.0 },
            // Three times, and 16 more: in one moment a dozen may have met by chance.
            Threads => Limits { factor: 3.0, least: 16.0, floor: 4.0 },
            // Ten seconds more, three times as much: readers see rows of before; servers tell whole seconds, and 5 of them are often none.
            Lag => Limits { factor: 3.0, least: 10.0, floor: 5.0 },
            // Half as much again, and a quarter of the host: with less there is room, and nobody waits for it.
            Processors => Limits { factor: 1.5, least: 25.0, floor: 5.0 },
            // Three times, and 200 a second: what one spinning disk does.
            Files => Limits { factor: 3.0, least: 200.0, floor: 10.0 },
            // Twice, and 50 more: a pool that is started anew has its old connections beside the new ones for a moment only.
            Connections => Limits { factor: 2.0, least: 50.0, floor: 10.0 },
        }
    }

    /// A sample of threads is one moment, and convoys of some milliseconds meet two of them now and then: a third value must show it, too.
    /// Of processors and files a day is learnt: backups and batch jobs move these, and come each night.
    fn bar(self, settings: &Settings) -> Bar {
        let mut bar = settings.bar(self.limits().factor);
        match self {
            Threads => bar.evidence += 3.0,
            _ if self.is_of_jobs() => bar.learns = bar.learns.max(DAY_OF_VALUES),
            _ => {}
        }
        bar
    }

    /// Whether less than usual is an event too: only of what clients ask for. Of the others less is better.
    const fn may_fall(self) -> bool {
        matches!(self, Transactions)
    }

    /// Whether backups and batch jobs move it more than anything else, and nobody need feel it.
    const fn is_of_jobs(self) -> bool {
        matches!(self, Processors | Files)
    }

    /// Whether it is a rise of counters.
    const fn is_rise(self) -> bool {
        matches!(self, Transactions | Processors | Files)
    }
}

/// What one sample says. Of a counter: what it shows, and what its rise is divided by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) taken: Timestamp,
    pub(super) values: [Option<(f64, f64)>; SIGNALS],
}

impl Reading {
    /// The signals among the numbers of a sample. What it does not say is unknown, never zero.
    pub(super) fn of(sample: &Sample) -> Self {
        let get = |series: &str| sample.values.get(series).copied().filter(|value| value.is_finite());
        let with = |metric: &Metric, label: &str| get(&series::text(metric, &[label]));
        let plain = |name: &str| get(name);
        let seconds = sample.taken.0 as f64 / 1e6;
        let handlers = named("mysql_global_status_handlers_total");
        let commits = handlers.and_then(|all| Some(with(all, "commit")? + with(all, "rollback").unwrap_or(0.0)));
        let reads = plain("mysql_global_status_innodb_data_reads");
        let files = reads.zip(plain("mysql_global_status_innodb_data_writes")).map(|(reads, writes)| reads + writes);
        let gauge = |value: Option<f64>| value.map(|value| (value, 1.0));
        let rise = |value: Option<f64>| value.map(|value| (value, seconds));
        let values = [
            rise(commits),
            gauge(plain(THREADS_RUNNING.name)),
            gauge(lag(sample)),
            processors(|mode| with(&HOST_CPU, mode)),
            rise(files),
            gauge(plain(CONNECTIONS.name)),
        ];
        Self { taken: sample.taken, values }
    }
}

/// Of several channels the one that is farthest behind.
fn lag(sample: &Sample) -> Option<f64> {
    let from = "mysql_slave_status_seconds_behind_master{";
    let channels = sample.values.range(from.to_owned()..).take_while(|(series, _)| series.starts_with(from));
    channels.map(|(_, seconds)| *seconds).filter(|seconds| seconds.is_finite()).reduce(f64::max)
}

/// Hundredths of a second in which the processors were busy, and seconds of all. Waiting for a disk is no work of a processor.
fn processors(with: impl Fn(&str) -> Option<f64>) -> Option<(f64, f64)> {
    let sum = |modes: &[&str]| modes.iter().filter_map(|mode| with(mode)).sum::<f64>();
    let idle = with("idle")? + sum(&["iowait"]);
    let busy = sum(&["user", "nice", "system", "irq", "softirq", "steal"]);
    Some((busy * 100.0, busy + idle))
}

/// What is known of the signals of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Signals {
    host: Option<HostId>,
    /// When the newest sample was taken.
    taken: Timestamp,
    /// The start of the ten seconds that are not over.
    start: i64,
    /// The start of the newest that were judged.
    judged: i64,
    each: [One; SIGNALS],
    groups: Groups,
}

/// One signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Saved", from = "Saved")]
struct One {
    series: Series,
    hours: Hours,
    /// Of a counter what it showed last, and what that was divided by.
    last: Option<(f64, f64)>,
    /// The values of the ten seconds that are not over, added, and how many.
    sum: f64,
    count: u32,
    /// The most that it has been for two values in a row without an event, as a logarithm; zero before.
    most: f32,
    /// The value before; an event is none.
    before: Option<f32>,
}

/// A [`One`] in a snapshot: numbers by their bits, so that they come back as they were; hours as text, a third of the room of a list.
#[derive(Serialize, Deserialize)]
struct Saved(Series, String, Option<(u64, u64)>, u64, u32, #[serde(default)] Option<(u32, Option<u32>)>);

impl From<One> for Saved {
    fn from(one: One) -> Self {
        let last = one.last.map(|(value, per)| (value.to_bits(), per.to_bits()));
        let most = Some((one.most.to_bits(), one.before.map(f32::to_bits)));
        Self(one.series, one.hours.to_text(), last, one.sum.to_bits(), one.count, most)
    }
}

impl From<Saved> for One {
    fn from(Saved(series, hours, last, sum, count, most): Saved) -> Self {
        let last = last.map(|(value, per)| (f64::from_bits(value), f64::from_bits(per)));
        let number = f64::from_bits(sum);
        // A damaged sum would make a series of no numbers.
        let (sum, count) = if number.is_finite() { (number, count) } else { (0.0, 0) };
        // Snapshots of before have none: they begin where the level is.
        let (most, before) = most.map_or((series.level(), None), |(most, before)| {
            let number = |bits| Some(f32::from_bits(bits)).filter(|number| number.is_finite());
            (number(most).unwrap_or_else(|| series.level()), before.and_then(number))
        });
        Self { series, hours: Hours::from_text(&hours), last, sum, count, most, before }
    }
}

impl One {
    /// Takes a value of a sample in.
    fn add(&mut self, signal: Signal, (value, per): (f64, f64)) {
        let value = if signal.is_rise() {
            let Some((last, before)) = self.last.replace((value, per)) else { return };
            // What fell was set back: what it shows, it has counted since nobody knows when.
            if value < last || per <= before {
                return;
            }
            (value - last) / (per - before)
        } else {
            value
        };
        self.sum += value.max(0.0);
        self.count += 1;
    }

    /// The ten seconds are over.
    fn close(&mut self, signal: Signal, start: i64, settings: &Settings) {
        let (sum, count) = (std::mem::take(&mut self.sum), std::mem::take(&mut self.count));
        if count == 0 {
            self.before = None;
            let _: Verdict = self.series.pass();
            return;
        }
        let Limits { least, floor, .. } = signal.limits();
        let value = ((sum / f64::from(count)) as f32 + floor).ln();
        let bar = signal.bar(settings);
        let known = self.hours.knows(start, value) || self.is_of_a_job(signal, start, value, &bar);
        self.hours.add(start, value);
        let level = self.series.level();
        let counts = |by: f32| {
            let more = (level + by).exp() - level.exp();
            !known && more.abs() >= least && (by > 0.0 || signal.may_fall())
        };
        let _: Verdict = self.series.observe(value, 1.0, &bar, counts);
        let before = std::mem::replace(&mut self.before, Some(value).filter(|_| !self.series.is_unusual()));
        if let Some((before, now)) = before.zip(self.before) {
            self.most = self.most.max(before.min(now));
        }
    }

    /// Who has not known an instance at this hour of the week does not know the jobs that it has then: they are taken to be like those
    /// that are known, or somewhat larger. So what jobs move must be beyond the most of any hour, by half of the effect.
    fn is_of_a_job(&self, signal: Signal, start: i64, value: f32, bar: &Bar) -> bool {
        signal.is_of_jobs() && !self.hours.has(start) && value - self.most < bar.effect / 2.0
    }

    /// What was usual, and what is now.
    fn numbers(&self, signal: Signal) -> (f32, f32) {
        let floor = signal.limits().floor;
        let number = |at: f32| (at.exp() - floor).max(0.0);
        (number(self.series.level()), number(self.series.level() + self.series.deviation()))
    }
}

impl Signals {
    /// How many series it has.
    pub(super) fn counted() -> usize {
        SIGNALS
    }

    /// When it was heard of last.
    pub(super) fn taken(&self) -> Timestamp {
        self.taken
    }

    /// Takes a sample in; what there is to say of the ten seconds that are over with it. `name` is that of the instance.
    pub(super) fn sample(
        &mut self,
        host: &HostId,
        reading: &Reading,
        settings: &Settings,
        name: &str,
    ) -> (i64, Vec<Word>) {
        if self.host.as_ref() != Some(host) {
            // Counters, processors and clock are those of another machine.
            *self = Self { host: Some(host.clone()), groups: std::mem::take(&mut self.groups), ..Self::default() };
        }
        let back = self.taken.since(reading.taken);
        if reading.taken <= self.taken {
            if back.as_secs() < HOLE as u64 {
                return (self.start, Vec::new()); // it was had, or is late
            }
            self.reset(); // somebody set the clock
        }
        let start = reading.taken.0.div_euclid(WIDTH_US) * WIDTH;
        let closed = self.start;
        let words = if closed > 0 && start != closed { self.close(settings, name) } else { Vec::new() };
        let apart = reading.taken.since(self.taken).as_secs_f64();
        (self.start, self.taken) = (start, reading.taken);
        for ((one, signal), value) in self.each.iter_mut().zip(ALL).zip(reading.values) {
            if apart > RISE_MOST {
                one.last = None;
            }
            if let Some(value) = value {
                one.add(signal, value);
            }
        }
        (closed, words)
    }

    /// The time of the samples begins anew.
    fn reset(&mut self) {
        (self.taken, self.start, self.judged) = (Timestamp::ZERO, 0, 0);
        for one in &mut self.each {
            (one.last, one.sum, one.count) = (None, 0.0, 0);
        }
    }

    fn close(&mut self, settings: &Settings, name: &str) -> Vec<Word> {
        let start = self.start;
        if self.judged > 0 && start - self.judged > HOLE {
            // What was unusual before nobody heard of the instance is not known to be so now.
            for one in &mut self.each {
                for _ in 0..HOLE_PASSES {
                    one.series.pass();
                }
            }
        }
        self.judged = start;
        let mut holds = Holds::new();
        for (one, signal) in self.each.iter_mut().zip(ALL) {
            one.close(signal, start, settings);
            if !one.series.is_unusual() {
                continue;
            }
            // Two full values are less than the evidence: there were three.
            let least = if signal.bar(settings).evidence > 2.0 * HIT_MOST { 3 } else { 2 };
            let now = one.series.deviates().then(|| {
                let (factor, numbers) = (one.series.deviation().exp(), one.numbers(signal));
                Now {
                    about: About::Signal(signal),
                    windows: one.series.windows().max(least),
                    factor,
                    count: 1,
                    loud: false,
                    say: Box::new(move |since| words::say_signal(signal, since, factor, numbers, name)),
                }
            });
            holds.insert(About::Signal(signal).key(), now);
        }
        self.groups.tell(start, holds)
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::topics::alerts::AlertState;

    use super::*;

    fn host(name: &str) -> HostId {
        HostId::parse(name).expect("legal")
    }

    /// A sample at that second, with so many threads and commits.
    fn sample(second: i64, threads: f64, commits: f64) -> Sample {
        let values = [
            ("mysql_global_status_threads_running", threads),
            ("mysql_global_status_handlers_total{command=\"commit\"}", 1e9),
            ("mysql_global_status_handlers_total{handler=\"commit\"}", commits),
            ("mysql_slave_status_seconds_behind_master{channel_name=\"\",connection_name=\"\"}", 1.0),
            ("mysql_slave_status_seconds_behind_master{channel_name=\"b\",connection_name=\"b\"}", 7.0),
            ("millrace_host_cpu_seconds_total{mode=\"idle\"}", second as f64),
            ("millrace_host_cpu_seconds_total{mode=\"user\"}", second as f64),
        ];
        let values = values.map(|(series, value)| (series.to_owned(), value)).into();
        Sample { host: host("h1"), taken: Timestamp(second * 1_000_000), values, left_out: 0 }
    }

    #[derive(Default)]
    struct Stage(Signals, i64);

    impl Stage {
        fn take(&mut self, samples: usize, threads: f64) -> Vec<Word> {
            let mut words = Vec::new();
            for _ in 0..samples {
                self.1 += 10;
                let commits = (self.1 * 50) as f64;
                let reading = Reading::of(&sample(1_700_000_000 + self.1, threads, commits));
                words.extend(self.0.sample(&host("h1"), &reading, &Settings::default(), "db1").1);
            }
            words
        }
    }

    #[test]
    fn threads_that_pile_up_are_found_told_once_and_over() {
        let mut stage = Stage::default();
        assert_eq!(stage.take(100, 8.0), []);
        assert_eq!(stage.take(3, 80.0), [], "two moments are no proof");
        let found = stage.take(2, 80.0);
        let [word] = found.as_slice() else { panic!("{found:?}") };
        // A value is known when the next sample comes.
        assert_eq!((word.since, word.state, word.notifies), (1_700_001_010, AlertState::Firing, false), "{word:?}");
        assert_eq!(word.summary, "80 threads run on db1 since 22:30:10 UTC, usually 8");
        assert_eq!(word.windows, [1_700_001_010, 1_700_001_020, 1_700_001_030]);
        let over = stage.take(10, 8.0);
        assert_eq!(over.iter().map(|word| word.state).collect::<Vec<_>>(), [AlertState::Resolved]);
        assert!(size_of::<One>() + 2 * 168 <= 1_024, "a series has 1 KB");
    }

    #[test]
    fn a_value_is_the_mean_of_its_ten_seconds_and_each_sample_counts_once() {
        let mut signals = Signals::default();
        let mut take = |second: i64, threads: f64, commits: f64| {
            signals.sample(&host("h1"), &Reading::of(&sample(second, threads, commits)), &Settings::default(), "db1");
            signals.each[..4].iter().map(|one| (one.sum / f64::from(one.count.max(1)), one.count)).collect::<Vec<_>>()
        };
        let none = (0.0, 0);
        assert_eq!(take(1_000, 4.0, 100.0), [none, (4.0, 1), (7.0, 1), none]);
        let second = [(50.0, 1), (6.0, 2), (7.0, 2), (50.0, 1)];
        assert_eq!(take(1_005, 8.0, 350.0), second);
        assert_eq!(take(1_005, 8.0, 350.0), second, "it was had");
        assert_eq!(take(1_002, 90.0, 350.0), second, "it is late");
        assert_eq!(take(1_010, 1.0, 10.0)[..2], [none, (1.0, 1)], "the counter was set back");
        assert_eq!(take(1_020, 1.0, 110.0)[0], (10.0, 1));
        assert_eq!(take(1_100, 1.0, 210.0)[0], none, "nothing was heard for more than a minute");
        assert_eq!(take(500, 1.0, 310.0)[..2], [none, (1.0, 1)], "the clock was set back");
    }

    /// Files of an instance that reads 100 times a second, 600 times in a job each night at two, and else what is said.
    #[test]
    fn until_a_week_is_known_files_must_be_more_than_in_any_job() {
        const DAY: i64 = 86_400;
        let (monday, mut signals, mut reads) = (1_699_833_600, Signals::default(), 0.0);
        let mut told = Vec::new();
        for window in 0..10 * DAY / 10 {
            let (second, of_day) = (window * 10, window * 10 % DAY);
            let (day, minute) = (second / DAY, of_day / 60);
            let is_sunday = day % 7 == 6 && (240..360).contains(&minute);
            let files = match (day, minute) {
                (_, 120..150) => 600.0,
                _ if is_sunday => 900.0,
                // Ten times as many, in the first week, and in the second; and more than of any job in the first.
                (3 | 8, 900..905) => 1_000.0,
                (4, 900..905) => 2_000.0,
                _ => 100.0,
            };
            reads += files * 10.0;
            let mut reading = Reading { taken: Timestamp((monday + second + 5) * 1_000_000), ..Reading::default() };
            reading.values[4] = Some((reads, (monday + second + 5) as f64));
            let words = signals.sample(&host("h1"), &reading, &Settings::default(), "db1").1;
            told.extend(words.iter().filter(|word| word.state == AlertState::Firing).map(|word| word.since - monday));
        }
        assert_eq!(told, [4 * DAY + 54_000, 8 * DAY + 54_000]);
    }

    #[test]
    fn what_is_saved_comes_back_to_the_bit_in_a_kilobyte_a_series() {
        let mut stage = Stage::default();
        stage.take(2_000, 7.3);
        stage.take(3, 80.0);
        let text = serde_json::to_string(&stage.0).expect("writes");
        assert!(text.len() <= SIGNALS * 1_024, "{} bytes: {text}", text.len());
        assert_eq!(serde_json::from_str::<Signals>(&text).expect("reads"), stage.0);
        // One of before, without the most of any hour.
        let mut before = serde_json::to_value(&stage.0).expect("writes");
        let each = before["each"].as_array_mut().expect("a list");
        for one in each {
            one.as_array_mut().expect("a list").pop();
        }
        let read: Signals = serde_json::from_value(before).expect("reads");
        assert!(read.each.iter().zip(&stage.0.each).all(|(read, one)| read.series == one.series));
        assert_eq!((read.each[1].most, read.each[1].before), (read.each[1].series.level(), None));
    }
}
