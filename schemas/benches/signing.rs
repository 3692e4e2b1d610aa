//! What signatures cost: a heartbeat signed and judged, as often as one core can. `cargo bench -p millrace-schemas --bench signing`;
//! for the daily profile, `cargo test -p millrace-schemas --bench signing`.

#![allow(clippy::print_stdout)] // a benchmark says what it measured

use std::hint::black_box;
use std::time::{Duration, Instant};

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::EventId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{Bytes, NewRecord};
use millrace_schemas::signing::{Entry, Role, Roster, Signer, Verified};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::Fact;

/// 2 s for each: enough for three digits.
const FOR: Duration = Duration::from_secs(2);

fn heartbeat() -> NewRecord {
    let fact = examples::facts().into_iter().find(|fact| matches!(fact, Fact::Heartbeat(_))).expect("a sample");
    let host = match &fact {
        Fact::Heartbeat(heartbeat) => heartbeat.host.clone(),
        _ => unreachable!("just found"),
    };
    Event {
        id: EventId::derive(&["bench"]),
        source: format!("agent/{host}"),
        sequence: Sequence { incarnation: 1, counter: 1 },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::instance("shop".parse().expect("legal"), "db1".parse().expect("legal")),
        cause: None,
        payload: fact,
    }
    .to_record()
}

fn measure(what: &str, mut once: impl FnMut()) {
    let (from, mut done) = (Instant::now(), 0_u64);
    while from.elapsed() < FOR {
        for _ in 0..100 {
            once();
        }
        done += 100;
    }
    let second = done as f64 / from.elapsed().as_secs_f64();
    println!("{what}: {second:.0} records/s on one core, {:.1} us each", 1e6 / second);
}

fn main() {
    let signer = Signer::from_seed(&[1; 32]);
    let host = examples::facts().into_iter().find_map(|fact| match fact {
        Fact::Heartbeat(heartbeat) => Some(heartbeat.host),
        _ => None,
    });
    let mut roster = Roster::default();
    // A fleet's roster: what is looked up is one of a thousand.
    for number in 0..1_000_u32 {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let signer = Signer::from_seed(&seed);
        roster.enrol(entry(&signer, "elsewhere")).expect("right");
    }
    roster.enrol(entry(&signer, host.expect("a sample").as_str())).expect("right");
    let plain = heartbeat();
    let mut signed = plain.clone();
    signer.sign(&mut signed);
    let headers = signed.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let value = signed.value.as_ref().map_or(0, Bytes::len);
    println!("a heartbeat: {value} bytes, {headers} in its headers");
    let record = signed.stored(0, 0, Timestamp(1));
    assert_eq!(roster.judge(&record), Ok(()));
    measure("signed", || {
        let mut record = plain.clone();
        signer.sign(&mut record);
        black_box(record);
    });
    measure("judged", || {
        let _ = black_box(roster.judge(black_box(&record)));
    });
    let mut verified = Verified::default();
    measure("judged again", || {
        let _ = black_box(roster.judge_again(black_box(&record), &mut verified));
    });
    measure("read alone", || {
        let _ = black_box(Event::<Fact>::from_record(black_box(&record)));
    });
}

fn entry(signer: &Signer, host: &str) -> Entry {
    Entry {
        public: signer.public(),
        roles: [Role::Agent].into(),
        hosts: [host.parse().expect("legal")].into(),
        names: [].into(),
        about: vec!["*".parse().expect("legal")],
        revoked: None,
    }
}
