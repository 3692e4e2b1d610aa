//! What a signed bus does to what goes through it: over the memory bus, with a roster in a file that changes.

use millrace_schemas::record::Bytes;
use std::path::Path;

use millrace_schemas::cluster::Process;
use millrace_schemas::event::{Event, Payload as _, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::signing::{Entry, Role, Signer};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{Fact, ProcessChanged};
use proptest::prelude::*;

use super::super::memory::{Faults, MemoryBus};
use super::super::{From, Landed};
use super::*;
use crate::config;
use crate::trust::{key_file, roster_file};

/// Three partitions: enough for a record to lie in a wrong one.
const PARTITIONS: u32 = 3;

struct Lab {
    folder: tempfile::TempDir,
    bus: MemoryBus,
    metrics: Arc<Registry>,
}

impl Lab {
    /// A roster with an agent of `h1` that may speak about shop.
    fn new() -> (Self, Signer) {
        let folder = tempfile::tempdir().expect("a folder");
        let lab = Self { folder, bus: MemoryBus::new(1, PARTITIONS, Faults::default()), metrics: Arc::default() };
        let signer = key_file::make(&lab.path("agent.key")).expect("made");
        lab.enrol(&signer, "shop/*");
        (lab, signer)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn enrol(&self, signer: &Signer, about: &str) {
        let entry = Entry {
            public: signer.public(),
            roles: [Role::Agent].into(),
            hosts: ["h1".parse().expect("legal")].into(),
            names: [].into(),
            about: vec![about.parse().expect("legal")],
            revoked: None,
        };
        roster_file::enrol(&self.path("roster.toml"), &entry, Timestamp(0)).expect("enrolled");
    }

    fn trust(&self, key: Option<&str>) -> Arc<Trust> {
        let settings = config::Trust { key_file: key.map(|key| self.path(key)), roster: self.path("roster.toml") };
        Arc::new(Trust::open(&settings, Arc::clone(&self.metrics)).expect("right"))
    }

    fn signed(&self, key: Option<&str>) -> SignedBus {
        SignedBus::new(Arc::new(self.bus.clone()), self.trust(key), Arc::clone(&self.metrics))
    }

    fn refused(&self, reason: &str) -> u64 {
        self.metrics.get(&REFUSED, &["journal", reason]) as u64
    }
}

fn fact(cluster: &str, counter: u64) -> NewRecord {
    let fact = Fact::ProcessChanged(ProcessChanged {
        host: "h1".parse().expect("legal"),
        boot_us: 1,
        process: Process::Running { pid: 1 },
        exited_boot_us: None,
    });
    assert!(fact.is_evidence());
    Event {
        id: EventId::derive(&["signed", cluster, &counter.to_string()]),
        source: "agent/h1".to_owned(),
        sequence: Sequence { incarnation: 1, counter },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::instance(ClusterId::parse(cluster).expect("legal"), "db1".parse().expect("legal")),
        cause: None,
        payload: fact,
    }
    .to_record()
}

fn appended(bus: &dyn Bus, record: NewRecord) -> Landed {
    bus.append(vec![record]).wait().expect("the bus is there")[0]
}

/// Everything that a reader is told of records, in order of offsets.
fn read(bus: &dyn Bus) -> Vec<Result<Record, (Record, Refusal)>> {
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)])).expect("a reader");
    let polled = reader.poll(Duration::ZERO).expect("the bus is there");
    let records = polled.into_iter().filter_map(|item| match item {
        Polled::Record(record) => Some(Ok(record)),
        Polled::Refused { record, why } => Some(Err((record, why))),
        Polled::Gained { .. } | Polled::Lost { .. } => None,
    });
    records.collect()
}

#[test]
fn what_is_appended_is_signed_and_believed() {
    let (lab, signer) = Lab::new();
    let bus = lab.signed(Some("agent.key"));
    appended(&bus, fact("shop", 0));
    let all = read(&bus);
    assert!(matches!(&all[..], [Ok(record)] if record.headers["key-id"] == signer.id().as_str()), "{all:?}");
    assert_eq!(lab.refused("unsigned"), 0);
}

#[test]
fn what_is_not_believed_is_handed_on_as_refused_and_counted() {
    let (lab, _) = Lab::new();
    let bus = lab.signed(Some("agent.key"));
    appended(&lab.bus, fact("shop", 0));
    appended(&bus, fact("shop", 1));
    appended(&bus, fact("bank", 0));
    let mut reasons: Vec<&str> =
        read(&bus).iter().map(|one| one.as_ref().map_or_else(|(_, why)| why.reason(), |_| "believed")).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["believed", "not-allowed", "unsigned"]);
    assert_eq!((lab.refused("unsigned"), lab.refused("not-allowed")), (1, 1));
    assert_eq!(read(&lab.bus).iter().filter(|one| one.is_ok()).count(), 3, "the bus inside judges nobody");
}

#[test]
fn a_copy_in_another_partition_is_refused() {
    let (lab, signer) = Lab::new();
    let bus = lab.signed(Some("agent.key"));
    let place = appended(&bus, fact("shop", 0)).partition;
    // Whoever writes to the broker chooses the partition; everything else is as it was said.
    let elsewhere = (0..100).map(|at| format!("c{at}")).find(|other| partition_of(other, PARTITIONS) != place);
    let mut copy = fact("shop", 0);
    signer.sign(&mut copy);
    copy.partition_key = elsewhere.expect("there are others");
    appended(&lab.bus, copy);
    let all = read(&bus);
    let refused: Vec<_> = all.iter().filter_map(|one| one.as_ref().err()).collect();
    assert!(all.len() == 2 && refused.len() == 1, "{all:?}");
    assert!(matches!(refused[0].1, Refusal::Misplaced { expected, .. } if expected == place), "{refused:?}");
}

#[test]
fn without_a_key_nothing_is_said_that_must_be_signed() {
    let (lab, signer) = Lab::new();
    let bus = lab.signed(None);
    let refused = bus.append(vec![fact("shop", 0)]).wait().expect_err("no key");
    assert_eq!(refused, Error::NoKey { topic: Topic::Journal });
    assert_eq!(lab.metrics.get(&BUS_REFUSED, &["journal"]) as u64, 1);
    assert!(read(&lab.bus).is_empty());
    appended(&bus, NewRecord { topic: Topic::Queries, ..fact("shop", 0) });
    let mut replayed = fact("shop", 1);
    signer.sign(&mut replayed); // a dead letter that is put back carries the word of who wrote it
    appended(&bus, replayed);
    assert!(read(&bus)[0].is_ok());
}

/// Polls until `done`, which a look at the file a second brings.
fn until(done: impl Fn() -> bool) {
    let from = std::time::Instant::now();
    while !done() {
        assert!(from.elapsed() < Duration::from_secs(30), "the roster is not read again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn keys(trust: &Trust) -> usize {
    trust.roster().entries().count()
}

#[test]
fn the_roster_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let (lab, _) = Lab::new();
    let trust = lab.trust(Some("agent.key"));
    let stale = || lab.metrics.get(&millrace_schemas::metrics::ROSTER_STALE, &[]) as u64;
    assert_eq!((keys(&trust), stale()), (1, 0));
    lab.enrol(&Signer::from_seed(&[7; 32]), "*");
    until(|| keys(&trust) == 2);
    let good = std::fs::read_to_string(lab.path("roster.toml")).expect("there");
    let write = |text: &str| std::fs::write(lab.path("roster.toml"), text).expect("ours");
    write("[[key]]\nid = ");
    until(|| (keys(&trust), stale()) == (2, 1));
    std::fs::remove_file(lab.path("roster.toml")).expect("ours");
    until(|| (keys(&trust), stale()) == (2, 1));
    write(&good);
    until(|| (keys(&trust), stale()) == (2, 0));
}

#[test]
fn a_process_that_cannot_know_whom_to_believe_does_not_start() {
    let (lab, _) = Lab::new();
    let check = |key: Option<&str>, roster: &str, expected: &str| {
        let settings = config::Trust { key_file: key.map(|key| lab.path(key)), roster: lab.path(roster) };
        let error = Trust::open(&settings, Arc::default()).expect_err("not to be trusted").to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    check(Some("agent.key"), "none.toml", "none.toml");
    check(Some("none.key"), "roster.toml", "millrace key new");
    let broken: &Path = &lab.path("broken.toml");
    std::fs::write(broken, "[[key]]\n").expect("ours");
    check(Some("agent.key"), "broken.toml", "broken.toml:1: ");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))] // each case makes a key and a file

    /// Through the bus as without it: whatever is flipped on the way, the record is refused.
    #[test]
    fn a_bit_that_flips_on_the_bus_is_refused(at in 0_usize..4_096, bit in 0_u8..8) {
        let (lab, signer) = Lab::new();
        let bus = lab.signed(Some("agent.key"));
        let mut record = fact("shop", 0);
        signer.sign(&mut record);
        let mut value = record.value.as_deref().expect("a value").to_vec();
        let at = at % value.len();
        value[at] ^= 1 << bit;
        record.value = Some(Bytes::from(value));
        appended(&bus, record);
        let all = read(&bus);
        prop_assert!(matches!(&all[..], [Err((_, Refusal::Forged(_)))]), "{:?}", all);
    }
}
