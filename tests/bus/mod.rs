//! The conformance suite that every bus has to pass, and what only the local bus has to. A `Lab` says how a kind of bus is
//! opened, restarted and moved through time; the suite is generic over it, so that the next kind needs a lab and no tests.

mod child;
mod http;
mod local;
pub(crate) mod real_kafka;
mod suite;

pub(crate) use real_kafka::settings as real_kafka_settings;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace::bus::local::LocalBus;
use millrace::bus::memory::{Faults, MemoryBus};
use millrace::bus::{Error, Polled, Reader, SharedBus};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::{Bytes, Headers, NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;

/// A kind of bus, and what can be done to it from outside.
pub(crate) trait Lab {
    /// The bus as it is open now. Handles must be gone before a restart.
    fn bus(&self) -> SharedBus;
    /// Ends whoever has it open and opens it again.
    fn restart(&mut self);
    /// Takes it away, or brings it back; false where it cannot be away from those who use it.
    fn away(&mut self, away: bool) -> bool;
    /// Runs retention as if `later` had passed.
    fn expire(&self, later: Duration) -> u64;
    /// True when nothing is ever repeated or answered wrongly: then offsets can be told exactly.
    fn is_exact(&self) -> bool;
}

/// The local bus in a folder of its own.
struct LocalLab {
    path: PathBuf,
    bus: Option<Arc<LocalBus>>,
    _folder: tempfile::TempDir,
}

fn open(path: &std::path::Path) -> Result<LocalBus, Error> {
    LocalBus::open(path, Arc::new(Registry::new()))
}

impl LocalLab {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bus.db");
        let bus = Some(Arc::new(open(&path).expect("a new bus opens")));
        Self { path, bus, _folder: folder }
    }
}

impl Lab for LocalLab {
    fn bus(&self) -> SharedBus {
        self.bus.clone().expect("it is open")
    }

    fn restart(&mut self) {
        let bus = self.bus.take().expect("it is open");
        drop(Arc::into_inner(bus).expect("handles are gone before a restart"));
        self.bus = Some(Arc::new(open(&self.path).expect("it opens again")));
    }

    /// It is a part of the process that uses it.
    fn away(&mut self, _: bool) -> bool {
        false
    }

    fn expire(&self, later: Duration) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let now = Timestamp(i64::try_from((now + later).as_micros()).expect("a time"));
        self.bus.as_ref().expect("it is open").expire(now).expect("retention runs")
    }

    fn is_exact(&self) -> bool {
        true
    }
}

/// The memory bus with three partitions.
struct MemoryLab {
    bus: MemoryBus,
    faults: Faults,
}

impl MemoryLab {
    fn new(seed: u64, faults: Faults) -> Self {
        let bus = MemoryBus::new(seed, 3, faults);
        bus.set_now(Timestamp(1_000_000));
        Self { bus, faults }
    }
}

impl Lab for MemoryLab {
    fn bus(&self) -> SharedBus {
        Arc::new(self.bus.clone())
    }

    fn restart(&mut self) {
        self.bus.restart();
    }

    fn away(&mut self, away: bool) -> bool {
        self.bus.set_away(away);
        true
    }

    fn expire(&self, later: Duration) -> u64 {
        self.bus.set_now(Timestamp(1_000_000) + later);
        self.bus.expire()
    }

    fn is_exact(&self) -> bool {
        self.faults.duplicate + self.faults.lost_answer + self.faults.late == 0
    }
}

/// Every promise of a bus, handed to a macro.
macro_rules! promises {
    ($then:ident) => {
        $then! {
            order_is_kept_per_key,
            append_times_never_go_back,
            a_repeated_append_counts_once,
            manual_readers_read_the_same,
            a_reader_starts_where_it_was_told,
            each_partition_starts_where_it_was_told,
            an_owner_reads_everything_and_goes_on,
            a_group_shares_and_hands_over,
            who_asks_learns_whether_everything_was_read,
            snapshots_keep_their_offsets,
            a_restart_forgets_nothing,
            while_it_is_away_it_says_so_and_does_nothing,
            poison_goes_to_dead_unchanged,
            retention_removes_records_and_keeps_offsets,
            compaction_keeps_the_newest_of_a_key,
            too_large_is_refused_whole,
            headers_and_tombstones_come_back,
        }
    };
}
use promises;

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod on_local {
            $(#[test] fn $name() { super::suite::$name(&mut super::LocalLab::new()); })*
        }
        mod on_http {
            $(#[test] fn $name() { super::suite::$name(&mut super::http::HttpLab::new()); })*
        }
        mod on_memory {
            $(#[test] fn $name() { super::suite::$name(&mut super::MemoryLab::new(1, super::Faults::default())); })*
        }
        mod on_memory_with_faults {
            $(#[test] fn $name() {
                for seed in 0..30 {
                    let faults = super::Faults { duplicate: 200, lost_answer: 150, late: 300 };
                    super::suite::$name(&mut super::MemoryLab::new(seed, faults));
                }
            })*
        }
    };
}

promises!(conformance);

fn cluster(name: &str) -> ClusterId {
    ClusterId::parse(name).expect("a legal id")
}

/// A numbered fact of `source` about `cluster`.
fn fact(source: &str, about: &str, counter: u64) -> NewRecord {
    Event {
        id: EventId::derive(&[source, about, &counter.to_string()]),
        source: source.to_owned(),
        sequence: Sequence { incarnation: 1, counter },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(cluster(about)),
        cause: None,
        payload: Fact::Tick {},
    }
    .to_record()
}

fn plain(topic: Topic, key: &str, value: &str) -> NewRecord {
    NewRecord {
        topic,
        partition_key: key.to_owned(),
        key: key.to_owned(),
        headers: Headers::new(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

/// Appends as producers do: again, until the bus says that it is done.
fn append(bus: &SharedBus, records: &[NewRecord]) {
    for _ in 0..1_000 {
        match bus.append(records.to_vec()).wait() {
            Ok(_) => return,
            Err(Error::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the bus stays unavailable");
}

/// Polls until `enough`; every item that came.
fn poll_until(reader: &mut dyn Reader, mut enough: impl FnMut(&[Polled]) -> bool) -> Vec<Polled> {
    let mut items = Vec::new();
    for _ in 0..2_000 {
        items.extend(reader.poll(Duration::from_millis(20)).expect("the bus is there"));
        if enough(&items) {
            return items;
        }
    }
    panic!("it never came; what came: {items:?}");
}

fn records(items: &[Polled]) -> Vec<Record> {
    let record = |item: &Polled| if let Polled::Record(record) = item { Some(record.clone()) } else { None };
    items.iter().filter_map(record).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}
