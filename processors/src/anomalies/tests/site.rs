//! One instance with its processors: windows, samples and facts go in, findings come out.

use millrace_schemas::cluster::Process;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, HostId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::Finding;
use millrace_schemas::topics::journal::{Fact, ProcessChanged};

use super::super::news::{News, Seen};
use super::super::signals::{Reading, Signals};
use super::super::{Beside, Gate, Instance, Measured, Names, Settings, Sums, said, seconds};
use super::numbers::Numbers;
use crate::fold::{Fold, Saved};

pub(super) struct Site {
    pub(super) instance: Instance,
    seen: Seen,
    news: News,
    pub(super) signals: Signals,
    pub(super) gate: Fold<Gate>,
    settings: Settings,
    offset: u64,
    pid: u32,
}

pub(super) fn cluster() -> ClusterId {
    ClusterId::parse("c1").expect("legal")
}

pub(super) fn db1() -> InstanceId {
    InstanceId::parse("db1").expect("legal")
}

impl Site {
    pub(super) fn new(settings: Settings) -> Self {
        let gate = Fold::new(Gate { settings: settings.clone() }, 0);
        let (instance, signals) = (Instance::default(), Signals::default());
        Self { instance, seen: Seen::default(), news: News::default(), signals, gate, settings, offset: 0, pid: 1 }
    }

    /// A closed window; what is found is told 12 s after its start, as the processor of windows closes it.
    pub(super) fn window(
        &mut self,
        start: i64,
        total: &Sums,
        rows: &[Measured<'_>],
        names: &dyn Names,
    ) -> Vec<Finding> {
        let beside = Beside { names, settings: &self.settings, instance: "db1" };
        self.seen.window(start, rows.iter().map(|row| row.digest));
        let mut words = self.instance.window(start, total, rows, &beside);
        let known = (&self.seen, || self.instance.gone(rows));
        words.extend(self.news.window(start, total, rows, known, &beside));
        let subject = Subject::instance(cluster(), db1());
        let said = said("anomalies.windows.1/windows/0", &subject, &db1(), start, words, seconds(start + 12));
        said.into_iter().flat_map(|record| self.append(record, start + 12)).collect()
    }

    /// A sample; what it says of those before it is told at once.
    pub(super) fn sample(&mut self, reading: &Reading) -> Vec<Finding> {
        let (start, words) = self.signals.sample(&Numbers::host(), reading, &self.settings, "db1");
        let subject = Subject::instance(cluster(), db1());
        let said = said("anomalies.samples.1/samples/0", &subject, &db1(), start, words, reading.taken);
        let at = reading.taken.0.div_euclid(1_000_000);
        said.into_iter().flat_map(|record| self.append(record, at)).collect()
    }

    /// A fact of an instance, from then.
    pub(super) fn fact(&mut self, instance: &InstanceId, at: i64, fact: Fact) -> Vec<Finding> {
        self.offset += 1;
        let event = Event {
            id: EventId::derive(&["fact", &self.offset.to_string()]),
            source: "agent/h1".to_owned(),
            sequence: Sequence { incarnation: 1, counter: self.offset },
            at: seconds(at),
            appended: Timestamp::ZERO,
            subject: Subject::instance(cluster(), instance.clone()),
            cause: None,
            payload: fact,
        };
        self.append(event.to_record(), at)
    }

    /// The process of the server is another one.
    pub(super) fn restart(&mut self, at: i64) -> Vec<Finding> {
        self.pid += 1;
        let process = Process::Running { pid: self.pid };
        let host = HostId::parse("h1").expect("legal");
        let change = ProcessChanged { host, boot_us: 1, process, exited_boot_us: None };
        self.fact(&db1(), at, Fact::ProcessChanged(change))
    }

    fn append(&mut self, new: NewRecord, at: i64) -> Vec<Finding> {
        self.offset += 1;
        let record = new.stored(0, self.offset, seconds(at));
        let folded = self.gate.fold(&record);
        folded.out.iter().filter_map(finding).collect()
    }

    /// Both states, as they are stored.
    pub(super) fn save(&self) -> (Vec<u8>, Vec<Saved>) {
        let windows = serde_json::to_vec(&(&self.instance, &self.seen, &self.news, &self.signals));
        (windows.expect("writes"), self.gate.save())
    }

    /// Another process takes them up.
    pub(super) fn restored(&self) -> Self {
        let (instance, gate) = self.save();
        let mut other = Self::new(self.settings.clone());
        (other.instance, other.seen, other.news, other.signals) = serde_json::from_slice(&instance).expect("reads");
        other.gate.restore(&gate).expect("reads");
        Self { offset: self.offset, pid: self.pid, ..other }
    }
}

/// The finding of a record; none where it sums up a day.
pub(super) fn finding(record: &NewRecord) -> Option<Finding> {
    let event = Event::<Fact>::from_json(record.value.as_deref().expect("a value"), false).expect("an event");
    match event.payload {
        Fact::Finding(finding) => Some(*finding),
        Fact::UnusualDay(_) => None,
        other => panic!("{other:?}"),
    }
}
